/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: a hostile driver
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Whatever the guest does, QEMU goes on, the migration ends, and a reset
 * makes the device usable again.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "qobject/qdict.h"
#include "pagecache-test-inject.h"
#include "virtio-pagecache-guest.h"

#define FLOOD           128                     /* buffers at a time */
/* The device returns no more unwanted buffers than these in this time */
#define DRAIN_BUFFERS   16
#define DRAIN_US        (10 * 1000)

/* --- requests --- */

static uint32_t raw_request(PcGuest *g, uint32_t type, uint32_t out,
                            uint32_t in, uint32_t *status)
{
    uint32_t req[4] = { cpu_to_le32(type) };
    uint32_t used;

    qtest_memwrite(g->qts, g->msg, req, sizeof(req));
    qtest_memset(g->qts, g->msg + out, 0xaa, 256);
    pcguest_put(g, g->ctrl, g->msg, out, in);
    used = pcguest_wait(g, g->ctrl);
    *status = qtest_readl(g->qts, g->msg + out);
    /* nothing behind what it says that it wrote */
    g_assert_cmphex(qtest_readb(g->qts, g->msg + out + used), ==, 0xaa);
    return used;
}

static void test_bad_requests(void)
{
    PcPair *p = pair_new("");
    PcGuest *g = p->g;
    const uint32_t answer = sizeof(struct virtio_pagecache_disk);
    uint32_t status;

    pcguest_probe(g);
    /* the right one; more room than is needed */
    g_assert_cmpuint(raw_request(g, 0, 8, answer, &status), ==, answer);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_OK);
    g_assert_cmpuint(raw_request(g, 0, 8, answer + 40, &status), ==, answer);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_OK);

    /* unknown type */
    g_assert_cmpuint(raw_request(g, 1, 8, answer, &status), ==, 4);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_BADREQ);
    g_assert_cmpuint(raw_request(g, UINT32_MAX, 8, answer, &status), ==, 4);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_BADREQ);
    /* request too short, too long, not there */
    g_assert_cmpuint(raw_request(g, 0, 7, answer, &status), ==, 4);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_BADREQ);
    g_assert_cmpuint(raw_request(g, 0, 12, answer, &status), ==, 4);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_BADREQ);
    g_assert_cmpuint(raw_request(g, 0, 0, answer, &status), ==, 4);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_BADREQ);
    /* answer too short, down to none */
    g_assert_cmpuint(raw_request(g, 0, 8, answer - 1, &status), ==, 4);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_BADREQ);
    g_assert_cmpuint(raw_request(g, 0, 8, 4, &status), ==, 4);
    g_assert_cmpuint(status, ==, VIRTIO_PAGECACHE_S_BADREQ);
    g_assert_cmpuint(raw_request(g, 0, 8, 1, &status), ==, 1);
    g_assert_cmpuint(raw_request(g, 0, 8, 0, &status), ==, 0);

    pair_assert_sane(p);
    pair_free(p);
}

/* A request in one-byte pieces, its answer in two parts */
static void test_split_request(void)
{
    PcPair *p = pair_new("");
    PcGuest *g = p->g;
    const uint32_t answer = sizeof(struct virtio_pagecache_disk);
    struct virtio_pagecache_disk disk;
    uint32_t head, i;

    pcguest_probe(g);
    qtest_memset(g->qts, g->msg, 0, 8);
    head = g->ctrl->free_head;
    for (i = 0; i < 8; i++) {
        qvirtqueue_add(g->qts, g->ctrl, g->msg + i, 1, false, true);
    }
    qvirtqueue_add(g->qts, g->ctrl, g->msg + 0x1001, 5, true, true);
    qvirtqueue_add(g->qts, g->ctrl, g->msg + 0x1006, answer - 5, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->ctrl, head);
    g_assert_cmpuint(pcguest_wait(g, g->ctrl), ==, answer);
    qtest_memread(g->qts, g->msg + 0x1001, &disk, answer);
    g_assert_cmpuint(le32_to_cpu(disk.status), ==, VIRTIO_PAGECACHE_S_OK);
    g_assert_cmpuint(le64_to_cpu(disk.capacity), ==, DISK_SECTORS);
    pair_free(p);
}

/* --- messages --- */

static void test_unwanted(void)
{
    PcPair *p = pair_new("");
    int i;

    pcguest_probe(p->g);
    for (i = 0; i < 3; i++) {
        pcguest_send_hint(p->g, i, FILL_START, 0, 1, 0);
        pcguest_send_end(p->g, i, VIRTIO_PAGECACHE_END_OK);
        pcguest_send(p->g, 77, i, 99, NULL, 3);
    }
    for (i = 0; i < FLOOD; i++) {
        pcguest_put(p->g, p->g->hint, p->g->msg, 40, 0);
    }
    for (i = 0; i < FLOOD; i++) {
        pcguest_wait(p->g, p->g->hint);
    }
    g_assert_cmpuint(pcguest_epoch(p->g), ==, 0);
    g_assert_false(pcguest_config_irq(p->g));
    pair_assert_sane(p);
    pair_free(p);
}

/* Messages without a valid shape: returned, counted, and that is all */
static void test_bad_messages(void)
{
    static const struct {
        const char *what;
        uint32_t type, count;
        int size;               /* of the payload; less than 0: header cut */
    } bad[] = {
        { "unknown type", 3, 1, 24 },
        { "unknown type", UINT32_MAX, 1, 24 },
        { "no hint", VIRTIO_PAGECACHE_MSG_HINTS, 0, 0 },
        { "no hint, but bytes", VIRTIO_PAGECACHE_MSG_HINTS, 0, 24 },
        { "count too large", VIRTIO_PAGECACHE_MSG_HINTS, 1025, 1025 * 24 },
        { "count overflows", VIRTIO_PAGECACHE_MSG_HINTS, 0xaaaaaaab, 8 },
        { "count overflows", VIRTIO_PAGECACHE_MSG_HINTS, UINT32_MAX, 24 },
        { "more than counted", VIRTIO_PAGECACHE_MSG_HINTS, 1, 25 },
        { "less than counted", VIRTIO_PAGECACHE_MSG_HINTS, 2, 47 },
        { "longest and one more", VIRTIO_PAGECACHE_MSG_HINTS, 1024,
          1024 * 24 + 1 },
        { "only a header", VIRTIO_PAGECACHE_MSG_HINTS, 1, 0 },
        { "half a header", VIRTIO_PAGECACHE_MSG_HINTS, 1, -8 },
        { "a byte", VIRTIO_PAGECACHE_MSG_HINTS, 1, -15 },
        { "END without record", VIRTIO_PAGECACHE_MSG_END, 1, 0 },
        { "END too short", VIRTIO_PAGECACHE_MSG_END, 1, 39 },
        { "END too long", VIRTIO_PAGECACHE_MSG_END, 1, 41 },
        { "END twice", VIRTIO_PAGECACHE_MSG_END, 2, 80 },
        { "END of none", VIRTIO_PAGECACHE_MSG_END, 0, 40 },
    };
    static const uint8_t zeroes[GUEST_MSG_SIZE / 2 + GUEST_MSG_SIZE / 4 + 64];
    PcPair *p = pair_new("");
    uint32_t epoch;
    int i;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_test_message("%s", bad[i].what);
        g_assert_cmpint(bad[i].size, <=, (int)sizeof(zeroes));
        pcguest_send(p->g, bad[i].type, epoch, bad[i].count,
                     bad[i].size > 0 ? zeroes : NULL, bad[i].size);
        pair_wait_figure(p, "dropped-hints", i + 1);
    }

    g_test_message("END of unknown status");
    pcguest_send_end(p->g, epoch, 2);
    pair_wait_figure(p, "dropped-hints", i + 1);

    g_test_message("part of it writable");
    pcguest_send_hint(p->g, epoch - 1, FILL_START, 0, 1, 0);
    qtest_writel(p->g->qts,
                 p->g->msg + offsetof(struct virtio_pagecache_hdr, epoch),
                 epoch);
    pcguest_put(p->g, p->g->hint, p->g->msg, 40, 4);
    g_assert_cmpuint(pcguest_wait(p->g, p->g->hint), ==, 0);
    pair_wait_figure(p, "dropped-hints", i + 2);

    g_test_message("all of it writable");
    pcguest_put(p->g, p->g->hint, p->g->msg, 0, 40);
    g_assert_cmpuint(pcguest_wait(p->g, p->g->hint), ==, 0);
    pair_wait_figure(p, "dropped-hints", i + 3);

    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 5, 0);
    pair_wait_figure(p, "hinted-pages", 5);

    g_test_message("after the END record");
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_PARTIAL);
    pcguest_send_hint(p->g, epoch, FILL_START + 0x10000, 0, 5, 0);
    pair_wait_figure(p, "dropped-hints", i + 4);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_figure(p, "dropped-hints", i + 5);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 5);

    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    g_assert_false(pcguest_config_irq(p->g));
    pair_cancel(p);
    pair_free(p);
}

/* Hints of good shape that make no sense */
static void test_bad_hints(void)
{
    static const struct virtio_pagecache_hint bad[] = {
        { FILL_START, 0, 1, 1 },                /* no such disk */
        { FILL_START, 0, 1, UINT32_MAX },
        { FILL_START + 8, 0, 1, 0 },            /* misaligned */
        { FILL_START, DISK_SECTORS, 1, 0 },     /* outside of the disk */
        { FILL_START, DISK_SECTORS - 7, 1, 0 },
        { FILL_START, UINT64_MAX, 1, 0 },
        { FILL_START, UINT64_MAX - 7, 1, 0 },
        { GUEST_RAM_MIB * 1048576ull, 0, 1, 0 },        /* outside of RAM */
        { 0xfffffffffffff000ull, 0, 1, 0 },
        { 0xfee00000, 0, 1, 0 },                /* the APIC */
        { 0xfffff000, 0, 1, 0 },                /* the BIOS: read-only */
        { FILL_START, 0, 0, 0 },                /* no page */
        { FILL_START, 0, UINT32_MAX, 0 },       /* more than there are */
        { FILL_START, 0, 0x100000, 0 },
    };
    PcPair *p = pair_new("");
    uint32_t epoch;
    int i;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        pcguest_send_hint(p->g, epoch, bad[i].addr, bad[i].sector,
                          bad[i].npages, bad[i].disk);
        pair_wait_figure(p, "dropped-hints", i + 1);
    }
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    pcguest_send_hint(p->g, epoch, FILL_START, DISK_SECTORS - 8, 1, 0);
    pair_wait_figure(p, "hinted-pages", 1);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, i);

    pair_assert_sane(p);
    pair_set_bandwidth(p, 0);
    wait_for_migration_complete(p->g->qts);
    pair_free(p);
}

/* Too much of anything ends the collection, and not the migration. */
static void test_too_much(void)
{
    PcPair *p = pair_new("");
    uint32_t epoch;
    int i;

    pcguest_probe(p->g);

    g_test_message("bad messages");
    epoch = pair_collect(p);
    for (i = 0; i < 64; i++) {
        pcguest_send(p->g, 3, epoch, 1, NULL, 24);
    }
    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    pcguest_send(p->g, 3, epoch, 1, NULL, 24);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pair_wait_figure(p, "dropped-hints", 65);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 1, 0);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    pair_wait_word(p, "given-up", "bad-messages");
    /* no second interrupt: it knows already */
    pair_cancel(p);
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));

    g_test_message("messages of other epochs");
    epoch = pair_collect(p);
    for (i = 0; i < 4 * 1024; i++) {
        pcguest_send_end(p->g, epoch - 1, VIRTIO_PAGECACHE_END_OK);
    }
    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    pcguest_send_end(p->g, epoch - 1, VIRTIO_PAGECACHE_END_OK);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pair_cancel(p);

    g_test_message("hints");
    epoch = pair_collect(p);
    /* twice the pages that the guest has are tolerated */
    for (i = 0; i < 2; i++) {
        pcguest_send_hint(p->g, epoch, 0, 0, GUEST_RAM_MIB * 256, 0);
    }
    for (i = 0; !pcguest_config_irq(p->g); i++) {
        g_assert_cmpint(i, <, 16);
        pcguest_send_hint(p->g, epoch, FILL_START, 0, 2048, 0);
        pcguest_sync(p->g);
    }
    g_assert_cmpuint(pcguest_epoch(p->g), ==, 0);
    pair_wait_word(p, "given-up", "too-many-hints");
    pair_finish(p);
    pair_free(p);
}

/* --- descriptors that violate virtio itself --- */

static void desc_write(PcGuest *g, uint32_t i, uint64_t addr, uint32_t len,
                       uint16_t flags, uint16_t next)
{
    struct vring_desc desc = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .flags = cpu_to_le16(flags),
        .next = cpu_to_le16(next),
    };

    qtest_memwrite(g->qts, g->hint->desc + i * sizeof(desc), &desc,
                   sizeof(desc));
}

/* The buffer that begins with descriptor @head breaks the device. */
static void assert_broken(PcPair *p, uint32_t head, const char *what)
{
    QVirtioDevice *vdev = &p->g->dev->vdev;
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    g_test_message("%s", what);
    qvirtqueue_kick(p->g->qts, vdev, p->g->hint, head);
    while (!(vdev->bus->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    pair_assert_sane(p);
}

static void test_bad_descriptors(void)
{
    const uint16_t next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE;
    PcPair *p = pair_new("");
    PcGuest *g = p->g;
    int wanted;

    pcguest_probe(g);
    for (wanted = 0; wanted < 2; wanted++) {
        if (wanted) {
            pair_collect(p);
        }
        desc_write(g, 0, g->msg, 40, next, 0);
        assert_broken(p, 0, "a descriptor that is its own successor");

        desc_write(g, 0, g->msg, 40, next, 1);
        desc_write(g, 1, g->msg, 40, next, 0);
        assert_broken(p, 0, "a loop of two");

        desc_write(g, 0, g->msg, 40, next, g->hint->size);
        assert_broken(p, 0, "a successor outside of the table");

        desc_write(g, 0, g->msg, 0, 0, 0);
        assert_broken(p, 0, "no bytes");

        desc_write(g, 0, g->msg, 40, next | write, 1);
        desc_write(g, 1, g->msg, 40, 0, 0);
        assert_broken(p, 0, "readable after writable");

        desc_write(g, 0, g->msg, 7, VRING_DESC_F_INDIRECT, 0);
        assert_broken(p, 0, "an indirect table of an odd size");

        assert_broken(p, g->hint->size, "a buffer outside of the table");
        assert_broken(p, UINT16_MAX, "a buffer outside of the table");
    }
    pair_cancel(p);
    pair_free(p);
}

/* Buffers that are not RAM, or all of it, may be read or refused. */
static void test_odd_buffers(void)
{
    static const struct { uint64_t addr; uint32_t len; } odd[] = {
        { 0xfee00000, 40 },                     /* APIC */
        { 0xfffffffffffff000ull, 40 },
        { 0xfffffffffffffff0ull, 40 },
        { GUEST_RAM_MIB * 1048576ull - 20, 40 },
        { GUEST_RAM_MIB * 1048576ull, 4096 },
        { 0, UINT32_MAX },
        { FILL_START, GUEST_RAM_MIB * 1048576 },
        { 0xa0000, 0x20000 },
    };
    PcPair *p = pair_new("");
    PcGuest *g = p->g;
    gint64 end;
    int i;

    pcguest_probe(g);
    pair_collect(p);
    for (i = 0; i < ARRAY_SIZE(odd); i++) {
        QVirtioDevice *vdev = &g->dev->vdev;

        g_test_message("%" PRIx64 " %x", odd[i].addr, odd[i].len);
        desc_write(g, 0, odd[i].addr, odd[i].len, 0, 0);
        qvirtqueue_kick(g->qts, vdev, g->hint, 0);
        end = g_get_monotonic_time() + TIMEOUT_US;
        while (!pcguest_get(g, g->hint, NULL) &&
               !(vdev->bus->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
            g_assert_cmpint(g_get_monotonic_time(), <, end);
        }
        pair_assert_sane(p);
    }
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);

    /* the device's own registers, as a message */
    desc_write(g, 0, g->dev->bar.addr, 4096, 0, 0);
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->hint, 0);
    pcguest_sync(g);
    pair_assert_sane(p);
    pair_cancel(p);
    pair_free(p);
}

/* A number that is interesting, or any */
static uint32_t odd_number(GRand *r, uint32_t good)
{
    static const uint32_t odd[] = {
        0, 1, 2, 15, 16, 40, 56, 1024, 1025, 4096, 0x7fffffff, UINT32_MAX,
    };

    switch (g_rand_int_range(r, 0, 4)) {
    case 0:
        return odd[g_rand_int_range(r, 0, ARRAY_SIZE(odd))];
    case 1:
        return g_rand_int(r);
    default:
        return good;
    }
}

static void random_message(PcGuest *g, GRand *r, uint32_t epoch)
{
    uint32_t msg[16], i;

    for (i = 0; i < ARRAY_SIZE(msg); i++) {
        msg[i] = cpu_to_le32(odd_number(r, i));
    }
    msg[0] = cpu_to_le32(odd_number(r, VIRTIO_PAGECACHE_MSG_HINTS));
    msg[1] = cpu_to_le32(odd_number(r, epoch));
    msg[2] = cpu_to_le32(odd_number(r, 1));
    qtest_memwrite(g->qts, g->msg, msg, sizeof(msg));
    for (i = 0; i < 4; i++) {
        desc_write(g, i, g_rand_int_range(r, 0, 8) ? g->msg :
                         odd_number(r, g->msg),
                   odd_number(r, 40), g_rand_int_range(r, 0, 2) ? 0 :
                   g_rand_int_range(r, 0, 8), g_rand_int_range(r, 0, 5));
    }
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->hint, g_rand_int_range(r, 0, 4));
}

/*
 * The same nonsense each time: it begins with the same seed.  On a slow machine
 * it is less, as even a slow migration has an end, and then the guest is gone.
 */
static void test_nonsense(void)
{
    PcPair *p = pair_new("");
    g_autoptr(GRand) r = g_rand_new_with_seed(0x70616765);
    PcGuest *g = p->g;
    uint32_t epoch, i, j;

    pcguest_probe(g);
    for (i = 0; i < 4; i++) {
        gint64 end = g_get_monotonic_time() + 5 * G_USEC_PER_SEC;

        epoch = pair_collect(p);
        for (j = 0; j < 75 && g_get_monotonic_time() < end; j++) {
            QVirtioDevice *vdev = &g->dev->vdev;

            random_message(g, r, epoch);
            if (!g_rand_int_range(r, 0, 10)) {
                pcguest_put(g, g->ctrl, g->msg, odd_number(r, 8),
                            odd_number(r, 104));
            }
            if (vdev->bus->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET ||
                !g_rand_int_range(r, 0, 50)) {
                pcguest_probe(g);
            }
        }
        pair_assert_sane(p);
        pair_cancel(p);
        pcguest_probe(g);
    }
    pair_collect(p);
    pair_finish(p);
    pair_assert_sane(p);
    pair_free(p);
}

/* --- pace --- */

/*
 * Keeps FLOOD messages in the queue for two seconds.  The monitor answers all
 * the same.  Returns how many came back.
 */
static uint32_t flood(PcGuest *g, uint32_t epoch)
{
    struct virtio_pagecache_hdr hdr = {
        .epoch = cpu_to_le32(epoch),
        .count = cpu_to_le32(1),
    };
    gint64 end = g_get_monotonic_time() + 2 * G_USEC_PER_SEC;
    gint64 slowest = 0, start;
    uint32_t out = 0, back = 0;

    qtest_memwrite(g->qts, g->msg, &hdr, sizeof(hdr));
    while (g_get_monotonic_time() < end) {
        for (; out < FLOOD; out++) {
            pcguest_put(g, g->hint, g->msg, 40, 0);
        }
        start = g_get_monotonic_time();
        qtest_qmp_assert_success(g->qts, "{ 'execute': 'query-status' }");
        slowest = MAX(slowest, g_get_monotonic_time() - start);
        for (; pcguest_get(g, g->hint, NULL); out--) {
            back++;
        }
    }
    g_test_message("%u messages came back, slowest answer of the monitor %"
                   PRId64 " us", back, (int64_t)slowest);
    g_assert_cmpint(slowest, <, G_USEC_PER_SEC);
    for (; out; out--) {
        pcguest_wait(g, g->hint);
    }
    return back;
}

static void test_never_empty(void)
{
    PcPair *p = pair_new("");
    gint64 start;
    uint32_t n;

    pcguest_probe(p->g);
    flood(p->g, pair_collect(p));
    pair_cancel(p);
    pcguest_wait_epoch(p->g);

    /* what nobody wants comes back at a pace that the guest does not set */
    start = g_get_monotonic_time();
    n = flood(p->g, 0);
    g_assert_cmpuint(n, <=, DRAIN_BUFFERS *
                     ((g_get_monotonic_time() - start) / DRAIN_US + 2));
    pair_free(p);
}

/*
 * Hints are not taken for a long time: buffers wait in the queue, and are served
 * later.
 */
static void test_busy(void)
{
    PcPair *p;
    PcGuest *g;
    struct virtio_pagecache_hint many[MAX_HINTS];
    const int64_t hints = (128 + FLOOD) * MAX_HINTS;
    uint32_t epoch, sent = 0, back = 0;
    gint64 end;
    int i;

    if (!pct_has_faults()) {
        g_test_skip("QEMU was built without faults on purpose");
        return;
    }
    p = pair_new("-m 1024");
    g = p->g;
    for (i = 0; i < MAX_HINTS; i++) {
        many[i] = (struct virtio_pagecache_hint) {
            /* these pages are zero and so are never asked of the disk */
            .addr = cpu_to_le64(2 * FILL_END + i * 0x1000ull),
            .sector = cpu_to_le64(i * 8),
            .npages = cpu_to_le32(1),
        };
    }
    pcguest_probe(g);
    pct_arm(g->qts, "slow-map");
    epoch = pair_collect(p);
    pair_set_bandwidth(p, SLOW_BANDWIDTH);

    pcguest_send(g, VIRTIO_PAGECACHE_MSG_HINTS, epoch, MAX_HINTS, many,
                 sizeof(many));
    sent = back = 1;
    end = g_get_monotonic_time() + TIMEOUT_US;
    while (sent < 128 + FLOOD) {
        if (sent - back < FLOOD) {
            pcguest_put(g, g->hint, g->msg, 16 + sizeof(many), 0);
            sent++;
        }
        if (pcguest_get(g, g->hint, NULL)) {
            back++;
        }
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_usleep(100 * 1000);
    while (pcguest_get(g, g->hint, NULL)) {
        back++;
    }
    /* the message that found no room is with the device, the rest is not */
    g_test_message("%u of %u messages came back", back, sent);
    g_assert_cmpuint(back, ==, 129);
    g_assert_cmpuint(pcguest_epoch(g), ==, epoch);
    pcguest_sync(g);

    pct_arm(g->qts, "");
    while (back < sent) {
        pcguest_wait(g, g->hint);
        back++;
    }
    pair_wait_figure(p, "hinted-pages", hints);
    g_assert_cmpuint(pcguest_epoch(g), ==, epoch);
    pair_cancel(p);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache-hostile/bad-requests", test_bad_requests);
    qtest_add_func("virtio-pagecache-hostile/split-request",
                   test_split_request);
    qtest_add_func("virtio-pagecache-hostile/unwanted", test_unwanted);
    qtest_add_func("virtio-pagecache-hostile/bad-messages", test_bad_messages);
    qtest_add_func("virtio-pagecache-hostile/bad-hints", test_bad_hints);
    qtest_add_func("virtio-pagecache-hostile/too-much", test_too_much);
    qtest_add_func("virtio-pagecache-hostile/bad-descriptors",
                   test_bad_descriptors);
    qtest_add_func("virtio-pagecache-hostile/odd-buffers", test_odd_buffers);
    qtest_add_func("virtio-pagecache-hostile/nonsense", test_nonsense);
    qtest_add_func("virtio-pagecache-hostile/never-empty", test_never_empty);
    qtest_add_func("virtio-pagecache-hostile/busy", test_busy);

    return g_test_run();
}
