/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a session of the reader's engine for iSCSI, for its own files
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * All of it is the session thread's, without a lock, but for the eventfd.
 */
#ifndef BLOCK_PAGECACHE_READER_ISCSI_H
#define BLOCK_PAGECACHE_READER_ISCSI_H

#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include "pagecache-reader-int.h"

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
    bool short_commands;        /* of 10 bytes: it may have no others */
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

/* --- pagecache-reader-iscsi-link.c ---------------------------------------- */

/* Microseconds of the monotonic clock to what poll() takes */
int pcr_iscsi_timeout_ms(int64_t until_us);

/* Takes back what woke the thread */
void pcr_iscsi_drain(IscsiSession *s);

/* Serves the connection once; returns at @until_us or when woken as well */
void pcr_iscsi_poll(IscsiSession *s, int64_t until_us);

/* Sends what is queued without another round of poll() */
void pcr_iscsi_flush(IscsiSession *s);

/* Remembers the first thing that went wrong with the connection */
void pcr_iscsi_note_error(IscsiSession *s);

/* "connection lost" and why; to be freed */
char *pcr_iscsi_lost(IscsiSession *s);

/*
 * A new context: connects, logs in, and finds out what the LUN is like.
 * False, with *@why (to be freed) set unless the reader is stopping, when that
 * came to nothing; @refused: we were connected, and the target said no.  The
 * context has to be destroyed in either case.
 */
bool pcr_iscsi_connect(IscsiSession *s, bool *refused, char **why);

/* Says goodbye; takes a moment at most */
void pcr_iscsi_logout(IscsiSession *s);

void pcr_iscsi_free_step(IscsiSession *s);

#endif
