/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source side, a turn of the migration thread
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The migration thread comes by every 50 to 100 ms, or earlier if many reports
 * wait, and has the channel to feed in between.  What takes time for each page
 * is done elsewhere: hints are added by one thread, offers chosen by another,
 * proofs made by some more.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-pagecache.h"
#include "migration/misc.h"
#include "qemu/pagecache-fault.h"
#include "migration.h"
#include "migration-stats.h"
#include "options.h"
#include "pagecache-hints.h"
#include "pagecache-hooks.h"
#include "pagecache-io-disks.h"
#include "pagecache-ledger.h"
#include "pagecache-note.h"
#include "pagecache-src-int.h"
#include "pagecache-text.h"
#include "ram.h"
#include "trace.h"

/* What a turn spends on pages in flight that the channel shall send */
#define RELEASE_US          500
/* Another turn is due after that time, if so many pages were reported. */
#define TURN_INTERVAL_MS    5
#define TURN_PAGES          2048
#define WAIT_MS             5           /* when there is nothing else to do */
/* So long is the first page held back for hints, and for offers, at most. */
#define FIRST_HINTS_MS      50
#define FIRST_OFFERS_MS     20
#define SYNC_INTERVAL_MS    100
/* From then on it is worth a note that the guest has not answered. */
#define SILENT_MS           1000

#define now_ms              pagecache_src_now
#define to_bytes            pagecache_src_to_bytes
#define to_pages            pagecache_src_to_pages

static uint64_t in_flight(PagecacheSrc *src)
{
    return pagecache_flights_pages(src->flights);
}

/* Pages that wait for their offer */
static uint64_t waiting(PagecacheSrc *src)
{
    return pagecache_pool_size(src->pool) +
           pagecache_offers_ready(src->offers);
}

/* Bytes a second, of all disks */
static uint64_t storage_rate(PagecacheSrc *src)
{
    uint64_t rate = 0;
    guint i;

    for (i = 0; i < src->disks->len; i++) {
        rate += pagecache_rate_get(&pagecache_src_disk(src, i)->pace.storage,
                                   now_ms());
    }
    return rate;
}

/* --- offers --- */

/* From here on a run has a number: that of its place in the stream. */
static void make_offer(PagecacheSrc *src, const PagecachePoolRun *run,
                       int64_t now, GArray *offers)
{
    const PagecacheFlight flight = {
        .page = run->page, .sector = run->sector, .producer = run->producer,
        .block = run->block, .disk = run->disk, .npages = run->npages,
    };
    const PagecacheWireOffer o = {
        .disk = run->disk, .block = run->block, .npages = run->npages,
        .page = run->page, .sector = run->sector,
    };
    RAMBlock *rb = g_ptr_array_index(src->blocks, run->block);
    uint32_t number = pagecache_flights_append(src->flights, &flight, now);

    pagecache_src_disk(src, run->disk)->in_flight += run->npages;
    src->info->offered_pages += run->npages;
    g_array_append_val(offers, o);
    trace_pagecache_src_offer(number, o.disk, o.sector, rb->idstr, o.page,
                              o.npages);
}

/* Pages of one disk that wait for their offer */
static uint64_t disk_waiting(PagecacheSrc *src, uint32_t nr)
{
    return pagecache_pool_disk_size(src->pool, nr) +
           pagecache_offers_disk_ready(src->offers, nr);
}

/*
 * As many as the disk's window has room for, and *@allowed pages at most, which
 * become fewer.  Twice the window is ready, as it may double until the next
 * turn; but nothing if the window is full, and no report comes.
 */
static void collect(PagecacheSrc *src, uint32_t nr, uint64_t *allowed,
                    GArray *runs)
{
    PagecacheSrcDisk *d = pagecache_src_disk(src, nr);
    uint64_t window = to_pages(src, pagecache_pace_window(&d->pace));
    uint64_t room = window - MIN(window, d->in_flight);
    uint64_t n = pagecache_offers_collect(src->offers, nr, MIN(room, *allowed),
                                          PAGECACHE_WIRE_OFFERS_MAX, runs);

    *allowed -= n;
    pagecache_offers_stock(src->offers, nr,
                           room > n || d->reported ? 2 * window : 0);
}

/* Pages that the operator allows to be offered now; a part of one counts. */
static uint64_t allowed_pages(PagecacheSrc *src)
{
    uint64_t bytes;

    if (!waiting(src)) {
        return 0;
    }
    bytes = pagecache_budget_room(src->budget, g_get_monotonic_time());
    return DIV_ROUND_UP(MIN(bytes, INT64_MAX), to_bytes(src, 1));
}

static void make_offers(PagecacheSrc *src, GArray *offers)
{
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE,
                                         sizeof(PagecachePoolRun));
    guint i, ndisks = pagecache_pool_disks(src->pool);
    uint64_t allowed = allowed_pages(src), before = allowed;
    int64_t now = now_ms();

    /* A frame has an end: another disk comes first each time. */
    src->first_disk++;
    for (i = 0; i < ndisks && !pagecache_flights_full(src->flights); i++) {
        collect(src, (src->first_disk + i) % ndisks, &allowed, runs);
    }
    pagecache_budget_spend(src->budget, g_get_monotonic_time(),
                           to_bytes(src, before - allowed));
    if (before && !allowed && waiting(src)) {
        pagecache_budget_want_more(src->budget);
    }
    pagecache_fault_shuffle(PAGECACHE_FAULT_SHUFFLE_OFFERS, runs);
    for (i = 0; i < runs->len; i++) {
        make_offer(src, &g_array_index(runs, PagecachePoolRun, i), now,
                   offers);
    }
}

/*
 * What is offered once is reported once: so the reports that wait can't name
 * more pages than are in flight, or were released there and are reported all
 * the same.  Reports that are doubled on the way are harmless, and find room.
 */
static void limit_reports(PagecacheSrc *src)
{
    uint64_t offered = src->info->offered_pages;
    uint64_t owed = offered > src->named ? offered - src->named : 0;

    pagecache_inbox_limit(src->inbox, 2 * MAX(owed, in_flight(src)));
}

/* --- what the channel gets --- */

/* What the channel's scan would find, in bytes; more or less */
static uint64_t channel_todo(PagecacheSrc *src)
{
    uint64_t dirty = ram_bytes_remaining();
    uint64_t held = to_bytes(src, waiting(src) + in_flight(src));

    held -= MIN(held, to_bytes(src, pagecache_offers_releasing(src->offers)));
    return dirty > held ? dirty - held : 0;
}

/*
 * How much each disk has to do, in bytes, and how fast it does it; @all: not
 * only what is in flight
 */
static PagecacheTail *tails_new(PagecacheSrc *src, bool all, guint *n)
{
    int64_t now = now_ms();
    PagecacheTail *tails;
    guint i;

    *n = MAX(src->disks->len, pagecache_pool_disks(src->pool));
    tails = g_new0(PagecacheTail, *n + 1);
    for (i = 0; i < *n; i++) {
        PagecacheSrcDisk *d = pagecache_src_disk(src, i);
        uint64_t pages = d->in_flight;

        if (all) {
            pages += disk_waiting(src, i);
        }
        tails[i].in_flight = to_bytes(src, pages);
        tails[i].rate = pagecache_rate_get(&d->pace.storage, now);
    }
    return tails;
}

/* From the disks that would be done last; @chunk bytes in all */
static void release_waiting(PagecacheSrc *src, uint64_t chunk, uint64_t todo)
{
    guint i, n, most = 0;
    g_autofree PagecacheTail *tails = tails_new(src, true, &n);
    uint64_t channel = pagecache_rate_get(&src->channel.rate, now_ms());
    uint64_t pages = MAX(to_pages(src, chunk), 1), size = 0;
    double sum = 0;

    pagecache_pace_tail(tails, n, channel, todo);
    for (i = 0; i < n; i++) {
        uint64_t here = disk_waiting(src, i);

        tails[i].share = MIN(tails[i].share, to_bytes(src, here));
        sum += tails[i].share;
        if (here > size) {
            size = here;
            most = i;
        }
    }
    if (sum < to_bytes(src, 1)) {
        /* No rate is known, or storage is faster: idling helps nobody. */
        pagecache_offers_release(src->offers, most, pages);
        return;
    }
    for (i = 0; i < n; i++) {
        uint64_t share = tails[i].share / sum * pages;

        if (share) {
            pagecache_offers_release(src->offers, i, share);
        }
    }
}

/* Pages in flight whose report is late; up to about @max. */
static uint64_t release_late(PagecacheSrc *src, uint64_t max)
{
    int64_t until = qemu_clock_get_us(QEMU_CLOCK_REALTIME) + RELEASE_US;
    int64_t now = now_ms();
    uint64_t released = 0;
    uint32_t number, next;
    bool more = pagecache_flights_oldest(src->flights, &number);

    while (more && released < max &&
           qemu_clock_get_us(QEMU_CLOCK_REALTIME) < until) {
        const PagecacheFlight *f = pagecache_flights_find(src->flights,
                                                          number);
        PagecachePace *pace = &pagecache_src_disk(src, f->disk)->pace;
        int64_t age = now - pagecache_flights_offered_at(src->flights, f);

        if (age < PAGECACHE_PATIENCE_MIN_MS) {
            break;          /* and all that follow are younger */
        }
        next = number;
        more = pagecache_flights_next(src->flights, &next);
        if (age > pagecache_pace_patience(pace)) {
            released += pagecache_src_release_flight(src, number);
        }
        number = next;
    }
    return released;
}

/* Those that the destination is furthest from reading */
static uint64_t release_newest(PagecacheSrc *src, PagecacheTail *tails,
                               uint64_t max)
{
    int64_t until = qemu_clock_get_us(QEMU_CLOCK_REALTIME) + RELEASE_US;
    uint64_t released = 0;
    uint32_t number, next;
    bool more = pagecache_flights_newest(src->flights, &number);

    while (more && released < max &&
           qemu_clock_get_us(QEMU_CLOCK_REALTIME) < until) {
        const PagecacheFlight *f = pagecache_flights_find(src->flights,
                                                          number);
        PagecacheTail *tail = &tails[f->disk];
        uint64_t bytes = to_bytes(src, f->left);

        next = number;
        more = pagecache_flights_prev(src->flights, &next);
        if (bytes <= tail->share && f->left <= max - released) {
            tail->share -= bytes;
            released += pagecache_src_release_flight(src, number);
        } else {
            tail->share = 0;    /* whole offers only, and no older ones */
        }
        number = next;
    }
    return released;
}

static void count_in_flight_released(PagecacheSrc *src, uint64_t pages,
                                     const char *why)
{
    if (pages) {
        src->in_flight_released += pages;
        trace_pagecache_src_released(pages, why);
    }
}

static void release_in_flight(PagecacheSrc *src, uint64_t chunk, uint64_t todo)
{
    uint64_t pages = MAX(to_pages(src, chunk), 1);
    uint64_t late = release_late(src, pages);
    g_autofree PagecacheTail *tails = NULL;
    guint i, n;

    count_in_flight_released(src, late, "channel idle, late report");
    tails = tails_new(src, false, &n);
    for (i = 0; i < n; i++) {
        if (!tails[i].rate) {
            tails[i].in_flight = 0;     /* there patience decides */
        }
    }
    pagecache_pace_tail(tails, n,
                        pagecache_rate_get(&src->channel.rate, now_ms()),
                        todo + to_bytes(src, late));
    count_in_flight_released(src, release_newest(src, tails, pages),
                             "channel idle, offered last");
}

static void release_on_purpose(PagecacheSrc *src)
{
    uint64_t some = in_flight(src) / 4 + 1;
    guint i, n;
    g_autofree PagecacheTail *tails = tails_new(src, false, &n);

    for (i = 0; i < n; i++) {
        tails[i].share = tails[i].in_flight;
    }
    count_in_flight_released(src, release_newest(src, tails, some),
                             "fault on purpose");
}

/* The channel never idles as long as there is anything to send. */
static void feed_channel(PagecacheSrc *src)
{
    int64_t now = now_ms();
    uint64_t todo = channel_todo(src);
    uint64_t low, chunk;

    /* In pages sent, like what is to be sent; the wire may be compressed. */
    pagecache_channel_sent(&src->channel, now,
                           to_bytes(src, stat64_get(&mig_stats.normal_pages)));
    pagecache_channel_share(&src->channel, now, &low, &chunk);
    if (pagecache_fault(PAGECACHE_FAULT_RELEASE_IN_FLIGHT)) {
        release_on_purpose(src);
    }
    if ((todo >= low && !pagecache_fault(PAGECACHE_FAULT_EARLY_RELEASE)) ||
        pagecache_fault(PAGECACHE_FAULT_WITHHOLD_RELEASE)) {
        return;
    }
    if (waiting(src)) {
        release_waiting(src, chunk, todo);
    } else {
        release_in_flight(src, chunk, todo);
    }
}

/* --- the dirty log --- */

static void sync_dirty(PagecacheSrc *src, int64_t now)
{
    src->last_sync = now;
    trace_pagecache_src_sync();
    ram_pagecache_sync_dirty();
}

/*
 * QEMU looks at the dirty log when little is left to send, and the pool and
 * what is in flight count as left.  So look when the pool is nearly done: the
 * channel sends what the guest wrote while storage is still at work.  And
 * look when all is done: proofs may have brought the estimate down to
 * nothing, and then QEMU switches over without another look, leaving all that
 * was written to the blackout.
 */
void pagecache_src_sync_when_due(PagecacheSrc *src, bool outstanding)
{
    int64_t now = now_ms();
    uint64_t left = to_bytes(src, waiting(src) + in_flight(src));

    if (pagecache_fault(PAGECACHE_FAULT_EXTRA_SYNC)) {
        sync_dirty(src, now);
    }
    if (outstanding) {
        src->sync_due = true;
        if (!src->low_synced && left &&
            pagecache_pace_is_low(storage_rate(src),
                                  pagecache_rate_get(&src->channel.rate, now),
                                  left)) {
            src->low_synced = true;
            sync_dirty(src, now);
        }
    } else if (src->sync_due && now - src->last_sync >= SYNC_INTERVAL_MS) {
        src->sync_due = false;
        sync_dirty(src, now);
    }
}

/* --- figures --- */

/* What came of a producer's hints, for all disks */
static void sum_proofs(PagecacheSrc *src, uint32_t producer,
                       MigrationPagecacheProducer *p)
{
    guint i, k;

    for (i = 0; i < src->disks->len; i++) {
        GArray *breakers = pagecache_src_disk(src, i)->breakers;

        for (k = 0; breakers && k < breakers->len; k++) {
            PagecacheBreaker *b = &g_array_index(breakers, PagecacheBreaker,
                                                 k);

            if (b->producer == producer) {
                p->proven_pages += b->proven;
                p->mismatched_pages += b->mismatched;
            }
        }
    }
}

/* Returns the producers, for g_array_unref(). */
static GArray *tell_hints(PagecacheSrc *src)
{
    g_autoptr(GArray) producers = g_array_new(FALSE, FALSE,
                                              sizeof(PagecacheProducerStats));
    MigrationPagecacheSource *s = src->info->source;
    PagecacheHintStats hints;
    guint i;

    pagecache_hints_stats(&hints, producers);
    s->hinted_pages = hints.hinted;
    s->dropped_hints = hints.dropped;
    s->has_map_time = hints.map_ms >= 0;
    s->map_time = MAX(hints.map_ms, 0);

    g_clear_pointer(&s->producers, qapi_free_MigrationPagecacheProducerList);
    for (i = 0; i < producers->len; i++) {
        const PagecacheProducerStats *of =
            &g_array_index(producers, PagecacheProducerStats, i);
        MigrationPagecacheProducer *p = g_new0(MigrationPagecacheProducer, 1);

        p->name = g_strdup(of->name);
        p->hinted_pages = of->stats.hinted;
        p->dropped_hints = of->stats.dropped;
        p->has_map_time = of->stats.map_ms >= 0;
        p->map_time = MAX(of->stats.map_ms, 0);
        sum_proofs(src, of->id, p);
        QAPI_LIST_PREPEND(s->producers, p);
    }
    return g_steal_pointer(&producers);
}

/* @producers: of PagecacheProducerStats; @ended: nothing more is to come */
static void tell_note(PagecacheSrc *src, const GArray *producers, bool ended)
{
    MigrationPagecacheSource *s = src->info->source;
    const PagecacheNoteInput in = {
        .producers = producers,
        .io_map = pagecache_io_disks_on(),
        .patient = now_ms() - src->begun >= SILENT_MS,
        .ended = ended,
        .ram_pages = to_pages(src, ram_bytes_total()),
    };
    PagecacheNote note = pagecache_note(src->info, &in);

    g_clear_pointer(&s->note_text, g_free);
    s->has_note = note != PAGECACHE_NOTE__MAX;
    if (s->has_note) {
        s->note = note;
        s->note_text = g_strdup(pagecache_note_text(note));
    }
}

static void tell(PagecacheSrc *src, bool ended)
{
    g_autoptr(GArray) producers = NULL;
    MigrationPagecacheInfo *info = src->info;
    MigrationPagecacheSource *s = info->source;
    PagecacheOffersCounts counts;

    pagecache_src_look_at_producers(src);
    producers = tell_hints(src);
    if (src->running) {
        pagecache_offers_counts(src->offers, &counts);
        s->duplicate_pages = pagecache_intake_unfit(src->intake);
        s->released_pages = counts.zero + counts.free + counts.stale +
                               counts.tail + counts.given_up +
                               src->in_flight_released;
        info->refill_bytes = to_bytes(src, s->proven_pages);
        s->refill_rate = storage_rate(src);
    }
    tell_note(src, producers, ended);
    pagecache_ledger_write(PAGECACHE_OUTGOING,
                           QAPI_CLONE(MigrationPagecacheInfo, info));
}

static void publish(PagecacheSrc *src)
{
    src->info->source->pooled_pages = waiting(src);
    src->info->source->in_flight_pages = in_flight(src);
    tell(src, false);
}

void pagecache_src_publish_end(PagecacheSrc *src, bool switchover)
{
    if (src->running && switchover) {
        count_in_flight_released(src, waiting(src) + in_flight(src),
                                 "switchover");
    }
    src->info->source->pooled_pages = 0;
    src->info->source->in_flight_pages = 0;
    tell(src, true);
}

/* --- a turn --- */

/*
 * Bytes a second that QEMU reckons with at the switchover.  They may be more
 * than the channel brings now: it has a limit that does not count then, or had
 * nothing to send.
 */
static uint64_t switchover_rate(void)
{
    uint64_t downtime = migrate_downtime_limit();

    return downtime ?
           (double)migrate_get_current()->threshold_size / downtime * 1000 : 0;
}

uint64_t pagecache_src_pending_bytes(PagecacheSrc *src)
{
    uint64_t channel = pagecache_rate_get(&src->channel.rate, now_ms());

    return pagecache_pace_pending(to_bytes(src,
                                           pagecache_proof_pending(src->proof)),
                                  pagecache_proof_rate(src->proof),
                                  MAX(channel, switchover_rate()));
}

/*
 * ram.c sends for 50 ms before it lets anybody else have the thread.  That is
 * too long if so many pages are reported that a turn can't take them all: what
 * a page costs here is a tenth of what it would cost the channel.
 */
bool pagecache_src_is_turn_due(PagecacheSrc *src)
{
    return src->running && now_ms() - src->last_turn >= TURN_INTERVAL_MS &&
           pagecache_inbox_pages(src->inbox) >= TURN_PAGES;
}

bool pagecache_src_outstanding(PagecacheSrc *src)
{
    return waiting(src) || in_flight(src) ||
           pagecache_proof_pending(src->proof);
}

void pagecache_src_idle(PagecacheSrc *src)
{
    if (!channel_todo(src)) {
        pagecache_inbox_wait(src->inbox, WAIT_MS);
    }
}

/* This thread's CPU time, in us */
static int64_t cpu_us(void)
{
#ifdef CLOCK_THREAD_CPUTIME_ID
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
#else
    return get_clock() / 1000;
#endif
}

/* What has come already need not be sent, and storage may begin to read. */
void pagecache_src_first_turn(PagecacheSrc *src)
{
    guint i;

    pagecache_hints_wait_taken(FIRST_HINTS_MS);
    pagecache_pool_turn(src->pool);
    for (i = 0; i < pagecache_pool_disks(src->pool); i++) {
        pagecache_offers_stock(src->offers, i,
                               to_pages(src, PAGECACHE_WINDOW_MIN));
    }
    pagecache_offers_settle(src->offers, FIRST_OFFERS_MS);
}

bool pagecache_src_turn(PagecacheSrc *src, GArray *offers, Error **errp)
{
    bool timed = trace_event_get_state_backends(TRACE_PAGECACHE_SRC_TURN);
    int64_t start = timed ? cpu_us() : 0;

    RCU_READ_LOCK_GUARD();
    pagecache_pool_turn(src->pool);
    if (!pagecache_src_take_reports(src, errp)) {
        return false;
    }
    pagecache_src_take_proofs(src, false);
    if (offers) {
        make_offers(src, offers);
    }
    limit_reports(src);
    feed_channel(src);
    publish(src);
    trace_pagecache_src_turn(src->info->source->pooled_pages,
                             src->info->source->in_flight_pages,
                             pagecache_proof_pending(src->proof),
                             to_pages(src, channel_todo(src)),
                             src->info->source->refill_rate,
                             timed ? cpu_us() - start : 0);
    src->last_turn = now_ms();
    return true;
}
