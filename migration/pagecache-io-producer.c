/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the I/O map as a hint producer
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
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
#include "pagecache-io-object.h"
#include "pagecache-io-producer.h"
#include "pagecache-io-walk.h"
#include "ram.h"
#include "trace.h"

#define BUSY_US         5000            /* until the queue of hints has room */
/* A processor looks at 4 to 6 GB in a second; one more for each 16 GiB */
#define THREADS_MAX     4
#define THREAD_CHUNKS   8192

typedef struct Collection {
    int refs;                   /* atomic: one for each thread, and stop()'s */
    uint32_t epoch;
    int64_t start_us;
    GPtrArray *blocks;          /* of RAMBlock, whose regions are referenced */
    PagecacheIoWalk *walk;      /* of these */
    Stat64 pages, runs;         /* that fitted */
    int walking;                /* atomic: threads that are not done */
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
    pagecache_io_walk_free(c->walk);
    g_ptr_array_unref(c->blocks);
    g_free(c);
}

static void collection_unref(Collection *c)
{
    if (qatomic_fetch_dec(&c->refs) == 1) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), collection_free, c);
    }
}

/* @chunks: how many there are to go through */
static Collection *collection_new(uint32_t epoch, const PagecacheSample *sample,
                                  uint64_t *chunks)
{
    Collection *c = g_new0(Collection, 1);
    RAMBlock *rb;

    c->refs = 1;
    c->epoch = epoch;
    c->start_us = qemu_clock_get_us(QEMU_CLOCK_REALTIME);
    c->blocks = g_ptr_array_new();
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
    c->walk = pagecache_io_walk_new(c->blocks, *sample);
    return c;
}

/* --- walking --- */

/* What stands on a disk that START has named becomes hints. */
static size_t make_hints(const PagecacheIoRun *runs, size_t n,
                         PagecacheRamHint *hints, uint64_t *pages)
{
    size_t i, nhints = 0;

    *pages = 0;
    for (i = 0; i < n; i++) {
        int disk = pagecache_io_disks_index(runs[i].disk);

        if (disk >= 0) {
            hints[nhints++] = (PagecacheRamHint) {
                .rb = runs[i].rb, .page = runs[i].page,
                .sector = runs[i].sector, .npages = runs[i].npages,
                .disk = disk,
            };
            *pages += runs[i].npages;
        }
    }
    return nhints;
}

static bool deliver(void *opaque, const PagecacheIoRun *runs, size_t n)
{
    PagecacheRamHint hints[PAGECACHE_IO_RUNS_MAX];
    PagecacheVerdict verdict = PAGECACHE_BUSY;
    Collection *c = opaque;
    uint64_t pages;

    n = make_hints(runs, n, hints, &pages);
    stat64_add(&c->pages, pages);
    stat64_add(&c->runs, n);
    while (n && !pagecache_io_walk_is_stopped(c->walk)) {
        verdict = pagecache_producer_ram_hints(producer, c->epoch, hints, n);
        if (verdict != PAGECACHE_BUSY) {
            break;
        }
        g_usleep(BUSY_US);
    }
    return verdict != PAGECACHE_STOP;
}

static void *collect_thread(void *opaque)
{
    Collection *c = opaque;
    bool complete;

    rcu_register_thread();
    complete = pagecache_io_walk_run(c->walk, deliver, c);
    if (qatomic_fetch_dec(&c->walking) == 1) {
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
        pagecache_io_walk_stop(current->walk);
        collection_unref(g_steal_pointer(&current));
    }
}

static void collect(void *opaque, uint32_t epoch)
{
    PagecacheSample sample;
    uint64_t chunks;
    unsigned i, n;
    bool counted;

    stop(NULL);
    if (!pagecache_io_disks_on()) {
        return;         /* and no end: there is no map of ours */
    }
    pagecache_io_disks_resolve();
    counted = pagecache_hints_are_counted(&sample);
    current = collection_new(epoch, &sample, &chunks);
    if (!chunks) {
        pagecache_producer_end(producer, epoch, true);
        return;
    }
    /* Nobody waits for a count. */
    n = counted ? 1 : MIN(1 + chunks / THREAD_CHUNKS, THREADS_MAX);
    current->refs += n;
    current->walking = n;
    for (i = 0; i < n; i++) {
        g_autofree char *name = g_strdup_printf("mig/pc-io%u", i);
        QemuThread thread;

        qemu_thread_create(&thread, name, collect_thread, current,
                           QEMU_THREAD_DETACHED);
    }
}

static bool busy(void *opaque)
{
    return current && qatomic_read(&current->walking);
}

static PagecacheProducerInfo *query(void *opaque)
{
    PagecacheProducerInfo *info = g_new0(PagecacheProducerInfo, 1);
    RAMBlock *rb;

    if (!pagecache_io_object_exists()) {
        info->state = PAGECACHE_PRODUCER_STATE_ABSENT;
        return info;
    }
    if (!pagecache_io_disks_on()) {
        info->state = PAGECACHE_PRODUCER_STATE_OFF;
        return info;
    }
    info->state = PAGECACHE_PRODUCER_STATE_READY;
    info->has_entries_max = true;
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        info->entries_max += pagecache_io_map_chunks(rb) * PAGECACHE_IO_CHUNK;
    }
    return info;
}

static const PagecacheProducerOps ops = {
    .name = "io-map",
    .collect = collect,
    .stop = stop,
    .busy = busy,
    .query = query,
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
    PagecacheIoPlace place;
    int disk;

    if (qemu_target_page_bits() != PAGECACHE_PAGE_BITS) {
        return PAGECACHE_LOOK_SAME;
    }
    if (!pagecache_io_map_get(rb, page->page, &place)) {
        return PAGECACHE_LOOK_GONE;
    }
    disk = pagecache_io_disks_index(place.disk);
    if (disk < 0) {
        return PAGECACHE_LOOK_GONE;
    }
    if (disk == page->disk && place.sector == page->sector) {
        return PAGECACHE_LOOK_SAME;
    }
    page->disk = disk;
    page->sector = place.sector;
    return PAGECACHE_LOOK_MOVED;
}
