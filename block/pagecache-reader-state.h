/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the state of a reader, for its own files
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef BLOCK_PAGECACHE_READER_STATE_H
#define BLOCK_PAGECACHE_READER_STATE_H

#include "pagecache-reader-int.h"
#include "pagecache-reader-queue.h"

struct PagecacheReader {
    gint refs;                      /* atomic */
    PagecacheReaderConfig config;   /* completed with the defaults; constant */
    PagecacheReaderSpec *spec;      /* constant */
    uint64_t bandwidth;             /* bytes/s or 0; constant */

    GMutex lock;                    /* for all that follows */
    GCond watchdog;                 /* something changed for the watchdog */
    GCond work;                     /* ... for pagecache_reader_next_wait() */
    void *engine;                   /* NULL until started, and if it failed */
    PagecacheReaderState state;
    bool closed;

    PagecacheRunQueue *queue;
    GArray *rejects;                /* PagecachePiece: beyond the disk */
    GQueue inflight;                /* PagecacheRead, by deadline */
    unsigned callbacks;             /* threads inside config.done() */
    bool hungry;                    /* the engine asked and got nothing */

    uint64_t size;                  /* bytes: of the guest's disk */
    uint32_t align;                 /* bytes; 0: no session was up yet */
    uint32_t max_read;              /* bytes, a multiple of the page size */
    unsigned sessions_up;
    unsigned refusals;              /* before the first session was up */
    unsigned failures;              /* in a row */

    int64_t next_us;                /* bandwidth cap: no read before */
    /* work waits but nothing is in flight, since then; 0: not so */
    int64_t stall_us;
    int64_t flush_us;               /* give back what waits then; 0: never */

    GPtrArray *buffers;             /* free ones, of buffer_size() */

    uint64_t bytes_read, bytes_used, reads, errors, timeouts;
    char *last_error;
};

/* --- pagecache-reader-watchdog.c; with the lock held ---------------------- */

/* Closed or given up */
static inline bool pcr_stopping(PagecacheReader *r)
{
    return r->closed || r->state == PAGECACHE_READER_FAILED;
}

/* Wakes the engine */
void pcr_kick(PagecacheReader *r);

void pcr_set_error(PagecacheReader *r, const char *why);

void pcr_give_up(PagecacheReader *r, const char *why);

/* A read failed for the reason @why, or (@timeout) for its deadline */
void pcr_count_failure(PagecacheReader *r, const char *why, bool timeout);

/*
 * Work waits and nothing is in flight: from now on time runs against us.  It
 * does not run while the bandwidth cap holds reads back.
 */
void pcr_check_stall(PagecacheReader *r, int64_t now);
void pcr_not_stalled(PagecacheReader *r);

/* --- ... without it ------------------------------------------------------- */

/* Tells the caller what became of @pieces; @buf: their content or NULL */
void pcr_tell(PagecacheReader *r, GArray *pieces, const uint8_t *buf, int ret);

/* Begins to watch; false: there is no thread */
bool pcr_watch(PagecacheReader *r);

#endif
