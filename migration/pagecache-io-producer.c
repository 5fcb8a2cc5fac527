/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the I/O map as a hint producer
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/rcu_queue.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "block/aio.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "exec/ramlist.h"
#include "exec/target_page.h"
#include "migration/misc.h"
#include "pagecache-hints.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-map.h"
#include "pagecache-io-producer.h"
#include "ram.h"
#include "trace.h"

#define BUSY_US         5000            /* until the queue of hints has room */
/* What a thread goes through in one go, downwards: 128 MiB of RAM */
#define PIECE_CHUNKS    64
/* A processor looks at 4 to 6 GB in a second; one more for each 16 GiB */
#define THREADS_MAX     4
#define THREAD_CHUNKS   8192
#define PAGE_SECTORS    (1u << (PAGECACHE_PAGE_BITS - PAGECACHE_SECTOR_BITS))

typedef struct Collection {
    int refs;                   /* atomic: one for each thread, and stop()'s */
    bool stopped;               /* atomic */
    uint32_t epoch;
    int64_t start_us;
    GPtrArray *blocks;          /* of RAMBlock, whose regions are referenced */
    Stat64 pages, runs;         /* that fitted */
    int walking;                /* atomic: threads that are not done */

    QemuMutex lock;             /* for what follows: the next piece */
    guint nblocks;              /* that are left; the last one is next */
    uint64_t end;               /* chunks of that one which are left */
} Collection;

static PagecacheProducer *producer;     /* registered once */
static Collection *current;             /* BQL */

/* --- life --- */

/* BQL, as memory regions want it */
static void collection_free(void *opaque)
{
    Collection *c = opaque;
    guint i;

    for (i = 0; i < c->blocks->len; i++) {
        memory_region_unref(((RAMBlock *)c->blocks->pdata[i])->mr);
    }
    g_ptr_array_unref(c->blocks);
    qemu_mutex_destroy(&c->lock);
    g_free(c);
}

static void collection_unref(Collection *c)
{
    if (qatomic_fetch_dec(&c->refs) == 1) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), collection_free, c);
    }
}

/* @chunks: how many there are to go through */
static Collection *collection_new(uint32_t epoch, uint64_t *chunks)
{
    Collection *c = g_new0(Collection, 1);
    RAMBlock *rb;

    c->refs = 1;
    c->epoch = epoch;
    c->start_us = qemu_clock_get_us(QEMU_CLOCK_REALTIME);
    c->blocks = g_ptr_array_new();
    qemu_mutex_init(&c->lock);
    *chunks = 0;
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        uint64_t n = pagecache_io_map_chunks(rb);

        if (n) {
            *chunks += n;
            memory_region_ref(rb->mr);
            g_ptr_array_add(c->blocks, rb);
        }
    }
    c->nblocks = c->blocks->len;
    c->end = UINT64_MAX;
    return c;
}

/* --- walking --- */

typedef struct Walk {
    Collection *c;
    PagecacheRamHint hints[PAGECACHE_BATCH_MAX];
    size_t n;
} Walk;

static void deliver(Walk *w)
{
    PagecacheVerdict verdict = PAGECACHE_BUSY;
    uint64_t pages = 0;
    size_t i;

    for (i = 0; i < w->n; i++) {
        pages += w->hints[i].npages;
    }
    stat64_add(&w->c->pages, pages);
    stat64_add(&w->c->runs, w->n);
    while (w->n && !qatomic_read(&w->c->stopped)) {
        verdict = pagecache_producer_ram_hints(producer, w->c->epoch, w->hints,
                                               w->n);
        if (verdict != PAGECACHE_BUSY) {
            break;
        }
        g_usleep(BUSY_US);
    }
    w->n = 0;
    if (verdict == PAGECACHE_STOP) {
        qatomic_set(&w->c->stopped, true);
    }
}

/* Index of the disk where the page stands, if it does on one that START named */
static int find_page(RAMBlock *rb, uint64_t page, uint64_t *sector)
{
    PagecacheIoPlace place;

    if (!pagecache_io_map_get(rb, page, &place)) {
        return -1;
    }
    *sector = place.sector;
    return pagecache_io_disks_index(place.disk);
}

static bool continues(const PagecacheRamHint *h, RAMBlock *rb, uint64_t page,
                      int disk, uint64_t sector)
{
    return h->rb == rb && h->page + h->npages == page && h->disk == disk &&
           h->sector + (uint64_t)h->npages * PAGE_SECTORS == sector;
}

static void add_page(Walk *w, RAMBlock *rb, uint64_t page)
{
    PagecacheRamHint *h = w->n ? &w->hints[w->n - 1] : NULL;
    uint64_t sector;
    int disk = find_page(rb, page, &sector);

    if (disk < 0) {
        return;
    }
    if (h && continues(h, rb, page, disk, sector)) {
        h->npages++;
        return;
    }
    w->hints[w->n++] = (PagecacheRamHint) {
        .rb = rb, .page = page, .npages = 1, .disk = disk,
        .sector = sector,
    };
}

static void walk_chunk(Walk *w, RAMBlock *rb, uint64_t chunk)
{
    uint64_t page = chunk * PAGECACHE_IO_CHUNK;
    uint64_t end = MIN(page + PAGECACHE_IO_CHUNK,
                       rb->used_length >> PAGECACHE_PAGE_BITS);

    /* There is room for all of them. */
    if (w->n + PAGECACHE_IO_CHUNK > PAGECACHE_BATCH_MAX) {
        deliver(w);
    }
    RCU_READ_LOCK_GUARD();
    for (; page < end; page++) {
        add_page(w, rb, page);
    }
}

/* The piece of RAM that the channel reaches last, of those that are left */
static RAMBlock *next_piece(Collection *c, uint64_t *first, uint64_t *end)
{
    QEMU_LOCK_GUARD(&c->lock);
    while (c->nblocks) {
        RAMBlock *rb = g_ptr_array_index(c->blocks, c->nblocks - 1);
        uint64_t last = c->end;

        RCU_READ_LOCK_GUARD();
        if (pagecache_io_map_prev_chunk(rb, &last)) {
            *end = last + 1;
            *first = ROUND_DOWN(last, PIECE_CHUNKS);
            c->end = *first;
            return rb;
        }
        c->nblocks--;
        c->end = UINT64_MAX;
    }
    return NULL;
}

/* Upwards within a piece, as files are */
static void walk_piece(Walk *w, RAMBlock *rb, uint64_t chunk, uint64_t end)
{
    for (; !qatomic_read(&w->c->stopped); chunk++) {
        bool more;

        WITH_RCU_READ_LOCK_GUARD() {
            more = pagecache_io_map_next_chunk(rb, &chunk);
        }
        if (!more || chunk >= end) {
            return;
        }
        walk_chunk(w, rb, chunk);
    }
}

static void *collect_thread(void *opaque)
{
    Collection *c = opaque;
    g_autofree Walk *w = g_new(Walk, 1);
    uint64_t first, end;
    RAMBlock *rb;

    rcu_register_thread();
    w->c = c;
    w->n = 0;
    while (!qatomic_read(&c->stopped) && (rb = next_piece(c, &first, &end))) {
        walk_piece(w, rb, first, end);
    }
    deliver(w);
    if (qatomic_fetch_dec(&c->walking) == 1) {
        bool complete = !qatomic_read(&c->stopped);

        trace_pagecache_io_collected(stat64_get(&c->pages),
                                     stat64_get(&c->runs), complete,
                                     qemu_clock_get_us(QEMU_CLOCK_REALTIME) -
                                     c->start_us);
        pagecache_producer_end(producer, c->epoch, complete);
    }
    rcu_unregister_thread();
    collection_unref(c);
    return NULL;
}

/* --- the producer --- */

static void stop(void *opaque)
{
    if (current) {
        qatomic_set(&current->stopped, true);
        collection_unref(g_steal_pointer(&current));
    }
}

static void collect(void *opaque, uint32_t epoch)
{
    uint64_t chunks;
    unsigned i, n;

    stop(NULL);
    if (!pagecache_io_disks_on()) {
        return;         /* and no end: there is no map of ours */
    }
    pagecache_io_disks_resolve();
    current = collection_new(epoch, &chunks);
    if (!chunks) {
        pagecache_producer_end(producer, epoch, true);
        return;
    }
    n = MIN(1 + chunks / THREAD_CHUNKS, THREADS_MAX);
    current->refs += n;
    current->walking = n;
    for (i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("mig/pc-io%u", i);
        QemuThread thread;

        qemu_thread_create(&thread, name, collect_thread, current,
                           QEMU_THREAD_DETACHED);
    }
}

static const PagecacheProducerOps ops = {
    .name = "io-map",
    .collect = collect,
    .stop = stop,
};

void pagecache_io_producer_init(void)
{
    producer = pagecache_producer_register(&ops, NULL);
}

/* --- the late look --- */

uint32_t pagecache_io_producer_id(void)
{
    return pagecache_producer_id(producer);
}

PagecacheLookResult pagecache_io_producer_look(RAMBlock *rb,
                                               PagecachePoolRun *page)
{
    uint64_t sector;
    int disk;

    if (qemu_target_page_bits() != PAGECACHE_PAGE_BITS) {
        return PAGECACHE_LOOK_SAME;
    }
    disk = find_page(rb, page->page, &sector);
    if (disk < 0) {
        return PAGECACHE_LOOK_GONE;
    }
    if (disk == page->disk && sector == page->sector) {
        return PAGECACHE_LOOK_SAME;
    }
    page->disk = disk;
    page->sector = sector;
    return PAGECACHE_LOOK_MOVED;
}
