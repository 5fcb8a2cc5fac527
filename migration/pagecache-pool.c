/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source's pool of hinted pages, and what is in flight
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "pagecache-flights.h"
#include "pagecache-pool.h"

typedef struct PoolBlock {
    uint64_t npages;
    unsigned long *held;        /* in the pool, taken, or in flight */
    unsigned long *in_flight;   /* subset of held */
    unsigned long *spent;
} PoolBlock;

struct PagecachePool {
    unsigned page_bits;
    GPtrArray *blocks;          /* of PoolBlock */
    GSequence *runs;            /* of PagecachePoolRun, by disk and sector */
    /* Which pages of an offer are in flight, PoolBlock.in_flight says. */
    PagecacheFlights *flights;
    uint64_t size;
};

static PoolBlock *pool_block(const PagecachePool *pool, uint32_t block)
{
    g_assert(block < pool->blocks->len);
    return g_ptr_array_index(pool->blocks, block);
}

static uint64_t pages_to_sectors(const PagecachePool *pool, uint64_t pages)
{
    return pages << (pool->page_bits - 9);
}

static int cmp_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int run_cmp(gconstpointer pa, gconstpointer pb, gpointer opaque)
{
    const PagecachePoolRun *a = pa, *b = pb;
    int ret = cmp_u64(a->disk, b->disk);

    if (!ret) {
        ret = cmp_u64(a->sector, b->sector);
    }
    if (!ret) {
        ret = cmp_u64(a->block, b->block);
    }
    return ret ? ret : cmp_u64(a->page, b->page);
}

static void pool_block_free(gpointer data)
{
    PoolBlock *b = data;

    g_free(b->held);
    g_free(b->in_flight);
    g_free(b->spent);
    g_free(b);
}

PagecachePool *pagecache_pool_new(unsigned page_bits)
{
    PagecachePool *pool = g_new0(PagecachePool, 1);

    g_assert(page_bits >= 9);
    pool->page_bits = page_bits;
    pool->blocks = g_ptr_array_new_with_free_func(pool_block_free);
    pool->runs = g_sequence_new(g_free);
    pool->flights = pagecache_flights_new(0);
    return pool;
}

void pagecache_pool_free(PagecachePool *pool)
{
    if (!pool) {
        return;
    }
    g_sequence_free(pool->runs);
    pagecache_flights_free(pool->flights);
    g_ptr_array_unref(pool->blocks);
    g_free(pool);
}

uint32_t pagecache_pool_add_block(PagecachePool *pool, uint64_t npages)
{
    PoolBlock *b = g_new0(PoolBlock, 1);

    b->npages = npages;
    b->held = bitmap_new(npages);
    b->in_flight = bitmap_new(npages);
    b->spent = bitmap_new(npages);
    g_ptr_array_add(pool->blocks, b);
    return pool->blocks->len - 1;
}

unsigned long *pagecache_pool_held(PagecachePool *pool, uint32_t block)
{
    return pool_block(pool, block)->held;
}

unsigned long *pagecache_pool_spent(PagecachePool *pool, uint32_t block)
{
    return pool_block(pool, block)->spent;
}

uint64_t pagecache_pool_size(const PagecachePool *pool)
{
    return pool->size;
}

uint64_t pagecache_pool_in_flight(const PagecachePool *pool)
{
    return pagecache_flights_pages(pool->flights);
}

uint64_t pagecache_pool_add(PagecachePool *pool, const PagecachePoolRun *run,
                            const unsigned long *dirty)
{
    PoolBlock *b = pool_block(pool, run->block);
    uint64_t end, page, first, added = 0;

    if (run->page >= b->npages) {
        return 0;
    }
    end = run->page + MIN(run->npages, b->npages - run->page);

    /* The eligible pages of the run, as one run or several */
    for (page = run->page; page < end; page++) {
        PagecachePoolRun *part;

        first = page;
        while (page < end && test_bit(page, dirty) &&
               !test_bit(page, b->held) && !test_bit(page, b->spent)) {
            page++;
        }
        if (page == first) {
            continue;
        }
        part = g_memdup2(run, sizeof(*run));
        part->page = first;
        part->npages = page - first;
        part->sector = run->sector + pages_to_sectors(pool, first - run->page);
        g_sequence_insert_sorted(pool->runs, part, run_cmp, NULL);
        bitmap_set(b->held, first, page - first);
        added += page - first;
    }
    pool->size += added;
    return added;
}

bool pagecache_pool_take_head(PagecachePool *pool, uint32_t max_pages,
                              PagecachePoolRun *run)
{
    GSequenceIter *it = g_sequence_get_begin_iter(pool->runs);
    PagecachePoolRun *head;

    if (g_sequence_iter_is_end(it) || !max_pages) {
        return false;
    }
    head = g_sequence_get(it);
    *run = *head;
    if (head->npages <= max_pages) {
        g_sequence_remove(it);
    } else {
        /* Its rest keeps its place: nothing sorts before it. */
        run->npages = max_pages;
        head->npages -= max_pages;
        head->page += max_pages;
        head->sector += pages_to_sectors(pool, max_pages);
        /* ...unless another run starts in between */
        g_sequence_sort_changed(it, run_cmp, NULL);
    }
    pool->size -= run->npages;
    return true;
}

bool pagecache_pool_may_offer(const PagecachePool *pool)
{
    return !pagecache_flights_full(pool->flights);
}

uint32_t pagecache_pool_offer(PagecachePool *pool, const PagecachePoolRun *run,
                              int64_t now)
{
    PoolBlock *b = pool_block(pool, run->block);
    const PagecacheFlight flight = {
        .page = run->page, .producer = run->producer, .block = run->block,
        .disk = run->disk, .npages = run->npages,
    };

    g_assert(run->npages && run->npages <= UINT16_MAX &&
             run->block <= UINT16_MAX && run->disk <= UINT16_MAX);
    bitmap_set(b->in_flight, run->page, run->npages);
    bitmap_set(b->spent, run->page, run->npages);
    return pagecache_flights_append(pool->flights, &flight, now);
}

void pagecache_pool_release(PagecachePool *pool, const PagecachePoolRun *run)
{
    PoolBlock *b = pool_block(pool, run->block);

    bitmap_clear(b->held, run->page, run->npages);
}

uint64_t pagecache_pool_release_tail(PagecachePool *pool, uint64_t max_pages)
{
    uint64_t released = 0;

    while (released < max_pages && pool->size) {
        GSequenceIter *it;
        PagecachePoolRun *tail, part;

        it = g_sequence_iter_prev(g_sequence_get_end_iter(pool->runs));
        tail = g_sequence_get(it);
        part = *tail;
        part.npages = MIN(tail->npages, max_pages - released);
        part.page += tail->npages - part.npages;
        tail->npages -= part.npages;
        pagecache_pool_release(pool, &part);
        pool->size -= part.npages;
        released += part.npages;
        if (!tail->npages) {
            g_sequence_remove(it);
        }
    }
    return released;
}

uint64_t pagecache_pool_release_producer(PagecachePool *pool,
                                         uint32_t producer)
{
    GSequenceIter *it, *next;
    uint64_t released = 0;

    for (it = g_sequence_get_begin_iter(pool->runs);
         !g_sequence_iter_is_end(it); it = next) {
        PagecachePoolRun *run = g_sequence_get(it);

        next = g_sequence_iter_next(it);
        if (run->producer == producer) {
            pagecache_pool_release(pool, run);
            released += run->npages;
            g_sequence_remove(it);
        }
    }
    pool->size -= released;
    return released;
}

static uint64_t flight_release(PagecachePool *pool, uint32_t number)
{
    const PagecacheFlight *fl = pagecache_flights_find(pool->flights, number);
    PoolBlock *b = pool_block(pool, fl->block);
    uint64_t page, end = fl->page + fl->npages;
    uint16_t released = 0;

    for (page = fl->page; page < end; page++) {
        if (test_and_clear_bit(page, b->in_flight)) {
            clear_bit(page, b->held);
            released++;
        }
    }
    g_assert(released == fl->left);
    pagecache_flights_land(pool->flights, number, released);
    return released;
}

uint64_t pagecache_pool_release_old(PagecachePool *pool,
                                    int64_t offered_before,
                                    uint64_t max_pages)
{
    uint64_t released = 0;
    uint32_t number;

    while (released < max_pages &&
           pagecache_flights_oldest(pool->flights, &number)) {
        const PagecacheFlight *fl = pagecache_flights_find(pool->flights,
                                                           number);

        if (pagecache_flights_offered_at(pool->flights, fl) >=
            offered_before) {
            break;
        }
        released += flight_release(pool, number);
    }
    return released;
}

uint64_t pagecache_pool_release_newest(PagecachePool *pool, uint64_t max_pages)
{
    uint64_t released = 0;
    uint32_t number;

    while (pagecache_flights_newest(pool->flights, &number) &&
           released + pagecache_flights_find(pool->flights, number)->left <=
           max_pages) {
        released += flight_release(pool, number);
    }
    return released;
}

bool pagecache_pool_report(PagecachePool *pool, uint32_t number,
                           uint32_t first, uint32_t n, unsigned long *accepted,
                           PagecachePoolReport *report)
{
    const PagecacheFlight *fl = pagecache_flights_find(pool->flights, number);
    PoolBlock *b;
    uint32_t i;

    *report = (PagecachePoolReport) { 0 };
    if (!fl) {
        return true;
    }
    if (first > fl->npages || n > fl->npages - first) {
        return false;
    }
    b = pool_block(pool, fl->block);
    report->block = fl->block;
    report->page = fl->page + first;
    report->producer = fl->producer;
    report->offered_at = pagecache_flights_offered_at(pool->flights, fl);
    for (i = 0; i < n; i++) {
        if (test_and_clear_bit(report->page + i, b->in_flight)) {
            clear_bit(report->page + i, b->held);
            set_bit(i, accepted);
            report->accepted++;
        }
    }
    pagecache_flights_land(pool->flights, number, report->accepted);
    return true;
}

unsigned long pagecache_pool_next_dirty(const unsigned long *dirty,
                                        const unsigned long *held,
                                        unsigned long size,
                                        unsigned long start)
{
    unsigned long i, nwords = BITS_TO_LONGS(size);

    if (start >= size) {
        return size;
    }
    for (i = BIT_WORD(start); i < nwords; i++) {
        unsigned long word = dirty[i] & ~held[i];

        if (i == BIT_WORD(start)) {
            word &= BITMAP_FIRST_WORD_MASK(start);
        }
        if (word) {
            return MIN(size, i * BITS_PER_LONG + ctzl(word));
        }
    }
    return size;
}
