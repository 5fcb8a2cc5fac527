/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of what the skip-pagecache reader does to the host's page cache:
 * nothing, on real file systems, or it does not read.  Each file system is
 * tried as the kernel describes it, and as if it said nothing of direct reads
 * (STATX_DIOALIGN), as kernels before 6.1 do.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <fcntl.h>
#include <sys/stat.h>

static int test_statx(int fd, const char *path, int flags, unsigned mask,
                      struct statx *stx);
static ssize_t test_pread(int fd, void *buf, size_t n, off_t offset);
#define statx(...) test_statx(__VA_ARGS__)
#define pread test_pread
#include "../../block/pagecache-reader-direct.c"
#include "../../block/pagecache-reader-file.c"
#undef pread
#undef statx

#include "test-pagecache-reader-lib.h"
#include "test-pagecache-hosts.h"

#define DISK    (8 * MiB)

static char *dir;
static char *mnt;
static bool says_nothing;           /* statx() of direct reads */
static bool told;                   /* it did say something */
static char *read_too;              /* a read brings this into the cache */

static int test_statx(int fd, const char *path, int flags, unsigned mask,
                      struct statx *stx)
{
    int ret = statx(fd, path, flags, mask, stx);

    if (says_nothing) {
        stx->stx_mask &= ~STATX_DIOALIGN;
    }
    told |= ret == 0 && (stx->stx_mask & STATX_DIOALIGN);
    return ret;
}

static ssize_t test_pread(int fd, void *buf, size_t n, off_t offset)
{
    if (read_too) {
        g_autofree char *content = NULL;

        g_assert(g_file_get_contents(read_too, &content, NULL, NULL));
    }
    return pread(fd, buf, n, offset);
}

/* --- Reading -------------------------------------------------------------- */

static PagecacheReader *open_reader(const char *path, Sink *s)
{
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderSpec *spec = pagecache_reader_spec_alloc(&file_ops);
    PagecacheReader *r;

    spec->name = g_strdup(path);
    spec->u.file.path = g_strdup(path);
    r = pagecache_reader_open(spec, &config);
    g_assert_nonnull(r);
    return r;
}

static void submit(PagecacheReader *r, Sink *s, uint64_t sector, unsigned n)
{
    PagecacheRun run = sink_run(s, sector, n);

    pagecache_reader_submit(r, &run, 1);
}

/* All of @path is read, and nothing of it in the cache */
static void check_read(const char *path, uint64_t bytes, const char *cache)
{
    unsigned pages = bytes / PAGE, i;
    Sink *s = sink_new(pages, 0);
    PagecacheReader *r;
    PagecacheReaderStats stats;

    hosts_uncache(cache);
    g_assert_cmpuint(hosts_cached(cache), ==, 0);
    r = open_reader(path, s);
    for (i = 0; i < pages; i += 16) {
        submit(r, s, (uint64_t)i * PAGE / SECTOR, MIN(16, pages - i));
    }
    g_assert(sink_wait(s, pages, 20000));
    pagecache_reader_stats(r, &stats);
    if (stats.last_error) {
        g_error("%s: %s", path, stats.last_error);
    }
    g_assert_cmpuint(s->good, ==, pages);
    g_test_message("%s", stats.method);
    close_and_check(r, s);
    g_assert_cmpuint(hosts_cached(cache), ==, 0);
}

/* It is not read, and that is why */
static void check_refused(const char *path, const char *text)
{
    Sink *s = sink_new(10, 0);
    PagecacheReader *r = open_reader(path, s);

    submit(r, s, 0, 5);
    g_assert(sink_wait(s, 5, 5000));
    assert_ret(s, 0, 5, -EIO);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
    assert_error(r, text);
    close_and_check(r, s);
}

/* --- File systems --------------------------------------------------------- */

typedef struct FileSystem {
    const char *name;
    const char *mkfs;       /* NULL: needs no image */
    const char *options;
    const char *told;       /* why it is refused, where statx() tells... */
    const char *found;      /* ...and where it does not; NULL: it is read */
} FileSystem;

static const FileSystem file_systems[] = {
    { "ext4", "mkfs.ext4 -q -F", "loop" },
    { "ext4-1k", "mkfs.ext4 -q -F -b 1024", "loop" },
    { "ext4-journal", "mkfs.ext4 -q -F", "loop,data=journal",
      "go through the host's page cache (STATX_DIOALIGN says so)",
      "go through the host's page cache" },
    { "xfs", "mkfs.xfs -q -f", "loop" },
    { "btrfs", "mkfs.btrfs -q -f", "loop" },
    { "tmpfs", NULL, "",
      "is on a file system that has no direct reads",
      "is on a file system that has no direct reads" },
    { "ramfs", NULL, "",
      "O_DIRECT", "O_DIRECT" },
};

static bool mount_image(const FileSystem *fs)
{
    g_autofree char *image = g_build_filename(dir, "image", NULL);
    g_auto(GStrv) words = g_strsplit(fs->name, "-", 2);
    g_auto(GStrv) tool = g_strsplit(fs->mkfs ?: "true", " ", 2);
    g_autofree char *found = g_find_program_in_path(tool[0]);

    if (!found) {
        g_autofree char *why = g_strdup_printf("there is no %s", tool[0]);

        g_test_skip(why);
        return false;
    }
    if (!fs->mkfs) {
        return hosts_run("mount -t %s none %s", fs->name, mnt);
    }
    unlink(image);
    if (!hosts_run("truncate -s 400M %s", image) ||
        !hosts_run("%s %s", fs->mkfs, image) ||
        !hosts_run("mount -t %s -o %s %s %s", words[0], fs->options, image,
                   mnt)) {
        g_test_skip("it can't be made or mounted here");
        return false;
    }
    return true;
}

static void test_file_system(const void *opaque)
{
    const FileSystem *fs = opaque;
    g_autofree char *path = g_build_filename(mnt, "disk", NULL);

    if (!hosts_private() || !mount_image(fs)) {
        return;
    }
    pattern_file(path, DISK);
    for (told = false, says_nothing = false; ; says_nothing = true) {
        const char *why = says_nothing ? fs->found : fs->told;

        if (why) {
            hosts_uncache(path);
            check_refused(path, why);
            if (fs->mkfs) {
                g_assert_cmpuint(hosts_cached(path), ==, 0);
            }
        } else {
            check_read(path, DISK, path);
        }
        if (says_nothing) {
            break;
        }
        g_test_message("%s: statx() %s", fs->name,
                       told ? "tells" : "does not tell");
    }
    says_nothing = false;
    g_assert(hosts_run("umount %s", mnt));
}

/* All of it is in the cache already: what can be taken out is, else we pass */
static void test_cached_before(void)
{
    g_autofree char *path = g_build_filename(dir, "disk", NULL);
    g_autofree char *content = NULL;

    pattern_file(path, DISK);
    hosts_uncache(path);
    g_assert(g_file_get_contents(path, &content, NULL, NULL));
    says_nothing = true;
    {
        Sink *s = sink_new(100, 0);
        PagecacheReader *r = open_reader(path, s);

        submit(r, s, 0, 100);
        g_assert(sink_wait(s, 100, 5000));
        assert_ret(s, 0, 100, 0);
        close_and_check(r, s);
    }
    if (geteuid() == 0 || hosts_cached(path)) {
        void *map;
        int fd = open(path, O_RDONLY);

        /* pages that are locked in memory stay there */
        map = mmap(NULL, DISK, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0);
        g_assert(map != MAP_FAILED);
        if (mlock(map, DISK) == 0) {
            check_refused(path, "it is in there already");
        } else {
            g_test_skip("RLIMIT_MEMLOCK is too low");
        }
        munmap(map, DISK);
        close(fd);
    }
    says_nothing = false;
    unlink(path);
}

/* A read that fills the cache after the first one did not */
static void test_cached_later(void)
{
    g_autofree char *path = g_build_filename(dir, "disk", NULL);
    PagecacheReader *r;
    Sink *s;

    pattern_file(path, DISK);
    hosts_uncache(path);
    says_nothing = true;
    s = sink_new(100, 0);
    r = open_reader(path, s);
    submit(r, s, 0, 50);
    g_assert(sink_wait(s, 50, 5000));
    assert_ret(s, 0, 50, 0);
    says_nothing = false;
    close_and_check(r, s);

    /* by threads, whose pread() we have */
    s = sink_new(100, 0);
    {
        PcrFile d = {};
        g_autofree char *why = NULL;
        PagecacheReaderSpec spec = { .name = path, .u.file.path = path };
        PagecacheRead read = { .bytes = 64 * 1024, .needed = 64 * 1024 };
        unsigned before;

        says_nothing = true;
        g_assert(pcr_direct_open(&spec, &d.f, &why));
        says_nothing = false;
        g_assert_cmpint(posix_memalign((void **)&read.buf, 4096, read.bytes),
                        ==, 0);
        before = pcr_direct_cached(&d.f, 0, read.bytes);
        g_assert_cmpint(file_pread(&d, &read, (const char **)&why), ==, 0);
        g_assert_null(pcr_direct_check(&d.f, &read, before));
        read_too = path;
        g_assert_cmpint(file_pread(&d, &read, (const char **)&why), ==, 0);
        read_too = NULL;
        g_assert_cmpstr(pcr_direct_check(&d.f, &read, before), ==,
                        "the read went through the host's page cache, in "
                        "spite of O_DIRECT");
        free(read.buf);
        pcr_direct_close(&d.f);
        g_assert_cmpuint(hosts_cached(path), <, DISK / PAGE);
    }
    sink_free(s);
    unlink(path);
}

/* --- Block devices -------------------------------------------------------- */

static void test_loop(const void *opaque)
{
    bool direct = opaque != NULL;
    g_autofree char *path = g_build_filename(dir, "disk", NULL);
    g_autofree char *device = NULL;
    g_autofree char *command = NULL;

    if (geteuid()) {
        g_test_skip("needs root");
        return;
    }
    pattern_file(path, DISK);
    hosts_uncache(path);
    command = g_strdup_printf("losetup --show -f --direct-io=%s %s",
                              direct ? "on" : "off", path);
    if (!g_spawn_command_line_sync(command, &device, NULL, NULL, NULL) ||
        !g_str_has_prefix(g_strchomp(device), "/dev/loop")) {
        g_test_skip("no loop device to be had");
        return;
    }
    if (direct) {
        check_read(device, DISK, path);
    } else {
        check_refused(device, "is read through the host's page cache by the "
                      "loop device loop");
    }
    g_assert(hosts_run("losetup -d %s", device));
    unlink(path);
}

/* --- FUSE ----------------------------------------------------------------- */

static void test_fuse(const void *options)
{
    g_autofree char *file = g_build_filename(dir, "file", NULL);
    Host host;

    pattern_file(file, DISK);
    if (!host_mount(&host, file, mnt, options)) {
        return;
    }
    if (options && strstr(options, "no-o-direct")) {
        check_refused(host.disk, "is on a file system that does not take "
                      "O_DIRECT");
    } else {
        check_read(host.disk, DISK, host.disk);
        g_assert_cmpuint(host_count(&host, "read", "direct"), >=,
                         DISK / (1024 * 1024));
    }
    host_unmount(&host);
    unlink(file);
}

/* A server that is dead: at open, at a read, at the close */
static void test_fuse_dead(const void *opaque)
{
    const char *op = opaque;
    g_autofree char *file = g_build_filename(dir, "file", NULL);
    g_autofree char *line = g_strdup_printf("%s hang", op);
    PagecacheReaderConfig config;
    PagecacheReader *r;
    Host host;
    Sink *s;

    pattern_file(file, DISK);
    if (!host_mount(&host, file, mnt, NULL)) {
        return;
    }
    host_command(&host, line);
    s = sink_new(1000, 0);
    config = sink_config(s);
    config.deadline_ms = 200;
    {
        PagecacheReaderSpec *spec = pagecache_reader_spec_alloc(&file_ops);

        spec->name = g_strdup(host.disk);
        spec->u.file.path = g_strdup(host.disk);
        r = pagecache_reader_open(spec, &config);
    }
    submit(r, s, 0, 100);
    g_assert(sink_wait(s, 100, 5000));
    assert_ret(s, 0, 100, !strcmp(op, "close") ? 0 : -ETIMEDOUT);
    submit(r, s, 0, 100);
    close_and_check(r, s);

    /* meanwhile another disk */
    host_wait_held(&host, op, true);
    s = sink_new(1000, 0);
    r = open_reader(file, s);
    submit(r, s, 0, 100);
    g_assert(sink_wait(s, 100, 5000));
    assert_ret(s, 0, 100, 0);
    close_and_check(r, s);

    host_command(&host, "all now");
    host_wait_held(&host, op, false);
    g_usleep(100 * 1000);
    host_unmount(&host);
    unlink(file);
}

int main(int argc, char **argv)
{
    g_autofree char *command = NULL;
    unsigned i;
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = g_mkdtemp(g_strdup("/var/tmp/pagecache-direct-XXXXXX"));
    g_assert_nonnull(dir);
    mnt = g_build_filename(dir, "mnt", NULL);
    g_assert_cmpint(mkdir(mnt, 0700), ==, 0);
    g_test_add_func("/pagecache-reader-direct/cached-before",
                    test_cached_before);
    g_test_add_func("/pagecache-reader-direct/cached-later",
                    test_cached_later);
    for (i = 0; i < G_N_ELEMENTS(file_systems); i++) {
        g_autofree char *path =
            g_strdup_printf("/pagecache-reader-direct/%s",
                            file_systems[i].name);

        g_test_add_data_func(path, &file_systems[i], test_file_system);
    }
    g_test_add_data_func("/pagecache-reader-direct/loop/direct", dir,
                         test_loop);
    g_test_add_data_func("/pagecache-reader-direct/loop/buffered", NULL,
                         test_loop);
    g_test_add_data_func("/pagecache-reader-direct/fuse/cached", NULL,
                         test_fuse);
    g_test_add_data_func("/pagecache-reader-direct/fuse/direct-io",
                         "--direct-io", test_fuse);
    g_test_add_data_func("/pagecache-reader-direct/fuse/async", "--async-dio",
                         test_fuse);
    g_test_add_data_func("/pagecache-reader-direct/fuse/refuses",
                         "--no-o-direct", test_fuse);
    g_test_add_data_func("/pagecache-reader-direct/fuse/open-hangs", "open",
                         test_fuse_dead);
    g_test_add_data_func("/pagecache-reader-direct/fuse/read-hangs", "read",
                         test_fuse_dead);
    g_test_add_data_func("/pagecache-reader-direct/fuse/close-hangs", "close",
                         test_fuse_dead);
    ret = g_test_run();
    command = g_strdup_printf("rm -rf --one-file-system %s", dir);
    g_spawn_command_line_sync(command, NULL, NULL, NULL, NULL);
    g_free(dir);
    g_free(mnt);
    return ret;
}
