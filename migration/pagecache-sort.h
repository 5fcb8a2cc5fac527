/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints in the order of their disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef MIGRATION_PAGECACHE_SORT_H
#define MIGRATION_PAGECACHE_SORT_H

#include "pagecache-batch.h"

/*
 * The order of @n runs by producer, disk and sector, of equal ones as they
 * come: an array of their indexes, for g_free().  NULL: they are in order.
 * Takes time in proportion to @n, whatever the order.
 */
uint32_t *pagecache_sort_runs(const PagecachePoolRun *runs, uint32_t n);

#endif
