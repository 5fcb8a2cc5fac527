/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the files of the destination side share
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * pagecache-dst.c owns it and has the section's handlers; it calls
 * pagecache-dst-disks.c and pagecache-dst-map.c.  The first two call
 * pagecache-refill.c, which the readers call back, and which calls
 * pagecache-reporter.c.
 *
 * Locks.  What is here belongs to the main thread, but for dst.  The parts have
 * locks of their own, none of which is held when another one is taken, nor a
 * reader's (block/pagecache-reader-state.h) when it calls back:
 *
 *   dst      whether there is a PagecacheDst: the BQL (pagecache-dst.c)
 *   refill   no lock: claims and the revocation are atomic (pagecache-refill.h)
 *   reporter reports that wait (pagecache-reporter.c); that of QEMU's yank
 *            instances is taken under it
 *   populate RAM that is wanted (pagecache-populate.c)
 *   ledger   what query-migrate tells afterwards (pagecache-ledger.c)
 */
#ifndef MIGRATION_PAGECACHE_DST_INT_H
#define MIGRATION_PAGECACHE_DST_INT_H

#include "qapi/qapi-types-pagecache.h"
#include "qemu/coroutine.h"
#include "qemu/stats64.h"
#include "block/pagecache-reader.h"
#include "pagecache-populate.h"
#include "pagecache-refill.h"
#include "pagecache-reporter.h"
#include "pagecache-wire.h"

typedef struct PagecacheDstDisk {
    uint32_t id;
    uint64_t sectors;           /* at the source */
    char *path;
    char *dev_id;               /* of the guest's device here; NULL: none */
    uint8_t io_number;          /* in the I/O map; 0: not tracked */
    PagecacheReader *reader;    /* NULL: none, or closed */
    char *error;                /* why there is no reader */
    bool told;                  /* it was said that the reader has failed */
    PagecacheReaderStats stats; /* once it is closed */
    GArray *runs;               /* of PagecacheRun: of the frame at hand */
} PagecacheDstDisk;

typedef struct PagecacheDst {
    PagecacheWireStart *start;
    uint64_t features;          /* that both sides have */
    char *no_digest;            /* why it can't be used, and nothing is read */
    unsigned page_bits;
    GPtrArray *blocks;          /* of RAMBlock, by number */
    GArray *disks;              /* of PagecacheDstDisk, ids ascending */
    uint32_t next_offer;        /* number of the next offer */
    PagecachePopulate *populate;    /* NULL: this host can't */
    PagecacheRefill *refill;
    PagecacheReporter *reporter;
    Stat64 offered;             /* pages */
    Stat64 io_map_entries;      /* that were taken over */
    int64_t blackout_us;        /* of END; -1: it has not come */
} PagecacheDst;

/* --- pagecache-dst-disks.c; the main thread ------------------------------- */

/* For d->disks; g_array_unref() it when they are closed. */
GArray *pagecache_dst_disks_new(void);
/* START names them: opens a reader for each that can be read here. */
void coroutine_fn pagecache_dst_open_disks(PagecacheDst *d);
/* The disk that an offer names, which was checked */
PagecacheDstDisk *pagecache_dst_disk(PagecacheDst *d, uint32_t id);
/* The figures of all of them, closed or not */
MigrationPagecacheDiskList *pagecache_dst_disks_info(PagecacheDst *d);
/* Says which readers have failed, once for each. */
void pagecache_dst_look_at_disks(PagecacheDst *d);
/* Doesn't wait for reads that are under way. */
void pagecache_dst_close_disks(PagecacheDst *d);

/* --- pagecache-dst-map.c; the main thread --------------------------------- */

/* The body of a MAP frame, which has come in its turn */
bool pagecache_dst_load_map(PagecacheDst *d, const uint8_t *body, size_t len,
                            Error **errp);

#endif
