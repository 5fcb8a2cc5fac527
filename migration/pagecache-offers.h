/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what leaves the pool, and on which wire
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A thread of its own takes pages from the head of the pool, looks whether they
 * are worth an offer, and has a stock of them ready when the migration thread
 * comes by.  It also releases pages from the
 * tail, when the migration thread wants some for the channel, and those of a
 * hint producer that was given up.  So the migration thread pays for none of
 * this page by page.
 */
#ifndef MIGRATION_PAGECACHE_OFFERS_H
#define MIGRATION_PAGECACHE_OFFERS_H

#include "exec/ramblock.h"
#include "pagecache-pool.h"

/* Pages in one offer, at most */
#define PAGECACHE_OFFER_PAGES_MAX   1024

typedef struct PagecacheOffers PagecacheOffers;

/* Pages so far; why they became ordinary dirty pages, if they did */
typedef struct PagecacheOffersCounts {
    uint64_t zero;          /* a few bytes on the channel */
    uint64_t free;          /* clean: the guest has said that it is free */
    uint64_t tail;          /* for the channel */
    uint64_t given_up;      /* of a producer that was given up for the disk */
    uint64_t stale;         /* the hint was not true any more */
} PagecacheOffersCounts;

/* What is known of a page that is about to be offered */
typedef enum PagecacheLookResult {
    PAGECACHE_LOOK_SAME,
    PAGECACHE_LOOK_MOVED,   /* it stands elsewhere by now */
    PAGECACHE_LOOK_GONE,    /* it stands nowhere */
} PagecacheLookResult;

/*
 * Looks at a hint of one page once more.  Changes disk and sector of @page if
 * the answer is MOVED.  Thread of the offers, in an RCU critical section.
 */
typedef PagecacheLookResult PagecacheLook(RAMBlock *rb, PagecachePoolRun *page);

/*
 * Starts the thread.  @blocks: of RAMBlock, by their number in the pool.
 * Both belong to the caller and are there until pagecache_offers_free().
 * @look: is asked of the hints of the producer @looked_at.
 */
PagecacheOffers *pagecache_offers_new(PagecachePool *pool,
                                      const GPtrArray *blocks,
                                      unsigned page_bits, PagecacheLook *look,
                                      uint32_t looked_at);
/* Nothing more is to be done.  Any thread; does not wait. */
void pagecache_offers_stop(PagecacheOffers *offers);
/* Ends the thread, after some milliseconds at most.  Any thread. */
void pagecache_offers_free(PagecacheOffers *offers);

/* @pages of @disk shall be ready.  Any thread. */
void pagecache_offers_stock(PagecacheOffers *offers, uint32_t disk,
                            uint64_t pages);
/* Waits until there is nothing to do, for @ms at most.  Any thread. */
void pagecache_offers_settle(PagecacheOffers *offers, int ms);
/*
 * Appends up to @max_pages that are ready to @runs (of PagecachePoolRun), which
 * gets no longer than @max_runs: from now on they are in flight.  Returns how
 * many pages.  Any thread.
 */
uint64_t pagecache_offers_collect(PagecacheOffers *offers, uint32_t disk,
                                  uint64_t max_pages, guint max_runs,
                                  GArray *runs);

/*
 * @pages more of @disk shall be released: from the pool's tail, and if it is
 * empty of those that are ready.  Any thread.
 */
void pagecache_offers_release(PagecacheOffers *offers, uint32_t disk,
                              uint64_t pages);
/* What @producer hinted of @disk shall be offered no more.  Any thread. */
void pagecache_offers_give_up(PagecacheOffers *offers, uint32_t producer,
                              uint32_t disk);

/* Pages that have left the pool and are not collected, in all, or of @disk */
uint64_t pagecache_offers_ready(PagecacheOffers *offers);
uint64_t pagecache_offers_disk_ready(PagecacheOffers *offers, uint32_t disk);
/* Pages that are still to be released */
uint64_t pagecache_offers_releasing(PagecacheOffers *offers);
void pagecache_offers_counts(PagecacheOffers *offers,
                             PagecacheOffersCounts *counts);

#endif
