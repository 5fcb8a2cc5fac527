/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the connection of a session of the reader's engine for NBD
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The poll loop, and the steps from a new handle to an export that can be read.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/socket.h>
#include "pagecache-reader-fault.h"
#include "pagecache-reader-nbd.h"

/* A session that is idle at its end takes its leave within */
#define LEAVE_US            500000
/* What a server takes that doesn't say: less than libnbd's and QEMU's limit */
#define DEFAULT_MAX_READ    (32u * 1024 * 1024)
#define MIN_ALIGN           512u

/* --- The end of the process ---------------------------------------------- */

/* A name server may not answer, and nobody waits longer for it. */
#define EXIT_US         (1 * G_USEC_PER_SEC)

static struct {
    GMutex lock;                /* for all */
    GCond cond;                 /* inside is 0 */
    unsigned inside;            /* sessions that may call the library */
    bool over;
} library;

static void library_over(void)
{
    int64_t until_us = g_get_monotonic_time() + EXIT_US;

    g_mutex_lock(&library.lock);
    library.over = true;
    while (library.inside &&
           g_cond_wait_until(&library.cond, &library.lock, until_us)) {
        continue;
    }
    g_mutex_unlock(&library.lock);
}

void pcr_nbd_enter(void)
{
    static bool registered;

    g_mutex_lock(&library.lock);
    if (!registered) {
        registered = true;
        atexit(library_over);
    }
    while (library.over) {
        g_cond_wait(&library.cond, &library.lock);      /* for ever */
    }
    library.inside++;
    g_mutex_unlock(&library.lock);
}

void pcr_nbd_leave(void)
{
    g_mutex_lock(&library.lock);
    if (!--library.inside) {
        g_cond_broadcast(&library.cond);
    }
    g_mutex_unlock(&library.lock);
}

int pcr_nbd_sleep(struct pollfd *fds, unsigned n, int64_t until_us)
{
    int ret;

    pcr_nbd_leave();
    ret = poll(fds, n, pcr_nbd_timeout_ms(until_us));
    pcr_nbd_enter();
    return ret;
}

/* --- Poll loop ----------------------------------------------------------- */

const char *pcr_nbd_error(void)
{
    const char *text = nbd_get_error(), *rest;

    if (!text) {
        return "unknown error";
    }
    /* "nbd_aio_notify_read: ..." */
    rest = g_str_has_prefix(text, "nbd_") ? strstr(text, ": ") : NULL;
    return rest ? rest + 2 : text;
}

static void note_error(NbdSession *s)
{
    if (!s->error) {
        s->error = g_strdup(pcr_nbd_error());
    }
    s->dead = true;
}

char *pcr_nbd_lost(NbdSession *s)
{
    return g_strdup_printf("connection lost%s%s", s->error ? ": " : "",
                           s->error ?: "");
}

void pcr_nbd_drain(NbdSession *s)
{
    uint64_t count;

    /* EAGAIN when it was drained before: fine */
    if (read(s->wake, &count, sizeof(count)) < 0) {
        return;
    }
}

int pcr_nbd_timeout_ms(int64_t until_us)
{
    int64_t left;

    if (until_us == INT64_MAX) {
        return -1;
    }
    left = until_us - g_get_monotonic_time();
    return left <= 0 ? 0 : MIN((left + 999) / 1000, 3600 * 1000);
}

static bool is_over(NbdSession *s)
{
    return nbd_aio_is_dead(s->nbd) > 0 || nbd_aio_is_closed(s->nbd) > 0;
}

int64_t pcr_nbd_pread(NbdSession *s, void *buf, size_t len, uint64_t offset)
{
    /* no callback: see the head of pagecache-reader-nbd.c */
    int64_t cookie = nbd_aio_pread(s->nbd, buf, len, offset,
                                   NBD_NULL_COMPLETION, 0);

    /* it is sent at once, as far as the socket takes it */
    if (is_over(s)) {
        note_error(s);
    }
    return cookie;
}

/*
 * libnbd has no call for an error of the socket: whichever direction it waits
 * for finds out about it.
 */
static void session_service(NbdSession *s, int revents)
{
    unsigned direction = nbd_aio_get_direction(s->nbd);
    const int broken = POLLERR | POLLHUP | POLLNVAL;
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    int ret = 0;

    /* libnbd calls it connecting until the server has told all */
    s->connected |= !getpeername(nbd_aio_get_fd(s->nbd),
                                 (struct sockaddr *)&sa, &len);
    if ((direction & LIBNBD_AIO_DIRECTION_READ) &&
        (revents & (POLLIN | broken))) {
        ret = nbd_aio_notify_read(s->nbd);
    } else if ((direction & LIBNBD_AIO_DIRECTION_WRITE) &&
               (revents & (POLLOUT | broken))) {
        ret = nbd_aio_notify_write(s->nbd);
    }
    if (ret < 0) {
        note_error(s);
    } else if (is_over(s)) {
        s->error = s->error ?: g_strdup("the server has closed it");
        s->dead = true;
    }
}

void pcr_nbd_poll(NbdSession *s, int64_t until_us)
{
    unsigned direction = nbd_aio_get_direction(s->nbd);
    struct pollfd fds[2] = {
        { .fd = nbd_aio_get_fd(s->nbd) },
        { .fd = s->wake, .events = POLLIN },
    };

    if (fds[0].fd < 0) {
        note_error(s);
        return;
    }
    if (direction & LIBNBD_AIO_DIRECTION_READ) {
        fds[0].events |= POLLIN;
    }
    if (direction & LIBNBD_AIO_DIRECTION_WRITE) {
        fds[0].events |= POLLOUT;
    }
    if (pcr_nbd_sleep(fds, 2, until_us) < 0) {
        return;     /* EINTR */
    }
    if (fds[1].revents) {
        pcr_nbd_drain(s);
    }
    if (fds[0].revents) {
        session_service(s, fds[0].revents);
    }
}

/* --- Connecting ---------------------------------------------------------- */

/*
 * libnbd takes a directory without this file for the wish to use the system's
 * certificates, and then does not verify at all.
 */
static bool check_authority(const char *dir, char **why)
{
    g_autofree char *path = g_build_filename(dir, "ca-cert.pem", NULL);

    if (access(path, R_OK) == 0) {
        return true;
    }
    *why = g_strdup_printf("cannot read %s: %s", path, g_strerror(errno));
    return false;
}

static bool set_up_tls(NbdSession *s, char **why)
{
    const PagecacheReaderSpec *spec = s->engine->spec;
    g_autofree char *psk = NULL;

    switch (spec->u.nbd.tls) {
    case PAGECACHE_NBD_PLAIN:
        return nbd_set_tls(s->nbd, LIBNBD_TLS_DISABLE) == 0;
    case PAGECACHE_NBD_X509:
        return check_authority(spec->u.nbd.tls_dir, why) &&
               nbd_set_tls(s->nbd, LIBNBD_TLS_REQUIRE) == 0 &&
               nbd_set_tls_certificates(s->nbd, spec->u.nbd.tls_dir) == 0 &&
               nbd_set_tls_verify_peer(s->nbd, spec->u.nbd.tls_verify) == 0;
    case PAGECACHE_NBD_PSK:
        psk = g_build_filename(spec->u.nbd.tls_dir, "keys.psk", NULL);
        return nbd_set_tls(s->nbd, LIBNBD_TLS_REQUIRE) == 0 &&
               nbd_set_tls_psk_file(s->nbd, psk) == 0 &&
               nbd_set_tls_username(s->nbd, spec->u.nbd.tls_user) == 0;
    }
    g_assert_not_reached();
}

static bool session_create(NbdSession *s, char **why)
{
    const PagecacheReaderSpec *spec = s->engine->spec;

    s->dead = false;
    s->connected = false;
    g_clear_pointer(&s->error, g_free);
    s->nbd = nbd_create();
    if (s->nbd && nbd_set_export_name(s->nbd, spec->u.nbd.export) == 0 &&
        set_up_tls(s, why)) {
        return true;
    }
    if (!*why) {
        *why = g_strdup_printf("cannot set up an NBD session: %s",
                               pcr_nbd_error());
    }
    return false;
}

/* What came to nothing, with the reason; to be freed */
static char *came_to_nothing(NbdSession *s, const char *why)
{
    return g_strdup_printf("%s: %s", s->connected ? "negotiation" : "connect",
                           why);
}

/* Is libnbd's last error one of the connection itself? */
static bool is_unreachable(void)
{
    static const char *const what[] = {
        "connect", "getaddrinfo", "getsockopt", "socket",
    };
    int i;

    for (i = 0; i < G_N_ELEMENTS(what); i++) {
        if (g_str_has_prefix(pcr_nbd_error(), what[i])) {
            return true;
        }
    }
    return false;
}

/*
 * Looks the name up before it returns.  libnbd goes on to negotiate in the same
 * call when the server is quick, and has closed the socket when that fails; its
 * words are all that tells a server that says no from one that isn't there.  (A
 * socket of our own would tell, too, but then TLS does not verify the name.)
 */
static bool start_connecting(NbdSession *s, bool *refused, char **why)
{
    const PagecacheReaderSpec *spec = s->engine->spec;
    int ret;

    if (!pagecache_reader_fds_reserve(1, why)) {
        return false;
    }
    if (spec->u.nbd.path) {
        ret = nbd_aio_connect_unix(s->nbd, spec->u.nbd.path);
    } else {
        ret = nbd_aio_connect_tcp(s->nbd, spec->u.nbd.host, spec->u.nbd.port);
    }
    pagecache_reader_fds_opened(1);
    if (ret < 0) {
        s->connected = *refused = !is_unreachable();
        *why = came_to_nothing(s, pcr_nbd_error());
    }
    return ret == 0;
}

/*
 * False, with *@why set unless the reader is stopping: it came to nothing.  A
 * server that takes no more clients hangs up, perhaps without a word.
 */
static bool wait_ready(NbdSession *s, int64_t until_us, bool *refused,
                       char **why)
{
    while (!s->dead && nbd_aio_is_ready(s->nbd) <= 0) {
        if (pagecache_reader_stopping(s->engine->r)) {
            return false;
        }
        if (g_get_monotonic_time() >= until_us) {
            *why = came_to_nothing(s, "no answer in time");
            return false;
        }
        pcr_nbd_poll(s, until_us);
        if (s->dead) {
            *why = came_to_nothing(s, s->error);
            *refused = s->connected;
        }
    }
    return !s->dead;
}

static bool read_geometry(NbdSession *s, char **why)
{
    int64_t size, min = -1, max = -1;

    size = nbd_get_size(s->nbd);
    if (size >= 0) {
        min = nbd_get_block_size(s->nbd, LIBNBD_SIZE_MINIMUM);
    }
    if (min >= 0) {
        max = nbd_get_block_size(s->nbd, LIBNBD_SIZE_MAXIMUM);
    }
    if (max < 0 || min > UINT32_MAX) {
        *why = g_strdup_printf("size of the export: %s", pcr_nbd_error());
        return false;
    }
    s->size = size;
    s->align = MAX(min, MIN_ALIGN);
    s->max_read = max ? MIN(max, DEFAULT_MAX_READ) : DEFAULT_MAX_READ;
    s->multi_conn = nbd_can_multi_conn(s->nbd) > 0;
    return true;
}

bool pcr_nbd_connect(NbdSession *s, bool *refused, char **why)
{
    int64_t until_us = g_get_monotonic_time() +
                       pagecache_reader_deadline_ms(s->engine->r) * 1000LL;

    if (!session_create(s, why) ||
        pcr_fault_refuse("negotiation", refused, why)) {
        *refused = true;
        return false;
    }
    if (!start_connecting(s, refused, why) ||
        !wait_ready(s, until_us, refused, why)) {
        return false;
    }
    *refused = !read_geometry(s, why);
    return !*refused;
}

void pcr_nbd_disconnect(NbdSession *s)
{
    int64_t until_us = g_get_monotonic_time() + LEAVE_US;

    if (nbd_aio_disconnect(s->nbd, 0) < 0) {
        return;
    }
    while (!s->dead && !is_over(s) && g_get_monotonic_time() < until_us) {
        pcr_nbd_poll(s, until_us);
    }
}
