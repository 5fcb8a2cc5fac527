/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: its QMP event
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Any thread, without locks that a monitor command might need.  Nothing is
 * sent while the capability "events" is off.
 */
#ifndef MIGRATION_PAGECACHE_EVENTS_H
#define MIGRATION_PAGECACHE_EVENTS_H

#include "qapi/qapi-types-pagecache.h"

void pagecache_event_active(void);
/* @text: why, in words */
void pagecache_event_inactive(PagecacheInactiveReason reason,
                              const char *text);
/* @id: of the guest's device, or NULL */
void pagecache_event_disk_given_up(const char *id, const char *path,
                                   const char *error);
void pagecache_event_disk_differs(const char *id, const char *path,
                                  const char *error);
/* @path: NULL if it is about all disks */
void pagecache_event_producer_given_up(const char *producer, const char *id,
                                       const char *path,
                                       PagecacheGivenUpReason reason,
                                       const char *text);
/* Takes ownership of @info. */
void pagecache_event_ended(MigrationPagecacheInfo *info);

#endif
