/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: disks on NBD
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Servers are another QEMU, and nbdkit for what a QEMU does not do.  The guest's
 * own connections, at the source and at the destination, are the server's first
 * two clients; the reader comes after them.  How a session of the reader's gets
 * on with all kinds of servers is in tests/unit/test-pagecache-reader-nbd.c.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "../unit/test-pagecache-nbdkit.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-lib.h"
#include "pagecache-test-relay.h"

/* What QEMU does at once, it does within this time even here */
#define PROMPT_US       (5 * G_USEC_PER_SEC)

#define DEVICE  " -device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5 "
#define DEADLINE "-global migration.pagecache-read-deadline="

/* --- servers --- */

/* A QEMU that serves the test's image as "image" at @path to @clients (0: all) */
static QTestState *serve(PcTest *t, const char *path, int clients)
{
    g_autofree char *args = g_strdup_printf(
        "-blockdev file,node-name=image,filename=%s", t->disk);
    QTestState *server = pct_start(t, args);

    qtest_qmp_assert_success(server, "{ 'execute': 'nbd-server-start',"
                             "  'arguments': { 'addr': { 'type': 'unix',"
                             "    'data': { 'path': %s } },"
                             "    'max-connections': %d } }", path, clients);
    qtest_qmp_assert_success(server, "{ 'execute': 'block-export-add',"
                             "  'arguments': { 'type': 'nbd', 'id': 'e0',"
                             "    'node-name': 'image', 'name': 'image' } }");
    return server;
}

static char *unix_args(const char *path)
{
    return g_strdup_printf(
        "-blockdev nbd,node-name=disk0,server.type=unix,server.path=%s,"
        "export=image,read-only=on" DEVICE, path);
}

static char *tcp_args(int port)
{
    return g_strdup_printf(
        "-blockdev raw,node-name=disk0,read-only=on,file.driver=nbd,"
        "file.server.type=inet,file.server.host=127.0.0.1,"
        "file.server.port=%d" DEVICE, port);
}

static void free_with(PcTest *t, QTestState *server)
{
    /* the guests' disks before their server */
    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    if (server) {
        qtest_quit(server);
    }
    pct_free(t);
}

static Nbdkit kit;

/*
 * nbdkit with @options, the test's image and @parameters for filters; NULL:
 * skipped
 */
static PcTest *new_with_nbdkit(const char *options, const char *parameters,
                               bool tcp)
{
    PcTest *t;

    if (!nbdkit_available(&kit)) {
        return NULL;
    }
    t = pct_new();
    kit.socket = pct_path(t, "nbdkit.sock");
    kit.tcp = tcp;
    nbdkit_start(&kit, "%s file %s %s", options, t->disk, parameters);
    return t;
}

static void free_with_nbdkit(PcTest *t)
{
    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    nbdkit_kill(&kit);
    g_clear_pointer(&kit.socket, g_free);
    pct_free(t);
}

/* --- the destination lives --- */

static void assert_prompt(QTestState *who)
{
    gint64 begin = g_get_monotonic_time();

    qtest_qmp_assert_success(who, "{ 'execute': 'query-named-block-nodes' }");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-add',"
                             "  'arguments': { 'driver': 'null-co',"
                             "    'node-name': 'other' } }");
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': 'other' } }");
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
}

/* Nothing was read, and the disk says why; all else is as without us. */
static void finish_unread(PcTest *t, const char *error)
{
    QDict *disk;

    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 0);
    disk = pct_disk_info(t->dst);
    pct_assert_contains(qdict_get_try_str(disk, "error"), error);
    g_assert_cmpint(qdict_get_int(disk, "bytes-read"), ==, 0);
    qobject_unref(disk);
    assert_prompt(t->dst);
}

/*
 * A server that lets two clients in: the third is connected by the kernel, and
 * never hears a word.
 */
static void test_two_clients(void)
{
    PcTest *t = pct_new();
    g_autofree char *path = pct_path(t, "nbd.sock");
    g_autofree char *src = unix_args(path);
    g_autofree char *dst = g_strconcat(src, DEADLINE "1000", NULL);
    QTestState *server = serve(t, path, 2);

    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "offered-pages", 1);
    assert_prompt(t->dst);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    finish_unread(t, "no answer in time");
    free_with(t, server);
}

/* One that hangs up on the third */
static void test_limit(void)
{
    PcTest *t = new_with_nbdkit("--filter=limit", "limit=2", true);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    args = tcp_args(kit.port);
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", CACHE_PAGES);
    assert_prompt(t->dst);
    finish_unread(t, "negotiation: ");
    free_with_nbdkit(t);
}

/* --- a server that lets us in --- */

static void check_read(PcTest *t, const char *args)
{
    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_refill_cache(t);
    pct_check_read_by(t, "nbd");
}

static void test_unix(void)
{
    PcTest *t = pct_new();
    g_autofree char *path = pct_path(t, "nbd.sock");
    g_autofree char *args = unix_args(path);
    QTestState *server = serve(t, path, 0);

    check_read(t, args);
    free_with(t, server);
}

/* As people type it */
static void test_url(void)
{
    PcTest *t = pct_new();
    g_autofree char *path = pct_path(t, "nbd.sock");
    g_autofree char *args = g_strdup_printf(
        "-drive if=none,id=disk0,format=raw,readonly=on,"
        "file=nbd+unix:///image?socket=%s" DEVICE, path);
    QTestState *server = serve(t, path, 0);

    check_read(t, args);
    free_with(t, server);
}

static void test_tcp(void)
{
    PcTest *t = new_with_nbdkit("", "", true);
    g_autofree char *args = NULL;

    if (!t) {
        return;
    }
    args = tcp_args(kit.port);
    check_read(t, args);
    free_with_nbdkit(t);
}

/* --- TLS --- */

#define KEYS "anna:0123456789abcdef0123456789abcdef\n"

static void test_psk(void)
{
    PcTest *t;
    g_autofree char *keys = NULL, *args = NULL, *options = NULL;
    g_autofree char *server_keys = g_strdup("/tmp/pagecache-psk-XXXXXX");
    int fd = g_mkstemp(server_keys);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    g_assert_true(g_file_set_contents(server_keys, KEYS, -1, NULL));
    options = g_strdup_printf("--tls=require --tls-psk=%s", server_keys);
    t = new_with_nbdkit(options, "", false);
    if (t) {
        keys = pct_path(t, "keys.psk");
        g_assert_true(g_file_set_contents(keys, KEYS, -1, NULL));
        args = g_strdup_printf(
            "-object tls-creds-psk,id=tls0,endpoint=client,dir=%s,"
            "username=anna "
            "-blockdev nbd,node-name=disk0,server.type=unix,server.path=%s,"
            "tls-creds=tls0,read-only=on" DEVICE, t->dir, kit.socket);
        check_read(t, args);
        free_with_nbdkit(t);
    }
    unlink(server_keys);
}

/* Certificates for 127.0.0.1 at @dir; false: skipped */
static bool make_certificates(const char *dir)
{
    static const char make[] =
        "set -e; cd '%s'; new='openssl req -x509 -newkey ec -nodes -days 3650 "
        "-pkeyopt ec_paramgen_curve:P-256'; "
        "$new -subj /CN=authority -keyout ca-key.pem -out ca-cert.pem; "
        "for who in server client; do "
        "$new -subj /CN=$who -CA ca-cert.pem -CAkey ca-key.pem "
        "-addext basicConstraints=critical,CA:FALSE "
        "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
        "-keyout $who-key.pem -out $who-cert.pem; done";
    g_autofree char *script = g_strdup_printf(make, dir);
    const char *argv[] = { "sh", "-c", script, NULL };
    g_autofree char *openssl = g_find_program_in_path("openssl");
    int status;

    if (!openssl) {
        g_test_skip("openssl is not installed");
        return false;
    }
    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                               G_SPAWN_SEARCH_PATH |
                               G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, NULL,
                               NULL, &status, NULL));
    g_assert_cmpint(status, ==, 0);
    return true;
}

static void remove_certificates(const char *dir)
{
    static const char *const names[] = {
        "ca-key.pem", "ca-cert.pem", "server-key.pem", "server-cert.pem",
        "client-key.pem", "client-cert.pem",
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(names); i++) {
        g_autofree char *path = g_build_filename(dir, names[i], NULL);

        unlink(path);
    }
    rmdir(dir);
}

typedef struct Tls {
    const char *name;
    bool tcp;
    const char *creds, *node;   /* options */
    const char *error;          /* why libnbd can't do it; NULL: it can */
} Tls;

static const Tls tls[] = {
    { "x509", true, "", "", NULL },
    { "no-verify", false, ",verify-peer=off", "", NULL },
    { "unix", false, "", ",tls-hostname=localhost",
      "libnbd can't verify the certificate of a server on a UNIX socket" },
    { "hostname", true, "", ",tls-hostname=localhost",
      "libnbd can't verify that the certificate of server '127.0.0.1' is for "
      "'localhost'" },
    { "priority", true, ",priority=NORMAL", "",
      "the TLS credentials 'tls0' have a priority" },
};

static void test_x509(const void *opaque)
{
    const Tls *x = opaque;
    g_autofree char *dir = g_strdup("/tmp/pagecache-tls-XXXXXX");
    g_autofree char *options = NULL, *args = NULL, *server = NULL;
    QDict *disk;
    PcTest *t;

    g_assert_nonnull(g_mkdtemp(dir));
    options = g_strdup_printf("--tls=require --tls-verify-peer "
                              "--tls-certificates=%s", dir);
    t = make_certificates(dir) ? new_with_nbdkit(options, "", x->tcp) :
        NULL;
    if (t) {
        server = x->tcp ?
            g_strdup_printf("server.type=inet,server.host=127.0.0.1,"
                            "server.port=%d", kit.port) :
            g_strdup_printf("server.type=unix,server.path=%s", kit.socket);
        args = g_strdup_printf(
            "-object tls-creds-x509,id=tls0,endpoint=client,dir=%s%s "
            "-blockdev nbd,node-name=disk0,%s,tls-creds=tls0,read-only=on%s"
            DEVICE, dir, x->creds, server, x->node);
        if (!x->error) {
            check_read(t, args);
        } else {
            pct_start_src(t, args);
            pct_start_dst(t, args);
            pct_on(t);
            pct_hint_cache(t);
            pct_incoming(t);
            pct_migrate(t);
            pct_wait_complete(t);
            pct_check_memory(t, t->dst);
            disk = pct_disk_info(t->dst);
            g_assert_cmpstr(qdict_get_str(disk, "status"), ==, "none");
            pct_assert_contains(qdict_get_str(disk, "error"), x->error);
            qobject_unref(disk);
        }
        free_with_nbdkit(t);
    }
    remove_certificates(dir);
}

/* --- it hangs --- */

/* In the middle of its reads: the guest's connection is the relay's first. */
static void test_hangs(void)
{
    PcTest *t = new_with_nbdkit("", "", true);
    g_autofree char *src = NULL, *disk = NULL, *dst = NULL;
    PctRelay relay;

    if (!t) {
        return;
    }
    pct_relay_start(&relay, kit.port);
    src = tcp_args(kit.port);
    disk = tcp_args(relay.port);
    dst = g_strdup_printf("%s" DEADLINE "300 -global "
                          "migration.pagecache-bandwidth=1M", disk);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    g_assert_cmpuint(pct_relay_connections(&relay), ==, 1);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    pct_relay_hang(&relay, 1);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    assert_prompt(t->dst);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), <, CACHE_PAGES);
    assert_prompt(t->dst);
    free_with_nbdkit(t);
    pct_relay_stop(&relay);
}

/* The content of the guest's disk as its own node at the destination reads it */
static char *read_own_node(PcTest *t)
{
    g_autofree char *path = pct_path(t, "export.sock");
    g_autofree char *copy = pct_path(t, "copy");
    g_autofree char *command = NULL;
    char *content;
    int status;
    gsize len;

    qtest_qmp_assert_success(t->dst, "{ 'execute': 'nbd-server-start',"
                             "  'arguments': { 'addr': { 'type': 'unix',"
                             "    'data': { 'path': %s } } } }", path);
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'block-export-add',"
                             "  'arguments': { 'type': 'nbd', 'id': 'own',"
                             "    'node-name': 'disk0', 'name': 'own' } }");
    command = g_strdup_printf("%s convert -f raw -O raw "
                              "nbd+unix:///own?socket=%s %s",
                              getenv("QTEST_QEMU_IMG"), path, copy);
    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, &status,
                                            NULL));
    g_assert_cmpint(status, ==, 0);
    g_assert_true(g_file_get_contents(copy, &content, &len, NULL));
    g_assert_cmpuint(len, ==, DISK_SIZE);
    return content;
}

/*
 * Reads are under way when the guest, at the source, overwrites its disk, and
 * their answers come when it has gone on at the destination: it reads what it
 * wrote.
 */
static void test_late(void)
{
    PcTest *t = have_qemu_img() ? new_with_nbdkit("", "", true) : NULL;
    g_autofree char *src = NULL, *disk = NULL, *dst = NULL, *content = NULL;
    PctRelay relay;
    size_t i;
    int fd;

    if (!have_qemu_img()) {
        g_test_skip("QTEST_QEMU_IMG not set or qemu-img missing");
    }
    if (!t) {
        return;
    }
    pct_relay_start(&relay, kit.port);
    src = tcp_args(kit.port);
    disk = tcp_args(relay.port);
    dst = g_strconcat(disk, DEADLINE "600000", NULL);
    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_hint_cache_part(t, 0, 16);
    pct_wait_figure(t->src, "proven-pages", 16);
    pct_relay_hang(&relay, 1);
    pct_hint_cache_part(t, 16, CACHE_PAGES - 16);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES - 16);
    for (i = 0; i < DISK_SIZE; i++) {
        t->disk_data[i] ^= 0xff;
    }
    /* in place: the server has the file open */
    fd = open(t->disk, O_WRONLY);
    g_assert_cmpint(pwrite(fd, t->disk_data, DISK_SIZE, 0), ==, DISK_SIZE);
    close(fd);
    pct_finish(t);
    pct_relay_hang(&relay, PCT_RELAY_NEVER);
    content = read_own_node(t);
    g_assert_cmpint(memcmp(content, t->disk_data, DISK_SIZE), ==, 0);
    free_with_nbdkit(t);
    pct_relay_stop(&relay);
}

/* Mute, and the migration is cancelled, or the destination quits. */
static void test_mute_ends(const void *quit)
{
    PcTest *t = pct_new();
    g_autofree char *path = pct_path(t, "nbd.sock");
    g_autofree char *src = unix_args(path);
    g_autofree char *dst = g_strconcat(src, DEADLINE "600000", NULL);
    QTestState *server = serve(t, path, 2);
    gint64 begin;

    pct_start_src(t, src);
    pct_start_dst(t, dst);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    begin = g_get_monotonic_time();
    if (quit) {
        qtest_quit(t->dst);
        t->dst = NULL;
        pct_wait_failed(t->src);
    } else {
        migrate_cancel(t->src);
        wait_for_migration_cancelled(t->src);
        pct_wait_failed(t->dst);
    }
    g_assert_cmpint(g_get_monotonic_time() - begin, <, PROMPT_US);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    if (!t->dst) {
        /* for free_with() */
        t->dst = pct_start(t, NULL);
    }
    free_with(t, server);
}

int main(int argc, char **argv)
{
    int i, ret;

    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/nbd/unix", test_unix);
    qtest_add_func("/pagecache/nbd/url", test_url);
    qtest_add_func("/pagecache/nbd/tcp", test_tcp);
    qtest_add_func("/pagecache/nbd/two-clients", test_two_clients);
    qtest_add_func("/pagecache/nbd/limit", test_limit);
    qtest_add_func("/pagecache/nbd/hangs", test_hangs);
    qtest_add_func("/pagecache/nbd/late", test_late);
    qtest_add_data_func("/pagecache/nbd/mute/cancel", NULL, test_mute_ends);
    qtest_add_data_func("/pagecache/nbd/mute/quit", "quit", test_mute_ends);
    qtest_add_func("/pagecache/nbd/tls/psk", test_psk);
    for (i = 0; i < ARRAY_SIZE(tls); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/nbd/tls/%s",
                                                tls[i].name);

        qtest_add_data_func(path, &tls[i], test_x509);
    }
    ret = g_test_run();
    g_free(kit.program);
    return ret;
}
