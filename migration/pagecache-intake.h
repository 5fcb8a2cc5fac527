/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: from the queue of hints into the pool
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A thread of its own takes what has been queued, many hints at a time, and
 * adds it to the pool, which sorts it.
 */
#ifndef MIGRATION_PAGECACHE_INTAKE_H
#define MIGRATION_PAGECACHE_INTAKE_H

#include "pagecache-pool.h"

typedef struct PagecacheIntake PagecacheIntake;

/*
 * Starts the thread.  @numbers: RAMBlock -> its number in the pool plus 1.
 * Both belong to the caller and are there until pagecache_intake_free().
 */
PagecacheIntake *pagecache_intake_new(PagecachePool *pool,
                                      GHashTable *numbers);
/* Ends the thread, after some milliseconds at most.  Any thread. */
void pagecache_intake_free(PagecacheIntake *intake);

/* Pages that were hinted and not added so far.  Any thread. */
uint64_t pagecache_intake_unfit(PagecacheIntake *intake);

#endif
