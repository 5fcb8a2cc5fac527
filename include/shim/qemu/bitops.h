/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's bitops.h where the pure core is built without a QEMU
 * tree: single bits of a bitmap (not atomic unless named so).
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_BITOPS_H
#define SHIM_QEMU_BITOPS_H

#include "qemu/atomic.h"
#include "qemu/host-utils.h"

#define BITS_PER_BYTE           CHAR_BIT
#define BITS_PER_LONG           (sizeof(unsigned long) * BITS_PER_BYTE)
#define BITS_TO_LONGS(nr)       DIV_ROUND_UP(nr, BITS_PER_LONG)

#define BIT(nr)                 (1UL << (nr))
#define BIT_ULL(nr)             (1ULL << (nr))
#define BIT_MASK(nr)            (1UL << ((nr) % BITS_PER_LONG))
#define BIT_WORD(nr)            ((nr) / BITS_PER_LONG)

static inline void set_bit(long nr, unsigned long *addr)
{
    addr[BIT_WORD(nr)] |= BIT_MASK(nr);
}

static inline void clear_bit(long nr, unsigned long *addr)
{
    addr[BIT_WORD(nr)] &= ~BIT_MASK(nr);
}

static inline void set_bit_atomic(long nr, unsigned long *addr)
{
    qatomic_or(&addr[BIT_WORD(nr)], BIT_MASK(nr));
}

static inline void clear_bit_atomic(long nr, unsigned long *addr)
{
    qatomic_and(&addr[BIT_WORD(nr)], ~BIT_MASK(nr));
}

static inline int test_bit(long nr, const unsigned long *addr)
{
    return !!(addr[BIT_WORD(nr)] & BIT_MASK(nr));
}

static inline int test_and_set_bit(long nr, unsigned long *addr)
{
    int old = test_bit(nr, addr);

    set_bit(nr, addr);
    return old;
}

static inline int test_and_clear_bit(long nr, unsigned long *addr)
{
    int old = test_bit(nr, addr);

    clear_bit(nr, addr);
    return old;
}

/* The first bit at or after @offset that is @value; @size if there is none */
static inline unsigned long shim_find_bit(const unsigned long *addr,
                                          unsigned long size,
                                          unsigned long offset, int value)
{
    while (offset < size) {
        unsigned long word = addr[BIT_WORD(offset)];

        word = (value ? word : ~word) >> (offset % BITS_PER_LONG);
        if (word) {
            return MIN(offset + __builtin_ctzl(word), size);
        }
        offset = (BIT_WORD(offset) + 1) * BITS_PER_LONG;
    }
    return size;
}

static inline unsigned long find_next_bit(const unsigned long *addr,
                                          unsigned long size,
                                          unsigned long offset)
{
    return shim_find_bit(addr, size, offset, 1);
}

static inline unsigned long find_next_zero_bit(const unsigned long *addr,
                                               unsigned long size,
                                               unsigned long offset)
{
    return shim_find_bit(addr, size, offset, 0);
}

static inline unsigned long find_first_bit(const unsigned long *addr,
                                           unsigned long size)
{
    return shim_find_bit(addr, size, 0, 1);
}

#endif
