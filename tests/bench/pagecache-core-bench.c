/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the source's pool costs, in bytes and in nanoseconds a page, without a
 * guest: hints are added, taken, offered, reported, released.
 *
 *   pagecache-core-bench [OPTION...]
 *
 * Prints one line for each number of pages, length of the runs, and order.
 * Bytes are what the process has got from the allocator, all included, while
 * all pages are in the pool.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "bench.h"
#include "pagecache-flights.h"
#include "pagecache-pool.h"

#define PAGE_BITS       12
#define ADD_HINTS       (32 * 1024)     /* added in one go, as QEMU does */
#define TAKE_PAGES      1024
#define OFFER_PAGES     1024

static int million_pages, run_pages;
static gboolean only_random, only_file_order;

static const GOptionEntry options[] = {
    { "pages", 'p', 0, G_OPTION_ARG_INT, &million_pages,
      "Million pages (default: 1 and 10; 100 takes 4 GiB)", "N" },
    { "run", 'r', 0, G_OPTION_ARG_INT, &run_pages,
      "Pages a run (default: 1, 3 and 64)", "N" },
    { "random", 0, 0, G_OPTION_ARG_NONE, &only_random,
      "In random order only", NULL },
    { "file-order", 0, 0, G_OPTION_ARG_NONE, &only_file_order,
      "In the order of the disk only", NULL },
    { NULL }
};

/*
 * Run number @i of @n: where it is in the guest's RAM has nothing to do with
 * where it is on the disk, and it does not continue its neighbours.  Both are
 * permutations, by multiplication with an odd number modulo a power of two.
 */
static PagecachePoolRun run_of(uint64_t i, uint64_t n, uint32_t len,
                               bool shuffle)
{
    uint64_t at = shuffle ? i * 0x9e3779b1 % n : i;
    uint64_t place = at * 0x85ebca6b % n;

    return (PagecachePoolRun) {
        .sector = at * (len + 1) << (PAGE_BITS - 9),
        .page = place * len, .npages = len,
    };
}

typedef struct Result {
    double add, take, offer, report, release;   /* ns a page */
    double bytes, bitmaps;                      /* a page */
} Result;

static void add_all(PagecachePool *pool, uint64_t n, uint32_t len,
                    bool shuffle, Result *r)
{
    g_autofree PagecachePoolRun *runs = g_new(PagecachePoolRun, ADD_HINTS);
    uint64_t i, added = 0;
    double start;

    for (i = 0; i < n;) {
        PagecachePoolAdded count;
        size_t k;

        for (k = 0; k < ADD_HINTS && i < n; k++, i++) {
            runs[k] = run_of(i, n, len, shuffle);
        }
        start = now_ns();
        pagecache_pool_add(pool, runs, k, &count);
        r->add += now_ns() - start;
        added += count.added;
    }
    g_assert(added == n * len);
}

/* Half of the pages are released from the tail, the other half goes out. */
static void empty(PagecachePool *pool, uint64_t pages, Result *r)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE,
                                         sizeof(PagecachePoolRun));
    g_autoptr(PagecacheFlights) flights = pagecache_flights_new(0);
    uint64_t gone, taken = 0;
    double start;

    start = now_ns();
    pagecache_pool_turn(pool);
    gone = pagecache_pool_release_tail(pool, 0, pages / 2);
    r->release = (now_ns() - start) / gone;
    for (;;) {
        double then = now_ns();
        uint32_t n, first = 0;
        guint i;

        g_array_set_size(runs, 0);
        n = pagecache_pool_take(pool, 0, TAKE_PAGES, OFFER_PAGES, runs);
        r->take += now_ns() - then;
        if (!n) {
            break;
        }
        taken += n;
        then = now_ns();
        for (i = 0; i < runs->len; i++) {
            const PagecachePoolRun *run = &g_array_index(runs,
                                                         PagecachePoolRun, i);
            const PagecacheFlight f = {
                .page = run->page, .npages = run->npages,
            };
            DECLARE_BITMAP(good, OFFER_PAGES) = { 0 };

            pagecache_pool_check(pool, run, good);
            pagecache_pool_offer(pool, run);
            first = pagecache_flights_append(flights, &f, 0);
        }
        r->offer += now_ns() - then;
        first -= runs->len - 1;
        then = now_ns();
        for (i = 0; i < runs->len; i++, first++) {
            const PagecacheFlight *f = pagecache_flights_find(flights, first);
            DECLARE_BITMAP(which, OFFER_PAGES) = { 0 };
            uint32_t landed = pagecache_pool_land(pool, f->block, f->page,
                                                  f->npages, which);

            pagecache_flights_land(flights, first, landed);
        }
        r->report += now_ns() - then;
    }
    g_assert(gone + taken == pages);
    r->take /= taken;
    r->offer /= taken;
    r->report /= taken;
}

static void measure(uint64_t pages, uint32_t len, bool shuffle)
{
    uint64_t n = 1, before;
    g_autofree unsigned long *dirty = NULL;
    g_autoptr(PagecachePool) pool = NULL;
    Result r = { 0 };

    while (2 * n * len <= pages) {
        n *= 2;
    }
    pages = n * len;
    dirty = bitmap_new(pages);
    bitmap_set(dirty, 0, pages);
    before = allocated();
    pool = pagecache_pool_new(PAGE_BITS, UINT64_MAX);
    pagecache_pool_add_block(pool, pages, dirty);
    r.bitmaps = (allocated() - before) / (double)pages;
    add_all(pool, n, len, shuffle, &r);
    r.bytes = (allocated() - before) / (double)pages;
    empty(pool, pages, &r);
    printf("%5.1f M pages, runs of %2u, %-10s  %5.2f bytes (%.2f bitmaps);  "
           "ns: add %6.1f take %5.1f offer %5.1f report %5.1f release %5.1f\n",
           pages / 1e6, len, shuffle ? "random" : "file order", r.bytes,
           r.bitmaps, r.add / pages, r.take, r.offer, r.report, r.release);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    static const int sizes[] = { 1, 10 }, lengths[] = { 1, 3, 64 };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) err = NULL;
    unsigned i, j;

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err)) {
        fprintf(stderr, "%s: %s\n", argv[0], err->message);
        return 2;
    }
    if (million_pages < 0 || run_pages < 0 || run_pages > OFFER_PAGES) {
        fprintf(stderr, "%s: --pages=%d --run=%d: expected positive numbers, "
                "and runs of up to %d pages\n", argv[0], million_pages,
                run_pages, OFFER_PAGES);
        return 2;
    }
    for (i = 0; i < (million_pages ? 1 : ARRAY_SIZE(sizes)); i++) {
        for (j = 0; j < (run_pages ? 1 : ARRAY_SIZE(lengths)); j++) {
            uint64_t pages = (million_pages ?: sizes[i]) * 1000000ull;
            uint32_t len = run_pages ?: lengths[j];

            if (!only_random) {
                measure(pages, len, false);
            }
            if (!only_file_order) {
                measure(pages, len, true);
            }
        }
    }
    return 0;
}
