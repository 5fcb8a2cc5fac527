/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints in the order of their disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A radix sort, least significant byte first.  Bytes that are the same in all
 * runs cost nothing: what is left of most disks are four.
 */
#include "qemu/osdep.h"
#include "pagecache-sort.h"

typedef struct Item {
    uint64_t key;
    uint32_t index;
} Item;

static bool is_before(const PagecachePoolRun *a, const PagecachePoolRun *b)
{
    if (a->producer != b->producer) {
        return a->producer < b->producer;
    }
    if (a->disk != b->disk) {
        return a->disk < b->disk;
    }
    return a->sector < b->sector;
}

static bool is_sorted(const PagecachePoolRun *runs, uint32_t n)
{
    uint32_t i;

    for (i = 1; i < n; i++) {
        if (is_before(&runs[i], &runs[i - 1])) {
            return false;
        }
    }
    return true;
}

/* Sorts by one byte of the key.  Stable. */
static void sort_byte(const Item *in, Item *out, uint32_t n, unsigned shift)
{
    uint32_t at[256] = { 0 }, i, sum = 0;

    for (i = 0; i < n; i++) {
        at[in[i].key >> shift & 0xff]++;
    }
    for (i = 0; i < 256; i++) {
        uint32_t count = at[i];

        at[i] = sum;
        sum += count;
    }
    for (i = 0; i < n; i++) {
        out[at[in[i].key >> shift & 0xff]++] = in[i];
    }
}

static void sort_items(Item **items, Item **spare, uint32_t n)
{
    uint64_t differ = 0;
    uint32_t i;
    unsigned shift;

    for (i = 1; i < n; i++) {
        differ |= (*items)[i].key ^ (*items)[0].key;
    }
    for (shift = 0; shift < 64; shift += 8) {
        if (differ >> shift & 0xff) {
            Item *sorted = *spare;

            sort_byte(*items, sorted, n, shift);
            *spare = *items;
            *items = sorted;
        }
    }
}

uint32_t *pagecache_sort_runs(const PagecachePoolRun *runs, uint32_t n)
{
    Item *items, *spare;
    uint32_t *order, i;

    if (is_sorted(runs, n)) {
        return NULL;
    }
    items = g_new(Item, n);
    spare = g_new(Item, n);
    for (i = 0; i < n; i++) {
        items[i] = (Item) { .key = runs[i].sector, .index = i };
    }
    sort_items(&items, &spare, n);
    for (i = 0; i < n; i++) {
        const PagecachePoolRun *run = &runs[items[i].index];

        items[i].key = (uint64_t)run->producer << 32 | run->disk;
    }
    sort_items(&items, &spare, n);

    order = g_new(uint32_t, n);
    for (i = 0; i < n; i++) {
        order[i] = items[i].index;
    }
    g_free(items);
    g_free(spare);
    return order;
}
