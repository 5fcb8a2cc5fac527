/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the guest stops, or starts anew
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A guest that was paused arrives paused and one that ran runs on.  A guest
 * that reboots in the middle forgets its page cache and writes over it: what
 * was hinted is then as wrong as any other hint, and what was proven is dirty
 * again.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-proxy.h"

/* Pages of the cache that a guest takes for other things when it boots */
#define SOME            100

static void qmp(QTestState *who, const char *command)
{
    qtest_qmp_assert_success(who, "{ 'execute': %s }", command);
}

/* --- paused --- */

/* A destination that runs the guest when it is there, if the source did */
static PcTest *pair_with_autostart(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(disk, "-incoming defer", NULL);

    pct_start_src(t, NULL);
    t->dst = pct_start(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    return t;
}

static void finish(PcTest *t)
{
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
}

static void test_paused_stays_paused(void)
{
    PcTest *t = pair_with_autostart();

    qmp(t->src, "stop");
    pct_migrate_slowly(t);
    finish(t);
    pct_check_status(t->dst, "paused");
    qmp(t->dst, "cont");
    pct_wait_running(t->dst);
    pct_free(t);
}

static void test_running_runs(void)
{
    PcTest *t = pair_with_autostart();

    pct_migrate_slowly(t);
    finish(t);
    pct_wait_running(t->dst);
    pct_free(t);
}

/* While reports are on their way: the guest stops, goes on, and stops. */
static void test_paused_in_flight(void)
{
    PcTest *t = pair_with_autostart();
    PctProxy *p = pct_proxy_new(t, NULL, NULL, NULL);

    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    qmp(t->src, "stop");
    qmp(t->src, "cont");
    pct_scribble(t, ZERO_START, SOME);
    qmp(t->src, "stop");
    pct_proxy_hold(p, false);
    finish(t);
    pct_check_status(t->dst, "paused");
    pct_proxy_free(p);
    pct_free(t);
}

/* Cancelled while it is paused: that is how it stays, and goes again. */
static void test_paused_and_cancelled(void)
{
    PcTest *t = pair_with_autostart();
    PctProxy *p = pct_proxy_new(t, NULL, NULL, NULL);

    pct_proxy_hold(p, true);
    qmp(t->src, "stop");
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    pct_proxy_free(p);
    pct_wait_failed(t->src);
    pct_check_status(t->src, "paused");
    qtest_quit(t->dst);
    qmp(t->src, "cont");
    pct_migrate_again(t, NULL);
    pct_free(t);
}

/* --- reboot --- */

/* A reset, and what a guest does that boots. */
static void reboot(PcTest *t)
{
    qtest_system_reset(t->src);
    pct_scribble(t, ZERO_START, SOME);
    pct_scribble(t, pct_cache_addr(300), SOME);
    pct_zero(t, pct_cache_addr(600), SOME);
}

static void runs_at_destination(PcTest *t)
{
    qmp(t->dst, "cont");
    pct_wait_running(t->dst);
    pct_free(t);
}

static void test_reboot_before_hints(void)
{
    PcTest *t = pct_new_pair();

    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "pooled-pages", 0);
    reboot(t);
    pct_hint_cache(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - 2 * SOME);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, SOME);
    runs_at_destination(t);
}

static void test_reboot_in_flight(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "in-flight-pages"), ==, CACHE_PAGES);
    reboot(t);
    pct_proxy_hold(p, false);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - 2 * SOME);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 2 * SOME);
    pct_proxy_free(p);
    runs_at_destination(t);
}

static void test_reboot_after_proof(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    reboot(t);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    runs_at_destination(t);
}

static void test_reboot_before_switchover(void)
{
    PcTest *t = pct_new_pair();

    migrate_set_capability(t->src, "pause-before-switchover", true);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_full_speed(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    reboot(t);
    migrate_continue(t->src, "pre-switchover");
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    runs_at_destination(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/guest/paused/stays-paused",
                   test_paused_stays_paused);
    qtest_add_func("/pagecache/guest/paused/in-flight",
                   test_paused_in_flight);
    qtest_add_func("/pagecache/guest/paused/and-cut-off",
                   test_paused_and_cancelled);
    qtest_add_func("/pagecache/guest/running-runs", test_running_runs);
    qtest_add_func("/pagecache/guest/reboots/before-hints",
                   test_reboot_before_hints);
    qtest_add_func("/pagecache/guest/reboots/in-flight",
                   test_reboot_in_flight);
    qtest_add_func("/pagecache/guest/reboots/after-proof",
                   test_reboot_after_proof);
    qtest_add_func("/pagecache/guest/reboots/before-switchover",
                   test_reboot_before_switchover);
    return g_test_run();
}
