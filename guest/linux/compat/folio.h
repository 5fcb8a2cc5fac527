/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_pagecache: folios for kernels before 5.16, which have pages only
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A folio is one page here.  What such kernels call a transparent huge page
 * of a file is met page by page.  Its tail pages have no mapping of their
 * own, its head more references than one page would have: the driver finds
 * them all busy and leaves them out.
 */
#ifndef _VPC_COMPAT_FOLIO_H
#define _VPC_COMPAT_FOLIO_H

#include <linux/buffer_head.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>

/* The start of struct page by the names that the driver uses */
struct folio {
	union {
		struct {
			unsigned long flags;
			struct list_head lru;
			struct address_space *mapping;
			pgoff_t index;
		};
		struct page page;
	};
};

static_assert(offsetof(struct folio, mapping) ==
	      offsetof(struct page, mapping));
static_assert(offsetof(struct folio, index) == offsetof(struct page, index));
static_assert(sizeof(struct folio) == sizeof(struct page));

static inline bool folio_trylock(struct folio *folio)
{
	return trylock_page(&folio->page);
}

static inline void folio_unlock(struct folio *folio)
{
	unlock_page(&folio->page);
}

static inline bool folio_test_uptodate(struct folio *folio)
{
	return PageUptodate(&folio->page);
}

static inline bool folio_test_dirty(struct folio *folio)
{
	return PageDirty(&folio->page);
}

static inline bool folio_test_writeback(struct folio *folio)
{
	return PageWriteback(&folio->page);
}

static inline bool folio_test_private(struct folio *folio)
{
	return PagePrivate(&folio->page);
}

static inline bool folio_test_large(struct folio *folio)
{
	return false;
}

static inline int folio_entire_mapcount(struct folio *folio)
{
	return 0;
}

static inline long folio_nr_pages(struct folio *folio)
{
	return 1;
}

static inline struct page *folio_page(struct folio *folio, long i)
{
	return &folio->page + i;
}

static inline unsigned long folio_pfn(struct folio *folio)
{
	return page_to_pfn(&folio->page);
}

static inline int folio_ref_count(struct folio *folio)
{
	return page_ref_count(&folio->page);
}

static inline bool folio_maybe_dma_pinned(struct folio *folio)
{
	return page_maybe_dma_pinned(&folio->page);
}

static inline struct buffer_head *folio_buffers(struct folio *folio)
{
	return page_has_buffers(&folio->page) ? page_buffers(&folio->page) :
						NULL;
}

/* struct pagevec by another name */
struct folio_batch {
	union {
		struct pagevec pvec;
		struct {
			unsigned char nr;
			bool percpu_pvec_drained;
			struct folio *folios[PAGEVEC_SIZE];
		};
	};
};

static_assert(offsetof(struct folio_batch, folios) ==
	      offsetof(struct pagevec, pages));

static inline void folio_batch_init(struct folio_batch *batch)
{
	pagevec_init(&batch->pvec);
}

static inline void folio_batch_release(struct folio_batch *batch)
{
	pagevec_release(&batch->pvec);
}

static inline unsigned int filemap_get_folios(struct address_space *mapping,
					      pgoff_t *start, pgoff_t end,
					      struct folio_batch *batch)
{
	return pagevec_lookup_range(&batch->pvec, mapping, start, end);
}

#endif /* _VPC_COMPAT_FOLIO_H */
