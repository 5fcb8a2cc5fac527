/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the end of it in each of its phases
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * At every stage that a migration passes through it is cancelled, loses its
 * connection, or loses its destination.  Each time the guest runs on at the
 * source, its memory is right, and a second migration refills all of the
 * cache.  The stage is held until the test has seen that it is reached.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-proxy.h"

/* Bytes a second: after the first read the next one waits for an hour. */
#define ONE_READ "-global migration.pagecache-bandwidth=64"
#define READ_PAGES      (256 * KiB / PAGE)

/* How long a fault on purpose holds what nobody lets go before: milliseconds */
#define HOLD_MS         60000

/* Pages that are written while the migration stands where it is held */
#define SOME            20

typedef struct Run {
    PcTest *t;
    PctProxy *p;
    const char *fault;          /* the stage's */
    int answers;                /* atomic: to START, withheld */
} Run;

typedef void Step(Run *r);

/* --- stages --- */

typedef struct Stage {
    const char *name;
    const char *dst_args;       /* of the first destination, or NULL */
    const char *fault;          /* of the source's: holds it there, or NULL */
    bool no_answer;             /* to START */
    /* Begins the migration, returns when the stage is reached and held. */
    Step *reach;
} Stage;

static void assert_figure(QTestState *who, const char *name, int64_t want)
{
    int64_t n = pct_figure(who, name);

    if (n != want) {
        g_test_message("%s", name);
        g_assert_cmpint(n, ==, want);
    }
}

static void assert_status(QTestState *who, const char *want)
{
    g_autofree char *status = migrate_query_status(who);

    g_assert_cmpstr(status, ==, want);
}

static bool answer_or_not(void *opaque, GByteArray *body)
{
    Run *r = opaque;

    if (body->data[REPORT_STATUS] == REPORT_ACCEPTED) {
        g_atomic_int_inc(&r->answers);
        return false;
    }
    return true;
}

/* The destination has answered to START, and the source has not heard it. */
static void reach_setup(Run *r)
{
    pct_migrate(r->t);
    while (!g_atomic_int_get(&r->answers)) {
        g_usleep(1000);
    }
    assert_status(r->t->src, "setup");
}

/*
 * The window holds 8 MiB.  Of what is hinted on top of that some waits in the
 * pool for as long as no report comes.
 */
static void reach_hints_pending(Run *r)
{
    pct_hint(r->t, "blk0", PRIVATE_START, 0, PRIVATE_SIZE / PAGE);
    pct_proxy_hold(r->p, true);
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->src, "in-flight-pages", CACHE_PAGES);
    pct_wait_figure(r->t->src, "pooled-pages", 1);
    assert_figure(r->t->src, "reported-pages", 0);
}

/* All is offered, and next to nothing of it has been read. */
static void reach_offers_in_flight(Run *r)
{
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->dst, "offered-pages", CACHE_PAGES);
    g_assert_cmpint(pct_figure(r->t->dst, "reported-pages"), <=, READ_PAGES);
    pct_wait_figure(r->t->src, "in-flight-pages", CACHE_PAGES - READ_PAGES);
}

/* The destination has all of the cache, and the source doesn't know. */
static void reach_reports_held(Run *r)
{
    pct_proxy_hold(r->p, true);
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->dst, "reported-pages", CACHE_PAGES);
    assert_figure(r->t->src, "in-flight-pages", CACHE_PAGES);
    assert_figure(r->t->src, "reported-pages", 0);
}

/*
 * The source has cleared the log of pages that were reported, and compares
 * them, or has done so and not yet taken notice of it.
 */
static void reach_comparison(Run *r)
{
    pct_migrate_slowly(r->t);
    pct_wait_fired(r->t->src, r->fault, 1);
    pct_wait_figure(r->t->src, "reported-pages", CACHE_PAGES);
    assert_figure(r->t->src, "proven-pages", 0);
    assert_figure(r->t->src, "mismatched-pages", 0);
}

static void reach_proven(Run *r)
{
    pct_migrate_slowly(r->t);
    pct_wait_figure(r->t->src, "proven-pages", CACHE_PAGES);
    assert_status(r->t->src, "active");
}

static void reach_pre_switchover(Run *r)
{
    migrate_set_capability(r->t->src, "pause-before-switchover", true);
    reach_proven(r);
    pct_full_speed(r->t);
    wait_for_migration_status(r->t->src, "pre-switchover", NULL);
}

/* END is sent and loaded, and all that comes after it; the source waits. */
static void reach_end(Run *r)
{
    pct_proxy_hold_verdict(r->p, true);
    reach_proven(r);
    pct_full_speed(r->t);
    while (!pct_proxy_verdict_held(r->p)) {
        g_usleep(1000);
    }
    wait_for_migration_complete(r->t->dst);
    assert_status(r->t->src, "device");
    pct_check_memory(r->t, r->t->dst);
}

static const Stage stages[] = {
    { "setup", .no_answer = true, .reach = reach_setup },
    { "hints-pending", .reach = reach_hints_pending },
    { "offers-in-flight", .dst_args = ONE_READ,
      .reach = reach_offers_in_flight },
    { "reports-held", .reach = reach_reports_held },
    { "log-cleared", .fault = "delay-proof", .reach = reach_comparison },
    { "compared", .fault = "delay-outcome", .reach = reach_comparison },
    { "proven", .reach = reach_proven },
    { "pre-switchover", .reach = reach_pre_switchover },
    { "after-end", .reach = reach_end },
};

/* --- ways to end it --- */

typedef struct Way {
    const char *name;
    Step *end;
} Way;

static void end_cancel(Run *r)
{
    migrate_cancel(r->t->src);
    wait_for_migration_cancelled(r->t->src);
    qtest_quit(r->t->dst);
}

/* Whoever stands still before the switchover learns of it when he goes on. */
static void go_on(Run *r)
{
    g_autofree char *status = migrate_query_status(r->t->src);

    if (!strcmp(status, "pre-switchover")) {
        migrate_continue(r->t->src, "pre-switchover");
    }
}

static void end_connection(Run *r)
{
    g_clear_pointer(&r->p, pct_proxy_free);
    go_on(r);
    pct_wait_failed(r->t->src);
    qtest_quit(r->t->dst);
}

static void end_destination(Run *r)
{
    pct_kill(r->t->dst);
    /* its last word, if it waits here, is lost with it */
    g_clear_pointer(&r->p, pct_proxy_free);
    go_on(r);
    pct_wait_failed(r->t->src);
}

static const Way ways[] = {
    { "cancel", end_cancel },
    { "connection", end_connection },
    { "destination-killed", end_destination },
};

/* --- tests --- */

typedef struct Case {
    const Stage *stage;
    const Way *way;
} Case;

static PcTest *new_pair(const char *dst_args)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf("%s %s", disk, dst_args ?: "");

    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    /* As libvirt does: an image is the destination's from "cont" on. */
    migrate_set_capability(t->dst, "late-block-activate", true);
    pct_hint_cache(t);
    pct_incoming(t);
    return t;
}

/* From here on only the cache is hinted, and goes again. */
static void check_second_migration(PcTest *t)
{
    t->dst = NULL;
    migrate_set_capability(t->src, "pause-before-switchover", false);
    qtest_qmp_assert_success(t->src,
                             "{ 'execute': 'x-pagecache-clear-hints' }");
    pct_hint_cache(t);
    pct_migrate_again(t, NULL);
}

static void test_end(const void *opaque)
{
    const Case *c = opaque;
    Run r = { };
    PcTest *t;
    gint64 begin;

    if (c->stage->fault && !pct_has_faults()) {
        g_test_skip("QEMU was built without faults on purpose");
        return;
    }
    r.t = t = new_pair(c->stage->dst_args);
    r.fault = c->stage->fault;
    if (r.fault) {
        g_autofree char *settings = g_strdup_printf("%s:ms=%d", r.fault,
                                                    HOLD_MS);

        pct_arm(t->src, settings);
    }
    r.p = pct_proxy_new(t, NULL, c->stage->no_answer ? answer_or_not : NULL,
                        &r);
    c->stage->reach(&r);
    /* Of what was there before none must be believed to be there still. */
    pct_scribble(t, ZERO_START, SOME);
    pct_scribble(t, PRIVATE_START, SOME);
    begin = g_get_monotonic_time();
    c->way->end(&r);
    g_clear_pointer(&r.p, pct_proxy_free);
    if (r.fault) {
        /* it was held until the end, nobody waited, and it counts no more */
        g_assert_cmpint(g_get_monotonic_time() - begin, <, HOLD_MS / 2 * 1000);
        g_assert_cmpint(pct_fired(t->src, r.fault), >=, 1);
        assert_figure(t->src, "proven-pages", 0);
        pct_arm(t->src, "");
    }
    check_second_migration(t);
    pct_free(t);
}

/* --- and ends of other kinds --- */

/* The connection breaks behind END: no refill writes any more. */
static void cut_after_end(void *opaque, GByteArray *section)
{
    Run *r = opaque;

    if (pct_frame_type(section) == FRAME_END) {
        pct_proxy_cut(r->p);
    }
}

static void test_cut_after_end(void)
{
    Run r = { .t = new_pair(NULL) };
    PcTest *t = r.t;

    r.p = pct_proxy_new(t, cut_after_end, NULL, &r);
    reach_pre_switchover(&r);
    /* The final pass has more to send than a socket takes by itself. */
    pct_scribble(t, PRIVATE_START, PRIVATE_SIZE / PAGE);
    migrate_continue(t->src, "pre-switchover");
    pct_wait_failed(t->src);
    pct_wait_failed(t->dst);
    /* END was loaded, and not what comes after it. */
    g_assert_cmpint(pct_figure(t->dst, "blackout-time"), >=, 0);
    qtest_quit(t->dst);
    pct_proxy_free(r.p);
    check_second_migration(t);
    pct_free(t);
}

/*
 * RAM is there, END is loaded, and then the state of a device comes that the
 * destination does not have.
 */
static void test_device_state_refused(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -device virtio-scsi-pci,id=scsi0,addr=0x6", disk);

    pct_start_src(t, args);
    pct_start_dst(t, NULL);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_full_speed(t);
    pct_wait_failed(t->dst);
    pct_wait_failed(t->src);
    /* END was loaded, so there was nothing left to be revoked. */
    g_assert_cmpint(pct_figure(t->dst, "blackout-time"), >=, 0);
    qtest_quit(t->dst);
    t->dst = NULL;
    pct_migrate_again(t, args);
    pct_free(t);
}

/*
 * The way back is gone, the stream goes on: nothing is proven, all is sent,
 * and since nobody says that it arrived, the guest stays.
 */
static void test_return_path_ends(void)
{
    Run r = { .t = new_pair(NULL) };
    PcTest *t = r.t;

    r.p = pct_proxy_new(t, NULL, NULL, NULL);
    reach_reports_held(&r);
    pct_proxy_end_return_path(r.p);
    pct_full_speed(t);
    pct_wait_failed(t->src);
    assert_figure(t->src, "proven-pages", 0);
    assert_figure(t->src, "offered-pages", CACHE_PAGES);
    assert_figure(t->src, "released-pages", CACHE_PAGES);
    qtest_quit(t->dst);
    pct_proxy_free(r.p);
    check_second_migration(t);
    pct_free(t);
}

int main(int argc, char **argv)
{
    static Case cases[ARRAY_SIZE(stages) * ARRAY_SIZE(ways)];
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = NULL;

        cases[i] = (Case) { &stages[i / ARRAY_SIZE(ways)],
                            &ways[i % ARRAY_SIZE(ways)] };
        path = g_strdup_printf("/pagecache/phase/%s/%s", cases[i].stage->name,
                               cases[i].way->name);
        qtest_add_data_func(path, &cases[i], test_end);
    }
    qtest_add_func("/pagecache/phase/cut-after-end", test_cut_after_end);
    qtest_add_func("/pagecache/phase/device-state-refused",
                   test_device_state_refused);
    qtest_add_func("/pagecache/phase/return-path-ends",
                   test_return_path_ends);
    return g_test_run();
}
