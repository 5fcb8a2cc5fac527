/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: memory and disks that change
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A page or its block changes at some moment, or the hint was wrong from the
 * start or came too late: that costs the page's refill, and no byte.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "pagecache-test-proxy.h"

/* How many pages a test changes.  Fewer than make the hints be given up. */
#define SOME            100

static void start(PcTest *t)
{
    pct_incoming(t);
    pct_migrate_slowly(t);
}

/* Of the cache's pages @n were found to differ, and the others proven. */
static void check_mismatched(PcTest *t, int64_t n)
{
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, n);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES - n);
}

/* --- the page changes --- */

static void test_page_before_migration(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    pct_scribble(t, pct_cache_addr(300), SOME);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - SOME);
    pct_finish(t);
    check_mismatched(t, SOME);
    pct_free(t);
}

/* While the destination's report is on its way */
static void test_page_in_flight(void)
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
    pct_scribble(t, pct_cache_addr(300), SOME);
    pct_proxy_hold(p, false);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - SOME);
    pct_finish(t);
    check_mismatched(t, SOME);
    pct_proxy_free(p);
    pct_free(t);
}

/* Written, but with what it held already: it is as good as before. */
static void test_page_rewritten_in_flight(void)
{
    PcTest *t = pct_new_pair();
    g_autofree uint8_t *same = g_malloc(SOME * PAGE);
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    memcpy(same, t->ram + CACHE_START, SOME * PAGE);
    pct_write(t, CACHE_START, same, SOME * PAGE);
    pct_proxy_hold(p, false);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    check_mismatched(t, 0);
    pct_proxy_free(p);
    pct_free(t);
}

static void test_page_after_proof(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_scribble(t, pct_cache_addr(300), SOME);
    pct_finish(t);
    check_mismatched(t, 0);
    pct_free(t);
}

/* At the last moment: the guest is stopped, but a device might write */
static void test_page_before_switchover(void)
{
    PcTest *t = pct_new_pair();

    migrate_set_capability(t->src, "pause-before-switchover", true);
    pct_hint_cache(t);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_full_speed(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    pct_scribble(t, pct_cache_addr(300), SOME);
    migrate_continue(t->src, "pre-switchover");
    pct_finish(t);
    check_mismatched(t, 0);
    pct_free(t);
}

static void test_stopped_guest(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'stop' }");
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* --- the page becomes zero --- */

/* A few bytes on the channel are cheaper than a read. */
static void test_zero_is_not_offered(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    pct_zero(t, pct_cache_addr(300), SOME);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - SOME);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==,
                    CACHE_PAGES - SOME);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, SOME);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    pct_free(t);
}

/* --- the disk changes --- */

static void test_block_after_hint(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    pct_scribble_disk(t, pct_cache_sector(304), 16);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - 16);
    pct_finish(t);
    check_mismatched(t, 16);
    pct_free(t);
}

static void test_block_after_proof(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_scribble_disk(t, 0, DISK_SIZE / PAGE);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* --- hints that are wrong --- */

static void test_wrong_block(void)
{
    PcTest *t = pct_new_pair();
    unsigned i;

    for (i = 0; i < SOME; i++) {
        pct_hint(t, "blk0", pct_cache_addr(i), pct_cache_sector(i) + 8, 1);
    }
    start(t);
    pct_wait_figure(t->src, "mismatched-pages", SOME);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, SOME);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    pct_free(t);
}

/* A page and a half, half a page late: sectors need no alignment */
static void test_unaligned_sector(void)
{
    PcTest *t = pct_new_pair();

    pct_write(t, pct_cache_addr(0), t->disk_data + 5 * 512, PAGE);
    pct_hint(t, "blk0", pct_cache_addr(0), 5, 1);
    start(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    pct_finish(t);
    pct_check_all_proven(t, 1);
    pct_free(t);
}

static void test_duplicate_hints(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    pct_hint_cache(t);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    check_mismatched(t, 0);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 2 * CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "duplicate-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, CACHE_PAGES);
    pct_free(t);
}

/*
 * Pages 0 to 15 rightly, 8 to 23 wrongly, 16 to 31 rightly again: of hints for
 * the same page that come together, the one that is first on the disk counts.
 */
static void test_overlapping_hints(void)
{
    PcTest *t = pct_new_pair();

    pct_hint(t, "blk0", pct_cache_addr(0), pct_cache_sector(0), 16);
    pct_hint(t, "blk0", pct_cache_addr(8), pct_cache_sector(32), 16);
    pct_hint(t, "blk0", pct_cache_addr(16), pct_cache_sector(16), 16);
    start(t);
    pct_wait_figure(t->src, "proven-pages", 32);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "duplicate-pages"), ==, 16);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, 32);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 32);
    pct_free(t);
}

/* Many pages of memory may hold the same block. */
static void test_one_block_for_all(void)
{
    PcTest *t = pct_new_pair();
    unsigned i;

    for (i = 0; i < SOME; i++) {
        pct_write(t, pct_cache_addr(i), t->disk_data, PAGE);
        pct_hint(t, "blk0", pct_cache_addr(i), 0, 1);
    }
    start(t);
    pct_wait_figure(t->src, "proven-pages", SOME);
    pct_finish(t);
    pct_check_all_proven(t, SOME);
    pct_free(t);
}

/* --- hints that come late --- */

static void test_late_hint(void)
{
    PcTest *t = pct_new_pair();

    start(t);
    pct_wait_figure(t->src, "pooled-pages", 0);
    pct_hint_cache(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

static void test_too_late_hint(void)
{
    PcTest *t = pct_new_pair();

    pct_write(t, PRIVATE_START, t->disk_data, PAGE);
    start(t);
    /* The first pages are gone, by far. */
    while (pct_transferred(t->src) < 32 * PAGE) {
        g_usleep(10 * 1000);
    }
    pct_hint(t, "blk0", PRIVATE_START, 0, 1);
    pct_wait_figure(t->src, "duplicate-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, 0);
    pct_free(t);
}

/*
 * Sent, and dirty again, and now it is what the disk is: an older copy may be
 * on its way still, so it is the channel's for good.
 */
static void test_too_late_and_dirty_again(void)
{
    PcTest *t = pct_new_pair();
    uint64_t pass;

    start(t);
    while (pct_transferred(t->src) < 32 * PAGE) {
        g_usleep(10 * 1000);
    }
    pct_write(t, PRIVATE_START, t->disk_data, PAGE);
    /* When these are done the dirty log is looked at. */
    pass = get_migration_pass(t->src);
    pct_hint_cache(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    while (get_migration_pass(t->src) == pass) {
        g_usleep(2000);
    }
    pct_hint(t, "blk0", PRIVATE_START, 0, 1);
    pct_wait_figure(t->src, "duplicate-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, CACHE_PAGES);
    pct_free(t);
}

/* --- most hints are wrong --- */

static void test_given_up(void)
{
    PcTest *t = pct_new_pair();
    QDict *info;
    unsigned i;

    pct_hint_cache(t);
    /* evenly: 3 of 4 */
    for (i = 0; i < CACHE_PAGES; i++) {
        if (i % 4) {
            pct_scribble(t, pct_cache_addr(i), 1);
        }
    }
    start(t);
    pct_wait_figure(t->src, "mismatched-pages", 700);
    pct_finish(t);
    pct_check_figures(t);
    pct_check_given_up(t->src, "most-differ", "qmp: most hinted pages differ "
                       "from disk blk0 (" DISK_PATH ")");
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <=, CACHE_PAGES / 4);

    /* It is a verdict on one migration. */
    pct_hop(t);
    pct_start_dst(t, NULL);
    pct_on(t);
    start(t);
    pct_finish(t);
    info = pct_info(t->src);
    g_assert_false(qdict_haskey(info, "given-up"));
    qobject_unref(info);
    pct_free(t);
}

/* Half of them wrong is not most of them. */
static void test_not_given_up(void)
{
    PcTest *t = pct_new_pair();
    unsigned i;

    pct_hint_cache(t);
    /* evenly, wherever the count begins: 1 of 4 */
    for (i = 0; i < CACHE_PAGES; i += 4) {
        pct_scribble(t, pct_cache_addr(i), 1);
    }
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES * 3 / 4);
    pct_finish(t);
    check_mismatched(t, CACHE_PAGES / 4);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/page-changes/before-migration",
                   test_page_before_migration);
    qtest_add_func("/pagecache/page-changes/in-flight", test_page_in_flight);
    qtest_add_func("/pagecache/page-changes/in-flight-to-the-same",
                   test_page_rewritten_in_flight);
    qtest_add_func("/pagecache/page-changes/after-proof",
                   test_page_after_proof);
    qtest_add_func("/pagecache/page-changes/before-switchover",
                   test_page_before_switchover);
    qtest_add_func("/pagecache/page-changes/never-guest-stopped",
                   test_stopped_guest);
    qtest_add_func("/pagecache/zero/is-not-offered", test_zero_is_not_offered);
    qtest_add_func("/pagecache/block-changes/after-hint",
                   test_block_after_hint);
    qtest_add_func("/pagecache/block-changes/after-proof",
                   test_block_after_proof);

    qtest_add_func("/pagecache/hint/wrong-block", test_wrong_block);
    qtest_add_func("/pagecache/hint/unaligned-sector", test_unaligned_sector);
    qtest_add_func("/pagecache/hint/duplicate", test_duplicate_hints);
    qtest_add_func("/pagecache/hint/overlapping", test_overlapping_hints);
    qtest_add_func("/pagecache/hint/one-block-for-all",
                   test_one_block_for_all);
    qtest_add_func("/pagecache/hint/late", test_late_hint);
    qtest_add_func("/pagecache/hint/too-late", test_too_late_hint);
    qtest_add_func("/pagecache/hint/too-late-and-dirty-again",
                   test_too_late_and_dirty_again);

    qtest_add_func("/pagecache/given-up/most-differ", test_given_up);
    qtest_add_func("/pagecache/given-up/not-with-a-quarter",
                   test_not_given_up);
    return g_test_run();
}
