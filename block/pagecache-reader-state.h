/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the state of a reader, for its own files
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Locks, none of which is held across a read or a callback:
 *
 *   reader     PagecacheReader.lock: all that changes in a reader; what its
 *              engine's kick() needs, too, as that is called with it
 *   to-watch   pcr_to_watch.lock: which readers the watchdog knows, and which
 *              it shall look at (pagecache-reader-watchdog.c)
 *   limits     bounce buffers and descriptors of all readers
 *              (pagecache-reader-limits.c)
 *   budget     PagecacheBudget.lock: what may be read (util/pagecache-budget.c)
 *   ring       PcrRing.lock: files that have work (pagecache-reader-uring.c)
 *   rings      rings_lock: which ring new files go to (the same)
 *   completer  PcrCompleter.lock: reads that have ended
 *              (pagecache-reader-completer.c)
 *   workers    the workers and their steps (pagecache-reader-workers.c)
 *
 * A reader's lock may be held when to-watch, limits, budget, ring or workers is
 * taken, and "rings" when limits or workers is; otherwise one at a time.  The
 * engines for iSCSI and NBD have none: a session belongs to its thread.  Nor
 * has that of the block layer, which uses the reader's.
 */
#ifndef BLOCK_PAGECACHE_READER_STATE_H
#define BLOCK_PAGECACHE_READER_STATE_H

#include "pagecache-reader-backoff.h"
#include "pagecache-reader-int.h"
#include "pagecache-reader-queue.h"

struct PagecacheReader {
    gint refs;                      /* atomic */
    PagecacheReaderConfig config;   /* completed with the defaults; constant */
    PagecacheReaderSpec *spec;      /* constant */

    GMutex lock;                    /* for all that follows */
    GCond work;                     /* for pagecache_reader_next_wait() */
    bool started;                   /* the engine was, or could not be */
    void *engine;                   /* NULL until started, and if it failed */
    const char *method;             /* never freed; NULL: not told */
    PagecacheReaderState state;
    bool closed;

    PagecacheRunQueue *queue;
    GArray *rejects;                /* PagecachePiece: beyond the disk */
    GQueue inflight;                /* PagecacheRead, by deadline */
    PcrBackoff backoff;             /* how many that may be */
    bool held_back;                 /* ... and one more would have been */
    unsigned callbacks;             /* threads inside config.done() */
    bool hungry;                    /* the engine asked and got nothing */

    uint64_t size;                  /* bytes: of the guest's disk */
    uint32_t align;                 /* bytes; 0: no session was up yet */
    uint32_t max_read;              /* bytes, a multiple of the page size */
    unsigned sessions_up;
    unsigned refusals;              /* before the first session was up */
    unsigned failures;              /* in a row */

    int64_t next_us;                /* the guest's limit: no read before */
    /* work waits but nothing is in flight, since then; 0: not so */
    int64_t stall_us;
    int64_t flush_us;               /* give back what waits then; 0: never */

    unsigned buffers;               /* bounce buffers in use */
    bool starved;                   /* a read waits for one */

    /* the watchdog's: with pcr_to_watch.lock, but for @watch_due_us */
    GList watch_link;               /* among those with something to look at */
    bool watch_queued;
    int64_t watch_due_us;           /* it comes by itself then */

    uint64_t bytes_read, bytes_used, reads, errors, timeouts;
    char *last_error;
};

/* --- pagecache-reader-limits.c; with the reader's lock held --------------- */

/* A reader counts for the share that each of them may have in the buffers */
void pcr_buffers_join(void);
void pcr_buffers_leave(void);

/*
 * A bounce buffer for a read of r->config.max_read bytes; NULL: the reader has
 * its share already (*@starved), or there is no memory.
 */
uint8_t *pcr_buffer_get(PagecacheReader *r, bool *starved);
void pcr_buffer_put(PagecacheReader *r, uint8_t *buf);

/* --- pagecache-reader-state.c; with the lock held ------------------------- */

/*
 * The readers that the watchdog is to look at.  This lock is taken with a
 * reader's held, not vice versa.
 */
typedef struct PcrToWatch {
    GMutex lock;
    GCond cond;                     /* there is one more */
    GQueue readers;                 /* PagecacheReader, by @watch_link */
} PcrToWatch;

extern PcrToWatch pcr_to_watch;

/* Something changed for the watchdog */
void pcr_wake_watchdog(PagecacheReader *r);

/* There is something new to be done, at @due_us */
static inline void pcr_watch_until(PagecacheReader *r, int64_t due_us)
{
    if (due_us < r->watch_due_us) {
        pcr_wake_watchdog(r);
    }
}

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
 * @read is no longer in flight: it has ended, well (@ok) or not, or its
 * deadline has passed.  There may be room for another one.
 */
void pcr_landed(PagecacheReader *r, PagecacheRead *read, bool ok, int64_t now);

/*
 * 0: the limits allow a read now.  Otherwise, in how many microseconds to ask
 * again: sooner than one is allowed if that takes long, as a limit may change.
 */
int64_t pcr_limits_wait(PagecacheReader *r, int64_t now);

/*
 * Work waits and nothing is in flight: from now on time runs against us.  It
 * does not run while the limits hold reads back.
 */
void pcr_check_stall(PagecacheReader *r, int64_t now);
void pcr_not_stalled(PagecacheReader *r);

/* --- ... and without it --------------------------------------------------- */

/* Tells the caller what became of @pieces; @buf: what was read, or NULL */
void pcr_tell(PagecacheReader *r, const GArray *pieces, const uint8_t *buf,
              int ret);

/* --- pagecache-reader-watchdog.c; without it ------------------------------ */

/* Begins to watch @r, with a reference; false: there is no thread */
bool pcr_watch(PagecacheReader *r);

#endif
