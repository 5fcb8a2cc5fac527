/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: storage that hangs
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A LUN of tgtd, and a relay in front of it which can stop to pass on what
 * comes, for all connections or for those after the first one.  The first one
 * is that of the guest's own disk: what QEMU does when that hangs is not our
 * business, but what it does when ours hang is.  Nothing waits for them.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-iscsi.h"
#include "pagecache-test-relay.h"

/* What QEMU does at once, it does within this time even here */
#define PROMPT_US       (5 * G_USEC_PER_SEC)

/* --- the guest and its LUN --- */

static Tgtd tgt;
static PctRelay relay;

#define CONTROLLER " -device virtio-scsi-pci,id=scsi0,addr=0x6 "

/* Another disk, which never hangs */
#define OTHER_PAGES     512

/* Returns its arguments; g_free() them */
static char *make_other_disk(PcTest *t)
{
    g_autofree char *path = pct_path(t, "other");
    g_autofree uint8_t *data = g_malloc(OTHER_PAGES * PAGE);
    unsigned i;

    for (i = 0; i < OTHER_PAGES * PAGE; i++) {
        data[i] = g_rand_int(t->rand);
    }
    g_assert_true(g_file_set_contents(path, (char *)data, OTHER_PAGES * PAGE,
                                      NULL));
    return g_strdup_printf(
        " -blockdev file,node-name=disk1,read-only=on,filename=%s "
        "-device virtio-blk-pci,id=blk1,drive=disk1,addr=0x7 ", path);
}

/* All of it is in the guest's RAM. */
static void put_other_pages(PcTest *t)
{
    g_autofree char *path = pct_path(t, "other"), *data = NULL;
    gsize len;

    g_assert_true(g_file_get_contents(path, &data, &len, NULL));
    pct_write(t, ZERO_START, data, len);
}

/* The source has the image as a file, the destination through the relay. */
static PcTest *hang_new_on(const char *machine, bool other, const char *args)
{
    PcTest *t;
    g_autofree char *more = NULL;
    g_autofree char *src = NULL, *disk = NULL, *dst = NULL;

    t = pct_new_iscsi(&tgt);
    if (!t) {
        return NULL;
    }
    t->machine = g_strdup(machine);
    tgtd_bind_all(&tgt);
    pct_relay_start(&relay, tgt.port);

    more = other ? make_other_disk(t) : g_strdup("");
    src = g_strdup_printf(DISK_ARGS CONTROLLER "%s", t->disk, more);
    disk = pct_iscsi_args(relay.port);
    dst = g_strdup_printf("%s" CONTROLLER "-global "
                          "migration.pagecache-read-deadline=300 %s%s", disk,
                          more, args);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    /* that of the guest's own disk */
    g_assert_cmpuint(pct_relay_connections(&relay), ==, 1);
    pct_on(t);
    pct_incoming(t);
    return t;
}

/* The whole cache is hinted. */
static PcTest *hang_new(const char *args)
{
    PcTest *t = hang_new_on("q35", false, args);

    if (t) {
        pct_hint_cache(t);
    }
    return t;
}

static void hang_free(PcTest *t)
{
    pct_free_iscsi(t, &tgt);
    pct_relay_stop(&relay);
}

static void quit_promptly(QTestState **who)
{
    gint64 begin = g_get_monotonic_time();

    qtest_quit(*who);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    *who = NULL;
}

/* Whatever needs the block graph, or all of the disks to be quiet */
static void assert_prompt(QTestState *who)
{
    gint64 begin = g_get_monotonic_time();

    qtest_qmp_assert_success(who, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'cont' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-add',"
                             "  'arguments': { 'driver': 'null-co',"
                             "    'read-zeroes': true,"
                             "    'node-name': 'other' } }");
    qtest_qmp_device_add(who, "scsi-hd", "hd1", "{ 'drive': 'other',"
                         " 'bus': 'scsi0.0' }");
    qtest_qmp_device_del(who, "hd1");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': 'other' } }");
    qtest_qmp_assert_success(who, "{ 'execute': 'query-named-block-nodes' }");
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
}

/* The guest goes on to a third host, which has its own way to the image. */
static void migrate_onward(PcTest *t)
{
    g_autofree char *args = g_strdup_printf(DISK_ARGS CONTROLLER, t->disk);
    QTestState *first = t->src;

    t->src = t->dst;
    /* what limited its reads would limit its offers */
    migrate_set_parameter_int(t->src, "pagecache-bandwidth", 0);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_refill_cache(t);
    quit_promptly(&first);
}

static void check_timeouts(QTestState *who)
{
    QDict *disk = pct_disk_info(who);

    g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, "iscsi");
    g_assert_true(qdict_haskey(disk, "error"));
    qobject_unref(disk);
}

/* --- it hangs --- */

static void test_before_the_first_read(void)
{
    PcTest *t = hang_new("");

    if (!t) {
        return;
    }
    pct_relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    assert_prompt(t->dst);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    check_timeouts(t->dst);
    assert_prompt(t->dst);
    migrate_onward(t);
    quit_promptly(&t->src);
    hang_free(t);
}

static void test_in_the_middle(void)
{
    PcTest *t = hang_new("-global migration.pagecache-bandwidth=1M");

    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    pct_relay_hang(&relay, 1);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    assert_prompt(t->dst);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <, CACHE_PAGES);
    check_timeouts(t->dst);
    assert_prompt(t->dst);
    migrate_onward(t);
    quit_promptly(&t->src);
    hang_free(t);
}

/* At the moment of the switchover reads hang that nobody has missed yet. */
static void test_across_switchover(void)
{
    PcTest *t = hang_new("-global migration.pagecache-read-deadline=60000");
    gint64 begin;

    if (!t) {
        return;
    }
    pct_relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    begin = g_get_monotonic_time();
    pct_finish(t);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    pct_check_figures(t);
    assert_prompt(t->dst);
    /* and when they come they find nobody */
    pct_relay_hang(&relay, PCT_RELAY_NEVER);
    migrate_onward(t);
    quit_promptly(&t->src);
    hang_free(t);
}

static void test_quit(void)
{
    PcTest *t = hang_new("-global migration.pagecache-read-deadline=60000");

    if (!t) {
        return;
    }
    pct_relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    quit_promptly(&t->dst);
    pct_wait_failed(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    hang_free(t);
}

static void test_cancel(void)
{
    PcTest *t = hang_new("-global migration.pagecache-read-deadline=60000");
    g_autofree char *args = NULL;
    gint64 begin;

    if (!t) {
        return;
    }
    pct_relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    begin = g_get_monotonic_time();
    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
    pct_wait_failed(t->dst);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    quit_promptly(&t->dst);

    args = g_strdup_printf(DISK_ARGS CONTROLLER, t->disk);
    pct_start_dst(t, args);
    pct_on(t);
    pct_refill_cache(t);
    hang_free(t);
}

/* The guest's memory differs from the disk: what comes late would show. */
static void test_and_recovers(void)
{
    PcTest *t = hang_new("");

    if (!t) {
        return;
    }
    pct_scribble(t, CACHE_START, CACHE_PAGES / 4);
    pct_relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_relay_hang(&relay, PCT_RELAY_NEVER);
    while (pct_figure(t->src, "reported-pages") +
           pct_figure(t->src, "released-pages") < CACHE_PAGES) {
        g_usleep(2000);
    }
    pct_finish(t);
    pct_check_figures(t);
    quit_promptly(&t->dst);
    hang_free(t);
}

/*
 * A disk that hangs has its window full, and for ever.  That is none of the
 * other's business, all of whose pages are offered and proven; only those of
 * the first one are left for the channel.
 */
static void test_other_disk(void)
{
    PcTest *t = hang_new_on("q35", true,
                            "-global migration.pagecache-read-deadline=60000");

    if (!t) {
        return;
    }
    put_other_pages(t);
    pct_hint_cache(t);
    pct_relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    pct_hint(t, "blk1", ZERO_START, 0, OTHER_PAGES);
    pct_wait_figure(t->src, "proven-pages", OTHER_PAGES);
    g_assert_cmpint(pct_figure(t->src, "in-flight-pages"), ==, CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, OTHER_PAGES);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, CACHE_PAGES);
    hang_free(t);
}

/* The guest's disk hangs with the rest, and yet it arrives. */
static void test_all_of_it(void)
{
    PcTest *t = hang_new("");

    if (!t) {
        return;
    }
    pct_relay_hang(&relay, 0);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    assert_prompt(t->dst);
    migrate_onward(t);
    /* QEMU takes leave of the target of the guest's disk, patched or not */
    pct_relay_hang(&relay, PCT_RELAY_NEVER);
    hang_free(t);
}

/* --- it hangs, and the disk is unplugged --- */

/* The rest is offered to a reader whose reads hang, and will for long. */
static PcTest *hang_before_unplug(void)
{
    PcTest *t = hang_new_on("pc", false,
                            "-global migration.pagecache-read-deadline=60000");

    if (t) {
        pct_migrate_slowly(t);
        pct_open_reader(t);
        pct_relay_hang(&relay, 1);
        pct_hint_rest(t);
        pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES - PCT_OPENED);
    }
    return t;
}

static void eject_promptly(QTestState *who)
{
    gint64 begin = g_get_monotonic_time();

    pct_eject(who);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
}

/* Not a page was read any more. */
static void finish_unread(PcTest *t)
{
    gint64 begin = g_get_monotonic_time();

    pct_finish(t);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, PCT_OPENED);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==,
                    CACHE_PAGES - PCT_OPENED);
}

static void test_unplug_source(void)
{
    PcTest *t = hang_before_unplug();

    if (!t) {
        return;
    }
    eject_promptly(t->src);
    finish_unread(t);
    assert_prompt(t->dst);
    quit_promptly(&t->src);
    quit_promptly(&t->dst);
    hang_free(t);
}

/* The reader has nothing of the guest's disk, which goes at once. */
static void test_unplug_destination(void)
{
    PcTest *t = hang_before_unplug();

    if (!t) {
        return;
    }
    eject_promptly(t->dst);
    assert_prompt(t->dst);
    /* the stream must not have the state of what is not there any more */
    eject_promptly(t->src);
    finish_unread(t);
    quit_promptly(&t->dst);
    hang_free(t);
}

static void test_unplug_quit(void)
{
    PcTest *t = hang_before_unplug();
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    eject_promptly(t->dst);
    quit_promptly(&t->dst);
    pct_wait_failed(t->src);
    args = g_strdup_printf(DISK_ARGS CONTROLLER, t->disk);
    pct_migrate_again(t, args);
    hang_free(t);
}

/* It does not hang, it is gone; and it comes back. */
static void test_target_dies(void)
{
    PcTest *t = hang_new("-global migration.pagecache-bandwidth=1M");

    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    tgtd_kill(&tgt);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    tgtd_fresh(&tgt);
    assert_prompt(t->dst);
    hang_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/hang/before-the-first-read",
                   test_before_the_first_read);
    qtest_add_func("/pagecache/hang/in-the-middle", test_in_the_middle);
    qtest_add_func("/pagecache/hang/across-switchover",
                   test_across_switchover);
    qtest_add_func("/pagecache/hang/quit", test_quit);
    qtest_add_func("/pagecache/hang/cancel", test_cancel);
    qtest_add_func("/pagecache/hang/and-recovers", test_and_recovers);
    qtest_add_func("/pagecache/hang/all-of-it", test_all_of_it);
    qtest_add_func("/pagecache/hang/other-disk", test_other_disk);
    qtest_add_func("/pagecache/hang/unplug/source", test_unplug_source);
    qtest_add_func("/pagecache/hang/unplug/destination",
                   test_unplug_destination);
    qtest_add_func("/pagecache/hang/unplug/quit", test_unplug_quit);
    qtest_add_func("/pagecache/hang/target-dies", test_target_dies);
    return g_test_run();
}
