/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's bitmap.h where the pure core is built without a QEMU
 * tree: arrays of bits.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_BITMAP_H
#define SHIM_QEMU_BITMAP_H

#include "qemu/bitops.h"

#define BITMAP_FIRST_WORD_MASK(start) (~0UL << ((start) & (BITS_PER_LONG - 1)))
#define BITMAP_LAST_WORD_MASK(nbits)  (~0UL >> (-(nbits) & (BITS_PER_LONG - 1)))

#define DECLARE_BITMAP(name, bits)    unsigned long name[BITS_TO_LONGS(bits)]

static inline unsigned long *bitmap_try_new(long nbits)
{
    return g_try_malloc0(BITS_TO_LONGS(nbits) * sizeof(unsigned long));
}

static inline unsigned long *bitmap_new(long nbits)
{
    return g_malloc0(BITS_TO_LONGS(nbits) * sizeof(unsigned long));
}

/* Works on @nr bits from @start on */
static inline void shim_bitmap_write(unsigned long *map, long start, long nr,
                                     int value)
{
    while (nr > 0) {
        long in_word = MIN((long)(BITS_PER_LONG - start % BITS_PER_LONG), nr);
        unsigned long mask = BITMAP_FIRST_WORD_MASK(start) &
                             BITMAP_LAST_WORD_MASK(start + in_word);

        if (value) {
            map[BIT_WORD(start)] |= mask;
        } else {
            map[BIT_WORD(start)] &= ~mask;
        }
        start += in_word;
        nr -= in_word;
    }
}

static inline void bitmap_set(unsigned long *map, long start, long nr)
{
    shim_bitmap_write(map, start, nr, 1);
}

static inline void bitmap_clear(unsigned long *map, long start, long nr)
{
    shim_bitmap_write(map, start, nr, 0);
}

static inline void bitmap_zero(unsigned long *map, long nbits)
{
    memset(map, 0, BITS_TO_LONGS(nbits) * sizeof(unsigned long));
}

static inline int bitmap_empty(const unsigned long *map, long nbits)
{
    return find_first_bit(map, nbits) == (unsigned long)nbits;
}

static inline long bitmap_count_one(const unsigned long *map, long nbits)
{
    long bit, count = 0;

    for (bit = 0; bit < nbits; bit++) {
        count += test_bit(bit, map);
    }
    return count;
}

#endif
