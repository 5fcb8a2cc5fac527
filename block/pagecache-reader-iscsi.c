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
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include "pagecache-reader-int.h"

/* libiscsi's limit for names, passwords and portals, in bytes */
#define MAX_STRING          255u
/* Answers other than data or an error that a read gets */
#define MAX_RETRIES         5
#define FIRST_RETRY_US      8000
/* UNIT ATTENTIONs that may wait for us after the login */
#define MAX_ATTENTIONS      10
#define MAX_REDIRECTS       3
/* Pauses between attempts to connect */
#define FIRST_BACKOFF_US    100000
#define MAX_BACKOFF_US      2000000
#define REFUSED_BACKOFF_US  1000000
/* A session that is idle at its end is logged out within */
#define LOGOUT_US           500000
/* One marker in the bounce buffer each */
#define MARKER_STEP         4096u

typedef struct IscsiEngine IscsiEngine;
typedef struct IscsiSession IscsiSession;

typedef struct IscsiSlot {
    IscsiSession *session;
    PagecacheRead *read;        /* NULL: the slot is free */
    struct scsi_iovec iov;
    unsigned retries;
    int64_t retry_us;           /* not with libiscsi now, but due then; or 0 */
} IscsiSlot;

struct IscsiSession {
    IscsiEngine *engine;
    int wake;                   /* eventfd; the only field for other threads */

    struct iscsi_context *iscsi;
    bool dead;                  /* the connection is of no use any more */
    char *error;                /* the first thing that went wrong with it */
    char *redirect;             /* portal that the target sent us to */
    unsigned redirects;

    bool step_pending;          /* while connecting: a command is under way */
    int step_status;
    struct scsi_task *step_task;

    uint32_t block_size;        /* bytes */
    uint64_t size;              /* bytes */
    uint32_t max_read;          /* bytes; 0: no limit */
    uint64_t marker;
    bool progress;              /* a read has succeeded */
    IscsiSlot *slots;
};

struct IscsiEngine {
    PagecacheReader *r;
    const PagecacheReaderSpec *spec;
    unsigned depth;
    unsigned nsessions;
    IscsiSession *sessions;
};

typedef enum StepResult {
    STEP_ANSWERED,              /* step_status, step_task */
    STEP_FAILED,                /* no answer: broken, too late, or stopping */
} StepResult;

/* --- Poll loop ----------------------------------------------------------- */

/*
 * libiscsi keeps the last message only, and its last one is about a reconnect
 * that we don't want
 */
static void session_note_error(IscsiSession *s)
{
    const char *text = iscsi_get_error(s->iscsi);

    if (!s->error && text && *text && !strstr(text, "reconnect")) {
        s->error = g_strchomp(g_strdup(text));
    }
}

static void session_service(IscsiSession *s, int revents)
{
    if (iscsi_service(s->iscsi, revents) < 0 ||
        (revents & (POLLERR | POLLHUP | POLLNVAL))) {
        session_note_error(s);
        s->dead = true;
    }
}

static char *session_lost(IscsiSession *s)
{
    return g_strdup_printf("connection lost%s%s", s->error ? ": " : "",
                           s->error ?: "");
}

static void wake_drain(IscsiSession *s)
{
    uint64_t count;

    /* EAGAIN when it was drained before: fine */
    if (read(s->wake, &count, sizeof(count)) < 0) {
        return;
    }
}

static int poll_timeout_ms(int64_t until_us)
{
    int64_t left;

    if (until_us == INT64_MAX) {
        return -1;
    }
    left = until_us - g_get_monotonic_time();
    return left <= 0 ? 0 : MIN((left + 999) / 1000, 3600 * 1000);
}

/* Serves the connection once; returns at @until_us or when woken as well */
static void session_poll(IscsiSession *s, int64_t until_us)
{
    struct pollfd fds[2] = {
        { .fd = iscsi_get_fd(s->iscsi),
          .events = iscsi_which_events(s->iscsi) },
        { .fd = s->wake, .events = POLLIN },
    };

    if (poll(fds, 2, poll_timeout_ms(until_us)) < 0) {
        return;     /* EINTR */
    }
    if (fds[1].revents) {
        wake_drain(s);
    }
    if (fds[0].revents) {
        session_service(s, fds[0].revents);
    }
}

/* Sends what is queued without another round of poll() */
static void session_flush(IscsiSession *s)
{
    if (!s->dead && (iscsi_which_events(s->iscsi) & POLLOUT)) {
        session_service(s, POLLOUT);
    }
}

/* --- Connecting ---------------------------------------------------------- */

static void free_step_task(IscsiSession *s)
{
    if (s->step_task) {
        scsi_free_scsi_task(s->step_task);
        s->step_task = NULL;
    }
}

/* For connect, login and logout: these have no task */
static void link_cb(struct iscsi_context *iscsi, int status,
                    void *command_data, void *opaque)
{
    IscsiSession *s = opaque;

    s->step_pending = false;
    s->step_status = status;
    if (status != SCSI_STATUS_GOOD) {
        session_note_error(s);
    }
}

static void step_cb(struct iscsi_context *iscsi, int status,
                    void *command_data, void *opaque)
{
    IscsiSession *s = opaque;

    free_step_task(s);
    s->step_task = command_data;
    s->step_pending = false;
    s->step_status = status;
    if (status == SCSI_STATUS_CANCELLED) {
        session_note_error(s);
        s->dead = true;
    }
}

static StepResult step_wait(IscsiSession *s, int64_t until_us,
                            const char *what, char **why)
{
    while (s->step_pending && !s->dead) {
        if (pagecache_reader_stopping(s->engine->r)) {
            return STEP_FAILED;
        }
        if (g_get_monotonic_time() >= until_us) {
            *why = g_strdup_printf("%s: no answer in time", what);
            return STEP_FAILED;
        }
        session_poll(s, until_us);
    }
    if (s->step_pending || s->step_status == SCSI_STATUS_CANCELLED) {
        g_autofree char *lost = session_lost(s);

        *why = g_strdup_printf("%s: %s", what, lost);
        return STEP_FAILED;
    }
    return STEP_ANSWERED;
}

static bool step_good(IscsiSession *s, const char *what, char **why)
{
    if (s->step_status == SCSI_STATUS_GOOD) {
        return true;
    }
    *why = g_strdup_printf("%s: %s", what,
                           s->error ?: iscsi_get_error(s->iscsi));
    return false;
}

/* @task was queued, or not */
static StepResult step_command(IscsiSession *s, struct scsi_task *task,
                               int64_t until_us, const char *what, char **why)
{
    if (!task) {
        *why = g_strdup_printf("%s: %s", what, iscsi_get_error(s->iscsi));
        return STEP_FAILED;
    }
    s->step_pending = true;
    return step_wait(s, until_us, what, why);
}

static bool session_create(IscsiSession *s, char **why)
{
    static const enum iscsi_header_digest digests[] = {
        [PAGECACHE_DIGEST_NONE_CRC32C] = ISCSI_HEADER_DIGEST_NONE_CRC32C,
        [PAGECACHE_DIGEST_CRC32C_NONE] = ISCSI_HEADER_DIGEST_CRC32C_NONE,
        [PAGECACHE_DIGEST_CRC32C] = ISCSI_HEADER_DIGEST_CRC32C,
        [PAGECACHE_DIGEST_NONE] = ISCSI_HEADER_DIGEST_NONE,
    };
    const PagecacheReaderSpec *spec = s->engine->spec;

    s->dead = false;
    s->step_pending = false;
    g_clear_pointer(&s->error, g_free);
    s->iscsi = iscsi_create_context(spec->u.iscsi.initiator);
    if (!s->iscsi) {
        *why = g_strdup("cannot create an iSCSI context");
        return false;
    }
    iscsi_set_noautoreconnect(s->iscsi, 1);
    /*
     * The guest's session has the same initiator name.  The same ISID would
     * mean the same session, and throw out the guest's; QEMU's block driver
     * leaves the qualifier at 0.
     */
    if (iscsi_set_isid_random(s->iscsi, g_random_int() & 0xffffff,
                              g_random_int_range(1, 0x10000)) ||
        iscsi_set_targetname(s->iscsi, spec->u.iscsi.target) ||
        iscsi_set_session_type(s->iscsi, ISCSI_SESSION_NORMAL) ||
        iscsi_set_header_digest(s->iscsi,
                                digests[spec->u.iscsi.header_digest]) ||
        (spec->u.iscsi.user &&
         iscsi_set_initiator_username_pwd(s->iscsi, spec->u.iscsi.user,
                                          spec->u.iscsi.password))) {
        *why = g_strdup_printf("cannot set up an iSCSI session: %s",
                               iscsi_get_error(s->iscsi));
        return false;
    }
    return true;
}

/* The target sent us elsewhere; that is to be tried at once */
static void session_redirect(IscsiSession *s, char **why)
{
    const char *address = iscsi_get_target_address(s->iscsi);

    if (!*address || ++s->redirects > MAX_REDIRECTS) {
        *why = g_strdup("login: redirected too often");
        return;
    }
    g_free(s->redirect);
    s->redirect = g_strdup(address);
    *why = g_strdup_printf("login: redirected to %s", address);
}

/* Eats the UNIT ATTENTIONs that a target has for a new session */
static bool session_test_ready(IscsiSession *s, int64_t until_us,
                               bool *refused, char **why)
{
    int i;

    for (i = 0; i <= MAX_ATTENTIONS; i++) {
        struct scsi_task *task;

        task = iscsi_testunitready_task(s->iscsi, s->engine->spec->u.iscsi.lun,
                                        step_cb, s);
        if (step_command(s, task, until_us, "TEST UNIT READY", why) !=
            STEP_ANSWERED) {
            return false;
        }
        if (s->step_status != SCSI_STATUS_CHECK_CONDITION || !s->step_task ||
            s->step_task->sense.key != SCSI_SENSE_UNIT_ATTENTION) {
            break;
        }
    }
    *refused = true;
    return step_good(s, "TEST UNIT READY", why);
}

static bool session_capacity(IscsiSession *s, int64_t until_us,
                             bool *refused, char **why)
{
    const char *what = "READ CAPACITY(16)";
    struct scsi_readcapacity16 *rc;
    struct scsi_task *task;

    task = iscsi_readcapacity16_task(s->iscsi, s->engine->spec->u.iscsi.lun,
                                     step_cb, s);
    if (step_command(s, task, until_us, what, why) != STEP_ANSWERED) {
        return false;
    }
    *refused = true;
    if (!step_good(s, what, why)) {
        return false;
    }
    rc = s->step_task ? scsi_datain_unmarshall(s->step_task) : NULL;
    if (!rc || !rc->block_length || rc->block_length > INT32_MAX ||
        rc->returned_lba >= UINT64_MAX / rc->block_length) {
        *why = g_strdup_printf("%s: unexpected answer", what);
        return false;
    }
    s->block_size = rc->block_length;
    s->size = (rc->returned_lba + 1) * rc->block_length;
    return true;
}

/* What the target says of the length of a read; not every target does */
static bool session_limits(IscsiSession *s, int64_t until_us, char **why)
{
    struct scsi_inquiry_block_limits *limits;
    struct scsi_task *task;

    s->max_read = 0;
    task = iscsi_inquiry_task(s->iscsi, s->engine->spec->u.iscsi.lun, 1,
                              SCSI_INQUIRY_PAGECODE_BLOCK_LIMITS, 64,
                              step_cb, s);
    if (step_command(s, task, until_us, "INQUIRY", why) != STEP_ANSWERED) {
        return false;
    }
    if (s->step_status == SCSI_STATUS_GOOD && s->step_task &&
        s->step_task->datain.size >= 64) {
        limits = scsi_datain_unmarshall(s->step_task);
        if (limits && limits->max_xfer_len) {
            s->max_read = MIN((uint64_t)limits->max_xfer_len * s->block_size,
                              UINT32_MAX);
        }
    }
    return true;
}

/* @refused: we were connected, and the target said no */
static bool session_connect(IscsiSession *s, bool *refused, char **why)
{
    PagecacheReader *r = s->engine->r;
    const PagecacheReaderSpec *spec = s->engine->spec;
    const char *portal = s->redirect ?: spec->u.iscsi.portal;
    int64_t until_us = g_get_monotonic_time() +
                       pagecache_reader_deadline_ms(r) * 1000LL;

    if (!session_create(s, why)) {
        return false;
    }

    s->step_pending = true;
    if (iscsi_connect_async(s->iscsi, portal, link_cb, s) != 0) {
        *why = g_strdup_printf("connect to %s: %s", portal,
                               iscsi_get_error(s->iscsi));
        return false;
    }
    if (step_wait(s, until_us, "connect", why) != STEP_ANSWERED ||
        !step_good(s, "connect", why)) {
        return false;
    }

    s->step_pending = true;
    if (iscsi_login_async(s->iscsi, link_cb, s) != 0) {
        *why = g_strdup_printf("login: %s", iscsi_get_error(s->iscsi));
        return false;
    }
    if (step_wait(s, until_us, "login", why) != STEP_ANSWERED) {
        return false;
    }
    if (s->step_status == SCSI_STATUS_REDIRECT) {
        session_redirect(s, why);
        return false;
    }
    *refused = true;
    if (!step_good(s, "login", why)) {
        return false;
    }
    *refused = false;
    if (!session_test_ready(s, until_us, refused, why)) {
        return false;
    }
    *refused = false;
    if (!session_capacity(s, until_us, refused, why)) {
        return false;
    }
    *refused = false;
    return session_limits(s, until_us, why);
}

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
        if (task->residual_status != SCSI_RESIDUAL_NO_RESIDUAL) {
            why = "the target sent another number of bytes";
        } else if (any_marker(s, slot->read)) {
            why = "the target sent too few bytes";
        } else {
            ret = 0;
        }
    } else if (status == SCSI_STATUS_CANCELLED) {
        session_note_error(s);
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

    slot->retry_us = 0;
    slot->iov.iov_base = read->buf;
    slot->iov.iov_len = read->bytes;
    set_markers(s, read);
    if (!iscsi_read16_iov_task(s->iscsi, s->engine->spec->u.iscsi.lun,
                               read->offset / s->block_size, read->bytes,
                               s->block_size, 0, 0, 0, 0, 0, read_cb, slot,
                               &slot->iov, 1)) {
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
        session_flush(s);
        if (!s->dead) {
            session_poll(s, until_us);
        }
    }
    if (s->dead) {
        *why = session_lost(s);
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

static void session_logout(IscsiSession *s)
{
    int64_t until_us = g_get_monotonic_time() + LOGOUT_US;

    s->step_pending = true;
    if (iscsi_logout_async(s->iscsi, link_cb, s) != 0) {
        return;
    }
    while (s->step_pending && !s->dead &&
           g_get_monotonic_time() < until_us) {
        session_poll(s, until_us);
    }
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
    free_step_task(s);
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

        if (poll(&fd, 1, poll_timeout_ms(until_us)) > 0) {
            wake_drain(s);
        }
    }
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
                session_logout(s);
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

    if (!spec_is_valid(spec, why)) {
        return NULL;
    }
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
