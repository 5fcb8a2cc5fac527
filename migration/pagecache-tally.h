/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints are counted, and nothing else is done with them
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Each page counts once for each producer that names it, and once in all, for
 * the disk that it was named with first, however often it is named.  So there
 * is a bit for each page and producer; of a sample of RAM, whose size is bounded
 * whatever the guest has.
 */
#ifndef MIGRATION_PAGECACHE_TALLY_H
#define MIGRATION_PAGECACHE_TALLY_H

#include "pagecache-sample.h"

/* Producers of the same name are one; those beyond are not counted. */
#define PAGECACHE_TALLY_PRODUCERS   4

typedef struct PagecacheTally PagecacheTally;

/* @part_pages: pages in a part of the sample; @ndisks: indices are below it */
PagecacheTally *pagecache_tally_new(PagecacheSample sample,
                                    uint64_t part_pages, unsigned ndisks);
void pagecache_tally_free(PagecacheTally *tally);
/* @block: any number for a block of @npages.  Before the first hint. */
void pagecache_tally_add_block(PagecacheTally *tally, const void *block,
                               uint64_t npages);
/*
 * A hint for @npages from @page on.  What is in no block, or on no disk, does
 * not count.  @producer: static.  Any thread.
 */
void pagecache_tally_add(PagecacheTally *tally, const char *producer,
                         unsigned disk, const void *block, uint64_t page,
                         uint64_t npages);
/*
 * Nothing more is counted, and what that takes is freed; the figures stay.  Any
 * thread.
 */
void pagecache_tally_end(PagecacheTally *tally);

/* Name of the @n-th producer that has named a page; NULL: there is none. */
const char *pagecache_tally_producer(PagecacheTally *tally, unsigned n);
/*
 * Pages that stand on @disk by the @n-th producer, or by any (-1).  Of a sample
 * that is a part of RAM, an estimate for all of it.  Any thread.
 */
uint64_t pagecache_tally_pages(PagecacheTally *tally, int n, unsigned disk);

#endif
