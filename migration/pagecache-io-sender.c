/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the I/O map as MAP frames
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "migration/pagecache.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-map.h"
#include "pagecache-io-sender.h"
#include "pagecache-wire-map.h"

/* Of a frame, in bytes: some 80,000 entries in long runs */
#define FRAME_MAX       (256 * KiB)
/* What is looked at for a frame, at most: 4 GiB of RAM */
#define FRAME_CHUNKS    2048
#define PAGE_SECTORS    (1u << (PAGECACHE_PAGE_BITS - PAGECACHE_SECTOR_BITS))

QEMU_BUILD_BUG_ON(PAGECACHE_IO_SUM_BITS != PAGECACHE_WIRE_MAP_SUM_BITS);

struct PagecacheIoSender {
    GPtrArray *blocks;          /* of RAMBlock; not ours */
    uint64_t *npages;           /* of each, as START has it */
    uint64_t *sectors;          /* of each disk, by number; 0: START has none */
    uint32_t ndisks;
    /* What comes next */
    guint block;
    uint64_t page;
};

PagecacheIoSender *pagecache_io_sender_new(const PagecacheWireStart *start,
                                           GPtrArray *blocks)
{
    PagecacheIoSender *s = g_new0(PagecacheIoSender, 1);
    guint i, n = start->disks->len;

    s->blocks = blocks;
    s->npages = g_new(uint64_t, blocks->len);
    for (i = 0; i < blocks->len; i++) {
        s->npages[i] = g_array_index(start->blocks, PagecacheWireBlock,
                                     i).npages;
    }
    if (n) {
        /* They ascend. */
        s->ndisks = MIN(g_array_index(start->disks, PagecacheWireDisk,
                                      n - 1).id, UINT16_MAX) + 1;
    }
    s->sectors = g_new0(uint64_t, s->ndisks);
    for (i = 0; i < n; i++) {
        const PagecacheWireDisk *d = &g_array_index(start->disks,
                                                    PagecacheWireDisk, i);

        if (d->id < s->ndisks) {
            s->sectors[d->id] = d->sectors;
        }
    }
    return s;
}

void pagecache_io_sender_free(PagecacheIoSender *s)
{
    if (s) {
        g_free(s->npages);
        g_free(s->sectors);
        g_free(s);
    }
}

/* Does START name where it stands? */
static bool find_entry(const PagecacheIoSender *s, RAMBlock *rb,
                       PagecacheWireMapEntry *e)
{
    PagecacheIoPlace place;
    int disk;

    if (!pagecache_io_map_read(rb, s->page, &place, &e->sum)) {
        return false;
    }
    disk = pagecache_io_disks_index(place.disk);
    if (disk < 0 || disk >= s->ndisks || s->sectors[disk] < PAGE_SECTORS ||
        place.sector > s->sectors[disk] - PAGE_SECTORS) {
        return false;
    }
    e->disk = disk;
    e->block = s->block;
    e->page = s->page;
    e->sector = place.sector;
    return true;
}

/*
 * To the end of the chunk or the block.  False: the frame is full, and
 * s->page is what it has no room for.
 */
static bool add_chunk(PagecacheIoSender *s, RAMBlock *rb,
                      PagecacheWireMapWriter *w, uint64_t *entries)
{
    uint64_t end = MIN(ROUND_DOWN(s->page, PAGECACHE_IO_CHUNK) +
                       PAGECACHE_IO_CHUNK, s->npages[s->block]);

    for (; s->page < end; s->page++) {
        PagecacheWireMapEntry e;

        if (!find_entry(s, rb, &e)) {
            continue;
        }
        if (!pagecache_wire_map_add(w, &e, PAGECACHE_PAGE_BITS)) {
            return false;
        }
        ++*entries;
    }
    return true;
}

/* The block that comes next, at a chunk that has entries; NULL: all is done. */
static RAMBlock *next_chunk(PagecacheIoSender *s)
{
    for (; s->block < s->blocks->len; s->block++, s->page = 0) {
        RAMBlock *rb = g_ptr_array_index(s->blocks, s->block);
        uint64_t chunk = s->page / PAGECACHE_IO_CHUNK;

        if (pagecache_io_map_next_chunk(rb, &chunk)) {
            s->page = MAX(s->page, chunk * PAGECACHE_IO_CHUNK);
            if (s->page < s->npages[s->block]) {
                return rb;
            }
        }
    }
    return NULL;
}

uint64_t pagecache_io_sender_next(PagecacheIoSender *s, GByteArray **frame)
{
    g_autoptr(PagecacheWireMapWriter) w =
        pagecache_wire_map_writer_new(FRAME_MAX);
    uint64_t entries = 0;
    unsigned chunks;
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    for (chunks = 0; chunks < FRAME_CHUNKS && (rb = next_chunk(s)); chunks++) {
        if (!add_chunk(s, rb, w, &entries)) {
            break;
        }
    }
    *frame = pagecache_wire_map_finish(w);
    return entries;
}

bool pagecache_io_sender_is_done(const PagecacheIoSender *s)
{
    return s->block == s->blocks->len;
}
