/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what there is to tell of the last or current migration
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Both sides write here what query-migrate tells, and need not know of each
 * other.  Any thread.
 */
#ifndef MIGRATION_PAGECACHE_LEDGER_H
#define MIGRATION_PAGECACHE_LEDGER_H

#include "qapi/qapi-types-pagecache.h"

typedef enum PagecacheSide {
    PAGECACHE_OUTGOING,
    PAGECACHE_INCOMING,
    PAGECACHE_SIDE__MAX,
} PagecacheSide;

/*
 * Replaces what was told of @side.  Takes ownership of @info; NULL: there is
 * nothing to tell.
 */
void pagecache_ledger_write(PagecacheSide side, MigrationPagecacheInfo *info);
/* A copy for the caller, or NULL */
MigrationPagecacheInfo *pagecache_ledger_read(PagecacheSide side);

#endif
