/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the reader's queue costs
 *
 *   pagecache-queue-bench
 *
 * In nanoseconds of CPU time a run: to sort a frame's runs, to add them, and to
 * take them.  No storage, one thread, one line for each number of runs, their
 * length and order.  Bytes are what the process has got from the allocator while
 * all runs are in the queue.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "bench.h"
#include "pagecache-reader-queue.h"

#define SECTOR  512u
#define PAGE    4096u
#define FRAME   149796u         /* offers in the largest frame */

/* Run number @i of @n, which follow each other on the disk without a gap */
static PagecacheRun run_of(uint64_t i, uint64_t n, uint32_t len, bool random)
{
    /* a permutation: @n is a power of ten, the factor has neither 2 nor 5 */
    uint64_t at = random ? i * 0x9e3779b1 % n : i;

    return (PagecacheRun) {
        .sector = at * len * (PAGE / SECTOR), .page = i * len, .npages = len,
        .tag = i,
    };
}

static void add_frames(PagecacheRunQueue *q, uint64_t n, uint32_t len,
                       bool random, double *sort, double *add)
{
    g_autofree PagecacheRun *runs = g_new(PagecacheRun, FRAME);
    uint64_t i, k;

    for (i = 0; i < n; i += k) {
        PagecacheRunBatch *batch;
        double start;

        for (k = 0; k < FRAME && i + k < n; k++) {
            runs[k] = run_of(i + k, n, len, random);
        }
        start = now_ns();
        batch = pagecache_run_batch_new(runs, k);
        *sort += now_ns() - start;
        start = now_ns();
        pagecache_run_queue_add(q, batch);
        *add += now_ns() - start;
    }
}

static void take_all(PagecacheRunQueue *q, uint64_t pages, double *take)
{
    g_autoptr(GArray) pieces = g_array_new(false, false,
                                           sizeof(PagecachePiece));
    double start = now_ns();
    uint64_t sector, taken = 0;
    uint32_t bytes;

    while (pagecache_run_queue_take(q, UINT64_MAX / SECTOR, 256 * 1024, pieces,
                                    pieces, &sector, &bytes)) {
        taken += bytes / PAGE;
        g_array_set_size(pieces, 0);
    }
    *take = now_ns() - start;
    g_assert(taken == pages);
}

static void measure_queue(uint64_t n, uint32_t len, bool random)
{
    PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
    double sort = 0, add = 0, take, bytes;
    size_t before = allocated();

    add_frames(q, n, len, random, &sort, &add);
    bytes = (allocated() - before) / (double)n;
    take_all(q, n * len, &take);
    pagecache_run_queue_free(q);
    printf("%4.0f M runs of %2u, %-6s  %6.2f bytes a run;  ns a run: sort "
           "%6.1f add %6.3f take %6.1f\n", n / 1e6, len,
           random ? "random" : "sorted", bytes, sort / n, add / n, take / n);
    fflush(stdout);
}

int main(void)
{
    static const uint32_t lengths[] = { 1, 3, 64 };
    uint64_t n;
    int i;

    for (n = 1000000; n <= 10000000; n *= 10) {
        for (i = 0; i < G_N_ELEMENTS(lengths); i++) {
            measure_queue(n, lengths[i], false);
            measure_queue(n, lengths[i], true);
        }
    }
    return 0;
}
