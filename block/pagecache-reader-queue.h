/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's queue of runs, sorted and merged by sector
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Runs are sorted in batches, without a lock, and merged when they are taken.
 * A run takes 32 bytes (its PagecacheRun), and a batch up to 96 more; all of
 * them return when the last run of the batch was taken, which is in the second
 * sweep over the disk at the latest.
 *
 * The queue is not locked: the reader's lock is held around its calls.
 */
#ifndef BLOCK_PAGECACHE_READER_QUEUE_H
#define BLOCK_PAGECACHE_READER_QUEUE_H

#include "block/pagecache-reader.h"

/* --- a batch; without a lock --- */

typedef struct PagecacheRunBatch PagecacheRunBatch;

/*
 * Copies @n runs and sorts them by sector, in time in proportion to @n.  Those
 * without pages are left out; NULL: there are no others.
 */
PagecacheRunBatch *pagecache_run_batch_new(const PagecacheRun *runs,
                                           uint32_t n);

/* --- the queue --- */

typedef struct PagecacheRunQueue PagecacheRunQueue;

/* @page_size: bytes, a multiple of 512 */
PagecacheRunQueue *pagecache_run_queue_new(uint32_t page_size);
void pagecache_run_queue_free(PagecacheRunQueue *q);

bool pagecache_run_queue_is_empty(PagecacheRunQueue *q);

/*
 * Takes over @batch, whatever its length in time in proportion to the logarithm
 * of that and of the number of batches.  NULL is ignored.
 */
void pagecache_run_queue_add(PagecacheRunQueue *q, PagecacheRunBatch *batch);

/*
 * Takes the next range at or after the last one (then from the beginning) out
 * of the queue: at most @max_bytes (one page or more) long, starting and
 * ending with a page that somebody wants.  Between pages at most a quarter of
 * the range is unwanted.  A longer run is taken piece by piece.  Of equal
 * sectors, the one that was added first is taken first.
 *
 * Appends what the range holds to @pieces, and to @rejects (both of
 * PagecachePiece) the runs that reach beyond @disk_sectors.  False when there
 * is no range (there may be rejects all the same).
 */
bool pagecache_run_queue_take(PagecacheRunQueue *q, uint64_t disk_sectors,
                              uint32_t max_bytes, GArray *pieces,
                              GArray *rejects, uint64_t *sector,
                              uint32_t *bytes);

/*
 * Takes up to @max runs, in any order, and appends them to @pieces, with an
 * offset of 0.  False: there are none.
 */
bool pagecache_run_queue_flush(PagecacheRunQueue *q, uint32_t max,
                               GArray *pieces);

#endif
