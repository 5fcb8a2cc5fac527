/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the skip-pagecache reader's engine for files: real files, and what
 * storage can do wrong, made by a pread() of our own in its place.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/types.h>

static ssize_t faulty_pread(int fd, void *buf, size_t n, off_t offset);
#define pread faulty_pread
#include "../../block/pagecache-reader-file.c"
#undef pread

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
    bool refuse_direct;     /* EINVAL on a descriptor with O_DIRECT */
    unsigned direct, buffered;  /* calls */
} faults;

static ssize_t faulty_pread(int fd, void *buf, size_t n, off_t offset)
{
    bool direct = fcntl(fd, F_GETFL) & O_DIRECT;
    int error = 0;

    g_mutex_lock(&faults.lock);
    faults.direct += direct;
    faults.buffered += !direct;
    while (faults.hang_at >= offset && faults.hang_at < offset + n) {
        g_cond_wait(&faults.cond, &faults.lock);
    }
    if (faults.interrupts) {
        faults.interrupts--;
        error = EINTR;
    } else if (faults.refuse_direct && direct) {
        error = EINVAL;
    } else if (faults.error_at >= offset && faults.error_at < offset + n) {
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

static void faults_clear(void)
{
    g_mutex_lock(&faults.lock);
    faults.error_at = -1;
    faults.hang_at = -1;
    faults.shortest = 0;
    faults.interrupts = 0;
    faults.refuse_direct = false;
    faults.direct = faults.buffered = 0;
    g_cond_broadcast(&faults.cond);
    g_mutex_unlock(&faults.lock);
}

/* --- Helpers ------------------------------------------------------------- */

static char *dir;

static char *disk_file(size_t bytes)
{
    char *path = g_build_filename(dir, "disk", NULL);

    pattern_file(path, bytes);
    return path;
}

static PagecacheReader *file_open(const char *path, bool direct, uint64_t size,
                                  Sink *s, const PagecacheReaderConfig *config)
{
    PagecacheReaderSpec *spec = pagecache_reader_spec_alloc(&file_ops);
    PagecacheReader *r;

    spec->name = g_strdup(path);
    spec->offset = s->offset;
    spec->size = size;
    spec->u.file.path = g_strdup(path);
    spec->u.file.direct = direct;
    r = pagecache_reader_open(spec, config);
    g_assert_nonnull(r);
    return r;
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

/* --- Tests --------------------------------------------------------------- */

static void test_random(const void *opaque)
{
    bool direct = opaque != NULL;
    static const uint64_t offsets[] = { 0, SECTOR, 3 * MiB / 2 + 7 * SECTOR };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(offsets); i++) {
        /* the size is not a multiple of what O_DIRECT reads */
        uint64_t size = DISK + 9 * SECTOR;
        g_autofree char *path = disk_file(offsets[i] + size);
        Sink *s = sink_new(4000, offsets[i]);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReader *r = file_open(path, direct, 0, s, &config);
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
        /* threads come up one by one, some perhaps after the last read */
        g_assert_cmpuint(stats.sessions, >=, 1);
        g_assert_cmpuint(stats.sessions, <=, 16);
        g_assert_cmpuint(stats.errors, ==, 0);
        g_assert_cmpuint(stats.bytes_used, ==, 3991 * PAGE);
        g_free(stats.last_error);
        if (direct && !faults.direct) {
            g_test_message("no O_DIRECT on the filesystem of %s", dir);
        }
        close_and_check(r, s);
    }
}

static void test_refuses_direct(void)
{
    g_autofree char *path = disk_file(DISK);
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    faults_clear();
    faults.refuse_direct = true;
    r = file_open(path, true, 0, s, &config);
    read_random(r, s, DISK, 1000);
    g_assert_cmpuint(faults.buffered, >, 0);
    close_and_check(r, s);
}

static void test_interrupted(void)
{
    g_autofree char *path = disk_file(DISK);
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r = file_open(path, false, 0, s, &config);

    faults_clear();
    faults.interrupts = 30;
    faults.shortest = 1000;
    read_random(r, s, DISK, 1000);
    g_assert_cmpuint(faults.interrupts, ==, 0);
    close_and_check(r, s);
}

static void test_eio(void)
{
    g_autofree char *path = disk_file(DISK);
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;

    faults_clear();
    faults.error = EIO;
    faults.error_at = 1 * MiB;
    config.max_failures = 2;
    r = file_open(path, false, 0, s, &config);
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
static void test_truncated(void)
{
    g_autofree char *path = disk_file(DISK);
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    /* one thread: another that opens the file late would see its new size */
    config.sessions = 1;
    config.depth = 1;
    r = file_open(path, false, 0, s, &config);
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
static void test_hang(void)
{
    g_autofree char *path = disk_file(DISK);
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;

    faults_clear();
    faults.hang_at = 2 * MiB;
    config.deadline_ms = 200;
    r = file_open(path, false, 0, s, &config);
    submit(r, s, 2 * MiB / SECTOR, 4);
    submit(r, s, 0, 4);
    g_assert(sink_wait(s, 8, 5000));
    assert_ret(s, 0, 4, -ETIMEDOUT);
    assert_ret(s, 4, 4, 0);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.timeouts, ==, 1);
    g_free(stats.last_error);

    /* the other threads go on */
    submit(r, s, 1000, 4);
    g_assert(sink_wait(s, 12, 5000));
    assert_ret(s, 8, 4, 0);

    submit(r, s, 2 * MiB / SECTOR, 4);
    g_usleep(50 * 1000);
    close_and_check(r, s);      /* released, with two threads stuck */
    faults_clear();             /* let them end, for the leak checkers */
    g_usleep(100 * 1000);
}

/* All threads are stuck: the disk is given up */
static void test_all_hang(void)
{
    g_autofree char *path = disk_file(DISK);
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    faults_clear();
    faults.hang_at = 0;
    config.sessions = 1;
    config.depth = 3;
    config.deadline_ms = 100;
    config.giveup_ms = 300;
    r = file_open(path, false, 0, s, &config);
    submit(r, s, 8000, 1);
    g_assert(sink_wait(s, 1, 5000));
    assert_ret(s, 0, 1, 0);
    while (reader_state(r) != PAGECACHE_READER_FAILED) {
        submit(r, s, 0, 1);
        g_usleep(10 * 1000);
    }
    g_assert(sink_wait(s, s->npages, 5000));
    g_assert_cmpuint(s->good, ==, 1);
    g_mutex_lock(&faults.lock);
    g_assert_cmpuint(faults.buffered, ==, 4);
    g_mutex_unlock(&faults.lock);
    assert_error(r, "no read could be started for 300 ms");
    close_and_check(r, s);
    faults_clear();
    g_usleep(100 * 1000);
}

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
    r = file_open(path, false, 0, s, &config);
    submit(r, s, 0, 10);
    g_assert(sink_wait(s, 10, 5000));
    assert_ret(s, 0, 10, -ETIMEDOUT);
    submit(r, s, 0, 10);
    close_and_check(r, s);
    fd = open(path, O_RDWR);
    g_assert_cmpint(fd, >=, 0);
    g_usleep(100 * 1000);
    close(fd);
    unlink(path);
}

static void check_refused(const char *path, uint64_t offset, uint64_t size,
                          const char *text)
{
    Sink *s = sink_new(10, offset);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r = file_open(path, false, size, s, &config);

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
    check_refused(dir, 0, 0, "is neither a file nor a block device");
    check_refused("/dev/null", 0, 0, "is neither a file nor a block device");
    check_refused(path, DISK + 1, 0,
                  "4194304 bytes are there, expected 4194305 or more");
    check_refused(path, SECTOR, DISK,
                  "4194304 bytes are there, expected 4194816 or more");
}

int main(int argc, char **argv)
{
    g_autofree char *disk = NULL;
    int ret;

    g_test_init(&argc, &argv, NULL);
    /* not /tmp, which may be a tmpfs and have no O_DIRECT */
    dir = g_mkdtemp(g_strdup("/var/tmp/pagecache-reader-XXXXXX"));
    g_assert_nonnull(dir);
    g_test_add_data_func("/pagecache-reader-file/buffered", NULL, test_random);
    g_test_add_data_func("/pagecache-reader-file/direct", dir, test_random);
    g_test_add_func("/pagecache-reader-file/refuses-direct",
                    test_refuses_direct);
    g_test_add_func("/pagecache-reader-file/interrupted", test_interrupted);
    g_test_add_func("/pagecache-reader-file/eio", test_eio);
    g_test_add_func("/pagecache-reader-file/truncated", test_truncated);
    g_test_add_func("/pagecache-reader-file/hang", test_hang);
    g_test_add_func("/pagecache-reader-file/all-hang", test_all_hang);
    g_test_add_func("/pagecache-reader-file/open-hangs", test_open_hangs);
    g_test_add_func("/pagecache-reader-file/refused", test_refused);
    ret = g_test_run();
    disk = g_build_filename(dir, "disk", NULL);
    unlink(disk);
    rmdir(dir);
    g_free(dir);
    return ret;
}
