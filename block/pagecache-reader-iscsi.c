/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw images on iSCSI
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A session is a thread with a libiscsi context of its own, which no other
 * thread ever touches; others wake it through an eventfd.  Only libiscsi's
 * asynchronous calls are used, in a poll loop of our own, so nothing but a
 * name lookup can hold the thread up, and nothing holds up anybody else.
 *
 * libiscsi's own reconnecting is switched off: it puts commands into the
 * queue again for ever and out of reach.  When the connection breaks, or a
 * read has passed its deadline, the context is destroyed, which closes the
 * socket and cancels all commands: from then on nothing writes to their
 * bounce buffers.  Then comes a new context, after a pause.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/eventfd.h>
#include "pagecache-reader-fault.h"
#include "pagecache-reader-iscsi.h"

/* libiscsi's limit for names, passwords and portals, in bytes */
#define MAX_STRING          255u
/* Answers other than data or an error that a read gets */
#define MAX_RETRIES         5
#define FIRST_RETRY_US      8000
/* Pauses between attempts to connect */
#define FIRST_BACKOFF_US    100000
#define MAX_BACKOFF_US      2000000
#define REFUSED_BACKOFF_US  1000000
/* Descriptors: a socket and an eventfd */
#define SESSION_FDS         2u
/* One marker in the bounce buffer each */
#define MARKER_STEP         4096u

/* --- Reads --------------------------------------------------------------- */

/*
 * A target that says GOOD and sends less than it was asked for would leave
 * the bytes of an earlier read in the buffer, to be taken for data.  libiscsi
 * doesn't count what arrives, so leave marks that data overwrites.
 */
static void set_markers(IscsiSession *s, PagecacheRead *read)
{
    uint32_t pos;

    for (pos = MARKER_STEP; pos < read->bytes; pos += MARKER_STEP) {
        memcpy(read->buf + pos - sizeof(s->marker), &s->marker,
               sizeof(s->marker));
    }
    memcpy(read->buf + read->bytes - sizeof(s->marker), &s->marker,
           sizeof(s->marker));
}

static bool any_marker(IscsiSession *s, PagecacheRead *read)
{
    uint32_t pos;

    for (pos = MARKER_STEP; pos < read->bytes; pos += MARKER_STEP) {
        if (!memcmp(read->buf + pos - sizeof(s->marker), &s->marker,
                    sizeof(s->marker))) {
            return true;
        }
    }
    return !memcmp(read->buf + read->bytes - sizeof(s->marker), &s->marker,
                   sizeof(s->marker));
}

static void slot_finish(IscsiSlot *slot, int ret, const char *why)
{
    PagecacheRead *read = slot->read;

    slot->read = NULL;
    slot->retry_us = 0;
    pagecache_reader_complete(slot->session->engine->r, read, ret, why);
}

/* Microseconds after which to try again, or -1 */
static int64_t retry_delay(IscsiSlot *slot, int status, struct scsi_task *task)
{
    int64_t delay = (int64_t)FIRST_RETRY_US << (2 * slot->retries);

    if (slot->retries >= MAX_RETRIES) {
        return -1;
    }
    switch (status) {
    case SCSI_STATUS_BUSY:
    case SCSI_STATUS_TASK_SET_FULL:
        return delay;
    case SCSI_STATUS_TASK_ABORTED:
        return 0;
    case SCSI_STATUS_CHECK_CONDITION:
        switch (task->sense.key) {
        case SCSI_SENSE_UNIT_ATTENTION:
        case SCSI_SENSE_COMMAND_ABORTED:
            return 0;
        case SCSI_SENSE_NOT_READY:
            return delay;
        default:
            return -1;
        }
    default:
        return -1;
    }
}

static void read_cb(struct iscsi_context *iscsi, int status,
                    void *command_data, void *opaque)
{
    IscsiSlot *slot = opaque;
    IscsiSession *s = slot->session;
    struct scsi_task *task = command_data;
    const char *why = NULL;
    int64_t delay;
    int ret = -EIO;

    delay = task ? retry_delay(slot, status, task) : -1;
    if (status == SCSI_STATUS_GOOD && task) {
        if (pcr_fault_short_read()) {
            set_markers(s, slot->read);
        }
        if (task->residual_status != SCSI_RESIDUAL_NO_RESIDUAL) {
            why = "the target sent another number of bytes";
        } else if (any_marker(s, slot->read)) {
            why = "the target sent too few bytes";
        } else {
            ret = 0;
        }
    } else if (status == SCSI_STATUS_CANCELLED) {
        pcr_iscsi_note_error(s);
        s->dead = true;
        why = "the session has ended";
    } else {
        why = iscsi_get_error(iscsi);
    }
    if (task) {
        scsi_free_scsi_task(task);
    }

    if (delay >= 0 && !pagecache_read_revoked(slot->read)) {
        slot->retries++;
        slot->retry_us = g_get_monotonic_time() + delay;
        return;
    }
    s->progress |= ret == 0;
    slot_finish(slot, ret, why);
}

static void slot_start(IscsiSlot *slot)
{
    IscsiSession *s = slot->session;
    PagecacheRead *read = slot->read;
    uint64_t lba = read->offset / s->block_size;
    int lun = s->engine->spec->u.iscsi.lun;
    struct scsi_task *task;

    slot->retry_us = 0;
    slot->iov.iov_base = read->buf;
    slot->iov.iov_len = read->bytes;
    set_markers(s, read);
    if (s->short_commands) {
        /* 32 bits of block number, 16 of their number: more than it has */
        task = iscsi_read10_iov_task(s->iscsi, lun, lba, read->bytes,
                                     s->block_size, 0, 0, 0, 0, 0, read_cb,
                                     slot, &slot->iov, 1);
    } else {
        task = iscsi_read16_iov_task(s->iscsi, lun, lba, read->bytes,
                                     s->block_size, 0, 0, 0, 0, 0, read_cb,
                                     slot, &slot->iov, 1);
    }
    if (!task) {
        s->dead = true;
        slot_finish(slot, -EIO, iscsi_get_error(s->iscsi));
    }
}

/*
 * Starts reads in the free slots.  Returns when to come again at the latest.
 * False: a read has passed its deadline.
 */
static bool session_fill(IscsiSession *s, int64_t *until_us)
{
    PagecacheReader *r = s->engine->r;
    int64_t now = g_get_monotonic_time();
    bool more = true;
    unsigned i;

    *until_us = INT64_MAX;
    for (i = 0; i < s->engine->depth && !s->dead; i++) {
        IscsiSlot *slot = &s->slots[i];

        if (slot->read && pagecache_read_revoked(slot->read)) {
            return false;
        }
        if (!slot->read && more) {
            int64_t wait_us;

            slot->read = pagecache_reader_next(r, &wait_us);
            if (slot->read) {
                slot->retries = 0;
                slot_start(slot);
            } else {
                more = false;
                if (wait_us >= 0) {
                    *until_us = MIN(*until_us, now + wait_us);
                }
            }
        } else if (slot->retry_us && slot->retry_us <= now) {
            slot_start(slot);
        } else if (slot->retry_us) {
            *until_us = MIN(*until_us, slot->retry_us);
        }
    }
    return true;
}

static void session_serve(IscsiSession *s, char **why)
{
    PagecacheReader *r = s->engine->r;
    int64_t until_us;

    while (!s->dead && !pagecache_reader_stopping(r)) {
        if (!session_fill(s, &until_us)) {
            *why = g_strdup("a read has passed its deadline");
            return;
        }
        pcr_iscsi_flush(s);
        s->dead |= pcr_fault_drop_session();
        if (!s->dead) {
            pcr_iscsi_poll(s, until_us);
        }
    }
    if (s->dead) {
        *why = pcr_iscsi_lost(s);
    }
}

/* --- The thread ---------------------------------------------------------- */

static bool session_is_idle(IscsiSession *s)
{
    unsigned i;

    for (i = 0; i < s->engine->depth; i++) {
        if (s->slots[i].read) {
            return false;
        }
    }
    return true;
}

/* Nothing writes to a bounce buffer of ours after this */
static void session_destroy(IscsiSession *s)
{
    unsigned i;

    if (!s->iscsi) {
        return;
    }
    iscsi_destroy_context(s->iscsi);
    s->iscsi = NULL;
    pcr_iscsi_free_step(s);
    for (i = 0; i < s->engine->depth; i++) {
        if (s->slots[i].read) {     /* waited to be tried again */
            slot_finish(&s->slots[i], -EIO, "the session has ended");
        }
    }
}

static void session_pause(IscsiSession *s, int64_t pause_us)
{
    int64_t until_us = g_get_monotonic_time() + pause_us;

    while (g_get_monotonic_time() < until_us &&
           !pagecache_reader_stopping(s->engine->r)) {
        struct pollfd fd = { .fd = s->wake, .events = POLLIN };

        if (poll(&fd, 1, pcr_iscsi_timeout_ms(until_us)) > 0) {
            pcr_iscsi_drain(s);
        }
    }
}

static bool session_connect(IscsiSession *s, bool *refused, char **why)
{
    bool ok;

    if (!pagecache_reader_fds_reserve(1, why)) {
        return false;
    }
    ok = pcr_iscsi_connect(s, refused, why);
    pagecache_reader_fds_opened(1);
    return ok;
}

static gpointer session_thread(gpointer opaque)
{
    IscsiSession *s = opaque;
    PagecacheReader *r = s->engine->r;
    int64_t backoff_us = FIRST_BACKOFF_US;

    while (!pagecache_reader_stopping(r)) {
        g_autofree char *redirect = g_strdup(s->redirect);
        g_autofree char *why = NULL;
        bool refused = false, up = false;

        s->progress = false;
        if (session_connect(s, &refused, &why)) {
            up = pagecache_reader_up(r, s->size, s->block_size, s->max_read,
                                     &why);
            refused = !up;
        }
        if (up) {
            s->redirects = 0;
            session_serve(s, &why);
            if (!s->dead && pagecache_reader_stopping(r) &&
                session_is_idle(s)) {
                pcr_iscsi_logout(s);
            }
        }
        session_destroy(s);
        pagecache_reader_down(r, up, refused, why);
        if (g_strcmp0(redirect, s->redirect) != 0) {
            continue;
        }
        /* from now on through the front door again */
        g_clear_pointer(&s->redirect, g_free);

        if (s->progress) {
            backoff_us = FIRST_BACKOFF_US;
        }
        session_pause(s, refused ? REFUSED_BACKOFF_US :
                      backoff_us + g_random_int_range(0, backoff_us / 4));
        backoff_us = MIN(backoff_us * 2, MAX_BACKOFF_US);
    }
    pagecache_reader_unref(r);
    return NULL;
}

/* --- For the reader ------------------------------------------------------ */

static void iscsi_kick(void *opaque)
{
    IscsiEngine *e = opaque;
    uint64_t one = 1;
    unsigned i;

    for (i = 0; i < e->nsessions; i++) {
        /* fails only when the counter is full: then it is awake anyway */
        if (write(e->sessions[i].wake, &one, sizeof(one)) < 0) {
            continue;
        }
    }
}

static void iscsi_free_engine(void *opaque)
{
    IscsiEngine *e = opaque;
    unsigned i;

    for (i = 0; i < e->nsessions; i++) {
        close(e->sessions[i].wake);
        g_free(e->sessions[i].error);
        g_free(e->sessions[i].redirect);
        g_free(e->sessions[i].slots);
    }
    g_free(e->sessions);
    g_free(e);
}

static bool spec_is_valid(const PagecacheReaderSpec *spec, char **why)
{
    const struct {
        const char *name, *value;
    } strings[] = {
        { "portal", spec->u.iscsi.portal },
        { "target", spec->u.iscsi.target },
        { "initiator name", spec->u.iscsi.initiator },
        { "user", spec->u.iscsi.user },
        { "password", spec->u.iscsi.password },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(strings); i++) {
        if (strings[i].value && strlen(strings[i].value) > MAX_STRING) {
            *why = g_strdup_printf("the %s has %zu bytes, libiscsi takes up "
                                   "to %u", strings[i].name,
                                   strlen(strings[i].value), MAX_STRING);
            return false;
        }
    }
    return true;
}

static bool session_init(IscsiEngine *e, IscsiSession *s)
{
    unsigned i;

    s->engine = e;
    s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake < 0) {
        return false;
    }
    s->marker = (uint64_t)g_random_int() << 32 | g_random_int();
    s->slots = g_new0(IscsiSlot, e->depth);
    for (i = 0; i < e->depth; i++) {
        s->slots[i].session = s;
    }
    return true;
}

static void *iscsi_start(PagecacheReader *r, const PagecacheReaderSpec *spec,
                         unsigned sessions, unsigned depth, char **why)
{
    IscsiEngine *e;
    unsigned started;

    if (!spec_is_valid(spec, why) ||
        !pagecache_reader_fds_reserve(sessions * SESSION_FDS, why)) {
        return NULL;
    }
    /* the sockets come later; each is asked for again */
    pagecache_reader_fds_opened(sessions * SESSION_FDS);
    e = g_new0(IscsiEngine, 1);
    e->r = r;
    e->spec = spec;
    e->depth = depth;
    e->sessions = g_new0(IscsiSession, sessions);
    /* complete before the first thread: kick() walks over all of them */
    while (e->nsessions < sessions &&
           session_init(e, &e->sessions[e->nsessions])) {
        e->nsessions++;
    }
    for (started = 0; started < e->nsessions; started++) {
        pagecache_reader_ref(r);
        if (!pagecache_reader_thread("pagecache-iscsi", session_thread,
                                     &e->sessions[started])) {
            pagecache_reader_unref(r);
            break;
        }
    }
    if (!started) {
        *why = g_strdup("cannot create a thread or an eventfd");
        iscsi_free_engine(e);
        return NULL;
    }
    return e;
}

static void iscsi_spec_free(PagecacheReaderSpec *spec)
{
    g_free(spec->u.iscsi.portal);
    g_free(spec->u.iscsi.target);
    g_free(spec->u.iscsi.initiator);
    g_free(spec->u.iscsi.user);
    if (spec->u.iscsi.password) {
        explicit_bzero(spec->u.iscsi.password,
                       strlen(spec->u.iscsi.password));
        g_free(spec->u.iscsi.password);
    }
}

static const PagecacheEngineOps iscsi_ops = {
    .name = "iscsi",
    .start = iscsi_start,
    .kick = iscsi_kick,
    .free = iscsi_free_engine,
    .spec_free = iscsi_spec_free,
};

static void __attribute__((constructor)) iscsi_register(void)
{
    pagecache_reader_iscsi_ops = &iscsi_ops;
}
