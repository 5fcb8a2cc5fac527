/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints on their way from the producers to the source side
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * include/migration/pagecache.h is what producers see of it.
 */
#ifndef MIGRATION_PAGECACHE_HINTS_H
#define MIGRATION_PAGECACHE_HINTS_H

#include "exec/ramblock.h"
#include "migration/pagecache.h"
#include "pagecache-tally.h"

/* A hint that was checked: pages of RAM that migrates, sectors of a disk */
typedef struct PagecacheQueuedHint {
    RAMBlock *rb;
    uint64_t page;      /* target page in rb */
    uint64_t sector;
    uint32_t npages;    /* target pages */
    uint32_t disk;      /* index in the disk table */
    uint32_t producer;
} PagecacheQueuedHint;

typedef struct PagecacheHintStats {
    uint64_t hinted;    /* target pages queued */
    uint64_t dropped;   /* pages, or malformed inputs, dropped */
    int64_t map_ms;     /* start to the last end record; -1: none came */
} PagecacheHintStats;

/* Disks are unplugged and resized; these are as large as START said. */
typedef struct PagecacheHintDisk {
    bool present;
    uint64_t sectors;
} PagecacheHintDisk;

/*
 * Asks all producers for a map.  @disks has one entry for each index of the
 * disk table; it is copied.  BQL.
 */
void pagecache_hints_start(const PagecacheHintDisk *disks, unsigned ndisks);
/*
 * The same, but hints are only counted, by @tally, whose sample producers may
 * keep to.  It is there until pagecache_hints_stop(); a pagecache_hints_start()
 * takes its place.  Returns the collection's epoch.  BQL.
 */
uint32_t pagecache_hints_count(const PagecacheHintDisk *disks, unsigned ndisks,
                               PagecacheTally *tally, PagecacheSample sample);
/* Is that collection still wanted?  BQL. */
bool pagecache_hints_is_wanted(uint32_t epoch);
/* Does a producer have more of what is wanted?  BQL. */
bool pagecache_hints_busy(void);
/* Are hints only counted?  Then what RAM they may be of.  Any thread. */
bool pagecache_hints_are_counted(PagecacheSample *sample);
/* Hints are no longer wanted.  BQL.  Nothing happens without a start. */
void pagecache_hints_stop(void);
/* No more of @disk from this producer, in this collection.  Any thread. */
void pagecache_hints_refuse(uint32_t producer, uint32_t disk);

/*
 * Waits until there are hints, and some milliseconds for others to join them,
 * and takes them all: an array of PagecacheQueuedHint for g_array_unref().
 * NULL: *@quit has turned true, whoever sets it calls pagecache_hints_wake().
 * Any thread.
 */
GArray *pagecache_hints_wait(const bool *quit);
void pagecache_hints_wake(void);
/*
 * Waits until all that was queued has been taken, and pagecache_hints_wait() is
 * called again; for @ms at most.
 */
void pagecache_hints_wait_taken(int ms);
/* Counts hints that were taken, and then dropped for the reason @why. */
void pagecache_hints_dropped(uint64_t pages, const char *why);

typedef struct PagecacheProducerStats {
    const char *name;   /* static */
    uint32_t id;
    PagecacheHintStats stats;
    PagecacheNote obstacle;     /* PAGECACHE_NOTE__MAX: none */
    bool ended;                 /* its map is complete, or cut short */
    bool from_guest;            /* a driver in the guest makes the hints */
} PagecacheProducerStats;

/* Of all of them; appends those of each to @producers. */
void pagecache_hints_stats(PagecacheHintStats *stats, GArray *producers);

/*
 * A producer that was given up for all disks in this collection, and of which
 * this was not told yet: its name, which is static.  NULL: there is none.
 */
const char *pagecache_hints_given_up(PagecacheGivenUpReason *reason);
/* What there is to tell of each producer; for qapi_free_...().  BQL. */
PagecacheProducerInfoList *pagecache_hints_producers(void);

/* Its name, static */
const char *pagecache_hints_name(uint32_t producer);

/* What hints are counted under; the same for the life of the producer */
uint32_t pagecache_producer_id(const PagecacheProducer *producer);

/* A hint of one who knows RAM blocks */
typedef struct PagecacheRamHint {
    RAMBlock *rb;       /* is there until the call returns */
    uint64_t page;      /* 4096-byte page in it */
    uint64_t sector;
    uint32_t npages;    /* 4096-byte pages */
    uint32_t disk;
} PagecacheRamHint;

/* As pagecache_producer_hints() */
PagecacheVerdict pagecache_producer_ram_hints(PagecacheProducer *producer,
                                              uint32_t epoch,
                                              const PagecacheRamHint *hints,
                                              size_t n);
/*
 * As pagecache_producer_hints() with one hint, whose gpa is an offset into the
 * RAM block @idstr.
 */
PagecacheVerdict pagecache_producer_block_hint(PagecacheProducer *producer,
                                               uint32_t epoch,
                                               const char *idstr,
                                               const PagecacheHint *hint);

#endif
