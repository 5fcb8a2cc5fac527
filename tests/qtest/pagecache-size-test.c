/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: disks whose sizes differ
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The guest knows of a part of its disk, the source's image has a size, and so
 * has the destination's.  Storage grows and nobody tells the guest, or one of
 * the hosts; a disk ends within a logical block; a disk shrinks.  What is there
 * is used, what is not there is unavailable, and the destination says why.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-iscsi.h"

#define GROWN           (DISK_SIZE + 4 * MiB)
/* Ends within a logical block of 4 KiB */
#define UNEVEN          (DISK_SIZE + 1536)
/* Half of the cache stands below it. */
#define SHRUNK          (CACHE_SIZE / 2 + 1 * MiB)

#define BLK     "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5"
#define SCSI    "-device virtio-scsi-pci,id=scsi0,addr=0x6 " \
                "-device scsi-hd,id=blk0,bus=scsi0.0,drive=disk0"
#define OF_4K   ",logical_block_size=4096,physical_block_size=4096"

static char *args_of(const char *image, const char *device)
{
    return g_strdup_printf("-blockdev file,node-name=disk0,filename=%s %s",
                           image, device);
}

static void resize_image(PcTest *t, off_t size)
{
    g_assert_cmpint(truncate(t->disk, size), ==, 0);
}

static void block_resize(QTestState *who, uint64_t size)
{
    qtest_qmp_assert_success(who, "{ 'execute': 'block_resize',"
                             "  'arguments': { 'node-name': 'disk0',"
                             "                 'size': %" PRIu64 " } }", size);
}

/* A copy of the image, of another size */
static char *other_image(PcTest *t, off_t size)
{
    char *name = pct_path(t, "other");

    g_assert_true(g_file_set_contents(name, (char *)t->disk_data, DISK_SIZE,
                                      NULL));
    g_assert_cmpint(truncate(name, size), ==, 0);
    return name;
}

/* --- storage grows --- */

static void next_host(PcTest *t, const char *args)
{
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
}

/*
 * The image grows while A has it open, so that neither A nor the guest knows.
 * B sees all of it, and a new A, too; the guest still has its old cache.
 */
static void test_grown(const void *device)
{
    PcTest *t = pct_new();
    g_autofree char *args = args_of(t->disk, device);

    pct_start_src(t, args);
    resize_image(t, GROWN);
    next_host(t, args);
    pct_refill_cache(t);

    pct_hop(t);
    next_host(t, args);
    pct_refill_cache(t);
    pct_free(t);
}

/*
 * A guest may name sectors that its device does not show, as long as the image
 * has them: it could read them as well, once it looks at the size again.  They
 * are compared like all others.  What the image does not have is dropped.
 */
static void test_beyond_what_is_shown(const void *device)
{
    static const unsigned right = 20, wrong = 7, outside = 5;
    const uint64_t last = GROWN / 512 - 8;
    PcTest *t = pct_new();
    g_autofree char *args = args_of(t->disk, device);
    unsigned i;

    pct_start_src(t, args);
    resize_image(t, GROWN);
    pct_start_dst(t, args);
    pct_on(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_wait_complete(t);
    pct_hop(t);

    pct_scribble_disk(t, DISK_SECTORS, (GROWN - DISK_SIZE) / PAGE);
    next_host(t, args);
    for (i = 0; i < right + wrong; i++) {
        uint64_t addr = ZERO_START + i * PAGE, sector = last - 8 * i;
        uint8_t data[PAGE];
        int fd = open(t->disk, O_RDONLY);

        g_assert_cmpint(pread(fd, data, PAGE, sector * 512), ==, PAGE);
        close(fd);
        data[17] ^= i >= right;
        pct_write(t, addr, data, PAGE);
        pct_hint(t, "blk0", addr, sector, 1);
    }
    for (i = 0; i < outside; i++) {
        pct_hint(t, "blk0", ZERO_START, last + 1 + i * 7, 1);
    }
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES + right);
    pct_wait_figure(t->src, "mismatched-pages", wrong);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==,
                    CACHE_PAGES + right + wrong);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, outside);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==,
                    CACHE_PAGES + right);
    pct_free(t);
}

/* The device shows whole blocks only, the rest of the image is there. */
static void test_uneven(const void *device)
{
    PcTest *t = pct_new();
    g_autofree char *args = args_of(t->disk, device);

    resize_image(t, UNEVEN);
    pct_start_src(t, args);
    next_host(t, args);
    pct_refill_cache(t);
    pct_free(t);
}

/* --- the destination has less --- */

static void check_smaller(PcTest *t, const char *reader)
{
    QDict *disk;

    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    disk = pct_disk_info(t->dst);
    g_assert_cmpstr(qdict_get_str(disk, "status"), ==, "failed");
    g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, reader);
    g_assert_cmpstr(qdict_get_try_str(disk, "error"), ==,
                    "the disk has 16777216 bytes here, expected 20971520 or "
                    "more, as at the source");
    g_assert_cmpint(qdict_get_int(disk, "bytes-read"), ==, 0);
    qobject_unref(disk);
}

static void test_smaller_file(const void *device)
{
    PcTest *t = pct_new();
    g_autofree char *image = other_image(t, DISK_SIZE);
    g_autofree char *src = args_of(t->disk, device);
    g_autofree char *dst = args_of(image, device);

    resize_image(t, GROWN);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    check_smaller(t, "file");
    pct_free(t);
}

/* The source's image is on other storage: the LUN has not grown yet. */
static void test_smaller_iscsi(void)
{
    Tgtd tgt;
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *image = NULL, *src = NULL, *dst = NULL;

    if (!t) {
        return;
    }
    tgtd_bind_all(&tgt);
    image = other_image(t, GROWN);
    src = args_of(image, BLK);
    dst = pct_iscsi_args(tgt.port);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    check_smaller(t, "iscsi");
    pct_free_iscsi(t, &tgt);
}

static void test_smaller_block(void)
{
    PcTest *t;
    g_autofree char *image = NULL, *src = NULL, *dst = NULL;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
        return;
    }
    t = pct_new();
    image = other_image(t, GROWN);
    src = args_of(image, BLK);
    dst = pct_qcow2_args(t);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    check_smaller(t, "block");
    pct_free(t);
}

/* A larger one is as good as one of the same size. */
static void test_larger(void)
{
    PcTest *t = pct_new();
    g_autofree char *image = other_image(t, GROWN);
    g_autofree char *dst = args_of(image, BLK);

    pct_start_src(t, NULL);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_refill_cache(t);
    pct_free(t);
}

/* --- the operator resizes it --- */

/* START with the sizes is over there. */
static void wait_start(PcTest *t)
{
    pct_wait_figure(t->dst, "offered-pages", 0);
}

/* In the middle: this migration does not know the new part, the next does. */
static void test_grow_in_migration(void)
{
    PcTest *t = pct_new_pair();

    pct_incoming(t);
    pct_migrate_slowly(t);
    wait_start(t);
    block_resize(t->src, GROWN);
    pct_hint(t, "blk0", ZERO_START, DISK_SECTORS, 10);
    pct_hint_cache(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, 10);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, CACHE_PAGES);

    pct_hop(t);
    next_host(t, NULL);
    /* nothing but zeros there yet, which the guest does not have */
    pct_hint(t, "blk0", PRIVATE_START, DISK_SECTORS, 10);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "hinted-pages", CACHE_PAGES + 10);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, 0);
    pct_free(t);
}

/* Before: what has gone is outside of the disk now. */
static void test_shrunk(void)
{
    PcTest *t = pct_new_pair();
    int64_t left;

    block_resize(t->src, SHRUNK);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "dropped-hints", CACHE_PAGES / 2);
    left = pct_figure(t->src, "hinted-pages");
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES / 2);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(left, ==, CACHE_PAGES / 2);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, CACHE_PAGES / 2);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES / 2);
    pct_free(t);
}

/* In the middle: whether the reader has the disk open already or not */
static void test_shrink_in_migration(void)
{
    PcTest *t = pct_new_pair();
    QDict *disk;

    pct_incoming(t);
    pct_migrate_slowly(t);
    wait_start(t);
    block_resize(t->src, SHRUNK);
    pct_hint_cache(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES / 2);
    pct_finish(t);
    pct_check_figures(t);
    disk = pct_disk_info(t->dst);
    g_assert_nonnull(qdict_get_try_str(disk, "error"));
    qobject_unref(disk);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_data_func("/pagecache/size/grown/virtio-blk", BLK, test_grown);
    qtest_add_data_func("/pagecache/size/grown/scsi-hd", SCSI, test_grown);
    qtest_add_data_func("/pagecache/size/beyond/virtio-blk", BLK,
                        test_beyond_what_is_shown);
    qtest_add_data_func("/pagecache/size/beyond/scsi-hd", SCSI,
                        test_beyond_what_is_shown);
    qtest_add_data_func("/pagecache/size/uneven/virtio-blk", BLK OF_4K,
                        test_uneven);
    qtest_add_data_func("/pagecache/size/uneven/scsi-hd", SCSI OF_4K,
                        test_uneven);
    qtest_add_data_func("/pagecache/size/smaller/virtio-blk", BLK,
                        test_smaller_file);
    qtest_add_data_func("/pagecache/size/smaller/scsi-hd", SCSI,
                        test_smaller_file);
    qtest_add_func("/pagecache/size/smaller/iscsi", test_smaller_iscsi);
    qtest_add_func("/pagecache/size/smaller/qcow2", test_smaller_block);
    qtest_add_func("/pagecache/size/larger", test_larger);
    qtest_add_func("/pagecache/size/grow-in-migration",
                   test_grow_in_migration);
    qtest_add_func("/pagecache/size/shrunk", test_shrunk);
    qtest_add_func("/pagecache/size/shrink-in-migration",
                   test_shrink_in_migration);
    return g_test_run();
}
