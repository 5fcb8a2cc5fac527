/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source's pool of hinted pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The pool holds the pages that have a hint and have gone out on neither wire.
 * Each disk has its own part.  From its head (the lowest sectors) pages are
 * taken to be offered to the destination; they are in flight until it reports
 * them.  From its tail pages are released to the migration channel.
 *
 *      hint --> pool --> taken --> in flight --> reported --> (proof)
 *                 \         \           \
 *                  `---------`-----------`--> released: an ordinary dirty page
 *
 * A page is in one of these places at most, and was not sent on the channel
 * before.  Nor can it be sent while it is there, for the channel's scan passes
 * over what is held.  That takes two steps, since hints are added while the
 * channel sends: what is added in one turn of the migration thread can be
 * taken after the next one, and whoever takes it looks once more at what was
 * sent or offered meanwhile.  tests/model/hold.pml shows that this is enough.
 *
 * The pool never touches the dirty bitmap: a page in the pool or in flight
 * keeps its dirty bit, and whoever forgets it here loses time, not bytes.
 *
 * Pages are target pages, page numbers count within their RAM block, sectors
 * are 512 bytes.
 *
 * Any thread may call these functions, with three exceptions that are named
 * below.  Nothing takes longer than what the caller asks for: the pool's lock
 * is held for a piece of the work only, and never for pagecache_pool_add()'s.
 */
#ifndef MIGRATION_PAGECACHE_POOL_H
#define MIGRATION_PAGECACHE_POOL_H

#include "pagecache-batch.h"

typedef struct PagecachePool PagecachePool;

/*
 * @page_bits: log2 of the page size in bytes, 9 to 31.
 * @max_bytes: what the hints may take of the host's memory.
 */
PagecachePool *pagecache_pool_new(unsigned page_bits, uint64_t max_bytes);
/* When nobody else uses it any more; takes long if there is much in it. */
void pagecache_pool_free(PagecachePool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PagecachePool, pagecache_pool_free)

/*
 * Blocks are numbered 0, 1, 2... in the order in which they are added, before
 * anything else is done.  @dirty: the dirty bitmap, which lives as long as
 * anybody adds or takes.
 */
uint32_t pagecache_pool_add_block(PagecachePool *pool, uint64_t npages,
                                  const unsigned long *dirty);

/*
 * One bit a page, valid as long as the pool.  Held: in the pool, taken or in
 * flight; the channel's scan passes over the page.  Sent: by the channel,
 * whose sender sets these bits in the migration thread; no hint counts for the
 * page any more.
 */
unsigned long *pagecache_pool_held(PagecachePool *pool, uint32_t block);
unsigned long *pagecache_pool_sent(PagecachePool *pool, uint32_t block);

/* Pages */
typedef struct PagecachePoolAdded {
    uint64_t added;
    uint64_t unfit;     /* clean, sent, offered or in the pool before */
    uint64_t dropped;   /* there is no more room */
} PagecachePoolAdded;

/*
 * Adds @n runs in any order, longer ones than PAGECACHE_BATCH_RUN_MAX among
 * them.  Pages past the end of their block are unfit.  One thread at a time.
 */
void pagecache_pool_add(PagecachePool *pool, const PagecachePoolRun *runs,
                        size_t n, PagecachePoolAdded *count);

/*
 * A turn of the migration thread begins: the channel is not about to send any
 * page.  What was added before can be taken from now on.  Migration thread.
 */
void pagecache_pool_turn(PagecachePool *pool);

/* Pages in the pool, neither taken nor in flight; of all disks, or of one */
uint64_t pagecache_pool_size(PagecachePool *pool);
uint64_t pagecache_pool_disk_size(PagecachePool *pool, uint32_t disk);
/* Bytes of the host's memory, bitmaps left out */
uint64_t pagecache_pool_bytes(PagecachePool *pool);
/* The numbers of all disks that hints were added for are below this one. */
uint32_t pagecache_pool_disks(PagecachePool *pool);

/*
 * Takes up to @max_pages from the head of @disk and appends them to @runs (of
 * PagecachePoolRun), none longer than @max_run pages.  Returns how many pages.
 * Each of them is to be passed to one of the three functions below.
 */
uint32_t pagecache_pool_take(PagecachePool *pool, uint32_t disk,
                             uint32_t max_pages, uint32_t max_run,
                             GArray *runs);
/*
 * Sets the bits in @good (bit 0 is the first page of @run, all bits are clear)
 * of those pages of a run that can be offered: dirty, and neither sent nor
 * offered while they were added.  Returns how many.
 */
uint32_t pagecache_pool_check(PagecachePool *pool, const PagecachePoolRun *run,
                              unsigned long *good);
/* Pages that were taken are in flight from now on. */
void pagecache_pool_offer(PagecachePool *pool, const PagecachePoolRun *run);
/* Pages that were taken become ordinary dirty pages. */
void pagecache_pool_release(PagecachePool *pool, const PagecachePoolRun *run);
/*
 * Pages that were taken, or are in flight, are in the pool again, with the
 * sectors that @runs say.  Those of them that are not held, because they were
 * reported or released meanwhile, or that are not dirty, are left out (and
 * released).  Returns how many pages are back.  The caller sees to it that no
 * report of the earlier offer counts any more.
 */
uint64_t pagecache_pool_put_back(PagecachePool *pool,
                                 const PagecachePoolRun *runs, size_t n);

/*
 * Pages in flight are no longer: reported, or to be sent by the channel.  Sets
 * the bits in @which of those that were, and returns how many.  Pages past
 * the end of the block were not.
 */
uint32_t pagecache_pool_land(PagecachePool *pool, uint32_t block,
                             uint64_t page, uint32_t n, unsigned long *which);

/* Releases up to @max_pages from the tail of @disk; returns how many. */
uint64_t pagecache_pool_release_tail(PagecachePool *pool, uint32_t disk,
                                     uint64_t max_pages);

/*
 * What @producer hinted of @disk is not to be offered any more, now and later:
 * from now on it is not in the pool.  Returns how many pages.  They are
 * released by pagecache_pool_sweep(), about @max_pages with each call, which
 * returns how many: 0 when there is nothing left.  One thread at a time sweeps.
 */
uint64_t pagecache_pool_give_up(PagecachePool *pool, uint32_t producer,
                                uint32_t disk);
uint64_t pagecache_pool_sweep(PagecachePool *pool, uint64_t max_pages);

/*
 * The next bit from @start on that is set in @dirty and not in @held, or @size
 * if there is none.
 */
unsigned long pagecache_pool_next_dirty(const unsigned long *dirty,
                                        const unsigned long *held,
                                        unsigned long size,
                                        unsigned long start);

#endif
