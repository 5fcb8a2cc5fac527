/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the channel against the storage
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Who of both writes a page last: always the channel, whichever channel it is
 * and however it says that a page is zero.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-proxy.h"

/* How many pages a test changes.  Fewer than make the hints be given up. */
#define SOME            100

static void start(PcTest *t)
{
    pct_incoming(t);
    pct_migrate_slowly(t);
}

/* --- zero pages --- */

typedef struct ZeroCase {
    const char *name;
    bool multifd;
    const char *detection;
} ZeroCase;

static const ZeroCase zero_cases[] = {
    { "main/none", false, "none" },
    { "main/legacy", false, "legacy" },
    { "multifd/none", true, "none" },
    { "multifd/legacy", true, "legacy" },
    { "multifd/multifd", true, "multifd" },
};

/*
 * A zero page that was never received need not be written, unless a refill
 * has put something else there.
 */
static void test_zero_after_proof(const void *opaque)
{
    const ZeroCase *c = opaque;
    PcTest *t = pct_new_pair();

    migrate_set_capability(t->src, "multifd", c->multifd);
    migrate_set_capability(t->dst, "multifd", c->multifd);
    migrate_set_parameter_str(t->src, "zero-page-detection", c->detection);
    pct_hint_cache(t);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_zero(t, pct_cache_addr(300), SOME);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* --- the channel is faster --- */

/*
 * The destination reads at @rate, and the channel does not switch over before
 * everything is there.
 */
static PcTest *slow_storage(const char *rate)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-bandwidth=%s", disk, rate);

    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    return t;
}

/*
 * The channel has sent what the storage still reads; and all of memory
 * differs from the disk, so that a refill after the channel would show.
 */
static void test_superseded(const void *compression)
{
    PcTest *t = slow_storage("1M");

    if (compression) {
        migrate_set_capability(t->src, "multifd", true);
        migrate_set_capability(t->dst, "multifd", true);
        migrate_set_parameter_str(t->src, "multifd-compression", compression);
        migrate_set_parameter_str(t->dst, "multifd-compression", compression);
    }
    migrate_set_capability(t->src, "pause-before-switchover", true);
    pct_hint_cache(t);
    pct_scribble(t, CACHE_START, CACHE_PAGES);
    pct_incoming(t);
    pct_migrate(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    pct_wait_figure(t->dst, "superseded-pages", SOME);
    migrate_continue(t->src, "pre-switchover");
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), >, SOME);
    pct_free(t);
}

/* The same with zero pages, which are not in the data of a multifd packet */
static void test_superseded_by_zero(const void *opaque)
{
    const ZeroCase *c = opaque;
    PcTest *t = slow_storage("1M");

    migrate_set_capability(t->src, "multifd", c->multifd);
    migrate_set_capability(t->dst, "multifd", c->multifd);
    migrate_set_parameter_str(t->src, "zero-page-detection", c->detection);
    migrate_set_capability(t->src, "pause-before-switchover", true);
    pct_hint_cache(t);
    start(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES / 2);
    pct_zero(t, CACHE_START, CACHE_PAGES);
    pct_full_speed(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    pct_wait_figure(t->dst, "superseded-pages", SOME);
    migrate_continue(t->src, "pre-switchover");
    pct_finish(t);
    pct_check_figures(t);
    pct_free(t);
}

/* 8 MiB at 256 KiB a second would be half a minute. */
static void test_channel_takes_from_the_pool(void)
{
    PcTest *t = slow_storage("256K");
    gint64 begin;

    pct_hint_cache(t);
    pct_incoming(t);
    begin = g_get_monotonic_time();
    pct_migrate(t);
    pct_finish(t);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 15 * G_USEC_PER_SEC);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), >, 0);
    pct_free(t);
}

/* --- reports --- */

static bool lose(void *opaque, GByteArray *body)
{
    return body->data[REPORT_STATUS] == REPORT_ACCEPTED;
}

/* Some of the pages have changed since they were read. */
static void test_reports_lost(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, lose, NULL);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    pct_scribble(t, pct_cache_addr(300), SOME);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, CACHE_PAGES);
    pct_proxy_free(p);
    pct_free(t);
}

/* They are waited for in vain; then the channel takes what was offered. */
static void test_reports_late(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p;

    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    migrate_set_capability(t->src, "pause-before-switchover", true);
    pct_migrate(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    pct_proxy_hold(p, false);
    migrate_continue(t->src, "pre-switchover");
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, CACHE_PAGES);
    pct_proxy_free(p);
    pct_free(t);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(zero_cases); i++) {
        const ZeroCase *c = &zero_cases[i];
        g_autofree char *after = g_strdup_printf(
            "/pagecache/zero/after-proof/%s", c->name);
        g_autofree char *before = g_strdup_printf(
            "/pagecache/superseded/zero/%s", c->name);

        qtest_add_data_func(after, c, test_zero_after_proof);
        qtest_add_data_func(before, c, test_superseded_by_zero);
    }

    qtest_add_data_func("/pagecache/superseded/main", NULL, test_superseded);
    qtest_add_data_func("/pagecache/superseded/multifd/none", "none",
                        test_superseded);
    qtest_add_data_func("/pagecache/superseded/multifd/zlib", "zlib",
                        test_superseded);
#ifdef CONFIG_ZSTD
    qtest_add_data_func("/pagecache/superseded/multifd/zstd", "zstd",
                        test_superseded);
#endif
    qtest_add_func("/pagecache/superseded/channel-takes-from-the-pool",
                   test_channel_takes_from_the_pool);

    qtest_add_func("/pagecache/reports/lost", test_reports_lost);
    qtest_add_func("/pagecache/reports/late", test_reports_late);

    return g_test_run();
}
