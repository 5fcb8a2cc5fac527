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
#include "pagecache-ledger.h"
#include "pagecache-left-out.h"
#include "pagecache-params.h"

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
    pagecache_left_out_info(info);
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

void pagecache_info_print(Monitor *mon, const MigrationPagecacheInfo *info)
{
    MigrationPagecacheProducerList *p;
    MigrationPagecacheLeftOutList *left;
    MigrationPagecacheUnseenList *u;
    MigrationPagecacheDiskList *l;

    if (!info) {
        return;
    }
    monitor_printf(mon, "skip-pagecache: %s%s%s\n",
                   info->active ? "active" : "inactive",
                   info->reason ? ", " : "", info->reason ?: "");
    if (info->has_hinted_pages) {
        monitor_printf(mon, "hinted: %" PRIu64 " pages (%" PRIu64
                       " dropped, %" PRIu64 " too late or twice)\n",
                       info->hinted_pages, info->dropped_hints,
                       info->duplicate_pages);
    }
    for (p = info->producers; p; p = p->next) {
        monitor_printf(mon, "  by %s: %" PRIu64 " pages (%" PRIu64
                       " dropped), %" PRIu64 " proven, %" PRIu64
                       " mismatched\n", p->value->name,
                       p->value->hinted_pages, p->value->dropped_hints,
                       p->value->proven_pages, p->value->mismatched_pages);
    }
    if (info->note) {
        monitor_printf(mon, "note: %s\n", info->note);
    }
    if (info->has_map_time) {
        monitor_printf(mon, "map time: %" PRIu64 " ms\n", info->map_time);
    }
    monitor_printf(mon, "offered: %" PRIu64 " pages\n", info->offered_pages);
    monitor_printf(mon, "reported: %" PRIu64 " pages\n", info->reported_pages);
    if (info->has_proven_pages) {
        monitor_printf(mon, "proven: %" PRIu64 " pages (%" PRIu64
                       " mismatched)\n", info->proven_pages,
                       info->mismatched_pages);
        monitor_printf(mon, "released: %" PRIu64 " pages\n",
                       info->released_pages);
    }
    if (info->has_superseded_pages) {
        monitor_printf(mon, "superseded: %" PRIu64 " pages\n",
                       info->superseded_pages);
    }
    monitor_printf(mon, "unavailable: %" PRIu64 " pages\n",
                   info->unavailable_pages);
    if (info->has_pooled_pages) {
        monitor_printf(mon, "waiting: %" PRIu64 " pages, in flight: %" PRIu64
                       " pages\n", info->pooled_pages, info->in_flight_pages);
    }
    monitor_printf(mon, "refilled: %" PRIu64 " kbytes\n",
                   info->refill_bytes >> 10);
    if (info->has_refill_rate) {
        monitor_printf(mon, "refill rate: %" PRIu64 " kbytes/s\n",
                       info->refill_rate >> 10);
    }
    if (info->has_io_map_entries) {
        monitor_printf(mon, "I/O map: %" PRIu64 " entries went along\n",
                       info->io_map_entries);
    }
    if (info->has_blackout_time) {
        monitor_printf(mon, "share of the downtime: %" PRIu64 " us\n",
                       info->blackout_time);
    }
    if (info->given_up) {
        monitor_printf(mon, "hints given up: %s\n", info->given_up);
    }
    for (left = info->left_out; left; left = left->next) {
        monitor_printf(mon, "left out: %s: %s%s%s, %" PRIu64 " pages\n",
                       left->value->device ?: "several devices",
                       PagecacheLeftOutReason_str(left->value->reason),
                       left->value->detail ? " " : "",
                       left->value->detail ?: "", left->value->pages);
    }
    for (u = info->unseen; u; u = u->next) {
        monitor_printf(mon, "not seen by the I/O map: %s: %s\n",
                       u->value->device,
                       PagecacheUnseenReason_str(u->value->reason));
    }
    if (info->bandwidth_group) {
        print_group(mon, info->bandwidth_group);
    }
    for (l = info->disks; l; l = l->next) {
        monitor_printf(mon, "disk %s: %s%s%s%s%s%s, %" PRIu64 " kbytes in %"
                       PRIu64 " reads, %" PRIu64 " errors (%" PRIu64
                       " timeouts)%s%s\n", l->value->device,
                       PagecacheReaderStatus_str(l->value->status),
                       l->value->reader ? " by " : "", l->value->reader ?: "",
                       l->value->method ? " (" : "", l->value->method ?: "",
                       l->value->method ? ")" : "",
                       l->value->bytes_read >> 10, l->value->reads,
                       l->value->errors, l->value->timeouts,
                       l->value->error ? ": " : "", l->value->error ?: "");
    }
}
