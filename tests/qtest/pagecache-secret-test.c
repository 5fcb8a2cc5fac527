/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the secret of the digests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * It goes over the channel in START.  Who reads it there, and can also write
 * both a page of the guest's and the block it is said to be, gets one content
 * taken for the other; TLS hides the secret, SHA-256 makes it useless.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-proxy.h"
#include "../unit/test-pagecache-collision.h"

/* What the channel may carry besides pages */
#define SLACK   (1 * MiB)

/* --- TLS --- */

#define KEY     "0123456789abcdef0123456789abcdef"

static bool have_tls(PcTest *t)
{
    QTestState *probe = qtest_init("-machine none");
    QDict *rsp = qtest_qmp(probe,
                           "{ 'execute': 'object-add', 'arguments': {"
                           " 'qom-type': 'tls-creds-psk', 'id': 'tls0',"
                           " 'endpoint': 'client', 'dir': %s } }", t->dir);
    bool have = qdict_haskey(rsp, "return");

    qobject_unref(rsp);
    qtest_quit(probe);
    return have;
}

static void write_key(PcTest *t, const char *key)
{
    g_autofree char *name = pct_path(t, "keys.psk");
    g_autofree char *line = g_strdup_printf("qemu:%s\n", key);

    g_assert_true(g_file_set_contents(name, line, -1, NULL));
}

static char *tls_args(PcTest *t, const char *endpoint)
{
    g_autofree char *disk = pct_disk_args(t);

    return g_strdup_printf("%s -object tls-creds-psk,id=tls0,endpoint=%s,"
                           "dir=%s", disk, endpoint, t->dir);
}

/* Or NULL: skipped.  The source has @src_key, the destination @dst_key. */
static PcTest *tls_pair(const char *src_key, const char *dst_key)
{
    PcTest *t = pct_new();
    g_autofree char *src = tls_args(t, "client");
    g_autofree char *dst = tls_args(t, "server");

    write_key(t, src_key);
    if (!have_tls(t)) {
        g_test_skip("this QEMU is built without gnutls");
        pct_free(t);
        return NULL;
    }
    pct_start_src(t, src);
    write_key(t, dst_key);
    pct_start_dst(t, dst);
    pct_on(t);
    migrate_set_parameter_str(t->src, "tls-creds", "tls0");
    migrate_set_parameter_str(t->dst, "tls-creds", "tls0");
    return t;
}

/* All of the cache goes over the storage wire. */
static void migrate_cache(PcTest *t)
{
    pct_hint_cache(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    g_assert_cmpint(pct_transferred(t->src), <, PRIVATE_SIZE + SLACK);
}

static void test_tls(void)
{
    PcTest *t = tls_pair(KEY, KEY);

    if (!t) {
        return;
    }
    pct_incoming(t);
    migrate_cache(t);
    pct_free(t);
}

/*
 * Both sides change their keys while offers and reports go over the channel
 * (tests/tools/tlsrekey.c, whose library PAGECACHE_TLSREKEY names).
 */
static void test_tls_new_keys(void)
{
    const char *library = getenv("PAGECACHE_TLSREKEY");
    g_autofree char *count = NULL, *counted = NULL;
    gsize keys;
    PcTest *t;

    if (!library || !*library) {
        g_test_skip("PAGECACHE_TLSREKEY is not set "
                    "(tests/tools/build-tlsrekey)");
        return;
    }
    count = g_strdup_printf("/tmp/pagecache-keys-%d", getpid());
    g_setenv("TLSREKEY_COUNT", count, true);
    g_setenv("LD_PRELOAD", library, true);
    t = tls_pair(KEY, KEY);
    g_unsetenv("LD_PRELOAD");
    g_unsetenv("TLSREKEY_COUNT");
    if (!t) {
        return;
    }

    pct_incoming(t);
    migrate_cache(t);
    pct_free(t);
    g_assert_true(g_file_get_contents(count, &counted, &keys, NULL));
    g_assert_cmpuint(keys, >=, 2);
    unlink(count);
}

static void test_tls_multifd(void)
{
    PcTest *t = tls_pair(KEY, KEY);

    if (!t) {
        return;
    }
    migrate_set_capability(t->src, "multifd", true);
    migrate_set_capability(t->dst, "multifd", true);
    migrate_set_parameter_int(t->src, "multifd-channels", 3);
    migrate_set_parameter_int(t->dst, "multifd-channels", 3);
    pct_incoming(t);
    migrate_cache(t);
    pct_free(t);
}

/* The channel doesn't come about: nothing is sent, nothing is read. */
static void test_tls_other_key(void)
{
    PcTest *t = tls_pair(KEY, "fedcba9876543210fedcba9876543210");
    g_autoptr(GByteArray) sent = NULL;
    PctProxy *p;

    if (!t) {
        return;
    }
    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new_blind(t);
    pct_migrate(t);
    pct_wait_failed(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    g_assert_cmpint(pct_figure(t->dst, "offered-pages"), <=, 0);
    sent = pct_proxy_recorded(p);
    g_assert_cmpuint(sent->len, <, 16 * KiB);
    pct_proxy_free(p);
    pct_free(t);
}

/* START's frame up to the secret, as the wire specification has it */
static const uint8_t *find_start(const GByteArray *stream)
{
    static const uint8_t head[] = { 'P', 'G', 'C', '1', 0, 2,
                                    0, 0, 0, 0, 0, 0, 0, 0, 12, 1 };

    return memmem(stream->data, stream->len, head, sizeof(head));
}

static bool shows(const GByteArray *stream, const void *what, size_t len)
{
    return memmem(stream->data, stream->len, what, len) != NULL;
}

/* The control: without TLS everybody sees the secret, the disk, the RAM. */
static void test_plain_shows(void)
{
    PcTest *t = pct_new_pair();
    g_autoptr(GByteArray) sent = NULL, start = NULL;
    PctProxy *p;

    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    migrate_cache(t);
    sent = pct_proxy_recorded(p);
    start = pct_proxy_start_body(p);
    g_assert_nonnull(find_start(sent));
    g_assert_true(shows(sent, start->data + START_SECRET,
                        lduw_be_p(start->data + START_SECRET_LEN)));
    g_assert_true(shows(sent, DISK_PATH, strlen(DISK_PATH)));
    g_assert_true(shows(sent, t->ram + PRIVATE_START, PAGE));
    /* but no page that was read from the disk */
    g_assert_false(shows(sent, t->ram + CACHE_START, 64));
    pct_proxy_free(p);
    pct_free(t);
}

/* The same with the same eyes: nothing of it */
static void test_tls_hides(void)
{
    PcTest *t = tls_pair(KEY, KEY);
    g_autoptr(GByteArray) sent = NULL;
    PctProxy *p;

    if (!t) {
        return;
    }
    pct_incoming(t);
    p = pct_proxy_new_blind(t);
    migrate_cache(t);
    sent = pct_proxy_recorded(p);
    g_assert_cmpuint(sent->len, >, PRIVATE_SIZE);
    g_assert_null(find_start(sent));
    g_assert_false(shows(sent, "pagecache", strlen("pagecache")));
    g_assert_false(shows(sent, DISK_PATH, strlen(DISK_PATH)));
    g_assert_false(shows(sent, t->ram + PRIVATE_START, 64));
    pct_proxy_free(p);
    pct_free(t);
}

/* --- who knows the secret --- */

/* A page of the cache, and the block that it is said to be */
#define VICTIM  100

/*
 * A migration that goes on until it is let go by the answer that is kept from
 * the source here.  Its secret; g_byte_array_unref() it
 */
static GByteArray *begin(PcTest *t, PctProxy **p)
{
    GByteArray *start, *secret = g_byte_array_new();

    migrate_set_capability(t->src, "return-path", true);
    migrate_set_capability(t->dst, "return-path", true);
    migrate_set_capability(t->src, "switchover-ack", true);
    migrate_set_capability(t->dst, "switchover-ack", true);
    /* so it believes that all could be sent at once, and looks at the log */
    migrate_set_parameter_int(t->src, "downtime-limit", 2000 * 1000);
    pct_incoming(t);
    *p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_swallow(*p, RP_SWITCHOVER_ACK);
    pct_migrate_slowly(t);
    while (!(start = pct_proxy_start_body(*p))) {
        g_usleep(1000);
    }
    g_byte_array_append(secret, start->data + START_SECRET,
                        lduw_be_p(start->data + START_SECRET_LEN));
    g_byte_array_unref(start);
    return secret;
}

/*
 * The page, and the block that it is said to be: of one digest by XXH3 with
 * @secret
 */
static void plant(PcTest *t, const GByteArray *secret, uint8_t *block)
{
    uint8_t page[PAGE];
    int fd = open(t->disk, O_WRONLY);

    memcpy(page, t->ram + pct_cache_addr(VICTIM), PAGE);
    memcpy(block, page, PAGE);
    g_assert_true(collision_make(secret->data, secret->len, page, block));
    g_assert_cmpint(memcmp(page, block, PAGE), !=, 0);
    pct_write(t, pct_cache_addr(VICTIM), page, PAGE);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, block, PAGE, pct_cache_sector(VICTIM) * 512),
                    ==, PAGE);
    close(fd);
}

/* The page's write has been seen; now it is hinted, with all others. */
static void offer(PcTest *t)
{
    int64_t syncs = read_ram_property_int(t->src, "dirty-sync-count");

    while (read_ram_property_int(t->src, "dirty-sync-count") < syncs + 2) {
        g_usleep(1000);
    }
    pct_hint_cache(t);
    pct_wait_figure(t->src, "reported-pages", CACHE_PAGES);
}

static void let_go(PcTest *t, PctProxy *p)
{
    pct_full_speed(t);
    pct_proxy_inject(p, RP_SWITCHOVER_ACK, NULL, 0);
    pct_wait_complete(t);
    pct_check_memory(t, t->src);
    pct_check_figures(t);
}

/* The victim was found to differ, and all memory is right. */
static void check_found(PcTest *t, PctProxy *p)
{
    pct_wait_figure(t->src, "mismatched-pages", 1);
    let_go(t, p);
    pct_check_memory(t, t->dst);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 1);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES - 1);
}

/*
 * A known gap, so that nobody believes it is none: a wrong page.  There must
 * be somebody who reads the channel, and writes a page of the guest's and a
 * block of its disk.
 */
static void test_collision(void)
{
    PcTest *t = pct_new_pair();
    g_autoptr(GByteArray) secret = NULL;
    uint8_t block[PAGE], arrived[PAGE];
    uint64_t wrong;
    PctProxy *p;

    secret = begin(t, &p);
    plant(t, secret, block);
    offer(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    let_go(t, p);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);

    wrong = pct_first_wrong(t, t->dst);
    g_assert_cmphex(wrong / PAGE, ==, pct_cache_addr(VICTIM) / PAGE);
    qtest_bufread(t->dst, pct_cache_addr(VICTIM), arrived, PAGE);
    g_assert_cmpint(memcmp(arrived, block, PAGE), ==, 0);
    memcpy(t->ram + pct_cache_addr(VICTIM), block, PAGE);
    pct_check_memory(t, t->dst);        /* no other */
    pct_proxy_free(p);
    pct_free(t);
}

/* With SHA-256 the same two contents are told apart. */
static void test_collision_sha256(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-digest=sha256", disk);
    g_autoptr(GByteArray) secret = NULL;
    uint8_t block[PAGE];
    PctProxy *p;

    pct_start_src(t, args);
    pct_start_dst(t, NULL);
    pct_on(t);
    secret = begin(t, &p);
    plant(t, secret, block);
    offer(t);
    check_found(t, p);
    pct_proxy_free(p);
    pct_free(t);
}

/* The secret of the last migration is worth nothing in the next. */
static void test_collision_old_secret(void)
{
    PcTest *t = pct_new_pair();
    g_autoptr(GByteArray) secret = NULL, next = NULL;
    uint8_t block[PAGE];
    PctProxy *p;

    secret = begin(t, &p);
    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
    pct_wait_running(t->src);
    pct_proxy_free(p);
    qtest_quit(t->dst);
    pct_start_dst(t, NULL);
    pct_on(t);

    plant(t, secret, block);
    next = begin(t, &p);
    g_assert_cmpuint(next->len, ==, secret->len);
    g_assert_cmpint(memcmp(next->data, secret->data, next->len), !=, 0);
    offer(t);
    check_found(t, p);
    pct_proxy_free(p);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/channel/tls", test_tls);
    qtest_add_func("/pagecache/channel/tls-new-keys", test_tls_new_keys);
    qtest_add_func("/pagecache/channel/tls-multifd", test_tls_multifd);
    qtest_add_func("/pagecache/channel/tls-other-key", test_tls_other_key);
    qtest_add_func("/pagecache/secret/control/plain-shows-it",
                   test_plain_shows);
    qtest_add_func("/pagecache/secret/tls-hides-it", test_tls_hides);
    qtest_add_func("/pagecache/secret/collision", test_collision);
    qtest_add_func("/pagecache/secret/collision-sha256",
                   test_collision_sha256);
    qtest_add_func("/pagecache/secret/collision-old-secret",
                   test_collision_old_secret);
    return g_test_run();
}
