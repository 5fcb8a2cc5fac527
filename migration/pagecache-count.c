/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a collection of hints without a migration
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A timer of the main loop looks whether producers have come to an end, and
 * whether a migration has taken the collection over.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "exec/ramblock.h"
#include "exec/target_page.h"
#include "migration/pagecache.h"
#include "system/runstate.h"
#include "pagecache-census.h"
#include "pagecache-count.h"
#include "pagecache-hints.h"
#include "pagecache-left-out.h"
#include "pagecache-section.h"
#include "trace.h"

/* From the beginning of one to that of the next */
#define INTERVAL_MS     10000
#define POLL_MS         20
/* Parts of a sample: 8 GiB of RAM, and 1/2 % of it is the standard error. */
#define SAMPLE_PARTS    4096

typedef struct Count {
    PagecacheCollectionStatus status;
    uint32_t epoch;
    int64_t begun, deadline, ended;     /* ms */
    PagecacheSample sample;
    PagecacheTally *tally;
    PagecacheCensus *census;            /* NULL: ended */
    unsigned ndisks;
    uint64_t dropped;
    bool has_ram_pages;
    uint64_t ram_pages;
} Count;

static Count *last;             /* the one under way, or what was found */
static QEMUTimer *timer;

static int64_t now_ms(void)
{
    return qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
}

/* --- life --- */

static void count_free(Count *c)
{
    if (c) {
        pagecache_tally_free(c->tally);
        g_free(c);
    }
}

/* As long as it is wanted, figures of producers are its. */
static void take_figures(Count *c)
{
    g_autoptr(GArray) producers = g_array_new(FALSE, FALSE,
                                              sizeof(PagecacheProducerStats));
    PagecacheHintStats stats;

    pagecache_hints_stats(&stats, producers);
    c->dropped = stats.dropped;
    c->has_ram_pages = pagecache_census_get(c->census, &c->ram_pages);
}

/* What was found stays. */
static void end(Count *c, PagecacheCollectionStatus status)
{
    c->status = status;
    c->ended = now_ms();
    if (status != PAGECACHE_COLLECTION_STATUS_CANCELLED) {
        pagecache_hints_stop();
    }
    timer_del(timer);
    pagecache_tally_end(c->tally);
    g_clear_pointer(&c->census, pagecache_census_free);
    trace_pagecache_count_end(c->epoch, PagecacheCollectionStatus_str(status),
                              c->ended - c->begun);
}

/* Is it over?  Otherwise the timer asks again. */
static void look(void *opaque)
{
    Count *c = last;

    if (!pagecache_hints_is_wanted(c->epoch)) {
        end(c, PAGECACHE_COLLECTION_STATUS_CANCELLED);
        return;
    }
    take_figures(c);
    if (c->has_ram_pages && !pagecache_hints_busy()) {
        end(c, PAGECACHE_COLLECTION_STATUS_COMPLETED);
    } else if (now_ms() >= c->deadline) {
        end(c, PAGECACHE_COLLECTION_STATUS_TIMED_OUT);
    } else {
        timer_mod(timer, now_ms() + POLL_MS);
    }
}

static bool may_start(Error **errp)
{
    int64_t age = last ? now_ms() - last->begun : INT64_MAX;

    if (pagecache_src_is_active(NULL)) {
        error_setg(errp, "A migration with skip-pagecache is under way, and "
                   "collects hints itself; see query-migrate");
        return false;
    }
    if (runstate_check(RUN_STATE_INMIGRATE)) {
        error_setg(errp, "The guest has not arrived here yet");
        return false;
    }
    if (last && last->status == PAGECACHE_COLLECTION_STATUS_ACTIVE) {
        error_setg(errp, "A collection is under way, and began %" PRId64
                   " ms ago; the next may begin in %" PRId64 " ms, if it has "
                   "ended by then", age, MAX(INTERVAL_MS - age, 0));
        return false;
    }
    if (age < INTERVAL_MS) {
        error_setg(errp, "The last collection began %" PRId64 " ms ago; the "
                   "next may begin in %" PRId64 " ms", age, INTERVAL_MS - age);
        return false;
    }
    return true;
}

static void add_disks(GArray *disks)
{
    unsigned i, n = pagecache_disks_refresh();

    for (i = 0; i < n; i++) {
        const PagecacheDisk *d = pagecache_disk_get(i);
        PagecacheHintDisk h = { .present = d->dev, .sectors = d->sectors };

        g_array_append_val(disks, h);
    }
}

static void count_blocks(Count *c)
{
    const GPtrArray *blocks = pagecache_census_blocks(c->census);
    unsigned bits = qemu_target_page_bits();
    guint i;

    c->tally = pagecache_tally_new(c->sample, 1ULL << (PAGECACHE_SAMPLE_BITS -
                                                       bits), c->ndisks);
    for (i = 0; i < blocks->len; i++) {
        RAMBlock *rb = g_ptr_array_index(blocks, i);

        pagecache_tally_add_block(c->tally, rb, rb->used_length >> bits);
    }
}

bool pagecache_count_start(int64_t timeout_ms, Error **errp)
{
    g_autoptr(GArray) disks = g_array_new(FALSE, FALSE,
                                          sizeof(PagecacheHintDisk));
    Count *c;

    GLOBAL_STATE_CODE();
    if (!may_start(errp)) {
        return false;
    }
    count_free(last);
    last = c = g_new0(Count, 1);
    c->status = PAGECACHE_COLLECTION_STATUS_ACTIVE;
    c->begun = now_ms();
    c->deadline = c->begun + timeout_ms;
    add_disks(disks);
    c->ndisks = disks->len;
    c->census = pagecache_census_new(SAMPLE_PARTS);
    c->sample = pagecache_census_sample(c->census);
    count_blocks(c);
    pagecache_left_out_clear(PAGECACHE_LEFT_OUT_COUNTED);
    c->epoch = pagecache_hints_count((PagecacheHintDisk *)disks->data,
                                     disks->len, c->tally, c->sample);
    trace_pagecache_count_start(c->epoch, c->sample.every);
    if (!timer) {
        timer = timer_new_ms(QEMU_CLOCK_REALTIME, look, NULL);
    }
    timer_mod(timer, c->begun + POLL_MS);
    return true;
}

/* --- what was found --- */

PagecacheCollection *pagecache_count_get(void)
{
    PagecacheCollection *out;
    Count *c = last;
    unsigned i;

    GLOBAL_STATE_CODE();
    if (!c) {
        return NULL;
    }
    if (c->status == PAGECACHE_COLLECTION_STATUS_ACTIVE) {
        look(NULL);
    }
    out = g_new0(PagecacheCollection, 1);
    out->status = c->status;
    out->age = now_ms() - c->begun;
    out->time = out->age;
    if (c->status != PAGECACHE_COLLECTION_STATUS_ACTIVE) {
        out->age = now_ms() - c->ended;
        out->time = c->ended - c->begun;
    }
    out->sample = c->sample.every;
    for (i = 0; i < c->ndisks; i++) {
        out->pages += pagecache_tally_pages(c->tally, -1, i);
    }
    out->has_ram_pages = c->has_ram_pages;
    out->ram_pages = c->ram_pages;
    out->dropped_hints = c->dropped;
    out->has_left_out = pagecache_left_out_get(PAGECACHE_LEFT_OUT_COUNTED,
                                               &out->left_out);
    return out;
}

bool pagecache_count_of_disk(unsigned disk, uint64_t *pages,
                             PagecacheProducerPagesList **producers)
{
    const char *name;
    unsigned n;

    GLOBAL_STATE_CODE();
    if (!last || disk >= last->ndisks) {
        return false;
    }
    *pages = pagecache_tally_pages(last->tally, -1, disk);
    for (n = 0; (name = pagecache_tally_producer(last->tally, n)); n++) {
        PagecacheProducerPages *p = g_new0(PagecacheProducerPages, 1);

        p->name = g_strdup(name);
        p->pages = pagecache_tally_pages(last->tally, n, disk);
        QAPI_LIST_PREPEND(*producers, p);
    }
    return true;
}
