/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: all kinds of virtqueues
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A driver may cut its buffers, describe them and ask for interrupts in many
 * ways.  Each migration is completed, and all of memory is the same then.
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
    pair_wait_figure(p, "duplicate-pages", 1);
    pair_move(p, 1);
    pair_assert_sane(p);
    pair_free(p);
}

/* --- buffers of many descriptors --- */

/* The message in g->msg, @piece bytes in each descriptor */
static void send_pieces(PcGuest *g, uint32_t len, uint32_t piece)
{
    uint32_t at;

    g->hint->free_head = 0;
    for (at = 0; at < len; at += piece) {
        qvirtqueue_add(g->qts, g->hint, g->msg + at, MIN(piece, len - at),
                       false, at + piece < len);
    }
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->hint, 0);
    g_assert_cmpuint(pcguest_wait(g, g->hint), ==, 0);
}

/* The smallest in single bytes, and the largest; it names a page often. */
static void test_pieces(void)
{
    PcPair *p = pair_new_cache("");
    struct virtio_pagecache_hint many[MAX_HINTS];
    uint32_t epoch, len;
    unsigned i;

    for (i = 0; i < MAX_HINTS; i++) {
        unsigned page = i < HALF ? HALF + i : 0;

        many[i] = (struct virtio_pagecache_hint) {
            .addr = cpu_to_le64(cache_addr(page)),
            .sector = cpu_to_le64(page * 8),
            .npages = cpu_to_le32(1),
        };
    }
    pcguest_probe(p->g);
    epoch = pair_collect(p);
    len = pcguest_write_hint(p->g, epoch, cache_addr(0), 0, HALF, 0);
    send_pieces(p->g, len, 1);
    len = pcguest_write(p->g, VIRTIO_PAGECACHE_MSG_HINTS, epoch, MAX_HINTS,
                        many, sizeof(many));
    send_pieces(p->g, len, len / 100 + 1);
    pair_wait_figure(p, "duplicate-pages", MAX_HINTS - HALF);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, HALF + MAX_HINTS);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/* The buffer at @addr in an indirect table, its readable part in halves */
static uint32_t send_indirect(PcGuest *g, QVirtQueue *vq, uint64_t addr,
                              uint32_t out, uint32_t in)
{
    QVirtioDevice *vdev = &g->dev->vdev;
    QVRingIndirectDesc *table;
    uint32_t used;

    table = qvring_indirect_desc_setup(g->qts, vdev, &g->alloc, in ? 3 : 2);
    qvring_indirect_desc_add(vdev, g->qts, table, addr, out / 2, false);
    qvring_indirect_desc_add(vdev, g->qts, table, addr + out / 2,
                             out - out / 2, false);
    if (in) {
        qvring_indirect_desc_add(vdev, g->qts, table, addr + out, in, true);
    }
    vq->free_head = 0;
    qvirtqueue_add_indirect(g->qts, vq, table);
    qvirtqueue_kick(g->qts, vdev, vq, 0);
    used = pcguest_wait(g, vq);
    guest_free(&g->alloc, table->desc);
    g_free(table);
    return used;
}

static uint32_t get_disk_indirect(PcGuest *g, uint32_t index)
{
    struct virtio_pagecache_ctrl req = {
        .type = cpu_to_le32(VIRTIO_PAGECACHE_CTRL_GET_DISK),
        .index = cpu_to_le32(index),
    };
    struct virtio_pagecache_disk disk;

    qtest_memwrite(g->qts, g->req, &req, sizeof(req));
    g_assert_cmpuint(send_indirect(g, g->ctrl, g->req, sizeof(req),
                                   sizeof(disk)), ==, sizeof(disk));
    qtest_memread(g->qts, g->req + sizeof(req), &disk, sizeof(disk));
    g_assert_cmpuint(le64_to_cpu(disk.capacity), ==,
                     index ? 0 : DISK_SECTORS);
    return le32_to_cpu(disk.status);
}

static void test_indirect(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t epoch, len;
    unsigned i;

    pcguest_probe_with(p->g, 1ull << VIRTIO_RING_F_INDIRECT_DESC);
    epoch = pair_collect(p);
    g_assert_cmpuint(get_disk_indirect(p->g, 0), ==, VIRTIO_PAGECACHE_S_OK);
    g_assert_cmpuint(get_disk_indirect(p->g, 1), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);
    for (i = 0; i < CACHE_PAGES; i++) {
        len = pcguest_write_hint(p->g, epoch, cache_addr(i), i * 8, 1, 0);
        g_assert_cmpuint(send_indirect(p->g, p->g->hint, p->g->msg, len, 0),
                         ==, 0);
    }
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/* --- notifications --- */

static bool queue_irq(PcGuest *g, QVirtQueue *vq)
{
    return g->dev->vdev.bus->get_queue_isr_status(&g->dev->vdev, vq);
}

/* Without VIRTIO_RING_F_EVENT_IDX: an interrupt when a buffer comes back */
static void test_interrupts(void)
{
    PcPair *p = pair_new_cache("");
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
    g_assert_false(queue_irq(p->g, p->g->hint));
    g_assert_false(queue_irq(p->g, p->g->ctrl));
    pcguest_hint_cache(p->g, epoch, 0, HALF);
    pcguest_sync(p->g);
    g_assert_true(queue_irq(p->g, p->g->hint));
    pcguest_hint_cache(p->g, epoch, HALF, HALF);
    pcguest_sync(p->g);
    g_assert_true(queue_irq(p->g, p->g->hint));
    g_assert_true(queue_irq(p->g, p->g->ctrl));
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

/*
 * With it: the driver is told from where on it wants to know, and notifies
 * the device only when that has asked for it.
 */
static void test_event_idx(void)
{
    const unsigned many = 40, wanted = 45;
    PcPair *p = pair_new_cache("");
    uint32_t epoch, len;
    unsigned i;

    pcguest_probe_with(p->g, 1ull << VIRTIO_RING_F_EVENT_IDX);
    g_assert_true(p->g->hint->event);
    epoch = pair_collect(p);
    pcguest_hint_cache(p->g, epoch, 0, 1);
    pcguest_sync(p->g);
    g_assert_true(queue_irq(p->g, p->g->hint));
    qvirtqueue_set_used_event(p->g->qts, p->g->hint, wanted);

    /* more than the device takes at once, and one notification for them */
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'stop' }");
    len = pcguest_write_hint(p->g, epoch, cache_addr(0), 0, 1, 0);
    for (i = 0; i < many; i++) {
        pcguest_put(p->g, p->g->hint, p->g->msg, len, 0);
    }
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'cont' }");
    for (i = 0; i < many; i++) {
        pcguest_wait(p->g, p->g->hint);
    }
    for (i = 1 + many; i < wanted; i++) {
        pcguest_hint_cache(p->g, epoch, 0, 1);
    }
    pcguest_sync(p->g);
    g_assert_false(queue_irq(p->g, p->g->hint));
    pcguest_hint_cache(p->g, epoch, 0, HALF);
    pcguest_sync(p->g);
    g_assert_true(queue_irq(p->g, p->g->hint));
    pair_wait_figure(p, "hinted-pages", wanted + HALF);
    pair_move(p, HALF);

    /* the indices go on where they were, on the other host */
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    epoch = pair_collect(p);
    for (i = 0; i < HALF; i++) {
        pcguest_hint_cache(p->g, epoch, i, 1);
    }
    pair_move(p, HALF);
    pair_free(p);
}

/* --- behind an IOMMU --- */

#define VTD_REGS        0xfed90000u
#define VTD_GCMD        (VTD_REGS + 0x18)
#define VTD_GSTS        (VTD_REGS + 0x1c)
#define VTD_ROOT        (VTD_REGS + 0x20)
#define VTD_TE          (1u << 31)              /* translate */
#define VTD_SRTP        (1u << 30)              /* take the root table */
#define TABLES          (20 * MiB)              /* in the guest */
#define LARGE           (2 * MiB)
#define IOVA            GiB                     /* where the device sees RAM */

/*
 * The device sees all of RAM from IOVA on.  At its own address it sees only
 * what libqos has its queues and interrupts in.
 */
static void iommu_on(PcGuest *g)
{
    const uint64_t context = TABLES + 0x1000, top = TABLES + 0x2000,
                   low = TABLES + 0x3000, high = TABLES + 0x4000;
    const uint64_t present = 1, rw = 3, large = 0x80;
    uint64_t i;

    g_assert_cmphex(g->msg + GUEST_MSG_SIZE, <=, LARGE);
    g_assert_cmphex(cache_addr(0), >=, LARGE);
    qtest_memset(g->qts, TABLES, 0, 0x5000);
    qtest_writeq(g->qts, TABLES, context | present);
    qtest_writeq(g->qts, context + QPCI_DEVFN(GUEST_SLOT, 0) * 16,
                 top | present);
    /* a domain of its own, 39 bits */
    qtest_writeq(g->qts, context + QPCI_DEVFN(GUEST_SLOT, 0) * 16 + 8,
                 1 << 8 | 1);
    qtest_writeq(g->qts, top, low | rw);
    qtest_writeq(g->qts, top + IOVA / GiB * 8, high | rw);
    qtest_writeq(g->qts, low, large | rw);
    for (i = 0; i < GUEST_RAM_MIB * MiB / LARGE; i++) {
        qtest_writeq(g->qts, high + i * 8, i * LARGE | large | rw);
    }
    qtest_writeq(g->qts, VTD_ROOT, TABLES);
    qtest_writel(g->qts, VTD_GCMD, VTD_SRTP);
    qtest_writel(g->qts, VTD_GCMD, VTD_TE);
    g_assert_cmphex(qtest_readl(g->qts, VTD_GSTS) & VTD_TE, ==, VTD_TE);
}

/* Buffers are where the IOMMU says; hints are of guest-physical addresses. */
static void test_iommu(void)
{
    PcPair *p = pair_new_cache(
        "-machine q35 -device intel-iommu "
        "-global virtio-pagecache-pci.iommu_platform=on");
    uint32_t epoch, len;

    iommu_on(p->g);
    pcguest_probe_with(p->g, 1ull << VIRTIO_F_ACCESS_PLATFORM);
    epoch = pair_collect(p);
    len = pcguest_write_hint(p->g, epoch, cache_addr(0), 0, CACHE_PAGES, 0);
    pcguest_put(p->g, p->g->hint, IOVA + p->g->msg, len, 0);
    g_assert_cmpuint(pcguest_wait(p->g, p->g->hint), ==, 0);

    /* as the device sees it: it has no such memory */
    len = pcguest_write_hint(p->g, epoch, IOVA + cache_addr(0), 0, 1, 0);
    pcguest_put(p->g, p->g->hint, IOVA + p->g->msg, len, 0);
    g_assert_cmpuint(pcguest_wait(p->g, p->g->hint), ==, 0);
    pair_wait_figure(p, "dropped-hints", 1);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, CACHE_PAGES);
    pair_move(p, CACHE_PAGES);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/packed/good", test_packed);
    qtest_add_func("virtio-pagecache/packed/hostile", test_packed_hostile);
    qtest_add_func("virtio-pagecache/ring/pieces", test_pieces);
    qtest_add_func("virtio-pagecache/ring/indirect", test_indirect);
    qtest_add_func("virtio-pagecache/ring/interrupts", test_interrupts);
    qtest_add_func("virtio-pagecache/ring/event-idx", test_event_idx);
    if (qtest_has_device("intel-iommu")) {
        qtest_add_func("virtio-pagecache/ring/iommu", test_iommu);
    }
    return g_test_run();
}
