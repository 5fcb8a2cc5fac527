/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: when it is active, and when not
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The capability may stand in a configuration for years.  Where it can't work
 * it changes nothing but query-migrate, which tells the reason.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "pagecache-test-proxy.h"

#define NO_SOCKET "the target of the migration is no socket"

/* The state of capability @name */
static bool capability(QTestState *who, const char *name)
{
    QDict *rsp = qtest_qmp(who, "{ 'execute': 'query-migrate-capabilities' }");
    QListEntry *entry;
    bool found = false, state = false;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        QDict *cap = qobject_to(QDict, qlist_entry_obj(entry));

        if (!strcmp(qdict_get_str(cap, "capability"), name)) {
            found = true;
            state = qdict_get_bool(cap, "state");
        }
    }
    g_assert_true(found);
    qobject_unref(rsp);
    return state;
}

/* False: this QEMU, or this kernel, can't do that. */
static bool try_capability(QTestState *who, const char *name)
{
    QDict *rsp = qtest_qmp(who, "{ 'execute': 'migrate-set-capabilities',"
                           " 'arguments': { 'capabilities': [ {"
                           " 'capability': %s, 'state': true } ] } }", name);
    bool ok = qdict_haskey(rsp, "return");

    qobject_unref(rsp);
    return ok;
}

/* --- the capability itself --- */

static void test_capability_sets_return_path(void)
{
    QTestState *qts = qtest_init("-machine none");
    g_autofree char *hmp = NULL;

    g_assert_false(capability(qts, "skip-pagecache"));
    g_assert_false(capability(qts, "return-path"));
    migrate_set_capability(qts, "skip-pagecache", true);
    g_assert_true(capability(qts, "skip-pagecache"));
    g_assert_true(capability(qts, "return-path"));
    qtest_quit(qts);

    qts = qtest_init("-machine none");
    hmp = qtest_hmp(qts, "migrate_set_capability skip-pagecache on");
    g_assert_cmpstr(hmp, ==, "");
    g_assert_true(capability(qts, "skip-pagecache"));
    g_assert_true(capability(qts, "return-path"));
    qtest_quit(qts);
}

/* It goes as it came, unless somebody had asked for it. */
static void test_capability_clears_return_path(void)
{
    QTestState *qts = qtest_init("-machine none");

    migrate_set_capability(qts, "skip-pagecache", true);
    migrate_set_capability(qts, "skip-pagecache", false);
    g_assert_false(capability(qts, "return-path"));

    migrate_set_capability(qts, "skip-pagecache", true);
    migrate_set_capability(qts, "return-path", true);
    migrate_set_capability(qts, "skip-pagecache", false);
    g_assert_true(capability(qts, "return-path"));

    migrate_set_capability(qts, "skip-pagecache", true);
    migrate_set_capability(qts, "skip-pagecache", false);
    g_assert_true(capability(qts, "return-path"));
    qtest_quit(qts);
}

/* With it a save to exec: would never end. */
static void test_global_sets_no_return_path(void)
{
    QTestState *qts = qtest_init("-machine none "
                                 "-global migration.skip-pagecache=on");

    g_assert_true(capability(qts, "skip-pagecache"));
    g_assert_false(capability(qts, "return-path"));
    qtest_quit(qts);
}

/* --- on one side only --- */

static void test_source_only(void)
{
    PcTest *t = pct_new();
    g_autofree char *src_error = NULL, *dst_error = NULL;
    g_autoptr(GByteArray) sent = NULL;
    PctProxy *p;

    pct_start_src(t, NULL);
    pct_start_dst(t, NULL);
    migrate_set_capability(t->src, "skip-pagecache", true);
    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_migrate(t);
    pct_wait_failed(t->src);
    pct_wait_failed(t->dst);
    src_error = pct_error(t->src);
    dst_error = pct_error(t->dst);
    pct_assert_contains(src_error, "skip-pagecache is on here and off at the "
                        "destination; set the capability on both sides");
    pct_assert_contains(dst_error, "skip-pagecache is on at the source and "
                        "off here; set it on both sides");
    /* before any of the guest's memory was sent */
    sent = pct_proxy_recorded(p);
    g_assert_cmpuint(sent->len, <, 64 * KiB);
    pct_proxy_free(p);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);

    /* With it on both sides it works. */
    qtest_quit(t->dst);
    pct_start_dst(t, NULL);
    pct_on(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* A destination that was started the usual way exits, and says why. */
static void test_source_only_exits(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *log = pct_path(t, "stderr");
    g_autofree char *args = g_strdup_printf("%s -S -incoming %s 2>%s", disk,
                                            t->uri, log);
    g_autofree char *text = NULL;

    pct_start_src(t, NULL);
    t->dst = pct_start(t, args);
    qtest_set_expected_status(t->dst, EXIT_FAILURE);
    migrate_set_capability(t->src, "skip-pagecache", true);
    pct_migrate(t);
    wait_for_migration_fail(t->src, true);
    qtest_wait_qemu(t->dst);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    pct_assert_contains(text, "skip-pagecache is on at the source and off "
                        "here; set it on both sides");
    pct_check_memory(t, t->src);
    pct_free(t);
}

static void test_destination_only(void)
{
    PcTest *t = pct_new();

    pct_start_src(t, NULL);
    pct_start_dst(t, NULL);
    migrate_set_capability(t->dst, "skip-pagecache", true);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    g_assert_null(pct_info(t->src));
    g_assert_null(pct_info(t->dst));
    g_assert_cmpint(pct_transferred(t->src), >, PRIVATE_SIZE + CACHE_SIZE);
    pct_free(t);
}

static void test_no_hints(void)
{
    PcTest *t = pct_new_pair();

    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_all_proven(t, 0);
    g_assert_cmpint(pct_transferred(t->src), >, PRIVATE_SIZE + CACHE_SIZE);
    pct_free(t);
}

static void test_no_disk(void)
{
    PcTest *t = pct_new();
    QDict *rsp;

    pct_start_src(t, "");
    pct_start_dst(t, "");
    pct_on(t);
    rsp = qtest_qmp_assert_failure_ref(
        t->src, "{ 'execute': 'x-pagecache-add-hints', 'arguments': {"
        " 'hints': [ { 'device': 'blk0', 'address': 0, 'sector': 0,"
        " 'pages': 1 } ] } }");
    pct_assert_contains(qdict_get_str(rsp, "desc"), "'blk0' is no disk");
    qobject_unref(rsp);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_all_proven(t, 0);
    pct_free(t);
}

/* --- inactive in a migration to another QEMU --- */

/* The migration is a plain one, for this reason. */
static void check_inactive(PcTest *t, const char *reason)
{
    pct_assert_inactive(t->src, reason);
    g_assert_cmpint(pct_transferred(t->src), >, PRIVATE_SIZE + CACHE_SIZE);
}

static void run_inactive(PcTest *t, const char *reason)
{
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    check_inactive(t, reason);
    pct_free(t);
}

static void test_return_path_off(void)
{
    PcTest *t = pct_new_pair();

    migrate_set_capability(t->src, "return-path", false);
    run_inactive(t, "the capability return-path is off");
}

static void test_global_without_return_path(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.skip-pagecache=on", disk);

    pct_start_src(t, args);
    pct_start_dst(t, args);
    run_inactive(t, "the capability return-path is off");
}

/* Any other capability of both sides */
static void test_with_capability(const void *opaque)
{
    const char *name = opaque;
    PcTest *t = pct_new_pair();
    g_autofree char *reason = g_strdup_printf("the capability %s is on", name);

    if (!try_capability(t->dst, name) || !try_capability(t->src, name)) {
        g_test_skip("capability can't be set here");
        pct_free(t);
        return;
    }
    run_inactive(t, reason);
}

/* And it does switch to postcopy. */
static void test_postcopy(void)
{
    PcTest *t = pct_new_pair();

    if (!try_capability(t->dst, "postcopy-ram") ||
        !try_capability(t->src, "postcopy-ram")) {
        g_test_skip("capability postcopy-ram can't be set here");
        pct_free(t);
        return;
    }
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    wait_for_migration_status(t->src, "active", NULL);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'migrate-start-postcopy' }");
    qtest_qmp_eventwait(t->src, "STOP");
    pct_finish(t);
    check_inactive(t, "the capability postcopy-ram is on");
    pct_free(t);
}

static void test_cpr_reboot(void)
{
    PcTest *t = pct_new_pair();

    migrate_set_parameter_str(t->src, "mode", "cpr-reboot");
    migrate_set_parameter_str(t->dst, "mode", "cpr-reboot");
    run_inactive(t, "the migration mode is one of cpr");
}

/* --- inactive in a save, and in the restore --- */

static void save(PcTest *t, const char *uri)
{
    migrate_qmp(t->src, NULL, uri, NULL, "{}");
    wait_for_migration_complete(t->src);
}

static void restore(PcTest *t, const char *uri)
{
    migrate_incoming_qmp(t->dst, uri, NULL, "{}");
    wait_for_migration_complete(t->dst);
    pct_check_memory(t, t->dst);
    g_assert_null(pct_info(t->dst));
}

/* return-path, which came with the capability, is not in the way. */
static void test_exec(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *to = g_strdup_printf("exec:cat >%s/saved", t->dir);
    g_autofree char *from = g_strdup_printf("exec:cat %s/saved", t->dir);

    pct_hint_cache(t);
    save(t, to);
    check_inactive(t, NO_SOCKET);
    restore(t, from);
    pct_free(t);
}

/* The flag on the command line, like that of a domain in a file */
static void test_exec_with_global(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.skip-pagecache=on", disk);
    g_autofree char *to = g_strdup_printf("exec:cat >%s/saved", t->dir);
    g_autofree char *from = g_strdup_printf("exec:cat %s/saved", t->dir);

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_hint_cache(t);
    save(t, to);
    check_inactive(t, NO_SOCKET);
    restore(t, from);
    pct_free(t);
}

static void test_file(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *uri = g_strdup_printf("file:%s/saved", t->dir);

    pct_hint_cache(t);
    save(t, uri);
    check_inactive(t, NO_SOCKET);
    restore(t, uri);
    pct_free(t);
}

static void test_mapped_ram(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *uri = g_strdup_printf("file:%s/saved", t->dir);

    pct_hint_cache(t);
    migrate_set_capability(t->src, "mapped-ram", true);
    migrate_set_capability(t->dst, "mapped-ram", true);
    save(t, uri);
    pct_assert_inactive(t->src, "the capability mapped-ram is on");
    restore(t, uri);
    pct_free(t);
}

/* As virsh save does it */
static void test_fd_of_a_file(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *name = pct_path(t, "saved");
    g_autofree char *from = g_strdup_printf("exec:cat %s", name);
    int fd = open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    g_assert_cmpint(fd, >=, 0);
    qtest_qmp_fds_assert_success(t->src, &fd, 1,
                                 "{ 'execute': 'getfd', 'arguments': {"
                                 "  'fdname': 'saved' } }");
    close(fd);
    pct_hint_cache(t);
    save(t, "fd:saved");
    check_inactive(t, NO_SOCKET);
    restore(t, from);
    pct_free(t);
}

static void test_background_snapshot(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *to = g_strdup_printf("exec:cat >%s/saved", t->dir);
    g_autofree char *from = g_strdup_printf("exec:cat %s/saved", t->dir);

    /* it can't be had with return-path, whoever has set that */
    migrate_set_capability(t->src, "return-path", false);
    if (!try_capability(t->src, "background-snapshot")) {
        g_test_skip("capability background-snapshot can't be set here");
        pct_free(t);
        return;
    }
    pct_hint_cache(t);
    save(t, to);
    pct_assert_inactive(t->src, "the capability background-snapshot is on");
    pct_wait_running(t->src);
    restore(t, from);
    pct_free(t);
}

static void test_savevm(void)
{
    PcTest *t;
    g_autofree char *args = NULL, *out = NULL;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
        return;
    }
    t = pct_new();
    args = pct_qcow2_args(t);
    pct_start_src(t, args);
    migrate_set_capability(t->src, "skip-pagecache", true);
    pct_hint_cache(t);
    out = qtest_hmp(t->src, "savevm here");
    g_assert_cmpstr(out, ==, "");
    pct_assert_inactive(t->src, "not a live migration to another QEMU");

    qtest_memset(t->src, CACHE_START, 0x5a, CACHE_SIZE);
    g_assert_cmphex(pct_first_wrong(t, t->src), ==, CACHE_START);
    g_free(out);
    out = qtest_hmp(t->src, "loadvm here");
    g_assert_cmpstr(out, ==, "");
    pct_check_memory(t, t->src);

    /* It was not for ever. */
    pct_start_dst(t, args);
    pct_on(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* --- figures --- */

static void test_figures_of_the_last_migration(void)
{
    PcTest *t = pct_new_pair();

    g_assert_null(pct_info(t->src));
    g_assert_null(pct_info(t->dst));
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);

    /* The next one is inactive... */
    pct_hop(t);
    pct_start_dst(t, NULL);
    pct_on(t);
    migrate_set_capability(t->src, "return-path", false);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    check_inactive(t, "the capability return-path is off");

    /* ... and that after it a plain one. */
    pct_hop(t);
    pct_start_dst(t, NULL);
    migrate_set_capability(t->src, "skip-pagecache", false);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    g_assert_null(pct_info(t->src));
    g_assert_null(pct_info(t->dst));
    pct_free(t);
}

/* What came in with it went out plainly. */
static void test_figures_after_arrival(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_hop(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, CACHE_PAGES);
    pct_start_dst(t, NULL);
    migrate_set_capability(t->src, "skip-pagecache", false);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    g_assert_null(pct_info(t->src));
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/capability/sets-return-path",
                   test_capability_sets_return_path);
    qtest_add_func("/pagecache/capability/clears-return-path",
                   test_capability_clears_return_path);
    qtest_add_func("/pagecache/capability/global-sets-no-return-path",
                   test_global_sets_no_return_path);

    qtest_add_func("/pagecache/one-side/source", test_source_only);
    qtest_add_func("/pagecache/one-side/source-exits",
                   test_source_only_exits);
    qtest_add_func("/pagecache/one-side/destination", test_destination_only);
    qtest_add_func("/pagecache/nothing-to-do/no-hints", test_no_hints);
    qtest_add_func("/pagecache/nothing-to-do/no-disk", test_no_disk);

    qtest_add_func("/pagecache/inactive/return-path-off",
                   test_return_path_off);
    qtest_add_func("/pagecache/inactive/global-without-return-path",
                   test_global_without_return_path);
    qtest_add_data_func("/pagecache/inactive/xbzrle", "xbzrle",
                        test_with_capability);
    qtest_add_data_func("/pagecache/inactive/postcopy-ram", "postcopy-ram",
                        test_with_capability);
    qtest_add_func("/pagecache/inactive/postcopy", test_postcopy);
    qtest_add_func("/pagecache/inactive/cpr-reboot", test_cpr_reboot);
    qtest_add_func("/pagecache/inactive/exec", test_exec);
    qtest_add_func("/pagecache/inactive/exec-with-global",
                   test_exec_with_global);
    qtest_add_func("/pagecache/inactive/file", test_file);
    qtest_add_func("/pagecache/inactive/mapped-ram", test_mapped_ram);
    qtest_add_func("/pagecache/inactive/fd-of-a-file", test_fd_of_a_file);
    qtest_add_func("/pagecache/inactive/background-snapshot",
                   test_background_snapshot);
    qtest_add_func("/pagecache/inactive/savevm", test_savevm);

    qtest_add_func("/pagecache/figures/of-the-last-migration",
                   test_figures_of_the_last_migration);
    qtest_add_func("/pagecache/figures/after-arrival",
                   test_figures_after_arrival);
    return g_test_run();
}
