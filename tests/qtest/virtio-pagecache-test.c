/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: the device and a hostile driver
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Collections are real ones: a migration with skip-pagecache wants them.  It
 * goes at SLOW_BANDWIDTH, so that it is under way for as long as a test needs
 * it, and the memory below FILL_END holds something to send.
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "virtio-pagecache-guest.h"

#define DISK_SECTORS    (16 * 2048)             /* 16 MiB */
#define SLOW_BANDWIDTH  (64 * 1024)             /* bytes per second */
#define FILL_START      (1 * 1024 * 1024)       /* guest addresses */
#define FILL_END        (16 * 1024 * 1024)
#define MAX_HINTS       1024
#define FLOOD           128                     /* buffers at a time */

/* A VM with a disk (blk0), and a destination for it */
typedef struct Pair {
    char *dir;
    char *uri;
    char *args;
    PcGuest *g;
    QTestState *dst;
} Pair;

static QTestState *new_destination(Pair *p)
{
    QTestState *dst = pcguest_incoming(p->args, "defer");

    migrate_set_capability(dst, "skip-pagecache", true);
    /* a cancelled migration is not the end of it */
    qtest_qmp_assert_success(dst, "{ 'execute': 'migrate-incoming',"
                             " 'arguments': { 'uri': %s,"
                             " 'exit-on-error': false } }", p->uri);
    return dst;
}

static Pair *pair_new(const char *args)
{
    Pair *p = g_new0(Pair, 1);
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

static void pair_free(Pair *p)
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

static void set_bandwidth(Pair *p, long long bytes_per_second)
{
    migrate_set_parameter_int(p->g->qts, "max-bandwidth", bytes_per_second);
}

/* Begins a migration that goes on until set_bandwidth() or cancel() */
static void start_migration(Pair *p)
{
    p->dst = new_destination(p);
    migrate_set_capability(p->g->qts, "skip-pagecache", true);
    set_bandwidth(p, SLOW_BANDWIDTH);
    migrate_qmp(p->g->qts, p->dst, p->uri, NULL, "{}");
}

/* ... and returns the epoch of the collection that it wants */
static uint32_t start_collection(Pair *p)
{
    uint32_t epoch;

    start_migration(p);
    epoch = pcguest_wait_epoch(p->g);
    g_assert_cmpuint(epoch, !=, 0);
    return epoch;
}

static void cancel(Pair *p)
{
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'migrate_cancel' }");
    wait_for_migration_status(p->g->qts, "cancelled", NULL);
    qtest_quit(p->dst);
    p->dst = NULL;
}

/* Lets the migration end.  p->g goes on at the destination, stopped or not. */
static void finish(Pair *p)
{
    PcGuest *src = p->g;

    set_bandwidth(p, 0);
    wait_for_migration_complete(src->qts);
    wait_for_migration_complete(p->dst);
    p->g = pcguest_arrived(src, p->dst);
    p->dst = NULL;
    pcguest_free(src);
}

/* A figure of query-migrate's statistics of skip-pagecache */
static int64_t figure(Pair *p, const char *name)
{
    QDict *rsp = migrate_query(p->g->qts);
    QDict *info = qdict_get_qdict(rsp, "pagecache");
    int64_t n;

    g_assert_nonnull(info);
    n = qdict_get_try_int(info, name, -1);
    qobject_unref(rsp);
    return n;
}

/* The migration thread publishes its figures when it comes by. */
static void wait_figure(Pair *p, const char *name, int64_t want)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    int64_t n;

    while ((n = figure(p, name)) != want) {
        if (g_get_monotonic_time() > end) {
            g_test_message("%s", name);
            g_assert_cmpint(n, ==, want);
        }
        g_usleep(10 * 1000);
    }
}

static int64_t ram_transferred(Pair *p)
{
    QDict *rsp = migrate_query(p->g->qts);
    int64_t n = qdict_get_int(qdict_get_qdict(rsp, "ram"), "transferred");

    qobject_unref(rsp);
    return n;
}

static void wait_map_time(Pair *p)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (figure(p, "map-time") < 0) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10 * 1000);
    }
}

/* The index of the disk with @serial; its entry is *@disk. */
static uint32_t find_disk(PcGuest *g, const char *serial,
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

/* Still the device that it should be: goes through a reset, and answers */
static void assert_sane(Pair *p)
{
    struct virtio_pagecache_disk disk;

    pcguest_probe(p->g);
    find_disk(p->g, "first", &disk);
    g_assert_cmpuint(disk.capacity, ==, DISK_SECTORS);
}

/* --- the device itself --- */

static void test_identity(void)
{
    PcGuest *g = pcguest_new("");
    QPCIDevice *pdev;
    uint64_t features;

    pdev = qpci_device_find(g->bus, QPCI_DEVFN(GUEST_SLOT, 0));
    g_assert_nonnull(pdev);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_VENDOR_ID), ==, 0x1af4);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_DEVICE_ID), ==, 0x107f);
    g_assert_cmphex(qpci_config_readb(pdev, PCI_REVISION_ID), >=, 1);
    /* no BAR of the legacy interface */
    g_assert_cmphex(qpci_config_readl(pdev, PCI_BASE_ADDRESS_0), ==, 0);
    g_free(pdev);

    pcguest_probe(g);
    features = qvirtio_get_features(&g->dev->vdev);
    g_assert_true(features & (1ull << VIRTIO_F_VERSION_1));
    /* none of its own: bits 0 to 23, 50 to 63 */
    g_assert_cmphex(features & 0xfffc000000ffffffull, ==, 0);
    g_assert_cmpuint(pcguest_epoch(g), ==, 0);
    g_assert_cmpuint(qvirtio_config_readl(&g->dev->vdev, 8), ==, MAX_HINTS);
    g_assert_false(pcguest_config_irq(g));
    pcguest_free(g);
}

/* Legacy can't be asked for. */
static void test_force_modern(void)
{
    QTestState *qts = qtest_init("-machine pc -nodefaults -device "
                                 "virtio-pagecache-pci,addr=0x4,"
                                 "disable-modern=on,disable-legacy=off");
    QPCIBus *bus = qpci_new_pc(qts, NULL);
    QPCIDevice *pdev = qpci_device_find(bus, QPCI_DEVFN(4, 0));

    g_assert_nonnull(pdev);
    g_assert_cmphex(qpci_config_readw(pdev, PCI_DEVICE_ID), ==, 0x107f);
    g_free(pdev);
    qpci_free_pc(bus);
    qtest_quit(qts);
}

static void test_query_status(void)
{
    PcGuest *g = pcguest_new("");
    const char *path = "/machine/peripheral/pagecache/virtio-backend";
    g_autofree char *hmp = NULL;
    QDict *rsp;
    QList *list;

    pcguest_probe(g);
    rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'x-query-virtio-status',"
        " 'arguments': { 'path': %s } }", path);
    g_assert_cmpstr(qdict_get_str(rsp, "name"), ==, "virtio-pagecache");
    g_assert_cmpint(qdict_get_int(rsp, "device-id"), ==, VIRTIO_ID_PAGECACHE);
    g_assert_cmpint(qdict_get_int(rsp, "num-vqs"), ==, VIRTIO_PAGECACHE_VQ_MAX);
    g_assert_false(qdict_get_bool(rsp, "broken"));
    g_assert_false(qdict_haskey(qdict_get_qdict(rsp, "guest-features"),
                                "unknown-dev-features"));
    qobject_unref(rsp);

    rsp = qtest_qmp(g->qts, "{ 'execute': 'x-query-virtio' }");
    list = qdict_get_qlist(rsp, "return");
    g_assert_cmpint(qlist_size(list), ==, 1);
    qobject_unref(rsp);

    hmp = qtest_hmp(g->qts, "info virtio-status %s", path);
    g_assert_nonnull(strstr(hmp, "virtio-pagecache"));
    pcguest_free(g);
}

static void wait_deleted(QTestState *qts, const char *id)
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

static void test_hotplug(void)
{
    PcGuest *g = pcguest_new("");
    int i;

    /* the one that is there is unplugged first, and is in use */
    for (i = 0; i < 3; i++) {
        pcguest_probe(g);
        pcguest_sync(g);
        pcguest_remove(g);
        qpci_unplug_acpi_device_test(g->qts, "pagecache", GUEST_SLOT);
        g_assert_null(qpci_device_find(g->bus, QPCI_DEVFN(GUEST_SLOT, 0)));
        qtest_qmp_device_add(g->qts, "virtio-pagecache-pci", "pagecache",
                             "{ 'addr': %s }", stringify(GUEST_SLOT));
    }
    pcguest_probe(g);
    pcguest_sync(g);
    pcguest_free(g);
}

static void test_hotplug_root_port(void)
{
    QTestState *qts = qtest_init("-machine q35 -nodefaults "
                                 "-device pcie-root-port,id=port0");
    int i;

    for (i = 0; i < 2; i++) {
        qtest_qmp_device_add(qts, "virtio-pagecache-pci", "pagecache",
                             "{ 'bus': 'port0' }");
        qtest_qmp_device_del_send(qts, "pagecache");
        /* nobody answers the request before the reset */
        qtest_system_reset_nowait(qts);
        wait_deleted(qts, "pagecache");
    }
    qtest_quit(qts);
}

/* The guest acknowledges an unplug while it is asked for its map. */
static void test_unplug_in_collection(void)
{
    Pair *p = pair_new("");
    uint32_t epoch;

    pcguest_probe(p->g);
    qtest_qmp_device_del_send(p->g->qts, "pagecache");
    epoch = start_collection(p);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 1, 0);
    pcguest_remove(p->g);
    qtest_outl(p->g->qts, 0xae08, 1 << GUEST_SLOT);     /* ACPI eject */
    wait_deleted(p->g->qts, "pagecache");
    g_assert_null(qpci_device_find(p->g->bus, QPCI_DEVFN(GUEST_SLOT, 0)));
    cancel(p);
    pair_free(p);
}

/* --- the disk table --- */

static void test_get_disk(void)
{
    Pair *p = pair_new(
        "-blockdev null-co,node-name=n1,size=1048576,read-zeroes=on "
        "-blockdev null-co,node-name=n2,size=2097152,read-zeroes=on "
        "-blockdev null-co,node-name=n3,size=4194304,read-zeroes=on,"
        "read-only=on "
        "-blockdev null-co,node-name=n4,size=8388608,read-zeroes=on "
        "-device virtio-scsi-pci,id=scsi0,addr=0x6 "
        "-device scsi-hd,drive=n1,bus=scsi0.0,channel=0,scsi-id=3,lun=0,"
        "serial=scsi-low "
        "-device scsi-hd,drive=n2,bus=scsi0.0,channel=0,scsi-id=255,lun=300,"
        "serial=scsi-high "
        "-device pci-bridge,id=bridge,chassis_nr=1,addr=0x7 "
        "-device virtio-blk-pci,bus=bridge,addr=0x3,drive=n3,"
        "serial=twenty-characters-only "
        "-device ide-hd,id=ide0,bus=ide.0,drive=n4,serial=on-ide");
    PcGuest *g = p->g;
    struct virtio_pagecache_disk disk;
    QPCIDevice *bridge;
    uint32_t i, absent = 0;

    pcguest_probe(g);

    find_disk(g, "first", &disk);
    g_assert_cmphex(disk.flags, ==, VIRTIO_PAGECACHE_DISK_F_PCI);
    g_assert_cmpuint(disk.capacity, ==, DISK_SECTORS);
    g_assert_cmphex(disk.pci_segment, ==, 0);
    g_assert_cmphex(disk.pci_bus, ==, 0);
    g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(5, 0));
    g_assert_cmpuint(disk.reserved, ==, 0);

    find_disk(g, "scsi-low", &disk);
    g_assert_cmphex(disk.flags, ==, VIRTIO_PAGECACHE_DISK_F_PCI |
                                    VIRTIO_PAGECACHE_DISK_F_SCSI);
    g_assert_cmpuint(disk.capacity, ==, 2048);
    g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(6, 0));
    g_assert_cmpuint(disk.scsi_channel, ==, 0);
    g_assert_cmpuint(disk.scsi_target, ==, 3);
    g_assert_cmpuint(disk.scsi_lun, ==, 0);

    find_disk(g, "scsi-high", &disk);
    g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(6, 0));
    g_assert_cmpuint(disk.scsi_target, ==, 255);
    g_assert_cmpuint(disk.scsi_lun, ==, 300);

    /* the guest numbers its buses as it likes, and sees 20 characters */
    bridge = qpci_device_find(g->bus, QPCI_DEVFN(7, 0));
    g_assert_nonnull(bridge);
    for (i = 5; i < 200; i += 100) {
        qpci_config_writeb(bridge, PCI_SECONDARY_BUS, i);
        find_disk(g, "twenty-characters-on", &disk);
        g_assert_cmphex(disk.flags, ==, VIRTIO_PAGECACHE_DISK_F_PCI |
                                        VIRTIO_PAGECACHE_DISK_F_RO);
        g_assert_cmphex(disk.pci_bus, ==, i);
        g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(3, 0));
    }
    g_free(bridge);

    /* its PCI function has four disks */
    find_disk(g, "on-ide", &disk);
    g_assert_cmphex(disk.flags, ==, 0);
    g_assert_cmpuint(disk.capacity, ==, 16384);

    for (i = 5; i < 70; i++) {
        absent += pcguest_get_disk(g, i, &disk) == VIRTIO_PAGECACHE_S_ABSENT;
        g_assert_cmpuint(disk.capacity, ==, 0);
        g_assert_cmpuint(disk.flags, ==, 0);
    }
    g_assert_cmpuint(absent, ==, 65);
    g_assert_cmpuint(pcguest_get_disk(g, UINT32_MAX, &disk), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);
    pair_free(p);
}

/* A disk goes and comes back under its index; none takes its place. */
static void test_get_disk_absent(void)
{
    Pair *p = pair_new(
        "-blockdev null-co,node-name=n1,size=1048576,read-zeroes=on,"
        "read-only=on "
        "-blockdev null-co,node-name=n2,size=2097152,read-zeroes=on "
        "-device virtio-scsi-pci,id=scsi0,addr=0x6 "
        "-device scsi-cd,id=cd0,bus=scsi0.0,scsi-id=1,drive=n1,serial=disc");
    PcGuest *g = p->g;
    struct virtio_pagecache_disk disk;
    uint32_t disc;

    pcguest_probe(g);
    disc = find_disk(g, "disc", &disk);
    g_assert_true(disk.flags & VIRTIO_PAGECACHE_DISK_F_RO);

    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-open-tray',"
                             " 'arguments': { 'id': 'cd0', 'force': true } }");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-remove-medium',"
                             " 'arguments': { 'id': 'cd0' } }");
    g_assert_cmpuint(pcguest_get_disk(g, disc, &disk), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);

    qtest_qmp_device_add(g->qts, "scsi-hd", "hd1", "{ 'bus': 'scsi0.0',"
                         " 'scsi-id': 2, 'drive': 'n2', 'serial': 'new' }");
    g_assert_cmpuint(find_disk(g, "new", &disk), !=, disc);
    g_assert_cmpuint(pcguest_get_disk(g, disc, &disk), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);

    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-insert-medium',"
                             " 'arguments': { 'id': 'cd0',"
                             " 'node-name': 'n1' } }");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-close-tray',"
                             " 'arguments': { 'id': 'cd0' } }");
    g_assert_cmpuint(find_disk(g, "disc", &disk), ==, disc);

    qtest_qmp_device_del(g->qts, "hd1");
    g_assert_cmpuint(pcguest_get_disk(g, disc + 1, &disk), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);
    pair_free(p);
}

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
    Pair *p = pair_new("");
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

    assert_sane(p);
    pair_free(p);
}

/* A request in one-byte pieces, its answer in two parts */
static void test_split_request(void)
{
    Pair *p = pair_new("");
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

/* --- collections --- */

static void test_unwanted(void)
{
    Pair *p = pair_new("");
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
    assert_sane(p);
    pair_free(p);
}

static void test_collection(void)
{
    Pair *p = pair_new("");
    struct virtio_pagecache_hint many[MAX_HINTS];
    uint32_t first, second;
    int i;

    pcguest_probe(p->g);
    first = start_collection(p);
    g_assert_cmpuint(pcguest_num_disks(p->g), ==, 1);
    pcguest_send_hint(p->g, first, FILL_START, 8, 3, 0);
    for (i = 0; i < MAX_HINTS; i++) {
        many[i] = (struct virtio_pagecache_hint) {
            .addr = cpu_to_le64(FILL_START + (i + 3) * 0x1000ull),
            .sector = cpu_to_le64((i + 4) * 8),
            .npages = cpu_to_le32(1),
        };
    }
    pcguest_send(p->g, VIRTIO_PAGECACHE_MSG_HINTS, first, MAX_HINTS, many,
                 sizeof(many));
    wait_figure(p, "hinted-pages", 3 + MAX_HINTS);
    g_assert_cmpint(figure(p, "dropped-hints"), ==, 0);
    g_assert_cmpint(figure(p, "map-time"), ==, -1);
    pcguest_send_end(p->g, first, VIRTIO_PAGECACHE_END_OK);
    wait_map_time(p);

    /* nothing changes on the guest's side until the migration ends */
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));
    g_assert_cmpuint(pcguest_epoch(p->g), ==, first);
    cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);

    /* the next one is another one, and the old one's hints are stale */
    second = start_collection(p);
    g_assert_cmpuint(second, >, first);
    pcguest_send_hint(p->g, first, FILL_START, 0, 1, 0);
    pcguest_send_hint(p->g, second, FILL_START, 0, 7, 0);
    wait_figure(p, "hinted-pages", 7);
    g_assert_cmpint(figure(p, "dropped-hints"), ==, 0);
    cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pair_free(p);
}

/* Nobody drives the device: the migration does not wait for it. */
static void test_no_driver(void)
{
    Pair *p = pair_new("");

    start_migration(p);
    set_bandwidth(p, 0);
    wait_for_migration_complete(p->g->qts);
    wait_for_migration_complete(p->dst);
    g_assert_cmpint(figure(p, "hinted-pages"), ==, 0);
    pair_free(p);
}

/* The driver comes when the map is wanted already. */
static void test_late_driver(void)
{
    Pair *p = pair_new("");
    uint32_t epoch;

    start_migration(p);
    wait_for_migration_status(p->g->qts, "active", NULL);
    pcguest_probe(p->g);
    epoch = pcguest_wait_epoch(p->g);
    g_assert_cmpuint(epoch, !=, 0);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 5, 0);
    wait_figure(p, "hinted-pages", 5);
    cancel(p);
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
        { "unknown type", 2, 1, 24 },
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
    Pair *p = pair_new("");
    uint32_t epoch;
    int i;

    pcguest_probe(p->g);
    epoch = start_collection(p);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_test_message("%s", bad[i].what);
        pcguest_send(p->g, bad[i].type, epoch, bad[i].count, NULL,
                     bad[i].size);
        wait_figure(p, "dropped-hints", i + 1);
    }

    g_test_message("END of unknown status");
    pcguest_send_end(p->g, epoch, 2);
    wait_figure(p, "dropped-hints", i + 1);

    g_test_message("part of it writable");
    pcguest_put(p->g, p->g->hint, p->g->msg, 40, 4);
    g_assert_cmpuint(pcguest_wait(p->g, p->g->hint), ==, 0);
    wait_figure(p, "dropped-hints", i + 2);

    g_test_message("all of it writable");
    pcguest_put(p->g, p->g->hint, p->g->msg, 0, 40);
    g_assert_cmpuint(pcguest_wait(p->g, p->g->hint), ==, 0);
    wait_figure(p, "dropped-hints", i + 3);

    g_assert_cmpint(figure(p, "hinted-pages"), ==, 0);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 5, 0);
    wait_figure(p, "hinted-pages", 5);

    g_test_message("after the END record");
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_PARTIAL);
    pcguest_send_hint(p->g, epoch, FILL_START + 0x10000, 0, 5, 0);
    wait_figure(p, "dropped-hints", i + 4);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    wait_figure(p, "dropped-hints", i + 5);
    g_assert_cmpint(figure(p, "hinted-pages"), ==, 5);

    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    g_assert_false(pcguest_config_irq(p->g));
    cancel(p);
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
    };
    Pair *p = pair_new("");
    uint32_t epoch;
    int i;

    pcguest_probe(p->g);
    epoch = start_collection(p);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        pcguest_send_hint(p->g, epoch, bad[i].addr, bad[i].sector,
                          bad[i].npages, bad[i].disk);
        wait_figure(p, "dropped-hints", i + 1);
    }
    g_assert_cmpint(figure(p, "hinted-pages"), ==, 0);
    pcguest_send_hint(p->g, epoch, FILL_START, DISK_SECTORS - 8, 1, 0);
    wait_figure(p, "hinted-pages", 1);
    g_assert_cmpint(figure(p, "dropped-hints"), ==, i);

    /* as many pages as there can be: the producer is given up */
    pcguest_send_hint(p->g, epoch, FILL_START, 0, UINT32_MAX, 0);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 1, 0);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    g_assert_cmpint(figure(p, "hinted-pages"), ==, 1);
    assert_sane(p);
    set_bandwidth(p, 0);
    wait_for_migration_complete(p->g->qts);
    pair_free(p);
}

/* Too much of anything ends the collection, and not the migration. */
static void test_too_much(void)
{
    Pair *p = pair_new("");
    uint32_t epoch;
    int i;

    pcguest_probe(p->g);

    g_test_message("bad messages");
    epoch = start_collection(p);
    for (i = 0; i < 64; i++) {
        pcguest_send(p->g, 2, epoch, 1, NULL, 24);
    }
    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    pcguest_send(p->g, 2, epoch, 1, NULL, 24);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    wait_figure(p, "dropped-hints", 65);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 1, 0);
    g_assert_cmpint(figure(p, "hinted-pages"), ==, 0);
    /* no second interrupt: it knows already */
    cancel(p);
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));

    g_test_message("messages of other epochs");
    epoch = start_collection(p);
    for (i = 0; i < 4 * 1024; i++) {
        pcguest_send_end(p->g, epoch - 1, VIRTIO_PAGECACHE_END_OK);
    }
    g_assert_cmpuint(pcguest_epoch(p->g), ==, epoch);
    pcguest_send_end(p->g, epoch - 1, VIRTIO_PAGECACHE_END_OK);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    cancel(p);

    g_test_message("hints");
    epoch = start_collection(p);
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
    finish(p);
    pair_free(p);
}

/* The driver is reset in the middle, and another one takes over. */
static void test_reset(void)
{
    Pair *p = pair_new("");
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = start_collection(p);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 5, 0);
    pcguest_put(p->g, p->g->hint, p->g->msg, 40, 0);
    pcguest_probe(p->g);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, epoch);
    pcguest_send_hint(p->g, epoch, FILL_START + 0x100000, 0, 5, 0);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);

    /* the map is complete, the next driver is not asked for it */
    pcguest_probe(p->g);
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));
    g_assert_cmpuint(pcguest_epoch(p->g), ==, 0);

    /* system_reset in the next collection */
    cancel(p);
    epoch = start_collection(p);
    pcguest_put(p->g, p->g->hint, p->g->msg, 40, 0);
    qtest_system_reset(p->g->qts);
    pcguest_remove(p->g);
    pcguest_probe(p->g);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, epoch);
    finish(p);
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
static void assert_broken(Pair *p, uint32_t head, const char *what)
{
    QVirtioDevice *vdev = &p->g->dev->vdev;
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    g_test_message("%s", what);
    qvirtqueue_kick(p->g->qts, vdev, p->g->hint, head);
    while (!(vdev->bus->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    assert_sane(p);
}

static void test_bad_descriptors(void)
{
    const uint16_t next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE;
    Pair *p = pair_new("");
    PcGuest *g = p->g;
    int wanted;

    pcguest_probe(g);
    for (wanted = 0; wanted < 2; wanted++) {
        if (wanted) {
            start_collection(p);
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
    cancel(p);
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
    Pair *p = pair_new("");
    PcGuest *g = p->g;
    gint64 end;
    int i;

    pcguest_probe(g);
    start_collection(p);
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
        assert_sane(p);
    }
    g_assert_cmpint(figure(p, "hinted-pages"), ==, 0);

    /* the device's own registers, as a message */
    desc_write(g, 0, g->dev->bar.addr, 4096, 0, 0);
    qvirtqueue_kick(g->qts, &g->dev->vdev, g->hint, 0);
    pcguest_sync(g);
    assert_sane(p);
    cancel(p);
    pair_free(p);
}

/* --- pace --- */

/* The queue is never empty.  The monitor answers all the same. */
static void test_never_empty(void)
{
    Pair *p = pair_new("");
    PcGuest *g = p->g;
    struct virtio_pagecache_hdr hdr = {
        .count = cpu_to_le32(1),
    };
    uint32_t out = 0, epoch, sent = 0;
    gint64 slowest = 0, end;
    int round;

    pcguest_probe(g);
    epoch = start_collection(p);
    for (round = 0; round < 2; round++) {
        /* first of the wanted epoch and bad, then unwanted */
        hdr.epoch = cpu_to_le32(round ? 0 : epoch);
        qtest_memwrite(g->qts, g->msg, &hdr, sizeof(hdr));
        end = g_get_monotonic_time() + 2 * G_USEC_PER_SEC;
        while (g_get_monotonic_time() < end) {
            gint64 start;

            while (out < FLOOD) {
                pcguest_put(g, g->hint, g->msg, 40, 0);
                out++;
                sent++;
            }
            start = g_get_monotonic_time();
            qtest_qmp_assert_success(g->qts, "{ 'execute': 'query-status' }");
            slowest = MAX(slowest, g_get_monotonic_time() - start);
            while (pcguest_get(g, g->hint, NULL)) {
                out--;
            }
        }
    }
    g_test_message("%u messages, slowest answer of the monitor %" PRId64 " us",
                   sent, (int64_t)slowest);
    g_assert_cmpuint(sent, >, 2 * FLOOD);
    g_assert_cmpint(slowest, <, G_USEC_PER_SEC);
    while (out) {
        pcguest_wait(g, g->hint);
        out--;
    }
    cancel(p);
    pair_free(p);
}

/*
 * The migration does not get on (its destination is frozen) and takes no more
 * hints: buffers wait in the queue, and are served later.
 */
static void test_busy(void)
{
    Pair *p = pair_new("-m 1024");
    PcGuest *g = p->g;
    struct virtio_pagecache_hint many[MAX_HINTS];
    const int64_t hints = (256 + FLOOD) * MAX_HINTS;
    uint32_t epoch, sent = 0, back = 0;
    int64_t transferred;
    gint64 end;
    int i;

    for (i = 0; i < MAX_HINTS; i++) {
        many[i] = (struct virtio_pagecache_hint) {
            /* these pages are zero and so are never asked of the disk */
            .addr = cpu_to_le64(2 * FILL_END + i * 0x1000ull),
            .sector = cpu_to_le64(i * 8),
            .npages = cpu_to_le32(1),
        };
    }
    pcguest_probe(g);
    epoch = start_collection(p);
    kill(qtest_pid(p->dst), SIGSTOP);
    set_bandwidth(p, 0);
    do {
        transferred = ram_transferred(p);
        g_usleep(500 * 1000);
    } while (transferred != ram_transferred(p));
    /* its thread waits for the socket; it will have enough to do later */
    set_bandwidth(p, SLOW_BANDWIDTH);

    pcguest_send(g, VIRTIO_PAGECACHE_MSG_HINTS, epoch, MAX_HINTS, many,
                 sizeof(many));
    sent = back = 1;
    end = g_get_monotonic_time() + TIMEOUT_US;
    while (sent < 256 + FLOOD) {
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
    g_assert_cmpuint(back, ==, 257);
    g_assert_cmpuint(pcguest_epoch(g), ==, epoch);
    pcguest_sync(g);

    kill(qtest_pid(p->dst), SIGCONT);
    while (back < sent) {
        pcguest_wait(g, g->hint);
        back++;
    }
    wait_figure(p, "hinted-pages", hints);
    g_assert_cmpuint(pcguest_epoch(g), ==, epoch);
    cancel(p);
    pair_free(p);
}

/* --- stopped VMs and migration of the device --- */

static void test_stopped(void)
{
    Pair *p = pair_new("");
    PcGuest *g = p->g;
    uint32_t epoch;

    pcguest_probe(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    qtest_memset(g->qts, g->msg, 0, 40);
    pcguest_put(g, g->hint, g->msg, 40, 0);
    pcguest_put(g, g->ctrl, g->msg, 8, sizeof(struct virtio_pagecache_disk));

    start_migration(p);
    wait_for_migration_status(g->qts, "active", NULL);
    epoch = pcguest_epoch(g);
    g_assert_cmpuint(epoch, !=, 0);
    g_usleep(50 * 1000);
    g_assert_false(pcguest_get(g, g->hint, NULL));
    g_assert_false(pcguest_get(g, g->ctrl, NULL));
    g_assert_false(pcguest_config_irq(g));

    qtest_qmp_assert_success(g->qts, "{ 'execute': 'cont' }");
    g_assert_cmpuint(pcguest_wait_epoch(g), ==, epoch);
    pcguest_wait(g, g->hint);
    pcguest_wait(g, g->ctrl);

    /* started and stopped while nobody could be told */
    cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(g), ==, 0);
    pair_free(p);
}

/* To another host in the middle of a collection, and on to a third one */
static void test_migrate(void)
{
    Pair *p = pair_new("");
    uint32_t first, second;

    pcguest_probe(p->g);
    first = start_collection(p);
    pcguest_send_hint(p->g, first, FILL_START, 0, 5, 0);
    finish(p);

    /* it was told to stop */
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pcguest_send_hint(p->g, first, FILL_START, 0, 5, 0);
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));

    second = start_collection(p);
    g_assert_cmpuint(second, >, first);
    pcguest_send_hint(p->g, first, FILL_START, 0, 5, 0);
    pcguest_send_hint(p->g, second, FILL_START, 0, 7, 0);
    wait_figure(p, "hinted-pages", 7);
    finish(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    assert_sane(p);
    pair_free(p);
}

/* Buffers that nobody has served yet are served on the other side. */
static void test_migrate_stopped(void)
{
    Pair *p = pair_new("");

    pcguest_probe(p->g);
    start_collection(p);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'stop' }");
    qtest_memset(p->g->qts, p->g->msg, 0, 40);
    pcguest_put(p->g, p->g->hint, p->g->msg, 40, 0);
    pcguest_put(p->g, p->g->ctrl, p->g->msg, 8,
                sizeof(struct virtio_pagecache_disk));
    finish(p);
    g_assert_false(pcguest_config_irq(p->g));
    g_assert_cmpuint(pcguest_epoch(p->g), ==, 0);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'cont' }");
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pcguest_wait(p->g, p->g->hint);
    g_assert_cmpuint(pcguest_wait(p->g, p->g->ctrl), ==,
                     sizeof(struct virtio_pagecache_disk));
    pair_free(p);
}

/* A guest that was never asked is not disturbed. */
static void test_migrate_plain(void)
{
    Pair *p = pair_new("");
    PcGuest *src = p->g;

    pcguest_probe(src);
    p->dst = pcguest_incoming(p->args, p->uri);
    migrate_qmp(src->qts, p->dst, p->uri, NULL, "{}");
    wait_for_migration_complete(src->qts);
    p->g = pcguest_arrived(src, p->dst);
    p->dst = NULL;
    pcguest_free(src);
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));
    g_assert_cmpuint(pcguest_epoch(p->g), ==, 0);
    assert_sane(p);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/identity", test_identity);
    qtest_add_func("virtio-pagecache/force-modern", test_force_modern);
    qtest_add_func("virtio-pagecache/query-status", test_query_status);
    qtest_add_func("virtio-pagecache/hotplug", test_hotplug);
    qtest_add_func("virtio-pagecache/hotplug-root-port",
                   test_hotplug_root_port);
    qtest_add_func("virtio-pagecache/unplug-in-collection",
                   test_unplug_in_collection);
    qtest_add_func("virtio-pagecache/get-disk", test_get_disk);
    qtest_add_func("virtio-pagecache/get-disk-absent", test_get_disk_absent);
    qtest_add_func("virtio-pagecache/bad-requests", test_bad_requests);
    qtest_add_func("virtio-pagecache/split-request", test_split_request);
    qtest_add_func("virtio-pagecache/unwanted", test_unwanted);
    qtest_add_func("virtio-pagecache/collection", test_collection);
    qtest_add_func("virtio-pagecache/no-driver", test_no_driver);
    qtest_add_func("virtio-pagecache/late-driver", test_late_driver);
    qtest_add_func("virtio-pagecache/bad-messages", test_bad_messages);
    qtest_add_func("virtio-pagecache/bad-hints", test_bad_hints);
    qtest_add_func("virtio-pagecache/too-much", test_too_much);
    qtest_add_func("virtio-pagecache/reset", test_reset);
    qtest_add_func("virtio-pagecache/bad-descriptors", test_bad_descriptors);
    qtest_add_func("virtio-pagecache/odd-buffers", test_odd_buffers);
    qtest_add_func("virtio-pagecache/never-empty", test_never_empty);
    qtest_add_func("virtio-pagecache/busy", test_busy);
    qtest_add_func("virtio-pagecache/stopped", test_stopped);
    qtest_add_func("virtio-pagecache/migrate", test_migrate);
    qtest_add_func("virtio-pagecache/migrate-stopped", test_migrate_stopped);
    qtest_add_func("virtio-pagecache/migrate-plain", test_migrate_plain);

    return g_test_run();
}
