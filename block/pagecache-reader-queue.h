/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's queue of runs, sorted and merged by sector
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Not locked: the reader's lock is held around every call.
 */
#ifndef BLOCK_PAGECACHE_READER_QUEUE_H
#define BLOCK_PAGECACHE_READER_QUEUE_H

#include "block/pagecache-reader.h"

typedef struct PagecacheRunQueue PagecacheRunQueue;

/* A run, or a part of one, in a merged range */
typedef struct PagecachePiece {
    PagecacheRun run;
    uint32_t offset;        /* bytes, from the beginning of the range */
} PagecachePiece;

/* @page_size: bytes, a multiple of 512 */
PagecacheRunQueue *pagecache_run_queue_new(uint32_t page_size);
void pagecache_run_queue_free(PagecacheRunQueue *q);

bool pagecache_run_queue_is_empty(PagecacheRunQueue *q);

/* Copies @run; one without pages is ignored. */
void pagecache_run_queue_add(PagecacheRunQueue *q, const PagecacheRun *run);

/*
 * Takes the next range at or after the last one (then from the beginning) out
 * of the queue: at most @max_bytes (one page or more) long, starting and
 * ending with a page that somebody wants.  Between pages at most a quarter of
 * the range is unwanted.  A longer run is taken piece by piece.
 *
 * Appends what the range holds to @pieces, and to @rejects (both of
 * PagecachePiece) the runs that reach beyond @disk_sectors.  False when there
 * is no range (there may be rejects all the same).
 */
bool pagecache_run_queue_take(PagecacheRunQueue *q, uint64_t disk_sectors,
                              uint32_t max_bytes, GArray *pieces,
                              GArray *rejects, uint64_t *sector,
                              uint32_t *bytes);

/* Appends all that is left to @pieces. */
void pagecache_run_queue_flush(PagecacheRunQueue *q, GArray *pieces);

#endif
