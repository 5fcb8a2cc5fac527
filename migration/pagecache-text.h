/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what people read, for each value that programs read
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * All strings are static.
 */
#ifndef MIGRATION_PAGECACHE_TEXT_H
#define MIGRATION_PAGECACHE_TEXT_H

#include "qapi/qapi-types-pagecache.h"

const char *pagecache_inactive_text(PagecacheInactiveReason reason);
const char *pagecache_note_text(PagecacheNote note);
const char *pagecache_given_up_text(PagecacheGivenUpReason reason);
/*
 * How messages name a disk: "ID (PATH)", or "PATH" if it has no id.  For
 * g_free().
 */
char *pagecache_disk_text(const char *id, const char *path);

#endif
