/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the guest's own disks and no others
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The destination has an image that is no disk of its guest.  The source names
 * it in START, in every way it could be named, and gets nothing of it; nor
 * does a hint at the source lead there.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "pagecache-test-proxy.h"

/* Where START's body has the first disk's name: length and characters */
#define AT_DISK_NAME    (START_SECRET + 384 + 4 + 12)

#define OTHER   "other"         /* a node that no device has */

typedef struct Name {
    const char *test;
    const char *name;           /* of the disk; NULL: the file of OTHER */
} Name;

static const Name names[] = {
    { "node", OTHER },
    { "node-of-the-disk", "disk0" },
    { "id", "blk0" },
    { "id-of-a-disk-with-a-path", "id=blk0" },
    { "qom-path", "/machine/peripheral/blk0/virtio-backend" },
    { "file", NULL },
    { "option", "file:/etc/passwd" },
    { "json", "json:{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}" },
    { "part-of-the-path", "0000:00:05" },
    { "more-than-the-path", DISK_PATH "/" },
    { "slot-without-a-disk", "0000:00:06.0" },
};

/* An image beside the guest's disk, with the same content */
static char *other_args(PcTest *t, char **image)
{
    g_autofree char *disk = pct_disk_args(t);

    *image = pct_path(t, "other");
    g_assert_true(g_file_set_contents(*image, (char *)t->disk_data, DISK_SIZE,
                                      NULL));
    return g_strdup_printf("%s -blockdev file,node-name=" OTHER
                           ",filename=%s", disk, *image);
}

static void rename_disk(void *opaque, GByteArray *section)
{
    const char *name = opaque;
    uint8_t len = strlen(name);
    g_autofree uint8_t *field = g_malloc(1 + len);
    uint32_t body_len;
    uint8_t *body = pct_frame_body(section, &body_len);

    if (pct_frame_type(section) != FRAME_START) {
        return;
    }
    g_assert_cmpmem(body + AT_DISK_NAME + 1, body[AT_DISK_NAME], DISK_PATH,
                    strlen(DISK_PATH));
    field[0] = len;
    memcpy(field + 1, name, len);
    pct_frame_splice(section, AT_DISK_NAME, 1 + body[AT_DISK_NAME], field,
                     1 + len);
}

static void test_name(const void *opaque)
{
    const Name *n = opaque;
    PcTest *t = pct_new();
    g_autofree char *image = NULL;
    g_autofree char *args = other_args(t, &image);
    QDict *disk;
    PctProxy *p;

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, rename_disk, NULL, (void *)(n->name ?: image));
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), ==, 0);
    disk = pct_disk_info(t->dst);
    g_assert_cmpstr(qdict_get_str(disk, "device"), ==, n->name ?: image);
    g_assert_cmpstr(qdict_get_str(disk, "error"), ==, "no such disk here");
    g_assert_cmpint(qdict_get_int(disk, "bytes-read"), ==, 0);
    qobject_unref(disk);
    pct_proxy_free(p);
    pct_free(t);
}

/* The control: with its own name left as it is, the disk is read. */
static void test_own_name(void)
{
    PcTest *t = pct_new();
    g_autofree char *image = NULL;
    g_autofree char *args = other_args(t, &image);
    PctProxy *p;

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, rename_disk, NULL, (void *)DISK_PATH);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_proxy_free(p);
    pct_free(t);
}

static void assert_no_disk(PcTest *t, const char *name)
{
    QDict *rsp = qtest_qmp(t->src,
                           "{ 'execute': 'x-pagecache-add-hints',"
                           "  'arguments': { 'hints': [ { 'device': %s,"
                           "  'address': %" PRIu64 ", 'sector': 0,"
                           "  'pages': 1 } ] } }", name,
                           (uint64_t)CACHE_START);
    QDict *err = qdict_get_qdict(rsp, "error");

    g_assert_nonnull(err);
    pct_assert_contains(qdict_get_str(err, "desc"), "is no disk");
    qobject_unref(rsp);
}

/* A hint names a device of the guest's, too. */
static void test_hint(void)
{
    PcTest *t = pct_new();
    g_autofree char *image = NULL;
    g_autofree char *args = other_args(t, &image);

    pct_start_src(t, args);
    assert_no_disk(t, OTHER);
    assert_no_disk(t, image);
    assert_no_disk(t, "file:/etc/passwd");
    pct_hint(t, "blk0", CACHE_START, 0, 1);
    pct_free(t);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/reach/name/%s",
                                                names[i].test);

        qtest_add_data_func(path, &names[i], test_name);
    }
    qtest_add_func("/pagecache/reach/own-name", test_own_name);
    qtest_add_func("/pagecache/reach/hint", test_hint);
    return g_test_run();
}
