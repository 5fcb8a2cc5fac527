/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast the skip-pagecache reader reads, in the setting of a migration: a
 * window of runs is kept outstanding, and each page that comes back is copied.
 *
 *   pagecache-reader-bench [OPTION...] PORTAL TARGET LUN
 *   pagecache-reader-bench [OPTION...] HOST PORT        (NBD)
 *   pagecache-reader-bench [OPTION...] FILE
 *   pagecache-reader-bench [OPTION...] --files FILE...
 *
 * Prints one line: MiB/s of pages, MiB/s from storage, reads, processors used,
 * of all disks together.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include <sys/stat.h>
#include "qemu/pagecache-budget.h"
#include "pagecache-reader-int.h"

#define SECTOR  512u
#define PAGE    4096u
#define MiB     (1024u * 1024)
#define RAM     (64 * MiB)      /* copied into, in turn */

static int sessions, depth, max_read_kib, seconds = 5, run_pages = 16;
static int gap_pages, window_mib = 64, size_mib = 1024, cap_mib;
static gboolean shuffle, no_copy, many_files;

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
      "MiB outstanding a disk (default: 64)", "N" },
    { "size", 0, 0, G_OPTION_ARG_INT, &size_mib,
      "MiB of each disk that are read (default: 1024)", "N" },
    { "cap", 0, 0, G_OPTION_ARG_INT, &cap_mib,
      "MiB/s a disk, bandwidth cap (default: none)", "N" },
    { "random", 0, 0, G_OPTION_ARG_NONE, &shuffle,
      "Runs in random order", NULL },
    { "no-copy", 0, 0, G_OPTION_ARG_NONE, &no_copy,
      "Don't touch what was read, as other benchmarks do", NULL },
    { "files", 0, 0, G_OPTION_ARG_NONE, &many_files,
      "Each argument is a disk, and they are read at once", NULL },
    { NULL }
};

/* What the thread that submits waits for */
static GMutex due_lock;
static GCond due_cond;
static bool is_due;

typedef struct Bench {
    PagecacheReader *reader;
    guint next;                 /* run to submit */

    GMutex lock;
    uint64_t window;            /* pages; constant */
    uint64_t outstanding;       /* pages */
    uint64_t pages;             /* that came back */
    uint64_t failed;
    bool released;
    uint8_t *ram;
} Bench;

static void wake_main(void)
{
    g_mutex_lock(&due_lock);
    is_due = true;
    g_cond_signal(&due_cond);
    g_mutex_unlock(&due_lock);
}

/* False: @end has passed */
static bool wait_due(int64_t end)
{
    bool ok = true;

    g_mutex_lock(&due_lock);
    while (!is_due && ok) {
        ok = g_cond_wait_until(&due_cond, &due_lock, end);
    }
    is_due = false;
    g_mutex_unlock(&due_lock);
    return ok;
}

static void bench_done(void *opaque, const PagecachePiece *pieces, size_t n,
                       const uint8_t *data, int ret)
{
    uint64_t pages = 0;
    Bench *b = opaque;
    bool wake;
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
    wake = b->outstanding > b->window / 2;
    b->outstanding -= pages;
    b->pages += pages;
    b->failed += data ? 0 : pages;
    /* a migration doesn't come by for each read either */
    wake = (wake && b->outstanding <= b->window / 2) || b->failed;
    g_mutex_unlock(&b->lock);
    if (wake) {
        wake_main();
    }
}

static void bench_release(void *opaque)
{
    Bench *b = opaque;

    g_mutex_lock(&b->lock);
    b->released = true;
    g_mutex_unlock(&b->lock);
    wake_main();
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

static PagecacheReaderSpec *file_spec(const char *path)
{
    PagecacheReaderSpec *spec;

    if (!pagecache_reader_file_ops) {
        fprintf(stderr, "built without the engine for files\n");
        exit(2);
    }
    spec = pagecache_reader_spec_alloc(pagecache_reader_file_ops);
    spec->u.file.path = g_strdup(path);
    spec->name = g_strdup(path);
    return spec;
}

static PagecacheReaderSpec *make_spec(int argc, char **argv)
{
    PagecacheReaderSpec *spec;

    if (argc == 2) {
        return file_spec(argv[1]);
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
        fprintf(stderr, "%s: expected FILE, --files FILE..., HOST PORT or "
                "PORTAL TARGET LUN\n", argv[0]);
        exit(2);
    }
    spec->name = g_strdup(argv[1]);
    return spec;
}

static void open_disk(Bench *b, PagecacheReaderSpec *spec, uint8_t *ram)
{
    static PagecacheBudget budget;
    PagecacheReaderConfig config = {
        .page_size = PAGE,
        .sessions = sessions,
        .depth = depth,
        .max_read = max_read_kib * 1024,
        .budget = &budget,
        .done = bench_done,
        .release = bench_release,
        .opaque = b,
    };
    PagecacheReaderStats stats;

    pagecache_budget_set_limit(&budget, (uint64_t)cap_mib * MiB);
    g_mutex_init(&b->lock);
    b->window = (uint64_t)window_mib * MiB / PAGE;
    b->ram = ram;
    b->reader = pagecache_reader_open(spec, &config);
    if (!b->reader) {
        fprintf(stderr, "no thread could be created\n");
        exit(1);
    }
    pagecache_reader_start(b->reader);
    do {
        g_usleep(1000);
        pagecache_reader_stats(b->reader, &stats);
        g_free(stats.last_error);
    } while (stats.state == PAGECACHE_READER_OPENING);
}

/* Fills the window of @b if half of it is back; false: reads failed */
static bool submit(Bench *b, GArray *runs)
{
    uint64_t n = 0;

    g_mutex_lock(&b->lock);
    if (b->failed) {
        g_mutex_unlock(&b->lock);
        return false;
    }
    if (b->outstanding <= b->window / 2) {
        n = (b->window - b->outstanding) / run_pages + 1;
        b->outstanding += n * run_pages;
    }
    g_mutex_unlock(&b->lock);
    while (n) {
        guint some = MIN(n, runs->len - b->next);

        pagecache_reader_submit(b->reader, &g_array_index(runs, PagecacheRun,
                                                          b->next), some);
        b->next = (b->next + some) % runs->len;
        n -= some;
    }
    return true;
}

static bool run_all(Bench *disks, int n, GArray *runs, int64_t end)
{
    int i;

    do {
        for (i = 0; i < n; i++) {
            if (!submit(&disks[i], runs)) {
                return false;
            }
        }
    } while (wait_due(end) || g_get_monotonic_time() < end);
    return true;
}

static void report(Bench *disks, int n, double took, double cpu)
{
    uint64_t pages = 0, bytes = 0, reads = 0, failed = 0;
    g_autofree char *error = NULL;
    const char *method = NULL;
    int i;

    for (i = 0; i < n; i++) {
        PagecacheReaderStats stats;

        pagecache_reader_stats(disks[i].reader, &stats);
        bytes += stats.bytes_read;
        reads += stats.reads;
        method = stats.method;
        if (!error) {
            error = stats.last_error;
        } else {
            g_free(stats.last_error);
        }
        g_mutex_lock(&disks[i].lock);
        pages += disks[i].pages;
        failed += disks[i].failed;
        g_mutex_unlock(&disks[i].lock);
    }
    printf("%7.1f MiB/s of pages, %7.1f MiB/s from storage, %" PRIu64
           " reads, %.2f processors, %" PRIu64 " pages failed%s%s; %s\n",
           pages * (double)PAGE / MiB / took, bytes / (double)MiB / took,
           reads, cpu / took, failed, error ? ": " : "", error ?: "",
           method ?: "method not known");
}

int main(int argc, char **argv)
{
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) err = NULL;
    g_autoptr(GArray) runs = NULL;
    g_autofree Bench *disks = NULL;
    int64_t start;
    double cpu, took;
    uint8_t *ram;
    int n = 1, i;
    bool ok;

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
    if (many_files) {
        n = argc - 1;
    }
    if (n < 1) {
        fprintf(stderr, "%s: expected a file or more\n", argv[0]);
        return 2;
    }
    ram = g_malloc(RAM);
    memset(ram, 1, RAM);
    runs = make_runs();
    disks = g_new0(Bench, n);
    for (i = 0; i < n; i++) {
        open_disk(&disks[i], many_files ? file_spec(argv[i + 1]) :
                                          make_spec(argc, argv), ram);
    }

    cpu = cpu_seconds();
    start = g_get_monotonic_time();
    ok = run_all(disks, n, runs, start + seconds * G_USEC_PER_SEC);
    took = (g_get_monotonic_time() - start) / 1e6;
    cpu = cpu_seconds() - cpu;
    report(disks, n, took, cpu);

    for (i = 0; i < n; i++) {
        pagecache_reader_close(disks[i].reader);
    }
    for (i = 0; i < n; i++) {
        g_mutex_lock(&disks[i].lock);
        while (!disks[i].released) {
            g_mutex_unlock(&disks[i].lock);
            wait_due(INT64_MAX);
            g_mutex_lock(&disks[i].lock);
        }
        g_mutex_unlock(&disks[i].lock);
    }
    g_free(ram);
    return ok ? 0 : 1;
}
