/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the destination side, its disks and their readers
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "block/aio.h"
#include "migration/pagecache.h"
#include "qemu/pagecache-fault.h"
#include "migration.h"
#include "pagecache-dst-int.h"
#include "pagecache-events.h"
#include "pagecache-io-disks.h"
#include "pagecache-params.h"
#include "pagecache-text.h"
#include "trace.h"

static void disk_clear(void *opaque)
{
    PagecacheDstDisk *disk = opaque;

    g_free(disk->path);
    g_free(disk->dev_id);
    g_free(disk->error);
    g_free(disk->stats.last_error);
    g_array_unref(disk->runs);
}

GArray *pagecache_dst_disks_new(void)
{
    GArray *disks = g_array_new(FALSE, TRUE, sizeof(PagecacheDstDisk));

    g_array_set_clear_func(disks, disk_clear);
    return disks;
}

/* --- opening --- */

typedef struct OpenDisks {
    PagecacheDst *d;
    Coroutine *co;
} OpenDisks;

static const PagecacheDisk *find_disk(const char *path)
{
    unsigned i, n = pagecache_disks_refresh();

    for (i = 0; i < n; i++) {
        const PagecacheDisk *disk = pagecache_disk_get(i);

        if (disk->dev && !strcmp(disk->path, path)) {
            return disk;
        }
    }
    return NULL;
}

static void open_disk(PagecacheDst *d, guint nr)
{
    PagecacheDstDisk *disk = &g_array_index(d->disks, PagecacheDstDisk, nr);
    const MigrationParameters *p = &migrate_get_current()->parameters;
    const PagecacheReaderConfig config = {
        .page_size = 1 << d->page_bits,
        .sessions = p->pagecache_sessions,
        .deadline_ms = p->pagecache_read_deadline,
        .budget = pagecache_params_budget(PAGECACHE_INCOMING),
        .back_off = p->pagecache_back_off,
        .sectors = disk->sectors,
        .done = pagecache_refill_done,
        .opaque = pagecache_refill_disk(d->refill, nr),
        .release = pagecache_refill_released,
    };
    const PagecacheDisk *own = find_disk(disk->path);
    PagecacheReaderSpec *spec;
    Error *err = NULL;

    if (own) {
        disk->io_number = pagecache_io_disks_number(own->blk);
        disk->dev_id = g_strdup(pagecache_disk_id(own));
    }
    if (d->no_digest) {
        disk->error = g_strdup(d->no_digest);
        pagecache_event_disk_given_up(disk->dev_id, disk->path, disk->error);
        return;
    }
    if (!own) {
        error_setg(&err, "no such disk here");
        spec = NULL;
    } else if (pagecache_fault(PAGECACHE_FAULT_REFUSE_READER)) {
        error_setg(&err, "fault on purpose");
        spec = NULL;
    } else {
        spec = pagecache_reader_spec_new(own->blk, p->pagecache_any_protocol,
                                         &err);
    }
    if (spec) {
        pagecache_refill_seed(d->refill, nr, disk->io_number);
        pagecache_refill_ref(d->refill);
        disk->reader = pagecache_reader_open(spec, &config);
        if (!disk->reader) {
            pagecache_refill_unref(d->refill);
            error_setg(&err, "no thread could be created");
        }
    }
    if (!disk->reader) {
        g_autofree char *name = pagecache_disk_text(disk->dev_id, disk->path);

        disk->error = g_strdup(error_get_pretty(err));
        warn_report("skip-pagecache: can't read disk '%s' here: %s", name,
                    disk->error);
        pagecache_event_disk_given_up(disk->dev_id, disk->path, disk->error);
        error_free(err);
    }
    trace_pagecache_dst_disk(disk->path, disk->error ?: "reader open");
}

/*
 * Opening nodes is not for coroutines, and the migration stream is loaded in
 * one.
 */
static void open_disks_bh(void *opaque)
{
    OpenDisks *o = opaque;
    guint i;

    for (i = 0; i < o->d->disks->len; i++) {
        open_disk(o->d, i);
    }
    aio_co_wake(o->co);
}

void coroutine_fn pagecache_dst_open_disks(PagecacheDst *d)
{
    OpenDisks o = { .d = d, .co = qemu_coroutine_self() };
    guint i;

    for (i = 0; i < d->start->disks->len; i++) {
        PagecacheWireDisk *w = &g_array_index(d->start->disks,
                                              PagecacheWireDisk, i);
        PagecacheDstDisk disk = {
            .id = w->id, .sectors = w->sectors, .path = g_strdup(w->path),
            .runs = g_array_new(FALSE, FALSE, sizeof(PagecacheRun)),
        };

        g_array_append_val(d->disks, disk);
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), open_disks_bh, &o);
    qemu_coroutine_yield();
}

/* --- what there is --- */

PagecacheDstDisk *pagecache_dst_disk(PagecacheDst *d, uint32_t id)
{
    guint i;

    for (i = 0; i < d->disks->len; i++) {
        PagecacheDstDisk *disk = &g_array_index(d->disks, PagecacheDstDisk, i);

        if (disk->id == id) {
            return disk;
        }
    }
    g_assert_not_reached();     /* pagecache_wire_check_offer() has seen it */
}

static MigrationPagecacheDisk *disk_info(PagecacheDstDisk *disk)
{
    MigrationPagecacheDisk *out = g_new0(MigrationPagecacheDisk, 1);
    PagecacheReaderStats stats = disk->stats;

    if (disk->reader) {
        pagecache_reader_stats(disk->reader, &stats);
    } else {
        stats.last_error = g_strdup(stats.last_error);
    }
    out->device = g_strdup(disk->path);
    out->id = g_strdup(disk->dev_id);
    out->reader = g_strdup(stats.engine);
    out->method = g_strdup(stats.method);
    if (disk->error) {
        out->status = PAGECACHE_READER_STATUS_NONE;
        out->error = g_strdup(disk->error);
    } else {
        out->status = stats.state == PAGECACHE_READER_IDLE ?
                      PAGECACHE_READER_STATUS_IDLE :
                      stats.state == PAGECACHE_READER_OPENING ?
                      PAGECACHE_READER_STATUS_OPENING :
                      stats.state == PAGECACHE_READER_READY ?
                      PAGECACHE_READER_STATUS_READY :
                      PAGECACHE_READER_STATUS_FAILED;
        out->error = g_steal_pointer(&stats.last_error);
    }
    g_free(stats.last_error);
    out->bytes_read = stats.bytes_read;
    out->reads = stats.reads;
    out->errors = stats.errors;
    out->timeouts = stats.timeouts;
    return out;
}

MigrationPagecacheDiskList *pagecache_dst_disks_info(PagecacheDst *d)
{
    MigrationPagecacheDiskList *disks = NULL;
    guint i;

    for (i = d->disks->len; i-- > 0;) {
        QAPI_LIST_PREPEND(disks, disk_info(&g_array_index(d->disks,
                                                          PagecacheDstDisk,
                                                          i)));
    }
    return disks;
}

/* --- given up --- */

static void look_at_disk(PagecacheDstDisk *disk)
{
    g_autofree char *name = pagecache_disk_text(disk->dev_id, disk->path);
    PagecacheReaderStats stats;

    if (!disk->reader || disk->told) {
        return;
    }
    pagecache_reader_stats(disk->reader, &stats);
    if (stats.state == PAGECACHE_READER_FAILED) {
        disk->told = true;
        warn_report("skip-pagecache: disk '%s' is not read any more in this "
                    "migration: %s", name, stats.last_error ?: "?");
        pagecache_event_disk_given_up(disk->dev_id, disk->path,
                                      stats.last_error ?: "?");
    }
    g_free(stats.last_error);
}

void pagecache_dst_look_at_disks(PagecacheDst *d)
{
    guint i;

    for (i = 0; i < d->disks->len; i++) {
        look_at_disk(&g_array_index(d->disks, PagecacheDstDisk, i));
    }
}

/* --- the end --- */

void pagecache_dst_close_disks(PagecacheDst *d)
{
    guint i;

    for (i = 0; i < d->disks->len; i++) {
        PagecacheDstDisk *disk = &g_array_index(d->disks, PagecacheDstDisk, i);

        if (disk->reader) {
            pagecache_reader_stats(disk->reader, &disk->stats);
            pagecache_reader_close(disk->reader);
            disk->reader = NULL;
        }
    }
}
