/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: a guest whose disk is a block device of
 * the host's
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A loop device stands in for a LUN that the host's kernel has attached; it
 * reads its file past the host's page cache, as a LUN is read.  The
 * kernel lets it go with the last file descriptor (LO_FLAGS_AUTOCLEAR): that of
 * the test or of a QEMU, which die with the test.
 */

#include "qemu/osdep.h"
#include <linux/loop.h>
#include <sys/ioctl.h>
#include "qemu/cutils.h"
#include "pagecache-test-lib.h"

#define TIMEOUT_US      (60 * G_USEC_PER_SEC)

typedef struct Loop {
    char *name;                 /* what the kernel is told of the image */
    char *path;
    int fd;
    bool buffered;              /* reads the image through the page cache */
} Loop;

/* Attaches the image @fd to the first loop device that is free. */
static int loop_attach(Loop *l, int fd, unsigned block_size)
{
    struct loop_config config = {
        .fd = fd, .block_size = block_size,
        .info.lo_flags = LO_FLAGS_AUTOCLEAR |
                         (l->buffered ? 0 : LO_FLAGS_DIRECT_IO),
    };
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), nr, ret;

    pstrcpy((char *)config.info.lo_file_name, LO_NAME_SIZE, l->name);
    if (control < 0) {
        return -errno;
    }
    do {
        nr = ioctl(control, LOOP_CTL_GET_FREE);
        if (nr < 0) {
            ret = -errno;
            break;
        }
        l->path = g_strdup_printf("/dev/loop%d", nr);
        l->fd = open(l->path, O_RDWR | O_CLOEXEC);
        ret = l->fd < 0 || ioctl(l->fd, LOOP_CONFIGURE, &config) ? -errno : 0;
        if (ret) {
            if (l->fd >= 0) {
                close(l->fd);
            }
            g_clear_pointer(&l->path, g_free);
        }
    } while (ret == -EBUSY);    /* somebody was faster */
    close(control);
    return ret;
}

/* The test's image as a block device; NULL: skipped */
static PcTest *loop_new(Loop *l, unsigned block_size)
{
    PcTest *t = pct_new();
    int fd = open(t->disk, O_RDWR | O_CLOEXEC), ret;

    g_assert_cmpint(fd, >=, 0);
    l->name = g_path_get_basename(t->dir);
    ret = loop_attach(l, fd, block_size);
    close(fd);
    if (ret) {
        g_autofree char *why = g_strdup_printf(
            "no loop device can be had here: %s", g_strerror(-ret));

        g_test_skip(why);
        g_free(l->name);
        pct_free(t);
        return NULL;
    }
    return t;
}

static void loop_free(PcTest *t, Loop *l)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    struct loop_info64 info;
    bool gone;
    int fd;

    pct_free(t);
    close(l->fd);
    /* another test may have it already, with another image */
    do {
        fd = open(l->path, O_RDONLY | O_CLOEXEC);
        gone = fd < 0 || ioctl(fd, LOOP_GET_STATUS64, &info) != 0 ||
               strcmp((char *)info.lo_file_name, l->name) != 0;
        if (fd >= 0) {
            close(fd);
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    } while (!gone);
    g_free(l->path);
    g_free(l->name);
}

static void start_both(PcTest *t, const char *args)
{
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
}

static void check_read(PcTest *t)
{
    pct_hint_cache(t);
    pct_refill_cache(t);
    pct_check_read_by(t, "file");
}

typedef struct Way {
    const char *name;
    const char *drive;          /* %s: the device's path */
    unsigned block_size;
} Way;

static const Way ways[] = {
    { "blockdev",
      "-blockdev host_device,node-name=disk0,filename=%s "
      "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", 512 },
    { "direct",
      "-blockdev host_device,node-name=disk0,cache.direct=on,filename=%s "
      "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", 512 },
    /* QEMU finds out by itself that it is a device */
    { "drive",
      "-drive if=none,id=disk0,format=raw,cache=none,aio=native,file=%s "
      "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", 512 },
    { "blocks-of-4k",
      "-blockdev host_device,node-name=disk0,cache.direct=on,filename=%s "
      "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5,"
      "logical_block_size=4096,physical_block_size=4096", 4096 },
};

static void test_way(const void *opaque)
{
    const Way *w = opaque;
    Loop loop = { };
    PcTest *t = loop_new(&loop, w->block_size);
    g_auto(GStrv) parts = NULL;
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    parts = g_strsplit(w->drive, "%s", 2);
    args = g_strconcat(parts[0], loop.path, parts[1], NULL);
    start_both(t, args);
    check_read(t);
    loop_free(t, &loop);
}

/* The first page of the cache, as the host has it in its own cache */
static void read_buffered(Loop *l, uint8_t *page)
{
    g_assert_cmpint(pread(l->fd, page, PAGE, pct_cache_sector(0) * 512), ==,
                    PAGE);
}

/*
 * The LUN is written to by the source's host, and this host has in its cache
 * what stood there before: the reader passes that by.
 */
static void test_stale_cache(void)
{
    Loop loop = { };
    PcTest *t = loop_new(&loop, 512);
    g_autofree uint8_t *page = g_malloc(PAGE), *old = NULL;
    g_autofree char *args = NULL;
    unsigned i;
    int fd;

    if (!t) {
        return;
    }
    args = g_strdup_printf("-blockdev host_device,node-name=disk0,filename=%s "
                           "-device virtio-blk-pci,id=blk0,drive=disk0,"
                           "addr=0x5", loop.path);
    start_both(t, args);

    /* all of it is in the host's cache */
    for (i = 0; i < DISK_SIZE / PAGE; i++) {
        g_assert_cmpint(pread(loop.fd, page, PAGE, (off_t)i * PAGE), ==, PAGE);
    }
    old = g_memdup2(t->disk_data + pct_cache_sector(0) * 512, PAGE);
    /* below it other bytes are written, which the guest has read */
    for (i = 0; i < DISK_SIZE; i++) {
        t->disk_data[i] ^= 0x5a;
    }
    fd = open(t->disk, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(pwrite(fd, t->disk_data, DISK_SIZE, 0), ==, DISK_SIZE);
    close(fd);
    for (i = 0; i < CACHE_PAGES; i++) {
        pct_write(t, pct_cache_addr(i),
                  t->disk_data + pct_cache_sector(i) * 512, PAGE);
    }
    read_buffered(&loop, page);
    g_assert_cmpint(memcmp(page, old, PAGE), ==, 0);
    check_read(t);
    read_buffered(&loop, page);
    g_assert_cmpint(memcmp(page, old, PAGE), ==, 0);
    loop_free(t, &loop);
}

/* What the device reads would stay in the cache of the image's file */
static void test_loop_buffered(void)
{
    Loop loop = { .buffered = true };
    PcTest *t = loop_new(&loop, 512);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    args = g_strdup_printf("-blockdev host_device,node-name=disk0,filename=%s "
                           "-device virtio-blk-pci,id=blk0,drive=disk0,"
                           "addr=0x5", loop.path);
    start_both(t, args);
    pct_hint_cache(t);
    pct_migrate_unread(t, "failed", "is read through the host's page cache by "
                       "the loop device");
    loop_free(t, &loop);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/host-device/%s",
                                                ways[i].name);

        qtest_add_data_func(path, &ways[i], test_way);
    }
    qtest_add_func("/pagecache/host-device/stale-cache", test_stale_cache);
    qtest_add_func("/pagecache/host-device/loop-buffered", test_loop_buffered);
    return g_test_run();
}
