/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source side, what was reported and whether it is true
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What the destination reports is proven: log and bit are cleared, then the
 * page is compared.  All of this is for the migration thread.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/error-report.h"
#include "qemu/rcu.h"
#include "qapi/error.h"
#include "qemu/pagecache-fault.h"
#include "pagecache-hints.h"
#include "pagecache-hooks.h"
#include "pagecache-io-producer.h"
#include "pagecache-src-int.h"
#include "pagecache-text.h"
#include "trace.h"

#define REPORTS_US      1000            /* what a turn spends on reports */
/* If more than half of so many reports mismatch, hints are not worth it. */
#define BREAKER_PAGES   1024
/* If nearly all do, it is not the hints that are wrong. */
#define OTHER_DISK      (BREAKER_PAGES * 31 / 32)

/* --- breakers --- */

static PagecacheBreaker *breaker_of(PagecacheSrcDisk *disk, uint32_t producer)
{
    PagecacheBreaker new = { .producer = producer };
    guint i;

    if (!disk->breakers) {
        disk->breakers = g_array_new(FALSE, FALSE, sizeof(PagecacheBreaker));
    }
    for (i = 0; i < disk->breakers->len; i++) {
        PagecacheBreaker *b = &g_array_index(disk->breakers, PagecacheBreaker,
                                             i);

        if (b->producer == producer) {
            return b;
        }
    }
    g_array_append_val(disk->breakers, new);
    return &g_array_index(disk->breakers, PagecacheBreaker, i);
}

/* Most of what it hints for this disk is not what the destination reads. */
static void give_up(PagecacheSrc *src, PagecacheBreaker *b, uint32_t disk)
{
    PagecacheSrcDisk *d = pagecache_src_disk(src, disk);
    bool other_disk = b->bad > OTHER_DISK;
    PagecacheGivenUpReason reason =
        other_disk ? PAGECACHE_GIVEN_UP_REASON_OTHER_DISK
                   : PAGECACHE_GIVEN_UP_REASON_MOST_DIFFER;
    const char *producer = pagecache_hints_name(b->producer);
    g_autofree char *name = pagecache_disk_text(d->id, d->path ?: "?");
    char *why = g_strdup_printf("%s: %s %s", producer,
                                pagecache_given_up_text(reason), name);

    b->given_up = true;
    pagecache_hints_refuse(b->producer, disk);
    pagecache_offers_give_up(src->offers, b->producer, disk);
    warn_report("skip-pagecache: hints are no longer used for this disk in "
                "this migration: %s", why);
    if (other_disk) {
        warn_report("skip-pagecache: the destination may have another disk "
                    "where the guest has its disk %s here, and the guest is "
                    "about to run on it; cancel the migration to prevent that",
                    name);
    }
    trace_pagecache_src_given_up(b->producer, disk, why);
    pagecache_src_given_up(src, producer, d, reason, why);
}

/*
 * Was the hint right when the page was offered, as far as one can know?  A guest
 * that reads from its disk with a full cache gives its oldest pages another
 * content, and these are the ones that are offered together.
 */
static bool was_right(const PagecacheProofPage *p)
{
    PagecachePoolRun page = {
        .page = p->page, .sector = p->sector, .npages = 1, .disk = p->disk,
    };

    if (p->producer != pagecache_io_producer_id()) {
        return false;           /* the I/O map alone tells what it has now */
    }
    RCU_READ_LOCK_GUARD();
    return pagecache_io_producer_look(p->rb, &page) != PAGECACHE_LOOK_SAME;
}

static void count_proof(PagecacheSrc *src, const PagecacheProofPage *p)
{
    PagecacheBreaker *b = breaker_of(pagecache_src_disk(src, p->disk),
                                     p->producer);

    b->proven += p->equal;
    b->mismatched += !p->equal;
    if (b->given_up || (!p->equal && was_right(p))) {
        return;
    }
    b->seen++;
    b->bad += !p->equal;
    if (b->seen == BREAKER_PAGES) {
        if (b->bad > BREAKER_PAGES / 2) {
            give_up(src, b, p->disk);
        }
        b->seen = b->bad = 0;
    }
}

/* --- reports --- */

/*
 * Clears log and bits of @n pages of @flight that were reported, from @page of
 * @rb, to be compared.
 */
static void prove_range(RAMBlock *rb, uint64_t page, uint32_t n,
                        unsigned page_bits, const PagecacheFlight *flight,
                        const uint8_t *digests, GArray *pages)
{
    DECLARE_BITMAP(taken, PAGECACHE_REPORT_PAGES_MAX) = { 0 };
    guint len = pages->len;
    uint32_t i;

    if (pagecache_fault(PAGECACHE_FAULT_BREAK_CLEAR)) {
        bitmap_set(taken, 0, n);
    } else {
        ram_pagecache_take_dirty(rb, page, n, taken);
    }
    g_array_set_size(pages, len + n);
    for (i = 0; i < n; i++, digests += PAGECACHE_DIGEST_LEN) {
        PagecacheProofPage *p = &g_array_index(pages, PagecacheProofPage, len);

        /* A page that lost its bit meanwhile need not be sent any more. */
        if (test_bit(i, taken)) {
            *p = (PagecacheProofPage) {
                .rb = rb, .page = page + i, .producer = flight->producer,
                .disk = flight->disk,
                .sector = flight->sector + ((page + i - flight->page)
                                            << (page_bits - 9)),
            };
            memcpy(p->digest, digests, sizeof(p->digest));
            len++;
        }
    }
    g_array_set_size(pages, len);
}

/* @which: a bitmap of @run's pages */
static void prove(PagecacheSrc *src, const PagecacheFlight *flight,
                  const PagecacheReportRun *run, const unsigned long *which,
                  GArray *pages)
{
    RAMBlock *rb = g_ptr_array_index(src->blocks, flight->block);
    unsigned long first, end;

    for (first = find_first_bit(which, run->npages); first < run->npages;
         first = find_next_bit(which, run->npages, end)) {
        end = find_next_zero_bit(which, run->npages, first);
        prove_range(rb, flight->page + run->first + first, end - first,
                    src->page_bits, flight,
                    run->digests + first * PAGECACHE_DIGEST_LEN, pages);
    }
}

/* Once for each disk and turn, before its first report counts */
static void disk_turn(PagecacheSrc *src, PagecacheSrcDisk *disk,
                      bool reported)
{
    if (!disk->had_turn) {
        disk->had_turn = true;
        disk->reported = reported;
        pagecache_pace_turn(&disk->pace, pagecache_src_now(),
                            pagecache_src_to_bytes(src, disk->in_flight),
                            reported);
    }
}

/* Pages of a flight have landed.  It may be gone after that. */
static void land(PagecacheSrc *src, uint32_t number,
                 const PagecacheFlight *flight, uint16_t n)
{
    if (n) {
        pagecache_src_disk(src, flight->disk)->in_flight -= n;
        pagecache_flights_land(src->flights, number, n);
    }
}

/* Pages of one disk that were reported in one message */
typedef struct Reported {
    uint32_t disk;
    uint64_t pages;
    int64_t ages;               /* of all of them, in ms */
} Reported;

/* Lets the disk's pace know of them. */
static void count_reported(PagecacheSrc *src, Reported *r, int64_t now)
{
    if (r->pages) {
        pagecache_pace_reported(&pagecache_src_disk(src, r->disk)->pace, now,
                                pagecache_src_to_bytes(src, r->pages),
                                r->ages / (int64_t)r->pages);
    }
    r->pages = r->ages = 0;
}

static void add_reported(PagecacheSrc *src, Reported *r, uint32_t disk,
                         uint32_t n, int64_t age, int64_t now)
{
    if (r->disk != disk) {
        count_reported(src, r, now);
        r->disk = disk;
    }
    r->pages += n;
    r->ages += n * age;
}

/* With the dirty bits' lock */
static bool take_run(PagecacheSrc *src, uint8_t status,
                     const PagecacheReportRun *run, int64_t now,
                     Reported *reported, GArray *pages, Error **errp)
{
    unsigned long which[BITS_TO_LONGS(PAGECACHE_OFFER_PAGES_MAX)];
    const PagecacheFlight *flight;
    PagecacheSrcDisk *disk;
    int64_t age;
    uint32_t n;

    src->named += run->npages;
    flight = pagecache_flights_find(src->flights, run->offer);
    if (!flight) {
        return true;
    }
    if (run->first + run->npages > flight->npages) {
        error_setg(errp, "skip-pagecache: malformed report: %u pages from page "
                   "%u of offer %u, which has %u", run->npages, run->first,
                   run->offer, flight->npages);
        return false;
    }
    disk = pagecache_src_disk(src, flight->disk);
    disk_turn(src, disk, true);
    bitmap_zero(which, run->npages);
    n = pagecache_pool_land(src->pool, flight->block,
                            flight->page + run->first, run->npages, which);
    age = now - pagecache_flights_offered_at(src->flights, flight);
    trace_pagecache_src_report(run->offer, run->first, run->npages, status, n,
                               age);
    if (n && status == PAGECACHE_REPORT_OK) {
        src->info->reported_pages += n;
        add_reported(src, reported, flight->disk, n, age, now);
        prove(src, flight, run, which, pages);
    } else if (n) {
        src->info->unavailable_pages += n;
        src->in_flight_released += n;
        trace_pagecache_src_released(n, "unavailable");
    }
    land(src, run->offer, flight, n);
    return true;
}

static bool take_report(PagecacheSrc *src, const PagecacheReport *report,
                        int64_t now, GArray *pages, Error **errp)
{
    Reported reported = { 0 };
    PagecacheReportRun run;
    uint16_t pos = 0;
    bool good = true;

    ram_pagecache_lock_dirty();
    while (good && pagecache_report_next(report, &pos, &run)) {
        good = take_run(src, report->status, &run, now, &reported, pages,
                        errp);
    }
    ram_pagecache_unlock_dirty();
    count_reported(src, &reported, now);
    return good;
}

static void warn_refused(uint64_t n)
{
    static bool warned;

    trace_pagecache_src_refused(n);
    warn_report_once_cond(&warned, "skip-pagecache: the destination reports "
                          "more pages than were offered; what is too much is "
                          "not looked at");
}

bool pagecache_src_take_reports(PagecacheSrc *src, Error **errp)
{
    GArray *pages = g_array_new(FALSE, FALSE, sizeof(PagecacheProofPage));
    int64_t until = qemu_clock_get_us(QEMU_CLOCK_REALTIME) + REPORTS_US;
    uint64_t refused = pagecache_inbox_refused(src->inbox);
    int64_t now = pagecache_src_now();  /* once: it takes as long as a page */
    bool good = true;
    PagecacheReport *report;
    guint i;

    if (refused) {
        warn_refused(refused);
    }
    while (good && (report = pagecache_inbox_take(src->inbox))) {
        good = take_report(src, report, now, pages, errp);
        g_free(report);
        if (qemu_clock_get_us(QEMU_CLOCK_REALTIME) >= until) {
            break;
        }
    }
    for (i = 0; i < src->disks->len; i++) {
        PagecacheSrcDisk *disk = pagecache_src_disk(src, i);

        disk_turn(src, disk, false);
        disk->had_turn = false;
    }
    pagecache_proof_submit(src->proof, pages);
    return good;
}

uint32_t pagecache_src_release_flight(PagecacheSrc *src, uint32_t number)
{
    DECLARE_BITMAP(which, PAGECACHE_OFFER_PAGES_MAX) = { 0 };
    const PagecacheFlight *flight = pagecache_flights_find(src->flights,
                                                           number);
    uint32_t n = pagecache_pool_land(src->pool, flight->block, flight->page,
                                     flight->npages, which);

    assert(n == flight->left);
    land(src, number, flight, n);
    return n;
}

/* --- proofs --- */

static void take_proof(PagecacheSrc *src, const PagecacheProofPage *p)
{
    if (p->equal) {
        if (pagecache_fault_is_armed(PAGECACHE_FAULT_BREAK_CLEAR)) {
            ram_pagecache_lock_dirty();
            ram_pagecache_take_dirty(p->rb, p->page, 1, &(unsigned long){ 0 });
            ram_pagecache_unlock_dirty();
        }
        src->info->source->proven_pages++;
    } else {
        if (!pagecache_fault(PAGECACHE_FAULT_BREAK_MARK)) {
            ram_pagecache_mark_dirty(p->rb, p->page);
        }
        src->info->source->mismatched_pages++;
    }
    trace_pagecache_src_proof(p->rb->idstr, p->page, p->equal);
    count_proof(src, p);
}

void pagecache_src_take_proofs(PagecacheSrc *src, bool settle)
{
    GArray *pages;
    guint i;

    while ((pages = pagecache_proof_result(src->proof, settle))) {
        for (i = 0; i < pages->len; i++) {
            take_proof(src, &g_array_index(pages, PagecacheProofPage, i));
        }
        g_array_unref(pages);
    }
}
