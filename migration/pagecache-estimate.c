/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how long a migration will take
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "pagecache-estimate.h"

/* In floating point: neither sums nor products can overflow. */
uint64_t pagecache_estimate_ms(uint64_t ram, uint64_t cache, uint64_t channel,
                               uint64_t storage)
{
    double by_channel = ram - MIN(cache, ram);
    double alone = by_channel / channel;
    double both = (double)ram / ((double)channel + (double)storage);
    double ms = MAX(alone, both) * 1000 + 0.5;

    assert(channel);
    return ms < (double)INT64_MAX ? (uint64_t)ms : INT64_MAX;
}
