/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: packed queues, two devices, and a
 * driver that goes and does not come back
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The guest has a cache, CACHE_PAGES of its memory that stand on its disk as
 * well.  Each migration is completed, and all of memory is the same then.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "virtio-pagecache-guest.h"

#define PAGE            4096u
#define CACHE_START     (8 * MiB)
#define CACHE_PAGES     300u
#define HALF            (CACHE_PAGES / 2)
#define VGA_START       (640 * KiB)
#define VGA_END         (1 * MiB)
#define SECOND_SLOT     6
#define SECOND_MEMORY   (20 * MiB)
#define TWO             "-device virtio-pagecache-pci,id=second,addr=0x6"
#define PACKED          (1ull << VIRTIO_F_RING_PACKED)

/* -S: nothing runs at the destination, or its memory might differ already */
static PcPair *new_pair(const char *args)
{
    g_autofree char *all = g_strdup_printf("-S %s", args);
    PcPair *p = pair_new(all);
    g_autofree char *name = g_strdup_printf("%s/disk", p->dir);
    g_autofree uint8_t *cache = g_malloc(CACHE_PAGES * PAGE);
    g_autoptr(GRand) r = g_rand_new_with_seed(1);
    unsigned i;
    int fd;

    for (i = 0; i < CACHE_PAGES * PAGE / 4; i++) {
        ((uint32_t *)cache)[i] = g_rand_int(r);
    }
    fd = open(name, O_WRONLY);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, cache, CACHE_PAGES * PAGE, 0), ==,
                    CACHE_PAGES * PAGE);
    close(fd);
    qtest_bufwrite(p->g->qts, CACHE_START, cache, CACHE_PAGES * PAGE);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'cont' }");
    return p;
}

static uint64_t cache_addr(unsigned page)
{
    return CACHE_START + (uint64_t)page * PAGE;
}

/* True hints for some of the cache */
static void hint(PcGuest *g, uint32_t epoch, unsigned first, unsigned pages)
{
    pcguest_send_hint(g, epoch, cache_addr(first), first * 8, pages, 0);
}

/* @at: bytes, @len: at most 1 MiB */
static void assert_same(PcPair *p, uint64_t at, size_t len)
{
    g_autofree uint8_t *src = g_malloc(len), *dst = g_malloc(len);

    qtest_bufread(p->g->qts, at, src, len);
    qtest_bufread(p->dst, at, dst, len);
    g_assert_cmpmem(src, len, dst, len);
}

/* Both have completed; all of memory is the same, and @proven pages were. */
static void complete(PcPair *p, int64_t proven)
{
    uint64_t at;

    pair_wait_figure(p, "proven-pages", proven);
    pair_set_bandwidth(p, 0);
    wait_for_migration_complete(p->g->qts);
    wait_for_migration_complete(p->dst);
    g_assert_cmpint(pair_figure(p, "proven-pages"), ==, proven);
    assert_same(p, 0, VGA_START);
    for (at = VGA_END; at < GUEST_RAM_MIB * MiB; at += MiB) {
        assert_same(p, at, MiB);
    }
}

/* The same, and the driver goes on at the destination. */
static void finish(PcPair *p, int64_t proven)
{
    complete(p, proven);
    pair_finish(p);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'cont' }");
}

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
    struct {
        struct virtio_pagecache_hdr hdr;
        struct virtio_pagecache_hint hint;
    } QEMU_PACKED msg = {
        .hdr.type = cpu_to_le32(VIRTIO_PAGECACHE_MSG_HINTS),
        .hdr.epoch = cpu_to_le32(epoch),
        .hdr.count = cpu_to_le32(1),
        .hint.addr = cpu_to_le64(cache_addr(page)),
        .hint.sector = cpu_to_le64(page * 8),
        .hint.npages = cpu_to_le32(1),
    };

    qtest_memwrite(q->g->qts, q->g->msg, &msg, sizeof(msg));
    g_assert_cmpuint(packed_send(q, q->g->msg, sizeof(msg), 0), ==, 0);
}

/* A good driver: requests of two descriptors, and twice around the queue */
static void test_packed(void)
{
    PcPair *p = new_pair("-global virtio-pagecache-device.packed=on");
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
    finish(p, CACHE_PAGES);

    /* the queues go on where they were, on the other host */
    queue.g = p->g;
    queue.vq = p->g->hint;
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    epoch = pair_collect(p);
    for (i = 0; i < HALF; i++) {
        packed_hint(&queue, epoch, i);
    }
    finish(p, HALF);
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
    PcPair *p = new_pair("-global virtio-pagecache-device.packed=on");
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
    finish(p, 1);
    pair_assert_sane(p);
    pair_free(p);
}

/* --- two devices --- */

static PcGuest *new_second(PcPair *p)
{
    return pcguest_second(p->g, SECOND_SLOT, SECOND_MEMORY);
}

/* Each tells of its half, and both of some pages in the middle. */
static void test_two(void)
{
    PcPair *p = new_pair(TWO);
    PcGuest *second = new_second(p);
    uint32_t epoch;

    pcguest_probe(p->g);
    pcguest_probe(second);
    epoch = pair_collect(p);
    hint(p->g, epoch, 0, HALF + 10);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);

    epoch = pcguest_wait_epoch(second);
    hint(second, epoch, HALF, HALF);
    pcguest_send_end(second, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_figure(p, "hinted-pages", CACHE_PAGES + 10);
    g_assert_cmpint(pair_figure(p, "duplicate-pages"), ==, 10);
    pcguest_free_second(second);
    finish(p, CACHE_PAGES);
    pair_free(p);
}

/* Nobody drives the second one. */
static void test_two_one_driver(void)
{
    PcPair *p = new_pair(TWO);
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
    hint(p->g, epoch, 0, CACHE_PAGES);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    finish(p, CACHE_PAGES);
    pair_free(p);
}

/* One sends nonsense until it is heard no more; that costs the other nothing. */
static void test_two_one_bad(void)
{
    PcPair *p = new_pair(TWO);
    PcGuest *second = new_second(p);
    uint32_t epoch, bad;

    pcguest_probe(p->g);
    pcguest_probe(second);
    epoch = pair_collect(p);
    hint(p->g, epoch, 0, HALF);

    bad = pcguest_wait_epoch(second);
    while (!pcguest_config_irq(second)) {
        pcguest_send(second, VIRTIO_PAGECACHE_MSG_HINTS, bad, 1, NULL, 3);
        pcguest_sync(second);
    }
    g_assert_cmpuint(pcguest_epoch(second), ==, 0);
    hint(second, bad, HALF, HALF);
    pcguest_sync(second);

    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    hint(p->g, epoch, HALF, 10);
    pcguest_free_second(second);
    finish(p, HALF + 10);
    pair_free(p);
}

/* The hints of one differ from the disk and are given up, not the other's. */
static void test_two_one_wrong(void)
{
    PcPair *p = new_pair(TWO);
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
    hint(p->g, epoch, 0, CACHE_PAGES);
    pcguest_free_second(second);
    finish(p, CACHE_PAGES);
    pair_free(p);
}

/* --- a driver that goes for good --- */

static void leave(PcGuest *g)
{
    qvirtio_reset(&g->dev->vdev);
    pcguest_remove(g);
}

static void test_gone_before(void)
{
    PcPair *p = new_pair("");

    pcguest_probe(p->g);
    leave(p->g);
    pair_migrate(p);
    wait_for_migration_status(p->g->qts, "active", NULL);
    pcguest_probe(p->g);
    leave(p->g);
    complete(p, 0);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    pair_free(p);
}

/* What it has told is used, whether it was all or not. */
static void test_gone(const void *opaque)
{
    bool ended = GPOINTER_TO_INT(opaque);
    PcPair *p = new_pair("");
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
    hint(p->g, epoch, 0, HALF);
    if (ended) {
        pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    }
    /* and a message that the device may not have seen */
    pcguest_put(p->g, p->g->hint, p->g->msg, 16, 0);
    leave(p->g);
    complete(p, HALF);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, HALF);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/packed/good", test_packed);
    qtest_add_func("virtio-pagecache/packed/hostile", test_packed_hostile);
    qtest_add_func("virtio-pagecache/two/good", test_two);
    qtest_add_func("virtio-pagecache/two/one-driver", test_two_one_driver);
    qtest_add_func("virtio-pagecache/two/one-bad", test_two_one_bad);
    qtest_add_func("virtio-pagecache/two/one-wrong", test_two_one_wrong);
    qtest_add_func("virtio-pagecache/gone/before", test_gone_before);
    qtest_add_data_func("virtio-pagecache/gone/in-collection",
                        GINT_TO_POINTER(false), test_gone);
    qtest_add_data_func("virtio-pagecache/gone/after-end",
                        GINT_TO_POINTER(true), test_gone);
    return g_test_run();
}
