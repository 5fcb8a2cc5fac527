/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what benchmarks of data structures measure
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TESTS_BENCH_H
#define TESTS_BENCH_H

#include <malloc.h>
#include <time.h>

/* This thread's CPU time, since it is a single thread that is measured */
static inline double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

/* Bytes that the process has got from the allocator */
static inline size_t allocated(void)
{
    struct mallinfo2 info = mallinfo2();

    return info.uordblks + info.hblkhd;
}

#endif
