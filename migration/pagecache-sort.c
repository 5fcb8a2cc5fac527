/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints in the order of their disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/pagecache-radix.h"
#include "pagecache-sort.h"

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

uint32_t *pagecache_sort_runs(const PagecachePoolRun *runs, uint32_t n)
{
    PagecacheRadixItem *items, *spare;
    uint32_t *order, i;

    if (is_sorted(runs, n)) {
        return NULL;
    }
    items = g_new(PagecacheRadixItem, n);
    spare = g_new(PagecacheRadixItem, n);
    for (i = 0; i < n; i++) {
        items[i] = (PagecacheRadixItem) { .key = runs[i].sector, .index = i };
    }
    pagecache_radix_sort(&items, &spare, n);
    for (i = 0; i < n; i++) {
        const PagecachePoolRun *run = &runs[items[i].index];

        items[i].key = (uint64_t)run->producer << 32 | run->disk;
    }
    pagecache_radix_sort(&items, &spare, n);

    order = g_new(uint32_t, n);
    for (i = 0; i < n; i++) {
        order[i] = items[i].index;
    }
    g_free(items);
    g_free(spare);
    return order;
}
