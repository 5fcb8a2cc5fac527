/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: off means off
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The stream of a stopped machine, byte by byte: with the capability off as
 * an unpatched QEMU writes it, and the same where the capability is on and
 * inactive.  The unpatched binary is named by QTEST_QEMU_BINARY_PRISTINE.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "pagecache-test-proxy.h"

#define PRISTINE        "QTEST_QEMU_BINARY_PRISTINE"

/*
 * When a busy host stops the migration thread for 50 ms in the middle of the
 * memory, a stream has one part more.  That is not what is looked for.
 */
#define ATTEMPTS        10

/* A machine without any time of its own */
static QTestState *start(PcTest *t, const char *var, const char *args)
{
    g_autofree char *cmdline = g_strdup_printf(
        "-machine q35 -m %u -nodefaults -S -rtc base=2020-01-01,clock=vm "
        DISK_ARGS "%s", (unsigned)(RAM_SIZE / MiB), t->disk, args);

    return qtest_init_with_env(var, cmdline, true);
}

/* What a fresh machine writes into a file */
static GBytes *saved(PcTest *t, const char *var, const char *args,
                     const char *capability)
{
    g_autofree char *name = pct_path(t, "saved");
    g_autofree char *uri = g_strdup_printf("file:%s", name);
    QTestState *qts = start(t, var, args);
    GMappedFile *file;
    GBytes *bytes;
    unsigned i;

    if (capability) {
        migrate_set_capability(qts, capability, true);
    }
    for (i = 0; i < 64; i++) {
        qtest_bufwrite(qts, PRIVATE_START + i * PAGE, t->disk_data + i * PAGE,
                       PAGE);
    }
    unlink(name);
    migrate_qmp(qts, NULL, uri, NULL, "{}");
    wait_for_migration_complete(qts);
    if (capability) {
        pct_assert_inactive(qts, "no-socket");
    }
    qtest_quit(qts);

    file = g_mapped_file_new(name, false, NULL);
    g_assert_nonnull(file);
    bytes = g_mapped_file_get_bytes(file);
    g_mapped_file_unref(file);
    g_assert_cmpuint(g_bytes_get_size(bytes), >, 64 * PAGE);
    return bytes;
}

typedef struct Variant {
    const char *var, *args, *capability;
} Variant;

static const Variant pristine = { PRISTINE, "", NULL };
static const Variant off = { NULL, "", NULL };
static const Variant inactive = { NULL, "", "skip-pagecache" };
static const Variant global = {
    NULL, "-global migration.skip-pagecache=on", NULL
};

static bool equal_streams(PcTest *t, const Variant *a, const Variant *b)
{
    int i;

    for (i = 0; i < ATTEMPTS; i++) {
        g_autoptr(GBytes) one = saved(t, a->var, a->args, a->capability);
        g_autoptr(GBytes) two = saved(t, b->var, b->args, b->capability);

        if (g_bytes_equal(one, two)) {
            return true;
        }
        g_test_message("%zu and %zu bytes that differ",
                       g_bytes_get_size(one), g_bytes_get_size(two));
    }
    return false;
}

static void compare(const Variant *a, const Variant *b)
{
    PcTest *t;

    if ((a->var && !getenv(a->var)) || (b->var && !getenv(b->var))) {
        g_test_skip(PRISTINE " is not set");
        return;
    }
    t = pct_new();
    g_assert_true(equal_streams(t, a, b));
    pct_free(t);
}

/* The control: is there anything in the stream that changes by itself? */
static void test_pristine_pristine(void)
{
    compare(&pristine, &pristine);
}

static void test_off_pristine(void)
{
    compare(&pristine, &off);
}

static void test_global_pristine(void)
{
    compare(&pristine, &global);
}

static void test_off_off(void)
{
    compare(&off, &off);
}

static void test_off_inactive(void)
{
    compare(&off, &inactive);
}

static void test_off_global(void)
{
    compare(&off, &global);
}

/* The other control: a byte of the guest's memory, and it is found */
static void test_finds_a_byte(void)
{
    PcTest *t = pct_new();
    g_autoptr(GBytes) one = saved(t, NULL, "", NULL);
    g_autoptr(GBytes) two = NULL;

    t->disk_data[12345] ^= 1;
    two = saved(t, NULL, "", NULL);
    g_assert_false(g_bytes_equal(one, two));
    pct_free(t);
}

/* --- sections --- */

/*
 * The number of the section that is called @name, whose state begins with
 * this section.  0: there is none.
 */
static uint32_t section_id(const GByteArray *stream, uint8_t type,
                           const char *name)
{
    uint8_t len = strlen(name);
    guint i;

    for (i = 0; i + 6 + len <= stream->len; i++) {
        const uint8_t *p = stream->data + i;

        if (p[0] == type && p[5] == len && !memcmp(p + 6, name, len)) {
            return ldl_be_p(p + 1);
        }
    }
    return 0;
}

/* What goes to another QEMU, with the capability or without */
static GByteArray *sent(PcTest *t, bool on)
{
    GByteArray *stream;
    PctProxy *p;

    pct_start_src(t, NULL);
    pct_start_dst(t, NULL);
    migrate_set_capability(t->src, "return-path", true);
    migrate_set_capability(t->dst, "return-path", true);
    if (on) {
        pct_on(t);
        pct_hint_cache(t);
    }
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    if (on) {
        pct_migrate_slowly(t);
        pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    } else {
        pct_migrate(t);
    }
    pct_finish(t);
    stream = pct_proxy_recorded(p);
    pct_proxy_free(p);
    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    return stream;
}

/* Ours has a number that no other has, and takes none away. */
static void test_section_ids(void)
{
    static const struct {
        uint8_t type;
        const char *name;
    } sections[] = {
        { SECTION_START, "ram" },
        { 4, "timer" },         /* a section with all of its state */
        { 4, "cpu_common" },
        { 4, DISK_PATH "/virtio-blk" },
    };
    PcTest *t = pct_new();
    g_autoptr(GByteArray) without = sent(t, false);
    g_autoptr(GByteArray) with = sent(t, true);
    int i;

    for (i = 0; i < ARRAY_SIZE(sections); i++) {
        uint32_t id = section_id(without, sections[i].type, sections[i].name);

        g_test_message("%s is %u", sections[i].name, id);
        g_assert_cmphex(id, ==, section_id(with, sections[i].type,
                                           sections[i].name));
        g_assert_cmphex(id, <, 1000);
    }
    g_assert_cmphex(section_id(without, SECTION_START, "ram"), !=, 0);
    g_assert_cmphex(section_id(with, SECTION_START, "pagecache"), ==,
                    SECTION_ID);
    g_assert_cmphex(section_id(without, SECTION_START, "pagecache"), ==, 0);
    g_assert_null(memmem(without->data, without->len, "pagecache", 9));
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/stream/control/finds-a-byte",
                   test_finds_a_byte);
    qtest_add_func("/pagecache/stream/control/off-off", test_off_off);
    qtest_add_func("/pagecache/stream/control/pristine-pristine",
                   test_pristine_pristine);
    qtest_add_func("/pagecache/stream/off-pristine", test_off_pristine);
    qtest_add_func("/pagecache/stream/global-pristine", test_global_pristine);
    qtest_add_func("/pagecache/stream/off-inactive", test_off_inactive);
    qtest_add_func("/pagecache/stream/off-global", test_off_global);
    qtest_add_func("/pagecache/stream/section-ids", test_section_ids);
    return g_test_run();
}
