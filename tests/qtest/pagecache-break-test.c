/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: somebody breaks off
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Whoever cancels or dies in the middle leaves a guest that goes on at the
 * source, and a second migration that refills again; in which of its phases
 * that is, is the theme of pagecache-phase-test.c.  And from one host to the
 * next it works each time.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-lib.h"

/* A migration with its refill under way */
static PcTest *in_the_middle(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-bandwidth=1M", disk);

    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "in-flight-pages"), >, 0);
    return t;
}

static void cancel(PcTest *t)
{
    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
}

static void test_cancel(void)
{
    PcTest *t = in_the_middle();

    cancel(t);
    pct_wait_failed(t->dst);
    qtest_quit(t->dst);
    pct_migrate_again(t, NULL);
    pct_free(t);
}

/* Not once, but again and again */
static void test_cancel_repeatedly(void)
{
    PcTest *t = pct_new_pair();
    int i;

    pct_hint_cache(t);
    for (i = 0; i < 5; i++) {
        pct_incoming(t);
        pct_migrate_slowly(t);
        pct_wait_figure(t->src, "offered-pages", 1);
        cancel(t);
        /* what has changed since must not be believed to be there */
        pct_scribble(t, pct_cache_addr(i * 100), 1);
        pct_write(t, pct_cache_addr(i * 100),
                  t->disk_data + pct_cache_sector(i * 100) * 512, PAGE);
        qtest_quit(t->dst);
        pct_start_dst(t, NULL);
        pct_on(t);
    }
    qtest_quit(t->dst);
    pct_migrate_again(t, NULL);
    pct_free(t);
}

/*
 * What was in flight is nothing special for a plain migration.  It may not
 * leave a page to the switchover, and would not end if it passed one over.
 */
static void test_cancel_then_plain(void)
{
    PcTest *t = in_the_middle();

    cancel(t);
    qtest_quit(t->dst);
    migrate_set_capability(t->src, "skip-pagecache", false);
    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    pct_start_dst(t, NULL);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    g_assert_null(pct_info(t->src));
    g_assert_cmpint(pct_transferred(t->src), >, PRIVATE_SIZE + CACHE_SIZE);
    pct_free(t);
}

/* It has no part in the next one, and no figures are left. */
static void test_cancel_then_inactive(void)
{
    PcTest *t = in_the_middle();

    cancel(t);
    qtest_quit(t->dst);
    t->dst = NULL;
    pct_full_speed(t);
    migrate_qmp(t->src, NULL, "exec:cat >/dev/null", NULL, "{}");
    wait_for_migration_complete(t->src);
    pct_assert_inactive(t->src, "no-socket");
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, 0);
    pct_check_memory(t, t->src);
    pct_free(t);
}

static void test_destination_killed(void)
{
    PcTest *t = in_the_middle();

    pct_kill(t->dst);
    pct_wait_failed(t->src);
    pct_migrate_again(t, NULL);
    pct_free(t);
}

static void test_destination_quits(void)
{
    PcTest *t = in_the_middle();

    qtest_quit(t->dst);
    pct_wait_failed(t->src);
    pct_migrate_again(t, NULL);
    pct_free(t);
}

/* The source is killed; nobody waits for what its guest would have got. */
static void test_source_killed(void)
{
    PcTest *t = in_the_middle();
    QDict *info;

    pct_kill(t->src);
    t->src = NULL;
    pct_wait_failed(t->dst);
    info = pct_info(t->dst);
    g_assert_nonnull(info);
    qobject_unref(info);
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'query-status' }");
    pct_free(t);
}

/* Hands @t's source one end of a socket, as "fd:next"; returns the other. */
static int next_channel(PcTest *t)
{
    int fds[2];

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    qtest_qmp_fds_assert_success(t->src, fds, 1,
        "{ 'execute': 'getfd', 'arguments': { 'fdname': 'next' } }");
    close(fds[0]);
    return fds[1];
}

/*
 * Says "migrate" without listening, so that some of it arrives between the
 * failure of the last migration and its cleanup.
 */
static bool insist(PcTest *t)
{
    bool accepted = false;
    int i;

    for (i = 0; i < 20; i++) {
        qtest_qmp_send(t->src, "{ 'execute': 'migrate',"
                       " 'arguments': { 'uri': 'fd:next' } }");
    }
    for (i = 0; i < 20; i++) {
        g_autoptr(QDict) answer = qtest_qmp_receive(t->src);

        accepted |= qdict_haskey(answer, "return");
    }
    return accepted;
}

/* A migration that begins at once when the last has failed is none too early */
static void test_again_at_once(void)
{
    PcTest *t = pct_new_pair();
    int i, last = -1;

    pct_hint_cache(t);
    for (i = 0; i < 100; i++) {
        int next = next_channel(t);
        bool accepted;

        if (last >= 0) {
            close(last);
        }
        do {
            accepted = insist(t);
        } while (!accepted);
        last = next;
    }
    close(last);
    pct_wait_failed(t->src);
    qtest_quit(t->dst);
    pct_migrate_again(t, NULL);
    pct_free(t);
}

/* --- from host to host --- */

static void test_a_b_a_c(void)
{
    PcTest *t = pct_new_pair();
    int hop;

    for (hop = 0; hop < 3; hop++) {
        if (hop) {
            pct_hop(t);
            pct_start_dst(t, NULL);
            pct_on(t);
        }
        pct_hint_cache(t);
        pct_incoming(t);
        pct_migrate_slowly(t);
        pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
        /* the guest goes on writing where it is */
        pct_scribble(t, ZERO_START + hop * PAGE, 1);
        pct_finish(t);
        pct_check_all_proven(t, CACHE_PAGES);
    }
    pct_free(t);
}

/* A device with a RAM block that is migrated, its ROM, and offers under way */
static PcTest *with_network_card(char **args)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);

    *args = g_strdup_printf("%s -device virtio-net-pci,id=net0,addr=0x6",
                            disk);
    t->machine = g_strdup("pc");
    pct_start_src(t, *args);
    pct_start_dst(t, *args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", 1);
    return t;
}

/*
 * The first event is the virtio backend's.  The device's own comes later: the
 * migration holds its ROM.
 */
static void eject_network_card(QTestState *who)
{
    qtest_outl(who, 0xae08, 1 << 6);            /* ACPI eject */
    qtest_qmp_eventwait(who, "DEVICE_DELETED");
}

/* The guest does so by itself. */
static void test_guest_ejects_a_device(void)
{
    g_autofree char *args = NULL;
    PcTest *t = with_network_card(&args);

    eject_network_card(t->src);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_full_speed(t);
    pct_wait_complete(t);
    pct_check_memory(t, t->dst);
    pct_free(t);
}

/* There is no place for what comes of it. */
static void test_destination_ejects_a_device(void)
{
    g_autofree char *args = NULL;
    PcTest *t = with_network_card(&args);
    g_autofree char *error = NULL;

    eject_network_card(t->dst);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_full_speed(t);
    pct_wait_failed(t->dst);
    error = pct_error(t->dst);
    g_test_message("%s", error);
    pct_wait_failed(t->src);
    qtest_quit(t->dst);
    t->dst = NULL;
    pct_migrate_again(t, args);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/break/cancel", test_cancel);
    qtest_add_func("/pagecache/break/cancel-repeatedly",
                   test_cancel_repeatedly);
    qtest_add_func("/pagecache/break/cancel-then-plain",
                   test_cancel_then_plain);
    qtest_add_func("/pagecache/break/cancel-then-inactive",
                   test_cancel_then_inactive);
    qtest_add_func("/pagecache/break/destination-killed",
                   test_destination_killed);
    qtest_add_func("/pagecache/break/destination-quits",
                   test_destination_quits);
    qtest_add_func("/pagecache/break/source-killed", test_source_killed);
    qtest_add_func("/pagecache/break/again-at-once", test_again_at_once);

    qtest_add_func("/pagecache/hops/a-b-a-c", test_a_b_a_c);
    if (qtest_has_device("virtio-net-pci")) {
        qtest_add_func("/pagecache/ejects-a-device/guest",
                       test_guest_ejects_a_device);
        qtest_add_func("/pagecache/ejects-a-device/destination",
                       test_destination_ejects_a_device);
    }
    return g_test_run();
}
