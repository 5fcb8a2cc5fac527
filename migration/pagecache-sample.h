/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a part of RAM in place of all of it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * RAM is divided into parts of 2 MiB.  A sample has one of each @every parts
 * that follow each other, chosen by a hash, so that nothing that repeats itself
 * in the guest's memory decides what is looked at.
 */
#ifndef MIGRATION_PAGECACHE_SAMPLE_H
#define MIGRATION_PAGECACHE_SAMPLE_H

#define PAGECACHE_SAMPLE_BITS   21      /* a part, bytes */

typedef struct PagecacheSample {
    uint64_t every;             /* 1 or more; 1: all parts are in it */
    uint64_t seed;
} PagecacheSample;

#define PAGECACHE_SAMPLE_ALL    ((PagecacheSample) { .every = 1 })

/* The part of a RAM block that is in the sample, among the @group-th @every */
static inline uint64_t pagecache_sample_part(const PagecacheSample *sample,
                                             uint64_t group)
{
    uint64_t h = (group ^ sample->seed) * 0x9e3779b97f4a7c15ULL;

    h = (h ^ h >> 32) * 0xd6e8feb86659fd93ULL;
    return group * sample->every + (h ^ h >> 32) % sample->every;
}

static inline bool pagecache_sample_has(const PagecacheSample *sample,
                                        uint64_t part)
{
    return pagecache_sample_part(sample, part / sample->every) == part;
}

#endif
