/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of batches of hints, and of the sort that comes before them
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The code under test is included, so that its inner state can be checked.
 */
#include "../../migration/pagecache-batch.c"
#include "pagecache-sort.h"

#define PAGE_BITS   12
#define DISK        3
#define PRODUCER    5

typedef struct Fixture {
    PagecacheBatch *batch;
} Fixture;

static void set_up(Fixture *fix, gconstpointer opaque)
{
    fix->batch = pagecache_batch_new(PAGE_BITS, DISK, PRODUCER);
}

static void tear_down(Fixture *fix, gconstpointer opaque)
{
    pagecache_batch_free(fix->batch);
}

static void append(Fixture *fix, uint64_t sector, uint64_t page, uint32_t n)
{
    PagecachePoolRun run = {
        .sector = sector, .page = page, .npages = n, .block = 1, .disk = DISK,
        .producer = PRODUCER,
    };

    g_assert_true(pagecache_batch_append(fix->batch, &run));
}

static void expect(const PagecachePoolRun *run, uint64_t sector,
                   uint64_t page, uint32_t n)
{
    g_assert_cmpuint(run->sector, ==, sector);
    g_assert_cmpuint(run->page, ==, page);
    g_assert_cmpuint(run->npages, ==, n);
    g_assert_cmpuint(run->block, ==, 1);
    g_assert_cmpuint(run->disk, ==, DISK);
    g_assert_cmpuint(run->producer, ==, PRODUCER);
}

static void expect_head(Fixture *fix, uint32_t max, uint64_t sector,
                        uint64_t page, uint32_t n)
{
    PagecachePoolRun run;

    g_assert_cmpuint(pagecache_batch_head(fix->batch), ==, sector);
    g_assert_true(pagecache_batch_take_head(fix->batch, max, &run));
    expect(&run, sector, page, n);
}

static void expect_tail(Fixture *fix, uint32_t max, uint64_t sector,
                        uint64_t page, uint32_t n)
{
    PagecachePoolRun run;

    g_assert_true(pagecache_batch_take_tail(fix->batch, max, &run));
    expect(&run, sector, page, n);
}

static void expect_empty(Fixture *fix)
{
    PagecachePoolRun run;

    g_assert_cmpuint(pagecache_batch_pages(fix->batch), ==, 0);
    g_assert_false(pagecache_batch_take_head(fix->batch, 1, &run));
    g_assert_false(pagecache_batch_take_tail(fix->batch, 1, &run));
}

static void test_empty(Fixture *fix, gconstpointer opaque)
{
    expect_empty(fix);
    pagecache_batch_seal(fix->batch);
    expect_empty(fix);
    pagecache_batch_free(NULL);
}

static void test_join(Fixture *fix, gconstpointer opaque)
{
    append(fix, 80, 10, 2);
    append(fix, 96, 12, 3);
    append(fix, 120, 16, 1);        /* another page */
    append(fix, 136, 17, 1);        /* another sector */
    g_assert_cmpuint(pagecache_batch_pages(fix->batch), ==, 7);
    g_assert_cmpuint(pagecache_batch_tail(fix->batch), ==, 136);
    expect_head(fix, 9, 80, 10, 5);
    expect_head(fix, 9, 120, 16, 1);
    expect_head(fix, 9, 136, 17, 1);
    expect_empty(fix);
}

static void test_join_limit(Fixture *fix, gconstpointer opaque)
{
    append(fix, 0, 0, PAGECACHE_BATCH_RUN_MAX - 1);
    append(fix, 8ull * (PAGECACHE_BATCH_RUN_MAX - 1),
           PAGECACHE_BATCH_RUN_MAX - 1, 2);
    expect_head(fix, UINT32_MAX, 0, 0, PAGECACHE_BATCH_RUN_MAX - 1);
    expect_head(fix, UINT32_MAX, 8ull * (PAGECACHE_BATCH_RUN_MAX - 1),
                PAGECACHE_BATCH_RUN_MAX - 1, 2);
    expect_empty(fix);
}

static void test_pieces(Fixture *fix, gconstpointer opaque)
{
    append(fix, 1000, 50, 10);
    append(fix, 5000, 0, 1);
    expect_head(fix, 3, 1000, 50, 3);
    expect_tail(fix, 4, 5000, 0, 1);
    expect_tail(fix, 4, 1048, 56, 4);
    expect_head(fix, 3, 1024, 53, 3);
    expect_empty(fix);
}

/* Numbers that do not fit into what is stored, and come back whole */
static void test_large_numbers(Fixture *fix, gconstpointer opaque)
{
    const uint64_t far = 1ull << 53, high = 1ull << 39;

    append(fix, 8, 5, 1);
    append(fix, UINT32_MAX, high + 7, 2);
    append(fix, 1ull << 33, UINT32_MAX, 1);
    append(fix, (1ull << 33) + 8, 1ull << 32, 1);
    append(fix, far, 9, 4);
    expect_tail(fix, 1, far + 24, 12, 1);
    expect_head(fix, 9, 8, 5, 1);
    expect_head(fix, 1, UINT32_MAX, high + 7, 1);
    expect_head(fix, 1, UINT32_MAX + 8ull, high + 8, 1);
    expect_head(fix, 9, 1ull << 33, UINT32_MAX, 1);
    expect_head(fix, 9, (1ull << 33) + 8, 1ull << 32, 1);
    expect_head(fix, 9, far, 9, 3);
    expect_empty(fix);
}

/* A page of a run that is taken in pieces may be as far as the field goes. */
static void test_end_of_chunk(Fixture *fix, gconstpointer opaque)
{
    uint64_t last = UINT32_MAX - ((uint64_t)PAGECACHE_BATCH_RUN_MAX <<
                                  (PAGE_BITS - 9));

    append(fix, 0, 0, 1);
    append(fix, last, 100, PAGECACHE_BATCH_RUN_MAX);
    g_assert_cmpuint(fix->batch->chunks->len, ==, 1);
    append(fix, last + 1, 1 << 20, 1);
    g_assert_cmpuint(fix->batch->chunks->len, ==, 2);
    expect_head(fix, 9, 0, 0, 1);
    expect_head(fix, PAGECACHE_BATCH_RUN_MAX - 1, last, 100,
                PAGECACHE_BATCH_RUN_MAX - 1);
    expect_head(fix, 9, last + 8 * (PAGECACHE_BATCH_RUN_MAX - 1),
                100 + PAGECACHE_BATCH_RUN_MAX - 1, 1);
    expect_head(fix, 9, last + 1, 1 << 20, 1);
    expect_empty(fix);
}

/* Any order will do; it only takes more memory. */
static void test_out_of_order(Fixture *fix, gconstpointer opaque)
{
    append(fix, 5000, 1, 1);
    append(fix, 6000, 2, 1);
    append(fix, 5500, 3, 1);
    append(fix, 10, 4, 1);
    pagecache_batch_seal(fix->batch);
    expect_head(fix, 9, 5000, 1, 1);
    expect_head(fix, 9, 6000, 2, 1);
    expect_head(fix, 9, 5500, 3, 1);
    expect_head(fix, 9, 10, 4, 1);
    expect_empty(fix);
}

/* Memory: what is asked for, and back as runs are taken */
static void test_memory(Fixture *fix, gconstpointer opaque)
{
    const uint32_t n = 3 * CHUNK_RUNS + 100;
    size_t none = pagecache_batch_bytes(fix->batch), full, half;
    PagecachePoolRun run;
    uint32_t i;

    for (i = 0; i < n; i++) {
        append(fix, 16ull * i, 2 * i, 1);
    }
    g_assert_cmpuint(fix->batch->chunks->len, ==, 4);
    pagecache_batch_seal(fix->batch);
    full = pagecache_batch_bytes(fix->batch);
    g_assert_cmpuint(full, >=, n * sizeof(Run));
    g_assert_cmpuint(full, <, n * sizeof(Run) + 300);
    for (i = 0; i < 2 * CHUNK_RUNS; i++) {
        expect_head(fix, 1, 16ull * i, 2 * i, 1);
    }
    half = pagecache_batch_bytes(fix->batch);
    g_assert_cmpuint(half, <=, full - 2 * CHUNK_RUNS * sizeof(Run));
    for (i = n - 1; i > 2 * CHUNK_RUNS + 5; i--) {
        expect_tail(fix, 1, 16ull * i, 2 * i, 1);
    }
    g_assert_cmpuint(pagecache_batch_bytes(fix->batch), <=,
                     half - 100 * sizeof(Run));
    while (pagecache_batch_take_tail(fix->batch, 1, &run)) {
        continue;
    }
    expect_empty(fix);
    g_assert_cmpuint(pagecache_batch_bytes(fix->batch), <, none + 100);
}

/* RAM blocks are few; the number of them that a batch can tell apart, too. */
static void test_places(Fixture *fix, gconstpointer opaque)
{
    PagecachePoolRun run = { .npages = 1, .disk = DISK, .producer = PRODUCER };
    uint32_t i;

    for (i = 0; i < PLACES_MAX; i++) {
        run.block = i;
        run.sector = 8 * i;
        g_assert_true(pagecache_batch_append(fix->batch, &run));
    }
    run.block = i;
    g_assert_false(pagecache_batch_append(fix->batch, &run));
    run.block = 7;
    g_assert_true(pagecache_batch_append(fix->batch, &run));
    for (i = 0; i < PLACES_MAX; i++) {
        g_assert_true(pagecache_batch_take_head(fix->batch, 1, &run));
        g_assert_cmpuint(run.block, ==, i);
    }
}

/* --- the sort --- */

static void test_sort(void)
{
    enum { N = 3000 };
    g_autofree PagecachePoolRun *runs = g_new0(PagecachePoolRun, N);
    g_autofree bool *seen = g_new0(bool, N);
    g_autofree uint32_t *order = NULL;
    uint32_t i;

    for (i = 0; i < N; i++) {
        runs[i].producer = g_test_rand_int_range(0, 3);
        runs[i].disk = g_test_rand_int_range(0, 2) * 1000;
        /* some are equal, and all bytes of the number matter */
        runs[i].sector = (uint64_t)g_test_rand_int_range(0, 50)
                         << g_test_rand_int_range(0, 48);
    }
    order = pagecache_sort_runs(runs, N);
    g_assert_nonnull(order);
    for (i = 0; i < N; i++) {
        const PagecachePoolRun *a, *b = &runs[order[i]];

        g_assert_cmpuint(order[i], <, N);
        g_assert_false(seen[order[i]]);
        seen[order[i]] = true;
        if (!i) {
            continue;
        }
        a = &runs[order[i - 1]];
        g_assert_cmpuint(a->producer, <=, b->producer);
        if (a->producer == b->producer) {
            g_assert_cmpuint(a->disk, <=, b->disk);
            if (a->disk == b->disk) {
                g_assert_cmpuint(a->sector, <=, b->sector);
                g_assert_true(a->sector < b->sector || order[i - 1] < order[i]);
            }
        }
    }
}

static void test_sort_sorted(void)
{
    PagecachePoolRun runs[3] = {
        { .sector = 5 }, { .sector = 5 }, { .disk = 1 },
    };
    g_autofree uint32_t *order = NULL;

    g_assert_null(pagecache_sort_runs(NULL, 0));
    g_assert_null(pagecache_sort_runs(runs, 1));
    g_assert_null(pagecache_sort_runs(runs, 3));
    runs[2].disk = 0;
    order = pagecache_sort_runs(runs, 3);
    g_assert_nonnull(order);
    g_assert_cmpuint(order[0], ==, 2);
    g_assert_cmpuint(order[1], ==, 0);
    g_assert_cmpuint(order[2], ==, 1);
}

#define CASE(name, func) \
    g_test_add("/pagecache/batch/" name, Fixture, NULL, set_up, func, \
               tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    CASE("empty", test_empty);
    CASE("join", test_join);
    CASE("join-limit", test_join_limit);
    CASE("pieces", test_pieces);
    CASE("large-numbers", test_large_numbers);
    CASE("end-of-chunk", test_end_of_chunk);
    CASE("out-of-order", test_out_of_order);
    CASE("memory", test_memory);
    CASE("places", test_places);
    g_test_add_func("/pagecache/sort/random", test_sort);
    g_test_add_func("/pagecache/sort/sorted", test_sort_sorted);
    return g_test_run();
}
