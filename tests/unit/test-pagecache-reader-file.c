/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the skip-pagecache reader's engine for files: real files, and what
 * storage can do wrong, made by a pread() of our own in its place.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <fcntl.h>
#include <liburing.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>

static ssize_t faulty_pread(int fd, void *buf, size_t n, off_t offset);
static void faulty_prep_read(struct io_uring_sqe *sqe, int fd, void *buf,
                             unsigned n, uint64_t offset);
static int faulty_queue_init(unsigned entries, struct io_uring *ring,
                             struct io_uring_params *params);
#define pread               faulty_pread
#define io_uring_prep_read  faulty_prep_read
#define io_uring_queue_init_params faulty_queue_init
#include "../../block/pagecache-reader-file.c"
#include "../../block/pagecache-reader-uring.c"
#undef pread
#undef io_uring_prep_read
#undef io_uring_queue_init_params

#include "test-pagecache-reader-lib.h"

#define DISK    (4 * MiB)

/* --- Storage that fails -------------------------------------------------- */

static struct {
    GMutex lock;
    GCond cond;
    int error;              /* returned... */
    off_t error_at;         /* ...by reads that cover this; -1: none */
    off_t hang_at;          /* reads that cover this hang; -1: none */
    size_t shortest;        /* bytes that a read returns at most; 0: all */
    unsigned interrupts;    /* calls that fail with EINTR before */
    bool no_ring;           /* there is no io_uring */
    unsigned rings;         /* ...or not more than so many */
    unsigned no_flags;      /* ...or none with these, as in older kernels */
    unsigned reads;         /* calls */
    int pipe[2];            /* never written to: hangs in the ring */
    int eio;                /* reads of it fail with EIO */
} faults = { .rings = UINT_MAX, .pipe = { -1, -1 }, .eio = -1 };

static bool covers(off_t offset, size_t n, off_t what)
{
    return what >= offset && what < offset + (off_t)n;
}

static ssize_t faulty_pread(int fd, void *buf, size_t n, off_t offset)
{
    int error = 0;

    g_assert(fcntl(fd, F_GETFL) & O_DIRECT);
    g_mutex_lock(&faults.lock);
    faults.reads++;
    while (covers(offset, n, faults.hang_at)) {
        g_cond_wait(&faults.cond, &faults.lock);
    }
    if (faults.interrupts) {
        faults.interrupts--;
        error = EINTR;
    } else if (covers(offset, n, faults.error_at)) {
        error = faults.error;
    } else if (faults.shortest) {
        n = MIN(n, faults.shortest);
    }
    g_mutex_unlock(&faults.lock);
    if (error) {
        errno = error;
        return -1;
    }
    return pread(fd, buf, n, offset);
}

/* The same in the ring: from somewhere else, where it really goes wrong */
static void faulty_prep_read(struct io_uring_sqe *sqe, int fd, void *buf,
                             unsigned n, uint64_t offset)
{
    g_assert(fcntl(fd, F_GETFL) & O_DIRECT);
    g_mutex_lock(&faults.lock);
    faults.reads++;
    if (covers(offset, n, faults.hang_at)) {
        io_uring_prep_read(sqe, faults.pipe[0], buf, n, 0);
    } else if (covers(offset, n, faults.error_at)) {
        g_assert_cmpint(faults.error, ==, EIO);
        io_uring_prep_read(sqe, faults.eio, buf, n, 0);
    } else {
        n = faults.shortest ? MIN(n, faults.shortest) : n;
        io_uring_prep_read(sqe, fd, buf, n, offset);
    }
    g_mutex_unlock(&faults.lock);
}

static int faulty_queue_init(unsigned entries, struct io_uring *ring,
                             struct io_uring_params *params)
{
    if (faults.no_ring || !faults.rings) {
        return -ENOSYS;
    }
    if (params->flags & faults.no_flags) {
        return -EINVAL;
    }
    faults.rings--;
    return io_uring_queue_init_params(entries, ring, params);
}

/* What hangs ends now */
static void faults_clear(void)
{
    g_mutex_lock(&faults.lock);
    faults.error_at = -1;
    faults.hang_at = -1;
    faults.shortest = 0;
    faults.interrupts = 0;
    faults.reads = 0;
    if (faults.pipe[1] >= 0) {
        close(faults.pipe[1]);
        close(faults.pipe[0]);
    }
    g_assert_cmpint(pipe(faults.pipe), ==, 0);
    if (faults.eio < 0) {
        faults.eio = open("/proc/self/mem", O_RDONLY);
        g_assert_cmpint(faults.eio, >=, 0);
    }
    g_cond_broadcast(&faults.cond);
    g_mutex_unlock(&faults.lock);
}

static unsigned count_reads(void)
{
    unsigned n;

    g_mutex_lock(&faults.lock);
    n = faults.reads;
    g_mutex_unlock(&faults.lock);
    return n;
}

/* --- Helpers ------------------------------------------------------------- */

static char *dir;

static unsigned count_entries(const char *path)
{
    g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(d);
    while (g_dir_read_name(d)) {
        n++;
    }
    return n;
}

static unsigned count_threads(void)
{
    return count_entries("/proc/self/task");
}

static unsigned count_fds(void)
{
    return count_entries("/proc/self/fd");
}

/* What there is without a reader: set before the first test */
static unsigned threads;

/*
 * All readers are gone, and their threads with them: also those of tests
 * before, some of which end a while after the last callback.
 */
static void wait_gone(void)
{
    int i;

    for (i = 0; i < 5000 && count_threads() > threads; i++) {
        g_usleep(2000);
    }
    g_assert_cmpuint(count_threads(), <=, threads);
}

static char *disk_file_named(const char *name, size_t bytes)
{
    char *path = g_build_filename(dir, name, NULL);

    pattern_file(path, bytes);
    return path;
}

static char *disk_file(size_t bytes)
{
    return disk_file_named("disk", bytes);
}

static PagecacheReader *file_open(const char *path, uint64_t size, Sink *s,
                                  const PagecacheReaderConfig *config)
{
    PagecacheReaderSpec *spec = pagecache_reader_spec_alloc(&file_ops);
    PagecacheReader *r;

    spec->name = g_strdup(path);
    spec->offset = s->offset;
    spec->size = size;
    spec->u.file.path = g_strdup(path);
    r = pagecache_reader_open(spec, config);
    g_assert_nonnull(r);
    return r;
}

/*
 * Not each test here is for each machine: direct reads there must be, and
 * such that need not be waited for, if they are to go through the ring.
 */
static bool can_do(const char *how)
{
    g_autofree char *path = disk_file(DISK);
    PagecacheReaderSpec spec = {
        .ops = &file_ops, .name = path, .u.file.path = path,
    };
    g_autofree char *why = NULL;
    struct io_uring ring;
    PcrDirect f;

    if (!pcr_direct_open(&spec, &f, &why)) {
        g_test_skip(why);
        return false;
    }
    pcr_direct_close(&f);
    faults.no_ring = strcmp(how, "ring");
    if (!faults.no_ring && !f.async) {
        g_test_skip("the file system has no asynchronous direct reads");
        return false;
    }
    if (!faults.no_ring) {
        int ret = io_uring_queue_init(4, &ring, 0);

        if (ret < 0) {
            g_test_skip("there is no io_uring here");
            return false;
        }
        io_uring_queue_exit(&ring);
    }
    return true;
}

static void check_method(PagecacheReader *r)
{
    PagecacheReaderStats stats;

    pagecache_reader_stats(r, &stats);
    g_assert_cmpstr(stats.method, ==, faults.no_ring ?
                    "threads: no io_uring: Function not implemented" :
                    "io_uring");
    g_free(stats.last_error);
}

#define QUICK   2000u

static gint by_ring;        /* atomic: pages that the ring's thread brought */

static void named_done(void *opaque, const PagecachePiece *pieces, size_t n,
                       const uint8_t *data, int ret)
{
    char name[16] = "";
    size_t i;

    g_assert_cmpint(prctl(PR_GET_NAME, name), ==, 0);
    if (!strcmp(name, "pagecache-uring")) {
        for (i = 0; i < n; i++) {
            g_atomic_int_add(&by_ring, pieces[i].run.npages);
        }
    }
    sink_done(opaque, pieces, n, data, ret);
}

static void submit(PagecacheReader *r, Sink *s, uint64_t sector, unsigned n)
{
    PagecacheRun run = sink_run(s, sector, n);

    pagecache_reader_submit(r, &run, 1);
}

/* Random runs inside @disk bytes; all come back well */
static void read_random(PagecacheReader *r, Sink *s, uint64_t disk,
                        unsigned pages)
{
    g_autoptr(GArray) runs = g_array_new(0, 0, sizeof(PagecacheRun));

    while (s->npages < pages) {
        unsigned n = g_test_rand_int_range(1, 64);
        PagecacheRun run;

        n = MIN(n, pages - s->npages);
        run = sink_run(s, g_test_rand_int_range(0, (disk - n * PAGE) / SECTOR),
                       n);
        g_array_append_val(runs, run);
    }
    pagecache_reader_submit(r, (PagecacheRun *)runs->data, runs->len);
    g_assert(sink_wait(s, pages, 20000));
    g_assert_cmpuint(s->good, ==, pages);
}

/* --- Tests; @opaque: "ring" or "threads" --------------------------------- */

static void test_random(const void *opaque)
{
    static const uint64_t offsets[] = { 0, SECTOR, 3 * MiB / 2 + 7 * SECTOR };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(offsets) && can_do(opaque); i++) {
        /* the size is not a multiple of what O_DIRECT reads */
        uint64_t size = DISK + 9 * SECTOR;
        g_autofree char *path = disk_file(offsets[i] + size);
        Sink *s = sink_new(4000, offsets[i]);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReader *r = file_open(path, 0, s, &config);
        PagecacheReaderStats stats;

        faults_clear();
        read_random(r, s, size, 3990);
        /* the last page, and one that is not all there */
        submit(r, s, size / SECTOR - 8, 1);
        submit(r, s, size / SECTOR - 7, 1);
        g_assert(sink_wait(s, 3992, 5000));
        assert_ret(s, 3990, 1, 0);
        assert_ret(s, 3991, 1, -EINVAL);
        pagecache_reader_stats(r, &stats);
        g_assert_cmpstr(stats.engine, ==, "file");
        g_assert_cmpuint(stats.sessions, ==, 1);
        g_assert_cmpuint(stats.errors, ==, 0);
        g_assert_cmpuint(stats.bytes_used, ==, 3991 * PAGE);
        g_free(stats.last_error);
        check_method(r);
        close_and_check(r, s);
    }
}

/* Reads that bring less than they were asked for, or were interrupted */
static void test_partial(const void *opaque)
{
    g_autofree char *path = NULL;
    PagecacheReaderConfig config;
    PagecacheReader *r;
    Sink *s;

    if (!can_do(opaque)) {
        return;
    }
    path = disk_file(DISK);
    s = sink_new(1000, 0);
    config = sink_config(s);
    r = file_open(path, 0, s, &config);
    faults_clear();
    faults.interrupts = faults.no_ring ? 30 : 0;
    faults.shortest = PAGE;
    read_random(r, s, DISK, 1000);
    g_assert_cmpuint(faults.interrupts, ==, 0);
    g_assert_cmpuint(count_reads(), >=, 1000 / 4);
    close_and_check(r, s);
}

static void test_eio(const void *opaque)
{
    g_autofree char *path = NULL;
    PagecacheReaderConfig config;
    PagecacheReaderStats stats;
    PagecacheReader *r;
    Sink *s;

    if (!can_do(opaque)) {
        return;
    }
    path = disk_file(DISK);
    s = sink_new(100, 0);
    config = sink_config(s);
    faults_clear();
    faults.error = EIO;
    faults.error_at = 1 * MiB;
    config.max_failures = 2;
    r = file_open(path, 0, s, &config);
    submit(r, s, 1 * MiB / SECTOR - 80, 20);
    submit(r, s, 0, 3);
    g_assert(sink_wait(s, 23, 5000));
    assert_ret(s, 0, 20, -EIO);
    assert_ret(s, 20, 3, 0);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.errors, ==, 1);
    g_assert_cmpuint(stats.timeouts, ==, 0);
    g_free(stats.last_error);
    assert_error(r, "Input/output error");
    submit(r, s, 1 * MiB / SECTOR, 1);
    g_assert(sink_wait(s, 24, 5000));
    submit(r, s, 1 * MiB / SECTOR, 1);
    g_assert(sink_wait(s, 25, 5000));
    g_assert(wait_state(r, PAGECACHE_READER_FAILED, 5000));
    submit(r, s, 0, 1);
    g_assert(sink_wait(s, 26, 5000));
    assert_ret(s, 23, 3, -EIO);
    close_and_check(r, s);
}

/* A file that becomes shorter never yields bytes of an earlier read */
static void test_truncated(const void *opaque)
{
    g_autofree char *path = NULL;
    PagecacheReaderConfig config;
    PagecacheReader *r;
    Sink *s;

    if (!can_do(opaque)) {
        return;
    }
    path = disk_file(DISK);
    s = sink_new(1000, 0);
    config = sink_config(s);
    r = file_open(path, 0, s, &config);
    faults_clear();
    read_random(r, s, DISK, 500);
    g_assert_cmpint(truncate(path, DISK / 2 + 2048), ==, 0);
    submit(r, s, DISK / 2 / SECTOR, 1);
    g_assert(sink_wait(s, 501, 5000));
    submit(r, s, DISK / 2 / SECTOR - 8, 1);
    g_assert(sink_wait(s, 502, 5000));
    submit(r, s, DISK / 2 / SECTOR + 800, 1);
    g_assert(sink_wait(s, 503, 5000));
    assert_ret(s, 500, 1, -EIO);
    assert_ret(s, 501, 1, 0);
    assert_ret(s, 502, 1, -EIO);
    assert_error(r, "the file ends before");
    close_and_check(r, s);
}

/* Reads that never end, and a close while they don't */
static void test_hang(const void *opaque)
{
    g_autofree char *path = NULL;
    PagecacheReaderConfig config;
    PagecacheReaderStats stats;
    PagecacheReader *r;
    Sink *s;

    if (!can_do(opaque)) {
        return;
    }
    path = disk_file(DISK);
    s = sink_new(1000, 0);
    config = sink_config(s);
    faults_clear();
    faults.hang_at = 2 * MiB;
    config.deadline_ms = 200;
    r = file_open(path, 0, s, &config);
    submit(r, s, 8000, 4);
    g_assert(sink_wait(s, 4, 5000));
    submit(r, s, 2 * MiB / SECTOR, 4);
    submit(r, s, 0, 4);
    g_assert(sink_wait(s, 12, 5000));
    assert_ret(s, 0, 4, 0);
    assert_ret(s, 4, 4, -ETIMEDOUT);
    assert_ret(s, 8, 4, 0);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.timeouts, ==, 1);
    g_free(stats.last_error);

    /* the others go on */
    submit(r, s, 1000, 4);
    g_assert(sink_wait(s, 16, 5000));
    assert_ret(s, 12, 4, 0);

    submit(r, s, 2 * MiB / SECTOR, 4);
    g_usleep(50 * 1000);
    close_and_check(r, s);      /* released, with two reads stuck */

    /* another disk is read meanwhile */
    s = sink_new(1000, 0);
    config = sink_config(s);
    r = file_open(path, 0, s, &config);
    submit(r, s, 0, 50);
    g_assert(sink_wait(s, 50, 20000));
    g_assert_cmpuint(s->good, ==, 50);
    close_and_check(r, s);

    faults_clear();             /* let them end, for the leak checkers */
    wait_gone();
}

/* All that may be in flight is stuck: the disk is given up */
static void test_all_hang(const void *opaque)
{
    g_autofree char *path = NULL;
    PagecacheReaderConfig config;
    PagecacheReader *r;
    Sink *s;

    if (!can_do(opaque)) {
        return;
    }
    path = disk_file(DISK);
    s = sink_new(1000, 0);
    config = sink_config(s);
    faults_clear();
    faults.hang_at = 0;
    config.sessions = 1;
    config.depth = 3;
    config.deadline_ms = 100;
    config.giveup_ms = 300;
    r = file_open(path, 0, s, &config);
    submit(r, s, 8000, 1);
    g_assert(sink_wait(s, 1, 5000));
    assert_ret(s, 0, 1, 0);
    while (reader_state(r) != PAGECACHE_READER_FAILED && s->npages < 1000) {
        submit(r, s, 0, 1);
        g_usleep(10 * 1000);
    }
    g_assert(sink_wait(s, s->npages, 5000));
    g_assert_cmpuint(s->good, ==, 1);
    g_assert_cmpuint(count_reads(), ==, 4);
    assert_error(r, "no read could be started for 300 ms");
    close_and_check(r, s);
    faults_clear();
    wait_gone();
}

/* Most disks hang from their first read on; the others are read all the same */
static void test_most_hang(const void *opaque)
{
    enum { HUNG = 40, WELL = 4 };
    g_autofree char *path = NULL;
    PagecacheReader *r[HUNG + WELL];
    PagecacheReaderConfig config;
    Sink *s[HUNG + WELL];
    unsigned i;

    if (!can_do(opaque)) {
        return;
    }
    path = disk_file(DISK);
    faults_clear();
    faults.hang_at = 2 * MiB;
    for (i = 0; i < HUNG + WELL; i++) {
        s[i] = sink_new(1000, 0);
        config = sink_config(s[i]);
        config.deadline_ms = 20000;
        r[i] = file_open(path, 0, s[i], &config);
        if (i < HUNG) {
            submit(r[i], s[i], 2 * MiB / SECTOR, 4);
        }
    }
    for (i = HUNG; i < HUNG + WELL; i++) {
        submit(r[i], s[i], 0, 100);
        g_assert(sink_wait(s[i], 100, 20000));
        g_assert_cmpuint(s[i]->good, ==, 100);
    }
    g_assert_cmpuint(count_threads() - threads, <=, 66);
    for (i = 0; i < HUNG + WELL; i++) {
        close_and_check(r[i], s[i]);
    }
    faults_clear();
    wait_gone();
}

/* Of many disks, all of them read: few threads, one descriptor each */
static void test_many_disks(const void *opaque)
{
    enum { DISKS = 70 };
    unsigned fds, i, most = 0;
    g_autofree char *path = NULL;
    PagecacheReader *r[DISKS];
    PagecacheReaderConfig config;
    Sink *s[DISKS];

    if (!can_do(opaque)) {
        return;
    }
    path = disk_file(DISK);
    faults_clear();
    wait_gone();
    fds = count_fds();
    for (i = 0; i < DISKS; i++) {
        s[i] = sink_new(1000, 0);
        s[i]->delay_us = 1000;
        config = sink_config(s[i]);
        config.deadline_ms = 20000;
        config.max_read = 4 * PAGE;
        r[i] = file_open(path, 0, s[i], &config);
        g_assert_cmpint(reader_state(r[i]), ==, PAGECACHE_READER_IDLE);
    }
    /* the watchdog, and nothing else */
    g_assert_cmpuint(count_fds(), ==, fds);
    g_assert_cmpuint(count_threads(), <=, threads + 1);
    for (i = 0; i < DISKS; i++) {
        submit(r[i], s[i], 8 * i, 200);
    }
    for (i = 0; i < DISKS; i++) {
        while (!sink_wait(s[i], 200, 1)) {
            most = MAX(most, count_threads());
        }
        most = MAX(most, count_threads());
        g_assert_cmpuint(s[i]->good, ==, 200);
        check_method(r[i]);
    }
    g_test_message("%u disks: %u threads, %u descriptors", DISKS,
                   most - threads, count_fds() - fds);
    /*
     * Watchdog, rings, workers, the kernel's.  16 workers and one that waits
     * are enough, but a loaded machine may make some late.
     */
    g_assert_cmpuint(most - threads, <=, 1 + 2 + 64 + 2 * 8);
    g_assert_cmpuint(count_fds() - fds, <=, DISKS + 4);
    for (i = 0; i < DISKS; i++) {
        close_and_check(r[i], s[i]);
    }
    wait_gone();
    g_assert_cmpuint(count_fds(), ==, fds);
}

/* Kernels that have some of what the ring would like to have, or none */
static void test_old_kernel(void)
{
    static const unsigned no_flags[] = {
#ifdef IORING_SETUP_DEFER_TASKRUN
        IORING_SETUP_DEFER_TASKRUN,
        IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN,
#endif
        0,
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(no_flags) && can_do("ring"); i++) {
        g_autofree char *path = disk_file(DISK);
        Sink *s = sink_new(1000, 0);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReader *r = file_open(path, 0, s, &config);

        faults_clear();
        faults.no_flags = no_flags[i];
        read_random(r, s, DISK, 1000);
        check_method(r);
        close_and_check(r, s);
        wait_gone();            /* the next one has a ring of its own */
    }
    faults.no_flags = 0;
}

/* The first disk has got the only ring there is */
static void test_one_ring(void)
{
    g_autofree char *path = NULL;
    PagecacheReaderConfig config;
    PagecacheReader *r[3];
    unsigned i;
    Sink *s[3];

    if (!can_do("ring")) {
        return;
    }
    path = disk_file(DISK);
    faults_clear();
    faults.rings = 1;
    for (i = 0; i < G_N_ELEMENTS(r); i++) {
        s[i] = sink_new(1000, 0);
        config = sink_config(s[i]);
        r[i] = file_open(path, 0, s[i], &config);
        read_random(r[i], s[i], DISK, 1000);
        check_method(r[i]);
    }
    for (i = 0; i < G_N_ELEMENTS(r); i++) {
        close_and_check(r[i], s[i]);
    }
    faults.rings = UINT_MAX;
    wait_gone();
}

/* --- Tests of who calls back ---------------------------------------------- */

/*
 * QUICK single pages, one at a time, then @slow of them, 16 at a time, whose
 * callbacks take 5 ms.  By whom they came is left in @by_ring.
 */
static void read_singly(unsigned slow, unsigned *quick_by_ring,
                        int64_t *took_us)
{
    g_autofree char *path = disk_file(DISK);
    Sink *s = sink_new(QUICK + slow, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;
    int64_t start;
    unsigned i;

    faults_clear();
    config.done = named_done;
    config.max_read = PAGE;
    g_atomic_int_set(&by_ring, 0);
    r = file_open(path, 0, s, &config);
    for (i = 0; i < QUICK; i++) {
        submit(r, s, i % 500 * 16, 1);
        g_assert(sink_wait(s, i + 1, 5000));
    }
    *quick_by_ring = g_atomic_int_get(&by_ring);
    g_atomic_int_set(&by_ring, 0);
    s->delay_us = 5000;
    start = g_get_monotonic_time();
    for (; i < QUICK + slow; i++) {
        submit(r, s, i % 500 * 16, 1);
        g_assert(sink_wait(s, i + 1 - 16, 5000));
    }
    g_assert(sink_wait(s, QUICK + slow, 20000));
    *took_us = g_get_monotonic_time() - start;
    g_assert_cmpuint(s->good, ==, QUICK + slow);
    check_method(r);
    close_and_check(r, s);
}

/* The ring's thread has the time, and need not wake a worker */
static void test_quick_callbacks(void)
{
    unsigned n;
    int64_t us;

    if (can_do("ring")) {
        read_singly(0, &n, &us);
        g_test_message("%u of %u pages by the ring's thread", n, QUICK);
        g_assert_cmpuint(n, >, 0);
    }
}

/* It learns that callbacks block, for whatever reason: they do not add up */
static void test_slow_callbacks(void)
{
    enum { SLOW = 400 };
    unsigned n;
    int64_t us;

    if (can_do("ring")) {
        read_singly(SLOW, &n, &us);
        g_test_message("%d of %d pages by the ring's thread, in %" PRId64
                       " ms", g_atomic_int_get(&by_ring), SLOW, us / 1000);
        g_assert_cmpint(us, <, SLOW * 5000 * 3 / 4);
        g_assert_cmpint(g_atomic_int_get(&by_ring), <, SLOW / 4);
    }
}

/* --- Tests of opening ----------------------------------------------------- */

/* open() itself never returns: that of a FIFO nobody writes to */
static void test_open_hangs(void)
{
    g_autofree char *path = g_build_filename(dir, "fifo", NULL);
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;
    int fd;

    faults_clear();
    g_assert_cmpint(mkfifo(path, 0600), ==, 0);
    config.deadline_ms = 100;
    r = file_open(path, 0, s, &config);
    submit(r, s, 0, 10);
    g_assert(sink_wait(s, 10, 5000));
    assert_ret(s, 0, 10, -ETIMEDOUT);
    submit(r, s, 0, 10);
    close_and_check(r, s);
    fd = open(path, O_RDWR);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    wait_gone();
    unlink(path);
}

static void check_refused(const char *path, uint64_t offset, uint64_t size,
                          const char *text)
{
    Sink *s = sink_new(10, offset);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r = file_open(path, size, s, &config);

    faults_clear();
    submit(r, s, 0, 5);
    g_assert(sink_wait(s, 5, 5000));
    assert_ret(s, 0, 5, -EIO);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
    assert_error(r, text);
    close_and_check(r, s);
}

static void test_refused(void)
{
    g_autofree char *path = disk_file(DISK);
    g_autofree char *none = g_build_filename(dir, "none", NULL);

    check_refused(none, 0, 0, "none: No such file or directory");
    check_refused("/dev/full", 0, 0, "is on a file system that does not take "
                  "O_DIRECT");
    if (can_do("threads")) {
        check_refused(path, DISK + 1, 0,
                      "4194304 bytes are there, expected 4194305 or more");
        check_refused(path, SECTOR, DISK,
                      "4194304 bytes are there, expected 4194816 or more");
    }
}

/* The last descriptors are left to others */
static void test_descriptors(void)
{
    g_autofree char *path = NULL;
    struct rlimit old, few;

    if (!can_do("threads")) {
        return;
    }
    path = disk_file(DISK);
    g_assert_cmpint(getrlimit(RLIMIT_NOFILE, &old), ==, 0);
    few = old;
    few.rlim_cur = count_fds() + 60;
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &few), ==, 0);
    check_refused(path, 0, 0, "file descriptors are in use, expected 65 or "
                  "more to be left (RLIMIT_NOFILE)");
    g_assert_cmpint(setrlimit(RLIMIT_NOFILE, &old), ==, 0);
}

static void read_passed(const char *path, int passed, int ret,
                        const char *text)
{
    PagecacheReaderSpec *spec = pagecache_reader_spec_alloc(&file_ops);
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    unsigned fds = count_fds();
    PagecacheReader *r;

    spec->name = g_strdup("/dev/fdset/3");
    spec->u.file.passed_fd = g_new(int, 1);
    *spec->u.file.passed_fd = passed;
    r = pagecache_reader_open(spec, &config);
    g_assert_nonnull(r);
    submit(r, s, 0, 100);
    g_assert(sink_wait(s, 100, 5000));
    assert_ret(s, 0, 100, ret);
    if (text) {
        assert_error(r, text);
    }
    g_assert_cmpuint(count_fds(), <=, fds + 2);
    close_and_check(r, s);
    wait_gone();
}

/* A descriptor that was passed in, with all that it may be */
static void test_passed(void)
{
    g_autofree char *path = NULL;

    if (!can_do("threads")) {
        return;
    }
    faults_clear();
    path = disk_file(DISK);
    read_passed(path, open(path, O_RDWR | O_CLOEXEC), 0, NULL);
    read_passed(path, open(path, O_RDONLY | O_CLOEXEC), 0, NULL);
    read_passed(path, open(path, O_RDONLY | O_DIRECT | O_CLOEXEC), 0, NULL);
    read_passed(path, open("/dev/null", O_RDONLY | O_CLOEXEC), -EIO,
                "cannot open /dev/fdset/3 once more with O_DIRECT: Invalid "
                "argument; add a descriptor to the set that was opened with "
                "O_RDONLY and O_DIRECT");
}

/* --- Where io_uring is forbidden ------------------------------------------ */

static void forbid_io_uring(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = { .len = G_N_ELEMENTS(code), .filter = code };

    g_assert_cmpint(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog), ==, 0);
}

static void test_forbidden(void)
{
    g_autofree char *path = NULL;
    PagecacheReaderConfig config;
    PagecacheReaderStats stats;
    PagecacheReader *r;
    Sink *s;

    if (!g_test_subprocess()) {
        if (can_do("ring")) {
            g_test_trap_subprocess(NULL, 0, 0);
            g_test_trap_assert_passed();
        }
        return;
    }
    path = disk_file_named("forbidden", DISK);
    forbid_io_uring();
    s = sink_new(1000, 0);
    config = sink_config(s);
    r = file_open(path, 0, s, &config);
    faults_clear();
    read_random(r, s, DISK, 1000);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpstr(stats.method, ==,
                    "threads: no io_uring: Operation not permitted");
    g_free(stats.last_error);
    close_and_check(r, s);
    unlink(path);
}

static void add_both(const char *name, GTestDataFunc fn)
{
    static const char *const hows[] = { "ring", "threads" };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(hows); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache-reader-file/%s/%s",
                                                hows[i], name);

        g_test_add_data_func(path, hows[i], fn);
    }
}

static gpointer nothing(gpointer opaque)
{
    return opaque;
}

int main(int argc, char **argv)
{
    g_autofree char *disk = NULL;
    int ret;

    g_test_init(&argc, &argv, NULL);
    /* a sanitizer's own thread comes with the first one: before we count */
    g_thread_join(g_thread_new("first", nothing, NULL));
    threads = count_threads();
    /* not /tmp, which may be a tmpfs and have no O_DIRECT */
    dir = g_mkdtemp(g_strdup("/var/tmp/pagecache-reader-XXXXXX"));
    g_assert_nonnull(dir);
    add_both("random", test_random);
    add_both("partial", test_partial);
    add_both("eio", test_eio);
    add_both("truncated", test_truncated);
    add_both("hang", test_hang);
    add_both("all-hang", test_all_hang);
    add_both("most-hang", test_most_hang);
    add_both("many-disks", test_many_disks);
    g_test_add_func("/pagecache-reader-file/old-kernel", test_old_kernel);
    g_test_add_func("/pagecache-reader-file/one-ring", test_one_ring);
    g_test_add_func("/pagecache-reader-file/quick-callbacks",
                    test_quick_callbacks);
    g_test_add_func("/pagecache-reader-file/slow-callbacks",
                    test_slow_callbacks);
    g_test_add_func("/pagecache-reader-file/open-hangs", test_open_hangs);
    g_test_add_func("/pagecache-reader-file/refused", test_refused);
    g_test_add_func("/pagecache-reader-file/descriptors", test_descriptors);
    g_test_add_func("/pagecache-reader-file/passed", test_passed);
    g_test_add_func("/pagecache-reader-file/forbidden", test_forbidden);
    ret = g_test_run();
    disk = g_build_filename(dir, "disk", NULL);
    unlink(disk);
    rmdir(dir);
    g_free(dir);
    return ret;
}
