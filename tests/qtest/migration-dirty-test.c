/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes of a vCPU under TCG, between two looks of migration at the dirty bits
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The vCPU has the page in its TLB all the time.  A write is noticed there
 * only if the entry was reset when the page's dirty bit was cleared.  All
 * tests are so: the page's bit is cleared, the page is sent, the guest writes
 * there once more; and this last write must arrive.
 *
 * The order of events does not depend on the machine's speed, within minutes:
 * the channel is so slow, where it has to be, that it stays for minutes in the
 * pages that are not zero; each step is checked by what migration has left.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "migration/writer.h"

#define PAGE            4096u

/*
 * Two RAM blocks, the first and the second one in the space of all RAM
 * (ram_addr_t), and where the guest has them; the larger one is sent first.
 */
#define LARGE_FIRST     (64 * MiB)
#define SMALL_FIRST     (16 * MiB)
#define SECOND_SIZE     (24 * MiB)
/* At the second one's end pages that are not zero, which keep the channel */
#define TAIL_SIZE       (8 * MiB)
/* The most that is left besides, of ROMs and tables */
#define OTHER           (2 * MiB)

#define SLOW            (64 * KiB)      /* bytes a second */
#define TIMEOUT_US      (300 * G_USEC_PER_SEC)

typedef struct {
    char *dir, *rom, *uri;
    uint32_t second;            /* the second block's address */
    QTestState *src, *dst;
} DirtyTest;

static DirtyTest *start(uint32_t first_size)
{
    DirtyTest *t = g_new0(DirtyTest, 1);
    g_autofree char *args = NULL;

    t->dir = g_dir_make_tmp("migration-dirty-test-XXXXXX", NULL);
    g_assert_nonnull(t->dir);
    t->rom = g_build_filename(t->dir, "rom", NULL);
    t->uri = g_strdup_printf("unix:%s/migrate", t->dir);
    writer_make_rom(t->rom);
    t->second = first_size;
    args = g_strdup_printf(
        "-accel tcg -machine pc -m %u "
        "-object memory-backend-ram,id=first,size=%u "
        "-object memory-backend-ram,id=second,size=%u "
        "-numa node,memdev=first -numa node,memdev=second " WRITER_ARGS,
        (unsigned)((first_size + SECOND_SIZE) / MiB), first_size,
        (unsigned)SECOND_SIZE, t->rom);
    t->src = qtest_init(args);
    t->dst = qtest_initf("%s -S -incoming defer", args);
    qtest_memset(t->src, t->second + SECOND_SIZE - TAIL_SIZE, 0x5a, TAIL_SIZE);
    /* a millisecond of downtime for each MiB */
    migrate_set_parameter_int(t->src, "avail-switchover-bandwidth",
                              1000 * MiB);
    return t;
}

static void stop(DirtyTest *t)
{
    qtest_quit(t->src);
    qtest_quit(t->dst);
    g_assert_cmpint(unlink(t->rom), ==, 0);
    g_assert_cmpint(rmdir(t->dir), ==, 0);
    g_free(t->dir);
    g_free(t->rom);
    g_free(t->uri);
    g_free(t);
}

static void speed(DirtyTest *t, uint64_t bytes)
{
    migrate_set_parameter_int(t->src, "max-bandwidth", bytes);
}

static int64_t left(DirtyTest *t)
{
    g_autofree char *status = migrate_query_status(t->src);

    if (!g_str_equal(status, "active")) {
        return -1;
    }
    return read_ram_property_int(t->src, "remaining");
}

/* Goes on at @bytes a second until @most are left, then slowly. */
static void send_until(DirtyTest *t, uint64_t bytes, int64_t most)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    speed(t, bytes);
    while (left(t) > most) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    speed(t, SLOW);
}

/* Begins a migration and lets it go on into the tail. */
static void migrate_into_tail(DirtyTest *t)
{
    int64_t most = TAIL_SIZE + OTHER;

    if (t->second < SECOND_SIZE) {
        most += t->second;
    }

    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    speed(t, MiB);
    migrate_incoming_qmp(t->dst, t->uri, NULL, "{}");
    migrate_qmp(t->src, t->dst, t->uri, NULL, "{}");
    wait_for_migration_status(t->src, "active",
                              (const char * []) { "completed", NULL });
    send_until(t, MiB, most);
}

/*
 * Migration looks at the dirty bits, because less than @limit MiB are left as
 * far as it knows, and goes on, because there is more.
 */
static void look(DirtyTest *t, unsigned limit)
{
    uint64_t looks = get_migration_pass(t->src);
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    migrate_set_parameter_int(t->src, "downtime-limit", limit);
    while (get_migration_pass(t->src) == looks) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
    migrate_set_parameter_int(t->src, "downtime-limit", 0);
    g_assert_cmpint(get_migration_pass(t->src), ==, looks + 1);
}

/* The last write to @addr has happened before migration has ended. */
static void finish(DirtyTest *t, uint32_t addr, uint32_t value)
{
    g_assert_cmpint(left(t), >, 0);
    speed(t, 0);
    wait_for_migration_complete(t->src);
    wait_for_migration_complete(t->dst);
    g_assert_cmphex(qtest_readl(t->src, addr + WRITER_FIRST), ==, value);
    g_assert_cmphex(qtest_readl(t->dst, addr + WRITER_FIRST), ==, value);
    g_assert_cmphex(qtest_readl(t->dst, addr + WRITER_LAST), ==, value);
}

static void wait_measuring(QTestState *who)
{
    bool measuring;

    do {
        QDict *rsp = qtest_qmp_assert_success_ref(
            who, "{ 'execute': 'query-dirty-rate' }");

        measuring = g_str_equal(qdict_get_str(rsp, "status"), "measuring");
        qobject_unref(rsp);
    } while (!measuring);
}

/*
 * The first look of a migration: all pages are dirty anyway.  The log is
 * running already for another purpose, since starting it flushes the TLB.
 */
static void test_first_look(void)
{
    DirtyTest *t = start(LARGE_FIRST);
    uint32_t addr = 40 * MiB, value;

    qtest_qmp_assert_success(t->src,
                             "{ 'execute': 'calc-dirty-rate', 'arguments': {"
                             "  'calc-time': 60, 'mode': 'dirty-bitmap' } }");
    wait_measuring(t->src);
    writer_order(t->src, addr, 1, 0, 1, WRITER_ENDLESS);
    migrate_into_tail(t);
    value = writer_stop(t->src);
    finish(t, addr, value);
    stop(t);
}

/* A later look: the only page that was written was not sent yet. */
static void test_dirty_still(void)
{
    DirtyTest *t = start(LARGE_FIRST);
    uint32_t addr = 40 * MiB;       /* farther in than the second block is big */

    writer_write(t->src, addr, 1);
    migrate_into_tail(t);

    writer_write(t->src, addr, 2);
    qtest_memset(t->src, t->second, 0x33, 6 * MiB);
    look(t, 11);
    writer_write(t->src, addr, 3);
    qtest_memset(t->src, t->second + 6 * MiB, 0x33, 8 * MiB);
    look(t, 17);

    /* the tail, then the page, then what was written in the second block */
    send_until(t, 2 * MiB, 13 * MiB);
    writer_write(t->src, addr, 4);
    finish(t, addr, 4);
    stop(t);
}

/* A page in a RAM block that is not the first one */
static void check_second_block(uint32_t first_size, unsigned limit)
{
    DirtyTest *t = start(first_size);
    uint32_t addr = t->second;

    writer_write(t->src, addr, 1);
    migrate_into_tail(t);

    writer_write(t->src, addr, 2);
    qtest_memset(t->src, addr + MiB, 0x33, 12 * MiB);
    look(t, limit);

    /* the tail, then the page, then what was written after it */
    send_until(t, 2 * MiB, 11 * MiB);
    writer_write(t->src, addr, 3);
    finish(t, addr, 3);
    stop(t);
}

static void test_second_block(void)
{
    check_second_block(LARGE_FIRST, 11);
}

/* As many addresses from 0 on as the second block has are of two blocks. */
static void test_larger_second_block(void)
{
    check_second_block(SMALL_FIRST, 11 + SMALL_FIRST / MiB);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_accel("tcg")) {
        g_test_skip("this QEMU has no TCG");
        return 0;
    }
    qtest_add_func("/migration-dirty/tcg/first-look", test_first_look);
    qtest_add_func("/migration-dirty/tcg/dirty-still", test_dirty_still);
    qtest_add_func("/migration-dirty/tcg/second-block", test_second_block);
    qtest_add_func("/migration-dirty/tcg/larger-second-block",
                   test_larger_second_block);
    return g_test_run();
}
