/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: one page, or its block, changes at each
 * moment of the page's way
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Hint, pool, offer, read, claim, copy, report, comparison, proof; or release
 * and channel.  Between any two of these everything is held, by a fault on
 * purpose or by the proxy; the figures say that it is held there; the guest
 * writes to the page, or somebody to the disk; and all goes on.  A page that
 * was written before its digest was compared differs, so does a block that was
 * rewritten before it was read; later the one is dirty again, and the other
 * changes nothing.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-proxy.h"

/* Where no other page of the cache stands on the disk */
#define BLOCK_START     (10 * MiB)
#define TRIES           16
#define FOREVER         "ms=60000"      /* until it is disarmed */

typedef struct Run {
    PcTest *t;
    PctProxy *p;
    uint64_t addr, sector;      /* of the page */
    int64_t before;             /* pages of hints that are no matter here */
    bool page;                  /* the page changes, not the block */
} Run;

typedef struct Moment {
    const char *name;
    /* Begins the migration, returns when the moment is reached and held. */
    void (*reach)(Run *r);
    /* All goes on. */
    void (*go_on)(Run *r);
    /* How does it end if the page changes then, and if the block does? */
    enum { PROVEN, DIFFERS, RELEASED } page, block;
} Moment;

static void assert_figure(QTestState *who, const char *name, int64_t want)
{
    int64_t n = pct_figure(who, name);

    if (n != want) {
        g_error("%s is %" PRIi64 ", not %" PRIi64, name, n, want);
    }
}

/* Of the page, and what was before it: so many are hinted, and so on. */
static void assert_stage(Run *r, int hinted, int pooled, int in_flight,
                         int offered_there)
{
    assert_figure(r->t->src, "hinted-pages", r->before + hinted);
    assert_figure(r->t->src, "pooled-pages", pooled);
    assert_figure(r->t->src, "in-flight-pages", in_flight);
    assert_figure(r->t->dst, "offered-pages", r->before + offered_there);
    assert_figure(r->t->src, "reported-pages", r->before);
}

static void hint(Run *r)
{
    pct_hint(r->t, "blk0", r->addr, r->sector, 1);
}

static void go_on(Run *r)
{
    pct_arm(r->t->src, "");
    pct_arm(r->t->dst, "");
    if (r->p) {
        pct_proxy_hold(r->p, false);
    }
}

/* --- on the source --- */

static void reach_before_hint(Run *r)
{
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->dst, "offered-pages", 0);
    assert_stage(r, 0, 0, 0, 0);
}

static void go_on_with_hint(Run *r)
{
    hint(r);
}

/* The hint waits in the queue. */
static void reach_hinted(Run *r)
{
    pct_arm(r->t->src, "slow-map");
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->dst, "offered-pages", 0);
    hint(r);
    pct_wait_fired(r->t->src, "slow-map", 2);
    pct_wait_figure(r->t->src, "hinted-pages", 1);
    assert_stage(r, 1, 0, 0, 0);
}

/* The window is full of other pages, 8 MiB of them. */
static void reach_pooled(Run *r)
{
    pct_proxy_hold(r->p, true);
    pct_hint_cache(r->t);
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->dst, "reported-pages", CACHE_PAGES);
    hint(r);
    pct_wait_figure(r->t->src, "pooled-pages", 1);
    assert_figure(r->t->src, "pooled-pages", 1);
    assert_figure(r->t->src, "offered-pages", CACHE_PAGES);
    assert_figure(r->t->src, "in-flight-pages", CACHE_PAGES);
    assert_figure(r->t->dst, "offered-pages", CACHE_PAGES);
    r->before = CACHE_PAGES;
}

/* --- on the destination --- */

static int64_t reads(Run *r)
{
    QDict *disk = pct_disk_info(r->t->dst);
    int64_t n = qdict_get_int(disk, "reads");

    qobject_unref(disk);
    return n;
}

/*
 * The reader is not told of the offer, and sleeps; if it was awake at that
 * moment it is of no use, and the next page gets its turn.
 */
static void reach_offered(Run *r)
{
    pct_migrate_slowly(r->t);
    /* it has loaded START, and has a reader */
    pct_wait_figure(r->t->dst, "offered-pages", 0);
    for (; r->before < TRIES; r->before++) {
        int64_t n;

        pct_arm(r->t->dst, "");
        pct_wait_figure(r->t->src, "proven-pages", r->before);
        n = reads(r);
        pct_arm(r->t->dst, "lose-kick:limit=1");
        hint(r);
        pct_wait_figure(r->t->dst, "offered-pages", r->before + 1);
        if (pct_fired(r->t->dst, "lose-kick")) {
            g_assert_cmpint(reads(r), ==, n);
            assert_stage(r, 1, 0, 1, 1);
            return;
        }
        r->addr += PAGE;
        r->sector += PAGE / 512;
    }
    g_error("the reader never sleeps");
}

/* The next offer wakes the reader. */
static void go_on_with_another(Run *r)
{
    go_on(r);
    r->before++;
    pct_hint(r->t, "blk0", r->addr + TRIES * PAGE,
             r->sector + TRIES * PAGE / 512, 1);
}

static void reach_fault_there(Run *r, const char *fault, const char *more)
{
    g_autofree char *settings = g_strdup_printf("%s%s:" FOREVER, fault, more);

    pct_arm(r->t->dst, settings);
    hint(r);
    pct_migrate_slowly(r->t);
    pct_wait_fired(r->t->dst, fault, 1);
    pct_wait_figure(r->t->src, "in-flight-pages", 1);
    assert_stage(r, 1, 0, 1, 1);
}

/* The read has brought the block, and no page of RAM was taken for it. */
static void reach_read(Run *r)
{
    reach_fault_there(r, "delay-claim", "");
    g_assert_cmpint(pct_first_wrong(r->t, r->t->dst), <, RAM_SIZE);
    assert_figure(r->t->dst, "reported-pages", 0);
}

static void assert_there(Run *r, bool there)
{
    g_autofree uint8_t *buf = g_malloc(PAGE);

    qtest_bufread(r->t->dst, r->addr, buf, PAGE);
    g_assert_cmpint(!memcmp(buf, r->t->ram + r->addr, PAGE), ==, there);
}

static void reach_claimed(Run *r)
{
    reach_fault_there(r, "delay-copy", "");
    assert_there(r, false);
    assert_figure(r->t->dst, "reported-pages", 0);
}

/* The report is made, and not sent; START's answer went before. */
static void reach_copied(Run *r)
{
    reach_fault_there(r, "late-report", ":after=1");
    assert_there(r, true);
    assert_figure(r->t->dst, "reported-pages", 1);
    g_assert_cmpint(pct_proxy_held(r->p), ==, 0);
}

/* The report is sent, and has not arrived. */
static void reach_reported(Run *r)
{
    pct_proxy_hold(r->p, true);
    hint(r);
    pct_migrate_slowly(r->t);
    while (!pct_proxy_held(r->p)) {
        g_usleep(1000);
    }
    assert_figure(r->t->dst, "reported-pages", 1);
    assert_there(r, true);
    assert_stage(r, 1, 0, 1, 1);
}

/* --- on the source again --- */

static void reach_fault_here(Run *r, const char *fault)
{
    g_autofree char *settings = g_strdup_printf("%s:" FOREVER ",extra-sync",
                                                fault);

    pct_arm(r->t->src, settings);
    hint(r);
    pct_migrate_slowly(r->t);
    pct_wait_fired(r->t->src, fault, 1);
    assert_there(r, true);
    assert_figure(r->t->src, "proven-pages", 0);
    assert_figure(r->t->src, "mismatched-pages", 0);
}

/* The log is cleared, the page not yet looked at. */
static void reach_cleared(Run *r)
{
    reach_fault_here(r, "delay-proof");
}

/* The page is found equal, and that is not yet taken notice of. */
static void reach_compared(Run *r)
{
    reach_fault_here(r, "delay-outcome");
}

/* The log is fetched, and then fetched again. */
static void go_on_after_sync(Run *r)
{
    pct_wait_fired(r->t->src, "extra-sync",
                   pct_fired(r->t->src, "extra-sync") + 2);
    go_on(r);
}

static void reach_proven(Run *r)
{
    hint(r);
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->src, "proven-pages", 1);
    assert_figure(r->t->src, "in-flight-pages", 0);
}

/* --- release, for there is nothing to read from --- */

static void reach_unavailable(Run *r)
{
    pct_proxy_hold(r->p, true);
    pct_arm(r->t->dst, "refuse-reader");
    hint(r);
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->dst, "unavailable-pages", 1);
    assert_stage(r, 1, 0, 1, 1);
    assert_figure(r->t->src, "released-pages", 0);
}

/* The channel has much to send before it. */
static void reach_released(Run *r)
{
    pct_arm(r->t->dst, "refuse-reader");
    hint(r);
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->src, "released-pages", 1);
    assert_figure(r->t->src, "in-flight-pages", 0);
    g_assert_cmpint(pct_transferred(r->t->src), <, PRIVATE_SIZE / 2);
    assert_there(r, false);
}

/* The channel has nothing to send any more: the page is not dirty. */
static void reach_sent(Run *r)
{
    migrate_set_capability(r->t->src, "pause-before-switchover", true);
    migrate_set_parameter_int(r->t->src, "downtime-limit", 0);
    reach_released(r);
    pct_full_speed(r->t);
    wait_for_migration_status(r->t->src, "pre-switchover", NULL);
    g_assert_cmpint(read_ram_property_int(r->t->src, "remaining"), ==, 0);
}

static void go_on_to_switchover(Run *r)
{
    go_on(r);
    migrate_continue(r->t->src, "pre-switchover");
}

static const Moment moments[] = {
    { "before-hint", reach_before_hint, go_on_with_hint, DIFFERS, DIFFERS },
    { "hinted", reach_hinted, go_on, DIFFERS, DIFFERS },
    { "pooled", reach_pooled, go_on, DIFFERS, DIFFERS },
    { "offered", reach_offered, go_on_with_another, DIFFERS, DIFFERS },
    { "read", reach_read, go_on, DIFFERS, PROVEN },
    { "claimed", reach_claimed, go_on, DIFFERS, PROVEN },
    { "copied", reach_copied, go_on, DIFFERS, PROVEN },
    { "reported", reach_reported, go_on, DIFFERS, PROVEN },
    { "log-cleared", reach_cleared, go_on_after_sync, DIFFERS, PROVEN },
    { "compared", reach_compared, go_on_after_sync, PROVEN, PROVEN },
    { "proven", reach_proven, go_on, PROVEN, PROVEN },
    { "unavailable", reach_unavailable, go_on, RELEASED, RELEASED },
    { "released", reach_released, go_on, RELEASED, RELEASED },
    { "sent", reach_sent, go_on_to_switchover, RELEASED, RELEASED },
};

static void run(const Moment *m, bool page)
{
    Run r = {
        .t = pct_new(), .page = page,
        .addr = ZERO_START, .sector = BLOCK_START / 512,
    };
    int end = page ? m->page : m->block;
    PcTest *t = r.t;
    g_autofree char *disk = pct_disk_args(t);
    /* nothing is given up because it is held for long */
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-read-deadline=600000", disk);

    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    pct_write(t, ZERO_START, t->disk_data + BLOCK_START, 2 * TRIES * PAGE);
    pct_incoming(t);
    r.p = pct_proxy_new(t, NULL, NULL, NULL);

    m->reach(&r);
    if (page) {
        pct_scribble(t, r.addr, 1);
    } else {
        pct_scribble_disk(t, r.sector, 1);
    }
    m->go_on(&r);

    if (end == RELEASED) {
        pct_wait_figure(t->src, "released-pages", 1);
    } else {
        pct_wait_figure(t->src, "reported-pages", r.before + 1);
        pct_wait_figure(t->src, "proven-pages", r.before + (end == PROVEN));
        pct_wait_figure(t->src, "mismatched-pages", end == DIFFERS);
    }
    pct_finish(t);
    pct_check_figures(t);
    assert_figure(t->src, "hinted-pages", r.before + 1);
    assert_figure(t->src, "offered-pages", r.before + 1);
    assert_figure(t->src, "proven-pages", r.before + (end == PROVEN));
    assert_figure(t->src, "mismatched-pages", end == DIFFERS);
    assert_figure(t->src, "released-pages", end == RELEASED);
    pct_proxy_free(r.p);
    pct_free(t);
}

static void test_page(const void *moment)
{
    run(moment, true);
}

static void test_block(const void *moment)
{
    run(moment, false);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);
    if (!pct_has_faults()) {
        printf("1..0 # SKIP QEMU was built without faults on purpose\n");
        return 0;
    }

    for (i = 0; i < ARRAY_SIZE(moments); i++) {
        g_autofree char *page = g_strdup_printf(
            "/pagecache/moment/page/%s", moments[i].name);
        g_autofree char *block = g_strdup_printf(
            "/pagecache/moment/block/%s", moments[i].name);

        qtest_add_data_func(page, &moments[i], test_page);
        qtest_add_data_func(block, &moments[i], test_block);
    }
    return g_test_run();
}
