/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: through the I/O map, for hints
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "migration/pagecache.h"
#include "pagecache-io-map.h"
#include "pagecache-io-walk.h"

/* What a thread goes through in one go: 128 MiB of RAM */
#define PIECE_CHUNKS    64
#define PAGE_SECTORS    (1u << (PAGECACHE_PAGE_BITS - PAGECACHE_SECTOR_BITS))

/* A chunk is a part of a sample. */
QEMU_BUILD_BUG_ON(PAGECACHE_IO_CHUNK << PAGECACHE_PAGE_BITS !=
                  1 << PAGECACHE_SAMPLE_BITS);

struct PagecacheIoWalk {
    GPtrArray *blocks;          /* of RAMBlock */
    PagecacheSample sample;
    uint64_t *pieces;           /* how many each of them has */
    uint64_t next;              /* atomic: the number of the next piece */
    bool stopped;               /* atomic */
};

/* One thread's part in it */
typedef struct Part {
    PagecacheIoWalk *walk;
    PagecacheIoFound *found;
    void *opaque;
    size_t n;
    PagecacheIoRun runs[PAGECACHE_IO_RUNS_MAX];
} Part;

PagecacheIoWalk *pagecache_io_walk_new(GPtrArray *blocks,
                                       PagecacheSample sample)
{
    PagecacheIoWalk *walk = g_new0(PagecacheIoWalk, 1);
    guint i;

    walk->blocks = g_ptr_array_ref(blocks);
    walk->sample = sample;
    walk->pieces = g_new(uint64_t, blocks->len);
    for (i = 0; i < blocks->len; i++) {
        RAMBlock *rb = g_ptr_array_index(blocks, i);

        walk->pieces[i] = DIV_ROUND_UP(rb->max_length >> PAGECACHE_PAGE_BITS,
                                       PIECE_CHUNKS * PAGECACHE_IO_CHUNK);
    }
    return walk;
}

void pagecache_io_walk_free(PagecacheIoWalk *walk)
{
    if (walk) {
        g_ptr_array_unref(walk->blocks);
        g_free(walk->pieces);
        g_free(walk);
    }
}

void pagecache_io_walk_stop(PagecacheIoWalk *walk)
{
    qatomic_set(&walk->stopped, true);
}

bool pagecache_io_walk_is_stopped(PagecacheIoWalk *walk)
{
    return qatomic_read(&walk->stopped);
}

/* The piece of RAM that the channel reaches last, of those that are left */
static RAMBlock *next_piece(PagecacheIoWalk *walk, uint64_t *piece)
{
    uint64_t n = qatomic_fetch_add(&walk->next, 1);
    guint i = walk->blocks->len;

    while (i-- > 0) {
        if (n < walk->pieces[i]) {
            *piece = walk->pieces[i] - 1 - n;
            return g_ptr_array_index(walk->blocks, i);
        }
        n -= walk->pieces[i];
    }
    return NULL;
}

static void give(Part *p)
{
    if (p->n && !pagecache_io_walk_is_stopped(p->walk) &&
        !p->found(p->opaque, p->runs, p->n)) {
        pagecache_io_walk_stop(p->walk);
    }
    p->n = 0;
}

static void add_page(Part *p, RAMBlock *rb, uint64_t page)
{
    PagecacheIoRun *last = p->n ? &p->runs[p->n - 1] : NULL;
    PagecacheIoPlace place;

    if (!pagecache_io_map_get(rb, page, &place)) {
        return;
    }
    if (last && last->rb == rb && last->page + last->npages == page &&
        last->disk == place.disk &&
        last->sector + (uint64_t)last->npages * PAGE_SECTORS == place.sector) {
        last->npages++;
        return;
    }
    p->runs[p->n++] = (PagecacheIoRun) {
        .rb = rb, .page = page, .sector = place.sector, .npages = 1,
        .disk = place.disk,
    };
}

static void walk_chunk(Part *p, RAMBlock *rb, uint64_t chunk)
{
    uint64_t page = chunk * PAGECACHE_IO_CHUNK;
    uint64_t end = MIN(page + PAGECACHE_IO_CHUNK,
                       rb->used_length >> PAGECACHE_PAGE_BITS);

    /* There is room for all of them. */
    if (p->n + PAGECACHE_IO_CHUNK > PAGECACHE_IO_RUNS_MAX) {
        give(p);
    }
    RCU_READ_LOCK_GUARD();
    for (; page < end; page++) {
        add_page(p, rb, page);
    }
}

/* Upwards, as files are */
static void walk_piece(Part *p, RAMBlock *rb, uint64_t piece)
{
    uint64_t chunk = piece * PIECE_CHUNKS, end = chunk + PIECE_CHUNKS;

    for (; !pagecache_io_walk_is_stopped(p->walk); chunk++) {
        bool more;

        WITH_RCU_READ_LOCK_GUARD() {
            more = pagecache_io_map_next_chunk(rb, &chunk);
        }
        if (!more || chunk >= end) {
            return;
        }
        if (pagecache_sample_has(&p->walk->sample, chunk)) {
            walk_chunk(p, rb, chunk);
        }
    }
}

bool pagecache_io_walk_run(PagecacheIoWalk *walk, PagecacheIoFound *found,
                           void *opaque)
{
    g_autofree Part *p = g_new(Part, 1);
    uint64_t piece;
    RAMBlock *rb;

    p->walk = walk;
    p->found = found;
    p->opaque = opaque;
    p->n = 0;
    while (!pagecache_io_walk_is_stopped(walk) &&
           (rb = next_piece(walk, &piece))) {
        walk_piece(p, rb, piece);
    }
    give(p);
    return !pagecache_io_walk_is_stopped(walk);
}
