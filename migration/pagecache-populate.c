/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the first touch of what is offered, ahead of its copy
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/madvise.h"
#include "qemu/units.h"
#include "qemu/atomic.h"
#include "qemu/pagecache-fault.h"
#include "qemu/pagecache-thread.h"
#include "pagecache-populate.h"
#include "trace.h"

/*
 * What one touch brings: a transparent huge page of most hosts.  Where they are
 * larger, the kernel is asked again for what it has given already.
 */
#define UNIT            (2 * MiB)
/*
 * Each clears some gigabytes in a second.  It waits for memory rather than for
 * a processor, and two do more than one.
 */
#define THREADS         2
#define QUEUE_MAX       1024

typedef struct Block {
    uintptr_t host;
    uint64_t size;
    unsigned long *asked;       /* units, counted from the one of @host */
} Block;

typedef struct Part {           /* of a unit: that of the first offer in it */
    void *host;
    size_t bytes;
} Part;

struct PagecachePopulate {
    /* pagecache_populate_want()'s thread, and the one that frees */
    GArray *blocks;             /* of Block */
    GThread *threads[THREADS];
    bool started;

    GMutex lock;                /* for the rest */
    GCond work;                 /* n, stopped */
    bool stopped;               /* atomic for faults on purpose */
    unsigned first, n;          /* of queue[], a ring */
    Part queue[QUEUE_MAX];
};

PagecachePopulate *pagecache_populate_new(void)
{
    PagecachePopulate *p;

    /* no bytes: the kernel says whether it knows the word */
    if (qemu_madvise(NULL, 0, QEMU_MADV_POPULATE_WRITE) < 0) {
        return NULL;
    }
    p = g_new0(PagecachePopulate, 1);
    p->blocks = g_array_new(false, false, sizeof(Block));
    g_mutex_init(&p->lock);
    g_cond_init(&p->work);
    return p;
}

void pagecache_populate_add_block(PagecachePopulate *p, void *host,
                                  uint64_t size)
{
    Block b = { .host = (uintptr_t)host, .size = size };

    if (p) {
        b.asked = bitmap_new((b.host + size) / UNIT - b.host / UNIT + 1);
        g_array_append_val(p->blocks, b);
    }
}

/* --- the threads --- */

static void touch(PagecachePopulate *p, const Part *part)
{
    int64_t start = g_get_monotonic_time();
    int ret = 0;

    pagecache_fault_delay_unless(PAGECACHE_FAULT_DELAY_POPULATE, &p->stopped);
    /* If there is no memory, or whatever it is: the copy will find out. */
    if (pagecache_fault(PAGECACHE_FAULT_FAIL_POPULATE)) {
        ret = -ENOMEM;
    } else if (qemu_madvise(part->host, part->bytes,
                            QEMU_MADV_POPULATE_WRITE) < 0) {
        ret = -errno;
    }
    trace_pagecache_populate(part->host, part->bytes, ret,
                             g_get_monotonic_time() - start);
}

static void *populate_thread(void *opaque)
{
    PagecachePopulate *p = opaque;

    g_mutex_lock(&p->lock);
    while (!p->stopped) {
        Part part;

        if (!p->n) {
            g_cond_wait(&p->work, &p->lock);
            continue;
        }
        part = p->queue[p->first];
        p->first = (p->first + 1) % QUEUE_MAX;
        p->n--;
        g_mutex_unlock(&p->lock);
        touch(p, &part);
        g_mutex_lock(&p->lock);
    }
    g_mutex_unlock(&p->lock);
    return NULL;
}

/* --- what is wanted --- */

/* False: there is no room. */
static bool push(PagecachePopulate *p, uintptr_t start, uintptr_t end)
{
    uintptr_t page = qemu_real_host_page_size();
    bool room;

    start = QEMU_ALIGN_DOWN(start, page);
    end = QEMU_ALIGN_UP(end, page);
    g_mutex_lock(&p->lock);
    room = p->n < QUEUE_MAX;
    if (room) {
        p->queue[(p->first + p->n++) % QUEUE_MAX] = (Part) {
            .host = (void *)start, .bytes = end - start,
        };
        g_cond_signal(&p->work);
    }
    g_mutex_unlock(&p->lock);
    return room;
}

void pagecache_populate_want(PagecachePopulate *p, uint32_t block,
                             uint64_t offset, uint64_t bytes)
{
    uintptr_t at, end, next;
    Block *b;
    int i;

    if (!p) {
        return;
    }
    b = &g_array_index(p->blocks, Block, block);
    g_assert(bytes <= b->size && offset <= b->size - bytes);
    end = b->host + offset + bytes;
    for (at = b->host + offset; at < end; at = next) {
        unsigned long unit = at / UNIT - b->host / UNIT;

        next = MIN(end, QEMU_ALIGN_DOWN(at, UNIT) + UNIT);
        if (!test_bit(unit, b->asked) && push(p, at, next)) {
            set_bit(unit, b->asked);
        }
    }
    for (i = 0; i < THREADS && !p->started; i++) {
        p->threads[i] = pagecache_thread_new("mig/pc-populate",
                                             populate_thread, p);
    }
    p->started = true;
}

/* --- the end --- */

void pagecache_populate_stop(PagecachePopulate *p)
{
    if (p) {
        g_mutex_lock(&p->lock);
        qatomic_set(&p->stopped, true);
        g_cond_broadcast(&p->work);
        g_mutex_unlock(&p->lock);
        pagecache_fault_wake();
    }
}

void pagecache_populate_free(PagecachePopulate *p)
{
    guint i;

    if (!p) {
        return;
    }
    pagecache_populate_stop(p);
    for (i = 0; i < THREADS; i++) {
        if (p->threads[i]) {
            g_thread_join(p->threads[i]);
        }
    }
    for (i = 0; i < p->blocks->len; i++) {
        g_free(g_array_index(p->blocks, Block, i).asked);
    }
    g_array_unref(p->blocks);
    g_cond_clear(&p->work);
    g_mutex_clear(&p->lock);
    g_free(p);
}
