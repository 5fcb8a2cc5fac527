/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing target: the driver of virtio-pagecache, as the input wants it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The rings are written here and not by libqos's functions, which have a
 * well-behaved driver in mind.
 */
#include "qemu/osdep.h"

#include "exec/cpu-common.h"
#include "migration/ram.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "tests/qtest/libqtest.h"
#include "virtio_pagecache_fuzz.h"

/* Guest memory: the rings, and what they point to */
#define RING(q)         (1 * MiB + (q) * RING_BYTES)
#define RING_BYTES      (12 * KiB)
#define AVAIL(q)        (RING(q) + 4 * KiB)
#define USED(q)         (RING(q) + 8 * KiB)
#define ARENA           (4 * MiB)
#define ARENA_END       (16 * MiB)

#define RAM_PAGES       (PCFUZZ_RAM_MIB * MiB >> 12)
#define MAX_PARTS       8
#define FILLER          0xaa

typedef struct QEMU_PACKED Message {
    struct virtio_pagecache_hdr hdr;
    union {
        /* more than are allowed */
        struct virtio_pagecache_hint hints[PAGECACHE_BATCH_MAX + 8];
        struct virtio_pagecache_end end;
        struct virtio_pagecache_left_out left[VIRTIO_PAGECACHE_LEFT_OUT_MAX +
                                              8];
    };
} Message;

/* --- rings --- */

static void write_common(size_t offset, unsigned bytes, uint16_t value)
{
    uint64_t at = fz.pci->common_cfg_offset + offset;

    if (bytes == 1) {
        qpci_io_writeb(fz.pci->pdev, fz.pci->bar, at, value);
    } else {
        qpci_io_writew(fz.pci->pdev, fz.pci->bar, at, value);
    }
}

/* (libqtest's, in the fuzzer, does not free what it allocates) */
static void guest_fill(uint64_t at, uint8_t what, size_t size)
{
    g_autofree uint8_t *data = g_malloc(size);

    memset(data, what, size);
    qtest_memwrite(fz.qts, at, data, size);
}

void pcfuzz_probe(uint8_t how)
{
    uint64_t features = 1ULL << VIRTIO_F_VERSION_1;
    unsigned q;

    fz.indirect = how & 1;
    features |= fz.indirect ? 1ULL << VIRTIO_RING_F_INDIRECT_DESC : 0;
    features |= how & 2 ? 1ULL << VIRTIO_RING_F_EVENT_IDX : 0;
    features |= how & 16 ? 0 : 1ULL << VIRTIO_PAGECACHE_F_LEFT_OUT;
    qvirtio_start_device(fz.d);
    qvirtio_set_features(fz.d, features);
    memset(fz.ring, 0, sizeof(fz.ring));
    for (q = 0; q < VIRTIO_PAGECACHE_VQ_MAX; q++) {
        guest_fill(RING(q), 0, RING_BYTES);
        fz.ring[q].size = how & 4 ? 4 : q ? PCFUZZ_QUEUE_MAX : 16;
        fz.vq[q]->desc = RING(q);
        fz.vq[q]->avail = AVAIL(q);
        fz.vq[q]->used = USED(q);
        fz.d->bus->queue_select(fz.d, q);
        write_common(offsetof(struct virtio_pci_common_cfg, queue_size), 2,
                     fz.ring[q].size);
        fz.d->bus->set_queue_address(fz.d, fz.vq[q]);
        write_common(offsetof(struct virtio_pci_common_cfg, queue_enable), 2,
                     1);
    }
    fz.brk = ARENA;
    g_array_set_size(fz.sent, 0);
    fz.arrived = 0;
    fz.arrived_end = 0;
    fz.matched = 0;
    if (!(how & 8)) {
        qvirtio_set_driver_ok(fz.d);
    }
}

void pcfuzz_kick(unsigned q)
{
    fz.d->bus->virtqueue_kick(fz.d, fz.vq[q]);
}

static uint64_t guest_put(const void *data, size_t size)
{
    uint64_t at = fz.brk;

    g_assert_cmpuint(at + size, <=, ARENA_END);
    qtest_memwrite(fz.qts, at, data, size);
    fz.brk += size;
    return at;
}

static void write_desc(uint64_t table, uint16_t i, struct vring_desc d)
{
    d.addr = cpu_to_le64(d.addr);
    d.len = cpu_to_le32(d.len);
    d.flags = cpu_to_le16(d.flags);
    d.next = cpu_to_le16(d.next);
    qtest_memwrite(fz.qts, table + i * sizeof(d), &d, sizeof(d));
}

static void publish(unsigned q, uint16_t head)
{
    PcFuzzRing *ring = &fz.ring[q];

    qtest_writew(fz.qts, AVAIL(q) + offsetof(struct vring_avail, ring) +
                 2 * (ring->avail % ring->size), head);
    ring->avail++;
    qtest_writew(fz.qts, AVAIL(q) + offsetof(struct vring_avail, idx),
                 ring->avail);
}

/*
 * Makes a chain available if there is room for it.  @b: how it comes back; its
 * descriptors are filled in here.
 */
static bool put_chain(unsigned q, struct vring_desc *d, uint16_t n,
                      bool indirect, PcFuzzBuffer *b)
{
    PcFuzzRing *ring = &fz.ring[q];
    uint64_t table = RING(q);
    uint16_t i;

    b->head = ring->next;
    b->ndescs = indirect ? 1 : n;
    if (ring->in_use + b->ndescs > ring->size) {
        return false;
    }
    if (indirect) {
        table = QEMU_ALIGN_UP(fz.brk, 16);
        fz.brk = table + n * sizeof(*d);
        write_desc(RING(q), b->head, (struct vring_desc) {
            .addr = table, .len = n * sizeof(*d), .flags = VRING_DESC_F_INDIRECT
        });
    }
    for (i = 0; i < n; i++) {
        uint16_t at = indirect ? i : (b->head + i) % ring->size;

        d[i].next = indirect ? i + 1 : (at + 1) % ring->size;
        d[i].flags |= i + 1 < n ? VRING_DESC_F_NEXT : 0;
        write_desc(table, at, d[i]);
    }
    ring->next = (b->head + b->ndescs) % ring->size;
    ring->in_use += b->ndescs;
    ring->buffers[ring->avail % ring->size] = *b;
    publish(q, b->head);
    return true;
}

/*
 * A buffer of @out and room for @in bytes, cut into descriptors and laid out
 * as the input wants it
 */
static bool put(unsigned q, const void *out, uint32_t size, uint32_t in,
                uint32_t used)
{
    uint8_t how = pcfuzz_take(1);
    struct vring_desc d[2 * MAX_PARTS + 1];
    PcFuzzBuffer b = { .room = in, .used = used };
    uint64_t at = guest_put(out, size);
    uint32_t left = size;
    unsigned n = 0;
    bool write;

    if (in) {
        b.answer = fz.brk;
        guest_fill(b.answer, FILLER, in);
        fz.brk += in;
    }
    for (write = false; ; write = true, left = in, at = b.answer) {
        unsigned parts = how >> (write ? 3 : 0) & (MAX_PARTS - 1);

        while (left) {
            uint32_t len = parts ? pcfuzz_take(2) % left + 1 : left;

            parts -= !!parts;
            d[n++] = (struct vring_desc) {
                .addr = at, .len = len, .flags = write ? VRING_DESC_F_WRITE : 0
            };
            at += len;
            left -= len;
        }
        if (write) {
            break;
        }
    }
    return put_chain(q, d, n, fz.indirect && (how & 0x40), &b);
}

static void check_buffer(unsigned q, uint16_t i)
{
    PcFuzzRing *ring = &fz.ring[q];
    PcFuzzBuffer *b = &ring->buffers[i % ring->size];
    uint64_t at = USED(q) + offsetof(struct vring_used, ring) +
                  i % ring->size * sizeof(struct vring_used_elem);
    uint32_t status;

    g_assert_cmpuint(qtest_readl(fz.qts, at), ==, b->head);
    g_assert_cmpuint(qtest_readl(fz.qts, at + 4), ==, b->used);
    if (b->used >= sizeof(status)) {
        status = qtest_readl(fz.qts, b->answer);
        g_assert_cmpuint(status, <=, VIRTIO_PAGECACHE_S_BADREQ);
        g_assert_cmpint(status == VIRTIO_PAGECACHE_S_BADREQ, ==,
                        b->used == sizeof(status));
    }
    if (b->room > b->used) {
        g_assert_cmphex(qtest_readb(fz.qts, b->answer + b->used), ==, FILLER);
    }
    ring->in_use -= b->ndescs;
}

void pcfuzz_check_returned(void)
{
    unsigned q;

    if (fz.wild) {
        return;
    }
    g_assert_false(fz.vdev->broken);
    for (q = 0; q < VIRTIO_PAGECACHE_VQ_MAX; q++) {
        PcFuzzRing *ring = &fz.ring[q];
        uint16_t used = qtest_readw(fz.qts, USED(q) +
                                    offsetof(struct vring_used, idx));

        g_assert_cmpuint((uint16_t)(used - ring->returned), <=,
                         (uint16_t)(ring->avail - ring->returned));
        for (; ring->returned != used; ring->returned++) {
            check_buffer(q, ring->returned);
        }
    }
}

/* --- messages --- */

static uint64_t choose_addr(uint8_t how)
{
    switch (how % 8) {
    case 0 ... 2:
        return pcfuzz_take(2) % RAM_PAGES << 12;
    case 3:
        return (RAM_PAGES - pcfuzz_take(1)) << 12;
    case 4:
        return (0xa0 + pcfuzz_take(1) % 0x60) << 12;
    case 5:
        return pcfuzz_take(3);
    case 6:
        return -pcfuzz_take(2) << 12;
    default:
        return pcfuzz_take(8);
    }
}

static uint64_t choose_sector(uint8_t how)
{
    uint64_t n = fz.disks[how % ARRAY_SIZE(fz.disks)].sectors;

    switch (how >> 2 & 3) {
    case 0 ... 1:
        return pcfuzz_take(2);
    case 2:
        return n - pcfuzz_take(1);
    default:
        return pcfuzz_take(8);
    }
}

static uint32_t choose_npages(uint8_t how)
{
    switch (how >> 4 & 3) {
    case 0 ... 1:
        return pcfuzz_take(1) % 32;
    case 2:
        return RAM_PAGES + 1 - pcfuzz_take(1);
    default:
        return pcfuzz_take(4);
    }
}

static PagecacheHint choose_hint(void)
{
    uint8_t how = pcfuzz_take(1);

    return (PagecacheHint) {
        .gpa = choose_addr(pcfuzz_take(1)),
        .sector = choose_sector(how),
        .npages = choose_npages(how),
        .disk = how >> 6 == 3 ? pcfuzz_take(4) : how % 4,
    };
}

static struct virtio_pagecache_hint le_hint(const PagecacheHint *h)
{
    return (struct virtio_pagecache_hint) {
        .addr = cpu_to_le64(h->gpa),
        .sector = cpu_to_le64(h->sector),
        .npages = cpu_to_le32(h->npages),
        .disk = cpu_to_le32(h->disk),
    };
}

/* The collection that is wanted, or (not so often) another one */
static uint32_t choose_epoch(uint8_t how)
{
    return fz.dev->epoch + (how >= 0xe0 ? (int8_t)pcfuzz_take(1) : 0);
}

/* Can a part of it be right, if its disk is there? */
static bool may_arrive(const PagecacheHint *h)
{
    return h->npages && h->npages <= ram_bytes_total() >> 12 &&
           !(h->gpa & 4095) && h->gpa <= UINT64_MAX - h->npages * 4096ULL;
}

/* Remembers what the migration may get of a message that is in the queue. */
static void remember(const Message *m, size_t size, uint32_t in)
{
    uint32_t i, count = le32_to_cpu(m->hdr.count);
    PcFuzzSent sent = { .epoch = le32_to_cpu(m->hdr.epoch) };

    if (in || size < sizeof(m->hdr)) {
        return;
    }
    switch (le32_to_cpu(m->hdr.type)) {
    case VIRTIO_PAGECACHE_MSG_END:
        if (count == 1 && size == sizeof(m->hdr) + sizeof(m->end) &&
            le32_to_cpu(m->end.status) <= VIRTIO_PAGECACHE_END_PARTIAL) {
            g_array_append_val(fz.sent, sent);
        }
        break;
    case VIRTIO_PAGECACHE_MSG_HINTS:
        if (!count || count > PAGECACHE_BATCH_MAX ||
            size != sizeof(m->hdr) + count * sizeof(m->hints[0])) {
            break;
        }
        for (i = 0; i < count; i++) {
            sent.hint = (PagecacheHint) {
                .gpa = le64_to_cpu(m->hints[i].addr),
                .sector = le64_to_cpu(m->hints[i].sector),
                .npages = le32_to_cpu(m->hints[i].npages),
                .disk = le32_to_cpu(m->hints[i].disk),
            };
            if (may_arrive(&sent.hint)) {
                g_array_append_val(fz.sent, sent);
            }
        }
        break;
    }
}

/*
 * Sends @m, whose true length is @size, with a header that says so; or, if
 * the input wants it, with one that lies.
 */
static void send_msg(Message *m, uint32_t type, uint32_t count, size_t size)
{
    uint8_t how = pcfuzz_take(1), lie = pcfuzz_take(1);
    uint32_t in = lie & 1 && lie & 2 && lie & 4 ? pcfuzz_take(1) : 0;

    m->hdr = (struct virtio_pagecache_hdr) {
        .type = cpu_to_le32(lie >> 3 == 1 ? pcfuzz_take(4) : type),
        .epoch = cpu_to_le32(choose_epoch(how)),
        .count = cpu_to_le32(lie >> 3 == 2 ? pcfuzz_take(4) : count),
        .reserved = cpu_to_le32(how),
    };
    if (lie >> 3 == 3) {
        size += (int8_t)pcfuzz_take(1);
    } else if (lie >> 3 == 4) {
        size = pcfuzz_take(1);
    }
    size = MIN(MAX(size, 1), sizeof(*m));
    if (put(VIRTIO_PAGECACHE_VQ_HINT, m, size, in, 0)) {
        remember(m, size, in);
    }
}

void pcfuzz_put_hints(void)
{
    g_autofree Message *m = g_new0(Message, 1);
    uint8_t n = pcfuzz_take(1);
    uint32_t count = n < 0xf0 ? n % 8 : PAGECACHE_BATCH_MAX - 4 + n % 8;
    PagecacheHint h = { };
    uint32_t i;

    for (i = 0; i < count; i++) {
        if (i < 8) {
            h = choose_hint();
        } else {
            /* many that go on where the last one ended */
            h.gpa += 4096ULL * h.npages;
            h.sector += 8ULL * h.npages;
        }
        m->hints[i] = le_hint(&h);
    }
    send_msg(m, VIRTIO_PAGECACHE_MSG_HINTS, count,
             sizeof(m->hdr) + count * sizeof(m->hints[0]));
}

void pcfuzz_put_end(void)
{
    g_autofree Message *m = g_new0(Message, 1);
    uint8_t status = pcfuzz_take(1);

    m->end.status = cpu_to_le32(status < 0xf0 ? status & 1 : pcfuzz_take(4));
    send_msg(m, VIRTIO_PAGECACHE_MSG_END, 1, sizeof(m->hdr) + sizeof(m->end));
}

void pcfuzz_put_left_out(void)
{
    g_autofree Message *m = g_new0(Message, 1);
    uint8_t n = pcfuzz_take(1);
    uint32_t count = n < 0xf0 ? n % 4 : VIRTIO_PAGECACHE_LEFT_OUT_MAX - 4 +
                                        n % 8;
    uint32_t i;

    for (i = 0; i < count; i++) {
        uint8_t how = i < 4 ? pcfuzz_take(1) : 0;
        struct virtio_pagecache_left_out e = {
            .pages = cpu_to_le64(pcfuzz_take(how & 1 ? 8 : 2)),
            .reason = cpu_to_le32(how & 2 ? pcfuzz_take(4) : how >> 4),
        };

        memset(e.device, pcfuzz_take(1), how & 4 ? sizeof(e.device) : 3);
        memset(e.detail, pcfuzz_take(1), how & 8 ? sizeof(e.detail) : 2);
        e.device[1] = how;
        m->left[i] = e;
    }
    send_msg(m, VIRTIO_PAGECACHE_MSG_LEFT_OUT, count,
             sizeof(m->hdr) + count * sizeof(m->left[0]));
}

void pcfuzz_put_good(const PagecacheHint *hint)
{
    g_autofree Message *m = g_new0(Message, 1);

    m->hints[0] = le_hint(hint);
    send_msg(m, VIRTIO_PAGECACHE_MSG_HINTS, 1,
             sizeof(m->hdr) + sizeof(m->hints[0]));
    memset(m, 0, sizeof(*m));
    m->left[0].pages = cpu_to_le64(5);
    m->left[0].reason = cpu_to_le32(VIRTIO_PAGECACHE_LEFT_DM);
    memcpy(m->left[0].device, "dm-0", 4);
    memcpy(m->left[0].detail, "crypt", 5);
    send_msg(m, VIRTIO_PAGECACHE_MSG_LEFT_OUT, 1,
             sizeof(m->hdr) + sizeof(m->left[0]));
    memset(m, 0, sizeof(*m));
    send_msg(m, VIRTIO_PAGECACHE_MSG_END, 1, sizeof(m->hdr) + sizeof(m->end));
}

void pcfuzz_put_request(void)
{
    uint8_t how = pcfuzz_take(1);
    struct {
        struct virtio_pagecache_ctrl ctrl;
        char more[16];
    } req = {
        .ctrl = {
            .type = cpu_to_le32(how & 1 && how & 2 ? pcfuzz_take(4) : 0),
            .index = cpu_to_le32(how & 4 ? pcfuzz_take(4) : how >> 3 & 3),
        },
    };
    uint32_t out = how >> 5 == 6 ? pcfuzz_take(1) % sizeof(req) :
                                   sizeof(req.ctrl);
    uint32_t in = how >> 5 == 7 ? pcfuzz_take(1) :
                                  sizeof(struct virtio_pagecache_disk);
    uint32_t used = MIN(sizeof(uint32_t), in);

    if (out == sizeof(req.ctrl) && !req.ctrl.type &&
        in >= sizeof(struct virtio_pagecache_disk)) {
        used = sizeof(struct virtio_pagecache_disk);
    }
    if (in || out) {
        put(VIRTIO_PAGECACHE_VQ_CTRL, &req, out, in, used);
    }
}

/* --- wild --- */

void pcfuzz_put_raw(void)
{
    uint8_t how = pcfuzz_take(1);
    unsigned i, n = how % 4 + 1, q = how >> 2 & 1;
    PcFuzzRing *ring = &fz.ring[q];
    uint8_t text[256];
    size_t len;

    if (!fz.wild) {
        return;
    }
    len = MIN(pcfuzz_take(1), fz.left);
    for (i = 0; i < len; i++) {
        text[i] = pcfuzz_take(1);
    }
    guest_put(text, len);
    for (i = 0; i < n; i++) {
        uint8_t kind = pcfuzz_take(1);
        struct vring_desc d = {
            .addr = kind & 1 ? fz.brk - pcfuzz_take(1) :
                    kind & 2 ? RING(q) + pcfuzz_take(2) : pcfuzz_take(8),
            .len = kind & 4 ? pcfuzz_take(1) :
                   kind & 8 ? pcfuzz_take(2) : pcfuzz_take(4),
            .flags = kind >> 4 & 7,
            .next = kind & 0x80 ? pcfuzz_take(1) :
                                  (ring->next + i + 1) % ring->size,
        };

        write_desc(RING(q), (ring->next + i) % ring->size, d);
    }
    publish(q, ring->next);
    ring->next = (ring->next + n) % ring->size;
}

void pcfuzz_poke(void)
{
    uint8_t how = pcfuzz_take(1);
    uint64_t value = pcfuzz_take(how % 8 + 1);

    if (how & 8) {
        write_common(pcfuzz_take(1) % sizeof(struct virtio_pci_common_cfg), 1,
                     value);
    } else {
        qtest_memwrite(fz.qts, RING(0) + pcfuzz_take(2) % (2 * RING_BYTES),
                       &value, how % 8 + 1);
    }
}

/* --- what arrives --- */

/* Nothing is taken of a hint that reaches over the end. */
static bool is_on_disk(const PagecacheHint *h)
{
    uint64_t sectors = fz.disks[h->disk].sectors, need = h->npages * 8ULL;

    return need <= sectors && h->sector <= sectors - need;
}

/* It is a part of the next hint that was sent, or of one after that. */
static void check_sent(const PagecacheQueuedHint *q)
{
    uint64_t gpa = q->page << 12;

    g_assert_cmpstr(qemu_ram_get_idstr(q->rb), ==, "pc.ram");
    for (; fz.arrived < fz.sent->len; fz.arrived++, fz.arrived_end = 0) {
        PcFuzzSent *s = &g_array_index(fz.sent, PcFuzzSent, fz.arrived);
        uint64_t from = gpa - s->hint.gpa;

        if (s->epoch != fz.epoch) {
            continue;
        }
        /* nothing comes after an END */
        g_assert_cmpuint(s->hint.npages, !=, 0);
        if (q->disk == s->hint.disk && is_on_disk(&s->hint) &&
            gpa >= fz.arrived_end && from < (uint64_t)s->hint.npages << 12 &&
            q->sector == s->hint.sector + (from >> 9)) {
            fz.arrived_end = gpa + ((uint64_t)q->npages << 12);
            g_assert_cmphex(fz.arrived_end - s->hint.gpa, <=,
                            (uint64_t)s->hint.npages << 12);
            fz.matched++;
            return;
        }
    }
    g_assert_not_reached();
}

void pcfuzz_check_hint(const PagecacheQueuedHint *q)
{
    uint64_t pages = qemu_ram_get_used_length(q->rb) >> 12;
    PagecacheHint as_sent = {
        .sector = q->sector, .npages = q->npages, .disk = q->disk,
    };

    g_assert_true(fz.wanted);
    g_assert_cmpuint(q->npages, >, 0);
    g_assert_true(qemu_ram_is_migratable(q->rb));
    g_assert_cmpuint(q->page, <, pages);
    g_assert_cmpuint(q->npages, <=, pages - q->page);
    g_assert_cmpuint(q->disk, <, ARRAY_SIZE(fz.disks));
    g_assert_true(fz.disks[q->disk].present);
    g_assert_true(is_on_disk(&as_sent));
    if (!fz.wild) {
        check_sent(q);
    }
}

/* However it was sent: what there is of it is bounded, and can be shown. */
void pcfuzz_check_left_out(bool good)
{
    g_autoptr(MigrationPagecacheSource) info =
        g_new0(MigrationPagecacheSource, 1);
    MigrationPagecacheLeftOutList *l;
    unsigned n = 0;
    const char *c;

    pagecache_left_out_info(info);
    g_assert_true(info->has_left_out || !info->left_out);
    for (l = info->left_out; l; l = l->next, n++) {
        MigrationPagecacheLeftOut *e = l->value;

        g_assert_cmpuint(e->reason, <, PAGECACHE_LEFT_OUT_REASON__MAX);
        g_assert_cmpuint(e->pages, <=, ram_bytes_total() >> 12);
        for (c = e->device ?: ""; *c; c++) {
            g_assert_true(g_ascii_isprint(*c));
        }
        g_assert_cmpint(c - (e->device ?: c), <=, VIRTIO_PAGECACHE_DEVICE_LEN);
        for (c = e->detail ?: ""; *c; c++) {
            g_assert_true(g_ascii_isprint(*c));
        }
        g_assert_cmpint(c - (e->detail ?: c), <=, VIRTIO_PAGECACHE_DETAIL_LEN);
        if (good) {
            g_assert_cmpstr(e->device, ==, "dm-0");
            g_assert_cmpstr(e->detail, ==, "crypt");
            g_assert_cmpint(e->reason, ==, PAGECACHE_LEFT_OUT_REASON_DM);
            g_assert_cmpuint(e->pages, ==, 5);
        }
    }
    if (good) {
        g_assert_cmpuint(n, ==, 1);
    }
    g_assert_cmpuint(n, <=, VIRTIO_PAGECACHE_LEFT_OUT_MAX);
}
