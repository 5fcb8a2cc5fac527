/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source side
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Hinted pages that are still to be sent go into a pool, which the channel's
 * scan passes over.  The pool is offered to the destination from its head, and
 * handed to the channel from its tail when that would idle.  What the
 * destination reports is proven: log and bit are cleared, then the page is
 * compared.  See docs/devel/migration/skip-pagecache.rst for why that is
 * right whatever the guest, the storage and the destination do.
 *
 * This file has the beginning and the end of it, and the return path's way in.
 * What is in between is described in pagecache-src-int.h, with its locks.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/stats64.h"
#include "qemu/units.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-pagecache.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/core/cpu.h"
#include "migration/misc.h"
#include "migration/pagecache.h"
#include "qemu/pagecache-fault.h"
#include "migration.h"
#include "migration-stats.h"
#include "options.h"
#include "pagecache-events.h"
#include "pagecache-hints.h"
#include "pagecache-hooks.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-producer.h"
#include "pagecache-io-unseen.h"
#include "pagecache-ledger.h"
#include "pagecache-left-out.h"
#include "pagecache-params.h"
#include "pagecache-section.h"
#include "pagecache-src-int.h"
#include "pagecache-text.h"
#include "pagecache-wire.h"
#include "qemu-file.h"
#include "ram.h"
#include "trace.h"

#define ANSWER_POLL_MS      10
/* What the pool may take of the host's memory, by default */
#define POOL_SHARE          256         /* a part of the guest's RAM */

/*
 * Exists while active in a migration.  Written with the BQL and the lock,
 * which is for the return path's thread: all others know that it exists.
 */
static PagecacheSrc *src;
static QemuMutex src_lock;
static Stat64 proven_bytes;

static void __attribute__((constructor)) pagecache_src_init(void)
{
    qemu_mutex_init(&src_lock);
}

/* --- whether it is active --- */

static void set_inactive(MigrationPagecacheInfo *info,
                         PagecacheInactiveReason reason, const char *text)
{
    info->active = false;
    info->has_reason = true;
    info->reason = reason;
    g_free(info->reason_text);
    info->reason_text = g_strdup(text ?: pagecache_inactive_text(reason));
}

/* Active, and nothing has happened yet */
static MigrationPagecacheInfo *info_new(void)
{
    MigrationPagecacheInfo *info = g_new0(MigrationPagecacheInfo, 1);

    info->active = true;
    info->source = g_new0(MigrationPagecacheSource, 1);
    return info;
}

/* @info: NULL: nothing */
static void tell(MigrationPagecacheInfo *info)
{
    pagecache_left_out_clear(PAGECACHE_LEFT_OUT_MIGRATION);
    pagecache_ledger_write(PAGECACHE_OUTGOING, info);
}

/* @text: why, if there is more to say than @reason does */
static void tell_inactive(PagecacheInactiveReason reason, const char *text)
{
    MigrationPagecacheInfo *info = info_new();

    set_inactive(info, reason, text);
    tell(info);
}

void pagecache_src_reset(void)
{
    pagecache_ledger_write(PAGECACHE_INCOMING, NULL);
    stat64_set(&proven_bytes, 0);
    if (migrate_skip_pagecache()) {
        tell_inactive(PAGECACHE_INACTIVE_REASON_NOT_LIVE, NULL);
    } else {
        tell(NULL);
    }
}

static void disk_clear(gpointer data)
{
    PagecacheSrcDisk *disk = data;

    g_free(disk->path);
    g_free(disk->id);
    g_clear_pointer(&disk->breakers, g_array_unref);
}

/* Sets up the digest; otherwise it is inactive for this @reason, or @errp. */
static bool can_begin(MigrationState *s, PagecacheDigest *digest,
                      PagecacheInactiveReason *reason, Error **errp)
{
    PagecacheDigestKind kind =
        s->parameters.pagecache_digest == PAGECACHE_DIGEST_ALGORITHM_SHA256 ?
        PAGECACHE_DIGEST_SHA256 : PAGECACHE_DIGEST_XXH3;

    if (!pagecache_is_possible(s, reason)) {
        return false;
    }
    *reason = PAGECACHE_INACTIVE_REASON_NO_DIGEST;
    if (pagecache_fault(PAGECACHE_FAULT_REFUSE_DIGEST)) {
        return false;
    }
    return pagecache_digest_init(digest, kind, errp);
}

/* Takes ownership of @err: NULL if @reason says it all. */
static void stay_inactive(PagecacheInactiveReason reason, Error *err)
{
    const char *text = err ? error_get_pretty(err)
                           : pagecache_inactive_text(reason);

    trace_pagecache_src_begin(text);
    info_report("skip-pagecache is inactive: %s", text);
    tell_inactive(reason, text);
    pagecache_event_inactive(reason, text);
    error_free(err);
}

void pagecache_src_begin(MigrationState *s)
{
    const MigrationParameters *p = &s->parameters;
    g_autofree PagecacheSrc *new = NULL;
    PagecacheInactiveReason reason;
    Error *err = NULL;

    GLOBAL_STATE_CODE();
    if (!migrate_skip_pagecache()) {
        tell(NULL);
        return;
    }
    new = g_new0(PagecacheSrc, 1);
    if (!can_begin(s, &new->digest, &reason, &err)) {
        stay_inactive(reason, err);
        return;
    }
    trace_pagecache_src_begin("active");
    tell(info_new());

    pagecache_params_begin(PAGECACHE_OUTGOING);
    new->budget = pagecache_params_budget(PAGECACHE_OUTGOING);
    new->page_bits = qemu_target_page_bits();
    new->pool_bytes = p->pagecache_pool_max ?: ram_bytes_total() / POOL_SHARE;
    new->blocks = g_ptr_array_new();
    new->numbers = g_hash_table_new(NULL, NULL);
    new->inbox = pagecache_inbox_new();
    new->disks = g_array_new(FALSE, TRUE, sizeof(PagecacheSrcDisk));
    g_array_set_clear_func(new->disks, disk_clear);
    new->info = info_new();
    new->told = g_queue_new();
    new->begun = pagecache_src_now();
    WITH_QEMU_LOCK_GUARD(&src_lock) {
        assert(!src);
        qatomic_set(&src, g_steal_pointer(&new));
    }
    pagecache_event_active();
}

bool pagecache_src_needs_return_path(void)
{
    return src;
}

bool pagecache_src_is_active(void *opaque)
{
    return qatomic_read(&src);
}

/* --- START --- */

static void add_disks(PagecacheWireStart *start, GArray *hint_disks)
{
    unsigned i, n = pagecache_disks_refresh();

    for (i = 0; i < n; i++) {
        const PagecacheDisk *d = pagecache_disk_get(i);
        PagecacheHintDisk h = { .present = d->dev, .sectors = d->sectors };

        g_array_append_val(hint_disks, h);
        if (d->dev) {
            PagecacheWireDisk w = {
                .id = i, .sectors = d->sectors, .path = g_strdup(d->path),
            };

            g_array_append_val(start->disks, w);
            pagecache_src_disk(src, i)->path = g_strdup(d->path);
            pagecache_src_disk(src, i)->id = g_strdup(pagecache_disk_id(d));
        }
    }
}

static void add_blocks(PagecacheWireStart *start)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        PagecacheWireBlock w = {
            .id = src->blocks->len,
            .npages = rb->used_length >> src->page_bits,
        };

        if (!rb->idstr[0] || w.id == PAGECACHE_WIRE_MAX_BLOCKS) {
            continue;
        }
        w.idstr = g_strdup(rb->idstr);
        g_array_append_val(start->blocks, w);
        /* The guest may eject the device that owns it. */
        memory_region_ref(rb->mr);
        g_ptr_array_add(src->blocks, rb);
        g_hash_table_insert(src->numbers, rb,
                            GUINT_TO_POINTER(src->blocks->len));
    }
}

/*
 * Not a byte of RAM is sent before the destination has said that it takes
 * part.  With the BQL, which is dropped meanwhile.
 */
static bool wait_for_answer(MigrationState *s, QEMUFile *f, Error **errp)
{
    bool accepted = false;

    bql_unlock();
    while (!accepted && s->state == MIGRATION_STATUS_SETUP &&
           !qemu_file_get_error(f) && !migrate_has_error(s)) {
        accepted = pagecache_inbox_wait_accepted(src->inbox, ANSWER_POLL_MS);
    }
    bql_lock();
    if (!accepted) {
        error_setg(errp, "skip-pagecache: the destination did not answer");
    }
    return accepted;
}

/* With the BQL */
int pagecache_src_setup(QEMUFile *f, void *opaque, Error **errp)
{
    g_autoptr(PagecacheWireStart) start = pagecache_wire_start_new();
    g_autoptr(GArray) disks = g_array_new(FALSE, FALSE,
                                          sizeof(PagecacheHintDisk));
    g_autoptr(GByteArray) frame = NULL;

    if (pagecache_io_disks_on()) {
        src->features = PAGECACHE_WIRE_FEATURE_MAP;
        src->info->source->has_unseen = true;
        src->info->source->unseen = pagecache_io_unseen();
    }
    start->features = src->features;
    start->page_bits = src->page_bits;
    start->digest = src->digest.kind;
    g_byte_array_append(start->secret, src->digest.secret,
                        src->digest.secret_len);
    add_disks(start, disks);
    add_blocks(start);
    frame = pagecache_wire_encode_start(start);
    qemu_put_buffer(f, frame->data, frame->len);
    qemu_fflush(f);
    trace_pagecache_src_start(start->disks->len, start->blocks->len,
                              start->digest);

    /* The guest collects while we wait. */
    pagecache_hints_start((PagecacheHintDisk *)disks->data, disks->len);
    if (!wait_for_answer(migrate_get_current(), f, errp)) {
        return -EIO;
    }
    if (pagecache_inbox_features(src->inbox) & PAGECACHE_WIRE_FEATURE_MAP) {
        pagecache_src_map_begin(src, start);
    }
    /* not without @errp: migration_thread() takes the message for granted */
    return qemu_file_get_error_obj(f, errp);
}

/*
 * The first turn.  ram.c has its bitmaps now and has not sent a page yet, as
 * its turn comes after ours.
 */
static void begin_turns(void)
{
    guint i;

    src->pool = pagecache_pool_new(src->page_bits, src->pool_bytes);
    for (i = 0; i < src->blocks->len; i++) {
        RAMBlock *rb = g_ptr_array_index(src->blocks, i);

        /* As long as rb->bmap, whatever becomes of used_length */
        pagecache_pool_add_block(src->pool, rb->bmap ? rb->max_length >>
                                            src->page_bits : 0, rb->bmap);
        rb->pagecache_held = pagecache_pool_held(src->pool, i);
        rb->pagecache_sent = pagecache_pool_sent(src->pool, i);
    }
    src->flights = pagecache_flights_new(0);
    src->proof = pagecache_proof_new(&src->digest);
    src->offers = pagecache_offers_new(src->pool, src->blocks, src->page_bits,
                                       pagecache_io_producer_look,
                                       pagecache_io_producer_id());
    src->intake = pagecache_intake_new(src->pool, src->numbers);
    pagecache_fault_forget();
    pagecache_src_first_turn(src);
    src->running = true;
}

/* --- a turn --- */

static void put_offers(QEMUFile *f, GArray *offers)
{
    g_autoptr(GByteArray) frame = NULL;

    /* They keep their order. */
    pagecache_fault_late(PAGECACHE_FAULT_LATE_OFFERS, offers,
                         PAGECACHE_WIRE_OFFERS_MAX);
    frame = pagecache_wire_encode_offers((PagecacheWireOffer *)offers->data,
                                         offers->len);
    qemu_put_buffer(f, frame->data, frame->len);
    if (offers->len) {
        /* The destination may start to read while RAM fills the buffers. */
        qemu_fflush(f);
    }
}

int pagecache_src_iterate(QEMUFile *f, void *opaque)
{
    g_autoptr(GArray) offers = g_array_new(FALSE, FALSE,
                                           sizeof(PagecacheWireOffer));
    g_autoptr(GByteArray) map = NULL;
    bool outstanding;
    Error *err = NULL;

    if (!src->running) {
        begin_turns();
    }
    /* A part of the section has one frame. */
    map = pagecache_src_map_frame(src);
    if (!pagecache_src_turn(src, map ? NULL : offers, &err)) {
        migrate_set_error(migrate_get_current(), err);
        error_free(err);
        return -EINVAL;
    }
    pagecache_src_send_events(src);
    stat64_set(&proven_bytes,
               pagecache_src_to_bytes(src, src->info->source->proven_pages));
    if (map) {
        qemu_put_buffer(f, map->data, map->len);
    } else {
        put_offers(f, offers);
    }
    outstanding = pagecache_src_outstanding(src);
    if (outstanding && !offers->len && !pagecache_src_map_is_due(src)) {
        pagecache_src_idle(src);
    }
    pagecache_src_sync_when_due(src, outstanding);
    return !outstanding;
}

bool pagecache_src_wants_turn(void)
{
    return src && pagecache_src_is_turn_due(src);
}

bool pagecache_src_may_switch_over(void)
{
    return !src || !src->map;
}

/* Pages under comparison have lost their bit, and may get it back. */
void pagecache_src_pending(void *opaque, uint64_t *must_precopy,
                           uint64_t *can_postcopy)
{
    if (src->running) {
        *must_precopy += pagecache_src_pending_bytes(src);
    }
}

/* --- the end --- */

/* The channel's scan passes nothing over any more, and no report counts. */
static void stop_holding(void)
{
    guint i;

    for (i = 0; i < src->blocks->len; i++) {
        RAMBlock *rb = g_ptr_array_index(src->blocks, i);

        rb->pagecache_held = NULL;
        rb->pagecache_sent = NULL;
    }
    pagecache_inbox_close(src->inbox);
}

/* With the BQL and the VM stopped */
int pagecache_src_complete(QEMUFile *f, void *opaque)
{
    int64_t start = qemu_clock_get_us(QEMU_CLOCK_REALTIME);
    g_autoptr(GByteArray) frame = pagecache_wire_encode_end();

    if (src->running) {
        pagecache_src_take_proofs(src,
            !pagecache_fault(PAGECACHE_FAULT_BREAK_SETTLE));
        pagecache_offers_stop(src->offers);
    }
    stop_holding();
    pagecache_hints_stop();
    pagecache_src_map_end(src);
    qemu_put_buffer(f, frame->data, frame->len);
    src->info->has_blackout_time = true;
    src->info->blackout_time = qemu_clock_get_us(QEMU_CLOCK_REALTIME) - start;
    pagecache_src_publish_end(src, true);
    src->complete = true;
    trace_pagecache_src_complete(src->info->offered_pages,
                                 src->info->source->proven_pages,
                                 src->info->source->mismatched_pages,
                                 src->info->source->released_pages,
                                 src->info->blackout_time);
    return qemu_file_get_error(f);
}

/* For the log, which outlives this QEMU.  The guest does not wait for it. */
static void say_what_was(PagecacheSrc *old)
{
    const MigrationPagecacheInfo *info = old->info;
    const MigrationPagecacheSource *s = info->source;
    uint64_t sent = migration_transferred_bytes();

    if (!old->complete || !info->active) {
        return;
    }
    if (!s->hinted_pages) {
        info_report("skip-pagecache: no page came from storage: %s",
                    s->note_text ?: "there were no hints");
        return;
    }
    info_report("skip-pagecache: %" PRIu64 " of %" PRIu64 " hinted pages (%"
                PRIu64 " MiB) came from storage, %" PRIu64 " over the channel, "
                "and %" PRIu64 " mismatched; about %.1f s saved",
                s->proven_pages, s->hinted_pages,
                info->refill_bytes / MiB, s->released_pages,
                s->mismatched_pages,
                sent ? (double)info->refill_bytes / sent *
                       (pagecache_src_now() - old->begun) / 1000 : 0);
}

/*
 * What is known of a migration that did not complete is of use all the same, but
 * nothing was left out of it.
 */
static void judge(PagecacheSrc *old)
{
    MigrationStatus status = migrate_get_current()->state;

    if (status == MIGRATION_STATUS_COMPLETED) {
        return;
    }
    if (status == MIGRATION_STATUS_CANCELLING ||
        status == MIGRATION_STATUS_CANCELLED) {
        set_inactive(old->info, PAGECACHE_INACTIVE_REASON_CANCELLED, NULL);
    } else if (old->refused) {
        set_inactive(old->info, PAGECACHE_INACTIVE_REASON_REFUSED, NULL);
    } else {
        set_inactive(old->info, PAGECACHE_INACTIVE_REASON_FAILED, NULL);
    }
}

static void say_ended(PagecacheSrc *old)
{
    MigrationPagecacheInfo *info = QAPI_CLONE(MigrationPagecacheInfo,
                                              old->info);

    pagecache_left_out_info(info->source);
    pagecache_src_send_events(old);
    pagecache_event_ended(info);
}

/* Much memory takes its time, and nobody need wait. */
static void *free_pool_thread(void *opaque)
{
    pagecache_pool_free(opaque);
    return NULL;
}

/*
 * With the BQL.  The migration thread is past its last turn; the return path
 * thread may still be there.
 */
void pagecache_src_cleanup(void *opaque)
{
    PagecacheSrc *old = src;
    QemuThread thread;
    guint i;

    if (!old) {
        return;
    }
    pagecache_params_end(PAGECACHE_OUTGOING);
    stop_holding();
    pagecache_hints_stop();
    WITH_QEMU_LOCK_GUARD(&src_lock) {
        qatomic_set(&src, NULL);
    }
    judge(old);
    pagecache_src_publish_end(old, false);
    say_what_was(old);
    say_ended(old);
    pagecache_src_map_end(old);
    /* They look at bitmaps and pages, which ram.c frees next. */
    pagecache_intake_free(old->intake);
    pagecache_offers_free(old->offers);
    pagecache_proof_free(old->proof);
    pagecache_flights_free(old->flights);
    if (old->pool) {
        qemu_thread_create(&thread, "pagecache-free", free_pool_thread,
                           old->pool, QEMU_THREAD_DETACHED);
    }
    for (i = 0; i < old->blocks->len; i++) {
        memory_region_unref(((RAMBlock *)old->blocks->pdata[i])->mr);
    }
    g_ptr_array_unref(old->blocks);
    g_hash_table_unref(old->numbers);
    g_array_unref(old->disks);
    g_queue_free(old->told);
    qapi_free_MigrationPagecacheInfo(old->info);
    pagecache_inbox_free(old->inbox);
    g_free(old);
    trace_pagecache_src_cleanup();
}

/* --- return path thread --- */

/* 0, too, if there is no migration any more */
static uint64_t features_offered(void)
{
    QEMU_LOCK_GUARD(&src_lock);
    return src ? src->features : 0;
}

static bool check_answer(const PagecacheReport *r, Error **errp)
{
    g_autofree char *err = NULL;

    if (r->status == PAGECACHE_REPORT_REFUSED &&
        r->version != PAGECACHE_WIRE_VERSION) {
        error_setg(errp, "skip-pagecache: the destination speaks version %u "
                   "of the wire format, expected %u", r->version,
                   PAGECACHE_WIRE_VERSION);
        return false;
    }
    if (r->status == PAGECACHE_REPORT_REFUSED) {
        error_setg(errp, "skip-pagecache is on here and off at the "
                   "destination; set the capability on both sides");
        return false;
    }
    if (r->status == PAGECACHE_REPORT_ACCEPTED &&
        !pagecache_wire_check_features(features_offered(), r->features,
                                       &err)) {
        error_setg(errp, "skip-pagecache: malformed report: %s", err);
        return false;
    }
    return true;
}

/*
 * The migration can't succeed any more, and the migration thread looks at the
 * return path only in the end.
 */
static void end_channel(const Error *err)
{
    MigrationState *s = migrate_get_current();

    migrate_set_error(s, err);
    QEMU_LOCK_GUARD(&s->qemu_file_lock);
    if (s->to_dst_file) {
        qemu_file_shutdown(s->to_dst_file);
    }
}

static void note_refusal(uint8_t status)
{
    QEMU_LOCK_GUARD(&src_lock);
    if (src && status == PAGECACHE_REPORT_REFUSED) {
        src->refused = true;
    }
}

/* The message as a whole, and all that can be said against it by itself */
static bool load_report(QEMUFile *rp, uint8_t *buf, uint16_t len,
                        PagecacheReport *r, Error **errp)
{
    g_autofree char *err = NULL;

    if (len > PAGECACHE_REPORT_MAX) {
        error_setg(errp, "skip-pagecache: report of %u bytes, expected at "
                   "most %u", len, PAGECACHE_REPORT_MAX);
        return false;
    }
    if (qemu_get_buffer(rp, buf, len) != len) {
        error_setg(errp, "skip-pagecache: the return path ends in the middle "
                   "of a report");
        return false;
    }
    if (!pagecache_wire_decode_report(buf, len, r, &err)) {
        error_setg(errp, "skip-pagecache: malformed report: %s", err);
        return false;
    }
    return check_answer(r, errp);
}

bool pagecache_src_load_report(QEMUFile *rp, uint16_t len, Error **errp)
{
    ERRP_GUARD();
    uint8_t buf[PAGECACHE_REPORT_MAX];
    PagecacheReport r;

    r.status = PAGECACHE_REPORT_OK;
    if (!load_report(rp, buf, len, &r, errp)) {
        note_refusal(r.status);
        end_channel(*errp);
        return false;
    }
    QEMU_LOCK_GUARD(&src_lock);
    if (src) {
        pagecache_inbox_put(src->inbox, &r);
    }
    return true;
}

/* --- progress --- */

uint64_t pagecache_src_proven_bytes(void)
{
    return stat64_get(&proven_bytes);
}
