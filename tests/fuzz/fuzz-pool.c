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
#define DISKS       3
#define PRODUCERS   3
#define MAX_PAGES   150

static const unsigned block_pages[BLOCKS] = { MAX_PAGES, 70 };

enum where { NOWHERE, FRESH, POOL, IN_FLIGHT, DEAD };

typedef struct Page {
    enum where where;
    bool sent, offered;
    uint32_t disk, producer;
    uint64_t sector;
} Page;

typedef struct World {
    PagecachePool *pool;
    unsigned long *dirty[BLOCKS];
    Page pages[BLOCKS][MAX_PAGES];
    bool given_up[PRODUCERS][DISKS];
} World;

static uint64_t count(const World *w, enum where where, uint32_t disk)
{
    uint64_t n = 0;
    unsigned b, i;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            n += w->pages[b][i].where == where && w->pages[b][i].disk == disk;
        }
    }
    return n;
}

/* Is the pool what the model says, in all that can be seen from outside? */
static void compare(const World *w)
{
    uint64_t size = 0;
    unsigned b, i;

    for (i = 0; i < DISKS; i++) {
        uint64_t here = count(w, POOL, i) + count(w, FRESH, i);

        g_assert_cmpint(pagecache_pool_disk_size(w->pool, i), ==, here);
        size += here;
    }
    g_assert_cmpint(pagecache_pool_size(w->pool), ==, size);
    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            const Page *p = &w->pages[b][i];

            g_assert_true(test_bit(i, pagecache_pool_held(w->pool, b)) ==
                          (p->where != NOWHERE));
            g_assert_true(test_bit(i, pagecache_pool_sent(w->pool, b)) ==
                          p->sent);
        }
    }
}

/* Pages that are held no longer: they were @where.  Returns how many. */
static uint64_t settle(World *w, enum where where)
{
    uint64_t n = 0;
    unsigned b, i;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            Page *p = &w->pages[b][i];

            if (p->where != NOWHERE &&
                !test_bit(i, pagecache_pool_held(w->pool, b))) {
                g_assert_cmpint(p->where, ==, where);
                p->where = NOWHERE;
                n++;
            }
        }
    }
    return n;
}

/* --- the steps --- */

static enum where added(const World *w, uint32_t producer, uint32_t disk)
{
    return w->given_up[producer][disk] ? DEAD : FRESH;
}

static void add(World *w, FuzzInput *in)
{
    PagecachePoolRun run = {
        .block = fuzz_u8(in) % BLOCKS,
        .page = fuzz_u8(in),
        .npages = fuzz_u8(in),
        .disk = fuzz_u8(in) % DISKS,
        .producer = fuzz_u8(in) % PRODUCERS,
        .sector = fuzz_u16(in),
    };
    uint64_t expected = 0, i;
    PagecachePoolAdded got;

    for (i = 0; i < run.npages && run.page + i < block_pages[run.block];
         i++) {
        Page *p = &w->pages[run.block][run.page + i];

        if (p->where == NOWHERE && !p->sent && !p->offered &&
            test_bit(run.page + i, w->dirty[run.block])) {
            *p = (Page) {
                .where = added(w, run.producer, run.disk), .disk = run.disk,
                .producer = run.producer,
                .sector = run.sector + i * PAGE_SECTORS,
            };
            expected++;
        }
    }
    pagecache_pool_add(w->pool, &run, 1, &got);
    g_assert_cmpint(got.added, ==, expected);
    g_assert_cmpint(got.unfit, ==, run.npages - expected);
    g_assert_cmpint(got.dropped, ==, 0);
}

static void turn(World *w, FuzzInput *in)
{
    unsigned b, i;

    pagecache_pool_turn(w->pool);
    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            if (w->pages[b][i].where == FRESH) {
                w->pages[b][i].where = POOL;
            }
        }
    }
}

/* Some pages of @run are offered, some put back, some released. */
static void dispose(World *w, const PagecachePoolRun *run, uint8_t refused,
                    uint8_t back)
{
    g_autofree unsigned long *good = bitmap_new(run->npages);
    uint32_t i;

    pagecache_pool_check(w->pool, run, good);
    for (i = 0; i < run->npages; i++) {
        Page *p = &w->pages[run->block][run->page + i];
        PagecachePoolRun one = *run;
        bool dirty = test_bit(run->page + i, w->dirty[run->block]);

        one.page += i;
        one.npages = 1;
        g_assert_cmpint(p->where, ==, POOL);
        g_assert_cmpint(p->disk, ==, run->disk);
        g_assert_cmpint(p->producer, ==, run->producer);
        g_assert_cmpint(p->sector, ==, run->sector + i * PAGE_SECTORS);
        g_assert_true(test_bit(i, good) == (dirty && !p->sent));
        if (back >> (i % 8) & 1) {
            one.sector = p->sector + 8;
            g_assert_cmpint(pagecache_pool_put_back(w->pool, &one, 1), ==,
                            dirty);
            p->where = dirty ? added(w, p->producer, p->disk) : NOWHERE;
            p->sector = one.sector;
        } else if (refused >> (i % 8) & 1) {
            pagecache_pool_release(w->pool, &one);
            p->where = NOWHERE;
        } else {
            pagecache_pool_offer(w->pool, &one);
            p->where = IN_FLIGHT;
            p->offered = true;
        }
    }
}

static void take(World *w, FuzzInput *in)
{
    uint32_t max = fuzz_u8(in), disk = fuzz_u8(in) % (DISKS + 1);
    uint32_t max_run = 1 + fuzz_u8(in) % 64, sum = 0;
    uint8_t refused = fuzz_u8(in), back = fuzz_u8(in);
    uint64_t there = count(w, POOL, disk);
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE,
                                         sizeof(PagecachePoolRun));
    guint i;

    g_assert_cmpint(pagecache_pool_take(w->pool, disk, max, max_run, runs),
                    ==, MIN(max, there));
    for (i = 0; i < runs->len; i++) {
        PagecachePoolRun *run = &g_array_index(runs, PagecachePoolRun, i);

        g_assert_cmpint(run->npages, >, 0);
        g_assert_cmpint(run->npages, <=, max_run);
        sum += run->npages;
        dispose(w, run, refused, back);
    }
    g_assert_cmpint(sum, ==, MIN(max, there));
}

static void release_tail(World *w, FuzzInput *in)
{
    uint64_t max = fuzz_u8(in);
    uint32_t disk = fuzz_u8(in) % (DISKS + 1);
    uint64_t size = count(w, POOL, disk);
    uint64_t n = pagecache_pool_release_tail(w->pool, disk, max);

    g_assert_cmpint(n, ==, MIN(max, size));
    g_assert_cmpint(settle(w, POOL), ==, n);
    g_assert_cmpint(count(w, POOL, disk), ==, size - n);
}

static void give_up(World *w, FuzzInput *in)
{
    uint8_t which = fuzz_u8(in);
    uint32_t producer = which % PRODUCERS, disk = which / PRODUCERS % DISKS;
    uint64_t n = 0;
    unsigned b, i;

    /* rarely, or nothing else happens for long */
    if (fuzz_u8(in) % 8) {
        return;
    }
    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < block_pages[b]; i++) {
            Page *p = &w->pages[b][i];

            if ((p->where == POOL || p->where == FRESH) &&
                p->producer == producer && p->disk == disk) {
                p->where = DEAD;
                n++;
            }
        }
    }
    w->given_up[producer][disk] = true;
    g_assert_cmpint(pagecache_pool_give_up(w->pool, producer, disk), ==, n);
}

static void sweep(World *w, FuzzInput *in)
{
    uint64_t n = pagecache_pool_sweep(w->pool, 1 + fuzz_u8(in)), left = 0;
    unsigned i;

    g_assert_cmpint(settle(w, DEAD), ==, n);
    for (i = 0; i < DISKS; i++) {
        left += count(w, DEAD, i);
    }
    g_assert_true(n || !left);
}

static void land(World *w, FuzzInput *in)
{
    uint32_t block = fuzz_u8(in) % BLOCKS;
    uint64_t page = fuzz_u8(in) == 255 ? UINT64_MAX - fuzz_u8(in)
                                       : fuzz_u8(in);
    uint32_t n = fuzz_u8(in), i, expected = 0;
    g_autofree unsigned long *which = bitmap_new(n + 1);
    uint32_t got = pagecache_pool_land(w->pool, block, page, n, which);

    for (i = 0; i < n; i++) {
        bool flies = page < block_pages[block] &&
                     i < block_pages[block] - page &&
                     w->pages[block][page + i].where == IN_FLIGHT;

        g_assert_true(test_bit(i, which) == flies);
        if (flies) {
            w->pages[block][page + i].where = NOWHERE;
            expected++;
        }
    }
    g_assert_cmpint(got, ==, expected);
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
        set_bit(page, pagecache_pool_sent(w->pool, block));
        w->pages[block][page].sent = true;
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

static void (*const steps[])(World *w, FuzzInput *in) = {
    add, take, release_tail, give_up, sweep, turn, land, change, next_dirty,
    add,
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { .data = data, .size = size };
    g_autofree World *w = g_new0(World, 1);
    unsigned b;

    w->pool = pagecache_pool_new(PAGE_BITS, UINT64_MAX);
    for (b = 0; b < BLOCKS; b++) {
        w->dirty[b] = bitmap_new(block_pages[b]);
        bitmap_set(w->dirty[b], 0, block_pages[b]);
        pagecache_pool_add_block(w->pool, block_pages[b], w->dirty[b]);
    }
    while (in.size) {
        steps[fuzz_u8(&in) % G_N_ELEMENTS(steps)](w, &in);
        compare(w);
    }
    pagecache_pool_free(w->pool);
    for (b = 0; b < BLOCKS; b++) {
        g_free(w->dirty[b]);
    }
    return 0;
}
