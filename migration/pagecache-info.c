/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: its figures, for query-migrate and "info migrate"
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "monitor/monitor.h"
#include "migration.h"
#include "pagecache-hooks.h"
#include "pagecache-info.h"
#include "pagecache-ledger.h"
#include "pagecache-left-out.h"
#include "pagecache-params.h"
#include "pagecache-text.h"

/*
 * A QEMU that has received a guest and sends it on is both; what it does now
 * counts.
 */
MigrationPagecacheInfo *pagecache_info(void)
{
    MigrationPagecacheInfo *info;

    if (pagecache_dst_is_loading()) {
        info = pagecache_dst_info();
        info->bandwidth_group = pagecache_params_group(PAGECACHE_INCOMING);
        return info;
    }
    info = pagecache_ledger_read(PAGECACHE_OUTGOING);
    if (!info) {
        return pagecache_ledger_read(PAGECACHE_INCOMING);
    }
    pagecache_left_out_info(info->source);
    info->bandwidth_group = pagecache_params_group(PAGECACHE_OUTGOING);
    return info;
}

static void print_group(Monitor *mon, const MigrationPagecacheGroup *group)
{
    monitor_printf(mon, "bandwidth group:");
    if (group->has_bandwidth) {
        monitor_printf(mon, " %" PRIu64 " kbytes/s of %" PRIu64 " kbytes/s, %"
                       PRIu32 " members", group->share >> 10,
                       group->bandwidth >> 10, group->members);
    }
    monitor_printf(mon, "%s%s%s\n",
                   group->has_bandwidth && group->error ? ";" : "",
                   group->error ? " the file " : "", group->error ?: "");
}

static void print_producers(Monitor *mon,
                            const MigrationPagecacheProducerList *p)
{
    for (; p; p = p->next) {
        monitor_printf(mon, "  by %s: %" PRIu64 " pages, %" PRIu64
                       " pages dropped, %" PRIu64 " pages proven, %" PRIu64
                       " pages mismatched\n", p->value->name,
                       p->value->hinted_pages, p->value->dropped_hints,
                       p->value->proven_pages, p->value->mismatched_pages);
    }
}

void pagecache_info_print_left_out(Monitor *mon,
                                   const MigrationPagecacheLeftOutList *l)
{
    for (; l; l = l->next) {
        monitor_printf(mon, "left out: %s: %s%s%s, %" PRIu64 " pages\n",
                       l->value->device ?: "several devices",
                       PagecacheLeftOutReason_str(l->value->reason),
                       l->value->detail ? " " : "", l->value->detail ?: "",
                       l->value->pages);
    }
}

void pagecache_info_print_unseen(Monitor *mon,
                                 const MigrationPagecacheUnseenList *u)
{
    for (; u; u = u->next) {
        monitor_printf(mon, "not seen by the I/O map: %s: %s\n",
                       u->value->device,
                       PagecacheUnseenReason_str(u->value->reason));
    }
}

static void print_source(Monitor *mon, const MigrationPagecacheSource *s)
{
    monitor_printf(mon, "hinted: %" PRIu64 " pages (%" PRIu64
                   " pages dropped, %" PRIu64 " pages duplicate)\n",
                   s->hinted_pages, s->dropped_hints, s->duplicate_pages);
    print_producers(mon, s->producers);
    if (s->has_note) {
        monitor_printf(mon, "note: %s\n", s->note_text);
    }
    if (s->has_map_time) {
        monitor_printf(mon, "map time: %" PRIu64 " ms\n", s->map_time);
    }
    monitor_printf(mon, "proven: %" PRIu64 " pages (%" PRIu64
                   " pages mismatched)\n", s->proven_pages,
                   s->mismatched_pages);
    monitor_printf(mon, "released: %" PRIu64 " pages\n", s->released_pages);
    monitor_printf(mon, "pooled: %" PRIu64 " pages, in flight: %" PRIu64
                   " pages\n", s->pooled_pages, s->in_flight_pages);
    monitor_printf(mon, "refill rate: %" PRIu64 " kbytes/s\n",
                   s->refill_rate >> 10);
    if (s->has_given_up) {
        monitor_printf(mon, "given up: %s\n", s->given_up_text);
    }
    pagecache_info_print_left_out(mon, s->left_out);
    pagecache_info_print_unseen(mon, s->unseen);
}

static void print_disk(Monitor *mon, const MigrationPagecacheDisk *d)
{
    g_autofree char *name = pagecache_disk_text(d->id, d->device);

    monitor_printf(mon, "disk %s: %s%s%s%s%s%s, %" PRIu64 " kbytes in %"
                   PRIu64 " reads, %" PRIu64 " errors (%" PRIu64
                   " timeouts)%s%s\n", name,
                   PagecacheReaderStatus_str(d->status),
                   d->reader ? " by " : "", d->reader ?: "",
                   d->method ? " (" : "", d->method ?: "",
                   d->method ? ")" : "", d->bytes_read >> 10, d->reads,
                   d->errors, d->timeouts, d->error ? ": " : "",
                   d->error ?: "");
}

static void print_destination(Monitor *mon,
                              const MigrationPagecacheDestination *d)
{
    MigrationPagecacheDiskList *l;

    monitor_printf(mon, "superseded: %" PRIu64 " pages\n",
                   d->superseded_pages);
    for (l = d->disks; l; l = l->next) {
        print_disk(mon, l->value);
    }
}

void pagecache_info_print(Monitor *mon, const MigrationPagecacheInfo *info)
{
    if (!info) {
        return;
    }
    monitor_printf(mon, "skip-pagecache: %s%s%s\n",
                   info->active ? "active" : "inactive",
                   info->has_reason ? ": " : "", info->reason_text ?: "");
    monitor_printf(mon, "offered: %" PRIu64 " pages, reported: %" PRIu64
                   " pages, unavailable: %" PRIu64 " pages\n",
                   info->offered_pages, info->reported_pages,
                   info->unavailable_pages);
    monitor_printf(mon, "refilled: %" PRIu64 " kbytes\n",
                   info->refill_bytes >> 10);
    if (info->has_io_map_entries) {
        monitor_printf(mon, "I/O map: %" PRIu64 " entries went along\n",
                       info->io_map_entries);
    }
    if (info->has_blackout_time) {
        monitor_printf(mon, "blackout time: %" PRIu64 " us\n",
                       info->blackout_time);
    }
    if (info->source) {
        print_source(mon, info->source);
    }
    if (info->bandwidth_group) {
        print_group(mon, info->bandwidth_group);
    }
    if (info->destination) {
        print_destination(mon, info->destination);
    }
}
