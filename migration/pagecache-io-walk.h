/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: through the I/O map, for hints
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One walk looks at each page once that has an entry, or at a sample of them,
 * from as many threads as there are calls.  It begins with the RAM that the
 * channel reaches last.
 */
#ifndef MIGRATION_PAGECACHE_IO_WALK_H
#define MIGRATION_PAGECACHE_IO_WALK_H

#include "exec/ramblock.h"
#include "pagecache-sample.h"

/* Pages that fit, and follow each other in RAM and on the disk */
typedef struct PagecacheIoRun {
    RAMBlock *rb;
    uint64_t page;
    uint64_t sector;
    uint32_t npages;
    uint8_t disk;               /* number in the I/O map */
} PagecacheIoRun;

/* In one go, at most */
#define PAGECACHE_IO_RUNS_MAX   1024
/* What is found; false: nobody wants more. */
typedef bool PagecacheIoFound(void *opaque, const PagecacheIoRun *runs,
                              size_t n);

typedef struct PagecacheIoWalk PagecacheIoWalk;

/*
 * @blocks: of RAMBlock; they are there as long as the walk, which keeps to
 * @sample.
 */
PagecacheIoWalk *pagecache_io_walk_new(GPtrArray *blocks,
                                       PagecacheSample sample);
void pagecache_io_walk_free(PagecacheIoWalk *walk);
/* Nobody wants more.  Any thread. */
void pagecache_io_walk_stop(PagecacheIoWalk *walk);
bool pagecache_io_walk_is_stopped(PagecacheIoWalk *walk);
/*
 * Takes part until all is done, or it is stopped, also by @found of any thread:
 * then it returns false.  A thread that may take the RCU read lock, and has not.
 */
bool pagecache_io_walk_run(PagecacheIoWalk *walk, PagecacheIoFound *found,
                           void *opaque);

#endif
