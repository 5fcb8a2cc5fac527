/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the table of the guest's disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * include/migration/pagecache.h tells the rules of the table.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/qdev-core.h"
#include "system/block-backend.h"
#include "migration/pagecache.h"
#include "pagecache-wire.h"
#include "trace.h"

static GPtrArray *disk_table;           /* of PagecacheDisk, BQL */

/*
 * The name of a disk on both hosts.  The path is what vmstate calls the
 * device, so it must be the same anyway; a bus that knows no paths (IDE)
 * leaves the id that the user gave.
 */
static char *disk_path(DeviceState *dev)
{
    char *path = qdev_get_dev_path(dev);

    if (!path && dev->id) {
        path = g_strdup_printf("id=%s", dev->id);
    }
    if (path && strlen(path) > PAGECACHE_WIRE_MAX_NAME) {
        g_clear_pointer(&path, g_free);
    }
    return path;
}

static PagecacheDisk *disk_by_path(const char *path)
{
    PagecacheDisk *d;
    guint i;

    for (i = 0; i < disk_table->len; i++) {
        d = g_ptr_array_index(disk_table, i);
        if (!strcmp(d->path, path)) {
            return d;
        }
    }
    if (disk_table->len == PAGECACHE_WIRE_MAX_DISKS) {
        return NULL;
    }
    d = g_new0(PagecacheDisk, 1);
    d->path = g_strdup(path);
    g_ptr_array_add(disk_table, d);
    return d;
}

unsigned pagecache_disks_refresh(void)
{
    BlockBackend *blk = NULL;
    guint i;

    GLOBAL_STATE_CODE();
    if (!disk_table) {
        disk_table = g_ptr_array_new();
    }
    for (i = 0; i < disk_table->len; i++) {
        PagecacheDisk *d = g_ptr_array_index(disk_table, i);

        d->dev = NULL;
        d->blk = NULL;
        d->sectors = 0;
    }
    while ((blk = blk_all_next(blk))) {
        DeviceState *dev = blk_get_attached_dev(blk);
        g_autofree char *path = NULL;
        PagecacheDisk *d;
        int64_t sectors;

        if (!dev || !blk_is_inserted(blk)) {
            continue;
        }
        sectors = blk_nb_sectors(blk);
        path = disk_path(dev);
        if (sectors <= 0 || !path) {
            continue;
        }
        d = disk_by_path(path);
        if (d && !d->dev) {
            d->dev = dev;
            d->blk = blk;
            d->sectors = sectors;
            d->read_only = !blk_supports_write_perm(blk);
            trace_pagecache_disk(d->path, d->sectors, d->read_only);
        }
    }
    return disk_table->len;
}

const PagecacheDisk *pagecache_disk_get(unsigned index)
{
    GLOBAL_STATE_CODE();
    if (!disk_table || index >= disk_table->len) {
        return NULL;
    }
    return g_ptr_array_index(disk_table, index);
}

int pagecache_disk_find(BlockBackend *blk)
{
    guint i;

    GLOBAL_STATE_CODE();
    for (i = 0; disk_table && i < disk_table->len; i++) {
        PagecacheDisk *d = g_ptr_array_index(disk_table, i);

        if (blk && d->blk == blk) {
            return i;
        }
    }
    return -1;
}

/* The id of virtio-blk-pci is that of the proxy, which owns what has the disk. */
const char *pagecache_disk_id(const PagecacheDisk *disk)
{
    Object *obj = OBJECT(disk->dev);

    GLOBAL_STATE_CODE();
    for (; obj && object_dynamic_cast(obj, TYPE_DEVICE); obj = obj->parent) {
        if (DEVICE(obj)->id) {
            return DEVICE(obj)->id;
        }
    }
    return NULL;
}
