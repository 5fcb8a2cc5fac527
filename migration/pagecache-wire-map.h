/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the frame MAP, encoder and decoder
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Entries of the source's I/O map, in runs.  As in pagecache-wire.h; the
 * specification is docs/devel/migration/skip-pagecache-wire.rst.
 */
#ifndef MIGRATION_PAGECACHE_WIRE_MAP_H
#define MIGRATION_PAGECACHE_WIRE_MAP_H

#include "pagecache-wire.h"

/* In bytes: a run without its checksums, and a checksum */
#define PAGECACHE_WIRE_MAP_RUN      22
#define PAGECACHE_WIRE_MAP_SUM      3
#define PAGECACHE_WIRE_MAP_SUM_BITS 18

typedef struct PagecacheWireMapEntry {
    uint64_t page;
    uint64_t sector;
    uint32_t sum;               /* PAGECACHE_WIRE_MAP_SUM_BITS */
    uint16_t disk;
    uint16_t block;
} PagecacheWireMapEntry;

typedef struct PagecacheWireMapRun {
    uint64_t page;              /* the first one */
    uint64_t sector;
    uint16_t disk;
    uint16_t block;
    uint16_t npages;
    const uint8_t *sums;        /* of each page, in the frame */
} PagecacheWireMapRun;

/* A frame that is being made */
typedef struct PagecacheWireMapWriter PagecacheWireMapWriter;

/* With room for a body of @max bytes, at least a run's */
PagecacheWireMapWriter *pagecache_wire_map_writer_new(uint32_t max);
void pagecache_wire_map_writer_free(PagecacheWireMapWriter *w);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PagecacheWireMapWriter,
                              pagecache_wire_map_writer_free)
/*
 * Adds an entry, to the last run if it continues it (@page_bits is the log2 of
 * a page's size).  False: there is no room.
 */
bool pagecache_wire_map_add(PagecacheWireMapWriter *w,
                            const PagecacheWireMapEntry *entry,
                            unsigned page_bits);
/* The frame, header included; NULL: nothing was added */
GByteArray *pagecache_wire_map_finish(PagecacheWireMapWriter *w);

/*
 * From run to run of a frame's body: *@pos is 0 at first.  False: there are no
 * more, or, with *@err set, what follows is malformed.  Whether its numbers
 * exist is for pagecache_wire_check_place() of pagecache_wire_map_place().
 */
bool pagecache_wire_map_next(const uint8_t *body, size_t len, size_t *pos,
                             PagecacheWireMapRun *run, char **err);
PagecacheWireOffer pagecache_wire_map_place(const PagecacheWireMapRun *run);
/* The checksum of the run's page @i */
uint32_t pagecache_wire_map_sum(const PagecacheWireMapRun *run, uint16_t i);

#endif
