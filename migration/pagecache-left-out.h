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

/* A migration begins: nothing was told yet. */
void pagecache_left_out_clear(void);
/*
 * Puts @n entries (at most PAGECACHE_LEFT_OUT_MAX) in the place of what
 * @producer told before.  No entry counts more than @max_pages.
 */
void pagecache_left_out_set(uint32_t producer, const PagecacheLeftOut *list,
                            size_t n, uint64_t max_pages);
/* Fills in the member left-out, which is absent when nobody has told. */
void pagecache_left_out_info(MigrationPagecacheSource *source);

#endif
