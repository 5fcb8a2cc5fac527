/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: what a migration would find
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * query-pagecache and pagecache-collect, with the I/O map as the producer.  What
 * a guest's driver says is counted in virtio-pagecache-query-test.c.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "pagecache-test-blk.h"

/* Pages that are not zero, besides those that the test has filled */
#define OTHER_PAGES 2048

static QDict *query(QTestState *who)
{
    QDict *rsp = qtest_qmp_assert_success_ref(who,
                                              "{ 'execute': 'query-pagecache',"
                                              " 'arguments': {"
                                              " 'channel-bandwidth': 1000000,"
                                              " 'storage-bandwidth': 3000000"
                                              " } }");

    g_assert_nonnull(rsp);
    return rsp;
}

static QDict *nth(QDict *info, const char *list, unsigned n)
{
    const QListEntry *entry = qlist_first(qdict_get_qlist(info, list));

    for (; n; n--) {
        entry = qlist_next(entry);
    }
    return qobject_to(QDict, qlist_entry_obj(entry));
}

static unsigned length(QDict *info, const char *list)
{
    return qlist_size(qdict_get_qlist(info, list));
}

/* Collects, and waits until that is over: what was found. */
static QDict *collect(QTestState *who, const char *status)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    QDict *info, *found;

    qtest_qmp_assert_success(who, "{ 'execute': 'pagecache-collect' }");
    for (;;) {
        info = query(who);
        found = qdict_get_qdict(info, "collection");
        if (strcmp(qdict_get_str(found, "status"), "active")) {
            g_assert_cmpstr(qdict_get_str(found, "status"), ==, status);
            return info;
        }
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(5000);
    }
}

static void assert_refused(QTestState *who, const char *command,
                           const char *argument, int value, const char *why)
{
    QDict *args = qdict_new(), *error;

    if (argument) {
        qdict_put_int(args, argument, value);
    }
    error = qtest_qmp_assert_failure_ref(who, "{ 'execute': %s,"
                                         " 'arguments': %p }", command, args);
    pct_assert_contains(qdict_get_str(error, "desc"), why);
    qobject_unref(error);
}

static void assert_hmp(QTestState *who, const char *command, const char *text)
{
    g_autofree char *said = qtest_hmp(who, "%s", command);

    pct_assert_contains(said, text);
}

/* So many pages stand on the disk, and so many of them by this producer. */
static void check_disk(QDict *info, int64_t pages, const char *producer,
                       int64_t by_producer)
{
    QDict *disk = nth(info, "disks", 0), *by;
    QDict *found = qdict_get_qdict(info, "collection");
    const QListEntry *entry;
    int64_t n = -1;

    g_assert_cmpint(qdict_get_int(disk, "pages"), ==, pages);
    g_assert_cmpint(qdict_get_int(found, "pages"), ==, pages);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(disk, "producers"), entry) {
        by = qobject_to(QDict, qlist_entry_obj(entry));
        if (!strcmp(qdict_get_str(by, "name"), producer)) {
            n = qdict_get_int(by, "pages");
        }
    }
    g_assert_cmpint(n, ==, by_producer);
}

/* A source that tracks, and has read nothing yet */
static PcTest *tracked(PctBlk **blk)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(IO_MAP_ARGS, disk, NULL);

    pct_start_src(t, args);
    *blk = pct_blk_new(t, DISK_SLOT);
    return t;
}

/* --- what is there --- */

/* There is no producer: disks, RAM, and nothing else */
static void test_nothing(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -object pagecache-io-map,id=map,enabled=off "
        "-blockdev null-co,node-name=null,size=1048576 "
        "-device virtio-blk-pci,id=other,drive=null,addr=0x6", disk);
    QDict *info, *d, *found, *estimate;
    int64_t ram;

    pct_start_src(t, args);
    info = query(t->src);
    g_assert_cmpuint(length(info, "producers"), ==, 1);
    d = nth(info, "producers", 0);
    g_assert_cmpstr(qdict_get_str(d, "name"), ==, "io-map");
    g_assert_cmpstr(qdict_get_str(d, "state"), ==, "off");
    g_assert_cmpuint(length(info, "disks"), ==, 2);
    d = nth(info, "disks", 0);
    g_assert_cmpstr(qdict_get_str(d, "device"), ==, DISK_PATH);
    g_assert_cmpstr(qdict_get_str(d, "id"), ==, "blk0");
    g_assert_cmpstr(qdict_get_str(d, "reader"), ==, "file");
    g_assert_false(qdict_haskey(d, "pages"));
    d = nth(info, "disks", 1);
    g_assert_cmpstr(qdict_get_str(d, "id"), ==, "other");
    g_assert_false(qdict_haskey(d, "reader"));
    pct_assert_contains(qdict_get_str(d, "error"), "protocol 'null-co'");
    g_assert_false(qdict_haskey(info, "reason"));
    g_assert_false(qdict_haskey(info, "unseen"));
    g_assert_false(qdict_haskey(info, "collection"));
    g_assert_false(qdict_haskey(info, "estimate"));
    qobject_unref(info);
    assert_hmp(t->src, "info pagecache", "producer io-map: off\r\n");
    assert_hmp(t->src, "info pagecache",
               "disk " DISK_PATH " (blk0): read by file\r\n");
    assert_hmp(t->src, "info pagecache", "(other): not read: node 'null'");
    assert_hmp(t->src, "info pagecache",
               "collection: none yet (pagecache_collect)\r\n");

    info = collect(t->src, "completed");
    found = qdict_get_qdict(info, "collection");
    g_assert_cmpint(qdict_get_int(found, "pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(found, "sample"), ==, 1);
    g_assert_false(qdict_haskey(found, "left-out"));
    ram = qdict_get_int(found, "ram-pages");
    g_assert_cmpint(ram, >=, (PRIVATE_SIZE + CACHE_SIZE) / PAGE);
    g_assert_cmpint(ram, <, (PRIVATE_SIZE + CACHE_SIZE) / PAGE + OTHER_PAGES);
    estimate = qdict_get_qdict(info, "estimate");
    g_assert_cmpint(qdict_get_int(estimate, "ram-bytes"), ==, ram * PAGE);
    g_assert_cmpint(qdict_get_int(estimate, "time"), ==,
                    qdict_get_int(estimate, "precopy-time"));
    qobject_unref(info);
    pct_free(t);
}

/* Bad arguments, and a migration that it can't work in */
static void test_refused(void)
{
    PcTest *t = pct_new();
    QDict *info;

    pct_start_src(t, NULL);
    assert_refused(t->src, "query-pagecache", "channel-bandwidth", 0,
                   "'channel-bandwidth' is 0, expected bytes per second");
    assert_refused(t->src, "query-pagecache", "storage-bandwidth", 0,
                   "'storage-bandwidth' is 0, expected bytes per second");
    assert_refused(t->src, "pagecache-collect", "timeout", 0,
                   "'timeout' is 0, expected 1 to 300 seconds");
    assert_refused(t->src, "pagecache-collect", "timeout", 301,
                   "'timeout' is 301, expected 1 to 300 seconds");
    assert_hmp(t->src, "pagecache_collect 301",
               "Error: 'timeout' is 301, expected 1 to 300");
    migrate_set_capability(t->src, "postcopy-ram", true);
    info = query(t->src);
    g_assert_cmpstr(qdict_get_str(info, "reason"), ==,
                    "postcopy-ram");
    qobject_unref(info);
    assert_hmp(t->src, "info pagecache", "skip-pagecache would be inactive: "
               "the capability postcopy-ram is on\r\n");

    pct_start_dst(t, NULL);
    assert_refused(t->dst, "pagecache-collect", NULL, 0,
                   "The guest has not arrived here yet");
    pct_free(t);
}

/* --- the I/O map --- */

static void test_io_map(void)
{
    enum { CHANGED = 100 };
    const int64_t pages = CACHE_PAGES - CHANGED;
    PctBlk *blk;
    PcTest *t = tracked(&blk);
    QDict *info, *d, *estimate;
    double ram, cache;

    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_scribble(t, pct_cache_addr(304), CHANGED);
    info = query(t->src);
    d = nth(info, "producers", 0);
    g_assert_cmpstr(qdict_get_str(d, "state"), ==, "ready");
    g_assert_cmpint(qdict_get_int(d, "entries-max"), >=, CACHE_PAGES);
    g_assert_cmpint(qdict_get_int(d, "entries-max"), <=, RAM_PAGES);
    g_assert_cmpuint(length(info, "unseen"), ==, 0);
    qobject_unref(info);

    /* hints that are there twice, and of pages that the map has, too */
    pct_hint_cache_part(t, 0, 64);
    pct_hint_cache_part(t, 32, 64);
    pct_hint_cache_part(t, 304, 16);
    info = collect(t->src, "completed");
    check_disk(info, pages + 16, "io-map", pages);
    check_disk(info, pages + 16, "qmp", 96 + 16);
    d = qdict_get_qdict(info, "collection");
    g_assert_cmpint(qdict_get_int(d, "readable-pages"), ==, pages + 16);
    g_assert_cmpint(qdict_get_int(d, "dropped-hints"), ==, 0);
    g_assert_cmpint(qdict_get_int(d, "age"), <, 60000);

    estimate = qdict_get_qdict(info, "estimate");
    ram = qdict_get_int(estimate, "ram-bytes");
    cache = qdict_get_int(estimate, "cache-bytes");
    g_assert_cmpfloat(ram, ==, qdict_get_int(d, "ram-pages") * (double)PAGE);
    g_assert_cmpfloat(cache, ==, (pages + 16) * (double)PAGE);
    g_assert_cmpint(qdict_get_int(estimate, "precopy-time"), ==,
                    (int64_t)(ram / 1000 + 0.5));
    g_assert_cmpint(qdict_get_int(estimate, "time"), ==,
                    (int64_t)(MAX((ram - cache) / 1000, ram / 4000) + 0.5));
    qobject_unref(info);
    assert_hmp(t->src, "info pagecache 1M 3M", "RAM that is not zero: ");
    assert_hmp(t->src, "info pagecache 1M 3M", " ms at 1024 kbytes/s\r\n");
    assert_hmp(t->src, "info pagecache 1M 3M",
               " ms with 3072 kbytes/s from storage\r\n");
    assert_hmp(t->src, "info pagecache", "  by qmp: 112 pages\r\n");
    /* nobody has migrated */
    g_assert_null(pct_info(t->src));
    pct_blk_free(blk);
    pct_free(t);
}

/* The disk that was read can't be read there: its cache saves nothing. */
static void test_unreadable(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = g_strdup_printf(
        IO_MAP_ARGS "-blockdev blkdebug,node-name=disk0,image.driver=file,"
        "image.filename=%s,inject-error.0.event=none,"
        "inject-error.0.iotype=write "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5 "
        "-blockdev null-co,node-name=null,size=16777216,read-zeroes=on "
        "-device virtio-blk-pci,id=other,drive=null,addr=0x6", t->disk);
    QDict *info, *found;
    PctBlk *blk;

    pct_start_src(t, args);
    blk = pct_blk_new(t, 6);
    pct_blk_read(blk, CACHE_START, 0, 16 * PAGE);
    info = collect(t->src, "completed");
    found = qdict_get_qdict(info, "collection");
    g_assert_cmpint(qdict_get_int(found, "pages"), ==, 16);
    g_assert_cmpint(qdict_get_int(found, "readable-pages"), ==, 0);
    found = qdict_get_qdict(info, "estimate");
    g_assert_cmpint(qdict_get_int(found, "cache-bytes"), ==, 0);
    qobject_unref(info);
    pct_blk_free(blk);
    pct_free(t);
}

/* One every ten seconds: the error says when, and that is true. */
static void test_rate(void)
{
    PctBlk *blk;
    PcTest *t = tracked(&blk);
    QDict *info, *error;
    unsigned age, wait;

    pct_blk_read_cache(blk, 0, 32);
    info = collect(t->src, "completed");
    check_disk(info, 32, "io-map", 32);
    qobject_unref(info);
    error = qtest_qmp_assert_failure_ref(t->src, "{ 'execute':"
                                         " 'pagecache-collect' }");
    g_assert_cmpint(sscanf(qdict_get_str(error, "desc"),
                           "The last collection began %u ms ago; the next may "
                           "begin in %u ms", &age, &wait), ==, 2);
    g_assert_cmpuint(age + wait, ==, 10000);
    qobject_unref(error);
    pct_blk_read_cache(blk, 32, 16);
    g_usleep(wait * 1000);
    info = collect(t->src, "completed");
    check_disk(info, 48, "io-map", 48);
    qobject_unref(info);
    pct_blk_free(blk);
    pct_free(t);
}

/* A migration afterwards finds what was said, and is right. */
static void test_migrate(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat(IO_MAP_ARGS, disk, NULL);
    QDict *info;
    PctBlk *blk;

    pct_start_pair(t, args, args);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    info = collect(t->src, "completed");
    check_disk(info, CACHE_PAGES, "io-map", CACHE_PAGES);
    qobject_unref(info);
    pct_migrate_hinted(t, CACHE_PAGES);
    pct_blk_free(blk);
    pct_free(t);
}

/* --- a large guest --- */

/* So much RAM that a sample is looked at: about what there is */
static void test_sample(void)
{
    const int64_t hinted = 2 * GiB / PAGE;
    PcTest *t = pct_new();
    QDict *info, *found;
    int64_t pages;

    g_assert_cmpint(truncate(t->disk, 4 * GiB), ==, 0);
    t->src = qtest_initf("-machine q35,memory-backend=ram -m 12G -nodefaults "
                         "-object memory-backend-ram,id=ram,size=12G,"
                         "reserve=off " DISK_ARGS, t->disk);
    /* more than half of it above 4 GiB, in hints that are not aligned */
    pct_hint(t, "blk0", 5 * GiB + 7 * PAGE, 8, hinted);
    info = collect(t->src, "completed");
    found = qdict_get_qdict(info, "collection");
    g_assert_cmpint(qdict_get_int(found, "sample"), ==, 2);
    pages = qdict_get_int(found, "pages");
    g_assert_cmpint(pages, >, hinted / 100 * 95);
    g_assert_cmpint(pages, <, hinted / 100 * 105);
    /* nothing has allocated the guest's RAM */
    g_assert_cmpint(qdict_get_int(found, "ram-pages"), <, 2 * OTHER_PAGES);
    qobject_unref(info);
    assert_hmp(t->src, "info pagecache", ", estimated from 1/2 of RAM\r\n");
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/pagecache/query/nothing", test_nothing);
    qtest_add_func("/pagecache/query/refused", test_refused);
    qtest_add_func("/pagecache/query/io-map", test_io_map);
    qtest_add_func("/pagecache/query/unreadable", test_unreadable);
    qtest_add_func("/pagecache/query/rate", test_rate);
    qtest_add_func("/pagecache/query/migrate", test_migrate);
    qtest_add_func("/pagecache/query/sample", test_sample);
    return g_test_run();
}
