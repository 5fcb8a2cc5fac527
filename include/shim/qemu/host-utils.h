/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's host-utils.h where the pure core is built without a
 * QEMU tree: counting bits.  As in QEMU, 0 has all its bits leading and
 * trailing.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_HOST_UTILS_H
#define SHIM_QEMU_HOST_UTILS_H

#include <stdbool.h>
#include <stdint.h>

static inline int clz32(uint32_t v)
{
    return v ? __builtin_clz(v) : 32;
}

static inline int clz64(uint64_t v)
{
    return v ? __builtin_clzll(v) : 64;
}

static inline int ctz32(uint32_t v)
{
    return v ? __builtin_ctz(v) : 32;
}

static inline int ctz64(uint64_t v)
{
    return v ? __builtin_ctzll(v) : 64;
}

static inline int ctpop64(uint64_t v)
{
    return __builtin_popcountll(v);
}

#if ULONG_MAX == UINT64_MAX
#define clzl            clz64
#define ctzl            ctz64
#define ctpopl          ctpop64
#else
#define clzl            clz32
#define ctzl            ctz32
#define ctpopl          __builtin_popcountl
#endif

static inline bool is_power_of_2(uint64_t v)
{
    return v && !(v & (v - 1));
}

#endif
