/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: beside another producer, stale messages,
 * and a driver that goes and does not come back
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Each migration is completed, and all of memory is the same then.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "virtio-pagecache-guest.h"

#define HALF            (CACHE_PAGES / 2)

/* --- with hints from elsewhere --- */

/* The whole cache, from x-pagecache-add-hints */
static void hint_cache_by_qmp(PcPair *p)
{
    qtest_qmp_assert_success(p->g->qts,
                             "{ 'execute': 'x-pagecache-add-hints',"
                             "  'arguments': { 'hints': [ {"
                             "  'device': 'blk0', 'address': %u, 'sector': 0,"
                             "  'pages': %u } ] } }", CACHE_START, CACHE_PAGES);
}

/* Nobody drives the device. */
static void test_other_no_driver(void)
{
    PcPair *p = pair_new_cache("");

    hint_cache_by_qmp(p);
    pair_migrate(p);
    pair_wait_word(p, "note", "");
    pair_complete(p, CACHE_PAGES);
    pair_free(p);
}

/*
 * The driver sends nonsense until it is heard no more; that costs the other
 * producer nothing.
 */
static void test_other_bad(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t bad;

    pcguest_probe(p->g);
    bad = pair_collect(p);
    while (!pcguest_config_irq(p->g)) {
        pcguest_send(p->g, VIRTIO_PAGECACHE_MSG_HINTS, bad, 1, NULL, 3);
        pcguest_sync(p->g);
    }
    g_assert_cmpuint(pcguest_epoch(p->g), ==, 0);
    pair_wait_word(p, "given-up", "bad-messages");
    pcguest_hint_cache(p->g, bad, 0, HALF);
    pcguest_sync(p->g);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    hint_cache_by_qmp(p);
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/* The driver's hints differ from the disk and are given up, not the other's. */
static void test_other_wrong(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t wrong;
    int64_t end;

    pcguest_probe(p->g);
    wrong = pair_collect(p);
    /* memory full of 0x5a, where the disk has zeros */
    pcguest_send_hint(p->g, wrong, CACHE_START - 4 * MiB,
                      CACHE_PAGES * 8 + 800, 1024, 0);
    pair_wait_figure(p, "hinted-pages", 1024);
    end = g_get_monotonic_time() + TIMEOUT_US;
    while (pair_figure(p, "mismatched-pages") < 256) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10 * 1000);
    }
    hint_cache_by_qmp(p);
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/* The guest lets the device go in the middle.  What it has told is used. */
static void test_other_unplug(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t epoch;

    pcguest_probe(p->g);
    qtest_qmp_device_del_send(p->g->qts, "pagecache");
    epoch = pair_collect(p);
    pcguest_hint_cache(p->g, epoch, 0, HALF);
    pair_wait_figure(p, "hinted-pages", HALF);
    pcguest_eject(p->g, "pagecache");
    hint_cache_by_qmp(p);
    pair_wait_figure(p, "duplicate-pages", HALF);
    pair_wait_figure(p, "proven-pages", CACHE_PAGES);
    pair_cancel(p);
    pair_free(p);
}

/* --- messages of a collection that is over --- */

/* Only what came now counts, and the collection has not ended. */
static void finish_second(PcPair *p, uint32_t epoch)
{
    pcguest_hint_cache(p->g, epoch, HALF, HALF);
    pair_wait_figure(p, "hinted-pages", HALF);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
    g_assert_cmpint(pair_figure(p, "map-time"), ==, -1);
    pair_move(p, HALF);
    pair_free(p);
}

/* The driver has slept while a migration was cancelled and another began. */
static void test_stale_slept(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t first, second;

    pcguest_probe(p->g);
    first = pair_collect(p);
    pcguest_hint_cache(p->g, first, 0, 10);
    pair_wait_figure(p, "hinted-pages", 10);
    pair_cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    second = pair_collect(p);
    pcguest_hint_cache(p->g, first, 0, HALF);
    pcguest_send_end(p->g, first, VIRTIO_PAGECACHE_END_OK);
    finish_second(p, second);
}

/* Its message waited in the queue all the time, for the VM stood still. */
static void test_stale_queued(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t first, second, len;

    pcguest_probe(p->g);
    first = pair_collect(p);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'stop' }");
    len = pcguest_write_hint(p->g, first, cache_addr(0), 0, HALF, 0);
    pcguest_put(p->g, p->g->hint, p->g->msg, len, 0);
    pair_cancel(p);
    pair_migrate(p);
    wait_for_migration_status(p->g->qts, "active", NULL);
    g_assert_false(pcguest_get(p->g, p->g->hint, NULL));
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'cont' }");
    second = pcguest_wait_epoch(p->g);
    g_assert_cmpuint(second, !=, first);
    pcguest_wait(p->g, p->g->hint);
    finish_second(p, second);
}

/* --- a driver that goes for good --- */

static void leave(PcGuest *g)
{
    qvirtio_reset(&g->dev->vdev);
    pcguest_remove(g);
}

static void test_gone_before(void)
{
    PcPair *p = pair_new_cache("");

    pcguest_probe(p->g);
    leave(p->g);
    pair_migrate(p);
    wait_for_migration_status(p->g->qts, "active", NULL);
    pcguest_probe(p->g);
    leave(p->g);
    pair_complete(p, 0);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    pair_free(p);
}

/* What it has told is used, whether it was all or not. */
static void test_gone(const void *opaque)
{
    bool ended = GPOINTER_TO_INT(opaque);
    PcPair *p = pair_new_cache("");
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
    pcguest_hint_cache(p->g, epoch, 0, HALF);
    if (ended) {
        pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    }
    /* and a message that the device may not have seen */
    pcguest_put(p->g, p->g->hint, p->g->msg, 16, 0);
    leave(p->g);
    pair_complete(p, HALF);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, HALF);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/other/no-driver", test_other_no_driver);
    qtest_add_func("virtio-pagecache/other/bad", test_other_bad);
    qtest_add_func("virtio-pagecache/other/wrong", test_other_wrong);
    qtest_add_func("virtio-pagecache/other/unplug", test_other_unplug);
    qtest_add_func("virtio-pagecache/stale/slept", test_stale_slept);
    qtest_add_func("virtio-pagecache/stale/queued", test_stale_queued);
    qtest_add_func("virtio-pagecache/gone/before", test_gone_before);
    qtest_add_data_func("virtio-pagecache/gone/in-collection",
                        GINT_TO_POINTER(false), test_gone);
    qtest_add_data_func("virtio-pagecache/gone/after-end",
                        GINT_TO_POINTER(true), test_gone);
    return g_test_run();
}
