/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's stats64.h where code is built without a QEMU tree.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_STATS64_H
#define SHIM_QEMU_STATS64_H

#include "qemu/atomic.h"

typedef struct Stat64 {
    uint64_t value;
} Stat64;

static inline uint64_t stat64_get(const Stat64 *s)
{
    return qatomic_read(&s->value);
}

static inline void stat64_set(Stat64 *s, uint64_t value)
{
    qatomic_set(&s->value, value);
}

static inline void stat64_add(Stat64 *s, uint64_t value)
{
    qatomic_fetch_add(&s->value, value);
}

#endif
