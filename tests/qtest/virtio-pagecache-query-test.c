/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: a collection without a migration
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What pagecache-collect makes of a driver's hints, well-behaved or not, and
 * what query-pagecache tells of the driver.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "virtio-pagecache-guest.h"

#define FEATURE     (1ull << VIRTIO_PAGECACHE_F_LEFT_OUT)

static QDict *query(PcGuest *g)
{
    QDict *rsp = qtest_qmp_assert_success_ref(g->qts, "{ 'execute':"
                                              " 'query-pagecache' }");

    g_assert_nonnull(rsp);
    return rsp;
}

static void collect(PcGuest *g, unsigned timeout)
{
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'pagecache-collect',"
                             " 'arguments': { 'timeout': %u } }", timeout);
}

/* ... and returns the epoch that the driver is asked for */
static uint32_t collect_from(PcGuest *g, unsigned timeout)
{
    uint32_t epoch;

    collect(g, timeout);
    epoch = pcguest_wait_epoch(g);
    g_assert_cmpuint(epoch, !=, 0);
    return epoch;
}

static QDict *first(QDict *info, const char *list)
{
    const QListEntry *entry = qlist_first(qdict_get_qlist(info, list));

    return entry ? qobject_to(QDict, qlist_entry_obj(entry)) : NULL;
}

/* The device's driver */
static void check_state(PcGuest *g, const char *state)
{
    QDict *info = query(g), *p;
    const QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "producers"), entry) {
        p = qobject_to(QDict, qlist_entry_obj(entry));
        if (!strcmp(qdict_get_str(p, "name"), "virtio-pagecache")) {
            g_assert_cmpstr(qdict_get_str(p, "state"), ==, state);
            g_assert_cmpstr(qdict_get_str(p, "device"), ==, "0000:00:04.0");
            g_assert_cmpint(qdict_haskey(p, "tells-left-out"), ==,
                            !!strcmp(state, "no-driver"));
            qobject_unref(info);
            return;
        }
    }
    g_assert_not_reached();
}

/* How the collection gets on, and the pages that were found so far */
static void check(PcGuest *g, const char *status, int64_t pages)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    bool over = strcmp(status, "active");
    QDict *info, *found;

    for (;;) {
        info = query(g);
        found = qdict_get_qdict(info, "collection");
        if (!over || strcmp(qdict_get_str(found, "status"), "active")) {
            break;
        }
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(5000);
    }
    g_assert_cmpstr(qdict_get_str(found, "status"), ==, status);
    g_assert_cmpint(qdict_get_int(found, "pages"), ==, pages);
    g_assert_cmpint(qdict_get_int(first(info, "disks"), "pages"), ==, pages);
    qobject_unref(info);
}

static int64_t figure(PcGuest *g, const char *name)
{
    QDict *info = query(g);
    int64_t n = qdict_get_try_int(qdict_get_qdict(info, "collection"), name,
                                  -1);

    qobject_unref(info);
    return n;
}

/* Driver, asked, answers, ends: what it said counts once. */
static void test_collected(void)
{
    struct virtio_pagecache_left_out left = {
        .reason = cpu_to_le32(VIRTIO_PAGECACHE_LEFT_DM),
        .pages = cpu_to_le64(77), .device = "dm-0", .detail = "crypt",
    };
    PcPair *p = pair_new_cache("");
    QDict *info, *e;
    uint32_t epoch;

    check_state(p->g, "no-driver");
    pcguest_probe_with(p->g, FEATURE);
    check_state(p->g, "not-asked");
    epoch = collect_from(p->g, 30);
    check_state(p->g, "silent");
    check(p->g, "active", 0);
    pcguest_hint_cache(p->g, epoch, 0, 200);
    check_state(p->g, "ready");
    check(p->g, "active", 200);
    pcguest_send_left_out(p->g, epoch, &left, 1);
    /* again, overlapping, outside of RAM and disk, on no disk */
    pcguest_hint_cache(p->g, epoch, 0, 200);
    pcguest_hint_cache(p->g, epoch, 100, 150);
    pcguest_send_hint(p->g, epoch, 1ull << 40, 0, 5, 0);
    pcguest_send_hint(p->g, epoch, cache_addr(0), DISK_SECTORS, 1, 0);
    pcguest_send_hint(p->g, epoch, cache_addr(0), 0, 1, 9);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    check(p->g, "completed", 250);
    g_assert_cmpint(figure(p->g, "dropped-hints"), ==, 5 + 1 + 1);
    /* the driver is told that it is over */
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    check_state(p->g, "ready");

    info = query(p->g);
    e = first(qdict_get_qdict(info, "collection"), "left-out");
    g_assert_cmpstr(qdict_get_str(e, "device"), ==, "dm-0");
    g_assert_cmpint(qdict_get_int(e, "pages"), ==, 77);
    e = first(first(info, "disks"), "producers");
    g_assert_cmpstr(qdict_get_str(e, "name"), ==, "virtio-pagecache");
    g_assert_cmpint(qdict_get_int(e, "pages"), ==, 250);
    qobject_unref(info);

    /* nobody has migrated: query-migrate has nothing of it */
    info = qtest_qmp_assert_success_ref(p->g->qts, "{ 'execute':"
                                        " 'query-migrate' }");
    g_assert_false(qdict_haskey(info, "pagecache"));
    qobject_unref(info);
    pair_assert_sane(p);
    pair_free(p);
}

/* Who has no driver, or stands still, is not waited for. */
static void test_not_there(void)
{
    PcPair *p = pair_new_cache("");

    collect(p->g, 300);
    check(p->g, "completed", 0);
    pair_free(p);

    p = pair_new_cache("");
    pcguest_probe(p->g);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'stop' }");
    collect(p->g, 300);
    check(p->g, "completed", 0);
    check_state(p->g, "not-asked");
    pair_free(p);
}

/* A driver whose daemon does not run, or that never comes to an end */
static void test_never_ends(void)
{
    PcPair *p = pair_new_cache("");
    int64_t time;
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = collect_from(p->g, 1);
    pcguest_hint_cache(p->g, epoch, 0, 10);
    check(p->g, "timed-out", 10);
    time = figure(p->g, "time");
    g_assert_cmpint(time, >=, 1000);
    g_assert_cmpint(time, <, 60000);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    /* what comes now counts no more */
    pcguest_hint_cache(p->g, epoch, 100, 10);
    pcguest_sync(p->g);
    check(p->g, "timed-out", 10);
    pair_assert_sane(p);
    pair_free(p);
}

/* More hints than the guest has pages: the rest is not looked at. */
static void test_too_many(void)
{
    struct virtio_pagecache_hint many[MAX_HINTS];
    PcPair *p = pair_new_cache("");
    uint32_t epoch, told;
    unsigned i;

    for (i = 0; i < MAX_HINTS; i++) {
        many[i] = (struct virtio_pagecache_hint) {
            .addr = cpu_to_le64(cache_addr(i % 50)),
            .sector = cpu_to_le64(i * 8 % 1024), .npages = cpu_to_le32(50),
        };
    }
    pcguest_probe(p->g);
    epoch = collect_from(p->g, 30);
    for (i = 0, told = epoch; told == epoch && i < 100; i++) {
        pcguest_send(p->g, VIRTIO_PAGECACHE_MSG_HINTS, epoch, MAX_HINTS, many,
                     sizeof(many));
        told = pcguest_epoch(p->g);
    }
    g_assert_cmpuint(told, ==, 0);
    check(p->g, "completed", 50 + 49);
    pair_assert_sane(p);
    pair_free(p);
}

/* A migration ends the collection at once, has its own, and is right. */
static void test_migration(void)
{
    PcPair *p = pair_new_cache("");
    QDict *error;
    uint32_t old, epoch;

    pcguest_probe(p->g);
    old = collect_from(p->g, 300);
    pcguest_hint_cache(p->g, old, 0, 100);
    check(p->g, "active", 100);
    epoch = pair_collect(p);
    g_assert_cmpuint(epoch, !=, old);
    check(p->g, "cancelled", 100);
    error = qtest_qmp_assert_failure_ref(p->g->qts, "{ 'execute':"
                                         " 'pagecache-collect' }");
    g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                            "A migration with skip-pagecache is under way"));
    qobject_unref(error);
    /* what was collected before the driver knew: stale */
    pcguest_hint_cache(p->g, old, 100, 100);
    pcguest_hint_cache(p->g, epoch, 0, CACHE_PAGES);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_figure(p, "hinted-pages", CACHE_PAGES);
    check(p->g, "cancelled", 100);
    pair_move(p, CACHE_PAGES);
    /* at the destination nobody has asked */
    check_state(p->g, "not-asked");
    pair_free(p);
}

/* A device that goes meanwhile is not waited for.  What it has told counts. */
static void test_goes(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = collect_from(p->g, 300);
    pcguest_hint_cache(p->g, epoch, 0, 20);
    pcguest_sync(p->g);
    check(p->g, "active", 20);
    qtest_qmp_device_del_send(p->g->qts, "pagecache");
    pcguest_eject(p->g, "pagecache");
    check(p->g, "completed", 20);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/query/collected", test_collected);
    qtest_add_func("virtio-pagecache/query/not-there", test_not_there);
    qtest_add_func("virtio-pagecache/query/never-ends", test_never_ends);
    qtest_add_func("virtio-pagecache/query/too-many", test_too_many);
    qtest_add_func("virtio-pagecache/query/migration", test_migration);
    qtest_add_func("virtio-pagecache/query/goes", test_goes);
    return g_test_run();
}
