/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a session of the reader's engine for NBD, for its own files
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * All of it is the session thread's, without a lock, but for the eventfd and
 * what is said to be atomic.
 */
#ifndef BLOCK_PAGECACHE_READER_NBD_H
#define BLOCK_PAGECACHE_READER_NBD_H

#include <libnbd.h>
#include <poll.h>
#include "pagecache-reader-int.h"

typedef struct NbdEngine NbdEngine;
typedef struct NbdSession NbdSession;

typedef struct NbdSlot {
    PagecacheRead *read;        /* NULL: the slot is free */
    int64_t cookie;             /* libnbd's name for it */
} NbdSlot;

struct NbdSession {
    NbdEngine *engine;
    int wake;                   /* eventfd; for all threads */

    struct nbd_handle *nbd;
    bool connected;             /* there is somebody */
    bool dead;                  /* the connection is of no use any more */
    char *error;                /* the first thing that went wrong with it */

    uint64_t size;              /* bytes */
    uint32_t align;             /* bytes */
    uint32_t max_read;          /* bytes */
    bool multi_conn;            /* the server takes several connections */
    bool progress;              /* a read has succeeded */
    unsigned refusals;          /* in a row */
    unsigned depth;             /* slots in use */
    NbdSlot *slots;             /* NbdEngine.max_depth of them */
};

struct NbdEngine {
    PagecacheReader *r;
    const PagecacheReaderSpec *spec;
    unsigned depth;             /* of a session, if there are all of them */
    unsigned max_depth;         /* of a session that is alone */
    unsigned nsessions;
    bool others_started;        /* the first session's */
    NbdSession *sessions;
};

/* --- pagecache-reader-nbd-link.c ------------------------------------------ */

/*
 * A session's thread calls libnbd between these two, and sleeps with
 * pcr_nbd_sleep() only, which is poll() with another kind of timeout.  exit()
 * takes the library's thread-local errors apart, and those of the libraries
 * that it uses, while other threads run on: none of ours must be in there, so
 * from then on enter() and sleep() do not return.
 */
void pcr_nbd_enter(void);
void pcr_nbd_leave(void);
int pcr_nbd_sleep(struct pollfd *fds, unsigned n, int64_t until_us);

/* Microseconds of the monotonic clock to what poll() takes */
int pcr_nbd_timeout_ms(int64_t until_us);

/* Takes back what woke the thread */
void pcr_nbd_drain(NbdSession *s);

/* Serves the connection once; returns at @until_us or when woken as well */
void pcr_nbd_poll(NbdSession *s, int64_t until_us);

/*
 * Queues a read; its cookie, or -1 (pcr_nbd_error()).  In both cases the
 * connection may be dead after it.
 */
int64_t pcr_nbd_pread(NbdSession *s, void *buf, size_t len, uint64_t offset);

/* libnbd's last error in this thread, without the name of its function */
const char *pcr_nbd_error(void);

/* "connection lost" and why; to be freed */
char *pcr_nbd_lost(NbdSession *s);

/*
 * A new handle: connects, and finds out what the export is like.  False, with
 * *@why (to be freed) set unless the reader is stopping, when that came to
 * nothing; @refused: we were connected, and the server said no or hung up, or
 * we could not even try.
 * The handle has to be closed in either case.
 */
bool pcr_nbd_connect(NbdSession *s, bool *refused, char **why);

/* Says goodbye; takes a moment at most.  Nothing may be in flight. */
void pcr_nbd_disconnect(NbdSession *s);

#endif
