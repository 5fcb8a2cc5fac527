/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints are counted, and nothing else is done with them
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/pagecache-thread.h"
#include "pagecache-tally.h"

#define PRODUCERS   PAGECACHE_TALLY_PRODUCERS

typedef struct Block {
    uint64_t npages;
    unsigned long *named[PRODUCERS];    /* by whom; NULL: not yet */
} Block;

struct PagecacheTally {
    PagecacheSample sample;
    uint64_t part_pages;
    unsigned ndisks;

    GMutex lock;                        /* for all of the rest */
    GHashTable *blocks;                 /* -> Block; NULL: ended */
    const char *names[PRODUCERS];
    uint64_t *by[PRODUCERS];            /* pages of each disk */
    uint64_t *by_any;
};

static void block_free(gpointer opaque)
{
    Block *b = opaque;
    int i;

    for (i = 0; i < PRODUCERS; i++) {
        g_free(b->named[i]);
    }
    g_free(b);
}

PagecacheTally *pagecache_tally_new(PagecacheSample sample,
                                    uint64_t part_pages, unsigned ndisks)
{
    PagecacheTally *t = g_new0(PagecacheTally, 1);
    int i;

    assert(sample.every && part_pages);
    t->sample = sample;
    t->part_pages = part_pages;
    t->ndisks = ndisks;
    g_mutex_init(&t->lock);
    t->blocks = g_hash_table_new_full(NULL, NULL, NULL, block_free);
    for (i = 0; i < PRODUCERS; i++) {
        t->by[i] = g_new0(uint64_t, ndisks);
    }
    t->by_any = g_new0(uint64_t, ndisks);
    return t;
}

void pagecache_tally_end(PagecacheTally *t)
{
    LOCK_GUARD(&t->lock);

    g_clear_pointer(&t->blocks, g_hash_table_unref);
}

void pagecache_tally_free(PagecacheTally *t)
{
    int i;

    if (!t) {
        return;
    }
    pagecache_tally_end(t);
    for (i = 0; i < PRODUCERS; i++) {
        g_free(t->by[i]);
    }
    g_free(t->by_any);
    g_mutex_clear(&t->lock);
    g_free(t);
}

void pagecache_tally_add_block(PagecacheTally *t, const void *block,
                               uint64_t npages)
{
    Block *b = g_new0(Block, 1);

    b->npages = npages;
    g_hash_table_insert(t->blocks, (gpointer)block, b);
}

/* -1: there are too many */
static int number_of(PagecacheTally *t, const char *name)
{
    int i;

    for (i = 0; i < PRODUCERS && t->names[i]; i++) {
        if (!strcmp(t->names[i], name)) {
            return i;
        }
    }
    if (i == PRODUCERS) {
        return -1;
    }
    t->names[i] = name;
    return i;
}

/* Pages of @b that are in the sample are numbered one after the other. */
static uint64_t bits_of(PagecacheTally *t, Block *b)
{
    uint64_t group_pages = t->sample.every * t->part_pages;

    return DIV_ROUND_UP(b->npages, group_pages) * t->part_pages;
}

static bool is_named_by_others(Block *b, int n, uint64_t bit)
{
    int i;

    for (i = 0; i < PRODUCERS; i++) {
        if (i != n && b->named[i] && test_bit(bit, b->named[i])) {
            return true;
        }
    }
    return false;
}

static void add_bits(PagecacheTally *t, Block *b, int n, unsigned disk,
                     uint64_t bit, uint64_t end)
{
    if (!b->named[n]) {
        /* zeroed memory that the host gives when it is written to */
        b->named[n] = g_new0(unsigned long, BITS_TO_LONGS(bits_of(t, b)));
    }
    for (; bit < end; bit++) {
        if (!test_bit(bit, b->named[n])) {
            set_bit(bit, b->named[n]);
            t->by[n][disk]++;
            t->by_any[disk] += !is_named_by_others(b, n, bit);
        }
    }
}

void pagecache_tally_add(PagecacheTally *t, const char *producer,
                         unsigned disk, const void *block, uint64_t page,
                         uint64_t npages)
{
    uint64_t group_pages = t->sample.every * t->part_pages;
    uint64_t end, group;
    Block *b;
    int n;

    LOCK_GUARD(&t->lock);
    b = t->blocks ? g_hash_table_lookup(t->blocks, block) : NULL;
    if (!b || disk >= t->ndisks || page >= b->npages || !npages) {
        return;
    }
    n = number_of(t, producer);
    if (n < 0) {
        return;
    }
    end = page + MIN(npages, b->npages - page);
    for (group = page / group_pages; group * group_pages < end; group++) {
        uint64_t part = pagecache_sample_part(&t->sample, group);
        uint64_t first = part * t->part_pages;
        uint64_t from = MAX(page, first);
        uint64_t to = MIN(end, first + t->part_pages);

        if (from < to) {
            add_bits(t, b, n, disk, group * t->part_pages + from - first,
                     group * t->part_pages + to - first);
        }
    }
}

const char *pagecache_tally_producer(PagecacheTally *t, unsigned n)
{
    LOCK_GUARD(&t->lock);

    return n < PRODUCERS ? t->names[n] : NULL;
}

uint64_t pagecache_tally_pages(PagecacheTally *t, int n, unsigned disk)
{
    LOCK_GUARD(&t->lock);

    if (disk >= t->ndisks || n >= PRODUCERS) {
        return 0;
    }
    return (n < 0 ? t->by_any : t->by[n])[disk] * t->sample.every;
}
