/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: fewer reads in flight while the storage is slow
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A reader learns how long its reads take while the storage has nothing better
 * to do.  When they take twice as long, somebody else wants something of it,
 * and the window, which is how many reads may be in flight, is halved; and
 * again, until they no longer do, or PCR_BACKOFF_MIN are left.  Otherwise it
 * grows by one read at a time.
 *
 * Times are microseconds of any clock that does not go back.  No locking: the
 * reader's lock is held around all calls.
 */
#ifndef BLOCK_PAGECACHE_READER_BACKOFF_H
#define BLOCK_PAGECACHE_READER_BACKOFF_H

/* So few reads may be in flight whatever happens, or all if that is less */
#define PCR_BACKOFF_MIN     2
/*
 * Reads are judged by the mean of so many: one that is late, or found in a
 * cache, says nothing.  What is usual is learned in lessons of some rounds, so
 * that it is not what came once by luck.
 */
#define PCR_BACKOFF_ROUND   64
#define PCR_BACKOFF_LESSON  4       /* rounds */
/* Less than this is no reason, for storage that takes next to no time */
#define PCR_BACKOFF_SLACK_US    500
/*
 * Storage may become slower for good.  After this time most of what it takes
 * then is taken for usual.
 */
#define PCR_BACKOFF_FORGET_US   60000000

/* Reads of about one size take about one time: powers of two of bytes */
#define PCR_BACKOFF_SIZES   25

typedef struct PcrReads {
    double us[PCR_BACKOFF_SIZES];       /* that they took, all together */
    unsigned n[PCR_BACKOFF_SIZES];
    unsigned all;
} PcrReads;

typedef struct PcrBackoff {
    unsigned max;           /* reads in flight at most; 0: never backs off */
    unsigned window;        /* ... at this moment */
    unsigned peak;          /* the most that there ever were */
    int64_t changed_us;     /* reads that were started before don't count */
    int64_t learned_us;     /* when the last lesson ended; 0: not yet */
    double usual_us[PCR_BACKOFF_SIZES]; /* of a read; 0: not known */
    PcrReads round, lesson;
    bool full;              /* the window was, all the lesson long */
} PcrBackoff;

void pcr_backoff_init(PcrBackoff *b, unsigned max);

/* May one more read begin, while @inflight are? */
static inline bool pcr_backoff_allows(const PcrBackoff *b, unsigned inflight)
{
    return !b->max || inflight < b->window;
}

/*
 * A read begins, as one of @inflight.  Is it going to tell anything?  Only if
 * the window is nearly used up, or as many are in flight as ever: where nobody
 * asks for more, storage has it easy.
 */
static inline bool pcr_backoff_counts(PcrBackoff *b, unsigned inflight)
{
    b->peak = MAX(b->peak, inflight);
    return b->max && inflight * 4 >= MIN(b->window, b->peak) * 3;
}

/*
 * One that does, of @bytes, has begun at @start and ended at @now.  Returns
 * whether the window has changed.
 */
bool pcr_backoff_read(PcrBackoff *b, uint32_t bytes, int64_t start,
                      int64_t now);

#endif
