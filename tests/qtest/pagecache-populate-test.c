/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the destination's RAM is touched where
 * something is offered, ahead of the read, and nowhere else
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Besides its plain RAM the guest has a DIMM, of which it uses one page in each
 * 4 MiB.  All of these are cache.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-lib.h"

#define MORE_START      (4 * GiB)
#define MORE_SIZE       (16 * MiB)      /* the smaller one: it is sent last */
#define USED            4               /* pages */
#define EVERY           (MORE_SIZE / USED)

static char *more_args(PcTest *t, const char *backend)
{
    g_autofree char *disk = pct_disk_args(t);

    return g_strdup_printf("%s -m slots=1,maxmem=1G -object %s,id=more,"
                           "size=16M -device pc-dimm,memdev=more,id=more0",
                           disk, backend);
}

/* The second page of each EVERY bytes; it stands at page @i of the disk. */
static uint64_t used_addr(unsigned i)
{
    return MORE_START + i * EVERY + PAGE;
}

static void use_more(PcTest *t)
{
    unsigned i;

    for (i = 0; i < USED; i++) {
        qtest_bufwrite(t->src, used_addr(i), t->disk_data + i * PAGE, PAGE);
        pct_hint(t, "blk0", used_addr(i), i * (PAGE / 512), 1);
    }
}

static void check_more(PcTest *t, QTestState *who)
{
    g_autofree uint8_t *buf = g_malloc(PAGE);
    unsigned i;

    for (i = 0; i < USED; i++) {
        qtest_bufread(who, used_addr(i), buf, PAGE);
        g_assert_cmpint(memcmp(buf, t->disk_data + i * PAGE, PAGE), ==, 0);
    }
}

/* Of the DIMM, in KiB, as the host's kernel counts it */
static uint64_t resident(QTestState *who)
{
    g_autofree char *ram = qtest_hmp(who, "info ramblock");
    g_autofree char *path = g_strdup_printf("/proc/%d/smaps", qtest_pid(who));
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    const char *block = strstr(ram, " more ");
    uint64_t host, start, end, kb, sum = 0;
    bool ours = false;
    char **l;

    g_assert_nonnull(block);
    /* page size with its unit, offset, used, total, address */
    g_assert_cmpint(sscanf(block, " more %*s %*s %*s %*s %*s %" SCNx64, &host),
                    ==, 1);
    g_assert_true(g_file_get_contents(path, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (l = lines; *l; l++) {
        if (sscanf(*l, "%" SCNx64 "-%" SCNx64 " ", &start, &end) == 2) {
            ours = start < host + MORE_SIZE && end > host;
        } else if (ours && sscanf(*l, "Rss: %" SCNu64 " kB", &kb) == 1) {
            sum += kb;
        }
    }
    return sum;
}

static PcTest *new_pair(const char *backend)
{
    PcTest *t = pct_new();
    g_autofree char *args = more_args(t, backend);

    pct_start_src(t, args);
    pct_start_dst(t, args);
    return t;
}

/* --- nothing else is touched --- */

static uint64_t resident_afterwards(bool skip)
{
    PcTest *t = new_pair("memory-backend-ram");
    uint64_t kb;

    if (skip) {
        pct_on(t);
    }
    use_more(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    if (skip) {
        pct_wait_figure(t->src, "proven-pages", USED);
    }
    pct_finish(t);
    kb = resident(t->dst);
    check_more(t, t->dst);
    pct_free(t);
    return kb;
}

/* As much as after a plain migration of the same */
static void test_untouched(void)
{
    uint64_t plain = resident_afterwards(false);
    uint64_t skip = resident_afterwards(true);

    g_test_message("plain %" PRIu64 " KiB, skip-pagecache %" PRIu64 " KiB",
                   plain, skip);
    g_assert_cmpint(skip, >=, USED * PAGE / KiB);
    g_assert_cmpint(skip, ==, plain);
    if (plain > USED * 2 * MiB / KiB) {
        /* precopy looks whether pages are zero; there is no huge zero page */
        g_test_skip("this host allocates what is only read, so precopy leaves "
                    "no page untouched");
    }
}

/* --- ahead --- */

/* Everything is offered, and no copy made yet. */
static PcTest *offered(const char *backend)
{
    PcTest *t = new_pair(backend);

    pct_on(t);
    pct_arm(t->dst, "delay-claim:ms=60000");
    use_more(t);
    g_assert_cmpint(resident(t->dst), ==, 0);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", USED);
    while (resident(t->dst) < USED * PAGE / KiB) {
        g_usleep(1000);
    }
    g_assert_cmpint(resident(t->dst), <=, USED * 2 * MiB / KiB);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), ==, 0);
    return t;
}

static void test_ahead(const void *opaque)
{
    PcTest *t = offered(opaque);
    uint64_t kb = resident(t->dst);

    pct_arm(t->dst, "");
    pct_wait_figure(t->src, "proven-pages", USED);
    g_assert_cmpint(resident(t->dst), >=, kb);
    g_assert_cmpint(resident(t->dst), <=, USED * 2 * MiB / KiB);
    pct_finish(t);
    pct_check_figures(t);
    check_more(t, t->dst);
    pct_free(t);
}

/* Cancelled when it is touched and not written */
static void test_cancel(void)
{
    PcTest *t = offered("memory-backend-ram");

    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
    pct_wait_failed(t->dst);
    pct_arm(t->dst, "");
    check_more(t, t->src);
    pct_free(t);
}

/*
 * Memory is never there in time, or there is none: everything is refilled all
 * the same, and the end does not wait.
 */
static void test_no_help(const void *fault)
{
    g_autofree char *armed = g_strdup_printf("%s%s", (const char *)fault,
                                             !strcmp(fault, "delay-populate") ?
                                             ":ms=60000" : "");
    PcTest *t = new_pair("memory-backend-ram");
    gint64 start;

    pct_on(t);
    pct_arm(t->dst, armed);
    use_more(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", USED);
    start = g_get_monotonic_time();
    pct_finish(t);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 30 * G_USEC_PER_SEC);
    g_assert_cmpint(pct_fired(t->dst, fault), >, 0);
    pct_check_figures(t);
    check_more(t, t->dst);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/populate/untouched", test_untouched);
    if (pct_has_faults()) {
        qtest_add_data_func("/pagecache/populate/ahead/private",
                            "memory-backend-ram", test_ahead);
        qtest_add_data_func("/pagecache/populate/ahead/shared",
                            "memory-backend-memfd,share=on", test_ahead);
        qtest_add_func("/pagecache/populate/cancel", test_cancel);
        qtest_add_data_func("/pagecache/populate/late", "delay-populate",
                            test_no_help);
        qtest_add_data_func("/pagecache/populate/no-memory", "fail-populate",
                            test_no_help);
    }
    return g_test_run();
}
