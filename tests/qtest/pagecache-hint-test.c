/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: hints that make no sense
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A bad hint is dropped and counted, the rest of the map is used.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-lib.h"

/* --- hints of a good form for places that don't exist --- */

typedef struct BadHint {
    const char *name;
    const char *block;          /* NULL: @addr is a guest address */
    uint64_t addr, sector;
    uint32_t pages;
    int64_t dropped;            /* pages, or 1 for nonsense */
    int64_t hinted;             /* pages that were good */
} BadHint;

static const BadHint bad_hints[] = {
    { "outside-ram", NULL, 1 * TiB, 0, 4, 4 },
    { "end-of-address-space", NULL, UINT64_MAX - 4095, 0, 1, 1 },
    { "beyond-address-space", NULL, UINT64_MAX - 4095, 0, 2, 1 },
    /* the last page is RAM, though it is zero */
    { "across-end-of-ram", NULL, RAM_SIZE - PAGE, 0, 8, 7, 1 },
    { "misaligned", NULL, CACHE_START + 512, 0, 4, 4 },
    { "no-pages", NULL, CACHE_START, 0, 0, 1 },
    { "pages-more-than-ram", NULL, CACHE_START, 0, 1 << 20, 1 },
    { "pages-most-of-all", NULL, CACHE_START, 0, UINT32_MAX, 1 },
    { "sector-beyond-disk", NULL, CACHE_START, DISK_SECTORS, 1, 1 },
    { "sector-across-end-of-disk", NULL, CACHE_START, DISK_SECTORS - 8, 2, 2 },
    { "sector-half-a-page-before-end", NULL, CACHE_START, DISK_SECTORS - 4, 1,
      1 },
    { "sector-most-of-all", NULL, CACHE_START, INT64_MAX, 1, 1 },
    /* between 0xa0000 and 0xfffff pc.rom is RAM, 128 KiB of zeros */
    { "across-legacy-hole", NULL, 640 * KiB - 2 * PAGE, 0, 98, 64, 34 },
    { "mmio", NULL, 0xfec00000, 0, 1, 1 },
    { "rom", NULL, 0xfffff000, 0, 1, 1 },
    { "rom-to-end-of-4g", NULL, 0xfffc0000, 0, 64, 64 },
    { "block-unknown", "no.ram", 0, 0, 1, 1 },
    { "block-unnamed", "", 0, 0, 1, 1 },
    { "block-read-only", "pc.bios", 0, 0, 1, 1 },
    { "block-end", "pc.ram", RAM_SIZE, 0, 1, 1 },
    { "block-across-end", "pc.ram", RAM_SIZE - PAGE, 0, 2, 2 },
    { "block-far-beyond", "pc.ram", 1 * TiB, 0, 1, 1 },
    { "block-offset-most-of-all", "pc.ram", UINT64_MAX - 4095, 0, 1, 1 },
    { "block-misaligned", "pc.ram", CACHE_START + 1, 0, 1, 1 },
};

static void test_bad_hint(const void *opaque)
{
    const BadHint *h = opaque;
    PcTest *t = pct_new_pair();

    if (h->block) {
        qtest_qmp_assert_success(t->src,
                                 "{ 'execute': 'x-pagecache-add-hints',"
                                 "  'arguments': { 'hints': [ {"
                                 "  'device': 'blk0', 'ram-block': %s,"
                                 "  'address': %" PRIu64 ", 'sector': %" PRIu64
                                 ", 'pages': %u } ] } }",
                                 h->block, h->addr, h->sector, h->pages);
    } else {
        pct_hint(t, "blk0", h->addr, h->sector, h->pages);
    }
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, h->dropped);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==,
                    CACHE_PAGES + h->hinted);
    pct_free(t);
}

/* --- hidden RAM --- */

/*
 * The RAM below the legacy hole has no guest address, but it migrates.  It
 * can be named by its block, and must be as right as all other RAM.
 */
static void test_ram_below_the_hole(void)
{
    static const uint64_t hole = 640 * KiB;
    static const unsigned pages = 32;
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *ram[2] = { pct_path(t, "ram0"), pct_path(t, "ram1") };
    void *map[2];
    int i;

    t->machine = g_strdup("q35,memory-backend=mem");
    for (i = 0; i < 2; i++) {
        g_autofree char *args = g_strdup_printf(
            "%s -object memory-backend-file,id=mem,size=%u,share=on,"
            "mem-path=%s", disk, (unsigned)RAM_SIZE, ram[i]);
        int fd;

        (i ? pct_start_dst : pct_start_src)(t, args);
        fd = open(ram[i], O_RDWR);
        map[i] = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                      0);
        g_assert_true(map[i] != MAP_FAILED);
        close(fd);
    }
    /* before the migration, so that it is no write behind its back */
    memcpy(map[0] + hole, t->disk_data, pages * PAGE);
    pct_on(t);
    qtest_qmp_assert_success(t->src,
                             "{ 'execute': 'x-pagecache-add-hints',"
                             "  'arguments': { 'hints': [ {"
                             "  'device': 'blk0', 'ram-block': 'mem',"
                             "  'address': %" PRIu64 ", 'sector': 0,"
                             "  'pages': %u } ] } }", hole, pages);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "hinted-pages", CACHE_PAGES + pages);
    pct_wait_figure(t->src, "reported-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(memcmp(map[0], map[1], RAM_SIZE), ==, 0);
    for (i = 0; i < 2; i++) {
        munmap(map[i], RAM_SIZE);
    }
    pct_free(t);
}

/* --- too many --- */

static void migrate_endless(PcTest *t, uint64_t ram_pages)
{
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "reported-pages", CACHE_PAGES / 2);
    pct_finish(t);
    pct_check_figures(t);
    /* the ROMs count as RAM, too */
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), <, 3 * ram_pages);
}

/* One hint for each page, again and again */
static void test_endless_small(void)
{
    static const uint64_t ram_pages = RAM_SIZE / PAGE;
    PcTest *t = pct_new_pair();
    g_autofree char *name = pct_path(t, "hints");
    g_autoptr(GString) text = g_string_new("");
    uint64_t i;

    for (i = 0; i < 10 * ram_pages; i++) {
        unsigned page = i % CACHE_PAGES;

        g_string_append_printf(text, "blk0 %" PRIu64 " %" PRIu64 " 1\n",
                               pct_cache_addr(page), pct_cache_sector(page));
    }
    g_assert_true(g_file_set_contents(name, text->str, -1, NULL));
    qtest_qmp_assert_success(t->src, "{ 'execute': 'x-pagecache-add-hints',"
                             " 'arguments': { 'filename': %s } }", name);
    migrate_endless(t, ram_pages);
    pct_free(t);
}

static unsigned count(const char *text, const char *part)
{
    unsigned n = 0;

    while ((text = strstr(text, part))) {
        text += strlen(part);
        n++;
    }
    return n;
}

/* All of the disk, again and again; QEMU complains of it once. */
static void test_endless_large(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *log = pct_path(t, "stderr");
    g_autofree char *args = g_strdup_printf("%s 2>%s", disk, log);
    g_autofree char *text = NULL;
    unsigned i;

    pct_start_src(t, args);
    pct_start_dst(t, NULL);
    pct_on(t);
    pct_hint_cache(t);
    for (i = 0; i < 100; i++) {
        pct_hint(t, "blk0", 1 * MiB, 0, DISK_SIZE / PAGE);
    }
    migrate_endless(t, RAM_SIZE / PAGE);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    g_assert_cmpuint(count(text, "delivers more hints than the guest has"), ==,
                     1);
    pct_free(t);
}

/* Nothing but nonsense, more than anybody wants to hear */
static void test_endless_nonsense(void)
{
    PcTest *t = pct_new_pair();
    g_autofree char *name = pct_path(t, "hints");
    g_autoptr(GString) text = g_string_new("");
    unsigned i;

    for (i = 0; i < 100 * 1000; i++) {
        g_string_append(text, "blk0 0xffffffffff000 0 1\n");
    }
    g_assert_true(g_file_set_contents(name, text->str, -1, NULL));
    qtest_qmp_assert_success(t->src, "{ 'execute': 'x-pagecache-add-hints',"
                             " 'arguments': { 'filename': %s } }", name);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), <,
                    3 * RAM_SIZE / PAGE);
    pct_free(t);
}

/* --- hints of a bad form: the command fails, and nothing is taken --- */

static void assert_refused(PcTest *t, QDict *rsp, const char *error)
{
    QDict *err = qdict_get_qdict(rsp, "error");

    g_assert_nonnull(err);
    pct_assert_contains(qdict_get_str(err, "desc"), error);
    qobject_unref(rsp);

    pct_incoming(t);
    pct_migrate(t);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, 0);
    pct_free(t);
}

typedef struct BadArguments {
    const char *name, *arguments, *error;
} BadArguments;

#define HINT "{ 'device': 'blk0', 'address': 0, 'sector': 0, 'pages': 1 }"

static const BadArguments bad_arguments[] = {
    { "nothing", "{}", "Expected 'hints' or 'filename', got neither" },
    { "unknown-device",
      "{ 'hints': [ { 'device': 'blk1', 'address': 0, 'sector': 0,"
      " 'pages': 1 } ] }", "'blk1' is no disk" },
    { "no-disk",
      "{ 'hints': [ { 'device': '/machine/unattached', 'address': 0,"
      " 'sector': 0, 'pages': 1 } ] }", "'/machine/unattached' is no disk" },
    { "good-before-bad",
      "{ 'hints': [ " HINT ", " HINT ", { 'device': '', 'address': 0,"
      " 'sector': 0, 'pages': 1 } ] }", "'' is no disk" },
    { "negative-pages",
      "{ 'hints': [ { 'device': 'blk0', 'address': 0, 'sector': 0,"
      " 'pages': -1 } ] }", "uint32" },
    { "pages-of-33-bits",
      "{ 'hints': [ { 'device': 'blk0', 'address': 0, 'sector': 0,"
      " 'pages': 4294967296 } ] }", "uint32" },
    { "no-such-file", "{ 'filename': '/nowhere/hints' }",
      "Can't read the hints" },
    { "directory", "{ 'filename': '/' }", "Can't read the hints" },
};

static void test_bad_arguments(const void *opaque)
{
    const BadArguments *b = opaque;
    PcTest *t = pct_new_pair();
    g_autofree char *command = g_strdup_printf(
        "{ 'execute': 'x-pagecache-add-hints', 'arguments': %s }",
        b->arguments);

    qtest_qmp_send_raw(t->src, "%s", command);
    assert_refused(t, qtest_qmp_receive(t->src), b->error);
}

typedef struct BadFile {
    const char *name, *text, *error;
} BadFile;

static const BadFile bad_files[] = {
    { "three-fields", "blk0 0 0\n", ":1: expected 'device address sector" },
    { "six-fields", "blk0 0 0 1 pc.ram more\n", ":1: expected" },
    { "seven-fields", "blk0 0 0 1 pc.ram more and\n", ":1: expected" },
    { "word-for-a-number", "blk0 0 zero 1\n", ":1: expected" },
    { "number-with-a-tail", "blk0 0 0 1x\n", ":1: expected" },
    { "number-of-65-bits", "blk0 0 18446744073709551616 1\n", ":1: expected" },
    { "pages-of-33-bits", "blk0 0 0 4294967296\n", ":1: expected" },
    { "unknown-device", "# fine\nblk0 0 0 1\nblk1 0 0 1\n",
      ":3: Device 'blk1' is no disk" },
    { "good-before-bad", "blk0 0 0 1\nblk0 0 8 1\n\nblk0\n", ":4: expected" },
    { "no-newline-at-end", "blk0 0 0 1\nblk0 0", ":2: expected" },
    { "binary", "\x7f" "ELF\x02\x01\x01\xff\xfe \x80\n", ":1: expected" },
};

static void test_bad_file(const void *opaque)
{
    const BadFile *b = opaque;
    PcTest *t = pct_new_pair();
    g_autofree char *name = pct_path(t, "hints");

    g_assert_true(g_file_set_contents(name, b->text, -1, NULL));
    assert_refused(t, qtest_qmp(t->src,
                                "{ 'execute': 'x-pagecache-add-hints',"
                                " 'arguments': { 'filename': %s } }", name),
                   b->error);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(bad_hints); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/bad-hint/%s",
                                                bad_hints[i].name);

        qtest_add_data_func(path, &bad_hints[i], test_bad_hint);
    }
    qtest_add_func("/pagecache/hidden-ram", test_ram_below_the_hole);

    qtest_add_func("/pagecache/endless-hints/small", test_endless_small);
    qtest_add_func("/pagecache/endless-hints/large", test_endless_large);
    qtest_add_func("/pagecache/endless-hints/nonsense",
                   test_endless_nonsense);

    for (i = 0; i < ARRAY_SIZE(bad_arguments); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/bad-command/%s",
                                                bad_arguments[i].name);

        qtest_add_data_func(path, &bad_arguments[i], test_bad_arguments);
    }
    for (i = 0; i < ARRAY_SIZE(bad_files); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/bad-file/%s",
                                                bad_files[i].name);

        qtest_add_data_func(path, &bad_files[i], test_bad_file);
    }
    return g_test_run();
}
