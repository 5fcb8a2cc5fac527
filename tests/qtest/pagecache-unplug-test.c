/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: disks that go while it reads them
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A guest ejects a disk, or somebody takes the medium out, at the source or at
 * the destination.  The reader has a way of its own to the image and reads on,
 * and if it has none, that costs the refill.  One that hangs meanwhile is in
 * pagecache-hang-test.c.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-proxy.h"

/* The cache is read in a second or two. */
#define SLOW_READS " -global migration.pagecache-bandwidth=6M"

/* @more: arguments of the destination alone.  No hints yet */
static PcTest *pair_new(PcTest *t, const char *args, const char *more)
{
    g_autofree char *dst = g_strconcat(args, more, NULL);

    if (!t->machine) {
        t->machine = g_strdup("pc");
    }
    pct_start_src(t, args);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_incoming(t);
    return t;
}

static PcTest *file_pair(const char *more)
{
    PcTest *t = pct_new();
    g_autofree char *args = pct_disk_args(t);

    return pair_new(t, args, more);
}

/* An image that is read by a clone in the block layer, or NULL: skipped */
static PcTest *qcow2_pair(const char *more)
{
    PcTest *t;
    g_autofree char *args = NULL;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
        return NULL;
    }
    t = pct_new();
    args = pct_qcow2_args(t);
    return pair_new(t, args, more);
}

static void check_all_read(PcTest *t)
{
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'cont' }");
    pct_wait_running(t->dst);
}

/* --- at the source --- */

/* It went before the migration; hints of it are left. */
static void test_source_before(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = pct_disk_args(t);

    t->machine = g_strdup("pc");
    pct_start_src(t, args);
    pct_start_dst(t, "");
    pct_on(t);
    pct_incoming(t);
    pct_hint_cache(t);
    pct_eject(t->src);
    pct_migrate(t);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, 0);
    pct_free(t);
}

/*
 * START names it, and it goes when half of the hints wait in the pool: they
 * are offered nevertheless, for the destination has it.
 */
static void test_source_pooled(void)
{
    PcTest *t = file_pair(NULL);
    PctProxy *p = pct_proxy_new(t, NULL, NULL, NULL);
    int64_t offered;

    pct_write(t, PRIVATE_START, t->disk_data, PRIVATE_SIZE);
    pct_hint(t, "blk0", PRIVATE_START, 0, PRIVATE_SIZE / PAGE);
    pct_hint_cache(t);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    pct_wait_figure(t->src, "pooled-pages", 1);
    offered = pct_figure(t->src, "offered-pages");
    pct_eject(t->src);
    pct_proxy_hold(p, false);
    pct_wait_figure(t->src, "proven-pages", offered + 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->dst, "unavailable-pages"), ==, 0);
    pct_proxy_free(p);
    pct_free(t);
}

static void test_source_in_flight(void)
{
    PcTest *t = file_pair(SLOW_READS);

    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    g_assert_cmpint(pct_figure(t->src, "in-flight-pages"), >, 0);
    pct_eject(t->src);
    check_all_read(t);
    pct_free(t);
}

/* --- at the destination --- */

/* No offer has come yet: its reader is idle, and opens what is gone. */
static void test_destination_at_offer(PcTest *t)
{
    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", 0);
    pct_eject(t->dst);
    pct_hint_cache(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    /* the stream must not have the state of what is not there any more */
    pct_eject(t->src);
    check_all_read(t);
    pct_free(t);
}

static void test_destination_in_flight(PcTest *t)
{
    if (!t) {
        return;
    }
    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "reported-pages", 1);
    pct_eject(t->dst);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), <, CACHE_PAGES);
    pct_eject(t->src);
    check_all_read(t);
    pct_free(t);
}

static void test_at_offer_file(void)
{
    test_destination_at_offer(file_pair(NULL));
}

static void test_at_offer_qcow2(void)
{
    test_destination_at_offer(qcow2_pair(NULL));
}

static void test_in_flight_file(void)
{
    test_destination_in_flight(file_pair(SLOW_READS));
}

static void test_in_flight_qcow2(void)
{
    test_destination_in_flight(qcow2_pair(SLOW_READS));
}

/* It was never there: START names what this host does not have. */
static void test_destination_without(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = pct_disk_args(t);
    QDict *disk;

    t->machine = g_strdup("pc");
    pct_start_src(t, args);
    pct_start_dst(t, "");
    pct_on(t);
    pct_incoming(t);
    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_eject(t->src);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    disk = pct_disk_info(t->dst);
    g_assert_cmpstr(qdict_get_str(disk, "status"), ==, "none");
    g_assert_cmpstr(qdict_get_str(disk, "error"), ==, "no such disk here");
    qobject_unref(disk);
    pct_free(t);
}

/* The guest still has it: the destination can't take that guest. */
static void test_destination_alone(void)
{
    PcTest *t = file_pair(SLOW_READS);
    g_autofree char *args = pct_disk_args(t);

    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "reported-pages", 1);
    pct_eject(t->dst);
    pct_full_speed(t);
    pct_wait_failed(t->dst);
    pct_wait_failed(t->src);
    /* It was not for lack of something to read: all of RAM was there. */
    g_assert_cmpint(pct_figure(t->dst, "blackout-time"), >=, 0);
    qtest_quit(t->dst);
    t->dst = NULL;
    pct_migrate_again(t, args);
    pct_free(t);
}

/* --- the medium alone --- */

static PcTest *cd_pair(const char *more)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-blockdev file,node-name=disk0,read-only=on,filename=%s "
        "-device virtio-scsi-pci,id=scsi0,addr=0x6 "
        "-device scsi-cd,id=blk0,bus=scsi0.0,drive=disk0", t->disk);

    return pair_new(t, args, more);
}

static void remove_medium(QTestState *who)
{
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-open-tray',"
                             "  'arguments': { 'id': 'blk0',"
                             "                 'force': true } }");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-remove-medium',"
                             "  'arguments': { 'id': 'blk0' } }");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': 'disk0' } }");
}

static void test_medium_source(void)
{
    PcTest *t = cd_pair(SLOW_READS);

    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    g_assert_cmpint(pct_figure(t->src, "in-flight-pages"), >, 0);
    remove_medium(t->src);
    check_all_read(t);
    pct_free(t);
}

static void test_medium_destination(void)
{
    PcTest *t = cd_pair(SLOW_READS);

    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "reported-pages", 1);
    remove_medium(t->dst);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), <, CACHE_PAGES);
    check_all_read(t);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/unplug/source/before-start",
                   test_source_before);
    qtest_add_func("/pagecache/unplug/source/pooled", test_source_pooled);
    qtest_add_func("/pagecache/unplug/source/in-flight",
                   test_source_in_flight);
    qtest_add_func("/pagecache/unplug/destination/at-offer/file",
                   test_at_offer_file);
    qtest_add_func("/pagecache/unplug/destination/at-offer/qcow2",
                   test_at_offer_qcow2);
    qtest_add_func("/pagecache/unplug/destination/in-flight/file",
                   test_in_flight_file);
    qtest_add_func("/pagecache/unplug/destination/in-flight/qcow2",
                   test_in_flight_qcow2);
    qtest_add_func("/pagecache/unplug/destination/without",
                   test_destination_without);
    qtest_add_func("/pagecache/unplug/destination/alone",
                   test_destination_alone);
    qtest_add_func("/pagecache/unplug/medium/source", test_medium_source);
    qtest_add_func("/pagecache/unplug/medium/destination",
                   test_medium_destination);
    return g_test_run();
}
