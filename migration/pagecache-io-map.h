/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the I/O map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * For each 4096-byte page of RAM: where on the guest's disks it was last read
 * from or written to, and a checksum of what it had then.  If the page still
 * has that checksum, it most likely is what stands there.  Most likely is
 * enough: entries become hints, and each hinted page is proven.
 *
 * An entry takes 8 bytes, which change at once; two requests with the same page
 * at the same time are the guest's own race.  The map of a RAM block is made
 * when the first of its pages has an entry, and freed with the block.
 *
 * Disks have numbers from 1 to PAGECACHE_IO_DISKS; pagecache-io-disks.c gives
 * them out.  Any thread may call these functions, but for those that say
 * otherwise; who names a RAM block is in an RCU critical section.
 */
#ifndef MIGRATION_PAGECACHE_IO_MAP_H
#define MIGRATION_PAGECACHE_IO_MAP_H

#include "qemu/iov.h"
#include "exec/ramblock.h"

#define PAGECACHE_IO_DISKS      63
/* Sectors of 512 bytes; what stands on a disk further back has no entry. */
#define PAGECACHE_IO_SECTORS    (1ULL << 40)
/* Pages whose entries share 4096 bytes; the granularity of a walk. */
#define PAGECACHE_IO_CHUNK      512

/* Can there be a map in this build?  NULL, or why not. */
const char *pagecache_io_map_why_not(void);
/* Checksums are of whole pages always, not of samples in large requests. */
void pagecache_io_map_set_whole(bool whole);

/*
 * The pages of @qiov that it covers whole have what stands at byte @offset of
 * @disk; those that it covers in part, or at an odd place, lose their entry.
 */
void pagecache_io_map_note(uint8_t disk, int64_t offset,
                           const QEMUIOVector *qiov);
/* All pages of @qiov lose their entry. */
void pagecache_io_map_forget(const QEMUIOVector *qiov);

typedef struct PagecacheIoPlace {
    uint64_t sector;
    uint8_t disk;
} PagecacheIoPlace;

/* The entry of a page, if there is one that fits what the page has now */
bool pagecache_io_map_get(RAMBlock *rb, uint64_t page, PagecacheIoPlace *place);

/*
 * What an entry has of its page: 17 bits of XXH3, and the highest one says
 * whether it is of samples.  The same in each QEMU, as entries go from one to
 * the next (docs/devel/migration/skip-pagecache-wire.rst).
 */
#define PAGECACHE_IO_SUM_BITS   18
/* The entry of a page, whether it fits or not */
bool pagecache_io_map_read(RAMBlock *rb, uint64_t page,
                           PagecacheIoPlace *place, uint32_t *sum);

/*
 * For a thread that is in no RCU critical section: the map of @rb as it is now,
 * which is made if there is none; NULL if there is no memory.  BQL.
 */
typedef struct PagecacheIoMap PagecacheIoMap;
PagecacheIoMap *pagecache_io_map_hold(RAMBlock *rb);
void pagecache_io_map_release(PagecacheIoMap *map);
/* The page gets @data, which stands at that place. */
void pagecache_io_map_seed(PagecacheIoMap *map, uint64_t page,
                           const PagecacheIoPlace *place, const void *data);
/* ...what another QEMU says that the page has; its content may come later. */
void pagecache_io_map_put(PagecacheIoMap *map, uint64_t page,
                          const PagecacheIoPlace *place, uint32_t sum);

/* How many chunks have entries */
uint64_t pagecache_io_map_chunks(RAMBlock *rb);
/* The first chunk from @chunk on that has entries; there is none: false. */
bool pagecache_io_map_next_chunk(RAMBlock *rb, uint64_t *chunk);

/*
 * Takes the entries of these disks (bit n is the disk n) out of all maps: some
 * ms for each GiB of RAM with entries.
 */
void pagecache_io_map_sweep(uint64_t disks);
/* There are no maps any more.  BQL. */
void pagecache_io_map_drop(void);

/* Bytes of the host's memory */
uint64_t pagecache_io_map_bytes(void);

#endif
