/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: what it is for
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * In each of these settings all of a guest's page cache goes over the storage
 * wire and next to nothing of it over the channel, and every byte is right.
 */

#include "qemu/osdep.h"
#include <sys/un.h>
#include "qobject/qdict.h"
#include "pagecache-test-lib.h"

/* What the channel may carry besides the private pages, in bytes */
#define SLACK   (1 * MiB)

/* A pair that differs from pct_new_pair() in the arguments of both */
static PcTest *pair_with(PcTest *t, const char *args)
{
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    return t;
}

/* Hints are given, the destination listens: all of the cache is proven. */
static void migrate_all(PcTest *t)
{
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    g_assert_cmpint(pct_transferred(t->src), <, PRIVATE_SIZE + SLACK);
}

static void migrate_cache(PcTest *t)
{
    pct_hint_cache(t);
    pct_incoming(t);
    migrate_all(t);
}

static void check_reader(PcTest *t, const char *reader, const char *device)
{
    QDict *disk = pct_disk_info(t->dst);
    int64_t bytes = qdict_get_int(disk, "bytes-read");

    g_assert_cmpstr(qdict_get_str(disk, "device"), ==, device);
    g_assert_cmpstr(qdict_get_str(disk, "status"), ==, "ready");
    g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, reader);
    g_assert_cmpint(bytes, >=, CACHE_SIZE);
    g_assert_cmpint(bytes, <=, CACHE_READ_MAX);
    g_assert_cmpint(qdict_get_int(disk, "errors"), ==, 0);
    g_assert_false(qdict_haskey(disk, "error"));
    qobject_unref(disk);
}

/* --- controls --- */

static void test_comparison_finds_a_byte(void)
{
    static const uint64_t addrs[] = {
        0, PRIVATE_START + 12345, CACHE_START, ZERO_START, RAM_SIZE - 1
    };
    PcTest *t = pct_new();
    int i;

    pct_start_src(t, NULL);
    pct_check_memory(t, t->src);
    for (i = 0; i < ARRAY_SIZE(addrs); i++) {
        uint8_t byte = t->ram[addrs[i]];

        qtest_writeb(t->src, addrs[i], byte ^ 1);
        g_assert_cmphex(pct_first_wrong(t, t->src), ==, addrs[i]);
        qtest_writeb(t->src, addrs[i], byte);
    }
    pct_check_memory(t, t->src);
    pct_free(t);
}

static void test_plain_sends_the_cache(void)
{
    PcTest *t = pct_new();

    pct_start_src(t, NULL);
    pct_start_dst(t, NULL);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    g_assert_null(pct_info(t->src));
    g_assert_null(pct_info(t->dst));
    g_assert_cmpint(pct_transferred(t->src), >, PRIVATE_SIZE + CACHE_SIZE);
    pct_free(t);
}

/* --- channels --- */

static void test_unix(void)
{
    PcTest *t = pct_new_pair();

    migrate_cache(t);
    check_reader(t, "file", DISK_PATH);
    pct_free(t);
}

static void test_tcp(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *uri = NULL;

    migrate_incoming_qmp(t->dst, "tcp:127.0.0.1:0", NULL, "{}");
    t->connect_uri = migrate_get_connect_uri(t->dst);
    pct_hint_cache(t);
    migrate_all(t);
    pct_free(t);
}

/* As libvirt does it */
static void test_fd(void)
{
    static const char *const caps[] = {
        "return-path", "pause-before-switchover", "late-block-activate",
        "switchover-ack",
    };
    struct sockaddr_un addr = { .sun_family = AF_UNIX };
    PcTest *t = pct_new_pair();
    int i, fd;

    for (i = 0; i < ARRAY_SIZE(caps); i++) {
        migrate_set_capability(t->src, caps[i], true);
        migrate_set_capability(t->dst, caps[i], true);
    }
    pct_incoming(t);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, t->uri + strlen("unix:"), sizeof(addr.sun_path));
    g_assert_cmpint(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), ==,
                    0);
    qtest_qmp_fds_assert_success(t->src, &fd, 1,
                                 "{ 'execute': 'getfd', 'arguments': {"
                                 "  'fdname': 'channel' } }");
    close(fd);
    t->connect_uri = g_strdup("fd:channel");

    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_full_speed(t);
    wait_for_migration_status(t->src, "pre-switchover", NULL);
    migrate_continue(t->src, "pre-switchover");
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    g_assert_cmpint(pct_transferred(t->src), <, PRIVATE_SIZE + SLACK);
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'cont' }");
    pct_wait_running(t->dst);
    pct_free(t);
}

static void set_both(PcTest *t, const char *parameter, const char *value)
{
    migrate_set_parameter_str(t->src, parameter, value);
    migrate_set_parameter_str(t->dst, parameter, value);
}

static PcTest *multifd_pair(void)
{
    PcTest *t = pct_new_pair();

    migrate_set_capability(t->src, "multifd", true);
    migrate_set_capability(t->dst, "multifd", true);
    return t;
}

static void test_multifd(const void *compression)
{
    PcTest *t = multifd_pair();

    set_both(t, "multifd-compression", compression);
    migrate_cache(t);
    pct_free(t);
}

static void test_zero_page(const void *method)
{
    PcTest *t = !strcmp(method, "multifd") ? multifd_pair() : pct_new_pair();

    migrate_set_parameter_str(t->src, "zero-page-detection", method);
    if (!strcmp(method, "none")) {
        /* zero pages go as they are, then */
        pct_hint_cache(t);
        pct_incoming(t);
        pct_migrate_slowly(t);
        pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
        pct_finish(t);
        pct_check_all_proven(t, CACHE_PAGES);
        g_assert_cmpint(pct_transferred(t->src), <,
                        RAM_SIZE - CACHE_SIZE + SLACK);
    } else {
        migrate_cache(t);
    }
    pct_free(t);
}

static void test_sha256(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-digest=sha256", disk);

    /* The source's choice: the destination is told in START. */
    pct_start_src(t, args);
    pct_start_dst(t, NULL);
    pct_on(t);
    migrate_cache(t);
    pct_free(t);
}

/* --- disks --- */

static void test_raw_with_offset(void)
{
    static const uint64_t offset = 1 * MiB;
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-blockdev raw,node-name=disk0,offset=%" PRIu64 ",size=%" PRIu64
        ",file.driver=file,file.filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5",
        offset, DISK_SIZE - offset, t->disk);
    unsigned i;

    pair_with(t, args);
    for (i = 0; i < CACHE_PAGES; i++) {
        pct_hint(t, "blk0", pct_cache_addr(i),
                 pct_cache_sector(i) - offset / 512, 1);
    }
    pct_incoming(t);
    migrate_all(t);
    check_reader(t, "file", DISK_PATH);
    pct_free(t);
}

static void test_qcow2(void)
{
    PcTest *t;
    g_autofree char *args = NULL;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
        return;
    }
    t = pct_new();
    args = pct_qcow2_args(t);
    pair_with(t, args);
    migrate_cache(t);
    check_reader(t, "block", DISK_PATH);
    pct_free(t);
}

/* The limit of the guest's disk is the reader's, too: that takes its time. */
static void test_throttle_filter(void)
{
    static const uint64_t limit = 16 * MiB;
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-object throttle-group,id=tg0,x-bps-read=%" PRIu64
        " -blockdev throttle,node-name=disk0,throttle-group=tg0,"
        "file.driver=file,file.filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", limit, t->disk);
    gint64 start;

    pair_with(t, args);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    start = g_get_monotonic_time();
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    g_assert_cmpint(g_get_monotonic_time() - start, >,
                    (CACHE_SIZE - 1 * MiB) * G_USEC_PER_SEC / limit);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    check_reader(t, "file", DISK_PATH);
    pct_free(t);
}

/* And an operator's */
static void test_max_bandwidth(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-bandwidth=16M", disk);
    gint64 start;

    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    start = g_get_monotonic_time();
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    g_assert_cmpint(g_get_monotonic_time() - start, >,
                    (CACHE_SIZE - 1 * MiB) * G_USEC_PER_SEC / (16 * MiB));
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

static void test_read_only(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-blockdev file,node-name=disk0,read-only=on,filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", t->disk);

    pair_with(t, args);
    migrate_cache(t);
    check_reader(t, "file", DISK_PATH);
    pct_free(t);
}

static void test_scsi(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        "-blockdev file,node-name=disk0,filename=%s "
        "-device virtio-scsi-pci,id=scsi0,addr=0x6 "
        "-device scsi-hd,id=blk0,bus=scsi0.0,channel=0,scsi-id=3,lun=1,"
        "drive=disk0", t->disk);

    pair_with(t, args);
    migrate_cache(t);
    check_reader(t, "file", "0000:00:06.0/0:3:1");
    pct_free(t);
}

/*
 * The second disk holds the same bytes elsewhere, and the sides list their
 * disks in different orders: a mix-up can't go unnoticed.
 */
static void test_two_disks(void)
{
    static const uint64_t shift = 2 * MiB;
    PcTest *t = pct_new();
    g_autofree char *other = pct_path(t, "other");
    g_autofree uint8_t *data = g_malloc(DISK_SIZE);
    g_autofree char *first = pct_disk_args(t);
    g_autofree char *second = g_strdup_printf(
        "-blockdev file,node-name=disk1,filename=%s "
        "-device virtio-blk-pci,id=blk1,drive=disk1,addr=0x4 ", other);
    g_autofree char *src = g_strconcat(first, second, NULL);
    g_autofree char *dst = g_strconcat(second, first, NULL);
    QDict *info;
    unsigned i;

    memcpy(data + shift, t->disk_data, DISK_SIZE - shift);
    memcpy(data, t->disk_data + DISK_SIZE - shift, shift);
    g_assert_true(g_file_set_contents(other, (char *)data, DISK_SIZE, NULL));
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    for (i = 0; i < CACHE_PAGES; i++) {
        bool odd = i / 8 % 2;

        pct_hint(t, odd ? "blk1" : "blk0", pct_cache_addr(i),
                 pct_cache_sector(i) + (odd ? shift / 512 : 0), 1);
    }
    pct_incoming(t);
    migrate_all(t);
    info = pct_info(t->dst);
    g_assert_cmpint(qlist_size(qdict_get_qlist(info, "disks")), ==, 2);
    qobject_unref(info);
    pct_free(t);
}

/* --- hints --- */

static void test_hints_from_a_file(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *name = pct_path(t, "hints");
    g_autoptr(GString) text = g_string_new("# the page cache\n\n");
    unsigned i;

    for (i = 0; i < CACHE_PAGES; i += 16) {
        g_string_append_printf(text, i % 32 ?
                               "blk0\t0x%" PRIx64 " 0x%" PRIx64 " 16\r\n" :
                               "  blk0 %" PRIu64 " %" PRIu64 " 16 # yes\n",
                               pct_cache_addr(i), pct_cache_sector(i));
    }
    g_assert_true(g_file_set_contents(name, text->str, -1, NULL));
    qtest_qmp_assert_success(t->src, "{ 'execute': 'x-pagecache-add-hints',"
                             " 'arguments': { 'filename': %s } }", name);
    pct_incoming(t);
    migrate_all(t);
    pct_free(t);
}

/* What finds no room in the pool is counted, and sent. */
static void test_hints_without_room(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-pool-max=1", disk);
    g_autofree char *name = pct_path(t, "hints");
    g_autoptr(GString) text = g_string_new("");
    int64_t dropped;
    unsigned i;

    pct_start_src(t, args);
    pct_start_dst(t, NULL);
    pct_on(t);
    /* every other page, so that none continues another */
    for (i = 0; i < CACHE_PAGES; i += 2) {
        g_string_append_printf(text, "blk0 %" PRIu64 " %" PRIu64 " 1\n",
                               pct_cache_addr(i), pct_cache_sector(i));
    }
    g_assert_true(g_file_set_contents(name, text->str, -1, NULL));
    qtest_qmp_assert_success(t->src, "{ 'execute': 'x-pagecache-add-hints',"
                             " 'arguments': { 'filename': %s } }", name);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    pct_finish(t);
    dropped = pct_figure(t->src, "dropped-hints");
    g_assert_cmpint(dropped, >, CACHE_PAGES / 4);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), >, 0);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <=,
                    CACHE_PAGES / 2 - dropped);
    pct_free(t);
}

static void test_hints_by_ram_block(void)
{
    PcTest *t = pct_new_pair();
    unsigned i;

    for (i = 0; i < CACHE_PAGES; i += 16) {
        qtest_qmp_assert_success(t->src,
                                 "{ 'execute': 'x-pagecache-add-hints',"
                                 "  'arguments': { 'hints': [ {"
                                 "  'device': '/machine/peripheral/blk0',"
                                 "  'ram-block': 'pc.ram',"
                                 "  'address': %" PRIu64 ","
                                 "  'sector': %" PRIu64 ", 'pages': 16 } ] } }",
                                 pct_cache_addr(i), pct_cache_sector(i));
    }
    pct_incoming(t);
    migrate_all(t);
    pct_free(t);
}

static void test_hints_cleared(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    qtest_qmp_assert_success(t->src,
                             "{ 'execute': 'x-pagecache-clear-hints' }");
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_all_proven(t, 0);
    pct_free(t);
}

/* --- figures --- */

static void test_info_migrate(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *src = NULL, *dst = NULL;

    migrate_cache(t);
    src = qtest_hmp(t->src, "info migrate");
    pct_assert_contains(src, "skip-pagecache: active\r\n");
    pct_assert_contains(src, "hinted: 2048 pages (0 pages dropped, 0 pages "
                        "duplicate)\r\n");
    pct_assert_contains(src, "offered: 2048 pages, reported: 2048 pages, "
                        "unavailable: 0 pages\r\n");
    pct_assert_contains(src, "proven: 2048 pages (0 pages mismatched)\r\n");
    pct_assert_contains(src, "pooled: 0 pages, in flight: 0 pages\r\n");
    pct_assert_contains(src, "  by qmp: 2048 pages, 0 pages dropped, 2048 "
                        "pages proven, 0 pages mismatched\r\n");
    pct_assert_contains(src, "refilled: 8192 kbytes\r\n");
    dst = qtest_hmp(t->dst, "info migrate");
    pct_assert_contains(dst, "skip-pagecache: active\r\n");
    pct_assert_contains(dst, "superseded: 0 pages\r\n");
    pct_assert_contains(dst, "unavailable: 0 pages\r\n");
    g_assert_null(strstr(dst, "hinted: "));
    pct_assert_contains(dst, "disk blk0 (" DISK_PATH "): ready by file (");
    pct_assert_contains(dst, "), 8192 kbytes in ");
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/control/comparison-finds-a-byte",
                   test_comparison_finds_a_byte);
    qtest_add_func("/pagecache/control/plain-sends-the-cache",
                   test_plain_sends_the_cache);

    qtest_add_func("/pagecache/channel/unix", test_unix);
    qtest_add_func("/pagecache/channel/tcp", test_tcp);
    qtest_add_func("/pagecache/channel/fd-like-libvirt", test_fd);
    qtest_add_data_func("/pagecache/channel/multifd/none", "none",
                        test_multifd);
    qtest_add_data_func("/pagecache/channel/multifd/zlib", "zlib",
                        test_multifd);
#ifdef CONFIG_ZSTD
    qtest_add_data_func("/pagecache/channel/multifd/zstd", "zstd",
                        test_multifd);
#endif
    qtest_add_data_func("/pagecache/channel/zero-page/none", "none",
                        test_zero_page);
    qtest_add_data_func("/pagecache/channel/zero-page/legacy", "legacy",
                        test_zero_page);
    qtest_add_data_func("/pagecache/channel/zero-page/multifd", "multifd",
                        test_zero_page);
    qtest_add_func("/pagecache/channel/sha256", test_sha256);

    qtest_add_func("/pagecache/disk/raw-with-offset", test_raw_with_offset);
    qtest_add_func("/pagecache/disk/qcow2", test_qcow2);
    qtest_add_func("/pagecache/disk/throttle-filter", test_throttle_filter);
    qtest_add_func("/pagecache/disk/max-bandwidth", test_max_bandwidth);
    qtest_add_func("/pagecache/disk/read-only", test_read_only);
    qtest_add_func("/pagecache/disk/scsi", test_scsi);
    qtest_add_func("/pagecache/disk/two", test_two_disks);

    qtest_add_func("/pagecache/hints/from-a-file", test_hints_from_a_file);
    qtest_add_func("/pagecache/hints/without-room", test_hints_without_room);
    qtest_add_func("/pagecache/hints/by-ram-block", test_hints_by_ram_block);
    qtest_add_func("/pagecache/hints/cleared", test_hints_cleared);

    qtest_add_func("/pagecache/info-migrate", test_info_migrate);
    return g_test_run();
}
