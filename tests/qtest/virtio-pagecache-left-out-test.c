/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for virtio-pagecache: what the driver says it has left out
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * An old driver is one that does not negotiate the feature, an old device one
 * with left-out=off.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "virtio-pagecache-guest.h"

#define FEATURE         (1ull << VIRTIO_PAGECACHE_F_LEFT_OUT)
#define ENTRIES         VIRTIO_PAGECACHE_LEFT_OUT_MAX
#define OLD_DEVICE      "-global virtio-pagecache-device.left-out=off"

#define AS_MUCH_AS_THERE_IS     UINT64_MAX

typedef struct virtio_pagecache_left_out Entry;

static Entry entry(const char *device, uint32_t reason, const char *detail,
                   uint64_t pages)
{
    Entry e = { .reason = cpu_to_le32(reason), .pages = cpu_to_le64(pages) };

    /* not terminated when it fills the field */
    memcpy(e.device, device, MIN(strlen(device), sizeof(e.device)));
    memcpy(e.detail, detail, MIN(strlen(detail), sizeof(e.detail)));
    return e;
}

/* The list in query-migrate, with a reference; NULL: there is none. */
static QList *get_list(PcPair *p)
{
    QDict *rsp = migrate_query(p->g->qts);
    QDict *info = qdict_get_qdict(rsp, "pagecache");
    QList *list;

    g_assert_nonnull(info);
    list = qdict_get_qlist(qdict_get_qdict(info, "source"), "left-out");
    qobject_ref(list);
    qobject_unref(rsp);
    return list;
}

/* Its next entry must say this; "": must not say it */
static void check_next(QList *list, const char *device, const char *reason,
                       const char *detail, uint64_t pages)
{
    QDict *e = qobject_to(QDict, qlist_pop(list));

    g_assert_nonnull(e);
    g_assert_cmpstr(qdict_get_try_str(e, "device") ?: "", ==, device);
    g_assert_cmpstr(qdict_get_str(e, "reason"), ==, reason);
    g_assert_cmpstr(qdict_get_try_str(e, "detail") ?: "", ==, detail);
    if (pages == AS_MUCH_AS_THERE_IS) {
        /* RAM, and some that the guest does not call so */
        g_assert_cmpint(qdict_get_int(e, "pages"), >=, GUEST_RAM_MIB * 256);
        g_assert_cmpint(qdict_get_int(e, "pages"), <, GUEST_RAM_MIB * 512);
    } else {
        g_assert_cmpint(qdict_get_int(e, "pages"), ==, pages);
    }
    qobject_unref(e);
}

static void check_end(QList *list)
{
    g_assert_true(qlist_empty(list));
    qobject_unref(list);
}

/* The list has nothing but one entry of the device @device. */
static void check_only(PcPair *p, const char *device)
{
    QList *list = get_list(p);

    check_next(list, device, "no-disk", "", 7);
    check_end(list);
}

static void send_only(PcGuest *g, uint32_t epoch, const char *device)
{
    Entry e = entry(device, VIRTIO_PAGECACHE_LEFT_NO_DISK, "", 7);

    pcguest_send_left_out(g, epoch, &e, 1);
}

static void check_none(PcPair *p)
{
    g_assert_null(get_list(p));
}

/* Hints are taken as ever. */
static void check_hint(PcPair *p, uint32_t epoch)
{
    int64_t before = pair_figure(p, "hinted-pages");

    pcguest_send_hint(p->g, epoch, FILL_START, 0, 5, 0);
    pair_wait_figure(p, "hinted-pages", before + 5);
}

static void end(PcPair *p)
{
    pair_cancel(p);
    pair_assert_sane(p);
    pair_free(p);
}

/* --- what it is for --- */

static void test_told(void)
{
    static const struct {
        uint32_t reason;
        const char *name;
    } reasons[] = {
        { VIRTIO_PAGECACHE_LEFT_OTHER, "other" },
        { VIRTIO_PAGECACHE_LEFT_FILESYSTEM, "filesystem" },
        { VIRTIO_PAGECACHE_LEFT_NO_DISK, "no-disk" },
        { VIRTIO_PAGECACHE_LEFT_MISMATCH, "mismatch" },
        { VIRTIO_PAGECACHE_LEFT_DM, "dm" },
        { VIRTIO_PAGECACHE_LEFT_MD, "md" },
        { VIRTIO_PAGECACHE_LEFT_ENCRYPTED, "encrypted" },
        { VIRTIO_PAGECACHE_LEFT_DAX, "dax" },
        { VIRTIO_PAGECACHE_LEFT_SWAP, "swap" },
        { VIRTIO_PAGECACHE_LEFT_REALTIME, "realtime" },
        { VIRTIO_PAGECACHE_LEFT_FROZEN, "frozen" },
        { VIRTIO_PAGECACHE_LEFT_DEVICE, "block-device" },
    };
    PcPair *p = pair_new("");
    g_autofree char *hmp = NULL;
    Entry list[ARRAY_SIZE(reasons) + 2];
    QList *got;
    uint32_t epoch;
    int i;

    pcguest_probe_with(p->g, FEATURE);
    epoch = pair_collect(p);
    check_hint(p, epoch);
    check_none(p);
    list[0] = entry("dm-0", VIRTIO_PAGECACHE_LEFT_DM, "crypt", 5100);
    list[1] = entry("", VIRTIO_PAGECACHE_LEFT_OTHER, "", 0);
    for (i = 0; i < ARRAY_SIZE(reasons); i++) {
        list[2 + i] = entry("vdb1", reasons[i].reason, "", i + 1);
    }
    pcguest_send_left_out(p->g, epoch, list, ARRAY_SIZE(list));
    check_hint(p, epoch);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);

    got = get_list(p);
    check_next(got, "dm-0", "dm", "crypt", 5100);
    check_next(got, "", "other", "", 0);
    for (i = 0; i < ARRAY_SIZE(reasons); i++) {
        check_next(got, "vdb1", reasons[i].name, "", i + 1);
    }
    check_end(got);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);

    hmp = qtest_hmp(p->g->qts, "info migrate");
    g_assert_nonnull(strstr(hmp, "left out: dm-0: dm crypt, 5100 pages\r\n"));
    g_assert_nonnull(strstr(hmp, "left out: several devices: other, 0 pages"));
    g_assert_nonnull(strstr(hmp, "left out: vdb1: md, 6 pages"));

    /* it is known afterwards, and not of the next migration */
    pair_cancel(p);
    got = get_list(p);
    g_assert_cmpint(qlist_size(got), ==, ARRAY_SIZE(list));
    qobject_unref(got);
    pcguest_wait_epoch(p->g);
    epoch = pair_collect(p);
    check_hint(p, epoch);
    check_none(p);
    end(p);
}

/* Nothing was left out, or as much as there is room for */
static void test_bounds(void)
{
    PcPair *p = pair_new("");
    Entry list[ENTRIES];
    QList *got;
    uint32_t epoch;
    int i;

    pcguest_probe_with(p->g, FEATURE);
    epoch = pair_collect(p);
    pcguest_send_left_out(p->g, epoch, NULL, 0);
    check_hint(p, epoch);
    got = get_list(p);
    g_assert_nonnull(got);
    check_end(got);
    pair_cancel(p);

    for (i = 0; i < ENTRIES; i++) {
        list[i] = entry("loop", VIRTIO_PAGECACHE_LEFT_NO_DISK, "", i);
    }
    pcguest_wait_epoch(p->g);
    epoch = pair_collect(p);
    pcguest_send_left_out(p->g, epoch, list, ENTRIES);
    check_hint(p, epoch);
    got = get_list(p);
    for (i = 0; i < ENTRIES; i++) {
        check_next(got, "loop", "no-disk", "", i);
    }
    check_end(got);
    end(p);
}

/* --- a hostile driver --- */

/* What the guest writes is for monitors and logs: it must not rule them. */
static void test_names(void)
{
    static const struct {
        const char *device, *detail, *want_device, *want_detail;
    } names[] = {
        { "a\nb\r\tc", "\x1b[2J", "a?b??c", "?[2J" },
        { "\x80\xff\xc3\xa4\x7f", "\x01", "?????", "?" },
        { "%s%n\"'\\{}", "%p", "%s%n\"'\\{}", "%p" },
        { "0123456789abcdef0123456789ABCDEF", "0123456789abcdef",
          "0123456789abcdef0123456789ABCDEF", "0123456789abcdef" },
        { " ~", "", " ~", "" },
    };
    const uint64_t ram = GUEST_RAM_MIB * 256;
    PcPair *p = pair_new("");
    g_autofree char *hmp = NULL;
    Entry list[ARRAY_SIZE(names) + 3];
    QList *got;
    uint32_t epoch;
    char *c;
    int i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        list[i] = entry(names[i].device, VIRTIO_PAGECACHE_LEFT_FILESYSTEM,
                        names[i].detail, 1);
    }
    /* what comes behind a 0 is not there */
    list[i] = entry("hidden", VIRTIO_PAGECACHE_LEFT_SWAP, "hidden", UINT64_MAX);
    list[i].device[3] = list[i].detail[0] = 0;
    list[i + 1] = entry("x", 12, "", 1ull << 63);
    list[i + 2] = entry("x", UINT32_MAX, "", ram - 1);
    for (i = 0; i < ARRAY_SIZE(list); i++) {
        list[i].reserved = UINT32_MAX;
    }

    pcguest_probe_with(p->g, FEATURE);
    epoch = pair_collect(p);
    pcguest_send_left_out(p->g, epoch, list, ARRAY_SIZE(list));
    check_hint(p, epoch);
    got = get_list(p);
    for (i = 0; i < ARRAY_SIZE(names); i++) {
        check_next(got, names[i].want_device, "filesystem",
                   names[i].want_detail, 1);
    }
    /* no more than the guest has, and newer reasons are some reason */
    check_next(got, "hid", "swap", "", AS_MUCH_AS_THERE_IS);
    check_next(got, "x", "other", "", AS_MUCH_AS_THERE_IS);
    check_next(got, "x", "other", "", ram - 1);
    check_end(got);

    hmp = qtest_hmp(p->g->qts, "info migrate");
    for (c = hmp; *c; c++) {
        g_assert_true(g_ascii_isprint(*c) || *c == '\r' || *c == '\n');
    }
    end(p);
}

static void test_bad(void)
{
    static const struct {
        const char *what;
        uint32_t count;
        int size;
    } bad[] = {
        { "too many", ENTRIES + 1, (ENTRIES + 1) * sizeof(Entry) },
        { "count overflows", 0x04000001, sizeof(Entry) },
        { "count overflows", UINT32_MAX, 0 },
        { "no entry, but bytes", 0, sizeof(Entry) },
        { "less than counted", 2, 2 * sizeof(Entry) - 1 },
        { "more than counted", 1, sizeof(Entry) + 1 },
        { "only a header", 1, 0 },
    };
    static const uint8_t zeroes[(ENTRIES + 1) * sizeof(Entry)];
    PcPair *p = pair_new("");
    uint32_t epoch;
    int i;

    pcguest_probe_with(p->g, FEATURE);
    send_only(p->g, 0, "unwanted");
    epoch = pair_collect(p);
    for (i = 0; i < ARRAY_SIZE(bad); i++) {
        g_test_message("%s", bad[i].what);
        pcguest_send(p->g, VIRTIO_PAGECACHE_MSG_LEFT_OUT, epoch, bad[i].count,
                     zeroes, bad[i].size);
        pair_wait_figure(p, "dropped-hints", i + 1);
    }
    check_none(p);

    g_test_message("of another epoch");
    send_only(p->g, epoch - 1, "stale");
    send_only(p->g, epoch + 1, "early");
    check_hint(p, epoch);
    check_none(p);
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, i);

    g_test_message("a second one");
    send_only(p->g, epoch, "first");
    send_only(p->g, epoch, "second");
    pair_wait_figure(p, "dropped-hints", i + 1);
    check_only(p, "first");

    g_test_message("after the END record");
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    send_only(p->g, epoch, "late");
    pair_wait_figure(p, "dropped-hints", i + 2);
    check_only(p, "first");
    pair_cancel(p);
    pcguest_wait_epoch(p->g);

    g_test_message("the first one after the END record");
    epoch = pair_collect(p);
    pcguest_send_end(p->g, epoch, VIRTIO_PAGECACHE_END_OK);
    send_only(p->g, epoch, "late");
    pair_wait_figure(p, "dropped-hints", 1);
    check_none(p);
    pair_cancel(p);
    pcguest_wait_epoch(p->g);

    g_test_message("too many of them");
    epoch = pair_collect(p);
    for (i = 0; i < 66; i++) {
        send_only(p->g, epoch, "again");
    }
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    end(p);
}

/* --- who else there is --- */

/* A reset in the middle: the next driver's word counts, and it has one. */
static void test_reset(void)
{
    PcPair *p = pair_new("");
    uint32_t epoch;

    pcguest_probe_with(p->g, FEATURE);
    epoch = pair_collect(p);
    send_only(p->g, epoch, "first");
    check_hint(p, epoch);
    check_only(p, "first");

    pcguest_probe_with(p->g, FEATURE);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, epoch);
    send_only(p->g, epoch, "next");
    check_hint(p, epoch);
    check_only(p, "next");
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
    end(p);
}

/* --- old and new --- */

/* A message of the kind is a bad one, and that is all. */
static void check_not_understood(PcPair *p)
{
    uint32_t epoch = pair_collect(p);

    send_only(p->g, epoch, "unasked");
    pair_wait_figure(p, "dropped-hints", 1);
    check_hint(p, epoch);
    check_none(p);
}

static void check_understood(PcPair *p)
{
    uint32_t epoch = pair_collect(p);

    send_only(p->g, epoch, "asked");
    check_hint(p, epoch);
    check_only(p, "asked");
    g_assert_cmpint(pair_figure(p, "dropped-hints"), ==, 0);
}

static void test_old_driver(void)
{
    PcPair *p = pair_new("");

    pcguest_probe(p->g);
    check_not_understood(p);
    end(p);
}

static void test_old_device(void)
{
    PcPair *p = pair_new(OLD_DEVICE);

    pcguest_probe(p->g);
    g_assert_false(qvirtio_get_features(&p->g->dev->vdev) & FEATURE);
    check_not_understood(p);
    end(p);
}

/* The driver goes on, with what it has negotiated. */
static void test_moves(void)
{
    PcPair *p = pair_new("");

    pcguest_probe_with(p->g, FEATURE);
    check_understood(p);
    pair_finish(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);
    check_understood(p);
    pair_finish(p);
    pcguest_wait_epoch(p->g);
    check_understood(p);
    end(p);
}

/*
 * The destination does not have the feature that the driver has negotiated,
 * and takes the guest all the same.  From there it goes back.
 */
static void test_moves_to_old(void)
{
    PcPair *p = pair_new("");
    g_autofree char *new = NULL;

    pcguest_probe_with(p->g, FEATURE);
    new = p->args;
    p->args = g_strdup_printf("%s " OLD_DEVICE, new);
    check_understood(p);
    pair_finish(p);
    g_assert_cmpuint(pcguest_wait_epoch(p->g), ==, 0);

    g_free(p->args);
    p->args = g_steal_pointer(&new);
    check_not_understood(p);
    pair_finish(p);
    pcguest_wait_epoch(p->g);
    check_not_understood(p);
    pair_cancel(p);
    pcguest_wait_epoch(p->g);

    /* a reset is what it takes */
    pcguest_probe_with(p->g, FEATURE);
    check_understood(p);
    end(p);
}

/* A driver that found no such feature has none at the new host either. */
static void test_moves_from_old(void)
{
    PcPair *p = pair_new(OLD_DEVICE);

    pcguest_probe(p->g);
    *strstr(p->args, OLD_DEVICE) = '\0';
    check_not_understood(p);
    pair_finish(p);
    pcguest_wait_epoch(p->g);
    check_not_understood(p);
    pair_cancel(p);
    pcguest_wait_epoch(p->g);
    pcguest_probe_with(p->g, FEATURE);
    check_understood(p);
    end(p);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("virtio-pagecache/left-out/told", test_told);
    qtest_add_func("virtio-pagecache/left-out/bounds", test_bounds);
    qtest_add_func("virtio-pagecache/left-out/names", test_names);
    qtest_add_func("virtio-pagecache/left-out/bad", test_bad);
    qtest_add_func("virtio-pagecache/left-out/reset", test_reset);
    qtest_add_func("virtio-pagecache/left-out/old-driver", test_old_driver);
    qtest_add_func("virtio-pagecache/left-out/old-device", test_old_device);
    qtest_add_func("virtio-pagecache/left-out/moves/new-to-new", test_moves);
    qtest_add_func("virtio-pagecache/left-out/moves/new-to-old",
                   test_moves_to_old);
    qtest_add_func("virtio-pagecache/left-out/moves/old-to-new",
                   test_moves_from_old);
    return g_test_run();
}
