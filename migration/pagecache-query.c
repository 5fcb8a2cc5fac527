/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what a migration would find, for query-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Puts together what others know.  Neither the guest nor storage is asked for
 * anything.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-pagecache.h"
#include "qapi/util.h"
#include "block/pagecache-reader.h"
#include "exec/target_page.h"
#include "migration/pagecache.h"
#include "migration.h"
#include "options.h"
#include "pagecache-count.h"
#include "pagecache-estimate.h"
#include "pagecache-hints.h"
#include "pagecache-hooks.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-unseen.h"
#include "pagecache-text.h"

#define TIMEOUT_S       30
#define TIMEOUT_MAX_S   300

/* --- disks --- */

/* How will it be read, where it is configured as it is here? */
static void add_reader(PagecacheDiskInfo *info, const PagecacheDisk *disk)
{
    const MigrationParameters *p = &migrate_get_current()->parameters;
    PagecacheReaderSpec *spec;
    Error *err = NULL;

    spec = pagecache_reader_spec_new(disk->blk, p->pagecache_any_protocol,
                                     &err);
    if (!spec) {
        info->error = g_strdup(error_get_pretty(err));
        error_free(err);
        return;
    }
    info->reader = g_strdup(pagecache_reader_spec_engine(spec));
    info->max_bandwidth = pagecache_reader_spec_limit(spec);
    info->has_max_bandwidth = info->max_bandwidth;
    pagecache_reader_spec_free(spec);
}

static PagecacheDiskInfo *disk_info(unsigned index, const PagecacheDisk *disk)
{
    PagecacheDiskInfo *info = g_new0(PagecacheDiskInfo, 1);

    info->device = g_strdup(disk->path);
    info->id = g_strdup(pagecache_disk_id(disk));
    add_reader(info, disk);
    info->has_pages = pagecache_count_of_disk(index, &info->pages,
                                              &info->producers);
    info->has_producers = info->has_pages;
    return info;
}

static PagecacheDiskInfoList *all_disks(void)
{
    unsigned i, n = pagecache_disks_refresh();
    PagecacheDiskInfoList *list = NULL;

    for (i = n; i-- > 0;) {
        const PagecacheDisk *disk = pagecache_disk_get(i);

        if (disk->dev) {
            QAPI_LIST_PREPEND(list, disk_info(i, disk));
        }
    }
    return list;
}

/* Pages on disks that can be read */
static uint64_t readable(const PagecacheDiskInfoList *l)
{
    uint64_t pages = 0;

    for (; l; l = l->next) {
        if (l->value->reader) {
            pages += l->value->pages;
        }
    }
    return pages;
}

/* --- the estimate --- */

/* NULL: it is not known what there is to send, or how fast. */
static PagecacheEstimate *estimate(const PagecacheCollection *found,
                                   uint64_t channel, uint64_t storage)
{
    unsigned bits = qemu_target_page_bits();
    PagecacheEstimate *e;

    if (!found || !found->has_ram_pages || !channel) {
        return NULL;
    }
    e = g_new0(PagecacheEstimate, 1);
    e->channel_bandwidth = channel;
    e->ram_bytes = found->ram_pages << bits;
    e->cache_bytes = MIN(found->readable_pages, found->ram_pages) << bits;
    e->precopy_time = pagecache_estimate_ms(e->ram_bytes, 0, channel, 0);
    if (storage) {
        e->has_storage_bandwidth = true;
        e->storage_bandwidth = storage;
        e->has_time = true;
        e->time = pagecache_estimate_ms(e->ram_bytes, e->cache_bytes, channel,
                                        storage);
    }
    return e;
}

static bool check_bandwidth(const char *name, bool has, uint64_t value,
                            Error **errp)
{
    if (has && !value) {
        error_setg(errp, "'%s' is 0, expected bytes per second, 1 or more",
                   name);
        return false;
    }
    return true;
}

/* --- commands --- */

PagecacheInfo *qmp_query_pagecache(bool has_channel_bandwidth,
                                   uint64_t channel_bandwidth,
                                   bool has_storage_bandwidth,
                                   uint64_t storage_bandwidth, Error **errp)
{
    MigrationState *s = migrate_get_current();
    PagecacheInfo *info;

    if (!check_bandwidth("channel-bandwidth", has_channel_bandwidth,
                         channel_bandwidth, errp) ||
        !check_bandwidth("storage-bandwidth", has_storage_bandwidth,
                         storage_bandwidth, errp)) {
        return NULL;
    }
    info = g_new0(PagecacheInfo, 1);
    info->has_reason = !pagecache_is_possible(s, &info->reason);
    if (info->has_reason) {
        info->reason_text = g_strdup(pagecache_inactive_text(info->reason));
    }
    info->producers = pagecache_hints_producers();
    info->collection = pagecache_count_get();
    info->disks = all_disks();
    if (pagecache_io_disks_on()) {
        info->has_unseen = true;
        info->unseen = pagecache_io_unseen();
    }
    if (info->collection) {
        info->collection->readable_pages = readable(info->disks);
        info->estimate = estimate(info->collection,
            has_channel_bandwidth ? channel_bandwidth :
                                    migrate_max_bandwidth(),
            has_storage_bandwidth ? storage_bandwidth :
                                    s->parameters.pagecache_bandwidth);
    }
    return info;
}

void qmp_pagecache_collect(bool has_timeout, uint32_t timeout, Error **errp)
{
    if (!has_timeout) {
        timeout = TIMEOUT_S;
    }
    if (!timeout || timeout > TIMEOUT_MAX_S) {
        error_setg(errp, "'timeout' is %" PRIu32 ", expected 1 to %d seconds",
                   timeout, TIMEOUT_MAX_S);
        return;
    }
    pagecache_count_start(timeout * 1000LL, errp);
}
