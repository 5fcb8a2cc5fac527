/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: two devices, stale messages, and
 * a driver that goes and does not come back
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
#define SECOND_SLOT     6
#define SECOND_MEMORY   (20 * MiB)
#define TWO             "-device virtio-pagecache-pci,id=second,addr=0x6"

/* --- two devices --- */

static PcGuest *new_second(PcPair *p)
{
    return pcguest_second(p->g, SECOND_SLOT, SECOND_MEMORY);
}

/* Each tells of its half, and both of some pages in the middle. */
static void test_two(void)
{
    PcPair *p = pair_new_cache(TWO);
    PcGuest *second = new_second(p);
    uint32_t epoch;

    pcguest_probe(p->g);
    pcguest_probe(second);
    epoch = pair_collect(p);
    pcguest_hint_cache(p->g, epoch, 0, HALF + 10);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);

    epoch = pcguest_wait_epoch(second);
    pcguest_hint_cache(second, epoch, HALF, HALF);
    pcguest_send_end(second, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_figure(p, "hinted-pages", CACHE_PAGES + 10);
    g_assert_cmpint(pair_figure(p, "duplicate-pages"), ==, 10);
    pcguest_free_second(second);
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/* Nobody drives the second one. */
static void test_two_one_driver(void)
{
    PcPair *p = pair_new_cache(TWO);
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
    pcguest_hint_cache(p->g, epoch, 0, CACHE_PAGES);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/* One sends nonsense until it is heard no more; that costs the other nothing. */
static void test_two_one_bad(void)
{
    PcPair *p = pair_new_cache(TWO);
    PcGuest *second = new_second(p);
    uint32_t epoch, bad;

    pcguest_probe(p->g);
    pcguest_probe(second);
    epoch = pair_collect(p);
    pcguest_hint_cache(p->g, epoch, 0, HALF);

    bad = pcguest_wait_epoch(second);
    while (!pcguest_config_irq(second)) {
        pcguest_send(second, VIRTIO_PAGECACHE_MSG_HINTS, bad, 1, NULL, 3);
        pcguest_sync(second);
    }
    g_assert_cmpuint(pcguest_epoch(second), ==, 0);
    pcguest_hint_cache(second, bad, HALF, HALF);
    pcguest_sync(second);

    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    pcguest_hint_cache(p->g, epoch, HALF, 10);
    pcguest_free_second(second);
    pair_move(p, HALF + 10);
    pair_free(p);
}

/* The hints of one differ from the disk and are given up, not the other's. */
static void test_two_one_wrong(void)
{
    PcPair *p = pair_new_cache(TWO);
    PcGuest *second = new_second(p);
    uint32_t epoch, wrong;
    int64_t end;

    pcguest_probe(p->g);
    pcguest_probe(second);
    epoch = pair_collect(p);
    wrong = pcguest_wait_epoch(second);
    /* memory full of 0x5a, where the disk has zeros */
    pcguest_send_hint(second, wrong, CACHE_START - 4 * MiB,
                      CACHE_PAGES * 8 + 800, 1024, 0);
    pair_wait_figure(p, "hinted-pages", 1024);
    end = g_get_monotonic_time() + TIMEOUT_US;
    while (pair_figure(p, "mismatched-pages") < 256) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10 * 1000);
    }
    pcguest_hint_cache(p->g, epoch, 0, CACHE_PAGES);
    pcguest_free_second(second);
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/*
 * The guest lets one go in the middle.  What that has told is used, and the
 * other goes on.
 */
static void test_two_unplug(void)
{
    PcPair *p = pair_new_cache(TWO);
    PcGuest *second = new_second(p);
    uint32_t epoch;

    pcguest_probe(p->g);
    pcguest_probe(second);
    /* the destination does not have it from the start */
    *strstr(p->args, TWO) = '\0';
    qtest_qmp_device_del_send(p->g->qts, "second");
    epoch = pair_collect(p);
    pcguest_hint_cache(p->g, epoch, 0, 10);

    epoch = pcguest_wait_epoch(second);
    pcguest_hint_cache(second, epoch, HALF, HALF);
    pcguest_eject(second, "second");
    pcguest_free_second(second);

    epoch = pcguest_epoch(p->g);
    g_assert_cmpuint(epoch, !=, 0);
    pcguest_hint_cache(p->g, epoch, 10, HALF - 10);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_figure(p, "hinted-pages", CACHE_PAGES);
    pair_move(p, CACHE_PAGES);
    pair_assert_sane(p);
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

    qtest_add_func("virtio-pagecache/two/good", test_two);
    qtest_add_func("virtio-pagecache/two/one-driver", test_two_one_driver);
    qtest_add_func("virtio-pagecache/two/one-bad", test_two_one_bad);
    qtest_add_func("virtio-pagecache/two/one-wrong", test_two_one_wrong);
    qtest_add_func("virtio-pagecache/two/unplug", test_two_unplug);
    qtest_add_func("virtio-pagecache/stale/slept", test_stale_slept);
    qtest_add_func("virtio-pagecache/stale/queued", test_stale_queued);
    qtest_add_func("virtio-pagecache/gone/before", test_gone_before);
    qtest_add_data_func("virtio-pagecache/gone/in-collection",
                        GINT_TO_POINTER(false), test_gone);
    qtest_add_data_func("virtio-pagecache/gone/after-end",
                        GINT_TO_POINTER(true), test_gone);
    return g_test_run();
}
