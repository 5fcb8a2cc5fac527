/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the I/O map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitmap.h"
#include "qemu/madvise.h"
#include "qemu/rcu.h"
#include "qemu/rcu_queue.h"
#include "qemu/stats64.h"
#include "qemu/units.h"
#include "exec/cpu-common.h"
#include "exec/ramlist.h"
#include "migration/pagecache.h"
#include "pagecache-digest-xxh3.h"
#include "pagecache-io-map.h"

#define PAGE_BITS       PAGECACHE_PAGE_BITS
#define PAGE_BYTES      (1ULL << PAGE_BITS)
#define SECTOR_BITS     PAGECACHE_SECTOR_BITS
#define SECTOR_BYTES    (1u << SECTOR_BITS)

/*
 * Larger requests are those of streams, which are read once; samples of their
 * pages cost a quarter of the time.  What databases change a word of comes in
 * smaller ones.
 */
#define WHOLE_BYTES     (64 * KiB)
#define SAMPLES         4
#define SAMPLE_BYTES    64

/*
 * An entry; 0: there is none.
 *
 *      63            24 23      18   17      16       0
 *     |   sector       |   disk   | sampled | checksum |
 */
#define SUM_BITS        (PAGECACHE_IO_SUM_BITS - 1)
#define SUM_MASK        ((1u << SUM_BITS) - 1)
#define SAMPLED         (1u << SUM_BITS)
#define DISK_SHIFT      PAGECACHE_IO_SUM_BITS
#define DISK_MASK       63u
#define SECTOR_SHIFT    (DISK_SHIFT + 6)

QEMU_BUILD_BUG_ON(PAGECACHE_IO_DISKS > DISK_MASK);
QEMU_BUILD_BUG_ON(PAGECACHE_IO_SECTORS != 1ULL << (64 - SECTOR_SHIFT));
QEMU_BUILD_BUG_ON(PAGECACHE_IO_CHUNK * sizeof(uint64_t) != 4096);

struct PagecacheIoMap {
    struct rcu_head rcu;
    int refs;                   /* atomic: the RAM block's, and those held */
    uint64_t pages;
    uint64_t *entries;
    size_t bytes;               /* of them */
    unsigned long *chunks;      /* bit n: chunk n may have entries */
    Stat64 used;                /* chunks */
};

static bool always_whole;       /* atomic */

const char *pagecache_io_map_why_not(void)
{
#ifndef CONFIG_ATOMIC64
    return "this host has no 64-bit atomic accesses";
#else
    if (!pagecache_digest_have_xxh3()) {
        return "this QEMU is built without libxxhash";
    }
    return NULL;
#endif
}

void pagecache_io_map_set_whole(bool whole)
{
    qatomic_set(&always_whole, whole);
}

/* --- life --- */

static uint64_t count_chunks(const PagecacheIoMap *map)
{
    return DIV_ROUND_UP(map->pages, PAGECACHE_IO_CHUNK);
}

static void map_free(PagecacheIoMap *map)
{
    qemu_anon_ram_free(map->entries, map->bytes);
    g_free(map->chunks);
    g_free(map);
}

static PagecacheIoMap *map_new(RAMBlock *rb)
{
    PagecacheIoMap *map = g_new0(PagecacheIoMap, 1);

    map->refs = 1;
    map->pages = rb->max_length >> PAGE_BITS;
    map->bytes = ROUND_UP(MAX(map->pages, 1) * sizeof(*map->entries),
                          qemu_real_host_page_size());
    map->entries = qemu_anon_ram_alloc(map->bytes, NULL, false, false);
    if (!map->entries) {
        g_free(map);
        return NULL;
    }
    /* A touched page of it stands for 2 MiB of RAM: a huge one is too much. */
    qemu_madvise(map->entries, map->bytes, QEMU_MADV_NOHUGEPAGE);
    map->chunks = bitmap_new(count_chunks(map));
    return map;
}

static PagecacheIoMap *map_of(RAMBlock *rb)
{
    return qatomic_rcu_read(&rb->pagecache_io_map);
}

/* NULL: there is no memory */
static PagecacheIoMap *make_map(RAMBlock *rb)
{
    PagecacheIoMap *map = map_of(rb), *new;

    if (map) {
        return map;
    }
    new = map_new(rb);
    if (!new) {
        return NULL;
    }
    map = qatomic_cmpxchg(&rb->pagecache_io_map, NULL, new);
    if (map) {
        map_free(new);          /* another thread was faster */
        return map;
    }
    return new;
}

PagecacheIoMap *pagecache_io_map_hold(RAMBlock *rb)
{
    PagecacheIoMap *map = make_map(rb);

    if (map) {
        qatomic_inc(&map->refs);
    }
    return map;
}

void pagecache_io_map_release(PagecacheIoMap *map)
{
    if (map && qatomic_fetch_dec(&map->refs) == 1) {
        map_free(map);
    }
}

void pagecache_io_map_drop(void)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        PagecacheIoMap *map = qatomic_xchg(&rb->pagecache_io_map, NULL);

        if (map) {
            call_rcu(map, pagecache_io_map_release, rcu);
        }
    }
}

void pagecache_io_map_free(RAMBlock *rb)
{
    pagecache_io_map_release(rb->pagecache_io_map);
}

uint64_t pagecache_io_map_bytes(void)
{
    uint64_t bytes = 0;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        PagecacheIoMap *map = map_of(rb);

        if (map) {
            bytes += sizeof(*map) +
                     count_chunks(map) / 8 +
                     stat64_get(&map->used) * PAGECACHE_IO_CHUNK *
                     sizeof(*map->entries);
        }
    }
    return bytes;
}

/* --- entries --- */

static uint32_t sum_page(const uint8_t *host, bool sampled)
{
    uint8_t samples[SAMPLES][SAMPLE_BYTES];
    unsigned i;

    if (!sampled) {
        return pagecache_checksum_xxh3(host, PAGE_BYTES) & SUM_MASK;
    }
    /* The first bytes of a page, the last ones, and some between */
    for (i = 0; i < SAMPLES; i++) {
        size_t at = (PAGE_BYTES - SAMPLE_BYTES) / (SAMPLES - 1) * i;

        memcpy(samples[i], host + at, SAMPLE_BYTES);
    }
    return pagecache_checksum_xxh3(samples, sizeof(samples)) & SUM_MASK;
}

static uint64_t make_entry(uint8_t disk, uint64_t sector, bool sampled,
                           uint32_t sum)
{
    return sector << SECTOR_SHIFT | (uint64_t)disk << DISK_SHIFT |
           (sampled ? SAMPLED : 0) | sum;
}

static uint8_t entry_disk(uint64_t entry)
{
    return entry >> DISK_SHIFT & DISK_MASK;
}

static void set_entry(PagecacheIoMap *map, uint64_t page, uint64_t entry)
{
    uint64_t chunk = page / PAGECACHE_IO_CHUNK;
    unsigned long *word = &map->chunks[BIT_WORD(chunk)];
    unsigned long bit = BIT_MASK(chunk);

    if (!(qatomic_read(word) & bit)) {
        if (!entry) {
            return;
        }
        /* whichever comes first: the walks are not for what comes right now */
        if (!(qatomic_fetch_or(word, bit) & bit)) {
            stat64_add(&map->used, 1);
        }
    }
    qatomic_set_u64(&map->entries[page], entry);
}

/* Where the bytes of a request come from, or go to; disk 0: nobody knows */
typedef struct Place {
    int64_t offset;             /* bytes */
    uint8_t disk;
    bool sampled;
} Place;

static void note_page(PagecacheIoMap *map, RAMBlock *rb, uint64_t page,
                      const Place *place, int64_t offset)
{
    uint64_t sector = offset >> SECTOR_BITS;

    if (sector >= PAGECACHE_IO_SECTORS) {
        set_entry(map, page, 0);
        return;
    }
    set_entry(map, page, make_entry(place->disk, sector, place->sampled,
                                    sum_page(rb->host + (page << PAGE_BITS),
                                             place->sampled)));
}

/* @bytes at byte @at of @rb */
static void note_range(RAMBlock *rb, uint64_t at, uint64_t bytes,
                       const Place *place)
{
    bool known = place->disk && !((at | place->offset) & (SECTOR_BYTES - 1));
    PagecacheIoMap *map = known ? make_map(rb) : map_of(rb);
    uint64_t page, end = at + bytes;

    if (!map) {
        return;
    }
    for (page = at >> PAGE_BITS; page << PAGE_BITS < end; page++) {
        uint64_t first = page << PAGE_BITS;

        if (page >= map->pages) {
            return;
        }
        if (known && first >= at && first + PAGE_BYTES <= end) {
            note_page(map, rb, page, place, place->offset + (first - at));
        } else {
            set_entry(map, page, 0);
        }
    }
}

/* One piece of memory, which need not be RAM of the guest */
static void note_memory(uint8_t *host, size_t bytes, Place place)
{
    while (bytes) {
        ram_addr_t at;
        RAMBlock *rb = qemu_ram_block_from_host(host, false, &at);
        size_t n;

        if (!rb) {
            return;
        }
        n = MIN(bytes, rb->max_length - at);
        note_range(rb, at, n, &place);
        host += n;
        bytes -= n;
        place.offset += n;
    }
}

static void note(const QEMUIOVector *qiov, Place place)
{
    int i;

    RCU_READ_LOCK_GUARD();
    for (i = 0; i < qiov->niov; i++) {
        uint8_t *host = qiov->iov[i].iov_base;
        size_t bytes = qiov->iov[i].iov_len;

        /* Pieces that follow each other may share a page. */
        while (i + 1 < qiov->niov &&
               qiov->iov[i + 1].iov_base == host + bytes) {
            bytes += qiov->iov[++i].iov_len;
        }
        note_memory(host, bytes, place);
        place.offset += bytes;
    }
}

void pagecache_io_map_note(uint8_t disk, int64_t offset,
                           const QEMUIOVector *qiov)
{
    const Place place = {
        .offset = offset,
        .disk = disk,
        .sampled = qiov->size > WHOLE_BYTES && !qatomic_read(&always_whole),
    };

    note(qiov, place);
}

void pagecache_io_map_forget(const QEMUIOVector *qiov)
{
    note(qiov, (Place) { 0 });
}

/* 0: there is none */
static uint64_t get_entry(const PagecacheIoMap *map, uint64_t page)
{
    return map && page < map->pages ? qatomic_read_u64(&map->entries[page]) : 0;
}

static PagecacheIoPlace entry_place(uint64_t entry)
{
    return (PagecacheIoPlace) {
        .disk = entry_disk(entry), .sector = entry >> SECTOR_SHIFT,
    };
}

bool pagecache_io_map_get(RAMBlock *rb, uint64_t page, PagecacheIoPlace *place)
{
    uint64_t entry = get_entry(map_of(rb), page);

    if (!entry || sum_page(rb->host + (page << PAGE_BITS), entry & SAMPLED) !=
                  (entry & SUM_MASK)) {
        return false;
    }
    *place = entry_place(entry);
    return true;
}

bool pagecache_io_map_read(RAMBlock *rb, uint64_t page,
                           PagecacheIoPlace *place, uint32_t *sum)
{
    uint64_t entry = get_entry(map_of(rb), page);

    *place = entry_place(entry);
    *sum = entry & (SAMPLED | SUM_MASK);
    return entry;
}

void pagecache_io_map_seed(PagecacheIoMap *map, uint64_t page,
                           const PagecacheIoPlace *place, const void *data)
{
    bool sampled = !qatomic_read(&always_whole);

    if (page < map->pages && place->sector < PAGECACHE_IO_SECTORS) {
        set_entry(map, page, make_entry(place->disk, place->sector, sampled,
                                        sum_page(data, sampled)));
    }
}

void pagecache_io_map_put(PagecacheIoMap *map, uint64_t page,
                          const PagecacheIoPlace *place, uint32_t sum)
{
    if (page < map->pages && place->sector < PAGECACHE_IO_SECTORS) {
        set_entry(map, page, make_entry(place->disk, place->sector,
                                        sum & SAMPLED, sum & SUM_MASK));
    }
}

/* --- walks --- */

uint64_t pagecache_io_map_chunks(RAMBlock *rb)
{
    PagecacheIoMap *map = map_of(rb);

    return map ? stat64_get(&map->used) : 0;
}

bool pagecache_io_map_next_chunk(RAMBlock *rb, uint64_t *chunk)
{
    PagecacheIoMap *map = map_of(rb);

    if (!map) {
        return false;
    }
    *chunk = find_next_bit(map->chunks, count_chunks(map), *chunk);
    return *chunk < count_chunks(map);
}

/* Entries of these pages, of one chunk */
static void sweep_pages(PagecacheIoMap *map, uint64_t page, uint64_t end,
                        uint64_t disks)
{
    for (; page < end; page++) {
        uint64_t entry = qatomic_read_u64(&map->entries[page]);

        /* If the guest uses it right now for another one, that is lost, too. */
        if (entry && disks >> entry_disk(entry) & 1) {
            qatomic_set_u64(&map->entries[page], 0);
        }
    }
}

static void sweep(RAMBlock *rb, uint64_t first, uint64_t end, uint64_t disks)
{
    PagecacheIoMap *map = map_of(rb);
    uint64_t chunk = first / PAGECACHE_IO_CHUNK;

    for (; map && pagecache_io_map_next_chunk(rb, &chunk); chunk++) {
        uint64_t page = chunk * PAGECACHE_IO_CHUNK;

        if (page >= end) {
            return;
        }
        sweep_pages(map, MAX(page, first),
                    MIN(MIN(page + PAGECACHE_IO_CHUNK, end), map->pages),
                    disks);
    }
}

void pagecache_io_map_sweep(uint64_t disks)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH(rb) {
        sweep(rb, 0, UINT64_MAX, disks);
    }
}

void pagecache_io_map_discarded(RAMBlock *rb, uint64_t start, uint64_t bytes)
{
    RCU_READ_LOCK_GUARD();
    sweep(rb, start >> PAGE_BITS, DIV_ROUND_UP(start + bytes, PAGE_BYTES),
          UINT64_MAX);
}
