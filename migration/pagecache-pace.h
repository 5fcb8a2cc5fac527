/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how fast both wires are, and what follows from it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Each disk is measured by the reports that come back, the channel by the bytes
 * that QEMU counts as sent.  From the rates follow how many pages of each disk
 * may be in flight, and how many the channel gets when it would idle.  There
 * is nothing to tune.
 *
 * Times are milliseconds of any clock that does not go back, sizes are bytes.
 * No locking: all calls from one thread (the migration thread).
 */
#ifndef MIGRATION_PAGECACHE_PACE_H
#define MIGRATION_PAGECACHE_PACE_H

/* A rate over the last second or so, ready after its first 100 ms */
#define PAGECACHE_RATE_SLOTS 8
#define PAGECACHE_RATE_SLOT_MS 128

typedef struct PagecacheRate {
    int64_t start;              /* time of the first addition; 0: none yet */
    int64_t slot;               /* number of the newest slot */
    uint64_t bytes[PAGECACHE_RATE_SLOTS];
} PagecacheRate;

void pagecache_rate_add(PagecacheRate *rate, int64_t now, uint64_t bytes);
/* Bytes per second; 0: not known */
uint64_t pagecache_rate_get(const PagecacheRate *rate, int64_t now);

/* The way to one disk */
typedef struct PagecachePace {
    PagecacheRate storage;
    double report_ms;           /* usual time from offer to report; 0: none */
    int64_t least_ms;           /* the shortest of all; valid with report_ms */
    int64_t quiet_since;        /* no report since, though one could come */
    double pause_ms;            /* how long that takes at times */
    uint64_t window;            /* 0: not begun */
    bool full;                  /* at the last turn: more was not allowed */
} PagecachePace;

typedef struct PagecacheChannel {
    PagecacheRate rate;
    uint64_t total;             /* at the last pagecache_channel_sent() */
    bool started;
} PagecacheChannel;

/*
 * The migration thread comes by: @in_flight bytes are, and some of them may
 * have been @reported, of which pagecache_pace_reported() is told next.  (Of
 * this disk, as in what follows.)
 */
void pagecache_pace_turn(PagecachePace *pace, int64_t now, uint64_t in_flight,
                         bool reported);
/* @bytes were reported that had been offered @age ms ago. */
void pagecache_pace_reported(PagecachePace *pace, int64_t now, uint64_t bytes,
                             int64_t age);
/*
 * How much may be in flight.  The migration thread comes by every 50 to
 * 100 ms and the destination must not run dry meanwhile, so there shall be
 * work for PAGECACHE_WINDOW_MS.  While reports come sooner than that, the
 * window is what limits the rate: it grows by what is reported, that is, it
 * doubles with every turn, if it was full.  Otherwise it follows the rate.
 *
 * What has nothing to do with storage does not count: the shortest time that
 * a report took is the way there and back.  And where turns take longer, or
 * offers are held up behind RAM that has to be decompressed, no report comes
 * for some time.  Then there shall be work for PAGECACHE_WINDOW_PAUSES of
 * these pauses: in the first storage did all that it had, in the second it
 * would idle.  Both have limits, or a disk that hangs would have all the pool.
 */
#define PAGECACHE_WINDOW_MS 300
#define PAGECACHE_WINDOW_PAUSES 3
#define PAGECACHE_PAUSE_MAX_MS 500
#define PAGECACHE_WINDOW_MIN (8 * MiB)
uint64_t pagecache_pace_window(const PagecachePace *pace);

/* @total bytes have gone over the channel since it exists. */
void pagecache_channel_sent(PagecacheChannel *channel, int64_t now,
                            uint64_t total);

/*
 * The channel would idle with less than @low to send, and then gets @chunk.
 * Each time the scan goes round costs a sync of all multifd channels, hence
 * no smaller chunks.
 */
#define PAGECACHE_CHANNEL_LOW_MS 100
#define PAGECACHE_CHANNEL_CHUNK_MS 200
#define PAGECACHE_CHANNEL_MIN (1 * MiB)
void pagecache_channel_share(const PagecacheChannel *channel, int64_t now,
                             uint64_t *low, uint64_t *chunk);

/*
 * @in_flight bytes of each disk are on their way, or wait for it, at @rate
 * bytes a second, and @todo bytes are left for the channel, which sends
 * @channel a second: what the channel takes of each so that all end at the
 * same time.  All of a disk from which nothing comes (0): there the channel is
 * needed most, and what it would take of the others comes without it.
 */
typedef struct PagecacheTail {
    uint64_t in_flight;
    uint64_t rate;
    uint64_t share;             /* the result */
} PagecacheTail;

void pagecache_pace_tail(PagecacheTail *disks, unsigned n, uint64_t channel,
                         uint64_t todo);

/*
 * What @bytes that are being compared, at @proof bytes a second (0: not known),
 * may still cost, as bytes on a channel of @channel bytes a second: those that
 * it could send while they are compared, and at least themselves, because they
 * may differ.
 */
uint64_t pagecache_pace_pending(uint64_t bytes, uint64_t proof,
                                uint64_t channel);

#define PAGECACHE_PATIENCE_MIN_MS 200
/* Offers older than this are late, once the channel has nothing better. */
int64_t pagecache_pace_patience(const PagecachePace *pace);

/*
 * Will all be done with @bytes within PAGECACHE_LOW_MS, at @storage and
 * @channel bytes a second?  False as long as one of these is not known (0).
 */
#define PAGECACHE_LOW_MS 500
bool pagecache_pace_is_low(uint64_t storage, uint64_t channel, uint64_t bytes);

#endif
