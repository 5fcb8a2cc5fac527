/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: RAM that is not plain RAM
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Besides its plain RAM, with the cache, the guest has more above 4 GiB, in
 * huge pages, in a file that both sides share and that is not migrated, or
 * unplugged by virtio-mem; or a RAM block has another size at the destination.
 * All of it is hinted.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "libqos/fw_cfg.h"
#include "pagecache-test-proxy.h"

#define MORE_START      (4 * GiB)
#define MORE_SIZE       (4 * MiB)
#define MORE_PAGES      (MORE_SIZE / PAGE)
#define CHUNK           (16 * KiB)
#define HUGE_FREE       "/sys/kernel/mm/hugepages/hugepages-2048kB/" \
                        "free_hugepages"

static char *more_args(PcTest *t, const char *backend, const char *device)
{
    g_autofree char *disk = pct_disk_args(t);

    return g_strdup_printf("%s -m slots=1,maxmem=1G -object %s,id=more,"
                           "size=4M -device %s,memdev=more,id=more0",
                           disk, backend, device);
}

/* It holds what the first 4 MiB of the disk do. */
static void fill_more(PcTest *t)
{
    uint64_t i;

    for (i = 0; i < MORE_SIZE; i += CHUNK) {
        qtest_bufwrite(t->src, MORE_START + i, t->disk_data + i, CHUNK);
    }
}

static void scribble_more(PcTest *t, unsigned page)
{
    /* as good as random: what stands elsewhere on the disk */
    memcpy(t->disk_data + page * PAGE, t->disk_data + DISK_SIZE - PAGE, PAGE);
    qtest_bufwrite(t->src, MORE_START + page * PAGE,
                   t->disk_data + page * PAGE, PAGE);
}

static void check_more(PcTest *t, QTestState *who)
{
    g_autofree uint8_t *buf = g_malloc(CHUNK);
    uint64_t i;

    for (i = 0; i < MORE_SIZE; i += CHUNK) {
        qtest_bufread(who, MORE_START + i, buf, CHUNK);
        g_assert_cmpint(memcmp(buf, t->disk_data + i, CHUNK), ==, 0);
    }
}

static void hint_more(PcTest *t)
{
    pct_hint(t, "blk0", MORE_START, 0, MORE_PAGES);
}

static void start(PcTest *t)
{
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
}

/* --- huge pages --- */

/*
 * Small pages of huge pages are proven one by one.  One has changed, and lies
 * between others that have not.
 */
static void test_huge_pages(void)
{
    g_autofree char *text = NULL, *args = NULL;
    PcTest *t;

    /* for both sides */
    if (!g_file_get_contents(HUGE_FREE, &text, NULL, NULL) ||
        g_ascii_strtoull(text, NULL, 10) < 2 * MORE_SIZE / (2 * MiB)) {
        g_test_skip("fewer than 4 huge pages of 2 MiB are free");
        return;
    }
    t = pct_new();
    args = more_args(t, "memory-backend-memfd,hugetlb=on,hugetlbsize=2M",
                     "pc-dimm");
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    fill_more(t);
    hint_more(t);
    scribble_more(t, 700);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES + MORE_PAGES - 1);
    pct_wait_figure(t->src, "mismatched-pages", 1);
    pct_finish(t);
    pct_check_figures(t);
    check_more(t, t->src);
    check_more(t, t->dst);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==,
                    CACHE_PAGES + MORE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==,
                    CACHE_PAGES + MORE_PAGES - 1);
    pct_free(t);
}

/* --- RAM that is not migrated --- */

/* Both see the same bytes: what a refill wrote there the source would see. */
static void test_ignored(void)
{
    PcTest *t = pct_new();
    g_autofree char *name = pct_path(t, "shared");
    g_autofree char *backend = g_strdup_printf(
        "memory-backend-file,share=on,mem-path=%s", name);
    g_autofree char *args = more_args(t, backend, "pc-dimm");

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    migrate_set_capability(t->src, "x-ignore-shared", true);
    migrate_set_capability(t->dst, "x-ignore-shared", true);
    fill_more(t);
    scribble_more(t, 700);
    hint_more(t);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, MORE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    check_more(t, t->src);
    check_more(t, t->dst);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES);
    pct_free(t);
}

/* --- RAM that is unplugged --- */

/*
 * virtio-mem has unplugged all of it: no page is there to be refilled, and
 * none comes into being by that.
 */
static void test_discarded(void)
{
    PcTest *t = pct_new();
    g_autofree char *name[2] = { pct_path(t, "ram0"), pct_path(t, "ram1") };
    g_autofree char *args[2] = { NULL, NULL };
    int i;

    for (i = 0; i < 2; i++) {
        g_autofree char *backend = g_strdup_printf(
            "memory-backend-file,share=on,mem-path=%s", name[i]);

        args[i] = more_args(t, backend, "virtio-mem-pci,requested-size=0,"
                            "block-size=2M,memaddr=0x100000000");
    }
    pct_start_src(t, args[0]);
    pct_start_dst(t, args[1]);
    pct_on(t);
    g_assert_cmpint(pct_allocated(name[1]), ==, 0);
    hint_more(t);
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_wait_figure(t->src, "duplicate-pages", MORE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_allocated(name[0]), ==, 0);
    g_assert_cmpint(pct_allocated(name[1]), ==, 0);
    pct_free(t);
}

/* --- RAM that goes during the migration --- */

#define ACPI_MEMORY     0xa00       /* hotplug: slot, and below it commands */
#define ACPI_EJECT_SLOT 8

typedef enum Moment { IN_THE_POOL, IN_FLIGHT, PROVEN } Moment;

/* The guest gives a DIMM back, full of cache, and the host frees it. */
static void test_given_back(const void *opaque)
{
    Moment when = GPOINTER_TO_UINT(opaque);
    PcTest *t = pct_new();
    g_autofree char *args = more_args(t, "memory-backend-ram", "pc-dimm");
    PctProxy *p;

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    fill_more(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, when != PROVEN);
    if (when == IN_THE_POOL) {
        pct_hint_cache(t);      /* it fills the window */
    }
    pct_migrate_slowly(t);
    if (when == IN_THE_POOL) {
        pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    }
    hint_more(t);
    pct_wait_figure(t->src, when == IN_THE_POOL ? "pooled-pages" :
                            when == IN_FLIGHT ? "in-flight-pages" :
                                                "proven-pages", MORE_PAGES);

    qtest_outl(t->src, ACPI_MEMORY, 0);
    qtest_outb(t->src, ACPI_MEMORY + 0x14, ACPI_EJECT_SLOT);
    pct_wait_deleted(t->src, "more0");
    qtest_qmp_assert_success(t->src, "{ 'execute': 'object-del',"
                                     "  'arguments': { 'id': 'more' } }");
    pct_proxy_hold(p, false);
    pct_finish(t);
    pct_check_figures(t);
    pct_proxy_free(p);
    pct_free(t);
}

/* --- RAM blocks that have another size at the destination --- */

#define TABLES          "/rom@etc/acpi/tables"
#define TABLES_SIZE     (128 * KiB)
#define TABLES_PAGES    (TABLES_SIZE / PAGE)

/*
 * QEMU makes them when the guest looks for the first time, and migrates them
 * then like RAM.
 */
static uint8_t *tables(QTestState *who, size_t want)
{
    QFWCFG *fw_cfg = pc_fw_cfg_init(who);
    uint8_t *buf = g_malloc0(2 * TABLES_SIZE);
    size_t len = qfw_cfg_get_file(fw_cfg, "etc/acpi/tables", buf,
                                  2 * TABLES_SIZE);

    pc_fw_cfg_uninit(fw_cfg);
    g_assert_cmpint(len, ==, want);
    return buf;
}

static uint64_t used_length(QTestState *who, const char *block)
{
    g_autofree char *text = qtest_hmp(who, "info ramblock");
    const char *line = strstr(text, block);
    uint64_t offset, used;

    g_assert_nonnull(line);
    /* name, page size with its unit, offset, used */
    g_assert_cmpint(sscanf(line + strlen(block), " %*s %*s %" SCNx64
                           " %" SCNx64, &offset, &used), ==, 2);
    return used;
}

/*
 * The destination's are larger until it hears of the source's.  Blocks that
 * can be resized are read-only for the guest: all hints for them are dropped,
 * beyond their size or not.
 */
static void test_resized(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *name = pct_path(t, "table");
    g_autofree char *args = NULL;
    g_autofree uint8_t *before = NULL, *after = NULL, *here = NULL;
    g_autofree char *body = g_malloc0(60000);

    g_assert_true(g_file_set_contents(name, body, 60000, NULL));
    args = g_strdup_printf("%s -acpitable sig=SSDT,data=%s "
                           "-acpitable sig=SSDT,data=%s "
                           "-acpitable sig=SSDT,data=%s", disk, name, name,
                           name);
    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    before = tables(t->src, TABLES_SIZE);
    g_assert_cmpint(used_length(t->src, TABLES), ==, TABLES_SIZE);
    g_assert_cmpint(used_length(t->dst, TABLES), >, TABLES_SIZE);
    qtest_qmp_assert_success(t->src,
                             "{ 'execute': 'x-pagecache-add-hints',"
                             "  'arguments': { 'hints': ["
                             "  { 'device': 'blk0', 'ram-block': %s,"
                             "    'address': 0, 'sector': 0, 'pages': %u },"
                             "  { 'device': 'blk0', 'ram-block': %s,"
                             "    'address': %u, 'sector': 0, 'pages': 2 }"
                             "  ] } }", TABLES, (unsigned)TABLES_PAGES,
                             TABLES, (unsigned)(TABLES_SIZE - PAGE));
    start(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==,
                    TABLES_PAGES + 2);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(used_length(t->dst, TABLES), ==, TABLES_SIZE);
    here = tables(t->src, TABLES_SIZE);
    after = tables(t->dst, TABLES_SIZE);
    g_assert_cmpint(memcmp(here, before, TABLES_SIZE), ==, 0);
    g_assert_cmpint(memcmp(after, before, TABLES_SIZE), ==, 0);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/ram/huge-pages", test_huge_pages);
    qtest_add_func("/pagecache/ram/ignored", test_ignored);
    if (qtest_has_device("virtio-mem-pci")) {
        qtest_add_func("/pagecache/ram/discarded", test_discarded);
    }
    qtest_add_data_func("/pagecache/ram/given-back/in-the-pool",
                        GUINT_TO_POINTER(IN_THE_POOL), test_given_back);
    qtest_add_data_func("/pagecache/ram/given-back/in-flight",
                        GUINT_TO_POINTER(IN_FLIGHT), test_given_back);
    qtest_add_data_func("/pagecache/ram/given-back/proven",
                        GUINT_TO_POINTER(PROVEN), test_given_back);
    qtest_add_func("/pagecache/ram/resized", test_resized);
    return g_test_run();
}
