/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the files of the source side share
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * pagecache-src.c owns it and has the section's handlers; it calls
 * pagecache-src-turn.c and pagecache-src-map.c, and the first two call
 * pagecache-src-proof.c.  All but the map's file call pagecache-src-events.c.
 *
 * Locks.  What is here belongs to the migration thread, but for what is set up
 * once.  The parts have locks of their own, none of which is held when another
 * one is taken, but for src and inbox:
 *
 *   src      for the return path's thread: whether there is a PagecacheSrc
 *            (pagecache-src.c)
 *   hints    the queue of hints, and who may add to it (pagecache-hints.c)
 *   pool     the batches (pagecache-pool.c); the bits change atomically
 *   offers   what is ready, and what is wanted (pagecache-offers.c)
 *   inbox    reports that wait (pagecache-inbox.c)
 *   proof    pages that are compared, and those that were (pagecache-proof.c)
 *   ledger   what query-migrate tells (pagecache-ledger.c)
 *   I/O map  its entries change atomically (pagecache-io-map.h); which disks it
 *            knows belongs to the BQL (pagecache-io-disks.c)
 *   left-out what the guest says it has left out (pagecache-left-out.c)
 *   budget   what may be offered (util/pagecache-budget.c)
 *   group    what is known of others who share it (pagecache-group.c)
 */
#ifndef MIGRATION_PAGECACHE_SRC_INT_H
#define MIGRATION_PAGECACHE_SRC_INT_H

#include "qapi/qapi-types-pagecache.h"
#include "qemu/timer.h"
#include "exec/ramblock.h"
#include "qemu/pagecache-budget.h"
#include "pagecache-digest.h"
#include "pagecache-flights.h"
#include "pagecache-inbox.h"
#include "pagecache-intake.h"
#include "pagecache-io-sender.h"
#include "pagecache-offers.h"
#include "pagecache-pace.h"
#include "pagecache-pool.h"
#include "pagecache-proof.h"

/* How good the hints of one producer are for one disk */
typedef struct PagecacheBreaker {
    uint32_t producer;
    uint32_t seen, bad;         /* pages compared, since it last decided */
    uint64_t proven, mismatched;
    bool given_up;
} PagecacheBreaker;

typedef struct PagecacheSrcDisk {
    char *path;                 /* as START names it */
    char *id;                   /* of the guest's device; NULL: none */
    PagecachePace pace;
    uint64_t in_flight;         /* pages */
    bool had_turn;              /* pagecache_pace_turn() was called */
    bool reported;              /* since the last turn */
    GArray *breakers;           /* of PagecacheBreaker, one for a producer;
                                   NULL: nothing was compared yet */
} PagecacheSrcDisk;

typedef struct PagecacheSrc {
    /* Set up once */
    PagecacheDigest digest;
    unsigned page_bits;
    uint64_t pool_bytes;        /* limit of the pool's memory */
    PagecacheBudget *budget;    /* what may be offered */
    uint64_t features;          /* that START has */
    GPtrArray *blocks;          /* of RAMBlock, by number */
    GHashTable *numbers;        /* RAMBlock -> number + 1 */
    PagecacheInbox *inbox;

    /* From the first turn on */
    bool running;
    PagecachePool *pool;
    PagecacheIntake *intake;
    PagecacheOffers *offers;
    PagecacheProof *proof;
    PagecacheFlights *flights;

    /* The I/O map, as long as there is any of it to be sent */
    PagecacheIoSender *map;
    int64_t map_since, map_until;   /* in ms; 0: not yet */
    bool map_turn;

    GArray *disks;              /* of PagecacheSrcDisk */
    uint32_t first_disk;        /* to be offered from in this turn */
    PagecacheChannel channel;
    MigrationPagecacheInfo *info;   /* the figures, as they will be told */
    uint64_t in_flight_released;    /* pages; the pool's are in offers */
    uint64_t named;             /* pages in the reports that were taken */
    bool low_synced;
    bool sync_due;              /* the pool has had pages since the last sync */
    int64_t last_sync;
    int64_t last_turn;
    int64_t begun;              /* in ms */
    bool refused;               /* by the destination; with the lock "src" */
    GQueue *told;               /* of PagecacheSrcEvent: to be sent */
    bool complete;              /* all of RAM is at the destination */
} PagecacheSrc;

/* Found where no event may be sent; pagecache_src_send_events() sends it. */
typedef struct PagecacheSrcEvent {
    char *producer;
    char *path, *id;            /* of a disk, or NULL: about all of them */
    PagecacheGivenUpReason reason;
    char *text;
} PagecacheSrcEvent;

static inline int64_t pagecache_src_now(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static inline uint64_t pagecache_src_to_bytes(const PagecacheSrc *src,
                                              uint64_t pages)
{
    return pages << src->page_bits;
}

static inline uint64_t pagecache_src_to_pages(const PagecacheSrc *src,
                                              uint64_t bytes)
{
    return bytes >> src->page_bits;
}

static inline PagecacheSrcDisk *pagecache_src_disk(PagecacheSrc *src,
                                                   uint32_t nr)
{
    if (nr >= src->disks->len) {
        g_array_set_size(src->disks, nr + 1);
    }
    return &g_array_index(src->disks, PagecacheSrcDisk, nr);
}

/* --- pagecache-src-proof.c: what was reported, and whether it is true --- */

/*
 * Takes reports, for about a millisecond.  False: one of them is malformed, in
 * a way that only shows now.
 */
bool pagecache_src_take_reports(PagecacheSrc *src, Error **errp);
/* Takes what was compared; @settle: waits for what is not yet. */
void pagecache_src_take_proofs(PagecacheSrc *src, bool settle);
/*
 * The pages of a flight that are in flight are no longer, and become ordinary
 * dirty pages.  Returns how many.
 */
uint32_t pagecache_src_release_flight(PagecacheSrc *src, uint32_t number);

/* --- pagecache-src-events.c --- */

/*
 * Hints by @producer are no longer used, for @disk or (NULL) at all; @text says
 * why, and becomes the queue's.
 */
void pagecache_src_given_up(PagecacheSrc *src, const char *producer,
                            const PagecacheSrcDisk *disk,
                            PagecacheGivenUpReason reason, char *text);
/* Looks for producers that were given up at all. */
void pagecache_src_look_at_producers(PagecacheSrc *src);
/* Sends what was queued.  Without locks. */
void pagecache_src_send_events(PagecacheSrc *src);

/* --- pagecache-src-map.c --- */

/* The destination takes the map; @start is what it knows. */
void pagecache_src_map_begin(PagecacheSrc *src,
                             const PagecacheWireStart *start);
/* Is there more of it, for the turns that follow at once? */
bool pagecache_src_map_is_due(PagecacheSrc *src);
/* A frame for this turn, in place of offers; NULL: none */
GByteArray *pagecache_src_map_frame(PagecacheSrc *src);
/* What was not sent is not any more. */
void pagecache_src_map_end(PagecacheSrc *src);

/* --- pagecache-src-turn.c --- */

/* Before the first turn: has offers made of hints that have come already. */
void pagecache_src_first_turn(PagecacheSrc *src);
/*
 * One turn.  Appends offers (of PagecacheWireOffer); @offers is NULL if none can
 * be sent.
 */
bool pagecache_src_turn(PagecacheSrc *src, GArray *offers, Error **errp);
/* Is it time for another one, though the channel has more to send? */
bool pagecache_src_is_turn_due(PagecacheSrc *src);
/* Is there anything left to be done? */
bool pagecache_src_outstanding(PagecacheSrc *src);
/* Waits for a report, shortly, if there is nothing else to do. */
void pagecache_src_idle(PagecacheSrc *src);
/* Looks at the dirty log if it should.  Without locks. */
void pagecache_src_sync_when_due(PagecacheSrc *src, bool outstanding);
/* What the proofs that are pending may still cost, in bytes on the channel */
uint64_t pagecache_src_pending_bytes(PagecacheSrc *src);
/*
 * Tells the last figures; at the @switchover all pages that are left become
 * ordinary dirty pages.
 */
void pagecache_src_publish_end(PagecacheSrc *src, bool switchover);

#endif
