/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache with the dirty log of KVM, as a bitmap and as a ring
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A vCPU writes to pages of the cache before they are offered, after they were
 * proven, and all the time until the switchover; and to private pages.  All
 * bytes are known, so that both sides' memory is compared with what it must be.
 * Each case begins with the same as a plain migration.  There are KVMs whose
 * ring can overflow: if the plain migration loses a page with the ring, it is
 * not this feature's fault, and the test says so and is skipped.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "pagecache-test-lib.h"
#include "migration/writer.h"

/*
 * Every third page from the middle of the private ones to the cache's end is
 * written until all other pages are proven; of the next ones, those in the
 * cache's first half are written after that, and those in its second half
 * until the end.
 */
#define STRIDE          (3 * PAGE)
#define EARLY           (5 * MiB)
#define EARLY_PAGES     ((CACHE_START + CACHE_SIZE - EARLY) / STRIDE)
#define LATE            (EARLY + PAGE + (CACHE_START - EARLY) / STRIDE * STRIDE)
#define LATE_PAGES      (CACHE_SIZE / 2 / STRIDE)
#define LIVE            (LATE + LATE_PAGES * STRIDE)
#define LIVE_PAGES      (CACHE_SIZE / 2 / STRIDE - 2)

/*
 * So long the early pages are written at least, with and without skipping.  By
 * then, as a rule, all of the cache that can be proven is proven.
 */
#define EARLY_US        (1 * G_USEC_PER_SEC)

/* Chunks of the log that are cleared at once, as small as QEMU lets them be */
#define CHUNK_PAGES     64
#define CHUNK_SHIFT     "6"

/*
 * Pages of a slot of KVM's: from here on there are no private ones, be it that
 * the slot begins at 1 MiB or at 0
 */
#define PAST_PRIVATE    ((PRIVATE_START + PRIVATE_SIZE) / PAGE)

static const char *const bitmap = "kvm";
static const char *const ring = "kvm,dirty-ring-size=4096";

static void start(PcTest *t, const char *accel)
{
    g_autofree char *rom = pct_path(t, "rom");
    g_autofree char *log = pct_path(t, "log");
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = NULL, *src_args = NULL;

    writer_make_rom(rom);
    args = g_strdup_printf("-accel %s " WRITER_ARGS "%s", accel, rom, disk);
    src_args = g_strdup_printf("%s -global migration.x-clear-bitmap-shift="
                               CHUNK_SHIFT " -D %s"
                               " -trace enable=kvm_clear_dirty_log"
                               " -trace enable=kvm_dirty_ring_reap", args, log);
    pct_start_src(t, src_args);
    pct_start_dst(t, args);
}

/* How often is @event in the source's log, for pages from @least on? */
static unsigned count_events(PcTest *t, const char *event, uint64_t least)
{
    g_autofree char *log = pct_path(t, "log");
    g_autofree char *text = NULL;
    const char *at, *start;
    unsigned n = 0;

    if (!g_file_get_contents(log, &text, NULL, NULL)) {
        return 0;
    }
    for (at = text; (at = strstr(at, event)); at += strlen(event)) {
        start = least ? strstr(at, "start 0x") : NULL;
        if (!least || (start && g_ascii_strtoull(start + 6, NULL, 16) >= least)) {
            n++;
        }
    }
    return n;
}

/* What the guest has written */
static void expect(PcTest *t, uint32_t addr, uint32_t pages, uint32_t value)
{
    uint32_t i;

    for (i = 0; i < pages; i++) {
        stl_le_p(t->ram + addr + i * STRIDE + WRITER_FIRST, value);
        stl_le_p(t->ram + addr + i * STRIDE + WRITER_LAST, value);
    }
}

/*
 * What the guest was writing when it was stopped: the values of one sweep in
 * the pages up to some place, those of the sweep before it after that.
 */
static void expect_live(PcTest *t, uint32_t least)
{
    uint32_t first = 0, last = 0, i, j;

    for (i = 0; i < LIVE_PAGES; i++) {
        for (j = WRITER_FIRST; j <= WRITER_LAST; j += WRITER_LAST) {
            uint64_t addr = LIVE + i * STRIDE + j;
            uint32_t value = qtest_readl(t->src, addr);

            if (i == 0 && j == WRITER_FIRST) {
                first = last = value;
                g_assert_cmpuint(value, >=, least);
            }
            g_assert_true(value == last ||
                          (value == first - 1 && last == first));
            last = value;
            stl_le_p(t->ram + addr, value);
        }
    }
}

/* How many pages differ from what they must be? */
static unsigned wrong_pages(PcTest *t, QTestState *who, const char *name)
{
    g_autofree uint8_t *page = g_malloc(PAGE);
    unsigned wrong = 0;
    uint64_t addr;

    for (addr = 0; addr < RAM_SIZE; addr += PAGE) {
        if (addr >= 640 * KiB && addr < 1 * MiB) {
            continue;
        }
        qtest_bufread(who, addr, page, PAGE);
        if (memcmp(page, t->ram + addr, PAGE)) {
            if (++wrong <= 5) {
                g_test_message("%s: page 0x%" PRIx64 " is wrong", name, addr);
            }
        }
    }
    return wrong;
}

/* One migration.  Returns the number of wrong pages on the destination. */
static unsigned migrate(const char *accel, bool skip)
{
    PcTest *t = pct_new();
    unsigned wrong, clears, clears_before;
    uint32_t value;
    gint64 begin;

    start(t, accel);
    writer_order(t->src, EARLY, EARLY_PAGES, STRIDE, 0x10000, WRITER_ENDLESS);
    if (skip) {
        pct_on(t);
        pct_hint_cache(t);
    }
    pct_incoming(t);
    migrate_set_parameter_int(t->src, "downtime-limit", 10000);
    migrate_set_parameter_int(t->src, "avail-switchover-bandwidth", SLOW);
    pct_migrate_slowly(t);
    begin = g_get_monotonic_time();
    if (skip) {
        /* all that is not written meanwhile, whatever the channel does */
        pct_wait_figure(t->src, "proven-pages", CACHE_PAGES / 3 * 2);
        g_test_message("early pages were written for %" PRIi64 " ms",
                       (g_get_monotonic_time() - begin) / 1000);
    }
    while (g_get_monotonic_time() - begin < EARLY_US) {
        g_usleep(2000);
    }
    clears_before = count_events(t, "kvm_clear_dirty_log", PAST_PRIVATE);
    value = writer_stop(t->src);
    expect(t, EARLY, EARLY_PAGES, value);

    writer_order(t->src, LATE, LATE_PAGES, STRIDE, 0x20000, 3);
    value = writer_wait(t->src);
    g_assert_cmphex(value, ==, 0x20002);
    expect(t, LATE, LATE_PAGES, value);

    writer_order(t->src, LIVE, LIVE_PAGES, STRIDE, 0x30000, WRITER_ENDLESS);
    migrate_set_parameter_int(t->src, "avail-switchover-bandwidth",
                              200 * KiB);
    pct_full_speed(t);
    pct_wait_complete(t);
    expect_live(t, 0x30000);
    g_assert_cmpuint(wrong_pages(t, t->src, "source"), ==, 0);
    wrong = wrong_pages(t, t->dst, "destination");

    clears = count_events(t, "kvm_clear_dirty_log", 0);
    g_test_message("%s, %s: %" PRIi64 " looks at the log, %" PRIi64
                   " pages proven, log cleared %u times (%u for proofs), "
                   "ring reaped %u times, %u pages wrong",
                   accel, skip ? "skip-pagecache" : "plain",
                   read_ram_property_int(t->src, "dirty-sync-count"),
                   skip ? pct_figure(t->src, "proven-pages") : 0, clears,
                   clears_before, count_events(t, "kvm_dirty_ring_reap ", 0),
                   wrong);
    if (skip) {
        pct_check_figures(t);
    }
    if (accel == ring) {
        g_assert_cmpuint(count_events(t, "kvm_dirty_ring_reap ", 0), >, 0);
        g_assert_cmpuint(clears, ==, 0);
    } else if (skip) {
        /* almost all of the cache's chunks, while the channel is far away */
        g_assert_cmpuint(clears_before, >=, CACHE_PAGES / CHUNK_PAGES - 4);
    }

    if (!wrong) {
        /* it goes on where it was */
        pct_hop(t);
        value = writer_stop(t->src);
        g_assert_cmpuint(value, >=, 0x30000);
        expect(t, LIVE, LIVE_PAGES, value);
        wrong = wrong_pages(t, t->src, "destination, running");
    }
    pct_free(t);
    return wrong;
}

/* Does a guest run under @accel here?  If not, the test is skipped. */
static bool usable(const char *accel)
{
    g_autofree char *dir = g_dir_make_tmp("pagecache-kvm-XXXXXX", NULL);
    g_autofree char *rom = g_build_filename(dir, "rom", NULL);
    g_autofree char *args = NULL;
    QTestState *who;
    QDict *rsp;
    bool enabled;

    if (!qtest_has_accel("kvm") || access("/dev/kvm", R_OK | W_OK)) {
        rmdir(dir);
        g_test_skip("there is no KVM here");
        return false;
    }
    if (accel == ring && !kvm_dirty_ring_supported()) {
        rmdir(dir);
        g_test_skip("this KVM has no dirty ring");
        return false;
    }
    writer_make_rom(rom);
    args = g_strdup_printf("-accel %s -machine q35 " WRITER_ARGS, accel, rom);
    who = qtest_init(args);
    rsp = qtest_qmp_assert_success_ref(who, "{ 'execute': 'query-kvm' }");
    enabled = qdict_get_bool(rsp, "enabled");
    qobject_unref(rsp);
    if (enabled) {
        /* an order that a guest follows at once, if it runs at all */
        enabled = writer_runs(who);
        if (!enabled) {
            g_test_skip("a guest does not run under this KVM");
        }
    } else {
        g_test_skip("KVM is there, but QEMU can't use it");
    }
    qtest_quit(who);
    unlink(rom);
    rmdir(dir);
    return enabled;
}

static void test_log(const void *accel)
{
    unsigned i, runs = g_test_slow() ? 20 : 1;

    if (!usable(accel)) {
        return;
    }
    for (i = 0; i < runs; i++) {
        unsigned wrong = migrate(accel, false);

        if (accel == ring && wrong) {
            g_test_skip("a plain migration loses pages with this KVM's ring");
            return;
        }
        g_assert_cmpuint(wrong, ==, 0);
        g_assert_cmpuint(migrate(accel, true), ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("/pagecache/kvm/bitmap", bitmap, test_log);
    qtest_add_data_func("/pagecache/kvm/ring", ring, test_log);
    return g_test_run();
}
