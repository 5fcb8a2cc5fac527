/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the I/O map, and what changes under it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Disks and memory come and go, images move to other files, sizes and contents
 * change behind the guest's back.  The map is of the guest's sectors: what is
 * below does not matter.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-blk.h"

#define BLK             "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5 "

/* A source that tracks, with these disks */
static PctBlk *start_tracked(PcTest *t, const char *disks)
{
    g_autofree char *args = g_strconcat(IO_MAP_ARGS, disks, NULL);

    pct_start_src(t, args);
    return pct_blk_new(t, DISK_SLOT);
}

/* ...goes to a destination with these, and so many pages are proven. */
static void go(PcTest *t, PctBlk *blk, const char *disks, int64_t pages)
{
    pct_blk_free(blk);
    pct_ready_dst(t, disks);
    pct_migrate_hinted(t, pages);
    pct_free(t);
}

/* NULL: the test is skipped */
static PcTest *new_with_qemu_img(void)
{
    if (!have_qemu_img()) {
        g_test_skip("there is no qemu-img");
        return NULL;
    }
    return pct_new();
}

/* --- images --- */

/* Sectors are those of the guest, wherever they stand in the image. */
static void test_qcow2(void)
{
    g_autofree char *disks = NULL;
    PctBlk *blk;
    PcTest *t;

    t = new_with_qemu_img();
    if (!t) {
        return;
    }
    disks = pct_qcow2_args(t);
    blk = start_tracked(t, disks);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_blk_write(blk, LATE, 0, 16 * PAGE);
    go(t, blk, disks, CACHE_PAGES + 16);
}

static void test_offset(void)
{
    PcTest *t = pct_new();
    g_autofree char *disks = g_strdup_printf(
        "-blockdev raw,node-name=disk0,offset=1048576,size=12582912,"
        "file.driver=file,file.filename=%s " BLK, t->disk);
    PctBlk *blk = start_tracked(t, disks);

    pct_blk_read(blk, CACHE_START, 0, 64 * PAGE);
    pct_blk_read(blk, CACHE_START + MiB, 12 * MiB / 512 - 8, PAGE);
    go(t, blk, disks, 65);
}

/* --- block jobs --- */

/* An empty overlay over the test's image */
static char *make_overlay(PcTest *t)
{
    char *overlay = pct_path(t, "overlay");

    g_assert_true(pct_qemu_img("create -f qcow2 -b %s -F raw %s", t->disk,
                               overlay));
    return overlay;
}

static char *overlay_args(PcTest *t, const char *overlay)
{
    return g_strdup_printf(
        "-blockdev file,node-name=base,filename=%s "
        "-blockdev qcow2,node-name=disk0,backing=base,file.driver=file,"
        "file.filename=%s " BLK, t->disk, overlay);
}

/* An external snapshot: the guest's disk is an overlay from now on. */
static void test_snapshot(void)
{
    g_autofree char *overlay = NULL, *disk = NULL, *disks = NULL;
    PctBlk *blk;
    PcTest *t;

    t = new_with_qemu_img();
    if (!t) {
        return;
    }
    disk = pct_disk_args(t);
    overlay = make_overlay(t);
    blk = start_tracked(t, disk);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-add',"
        " 'arguments': { 'driver': 'qcow2', 'node-name': 'overlay',"
        " 'backing': null, 'file': { 'driver': 'file', 'filename': %s } } }",
        overlay);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-snapshot',"
        " 'arguments': { 'node': 'disk0', 'overlay': 'overlay' } }");
    pct_blk_write(blk, LATE, 64, 16 * PAGE);
    /* Until then QEMU alone knows where in the overlay that is. */
    pct_blk_flush(blk);
    disks = overlay_args(t, overlay);
    go(t, blk, disks, CACHE_PAGES + 16);
}

static void wait_job(PcTest *t, bool pivots)
{
    if (pivots) {
        qtest_qmp_eventwait(t->src, "BLOCK_JOB_READY");
        qtest_qmp_assert_success(t->src, "{ 'execute': 'block-job-complete',"
                                 " 'arguments': { 'device': 'job' } }");
    }
    qtest_qmp_eventwait(t->src, "BLOCK_JOB_COMPLETED");
}

/* The disk moves to another file. */
static void test_mirror(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *other = pct_path(t, "other");
    g_autofree char *src = g_strdup_printf(
        "%s -blockdev file,node-name=other,filename=%s", disk, other);
    g_autofree char *dst = g_strdup_printf(
        "-blockdev file,node-name=disk0,filename=%s " BLK, other);
    g_autofree uint8_t *zeros = g_malloc0(DISK_SIZE);
    PctBlk *blk;

    g_assert_true(g_file_set_contents(other, (char *)zeros, DISK_SIZE, NULL));
    blk = start_tracked(t, src);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-mirror',"
        " 'arguments': { 'job-id': 'job', 'device': 'disk0',"
        " 'target': 'other', 'sync': 'full' } }");
    pct_blk_write(blk, LATE, 64, 16 * PAGE);
    wait_job(t, true);
    pct_blk_write(blk, LATE + MiB, 1024, 16 * PAGE);
    go(t, blk, dst, CACHE_PAGES + 32);
}

/* The overlay is written to the image below it, and goes. */
static void test_commit(void)
{
    g_autofree char *overlay = NULL, *disks = NULL;
    PctBlk *blk;
    PcTest *t;

    t = new_with_qemu_img();
    if (!t) {
        return;
    }
    overlay = make_overlay(t);
    disks = overlay_args(t, overlay);
    blk = start_tracked(t, disks);
    pct_blk_write(blk, LATE, 64, 16 * PAGE);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'block-commit',"
        " 'arguments': { 'job-id': 'job', 'device': 'disk0' } }");
    wait_job(t, true);
    go(t, blk, NULL, CACHE_PAGES + 16);
}

/* The image below is copied into the overlay, and goes. */
static void test_stream(void)
{
    g_autofree char *overlay = NULL, *disks = NULL, *alone = NULL;
    PctBlk *blk;
    PcTest *t;

    t = new_with_qemu_img();
    if (!t) {
        return;
    }
    overlay = make_overlay(t);
    disks = overlay_args(t, overlay);
    alone = g_strdup_printf("-blockdev qcow2,node-name=disk0,file.driver=file,"
                            "file.filename=%s " BLK, overlay);
    blk = start_tracked(t, disks);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'block-stream',"
        " 'arguments': { 'job-id': 'job', 'device': 'disk0' } }");
    wait_job(t, false);
    pct_blk_write(blk, LATE, 64, 16 * PAGE);
    go(t, blk, alone, CACHE_PAGES + 16);
}

/* --- sizes and contents --- */

/* What is behind the new end is on no disk any more. */
static void test_shrunk(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *dst = g_strconcat(IO_MAP_ARGS, disk, NULL);
    PctBlk *blk = start_tracked(t, disk);

    pct_blk_read(blk, CACHE_START, 2048, 32 * PAGE);
    pct_blk_read(blk, CACHE_START + MiB, DISK_SECTORS - 64 * 8, 32 * PAGE);
    pct_blk_read(blk, CACHE_START + 2 * MiB, DISK_SECTORS - 32 * 8, 32 * PAGE);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'block_resize',"
        " 'arguments': { 'node-name': 'disk0', 'size': %u } }",
        (unsigned)(DISK_SIZE - 32 * PAGE));
    pct_blk_free(blk);
    pct_ready_dst(t, dst);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 64);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 64);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, 32);
    g_assert_cmpint(pct_figure(t->src, "io-map-entries"), ==, 64);
    pct_free(t);
}

static void test_grown(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    PctBlk *blk = start_tracked(t, disk);

    pct_blk_read(blk, CACHE_START, DISK_SECTORS - 32 * 8, 32 * PAGE);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'block_resize',"
        " 'arguments': { 'node-name': 'disk0', 'size': %u } }",
        (unsigned)(2 * DISK_SIZE));
    pct_blk_write(blk, LATE, DISK_SECTORS + 80, 16 * PAGE);
    go(t, blk, NULL, 32 + 16);
}

/* No memory comes with zeroes: proof finds what was overwritten. */
static void test_zeroes(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    PctBlk *blk = start_tracked(t, disk);

    pct_blk_read(blk, CACHE_START, 2048, 64 * PAGE);
    pct_blk_write_zeroes(blk, 2048 + 8 * 8, 4 * 8);
    pct_blk_free(blk);
    pct_ready_dst(t, NULL);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 60);
    pct_wait_figure(t->src, "mismatched-pages", 4);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 64);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 60);
    pct_free(t);
}

/* --- the guest --- */

/* Its memory is as it was, until it uses it for something else. */
static void test_reset(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    PctBlk *blk = start_tracked(t, disk);

    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_blk_free(blk);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t->src, "RESET");
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read(blk, LATE, 64, 16 * PAGE);
    go(t, blk, NULL, CACHE_PAGES + 16);
}

/* A snapshot is loaded: memory and disk are those of another time. */
static void test_loadvm(void)
{
    g_autofree char *disks = NULL, *saved = NULL, *loaded = NULL;
    PctBlk *blk;
    PcTest *t;

    t = new_with_qemu_img();
    if (!t) {
        return;
    }
    disks = pct_qcow2_args(t);
    blk = start_tracked(t, disks);
    saved = qtest_hmp(t->src, "savevm here");
    g_assert_cmpstr(saved, ==, "");
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_blk_free(blk);
    loaded = qtest_hmp(t->src, "loadvm here");
    g_assert_cmpstr(loaded, ==, "");
    pct_learn(t, 0, RAM_SIZE);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read(blk, LATE, 64, 16 * PAGE);
    go(t, blk, disks, 16);
}

/* --- memory --- */

#define MORE_START      (4 * GiB)
#define MORE_SIZE       (4 * MiB)
#define MORE_PAGES      (MORE_SIZE / PAGE)

/* More memory is plugged in, and the guest reads into it. */
static void test_dimm(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *src = g_strdup_printf("%s -m slots=1,maxmem=1G", disk);
    g_autofree char *dst = g_strdup_printf(
        "%s -m slots=1,maxmem=1G -object memory-backend-ram,id=more,size=4M "
        "-device pc-dimm,memdev=more,id=more0", disk);
    g_autofree uint8_t *there = g_malloc(MORE_SIZE);
    g_autofree uint8_t *here = g_malloc(MORE_SIZE);
    const PctPiece piece = { MORE_START, MORE_SIZE };
    PctBlk *blk = start_tracked(t, src);

    qtest_qmp_assert_success(t->src, "{ 'execute': 'object-add', 'arguments':"
        " { 'qom-type': 'memory-backend-ram', 'id': 'more',"
        " 'size': 4194304 } }");
    qtest_qmp_assert_success(t->src, "{ 'execute': 'device_add', 'arguments':"
        " { 'driver': 'pc-dimm', 'memdev': 'more', 'id': 'more0' } }");
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    g_assert_cmpint(pct_blk_readv(blk, 0, &piece, 1), ==, 0);
    pct_blk_free(blk);
    pct_ready_dst(t, dst);
    pct_migrate_hinted(t, CACHE_PAGES + MORE_PAGES);
    qtest_bufread(t->src, MORE_START, here, MORE_SIZE);
    qtest_bufread(t->dst, MORE_START, there, MORE_SIZE);
    g_assert_cmpmem(here, MORE_SIZE, t->disk_data, MORE_SIZE);
    g_assert_cmpmem(here, MORE_SIZE, there, MORE_SIZE);
    pct_free(t);
}

/* --- disks that come and go --- */

/* Another disk under the same path: what stood on the first is not there. */
static void test_unplugged(void)
{
    PctBlk *blk;
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *other = pct_path(t, "other");
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "%s -blockdev file,node-name=disk1,filename=%s", disk, other);
    g_autofree uint8_t *zeros = g_malloc0(DISK_SIZE);

    t->machine = g_strdup("pc");
    g_assert_true(g_file_set_contents(other, (char *)zeros, DISK_SIZE, NULL));
    pct_start_src(t, args);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_blk_free(blk);
    pct_eject(t->src);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'device_add', 'arguments':"
                             " { 'driver': 'virtio-blk-pci', 'id': 'blk0',"
                             " 'drive': 'disk1', 'addr': '0x5' } }");
    pct_ready_dst(t, NULL);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "map-time", 0);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 0);
    pct_free(t);
}

static void plug_disk(PcTest *t)
{
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-add',"
                             " 'arguments': { 'driver': 'file',"
                             " 'node-name': 'disk0', 'filename': %s } }",
                             t->disk);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'device_add',"
                             " 'arguments': { 'id': 'blk0', 'driver':"
                             " 'virtio-blk-pci', 'drive': 'disk0',"
                             " 'addr': '0x5' } }");
}

static int64_t tracked_disks(PcTest *t)
{
    QDict *rsp = qtest_qmp(t->src, "{ 'execute': 'qom-get', 'arguments': {"
                           " 'path': '/objects/map', 'property': 'disks' } }");
    int64_t n = qdict_get_int(rsp, "return");

    qobject_unref(rsp);
    return n;
}

/*
 * More disks than there are numbers, one after the other: those that went make
 * room, once the map has been swept.
 */
static void test_many_disks(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(IO_MAP_ARGS, disk, NULL);
    PctBlk *blk;
    unsigned i;

    t->machine = g_strdup("pc");
    pct_start_src(t, args);
    for (i = 0; i < 70; i++) {
        blk = pct_blk_new(t, DISK_SLOT);
        pct_blk_read_cache(blk, 0, 16);
        pct_blk_free(blk);
        pct_eject(t->src);
        plug_disk(t);
    }
    /* The last one may have come while the map was being swept. */
    blk = pct_blk_new(t, DISK_SLOT);
    while (!tracked_disks(t)) {
        g_usleep(10000);
    }
    pct_blk_read_cache(blk, 16, 16);
    pct_ready_dst(t, NULL);
    pct_migrate_hinted(t, 16);
    pct_blk_free(blk);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/pagecache/io-change/qcow2", test_qcow2);
    qtest_add_func("/pagecache/io-change/offset", test_offset);
    qtest_add_func("/pagecache/io-change/snapshot", test_snapshot);
    qtest_add_func("/pagecache/io-change/mirror", test_mirror);
    qtest_add_func("/pagecache/io-change/commit", test_commit);
    qtest_add_func("/pagecache/io-change/stream", test_stream);
    qtest_add_func("/pagecache/io-change/shrunk", test_shrunk);
    qtest_add_func("/pagecache/io-change/grown", test_grown);
    qtest_add_func("/pagecache/io-change/zeroes", test_zeroes);
    qtest_add_func("/pagecache/io-change/reset", test_reset);
    qtest_add_func("/pagecache/io-change/loadvm", test_loadvm);
    qtest_add_func("/pagecache/io-change/dimm", test_dimm);
    qtest_add_func("/pagecache/io-change/unplugged", test_unplugged);
    qtest_add_func("/pagecache/io-change/many-disks", test_many_disks);
    return g_test_run();
}
