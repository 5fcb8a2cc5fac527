/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a radix sort, for hints and for runs to be read
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef QEMU_PAGECACHE_RADIX_H
#define QEMU_PAGECACHE_RADIX_H

/* What is sorted: keys, and where in the caller's array they come from */
typedef struct PagecacheRadixItem {
    uint64_t key;
    uint32_t index;
} PagecacheRadixItem;

/* Sorts by one byte of the key.  Stable. */
static inline void pagecache_radix_byte(const PagecacheRadixItem *in,
                                        PagecacheRadixItem *out, uint32_t n,
                                        unsigned shift)
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

/*
 * Sorts @n items by their key, equal ones stay as they were; *@spare has room
 * for as many, and may change places with *@items.  Least significant byte
 * first: it takes time in proportion to @n, and bytes that are the same in all
 * keys cost nothing: of the sectors of most disks four are left.
 */
static inline void pagecache_radix_sort(PagecacheRadixItem **items,
                                        PagecacheRadixItem **spare, uint32_t n)
{
    uint64_t differ = 0;
    uint32_t i;
    unsigned shift;

    for (i = 1; i < n; i++) {
        differ |= (*items)[i].key ^ (*items)[0].key;
    }
    for (shift = 0; shift < 64; shift += 8) {
        if (differ >> shift & 0xff) {
            PagecacheRadixItem *sorted = *spare;

            pagecache_radix_byte(*items, sorted, n, shift);
            *spare = *items;
            *items = sorted;
        }
    }
}

#endif
