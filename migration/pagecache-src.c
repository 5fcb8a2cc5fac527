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
 * Everything happens in the migration thread, unless it says otherwise.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "qapi/clone-visitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-pagecache.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "hw/core/cpu.h"
#include "migration/misc.h"
#include "qemu/pagecache-fault.h"
#include "migration/register.h"
#include "migration.h"
#include "migration-stats.h"
#include "options.h"
#include "pagecache-hooks.h"
#include "pagecache-digest.h"
#include "pagecache-hints.h"
#include "pagecache-left-out.h"
#include "pagecache-pace.h"
#include "pagecache-proof.h"
#include "pagecache-wire.h"
#include "qemu-file.h"
#include "ram.h"
#include "savevm.h"
#include "trace.h"

/* What one turn of the migration thread spends on each of its steps */
#define TURN_HINTS_MS       10
#define TURN_HINTS_BATCH    4           /* hints between looks at the clock */
#define TURN_OFFERS_MS      10
#define TURN_OFFERS_MAX     16384       /* offers */
#define TURN_WAIT_MS        5           /* when there is nothing else to do */

#define OFFER_PAGES_MAX     1024        /* pages in one offer */
#define SYNC_INTERVAL_MS    100
#define ANSWER_POLL_MS      10

/* If more than half of so many reports mismatch, hints are not worth it. */
#define BREAKER_PAGES       1024

/* How good the hints of one producer are */
typedef struct Breaker {
    uint32_t seen, bad;         /* pages compared; up to BREAKER_PAGES */
    bool given_up;
} Breaker;

typedef struct PagecacheSrcStats {
    uint64_t duplicate, offered, reported, proven, mismatched, released;
    uint64_t unavailable, pooled, in_flight, rate;
    int64_t blackout_us;
} PagecacheSrcStats;

typedef struct PagecacheSrc {
    /* Set up once */
    PagecacheDigest digest;
    unsigned page_bits;
    PagecacheProof *proof;
    GPtrArray *blocks;          /* of RAMBlock, by number */
    GHashTable *numbers;        /* RAMBlock -> number + 1 */

    /* Migration thread */
    bool running;               /* the pool exists */
    PagecachePool *pool;
    PagecachePace pace;
    PagecacheSrcStats stats;
    GHashTable *breakers;       /* producer -> Breaker */
    uint64_t named;             /* pages in the reports that were taken */
    uint32_t offers;            /* that were given a place in the stream */
    bool low_synced;
    bool sync_due;              /* the pool has had pages since the last sync */
    int64_t last_sync;

    /* Under record.lock */
    GQueue reports;             /* of GBytes: messages that were decoded once */
    uint64_t reports_pages;     /* that they name */
    uint64_t reports_max;       /* pages that they may name */
    bool accepted;              /* the destination has answered to START */
    uint64_t refused;           /* messages for which there was no room */
    bool deaf;                  /* reports no longer count */
    QemuCond report_cond;
} PagecacheSrc;

/* What there is to tell of the last or current migration; any thread */
static struct {
    QemuMutex lock;             /* for src's existence, too */
    bool known;                 /* there is something to tell */
    bool active;
    char *reason;
    char *given_up;
    PagecacheSrcStats stats;
    PagecacheHintStats hints;
} record;

/* Exists while active in a migration.  Written with BQL and record.lock. */
static PagecacheSrc *src;
static Stat64 proven_bytes;

static void __attribute__((constructor)) pagecache_src_init(void)
{
    qemu_mutex_init(&record.lock);
}

/* --- whether it is active --- */

static void record_state(bool known, bool active, const char *reason)
{
    QEMU_LOCK_GUARD(&record.lock);

    record.known = known;
    record.active = active;
    g_free(record.reason);
    record.reason = g_strdup(reason);
    g_clear_pointer(&record.given_up, g_free);
    memset(&record.stats, 0, sizeof(record.stats));
    record.hints = (PagecacheHintStats) { .map_ms = -1 };
    pagecache_left_out_clear();
}

void pagecache_src_reset(void)
{
    pagecache_dst_forget();
    stat64_set(&proven_bytes, 0);
    record_state(migrate_skip_pagecache(), false,
                 "not a live migration to another QEMU");
}

void pagecache_src_forget(void)
{
    record_state(false, false, NULL);
}

void pagecache_src_begin(MigrationState *s)
{
    PagecacheDigestKind kind = s->pagecache_sha256 ? PAGECACHE_DIGEST_SHA256
                                                   : PAGECACHE_DIGEST_XXH3;
    g_autofree PagecacheSrc *new = NULL;
    const char *reason;
    Error *err = NULL;

    GLOBAL_STATE_CODE();
    if (!migrate_skip_pagecache()) {
        pagecache_src_forget();
        return;
    }
    reason = pagecache_why_inactive(s);
    if (!reason) {
        new = g_new0(PagecacheSrc, 1);
        if (!pagecache_digest_init(&new->digest, kind, &err)) {
            reason = error_get_pretty(err);
        }
    }
    trace_pagecache_src_begin(reason ?: "active");
    if (reason) {
        info_report("skip-pagecache is inactive: %s", reason);
    }
    record_state(true, !reason, reason);
    error_free(err);
    if (reason) {
        return;
    }

    new->page_bits = qemu_target_page_bits();
    new->blocks = g_ptr_array_new();
    new->numbers = g_hash_table_new(NULL, NULL);
    new->breakers = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    g_queue_init(&new->reports);
    qemu_cond_init(&new->report_cond);
    WITH_QEMU_LOCK_GUARD(&record.lock) {
        assert(!src);
        src = g_steal_pointer(&new);
    }
}

static bool pagecache_is_active(void *opaque)
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
    WITH_QEMU_LOCK_GUARD(&record.lock) {
        while (!src->accepted && s->state == MIGRATION_STATUS_SETUP &&
               !qemu_file_get_error(f) && !migrate_has_error(s)) {
            qemu_cond_timedwait(&src->report_cond, &record.lock,
                                ANSWER_POLL_MS);
        }
        accepted = src->accepted;
    }
    bql_lock();
    if (!accepted) {
        error_setg(errp, "skip-pagecache: the destination did not answer");
    }
    return accepted;
}

/* With the BQL */
static int pagecache_save_setup(QEMUFile *f, void *opaque, Error **errp)
{
    g_autoptr(PagecacheWireStart) start = pagecache_wire_start_new();
    g_autoptr(GArray) disks = g_array_new(FALSE, FALSE,
                                          sizeof(PagecacheHintDisk));
    g_autoptr(GByteArray) frame = NULL;

    start->features = PAGECACHE_WIRE_FEATURES;
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

    src->pool = pagecache_pool_new(src->page_bits);
    src->proof = pagecache_proof_new(&src->digest);
    for (i = 0; i < src->blocks->len; i++) {
        RAMBlock *rb = g_ptr_array_index(src->blocks, i);

        /* As long as rb->bmap, whatever becomes of used_length */
        pagecache_pool_add_block(src->pool, rb->max_length >> src->page_bits);
        rb->pagecache_held = pagecache_pool_held(src->pool, i);
        rb->pagecache_spent = pagecache_pool_spent(src->pool, i);
    }
    pagecache_fault_forget();
    src->running = true;
}

/* --- a turn of the migration thread --- */

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

static uint64_t to_bytes(uint64_t pages)
{
    return pages << src->page_bits;
}

static uint64_t to_pages(uint64_t bytes)
{
    return bytes >> src->page_bits;
}

static void count_released(uint64_t pages, const char *why)
{
    if (pages) {
        src->stats.released += pages;
        trace_pagecache_src_released(pages, why);
    }
}

static Breaker *breaker_of(uint32_t producer)
{
    gpointer key = GUINT_TO_POINTER(producer);
    Breaker *b = g_hash_table_lookup(src->breakers, key);

    if (!b) {
        b = g_new0(Breaker, 1);
        g_hash_table_insert(src->breakers, key, b);
    }
    return b;
}

static void give_up(uint32_t producer, const char *why)
{
    breaker_of(producer)->given_up = true;
    pagecache_hints_refuse(producer);
    count_released(pagecache_pool_release_producer(src->pool, producer),
                   "given up");
    warn_report("skip-pagecache: hints of producer %u are no longer used in "
                "this migration: %s", producer, why);
    trace_pagecache_src_given_up(producer, why);
    QEMU_LOCK_GUARD(&record.lock);
    g_free(record.given_up);
    record.given_up = g_strdup(why);
}

static void take_hints(void)
{
    int64_t until = now_ms() + TURN_HINTS_MS;
    PagecacheQueuedHint q[TURN_HINTS_BATCH];
    unsigned i, n;

    do {
        n = pagecache_hints_take(q, ARRAY_SIZE(q));
        for (i = 0; i < n; i++) {
            guint nr = GPOINTER_TO_UINT(g_hash_table_lookup(src->numbers,
                                                            q[i].rb));
            PagecachePoolRun run = {
                .sector = q[i].sector, .page = q[i].page,
                .npages = q[i].npages, .block = nr - 1,
                .disk = q[i].disk, .producer = q[i].producer,
            };
            uint64_t added;

            if (!nr || !q[i].rb->bmap || breaker_of(run.producer)->given_up) {
                continue;
            }
            added = pagecache_pool_add(src->pool, &run, q[i].rb->bmap);
            src->stats.duplicate += run.npages - added;
            trace_pagecache_src_pooled(run.disk, run.sector, q[i].rb->idstr,
                                       run.page, run.npages, added);
        }
    } while (n && now_ms() < until);
}

/*
 * Clears log and bits of @n pages that were reported, from @page of @rb, to be
 * compared.
 */
static void prove_range(RAMBlock *rb, uint64_t page, uint32_t n,
                        uint32_t producer, const uint8_t *digests,
                        GArray *pages)
{
    DECLARE_BITMAP(taken, PAGECACHE_REPORT_PAGES_MAX) = { 0 };
    uint32_t i;

    if (pagecache_fault(PAGECACHE_FAULT_BREAK_CLEAR)) {
        bitmap_set(taken, 0, n);
    } else {
        ram_pagecache_take_dirty(rb, page, n, taken);
    }
    for (i = 0; i < n; i++, digests += PAGECACHE_DIGEST_LEN) {
        PagecacheProofPage p = {
            .rb = rb, .page = page + i, .producer = producer,
        };

        /* A page that lost its bit meanwhile need not be sent any more. */
        if (test_bit(i, taken)) {
            memcpy(p.digest, digests, sizeof(p.digest));
            g_array_append_val(pages, p);
        }
    }
}

/* @accepted: a bitmap of @run's pages */
static void prove(const PagecachePoolReport *r, const PagecacheReportRun *run,
                  const unsigned long *accepted, GArray *pages)
{
    RAMBlock *rb = g_ptr_array_index(src->blocks, r->block);
    unsigned long first, end;

    for (first = find_first_bit(accepted, run->npages); first < run->npages;
         first = find_next_bit(accepted, run->npages, end)) {
        end = find_next_zero_bit(accepted, run->npages, first);
        prove_range(rb, r->page + first, end - first, r->producer,
                    run->digests + first * PAGECACHE_DIGEST_LEN, pages);
    }
}

/* What does not belong to an offer that is known is malformed. */
static bool take_run(uint8_t status, const PagecacheReportRun *run,
                     GArray *pages, Error **errp)
{
    DECLARE_BITMAP(few, PAGECACHE_REPORT_PAGES_MAX) = { 0 };
    g_autofree unsigned long *many = NULL;
    unsigned long *accepted = few;
    int64_t now = now_ms();
    PagecachePoolReport r;

    if (run->npages > PAGECACHE_REPORT_PAGES_MAX) {
        accepted = many = bitmap_new(run->npages);
    }
    src->named += run->npages;
    if (!pagecache_pool_report(src->pool, run->offer, run->first, run->npages,
                               accepted, &r)) {
        error_setg(errp, "skip-pagecache: malformed report: %u pages from page "
                   "%u of offer %u, which has fewer", run->npages, run->first,
                   run->offer);
        return false;
    }
    trace_pagecache_src_report(run->offer, run->first, run->npages, status,
                               r.accepted,
                               r.accepted ? now - r.offered_at : 0);
    if (!r.accepted) {
        return true;
    }
    if (status != PAGECACHE_REPORT_OK) {
        src->stats.unavailable += r.accepted;
        count_released(r.accepted, "unavailable");
        return true;
    }
    src->stats.reported += r.accepted;
    pagecache_pace_reported(&src->pace, now, to_bytes(r.accepted),
                            now - r.offered_at);
    prove(&r, run, accepted, pages);
    return true;
}

static bool take_report(GBytes *message, GArray *pages, Error **errp)
{
    g_autofree char *err = NULL;
    PagecacheReport report;
    PagecacheReportRun run;
    uint16_t pos = 0;
    size_t len;
    const uint8_t *buf = g_bytes_get_data(message, &len);

    /* It was good when it came. */
    if (!pagecache_wire_decode_report(buf, len, &report, &err)) {
        error_setg(errp, "skip-pagecache: malformed report: %s", err);
        return false;
    }
    while (pagecache_report_next(&report, &pos, &run)) {
        if (!take_run(report.status, &run, pages, errp)) {
            return false;
        }
    }
    return true;
}

static void warn_refused(uint64_t n)
{
    static bool warned;

    trace_pagecache_src_refused(n);
    warn_report_once_cond(&warned, "skip-pagecache: the destination reports "
                          "more pages than were offered; what is too much is "
                          "not looked at");
}

static bool take_reports(Error **errp)
{
    g_autoptr(GArray) pages = g_array_new(FALSE, FALSE,
                                          sizeof(PagecacheProofPage));
    GQueue reports;
    GBytes *message;
    uint64_t refused;
    bool good = true;

    WITH_QEMU_LOCK_GUARD(&record.lock) {
        reports = src->reports;
        g_queue_init(&src->reports);
        src->reports_pages = 0;
        refused = src->refused;
        src->refused = 0;
    }
    if (refused) {
        warn_refused(refused);
    }
    pagecache_pace_turn(&src->pace, now_ms(),
                        to_bytes(pagecache_pool_in_flight(src->pool)),
                        !g_queue_is_empty(&reports));
    while (good && (message = g_queue_pop_head(&reports))) {
        good = take_report(message, pages, errp);
        g_bytes_unref(message);
    }
    g_queue_clear_full(&reports, (GDestroyNotify)g_bytes_unref);
    if (pages->len) {
        pagecache_proof_submit(src->proof, g_steal_pointer(&pages));
    }
    return good;
}

/*
 * What is offered once is reported once: so the reports that wait can't name
 * more pages than are in flight, or were released there and are reported all
 * the same.  Reports that are doubled on the way are harmless, and find room.
 */
static void limit_reports(void)
{
    uint64_t owed = src->stats.offered > src->named ?
                    src->stats.offered - src->named : 0;

    QEMU_LOCK_GUARD(&record.lock);
    src->reports_max = 2 * MAX(owed, pagecache_pool_in_flight(src->pool));
}

static void take_proof(const PagecacheProofPage *p)
{
    Breaker *b = breaker_of(p->producer);

    b->seen++;
    if (p->equal) {
        if (pagecache_fault_is_armed(PAGECACHE_FAULT_BREAK_CLEAR)) {
            ram_pagecache_take_dirty(p->rb, p->page, 1, &(unsigned long){ 0 });
        }
        src->stats.proven++;
    } else {
        if (!pagecache_fault(PAGECACHE_FAULT_BREAK_MARK)) {
            ram_pagecache_mark_dirty(p->rb, p->page);
        }
        src->stats.mismatched++;
        b->bad++;
    }
    trace_pagecache_src_proof(p->rb->idstr, p->page, p->equal);
    if (b->seen == BREAKER_PAGES) {
        if (b->bad > BREAKER_PAGES / 2 && !b->given_up) {
            give_up(p->producer, "most hinted pages differ from the disk");
        }
        b->seen = b->bad = 0;
    }
}

/* @settle: also those whose comparison is not over yet */
static void take_proofs(bool settle)
{
    GArray *pages;
    guint i;

    while ((pages = pagecache_proof_result(src->proof, settle))) {
        for (i = 0; i < pages->len; i++) {
            take_proof(&g_array_index(pages, PagecacheProofPage, i));
        }
        g_array_unref(pages);
    }
    stat64_set(&proven_bytes, to_bytes(src->stats.proven));
}

/* Chooses those of @taken that are worth it; the others are ordinary pages. */
static void choose(const PagecachePoolRun *taken, GArray *chosen)
{
    RAMBlock *rb = g_ptr_array_index(src->blocks, taken->block);
    PagecachePoolRun run = *taken;
    uint32_t i, zeros = 0, freed = 0;

    run.npages = 0;
    for (i = 0; i <= taken->npages; i++) {
        uint64_t page = taken->page + i;
        bool here = i < taken->npages;
        bool good = here && test_bit(page, rb->bmap);

        /* The guest said so: free page hinting has cleared the bit. */
        freed += here && !good;
        /* A zero page is a few bytes on the channel. */
        if (good && buffer_is_zero(rb->host + to_bytes(page), to_bytes(1))) {
            zeros++;
            good = false;
        }
        if (good) {
            run.npages++;
            continue;
        }
        if (run.npages) {
            g_array_append_val(chosen, run);
        }
        if (here) {
            PagecachePoolRun one = { .block = run.block, .page = page,
                                     .npages = 1 };

            pagecache_pool_release(src->pool, &one);
        }
        run.page = page + 1;
        run.sector = taken->sector + ((i + 1ULL) << (src->page_bits - 9));
        run.npages = 0;
    }
    count_released(zeros, "zero");
    count_released(freed, "free");
}

/*
 * From here on @run has a number, and its place in the stream must be the one
 * that goes with it: behind what was offered before.
 */
static void make_offer(const PagecachePoolRun *run, int64_t now,
                       GArray *offers)
{
    RAMBlock *rb = g_ptr_array_index(src->blocks, run->block);
    PagecacheWireOffer o = {
        .disk = run->disk, .block = run->block, .npages = run->npages,
        .page = run->page, .sector = run->sector,
    };
    uint32_t number = pagecache_pool_offer(src->pool, run, now);

    assert(number == src->offers);
    src->offers++;
    g_array_append_val(offers, o);
    src->stats.offered += run->npages;
    trace_pagecache_src_offer(number, o.disk, o.sector, rb->idstr, o.page,
                              o.npages);
}

static void make_offers(GArray *offers)
{
    g_autoptr(GArray) chosen = g_array_new(FALSE, FALSE,
                                           sizeof(PagecachePoolRun));
    int64_t now = now_ms(), until = now + TURN_OFFERS_MS;
    uint64_t window = to_pages(pagecache_pace_window(&src->pace));
    uint64_t in_flight = pagecache_pool_in_flight(src->pool);
    PagecachePoolRun run;
    guint i;

    while (chosen->len < TURN_OFFERS_MAX && now_ms() < until) {
        guint before = chosen->len;

        if (in_flight >= window || !pagecache_pool_may_offer(src->pool) ||
            !pagecache_pool_take_head(src->pool, MIN(OFFER_PAGES_MAX,
                                                     window - in_flight),
                                      &run)) {
            break;
        }
        choose(&run, chosen);
        for (i = before; i < chosen->len; i++) {
            in_flight += g_array_index(chosen, PagecachePoolRun, i).npages;
        }
    }
    pagecache_fault_shuffle(PAGECACHE_FAULT_SHUFFLE_OFFERS, chosen);
    for (i = 0; i < chosen->len; i++) {
        make_offer(&g_array_index(chosen, PagecachePoolRun, i), now, offers);
    }
}

/* What the channel's scan would find, in bytes; more or less */
static uint64_t channel_todo(void)
{
    uint64_t dirty = ram_bytes_remaining();
    uint64_t held = to_bytes(pagecache_pool_size(src->pool) +
                             pagecache_pool_in_flight(src->pool));

    return dirty > held ? dirty - held : 0;
}

/* The channel never idles as long as there is anything to send. */
static void feed_channel(void)
{
    int64_t now = now_ms();
    uint64_t todo = channel_todo();
    uint64_t low, chunk, share;

    /* In pages sent, like what is to be sent; the wire may be compressed. */
    pagecache_pace_channel(&src->pace, now,
                           to_bytes(stat64_get(&mig_stats.normal_pages)));
    pagecache_pace_channel_share(&src->pace, now, &low, &chunk);
    if (pagecache_fault(PAGECACHE_FAULT_RELEASE_IN_FLIGHT)) {
        uint64_t some = pagecache_pool_in_flight(src->pool) / 4 + 1;

        count_released(pagecache_pool_release_newest(src->pool, some),
                       "fault on purpose");
    }
    if ((todo >= low && !pagecache_fault(PAGECACHE_FAULT_EARLY_RELEASE)) ||
        pagecache_fault(PAGECACHE_FAULT_WITHHOLD_RELEASE)) {
        return;
    }
    chunk = MAX(to_pages(chunk), 1);
    if (pagecache_pool_size(src->pool)) {
        count_released(pagecache_pool_release_tail(src->pool, chunk),
                       "channel idle, from the pool");
        return;
    }
    share = pagecache_pool_release_old(src->pool,
                                       now - pagecache_pace_patience(
                                                 &src->pace), chunk);
    count_released(share, "channel idle, late report");
    todo += to_bytes(share);
    share = pagecache_pace_tail_share(&src->pace, now,
                to_bytes(pagecache_pool_in_flight(src->pool)), todo);
    count_released(pagecache_pool_release_newest(src->pool,
                                                 MIN(to_pages(share), chunk)),
                   "channel idle, offered last");
}

static void sync_dirty(int64_t now)
{
    src->last_sync = now;
    trace_pagecache_src_sync();
    bql_lock();
    WITH_RCU_READ_LOCK_GUARD() {
        migration_bitmap_sync_precopy(false);
    }
    bql_unlock();
}

/*
 * QEMU looks at the dirty log when little is left to send, and the pool and
 * what is in flight count as left.  So look when the pool is nearly done: the
 * channel sends what the guest wrote while storage is still at work.  And
 * look when all is done: proofs may have brought the estimate down to
 * nothing, and then QEMU switches over without another look, leaving all that
 * was written to the blackout.
 */
static void sync_when_due(bool empty)
{
    int64_t now = now_ms();
    uint64_t left = to_bytes(pagecache_pool_size(src->pool) +
                             pagecache_pool_in_flight(src->pool));

    if (pagecache_fault(PAGECACHE_FAULT_EXTRA_SYNC)) {
        sync_dirty(now);
    }
    if (!empty) {
        src->sync_due = true;
        if (!src->low_synced && left &&
            pagecache_pace_is_low(&src->pace, now, left)) {
            src->low_synced = true;
            sync_dirty(now);
        }
    } else if (src->sync_due && now - src->last_sync >= SYNC_INTERVAL_MS) {
        src->sync_due = false;
        sync_dirty(now);
    }
}

static void publish(void)
{
    PagecacheHintStats hints;

    pagecache_hints_stats(&hints);
    src->stats.pooled = pagecache_pool_size(src->pool);
    src->stats.in_flight = pagecache_pool_in_flight(src->pool);
    src->stats.rate = pagecache_rate_get(&src->pace.storage, now_ms());
    QEMU_LOCK_GUARD(&record.lock);
    record.stats = src->stats;
    record.hints = hints;
}

/* There is nothing to send, only something to wait for. */
static void wait_for_report(void)
{
    QEMU_LOCK_GUARD(&record.lock);
    if (g_queue_is_empty(&src->reports)) {
        qemu_cond_timedwait(&src->report_cond, &record.lock, TURN_WAIT_MS);
    }
}

static bool nothing_outstanding(void)
{
    return !pagecache_pool_size(src->pool) &&
           !pagecache_pool_in_flight(src->pool) &&
           !pagecache_proof_pending(src->proof);
}

static bool turn(GArray *offers, Error **errp)
{
    RCU_READ_LOCK_GUARD();

    if (!src->running) {
        begin_turns();
    }
    take_hints();
    if (!take_reports(errp)) {
        return false;
    }
    take_proofs(false);
    make_offers(offers);
    limit_reports();
    feed_channel();
    publish();
    trace_pagecache_src_turn(src->stats.pooled, src->stats.in_flight,
                             to_pages(pagecache_pace_window(&src->pace)),
                             pagecache_proof_pending(src->proof),
                             to_pages(channel_todo()), src->pace.report_ms);
    return true;
}

static int pagecache_save_iterate(QEMUFile *f, void *opaque)
{
    g_autoptr(GArray) offers = g_array_new(FALSE, FALSE,
                                           sizeof(PagecacheWireOffer));
    g_autoptr(GByteArray) frame = NULL;
    Error *err = NULL;
    bool empty;

    if (!turn(offers, &err)) {
        migrate_set_error(migrate_get_current(), err);
        error_free(err);
        return -EINVAL;
    }
    /* They keep their order. */
    pagecache_fault_late(PAGECACHE_FAULT_LATE_OFFERS, offers,
                         TURN_OFFERS_MAX);
    frame = pagecache_wire_encode_offers((PagecacheWireOffer *)offers->data,
                                         offers->len);
    qemu_put_buffer(f, frame->data, frame->len);
    if (offers->len) {
        /* The destination may start to read while RAM fills the buffers. */
        qemu_fflush(f);
    }
    empty = nothing_outstanding();
    if (!empty && !offers->len && !channel_todo()) {
        wait_for_report();
    }
    sync_when_due(empty);
    return empty;
}

/* Pages under comparison have lost their bit, and may get it back. */
static void pagecache_state_pending(void *opaque, uint64_t *must_precopy,
                                    uint64_t *can_postcopy)
{
    if (src->running) {
        *must_precopy += to_bytes(pagecache_proof_pending(src->proof));
    }
}

/* --- the end --- */

/* The channel's scan passes nothing over any more. */
static void dissolve(void)
{
    guint i;

    for (i = 0; i < src->blocks->len; i++) {
        RAMBlock *rb = g_ptr_array_index(src->blocks, i);

        rb->pagecache_held = NULL;
        rb->pagecache_spent = NULL;
    }
    WITH_QEMU_LOCK_GUARD(&record.lock) {
        src->deaf = true;
        g_queue_clear_full(&src->reports, (GDestroyNotify)g_bytes_unref);
    }
}

/* With the BQL and the VM stopped */
static int pagecache_save_complete(QEMUFile *f, void *opaque)
{
    int64_t start = qemu_clock_get_us(QEMU_CLOCK_REALTIME);
    g_autoptr(GByteArray) frame = pagecache_wire_encode_end();

    if (src->running) {
        take_proofs(!pagecache_fault(PAGECACHE_FAULT_BREAK_SETTLE));
        count_released(pagecache_pool_size(src->pool) +
                       pagecache_pool_in_flight(src->pool), "switchover");
    }
    dissolve();
    pagecache_hints_stop();
    qemu_put_buffer(f, frame->data, frame->len);
    if (src->running) {
        publish();
    }
    WITH_QEMU_LOCK_GUARD(&record.lock) {
        record.stats.pooled = record.stats.in_flight = 0;
        record.stats.blackout_us = qemu_clock_get_us(QEMU_CLOCK_REALTIME) -
                                   start;
        trace_pagecache_src_complete(src->stats.offered, src->stats.proven,
                                     src->stats.mismatched,
                                     src->stats.released,
                                     record.stats.blackout_us);
    }
    return qemu_file_get_error(f);
}

/* Millions of small allocations take their time, and nobody need wait. */
static void *free_pool_thread(void *opaque)
{
    pagecache_pool_free(opaque);
    return NULL;
}

/*
 * With the BQL.  The migration thread is past its last turn; the return path
 * thread may still be there.
 */
static void pagecache_save_cleanup(void *opaque)
{
    PagecacheSrc *old;
    QemuThread thread;
    guint i;

    WITH_QEMU_LOCK_GUARD(&record.lock) {
        old = src;
    }
    if (!old) {
        return;
    }
    dissolve();
    pagecache_hints_stop();
    WITH_QEMU_LOCK_GUARD(&record.lock) {
        qatomic_set(&src, NULL);
        record.stats.pooled = record.stats.in_flight = 0;
    }
    pagecache_proof_free(old->proof);
    if (old->pool) {
        qemu_thread_create(&thread, "pagecache-free", free_pool_thread,
                           old->pool, QEMU_THREAD_DETACHED);
    }
    for (i = 0; i < old->blocks->len; i++) {
        memory_region_unref(((RAMBlock *)old->blocks->pdata[i])->mr);
    }
    g_ptr_array_unref(old->blocks);
    g_hash_table_unref(old->breakers);
    g_hash_table_unref(old->numbers);
    qemu_cond_destroy(&old->report_cond);
    g_free(old);
    trace_pagecache_src_cleanup();
}

/* --- return path thread --- */

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
        !pagecache_wire_check_features(PAGECACHE_WIRE_FEATURES, r->features,
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

/* With record.lock */
static void queue_report(const uint8_t *buf, size_t len,
                         const PagecacheReport *r)
{
    uint64_t pages = src->reports_pages;
    PagecacheReportRun run;
    uint16_t pos = 0;

    while (pagecache_report_next(r, &pos, &run)) {
        pages += run.npages;
    }
    if (pages > src->reports_max) {
        src->refused++;
        return;
    }
    src->reports_pages = pages;
    g_queue_push_tail(&src->reports, g_bytes_new(buf, len));
    qemu_cond_signal(&src->report_cond);
}

bool pagecache_src_load_report(QEMUFile *rp, uint16_t len, Error **errp)
{
    ERRP_GUARD();
    uint8_t buf[PAGECACHE_REPORT_MAX];
    PagecacheReport r;

    if (!load_report(rp, buf, len, &r, errp)) {
        end_channel(*errp);
        return false;
    }
    QEMU_LOCK_GUARD(&record.lock);
    if (src && r.status == PAGECACHE_REPORT_ACCEPTED) {
        src->accepted = true;
        qemu_cond_signal(&src->report_cond);
    } else if (src && !src->deaf) {
        queue_report(buf, len, &r);
    }
    return true;
}

/* --- statistics --- */

uint64_t pagecache_src_proven_bytes(void)
{
    return stat64_get(&proven_bytes);
}

MigrationPagecacheInfo *pagecache_src_info(void)
{
    MigrationPagecacheInfo *info;

    QEMU_LOCK_GUARD(&record.lock);
    if (!record.known) {
        return NULL;
    }
    info = g_new0(MigrationPagecacheInfo, 1);
    info->active = record.active;
    info->reason = g_strdup(record.reason);
    info->given_up = g_strdup(record.given_up);
    info->has_hinted_pages = true;
    info->hinted_pages = record.hints.hinted;
    info->has_dropped_hints = true;
    info->dropped_hints = record.hints.dropped;
    info->has_duplicate_pages = true;
    info->duplicate_pages = record.stats.duplicate;
    info->offered_pages = record.stats.offered;
    info->reported_pages = record.stats.reported;
    info->has_proven_pages = true;
    info->proven_pages = record.stats.proven;
    info->has_mismatched_pages = true;
    info->mismatched_pages = record.stats.mismatched;
    info->has_released_pages = true;
    info->released_pages = record.stats.released;
    info->unavailable_pages = record.stats.unavailable;
    info->has_pooled_pages = true;
    info->pooled_pages = record.stats.pooled;
    info->has_in_flight_pages = true;
    info->in_flight_pages = record.stats.in_flight;
    info->refill_bytes = record.stats.proven * qemu_target_page_size();
    info->has_refill_rate = true;
    info->refill_rate = record.stats.rate;
    info->has_map_time = record.hints.map_ms >= 0;
    info->map_time = MAX(record.hints.map_ms, 0);
    info->has_blackout_time = record.stats.blackout_us;
    info->blackout_time = record.stats.blackout_us;
    pagecache_left_out_info(info);
    return info;
}

/* --- registration --- */

static const SaveVMHandlers pagecache_handlers = {
    .is_active = pagecache_is_active,
    .save_setup = pagecache_save_setup,
    .save_live_iterate = pagecache_save_iterate,
    .state_pending_estimate = pagecache_state_pending,
    .state_pending_exact = pagecache_state_pending,
    .save_live_complete_precopy = pagecache_save_complete,
    .save_cleanup = pagecache_save_cleanup,
    .load_state = pagecache_dst_load,
    .load_cleanup = pagecache_dst_cleanup,
};

void pagecache_mig_init(void)
{
    register_savevm_live_fixed_id("pagecache", 0, PAGECACHE_SECTION_ID, 1,
                                  &pagecache_handlers, NULL);
    pagecache_qmp_init();
    pagecache_fault_init();
}
