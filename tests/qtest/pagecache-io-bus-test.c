/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the I/O map behind each kind of disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * virtio-blk is in pagecache-io-map-test.c.  NVMe is tracked, too, but QEMU does
 * not migrate guests with it.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_regs.h"
#include "libqos/ahci.h"
#include "libqos/libqos.h"
#include "libqos/pci-pc.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_scsi.h"
#include "pagecache-test-blk.h"

/* Memory of the drivers */
#define OWN_START       PCT_BLK_START
#define OWN_SIZE        PCT_BLK_SIZE

/* Reads @len bytes from @sector of the disk. */
typedef void ReadFunc(void *drive, uint64_t addr, uint64_t sector,
                      uint32_t len);

/* The whole cache, 16 pages at a time, which follow each other on the disk */
static void read_cache(PcTest *t, ReadFunc *read, void *drive)
{
    unsigned i;

    for (i = 0; i < CACHE_PAGES; i += 16) {
        read(drive, pct_cache_addr(i), pct_cache_sector(i), 16 * PAGE);
    }
    pct_learn(t, OWN_START, OWN_SIZE);
}

/* --- SATA --- */

typedef struct Ahci {
    AHCIQState *ahci;
    unsigned port;
} Ahci;

static void ahci_read(void *opaque, uint64_t addr, uint64_t sector,
                      uint32_t len)
{
    Ahci *a = opaque;

    ahci_guest_io(a->ahci, a->port, CMD_READ_DMA_EXT, addr, len, sector);
}

static void test_ahci(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "-blockdev file,node-name=disk0,filename=%s "
        "-device ide-hd,id=blk0,drive=disk0,bus=ide.0", t->disk);
    QOSState *qos = g_new0(QOSState, 1);
    AHCIQState *ahci = g_new0(AHCIQState, 1);
    Ahci a = { .ahci = ahci };

    pct_start_pair(t, args, args);
    qos->qts = t->src;
    alloc_init(&qos->alloc, 0, OWN_START, RAM_SIZE, PAGE);
    ahci->parent = qos;
    ahci->dev = get_ahci_device(t->src, &ahci->fingerprint);
    ahci_pci_enable(ahci);
    ahci_hba_enable(ahci);
    a.port = ahci_port_select(ahci);
    ahci_port_clear(ahci, a.port);
    read_cache(t, ahci_read, &a);
    pct_learn(t, OWN_START, RAM_SIZE - OWN_START);
    pct_migrate_hinted(t, CACHE_PAGES);
    ahci_clean_mem(ahci);
    free_ahci_device(ahci->dev);
    alloc_destroy(&qos->alloc);
    g_free(ahci);
    g_free(qos);
    pct_free(t);
}

/* --- IDE, bus master DMA --- */

#define IDE_PORTS       0x1f0
#define IDE_COUNT       2
#define IDE_LBA         3       /* and the next two */
#define IDE_DEVICE      6
#define IDE_COMMAND     7
#define IDE_LBA_MODE    0x40
#define IDE_READ_DMA    0xc8
#define BM_COMMAND      0
#define BM_STATUS       2
#define BM_TABLE        4
#define BM_START        0x01
#define BM_TO_MEMORY    0x08
#define BM_ACTIVE       0x01
#define BM_ERROR        0x02
#define BM_INTERRUPT    0x04
#define PRD_LAST        0x80000000

typedef struct Ide {
    QTestState *qts;
    QPCIDevice *dev;
    QPCIBar bm;
} Ide;

static void ide_read(void *opaque, uint64_t addr, uint64_t sector,
                     uint32_t len)
{
    /* 0: 64 KiB */
    const uint32_t table[2] = {
        cpu_to_le32(addr), cpu_to_le32((len & 0xffff) | PRD_LAST),
    };
    Ide *ide = opaque;
    uint8_t status;

    qtest_memwrite(ide->qts, OWN_START, table, sizeof(table));
    qpci_io_writeb(ide->dev, ide->bm, BM_COMMAND, 0);
    qpci_io_writeb(ide->dev, ide->bm, BM_STATUS, BM_INTERRUPT | BM_ERROR);
    qpci_io_writel(ide->dev, ide->bm, BM_TABLE, OWN_START);
    qtest_outb(ide->qts, IDE_PORTS + IDE_DEVICE,
               IDE_LBA_MODE | (sector >> 24 & 0xf));
    qtest_outb(ide->qts, IDE_PORTS + IDE_COUNT, len / 512);
    qtest_outb(ide->qts, IDE_PORTS + IDE_LBA, sector);
    qtest_outb(ide->qts, IDE_PORTS + IDE_LBA + 1, sector >> 8);
    qtest_outb(ide->qts, IDE_PORTS + IDE_LBA + 2, sector >> 16);
    qtest_outb(ide->qts, IDE_PORTS + IDE_COMMAND, IDE_READ_DMA);
    qpci_io_writeb(ide->dev, ide->bm, BM_COMMAND, BM_START | BM_TO_MEMORY);
    do {
        status = qpci_io_readb(ide->dev, ide->bm, BM_STATUS);
    } while ((status & (BM_ACTIVE | BM_INTERRUPT)) == BM_ACTIVE);
    g_assert_cmphex(status & BM_ERROR, ==, 0);
    qpci_io_writeb(ide->dev, ide->bm, BM_COMMAND, 0);
    /* which is how a guest acknowledges the interrupt */
    g_assert_cmphex(qtest_inb(ide->qts, IDE_PORTS + IDE_COMMAND) & 0x89, ==, 0);
}

static void test_ide(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "-blockdev file,node-name=disk0,filename=%s "
        "-device ide-hd,id=blk0,drive=disk0,bus=ide.0,unit=0", t->disk);
    QPCIBus *bus;
    Ide ide;

    t->machine = g_strdup("pc");
    pct_start_pair(t, args, args);
    bus = qpci_new_pc(t->src, NULL);
    ide.qts = t->src;
    ide.dev = qpci_device_find(bus, QPCI_DEVFN(1, 1));
    g_assert_nonnull(ide.dev);
    ide.bm = qpci_iomap(ide.dev, 4, NULL);
    qpci_device_enable(ide.dev);
    read_cache(t, ide_read, &ide);
    pct_migrate_hinted(t, CACHE_PAGES);
    g_free(ide.dev);
    qpci_free_pc(bus);
    pct_free(t);
}

/* --- SCSI --- */

#define SCSI_SLOT       6
#define SCSI_ARGS       "-device virtio-scsi-pci,id=scsi,addr=0x6 "
#define REQUEST_QUEUE   2
#define OP_TEST_READY   0x00
#define OP_READ_10      0x28
#define CHECK_CONDITION 2

typedef struct Scsi {
    PcTest *t;
    PctVirtio v;
    uint64_t header;            /* address of request and response */
    unsigned block;             /* the disk's, in bytes */
} Scsi;

static Scsi *scsi_new(PcTest *t, unsigned block)
{
    Scsi *s = g_new0(Scsi, 1);

    s->t = t;
    s->block = block;
    pct_virtio_start(&s->v, t->src, SCSI_SLOT, REQUEST_QUEUE, OWN_START, 0);
    s->header = guest_alloc(&s->v.alloc, PAGE);
    return s;
}

static void scsi_free(Scsi *s)
{
    pct_virtio_end(&s->v);
    g_free(s);
}

/* Returns the SCSI status. */
static uint8_t scsi_command(Scsi *s, const struct virtio_scsi_cmd_req *req,
                            uint64_t addr, uint32_t len)
{
    uint64_t answer = s->header + 512;
    struct virtio_scsi_cmd_resp resp = { .response = 0xff, .status = 0xff };
    QTestState *qts = s->t->src;
    uint32_t head;

    qtest_memwrite(qts, s->header, req, sizeof(*req));
    qtest_memwrite(qts, answer, &resp, sizeof(resp));
    head = qvirtqueue_add(qts, s->v.vq, s->header, sizeof(*req), false, true);
    qvirtqueue_add(qts, s->v.vq, answer, sizeof(resp), true, len > 0);
    if (len) {
        qvirtqueue_add(qts, s->v.vq, addr, len, true, false);
    }
    pct_virtio_submit(&s->v, head);
    pct_virtio_wait(&s->v, head);
    qtest_memread(qts, answer, &resp, sizeof(resp));
    g_assert_cmpint(resp.response, ==, VIRTIO_SCSI_S_OK);
    if (len) {
        pct_learn(s->t, addr, len);
    }
    return resp.status;
}

static struct virtio_scsi_cmd_req scsi_request(uint8_t op)
{
    return (struct virtio_scsi_cmd_req) {
        .lun = { 1, 0, 0x40, 0 }, .cdb = { op },
    };
}

/* There is something to be said first, after power-on or another medium. */
static void scsi_settle(Scsi *s)
{
    struct virtio_scsi_cmd_req req = scsi_request(OP_TEST_READY);

    while (scsi_command(s, &req, 0, 0) == CHECK_CONDITION) {
        continue;
    }
}

static void scsi_read(void *opaque, uint64_t addr, uint64_t sector,
                      uint32_t len)
{
    struct virtio_scsi_cmd_req req = scsi_request(OP_READ_10);
    Scsi *s = opaque;

    stl_be_p(req.cdb + 2, sector * 512 / s->block);
    stw_be_p(req.cdb + 7, len / s->block);
    g_assert_cmpint(scsi_command(s, &req, addr, len), ==, 0);
}

static void test_scsi(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS SCSI_ARGS "-blockdev file,node-name=disk0,filename=%s "
        "-device scsi-hd,id=blk0,drive=disk0,bus=scsi.0,scsi-id=0,lun=0",
        t->disk);
    Scsi *s;

    pct_start_pair(t, args, args);
    s = scsi_new(t, 512);
    scsi_settle(s);
    read_cache(t, scsi_read, s);
    pct_migrate_hinted(t, CACHE_PAGES);
    scsi_free(s);
    pct_free(t);
}

/* A CD, and another one: what was read from the first is not there any more. */
static void test_medium(void)
{
    PcTest *t = pct_new();
    g_autofree char *other = pct_path(t, "other");
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS SCSI_ARGS "-blockdev file,node-name=disk0,filename=%s,"
        "read-only=on -blockdev file,node-name=disk1,filename=%s,read-only=on "
        "-device scsi-cd,id=blk0,drive=disk0,bus=scsi.0,scsi-id=0,lun=0",
        t->disk, other);
    g_autofree char *dst = g_strdup_printf(
        SCSI_ARGS "-blockdev file,node-name=disk1,filename=%s,read-only=on "
        "-device scsi-cd,id=blk0,drive=disk1,bus=scsi.0,scsi-id=0,lun=0",
        other);
    Scsi *s;

    /* the same bytes, 64 KiB further on */
    g_assert_true(g_file_set_contents(other, (char *)t->disk_data + 64 * KiB,
                                      DISK_SIZE - 64 * KiB, NULL));
    pct_start_pair(t, args, dst);
    s = scsi_new(t, 2048);
    scsi_settle(s);
    scsi_read(s, CACHE_START, 2048, 64 * PAGE);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-open-tray',"
                             " 'arguments': { 'id': 'blk0',"
                             " 'force': true } }");
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-remove-medium',"
                             " 'arguments': { 'id': 'blk0' } }");
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-insert-medium',"
                             " 'arguments': { 'id': 'blk0',"
                             " 'node-name': 'disk1' } }");
    qtest_qmp_assert_success(t->src, "{ 'execute': 'blockdev-close-tray',"
                             " 'arguments': { 'id': 'blk0' } }");
    scsi_settle(s);
    scsi_read(s, CACHE_START + MiB, 2048, 32 * PAGE);
    pct_learn(t, OWN_START, OWN_SIZE);
    pct_migrate_hinted(t, 32);
    scsi_free(s);
    pct_free(t);
}

/* --- sectors of 4096 bytes --- */

static void test_4k_virtio_blk(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "-blockdev file,node-name=disk0,filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5,"
        "logical_block_size=4096,physical_block_size=4096", t->disk);
    PctBlk *blk;

    pct_start_pair(t, args, args);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read(blk, CACHE_START, 2048, 64 * PAGE);
    pct_blk_write(blk, CACHE_START + MiB, 8, 16 * PAGE);
    pct_migrate_hinted(t, 64 + 16);
    pct_blk_free(blk);
    pct_free(t);
}

static void test_4k_scsi(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS SCSI_ARGS "-blockdev file,node-name=disk0,filename=%s "
        "-device scsi-hd,id=blk0,drive=disk0,bus=scsi.0,scsi-id=0,lun=0,"
        "logical_block_size=4096,physical_block_size=4096", t->disk);
    Scsi *s;

    pct_start_pair(t, args, args);
    s = scsi_new(t, 4096);
    scsi_settle(s);
    scsi_read(s, CACHE_START, 2048, 64 * PAGE);
    pct_learn(t, OWN_START, OWN_SIZE);
    pct_migrate_hinted(t, 64);
    scsi_free(s);
    pct_free(t);
}

/* --- what is not seen --- */

/* The reason that query-migrate gives for the device, or "" */
static char *unseen(PcTest *t, const char *device)
{
    QDict *info = pct_info(t->src);
    QList *list = qdict_get_qlist(info, "unseen");
    const QListEntry *e;
    char *reason = g_strdup("");

    QLIST_FOREACH_ENTRY(list, e) {
        QDict *u = qobject_to(QDict, qlist_entry_obj(e));

        if (g_str_equal(qdict_get_str(u, "device"), device)) {
            g_free(reason);
            reason = g_strdup(qdict_get_str(u, "reason"));
        }
    }
    qobject_unref(info);
    return reason;
}

/* Devices that copy are named; those that are tracked are not. */
static void test_unseen(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "%s -blockdev null-co,node-name=null0,size=1048576,read-zeroes=on "
        "-blockdev null-co,node-name=null1,size=1048576,read-zeroes=on "
        "-device lsi53c895a,id=lsi,addr=0x7 "
        "-device scsi-hd,id=copied,drive=null0,bus=lsi.0 "
        "-device virtio-scsi-pci,id=scsi,addr=0x6 "
        "-device scsi-hd,id=seen,drive=null1,bus=scsi.0 "
        "-device ide-cd,id=cd,bus=ide.0 "
        "-fsdev local,id=fs,path=%s,security_model=none "
        "-device virtio-9p-pci,fsdev=fs,mount_tag=fs,addr=0x8", disk, t->dir);
    g_autofree char *copied = NULL, *seen = NULL, *cd = NULL, *blk = NULL;
    g_autofree char *dir = NULL;

    pct_start_pair(t, args, args);
    pct_migrate(t);
    pct_wait_complete(t);
    copied = unseen(t, "0000:00:07.0/0:0:0");
    seen = unseen(t, "0000:00:06.0/0:0:0");
    cd = unseen(t, "id=cd");
    blk = unseen(t, DISK_PATH);
    dir = unseen(t, "0000:00:08.0");
    g_assert_cmpstr(copied, ==, "buffered");
    g_assert_cmpstr(cd, ==, "buffered");
    g_assert_cmpstr(dir, ==, "directory");
    g_assert_cmpstr(seen, ==, "");
    g_assert_cmpstr(blk, ==, "");
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/pagecache/io-bus/ahci", test_ahci);
    qtest_add_func("/pagecache/io-bus/ide", test_ide);
    qtest_add_func("/pagecache/io-bus/scsi", test_scsi);
    qtest_add_func("/pagecache/io-bus/scsi/medium", test_medium);
    qtest_add_func("/pagecache/io-bus/4k/virtio-blk", test_4k_virtio_blk);
    qtest_add_func("/pagecache/io-bus/4k/scsi", test_4k_scsi);
    qtest_add_func("/pagecache/io-bus/unseen", test_unseen);
    return g_test_run();
}
