/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: its QMP event
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qapi/qapi-events-pagecache.h"
#include "qapi/qapi-types-migration.h"
#include "options.h"
#include "pagecache-events.h"

static PagecacheEvent *event_new(PagecacheEventType type)
{
    PagecacheEvent *e = g_new0(PagecacheEvent, 1);

    e->type = type;
    return e;
}

static void send_event(PagecacheEvent *e)
{
    if (migrate_events()) {
        qapi_event_send_migration_pagecache(e);
    }
    qapi_free_PagecacheEvent(e);
}

void pagecache_event_active(void)
{
    send_event(event_new(PAGECACHE_EVENT_TYPE_ACTIVE));
}

void pagecache_event_inactive(PagecacheInactiveReason reason,
                              const char *text)
{
    PagecacheEvent *e = event_new(PAGECACHE_EVENT_TYPE_INACTIVE);

    e->u.inactive.reason = reason;
    e->u.inactive.reason_text = g_strdup(text);
    send_event(e);
}

static void fill_disk(PagecacheEventDisk *disk, const char *id,
                      const char *path, const char *error)
{
    disk->device = g_strdup(path);
    disk->id = g_strdup(id);
    disk->error = g_strdup(error);
}

void pagecache_event_disk_given_up(const char *id, const char *path,
                                   const char *error)
{
    PagecacheEvent *e = event_new(PAGECACHE_EVENT_TYPE_DISK_GIVEN_UP);

    fill_disk(&e->u.disk_given_up, id, path, error);
    send_event(e);
}

void pagecache_event_disk_differs(const char *id, const char *path,
                                  const char *error)
{
    PagecacheEvent *e = event_new(PAGECACHE_EVENT_TYPE_DISK_DIFFERS);

    fill_disk(&e->u.disk_differs, id, path, error);
    send_event(e);
}

void pagecache_event_producer_given_up(const char *producer, const char *id,
                                       const char *path,
                                       PagecacheGivenUpReason reason,
                                       const char *text)
{
    PagecacheEvent *e = event_new(PAGECACHE_EVENT_TYPE_PRODUCER_GIVEN_UP);
    PagecacheEventProducer *p = &e->u.producer_given_up;

    p->producer = g_strdup(producer);
    p->device = g_strdup(path);
    p->id = g_strdup(id);
    p->given_up = reason;
    p->given_up_text = g_strdup(text);
    send_event(e);
}

void pagecache_event_ended(MigrationPagecacheInfo *info)
{
    PagecacheEvent *e = event_new(PAGECACHE_EVENT_TYPE_ENDED);

    e->u.ended.pagecache = info;
    send_event(e);
}
