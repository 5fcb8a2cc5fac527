/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the guest says it has left out of its hints
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * For people to read, and for nothing else: no decision depends on it.  It
 * comes from the guest, so it is bounded and cleaned on its way in.  All
 * functions may be called from any thread.
 */
#ifndef MIGRATION_PAGECACHE_LEFT_OUT_H
#define MIGRATION_PAGECACHE_LEFT_OUT_H

#include "migration/pagecache.h"

/* What it was told for */
typedef enum PagecacheLeftOutBook {
    PAGECACHE_LEFT_OUT_MIGRATION,
    PAGECACHE_LEFT_OUT_COUNTED,         /* hints are only counted */
    PAGECACHE_LEFT_OUT__MAX,
} PagecacheLeftOutBook;

/* A migration, or a count, begins: nothing was told yet. */
void pagecache_left_out_clear(PagecacheLeftOutBook book);
/*
 * Puts @n entries (at most PAGECACHE_LEFT_OUT_MAX) in the place of what
 * @producer told before.  No entry counts more than @max_pages.
 */
void pagecache_left_out_set(PagecacheLeftOutBook book, uint32_t producer,
                            const PagecacheLeftOut *list, size_t n,
                            uint64_t max_pages);
/* All of it, for qapi_free_...(); false: nobody has told. */
bool pagecache_left_out_get(PagecacheLeftOutBook book,
                            MigrationPagecacheLeftOutList **list);
/* Fills in the member left-out of a migration, absent when nobody has told. */
void pagecache_left_out_info(MigrationPagecacheSource *source);

#endif
