/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast the skip-pagecache reader reads, in the setting of a migration: a
 * window of runs is kept outstanding, and each page that comes back is copied.
 *
 *   pagecache-reader-bench [OPTION...] PORTAL TARGET LUN
 *   pagecache-reader-bench [OPTION...] HOST PORT        (NBD)
 *   pagecache-reader-bench [OPTION...] FILE
 *
 * Prints one line: MiB/s of pages, MiB/s from storage, reads, processors used.
 *
 *   pagecache-reader-bench --queue
 *
 * What the reader's queue costs, in nanoseconds a run: to sort a frame's runs,
 * to add them, and to take them.  No storage, one thread, one line for each
 * number of runs, their length and order.  Bytes are what the process has got
 * from the allocator while all runs are in the queue.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <malloc.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include "pagecache-reader-int.h"
#include "pagecache-reader-queue.h"

#define SECTOR  512u
#define PAGE    4096u
#define MiB     (1024u * 1024)
#define RAM     (64 * MiB)      /* copied into, in turn */
#define FRAME   149796u         /* offers in the largest frame */

static int sessions, depth, max_read_kib, seconds = 5, run_pages = 16;
static int gap_pages, window_mib = 64, size_mib = 1024, cap_mib;
static gboolean shuffle, no_copy, only_queue;

static const GOptionEntry options[] = {
    { "sessions", 's', 0, G_OPTION_ARG_INT, &sessions,
      "Connections (default: the reader's)", "N" },
    { "depth", 'd', 0, G_OPTION_ARG_INT, &depth,
      "Reads in flight a session (default: the reader's)", "N" },
    { "max-read", 'm', 0, G_OPTION_ARG_INT, &max_read_kib,
      "KiB a read (default: the reader's)", "N" },
    { "seconds", 't', 0, G_OPTION_ARG_INT, &seconds,
      "Duration (default: 5)", "N" },
    { "run", 'r', 0, G_OPTION_ARG_INT, &run_pages,
      "Pages a run (default: 16)", "N" },
    { "gap", 'g', 0, G_OPTION_ARG_INT, &gap_pages,
      "Pages between runs (default: 0)", "N" },
    { "window", 'w', 0, G_OPTION_ARG_INT, &window_mib,
      "MiB outstanding (default: 64)", "N" },
    { "size", 0, 0, G_OPTION_ARG_INT, &size_mib,
      "MiB of the disk that are read (default: 1024)", "N" },
    { "cap", 0, 0, G_OPTION_ARG_INT, &cap_mib,
      "MiB/s, bandwidth cap (default: none)", "N" },
    { "random", 0, 0, G_OPTION_ARG_NONE, &shuffle,
      "Runs in random order", NULL },
    { "no-copy", 0, 0, G_OPTION_ARG_NONE, &no_copy,
      "Don't touch what was read, as other benchmarks do", NULL },
    { "queue", 0, 0, G_OPTION_ARG_NONE, &only_queue,
      "What the queue costs, without storage", NULL },
    { NULL }
};

typedef struct Bench {
    GMutex lock;
    GCond cond;
    uint64_t window;            /* pages; constant */
    uint64_t outstanding;       /* pages */
    uint64_t pages;             /* that came back */
    uint64_t failed;
    bool released;
    uint8_t *ram;
} Bench;

static void bench_done(void *opaque, const PagecachePiece *pieces, size_t n,
                       const uint8_t *data, int ret)
{
    uint64_t pages = 0;
    Bench *b = opaque;
    size_t i;

    for (i = 0; i < n; i++) {
        const PagecacheRun *run = &pieces[i].run;
        uint64_t at = run->page * PAGE % RAM;

        at = MIN(at, RAM - (uint64_t)run->npages * PAGE);
        if (data && !no_copy) {
            memcpy(b->ram + at, data + pieces[i].offset,
                   (size_t)run->npages * PAGE);
        }
        pages += run->npages;
    }
    g_mutex_lock(&b->lock);
    b->outstanding -= pages;
    b->pages += pages;
    b->failed += data ? 0 : pages;
    /* a migration doesn't come by for each read either */
    if (b->outstanding <= b->window / 2 || b->failed) {
        g_cond_signal(&b->cond);
    }
    g_mutex_unlock(&b->lock);
}

static void bench_release(void *opaque)
{
    Bench *b = opaque;

    g_mutex_lock(&b->lock);
    b->released = true;
    g_cond_signal(&b->cond);
    g_mutex_unlock(&b->lock);
}

/* All runs of the disk, in the order in which they are submitted */
static GArray *make_runs(void)
{
    const uint64_t disk = (uint64_t)size_mib * MiB / PAGE;
    GArray *runs = g_array_new(false, false, sizeof(PagecacheRun));
    uint64_t page;
    guint i;

    for (page = 0; page + run_pages <= disk; page += run_pages + gap_pages) {
        PagecacheRun run = {
            .sector = page * (PAGE / SECTOR), .page = page,
            .npages = run_pages,
        };

        g_array_append_val(runs, run);
    }
    for (i = runs->len - 1; shuffle && i > 0; i--) {
        guint j = g_random_int_range(0, i + 1);
        PagecacheRun *a = &g_array_index(runs, PagecacheRun, i);
        PagecacheRun *c = &g_array_index(runs, PagecacheRun, j);
        PagecacheRun tmp = *a;

        *a = *c;
        *c = tmp;
    }
    return runs;
}

static double cpu_seconds(void)
{
    struct rusage ru;

    getrusage(RUSAGE_SELF, &ru);
    return ru.ru_utime.tv_sec + ru.ru_stime.tv_sec +
           (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

/* --- the queue --- */

/* CPU time, since it is a single thread that is measured */
static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

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

static int measure_queues(void)
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

/* --- the reader --- */

static PagecacheReaderSpec *make_spec(int argc, char **argv)
{
    PagecacheReaderSpec *spec;

    if (argc == 2 && pagecache_reader_file_ops) {
        spec = pagecache_reader_spec_alloc(pagecache_reader_file_ops);
        spec->u.file.path = g_strdup(argv[1]);
    } else if (argc == 3 && pagecache_reader_nbd_ops) {
        spec = pagecache_reader_spec_alloc(pagecache_reader_nbd_ops);
        spec->u.nbd.host = g_strdup(argv[1]);
        spec->u.nbd.port = g_strdup(argv[2]);
        spec->u.nbd.export = g_strdup("");
    } else if (argc == 4 && pagecache_reader_iscsi_ops) {
        spec = pagecache_reader_spec_alloc(pagecache_reader_iscsi_ops);
        spec->u.iscsi.portal = g_strdup(argv[1]);
        spec->u.iscsi.target = g_strdup(argv[2]);
        spec->u.iscsi.lun = atoi(argv[3]);
        spec->u.iscsi.initiator = g_strdup("iqn.2026-01.skip-pagecache:bench");
    } else {
        fprintf(stderr, "%s: expected FILE, HOST PORT or PORTAL TARGET "
                "LUN\n", argv[0]);
        exit(2);
    }
    spec->name = g_strdup(argv[1]);
    return spec;
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) err = NULL;
    g_autoptr(GArray) runs = NULL;
    Bench b = { .outstanding = 0 };
    PagecacheReaderConfig config = { .page_size = PAGE };
    PagecacheReaderStats stats;
    PagecacheReader *r;
    int64_t start, end;
    double cpu, took;
    guint next = 0;

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err)) {
        fprintf(stderr, "%s: %s\n", argv[0], err->message);
        return 2;
    }
    if (only_queue) {
        return measure_queues();
    }
    if (run_pages < 1 || gap_pages < 0 || seconds < 1 || window_mib < 1 ||
        (uint64_t)run_pages * PAGE > RAM ||
        (uint64_t)size_mib * MiB < (uint64_t)run_pages * PAGE) {
        fprintf(stderr, "%s: a number is out of range\n", argv[0]);
        return 2;
    }
    g_mutex_init(&b.lock);
    g_cond_init(&b.cond);
    b.window = (uint64_t)window_mib * MiB / PAGE;
    b.ram = g_malloc(RAM);
    memset(b.ram, 1, RAM);
    config.sessions = sessions;
    config.depth = depth;
    config.max_read = max_read_kib * 1024;
    config.max_bandwidth = (uint64_t)cap_mib * MiB;
    config.done = bench_done;
    config.release = bench_release;
    config.opaque = &b;
    runs = make_runs();
    r = pagecache_reader_open(make_spec(argc, argv), &config);
    if (!r) {
        fprintf(stderr, "%s: no thread could be created\n", argv[0]);
        return 1;
    }
    pagecache_reader_start(r);
    do {
        g_usleep(1000);
        pagecache_reader_stats(r, &stats);
        g_free(stats.last_error);
    } while (stats.state == PAGECACHE_READER_OPENING);

    cpu = cpu_seconds();
    start = g_get_monotonic_time();
    end = start + seconds * G_USEC_PER_SEC;
    g_mutex_lock(&b.lock);
    while (!b.failed && g_get_monotonic_time() < end) {
        guint n = runs->len - next;

        if (b.outstanding > b.window / 2) {
            g_cond_wait_until(&b.cond, &b.lock, end);
            continue;
        }
        n = MIN(n, (b.window - b.outstanding) / run_pages + 1);
        b.outstanding += (uint64_t)n * run_pages;
        g_mutex_unlock(&b.lock);
        pagecache_reader_submit(r, &g_array_index(runs, PagecacheRun, next),
                                n);
        next = (next + n) % runs->len;
        g_mutex_lock(&b.lock);
    }
    took = (g_get_monotonic_time() - start) / 1e6;
    cpu = cpu_seconds() - cpu;
    pagecache_reader_stats(r, &stats);
    printf("%7.1f MiB/s of pages, %7.1f MiB/s from storage, %" PRIu64
           " reads, %.2f processors, %" PRIu64 " pages failed%s%s\n",
           b.pages * (double)PAGE / MiB / took,
           stats.bytes_read / (double)MiB / took, stats.reads, cpu / took,
           b.failed, stats.last_error ? ": " : "", stats.last_error ?: "");
    g_mutex_unlock(&b.lock);
    g_free(stats.last_error);

    pagecache_reader_close(r);
    g_mutex_lock(&b.lock);
    while (!b.released) {
        g_cond_wait(&b.cond, &b.lock);
    }
    g_mutex_unlock(&b.lock);
    g_free(b.ram);
    return b.failed ? 1 : 0;
}
