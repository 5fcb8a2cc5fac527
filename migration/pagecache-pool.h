/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source's pool of hinted pages, and what is in flight
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The pool holds the pages that have a hint and have gone out on neither wire.
 * From its head (in disk and sector order) pages are offered to the
 * destination; they are in flight until the destination reports them.  From
 * its tail pages are released to the migration channel.  A page is in the
 * pool at most once and is offered at most once: what was offered or sent on
 * the channel is spent.
 *
 *      hint --> pool --> offered, in flight --> reported --> (proof)
 *                 \              \
 *                  `--------------`--> released: an ordinary dirty page
 *
 * The pool never touches the dirty bitmap: a page in the pool or in flight
 * keeps its dirty bit, and whoever forgets it here loses time, not bytes.
 *
 * Pages are target pages, page numbers count within their RAM block, sectors
 * are 512 bytes, times are milliseconds of any clock that does not go back.
 * No locking: all calls from one thread (the migration thread).
 */
#ifndef MIGRATION_PAGECACHE_POOL_H
#define MIGRATION_PAGECACHE_POOL_H

typedef struct PagecachePool PagecachePool;

/* Consecutive pages of one RAM block that hold consecutive sectors */
typedef struct PagecachePoolRun {
    uint64_t sector;
    uint64_t page;
    uint32_t npages;
    uint32_t block;     /* the caller's number of the RAM block */
    uint32_t disk;      /* the caller's number of the disk */
    uint32_t producer;  /* the caller's number of the hint producer */
} PagecachePoolRun;

/* @page_bits: log2 of the page size in bytes, at least 9 */
PagecachePool *pagecache_pool_new(unsigned page_bits);
void pagecache_pool_free(PagecachePool *pool);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PagecachePool, pagecache_pool_free)

/* Blocks are numbered 0, 1, 2... in the order in which they are added. */
uint32_t pagecache_pool_add_block(PagecachePool *pool, uint64_t npages);

/*
 * One bit a page, valid as long as the pool.  Held: in the pool or in flight,
 * the channel's scan passes the page over.  Spent: was sent or offered, no
 * hint counts for the page any more; the channel's sender sets these bits.
 */
unsigned long *pagecache_pool_held(PagecachePool *pool, uint32_t block);
unsigned long *pagecache_pool_spent(PagecachePool *pool, uint32_t block);

/*
 * Adds the pages of @run that are dirty in @dirty (bitmap of the block) and
 * neither held nor spent.  Pages past the end of the block are left out.
 * Returns how many pages were added.
 */
uint64_t pagecache_pool_add(PagecachePool *pool, const PagecachePoolRun *run,
                            const unsigned long *dirty);

/*
 * Takes up to @max_pages of the first run from the head.  The pages stay held;
 * the caller passes each of them to pagecache_pool_offer() or
 * pagecache_pool_release().  False: the pool is empty.
 */
bool pagecache_pool_take_head(PagecachePool *pool, uint32_t max_pages,
                              PagecachePoolRun *run);

/*
 * Pages that were taken from the head, 1 to 65535, are in flight from now on.
 * Returns the number of the offer: offers must go out in the order of these
 * calls.
 */
uint32_t pagecache_pool_offer(PagecachePool *pool, const PagecachePoolRun *run,
                              int64_t now);
/* False: the oldest offers must end first, see pagecache_flights_full(). */
bool pagecache_pool_may_offer(const PagecachePool *pool);
/* Pages that were taken from the head become ordinary dirty pages. */
void pagecache_pool_release(PagecachePool *pool, const PagecachePoolRun *run);

/* These return how many pages were released. */
uint64_t pagecache_pool_release_tail(PagecachePool *pool, uint64_t max_pages);
/* Every page in the pool that @producer hinted, not those in flight */
uint64_t pagecache_pool_release_producer(PagecachePool *pool,
                                         uint32_t producer);
/* Pages in flight since before @offered_before, the oldest first */
uint64_t pagecache_pool_release_old(PagecachePool *pool,
                                    int64_t offered_before,
                                    uint64_t max_pages);
/* Pages in flight, those offered last first; whole offers */
uint64_t pagecache_pool_release_newest(PagecachePool *pool,
                                       uint64_t max_pages);

/* What a report says, with what is known of the offer; all 0: it is gone */
typedef struct PagecachePoolReport {
    uint32_t accepted;      /* pages that were in flight */
    uint32_t block;
    uint64_t page;          /* the first that the report names */
    uint32_t producer;      /* who had hinted them */
    int64_t offered_at;
} PagecachePoolReport;

/*
 * The destination says what became of @n pages from page @first of the offer
 * @number.  Those that are in flight are so no longer, nor held, and their bits
 * are set in @accepted (bit 0 is the first page; the caller cleared the
 * bitmap).  Pages that are not in flight do not count.  False, and nothing is
 * changed: the offer is in flight and has no such pages.
 */
bool pagecache_pool_report(PagecachePool *pool, uint32_t number,
                           uint32_t first, uint32_t n, unsigned long *accepted,
                           PagecachePoolReport *report);

/* In pages */
uint64_t pagecache_pool_size(const PagecachePool *pool);
uint64_t pagecache_pool_in_flight(const PagecachePool *pool);

/*
 * The next bit at or after @start that is set in @dirty and not in @held;
 * @size if there is none.
 */
unsigned long pagecache_pool_next_dirty(const unsigned long *dirty,
                                        const unsigned long *held,
                                        unsigned long size,
                                        unsigned long start);

#endif
