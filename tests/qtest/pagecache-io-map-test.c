/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: hints from the I/O map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The guest has no driver of ours: it reads and writes its disk, and QEMU
 * remembers which page went from or to which sector.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-blk.h"

/* A pair whose source tracks; nothing is read yet */
static PcTest *tracked_pair(const char *object, PctBlk **blk)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(object, disk, NULL);

    pct_start_pair(t, args, args);
    *blk = pct_blk_new(t, DISK_SLOT);
    return t;
}

/* So many pages are hinted, all of them are proven, and no others. */
static void finish(PcTest *t, PctBlk *blk, int64_t pages)
{
    pct_migrate_hinted(t, pages);
    pct_blk_free(blk);
    pct_free(t);
}

static void test_read(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    finish(t, blk, CACHE_PAGES);
}

/* Larger than what is summed as a whole */
static void read_large(const char *object, unsigned changed)
{
    enum { LARGE = 64 };
    PctBlk *blk;
    PcTest *t = tracked_pair(object, &blk);
    unsigned i;

    pct_blk_read(blk, CACHE_START, 2048, LARGE * PAGE);
    pct_write(t, CACHE_START + 5 * PAGE + changed, "changed", 7);
    for (i = 0; i < LARGE; i += 16) {
        pct_write(t, CACHE_START + i * PAGE, "begin", 5);
    }
    finish(t, blk, LARGE - LARGE / 16 - 1);
}

static void test_samples(void)
{
    read_large(IO_MAP_ARGS, PAGE - 7);
}

static void test_whole(void)
{
    read_large("-object pagecache-io-map,id=map,checksum=whole ", 999);
}

/* What the guest has changed since is not hinted. */
static void test_changed(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_write(t, pct_cache_addr(77) + 1000, "changed", 7);
    pct_scribble(t, pct_cache_addr(500), 100);
    pct_zero(t, pct_cache_addr(900), 1);
    finish(t, blk, CACHE_PAGES - 102);
}

/* In an I/O thread, with several queues, and over several channels */
static void test_iothread(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "-object iothread,id=io0 "
        "-blockdev file,node-name=disk0,filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5,iothread=io0,"
        "num-queues=4", t->disk);
    PctBlk *blk;

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    migrate_set_capability(t->src, "multifd", true);
    migrate_set_capability(t->dst, "multifd", true);
    pct_incoming(t);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    finish(t, blk, CACHE_PAGES);
}

/* Nobody knows what is in the memory, or on the disk, after an error. */
static void test_failed(void)
{
    const PctPiece piece = { pct_cache_addr(0), 16 * PAGE };
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "-blockdev blkdebug,node-name=disk0,image.driver=file,"
        "image.filename=%s,inject-error.0.event=none,"
        "inject-error.0.iotype=write "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5,werror=report",
        t->disk);
    PctBlk *blk;

    pct_start_pair(t, args, NULL);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, 32);
    g_assert_cmpint(pct_blk_writev(blk, 8, &piece, 1), !=, 0);
    finish(t, blk, 16);
}

/* What the guest writes stands on the disk. */
static void test_write(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_write(blk, LATE, 8, 16 * PAGE);
    pct_blk_write(blk, LATE + MiB, 1024, 16 * PAGE);
    finish(t, blk, 32);
}

/* A page that is not covered whole, or that a later request covers in part */
static void test_partial(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_read(blk, CACHE_START + 512, 64, 4 * PAGE);
    pct_blk_read(blk, CACHE_START + 16 * PAGE, 2048, 16 * PAGE);
    pct_blk_read(blk, CACHE_START + 20 * PAGE + 1024, 2, 512);
    finish(t, blk, 3 + 15);
}

/* Pieces that follow each other in memory make pages, too. */
static void test_pieces(void)
{
    const PctPiece joined[] = {
        { CACHE_START, 1024 }, { CACHE_START + 1024, 2048 },
        { CACHE_START + 3072, 1024 + PAGE },
    };
    const PctPiece apart[] = {
        { CACHE_START + 8 * PAGE, PAGE }, { CACHE_START + 4 * PAGE, PAGE },
        { CACHE_START + 12 * PAGE, 512 }, { CACHE_START + 14 * PAGE, 3584 },
    };
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    g_assert_cmpint(pct_blk_readv(blk, 63, joined, 3), ==, 0);
    g_assert_cmpint(pct_blk_readv(blk, 4096, apart, 4), ==, 0);
    finish(t, blk, 2 + 2);
}

/* Two pages with the content of one place */
static void test_twice(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_read(blk, CACHE_START, 2048, 4 * PAGE);
    pct_blk_read(blk, LATE, 2048, 4 * PAGE);
    finish(t, blk, 8);
}

/* The entry fits, and is wrong: proof finds it. */
static void test_overwritten(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_read(blk, CACHE_START, 2048, 4 * PAGE);
    pct_blk_write(blk, LATE, 2048 + 8, PAGE);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 4);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 5);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 1);
    pct_blk_free(blk);
    pct_free(t);
}

/* For the device, as a node in the middle of a request gets no new user. */
static void qemu_io(PcTest *t, const char *command)
{
    g_free(qtest_hmp(t->src, "qemu-io -d /machine/peripheral/blk0/virtio-backend"
                     " \"%s\"", command));
}

/* The guest changes pages while they are being written. */
static void test_racing(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "-blockdev blkdebug,node-name=disk0,image.driver=file,"
        "image.filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", t->disk);
    PctBlk *blk;

    pct_start_pair(t, args, NULL);
    blk = pct_blk_new(t, DISK_SLOT);
    qemu_io(t, "break pwritev held");
    pct_blk_write_begin(blk, LATE, 2048, 16 * PAGE);
    qemu_io(t, "wait_break held");
    pct_scribble(t, LATE + 3 * PAGE, 2);
    qemu_io(t, "resume held");
    pct_blk_write_end(blk);
    finish(t, blk, 14);
}

/* The disk is another one at the destination. */
static void test_given_up(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(IO_MAP_ARGS, disk, NULL);
    g_autofree char *other = pct_path(t, "other");
    g_autofree char *dst = g_strdup_printf(
        "-blockdev file,node-name=disk0,filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", other);
    g_autofree uint8_t *zeros = g_malloc0(DISK_SIZE);
    PctBlk *blk;

    g_assert_true(g_file_set_contents(other, (char *)zeros, DISK_SIZE, NULL));
    pct_start_pair(t, args, dst);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "mismatched-pages", 1024);
    pct_finish(t);
    pct_check_given_up(t->src, "other-disk", "io-map: nearly all hinted pages "
                       "differ from disk blk0 (" DISK_PATH ")");
    pct_blk_free(blk);
    pct_free(t);
}

static void set_enabled(PcTest *t, bool enabled)
{
    qtest_qmp_assert_success(t->src, "{ 'execute': 'qom-set', 'arguments': {"
                             " 'path': '/objects/map', 'property': 'enabled',"
                             " 'value': %i } }", enabled);
}

/* Off and on again: what it knew before is forgotten. */
static void test_switched(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair("-object pagecache-io-map,id=map,enabled=off ",
                             &blk);

    pct_blk_read_cache(blk, 0, 16);
    set_enabled(t, true);
    pct_blk_read_cache(blk, 16, 16);
    set_enabled(t, false);
    pct_blk_read_cache(blk, 32, 16);
    set_enabled(t, true);
    pct_blk_read_cache(blk, 48, 16);
    finish(t, blk, 16);
}

static void test_hotplugged(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair("", &blk);

    pct_blk_read_cache(blk, 0, 16);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'object-add', 'arguments':"
                             " { 'qom-type': 'pagecache-io-map',"
                             " 'id': 'map' } }");
    pct_blk_read_cache(blk, 16, 16);
    finish(t, blk, 16);
}

static void test_deleted(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_read_cache(blk, 0, 16);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'object-del', 'arguments':"
                             " { 'id': 'map' } }");
    pct_blk_read_cache(blk, 16, 16);
    pct_migrate_slowly(t);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "map-time"), ==, -1);
    pct_blk_free(blk);
    pct_free(t);
}

static void test_second(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);
    QDict *error = qtest_qmp_assert_failure_ref(t->src,
        "{ 'execute': 'object-add', 'arguments': { 'id': 'second',"
        " 'qom-type': 'pagecache-io-map' } }");

    pct_assert_contains(qdict_get_str(error, "desc"),
                        "There is a pagecache-io-map already, /objects/map");
    qobject_unref(error);
    pct_blk_read_cache(blk, 0, 16);
    finish(t, blk, 16);
}

/*
 * While hints wait the guest reads other things into some of the pages, which
 * are refilled from there, and changes one, which is not offered.
 */
static void test_late_look(void)
{
    PctBlk *blk;
    PcTest *t;

    if (!pct_has_faults()) {
        g_test_skip("QEMU was built without faults on purpose");
        return;
    }
    t = tracked_pair(IO_MAP_ARGS, &blk);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_arm(t->src, "slow-map");
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "map-time", 0);
    pct_blk_read(blk, pct_cache_addr(160), 8, 16 * PAGE);
    pct_blk_read(blk, pct_cache_addr(800), pct_cache_sector(160), 16 * PAGE);
    pct_scribble(t, pct_cache_addr(1000), 1);
    pct_arm(t->src, "");
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - 1);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, CACHE_PAGES - 1);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES - 1);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, 1);
    pct_check_figures(t);
    pct_blk_free(blk);
    pct_free(t);
}

/* Built with --enable-pagecache-io-map: nobody has asked for the object. */
static void test_default(void)
{
    PcTest *t = pct_new();
    PctBlk *blk;
    QDict *rsp;
    bool tracks;

    pct_start_pair(t, NULL, NULL);
    rsp = qtest_qmp(t->src, "{ 'execute': 'qom-get', 'arguments': {"
                    " 'path': '/objects/pagecache-io-map',"
                    " 'property': 'enabled' } }");
    tracks = qdict_haskey(rsp, "return");
    qobject_unref(rsp);
    if (tracks) {
        blk = pct_blk_new(t, DISK_SLOT);
        pct_blk_read_cache(blk, 0, CACHE_PAGES);
        pct_migrate_hinted(t, CACHE_PAGES);
        pct_blk_free(blk);
    } else {
        g_test_skip("QEMU was built without --enable-pagecache-io-map");
    }
    pct_free(t);
}

/* --- to a third host --- */

/* The guest goes on, and so many pages are hinted, all of them proven. */
static void go_on(PcTest *t, int64_t pages)
{
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(IO_MAP_ARGS, disk, NULL);

    pct_hop(t);
    pct_ready_dst(t, args);
    pct_migrate_hinted(t, pages);
    pct_free(t);
}

/* What was refilled has an entry at the destination, or what came after it. */
static void test_chain(void)
{
    PctBlk *blk;
    PcTest *t = tracked_pair(IO_MAP_ARGS, &blk);

    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    /* what was refilled is not there any more */
    pct_scribble(t, pct_cache_addr(700), 5);
    pct_blk_read(blk, pct_cache_addr(300), pct_cache_sector(900), 8 * PAGE);
    pct_blk_free(blk);
    pct_finish(t);
    go_on(t, CACHE_PAGES - 5);
}

/* So does what came over the channel: the map goes along. */
static void test_goes_along(void)
{
    PctBlk *blk;
    PcTest *t;

    if (!pct_has_faults()) {
        g_test_skip("QEMU was built without faults on purpose");
        return;
    }
    t = tracked_pair(IO_MAP_ARGS, &blk);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_blk_read(blk, LATE, 2048, 16 * PAGE);
    pct_blk_free(blk);
    pct_arm(t->dst, "refuse-reader");
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "map-time", 0);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "io-map-entries"), ==,
                    CACHE_PAGES + 16);
    g_assert_cmpint(pct_figure(t->dst, "io-map-entries"), ==,
                    CACHE_PAGES + 16);
    go_on(t, CACHE_PAGES + 16);
}

/* Who has no map is sent none. */
static void test_stays(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(IO_MAP_ARGS, disk, NULL);
    PctBlk *blk;

    pct_start_pair(t, args, disk);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "io-map-entries"), ==, -1);
    g_assert_cmpint(pct_figure(t->dst, "io-map-entries"), ==, -1);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_blk_free(blk);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/pagecache/io-map/read", test_read);
    qtest_add_func("/pagecache/io-map/samples", test_samples);
    qtest_add_func("/pagecache/io-map/whole", test_whole);
    qtest_add_func("/pagecache/io-map/changed", test_changed);
    qtest_add_func("/pagecache/io-map/iothread", test_iothread);
    qtest_add_func("/pagecache/io-map/failed", test_failed);
    qtest_add_func("/pagecache/io-map/write", test_write);
    qtest_add_func("/pagecache/io-map/partial", test_partial);
    qtest_add_func("/pagecache/io-map/pieces", test_pieces);
    qtest_add_func("/pagecache/io-map/twice", test_twice);
    qtest_add_func("/pagecache/io-map/overwritten", test_overwritten);
    qtest_add_func("/pagecache/io-map/racing", test_racing);
    qtest_add_func("/pagecache/io-map/given-up", test_given_up);
    qtest_add_func("/pagecache/io-map/switched", test_switched);
    qtest_add_func("/pagecache/io-map/hotplugged", test_hotplugged);
    qtest_add_func("/pagecache/io-map/deleted", test_deleted);
    qtest_add_func("/pagecache/io-map/second", test_second);
    qtest_add_func("/pagecache/io-map/late-look", test_late_look);
    qtest_add_func("/pagecache/io-map/default", test_default);
    qtest_add_func("/pagecache/io-map/chain", test_chain);
    qtest_add_func("/pagecache/io-map/goes-along", test_goes_along);
    qtest_add_func("/pagecache/io-map/stays", test_stays);
    return g_test_run();
}
