/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the handlers of its section
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * As SaveVMHandlers say, see include/migration/register.h.
 */
#ifndef MIGRATION_PAGECACHE_SECTION_H
#define MIGRATION_PAGECACHE_SECTION_H

#include "qemu-file.h"

/* --- source: pagecache-src.c --- */

bool pagecache_src_is_active(void *opaque);
int pagecache_src_setup(QEMUFile *f, void *opaque, Error **errp);
int pagecache_src_iterate(QEMUFile *f, void *opaque);
void pagecache_src_pending(void *opaque, uint64_t *must_precopy,
                           uint64_t *can_postcopy);
int pagecache_src_complete(QEMUFile *f, void *opaque);
void pagecache_src_cleanup(void *opaque);

/* --- destination: pagecache-dst.c --- */

int pagecache_dst_load(QEMUFile *f, void *opaque, int version_id);
int pagecache_dst_cleanup(void *opaque);

#endif
