/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how much of the guest's RAM has anything in it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Precopy sends what is not zero.  Pages that the host has not backed are zero,
 * and are not looked at, for that might back them; of the others all are, in a
 * thread.  What the host has swapped out, or has not read yet of a file, passes
 * for zero.
 *
 * Of more RAM than that takes a processor a second or two for, a sample is
 * looked at.
 */
#ifndef MIGRATION_PAGECACHE_CENSUS_H
#define MIGRATION_PAGECACHE_CENSUS_H

#include "pagecache-sample.h"

typedef struct PagecacheCensus PagecacheCensus;

/*
 * Begins with all RAM that migrates, or a sample of @max_parts, about.  Its RAM
 * blocks are held until pagecache_census_free().  BQL.
 */
PagecacheCensus *pagecache_census_new(uint64_t max_parts);
/* The thread ends soon; nobody waits for it.  BQL.  NULL is allowed. */
void pagecache_census_free(PagecacheCensus *census);

PagecacheSample pagecache_census_sample(const PagecacheCensus *census);
/* Of RAMBlock */
const GPtrArray *pagecache_census_blocks(const PagecacheCensus *census);
/* Target pages with content; false: it is not over yet.  Any thread. */
bool pagecache_census_get(PagecacheCensus *census, uint64_t *pages);

#endif
