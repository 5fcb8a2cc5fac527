/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the ways to give a guest its disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * In each of them the destination finds a way of its own to the image, and all
 * of the cache is read from there.  Images on iSCSI are served by tgtd.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "pagecache-test-iscsi.h"
#include "pagecache-test-proxy.h"

#define UUID    "7d1c9a42-58c5-4c3e-9c56-0c3e2b8d6a11"
#define DEVICE  " -device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5"

static Tgtd tgt;

static void start_both(PcTest *t, const char *args)
{
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
}

static void hint_cache_at(PcTest *t, uint64_t offset)
{
    unsigned i;

    for (i = 0; i < CACHE_PAGES; i++) {
        pct_hint(t, "blk0", pct_cache_addr(i),
                 pct_cache_sector(i) - offset / 512, 1);
    }
}

/* With @args, all of the cache is read by @reader */
static void check_read(PcTest *t, const char *args, uint64_t offset,
                       const char *reader)
{
    start_both(t, args);
    hint_cache_at(t, offset);
    pct_refill_cache(t);
    pct_check_read_by(t, reader);
}

/* --- iSCSI --- */

static void bind_initiator(const char *name)
{
    g_assert_true(tgtadm(&tgt, "--op bind --mode target --tid 1 "
                         "--initiator-name %s", name));
}

static void bind_user(const char *user, const char *password)
{
    tgtd_bind_all(&tgt);
    g_assert_true(tgtadm(&tgt, "--op new --mode account --user %s "
                         "--password %s", user, password));
    g_assert_true(tgtadm(&tgt, "--op bind --mode account --tid 1 --user %s",
                         user));
}

/* The target lets in whom it knows: a VM is known by its UUID. */
static void test_iscsi_uuid(void)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    bind_initiator("iqn.2008-11.org.linux-kvm:" UUID);
    args = g_strdup_printf(
        "-uuid " UUID " -blockdev raw,node-name=disk0,file.driver=iscsi,"
        "file.transport=tcp,file.portal=127.0.0.1:%d,file.target="
        TGTD_TARGET ",file.lun=1" DEVICE, tgt.port);
    check_read(t, args, 0, "iscsi");
    pct_free_iscsi(t, &tgt);
}

/* ... by its name, without a UUID ... */
static void test_iscsi_vm_name(void)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    bind_initiator("iqn.2008-11.org.linux-kvm:anna");
    args = g_strdup_printf(
        "-name anna -drive if=none,id=disk0,format=raw,"
        "file=iscsi://127.0.0.1:%d/" TGTD_TARGET "/1" DEVICE, tgt.port);
    check_read(t, args, 0, "iscsi");
    pct_free_iscsi(t, &tgt);
}

/* ... or as the disk's options say. */
static void test_iscsi_initiator(void)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    bind_initiator("iqn.2026-01.test:me");
    args = g_strdup_printf(
        "-iscsi initiator-name=iqn.2026-01.test:me,header-digest=CRC32C "
        "-drive if=none,id=disk0,format=raw,"
        "file=iscsi://127.0.0.1:%d/" TGTD_TARGET "/1" DEVICE, tgt.port);
    check_read(t, args, 0, "iscsi");
    pct_free_iscsi(t, &tgt);
}

static void test_iscsi_chap(void)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    bind_user("anna", "password-1");
    args = g_strdup_printf(
        "-object secret,id=secret0,data=password-1 "
        "-blockdev raw,node-name=disk0,file.driver=iscsi,"
        "file.transport=tcp,file.portal=127.0.0.1:%d,file.target="
        TGTD_TARGET ",file.lun=1,file.user=anna,file.password-secret=secret0,"
        "file.header-digest=crc32c-none" DEVICE, tgt.port);
    check_read(t, args, 0, "iscsi");
    pct_free_iscsi(t, &tgt);
}

/*
 * The password has changed since the guest's disks were opened: the reader is
 * not let in, and the migration is a plain one.  Nobody is told the password
 * that was tried.
 */
static void test_iscsi_chap_changed(void)
{
    static const char password[] = "password-1";
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;
    g_autoptr(GByteArray) sent = NULL;
    QDict *disk, *info;
    g_autoptr(GString) text = NULL;
    PctProxy *p;

    if (!t) {
        return;
    }
    bind_user("anna", password);
    args = g_strdup_printf(
        "-object secret,id=secret0,data=%s "
        "-blockdev raw,node-name=disk0,file.driver=iscsi,"
        "file.transport=tcp,file.portal=127.0.0.1:%d,file.target="
        TGTD_TARGET ",file.lun=1,file.user=anna,"
        "file.password-secret=secret0" DEVICE, password, tgt.port);
    start_both(t, args);
    g_assert_true(tgtadm(&tgt, "--op unbind --mode account --tid 1 "
                         "--user anna"));
    g_assert_true(tgtadm(&tgt, "--op delete --mode account --user anna"));
    g_assert_true(tgtadm(&tgt, "--op new --mode account --user anna "
                         "--password password-2"));
    g_assert_true(tgtadm(&tgt, "--op bind --mode account --tid 1 "
                         "--user anna"));
    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    disk = pct_disk_info(t->dst);
    pct_assert_contains(qdict_get_str(disk, "error"), "login: ");
    g_assert_cmpint(qdict_get_int(disk, "bytes-read"), ==, 0);
    qobject_unref(disk);
    info = pct_info(t->dst);
    text = qobject_to_json(QOBJECT(info));
    g_assert_null(strstr(text->str, password));
    qobject_unref(info);
    sent = pct_proxy_recorded(p);
    g_assert_cmpuint(sent->len, >, CACHE_SIZE);
    g_assert_null(memmem(sent->data, sent->len, password, strlen(password)));
    pct_proxy_free(p);
    pct_free_iscsi(t, &tgt);
}

/* The guest's disk is a part of the LUN. */
static void test_iscsi_offset(void)
{
    static const uint64_t offset = 1 * MiB - 512;
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    tgtd_bind_all(&tgt);
    args = g_strdup_printf(
        "-blockdev raw,node-name=disk0,offset=%" PRIu64 ",size=%" PRIu64
        ",file.driver=iscsi,file.transport=tcp,file.portal=127.0.0.1:%d,"
        "file.target=" TGTD_TARGET ",file.lun=1" DEVICE, offset,
        DISK_SIZE - offset, tgt.port);
    check_read(t, args, offset, "iscsi");
    pct_free_iscsi(t, &tgt);
}

/* Blocks of 4 KiB, and no raw node in front of them */
static void test_iscsi_blocks(void)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    tgtd_bind_all(&tgt);
    args = g_strdup_printf(
        "-blockdev iscsi,node-name=disk0,transport=tcp,portal=127.0.0.1:%d,"
        "target=" TGTD_TARGET ",lun=2" DEVICE
        ",logical_block_size=4096,physical_block_size=4096", tgt.port);
    check_read(t, args, 0, "iscsi");
    pct_free_iscsi(t, &tgt);
}

/* A CD-ROM, which has no READ CAPACITY(16) and no READ(16) */
static void test_iscsi_cd(void)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    tgtd_bind_all(&tgt);
    args = g_strdup_printf(
        "-blockdev iscsi,node-name=disk0,transport=tcp,portal=127.0.0.1:%d,"
        "target=" TGTD_TARGET ",lun=3,read-only=on" DEVICE
        ",logical_block_size=2048,physical_block_size=2048", tgt.port);
    check_read(t, args, 0, "iscsi");
    pct_free_iscsi(t, &tgt);
}

/*
 * The target hangs for ever: the pages come over the channel, the migration
 * completes, and the destination still does what it is told.
 */
static void test_iscsi_hangs(void)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *src = NULL, *dst = NULL;
    QDict *disk;

    if (!t) {
        return;
    }
    tgtd_bind_all(&tgt);
    src = pct_iscsi_args(tgt.port);
    dst = g_strdup_printf("%s -global migration.pagecache-read-deadline=500",
                          src);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    kill(tgt.pid, SIGSTOP);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_full_speed(t);
    pct_wait_complete(t);
    pct_check_memory(t, t->dst);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    disk = pct_disk_info(t->dst);
    g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, "iscsi");
    g_assert_cmpint(qdict_get_int(disk, "bytes-read"), ==, 0);
    g_assert_true(qdict_haskey(disk, "error"));
    qobject_unref(disk);
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'blockdev-add',"
                             "  'arguments': { 'driver': 'null-co',"
                             "                 'node-name': 'other' } }");
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': 'other' } }");
    /* the guest's own session needs the target to say goodbye */
    kill(tgt.pid, SIGCONT);
    pct_free_iscsi(t, &tgt);
}

/* --- The block layer --- */

/* An overlay, with some of the cache in it and the rest in the raw base */
static void test_overlay(void)
{
    PcTest *t;
    g_autofree char *image = NULL, *args = NULL;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
        return;
    }
    t = pct_new();
    image = pct_path(t, "overlay.qcow2");
    g_assert_true(pct_qemu_img("create -f qcow2 -b %s -F raw %s", t->disk,
                               image));
    args = g_strdup_printf(
        "-drive if=none,id=disk0,format=qcow2,file=%s" DEVICE, image);
    check_read(t, args, 0, "block");
    pct_free(t);
}

/* A slow disk is the guest's own choice, and the reader minds it. */
static void test_throttled_drive(void)
{
    static const uint64_t limit = 16 * MiB;
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-drive if=none,id=disk0,format=raw,throttling.bps-total=%" PRIu64
        ",file=%s" DEVICE, limit, t->disk);
    gint64 start = g_get_monotonic_time();

    check_read(t, args, 0, "file");
    g_assert_cmpint(g_get_monotonic_time() - start, >,
                    (CACHE_SIZE - 1 * MiB) * G_USEC_PER_SEC / limit);
    pct_free(t);
}

/* In reads a second: as many bytes as these may have */
static void test_throttled_iops(void)
{
    static const uint64_t iops = 1000, size = 16 * KiB;
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-drive if=none,id=disk0,format=raw,throttling.iops-read=%" PRIu64
        ",throttling.iops-size=%" PRIu64 ",file=%s" DEVICE, iops, size,
        t->disk);
    gint64 start = g_get_monotonic_time();

    check_read(t, args, 0, "file");
    g_assert_cmpint(g_get_monotonic_time() - start, >,
                    (CACHE_SIZE - 1 * MiB) * G_USEC_PER_SEC / (iops * size));
    pct_free(t);
}

static void test_copy_on_read(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-blockdev copy-on-read,node-name=disk0,file.driver=raw,"
        "file.file.driver=file,file.file.filename=%s" DEVICE, t->disk);

    check_read(t, args, 0, "file");
    pct_free(t);
}

static void test_cache_none(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-drive if=none,id=disk0,format=raw,cache=none,file=%s" DEVICE,
        t->disk);

    check_read(t, args, 0, "file");
    pct_free(t);
}

/* Without a medium there is nothing to read, and nothing breaks. */
static void test_no_medium(void)
{
    PcTest *t = pct_new();
    g_autofree char *src = g_strdup_printf(
        "-blockdev file,node-name=disk0,filename=%s "
        "-device virtio-scsi-pci,id=scsi0,addr=0x6 "
        "-device scsi-cd,id=blk0,bus=scsi0.0,drive=disk0", t->disk);
    static const char dst[] =
        "-device virtio-scsi-pci,id=scsi0,addr=0x6 "
        "-device scsi-cd,id=blk0,bus=scsi0.0";

    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_wait_complete(t);
    pct_check_memory(t, t->dst);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/disk/iscsi/uuid", test_iscsi_uuid);
    qtest_add_func("/pagecache/disk/iscsi/vm-name", test_iscsi_vm_name);
    qtest_add_func("/pagecache/disk/iscsi/initiator", test_iscsi_initiator);
    qtest_add_func("/pagecache/disk/iscsi/chap", test_iscsi_chap);
    qtest_add_func("/pagecache/disk/iscsi/chap-changed",
                   test_iscsi_chap_changed);
    qtest_add_func("/pagecache/disk/iscsi/offset", test_iscsi_offset);
    qtest_add_func("/pagecache/disk/iscsi/blocks-of-4k", test_iscsi_blocks);
    qtest_add_func("/pagecache/disk/iscsi/cd", test_iscsi_cd);
    qtest_add_func("/pagecache/disk/iscsi/hangs", test_iscsi_hangs);
    qtest_add_func("/pagecache/disk/overlay", test_overlay);
    qtest_add_func("/pagecache/disk/throttled-drive", test_throttled_drive);
    qtest_add_func("/pagecache/disk/throttled-iops", test_throttled_iops);
    qtest_add_func("/pagecache/disk/copy-on-read", test_copy_on_read);
    qtest_add_func("/pagecache/disk/cache-none", test_cache_none);
    qtest_add_func("/pagecache/disk/no-medium", test_no_medium);
    return g_test_run();
}
