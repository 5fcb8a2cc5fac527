/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing target: the map and the pool of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The input is a sequence of what can happen to a pool.  After each step the
 * pool is compared with a model so simple that it can't be wrong in the same
 * way: one record for each page, looked at one by one.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "pagecache-pool.h"
#include "fuzz.h"

#define PAGE_BITS   12
#define PAGE_SECTORS (1u << (PAGE_BITS - 9))
#define BLOCKS      2
#define MAX_PAGES   150

static const unsigned block_pages[BLOCKS] = { MAX_PAGES, 70 };

enum where { NOWHERE, POOL, IN_FLIGHT };

typedef struct Page {
    enum where where;
    bool spent;
    uint32_t disk, producer;
    uint64_t sector;
    int64_t offered_at;
    uint32_t offer;             /* its number */
} Page;

typedef struct World {
    PagecachePool *pool;
    unsigned long *dirty[BLOCKS];
    Page pages[BLOCKS][MAX_PAGES];
    int64_t now;
    GArray *offers;             /* of PagecachePoolRun, by number */
} World;

static uint64_t count(const World *w, enum where where)
{
    uint64_t n = 0;
    unsigned b, i;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            n += w->pages[b][i].where == where;
        }
    }
    return n;
}

/* Is the pool what the model says, in all that can be seen from outside? */
static void compare(const World *w)
{
    unsigned b, i;

    g_assert_cmpint(pagecache_pool_size(w->pool), ==, count(w, POOL));
    g_assert_cmpint(pagecache_pool_in_flight(w->pool), ==,
                    count(w, IN_FLIGHT));
    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            const Page *p = &w->pages[b][i];

            g_assert_true(test_bit(i, pagecache_pool_held(w->pool, b)) ==
                          (p->where != NOWHERE));
            g_assert_true(test_bit(i, pagecache_pool_spent(w->pool, b)) ==
                          p->spent);
        }
    }
}

/*
 * Pages that are held no longer: they were @where, and @good says which of
 * them may go.  Returns how many.
 */
static uint64_t settle(World *w, enum where where,
                       bool (*good)(const Page *p, int64_t value),
                       int64_t value)
{
    uint64_t n = 0;
    unsigned b, i;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            Page *p = &w->pages[b][i];

            if (p->where != NOWHERE &&
                !test_bit(i, pagecache_pool_held(w->pool, b))) {
                g_assert_cmpint(p->where, ==, where);
                g_assert_true(!good || good(p, value));
                p->where = NOWHERE;
                n++;
            }
        }
    }
    return n;
}

static bool offered_before(const Page *p, int64_t when)
{
    return p->offered_at < when;
}

static bool hinted_by(const Page *p, int64_t producer)
{
    return p->producer == producer;
}

/* --- the steps --- */

static void add(World *w, FuzzInput *in)
{
    PagecachePoolRun run = {
        .block = fuzz_u8(in) % BLOCKS,
        .page = fuzz_u8(in),
        .npages = fuzz_u8(in),
        .disk = fuzz_u8(in) % 3,
        .producer = fuzz_u8(in) % 3,
        .sector = fuzz_u16(in),
    };
    uint64_t expected = 0, i;

    for (i = 0; i < run.npages && run.page + i < block_pages[run.block];
         i++) {
        Page *p = &w->pages[run.block][run.page + i];

        if (p->where == NOWHERE && !p->spent &&
            test_bit(run.page + i, w->dirty[run.block])) {
            *p = (Page) {
                .where = POOL, .disk = run.disk, .producer = run.producer,
                .sector = run.sector + i * PAGE_SECTORS,
            };
            expected++;
        }
    }
    g_assert_cmpint(pagecache_pool_add(w->pool, &run, w->dirty[run.block]),
                    ==, expected);
}

/* Does nothing in the pool stand before @run on the disks? */
static void check_first(const World *w, const PagecachePoolRun *run)
{
    unsigned b, i;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            const Page *p = &w->pages[b][i];

            g_assert_true(p->where != POOL || p->disk > run->disk ||
                          (p->disk == run->disk && p->sector >= run->sector));
        }
    }
}

static void offer(World *w, FuzzInput *in)
{
    uint32_t max = fuzz_u8(in), i;
    uint8_t refused = fuzz_u8(in);
    bool some = count(w, POOL) && max;
    PagecachePoolRun run, part;

    g_assert_true(pagecache_pool_take_head(w->pool, max, &run) == some);
    if (!some) {
        return;
    }
    g_assert_cmpint(run.npages, >, 0);
    g_assert_cmpint(run.npages, <=, max);
    check_first(w, &run);
    part = run;
    part.npages = 0;
    for (i = 0; i <= run.npages; i++) {
        Page *p = &w->pages[run.block][run.page + i];
        bool good = i < run.npages && !(refused >> (i % 8) & 1);

        if (i < run.npages) {
            g_assert_cmpint(p->where, ==, POOL);
            g_assert_cmpint(p->disk, ==, run.disk);
            g_assert_cmpint(p->sector, ==, run.sector + i * PAGE_SECTORS);
            p->where = good ? IN_FLIGHT : NOWHERE;
            p->spent |= good;
            p->offered_at = w->now;
        }
        if (good) {
            part.npages++;
            continue;
        }
        if (part.npages) {
            uint32_t number = pagecache_pool_offer(w->pool, &part, w->now), k;

            g_assert_cmpint(number, ==, w->offers->len);
            for (k = 0; k < part.npages; k++) {
                w->pages[part.block][part.page + k].offer = number;
            }
            g_array_append_val(w->offers, part);
        }
        if (i < run.npages) {
            PagecachePoolRun one = { .block = run.block, .npages = 1,
                                     .page = run.page + i };

            pagecache_pool_release(w->pool, &one);
        }
        part.page = run.page + i + 1;
        part.sector = run.sector + (i + 1) * PAGE_SECTORS;
        part.npages = 0;
    }
}

static void release_tail(World *w, FuzzInput *in)
{
    uint64_t max = fuzz_u8(in), size = count(w, POOL);
    uint64_t n = pagecache_pool_release_tail(w->pool, max);

    g_assert_cmpint(n, ==, MIN(max, size));
    g_assert_cmpint(settle(w, POOL, NULL, 0), ==, n);
}

static void release_producer(World *w, FuzzInput *in)
{
    uint32_t producer = fuzz_u8(in) % 4;
    uint64_t n = pagecache_pool_release_producer(w->pool, producer);
    unsigned b, i;

    g_assert_cmpint(settle(w, POOL, hinted_by, producer), ==, n);
    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            g_assert_false(w->pages[b][i].where == POOL &&
                           w->pages[b][i].producer == producer);
        }
    }
}

static void release_old(World *w, FuzzInput *in)
{
    int64_t when = w->now - fuzz_u8(in) % 16;
    uint64_t max = fuzz_u8(in);
    uint64_t n = pagecache_pool_release_old(w->pool, when, max);
    unsigned b, i;

    g_assert_cmpint(settle(w, IN_FLIGHT, offered_before, when), ==, n);
    for (b = 0; b < BLOCKS && n < max; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            g_assert_false(w->pages[b][i].where == IN_FLIGHT &&
                           w->pages[b][i].offered_at < when);
        }
    }
}

static void release_newest(World *w, FuzzInput *in)
{
    uint64_t max = fuzz_u8(in);
    uint64_t n = pagecache_pool_release_newest(w->pool, max);

    g_assert_cmpint(n, <=, max);
    g_assert_cmpint(settle(w, IN_FLIGHT, NULL, 0), ==, n);
}

/* Is any page of that offer in flight? */
static bool flies(const World *w, uint32_t number)
{
    const PagecachePoolRun *o;
    unsigned i;

    if (number >= w->offers->len) {
        return false;
    }
    o = &g_array_index(w->offers, PagecachePoolRun, number);
    for (i = 0; i < o->npages; i++) {
        const Page *p = &w->pages[o->block][o->page + i];

        if (p->where == IN_FLIGHT && p->offer == number) {
            return true;
        }
    }
    return false;
}

static void report(World *w, FuzzInput *in)
{
    uint32_t number = fuzz_u8(in) == 255 ? UINT32_MAX - fuzz_u8(in)
                                         : fuzz_u8(in);
    uint32_t first = fuzz_u8(in), n = fuzz_u8(in), i, expected = 0;
    g_autofree unsigned long *accepted = bitmap_new(n + 1);
    const PagecachePoolRun *o = flies(w, number) ?
        &g_array_index(w->offers, PagecachePoolRun, number) : NULL;
    int64_t offered_at = 0;
    PagecachePoolReport r;
    bool fits = !o || first + n <= o->npages;

    g_assert_true(pagecache_pool_report(w->pool, number, first, n, accepted,
                                        &r) == fits);
    for (i = 0; i < n; i++) {
        Page *p = o && fits ? &w->pages[o->block][o->page + first + i] : NULL;
        bool good = p && p->where == IN_FLIGHT;

        g_assert_true(test_bit(i, accepted) == good);
        if (good) {
            g_assert_cmpint(p->offer, ==, number);
            p->where = NOWHERE;
            offered_at = p->offered_at;
            expected++;
        }
    }
    g_assert_cmpint(r.accepted, ==, expected);
    if (expected) {
        g_assert_cmpint(r.block, ==, o->block);
        g_assert_cmpint(r.page, ==, o->page + first);
        g_assert_cmpint(r.producer, ==, o->producer);
        g_assert_cmpint(r.offered_at, ==, offered_at);
    }
}

/* The guest writes, or the channel sends. */
static void change(World *w, FuzzInput *in)
{
    uint32_t block = fuzz_u8(in) % BLOCKS, what = fuzz_u8(in);
    unsigned page = fuzz_u8(in) % block_pages[block];

    if (what & 1) {
        set_bit(page, w->dirty[block]);
    } else {
        clear_bit(page, w->dirty[block]);
        set_bit(page, pagecache_pool_spent(w->pool, block));
        w->pages[block][page].spent = true;
    }
}

static void next_dirty(World *w, FuzzInput *in)
{
    uint32_t block = fuzz_u8(in) % BLOCKS;
    unsigned long size = fuzz_u8(in) % (block_pages[block] + 1);
    unsigned long start = fuzz_u8(in), i;

    for (i = MIN(start, size); i < size; i++) {
        if (test_bit(i, w->dirty[block]) &&
            w->pages[block][i].where == NOWHERE) {
            break;
        }
    }
    g_assert_cmpint(pagecache_pool_next_dirty(
                        w->dirty[block], pagecache_pool_held(w->pool, block),
                        size, start), ==, i);
}

static void wait_a_while(World *w, FuzzInput *in)
{
    w->now += fuzz_u8(in) % 8;
}

static void (*const steps[])(World *w, FuzzInput *in) = {
    add, offer, release_tail, release_producer, release_old, release_newest,
    report, change, next_dirty, wait_a_while,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { .data = data, .size = size };
    g_autofree World *w = g_new0(World, 1);
    unsigned b;

    w->pool = pagecache_pool_new(PAGE_BITS);
    w->offers = g_array_new(FALSE, FALSE, sizeof(PagecachePoolRun));
    for (b = 0; b < BLOCKS; b++) {
        pagecache_pool_add_block(w->pool, block_pages[b]);
        w->dirty[b] = bitmap_new(block_pages[b]);
        bitmap_set(w->dirty[b], 0, block_pages[b]);
    }
    while (in.size) {
        steps[fuzz_u8(&in) % G_N_ELEMENTS(steps)](w, &in);
        compare(w);
    }
    pagecache_pool_free(w->pool);
    g_array_unref(w->offers);
    for (b = 0; b < BLOCKS; b++) {
        g_free(w->dirty[b]);
    }
    return 0;
}
