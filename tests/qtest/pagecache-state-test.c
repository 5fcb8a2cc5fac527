/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: when it is active, and when not
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The capability on both sides or on one, and the figures afterwards.  What it
 * can't work with is in pagecache-inactive-test.c, how it goes with others in
 * pagecache-capability-test.c.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qobject/qdict.h"
#include "pagecache-test-proxy.h"

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
    pct_refill_cache(t);
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

/* --- figures --- */

static void test_figures_of_the_last_migration(void)
{
    PcTest *t = pct_new_pair();

    g_assert_null(pct_info(t->src));
    g_assert_null(pct_info(t->dst));
    pct_hint_cache(t);
    pct_refill_cache(t);

    /* The next one is inactive... */
    pct_hop(t);
    pct_start_dst(t, NULL);
    pct_on(t);
    migrate_set_capability(t->src, "xbzrle", true);
    migrate_set_capability(t->dst, "xbzrle", true);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_inactive(t, "xbzrle");

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

    qtest_add_func("/pagecache/one-side/source", test_source_only);
    qtest_add_func("/pagecache/one-side/source-exits",
                   test_source_only_exits);
    qtest_add_func("/pagecache/one-side/destination", test_destination_only);
    qtest_add_func("/pagecache/nothing-to-do/no-hints", test_no_hints);
    qtest_add_func("/pagecache/nothing-to-do/no-disk", test_no_disk);

    qtest_add_func("/pagecache/figures/of-the-last-migration",
                   test_figures_of_the_last_migration);
    qtest_add_func("/pagecache/figures/after-arrival",
                   test_figures_after_arrival);
    return g_test_run();
}
