/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the skip-pagecache reader's engine for NBD against a server that
 * misbehaves: a few lines of NBD (doc/proto.md of the nbd project) in threads,
 * just enough to be read from, and told what to do wrong.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "test-pagecache-reader-lib.h"

#define DISK            (8 * MiB)

#define MAGIC           0x4e42444d41474943ull   /* NBDMAGIC */
#define OPTION_MAGIC    0x49484156454f5054ull   /* IHAVEOPT */
#define REPLY_MAGIC     0x3e889045565a9ull      /* to an option */
#define REQUEST_MAGIC   0x25609513u
#define SIMPLE_MAGIC    0x67446698u
#define CHUNK_MAGIC     0x668e33efu

enum { OPT_ABORT = 2, OPT_GO = 7, OPT_STRUCTURED = 8 };
#define REP_ACK         1u
#define REP_INFO        3u
#define REP_UNSUP       0x80000001u
#define REP_POLICY      0x80000002u
enum { CMD_READ = 0, CMD_DISC = 2 };
enum { CHUNK_NONE = 0, CHUNK_DATA = 1, CHUNK_ERROR = 0x8001 };
#define FLAG_DONE       1u
#define ERROR_IO        5u

typedef enum Fault {
    GOOD,               /* the data in one chunk */
    IN_PIECES,          /* in several, the last one first */
    SHORT,              /* half of the data, and that was all */
    EMPTY,              /* no data, and that was all */
    IO_ERROR,
    HALF_ERROR,         /* half of the data, then an error */
    BEYOND,             /* data for an offset that nobody asked for */
    TOO_MUCH,           /* more data than asked for */
    HUGE_CHUNK,         /* a chunk that says it has 2 GiB */
    UNKNOWN_CHUNK,      /* a type that there is not */
    OTHER_COOKIE,       /* the answer to what was never asked */
    GARBAGE,            /* bytes that are no reply */
    HANG_UP,
    SILENT,
    /* in the handshake */
    MUTE,               /* not a word */
    HALF_GREETING,
    GARBAGE_GREETING,
    MUTE_GO,            /* greets, and has no answer to our choice */
    REFUSE_GO,
    HANG_UP_GO,
    SHORT_INFO,         /* information with fewer bytes than there must be */
} Fault;

static struct {
    int fd;             /* listens */
    char *path;
    GThread *thread;
    GMutex lock;        /* for the rest */
    Fault fault;
    unsigned faults;    /* so many times, then GOOD */
    unsigned connections;
    uint64_t size;
    uint32_t min_block; /* 0: doesn't say */
    bool simple;        /* no structured replies */
} server;

/* --- The server ---------------------------------------------------------- */

static bool get(int fd, void *buf, size_t len)
{
    return recv(fd, buf, len, MSG_WAITALL) == len;
}

static void put(int fd, const void *buf, size_t len)
{
    const uint8_t *p = buf;

    while (len) {
        ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

        if (n <= 0) {
            return;
        }
        p += n;
        len -= n;
    }
}

static void put16(int fd, uint16_t v)
{
    v = GUINT16_TO_BE(v);
    put(fd, &v, sizeof(v));
}

static void put32(int fd, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    put(fd, &v, sizeof(v));
}

static void put64(int fd, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    put(fd, &v, sizeof(v));
}

/* Is it time for this fault? */
static bool take(Fault fault)
{
    bool yes;

    g_mutex_lock(&server.lock);
    yes = server.fault == fault && server.faults;
    server.faults -= yes;
    g_mutex_unlock(&server.lock);
    return yes;
}

/* Nothing is said any more; returns when the client has gone. */
static bool wait_gone(int fd)
{
    char byte;

    while (recv(fd, &byte, 1, 0) > 0) {
        continue;
    }
    return false;
}

static void put_option_reply(int fd, uint32_t option, uint32_t type,
                             uint32_t len)
{
    put64(fd, REPLY_MAGIC);
    put32(fd, option);
    put32(fd, type);
    put32(fd, len);
}

static bool answer_go(int fd)
{
    if (take(MUTE_GO)) {
        return wait_gone(fd);
    }
    if (take(HANG_UP_GO)) {
        return false;
    }
    if (take(REFUSE_GO)) {
        put_option_reply(fd, OPT_GO, REP_POLICY, 0);
        return true;
    }
    if (take(SHORT_INFO)) {
        put_option_reply(fd, OPT_GO, REP_INFO, 4);
        put32(fd, 0);
        return true;
    }
    put_option_reply(fd, OPT_GO, REP_INFO, 12);
    put16(fd, 0);
    put64(fd, server.size);
    put16(fd, 3);       /* has flags, read-only */
    if (server.min_block) {
        put_option_reply(fd, OPT_GO, REP_INFO, 14);
        put16(fd, 3);
        put32(fd, server.min_block);
        put32(fd, MAX(server.min_block, 4096));
        put32(fd, 32 * MiB);
    }
    put_option_reply(fd, OPT_GO, REP_ACK, 0);
    return true;
}

/* True: on to the transmission */
static bool shake_hands(int fd)
{
    static const uint8_t garbage[64] = "HTTP/1.1 400 Bad Request\r\n\r\n";
    uint32_t flags, head[4];

    if (take(MUTE)) {
        return wait_gone(fd);
    }
    if (take(GARBAGE_GREETING)) {
        put(fd, garbage, sizeof(garbage));
        return wait_gone(fd);
    }
    put64(fd, MAGIC);
    if (take(HALF_GREETING)) {
        return wait_gone(fd);
    }
    put64(fd, OPTION_MAGIC);
    put16(fd, 3);       /* fixed newstyle, no zeroes */
    if (!get(fd, &flags, 4)) {
        return false;
    }
    while (get(fd, head, sizeof(head))) {
        uint32_t option = GUINT32_FROM_BE(head[2]);
        uint32_t len = GUINT32_FROM_BE(head[3]);
        g_autofree uint8_t *data = g_malloc(len + 1);

        if (len && !get(fd, data, len)) {
            return false;
        }
        if (option == OPT_ABORT) {
            put_option_reply(fd, option, REP_ACK, 0);
            return false;
        } else if (option == OPT_STRUCTURED) {
            put_option_reply(fd, option, server.simple ? REP_UNSUP : REP_ACK,
                             0);
        } else if (option != OPT_GO) {
            put_option_reply(fd, option, REP_UNSUP, 0);
        } else if (server.fault == REFUSE_GO || server.fault == SHORT_INFO) {
            bool faulty = server.faults;

            if (!answer_go(fd)) {
                return false;
            }
            if (!faulty) {
                return true;
            }
        } else {
            return answer_go(fd);
        }
    }
    return false;
}

typedef struct Request {
    uint64_t cookie, offset;
    uint32_t len;
} Request;

static void put_chunk(int fd, const Request *r, uint16_t flags, uint16_t type,
                      uint32_t len)
{
    put32(fd, CHUNK_MAGIC);
    put16(fd, flags);
    put16(fd, type);
    put64(fd, r->cookie);
    put32(fd, len);
}

/* Data for [@from, @from + @len) */
static void put_data(int fd, const Request *r, uint16_t flags, uint64_t from,
                     uint32_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    pattern_fill(buf, from, len);
    put_chunk(fd, r, flags, CHUNK_DATA, len + 8);
    put64(fd, from);
    put(fd, buf, len);
}

static void put_simple(int fd, const Request *r, uint32_t error)
{
    g_autofree uint8_t *buf = g_malloc(r->len);

    put32(fd, SIMPLE_MAGIC);
    put32(fd, error);
    put64(fd, r->cookie);
    if (!error) {
        pattern_fill(buf, r->offset, r->len);
        put(fd, buf, r->len);
    }
}

/* False: the connection is over */
static bool answer_read(int fd, const Request *r)
{
    static const uint8_t garbage[64] = "what is this?";
    const Request other = { .cookie = r->cookie + 1000000, .len = r->len };
    uint32_t half = r->len / 2 / SECTOR * SECTOR, pos;

    if (take(SILENT)) {
        return true;
    } else if (take(HANG_UP)) {
        return false;
    } else if (take(GARBAGE)) {
        put(fd, garbage, sizeof(garbage));
    } else if (take(IO_ERROR)) {
        if (server.simple) {
            put_simple(fd, r, ERROR_IO);
        } else {
            put_chunk(fd, r, FLAG_DONE, CHUNK_ERROR, 6);
            put32(fd, ERROR_IO);
            put16(fd, 0);
        }
    } else if (server.simple) {
        put_simple(fd, r, 0);
    } else if (take(SHORT)) {
        put_data(fd, r, FLAG_DONE, r->offset, half);
    } else if (take(EMPTY)) {
        put_chunk(fd, r, FLAG_DONE, CHUNK_NONE, 0);
    } else if (take(HALF_ERROR)) {
        put_data(fd, r, 0, r->offset, half);
        put_chunk(fd, r, FLAG_DONE, CHUNK_ERROR, 6);
        put32(fd, ERROR_IO);
        put16(fd, 0);
    } else if (take(BEYOND)) {
        put_data(fd, r, FLAG_DONE, r->offset + r->len, SECTOR);
    } else if (take(TOO_MUCH)) {
        put_data(fd, r, FLAG_DONE, r->offset, r->len + SECTOR);
    } else if (take(HUGE_CHUNK)) {
        put_chunk(fd, r, FLAG_DONE, CHUNK_DATA, 1u << 31);
        put64(fd, r->offset);
    } else if (take(UNKNOWN_CHUNK)) {
        put_chunk(fd, r, FLAG_DONE, 77, 0);
    } else if (take(OTHER_COOKIE)) {
        put_chunk(fd, &other, FLAG_DONE, CHUNK_NONE, 0);
    } else if (take(IN_PIECES)) {
        for (pos = r->len; pos; pos -= SECTOR) {
            put_data(fd, r, 0, r->offset + pos - SECTOR, SECTOR);
        }
        put_chunk(fd, r, FLAG_DONE, CHUNK_NONE, 0);
    } else {
        put_data(fd, r, FLAG_DONE, r->offset, r->len);
    }
    return true;
}

static gpointer serve_client(gpointer opaque)
{
    int fd = GPOINTER_TO_INT(opaque);
    struct {
        uint32_t magic;
        uint16_t flags, type;
        uint64_t cookie, offset;
        uint32_t len;
    } QEMU_PACKED request;

    if (shake_hands(fd)) {
        while (get(fd, &request, sizeof(request)) &&
               request.magic == GUINT32_TO_BE(REQUEST_MAGIC) &&
               request.type == GUINT16_TO_BE(CMD_READ)) {
            Request r = {
                .cookie = GUINT64_FROM_BE(request.cookie),
                .offset = GUINT64_FROM_BE(request.offset),
                .len = GUINT32_FROM_BE(request.len),
            };

            if (!answer_read(fd, &r)) {
                break;
            }
        }
    }
    close(fd);
    return NULL;
}

static gpointer serve(gpointer opaque)
{
    int fd;

    while ((fd = accept(server.fd, NULL, NULL)) >= 0) {
        g_mutex_lock(&server.lock);
        server.connections++;
        g_mutex_unlock(&server.lock);
        g_thread_unref(g_thread_new("client", serve_client,
                                    GINT_TO_POINTER(fd)));
    }
    return NULL;
}

static void server_set(Fault fault, unsigned faults)
{
    g_mutex_lock(&server.lock);
    server.fault = fault;
    server.faults = faults;
    g_mutex_unlock(&server.lock);
}

/* --- The tests ----------------------------------------------------------- */

static PagecacheReader *open_reader(Sink *s, unsigned deadline_ms)
{
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderSpec *spec;

    spec = pagecache_reader_spec_alloc(pagecache_reader_nbd_ops);
    spec->name = g_strdup("nbd");
    spec->u.nbd.path = g_strdup(server.path);
    spec->u.nbd.export = g_strdup("");
    config.deadline_ms = deadline_ms;
    config.giveup_ms = 60000;
    config.max_read = 4 * PAGE;
    return pagecache_reader_open(spec, &config);
}

/* @n pages, none next to another */
static void submit_pages(PagecacheReader *r, Sink *s, unsigned n)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        PagecacheRun run = sink_run(s, (i * 32 % (DISK / SECTOR - 8)), 1);

        pagecache_reader_submit(r, &run, 1);
    }
}

/* The pages may be back before the session has given up. */
static void wait_error(PagecacheReader *r)
{
    PagecacheReaderStats stats;
    bool told;
    unsigned i;

    for (i = 0; i < 5000; i++) {
        pagecache_reader_stats(r, &stats);
        told = stats.last_error != NULL;
        g_free(stats.last_error);
        if (told) {
            return;
        }
        g_usleep(2000);
    }
    g_error("no error is told");
}

typedef struct Case {
    const char *name;
    Fault fault;
    unsigned faults;
    bool simple;
    bool lost;          /* pages are */
    unsigned deadline_ms;
    const char *error;
} Case;

static const Case cases[] = {
    { "good", GOOD, 0, false, false, 0, NULL },
    { "good-simple", GOOD, 0, true, false, 0, NULL },
    { "in-pieces", IN_PIECES, 20, false, false, 0, NULL },
    { "short", SHORT, 3, false, true, 0, "command failed" },
    { "empty", EMPTY, 3, false, true, 0, "command failed" },
    { "error", IO_ERROR, 3, false, true, 0, "Input/output error" },
    { "error-simple", IO_ERROR, 3, true, true, 0, "Input/output error" },
    { "half-error", HALF_ERROR, 3, false, true, 0, "Input/output error" },
    { "beyond", BEYOND, 2, false, true, 0, NULL },
    { "too-much", TOO_MUCH, 2, false, true, 0, NULL },
    { "huge-chunk", HUGE_CHUNK, 2, false, true, 0, "connection lost" },
    { "unknown-chunk", UNKNOWN_CHUNK, 2, false, true, 0, NULL },
    { "other-cookie", OTHER_COOKIE, 2, false, true, 500, NULL },
    { "garbage", GARBAGE, 2, false, true, 0, "connection lost" },
    { "hang-up", HANG_UP, 2, false, true, 0, "connection lost" },
    { "silent", SILENT, 40, false, true, 500, NULL },
    { "mute", MUTE, 1, false, true, 500, "negotiation: no answer in time" },
    { "half-greeting", HALF_GREETING, 1, false, true, 500,
      "negotiation: no answer in time" },
    { "garbage-greeting", GARBAGE_GREETING, 1, false, false, 0,
      "negotiation: " },
    { "mute-go", MUTE_GO, 1, false, true, 500,
      "negotiation: no answer in time" },
    { "refuse-go", REFUSE_GO, 1, false, false, 0, "negotiation: " },
    { "hang-up-go", HANG_UP_GO, 1, false, false, 0, "negotiation: " },
    { "short-info", SHORT_INFO, 1, false, false, 0, "negotiation: " },
};

/*
 * It misbehaves for a while: no page is wrong (the sink looks) or lost for
 * ever, and then the reader goes on.
 */
static void test_case(const void *opaque)
{
    const Case *c = opaque;
    Sink *s = sink_new(100000, 0);
    PagecacheReader *r;
    unsigned good;

    server.simple = c->simple;
    server_set(c->fault, c->faults);
    r = open_reader(s, c->deadline_ms ?: 30000);
    submit_pages(r, s, 200);
    g_assert(sink_wait(s, s->npages, 60000));
    good = sink_good(s);
    if (!c->lost) {
        g_assert_cmpuint(good, ==, 200);
    } else {
        g_assert_cmpuint(good, <, 200);
    }
    if (c->error) {
        wait_error(r);
        assert_error(r, c->error);
    }
    server_set(GOOD, 0);
    do {
        good = sink_good(s);
        submit_pages(r, s, 50);
        g_assert(sink_wait(s, s->npages, 60000));
    } while (sink_good(s) < good + 50);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    close_and_check(r, s);
}

/* Closed while it is mute, in all places where it can be */
static void test_close(void)
{
    static const Fault where[] = { MUTE, HALF_GREETING, MUTE_GO, SILENT };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(where); i++) {
        Sink *s = sink_new(1000, 0);
        PagecacheReader *r;

        server.connections = 0;
        server_set(where[i], 1000);
        r = open_reader(s, 600000);
        submit_pages(r, s, 50);
        g_usleep(100 * 1000);
        close_and_check(r, s);
        server_set(GOOD, 0);
    }
}

/* --- Before there is a server --------------------------------------------- */

static void check_unreachable(const char *host, int port, const char *error)
{
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReaderSpec *spec;
    PagecacheReader *r;

    spec = pagecache_reader_spec_alloc(pagecache_reader_nbd_ops);
    spec->name = g_strdup("nbd");
    spec->u.nbd.host = g_strdup(host);
    spec->u.nbd.port = g_strdup_printf("%d", port);
    spec->u.nbd.export = g_strdup("");
    config.deadline_ms = 300;
    r = pagecache_reader_open(spec, &config);
    submit_pages(r, s, 50);
    g_assert(sink_wait(s, 50, 30000));
    assert_ret(s, 0, 50, -ETIMEDOUT);
    submit_pages(r, s, 50);
    g_assert(wait_state(r, PAGECACHE_READER_FAILED, 30000));
    assert_error(r, "no read could be started for 900 ms");
    if (error) {
        assert_error(r, error);
    }
    close_and_check(r, s);
}

static int tcp_socket(int *port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (*port) {
        sa.sin_port = htons(*port);
        connect(fd, (struct sockaddr *)&sa, len);
    } else {
        g_assert_cmpint(bind(fd, (struct sockaddr *)&sa, len), ==, 0);
        g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sa, &len), ==, 0);
        *port = ntohs(sa.sin_port);
    }
    return fd;
}

/* Nobody listens; then nobody takes connections, and the kernel no more */
static void test_unreachable(void)
{
    int fds[8], port = 0, i;
    int fd = tcp_socket(&port);

    check_unreachable("127.0.0.1", port, "Connection refused");
    g_assert_cmpint(listen(fd, 0), ==, 0);
    for (i = 0; i < G_N_ELEMENTS(fds); i++) {
        fds[i] = tcp_socket(&port);
    }
    g_usleep(100 * 1000);
    check_unreachable("127.0.0.1", port, "connect: no answer in time");
    for (i = 0; i < G_N_ELEMENTS(fds); i++) {
        close(fds[i]);
    }
    close(fd);
}

/* The name server does not answer, which holds up libnbd: and nobody else */
static void test_name_lookup(void)
{
    static const char conf[] = "nameserver 127.0.0.77\n"
                               "options timeout:3 attempts:2\n";
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_port = htons(53),
        .sin_addr.s_addr = inet_addr("127.0.0.77"),
    };
    g_autofree char *path = g_strdup_printf("%s.conf", server.path);
    int fd;

    if (geteuid() || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        g_test_skip("no mount namespace to be had (are you root?)");
        return;
    }
    g_assert(g_file_set_contents(path, conf, -1, NULL));
    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
        mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) < 0) {
        g_test_skip("no name server to be had");
    } else {
        check_unreachable("nobody.example.test", 10809, NULL);
        umount("/etc/resolv.conf");
    }
    close(fd);
    unlink(path);
}

typedef struct Geometry {
    const char *name;
    uint64_t size;
    uint32_t min_block;
    const char *error;          /* NULL: it can be read */
} Geometry;

static const Geometry geometries[] = {
    { "odd-size", DISK + 1000, 1, NULL },
    { "blocks-of-64k", DISK, 65536, NULL },
    { "blocks-of-3", DISK, 3, "" },
    { "blocks-of-1m", DISK, MiB, "" },
    { "negative-size", UINT64_MAX, 0, "size of the export: " },
};

static void test_geometry(const void *opaque)
{
    const Geometry *g = opaque;
    Sink *s = sink_new(1000, 0);
    PagecacheReader *r;

    server.simple = false;
    server_set(GOOD, 0);
    server.size = g->size;
    server.min_block = g->min_block;
    r = open_reader(s, 30000);
    submit_pages(r, s, 100);
    if (!g->error) {
        g_assert(sink_wait(s, s->npages, 30000));
        g_assert_cmpuint(sink_good(s), ==, s->npages);
    } else if (*g->error) {
        g_assert(wait_state(r, PAGECACHE_READER_FAILED, 30000));
        assert_error(r, g->error);
    } else {
        /* libnbd's choice: it reads, or it does not */
        g_assert(sink_wait(s, s->npages, 60000));
    }
    close_and_check(r, s);
    server.size = DISK;
    server.min_block = 0;
}

int main(int argc, char **argv)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    g_autofree char *dir = g_dir_make_tmp("pagecache-nbd-XXXXXX", NULL);
    unsigned i;
    int ret;

    g_test_init(&argc, &argv, NULL);
    g_assert_nonnull(dir);
    server.size = DISK;
    server.path = g_build_filename(dir, "socket", NULL);
    server.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(sa.sun_path, server.path, sizeof(sa.sun_path));
    g_assert_cmpint(bind(server.fd, (struct sockaddr *)&sa, sizeof(sa)), ==, 0);
    g_assert_cmpint(listen(server.fd, 100), ==, 0);
    server.thread = g_thread_new("server", serve, NULL);

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = g_strdup_printf(
            "/pagecache-reader-nbd-peer/%s", cases[i].name);

        g_test_add_data_func(name, &cases[i], test_case);
    }
    g_test_add_func("/pagecache-reader-nbd-peer/close", test_close);
    g_test_add_func("/pagecache-reader-nbd-peer/unreachable",
                    test_unreachable);
    for (i = 0; i < G_N_ELEMENTS(geometries); i++) {
        g_autofree char *name = g_strdup_printf(
            "/pagecache-reader-nbd-peer/geometry/%s", geometries[i].name);

        g_test_add_data_func(name, &geometries[i], test_geometry);
    }
    /* the last one: it leaves a thread for some seconds */
    g_test_add_func("/pagecache-reader-nbd-peer/name-lookup",
                    test_name_lookup);
    ret = g_test_run();
    shutdown(server.fd, SHUT_RDWR);
    g_thread_join(server.thread);
    close(server.fd);
    unlink(server.path);
    rmdir(dir);
    g_free(server.path);
    return ret;
}
