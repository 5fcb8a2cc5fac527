/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: -object pagecache-io-map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * As long as it is there and enabled, the guest's I/O is tracked.
 */
#ifndef MIGRATION_PAGECACHE_IO_OBJECT_H
#define MIGRATION_PAGECACHE_IO_OBJECT_H

#define TYPE_PAGECACHE_IO_MAP "pagecache-io-map"

/* There is one at most.  BQL. */
bool pagecache_io_object_exists(void);

#endif
