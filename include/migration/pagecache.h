/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what hint producers see of it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A hint is an untrusted claim: "these guest pages hold the bytes that stand
 * at this place of that disk".  Producers (the virtio-pagecache device, the
 * QMP commands) deliver hints while a migration wants them, or
 * pagecache-collect wants to count them.  The migration code bounds, checks and
 * proves every one of them, so a producer need not (and must not be believed
 * to) verify anything but the shape of its input.
 */
#ifndef MIGRATION_PAGECACHE_H
#define MIGRATION_PAGECACHE_H

#include "qapi/qapi-types-pagecache.h"

/* Sectors are 512 bytes; the pages of a hint are always 4096 bytes. */
#define PAGECACHE_SECTOR_BITS   9
#define PAGECACHE_PAGE_BITS     12

typedef struct PagecacheHint {
    uint64_t gpa;       /* guest-physical address, bytes, page aligned */
    uint64_t sector;    /* first 512-byte sector on the disk */
    uint32_t npages;    /* 4096-byte pages */
    uint32_t disk;      /* index into the disk table below */
} PagecacheHint;

/*
 * The disk table: every disk of the guest that was ever seen, by the path of
 * its device (qdev_get_dev_path(), which is the same on both sides of a
 * migration).  An index stays with its path for the life of the process; a
 * disk that is gone (unplugged, ejected) is only absent, and back under the
 * same index when it returns.  All under the BQL.
 */
typedef struct PagecacheDisk {
    char *path;         /* owned by the table */
    DeviceState *dev;   /* NULL: absent now. No reference is held: use it
                           under the same BQL section as the look-up. */
    BlockBackend *blk;  /* NULL: absent now; same rule */
    uint64_t sectors;   /* capacity in 512-byte sectors */
    bool read_only;
} PagecacheDisk;

/* Looks at the guest's disks again.  Returns the length of the table. */
unsigned pagecache_disks_refresh(void);
/* NULL when there is no such index.  Valid until the BQL is dropped. */
const PagecacheDisk *pagecache_disk_get(unsigned index);
/* Index of the disk behind @blk, or -1 */
int pagecache_disk_find(BlockBackend *blk);
/*
 * The id that the user gave the disk's device, or the one that it is a part of;
 * NULL: none, or the disk is absent.  Valid until the BQL is dropped.
 */
const char *pagecache_disk_id(const PagecacheDisk *disk);

/*
 * Producers
 *
 * @collect: a map is wanted from now on, for the collection @epoch (never 0).
 *           Called with the BQL held; must not block.
 * @stop:    hints are no longer wanted (the migration ends in any way).
 *           Called with the BQL held; must not block.  May be called without
 *           a @collect before.
 * @busy:    do more hints come of the collection that is under way, as far as
 *           the producer knows?  With the BQL.  NULL: never.
 * @query:   what query-pagecache tells of it, but for the name; for
 *           qapi_free_...().  With the BQL.  NULL: nothing.
 */
typedef struct PagecacheProducerOps {
    const char *name;
    bool from_guest;    /* a driver in the guest makes the hints */
    void (*collect)(void *opaque, uint32_t epoch);
    void (*stop)(void *opaque);
    bool (*busy)(void *opaque);
    PagecacheProducerInfo *(*query)(void *opaque);
} PagecacheProducerOps;

typedef struct PagecacheProducer PagecacheProducer;

/*
 * Both under the BQL.  When hints are wanted at the time of the registration,
 * @collect is called before the function returns.
 */
PagecacheProducer *pagecache_producer_register(const PagecacheProducerOps *ops,
                                               void *opaque);
/* After this no callback runs any more.  NULL is allowed. */
void pagecache_producer_unregister(PagecacheProducer *producer);

/* What pagecache_producer_hints() says of the future */
typedef enum PagecacheVerdict {
    PAGECACHE_MORE,     /* accepted (perhaps in part), go on */
    PAGECACHE_BUSY,     /* nothing taken: the queue is full, try again later */
    PAGECACHE_STOP,     /* nothing taken: this epoch is over, or this producer
                           was given up for it (too many, or wrong) */
} PagecacheVerdict;

/*
 * Delivers @n hints (at most PAGECACHE_BATCH_MAX) of collection @epoch.
 * From any thread that may take the RCU read lock, with or without the BQL.
 * Never blocks, copies what it needs, takes bounded memory.  Hints that are
 * outside RAM or disk, misaligned, empty or too long are dropped and counted.
 */
#define PAGECACHE_BATCH_MAX 1024
PagecacheVerdict pagecache_producer_hints(PagecacheProducer *producer,
                                          uint32_t epoch,
                                          const PagecacheHint *hints,
                                          size_t n);
/*
 * The collection @epoch of this producer is over.  @complete: it is the whole
 * map; otherwise the producer gave up half-way.  Same threads as above.
 */
void pagecache_producer_end(PagecacheProducer *producer, uint32_t epoch,
                            bool complete);
/*
 * What a producer says it has left out of its map.  Names end with a 0; what
 * is in them does not matter, for they are cleaned before anybody sees them.
 */
#define PAGECACHE_LEFT_OUT_MAX  64
typedef struct PagecacheLeftOut {
    char device[33];    /* block device in the guest; empty: several */
    char detail[17];    /* type of file system or device, or empty */
    PagecacheLeftOutReason reason;
    uint64_t pages;     /* 4096-byte pages */
} PagecacheLeftOut;

/*
 * Tells what the map of collection @epoch lacks: @n entries, at most
 * PAGECACHE_LEFT_OUT_MAX, copied.  Replaces what this producer told before.
 * No effect when the collection is over.  Same threads as above.
 */
void pagecache_producer_left_out(PagecacheProducer *producer, uint32_t epoch,
                                 const PagecacheLeftOut *list, size_t n);
/* Counts input that had no valid shape (for the statistics), same threads. */
void pagecache_producer_bad(PagecacheProducer *producer, const char *what);
/*
 * What keeps this producer from delivering hints, as far as it knows, from now
 * on: PAGECACHE_NOTE_NO_DRIVER, _NO_DAEMON or _GUEST_SILENT; PAGECACHE_NOTE__MAX
 * (as at first): nothing.  For people to read.  Same threads.
 */
void pagecache_producer_obstacle(PagecacheProducer *producer,
                                 PagecacheNote obstacle);
/* No more hints of collection @epoch are wanted: @reason.  Same threads. */
void pagecache_producer_give_up(PagecacheProducer *producer, uint32_t epoch,
                                PagecacheGivenUpReason reason);

/*
 * @rb is freed, and what the I/O map knows of it (migration/pagecache-io-map.h).
 * Nobody looks at it any more.
 */
struct RAMBlock;
void pagecache_io_map_free(struct RAMBlock *rb);
/*
 * These bytes of @rb are given back to the host: their pages lose their entries,
 * so that no migration looks at them, which would allocate them again.  Any
 * thread.
 */
void pagecache_io_map_discarded(struct RAMBlock *rb, uint64_t start,
                                uint64_t bytes);

#endif
