/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the skip-pagecache reader's engine for NBD against a real server:
 * nbdkit, with its filters for what a server may do.  Without nbdkit the tests
 * are skipped.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <libnbd.h>
#include "qemu/pagecache-budget.h"
#include "qemu/pagecache-fault.h"
#include "test-pagecache-reader-lib.h"
#include "test-pagecache-nbdkit.h"

#define DISK (16 * MiB)

static Nbdkit kit;
static char *dir, *disk;

/* --- Helpers ------------------------------------------------------------- */

static PagecacheReaderSpec *nbd_spec(void)
{
    PagecacheReaderSpec *spec;

    spec = pagecache_reader_spec_alloc(pagecache_reader_nbd_ops);
    spec->name = g_strdup("nbd");
    spec->u.nbd.export = g_strdup("");
    if (kit.tcp) {
        spec->u.nbd.host = g_strdup("127.0.0.1");
        spec->u.nbd.port = g_strdup_printf("%d", kit.port);
    } else {
        spec->u.nbd.path = g_strdup(kit.socket);
    }
    return spec;
}

static void submit(PagecacheReader *r, Sink *s, uint64_t sector, unsigned n)
{
    PagecacheRun run = sink_run(s, sector, n);

    pagecache_reader_submit(r, &run, 1);
}

/* @n pages at random places of a disk of @size bytes, a page aligned each */
static void submit_random(PagecacheReader *r, Sink *s, uint64_t size,
                          unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        submit(r, s, (uint64_t)g_test_rand_int_range(0, size / PAGE) *
               (PAGE / SECTOR), 1);
    }
}

static void expect_good(Sink *s)
{
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), ==, s->npages);
}

/* All pages of @spec's disk come back right; the sessions that were up */
static unsigned check_reads(PagecacheReaderSpec *spec)
{
    uint64_t size = spec->size ?: DISK;
    Sink *s = sink_new(20000, spec->offset);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r = pagecache_reader_open(spec, &config);
    PagecacheReaderStats stats;

    submit_random(r, s, size, 5000);
    expect_good(s);
    submit(r, s, 0, size / PAGE);
    expect_good(s);
    submit(r, s, size / SECTOR - 8, 1);
    expect_good(s);
    submit(r, s, size / SECTOR - 7, 1);
    g_assert(sink_wait(s, s->npages, 5000));
    assert_ret(s, s->npages - 1, 1, -EINVAL);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpstr(stats.engine, ==, "nbd");
    g_assert_cmpint(stats.state, ==, PAGECACHE_READER_READY);
    g_assert_cmpuint(stats.errors, ==, 0);
    g_assert_cmpuint(stats.sessions, >=, 1);
    g_free(stats.last_error);
    close_and_check(r, s);
    return stats.sessions;
}

/* The disk is given up for this reason, soon. */
static void expect_refused(PagecacheReaderSpec *spec, const char *text)
{
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    /* it is not the deadline which gives the pages back */
    config.deadline_ms = 60000;
    r = pagecache_reader_open(spec, &config);
    submit(r, s, 0, 50);
    g_assert(wait_state(r, PAGECACHE_READER_FAILED, 30000));
    assert_error(r, text);
    g_assert(sink_wait(s, 50, 5000));
    assert_ret(s, 0, 50, -EIO);
    close_and_check(r, s);
}

/* --- Reading ------------------------------------------------------------- */

static void test_unix(void)
{
    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "file %s", disk);
    check_reads(nbd_spec());
    nbdkit_kill(&kit);
}

static void test_tcp(void)
{
    PagecacheReaderSpec *spec;

    if (!nbdkit_available(&kit)) {
        return;
    }
    kit.tcp = true;
    nbdkit_start(&kit, "file %s", disk);
    check_reads(nbd_spec());
    /* a name, which may stand for another address at first */
    spec = nbd_spec();
    g_free(spec->u.nbd.host);
    spec->u.nbd.host = g_strdup("localhost");
    check_reads(spec);
    nbdkit_kill(&kit);
    kit.tcp = false;
}

/* The guest's disk is a part of the export. */
static void test_part(void)
{
    PagecacheReaderSpec *spec;

    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "file %s", disk);
    spec = nbd_spec();
    spec->offset = 1 * MiB - 512;
    spec->size = 8 * MiB;
    check_reads(spec);
    spec = nbd_spec();
    spec->offset = DISK / 2;
    spec->size = DISK;
    expect_refused(spec, "16777216 bytes are there, expected 25165824 or more");
    nbdkit_kill(&kit);
}

static void test_export(void)
{
    PagecacheReaderSpec *spec;

    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "--filter=exportname file %s exportname='a disk' "
                 "exportname-strict=true", disk);
    spec = nbd_spec();
    g_free(spec->u.nbd.export);
    spec->u.nbd.export = g_strdup("a disk");
    check_reads(spec);
    spec = nbd_spec();
    g_free(spec->u.nbd.export);
    spec->u.nbd.export = g_strdup("no disk");
    expect_refused(spec, "negotiation: ");
    nbdkit_kill(&kit);
}

/* Old and new replies, blocks of several sizes, short reads only */
static void test_server(const void *options)
{
    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "%s file %s", (const char *)options, disk);
    check_reads(nbd_spec());
    nbdkit_kill(&kit);
}

static void test_blocks(const void *sizes)
{
    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "--filter=blocksize-policy file %s %s "
                 "blocksize-error-policy=error", disk, (const char *)sizes);
    check_reads(nbd_spec());
    nbdkit_kill(&kit);
}

/* Smaller than a page and two blocks: then nothing could be read */
static void test_blocks_useless(void)
{
    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "--filter=blocksize-policy file %s "
                 "blocksize-minimum=512 blocksize-maximum=4K "
                 "blocksize-preferred=4K", disk);
    expect_refused(nbd_spec(), "takes reads of up to 4096 bytes, expected "
                   "5120 or more");
    nbdkit_kill(&kit);
}

/* As many connections as the server says */
static void test_multi_conn(void)
{
    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "--filter=multi-conn file %s multi-conn-mode=disable",
                 disk);
    g_assert_cmpuint(check_reads(nbd_spec()), ==, 1);
    nbdkit_kill(&kit);
    /* a read-only file: it may have several */
    nbdkit_start(&kit, "file %s", disk);
    g_assert_cmpuint(check_reads(nbd_spec()), ==, 2);
    nbdkit_kill(&kit);
}

/* --- Clients that are not let in ----------------------------------------- */

/* The guest's own connection */
static struct nbd_handle *guest_new(void)
{
    struct nbd_handle *guest = nbd_create();

    g_assert_nonnull(guest);
    g_assert_cmpint(nbd_connect_unix(guest, kit.socket), ==, 0);
    return guest;
}

/* The guest is in, and we are one too many. */
static void test_limit(void)
{
    struct nbd_handle *guest;

    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "--filter=limit file %s limit=1", disk);
    guest = guest_new();
    expect_refused(nbd_spec(), "negotiation: ");
    nbd_close(guest);
    nbdkit_kill(&kit);
}

/* One of our two is let in, and reads; the other leaves the server alone. */
static void test_limit_second(void)
{
    Sink *s = sink_new(30000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;
    struct nbd_handle *guest;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    nbdkit_start(&kit, "--filter=limit file %s limit=2", disk);
    guest = guest_new();
    r = pagecache_reader_open(nbd_spec(), &config);
    submit_random(r, s, DISK, 10000);
    expect_good(s);
    /* three times refused, it has gone */
    g_usleep(3500 * 1000);
    submit_random(r, s, DISK, 10000);
    expect_good(s);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.sessions, ==, 1);
    g_assert_cmpuint(stats.errors, ==, 0);
    g_free(stats.last_error);
    close_and_check(r, s);
    nbd_close(guest);
    nbdkit_kill(&kit);
}

/* --- TLS ----------------------------------------------------------------- */

static void run(const char *format, ...) G_GNUC_PRINTF(1, 2);
static void run(const char *format, ...)
{
    g_autofree char *command = NULL, *out = NULL, *err = NULL;
    int status;
    va_list ap;

    va_start(ap, format);
    command = g_strdup_vprintf(format, ap);
    va_end(ap);
    g_assert(g_spawn_command_line_sync(command, &out, &err, &status, NULL));
    if (status) {
        g_error("%s: %s", command, err);
    }
}

/* An authority at @to, with a server's and a client's certificate by it */
static void make_certificates(const char *to)
{
    static const char *const whose[] = { "server", "client" };
    int i;

    g_assert_cmpint(g_mkdir(to, 0700), ==, 0);
    run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes "
        "-days 3650 -subj /CN=authority -keyout %s/ca-key.pem "
        "-out %s/ca-cert.pem", to, to);
    for (i = 0; i < 2; i++) {
        run("openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 "
            "-nodes -days 3650 -subj /CN=%s -CA %s/ca-cert.pem "
            "-CAkey %s/ca-key.pem -addext basicConstraints=critical,CA:FALSE "
            "-addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
            "-keyout %s/%s-key.pem -out %s/%s-cert.pem", whose[i], to, to, to,
            whose[i], to, whose[i]);
    }
}

static void remove_dir(const char *path)
{
    GDir *d = g_dir_open(path, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *file = g_build_filename(path, name, NULL);

        g_assert_cmpint(unlink(file), ==, 0);
    }
    g_dir_close(d);
    g_assert_cmpint(rmdir(path), ==, 0);
}

static bool tls_available(void)
{
    g_autofree char *openssl = g_find_program_in_path("openssl");

    if (!openssl) {
        g_test_skip("openssl is not installed");
        return false;
    }
    return nbdkit_available(&kit);
}

static PagecacheReaderSpec *x509_spec(const char *host, const char *tls_dir)
{
    PagecacheReaderSpec *spec = nbd_spec();

    g_free(spec->u.nbd.host);
    spec->u.nbd.host = g_strdup(host);
    spec->u.nbd.tls = PAGECACHE_NBD_X509;
    spec->u.nbd.tls_dir = g_strdup(tls_dir);
    spec->u.nbd.tls_verify = true;
    return spec;
}

static void test_x509(void)
{
    g_autofree char *ours = g_build_filename(dir, "ours", NULL);
    g_autofree char *other = g_build_filename(dir, "other", NULL);
    g_autofree char *ca = g_build_filename(ours, "ca-cert.pem", NULL);
    PagecacheReaderSpec *spec;

    if (!tls_available()) {
        return;
    }
    make_certificates(ours);
    make_certificates(other);
    kit.tcp = true;
    nbdkit_start(&kit, "--tls=require --tls-certificates=%s --tls-verify-peer "
                 "file %s", ours, disk);
    check_reads(x509_spec("localhost", ours));
    check_reads(x509_spec("127.0.0.1", ours));
    /* the certificate is for nobody of this name, which leads there, too */
    expect_refused(x509_spec("127.1", ours), "negotiation: ");
    /* another authority */
    expect_refused(x509_spec("localhost", other), "negotiation: ");
    /* without TLS */
    expect_refused(nbd_spec(), "negotiation: ");
    /* nobody verifies anything without this file, if it is libnbd's choice */
    g_assert_cmpint(unlink(ca), ==, 0);
    spec = x509_spec("localhost", ours);
    expect_refused(spec, "ca-cert.pem: No such file or directory");
    nbdkit_kill(&kit);
    kit.tcp = false;
    remove_dir(ours);
    remove_dir(other);
}

/* A server without TLS, when TLS is wanted */
static void test_tls_none(void)
{
    g_autofree char *ours = g_build_filename(dir, "ours", NULL);

    if (!tls_available()) {
        return;
    }
    make_certificates(ours);
    kit.tcp = true;
    nbdkit_start(&kit, "--tls=off file %s", disk);
    expect_refused(x509_spec("localhost", ours), "negotiation: ");
    nbdkit_kill(&kit);
    kit.tcp = false;
    remove_dir(ours);
}

static void test_psk(void)
{
    static const char *const users[] = { "anna", "bert", "none" };
    g_autofree char *keys = g_build_filename(dir, "keys.psk", NULL);
    g_autofree char *server = g_build_filename(dir, "server.psk", NULL);
    int i;

    if (!nbdkit_available(&kit)) {
        return;
    }
    g_assert(g_file_set_contents(server, "anna:0123456789abcdef\n"
                                 "bert:fedcba9876543210\n", -1, NULL));
    g_assert(g_file_set_contents(keys, "anna:0123456789abcdef\n"
                                 "bert:0123456789abcdef\n", -1, NULL));
    nbdkit_start(&kit, "--tls=require --tls-psk=%s file %s", server, disk);
    for (i = 0; i < G_N_ELEMENTS(users); i++) {
        PagecacheReaderSpec *spec = nbd_spec();

        spec->u.nbd.tls = PAGECACHE_NBD_PSK;
        spec->u.nbd.tls_dir = g_strdup(dir);
        spec->u.nbd.tls_user = g_strdup(users[i]);
        if (i == 0) {
            check_reads(spec);
        } else {
            expect_refused(spec, i == 1 ? "negotiation: " :
                           "username none was not found");
        }
    }
    nbdkit_kill(&kit);
    unlink(keys);
    unlink(server);
}

/* --- Trouble ------------------------------------------------------------- */

/* Some reads fail: their pages come back so, and no others. */
static void test_errors(void)
{
    Sink *s = sink_new(30000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    nbdkit_start(&kit, "--filter=error file %s error-pread=EIO "
                 "error-pread-rate=20%%", disk);
    config.max_failures = 100000;
    config.max_read = PAGE;
    r = pagecache_reader_open(nbd_spec(), &config);
    submit_random(r, s, DISK, 3000);
    g_assert(sink_wait(s, 3000, 30000));
    g_assert_cmpuint(sink_good(s), >, 1000);
    g_assert_cmpuint(sink_good(s), <, 3000);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.errors, >, 0);
    g_assert_nonnull(strstr(stats.last_error, "Input/output error"));
    g_assert_cmpint(stats.state, ==, PAGECACHE_READER_READY);
    g_free(stats.last_error);
    close_and_check(r, s);
    nbdkit_kill(&kit);
}

/* All of them do: the disk is given up. */
static void test_errors_only(void)
{
    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "--filter=error file %s error-pread=EIO "
                 "error-pread-rate=1", disk);
    {
        Sink *s = sink_new(2000, 0);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReader *r;

        config.max_read = PAGE;
        r = pagecache_reader_open(nbd_spec(), &config);
        submit_random(r, s, DISK, 2000);
        g_assert(sink_wait(s, 2000, 30000));
        g_assert_cmpuint(sink_good(s), ==, 0);
        g_assert(wait_state(r, PAGECACHE_READER_FAILED, 10000));
        assert_error(r, "reads failed in a row");
        close_and_check(r, s);
    }
    nbdkit_kill(&kit);
}

/* The server dies under load and comes back later. */
static void test_killed(void)
{
    Sink *s = sink_new(300000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;
    unsigned before;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    nbdkit_start(&kit, "file %s", disk);
    config.max_failures = 1000;
    config.deadline_ms = 30000;
    r = pagecache_reader_open(nbd_spec(), &config);
    submit_random(r, s, DISK, 1000);
    expect_good(s);
    submit_random(r, s, DISK, 200000);
    g_assert(sink_wait(s, 5000, 30000));
    nbdkit_kill(&kit);
    g_usleep(500 * 1000);
    nbdkit_start(&kit, "file %s", disk);
    g_assert(sink_wait(s, s->npages, 60000));
    before = sink_good(s);
    pagecache_reader_stats(r, &stats);
    /* what was in flight, at most */
    g_assert_cmpuint(stats.errors, <=, 16);
    g_assert_cmpint(stats.state, ==, PAGECACHE_READER_READY);
    g_free(stats.last_error);
    submit_random(r, s, DISK, 1000);
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), ==, before + 1000);
    close_and_check(r, s);
    nbdkit_kill(&kit);
}

/* ... with a smaller disk, or as one that takes one client only */
static void test_comes_back_other(void)
{
    g_autofree char *small = g_build_filename(dir, "small", NULL);
    Sink *s = sink_new(30000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;
    unsigned before;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    pattern_file(small, DISK / 2);
    nbdkit_start(&kit, "file %s", disk);
    config.deadline_ms = 30000;
    r = pagecache_reader_open(nbd_spec(), &config);
    submit_random(r, s, DISK, 1000);
    expect_good(s);
    nbdkit_kill(&kit);
    nbdkit_start(&kit, "--filter=multi-conn file %s multi-conn-mode=disable",
                 small);
    submit_random(r, s, DISK / 2, 1000);
    g_assert(sink_wait(s, s->npages, 30000));
    before = sink_good(s);
    submit(r, s, DISK / SECTOR - 8, 1);
    g_assert(sink_wait(s, s->npages, 30000));
    assert_ret(s, s->npages - 1, 1, -EINVAL);
    submit_random(r, s, DISK / 2, 1000);
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), ==, before + 1000);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.sessions, ==, 1);
    g_free(stats.last_error);
    close_and_check(r, s);
    nbdkit_kill(&kit);
    unlink(small);
}

/* The server hangs for ever: deadline, then the disk is given up. */
static void test_hangs(void)
{
    Sink *s = sink_new(30000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    nbdkit_start(&kit, "file %s", disk);
    config.deadline_ms = 500;
    r = pagecache_reader_open(nbd_spec(), &config);
    submit_random(r, s, DISK, 1000);
    expect_good(s);
    kill(kit.pid, SIGSTOP);
    submit_random(r, s, DISK, 10000);
    g_assert(sink_wait(s, s->npages, 20000));
    g_assert_cmpuint(s->good, ==, 1000);
    submit_random(r, s, DISK, 100);
    g_assert(wait_state(r, PAGECACHE_READER_FAILED, 20000));
    assert_error(r, "negotiation: no answer in time");
    close_and_check(r, s);
    nbdkit_kill(&kit);
}

/* It hangs and is closed in the middle of it. */
static void test_hangs_close(void)
{
    Sink *s = sink_new(300000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    nbdkit_start(&kit, "file %s", disk);
    config.deadline_ms = 100000;
    r = pagecache_reader_open(nbd_spec(), &config);
    submit_random(r, s, DISK, 200000);
    g_assert(sink_wait(s, 5000, 30000));
    kill(kit.pid, SIGSTOP);
    g_usleep(100 * 1000);
    close_and_check(r, s);

    /* and while it connects */
    s = sink_new(100, 0);
    config = sink_config(s);
    config.deadline_ms = 100000;
    r = pagecache_reader_open(nbd_spec(), &config);
    submit(r, s, 0, 10);
    g_usleep(200 * 1000);
    close_and_check(r, s);
    nbdkit_kill(&kit);
}

/* It hangs beyond the deadline and then goes on as if nothing had been. */
static void test_hangs_a_while(void)
{
    Sink *s = sink_new(300000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;
    unsigned before;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    /* one thread: with several, nbdkit 1.32 aborts when we leave too soon */
    nbdkit_start(&kit, "--threads=1 file %s", disk);
    config.deadline_ms = 400;
    config.giveup_ms = 60000;
    r = pagecache_reader_open(nbd_spec(), &config);
    submit_random(r, s, DISK, 100000);
    g_assert(sink_wait(s, 5000, 30000));
    kill(kit.pid, SIGSTOP);
    g_usleep(900 * 1000);
    kill(kit.pid, SIGCONT);
    g_assert(sink_wait(s, s->npages, 60000));
    before = sink_good(s);
    g_assert_cmpuint(before, <, 100000);
    while (sink_good(s) == before) {
        g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
        submit_random(r, s, DISK, 100);
        g_assert(sink_wait(s, s->npages, 30000));
    }
    close_and_check(r, s);
    nbdkit_kill(&kit);
}

/* Slow, and closed under load, again and again */
static void test_close(void)
{
    int i;

    if (!nbdkit_available(&kit)) {
        return;
    }
    nbdkit_start(&kit, "--filter=delay file %s rdelay=1ms", disk);
    for (i = 0; i < 30; i++) {
        Sink *s = sink_new(20000, 0);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReader *r;

        config.sessions = 1 + i % 4;
        r = pagecache_reader_open(nbd_spec(), &config);
        submit_random(r, s, DISK, 20000);
        g_usleep(g_test_rand_int_range(0, 60000));
        close_and_check(r, s);
    }
    /* and it has survived that, as the guest's disk must */
    check_reads(nbd_spec());
    nbdkit_kill(&kit);
}

#ifdef CONFIG_PAGECACHE_FAULTS

/* --- Faults on purpose --------------------------------------------------- */

typedef struct Fault {
    PagecacheFault fault;
    const char *settings;
    bool lost;                  /* pages are */
    const char *error;          /* what is told */
} Fault;

static const Fault faults[] = {
    { PAGECACHE_FAULT_DROP_SESSION, "drop-session:every=10:limit=5", true,
      "connection lost" },
    { PAGECACHE_FAULT_REFUSE_LOGIN, "refuse-login:limit=2", false,
      "negotiation: fault on purpose" },
};

static void test_fault(const void *opaque)
{
    const Fault *f = opaque;
    Sink *s = sink_new(60000, 0);
    PagecacheReaderConfig config = sink_config(s);
    g_autofree char *err = NULL;
    uint64_t passed, fired, before;
    PagecacheReader *r;
    unsigned good;

    if (!nbdkit_available(&kit)) {
        sink_free(s);
        return;
    }
    nbdkit_start(&kit, "--threads=1 file %s", disk);
    pagecache_fault_count(f->fault, &passed, &before);
    g_assert(pagecache_faults_arm(f->settings, &err));
    config.deadline_ms = 30000;
    config.max_read = 16 * PAGE;
    r = pagecache_reader_open(nbd_spec(), &config);
    while (s->npages < 20000) {
        submit_random(r, s, DISK, 1000);
        g_assert(sink_wait(s, s->npages, 60000));
    }
    pagecache_fault_count(f->fault, &passed, &fired);
    g_assert_cmpuint(fired, >=, before + 2);
    good = sink_good(s);
    g_assert_cmpuint(good, >, s->npages / 4);
    if (!f->lost) {
        g_assert_cmpuint(good, ==, s->npages);
    }
    assert_error(r, f->error);

    g_assert(pagecache_faults_arm("", &err));
    submit_random(r, s, DISK, 1000);
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), ==, good + 1000);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    close_and_check(r, s);
    nbdkit_kill(&kit);
}

static void add_fault_tests(void)
{
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_autofree char *name = g_strdup_printf(
            "/pagecache-reader-nbd/fault/%s",
            pagecache_fault_name(faults[i].fault));

        g_test_add_data_func(name, &faults[i], test_fault);
    }
}

#else

static void add_fault_tests(void)
{
}

#endif

/* --- The end of the process ---------------------------------------------- */

static PagecacheReader *reader_at_exit;

static uint64_t bytes_read(PagecacheReader *r)
{
    PagecacheReaderStats stats;

    pagecache_reader_stats(r, &stats);
    g_free(stats.last_error);
    return stats.bytes_read;
}

/* The engine's own handler was registered later, so it has run already. */
static void check_exit(void)
{
    uint64_t before = bytes_read(reader_at_exit);

    g_usleep(300 * 1000);
    unlink(disk);
    unlink(kit.socket);
    rmdir(dir);
    _exit(before && bytes_read(reader_at_exit) == before ? 0 : 1);
}

/* Nobody is in the library any more when its destructors run. */
static void test_exit(void)
{
    static PagecacheBudget budget;
    PagecacheReaderConfig config;
    Sink *s;

    if (!nbdkit_available(&kit)) {
        return;
    }
    if (!g_test_subprocess()) {
        g_test_trap_subprocess(NULL, 0, 0);
        g_test_trap_assert_passed();
        return;
    }
    atexit(check_exit);
    nbdkit_start(&kit, "file %s", disk);
    s = sink_new(DISK / PAGE, 0);
    config = sink_config(s);
    pagecache_budget_set_limit(&budget, 4 * MiB);
    config.budget = &budget;
    reader_at_exit = pagecache_reader_open(nbd_spec(), &config);
    submit(reader_at_exit, s, 0, DISK / PAGE);
    g_assert(sink_wait(s, 1, 30000));
    exit(1);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    dir = g_dir_make_tmp("pagecache-nbd-XXXXXX", NULL);
    g_assert_nonnull(dir);
    disk = g_build_filename(dir, "disk", NULL);
    kit.socket = g_build_filename(dir, "socket", NULL);
    pattern_file(disk, DISK);
    g_test_add_func("/pagecache-reader-nbd/unix", test_unix);
    g_test_add_func("/pagecache-reader-nbd/tcp", test_tcp);
    g_test_add_func("/pagecache-reader-nbd/part", test_part);
    g_test_add_func("/pagecache-reader-nbd/export", test_export);
    g_test_add_data_func("/pagecache-reader-nbd/simple-replies", "--no-sr",
                         test_server);
    g_test_add_data_func("/pagecache-reader-nbd/old-style", "--oldstyle",
                         test_server);
    g_test_add_data_func("/pagecache-reader-nbd/out-of-order",
                         "--filter=delay --threads=16", test_server);
    g_test_add_data_func("/pagecache-reader-nbd/blocks/4096",
                         "blocksize-minimum=4K blocksize-preferred=4K "
                         "blocksize-maximum=32M", test_blocks);
    g_test_add_data_func("/pagecache-reader-nbd/blocks/65536",
                         "blocksize-minimum=64K blocksize-preferred=64K "
                         "blocksize-maximum=256K", test_blocks);
    g_test_add_func("/pagecache-reader-nbd/blocks/useless",
                    test_blocks_useless);
    g_test_add_func("/pagecache-reader-nbd/multi-conn", test_multi_conn);
    g_test_add_func("/pagecache-reader-nbd/limit", test_limit);
    g_test_add_func("/pagecache-reader-nbd/limit/second", test_limit_second);
    g_test_add_func("/pagecache-reader-nbd/tls/x509", test_x509);
    g_test_add_func("/pagecache-reader-nbd/tls/none", test_tls_none);
    g_test_add_func("/pagecache-reader-nbd/tls/psk", test_psk);
    g_test_add_func("/pagecache-reader-nbd/errors", test_errors);
    g_test_add_func("/pagecache-reader-nbd/errors/only", test_errors_only);
    g_test_add_func("/pagecache-reader-nbd/killed", test_killed);
    g_test_add_func("/pagecache-reader-nbd/comes-back-other",
                    test_comes_back_other);
    g_test_add_func("/pagecache-reader-nbd/hangs", test_hangs);
    g_test_add_func("/pagecache-reader-nbd/hangs-close", test_hangs_close);
    g_test_add_func("/pagecache-reader-nbd/hangs-a-while",
                    test_hangs_a_while);
    g_test_add_func("/pagecache-reader-nbd/close", test_close);
    g_test_add_func("/pagecache-reader-nbd/exit", test_exit);
    add_fault_tests();
    ret = g_test_run();
    nbdkit_kill(&kit);
    unlink(disk);
    rmdir(dir);
    g_free(kit.program);
    g_free(kit.socket);
    g_free(disk);
    g_free(dir);
    return ret;
}
