/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two hosts, one file, each with a page cache: what the skip-pagecache reader
 * has in flight when the guest goes on at the destination must not become what
 * the guest's own node reads there.
 *
 * Uses nothing of the engine but its name, so that it can be built with any.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "test-pagecache-reader-lib.h"
#include "test-pagecache-hosts.h"

#define DISK        (1 * MiB)
/* Sectors of the file as the source's guest has overwritten them */
#define REWRITTEN   (512ull * MiB)

static char *dir;

static PagecacheReader *open_reader(const char *path, Sink *s)
{
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderSpec *spec;
    PagecacheReader *r;

    spec = pagecache_reader_spec_alloc(pagecache_reader_file_ops);
    spec->name = g_strdup(path);
    spec->u.file.path = g_strdup(path);
    r = pagecache_reader_open(spec, &config);
    g_assert_nonnull(r);
    return r;
}

static void rewrite(const char *path)
{
    g_autofree uint8_t *buf = g_malloc(DISK);
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    pattern_fill(buf, REWRITTEN, DISK);
    g_assert_cmpint(pwrite(fd, buf, DISK, 0), ==, DISK);
    g_assert_cmpint(fsync(fd), ==, 0);
    close(fd);
}

static void test_late(const void *options)
{
    g_autofree char *file = g_build_filename(dir, "file", NULL);
    g_autofree char *mnt = g_build_filename(dir, "mnt", NULL);
    g_autofree uint8_t *buf = g_malloc(DISK);
    Sink *s = sink_new(DISK / PAGE, 0);
    Host src, dst;
    PagecacheReader *r;
    PagecacheRun run;
    int node;

    pattern_file(file, DISK);
    if (!host_mount(&src, file, mnt, options)) {
        sink_free(s);
        return;
    }
    g_assert(host_mount(&dst, file, mnt, options));

    /* the guest's node, cache=writeback, waits for its guest */
    node = open(dst.disk, O_RDWR | O_CLOEXEC);
    g_assert_cmpint(node, >=, 0);

    r = open_reader(dst.disk, s);
    run = sink_run(s, 0, 1);
    pagecache_reader_submit(r, &run, 1);
    g_assert(sink_wait(s, 1, 5000));
    assert_ret(s, 0, 1, 0);
    host_command(&dst, "read late 1000000");
    run = sink_run(s, PAGE / SECTOR, DISK / PAGE - 1);
    pagecache_reader_submit(r, &run, 1);
    host_wait_held(&dst, "read", true);

    /* what is in flight has the old bytes, and will come after the end */
    rewrite(src.disk);
    close_and_check(r, s);
    g_assert_cmpint(posix_fadvise(node, 0, 0, POSIX_FADV_DONTNEED), ==, 0);
    host_command(&dst, "read now");
    host_wait_held(&dst, "read", false);
    g_usleep(300 * 1000);

    g_assert_cmpuint(hosts_cached(dst.disk), ==, 0);
    g_assert_cmpint(pread(node, buf, DISK, 0), ==, DISK);
    g_assert(pattern_holds(buf, REWRITTEN, DISK));
    close(node);
    host_unmount(&dst);
    host_unmount(&src);
}

int main(int argc, char **argv)
{
    g_autofree char *command = NULL, *mnt = NULL;
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = g_mkdtemp(g_strdup("/var/tmp/pagecache-late-XXXXXX"));
    g_assert_nonnull(dir);
    mnt = g_build_filename(dir, "mnt", NULL);
    g_assert_cmpint(mkdir(mnt, 0700), ==, 0);
    g_test_add_data_func("/pagecache-reader-late/cached", NULL, test_late);
    g_test_add_data_func("/pagecache-reader-late/async", "--async-dio",
                         test_late);
    ret = g_test_run();
    command = g_strdup_printf("rm -rf --one-file-system %s", dir);
    g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL);
    g_free(dir);
    return ret;
}
