/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest with a driver for virtio-pagecache, for qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-ram.h"
#include "virtio-pagecache-guest.h"

#define PAGE            4096u
#define ACPI_EJECT      0xae08
/* Where no memory is to be compared */
#define VGA_START       (640 * KiB)
#define VGA_END         (1 * MiB)

static char *machine(const char *args)
{
    return g_strdup_printf("-machine pc -m %d -nodefaults "
                           "-device virtio-pagecache-pci,id=pagecache,"
                           "addr=0x%x %s", GUEST_RAM_MIB, GUEST_SLOT, args);
}

/* Memory for messages: what a driver has besides its queues */
static void alloc_buffers(PcGuest *g)
{
    g->msg = guest_alloc(&g->alloc, GUEST_MSG_SIZE);
    g->req = guest_alloc(&g->alloc, 4096);
}

PcGuest *pcguest_new(const char *args)
{
    PcGuest *g = g_new0(PcGuest, 1);
    g_autofree char *cmdline = machine(args);

    g->qts = qtest_init(cmdline);
    g->slot = GUEST_SLOT;
    pc_alloc_init(&g->alloc, g->qts, ALLOC_NO_FLAGS);
    g->bus = qpci_new_pc(g->qts, &g->alloc);
    alloc_buffers(g);
    return g;
}

QTestState *pcguest_incoming(const char *args, const char *uri)
{
    g_autofree char *cmdline = machine(args);

    return qtest_initf("%s -incoming %s", cmdline, uri);
}

/* The driver's state is in the guest: only who runs the guest changes. */
PcGuest *pcguest_arrived(PcGuest *from, QTestState *to)
{
    PcGuest *g = g_new0(PcGuest, 1);
    QVirtQueuePCI *vq;

    g->qts = to;
    g->slot = from->slot;
    g->msg = from->msg;
    g->req = from->req;
    pc_alloc_init(&g->alloc, to, ALLOC_NO_FLAGS);
    g->bus = qpci_new_pc(to, &g->alloc);
    g->dev = g_memdup2(from->dev, sizeof(*from->dev));
    g->dev->pdev = g_memdup2(from->dev->pdev, sizeof(*from->dev->pdev));
    g->dev->pdev->bus = g->bus;

    vq = g_memdup2(container_of(from->ctrl, QVirtQueuePCI, vq), sizeof(*vq));
    vq->vq.vdev = &g->dev->vdev;
    g->ctrl = &vq->vq;
    vq = g_memdup2(container_of(from->hint, QVirtQueuePCI, vq), sizeof(*vq));
    vq->vq.vdev = &g->dev->vdev;
    g->hint = &vq->vq;
    return g;
}

static void free_queue(QVirtQueue **vq)
{
    if (*vq) {
        g_free(container_of(*vq, QVirtQueuePCI, vq));
        *vq = NULL;
    }
}

void pcguest_remove(PcGuest *g)
{
    free_queue(&g->ctrl);
    free_queue(&g->hint);
    if (g->dev) {
        g_free(g->dev->pdev);
        g_free(g->dev);
        g->dev = NULL;
    }
}

void pcguest_wait_deleted(QTestState *qts, const char *id)
{
    const char *device;
    QDict *rsp;

    do {
        rsp = qtest_qmp_eventwait_ref(qts, "DEVICE_DELETED");
        device = qdict_get_try_str(qdict_get_qdict(rsp, "data"), "device");
        if (device && !strcmp(device, id)) {
            id = NULL;
        }
        qobject_unref(rsp);
    } while (id);
}

void pcguest_eject(PcGuest *g, const char *id)
{
    pcguest_remove(g);
    qtest_outl(g->qts, ACPI_EJECT, 1 << g->slot);
    pcguest_wait_deleted(g->qts, id);
    g_assert_null(qpci_device_find(g->bus, QPCI_DEVFN(g->slot, 0)));
}

void pcguest_free(PcGuest *g)
{
    pcguest_remove(g);
    qtest_quit(g->qts);
    qpci_free_pc(g->bus);
    alloc_destroy(&g->alloc);
    g_free(g);
}

static QVirtQueue *setup_queue(PcGuest *g, uint16_t index)
{
    QVirtQueue *vq = qvirtqueue_setup(&g->dev->vdev, &g->alloc, index);

    qvirtqueue_pci_msix_setup(g->dev, container_of(vq, QVirtQueuePCI, vq),
                              &g->alloc, index + 1);
    return vq;
}

void pcguest_probe(PcGuest *g)
{
    pcguest_probe_with(g, 0);
}

void pcguest_probe_with(PcGuest *g, uint64_t features)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(g->slot, 0) };
    QVirtioDevice *vdev;

    if (!g->dev) {
        g->dev = virtio_pci_new(g->bus, &addr);
        g_assert_nonnull(g->dev);
        g_assert_cmphex(g->dev->vdev.device_type, ==, VIRTIO_ID_PAGECACHE);
        qvirtio_pci_device_enable(g->dev);
        qpci_msix_enable(g->dev->pdev);
    }
    vdev = &g->dev->vdev;
    qvirtio_start_device(vdev);
    free_queue(&g->ctrl);
    free_queue(&g->hint);
    qvirtio_pci_set_msix_configuration_vector(g->dev, &g->alloc, 0);
    qvirtio_set_features(vdev, 1ull << VIRTIO_F_VERSION_1 | features);
    g->ctrl = setup_queue(g, VIRTIO_PAGECACHE_VQ_CTRL);
    g->hint = setup_queue(g, VIRTIO_PAGECACHE_VQ_HINT);
    qvirtio_set_driver_ok(vdev);
}

uint32_t pcguest_epoch(PcGuest *g)
{
    return qvirtio_config_readl(&g->dev->vdev,
                                offsetof(struct virtio_pagecache_config,
                                         epoch));
}

uint32_t pcguest_num_disks(PcGuest *g)
{
    return qvirtio_config_readl(&g->dev->vdev,
                                offsetof(struct virtio_pagecache_config,
                                         num_disks));
}

bool pcguest_config_irq(PcGuest *g)
{
    if (qtest_readl(g->qts, g->dev->config_msix_addr) !=
        g->dev->config_msix_data) {
        return false;
    }
    qtest_writel(g->qts, g->dev->config_msix_addr, 0);
    return true;
}

uint32_t pcguest_wait_epoch(PcGuest *g)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (!pcguest_config_irq(g)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    return pcguest_epoch(g);
}

void pcguest_put(PcGuest *g, QVirtQueue *vq, uint64_t addr, uint32_t out,
                 uint32_t in)
{
    uint32_t head;

    if (vq->free_head + 2 > vq->size) {
        vq->free_head = 0;      /* the test has seen to it that they are free */
    }
    head = vq->free_head;
    if (out) {
        qvirtqueue_add(g->qts, vq, addr, out, false, in);
    }
    if (in) {
        qvirtqueue_add(g->qts, vq, addr + out, in, true, false);
    }
    qvirtqueue_kick(g->qts, &g->dev->vdev, vq, head);
}

bool pcguest_get(PcGuest *g, QVirtQueue *vq, uint32_t *used)
{
    return qvirtqueue_get_buf(g->qts, vq, NULL, used);
}

uint32_t pcguest_wait(PcGuest *g, QVirtQueue *vq)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    uint32_t used;

    while (!pcguest_get(g, vq, &used)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(500);
    }
    return used;
}

uint32_t pcguest_write(PcGuest *g, uint32_t type, uint32_t epoch,
                       uint32_t count, const void *payload, size_t size)
{
    struct virtio_pagecache_hdr hdr = {
        .type = cpu_to_le32(type),
        .epoch = cpu_to_le32(epoch),
        .count = cpu_to_le32(count),
    };

    g_assert_cmpint(sizeof(hdr) + size, <=, GUEST_MSG_SIZE);
    qtest_memwrite(g->qts, g->msg, &hdr, sizeof(hdr));
    if (payload) {
        qtest_memwrite(g->qts, g->msg + sizeof(hdr), payload, size);
    }
    return sizeof(hdr) + size;
}

uint32_t pcguest_write_hint(PcGuest *g, uint32_t epoch, uint64_t addr,
                            uint64_t sector, uint32_t npages, uint32_t disk)
{
    struct virtio_pagecache_hint hint = {
        .addr = cpu_to_le64(addr),
        .sector = cpu_to_le64(sector),
        .npages = cpu_to_le32(npages),
        .disk = cpu_to_le32(disk),
    };

    return pcguest_write(g, VIRTIO_PAGECACHE_MSG_HINTS, epoch, 1, &hint,
                         sizeof(hint));
}

static void send_written(PcGuest *g, uint32_t len)
{
    pcguest_put(g, g->hint, g->msg, len, 0);
    g_assert_cmpint(pcguest_wait(g, g->hint), ==, 0);
}

void pcguest_send(PcGuest *g, uint32_t type, uint32_t epoch, uint32_t count,
                  const void *payload, size_t size)
{
    send_written(g, pcguest_write(g, type, epoch, count, payload, size));
}

void pcguest_send_hint(PcGuest *g, uint32_t epoch, uint64_t addr,
                       uint64_t sector, uint32_t npages, uint32_t disk)
{
    send_written(g, pcguest_write_hint(g, epoch, addr, sector, npages, disk));
}

void pcguest_send_end(PcGuest *g, uint32_t epoch, uint32_t status)
{
    struct virtio_pagecache_end end = { .status = cpu_to_le32(status) };

    pcguest_send(g, VIRTIO_PAGECACHE_MSG_END, epoch, 1, &end, sizeof(end));
}

void pcguest_send_left_out(PcGuest *g, uint32_t epoch,
                           const struct virtio_pagecache_left_out *list,
                           uint32_t n)
{
    pcguest_send(g, VIRTIO_PAGECACHE_MSG_LEFT_OUT, epoch, n, list,
                 n * sizeof(*list));
}

uint32_t pcguest_get_disk(PcGuest *g, uint32_t index,
                          struct virtio_pagecache_disk *disk)
{
    struct virtio_pagecache_ctrl req = {
        .type = cpu_to_le32(VIRTIO_PAGECACHE_CTRL_GET_DISK),
        .index = cpu_to_le32(index),
    };

    qtest_memwrite(g->qts, g->req, &req, sizeof(req));
    qtest_memset(g->qts, g->req + sizeof(req), 0xaa, sizeof(*disk));
    pcguest_put(g, g->ctrl, g->req, sizeof(req), sizeof(*disk));
    g_assert_cmpint(pcguest_wait(g, g->ctrl), ==, sizeof(*disk));
    qtest_memread(g->qts, g->req + sizeof(req), disk, sizeof(*disk));

    disk->flags = le32_to_cpu(disk->flags);
    disk->capacity = le64_to_cpu(disk->capacity);
    disk->pci_segment = le16_to_cpu(disk->pci_segment);
    disk->scsi_channel = le32_to_cpu(disk->scsi_channel);
    disk->scsi_target = le32_to_cpu(disk->scsi_target);
    disk->scsi_lun = le64_to_cpu(disk->scsi_lun);
    disk->status = le32_to_cpu(disk->status);
    return disk->status;
}

void pcguest_sync(PcGuest *g)
{
    struct virtio_pagecache_disk disk;

    pcguest_get_disk(g, UINT32_MAX, &disk);
}

uint32_t pcguest_find_disk(PcGuest *g, const char *serial,
                           struct virtio_pagecache_disk *disk)
{
    uint32_t i;

    for (i = 0; i < 32; i++) {
        if (pcguest_get_disk(g, i, disk) == VIRTIO_PAGECACHE_S_OK &&
            !strncmp((char *)disk->serial, serial, sizeof(disk->serial))) {
            return i;
        }
    }
    g_test_message("no disk with serial '%s'", serial);
    g_assert_not_reached();
}

/* --- a pair of hosts --- */

static QTestState *new_destination(PcPair *p)
{
    QTestState *dst = pcguest_incoming(p->args, "defer");

    migrate_set_capability(dst, "skip-pagecache", true);
    /* a cancelled migration is not the end of it */
    qtest_qmp_assert_success(dst, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s,"
                             " 'exit-on-error': false } }", p->uri);
    return dst;
}

PcPair *pair_new(const char *args)
{
    PcPair *p = g_new0(PcPair, 1);
    g_autofree char *disk = NULL;
    int fd;

    p->dir = g_dir_make_tmp("virtio-pagecache-test-XXXXXX", NULL);
    g_assert_nonnull(p->dir);
    p->uri = g_strdup_printf("unix:%s/migrate", p->dir);
    disk = g_strdup_printf("%s/disk", p->dir);
    fd = open(disk, O_CREAT | O_RDWR, 0600);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, DISK_SECTORS * 512), ==, 0);
    close(fd);
    p->args = g_strdup_printf(
        "-blockdev file,node-name=disk0,filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,serial=first,addr=0x5 %s",
        disk, args);
    p->g = pcguest_new(p->args);
    qtest_memset(p->g->qts, FILL_START, 0x5a, FILL_END - FILL_START);
    return p;
}

void pair_free(PcPair *p)
{
    g_autofree char *disk = g_strdup_printf("%s/disk", p->dir);
    g_autofree char *sock = g_strdup_printf("%s/migrate", p->dir);

    if (p->g) {
        pcguest_free(p->g);
    }
    if (p->dst) {
        qtest_quit(p->dst);
    }
    unlink(disk);
    unlink(sock);
    g_rmdir(p->dir);
    g_free(p->args);
    g_free(p->uri);
    g_free(p->dir);
    g_free(p);
}

void pair_set_bandwidth(PcPair *p, long long bytes_per_second)
{
    migrate_set_parameter_int(p->g->qts, "max-bandwidth", bytes_per_second);
}

void pair_migrate(PcPair *p)
{
    p->dst = new_destination(p);
    migrate_set_capability(p->g->qts, "skip-pagecache", true);
    pair_set_bandwidth(p, SLOW_BANDWIDTH);
    migrate_qmp(p->g->qts, p->dst, p->uri, NULL, "{}");
}

uint32_t pair_collect(PcPair *p)
{
    uint32_t epoch;

    pair_migrate(p);
    epoch = pcguest_wait_epoch(p->g);
    g_assert_cmpuint(epoch, !=, 0);
    return epoch;
}

void pair_cancel(PcPair *p)
{
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'migrate_cancel' }");
    wait_for_migration_cancelled(p->g->qts);
    qtest_quit(p->dst);
    p->dst = NULL;
}

void pair_finish(PcPair *p)
{
    PcGuest *src = p->g;

    pair_set_bandwidth(p, 0);
    wait_for_migration_complete(src->qts);
    wait_for_migration_complete(p->dst);
    p->g = pcguest_arrived(src, p->dst);
    p->dst = NULL;
    pcguest_free(src);
}

int64_t pair_figure(PcPair *p, const char *name)
{
    QDict *rsp = migrate_query(p->g->qts);
    QDict *info = qdict_get_qdict(rsp, "pagecache"), *source;
    int64_t n;

    g_assert_nonnull(info);
    source = qdict_get_qdict(info, "source");
    g_assert_nonnull(source);
    n = qdict_get_try_int(source, name, -1);
    if (n < 0) {
        n = qdict_get_try_int(info, name, -1);
    }
    qobject_unref(rsp);
    return n;
}

void pair_wait_figure(PcPair *p, const char *name, int64_t want)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    int64_t n;

    while ((n = pair_figure(p, name)) != want) {
        if (g_get_monotonic_time() > end) {
            g_test_message("%s", name);
            g_assert_cmpint(n, ==, want);
        }
        g_usleep(10 * 1000);
    }
}

static char *word(PcPair *p, const char *name)
{
    QDict *rsp = migrate_query(p->g->qts);
    QDict *source = qdict_get_qdict(qdict_get_qdict(rsp, "pagecache"),
                                    "source");
    char *found = g_strdup(qdict_get_try_str(source, name) ?: "");

    qobject_unref(rsp);
    return found;
}

void pair_wait_word(PcPair *p, const char *name, const char *want)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    for (;;) {
        g_autofree char *found = word(p, name);

        if (!strcmp(found, want)) {
            return;
        }
        if (g_get_monotonic_time() > end) {
            g_assert_cmpstr(found, ==, want);
        }
        g_usleep(10 * 1000);
    }
}

void pair_assert_sane(PcPair *p)
{
    struct virtio_pagecache_disk disk;

    pcguest_probe(p->g);
    pcguest_find_disk(p->g, "first", &disk);
    g_assert_cmpuint(disk.capacity, ==, DISK_SECTORS);
}

/* --- a pair whose guest has a cache --- */

/* -S: nothing runs at the destination, or its memory might differ already */
PcPair *pair_new_cache(const char *args)
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

uint64_t cache_addr(unsigned page)
{
    return CACHE_START + (uint64_t)page * PAGE;
}

void pcguest_hint_cache(PcGuest *g, uint32_t epoch, unsigned first,
                        unsigned pages)
{
    pcguest_send_hint(g, epoch, cache_addr(first), first * 8, pages, 0);
}

/* @at, @len: bytes */
static void assert_same(PcPair *p, uint64_t at, size_t len)
{
    g_autofree uint8_t *src = g_malloc(len), *dst = g_malloc(len);

    pct_ram_read(p->g->qts, at, src, len);
    pct_ram_read(p->dst, at, dst, len);
    g_assert_cmpmem(src, len, dst, len);
}

void pair_complete(PcPair *p, int64_t proven)
{
    pair_wait_figure(p, "proven-pages", proven);
    pair_set_bandwidth(p, 0);
    wait_for_migration_complete(p->g->qts);
    wait_for_migration_complete(p->dst);
    g_assert_cmpint(pair_figure(p, "proven-pages"), ==, proven);
    assert_same(p, 0, VGA_START);
    assert_same(p, VGA_END, GUEST_RAM_MIB * MiB - VGA_END);
}

void pair_move(PcPair *p, int64_t proven)
{
    pair_complete(p, proven);
    pair_finish(p);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'cont' }");
}
