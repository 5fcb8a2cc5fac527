/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: images that are opened once more in the
 * block layer
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Which those are, which are not, and that nothing of them is read through the
 * host's page cache.  Files that hang are on a FUSE mount
 * (tests/tools/fusefile.c, whose program PAGECACHE_FUSEFILE names).
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "pagecache-test-lib.h"

#define FUSEFILE getenv("PAGECACHE_FUSEFILE")
#include "../unit/test-pagecache-hosts.h"

#define DEVICE  " -device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5 "
#define ANY     " -global migration.pagecache-any-protocol=on "
#define HASTY   " -global migration.pagecache-read-deadline=300 "
#define SLOW_READS " -global migration.pagecache-bandwidth=1M "

/* What QEMU does at once, it does within this time even here */
#define PROMPT_US       (5 * G_USEC_PER_SEC)

/* NULL: skipped */
static PcTest *clone_new(void)
{
    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
        return NULL;
    }
    return pct_new();
}

static void start_both(PcTest *t, const char *src, const char *dst)
{
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
}

/* --- chains --- */

/*
 * The guest's own nodes use the host's page cache; how many others are there,
 * which must not.
 */
static int count_clone_files(QTestState *who)
{
    QDict *reply = qtest_qmp(who, "{ 'execute': 'query-named-block-nodes' }");
    const QListEntry *entry;
    int n = 0;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(reply, "return"), entry) {
        QDict *node = qobject_to(QDict, qlist_entry_obj(entry));
        QDict *cache = qdict_get_qdict(node, "cache");

        if (g_str_has_prefix(qdict_get_str(node, "node-name"), "own")) {
            g_assert_false(qdict_get_bool(cache, "direct"));
            continue;
        }
        g_assert_true(qdict_get_bool(cache, "direct"));
        g_assert_true(qdict_get_bool(node, "ro"));
        n += !strcmp(qdict_get_str(node, "drv"), "file");
    }
    qobject_unref(reply);
    return n;
}

/* The whole cache is read by a clone with so many files, all of them direct */
static void check_chain(PcTest *t, const char *args, int files)
{
    start_both(t, args, args);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    g_assert_cmpint(count_clone_files(t->dst), ==, files);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_check_read_by(t, "block");
}

/*
 * Three layers, the lowest of which the images' headers know by the name of
 * another file: what the guest's node has open counts.
 */
static void test_chain(void)
{
    PcTest *t = clone_new();
    g_autofree char *middle = NULL, *top = NULL, *args = NULL, *empty = NULL;

    if (!t) {
        return;
    }
    middle = pct_path(t, "middle.qcow2");
    top = pct_path(t, "top.qcow2");
    empty = pct_path(t, "empty");
    g_assert_true(pct_qemu_img("create -f raw %s %u", empty,
                               (unsigned)DISK_SIZE));
    g_assert_true(pct_qemu_img("create -f qcow2 -b %s -F raw %s", empty,
                               middle));
    g_assert_true(pct_qemu_img("create -f qcow2 -b %s -F qcow2 %s", middle,
                               top));
    args = g_strdup_printf(
        "-blockdev file,node-name=own-base,filename=%s "
        "-blockdev file,node-name=own-file1,filename=%s "
        "-blockdev qcow2,node-name=own-middle,file=own-file1,backing=own-base "
        "-blockdev file,node-name=own-file2,filename=%s "
        "-blockdev qcow2,node-name=own-top,file=own-file2,backing=own-middle "
        "-device virtio-blk-pci,id=blk0,drive=own-top,addr=0x5", t->disk,
        middle, top);
    check_chain(t, args, 3);
    pct_free(t);
}

/* An image whose data are in the test's disk; g_free() the name */
static char *new_data_file(PcTest *t)
{
    char *image = pct_path(t, "image.qcow2");

    g_assert_true(pct_qemu_img("create -f qcow2 -o data_file=%s,"
                               "data_file_raw=on,preallocation=metadata "
                               "%s %u", t->disk, image, (unsigned)DISK_SIZE));
    /* which has emptied it */
    g_assert_true(g_file_set_contents(t->disk, (char *)t->disk_data, DISK_SIZE,
                                      NULL));
    return image;
}

static void test_data_file(void)
{
    PcTest *t = clone_new();
    g_autofree char *image = NULL, *args = NULL;

    if (!t) {
        return;
    }
    image = new_data_file(t);
    args = g_strdup_printf(
        "-blockdev file,node-name=own-data,filename=%s "
        "-blockdev file,node-name=own-file,filename=%s "
        "-blockdev qcow2,node-name=own-top,file=own-file,data-file=own-data "
        "-device virtio-blk-pci,id=blk0,drive=own-top,addr=0x5", t->disk,
        image);
    check_chain(t, args, 2);
    pct_free(t);
}

/* --- what is not opened --- */

static void check_not_read(PcTest *t, const char *status, const char *error)
{
    pct_migrate(t);
    pct_wait_complete(t);
    pct_check_memory(t, t->dst);
    pct_check_unread(t, status, error);
}

/* Opened by the guest's own node through the cache, and by no clone at all */
static void test_no_direct(void)
{
    PcTest *t = clone_new();
    g_autofree char *image = NULL, *args = NULL, *in_memory = NULL;
    int fd;

    if (!t) {
        return;
    }
    in_memory = g_strdup("/dev/shm/pagecache-XXXXXX");
    fd = g_mkstemp(in_memory);
    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(in_memory, (char *)t->disk_data,
                                      DISK_SIZE, NULL));
    image = pct_path(t, "image.qcow2");
    g_assert_true(pct_qemu_img("create -f qcow2 -b %s -F raw %s", in_memory,
                           image));
    args = g_strdup_printf("-drive if=none,id=disk0,format=qcow2,file=%s"
                           DEVICE, image);
    start_both(t, args, args);
    check_not_read(t, "failed", in_memory);
    unlink(in_memory);
    pct_free(t);
}

static const char *const protocols[] = {
    "-blockdev raw,node-name=disk0,file.driver=null-co,file.read-zeroes=on,"
    "file.size=16777216",
    /* below a format of which the rest is a file, and behind a filter */
    "-blockdev throttle,node-name=disk0,throttle-group=g,file.driver=quorum,"
    "file.vote-threshold=1,file.children.0.driver=null-co,"
    "file.children.0.size=16777216,file.children.1.driver=null-co,"
    "file.children.1.size=16777216 -object throttle-group,id=g",
};

static void test_protocol(const void *opaque)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strconcat(opaque, DEVICE, NULL);

    start_both(t, args, args);
    check_not_read(t, "none", "is of protocol 'null-co', which would be opened "
                   "in QEMU's main loop");
    pct_free(t);
}

/* The operator wants it: it is read. */
static void test_any_protocol(void)
{
    PcTest *t = pct_new();
    g_autofree char *src = g_strconcat(protocols[0], DEVICE, NULL);
    g_autofree char *dst = g_strconcat(src, ANY, NULL);
    QDict *disk;

    start_both(t, src, dst);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "mismatched-pages", CACHE_PAGES);
    disk = pct_disk_info(t->dst);
    g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, "block");
    qobject_unref(disk);
    pct_finish(t);
    pct_free(t);
}

static void test_on_nbd(void)
{
    PcTest *t = clone_new();
    g_autofree char *path = NULL, *image = NULL, *export = NULL, *args = NULL;
    QTestState *server;

    if (!t) {
        return;
    }
    path = pct_path(t, "nbd.sock");
    image = pct_qcow2(t);
    export = g_strdup_printf("-blockdev file,node-name=image,filename=%s",
                             image);
    server = pct_start(t, export);
    qtest_qmp_assert_success(server, "{ 'execute': 'nbd-server-start',"
                             "  'arguments': { 'addr': { 'type': 'unix',"
                             "    'data': { 'path': %s } } } }", path);
    qtest_qmp_assert_success(server, "{ 'execute': 'block-export-add',"
                             "  'arguments': { 'type': 'nbd', 'id': 'e0',"
                             "    'node-name': 'image', 'name': 'image' } }");
    args = g_strdup_printf(
        "-blockdev qcow2,node-name=disk0,read-only=on,file.driver=nbd,"
        "file.server.type=unix,file.server.path=%s,file.export=image" DEVICE,
        path);
    start_both(t, args, args);
    check_not_read(t, "none", "is of protocol 'nbd'");
    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    qtest_quit(server);
    pct_free(t);
}

/* --- files that hang --- */

static void assert_prompt(QTestState *who)
{
    gint64 begin = g_get_monotonic_time();

    qtest_qmp_assert_success(who, "{ 'execute': 'query-block' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'query-status' }");
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
}

/* The destination has its image on a mount of @host's.  NULL: skipped */
static PcTest *hang_new(Host *host, const char *more)
{
    g_autofree char *image = NULL, *dir = NULL, *src = NULL, *dst = NULL;
    PcTest *t;

    if (!FUSEFILE) {
        g_test_skip("PAGECACHE_FUSEFILE is not set (tests/tools/build-fusefile)");
        return NULL;
    }
    t = clone_new();
    if (!t) {
        return NULL;
    }
    dir = pct_path(t, "mount");
    g_assert_cmpint(g_mkdir(dir, 0700), ==, 0);
    image = pct_qcow2(t);
    if (!host_mount(host, image, dir, NULL)) {
        g_assert_cmpint(g_rmdir(dir), ==, 0);
        pct_free(t);
        return NULL;
    }
    src = g_strdup_printf("-blockdev qcow2,node-name=disk0,read-only=on,"
                          "file.driver=file,file.filename=%s" DEVICE, image);
    dst = g_strdup_printf("-blockdev qcow2,node-name=disk0,read-only=on,"
                          "file.driver=file,file.filename=%s" DEVICE "%s",
                          host->disk, more);
    start_both(t, src, dst);
    return t;
}

static void hang_free(PcTest *t, Host *host)
{
    g_autofree char *dir = pct_path(t, "mount");

    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    host_unmount(host);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
    pct_free(t);
}

/* It does not even open: the main loop does not try. */
static void test_hangs_open(const void *how)
{
    Host host = {};
    PcTest *t = hang_new(&host, HASTY);

    if (!t) {
        return;
    }
    host_command(&host, how);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    assert_prompt(t->dst);
    /* the guest's own node reads when it is activated */
    if (g_str_has_prefix(how, "read")) {
        host_command(&host, "read now");
    }
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    assert_prompt(t->dst);
    host_command(&host, "all now");
    hang_free(t, &host);
}

/* In the middle of its reads: the pages come back, the monitor is there. */
static void test_hangs_read(void)
{
    Host host = {};
    PcTest *t = hang_new(&host, HASTY SLOW_READS);

    if (!t) {
        return;
    }
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    host_command(&host, "read hang");
    pct_wait_figure(t->src, "unavailable-pages", 1);
    assert_prompt(t->dst);
    host_command(&host, "read now");
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <, CACHE_PAGES);
    hang_free(t, &host);
}

/* --- what comes late --- */

/* The guest, which runs on at the source, overwrites all of its disk in place */
static void rewrite_disk(PcTest *t)
{
    size_t i;
    int fd;

    for (i = 0; i < DISK_SIZE; i++) {
        t->disk_data[i] ^= 0xff;
    }
    fd = open(t->disk, O_WRONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, t->disk_data, DISK_SIZE, 0), ==, DISK_SIZE);
    g_assert_cmpint(fsync(fd), ==, 0);
    close(fd);
}

/*
 * An image's data file is on storage where each host has a page cache.  Reads
 * of the destination's clone are under way when the guest overwrites its disk,
 * and come after it has gone on there: it must read what it wrote.
 */
static void test_late(void)
{
    static const char chain[] =
        "-blockdev file,node-name=own-data,filename=%s "
        "-blockdev file,node-name=own-file,filename=%s "
        "-blockdev qcow2,node-name=own-top,file=own-file,data-file=own-data "
        "-device virtio-blk-pci,id=blk0,drive=own-top,addr=0x5 ";
    PcTest *t;
    g_autofree char *image = NULL, *mount = NULL, *src = NULL, *dst = NULL;
    g_autofree char *content = NULL;
    Host host = {};
    gsize len;

    if (!FUSEFILE) {
        g_test_skip("PAGECACHE_FUSEFILE is not set "
                    "(tests/tools/build-fusefile)");
        return;
    }
    t = clone_new();
    if (!t) {
        return;
    }
    mount = pct_path(t, "mount");
    g_assert_cmpint(g_mkdir(mount, 0700), ==, 0);
    image = new_data_file(t);
    if (!host_mount(&host, t->disk, mount, NULL)) {
        g_assert_cmpint(g_rmdir(mount), ==, 0);
        pct_free(t);
        return;
    }
    src = g_strdup_printf(chain, t->disk, image);
    dst = g_strdup_printf(chain, host.disk, image);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    /* the clone is open */
    pct_hint_cache_part(t, 0, 16);
    pct_wait_figure(t->src, "proven-pages", 16);

    host_command(&host, "read late 3600000");
    pct_hint_cache_part(t, 16, CACHE_PAGES - 16);
    host_wait_held(&host, "read", true);
    rewrite_disk(t);
    pct_full_speed(t);
    pct_wait_complete(t);
    g_assert_cmpuint(host_count(&host, "read", "held"), >, 0);
    pct_check_memory(t, t->dst);
    /* its own node takes over here, and empties the cache as far as it can */
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'cont' }");

    host_command(&host, "read now");
    host_wait_held(&host, "read", false);
    /* as the guest's own node reads it, through this host's page cache */
    g_assert_true(g_file_get_contents(host.disk, &content, &len, NULL));
    g_assert_cmpuint(len, ==, DISK_SIZE);
    g_assert_cmpint(memcmp(content, t->disk_data, DISK_SIZE), ==, 0);
    hang_free(t, &host);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/clone/chain", test_chain);
    qtest_add_func("/pagecache/clone/data-file", test_data_file);
    qtest_add_func("/pagecache/clone/no-direct", test_no_direct);
    qtest_add_data_func("/pagecache/clone/protocol", protocols[0],
                        test_protocol);
    qtest_add_data_func("/pagecache/clone/protocol/below", protocols[1],
                        test_protocol);
    qtest_add_func("/pagecache/clone/any-protocol", test_any_protocol);
    qtest_add_func("/pagecache/clone/on-nbd", test_on_nbd);
    qtest_add_data_func("/pagecache/clone/hangs/open", "open hang",
                        test_hangs_open);
    qtest_add_data_func("/pagecache/clone/hangs/first-read", "read hang",
                        test_hangs_open);
    qtest_add_func("/pagecache/clone/hangs/read", test_hangs_read);
    qtest_add_func("/pagecache/clone/late", test_late);
    return g_test_run();
}
