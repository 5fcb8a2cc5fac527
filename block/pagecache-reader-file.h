/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw files and block devices, for its
 * own files
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * pagecache-reader-file.c       a disk's life, and reads by threads
 * pagecache-reader-uring.c      reads by io_uring
 * pagecache-reader-completer.c  who calls back when they have ended
 * pagecache-reader-direct.c     opening, and what O_DIRECT is worth there
 * pagecache-reader-workers.c    the threads
 */
#ifndef BLOCK_PAGECACHE_READER_FILE_H
#define BLOCK_PAGECACHE_READER_FILE_H

#include "pagecache-reader-int.h"

/* --- pagecache-reader-direct.c; may block for ever, no locks -------------- */

typedef struct PcrDirect {
    int fd;                 /* read-only, O_DIRECT */
    bool shared;            /* its flags are, with one of the guest's */
    uint64_t size;          /* bytes */
    uint32_t align;         /* bytes: of offset, length and memory */
    bool async;             /* reads can be started without waiting */
    /*
     * The kernel does not say that reads go past its cache: look at each of
     * them.  The file, mapped but never touched; NULL: it does say.
     */
    void *map;
} PcrDirect;

/*
 * Opens what @spec names for reads that neither use nor fill the host's page
 * cache.  False with *@why (to be freed) set when that can't be had.
 */
bool pcr_direct_open(const PagecacheReaderSpec *spec, PcrDirect *f,
                     char **why);
void pcr_direct_close(PcrDirect *f);

/* How many pages of the range the host has in its cache; 0: need not look */
unsigned pcr_direct_cached(const PcrDirect *f, uint64_t offset,
                           uint32_t bytes);

/*
 * Whether a read that has ended was a direct one; @before: the range's
 * pcr_direct_cached() at its start.  NULL, or what was wrong (static).
 */
const char *pcr_direct_check(const PcrDirect *f, const PagecacheRead *read,
                             unsigned before);

/* --- pagecache-reader-workers.c; any thread ------------------------------- */

/* What step() returns: 0, microseconds after which to call it again, or... */
#define PCR_WORK_WAIT   (-1)    /* nothing to do until pcr_work_push() */
#define PCR_WORK_GONE   (-2)    /* after pcr_work_end(): it is freed perhaps */

typedef struct PcrWork PcrWork;

/*
 * Something that is done in steps, which may block for ever.  Several workers
 * may be in step() at the same time, up to what pcr_work_allow() says.
 */
struct PcrWork {
    int64_t (*step)(PcrWork *w);

    /* private */
    GList link;             /* in the queue, or among those that wait */
    bool queued;
    bool again;             /* pushed while it had all its workers */
    bool ending, ended;
    unsigned running;       /* workers in step() */
    unsigned allowed;
    int64_t due_us;         /* among those that wait until then; or 0 */
};

/* @w may have one worker.  False: there is no thread. */
bool pcr_work_init(PcrWork *w, int64_t (*step)(PcrWork *w));

/*
 * step() is to be called (once more, by another worker, when it is called by
 * step()).  Takes a mutex.
 */
void pcr_work_push(PcrWork *w);

void pcr_work_allow(PcrWork *w, unsigned n);

/*
 * Called in step(): true when no other worker is there; from then on none will
 * be, and pcr_work_push() does nothing.  False: step() is called once more
 * when the others are gone.
 */
bool pcr_work_end(PcrWork *w);

/* --- a disk --------------------------------------------------------------- */

typedef struct PcrFile {
    PagecacheReader *r;
    const PagecacheReaderSpec *spec;
    unsigned max_inflight;  /* reads */
    PcrWork work;
    PcrDirect f;            /* valid once @up; constant from then on */
    bool tried;             /* to open it; in step() only, as the following */
    bool up;
    bool by_threads;
    bool in_ring;           /* with the reader's lock */

    /* the ring's: with its lock... */
    struct PcrRing *ring;
    GList woken_link;
    bool woken;
    /* ...and in its thread */
    GList ready_link;
    bool ready;
    int64_t wait_us;        /* not before; 0: no such time */
    unsigned inflight;
} PcrFile;

/* --- pagecache-reader-completer.c; the thread of a ring ------------------- */

typedef struct PcrRingRead {
    PcrFile *d;
    PagecacheRead *read;
    uint32_t done;          /* bytes */
    unsigned retries;
    unsigned before;        /* pcr_direct_cached() */
    int ret;
    const char *why;
    const char *not_direct; /* pcr_direct_check() */
    GList link;             /* in a queue of the completer's */
} PcrRingRead;

typedef struct PcrCompleter PcrCompleter;

/* In any thread.  NULL: there is none for the workers. */
PcrCompleter *pcr_completer_new(void);

/* Before the first read, in the thread that calls what follows */
void pcr_completer_begin(PcrCompleter *c);

/* @rr has ended, and is freed after the callback; so is a reference of d->r */
void pcr_completer_add(PcrCompleter *c, PcrRingRead *rr);

/*
 * Decides who calls back for what was added.  True: this thread does, and it
 * takes long, so other reads should be under way meanwhile.
 */
bool pcr_completer_lingers(PcrCompleter *c);

/* Calls back for all that was added, or has workers do so */
void pcr_completer_run(PcrCompleter *c);

/* Nothing is added any more; @c goes when the workers are done with it */
void pcr_completer_end(PcrCompleter *c);

/* --- pagecache-reader-uring.c; any thread --------------------------------- */

#ifdef CONFIG_LINUX_IO_URING
/*
 * Reads of @d go through the ring from now on, until the reader is stopping
 * and no read is in flight; then d->in_ring is false, and d->work is pushed.
 * False with *@why (to be freed) set when there is no ring to be had.
 */
bool pcr_ring_add(PcrFile *d, char **why);

/* There may be something to do; with the reader's lock held */
void pcr_ring_kick(PcrFile *d);
#else
static inline bool pcr_ring_add(PcrFile *d, char **why)
{
    *why = g_strdup("built without liburing");
    return false;
}

static inline void pcr_ring_kick(PcrFile *d)
{
}
#endif

#endif
