/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how much of the guest's RAM has anything in it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#ifdef CONFIG_LINUX
#include <sys/mman.h>
#endif
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "block/aio.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "exec/ramlist.h"
#include "exec/target_page.h"
#include "migration/misc.h"
#include "pagecache-census.h"
#include "ram.h"

#define PART_BYTES  (1ULL << PAGECACHE_SAMPLE_BITS)
/* A host has no smaller pages. */
#define HOST_PAGES  (PART_BYTES / 4096)

struct PagecacheCensus {
    int refs;                   /* atomic: the thread's, and the caller's */
    PagecacheSample sample;
    GPtrArray *blocks;          /* of RAMBlock, whose regions are referenced */
    bool stop;                  /* atomic */
    bool done;                  /* atomic; then: */
    uint64_t pages;             /* in the sample */
};

/* --- life --- */

/* BQL, as memory regions want it */
static void census_free(void *opaque)
{
    PagecacheCensus *c = opaque;
    guint i;

    for (i = 0; i < c->blocks->len; i++) {
        memory_region_unref(((RAMBlock *)c->blocks->pdata[i])->mr);
    }
    g_ptr_array_unref(c->blocks);
    g_free(c);
}

static void census_unref(PagecacheCensus *c)
{
    if (qatomic_fetch_dec(&c->refs) == 1) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), census_free, c);
    }
}

/* --- pages --- */

/* Bit 0 of each: does the host back this page?  If it can't say, it does. */
static void see_what_is_backed(void *start, size_t bytes,
                               unsigned char *backed)
{
    memset(backed, 1, HOST_PAGES + 1);
#ifdef CONFIG_LINUX
    if (mincore(start, bytes, backed)) {
        memset(backed, 1, HOST_PAGES + 1);
    }
#endif
}

static uint64_t count_part(uint8_t *host, uint64_t bytes)
{
    uint64_t page = qemu_target_page_size(), at, n = 0;
    uint64_t size = qemu_real_host_page_size();
    uint8_t *start = QEMU_ALIGN_PTR_DOWN(host, size);
    unsigned char backed[HOST_PAGES + 1];

    see_what_is_backed(start, host + bytes - start, backed);
    for (at = 0; at + page <= bytes; at += page) {
        /* Of a target page in several of the host's the first one speaks. */
        if ((backed[(host + at - start) / size] & 1) &&
            !buffer_is_zero(host + at, page)) {
            n++;
        }
    }
    return n;
}

static uint64_t count_block(PagecacheCensus *c, RAMBlock *rb)
{
    uint64_t parts = DIV_ROUND_UP(rb->used_length, PART_BYTES);
    uint64_t group, n = 0;

    for (group = 0; group * c->sample.every < parts; group++) {
        uint64_t part = pagecache_sample_part(&c->sample, group);
        uint64_t at = part * PART_BYTES;

        if (qatomic_read(&c->stop)) {
            break;
        }
        if (part < parts) {
            n += count_part(rb->host + at,
                            MIN(PART_BYTES, rb->used_length - at));
        }
    }
    return n;
}

static void *census_thread(void *opaque)
{
    PagecacheCensus *c = opaque;
    guint i;

    for (i = 0; i < c->blocks->len; i++) {
        c->pages += count_block(c, g_ptr_array_index(c->blocks, i));
    }
    if (!qatomic_read(&c->stop)) {
        qatomic_store_release(&c->done, true);
    }
    census_unref(c);
    return NULL;
}

/* --- for others --- */

PagecacheCensus *pagecache_census_new(uint64_t max_parts)
{
    PagecacheCensus *c = g_new0(PagecacheCensus, 1);
    uint64_t parts = 0;
    QemuThread thread;
    RAMBlock *rb;

    GLOBAL_STATE_CODE();
    c->refs = 2;
    c->blocks = g_ptr_array_new();
    WITH_RCU_READ_LOCK_GUARD() {
        RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
            parts += DIV_ROUND_UP(rb->used_length, PART_BYTES);
            memory_region_ref(rb->mr);
            g_ptr_array_add(c->blocks, rb);
        }
    }
    c->sample.every = DIV_ROUND_UP(MAX(parts, 1), max_parts);
    c->sample.seed = g_random_int();
    qemu_thread_create(&thread, "pagecache-count", census_thread, c,
                       QEMU_THREAD_DETACHED);
    return c;
}

void pagecache_census_free(PagecacheCensus *c)
{
    if (c) {
        qatomic_set(&c->stop, true);
        census_unref(c);
    }
}

PagecacheSample pagecache_census_sample(const PagecacheCensus *c)
{
    return c->sample;
}

const GPtrArray *pagecache_census_blocks(const PagecacheCensus *c)
{
    return c->blocks;
}

bool pagecache_census_get(PagecacheCensus *c, uint64_t *pages)
{
    if (!qatomic_load_acquire(&c->done)) {
        return false;
    }
    *pages = c->pages * c->sample.every;
    return true;
}
