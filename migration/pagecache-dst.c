/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the destination side
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Offers are read from the guest's disks by readers of our own
 * (include/block/pagecache-reader.h) into bounce buffers.  A page that the
 * channel has not claimed is copied into RAM, and its digest reported.  The
 * reader threads do that; one more thread sends the reports.  The thread that
 * loads the migration stream never waits for any of them, but for single
 * copies of a page that are under way.
 *
 * This file has the beginning and the end of it, and the frames in between.
 * What others do is described in pagecache-dst-int.h, with the locks.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "block/aio.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "migration/misc.h"
#include "qemu/pagecache-fault.h"
#include "migration.h"
#include "options.h"
#include "pagecache-digest.h"
#include "pagecache-dst-int.h"
#include "pagecache-events.h"
#include "pagecache-hooks.h"
#include "pagecache-io-disks.h"
#include "pagecache-ledger.h"
#include "pagecache-params.h"
#include "pagecache-section.h"
#include "pagecache-text.h"
#include "qemu-file.h"
#include "ram.h"
#include "trace.h"

/* BQL */
static PagecacheDst *dst;

/* --- disks that are given up --- */

static bool look_scheduled;     /* atomic */

static void look_at_disks_bh(void *opaque)
{
    qatomic_set(&look_scheduled, false);
    if (dst) {
        pagecache_dst_look_at_disks(dst);
    }
}

/* Reader threads */
static void something_unread(void)
{
    if (!qatomic_xchg(&look_scheduled, true)) {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), look_at_disks_bh,
                                NULL);
    }
}

/* --- life --- */

/* Takes ownership of @start. */
static PagecacheDst *dst_new(PagecacheWireStart *start)
{
    PagecacheDst *d = g_new0(PagecacheDst, 1);

    d->start = start;
    d->page_bits = qemu_target_page_bits();
    d->blocks = g_ptr_array_new();
    d->disks = pagecache_dst_disks_new();
    d->reporter = pagecache_reporter_new();
    d->refill = pagecache_refill_new(d->page_bits, start->blocks->len,
                                     start->disks->len, d->reporter,
                                     something_unread);
    d->blackout_us = -1;
    return d;
}

static void dst_free(PagecacheDst *d)
{
    g_array_unref(d->disks);
    g_ptr_array_unref(d->blocks);
    g_free(d->no_digest);
    pagecache_refill_unref(d->refill);
    pagecache_reporter_unref(d->reporter);
    pagecache_wire_start_free(d->start);
    g_free(d);
}

/* --- START --- */

/*
 * Without the source's kind of digest we have nothing to report: what is
 * offered is unavailable, and goes over the channel.
 */
static void set_up_digest(PagecacheDst *d)
{
    PagecacheDigest digest;
    Error *err = NULL;

    if (pagecache_fault(PAGECACHE_FAULT_REFUSE_DIGEST)) {
        error_setg(&err, "fault on purpose");
    } else if (pagecache_digest_init_from(&digest, d->start, &err)) {
        pagecache_refill_set_digest(d->refill, &digest);
    }
    if (err) {
        warn_report("skip-pagecache: no disk is read here: %s",
                    error_get_pretty(err));
        d->no_digest = g_strdup(error_get_pretty(err));
        error_free(err);
    }
}

static bool set_up_blocks(PagecacheDst *d, Error **errp)
{
    guint i;

    d->populate = pagecache_populate_new();
    for (i = 0; i < d->start->blocks->len; i++) {
        PagecacheWireBlock *w = &g_array_index(d->start->blocks,
                                               PagecacheWireBlock, i);
        RAMBlock *rb = qemu_ram_block_by_name(w->idstr);

        if (!rb || migrate_ram_is_ignored(rb)) {
            error_setg(errp, "RAM block '%s' of the source is not here",
                       w->idstr);
            return false;
        }
        if (w->npages > rb->max_length >> d->page_bits) {
            error_setg(errp, "RAM block '%s' has %" PRIu64 " pages at the "
                       "source, expected at most %" PRIu64, w->idstr,
                       w->npages, (uint64_t)(rb->max_length >> d->page_bits));
            return false;
        }
        if (rb->pagecache_claims) {
            error_setg(errp, "RAM block '%s' is named twice", w->idstr);
            return false;
        }
        /* For all that multifd may name, whatever used_length becomes */
        rb->pagecache_claims = pagecache_refill_add_block(
            d->refill, rb, (rb->max_length >> d->page_bits) + 1);
        memory_region_ref(rb->mr);      /* it may be unplugged meanwhile */
        g_ptr_array_add(d->blocks, rb);
        pagecache_populate_add_block(d->populate, rb->host, rb->max_length);
    }
    return true;
}

static uint64_t own_features(void)
{
    return pagecache_io_disks_on() ? PAGECACHE_WIRE_FEATURE_MAP : 0;
}

static bool load_start(const uint8_t *body, size_t len, Error **errp)
{
    MigrationIncomingState *mis = migration_incoming_get_current();
    g_autofree char *err = NULL;
    PagecacheWireStart *start;
    uint16_t version;
    PagecacheDst *d;

    if (!migrate_skip_pagecache()) {
        error_setg(errp, "the capability skip-pagecache is on at the source "
                   "and off here; set it on both sides");
        pagecache_reporter_refuse();
        return false;
    }
    if (pagecache_wire_start_version(body, len, &version) &&
        version != PAGECACHE_WIRE_VERSION) {
        error_setg(errp, "the source speaks version %u of the wire format, "
                   "expected %u", version, PAGECACHE_WIRE_VERSION);
        pagecache_reporter_refuse();
        return false;
    }
    if (dst) {
        error_setg(errp, "a second START, expected one");
        return false;
    }
    if (!qemu_in_coroutine() || !mis->to_src_file) {
        error_setg(errp, "START in what is no live migration with a return "
                   "path");
        return false;
    }

    start = pagecache_wire_decode_start(body, len, &err);
    if (!start) {
        error_setg(errp, "malformed START: %s", err);
        return false;
    }
    d = dst_new(start);
    pagecache_ledger_write(PAGECACHE_OUTGOING, NULL);
    pagecache_params_begin(PAGECACHE_INCOMING);
    dst = d;    /* from here on pagecache_dst_cleanup() undoes it */
    if (d->start->page_bits != d->page_bits) {
        error_setg(errp, "pages of 2^%u bytes, expected 2^%u",
                   d->start->page_bits, d->page_bits);
        return false;
    }
    set_up_digest(d);
    if (!set_up_blocks(d, errp)) {
        return false;
    }
    trace_pagecache_dst_start(d->start->disks->len, d->start->blocks->len);
    pagecache_event_active();
    pagecache_dst_open_disks(d);

    d->features = d->start->features & own_features();
    pagecache_reporter_start(d->reporter, d->features);
    return true;
}

/* --- OFFERS --- */

/* Notes the pages that nobody has claimed; submit() follows. */
static void take_offer(PagecacheDst *d, const PagecacheWireOffer *o,
                       uint32_t number)
{
    PagecacheDstDisk *disk = pagecache_dst_disk(d, o->disk);
    PagecacheRun run = { .block = o->block, .tag = number };
    uint32_t i;

    trace_pagecache_dst_offer(number, o->disk, o->sector, o->block, o->page,
                              o->npages);
    stat64_add(&d->offered, o->npages);
    for (i = 0; i <= o->npages; i++) {
        if (i < o->npages &&
            pagecache_refill_offer(d->refill, o->block, o->page + i)) {
            if (!run.npages++) {
                run.page = o->page + i;
                run.index = i;
                run.sector = o->sector + ((uint64_t)i << (d->page_bits - 9));
            }
            continue;
        }
        if (run.npages) {
            g_array_append_val(disk->runs, run);
        }
        run.npages = 0;
    }
}

/* All of a frame at once: a reader sees them all before it begins to read. */
static void submit_to(PagecacheDst *d, PagecacheDstDisk *disk)
{
    const PagecacheRun *runs = (PagecacheRun *)disk->runs->data;
    guint i, n = disk->runs->len;

    if (disk->reader) {
        for (i = 0; i < n; i++) {
            pagecache_populate_want(d->populate, runs[i].block,
                                    runs[i].page << d->page_bits,
                                    (uint64_t)runs[i].npages << d->page_bits);
        }
        pagecache_reader_submit(disk->reader, runs, n);
    } else {
        pagecache_refill_unavailable(d->refill, runs, n);
    }
    g_array_set_size(disk->runs, 0);
}

static void submit(PagecacheDst *d)
{
    guint i;

    for (i = 0; i < d->disks->len; i++) {
        submit_to(d, &g_array_index(d->disks, PagecacheDstDisk, i));
    }
}

static bool load_offers(const uint8_t *body, size_t len, Error **errp)
{
    g_autoptr(GArray) offers = NULL;
    g_autofree char *err = NULL;
    guint i;

    if (!dst || pagecache_refill_is_revoked(dst->refill)) {
        error_setg(errp, "OFFERS out of turn, expected START before and END "
                   "after them");
        return false;
    }
    offers = pagecache_wire_decode_offers(body, len, &err);
    if (!offers) {
        error_setg(errp, "malformed OFFERS: %s", err);
        return false;
    }
    for (i = 0; i < offers->len; i++) {
        PagecacheWireOffer *o = &g_array_index(offers, PagecacheWireOffer, i);
        uint32_t number = dst->next_offer++;

        if (!pagecache_wire_check_offer(dst->start, o, &err)) {
            error_setg(errp, "%s", err);
            return false;
        }
        if (pagecache_fault(PAGECACHE_FAULT_LOSE_OFFER)) {
            continue;
        }
        take_offer(dst, o, number);
        if (pagecache_fault(PAGECACHE_FAULT_DUPLICATE_OFFER)) {
            take_offer(dst, o, number);
        }
    }
    submit(dst);
    return true;
}

/* --- MAP --- */

static bool load_map(const uint8_t *body, size_t len, Error **errp)
{
    if (!dst || pagecache_refill_is_revoked(dst->refill)) {
        error_setg(errp, "MAP out of turn, expected START before and END "
                   "after it");
        return false;
    }
    if (!(dst->features & PAGECACHE_WIRE_FEATURE_MAP)) {
        g_autofree char *err = pagecache_wire_unexpected(PAGECACHE_WIRE_MAP);

        error_setg(errp, "%s", err);
        return false;
    }
    return pagecache_dst_load_map(dst, body, len, errp);
}

/* --- END --- */

static uint64_t reported_pages(PagecacheDst *d, uint8_t status)
{
    return pagecache_reporter_pages(d->reporter, status);
}

/* Nothing is written to RAM or reported any more. */
static void stop_refills(PagecacheDst *d)
{
    pagecache_populate_stop(d->populate);
    pagecache_refill_revoke(d->refill);
    pagecache_dst_look_at_disks(d);
    pagecache_dst_close_disks(d);
    pagecache_reporter_close(d->reporter);
}

static bool load_end(const uint8_t *body, size_t len, Error **errp)
{
    int64_t start = qemu_clock_get_us(QEMU_CLOCK_REALTIME);
    g_autofree char *err = NULL;

    if (!dst || pagecache_refill_is_revoked(dst->refill)) {
        error_setg(errp, "END out of turn, expected one after START");
        return false;
    }
    if (!pagecache_wire_decode_end(body, len, &err)) {
        error_setg(errp, "malformed END: %s", err);
        return false;
    }
    stop_refills(dst);
    dst->blackout_us = qemu_clock_get_us(QEMU_CLOCK_REALTIME) - start;
    trace_pagecache_dst_end(reported_pages(dst, PAGECACHE_REPORT_OK),
                            pagecache_refill_superseded(dst->refill),
                            reported_pages(dst, PAGECACHE_REPORT_UNAVAILABLE),
                            dst->blackout_us);
    return true;
}

/* --- the section --- */

int pagecache_dst_load(QEMUFile *f, void *opaque, int version_id)
{
    g_autofree uint8_t *body = NULL;
    g_autofree char *err = NULL;
    uint8_t header[PAGECACHE_WIRE_FRAME_HEADER];
    Error *local_err = NULL;
    uint32_t len;
    bool ok;
    int ret;

    if (qemu_get_buffer(f, header, sizeof(header)) != sizeof(header)) {
        ret = qemu_file_get_error(f);
        return ret < 0 ? ret : -EIO;
    }
    if (!pagecache_wire_decode_header(header, header[0], &len, &err)) {
        error_setg(&local_err, "%s", err);
        goto fail;
    }
    body = g_malloc(len);
    if (qemu_get_buffer(f, body, len) != len) {
        ret = qemu_file_get_error(f);
        return ret < 0 ? ret : -EIO;
    }
    switch (header[0]) {
    case PAGECACHE_WIRE_START:
        ok = load_start(body, len, &local_err);
        break;
    case PAGECACHE_WIRE_OFFERS:
        ok = load_offers(body, len, &local_err);
        break;
    case PAGECACHE_WIRE_MAP:
        ok = load_map(body, len, &local_err);
        break;
    case PAGECACHE_WIRE_END:
        ok = load_end(body, len, &local_err);
        break;
    default:
        err = pagecache_wire_unexpected(header[0]);
        error_setg(&local_err, "%s", err);
        ok = false;
    }
    if (ok) {
        return 0;
    }
fail:
    error_prepend(&local_err, "skip-pagecache: ");
    migrate_set_error(migrate_get_current(), local_err);
    error_report_err(local_err);
    return -EINVAL;
}

/*
 * The last reference frees a RAM block that was unplugged meanwhile, and that
 * is not for coroutines, where a migration that fails is cleaned up.
 */
static void unref_regions_bh(void *opaque)
{
    g_autoptr(GPtrArray) regions = opaque;
    guint i;

    for (i = 0; i < regions->len; i++) {
        memory_region_unref(g_ptr_array_index(regions, i));
    }
}

static void drop_blocks(PagecacheDst *d)
{
    g_autoptr(GPtrArray) regions = g_ptr_array_new();
    guint i;

    for (i = 0; i < d->blocks->len; i++) {
        RAMBlock *rb = g_ptr_array_index(d->blocks, i);

        rb->pagecache_claims = NULL;
        g_ptr_array_add(regions, rb->mr);
    }
    aio_bh_schedule_oneshot(qemu_get_aio_context(), unref_regions_bh,
                            g_steal_pointer(&regions));
}

/* The figures of a migration that has ended, well or not; for the caller */
static MigrationPagecacheInfo *last_info(void)
{
    MigrationPagecacheInfo *info = pagecache_dst_info();
    const PagecacheInactiveReason failed = PAGECACHE_INACTIVE_REASON_FAILED;

    if (migration_incoming_get_current()->state !=
        MIGRATION_STATUS_COMPLETED) {
        info->active = false;
        info->has_reason = true;
        info->reason = failed;
        info->reason_text = g_strdup(pagecache_inactive_text(failed));
    }
    return info;
}

/* For the log; the guest runs, or will at once. */
static void say_what_was(PagecacheDst *d)
{
    uint64_t reported = reported_pages(d, PAGECACHE_REPORT_OK);

    if (stat64_get(&d->offered)) {
        info_report("skip-pagecache: %" PRIu64 " of %" PRIu64 " offered pages "
                    "(%" PRIu64 " MiB) were read from storage, %" PRIu64
                    " came over the channel first, and %" PRIu64 " could not "
                    "be read", reported, stat64_get(&d->offered),
                    (reported << d->page_bits) / MiB,
                    pagecache_refill_superseded(d->refill),
                    reported_pages(d, PAGECACHE_REPORT_UNAVAILABLE));
    }
}

/*
 * With the BQL, in the main thread; all threads that load pages are gone.
 * Called at the end of every incoming migration, good or bad.
 */
int pagecache_dst_cleanup(void *opaque)
{
    PagecacheDst *d = dst;

    if (!d) {
        return 0;
    }
    stop_refills(d);
    pagecache_params_end(PAGECACHE_INCOMING);
    pagecache_reporter_join(d->reporter);
    pagecache_ledger_write(PAGECACHE_INCOMING, last_info());
    say_what_was(d);
    pagecache_event_ended(pagecache_ledger_read(PAGECACHE_INCOMING));
    dst = NULL;
    pagecache_populate_free(g_steal_pointer(&d->populate));
    drop_blocks(d);
    trace_pagecache_dst_cleanup();
    dst_free(d);
    return 0;
}

void pagecache_dst_claim_pages(RAMBlock *rb, const ram_addr_t *offsets,
                               uint32_t n)
{
    unsigned bits = qemu_target_page_bits();
    uint32_t i;

    for (i = 0; rb->pagecache_claims && i < n; i++) {
        pagecache_dst_claim(rb, offsets[i], bits);
    }
}

/* --- statistics --- */

bool pagecache_dst_is_loading(void)
{
    return dst;
}

MigrationPagecacheInfo *pagecache_dst_info(void)
{
    MigrationPagecacheInfo *info;

    info = g_new0(MigrationPagecacheInfo, 1);
    info->active = true;
    info->offered_pages = stat64_get(&dst->offered);
    info->reported_pages = reported_pages(dst, PAGECACHE_REPORT_OK);
    info->unavailable_pages = reported_pages(dst, PAGECACHE_REPORT_UNAVAILABLE);
    info->destination = g_new0(MigrationPagecacheDestination, 1);
    info->destination->superseded_pages =
        pagecache_refill_superseded(dst->refill);
    info->refill_bytes = info->reported_pages << dst->page_bits;
    info->has_io_map_entries = dst->features & PAGECACHE_WIRE_FEATURE_MAP;
    info->io_map_entries = stat64_get(&dst->io_map_entries);
    info->has_blackout_time = dst->blackout_us >= 0;
    info->blackout_time = dst->blackout_us;
    info->destination->disks = pagecache_dst_disks_info(dst);
    return info;
}
