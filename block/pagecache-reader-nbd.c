/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw images on NBD
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A session is a thread with a libnbd handle of its own, which no other thread
 * ever touches; others wake it through an eventfd.  Only libnbd's asynchronous
 * calls are used, in a poll loop of our own, so nothing but a name lookup (or
 * the file system where TLS credentials are) can hold the thread up, and
 * nothing holds up anybody else.
 *
 * libnbd knows by a cookie which read has ended.  Its completion callbacks are
 * not used: they don't come for what is in flight when a handle is closed, and
 * they don't know yet whether the server has sent all of the bytes.
 *
 * A server does not like a client that leaves while it owes it an answer
 * (nbdkit 1.32 aborts, and the guest's own disk is gone).  So when a read has
 * passed its deadline, or the reader is closed, the session starts no more
 * reads and takes what still comes, for as long again; nobody waits for that.
 * When the connection breaks, or nothing comes, the handle is closed, which
 * waits for nothing; from then on nothing writes to the bounce buffers, and what
 * was in flight is given back.  Then comes a new handle, after a pause.
 *
 * The first session is alone at first.  The others follow when the server says
 * that it takes several connections (NBD_FLAG_CAN_MULTI_CONN); if it doesn't,
 * the first session has as many reads in flight as all would have had.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/eventfd.h>
#include "pagecache-reader-fault.h"
#include "pagecache-reader-nbd.h"

/* Pauses between attempts to connect */
#define FIRST_BACKOFF_US    100000
#define MAX_BACKOFF_US      2000000
#define REFUSED_BACKOFF_US  1000000
/* In a row: of the first session before it was up ever, or of another one */
#define MAX_REFUSALS        3

/* --- Reads --------------------------------------------------------------- */

static void slot_finish(NbdSession *s, NbdSlot *slot, int ret, const char *why)
{
    PagecacheRead *read = slot->read;

    slot->read = NULL;
    pagecache_reader_complete(s->engine->r, read, ret, why);
}

static void slot_start(NbdSession *s, NbdSlot *slot)
{
    PagecacheRead *read = slot->read;
    uint64_t left = s->size > read->offset ? s->size - read->offset : 0;

    if (left < read->needed) {
        slot_finish(s, slot, -EIO, "the export ends before");
        return;
    }
    slot->cookie = pcr_nbd_pread(s, read->buf, MIN(read->bytes, left),
                                 read->offset);
    if (slot->cookie < 0) {
        slot_finish(s, slot, -EIO, pcr_nbd_error());
    }
}

static void session_finish(NbdSession *s, int64_t cookie)
{
    int ret = 0;
    const char *why = NULL;
    unsigned i;

    /* this is where libnbd looks whether all of the bytes have come */
    if (nbd_aio_command_completed(s->nbd, cookie) < 0) {
        ret = -nbd_get_errno() ?: -EIO;
        why = pcr_nbd_error();
    }
    s->progress |= ret == 0;
    for (i = 0; i < s->depth; i++) {
        if (s->slots[i].read && s->slots[i].cookie == cookie) {
            slot_finish(s, &s->slots[i], ret, why);
            return;
        }
    }
}

static void session_finish_all(NbdSession *s)
{
    int64_t cookie;

    while ((cookie = nbd_aio_peek_command_completed(s->nbd)) > 0) {
        session_finish(s, cookie);
    }
}

/*
 * Starts reads in the free slots.  Returns when to come again at the latest.
 * False: a read has passed its deadline.
 */
static bool session_fill(NbdSession *s, int64_t *until_us)
{
    bool more = true;
    unsigned i;

    *until_us = INT64_MAX;
    for (i = 0; i < s->depth && !s->dead; i++) {
        NbdSlot *slot = &s->slots[i];
        int64_t wait_us;

        if (slot->read) {
            if (pagecache_read_revoked(slot->read)) {
                return false;
            }
            continue;
        }
        if (!more) {
            continue;
        }
        slot->read = pagecache_reader_next(s->engine->r, &wait_us);
        if (slot->read) {
            slot_start(s, slot);
        } else {
            more = false;
            if (wait_us >= 0) {
                *until_us = g_get_monotonic_time() + wait_us;
            }
        }
    }
    return true;
}

static bool session_is_idle(NbdSession *s)
{
    unsigned i;

    for (i = 0; i < s->depth; i++) {
        if (s->slots[i].read) {
            return false;
        }
    }
    return true;
}

/* Takes what still comes, and starts nothing.  False: not all has come. */
static bool session_drain(NbdSession *s)
{
    int64_t until_us = g_get_monotonic_time() +
                       pagecache_reader_deadline_ms(s->engine->r) * 1000LL;

    while (!s->dead && !session_is_idle(s) &&
           g_get_monotonic_time() < until_us) {
        pcr_nbd_poll(s, until_us);
        session_finish_all(s);
    }
    return !s->dead && session_is_idle(s);
}

static void session_serve(NbdSession *s, char **why)
{
    int64_t until_us;

    while (!s->dead && !pagecache_reader_stopping(s->engine->r)) {
        if (!session_fill(s, &until_us)) {
            if (session_drain(s)) {
                continue;
            }
            *why = g_strdup("a read has passed its deadline");
            return;
        }
        s->dead |= pcr_fault_drop_session();
        if (!s->dead) {
            pcr_nbd_poll(s, until_us);
            session_finish_all(s);
        }
    }
    if (s->dead) {
        *why = pcr_nbd_lost(s);
    }
}

/* --- The thread ---------------------------------------------------------- */

static gpointer session_thread(gpointer opaque);

static bool session_start(NbdSession *s)
{
    PagecacheReader *r = s->engine->r;

    pagecache_reader_ref(r);
    if (pagecache_reader_thread("pagecache-nbd", session_thread, s)) {
        return true;
    }
    pagecache_reader_unref(r);
    return false;
}

static bool session_is_first(NbdSession *s)
{
    return s == s->engine->sessions;
}

/* Nothing writes to a bounce buffer of ours after this */
static void session_close(NbdSession *s)
{
    unsigned i;

    nbd_close(s->nbd);
    s->nbd = NULL;
    for (i = 0; i < s->depth; i++) {
        if (s->slots[i].read) {
            slot_finish(s, &s->slots[i], -EIO, "the session has ended");
        }
    }
}

static void session_pause(NbdSession *s, int64_t pause_us)
{
    int64_t until_us = g_get_monotonic_time() + pause_us;

    while (g_get_monotonic_time() < until_us &&
           !pagecache_reader_stopping(s->engine->r)) {
        struct pollfd fd = { .fd = s->wake, .events = POLLIN };

        if (pcr_nbd_sleep(&fd, 1, until_us) > 0) {
            pcr_nbd_drain(s);
        }
    }
}

/* The first session is up: shall it be the only one? */
static void session_decide(NbdSession *s)
{
    NbdEngine *e = s->engine;
    unsigned i;

    if (!session_is_first(s)) {
        return;
    }
    s->depth = s->multi_conn ? e->depth : e->max_depth;
    if (s->multi_conn && !e->others_started) {
        e->others_started = true;
        for (i = 1; i < e->nsessions && session_start(&e->sessions[i]); i++) {
            /* one that finds no thread is one less */
        }
    }
}

/* False: enough of it */
static bool session_refused(NbdSession *s, bool refused, const char *why)
{
    if (!refused) {
        s->refusals = 0;
        return true;
    }
    if (++s->refusals < MAX_REFUSALS) {
        return true;
    }
    if (session_is_first(s) && !s->depth) {
        pagecache_reader_give_up(s->engine->r, why);
    }
    /* a server that let us in before may be on its way back */
    return session_is_first(s);
}

static gpointer session_thread(gpointer opaque)
{
    NbdSession *s = opaque;
    PagecacheReader *r = s->engine->r;
    int64_t backoff_us = FIRST_BACKOFF_US;

    pcr_nbd_enter();
    while (!pagecache_reader_stopping(r)) {
        g_autofree char *why = NULL;
        bool refused = false, up = false;

        s->progress = false;
        if (pcr_nbd_connect(s, &refused, &why)) {
            if (!session_is_first(s) && !s->multi_conn) {
                /* another server than before: it is for one connection */
                refused = true;
                why = g_strdup("the server takes one connection only");
            } else {
                up = pagecache_reader_up(r, s->size, s->align, s->max_read,
                                         &why);
                refused = !up;
            }
        }
        if (up) {
            session_decide(s);
            session_serve(s, &why);
            if (pagecache_reader_stopping(r) && session_drain(s)) {
                pcr_nbd_disconnect(s);
            }
        }
        session_close(s);
        pagecache_reader_down(r, up, refused, why);
        if (!session_refused(s, refused, why)) {
            break;
        }
        if (s->progress) {
            backoff_us = FIRST_BACKOFF_US;
        }
        session_pause(s, refused ? REFUSED_BACKOFF_US :
                      backoff_us + g_random_int_range(0, backoff_us / 4));
        backoff_us = MIN(backoff_us * 2, MAX_BACKOFF_US);
    }
    pcr_nbd_leave();
    pagecache_reader_unref(r);
    return NULL;
}

/* --- For the reader ------------------------------------------------------ */

static void nbd_kick(void *opaque)
{
    NbdEngine *e = opaque;
    uint64_t one = 1;
    unsigned i;

    for (i = 0; i < e->nsessions; i++) {
        /* fails only when the counter is full: then it is awake anyway */
        if (write(e->sessions[i].wake, &one, sizeof(one)) < 0) {
            continue;
        }
    }
}

static void nbd_free_engine(void *opaque)
{
    NbdEngine *e = opaque;
    unsigned i;

    for (i = 0; i < e->nsessions; i++) {
        close(e->sessions[i].wake);
        g_free(e->sessions[i].error);
        g_free(e->sessions[i].slots);
    }
    g_free(e->sessions);
    g_free(e);
}

static bool session_init(NbdEngine *e, NbdSession *s)
{
    s->engine = e;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0) {
        return false;
    }
    /* the first one decides when it is up */
    s->depth = s == e->sessions ? 0 : e->depth;
    s->slots = g_new0(NbdSlot, e->max_depth);
    return true;
}

static void *nbd_start(PagecacheReader *r, const PagecacheReaderSpec *spec,
                       unsigned sessions, unsigned depth, char **why)
{
    NbdEngine *e = g_new0(NbdEngine, 1);

    e->r = r;
    e->spec = spec;
    e->depth = depth;
    e->max_depth = depth * sessions;
    e->sessions = g_new0(NbdSession, sessions);
    if (!pagecache_reader_fds_reserve(sessions, why)) {
        nbd_free_engine(e);
        return NULL;
    }
    /* complete before the first thread: kick() walks over all of them */
    while (e->nsessions < sessions &&
           session_init(e, &e->sessions[e->nsessions])) {
        e->nsessions++;
    }
    pagecache_reader_fds_opened(sessions);
    if (!e->nsessions || !session_start(e->sessions)) {
        *why = g_strdup("cannot create a thread or an eventfd");
        nbd_free_engine(e);
        return NULL;
    }
    return e;
}

static void nbd_spec_free(PagecacheReaderSpec *spec)
{
    g_free(spec->u.nbd.path);
    g_free(spec->u.nbd.host);
    g_free(spec->u.nbd.port);
    g_free(spec->u.nbd.export);
    g_free(spec->u.nbd.tls_dir);
    g_free(spec->u.nbd.tls_user);
}

static const PagecacheEngineOps nbd_ops = {
    .name = "nbd",
    .start = nbd_start,
    .kick = nbd_kick,
    .free = nbd_free_engine,
    .spec_free = nbd_spec_free,
};

static void __attribute__((constructor)) nbd_register(void)
{
    pagecache_reader_nbd_ops = &nbd_ops;
}
