/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: faults on purpose
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What is lost or comes twice between driver and device costs hints and
 * nothing else; see docs/devel/migration/skip-pagecache-faults.rst.
 */

#include "qemu/osdep.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "pagecache-test-inject.h"
#include "virtio-pagecache-guest.h"

static PcPair *new_pair(const char *faults)
{
    PcPair *p = pair_new_cache("");

    pct_arm(p->g->qts, faults);
    pcguest_probe(p->g);
    return p;
}

/* One page of the cache in each of @n messages */
static void send_hints(PcPair *p, uint32_t epoch, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        pcguest_hint_cache(p->g, epoch, i, 1);
    }
}

static void finish(PcPair *p, int64_t proven)
{
    pair_move(p, proven);
    pair_assert_sane(p);
    pair_free(p);
}

static void test_lose_announce(void)
{
    PcPair *p = new_pair("lose-announce:limit=1");

    pair_migrate(p);
    pct_wait_fired(p->g->qts, "lose-announce", 1);
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));
    /* a driver that looks by itself is welcome */
    send_hints(p, pcguest_epoch(p->g), 5);
    pair_wait_figure(p, "hinted-pages", 5);
    finish(p, 5);
}

static void test_lose_message(void)
{
    PcPair *p = new_pair("lose-message:every=2");
    uint32_t epoch = pair_collect(p);

    send_hints(p, epoch, 8);
    pair_wait_figure(p, "hinted-pages", 4);
    g_assert_cmpint(pct_fired(p->g->qts, "lose-message"), ==, 4);
    /* END as well: the migration does not wait for it */
    pct_arm(p->g->qts, "lose-message");
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    g_assert_cmpint(pair_figure(p, "map-time"), ==, -1);
    g_assert_cmpint(pct_fired(p->g->qts, "lose-message"), ==, 5);
    finish(p, 4);
}

static void test_duplicate_message(void)
{
    PcPair *p = new_pair("duplicate-message");
    uint32_t epoch = pair_collect(p);

    send_hints(p, epoch, 8);
    pair_wait_figure(p, "hinted-pages", 16);
    pair_wait_figure(p, "duplicate-pages", 8);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
    /* the second END is a message after the END */
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_figure(p, "dropped-hints", 1);
    g_assert_cmpint(pct_fired(p->g->qts, "duplicate-message"), ==, 9);
    finish(p, 8);
}

static void test_stall_device(void)
{
    PcPair *p = new_pair("stall-device:every=2");
    uint32_t epoch = pair_collect(p);

    send_hints(p, epoch, 8);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_figure(p, "hinted-pages", 8);
    g_assert_cmpint(pct_fired(p->g->qts, "stall-device"), >, 3);
    finish(p, 8);
}

/* The guest lets the device go that holds a message for later. */
static void test_busy_unplug(void)
{
    PcPair *p = new_pair("busy-map");
    uint32_t epoch;

    qtest_qmp_device_del_send(p->g->qts, "pagecache");
    epoch = pair_collect(p);
    send_hints(p, epoch, 1);
    pct_wait_fired(p->g->qts, "busy-map", 2);
    pcguest_eject(p->g, "pagecache");
    pct_arm(p->g->qts, "");
    pair_complete(p, 0);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!pct_has_faults()) {
        printf("1..0 # SKIP QEMU was built without faults on purpose\n");
        return 0;
    }

    qtest_add_func("/virtio-pagecache/inject/lose-announce",
                   test_lose_announce);
    qtest_add_func("/virtio-pagecache/inject/lose-message", test_lose_message);
    qtest_add_func("/virtio-pagecache/inject/duplicate-message",
                   test_duplicate_message);
    qtest_add_func("/virtio-pagecache/inject/stall-device", test_stall_device);
    qtest_add_func("/virtio-pagecache/inject/busy-map/unplug",
                   test_busy_unplug);

    return g_test_run();
}
