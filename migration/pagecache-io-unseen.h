/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the I/O map does not see
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Devices through which the guest may read what it caches, without QEMU knowing
 * which of its pages that is.
 */
#ifndef MIGRATION_PAGECACHE_IO_UNSEEN_H
#define MIGRATION_PAGECACHE_IO_UNSEEN_H

#include "qapi/qapi-types-pagecache.h"

/* All of them, as they are now; qapi_free_...() it.  BQL. */
MigrationPagecacheUnseenList *pagecache_io_unseen(void);

#endif
