/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source side, hints that are given up
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * It is found out in the middle of a turn, and told when that is over.
 */
#include "qemu/osdep.h"
#include "pagecache-events.h"
#include "pagecache-hints.h"
#include "pagecache-src-int.h"
#include "pagecache-text.h"

void pagecache_src_given_up(PagecacheSrc *src, const char *producer,
                            const PagecacheSrcDisk *disk,
                            PagecacheGivenUpReason reason, char *text)
{
    MigrationPagecacheSource *s = src->info->source;
    PagecacheSrcEvent *e = g_new0(PagecacheSrcEvent, 1);

    s->has_given_up = true;
    s->given_up = reason;
    g_free(s->given_up_text);
    s->given_up_text = g_strdup(text);

    e->producer = g_strdup(producer);
    e->path = g_strdup(disk ? disk->path : NULL);
    e->id = g_strdup(disk ? disk->id : NULL);
    e->reason = reason;
    e->text = text;
    g_queue_push_tail(src->told, e);
}

void pagecache_src_look_at_producers(PagecacheSrc *src)
{
    PagecacheGivenUpReason reason;
    const char *name;

    while ((name = pagecache_hints_given_up(&reason))) {
        pagecache_src_given_up(src, name, NULL, reason,
            g_strdup_printf("%s: %s", name, pagecache_given_up_text(reason)));
    }
}

static void send_event(PagecacheSrcEvent *e)
{
    pagecache_event_producer_given_up(e->producer, e->id, e->path, e->reason,
                                      e->text);
    if (e->reason == PAGECACHE_GIVEN_UP_REASON_OTHER_DISK) {
        pagecache_event_disk_differs(e->id, e->path, e->text);
    }
    g_free(e->producer);
    g_free(e->path);
    g_free(e->id);
    g_free(e->text);
    g_free(e);
}

void pagecache_src_send_events(PagecacheSrc *src)
{
    PagecacheSrcEvent *e;

    while ((e = g_queue_pop_head(src->told))) {
        send_event(e);
    }
}
