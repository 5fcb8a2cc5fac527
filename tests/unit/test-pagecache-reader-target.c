/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the skip-pagecache reader's engine for iSCSI against a target that
 * misbehaves: a few lines of iSCSI (RFC 7143) in a thread, just enough to be
 * read from, and told what to do wrong.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include "test-pagecache-reader-lib.h"

#define DISK        (8 * MiB)
#define BHS         48      /* bytes of a PDU's header */

/* Opcodes, as in RFC 7143, 11.2.1.2 */
enum {
    OP_NOP_OUT = 0x00, OP_COMMAND = 0x01, OP_LOGIN = 0x03, OP_LOGOUT = 0x06,
    OP_NOP_IN = 0x20, OP_RESPONSE = 0x21, OP_LOGIN_RESPONSE = 0x23,
    OP_DATA_IN = 0x25, OP_LOGOUT_RESPONSE = 0x26, OP_REJECT = 0x3f,
};

enum {
    FLAG_FINAL = 0x80, FLAG_OVERFLOW = 0x04, FLAG_UNDERFLOW = 0x02,
    FLAG_STATUS = 0x01,
};

enum {
    STATUS_GOOD = 0x00, STATUS_CHECK_CONDITION = 0x02, STATUS_BUSY = 0x08,
    STATUS_CONFLICT = 0x18, STATUS_SET_FULL = 0x28, STATUS_ABORTED = 0x40,
};

enum {
    KEY_NOT_READY = 2, KEY_MEDIUM_ERROR = 3, KEY_ILLEGAL_REQUEST = 5,
    KEY_UNIT_ATTENTION = 6, KEY_ABORTED = 11,
};

typedef enum Fault {
    GOOD,               /* the data in one PDU, with the status */
    IN_PIECES,          /* the data in several PDUs, the status in another */
    EMPTY,              /* GOOD, and no data */
    SHORT,              /* GOOD after half of the data */
    HOLE,               /* GOOD without one page in the middle */
    UNDERFLOW,          /* half of the data, and says so */
    OVERFLOW,           /* all of the data, and says there would be more */
    TOO_MUCH,           /* goes on after the last byte */
    FAR_AWAY,           /* data for an offset far beyond the end */
    BUSY, SET_FULL, ABORTED, CONFLICT,
    ATTENTION, NOT_READY, MEDIUM_ERROR, ILLEGAL,
    REJECT,             /* of the PDU */
    GARBAGE,            /* bytes that are no PDU */
    HUGE_PDU,           /* a PDU that says it has 16 MiB */
    CLOSE,              /* the connection */
    SILENT,             /* no answer */
} Fault;

static struct {
    GMutex lock;
    int fd, port;
    GThread *thread;
    bool ended;
    unsigned connections, logouts, tests, reads;
    uint32_t longest;       /* bytes of a read */

    /* what to do */
    Fault fault;
    unsigned faults;        /* so many times, then GOOD */
    unsigned attentions;    /* UNIT ATTENTIONs of TEST UNIT READY */
    unsigned redirects;     /* logins that are sent to the same port again */
    bool login_silent;
    uint64_t last_lba;
    uint32_t block_size;
    uint32_t max_blocks;    /* in the block limits page; 0: no such page */
} target;

/* --- The target ---------------------------------------------------------- */

typedef struct Connection {
    int fd;
    uint32_t stat_sn;
    uint32_t exp_cmd_sn;
} Connection;

static void put16(uint8_t *p, uint16_t v)
{
    v = GUINT16_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static void put32(uint8_t *p, uint32_t v)
{
    v = GUINT32_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
    v = GUINT64_TO_BE(v);
    memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
    uint32_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT32_FROM_BE(v);
}

static uint64_t get64(const uint8_t *p)
{
    uint64_t v;

    memcpy(&v, p, sizeof(v));
    return GUINT64_FROM_BE(v);
}

static bool receive(Connection *c, uint8_t *buf, size_t n)
{
    while (n) {
        struct pollfd fd = { .fd = c->fd, .events = POLLIN };
        ssize_t got;

        if (poll(&fd, 1, 100) == 0) {
            bool ended;

            g_mutex_lock(&target.lock);
            ended = target.ended;
            g_mutex_unlock(&target.lock);
            if (ended) {
                return false;
            }
            continue;
        }
        got = recv(c->fd, buf, n, 0);
        if (got <= 0) {
            return false;
        }
        buf += got;
        n -= got;
    }
    return true;
}

static bool transmit(Connection *c, const uint8_t *buf, size_t n)
{
    while (n) {
        ssize_t sent = send(c->fd, buf, n, MSG_NOSIGNAL);

        if (sent <= 0) {
            return false;
        }
        buf += sent;
        n -= sent;
    }
    return true;
}

static void begin_pdu(Connection *c, uint8_t *pdu, uint8_t opcode,
                      uint8_t flags, const uint8_t *request)
{
    memset(pdu, 0, BHS);
    pdu[0] = opcode;
    pdu[1] = flags;
    memcpy(pdu + 16, request + 16, 4);      /* the initiator's tag */
    put32(pdu + 20, 0xffffffff);
    put32(pdu + 24, c->stat_sn);
    put32(pdu + 28, c->exp_cmd_sn);
    put32(pdu + 32, c->exp_cmd_sn + 64);
}

static bool send_pdu(Connection *c, uint8_t *pdu, const uint8_t *data,
                     uint32_t bytes)
{
    static const uint8_t zeroes[4];

    pdu[5] = bytes >> 16;
    put16(pdu + 6, bytes);
    return transmit(c, pdu, BHS) && transmit(c, data, bytes) &&
           transmit(c, zeroes, -bytes & 3);
}

static bool send_status(Connection *c, const uint8_t *request, uint8_t status)
{
    uint8_t pdu[BHS];

    begin_pdu(c, pdu, OP_RESPONSE, FLAG_FINAL, request);
    pdu[3] = status;
    c->stat_sn++;
    return send_pdu(c, pdu, NULL, 0);
}

static bool send_sense(Connection *c, const uint8_t *request, uint8_t key,
                       uint16_t ascq)
{
    uint8_t pdu[BHS], sense[20] = { 0, 18, 0x70, 0, key, [9] = 10 };

    put16(sense + 14, ascq);
    begin_pdu(c, pdu, OP_RESPONSE, FLAG_FINAL, request);
    pdu[3] = STATUS_CHECK_CONDITION;
    c->stat_sn++;
    return send_pdu(c, pdu, sense, sizeof(sense));
}

/* @flags: FLAG_STATUS and others, or 0 for more to come */
static bool send_data(Connection *c, const uint8_t *request, uint32_t offset,
                      const uint8_t *data, uint32_t bytes, uint8_t flags,
                      uint32_t residual)
{
    uint8_t pdu[BHS];

    begin_pdu(c, pdu, OP_DATA_IN, flags ? FLAG_FINAL | flags : 0, request);
    put32(pdu + 40, offset);
    put32(pdu + 44, residual);
    c->stat_sn += flags != 0;
    return send_pdu(c, pdu, data, bytes);
}

static bool target_read(Connection *c, const uint8_t *request)
{
    const uint8_t *cdb = request + 32;
    uint64_t offset = get64(cdb + 2) * target.block_size;
    uint32_t n = get32(cdb + 10) * target.block_size;
    g_autofree uint8_t *data = g_malloc(n + PAGE);
    uint32_t half = n / 2 / SECTOR * SECTOR;
    uint8_t pdu[BHS];
    Fault fault;

    g_mutex_lock(&target.lock);
    target.reads++;
    target.longest = MAX(target.longest, n);
    fault = target.faults ? target.fault : GOOD;
    target.faults -= target.faults > 0;
    g_mutex_unlock(&target.lock);

    pattern_fill(data, offset, n + PAGE);
    switch (fault) {
    case GOOD:
        return send_data(c, request, 0, data, n, FLAG_STATUS, 0);
    case IN_PIECES:
        return send_data(c, request, 0, data, half, 0, 0) &&
               send_data(c, request, half, data + half, n - half, 0, 0) &&
               send_status(c, request, STATUS_GOOD);
    case EMPTY:
        return send_status(c, request, STATUS_GOOD);
    case SHORT:
        return send_data(c, request, 0, data, half, FLAG_STATUS, 0);
    case HOLE:
        return send_data(c, request, 0, data, PAGE, 0, 0) &&
               send_data(c, request, 2 * PAGE, data + 2 * PAGE, n - 2 * PAGE,
                         FLAG_STATUS, 0);
    case UNDERFLOW:
        return send_data(c, request, 0, data, half,
                         FLAG_STATUS | FLAG_UNDERFLOW, n - half);
    case OVERFLOW:
        return send_data(c, request, 0, data, n, FLAG_STATUS | FLAG_OVERFLOW,
                         SECTOR);
    case TOO_MUCH:
        return send_data(c, request, 0, data, n + PAGE, FLAG_STATUS, 0);
    case FAR_AWAY:
        return send_data(c, request, 0x40000000, data, PAGE, 0, 0) &&
               send_data(c, request, 0, data, n, FLAG_STATUS, 0);
    case BUSY:
        return send_status(c, request, STATUS_BUSY);
    case SET_FULL:
        return send_status(c, request, STATUS_SET_FULL);
    case ABORTED:
        return send_status(c, request, STATUS_ABORTED);
    case CONFLICT:
        return send_status(c, request, STATUS_CONFLICT);
    case ATTENTION:
        return send_sense(c, request, KEY_UNIT_ATTENTION, 0x2900);
    case NOT_READY:
        return send_sense(c, request, KEY_NOT_READY, 0x0401);
    case MEDIUM_ERROR:
        return send_sense(c, request, KEY_MEDIUM_ERROR, 0x1100);
    case ILLEGAL:
        return send_sense(c, request, KEY_ILLEGAL_REQUEST, 0x2400);
    case REJECT:
        begin_pdu(c, pdu, OP_REJECT, FLAG_FINAL, request);
        memset(pdu + 16, 0xff, 4);
        pdu[2] = 0x09;
        c->stat_sn++;
        return send_pdu(c, pdu, request, BHS);
    case GARBAGE:
        memset(data, 0xa5, n);
        return transmit(c, data, n);
    case HUGE_PDU:
        begin_pdu(c, pdu, OP_DATA_IN, 0, request);
        memset(pdu + 5, 0xff, 3);
        return transmit(c, pdu, BHS);
    case CLOSE:
        return false;
    case SILENT:
        return true;
    }
    g_assert_not_reached();
}

static bool target_command(Connection *c, const uint8_t *request)
{
    const uint8_t *cdb = request + 32;
    uint8_t data[64] = { 0 };
    bool attention;

    switch (cdb[0]) {
    case 0x00:      /* TEST UNIT READY */
        g_mutex_lock(&target.lock);
        target.tests++;
        attention = target.attentions > 0;
        target.attentions -= attention;
        g_mutex_unlock(&target.lock);
        return attention ? send_sense(c, request, KEY_UNIT_ATTENTION, 0x2900) :
               send_status(c, request, STATUS_GOOD);
    case 0x9e:      /* READ CAPACITY(16) */
        put64(data, target.last_lba);
        put32(data + 8, target.block_size);
        return send_data(c, request, 0, data, 32, FLAG_STATUS, 0);
    case 0x12:      /* INQUIRY */
        if (!target.max_blocks) {
            return send_sense(c, request, KEY_ILLEGAL_REQUEST, 0x2400);
        }
        g_assert_cmphex(cdb[2], ==, 0xb0);
        data[1] = 0xb0;
        put16(data + 2, 60);
        put32(data + 8, target.max_blocks);
        return send_data(c, request, 0, data, 64, FLAG_STATUS, 0);
    case 0x88:      /* READ(16) */
        return target_read(c, request);
    default:
        return send_sense(c, request, KEY_ILLEGAL_REQUEST, 0x2000);
    }
}

static bool target_login(Connection *c, const uint8_t *request)
{
    uint8_t pdu[BHS];
    g_autofree char *text = NULL;
    bool redirect;

    if (target.login_silent) {
        return true;
    }
    g_mutex_lock(&target.lock);
    redirect = target.redirects > 0;
    target.redirects -= redirect;
    g_mutex_unlock(&target.lock);

    begin_pdu(c, pdu, OP_LOGIN_RESPONSE, request[1], request);
    memset(pdu + 20, 0, 4);
    memcpy(pdu + 8, request + 8, 6);        /* the session's id... */
    put16(pdu + 14, 1);                     /* ...and its handle */
    if (redirect) {
        pdu[1] = 0;
        pdu[36] = 1;                        /* class: redirection */
        pdu[37] = 1;                        /* for a while */
        /* the same place by another name each time */
        text = g_strdup_printf("TargetAddress=127.0.0.%u:%d,1",
                               1 + target.redirects, target.port);
    } else {
        c->stat_sn++;
        text = g_strdup("HeaderDigest=None");
    }
    return send_pdu(c, pdu, (uint8_t *)text, strlen(text) + 1);
}

static gpointer connection_thread(gpointer opaque)
{
    Connection c = { .fd = GPOINTER_TO_INT(opaque) };
    uint8_t request[BHS], data[9000];
    bool ok = true;

    while (ok && receive(&c, request, BHS)) {
        uint32_t bytes = ((get32(request + 4) & 0xffffff) + 3) & ~3;

        if (bytes > sizeof(data) || !receive(&c, data, bytes)) {
            break;
        }
        c.exp_cmd_sn = get32(request + 24) + !(request[0] & 0x40);
        switch (request[0] & 0x3f) {
        case OP_LOGIN:
            ok = target_login(&c, request);
            break;
        case OP_COMMAND:
            ok = target_command(&c, request);
            break;
        case OP_LOGOUT:
            g_mutex_lock(&target.lock);
            target.logouts++;
            g_mutex_unlock(&target.lock);
            begin_pdu(&c, data, OP_LOGOUT_RESPONSE, FLAG_FINAL, request);
            ok = send_pdu(&c, data, NULL, 0);
            break;
        default:
            ok = false;
        }
    }
    close(c.fd);
    return NULL;
}

static gpointer target_thread(gpointer opaque)
{
    g_autoptr(GPtrArray) threads = g_ptr_array_new();
    guint i;

    for (;;) {
        int fd = accept(target.fd, NULL, NULL);

        if (fd < 0) {
            break;
        }
        g_mutex_lock(&target.lock);
        target.connections++;
        g_mutex_unlock(&target.lock);
        g_ptr_array_add(threads, g_thread_new("connection", connection_thread,
                                              GINT_TO_POINTER(fd)));
    }
    for (i = 0; i < threads->len; i++) {
        g_thread_join(g_ptr_array_index(threads, i));
    }
    return NULL;
}

static void target_start(void)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_ANY),
    };
    socklen_t len = sizeof(sa);

    target.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(target.fd, >=, 0);
    g_assert_cmpint(bind(target.fd, (struct sockaddr *)&sa, len), ==, 0);
    g_assert_cmpint(getsockname(target.fd, (struct sockaddr *)&sa, &len), ==,
                    0);
    g_assert_cmpint(listen(target.fd, 100), ==, 0);
    target.port = ntohs(sa.sin_port);
    target.ended = false;
    target.connections = target.logouts = target.tests = target.reads = 0;
    target.longest = 0;
    target.faults = 0;
    target.attentions = 0;
    target.redirects = 0;
    target.login_silent = false;
    target.block_size = 512;
    target.last_lba = DISK / 512 - 1;
    target.max_blocks = 0;
    target.thread = g_thread_new("target", target_thread, NULL);
}

static void target_stop(void)
{
    g_mutex_lock(&target.lock);
    target.ended = true;
    g_mutex_unlock(&target.lock);
    shutdown(target.fd, SHUT_RDWR);
    g_thread_join(target.thread);
    close(target.fd);
}

/* --- The reader ---------------------------------------------------------- */

static PagecacheReader *target_open(Sink *s, PagecacheReaderConfig *config)
{
    PagecacheReaderSpec *spec;

    config->sessions = 1;
    spec = pagecache_reader_spec_alloc(pagecache_reader_iscsi_ops);
    spec->name = g_strdup("test target");
    spec->u.iscsi.portal = g_strdup_printf("127.0.0.1:%d", target.port);
    spec->u.iscsi.target = g_strdup("iqn.2026-01.test:disk");
    spec->u.iscsi.initiator = g_strdup("iqn.2026-01.test:host");
    spec->u.iscsi.lun = 1;
    return pagecache_reader_open(spec, config);
}

static void submit(PagecacheReader *r, Sink *s, uint64_t sector, unsigned n)
{
    PagecacheRun run = sink_run(s, sector, n);

    pagecache_reader_submit(r, &run, 1);
}

static void set_fault(Fault fault, unsigned times)
{
    g_mutex_lock(&target.lock);
    target.fault = fault;
    target.faults = times;
    g_mutex_unlock(&target.lock);
}

static unsigned target_count(unsigned *counter)
{
    unsigned n;

    g_mutex_lock(&target.lock);
    n = *counter;
    g_mutex_unlock(&target.lock);
    return n;
}

typedef struct Case {
    const char *name;
    Fault fault;
    unsigned times;
    int ret;
    bool new_session;       /* the fault costs the session */
    const char *error;      /* in the statistics */
} Case;

static const Case cases[] = {
    { "good", GOOD, 1, 0 },
    { "in-pieces", IN_PIECES, 1, 0 },
    { "empty", EMPTY, 1, -EIO, false, "the target sent too few bytes" },
    { "short", SHORT, 1, -EIO, false, "the target sent too few bytes" },
    { "hole", HOLE, 1, -EIO, false, "the target sent too few bytes" },
    { "underflow", UNDERFLOW, 1, -EIO, false, "another number of bytes" },
    { "overflow", OVERFLOW, 1, -EIO, false, "another number of bytes" },
    { "too-much", TOO_MUCH, 1, -EIO, true },
    { "far-away", FAR_AWAY, 1, -EIO, true },
    { "busy", BUSY, 3, 0 },
    { "busy-for-ever", BUSY, 1000, -EIO, false, "BUSY" },
    { "set-full", SET_FULL, 2, 0 },
    { "aborted", ABORTED, 2, 0 },
    { "conflict", CONFLICT, 1, -EIO, false, "RESERVATION CONFLICT" },
    { "attention", ATTENTION, 2, 0 },
    { "attention-for-ever", ATTENTION, 1000, -EIO, false, "UNIT_ATTENTION" },
    { "not-ready", NOT_READY, 2, 0 },
    { "medium-error", MEDIUM_ERROR, 1, -EIO, false, "SENSE KEY" },
    { "illegal", ILLEGAL, 1, -EIO, false, "ILLEGAL_REQUEST" },
    { "reject", REJECT, 1, -EIO, false, "rejected" },
    { "garbage", GARBAGE, 1, -EIO, true },
    { "huge-pdu", HUGE_PDU, 1, -EIO, true, "Invalid data size" },
    { "close", CLOSE, 1, -EIO, true, "connection lost" },
    { "silent", SILENT, 1, -ETIMEDOUT, true },
};

static void test_case(const void *opaque)
{
    const Case *c = opaque;
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    unsigned connections;
    PagecacheReader *r;

    target_start();
    if (c->ret == -ETIMEDOUT) {
        config.deadline_ms = 300;
    }
    r = target_open(s, &config);
    /* leave something in the buffer that could be taken for data */
    submit(r, s, 4000, 20);
    g_assert(sink_wait(s, 20, 5000));
    assert_ret(s, 0, 20, 0);

    set_fault(c->fault, c->times);
    submit(r, s, 800, 20);
    g_assert(sink_wait(s, 40, 20000));
    assert_ret(s, 20, 20, c->ret);
    if (c->error) {
        /* the session may tell its end a moment later */
        g_usleep(50 * 1000);
        assert_error(r, c->error);
    }

    /* and all is well again */
    set_fault(GOOD, 0);
    submit(r, s, 0, 50);
    g_assert(sink_wait(s, 90, 20000));
    assert_ret(s, 40, 50, 0);
    connections = target_count(&target.connections);
    g_assert_cmpuint(connections, ==, c->new_session ? 2 : 1);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    close_and_check(r, s);
    target_stop();
    /* idle at its end, the session said goodbye */
    g_assert_cmpuint(target.logouts, ==, 1);
}

/* One read is never answered, the others are */
static void test_one_silent(void)
{
    Sink *s = sink_new(10000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;
    unsigned i;

    target_start();
    config.deadline_ms = 300;
    config.max_read = 4 * PAGE;
    r = target_open(s, &config);
    submit(r, s, 0, 4);
    g_assert(sink_wait(s, 4, 5000));
    set_fault(SILENT, 1);
    for (i = 0; i < 300; i++) {
        submit(r, s, 32 * i, 4);
    }
    g_assert(sink_wait(s, s->npages, 10000));
    g_assert_cmpuint(s->good, >=, s->npages - 8 * 4);
    g_assert_cmpuint(s->good, <, s->npages);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    close_and_check(r, s);
    target_stop();
}

/* Closed while a read waits to be tried again; LeakSanitizer looks, too */
static void test_close_in_retry(void)
{
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    target_start();
    r = target_open(s, &config);
    submit(r, s, 0, 4);
    g_assert(sink_wait(s, 4, 5000));
    set_fault(BUSY, 1000);
    submit(r, s, 0, 4);
    g_usleep(300 * 1000);       /* some 8 + 32 + 128 ms, then a long pause */
    g_assert_cmpuint(target_count(&target.reads), ==, 5);
    close_and_check(r, s);
    target_stop();
}

static void test_attentions(void)
{
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    target_start();
    target.attentions = 5;
    r = target_open(s, &config);
    submit(r, s, 0, 10);
    g_assert(sink_wait(s, 10, 5000));
    assert_ret(s, 0, 10, 0);
    g_assert_cmpuint(target_count(&target.tests), ==, 6);
    close_and_check(r, s);
    target_stop();

    target_start();
    target.attentions = 1000000;
    s = sink_new(100, 0);
    config = sink_config(s);
    r = target_open(s, &config);
    submit(r, s, 0, 10);
    g_assert(sink_wait(s, 10, 10000));
    assert_ret(s, 0, 10, -EIO);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
    assert_error(r, "TEST UNIT READY: ");
    close_and_check(r, s);
    target_stop();
}

static void test_max_transfer(void)
{
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    target_start();
    target.max_blocks = 63;
    r = target_open(s, &config);
    submit(r, s, 0, 500);
    g_assert(sink_wait(s, 500, 5000));
    assert_ret(s, 0, 500, 0);
    g_assert_cmpuint(target_count(&target.longest), <=, 63 * 512);
    g_assert_cmpuint(target_count(&target.longest), ==, 7 * PAGE);
    close_and_check(r, s);
    target_stop();
}

static void test_redirect(void)
{
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    int64_t start = g_get_monotonic_time();
    PagecacheReader *r;

    target_start();
    target.redirects = 2;
    r = target_open(s, &config);
    submit(r, s, 0, 500);
    g_assert(sink_wait(s, 500, 5000));
    assert_ret(s, 0, 500, 0);
    g_assert_cmpuint(target_count(&target.connections), ==, 3);
    close_and_check(r, s);
    target_stop();

    /* in a circle: slowly, and not for ever */
    target_start();
    target.redirects = 1000000;
    s = sink_new(1000, 0);
    config = sink_config(s);
    config.deadline_ms = 500;
    r = target_open(s, &config);
    while (reader_state(r) != PAGECACHE_READER_FAILED) {
        submit(r, s, 0, 1);
        g_usleep(50 * 1000);
    }
    g_assert_cmpint(g_get_monotonic_time() - start, <, 10 * G_USEC_PER_SEC);
    g_assert_cmpuint(target_count(&target.connections), <, 40);
    close_and_check(r, s);
    target_stop();
}

static void test_login_silent(void)
{
    Sink *s = sink_new(1000, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r;

    target_start();
    target.login_silent = true;
    config.deadline_ms = 200;
    r = target_open(s, &config);
    submit(r, s, 0, 10);
    g_assert(sink_wait(s, 10, 5000));
    assert_ret(s, 0, 10, -ETIMEDOUT);
    g_usleep(50 * 1000);
    assert_error(r, "login: no answer in time");
    close_and_check(r, s);
    target_stop();
}

static void test_geometry(void)
{
    static const struct {
        uint64_t last_lba;
        uint32_t block_size;
        const char *error;
    } bad[] = {
        { 1000, 0, "READ CAPACITY(16): unexpected answer" },
        { UINT64_MAX, 512, "READ CAPACITY(16): unexpected answer" },
        { UINT64_MAX / 512, 512, "READ CAPACITY(16): unexpected answer" },
        { 1000, 0xffffffff, "READ CAPACITY(16): unexpected answer" },
        { 1000, 520, "block length is 520 bytes, expected a power of two up "
          "to 65536" },
        { 1000, 131072, "block length is 131072 bytes, expected a power of "
          "two up to 65536" },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(bad); i++) {
        Sink *s = sink_new(100, 0);
        PagecacheReaderConfig config = sink_config(s);
        PagecacheReader *r;

        target_start();
        target.last_lba = bad[i].last_lba;
        target.block_size = bad[i].block_size;
        r = target_open(s, &config);
        submit(r, s, 0, 10);
        g_assert(sink_wait(s, 10, 10000));
        assert_ret(s, 0, 10, -EIO);
        assert_error(r, bad[i].error);
        close_and_check(r, s);
        target_stop();
    }
}

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    if (!pagecache_reader_iscsi_ops) {
        g_print("1..0 # SKIP built without libiscsi\n");
        return 0;
    }
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *name = g_strdup_printf("/pagecache-reader-target/%s",
                                                cases[i].name);

        g_test_add_data_func(name, &cases[i], test_case);
    }
    g_test_add_func("/pagecache-reader-target/one-silent", test_one_silent);
    g_test_add_func("/pagecache-reader-target/close-in-retry",
                    test_close_in_retry);
    g_test_add_func("/pagecache-reader-target/attentions", test_attentions);
    g_test_add_func("/pagecache-reader-target/max-transfer",
                    test_max_transfer);
    g_test_add_func("/pagecache-reader-target/redirect", test_redirect);
    g_test_add_func("/pagecache-reader-target/login-silent",
                    test_login_silent);
    g_test_add_func("/pagecache-reader-target/geometry", test_geometry);
    return g_test_run();
}
