/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: an iSCSI target that goes, and comes
 * back, perhaps as another one
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The source has the image as a file, the destination as a LUN of tgtd.  Half
 * of the cache is hinted and read before the target is killed, the other half
 * hinted after that: so it is known what is read from which target.  One that
 * is killed while it is read from, or hangs, is in pagecache-hang-test.c.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-iscsi.h"

#define HALF            (CACHE_PAGES / 2)

/* Milliseconds that a page waits for a read, and how that is set */
#define DEADLINE        "-global migration.pagecache-read-deadline="
#define PATIENT         DEADLINE "600000"
#define IMPATIENT       DEADLINE "3000"

static Tgtd tgt;

/* NULL: skipped */
static PcTest *target_new(const char *args)
{
    PcTest *t = pct_new_iscsi(&tgt);
    g_autofree char *disk = NULL, *dst = NULL;

    if (!t) {
        return NULL;
    }
    tgtd_bind_all(&tgt);
    disk = pct_iscsi_args(tgt.port);
    dst = g_strdup_printf("%s%s", disk, args);
    pct_start_src(t, NULL);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_incoming(t);
    return t;
}

/* Waits until the reader's last error is this one. */
static void wait_error(PcTest *t, const char *part)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    bool found;

    do {
        QDict *disk = pct_disk_info(t->dst);
        const char *error = qdict_get_try_str(disk, "error");

        g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, "iscsi");
        found = error && strstr(error, part);
        if (!found && g_get_monotonic_time() > end) {
            pct_assert_contains(error, part);
        }
        qobject_unref(disk);
        g_usleep(2000);
    } while (!found);
}

static void check_pages(PcTest *t, int64_t proven, int64_t mismatched,
                        int64_t unavailable)
{
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, proven);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, mismatched);
    g_assert_cmpint(pct_figure(t->src, "unavailable-pages"), ==, unavailable);
}

static void target_free(PcTest *t)
{
    /* QEMU takes leave of the target of the guest's disk, patched or not */
    tgt.disk = t->disk;
    tgtd_fresh(&tgt);
    pct_free_iscsi(t, &tgt);
}

/* --- gone when the migration starts --- */

static void test_gone(void)
{
    PcTest *t = target_new(IMPATIENT);

    if (!t) {
        return;
    }
    tgtd_kill(&tgt);
    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    wait_error(t, "Connection refused");
    check_pages(t, 0, 0, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->dst, "refill-bytes"), ==, 0);
    target_free(t);
}

/* All of it is read when it is back. */
static void test_gone_and_back(void)
{
    PcTest *t = target_new(PATIENT);

    if (!t) {
        return;
    }
    tgtd_kill(&tgt);
    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", CACHE_PAGES);
    wait_error(t, "Connection refused");
    g_assert_cmpint(pct_figure(t->src, "in-flight-pages"), ==, CACHE_PAGES);
    tgtd_fresh(&tgt);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    target_free(t);
}

/* --- goes in the middle, and comes back --- */

/* Half of the cache is proven, and the target is gone; NULL: skipped */
static PcTest *gone_half_way(const char *args)
{
    PcTest *t = target_new(args);

    if (!t) {
        return NULL;
    }
    pct_hint_cache_part(t, 0, HALF);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", HALF);
    tgtd_kill(&tgt);
    wait_error(t, "Connection refused");
    return t;
}

static void hint_other_half(PcTest *t)
{
    pct_hint_cache_part(t, HALF, HALF);
    pct_wait_figure(t->dst, "offered-pages", CACHE_PAGES);
}

static void test_back(void)
{
    PcTest *t = gone_half_way(PATIENT);

    if (!t) {
        return;
    }
    hint_other_half(t);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), ==, HALF);
    tgtd_fresh(&tgt);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    target_free(t);
}

/* The other half of another disk's content is read, and not believed. */
static void test_back_other_content(void)
{
    PcTest *t = gone_half_way(PATIENT);
    g_autofree char *other = NULL;

    if (!t) {
        return;
    }
    other = pct_path(t, "other");
    g_assert_true(g_file_set_contents(other, (char *)t->ram, DISK_SIZE, NULL));
    tgt.disk = other;
    tgtd_fresh(&tgt);
    hint_other_half(t);
    pct_wait_figure(t->src, "mismatched-pages", HALF);
    check_pages(t, HALF, HALF, 0);
    target_free(t);
}

/* The LUN has become shorter than the guest's disk: it is another one. */
static void test_back_shorter(void)
{
    PcTest *t = gone_half_way(PATIENT);
    g_autofree char *other = NULL;

    if (!t) {
        return;
    }
    other = pct_path(t, "other");
    g_assert_true(g_file_set_contents(other, (char *)t->disk_data,
                                      DISK_SIZE / 2, NULL));
    tgt.disk = other;
    tgtd_fresh(&tgt);
    hint_other_half(t);
    pct_wait_figure(t->src, "unavailable-pages", HALF);
    wait_error(t, "the disk has 8388608 bytes here, expected 16777216 or more");
    check_pages(t, HALF, 0, HALF);
    target_free(t);
}

typedef struct Back {
    const char *name;
    const char *lun;            /* what the target has now */
    const char *error;
} Back;

static const Back backs[] = {
    { "without-the-lun", "--lun 2", "TEST UNIT READY: " },
    { "other-blocks", "--lun 1 --blocksize 4096",
      "block length is 4096 bytes, was 512" },
};

/* It lets the reader in, and is of no use: the pages pass their deadline. */
static void test_back_useless(const void *opaque)
{
    const Back *b = opaque;
    PcTest *t = gone_half_way(IMPATIENT);

    if (!t) {
        return;
    }
    tgtd_start(&tgt);
    g_assert_true(tgtadm(&tgt, "--op new --mode target --tid 1 -T "
                         TGTD_TARGET));
    g_assert_true(tgtadm(&tgt, "--op new --mode logicalunit --tid 1 %s "
                         "--bstype rdwr -b %s", b->lun, tgt.disk));
    tgtd_bind_all(&tgt);
    wait_error(t, b->error);
    hint_other_half(t);
    pct_wait_figure(t->src, "unavailable-pages", HALF);
    check_pages(t, HALF, 0, HALF);
    target_free(t);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/target/gone", test_gone);
    qtest_add_func("/pagecache/target/gone-and-back", test_gone_and_back);
    qtest_add_func("/pagecache/target/back", test_back);
    qtest_add_func("/pagecache/target/back/other-content",
                   test_back_other_content);
    qtest_add_func("/pagecache/target/back/shorter", test_back_shorter);
    for (i = 0; i < ARRAY_SIZE(backs); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/target/back/%s",
                                                backs[i].name);

        qtest_add_data_func(path, &backs[i], test_back_useless);
    }
    return g_test_run();
}
