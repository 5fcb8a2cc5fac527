/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's atomic.h where the pure core is built without a QEMU
 * tree: the accesses that the core uses, with QEMU's names and order.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_ATOMIC_H
#define SHIM_QEMU_ATOMIC_H

/* relaxed */
#define qatomic_read(p)             __atomic_load_n(p, __ATOMIC_RELAXED)
#define qatomic_set(p, v)           __atomic_store_n(p, v, __ATOMIC_RELAXED)

#define CONFIG_ATOMIC64             1
#define qatomic_read_u64(p)         qatomic_read(p)
#define qatomic_set_u64(p, v)       qatomic_set(p, v)

#define qatomic_load_acquire(p)     __atomic_load_n(p, __ATOMIC_ACQUIRE)
#define qatomic_store_release(p, v) __atomic_store_n(p, v, __ATOMIC_RELEASE)

/* sequentially consistent, return the old value */
#define qatomic_xchg(p, v)          __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST)
#define qatomic_fetch_add(p, v)     __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST)
#define qatomic_fetch_dec(p)        qatomic_fetch_sub(p, 1)
#define qatomic_fetch_sub(p, v)     __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST)
#define qatomic_fetch_and(p, v)     __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST)
#define qatomic_fetch_or(p, v)      __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST)
#define qatomic_cmpxchg(p, old, new) ({                                     \
    __typeof__(*(p)) shim_old = (old);                                      \
    __atomic_compare_exchange_n(p, &shim_old, new, false,                   \
                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
    shim_old;                                                               \
})

/* sequentially consistent, no value */
#define qatomic_or(p, v)            ((void)qatomic_fetch_or(p, v))
#define qatomic_and(p, v)           ((void)qatomic_fetch_and(p, v))
#define qatomic_inc(p)              ((void)qatomic_fetch_add(p, 1))
#define qatomic_dec(p)              ((void)qatomic_fetch_sub(p, 1))

#endif
