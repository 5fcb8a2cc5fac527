/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: packed virtqueues
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Each migration is completed, and all of memory is the same then.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "virtio-pagecache-guest.h"

#define HALF            (CACHE_PAGES / 2)
#define PACKED          (1ull << VIRTIO_F_RING_PACKED)

/* --- packed virtqueues --- */

/* libqos has none: it sets up the memory of a split one, of the same size. */
typedef struct Packed {
    PcGuest *g;
    QVirtQueue *vq;
    uint16_t next;                  /* where the next buffer goes */
    bool wrap;
} Packed;

static Packed packed_queue(PcGuest *g, QVirtQueue *vq)
{
    qtest_memset(g->qts, vq->desc, 0,
                 vq->size * sizeof(struct vring_packed_desc));
    return (Packed) { g, vq, 0, true };
}

static uint64_t packed_at(Packed *q, unsigned i)
{
    return q->vq->desc +
           (q->next + i) % q->vq->size * sizeof(struct vring_packed_desc);
}

/* The descriptor @i places behind the next one, available from now on */
static void packed_desc(Packed *q, unsigned i, uint64_t addr, uint32_t len,
                        uint16_t id, uint16_t flags)
{
    bool wrap = q->wrap ^ (q->next + i >= q->vq->size);
    struct vring_packed_desc desc = {
        .addr = cpu_to_le64(addr),
        .len = cpu_to_le32(len),
        .id = cpu_to_le16(id),
        .flags = cpu_to_le16(flags |
                             1 << (wrap ? VRING_PACKED_DESC_F_AVAIL :
                                          VRING_PACKED_DESC_F_USED)),
    };
    uint64_t at = packed_at(q, i);
    size_t head = offsetof(struct vring_packed_desc, flags);

    qtest_memwrite(q->g->qts, at, &desc, head);
    qtest_memwrite(q->g->qts, at + head, &desc.flags, sizeof(desc.flags));
}

static void packed_kick(Packed *q)
{
    QVirtioDevice *vdev = &q->g->dev->vdev;

    vdev->bus->virtqueue_kick(vdev, q->vq);
}

/* One buffer as pcguest_put() has it, and back; returns the used length. */
static uint32_t packed_send(Packed *q, uint64_t addr, uint32_t out,
                            uint32_t in)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    const uint16_t id = q->next;
    const uint16_t used_bits = 1 << VRING_PACKED_DESC_F_AVAIL |
                               1 << VRING_PACKED_DESC_F_USED;
    struct vring_packed_desc used;
    uint16_t flags;

    if (in) {
        packed_desc(q, 1, addr + out, in, id, VRING_DESC_F_WRITE);
    }
    packed_desc(q, 0, addr, out, id, in ? VRING_DESC_F_NEXT : 0);
    packed_kick(q);
    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        qtest_memread(q->g->qts, packed_at(q, 0), &used, sizeof(used));
        flags = le16_to_cpu(used.flags) & used_bits;
    } while (flags != (q->wrap ? used_bits : 0));
    g_assert_cmpuint(le16_to_cpu(used.id), ==, id);

    q->next += in ? 2 : 1;
    if (q->next >= q->vq->size) {
        q->next -= q->vq->size;
        q->wrap = !q->wrap;
    }
    return le32_to_cpu(used.len);
}

static void packed_hint(Packed *q, uint32_t epoch, unsigned page)
{
    uint32_t len = pcguest_write_hint(q->g, epoch, cache_addr(page), page * 8,
                                      1, 0);

    g_assert_cmpuint(packed_send(q, q->g->msg, len, 0), ==, 0);
}

/* A good driver: requests of two descriptors, and twice around the queue */
static void test_packed(void)
{
    PcPair *p = pair_new_cache("-global virtio-pagecache-device.packed=on");
    struct virtio_pagecache_ctrl req = {
        .type = cpu_to_le32(VIRTIO_PAGECACHE_CTRL_GET_DISK),
    };
    struct virtio_pagecache_disk disk;
    Packed ctrl, queue;
    uint32_t epoch;
    unsigned i;

    pcguest_probe_with(p->g, PACKED);
    ctrl = packed_queue(p->g, p->g->ctrl);
    queue = packed_queue(p->g, p->g->hint);

    epoch = pair_collect(p);
    for (i = 0; i < 2 * ctrl.vq->size; i++) {
        qtest_memwrite(p->g->qts, p->g->req, &req, sizeof(req));
        g_assert_cmpuint(packed_send(&ctrl, p->g->req, sizeof(req),
                                     sizeof(disk)), ==, sizeof(disk));
        qtest_memread(p->g->qts, p->g->req + sizeof(req), &disk, sizeof(disk));
        g_assert_cmpuint(le32_to_cpu(disk.status), ==, VIRTIO_PAGECACHE_S_OK);
        g_assert_cmpuint(le64_to_cpu(disk.capacity), ==, DISK_SECTORS);
    }
    for (i = 0; i < 2 * queue.vq->size + CACHE_PAGES; i++) {
        packed_hint(&queue, epoch, i % CACHE_PAGES);
    }
    pair_move(p, CACHE_PAGES);

    /* the queues go on where they were, on the other host */
    queue.g = p->g;
    queue.vq = p->g->hint;
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    epoch = pair_collect(p);
    for (i = 0; i < HALF; i++) {
        packed_hint(&queue, epoch, i);
    }
    pair_move(p, HALF);
    pair_assert_sane(p);
    pair_free(p);
}

/* The next descriptors are no buffer: the device wants a reset. */
static void assert_broken(PcPair *p, Packed *q, const char *what)
{
    QVirtioDevice *vdev = &p->g->dev->vdev;
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    g_test_message("%s", what);
    packed_kick(q);
    while (!(vdev->bus->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    pcguest_probe_with(p->g, PACKED);
    *q = packed_queue(p->g, p->g->hint);
}

static void test_packed_hostile(void)
{
    const uint16_t next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE;
    PcPair *p = pair_new_cache("-global virtio-pagecache-device.packed=on");
    uint64_t msg = p->g->msg;
    uint32_t epoch;
    Packed q;
    int i;

    pcguest_probe_with(p->g, PACKED);
    q = packed_queue(p->g, p->g->hint);
    epoch = pair_collect(p);

    packed_desc(&q, 0, msg, 0, 0, 0);
    assert_broken(p, &q, "no bytes");

    packed_desc(&q, 1, msg, 40, 0, 0);
    packed_desc(&q, 0, msg, 40, 0, next | write);
    assert_broken(p, &q, "readable after writable");

    packed_desc(&q, 0, msg, 7, 0, VRING_DESC_F_INDIRECT);
    assert_broken(p, &q, "an indirect table of an odd size");

    for (i = q.vq->size - 1; i >= 0; i--) {
        packed_desc(&q, i, msg, 40, 0, next);
    }
    assert_broken(p, &q, "a buffer without end");

    /* a message cut in pieces, and one whose number is none of the queue's */
    packed_hint(&q, epoch, 0);
    packed_desc(&q, 2, msg + 17, 23, UINT16_MAX, 0);
    packed_desc(&q, 1, msg + 16, 1, UINT16_MAX, next);
    packed_desc(&q, 0, msg, 16, UINT16_MAX, next);
    packed_kick(&q);
    pair_wait_figure(p, "hinted-pages", 2);
    g_assert_cmpint(pair_figure(p, "duplicate-pages"), ==, 1);
    pair_move(p, 1);
    pair_assert_sane(p);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/packed/good", test_packed);
    qtest_add_func("virtio-pagecache/packed/hostile", test_packed_hostile);
    return g_test_run();
}
