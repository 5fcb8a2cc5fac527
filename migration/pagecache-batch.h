/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints in the order of their disk, in a few bytes each
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A batch has the runs of one disk from one hint producer, by sector.  It is
 * filled once and then only gets shorter, from its head (the lowest sectors)
 * and from its tail.  A run takes 12 bytes.
 *
 * Pages are target pages, page numbers count within their RAM block, sectors
 * are 512 bytes.  No locking: all calls of one batch from one thread at a time.
 */
#ifndef MIGRATION_PAGECACHE_BATCH_H
#define MIGRATION_PAGECACHE_BATCH_H

/* Consecutive pages of one RAM block that hold consecutive sectors */
typedef struct PagecachePoolRun {
    uint64_t sector;
    uint64_t page;
    uint32_t npages;
    uint32_t block;     /* the caller's number of the RAM block */
    uint32_t disk;      /* the caller's number of the disk */
    uint32_t producer;  /* the caller's number of the hint producer */
} PagecachePoolRun;

/* A longer run is taken in pieces, and must be appended in pieces. */
#define PAGECACHE_BATCH_RUN_MAX (1u << 16)

typedef struct PagecacheBatch PagecacheBatch;

/* @page_bits: log2 of the page size in bytes, 9 to 31 */
PagecacheBatch *pagecache_batch_new(unsigned page_bits, uint32_t disk,
                                    uint32_t producer);
void pagecache_batch_free(PagecacheBatch *b);

/*
 * Appends @run, of the batch's disk and producer.  Where it continues the last
 * run it becomes a part of it.  Runs are taken in the order in which they were
 * appended, which should be that of their sectors: it takes more memory
 * otherwise.  False: this batch takes no more; another one will.
 */
bool pagecache_batch_append(PagecacheBatch *b, const PagecachePoolRun *run);
/* Nothing more is appended: gives back what is not used. */
void pagecache_batch_seal(PagecacheBatch *b);

uint32_t pagecache_batch_disk(const PagecacheBatch *b);
uint32_t pagecache_batch_producer(const PagecacheBatch *b);
/* Pages in it */
uint64_t pagecache_batch_pages(const PagecacheBatch *b);
/* What it takes of the host's memory, in bytes */
size_t pagecache_batch_bytes(const PagecacheBatch *b);

/* First sector of the first, or of the last run.  Not of an empty batch. */
uint64_t pagecache_batch_head(const PagecacheBatch *b);
uint64_t pagecache_batch_tail(const PagecacheBatch *b);

/*
 * Takes the first, or the last, @max_pages (one or more) of the first, or the
 * last, run.  False: the batch is empty.
 */
bool pagecache_batch_take_head(PagecacheBatch *b, uint32_t max_pages,
                               PagecachePoolRun *run);
bool pagecache_batch_take_tail(PagecacheBatch *b, uint32_t max_pages,
                               PagecachePoolRun *run);

#endif
