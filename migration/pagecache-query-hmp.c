/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: "info pagecache" and "pagecache_collect"
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-pagecache.h"
#include "qobject/qdict.h"
#include "exec/target_page.h"
#include "monitor/hmp.h"
#include "monitor/monitor.h"
#include "pagecache-info.h"

static uint64_t mib(uint64_t pages)
{
    return pages >> (20 - qemu_target_page_bits());
}

static void print_producer(Monitor *mon, const PagecacheProducerInfo *p)
{
    monitor_printf(mon, "producer %s%s%s: %s", p->name, p->device ? " " : "",
                   p->device ?: "", PagecacheProducerState_str(p->state));
    if (p->has_entries_max) {
        monitor_printf(mon, ", at most %" PRIu64 " entries", p->entries_max);
    }
    monitor_printf(mon, "\n");
}

static void print_disk(Monitor *mon, const PagecacheDiskInfo *d)
{
    const PagecacheProducerPagesList *p;

    monitor_printf(mon, "disk %s%s%s%s: %s%s", d->device, d->id ? " (" : "",
                   d->id ?: "", d->id ? ")" : "",
                   d->reader ? "read by " : "not read: ",
                   d->reader ?: d->error);
    if (d->has_max_bandwidth) {
        monitor_printf(mon, ", at most %" PRIu64 " kbytes/s",
                       d->max_bandwidth >> 10);
    }
    if (d->has_pages) {
        monitor_printf(mon, ", %" PRIu64 " pages of clean cache (%" PRIu64
                       " MiB)", d->pages, mib(d->pages));
    }
    monitor_printf(mon, "\n");
    for (p = d->producers; p; p = p->next) {
        monitor_printf(mon, "  by %s: %" PRIu64 " pages\n", p->value->name,
                       p->value->pages);
    }
}

static void print_collection(Monitor *mon, const PagecacheCollection *c)
{
    if (!c) {
        monitor_printf(mon, "collection: none yet (pagecache_collect)\n");
        return;
    }
    monitor_printf(mon, "collection: %s, %" PRIu64 " ms ago, took %" PRIu64
                   " ms", PagecacheCollectionStatus_str(c->status), c->age,
                   c->time);
    if (c->sample > 1) {
        monitor_printf(mon, ", estimated from 1/%" PRIu64 " of RAM",
                       c->sample);
    }
    monitor_printf(mon, "\nclean cache: %" PRIu64 " pages (%" PRIu64
                   " MiB), %" PRIu64 " on disks that can be read, %" PRIu64
                   " hints dropped\n", c->pages, mib(c->pages),
                   c->readable_pages, c->dropped_hints);
    if (c->has_ram_pages) {
        monitor_printf(mon, "RAM that is not zero: %" PRIu64 " pages (%"
                       PRIu64 " MiB)\n", c->ram_pages, mib(c->ram_pages));
    }
    pagecache_info_print_left_out(mon, c->left_out);
}

static void print_estimate(Monitor *mon, const PagecacheEstimate *e)
{
    if (!e) {
        return;
    }
    monitor_printf(mon, "plain precopy: %" PRIu64 " ms at %" PRIu64
                   " kbytes/s\n", e->precopy_time, e->channel_bandwidth >> 10);
    if (e->has_time) {
        monitor_printf(mon, "with skip-pagecache: %" PRIu64 " ms with %" PRIu64
                       " kbytes/s from storage\n", e->time,
                       e->storage_bandwidth >> 10);
    }
}

void hmp_info_pagecache(Monitor *mon, const QDict *qdict)
{
    const int64_t channel = qdict_get_try_int(qdict, "channel", -1);
    const int64_t storage = qdict_get_try_int(qdict, "storage", -1);
    const PagecacheProducerInfoList *p;
    const PagecacheDiskInfoList *d;
    Error *err = NULL;
    PagecacheInfo *info;

    info = qmp_query_pagecache(channel >= 0, channel, storage >= 0, storage,
                               &err);
    if (hmp_handle_error(mon, err)) {
        return;
    }
    if (info->has_reason) {
        monitor_printf(mon, "skip-pagecache would be inactive: %s\n",
                       info->reason_text);
    }
    for (p = info->producers; p; p = p->next) {
        print_producer(mon, p->value);
    }
    for (d = info->disks; d; d = d->next) {
        print_disk(mon, d->value);
    }
    pagecache_info_print_unseen(mon, info->unseen);
    print_collection(mon, info->collection);
    print_estimate(mon, info->estimate);
    qapi_free_PagecacheInfo(info);
}

void hmp_pagecache_collect(Monitor *mon, const QDict *qdict)
{
    const int64_t timeout = qdict_get_try_int(qdict, "timeout", -1);
    Error *err = NULL;

    qmp_pagecache_collect(timeout >= 0, timeout, &err);
    hmp_handle_error(mon, err);
}
