/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: what it can't work with
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The capability may stand in a configuration for years.  Where it can't work
 * it changes nothing but query-migrate, which tells the reason.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qobject/qdict.h"
#include "pagecache-test-cpr.h"

#define NO_SOCKET "no-socket"

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

/* --- inactive in a migration to another QEMU --- */

static void run_inactive(PcTest *t, const char *reason)
{
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_inactive(t, reason);
    pct_free(t);
}

/* Any other capability of both sides */
static void test_with_capability(const void *opaque)
{
    const char *name = opaque;
    PcTest *t = pct_new_pair();

    if (!try_capability(t->dst, name) || !try_capability(t->src, name)) {
        g_test_skip("capability can't be set here");
        pct_free(t);
        return;
    }
    run_inactive(t, name);
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
    pct_check_inactive(t, "postcopy-ram");
    pct_free(t);
}

static void test_cpr_reboot(void)
{
    PcTest *t = pct_new_pair();

    migrate_set_parameter_str(t->src, "mode", "cpr-reboot");
    migrate_set_parameter_str(t->dst, "mode", "cpr-reboot");
    run_inactive(t, "cpr");
}

/* Both hosts go on with it, each with an image of its own. */
static void test_colo(void)
{
    PcTest *t = pct_new();
    g_autofree char *copy = pct_path(t, "copy");
    g_autofree char *args = g_strdup_printf(DISK_ARGS, copy);

    g_assert_true(g_file_set_contents(copy, (char *)t->disk_data, DISK_SIZE,
                                      NULL));
    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    if (!try_capability(t->dst, "x-colo") ||
        !try_capability(t->src, "x-colo")) {
        g_test_skip("capability x-colo can't be set here");
        pct_free(t);
        return;
    }
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    wait_for_migration_status(t->src, "colo", NULL);
    wait_for_migration_status(t->dst, "colo", NULL);
    pct_assert_inactive(t->src, "x-colo");
    /* the destination goes on alone */
    pct_kill(t->src);
    t->src = NULL;
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'x-colo-lost-heartbeat' }");
    pct_wait_running(t->dst);
    pct_check_memory(t, t->dst);
    pct_free(t);
}

/* RAM is handed over as it is; not a page of it goes anywhere. */
static void test_cpr_transfer(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf("%s " PCT_CPR_ARGS, disk);

    pct_start_src(t, args);
    pct_hint_cache(t);
    pct_cpr_transfer(t, args);
    pct_check_memory(t, t->src);
    pct_check_memory(t, t->dst);
    pct_assert_inactive(t->src, "cpr");
    g_assert_cmpint(pct_transferred(t->src), <, CACHE_SIZE);
    pct_free(t);
}

/*
 * A guest that the accelerator keeps secrets for can't be had without the
 * processor for it; that the machine is one can be said of any.
 */
static void test_confidential(void)
{
    PcTest *t = pct_new_pair();
    QDict *rsp = qtest_qmp(t->src, "{ 'execute': 'object-add', 'arguments': {"
                           "  'qom-type': 'sev-guest', 'id': 'sev0',"
                           "  'cbitpos': 47, 'reduced-phys-bits': 1 } }");
    bool added = qdict_haskey(rsp, "return");

    qobject_unref(rsp);
    if (!added) {
        g_test_skip("no sev-guest in this QEMU");
        pct_free(t);
        return;
    }
    qtest_qmp_assert_success(t->src, "{ 'execute': 'qom-set', 'arguments': {"
                             "  'path': '/machine',"
                             "  'property': 'confidential-guest-support',"
                             "  'value': '/objects/sev0' } }");
    run_inactive(t, "confidential");
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

/* No return path is opened, for with one it would never end. */
static void test_exec(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *to = g_strdup_printf("exec:cat >%s/saved", t->dir);
    g_autofree char *from = g_strdup_printf("exec:cat %s/saved", t->dir);

    pct_hint_cache(t);
    save(t, to);
    pct_check_inactive(t, NO_SOCKET);
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
    pct_check_inactive(t, NO_SOCKET);
    restore(t, from);
    pct_free(t);
}

static void test_file(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *uri = g_strdup_printf("file:%s/saved", t->dir);

    pct_hint_cache(t);
    save(t, uri);
    pct_check_inactive(t, NO_SOCKET);
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
    pct_assert_inactive(t->src, "mapped-ram");
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
    pct_check_inactive(t, NO_SOCKET);
    restore(t, from);
    pct_free(t);
}

static void test_background_snapshot(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *to = g_strdup_printf("exec:cat >%s/saved", t->dir);
    g_autofree char *from = g_strdup_printf("exec:cat %s/saved", t->dir);

    if (!try_capability(t->src, "background-snapshot")) {
        g_test_skip("capability background-snapshot can't be set here");
        pct_free(t);
        return;
    }
    pct_hint_cache(t);
    save(t, to);
    pct_assert_inactive(t->src, "background-snapshot");
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
    pct_assert_inactive(t->src, "not-live");

    qtest_memset(t->src, CACHE_START, 0x5a, CACHE_SIZE);
    g_assert_cmphex(pct_first_wrong(t, t->src), ==, CACHE_START);
    g_free(out);
    out = qtest_hmp(t->src, "loadvm here");
    g_assert_cmpstr(out, ==, "");
    pct_check_memory(t, t->src);

    /* It was not for ever. */
    pct_start_dst(t, args);
    pct_on(t);
    pct_refill_cache(t);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_data_func("/pagecache/inactive/xbzrle", "xbzrle",
                        test_with_capability);
    qtest_add_data_func("/pagecache/inactive/postcopy-ram", "postcopy-ram",
                        test_with_capability);
    qtest_add_func("/pagecache/inactive/postcopy", test_postcopy);
    qtest_add_func("/pagecache/inactive/x-colo", test_colo);
    qtest_add_func("/pagecache/inactive/cpr-reboot", test_cpr_reboot);
    qtest_add_func("/pagecache/inactive/cpr-transfer", test_cpr_transfer);
    qtest_add_func("/pagecache/inactive/confidential", test_confidential);
    qtest_add_func("/pagecache/inactive/exec", test_exec);
    qtest_add_func("/pagecache/inactive/exec-with-global",
                   test_exec_with_global);
    qtest_add_func("/pagecache/inactive/file", test_file);
    qtest_add_func("/pagecache/inactive/mapped-ram", test_mapped_ram);
    qtest_add_func("/pagecache/inactive/fd-of-a-file", test_fd_of_a_file);
    qtest_add_func("/pagecache/inactive/background-snapshot",
                   test_background_snapshot);
    qtest_add_func("/pagecache/inactive/savevm", test_savevm);
    return g_test_run();
}
