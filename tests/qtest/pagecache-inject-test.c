/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: faults on purpose
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Every fault that must be survived is, and did happen: memory is right and
 * the fault was counted.  And every fault that breaks an invariant loses
 * memory, which the comparison of memory finds; so the first kind of tests
 * can fail.  What each fault does stands in
 * docs/devel/migration/skip-pagecache-faults.rst.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-lib.h"

#define SOME            100
#define FOREVER         "ms=60000"      /* until it is disarmed */

static void start(PcTest *t)
{
    pct_incoming(t);
    pct_migrate_slowly(t);
}

/*
 * Some of what is hinted differs from the disk.  Far from each other, so that
 * the hints are not given up.
 */
static void scribble_some(PcTest *t)
{
    unsigned i;

    for (i = 0; i < CACHE_PAGES; i += CACHE_PAGES / SOME) {
        pct_scribble(t, pct_cache_addr(i), 1);
    }
}

/* The whole cache is hinted, and nothing else happens than the fault. */
static PcTest *new_pair(const char *src_faults, const char *dst_faults)
{
    PcTest *t = pct_new_pair();

    pct_arm(t->src, src_faults);
    pct_arm(t->dst, dst_faults);
    pct_hint_cache(t);
    return t;
}

/* Goes over at once, with whatever is in flight or under comparison */
static void go_over(PcTest *t)
{
    migrate_set_parameter_int(t->src, "downtime-limit", 2000 * 1000);
    pct_full_speed(t);
}

static void finish_paused(PcTest *t)
{
    migrate_continue(t->src, "pre-switchover");
    pct_finish(t);
}

/* --- faults that change nothing but time --- */

typedef struct Harmless {
    const char *fault, *src, *dst;
    int64_t times;              /* at least */
} Harmless;

static const Harmless harmless[] = {
    { "slow-map", "slow-map:limit=3", "", 3 },
    { "busy-map", "busy-map:every=8", "", 10 },
    { "shuffle-offers", "shuffle-offers", "", 1 },
    { "late-offers", "late-offers:limit=3", "", 3 },
    { "extra-sync", "extra-sync", "", 2 },
    { "delay-proof", "delay-proof:ms=20", "", 1 },
    { "delay-outcome", "delay-outcome:ms=20", "", 1 },
    { "delay-populate", "", "delay-populate:" FOREVER, 1 },
    { "fail-populate", "", "fail-populate", 1 },
    { "delay-claim", "", "delay-claim:ms=5:every=20", SOME },
    { "delay-copy", "", "delay-copy:ms=5:every=20", SOME },
    { "late-report", "", "late-report:ms=5", 10 },
    { "duplicate-report", "", "duplicate-report", CACHE_PAGES / 31 },
    { "partial-read", "", "partial-read", CACHE_PAGES / 64 },
    { "slow-read", "", "slow-read:ms=20", 10 },
};

/* Every page is proven in the end. */
static void test_harmless(const void *opaque)
{
    const Harmless *h = opaque;
    PcTest *t = new_pair(h->src, h->dst);

    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    g_assert_cmpint(pct_fired(*h->src ? t->src : t->dst, h->fault), >=, h->times);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* --- hints --- */

static void test_lose_hint(void)
{
    PcTest *t = new_pair("lose-hint:every=2", "");

    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES / 2);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES / 2);
    g_assert_cmpint(pct_fired(t->src, "lose-hint"), ==, CACHE_PAGES / 32);
    pct_free(t);
}

static void test_duplicate_hint(void)
{
    PcTest *t = new_pair("duplicate-hint", "");

    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->src, "duplicate-hint"), ==, CACHE_PAGES / 16);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 2 * CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "duplicate-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES);
    pct_free(t);
}

static void test_misplace_hint(void)
{
    PcTest *t = new_pair("misplace-hint:every=4", "");

    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES * 3 / 4);
    pct_wait_figure(t->src, "mismatched-pages", CACHE_PAGES / 4);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->src, "misplace-hint"), ==, CACHE_PAGES / 64);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==,
                    CACHE_PAGES * 3 / 4);
    pct_free(t);
}

static void test_stop_map(void)
{
    PcTest *t = new_pair("stop-map:after=50:limit=1", "");

    start(t);
    pct_wait_figure(t->src, "proven-pages", 50 * 16);
    pct_finish(t);
    pct_check_all_proven(t, 50 * 16);
    g_assert_cmpint(pct_fired(t->src, "stop-map"), ==, 1);
    pct_free(t);
}

/* --- the source --- */

/*
 * The channel has sent what these offers name when they arrive: nothing of
 * the disk may be written there.  All of it differs from the disk.
 */
static void test_late_offers(void)
{
    /* what comes after the cache, and half of it */
    const int64_t half = RAM_SIZE - CACHE_START - CACHE_SIZE / 2;
    PcTest *t = new_pair("late-offers", "");

    pct_scribble(t, CACHE_START, CACHE_PAGES);
    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    start(t);
    pct_wait_figure(t->src, "offered-pages", CACHE_PAGES);
    pct_arm(t->src, "late-offers,release-in-flight,early-release");
    pct_wait_figure(t->src, "released-pages", CACHE_PAGES);
    migrate_set_parameter_int(t->src, "max-bandwidth", 4 * MiB);
    while (read_ram_property_int(t->src, "remaining") > half) {
        g_usleep(2000);
    }
    migrate_set_parameter_int(t->src, "max-bandwidth", SLOW);
    g_assert_cmpint(pct_figure(t->dst, "offered-pages"), ==, 0);
    pct_arm(t->src, "");
    pct_wait_figure(t->dst, "superseded-pages", SOME);
    pct_finish(t);
    g_assert_cmpint(pct_fired(t->src, "late-offers"), >, 0);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    pct_free(t);
}

/* The pool goes to the channel, which has enough to do already. */
static void test_early_release(void)
{
    PcTest *t = new_pair("early-release", "slow-read:ms=20");

    scribble_some(t);
    start(t);
    pct_wait_fired(t->src, "early-release", 5);
    pct_finish(t);
    pct_check_figures(t);
    pct_free(t);
}

/*
 * What is released in flight is refilled all the same, and reported; that
 * counts no more.
 */
static void test_release_in_flight(void)
{
    /* it releases whole offers: the last ones are more than a quarter */
    const int64_t most = CACHE_PAGES / 16 * 15;
    PcTest *t = new_pair("release-in-flight",
                         "late-report:after=1:limit=1:" FOREVER);

    scribble_some(t);
    start(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    /* a quarter in each turn takes many turns, which now come faster */
    migrate_set_parameter_int(t->src, "max-bandwidth", 1 * MiB);
    pct_wait_figure(t->src, "released-pages", most);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    pct_arm(t->dst, "");
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->src, "release-in-flight"), >, 0);
    g_assert_cmpint(pct_fired(t->dst, "late-report"), ==, 1);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), <=,
                    CACHE_PAGES - most);
    pct_free(t);
}

/* No report comes and nothing is released: the switchover ends it. */
static void test_withhold_release(void)
{
    PcTest *t = new_pair("withhold-release", "lose-report");

    scribble_some(t);
    start(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    pct_full_speed(t);
    pct_wait_fired(t->src, "withhold-release", 3);
    go_over(t);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, CACHE_PAGES);
    pct_free(t);
}

/*
 * 16 pages in one offer, one report and one comparison, held up at @fault;
 * the guest writes to some of them meanwhile, and the log is fetched.
 */
static PcTest *written_during(const char *fault, const char *more)
{
    PcTest *t = pct_new_pair();
    g_autofree char *held = g_strdup_printf("%s:" FOREVER ",extra-sync%s",
                                            fault, more);
    g_autofree char *free = g_strdup_printf("extra-sync%s", more);
    int64_t n;

    pct_arm(t->src, held);
    pct_hint(t, "blk0", pct_cache_addr(64), pct_cache_sector(64), 16);
    start(t);
    pct_wait_fired(t->src, fault, 1);
    pct_scribble(t, pct_cache_addr(64), 5);
    n = pct_fired(t->src, "extra-sync");
    pct_wait_fired(t->src, "extra-sync", n + 2);
    pct_arm(t->src, free);
    return t;
}

static void test_written_before_proof(void)
{
    PcTest *t = written_during("delay-proof", "");

    pct_wait_figure(t->src, "mismatched-pages", 5);
    pct_wait_figure(t->src, "proven-pages", 11);
    pct_finish(t);
    pct_check_figures(t);
    pct_free(t);
}

/* They were equal, and are proven; but the log has them. */
static void test_written_after_proof(void)
{
    PcTest *t = written_during("delay-outcome", "");

    pct_wait_figure(t->src, "proven-pages", 16);
    pct_finish(t);
    pct_check_figures(t);
    pct_free(t);
}

static void test_break_clear(void)
{
    PcTest *t = written_during("delay-outcome", ",break-clear");

    pct_wait_figure(t->src, "proven-pages", 16);
    pct_full_speed(t);
    pct_wait_complete(t);
    g_assert_cmphex(pct_first_wrong(t, t->dst) / PAGE, ==,
                    pct_cache_addr(64) / PAGE);
    pct_free(t);
}

/*
 * The comparison of pages that differ takes until the guest has stopped, and
 * longer than nothing.
 */
static PcTest *unproven_at_the_end(const char *faults)
{
    PcTest *t = pct_new_pair();

    pct_arm(t->src, faults);
    pct_hint(t, "blk0", pct_cache_addr(64), pct_cache_sector(64), 16);
    pct_scribble(t, pct_cache_addr(64), 5);
    start(t);
    pct_wait_fired(t->src, "delay-proof", 1);
    go_over(t);
    return t;
}

static void test_settle(void)
{
    PcTest *t = unproven_at_the_end("delay-proof:ms=1500");

    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 5);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 11);
    pct_free(t);
}

static void test_break_settle(void)
{
    PcTest *t = unproven_at_the_end("delay-proof:ms=5000,break-settle");

    pct_wait_complete(t);
    g_assert_cmpint(pct_fired(t->src, "break-settle"), ==, 1);
    g_assert_cmphex(pct_first_wrong(t, t->dst) / PAGE, ==,
                    pct_cache_addr(64) / PAGE);
    pct_free(t);
}

/* --- the destination's threads against the channel --- */

/*
 * All refills stop right before the claim until the channel has sent all that
 * there is; and all of memory differs from the disk.
 */
static PcTest *channel_first(const char *more)
{
    g_autofree char *held = g_strdup_printf("delay-claim:" FOREVER "%s", more);
    PcTest *t = new_pair("", held);

    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    migrate_set_capability(t->src, "pause-before-switchover", true);
    pct_scribble(t, CACHE_START, CACHE_PAGES);
    pct_incoming(t);
    pct_migrate(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    g_assert_cmpint(pct_fired(t->dst, "delay-claim"), >, 0);
    pct_arm(t->dst, *more ? more + 1 : "");
    return t;
}

static void test_channel_first(void)
{
    PcTest *t = channel_first("");

    pct_wait_figure(t->dst, "superseded-pages", SOME);
    finish_paused(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    pct_free(t);
}

static void test_break_claim(void)
{
    PcTest *t = channel_first(",break-claim");

    pct_wait_fired(t->dst, "break-claim", SOME);
    migrate_continue(t->src, "pre-switchover");
    pct_wait_complete(t);
    g_assert_cmphex(pct_first_wrong(t, t->dst), <, RAM_SIZE);
    pct_free(t);
}

/* Refills that were claimed before the end are written before it, or never. */
static void test_copy_across_the_end(const void *multifd)
{
    PcTest *t = new_pair("", "delay-claim:" FOREVER);

    migrate_set_capability(t->src, "multifd", multifd);
    migrate_set_capability(t->dst, "multifd", multifd);
    pct_scribble(t, CACHE_START, CACHE_PAGES);
    migrate_set_capability(t->src, "pause-before-switchover", true);
    start(t);
    pct_wait_fired(t->dst, "delay-claim", 1);
    go_over(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    pct_arm(t->dst, "delay-copy:ms=1500:limit=20");
    pct_wait_fired(t->dst, "delay-copy", 1);
    finish_paused(t);
    pct_check_figures(t);
    pct_free(t);
}

/* The channel waits for the copy, and has the last word. */
static void test_delay_copy(const void *multifd)
{
    PcTest *t = new_pair("", "delay-copy:ms=500:limit=30");

    migrate_set_capability(t->src, "multifd", multifd);
    migrate_set_capability(t->dst, "multifd", multifd);
    pct_scribble(t, CACHE_START, CACHE_PAGES);
    start(t);
    pct_wait_fired(t->dst, "delay-copy", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->dst, "delay-copy"), >, 0);
    pct_free(t);
}

/* Refills come while the channel is about to write. */
static void test_delay_channel(const void *multifd)
{
    PcTest *t = new_pair("early-release",
                         "delay-channel:ms=10:every=50,slow-read:ms=20");

    migrate_set_capability(t->src, "multifd", multifd);
    migrate_set_capability(t->dst, "multifd", multifd);
    pct_scribble(t, CACHE_START, CACHE_PAGES);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->dst, "delay-channel"), >, 0);
    pct_free(t);
}

/* --- what the destination tells --- */

static void test_corrupt_refill(void)
{
    PcTest *t = new_pair("", "corrupt-refill:every=100");

    start(t);
    pct_wait_figure(t->src, "mismatched-pages", CACHE_PAGES / 100);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - CACHE_PAGES / 100);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->dst, "corrupt-refill"), ==, CACHE_PAGES / 100);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==,
                    CACHE_PAGES / 100);
    pct_free(t);
}

/* The bits of a wrong byte don't matter. */
static void test_corrupt_one_bit(void)
{
    PcTest *t = new_pair("", "corrupt-refill:every=10:xor=1");

    start(t);
    pct_wait_figure(t->src, "mismatched-pages", CACHE_PAGES / 10);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->dst, "corrupt-refill"), ==, CACHE_PAGES / 10);
    pct_free(t);
}

static void test_corrupt_digest(void)
{
    PcTest *t = new_pair("", "corrupt-digest:every=2");
    int64_t n;

    start(t);
    pct_wait_figure(t->src, "reported-pages", CACHE_PAGES);
    n = pct_fired(t->dst, "corrupt-digest");
    g_assert_cmpint(n, >, 10);
    pct_wait_figure(t->src, "mismatched-pages", n);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, n);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES - n);
    pct_free(t);
}

static void test_lose_report(void)
{
    PcTest *t = new_pair("", "lose-report:every=3");

    scribble_some(t);
    start(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_fired(t->dst, "lose-report"), >, 10);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), <, CACHE_PAGES);
    pct_free(t);
}

static void test_shuffle_reports(void)
{
    PcTest *t = new_pair("", "late-report:after=1:limit=1:" FOREVER
                             ",shuffle-reports");

    start(t);
    pct_wait_fired(t->dst, "shuffle-reports", 30);
    pct_arm(t->dst, "shuffle-reports");
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* They come when the guest has stopped and all was sent without them. */
static void test_late_report(void)
{
    PcTest *t = new_pair("", "late-report:after=1:limit=1:" FOREVER);

    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    migrate_set_capability(t->src, "pause-before-switchover", true);
    scribble_some(t);
    pct_incoming(t);
    pct_migrate(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    g_assert_cmpint(pct_fired(t->dst, "late-report"), ==, 1);
    pct_arm(t->dst, "");
    finish_paused(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    pct_free(t);
}

/*
 * What becomes ready while the return path is busy goes together: 128 offers of
 * 16 pages in half as many messages.
 */
static void test_reports_together(void)
{
    PcTest *t = new_pair("", "late-report:after=1:limit=1:" FOREVER);
    const int64_t before = 1, in_each = 30;

    start(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    pct_arm(t->dst, "late-report:ms=1");
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    g_assert_cmpint(pct_fired(t->dst, "late-report"), <=,
                    before + CACHE_PAGES / in_each + 5);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* --- offers and reads --- */

static void test_lose_offer(void)
{
    PcTest *t = new_pair("", "lose-offer:every=2");

    start(t);
    pct_wait_figure(t->src, "offered-pages", CACHE_PAGES);
    pct_wait_fired(t->dst, "lose-offer", 1);
    pct_wait_figure(t->src, "reported-pages", 1);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->dst, "offered-pages"), <, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <, CACHE_PAGES);
    /* It had a number all the same, or the others would be taken for it. */
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    pct_free(t);
}

static void test_duplicate_offer(void)
{
    PcTest *t = new_pair("", "duplicate-offer");

    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    g_assert_cmpint(pct_fired(t->dst, "duplicate-offer"), >, 0);
    g_assert_cmpint(pct_figure(t->dst, "offered-pages"), ==, 2 * CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->dst, "superseded-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), ==, CACHE_PAGES);
    pct_free(t);
}

static void test_no_reader(const void *fault)
{
    PcTest *t = new_pair("", fault);

    start(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_check_unread(t, "none", "fault on purpose");
    pct_finish_unread(t, "none", "fault on purpose");
    g_assert_cmpint(pct_fired(t->dst, fault), ==, 1);
    pct_free(t);
}

/* @fault: "name:settings" */
static void test_read(const void *fault)
{
    PcTest *t = new_pair("", fault);
    g_auto(GStrv) name = g_strsplit(fault, ":", 2);
    QDict *disk;

    start(t);
    pct_wait_fired(t->dst, name[0], 3);
    pct_wait_figure(t->src, "unavailable-pages", SOME);
    disk = pct_disk_info(t->dst);
    g_assert_cmpint(qdict_get_int(disk, "errors"), >=, 3);
    qobject_unref(disk);
    pct_finish(t);
    pct_check_figures(t);
    pct_free(t);
}

/* The engine, which is up, sleeps over offers; the deadline wakes everybody. */
static void test_lose_kick(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-read-deadline=1000", disk);

    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    scribble_some(t);
    start(t);
    pct_open_reader(t);
    pct_arm(t->dst, "lose-kick");
    pct_hint_rest(t);
    pct_wait_fired(t->dst, "lose-kick", 1);
    pct_finish(t);
    pct_check_figures(t);
    pct_free(t);
}

/* --- all together --- */

static const char *all_src[] = {
    "lose-hint:chance=5", "duplicate-hint:chance=10", "misplace-hint:chance=10",
    "slow-map:chance=30", "busy-map:chance=5", "shuffle-offers:chance=50",
    "late-offers:chance=40", "early-release:chance=5",
    "release-in-flight:chance=10", "withhold-release:chance=50",
    "extra-sync:chance=30", "delay-proof:chance=30:ms=20",
    "delay-outcome:chance=30:ms=20", NULL
};
static const char *all_dst[] = {
    "lose-offer:chance=10", "duplicate-offer:chance=10",
    "delay-claim:chance=2:ms=10", "delay-copy:chance=2:ms=5",
    "delay-populate:ms=20", "fail-populate:chance=50",
    "delay-channel:chance=1:ms=5", "corrupt-digest:chance=10",
    "lose-report:chance=10", "late-report:chance=10:ms=20",
    "duplicate-report:chance=10", "shuffle-reports:chance=50",
    "corrupt-refill:chance=5", "read-error:chance=5", "short-read:chance=5",
    "partial-read:chance=50", "slow-read:chance=20:ms=20",
    "lose-kick:chance=20", NULL
};

static void arm_all(QTestState *who, const char **faults, unsigned seed)
{
    g_autofree char *sep = g_strdup_printf(":seed=%u,", seed);
    g_autofree char *joined = g_strjoinv(sep, (char **)faults);
    g_autofree char *all = g_strdup_printf("%s:seed=%u", joined, seed);

    pct_arm(who, all);
}

static int64_t fired_in_all(QTestState *who, const char **faults)
{
    int64_t n = 0;

    for (; *faults; faults++) {
        g_auto(GStrv) name = g_strsplit(*faults, ":", 2);

        n += pct_fired(who, name[0]);
    }
    return n;
}

/* While the guest writes to its cache, here and there */
static void test_all(const void *opaque)
{
    unsigned seed = GPOINTER_TO_UINT(opaque), i;
    PcTest *t = new_pair("", "");

    migrate_set_capability(t->src, "multifd", seed % 2);
    migrate_set_capability(t->dst, "multifd", seed % 2);
    arm_all(t->src, all_src, seed);
    arm_all(t->dst, all_dst, seed);
    start(t);
    for (i = 0; i < CACHE_PAGES; i += 40) {
        pct_scribble(t, pct_cache_addr((i * 37 + seed) % CACHE_PAGES), 1);
        if (i == 400 * (seed % 5)) {
            /* with a lost kick it may take longer than the channel */
            pct_wait_figure(t->dst, "reported-pages", 1);
            migrate_set_parameter_int(t->src, "max-bandwidth", 4 * MiB);
        }
    }
    pct_finish(t);
    g_assert_cmpint(fired_in_all(t->src, all_src), >=, 10);
    g_assert_cmpint(fired_in_all(t->dst, all_dst), >=, 10);
    pct_free(t);
}

/* --- faults that lose memory: the tests above can fail --- */

typedef struct Break {
    const char *fault;
    bool at_source;
    bool scribble;              /* what is hinted differs from the disk */
} Break;

static const Break breaks[] = {
    { "break-proof", true, true },
    { "break-mark", true, true },
    { "break-copy", false, false },
};

static void test_break(const void *opaque)
{
    const Break *b = opaque;
    PcTest *t = new_pair(b->at_source ? b->fault : "",
                         b->at_source ? "" : b->fault);
    uint64_t wrong;

    if (b->scribble) {
        scribble_some(t);
    }
    start(t);
    pct_wait_fired(b->at_source ? t->src : t->dst, b->fault, SOME);
    pct_wait_figure(t->src, "reported-pages", CACHE_PAGES);
    pct_full_speed(t);
    pct_wait_complete(t);
    pct_check_memory(t, t->src);
    wrong = pct_first_wrong(t, t->dst);
    g_assert_cmphex(wrong, >=, CACHE_START);
    g_assert_cmphex(wrong, <, CACHE_START + CACHE_SIZE);
    pct_free(t);
}

/*
 * Two pages are equal at the source, and what stands on the disk for the
 * second is something else.
 */
static void test_break_place(void)
{
    PcTest *t = pct_new_pair();

    pct_arm(t->dst, "break-place");
    pct_hint(t, "blk0", pct_cache_addr(64), pct_cache_sector(64), 2);
    pct_write(t, pct_cache_addr(65), t->ram + pct_cache_addr(64), PAGE);
    start(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    pct_full_speed(t);
    pct_wait_complete(t);
    g_assert_cmphex(pct_first_wrong(t, t->dst) / PAGE, ==,
                    pct_cache_addr(65) / PAGE);
    g_assert_cmpint(pct_fired(t->dst, "break-place"), ==, 1);
    pct_free(t);
}

/* --- */

static void add(const char *name, const void *data,
                void (*fn)(const void *data))
{
    g_autofree char *path = g_strdup_printf("/pagecache/inject/%s", name);

    qtest_add_data_func(path, data, fn);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    if (!pct_has_faults()) {
        printf("1..0 # SKIP QEMU was built without faults on purpose\n");
        return 0;
    }

    for (i = 0; i < ARRAY_SIZE(harmless); i++) {
        g_autofree char *name = g_strdup_printf("harmless/%s",
                                                harmless[i].fault);

        add(name, &harmless[i], test_harmless);
    }
    qtest_add_func("/pagecache/inject/lose-hint", test_lose_hint);
    qtest_add_func("/pagecache/inject/duplicate-hint", test_duplicate_hint);
    qtest_add_func("/pagecache/inject/misplace-hint", test_misplace_hint);
    qtest_add_func("/pagecache/inject/stop-map", test_stop_map);

    qtest_add_func("/pagecache/inject/late-offers", test_late_offers);
    qtest_add_func("/pagecache/inject/early-release", test_early_release);
    qtest_add_func("/pagecache/inject/release-in-flight",
                   test_release_in_flight);
    qtest_add_func("/pagecache/inject/withhold-release",
                   test_withhold_release);
    qtest_add_func("/pagecache/inject/delay-proof/written",
                   test_written_before_proof);
    qtest_add_func("/pagecache/inject/delay-outcome/written",
                   test_written_after_proof);
    qtest_add_func("/pagecache/inject/delay-proof/switchover", test_settle);

    qtest_add_func("/pagecache/inject/delay-claim", test_channel_first);
    add("delay-copy/main", NULL, test_delay_copy);
    add("delay-copy/multifd", "", test_delay_copy);
    add("delay-copy/end/main", NULL, test_copy_across_the_end);
    add("delay-copy/end/multifd", "", test_copy_across_the_end);
    add("delay-channel/main", NULL, test_delay_channel);
    add("delay-channel/multifd", "", test_delay_channel);

    qtest_add_func("/pagecache/inject/corrupt-refill", test_corrupt_refill);
    qtest_add_func("/pagecache/inject/corrupt-refill/one-bit",
                   test_corrupt_one_bit);
    qtest_add_func("/pagecache/inject/corrupt-digest", test_corrupt_digest);
    qtest_add_func("/pagecache/inject/lose-report", test_lose_report);
    qtest_add_func("/pagecache/inject/shuffle-reports", test_shuffle_reports);
    qtest_add_func("/pagecache/inject/late-report", test_late_report);
    qtest_add_func("/pagecache/inject/late-report/together",
                   test_reports_together);

    qtest_add_func("/pagecache/inject/lose-offer", test_lose_offer);
    qtest_add_func("/pagecache/inject/duplicate-offer", test_duplicate_offer);
    add("refuse-digest", "refuse-digest", test_no_reader);
    add("refuse-reader", "refuse-reader", test_no_reader);
    add("read-error", "read-error:every=3", test_read);
    add("short-read", "short-read:every=3", test_read);
    qtest_add_func("/pagecache/inject/lose-kick", test_lose_kick);

    for (i = 1; i <= 4; i++) {
        g_autofree char *name = g_strdup_printf("all/%d", i);

        add(name, GINT_TO_POINTER(i), test_all);
    }

    for (i = 0; i < ARRAY_SIZE(breaks); i++) {
        add(breaks[i].fault, &breaks[i], test_break);
    }
    qtest_add_func("/pagecache/inject/break-clear", test_break_clear);
    qtest_add_func("/pagecache/inject/break-settle", test_break_settle);
    qtest_add_func("/pagecache/inject/break-claim", test_break_claim);
    qtest_add_func("/pagecache/inject/break-place", test_break_place);

    return g_test_run();
}
