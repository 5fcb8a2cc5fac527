/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: what it does for a good driver
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * virtio-pagecache-hostile-test.c has the bad ones.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "virtio-pagecache-guest.h"

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
    /* its own: bits 0 to 23, 50 to 63 */
    g_assert_cmphex(features & 0xfffc000000ffffffull, ==,
                    1ull << VIRTIO_PAGECACHE_F_LEFT_OUT);
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

    pcguest_probe_with(g, 1ull << VIRTIO_PAGECACHE_F_LEFT_OUT);
    rsp = qtest_qmp_assert_success_ref(
        g->qts, "{ 'execute': 'x-query-virtio-status',"
        " 'arguments': { 'path': %s } }", path);
    g_assert_cmpstr(qdict_get_str(rsp, "name"), ==, "virtio-pagecache");
    g_assert_cmpint(qdict_get_int(rsp, "device-id"), ==, VIRTIO_ID_PAGECACHE);
    g_assert_cmpint(qdict_get_int(rsp, "num-vqs"), ==, VIRTIO_PAGECACHE_VQ_MAX);
    g_assert_false(qdict_get_bool(rsp, "broken"));
    g_assert_false(qdict_haskey(qdict_get_qdict(rsp, "guest-features"),
                                "unknown-dev-features"));
    list = qdict_get_qlist(qdict_get_qdict(rsp, "guest-features"),
                           "dev-features");
    g_assert_cmpint(qlist_size(list), ==, 1);
    qobject_unref(rsp);

    rsp = qtest_qmp(g->qts, "{ 'execute': 'x-query-virtio' }");
    list = qdict_get_qlist(rsp, "return");
    g_assert_cmpint(qlist_size(list), ==, 1);
    qobject_unref(rsp);

    hmp = qtest_hmp(g->qts, "info virtio-status %s", path);
    g_assert_nonnull(strstr(hmp, "virtio-pagecache"));
    pcguest_free(g);
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

/* A second one would have nothing to do. */
static void test_one_only(void)
{
    static const char *const twice[] = {
        "-device virtio-pagecache-pci -device virtio-pagecache-pci",
        "-object pagecache-io-map,id=a -object pagecache-io-map,id=b",
    };
    PcGuest *g = pcguest_new("");
    QDict *rsp = qtest_qmp_assert_failure_ref(
        g->qts, "{ 'execute': 'device_add', 'arguments': {"
        "  'driver': 'virtio-pagecache-pci', 'id': 'second' } }");
    unsigned i;

    g_assert_cmpstr(qdict_get_str(rsp, "desc"), ==,
                    "There is a virtio-pagecache device already, "
                    "/machine/peripheral/pagecache; one is enough for all "
                    "disks");
    qobject_unref(rsp);
    pcguest_free(g);

    for (i = 0; i < ARRAY_SIZE(twice); i++) {
        g_autofree char *command = g_strdup_printf(
            "%s -machine pc -accel qtest -nodefaults -display none -S %s",
            getenv("QTEST_QEMU_BINARY"), twice[i]);
        g_autofree char *said = NULL;
        int status;

        g_assert_true(g_spawn_command_line_sync(command, NULL, &said, &status,
                                                NULL));
        g_assert_cmpint(status, !=, 0);
        g_test_message("%s", said);
        g_assert_nonnull(strstr(said, "already, "));
    }
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
        pcguest_wait_deleted(qts, "pagecache");
    }
    qtest_quit(qts);
}

/* The guest acknowledges an unplug while it is asked for its map. */
static void test_unplug_in_collection(void)
{
    PcPair *p = pair_new("");
    uint32_t epoch;

    pcguest_probe(p->g);
    qtest_qmp_device_del_send(p->g->qts, "pagecache");
    epoch = pair_collect(p);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 1, 0);
    pcguest_eject(p->g, "pagecache");
    pair_cancel(p);
    pair_free(p);
}

/* --- the disk table --- */

static void test_get_disk(void)
{
    PcPair *p = pair_new(
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

    pcguest_find_disk(g, "first", &disk);
    g_assert_cmphex(disk.flags, ==, VIRTIO_PAGECACHE_DISK_F_PCI);
    g_assert_cmpuint(disk.capacity, ==, DISK_SECTORS);
    g_assert_cmphex(disk.pci_segment, ==, 0);
    g_assert_cmphex(disk.pci_bus, ==, 0);
    g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(5, 0));
    g_assert_cmpuint(disk.reserved, ==, 0);

    pcguest_find_disk(g, "scsi-low", &disk);
    g_assert_cmphex(disk.flags, ==, VIRTIO_PAGECACHE_DISK_F_PCI |
                                    VIRTIO_PAGECACHE_DISK_F_SCSI);
    g_assert_cmpuint(disk.capacity, ==, 2048);
    g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(6, 0));
    g_assert_cmpuint(disk.scsi_channel, ==, 0);
    g_assert_cmpuint(disk.scsi_target, ==, 3);
    g_assert_cmpuint(disk.scsi_lun, ==, 0);

    pcguest_find_disk(g, "scsi-high", &disk);
    g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(6, 0));
    g_assert_cmpuint(disk.scsi_target, ==, 255);
    g_assert_cmpuint(disk.scsi_lun, ==, 300);

    /* the guest numbers its buses as it likes, and sees 20 characters */
    bridge = qpci_device_find(g->bus, QPCI_DEVFN(7, 0));
    g_assert_nonnull(bridge);
    for (i = 5; i < 200; i += 100) {
        qpci_config_writeb(bridge, PCI_SECONDARY_BUS, i);
        pcguest_find_disk(g, "twenty-characters-on", &disk);
        g_assert_cmphex(disk.flags, ==, VIRTIO_PAGECACHE_DISK_F_PCI |
                                        VIRTIO_PAGECACHE_DISK_F_RO);
        g_assert_cmphex(disk.pci_bus, ==, i);
        g_assert_cmphex(disk.pci_devfn, ==, QPCI_DEVFN(3, 0));
    }
    g_free(bridge);

    /* its PCI function has four disks */
    pcguest_find_disk(g, "on-ide", &disk);
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

/* Disks that have no address of their own, by what the guest sees as serial */
static void test_get_disk_serial(void)
{
    static const char *const alone[] = {
        "0123456789abcdefghij", "on nvme", "01234567890123456789"
    };
    PcPair *p = pair_new(
        "-blockdev null-co,node-name=n1,size=1048576,read-zeroes=on "
        "-blockdev null-co,node-name=n2,size=1048576,read-zeroes=on "
        "-blockdev null-co,node-name=n3,size=1048576,read-zeroes=on "
        "-blockdev null-co,node-name=n4,size=1048576,read-zeroes=on "
        "-blockdev null-co,node-name=n5,size=1048576,read-zeroes=on "
        "-device ide-hd,id=ide0,bus=ide.0,drive=n1,"
        "serial=0123456789abcdefghijklmno "
        "-device nvme,id=nvme0,drive=n2,'serial=  on nvme  ' "
        "-device nvme,id=nvme1,serial=012345678901234567890123,drive=n3 "
        "-device nvme,id=nvme2,serial=shared "
        "-device nvme-ns,id=ns1,bus=nvme2,drive=n4 "
        "-device nvme-ns,id=ns2,bus=nvme2,drive=n5");
    PcGuest *g = p->g;
    struct virtio_pagecache_disk disk;
    unsigned i, shared = 0;

    pcguest_probe(g);
    for (i = 0; i < G_N_ELEMENTS(alone); i++) {
        pcguest_find_disk(g, alone[i], &disk);
        g_assert_cmphex(disk.flags, ==, 0);
        g_assert_cmpuint(disk.capacity, ==, 2048);
    }
    /* neither can be told from the other, and so neither will be taken */
    for (i = 0; pcguest_get_disk(g, i, &disk) == VIRTIO_PAGECACHE_S_OK; i++) {
        if (!strncmp((char *)disk.serial, "shared", sizeof(disk.serial))) {
            g_assert_cmphex(disk.flags, ==, 0);
            shared++;
        }
    }
    g_assert_cmpuint(shared, ==, 2);
    pair_free(p);
}

/* A disk goes and comes back under its index; none takes its place. */
static void test_get_disk_absent(void)
{
    PcPair *p = pair_new(
        "-blockdev null-co,node-name=n1,size=1048576,read-zeroes=on,"
        "read-only=on "
        "-blockdev null-co,node-name=n2,size=2097152,read-zeroes=on "
        "-device virtio-scsi-pci,id=scsi0,addr=0x6 "
        "-device scsi-cd,id=cd0,bus=scsi0.0,scsi-id=1,drive=n1,serial=disc");
    PcGuest *g = p->g;
    struct virtio_pagecache_disk disk;
    uint32_t disc;

    pcguest_probe(g);
    disc = pcguest_find_disk(g, "disc", &disk);
    g_assert_true(disk.flags & VIRTIO_PAGECACHE_DISK_F_RO);

    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-open-tray',"
                             " 'arguments': { 'id': 'cd0', 'force': true } }");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-remove-medium',"
                             " 'arguments': { 'id': 'cd0' } }");
    g_assert_cmpuint(pcguest_get_disk(g, disc, &disk), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);

    qtest_qmp_device_add(g->qts, "scsi-hd", "hd1", "{ 'bus': 'scsi0.0',"
                         " 'scsi-id': 2, 'drive': 'n2', 'serial': 'new' }");
    g_assert_cmpuint(pcguest_find_disk(g, "new", &disk), !=, disc);
    g_assert_cmpuint(pcguest_get_disk(g, disc, &disk), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);

    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-insert-medium',"
                             " 'arguments': { 'id': 'cd0',"
                             " 'node-name': 'n1' } }");
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'blockdev-close-tray',"
                             " 'arguments': { 'id': 'cd0' } }");
    g_assert_cmpuint(pcguest_find_disk(g, "disc", &disk), ==, disc);

    qtest_qmp_device_del(g->qts, "hd1");
    g_assert_cmpuint(pcguest_get_disk(g, disc + 1, &disk), ==,
                     VIRTIO_PAGECACHE_S_ABSENT);
    pair_free(p);
}

/*
 * A disk of another size: the guest is told what there is at once, and what is
 * hinted has to be on the disk that there was when the collection began.
 */
static void test_get_disk_resized(void)
{
    static const uint64_t sizes[] = {
        DISK_SECTORS * 2, DISK_SECTORS / 2, DISK_SECTORS + 3,
    };
    PcPair *p = pair_new("");
    struct virtio_pagecache_disk disk;
    uint64_t before = DISK_SECTORS;
    uint32_t epoch, i, index;

    pcguest_probe(p->g);
    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        epoch = pair_collect(p);
        index = pcguest_find_disk(p->g, "first", &disk);
        g_assert_cmpuint(disk.capacity, ==, before);
        qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'block_resize',"
                                 " 'arguments': { 'node-name': 'disk0',"
                                 " 'size': %" PRIu64 " } }", sizes[i] * 512);
        g_assert_cmpuint(pcguest_find_disk(p->g, "first", &disk), ==, index);
        g_assert_cmpuint(disk.capacity, ==, sizes[i]);
        pcguest_send_hint(p->g, epoch, FILL_START, before - 8, 1, index);
        pair_wait_figure(p, "hinted-pages", 1);
        g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
        pcguest_send_hint(p->g, epoch, FILL_START + 0x1000, before - 7, 1,
                          index);
        pair_wait_figure(p, "dropped-hints", 1);
        pair_cancel(p);
        g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
        before = sizes[i];
    }
    pair_free(p);
}

/* --- collections --- */

static void wait_map_time(PcPair *p)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (pair_figure(p, "map-time") < 0) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10 * 1000);
    }
}

static void test_collection(void)
{
    PcPair *p = pair_new("");
    struct virtio_pagecache_hint many[MAX_HINTS];
    uint32_t first, second;
    int i;

    pcguest_probe(p->g);
    first = pair_collect(p);
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
    pair_wait_figure(p, "hinted-pages", 3 + MAX_HINTS);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
    g_assert_cmpint(pair_figure(p, "map-time"), ==, -1);
    pcguest_send_end(p->g, first, VIRTIO_PAGECACHE_END_OK);
    wait_map_time(p);

    /* nothing changes on the guest's side until the migration ends */
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));
    g_assert_cmpuint(pcguest_epoch(p->g), ==, first);
    pair_cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);

    /* the next one is another one, and the old one's hints are stale */
    second = pair_collect(p);
    g_assert_cmpuint(second, >, first);
    pcguest_send_hint(p->g, first, FILL_START, 0, 1, 0);
    pcguest_send_hint(p->g, second, FILL_START, 0, 7, 0);
    pair_wait_figure(p, "hinted-pages", 7);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
    pair_cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pair_free(p);
}

/* Nobody drives the device: the migration does not wait for it. */
static void test_no_driver(void)
{
    PcPair *p = pair_new("");

    pair_migrate(p);
    pair_set_bandwidth(p, 0);
    wait_for_migration_complete(p->g->qts);
    wait_for_migration_complete(p->dst);
    g_assert_cmpint(pair_figure(p, "hinted-pages"), ==, 0);
    pair_free(p);
}

/* What the guest lacks, as far as it is known; hints from elsewhere will do. */
static void test_notes(void)
{
    PcPair *p = pair_new("");
    struct virtio_pagecache_disk disk;
    uint32_t epoch;

    pair_migrate(p);
    pair_wait_word(p, "note", "no-driver");
    pcguest_probe(p->g);
    pair_wait_word(p, "note", "guest-silent");
    /* the driver looks what has happened, and that is all */
    epoch = pcguest_epoch(p->g);
    g_assert_cmpuint(epoch, !=, 0);
    pair_wait_word(p, "note", "no-daemon");
    /* the daemon begins, and then brings nothing */
    pcguest_get_disk(p->g, 0, &disk);
    pair_wait_word(p, "note", "guest-silent");
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 5, 0);
    pair_wait_word(p, "note", "");
    pcguest_config_irq(p->g);
    pair_cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);

    epoch = pair_collect(p);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    pair_wait_word(p, "note", "map-empty");
    qtest_qmp_assert_success(p->g->qts,
                             "{ 'execute': 'x-pagecache-add-hints',"
                             "  'arguments': { 'hints': [ {"
                             "  'device': 'blk0', 'address': %u, 'sector': 0,"
                             "  'pages': 1 } ] } }", FILL_START);
    pair_wait_word(p, "note", "");
    pair_cancel(p);
    pair_free(p);
}

/* The driver comes when the map is wanted already. */
static void test_late_driver(void)
{
    PcPair *p = pair_new("");
    uint32_t epoch;

    pair_migrate(p);
    wait_for_migration_status(p->g->qts, "active", NULL);
    pcguest_probe(p->g);
    epoch = pcguest_wait_epoch(p->g);
    g_assert_cmpuint(epoch, !=, 0);
    pcguest_send_hint(p->g, epoch, FILL_START, 0, 5, 0);
    pair_wait_figure(p, "hinted-pages", 5);
    pair_cancel(p);
    pair_free(p);
}

/* The driver is reset in the middle, and another one takes over. */
static void test_reset(void)
{
    PcPair *p = pair_new("");
    uint32_t epoch;

    pcguest_probe(p->g);
    epoch = pair_collect(p);
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
    pair_cancel(p);
    epoch = pair_collect(p);
    pcguest_put(p->g, p->g->hint, p->g->msg, 40, 0);
    qtest_system_reset(p->g->qts);
    pcguest_remove(p->g);
    pcguest_probe(p->g);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, epoch);
    pair_finish(p);
    pair_free(p);
}

/* --- stopped VMs and migration of the device --- */

static void test_stopped(const void *args)
{
    PcPair *p = pair_new(args);
    PcGuest *g = p->g;
    uint32_t epoch;

    pcguest_probe(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'stop' }");
    qtest_memset(g->qts, g->msg, 0, 40);
    pcguest_put(g, g->hint, g->msg, 40, 0);
    pcguest_put(g, g->ctrl, g->msg, 8, sizeof(struct virtio_pagecache_disk));

    pair_migrate(p);
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
    pair_cancel(p);
    g_assert_cmpuint(pcguest_wait_epoch(g), ==, 0);
    pair_free(p);
}

/* To another host in the middle of a collection, and on to a third one */
static void test_migrate(void)
{
    PcPair *p = pair_new("");
    uint32_t first, second;

    pcguest_probe(p->g);
    first = pair_collect(p);
    pcguest_send_hint(p->g, first, FILL_START, 0, 5, 0);
    pair_finish(p);

    /* it was told to stop */
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pcguest_send_hint(p->g, first, FILL_START, 0, 5, 0);
    pcguest_sync(p->g);
    g_assert_false(pcguest_config_irq(p->g));

    second = pair_collect(p);
    g_assert_cmpuint(second, >, first);
    pcguest_send_hint(p->g, first, FILL_START, 0, 5, 0);
    pcguest_send_hint(p->g, second, FILL_START, 0, 7, 0);
    pair_wait_figure(p, "hinted-pages", 7);
    pair_finish(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    pair_assert_sane(p);
    pair_free(p);
}

/* Buffers that nobody has served yet are served on the other side. */
static void test_migrate_stopped(void)
{
    PcPair *p = pair_new("");

    pcguest_probe(p->g);
    pair_collect(p);
    qtest_qmp_assert_success(p->g->qts, "{ 'execute': 'stop' }");
    qtest_memset(p->g->qts, p->g->msg, 0, 40);
    pcguest_put(p->g, p->g->hint, p->g->msg, 40, 0);
    pcguest_put(p->g, p->g->ctrl, p->g->msg, 8,
                sizeof(struct virtio_pagecache_disk));
    pair_finish(p);
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
    PcPair *p = pair_new("");
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
    pair_assert_sane(p);
    pair_free(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/identity", test_identity);
    qtest_add_func("virtio-pagecache/force-modern", test_force_modern);
    qtest_add_func("virtio-pagecache/query-status", test_query_status);
    qtest_add_func("virtio-pagecache/hotplug", test_hotplug);
    qtest_add_func("virtio-pagecache/one-only", test_one_only);
    qtest_add_func("virtio-pagecache/hotplug-root-port",
                   test_hotplug_root_port);
    qtest_add_func("virtio-pagecache/unplug-in-collection",
                   test_unplug_in_collection);
    qtest_add_func("virtio-pagecache/get-disk", test_get_disk);
    qtest_add_func("virtio-pagecache/get-disk-serial", test_get_disk_serial);
    qtest_add_func("virtio-pagecache/get-disk-absent", test_get_disk_absent);
    qtest_add_func("virtio-pagecache/get-disk-resized",
                   test_get_disk_resized);
    qtest_add_func("virtio-pagecache/collection", test_collection);
    qtest_add_func("virtio-pagecache/no-driver", test_no_driver);
    qtest_add_func("virtio-pagecache/notes", test_notes);
    qtest_add_func("virtio-pagecache/late-driver", test_late_driver);
    qtest_add_func("virtio-pagecache/reset", test_reset);
    qtest_add_data_func("virtio-pagecache/stopped", "", test_stopped);
    /* QEMU kicks an ioeventfd by itself when the VM starts */
    qtest_add_data_func("virtio-pagecache/stopped-no-ioeventfd",
                        "-global virtio-pagecache-pci.ioeventfd=off",
                        test_stopped);
    qtest_add_func("virtio-pagecache/migrate", test_migrate);
    qtest_add_func("virtio-pagecache/migrate-stopped", test_migrate_stopped);
    qtest_add_func("virtio-pagecache/migrate-plain", test_migrate_plain);

    return g_test_run();
}
