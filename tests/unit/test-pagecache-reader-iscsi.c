/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the skip-pagecache reader's engine for iSCSI against a real target:
 * tgtd, started by the test on 127.0.0.1 with a port and a control socket of
 * its own.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qemu/pagecache-fault.h"
#include "test-pagecache-reader-lib.h"
#include "test-pagecache-tgtd.h"

#define DISK        (16 * MiB)
#define INITIATOR   "iqn.2026-01.test:host"

static Tgtd tgt;
static char *dir;

/* --- The reader ---------------------------------------------------------- */

static PagecacheReaderSpec *iscsi_spec(int lun)
{
    PagecacheReaderSpec *spec;

    spec = pagecache_reader_spec_alloc(pagecache_reader_iscsi_ops);
    spec->name = g_strdup("test LUN");
    spec->u.iscsi.portal = g_strdup_printf("127.0.0.1:%d", tgt.port);
    spec->u.iscsi.target = g_strdup(TGTD_TARGET);
    spec->u.iscsi.initiator = g_strdup(INITIATOR);
    spec->u.iscsi.lun = lun;
    return spec;
}

static void submit(PagecacheReader *r, Sink *s, uint64_t sector, unsigned n)
{
    PagecacheRun run = sink_run(s, sector, n);

    pagecache_reader_submit(r, &run, 1);
}

/* Random runs of @pages pages together; @aligned: to 4 KiB on the disk */
static void submit_random(PagecacheReader *r, Sink *s, uint64_t disk,
                          unsigned pages, bool aligned)
{
    g_autoptr(GArray) runs = g_array_new(0, 0, sizeof(PagecacheRun));
    unsigned end = s->npages + pages;

    while (s->npages < end) {
        unsigned n = g_test_rand_int_range(1, 100);
        uint64_t sector;
        PagecacheRun run;

        n = MIN(n, end - s->npages);
        sector = g_test_rand_int_range(0, (disk - n * PAGE) / SECTOR);
        sector -= aligned ? sector % 8 : 0;
        run = sink_run(s, sector, n);
        g_array_append_val(runs, run);
    }
    pagecache_reader_submit(r, (PagecacheRun *)runs->data, runs->len);
}

/* Everything comes back, and well */
static void expect_good(Sink *s)
{
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), ==, s->npages);
}

static void test_read(const void *opaque)
{
    int lun = GPOINTER_TO_INT(opaque);
    static const uint64_t offsets[] = { 0, 3 * SECTOR, 5 * MiB + SECTOR };
    unsigned i;

    if (!tgtd_available(&tgt)) {
        return;
    }
    tgtd_fresh(&tgt);
    for (i = 0; i < G_N_ELEMENTS(offsets); i++) {
        Sink *s = sink_new(20000, offsets[i]);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReaderSpec *spec = iscsi_spec(lun);
        uint64_t size = DISK - offsets[i];
        PagecacheReaderStats stats;
        PagecacheReader *r;

        spec->offset = offsets[i];
        r = pagecache_reader_open(spec, &config);
        /* while it connects, and afterwards */
        submit_random(r, s, size, 5000, false);
        expect_good(s);
        submit_random(r, s, size, 10000, true);
        submit_random(r, s, size, 1000, false);
        submit(r, s, size / SECTOR - 8, 1);
        expect_good(s);
        submit(r, s, size / SECTOR - 7, 1);
        g_assert(sink_wait(s, s->npages, 5000));
        assert_ret(s, s->npages - 1, 1, -EINVAL);
        pagecache_reader_stats(r, &stats);
        g_assert_cmpstr(stats.engine, ==, "iscsi");
        g_assert_cmpint(stats.state, ==, PAGECACHE_READER_READY);
        g_assert_cmpuint(stats.errors, ==, 0);
        g_assert_cmpuint(stats.sessions, >=, 1);
        g_assert_cmpuint(stats.bytes_used, ==, 16001ull * PAGE);
        g_free(stats.last_error);
        close_and_check(r, s);
    }
}

static void test_digest(void)
{
    static const PagecacheHeaderDigest digests[] = {
        PAGECACHE_DIGEST_NONE_CRC32C, PAGECACHE_DIGEST_CRC32C_NONE,
        PAGECACHE_DIGEST_CRC32C, PAGECACHE_DIGEST_NONE,
    };
    unsigned i;

    if (!tgtd_available(&tgt)) {
        return;
    }
    tgtd_fresh(&tgt);
    for (i = 0; i < G_N_ELEMENTS(digests); i++) {
        Sink *s = sink_new(2000, 0);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReaderSpec *spec = iscsi_spec(1);
        PagecacheReader *r;

        spec->u.iscsi.header_digest = digests[i];
        r = pagecache_reader_open(spec, &config);
        submit_random(r, s, DISK, 2000, false);
        expect_good(s);
        close_and_check(r, s);
    }
}

/* The target or the LUN says no: the disk is given up, with the reason */
static void expect_refused(PagecacheReaderSpec *spec, const char *text)
{
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    int64_t start = g_get_monotonic_time();
    PagecacheReader *r;

    config.deadline_ms = 30000;
    r = pagecache_reader_open(spec, &config);
    submit(r, s, 0, 50);
    g_assert(sink_wait(s, 50, 10000));
    g_assert_cmpint(g_get_monotonic_time() - start, <, 10 * G_USEC_PER_SEC);
    assert_ret(s, 0, 50, -EIO);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
    assert_error(r, text);
    close_and_check(r, s);
}

static void test_chap(void)
{
    PagecacheReaderSpec *spec;
    Sink *s = sink_new(2000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    if (!tgtd_available(&tgt)) {
        sink_free(s);
        return;
    }
    tgtd_fresh(&tgt);
    g_assert(tgtadm(&tgt, "--op new --mode account --user anna "
                    "--password right-1"));
    g_assert(tgtadm(&tgt, "--op bind --mode account --tid 1 --user anna"));

    spec = iscsi_spec(1);
    spec->u.iscsi.user = g_strdup("anna");
    spec->u.iscsi.password = g_strdup("right-1");
    r = pagecache_reader_open(spec, &config);
    submit_random(r, s, DISK, 2000, false);
    expect_good(s);
    close_and_check(r, s);

    spec = iscsi_spec(1);
    spec->u.iscsi.user = g_strdup("anna");
    spec->u.iscsi.password = g_strdup("wrong-1");
    expect_refused(spec, "login: Failed to log in to target. Status: Auth");
    /* no user at all */
    expect_refused(iscsi_spec(1), "login: ");
}

static void test_wrong(void)
{
    PagecacheReaderSpec *spec;

    if (!tgtd_available(&tgt)) {
        return;
    }
    tgtd_fresh(&tgt);
    expect_refused(iscsi_spec(9), "TEST UNIT READY: ");
    /* tgtd's LUN 0 is a controller, and no disk */
    expect_refused(iscsi_spec(0), "READ CAPACITY(16): ");

    spec = iscsi_spec(1);
    g_free(spec->u.iscsi.target);
    spec->u.iscsi.target = g_strdup("iqn.2026-01.test:other");
    expect_refused(spec, "login: Failed to log in to target. Status: Target "
                   "not found");

    spec = iscsi_spec(1);
    spec->offset = DISK / 2;
    spec->size = DISK;
    expect_refused(spec, "16777216 bytes are there, expected 25165824 or more");

    spec = iscsi_spec(1);
    g_free(spec->u.iscsi.initiator);
    spec->u.iscsi.initiator = g_strnfill(300, 'x');
    expect_refused(spec, "the initiator name has 300 bytes, libiscsi takes up "
                   "to 255");
}

/* Nobody listens; then somebody who never answers */
static void test_unreachable(void)
{
    g_autofree char *portal = NULL;
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(sa);
    int round, fd;

    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sa, len), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sa, &len), ==, 0);
    portal = g_strdup_printf("127.0.0.1:%d", ntohs(sa.sin_port));

    for (round = 0; round < 2; round++) {
        Sink *s = sink_new(100, 0);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReaderSpec *spec = iscsi_spec(1);
        PagecacheReader *r;

        g_free(spec->u.iscsi.portal);
        spec->u.iscsi.portal = g_strdup(portal);
        config.deadline_ms = 300;
        r = pagecache_reader_open(spec, &config);
        submit(r, s, 0, 50);
        g_assert(sink_wait(s, 50, 5000));
        assert_ret(s, 0, 50, -ETIMEDOUT);
        submit(r, s, 0, 50);
        g_assert(wait_state(r, PAGECACHE_READER_FAILED, 10000));
        assert_error(r, "no read could be started for 900 ms: ");
        assert_error(r, round ? "login: no answer in time" :
                     "connect: iscsi_service: socket error Connection refused");
        close_and_check(r, s);
        /* the kernel takes connections, nobody reads from them */
        g_assert_cmpint(listen(fd, 100), ==, 0);
    }
    close(fd);
}

/* The target dies under load and comes back later */
static void test_killed(void)
{
    Sink *s = sink_new(300000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;
    unsigned before;

    if (!tgtd_available(&tgt)) {
        sink_free(s);
        return;
    }
    tgtd_fresh(&tgt);
    config.max_failures = 1000;
    r = pagecache_reader_open(iscsi_spec(1), &config);
    submit_random(r, s, DISK, 1000, false);
    expect_good(s);
    submit_random(r, s, DISK, 200000, false);
    g_assert(sink_wait(s, 20000, 30000));
    tgtd_kill(&tgt);
    before = sink_good(s);
    g_assert_cmpuint(before, <, 201000);
    g_usleep(500 * 1000);
    tgtd_fresh(&tgt);
    /* a second or two without a target cost what was in flight then */
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), >, before);
    g_assert_cmpuint(sink_good(s), <, 201000);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.errors, >, 0);
    g_assert_cmpuint(stats.errors, <=, 16);
    g_assert_cmpint(stats.state, ==, PAGECACHE_READER_READY);
    g_free(stats.last_error);
    before = sink_good(s);
    submit_random(r, s, DISK, 1000, false);
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), ==, before + 1000);
    close_and_check(r, s);
}

/* The target hangs for ever: deadline, then the disk is given up */
static void test_hangs(void)
{
    Sink *s = sink_new(300000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderStats stats;
    PagecacheReader *r;
    int64_t start;

    if (!tgtd_available(&tgt)) {
        sink_free(s);
        return;
    }
    tgtd_fresh(&tgt);
    config.deadline_ms = 500;
    r = pagecache_reader_open(iscsi_spec(1), &config);
    submit_random(r, s, DISK, 1000, false);
    expect_good(s);
    kill(tgt.pid, SIGSTOP);
    start = g_get_monotonic_time();
    submit_random(r, s, DISK, 10000, false);
    g_assert(sink_wait(s, s->npages, 10000));
    g_assert_cmpuint(s->returned, ==, 11000);
    g_assert_cmpuint(s->good, ==, 1000);
    pagecache_reader_stats(r, &stats);
    /* the session is abandoned at the first one, and the others with it */
    g_assert_cmpuint(stats.timeouts, >=, 2);
    g_assert_cmpuint(stats.errors, ==, 16);
    g_free(stats.last_error);
    submit_random(r, s, DISK, 100, false);
    g_assert(wait_state(r, PAGECACHE_READER_FAILED, 10000));
    g_assert_cmpint(g_get_monotonic_time() - start, <, 10 * G_USEC_PER_SEC);
    close_and_check(r, s);
    kill(tgt.pid, SIGCONT);
}

/* It hangs and is closed in the middle of it */
static void test_hangs_close(void)
{
    Sink *s = sink_new(300000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    if (!tgtd_available(&tgt)) {
        sink_free(s);
        return;
    }
    tgtd_fresh(&tgt);
    config.deadline_ms = 100000;
    r = pagecache_reader_open(iscsi_spec(1), &config);
    submit_random(r, s, DISK, 200000, false);
    g_assert(sink_wait(s, 10000, 30000));
    kill(tgt.pid, SIGSTOP);
    g_usleep(100 * 1000);
    close_and_check(r, s);

    /* and while it connects */
    s = sink_new(100, 0);
    config = sink_config(s);
    config.deadline_ms = 100000;
    r = pagecache_reader_open(iscsi_spec(1), &config);
    submit(r, s, 0, 10);
    g_usleep(200 * 1000);
    close_and_check(r, s);
    kill(tgt.pid, SIGCONT);
}

/* It hangs beyond the deadline and then goes on as if nothing had been */
static void test_hangs_a_while(void)
{
    Sink *s = sink_new(300000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;
    unsigned before;

    if (!tgtd_available(&tgt)) {
        sink_free(s);
        return;
    }
    tgtd_fresh(&tgt);
    config.deadline_ms = 400;
    config.giveup_ms = 20000;
    r = pagecache_reader_open(iscsi_spec(1), &config);
    submit_random(r, s, DISK, 100000, false);
    g_assert(sink_wait(s, 10000, 30000));
    kill(tgt.pid, SIGSTOP);
    g_usleep(900 * 1000);
    kill(tgt.pid, SIGCONT);
    g_assert(sink_wait(s, s->npages, 30000));
    before = sink_good(s);
    g_assert_cmpuint(before, <, 100000);
    while (sink_good(s) == before) {
        submit_random(r, s, DISK, 100, false);
        g_assert(sink_wait(s, s->npages, 30000));
    }
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    close_and_check(r, s);
}

/* Closed under load, again and again */
static void test_close(void)
{
    int i;

    if (!tgtd_available(&tgt)) {
        return;
    }
    tgtd_fresh(&tgt);
    for (i = 0; i < 30; i++) {
        Sink *s = sink_new(20000, 0);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReader *r;

        config.sessions = 1 + i % 4;
        r = pagecache_reader_open(iscsi_spec(1 + i % 2), &config);
        submit_random(r, s, DISK, 20000, false);
        g_usleep(g_test_rand_int_range(0, 60000));
        close_and_check(r, s);
    }
}

#ifdef CONFIG_PAGECACHE_FAULTS

/* --- Faults on purpose --------------------------------------------------- */

typedef struct Fault {
    PagecacheFault fault;
    const char *settings;
    enum { NONE_LOST, SOME_LOST, MAY_LOSE } pages;
    const char *error;          /* what is told */
} Fault;

static const Fault faults[] = {
    { PAGECACHE_FAULT_DROP_SESSION, "drop-session:every=10:limit=5", SOME_LOST,
      "connection lost" },
    { PAGECACHE_FAULT_REFUSE_LOGIN, "refuse-login:limit=3", NONE_LOST,
      "login: fault on purpose" },
    { PAGECACHE_FAULT_SHORT_READ, "short-read:every=10:limit=20", SOME_LOST,
      "the target sent too few bytes" },
    { PAGECACHE_FAULT_READ_ERROR, "read-error:every=10:limit=20", SOME_LOST,
      "fault on purpose" },
    /* the next kick, or an answer that comes, makes up for it in time or not */
    { PAGECACHE_FAULT_LOSE_KICK, "lose-kick:every=2:limit=3", MAY_LOSE, NULL },
};

/* No page is lost or wrong (the sink looks), and the reader goes on. */
static void test_fault(const void *opaque)
{
    const Fault *f = opaque;
    Sink *s = sink_new(30000, 0);
    PagecacheReaderConfig config = sink_config(s);
    g_autofree char *err = NULL;
    uint64_t passed, fired, before;
    PagecacheReader *r;
    unsigned good;

    if (!tgtd_available(&tgt)) {
        sink_free(s);
        return;
    }
    tgtd_fresh(&tgt);
    pagecache_fault_count(f->fault, &passed, &before);
    if (f->fault == PAGECACHE_FAULT_LOSE_KICK) {
        config.deadline_ms = 500;       /* which is what ends it */
    }
    g_assert(pagecache_faults_arm(f->settings, &err));
    r = pagecache_reader_open(iscsi_spec(1), &config);
    while (s->npages < 20000) {
        submit_random(r, s, DISK, 1000, false);
        g_assert(sink_wait(s, s->npages, 30000));
    }
    pagecache_fault_count(f->fault, &passed, &fired);
    g_assert_cmpuint(fired, >=, before + 2);
    good = sink_good(s);
    g_assert_cmpuint(good, >, s->npages / 4);
    if (f->pages == NONE_LOST) {
        g_assert_cmpuint(good, ==, s->npages);
    } else if (f->pages == SOME_LOST) {
        g_assert_cmpuint(good, <, s->npages);
    }
    if (f->error) {
        assert_error(r, f->error);
    }

    g_assert(pagecache_faults_arm("", &err));
    submit_random(r, s, DISK, 1000, false);
    g_assert(sink_wait(s, s->npages, 30000));
    g_assert_cmpuint(sink_good(s), ==, good + 1000);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    close_and_check(r, s);
}

static void add_fault_tests(void)
{
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(faults); i++) {
        g_autofree char *name = g_strdup_printf(
            "/pagecache-reader-iscsi/fault/%s",
            pagecache_fault_name(faults[i].fault));

        g_test_add_data_func(name, &faults[i], test_fault);
    }
}

#else

static void add_fault_tests(void)
{
}

#endif

int main(int argc, char **argv)
{
    g_autofree char *disk = NULL;
    int ret;

    g_test_init(&argc, &argv, NULL);
    if (!pagecache_reader_iscsi_ops) {
        g_print("1..0 # SKIP built without libiscsi\n");
        return 0;
    }
    dir = g_dir_make_tmp("pagecache-iscsi-XXXXXX", NULL);
    g_assert_nonnull(dir);
    disk = g_build_filename(dir, "disk", NULL);
    pattern_file(disk, DISK);
    tgtd_init(&tgt, disk);
    g_test_add_data_func("/pagecache-reader-iscsi/read/512",
                         GINT_TO_POINTER(1), test_read);
    g_test_add_data_func("/pagecache-reader-iscsi/read/4096",
                         GINT_TO_POINTER(2), test_read);
    /* blocks of 2 KiB, and no commands of 16 bytes */
    g_test_add_data_func("/pagecache-reader-iscsi/read/cd",
                         GINT_TO_POINTER(3), test_read);
    g_test_add_func("/pagecache-reader-iscsi/digest", test_digest);
    g_test_add_func("/pagecache-reader-iscsi/chap", test_chap);
    g_test_add_func("/pagecache-reader-iscsi/wrong", test_wrong);
    g_test_add_func("/pagecache-reader-iscsi/unreachable", test_unreachable);
    g_test_add_func("/pagecache-reader-iscsi/killed", test_killed);
    g_test_add_func("/pagecache-reader-iscsi/hangs", test_hangs);
    g_test_add_func("/pagecache-reader-iscsi/hangs-close", test_hangs_close);
    g_test_add_func("/pagecache-reader-iscsi/hangs-a-while",
                    test_hangs_a_while);
    g_test_add_func("/pagecache-reader-iscsi/close", test_close);
    add_fault_tests();
    ret = g_test_run();
    tgtd_destroy(&tgt);
    unlink(disk);
    rmdir(dir);
    g_free(dir);
    return ret;
}
