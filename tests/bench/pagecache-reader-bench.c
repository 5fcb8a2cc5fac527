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
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include <sys/stat.h>
#include "pagecache-reader-int.h"

#define SECTOR  512u
#define PAGE    4096u
#define MiB     (1024u * 1024)
#define RAM     (64 * MiB)      /* copied into, in turn */

static int sessions, depth, max_read_kib, seconds = 5, run_pages = 16;
static int gap_pages, window_mib = 64, size_mib = 1024, cap_mib;
static gboolean shuffle, no_copy;

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

static void bench_done(void *opaque, const PagecacheRun *run,
                       const uint8_t *data, int ret)
{
    Bench *b = opaque;

    if (data && !no_copy) {
        uint64_t at = run->page * PAGE % RAM;

        at = MIN(at, RAM - (uint64_t)run->npages * PAGE);
        memcpy(b->ram + at, data, (size_t)run->npages * PAGE);
    }
    g_mutex_lock(&b->lock);
    b->outstanding -= run->npages;
    b->pages += run->npages;
    b->failed += data ? 0 : run->npages;
    /* a migration doesn't come by for each run either */
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
