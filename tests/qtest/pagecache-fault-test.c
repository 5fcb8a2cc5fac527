/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the destination can't read
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Storage that fails costs the refill: the pages come over the channel, the
 * reason stands in the figures.  iSCSI that hangs is in pagecache-hang-test.c.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-lib.h"

#define DEVICE  " -device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5"

/* The destination's disk is this; it will not be what the source's is. */
static PcTest *pair_with_destination(const char *dst)
{
    PcTest *t = pct_new();

    pct_start_src(t, NULL);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    return t;
}

/* A destination with a copy of the image, whose name is *@copy */
static PcTest *pair_with_copy(char **copy, const char *args)
{
    PcTest *t = pct_new();
    g_autofree char *dst = NULL;

    *copy = pct_path(t, "copy");
    g_assert_true(g_file_set_contents(*copy, (char *)t->disk_data, DISK_SIZE,
                                      NULL));
    dst = g_strdup_printf(DISK_ARGS "%s", *copy, args);
    pct_start_src(t, NULL);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    return t;
}

static void check_disk(PcTest *t, const char *reader, const char *status,
                       const char *error)
{
    QDict *disk = pct_disk_info(t->dst);

    g_assert_cmpstr(qdict_get_try_str(disk, "reader"), ==, reader);
    if (status) {
        g_assert_cmpstr(qdict_get_str(disk, "status"), ==, status);
    }
    if (error) {
        pct_assert_contains(qdict_get_try_str(disk, "error"), error);
    }
    qobject_unref(disk);
}

static int64_t disk_figure(PcTest *t, const char *name)
{
    QDict *disk = pct_disk_info(t->dst);
    int64_t n = qdict_get_int(disk, name);

    qobject_unref(disk);
    return n;
}

static void test_gone_at_start(void)
{
    g_autofree char *copy = NULL;
    PcTest *t = pair_with_copy(&copy, "");

    g_assert_cmpint(unlink(copy), ==, 0);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    check_disk(t, "file", "failed", "cannot open ");
    pct_free(t);
}

static void test_short_at_start(void)
{
    g_autofree char *copy = NULL;
    PcTest *t = pair_with_copy(&copy, "");

    g_assert_cmpint(truncate(copy, DISK_SIZE / 2), ==, 0);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    check_disk(t, "file", "failed", "the disk has 8388608 bytes here, expected "
               "16777216 or more");
    pct_free(t);
}

/* It becomes short while it is read. */
static void test_short_in_the_middle(void)
{
    g_autofree char *copy = NULL;
    PcTest *t = pair_with_copy(
        &copy, "-global migration.pagecache-bandwidth=2M");

    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    g_assert_cmpint(truncate(copy, 0), ==, 0);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <, CACHE_PAGES);
    g_assert_cmpint(disk_figure(t, "errors"), >, 0);
    pct_free(t);
}

static void test_other_content(void)
{
    g_autofree char *copy = NULL;
    PcTest *t = pair_with_copy(&copy, "");
    g_autofree char *swapped = g_malloc(DISK_SIZE);

    memcpy(swapped, t->disk_data + DISK_SIZE / 2, DISK_SIZE / 2);
    memcpy(swapped + DISK_SIZE / 2, t->disk_data, DISK_SIZE / 2);
    g_assert_true(g_file_set_contents(copy, swapped, DISK_SIZE, NULL));
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "mismatched-pages", CACHE_PAGES / 2);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    pct_free(t);
}

/* A thin LUN without a block of its own */
static void test_zeros(void)
{
    g_autofree char *args = g_strdup_printf(
        "-blockdev null-co,node-name=disk0,size=%u,read-zeroes=on" DEVICE
        " -global migration.pagecache-any-protocol=on",
        (unsigned)DISK_SIZE);
    PcTest *t = pair_with_destination(args);

    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "mismatched-pages", CACHE_PAGES / 2);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    check_disk(t, "block", "ready", NULL);
    pct_free(t);
}

/* A disk whose data can't be read, but at @where; NULL: skipped */
static PcTest *pair_with_errors(const char *where)
{
    PcTest *t;
    g_autofree char *image = NULL, *dst = NULL;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
        return NULL;
    }
    t = pct_new();
    image = pct_qcow2(t);
    dst = g_strdup_printf(
        "-blockdev qcow2,node-name=disk0,file.driver=blkdebug,"
        "file.image.driver=file,file.image.filename=%s,"
        "file.inject-error.0.event=read_aio,file.inject-error.0.errno=5%s"
        DEVICE, image, where);
    pct_start_src(t, NULL);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    return t;
}

static void test_eio(void)
{
    PcTest *t = pair_with_errors("");

    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    check_disk(t, "block", "ready", "Input/output error");
    g_assert_cmpint(disk_figure(t, "errors"), >, 0);
    g_assert_cmpint(disk_figure(t, "timeouts"), ==, 0);
    pct_free(t);
}

/* One bad sector costs one read. */
static void test_eio_at_one_sector(void)
{
    /* 5 MiB into the file: that is the cache, wherever it begins */
    PcTest *t = pair_with_errors(",file.inject-error.0.sector=10240");
    int64_t lost;

    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    lost = pct_figure(t->src, "unavailable-pages");
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES - lost);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(lost, <=, 256 * KiB / PAGE);
    g_assert_cmpint(disk_figure(t, "errors"), ==, 1);
    check_disk(t, "block", "ready", "Input/output error");
    pct_free(t);
}

/*
 * The destination reads from this NBD server, which can be stopped; reads
 * have a deadline of 200 ms.
 */
static PcTest *pair_with_server(QTestState **server)
{
    PcTest *t = pct_new();
    g_autofree char *path = pct_path(t, "nbd.sock");
    g_autofree char *export = g_strdup_printf(
        "-blockdev file,node-name=image,read-only=on,force-share=on,"
        "filename=%s", t->disk);
    g_autofree char *dst = g_strdup_printf(
        "-blockdev nbd,node-name=disk0,server.type=unix,server.path=%s,"
        "export=image,read-only=on" DEVICE
        " -global migration.pagecache-read-deadline=200", path);

    *server = pct_start(t, export);
    qtest_qmp_assert_success(*server, "{ 'execute': 'nbd-server-start',"
                             "  'arguments': { 'addr': { 'type': 'unix',"
                             "    'data': { 'path': %s } } } }", path);
    qtest_qmp_assert_success(*server, "{ 'execute': 'block-export-add',"
                             "  'arguments': { 'type': 'nbd', 'id': 'e0',"
                             "    'node-name': 'image', 'name': 'image' } }");
    pct_start_src(t, NULL);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_incoming(t);
    return t;
}

/* When the disk was opened, the server says nothing. */
static void migrate_to_silence(PcTest *t, QTestState *server)
{
    pct_migrate_slowly(t);
    /* it is opened before */
    pct_open_reader(t);
    g_assert_cmpint(kill(qtest_pid(server), SIGSTOP), ==, 0);
    pct_hint_rest(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
}

static void server_goes_on(QTestState *server)
{
    g_assert_cmpint(kill(qtest_pid(server), SIGCONT), ==, 0);
}

static void free_with_server(PcTest *t, QTestState *server)
{
    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    qtest_quit(server);
    pct_free(t);
}

/*
 * What was read comes when the migration is over.  The guest's memory is not
 * what the disk is, so that it would show if it went there.
 */
static void test_reads_after_the_end(void)
{
    QTestState *server;
    PcTest *t = pair_with_server(&server);

    pct_scribble(t, CACHE_START, CACHE_PAGES);
    migrate_to_silence(t, server);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, PCT_OPENED);
    g_assert_cmpint(disk_figure(t, "timeouts"), >, 0);
    check_disk(t, "nbd", NULL, NULL);

    server_goes_on(server);
    /* it takes the lock of the block graph, which no read of ours holds */
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'blockdev-add',"
                             "  'arguments': { 'driver': 'null-co',"
                             "                 'node-name': 'other' } }");
    pct_check_memory(t, t->dst);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), ==, PCT_OPENED);
    free_with_server(t, server);
}

/* The same, while it goes on */
static void test_reads_after_the_deadline(void)
{
    QTestState *server;
    PcTest *t = pair_with_server(&server);

    pct_scribble(t, CACHE_START, CACHE_PAGES);
    migrate_to_silence(t, server);
    server_goes_on(server);
    while (pct_figure(t->src, "reported-pages") +
           pct_figure(t->src, "released-pages") < CACHE_PAGES) {
        g_usleep(2000);
    }
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    free_with_server(t, server);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/storage/gone-at-start", test_gone_at_start);
    qtest_add_func("/pagecache/storage/short-at-start", test_short_at_start);
    qtest_add_func("/pagecache/storage/short-in-the-middle",
                   test_short_in_the_middle);
    qtest_add_func("/pagecache/storage/other-content", test_other_content);
    qtest_add_func("/pagecache/storage/zeros", test_zeros);
    qtest_add_func("/pagecache/storage/eio", test_eio);
    qtest_add_func("/pagecache/storage/eio-at-one-sector",
                   test_eio_at_one_sector);
    qtest_add_func("/pagecache/storage/reads-after-the-end",
                   test_reads_after_the_end);
    qtest_add_func("/pagecache/storage/reads-after-the-deadline",
                   test_reads_after_the_deadline);
    return g_test_run();
}
