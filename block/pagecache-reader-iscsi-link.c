/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the connection of a session of the reader's engine for iSCSI
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The poll loop, and the steps from a new context to a LUN that can be read.
 */

#include "qemu/osdep.h"
#include <poll.h>
#include "pagecache-reader-fault.h"
#include "pagecache-reader-iscsi.h"

/* UNIT ATTENTIONs that may wait for us after the login */
#define MAX_ATTENTIONS      10
#define MAX_REDIRECTS       3
/* A session that is idle at its end is logged out within */
#define LOGOUT_US           500000

typedef enum StepResult {
    STEP_ANSWERED,              /* step_status, step_task */
    STEP_FAILED,                /* no answer: broken, too late, or stopping */
} StepResult;

/* --- Poll loop ----------------------------------------------------------- */

/*
 * libiscsi keeps the last message only, and its last one is about a reconnect
 * that we don't want
 */
void pcr_iscsi_note_error(IscsiSession *s)
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
        pcr_iscsi_note_error(s);
        s->dead = true;
    }
}

char *pcr_iscsi_lost(IscsiSession *s)
{
    return g_strdup_printf("connection lost%s%s", s->error ? ": " : "",
                           s->error ?: "");
}

void pcr_iscsi_drain(IscsiSession *s)
{
    uint64_t count;

    /* EAGAIN when it was drained before: fine */
    if (read(s->wake, &count, sizeof(count)) < 0) {
        return;
    }
}

int pcr_iscsi_timeout_ms(int64_t until_us)
{
    int64_t left;

    if (until_us == INT64_MAX) {
        return -1;
    }
    left = until_us - g_get_monotonic_time();
    return left <= 0 ? 0 : MIN((left + 999) / 1000, 3600 * 1000);
}

/* Serves the connection once; returns at @until_us or when woken as well */
void pcr_iscsi_poll(IscsiSession *s, int64_t until_us)
{
    struct pollfd fds[2] = {
        { .fd = iscsi_get_fd(s->iscsi),
          .events = iscsi_which_events(s->iscsi) },
        { .fd = s->wake, .events = POLLIN },
    };

    if (poll(fds, 2, pcr_iscsi_timeout_ms(until_us)) < 0) {
        return;     /* EINTR */
    }
    if (fds[1].revents) {
        pcr_iscsi_drain(s);
    }
    if (fds[0].revents) {
        session_service(s, fds[0].revents);
    }
}

/* Sends what is queued without another round of poll() */
void pcr_iscsi_flush(IscsiSession *s)
{
    if (!s->dead && (iscsi_which_events(s->iscsi) & POLLOUT)) {
        session_service(s, POLLOUT);
    }
}

/* --- Connecting ---------------------------------------------------------- */

void pcr_iscsi_free_step(IscsiSession *s)
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
        pcr_iscsi_note_error(s);
    }
}

static void step_cb(struct iscsi_context *iscsi, int status,
                    void *command_data, void *opaque)
{
    IscsiSession *s = opaque;

    pcr_iscsi_free_step(s);
    s->step_task = command_data;
    s->step_pending = false;
    s->step_status = status;
    if (status == SCSI_STATUS_CANCELLED) {
        pcr_iscsi_note_error(s);
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
        pcr_iscsi_poll(s, until_us);
    }
    if (s->step_pending || s->step_status == SCSI_STATUS_CANCELLED) {
        g_autofree char *lost = pcr_iscsi_lost(s);

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

/* The answer to READ CAPACITY(@bytes of the command) is good, or is not */
static bool capacity_good(IscsiSession *s, unsigned bytes, char **why)
{
    g_autofree char *what = g_strdup_printf("READ CAPACITY(%u)", bytes);
    uint64_t last = 0, length = 0;
    void *rc;

    if (!step_good(s, what, why)) {
        return false;
    }
    rc = s->step_task ? scsi_datain_unmarshall(s->step_task) : NULL;
    if (rc && bytes == 16) {
        last = ((struct scsi_readcapacity16 *)rc)->returned_lba;
        length = ((struct scsi_readcapacity16 *)rc)->block_length;
    } else if (rc) {
        last = ((struct scsi_readcapacity10 *)rc)->lba;
        length = ((struct scsi_readcapacity10 *)rc)->block_size;
    }
    if (!length || length > INT32_MAX || last >= UINT64_MAX / length) {
        *why = g_strdup_printf("%s: unexpected answer", what);
        return false;
    }
    s->block_size = length;
    s->size = (last + 1) * length;
    s->short_commands = bytes == 10;
    if (s->short_commands && !last) {
        s->size = 0;    /* a blank disc, as block/iscsi.c takes it */
    }
    return true;
}

/* Not every kind of LUN has the long command: a CD has not. */
static bool session_capacity(IscsiSession *s, int64_t until_us,
                             bool *refused, char **why)
{
    g_autofree char *why_not_16 = NULL, *why_not_10 = NULL;
    int lun = s->engine->spec->u.iscsi.lun;

    if (step_command(s, iscsi_readcapacity16_task(s->iscsi, lun, step_cb, s),
                     until_us, "READ CAPACITY(16)", why) != STEP_ANSWERED) {
        return false;
    }
    if (capacity_good(s, 16, &why_not_16)) {
        return true;
    }
    if (step_command(s, iscsi_readcapacity10_task(s->iscsi, lun, 0, 0, step_cb,
                                                  s),
                     until_us, "READ CAPACITY(10)", why) != STEP_ANSWERED) {
        return false;
    }
    if (capacity_good(s, 10, &why_not_10)) {
        return true;
    }
    *refused = true;
    *why = g_strdup_printf("%s; %s", why_not_16, why_not_10);
    return false;
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
bool pcr_iscsi_connect(IscsiSession *s, bool *refused, char **why)
{
    PagecacheReader *r = s->engine->r;
    const PagecacheReaderSpec *spec = s->engine->spec;
    const char *portal = s->redirect ?: spec->u.iscsi.portal;
    int64_t until_us = g_get_monotonic_time() +
                       pagecache_reader_deadline_ms(r) * 1000LL;

    if (!session_create(s, why) ||
        pcr_fault_refuse("login", refused, why)) {
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

void pcr_iscsi_logout(IscsiSession *s)
{
    int64_t until_us = g_get_monotonic_time() + LOGOUT_US;

    s->step_pending = true;
    if (iscsi_logout_async(s->iscsi, link_cb, s) != 0) {
        return;
    }
    while (s->step_pending && !s->dead &&
           g_get_monotonic_time() < until_us) {
        pcr_iscsi_poll(s, until_us);
    }
}
