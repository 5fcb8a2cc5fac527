/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a collection of hints without a migration
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Producers are asked as a migration asks them, and what they say is counted
 * (pagecache-tally.h).  It takes bounded memory, a processor for some seconds at
 * most, and whatever the guest's driver does.  All functions with the BQL.
 */
#ifndef MIGRATION_PAGECACHE_COUNT_H
#define MIGRATION_PAGECACHE_COUNT_H

#include "qapi/qapi-types-pagecache.h"

/* False: it can't begin now, with @errp set. */
bool pagecache_count_start(int64_t timeout_ms, Error **errp);

/*
 * What the last one has found, as far as it has got, but for readable-pages; for
 * qapi_free_...().  NULL: there was none.
 */
PagecacheCollection *pagecache_count_get(void);
/*
 * Pages on the disk with this index, and those by each producer, for
 * qapi_free_...().  False: there was no collection since it is there.
 */
bool pagecache_count_of_disk(unsigned disk, uint64_t *pages,
                             PagecacheProducerPagesList **producers);

#endif
