/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Somebody in the middle of a migration with skip-pagecache, for qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The stream is not parsed as a whole: sections are found by their type and
 * id, and by what must follow.  The guest's memory is random but not secret,
 * so nothing in it looks like that.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/bswap.h"
#include "pagecache-test-proxy.h"

#define SECTION_NAME    "pagecache"
/* u8 type, u32 id; with a name also u8 length, name, u32 instance, version */
#define PART_HEADER     5
#define START_HEADER    (PART_HEADER + 1 + strlen(SECTION_NAME) + 8)
#define FOOTER_LEN      5

struct PctProxy {
    PcTest *t;
    PctProxySection *section;
    PctProxyReport *report;
    void *opaque;
    bool blind;
    char *path;                 /* of listen_fd */
    int listen_fd, src, dst;    /* -1: closed; the thread's */
    int wake;                   /* eventfd */
    GThread *thread;
    bool cut;                   /* the thread's */
    GByteArray *forward;        /* the thread's: not yet sent */
    GByteArray *backward;

    GMutex lock;                /* for the rest */
    bool quit;
    bool stall;
    bool hold;
    uint16_t swallow;           /* message type; 0: none */
    bool hold_verdict;
    bool end_return_path;
    bool ignore;                /* what comes back is not read */
    int given;                  /* connected with the destination; -1: none */
    GQueue held;                /* of GByteArray: whole messages */
    GByteArray *verdict;        /* the same, one at most */
    GQueue injected;            /* the same */
    GByteArray *recorded;
    GByteArray *start_body;
    GArray *offers;             /* of PctOffer */
};

/* --- sections --- */

unsigned pct_frame_offset(const GByteArray *section)
{
    return section->data[0] == SECTION_START ? START_HEADER : PART_HEADER;
}

uint8_t pct_frame_type(const GByteArray *section)
{
    return section->data[pct_frame_offset(section)];
}

uint8_t *pct_frame_body(const GByteArray *section, uint32_t *len)
{
    uint8_t *frame = section->data + pct_frame_offset(section);

    *len = ldl_be_p(frame + 1);
    return frame + FRAME_HEADER;
}

void pct_frame_splice(GByteArray *section, uint32_t at, uint32_t old,
                      const void *data, uint32_t len)
{
    g_autoptr(GByteArray) rest = g_byte_array_new();
    unsigned frame = pct_frame_offset(section);
    uint32_t body_len = ldl_be_p(section->data + frame + 1);
    unsigned from = frame + FRAME_HEADER + at;

    g_assert_cmpuint(at + old, <=, body_len);
    g_byte_array_append(rest, section->data + from + old,
                        section->len - from - old);
    g_byte_array_set_size(section, from);
    g_byte_array_append(section, data, len);
    g_byte_array_append(section, rest->data, rest->len);
    stl_be_p(section->data + frame + 1, body_len - old + len);
}

/*
 * Is there a section at @buf, whose first five bytes look like one?  Its
 * length; 0: there is none; -1: more bytes are needed to tell.
 */
static ssize_t section_len(const uint8_t *buf, size_t len)
{
    size_t header = PART_HEADER, end;

    if (buf[0] == SECTION_START) {
        header = START_HEADER;
        if (len >= header &&
            (buf[PART_HEADER] != strlen(SECTION_NAME) ||
             memcmp(buf + PART_HEADER + 1, SECTION_NAME,
                    strlen(SECTION_NAME)))) {
            return 0;
        }
    }
    if (len < header + FRAME_HEADER) {
        return -1;
    }
    if (buf[header] < FRAME_START ||
        (buf[header] > FRAME_END && buf[header] != FRAME_MAP) ||
        ldl_be_p(buf + header + 1) > 4 * MiB) {
        return 0;
    }
    end = header + FRAME_HEADER + ldl_be_p(buf + header + 1);
    if (buf[0] == SECTION_START) {
        /* The footer comes when the destination has answered. */
        return len < end ? -1 : end;
    }
    if (len < end + FOOTER_LEN) {
        return -1;
    }
    if (buf[end] != SECTION_FOOTER || ldl_be_p(buf + end + 1) != SECTION_ID) {
        return 0;
    }
    return end + FOOTER_LEN;
}

/* --- the thread --- */

static void close_all(PctProxy *p)
{
    int *fds[] = { &p->src, &p->dst, &p->listen_fd };
    int i;

    for (i = 0; i < ARRAY_SIZE(fds); i++) {
        if (*fds[i] >= 0) {
            close(*fds[i]);
            *fds[i] = -1;
        }
    }
}

static void send_all(PctProxy *p, int fd, const uint8_t *data, size_t len)
{
    while (fd >= 0 && len) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            shutdown(fd, SHUT_RDWR);    /* the next read finds the end */
            return;
        }
        data += n;
        len -= n;
    }
}

static void record_offers(PctProxy *p, const GByteArray *section)
{
    uint32_t len, n, i;
    const uint8_t *body = pct_frame_body(section, &len);

    n = len >= 4 ? ldl_be_p(body) : 0;
    g_mutex_lock(&p->lock);
    for (i = 0; i < n; i++) {
        const uint8_t *at = body + 4 + i * OFFER_LEN;
        PctOffer o = {
            .disk = ldl_be_p(at), .block = ldl_be_p(at + 4),
            .npages = ldl_be_p(at + 8), .page = ldq_be_p(at + 12),
            .sector = ldq_be_p(at + 20),
        };

        g_array_append_val(p->offers, o);
    }
    g_mutex_unlock(&p->lock);
}

static void pass_section(PctProxy *p, const uint8_t *data, size_t len)
{
    g_autoptr(GByteArray) section = g_byte_array_new();

    g_byte_array_append(section, data, len);
    if (pct_frame_type(section) == FRAME_OFFERS) {
        record_offers(p, section);
    }
    if (pct_frame_type(section) == FRAME_START) {
        uint32_t body_len;
        uint8_t *body = pct_frame_body(section, &body_len);

        g_mutex_lock(&p->lock);
        g_byte_array_set_size(p->start_body, 0);
        g_byte_array_append(p->start_body, body, body_len);
        g_mutex_unlock(&p->lock);
    }
    if (p->section) {
        p->section(p->opaque, section);
    }
    send_all(p, p->dst, section->data, section->len);
    if (p->cut) {
        close_all(p);
    }
}

/* @which: one of those under the lock */
static bool is_set(PctProxy *p, const bool *which)
{
    bool set;

    g_mutex_lock(&p->lock);
    set = *which;
    g_mutex_unlock(&p->lock);
    return set;
}

static void pass_all(PctProxy *p, int fd, GByteArray *bytes)
{
    send_all(p, fd, bytes->data, bytes->len);
    g_byte_array_set_size(bytes, 0);
}

/* Sends what is complete of p->forward. */
static void pass_forward(PctProxy *p)
{
    static const uint8_t id[] = { 0x50, 0x47, 0x43, 0x01 };
    const uint8_t *buf = p->forward->data;
    size_t len = p->forward->len, done = 0, at = 0;

    while (at < len && !is_set(p, &p->stall)) {
        const uint8_t *found = memmem(buf + at, len - at, id, sizeof(id));
        size_t keep, k;
        ssize_t n;

        if (!found) {
            /* The last bytes may be the beginning of one. */
            at = len;
            for (keep = MIN(len - done, sizeof(id)); keep; keep--) {
                const uint8_t *tail = buf + len - keep;

                for (k = 1; k < keep && tail[k] == id[k - 1]; k++) {
                    /* nothing */
                }
                if (k == keep && tail[0] >= SECTION_START &&
                    tail[0] <= SECTION_END) {
                    at = len - keep;
                    break;
                }
            }
            break;
        }
        at = found - buf;
        if (at == done || found[-1] < SECTION_START ||
            found[-1] > SECTION_END) {
            at += sizeof(id);
            continue;
        }
        n = section_len(found - 1, len - at + 1);
        if (n < 0) {
            at--;
            break;
        }
        if (n == 0) {
            at += sizeof(id);
            continue;
        }
        send_all(p, p->dst, buf + done, at - 1 - done);
        pass_section(p, found - 1, n);
        at += n - 1;
        done = at;
    }
    send_all(p, p->dst, buf + done, at - done);
    g_byte_array_remove_range(p->forward, 0, at);
}

static void send_message(PctProxy *p, GByteArray *message)
{
    send_all(p, p->src, message->data, message->len);
    g_byte_array_unref(message);
}

static GByteArray *message_new(uint16_t type, const void *data, uint16_t len)
{
    GByteArray *message = g_byte_array_new();
    uint8_t header[4];

    stw_be_p(header, type);
    stw_be_p(header + 2, len);
    g_byte_array_append(message, header, sizeof(header));
    g_byte_array_append(message, data, len);
    return message;
}

static void pass_report(PctProxy *p, const uint8_t *data, uint16_t len)
{
    g_autoptr(GByteArray) body = g_byte_array_new();
    GByteArray *message;
    bool hold;

    g_byte_array_append(body, data, len);
    if (p->report && !p->report(p->opaque, body)) {
        return;
    }
    message = message_new(RP_REPORT, body->data, body->len);
    g_mutex_lock(&p->lock);
    hold = p->hold && body->data[REPORT_STATUS] != REPORT_ACCEPTED;
    if (hold) {
        g_queue_push_tail(&p->held, message);
    }
    g_mutex_unlock(&p->lock);
    if (!hold) {
        send_message(p, message);
    }
}

static void pass_verdict(PctProxy *p, const uint8_t *data, uint16_t len)
{
    GByteArray *message = message_new(RP_SHUT, data, len);

    g_mutex_lock(&p->lock);
    if (p->hold_verdict) {
        g_assert_null(p->verdict);
        p->verdict = g_steal_pointer(&message);
    }
    g_mutex_unlock(&p->lock);
    if (message) {
        send_message(p, message);
    }
}

static void pass_backward(PctProxy *p)
{
    while (p->backward->len >= 4) {
        const uint8_t *buf = p->backward->data;
        uint16_t len = lduw_be_p(buf + 2);
        uint16_t swallow;

        if (p->backward->len < 4 + len) {
            break;
        }
        g_mutex_lock(&p->lock);
        swallow = p->swallow;
        g_mutex_unlock(&p->lock);
        if (lduw_be_p(buf) == RP_REPORT) {
            pass_report(p, buf + 4, len);
        } else if (lduw_be_p(buf) == RP_SHUT) {
            pass_verdict(p, buf + 4, len);
        } else if (lduw_be_p(buf) != swallow) {
            send_all(p, p->src, buf, 4 + len);
        }
        g_byte_array_remove_range(p->backward, 0, 4 + len);
    }
}

static void pass_queued(PctProxy *p)
{
    GByteArray *message;

    do {
        g_mutex_lock(&p->lock);
        message = g_queue_pop_head(&p->injected);
        if (!message && !p->hold) {
            message = g_queue_pop_head(&p->held);
        }
        if (!message && !p->hold_verdict) {
            message = g_steal_pointer(&p->verdict);
        }
        g_mutex_unlock(&p->lock);
        if (message) {
            send_message(p, message);
        }
    } while (message);
}

/* False at the end */
static bool receive(PctProxy *p, int fd, GByteArray *to, bool record)
{
    static const size_t size = 256 * KiB;
    guint old = to->len;
    ssize_t n;

    g_byte_array_set_size(to, old + size);
    do {
        n = recv(fd, to->data + old, size, 0);
    } while (n < 0 && errno == EINTR);
    g_byte_array_set_size(to, old + MAX(n, 0));
    if (n > 0 && record) {
        g_mutex_lock(&p->lock);
        g_byte_array_append(p->recorded, to->data + old, n);
        g_mutex_unlock(&p->lock);
    }
    return n > 0;
}

/* The destination has left.  If its last word waits here, so does the source. */
static bool left_its_word(PctProxy *p)
{
    if (!pct_proxy_verdict_held(p)) {
        return false;
    }
    close(p->dst);
    p->dst = -1;
    return true;
}

/* Is it to end?  Whatever comes back from now on is dropped, then. */
static bool end_return_path(PctProxy *p)
{
    bool end;

    g_mutex_lock(&p->lock);
    end = p->end_return_path;
    g_mutex_unlock(&p->lock);
    if (end && p->src >= 0) {
        shutdown(p->src, SHUT_WR);
        g_byte_array_set_size(p->backward, 0);
    }
    return end;
}

static void accept_source(PctProxy *p)
{
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    p->src = accept(p->listen_fd, NULL, NULL);
    close(p->listen_fd);
    p->listen_fd = -1;
    g_mutex_lock(&p->lock);
    p->dst = p->given;
    p->given = -1;
    g_mutex_unlock(&p->lock);
    if (p->dst >= 0) {
        return;
    }
    p->dst = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_strlcpy(addr.sun_path, p->t->uri + strlen("unix:"),
              sizeof(addr.sun_path));
    if (connect(p->dst, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
        close_all(p);
    }
}

static gpointer proxy_thread(gpointer opaque)
{
    PctProxy *p = opaque;

    while (!is_set(p, &p->quit)) {
        struct pollfd fds[] = {
            { .fd = p->wake, .events = POLLIN },
            { .fd = p->listen_fd, .events = POLLIN },
            { .fd = p->src, .events = POLLIN },
            { .fd = is_set(p, &p->ignore) ? -1 : p->dst, .events = POLLIN },
        };
        bool end = false;
        uint64_t count;

        if (poll(fds, ARRAY_SIZE(fds), -1) < 0) {
            continue;
        }
        if (fds[0].revents) {
            g_assert_cmpint(read(p->wake, &count, 8), ==, 8);
            pass_forward(p);    /* what had to wait */
        }
        if (fds[1].revents) {
            accept_source(p);
            continue;
        }
        if (fds[2].revents) {
            end = !receive(p, p->src, p->forward, true);
            if (p->blind) {
                pass_all(p, p->dst, p->forward);
            } else {
                pass_forward(p);
            }
        }
        if (fds[3].revents) {
            bool left = !receive(p, p->dst, p->backward, false);

            if (p->blind) {
                pass_all(p, p->src, p->backward);
            } else if (!end_return_path(p)) {
                pass_backward(p);
            }
            end = (left && !left_its_word(p)) || end;
        }
        if (end) {
            close_all(p);
        }
        if (!end_return_path(p)) {
            pass_queued(p);
        }
    }
    close_all(p);
    return NULL;
}

/* --- the test's side --- */

static void wake(PctProxy *p)
{
    uint64_t one = 1;

    g_assert_cmpint(write(p->wake, &one, 8), ==, 8);
}

static PctProxy *proxy_new(PcTest *t, PctProxySection *section,
                           PctProxyReport *report, void *opaque, bool blind)
{
    PctProxy *p = g_new0(PctProxy, 1);

    p->t = t;
    p->blind = blind;
    p->section = section;
    p->report = report;
    p->opaque = opaque;
    p->src = p->dst = p->given = -1;
    p->path = pct_path(t, "proxy");
    unlink(p->path);
    p->listen_fd = qtest_socket_server(p->path);
    p->wake = eventfd(0, EFD_CLOEXEC);
    g_assert_cmpint(p->wake, >=, 0);
    p->forward = g_byte_array_new();
    p->backward = g_byte_array_new();
    p->recorded = g_byte_array_new();
    p->start_body = g_byte_array_new();
    p->offers = g_array_new(FALSE, FALSE, sizeof(PctOffer));
    g_mutex_init(&p->lock);
    g_queue_init(&p->held);
    g_queue_init(&p->injected);
    g_free(t->connect_uri);
    t->connect_uri = g_strdup_printf("unix:%s", p->path);
    p->thread = g_thread_new("proxy", proxy_thread, p);
    return p;
}

PctProxy *pct_proxy_new(PcTest *t, PctProxySection *section,
                        PctProxyReport *report, void *opaque)
{
    return proxy_new(t, section, report, opaque, false);
}

PctProxy *pct_proxy_new_blind(PcTest *t)
{
    return proxy_new(t, NULL, NULL, NULL, true);
}

static void free_message(gpointer data)
{
    g_byte_array_unref(data);
}

void pct_proxy_free(PctProxy *p)
{
    g_mutex_lock(&p->lock);
    p->quit = true;
    g_mutex_unlock(&p->lock);
    wake(p);
    g_thread_join(p->thread);

    g_clear_pointer(&p->t->connect_uri, g_free);
    g_queue_clear_full(&p->held, free_message);
    g_queue_clear_full(&p->injected, free_message);
    g_byte_array_unref(p->forward);
    g_byte_array_unref(p->backward);
    g_byte_array_unref(p->recorded);
    g_byte_array_unref(p->start_body);
    g_array_unref(p->offers);
    g_clear_pointer(&p->verdict, g_byte_array_unref);
    g_mutex_clear(&p->lock);
    if (p->given >= 0) {
        close(p->given);
    }
    close(p->wake);
    g_free(p->path);
    g_free(p);
}

void pct_proxy_cut(PctProxy *p)
{
    p->cut = true;
}

void pct_proxy_stall(PctProxy *p)
{
    g_mutex_lock(&p->lock);
    p->stall = true;
    g_mutex_unlock(&p->lock);
}

void pct_proxy_go_on(PctProxy *p)
{
    g_mutex_lock(&p->lock);
    p->stall = false;
    g_mutex_unlock(&p->lock);
    wake(p);
}

void pct_proxy_hold(PctProxy *p, bool hold)
{
    g_mutex_lock(&p->lock);
    p->hold = hold;
    g_mutex_unlock(&p->lock);
    wake(p);
}

void pct_proxy_swallow(PctProxy *p, uint16_t type)
{
    g_mutex_lock(&p->lock);
    p->swallow = type;
    g_mutex_unlock(&p->lock);
}

unsigned pct_proxy_held(PctProxy *p)
{
    unsigned n;

    g_mutex_lock(&p->lock);
    n = g_queue_get_length(&p->held);
    g_mutex_unlock(&p->lock);
    return n;
}

void pct_proxy_hold_verdict(PctProxy *p, bool hold)
{
    g_mutex_lock(&p->lock);
    p->hold_verdict = hold;
    g_mutex_unlock(&p->lock);
    wake(p);
}

bool pct_proxy_verdict_held(PctProxy *p)
{
    bool held;

    g_mutex_lock(&p->lock);
    held = p->verdict;
    g_mutex_unlock(&p->lock);
    return held;
}

void pct_proxy_ignore(PctProxy *p, bool ignore)
{
    g_mutex_lock(&p->lock);
    p->ignore = ignore;
    g_mutex_unlock(&p->lock);
    wake(p);
}

void pct_proxy_use(PctProxy *p, int fd)
{
    g_mutex_lock(&p->lock);
    p->given = fd;
    g_mutex_unlock(&p->lock);
}

void pct_proxy_end_return_path(PctProxy *p)
{
    g_mutex_lock(&p->lock);
    p->end_return_path = true;
    g_mutex_unlock(&p->lock);
    wake(p);
}

void pct_proxy_inject(PctProxy *p, uint16_t type, const void *data,
                      uint16_t len)
{
    g_mutex_lock(&p->lock);
    g_queue_push_tail(&p->injected, message_new(type, data, len));
    g_mutex_unlock(&p->lock);
    wake(p);
}

static GByteArray *copy(PctProxy *p, const GByteArray *from)
{
    GByteArray *to = g_byte_array_new();

    g_mutex_lock(&p->lock);
    g_byte_array_append(to, from->data, from->len);
    g_mutex_unlock(&p->lock);
    return to;
}

GByteArray *pct_proxy_recorded(PctProxy *p)
{
    return copy(p, p->recorded);
}

GByteArray *pct_proxy_start_body(PctProxy *p)
{
    GByteArray *body = copy(p, p->start_body);

    if (!body->len) {
        g_byte_array_unref(body);
        body = NULL;
    }
    return body;
}

uint32_t pct_proxy_offers(PctProxy *p)
{
    uint32_t n;

    g_mutex_lock(&p->lock);
    n = p->offers->len;
    g_mutex_unlock(&p->lock);
    return n;
}

PctOffer pct_proxy_offer(PctProxy *p, uint32_t number)
{
    PctOffer o;

    while (pct_proxy_offers(p) <= number) {
        g_usleep(1000);
    }
    g_mutex_lock(&p->lock);
    o = g_array_index(p->offers, PctOffer, number);
    g_mutex_unlock(&p->lock);
    return o;
}
