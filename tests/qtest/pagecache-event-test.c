/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: what it says of itself
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The event MIGRATION_PAGECACHE, what query-migrate says of a migration that
 * did not complete, and notes.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-lib.h"

#define EVENT   "MIGRATION_PAGECACHE"
#define IO_MAP  "-object pagecache-io-map,id=map "

static void events_on(QTestState *who)
{
    migrate_set_capability(who, "events", true);
}

/* The data of the next event, which is of this type; qobject_unref() it */
static QDict *wait_for(QTestState *who, const char *type)
{
    QDict *event = qtest_qmp_eventwait_ref(who, EVENT);
    QDict *data = qdict_get_qdict(event, "data");

    g_assert_cmpstr(qdict_get_str(data, "type"), ==, type);
    qobject_ref(data);
    qobject_unref(event);
    return data;
}

static void expect(QTestState *who, const char *type)
{
    qobject_unref(wait_for(who, type));
}

static void expect_none(QTestState *who)
{
    QDict *rsp = qtest_qmp(who, "{ 'execute': 'query-status' }");

    qobject_unref(rsp);     /* what was sent before has been received */
    g_assert_null(qtest_qmp_event_ref(who, EVENT));
}

/* One that is about the disk: its error */
static void expect_disk(QTestState *who, const char *type, const char *error)
{
    QDict *data = wait_for(who, type);

    g_assert_cmpstr(qdict_get_str(data, "device"), ==, DISK_PATH);
    pct_assert_contains(qdict_get_str(data, "error"), error);
    qobject_unref(data);
}

/* The last one has the figures that query-migrate has. */
static void expect_ended(QTestState *who)
{
    QDict *data = wait_for(who, "ended");
    QDict *rsp = migrate_query(who);

    g_assert_true(qobject_is_equal(qdict_get(data, "pagecache"),
                                   qdict_get(rsp, "pagecache")));
    qobject_unref(rsp);
    qobject_unref(data);
}

static void check_note(QTestState *who, const char *note)
{
    QDict *info = pct_info(who);

    g_assert_cmpstr(qdict_get_try_str(info, "note"), ==, note);
    g_assert_true(qdict_haskey(info, "note-text") == !!note);
    qobject_unref(info);
}

/* --- a migration that completes --- */

static void test_completed(void)
{
    PcTest *t = pct_new_pair();

    events_on(t->src);
    events_on(t->dst);
    pct_hint_cache_part(t, 0, 2 * PCT_OPENED);
    pct_incoming(t);
    pct_migrate_slowly(t);
    expect(t->src, "active");
    expect(t->dst, "active");
    pct_wait_figure(t->src, "proven-pages", 2 * PCT_OPENED);
    pct_finish(t);
    expect_ended(t->src);
    expect_ended(t->dst);
    pct_check_figures(t);       /* active, and no reason */
    check_note(t->src, "cache-small");

    /* The next one is inactive... */
    pct_hop(t);
    pct_start_dst(t, NULL);
    pct_on(t);
    migrate_set_capability(t->src, "xbzrle", true);
    migrate_set_capability(t->dst, "xbzrle", true);
    events_on(t->dst);
    pct_incoming(t);
    pct_migrate(t);
    {
        QDict *data = wait_for(t->src, "inactive");

        g_assert_cmpstr(qdict_get_str(data, "reason"), ==, "xbzrle");
        g_assert_cmpstr(qdict_get_str(data, "reason-text"), ==,
                        "the capability xbzrle is on");
        qobject_unref(data);
    }
    pct_finish(t);
    expect_none(t->src);
    expect_none(t->dst);

    /* ... and nobody wants to be told of that after it. */
    pct_hop(t);
    pct_start_dst(t, NULL);
    pct_on(t);
    migrate_set_capability(t->src, "xbzrle", false);
    migrate_set_capability(t->src, "events", false);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_figures(t);
    check_note(t->src, "no-device");
    expect_none(t->src);
    pct_free(t);
}

/* --- migrations that don't --- */

static void check_ended(QTestState *who, const char *reason)
{
    QDict *info;

    expect_ended(who);
    info = pct_info(who);
    g_assert_false(qdict_get_bool(info, "active"));
    g_assert_cmpstr(qdict_get_str(info, "reason"), ==, reason);
    qobject_unref(info);
}

static void cancel(PcTest *t)
{
    qtest_qmp_assert_success(t->src, "{ 'execute': 'migrate_cancel' }");
    wait_for_migration_cancelled(t->src);
}

static void begin(PcTest *t)
{
    pct_incoming(t);
    pct_migrate_slowly(t);
    expect(t->src, "active");
}

static void test_not_completed(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *status = NULL;     /* "cancelled", or perhaps "failed" */

    events_on(t->src);
    events_on(t->dst);
    pct_hint_cache(t);
    begin(t);
    expect(t->dst, "active");
    pct_wait_figure(t->src, "proven-pages", 1);
    cancel(t);
    status = migrate_query_status(t->src);
    check_ended(t->src, status);
    check_ended(t->dst, "failed");

    pct_quit(t->dst);
    pct_start_dst(t, NULL);
    begin(t);
    pct_wait_failed(t->src);
    check_ended(t->src, "refused");
    g_assert_null(pct_info(t->dst));

    pct_quit(t->dst);
    pct_start_dst(t, NULL);
    pct_on(t);
    begin(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    pct_kill(t->dst);
    pct_wait_failed(t->src);
    check_ended(t->src, "failed");
    pct_migrate_again(t, NULL);
    pct_free(t);
}

/* --- what is given up --- */

/* The destination has no such disk, or a smaller one. */
static void test_disk_given_up(void)
{
    PcTest *t = pct_new();
    g_autofree char *small = pct_path(t, "small");
    g_autofree char *args = g_strdup_printf(DISK_ARGS, small);

    g_assert_true(g_file_set_contents(small, (char *)t->disk_data,
                                      DISK_SIZE / 2, NULL));
    pct_start_src(t, NULL);
    pct_hint_cache(t);
    pct_start_dst(t, "");
    pct_on(t);
    events_on(t->dst);
    pct_incoming(t);
    pct_migrate_slowly(t);
    expect(t->dst, "active");
    expect_disk(t->dst, "disk-given-up", "no such disk here");
    cancel(t);

    pct_quit(t->dst);
    pct_start_dst(t, args);
    pct_on(t);
    events_on(t->dst);
    pct_incoming(t);
    pct_migrate_slowly(t);
    expect(t->dst, "active");
    expect_disk(t->dst, "disk-given-up", "expected 16777216 or more");
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_finish_unread(t, "failed", "expected 16777216 or more");
    expect_ended(t->dst);
    check_note(t->src, "no-readable-disk");
    pct_free(t);
}

static void test_other_disk(void)
{
    PcTest *t = pct_new();
    g_autofree char *other = pct_path(t, "other");
    g_autofree char *args = g_strdup_printf(DISK_ARGS, other);
    g_autofree uint8_t *zeros = g_malloc0(DISK_SIZE);
    QDict *data;

    g_assert_true(g_file_set_contents(other, (char *)zeros, DISK_SIZE, NULL));
    pct_start_pair(t, NULL, args);
    events_on(t->src);
    pct_hint_cache(t);
    pct_migrate_slowly(t);
    expect(t->src, "active");
    data = wait_for(t->src, "producer-given-up");
    g_assert_cmpstr(qdict_get_str(data, "producer"), ==, "qmp");
    g_assert_cmpstr(qdict_get_str(data, "device"), ==, DISK_PATH);
    g_assert_cmpstr(qdict_get_str(data, "id"), ==, "blk0");
    g_assert_cmpstr(qdict_get_str(data, "given-up"), ==, "other-disk");
    pct_assert_contains(qdict_get_str(data, "given-up-text"),
                        "differ from disk blk0 (" DISK_PATH ")");
    qobject_unref(data);
    expect_disk(t->src, "disk-differs", "blk0 (" DISK_PATH ")");
    pct_finish(t);
    expect_ended(t->src);
    pct_check_given_up(t->src, "other-disk", "qmp: nearly all hinted pages "
                       "differ from disk blk0 (" DISK_PATH ")");
    pct_free(t);
}

/* --- notes --- */

/* There is an I/O map, and the guest has done no I/O. */
static void test_map_empty(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(IO_MAP, disk, NULL);

    pct_start_pair(t, args, NULL);
    pct_migrate(t);
    pct_finish(t);
    check_note(t->src, "map-empty");
    pct_free(t);
}

/* A migration with a fault on either side; NULL: skipped */
static PcTest *moved_with(const char *src_fault, const char *dst_fault)
{
    PcTest *t;

    if (!pct_has_faults()) {
        g_test_skip("QEMU is built without faults on purpose");
        return NULL;
    }
    t = pct_new_pair();
    pct_arm(t->src, src_fault);
    pct_arm(t->dst, dst_fault);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    return t;
}

/* Storage brings nothing before the channel has sent it all. */
static void test_channel_faster(void)
{
    PcTest *t = moved_with("", "lose-offer");

    if (t) {
        g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
        check_note(t->src, "channel-faster");
        pct_free(t);
    }
}

/* What needs hardware, or another build, at other times */
static void test_no_digest(void)
{
    PcTest *t = moved_with("refuse-digest", "");

    if (t) {
        pct_check_inactive(t, "no-digest");
        pct_free(t);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/event/completed", test_completed);
    qtest_add_func("/pagecache/event/not-completed", test_not_completed);
    qtest_add_func("/pagecache/event/disk-given-up", test_disk_given_up);
    qtest_add_func("/pagecache/event/other-disk", test_other_disk);
    qtest_add_func("/pagecache/note/map-empty", test_map_empty);
    qtest_add_func("/pagecache/note/channel-faster", test_channel_faster);
    qtest_add_func("/pagecache/inactive/no-digest", test_no_digest);
    return g_test_run();
}
