/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: storage that hangs
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A LUN of tgtd, and a relay in front of it which can stop to pass on what
 * comes, for all connections or for those after the first one.  The first one
 * is that of the guest's own disk: what QEMU does when that hangs is not our
 * business, but what it does when ours hang is.  Nothing waits for them.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/eventfd.h>
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-lib.h"
#include "../unit/test-pagecache-tgtd.h"

#define MAX_CONNECTIONS 64
#define NEVER           G_MAXUINT

/* What QEMU does at once, it does within this time even here */
#define PROMPT_US       (5 * G_USEC_PER_SEC)

/* --- the relay --- */

typedef struct Relay {
    int port;                   /* its own */
    int target;                 /* port of the target */
    int listen_fd, wake;
    int fds[MAX_CONNECTIONS][2];        /* the thread's; -1: none */
    GThread *thread;

    GMutex lock;                /* for the rest */
    unsigned count;             /* connections so far */
    unsigned hang_from;         /* connections of this number and above hang */
    bool quit;
} Relay;

static int connect_to(int port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(port),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void close_pair(int *fds)
{
    int i;

    for (i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
}

static void pass_on(int *fds, int from)
{
    static uint8_t buf[64 * KiB];
    ssize_t n = recv(fds[from], buf, sizeof(buf), 0), sent = 0, k;

    while (sent < n) {
        k = send(fds[!from], buf + sent, n - sent, MSG_NOSIGNAL);
        if (k <= 0) {
            n = 0;
        }
        sent += k;
    }
    if (n <= 0) {
        close_pair(fds);
    }
}

static void accept_one(Relay *r)
{
    int fd = accept(r->listen_fd, NULL, NULL);
    unsigned nr;

    g_mutex_lock(&r->lock);
    nr = r->count++;
    g_mutex_unlock(&r->lock);
    g_assert_cmpuint(nr, <, MAX_CONNECTIONS);
    r->fds[nr][0] = fd;
    r->fds[nr][1] = connect_to(r->target);
    if (r->fds[nr][1] < 0) {
        close_pair(r->fds[nr]);
    }
}

static gpointer relay_thread(gpointer opaque)
{
    Relay *r = opaque;
    struct pollfd polled[2 + 2 * MAX_CONNECTIONS];
    unsigned i, hang_from;
    uint64_t count;

    for (;;) {
        g_mutex_lock(&r->lock);
        if (r->quit) {
            g_mutex_unlock(&r->lock);
            return NULL;
        }
        hang_from = r->hang_from;
        g_mutex_unlock(&r->lock);

        polled[0] = (struct pollfd) { .fd = r->wake, .events = POLLIN };
        polled[1] = (struct pollfd) { .fd = r->listen_fd, .events = POLLIN };
        for (i = 0; i < 2 * MAX_CONNECTIONS; i++) {
            int fd = r->fds[i / 2][i % 2];

            polled[2 + i] = (struct pollfd) {
                .fd = i / 2 >= hang_from ? -1 : fd, .events = POLLIN
            };
        }
        if (poll(polled, ARRAY_SIZE(polled), -1) < 0) {
            continue;
        }
        if (polled[0].revents) {
            g_assert_cmpint(read(r->wake, &count, 8), ==, 8);
            continue;
        }
        if (polled[1].revents) {
            accept_one(r);
        }
        for (i = 0; i < 2 * MAX_CONNECTIONS; i++) {
            if (polled[2 + i].revents && r->fds[i / 2][i % 2] >= 0) {
                pass_on(r->fds[i / 2], i % 2);
            }
        }
    }
}

static void relay_start(Relay *r, int target)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(sa);

    *r = (Relay) { .target = target, .hang_from = NEVER };
    memset(r->fds, -1, sizeof(r->fds));
    r->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(r->listen_fd, (struct sockaddr *)&sa, len), ==, 0);
    g_assert_cmpint(getsockname(r->listen_fd, (struct sockaddr *)&sa, &len),
                    ==, 0);
    g_assert_cmpint(listen(r->listen_fd, MAX_CONNECTIONS), ==, 0);
    r->port = ntohs(sa.sin_port);
    r->wake = eventfd(0, EFD_CLOEXEC);
    g_mutex_init(&r->lock);
    r->thread = g_thread_new("relay", relay_thread, r);
}

static void relay_wake(Relay *r)
{
    uint64_t one = 1;

    g_assert_cmpint(write(r->wake, &one, 8), ==, 8);
}

static void relay_hang(Relay *r, unsigned from)
{
    g_mutex_lock(&r->lock);
    r->hang_from = from;
    g_mutex_unlock(&r->lock);
    relay_wake(r);
}

static unsigned relay_connections(Relay *r)
{
    unsigned n;

    g_mutex_lock(&r->lock);
    n = r->count;
    g_mutex_unlock(&r->lock);
    return n;
}

static void relay_stop(Relay *r)
{
    unsigned i;

    g_mutex_lock(&r->lock);
    r->quit = true;
    g_mutex_unlock(&r->lock);
    relay_wake(r);
    g_thread_join(r->thread);
    for (i = 0; i < MAX_CONNECTIONS; i++) {
        close_pair(r->fds[i]);
    }
    close(r->listen_fd);
    close(r->wake);
    g_mutex_clear(&r->lock);
}

/* --- the guest and its LUN --- */

static Tgtd tgt;
static Relay relay;

#define CONTROLLER " -device virtio-scsi-pci,id=scsi0,addr=0x6 "

/* The source has the image as a file, the destination through the relay. */
static PcTest *hang_new(const char *args)
{
    PcTest *t;
    g_autofree char *src = NULL, *dst = NULL;

    tgtd_init(&tgt, NULL);
    if (!tgtd_available(&tgt)) {
        tgtd_destroy(&tgt);
        return NULL;
    }
    t = pct_new();
    tgt.disk = t->disk;
    tgtd_fresh(&tgt);
    relay_start(&relay, tgt.port);

    src = g_strdup_printf(DISK_ARGS CONTROLLER, t->disk);
    dst = g_strdup_printf(
        "-blockdev iscsi,node-name=disk0,transport=tcp,portal=127.0.0.1:%d,"
        "target=" TGTD_TARGET ",lun=1 "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5 " CONTROLLER
        "-global migration.x-pagecache-deadline=300 %s", relay.port, args);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    /* that of the guest's own disk */
    g_assert_cmpuint(relay_connections(&relay), ==, 1);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    return t;
}

static void hang_free(PcTest *t)
{
    pct_free(t);
    relay_stop(&relay);
    tgtd_destroy(&tgt);
}

static void quit_promptly(QTestState **who)
{
    gint64 begin = g_get_monotonic_time();

    qtest_quit(*who);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    *who = NULL;
}

/* Whatever needs the block graph, or all of the disks to be quiet */
static void assert_prompt(QTestState *who)
{
    gint64 begin = g_get_monotonic_time();

    qtest_qmp_assert_success(who, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'cont' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-add',"
                             "  'arguments': { 'driver': 'null-co',"
                             "    'read-zeroes': true,"
                             "    'node-name': 'other' } }");
    qtest_qmp_device_add(who, "scsi-hd", "hd1", "{ 'drive': 'other',"
                         " 'bus': 'scsi0.0' }");
    qtest_qmp_device_del(who, "hd1");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': 'other' } }");
    qtest_qmp_assert_success(who, "{ 'execute': 'query-named-block-nodes' }");
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
}

/* The guest goes on to a third host, which has its own way to the image. */
static void migrate_onward(PcTest *t)
{
    g_autofree char *args = g_strdup_printf(DISK_ARGS CONTROLLER, t->disk);
    QTestState *first = t->src;

    t->src = t->dst;
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    quit_promptly(&first);
}

static void check_timeouts(QTestState *who)
{
    QDict *disk = pct_disk_info(who);

    g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, "iscsi");
    g_assert_true(qdict_haskey(disk, "error"));
    qobject_unref(disk);
}

/* --- it hangs --- */

static void test_before_the_first_read(void)
{
    PcTest *t = hang_new("");

    if (!t) {
        return;
    }
    relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    assert_prompt(t->dst);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    check_timeouts(t->dst);
    assert_prompt(t->dst);
    migrate_onward(t);
    quit_promptly(&t->src);
    hang_free(t);
}

static void test_in_the_middle(void)
{
    PcTest *t = hang_new("-global migration.x-pagecache-max-bandwidth=1M");

    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    relay_hang(&relay, 1);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    assert_prompt(t->dst);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <, CACHE_PAGES);
    check_timeouts(t->dst);
    assert_prompt(t->dst);
    migrate_onward(t);
    quit_promptly(&t->src);
    hang_free(t);
}

/* At the moment of the switchover reads hang that nobody has missed yet. */
static void test_across_switchover(void)
{
    PcTest *t = hang_new("-global migration.x-pagecache-deadline=60000");
    gint64 begin;

    if (!t) {
        return;
    }
    relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    begin = g_get_monotonic_time();
    pct_finish(t);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    pct_check_figures(t);
    assert_prompt(t->dst);
    /* and when they come they find nobody */
    relay_hang(&relay, NEVER);
    migrate_onward(t);
    quit_promptly(&t->src);
    hang_free(t);
}

static void test_quit(void)
{
    PcTest *t = hang_new("-global migration.x-pagecache-deadline=60000");

    if (!t) {
        return;
    }
    relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    quit_promptly(&t->dst);
    pct_wait_failed(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    hang_free(t);
}

static void test_cancel(void)
{
    PcTest *t = hang_new("-global migration.x-pagecache-deadline=60000");
    g_autofree char *args = NULL;
    gint64 begin;

    if (!t) {
        return;
    }
    relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    begin = g_get_monotonic_time();
    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
    pct_wait_failed(t->dst);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    quit_promptly(&t->dst);

    args = g_strdup_printf(DISK_ARGS CONTROLLER, t->disk);
    pct_start_dst(t, args);
    pct_on(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    hang_free(t);
}

/* The guest's memory differs from the disk: what comes late would show. */
static void test_and_recovers(void)
{
    PcTest *t = hang_new("");

    if (!t) {
        return;
    }
    pct_scribble(t, CACHE_START, CACHE_PAGES / 4);
    relay_hang(&relay, 1);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    relay_hang(&relay, NEVER);
    while (pct_figure(t->src, "reported-pages") +
           pct_figure(t->src, "released-pages") < CACHE_PAGES) {
        g_usleep(2000);
    }
    pct_finish(t);
    pct_check_figures(t);
    quit_promptly(&t->dst);
    hang_free(t);
}

/* The guest's disk hangs with the rest, and yet it arrives. */
static void test_all_of_it(void)
{
    PcTest *t = hang_new("");

    if (!t) {
        return;
    }
    relay_hang(&relay, 0);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    assert_prompt(t->dst);
    migrate_onward(t);
    /* QEMU takes leave of the target of the guest's disk, patched or not */
    relay_hang(&relay, NEVER);
    hang_free(t);
}

/* It does not hang, it is gone; and it comes back. */
static void test_target_dies(void)
{
    PcTest *t = hang_new("-global migration.x-pagecache-max-bandwidth=1M");

    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    tgtd_kill(&tgt);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    tgtd_fresh(&tgt);
    assert_prompt(t->dst);
    hang_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/hang/before-the-first-read",
                   test_before_the_first_read);
    qtest_add_func("/pagecache/hang/in-the-middle", test_in_the_middle);
    qtest_add_func("/pagecache/hang/across-switchover",
                   test_across_switchover);
    qtest_add_func("/pagecache/hang/quit", test_quit);
    qtest_add_func("/pagecache/hang/cancel", test_cancel);
    qtest_add_func("/pagecache/hang/and-recovers", test_and_recovers);
    qtest_add_func("/pagecache/hang/all-of-it", test_all_of_it);
    qtest_add_func("/pagecache/hang/target-dies", test_target_dies);
    return g_test_run();
}
