/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the destination's own read-only way to the guest's disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The part that all engines share: the queue, the reads in flight and the
 * bandwidth cap.  It calls pagecache-reader-watchdog.c, which has deadlines,
 * and both call pagecache-reader-state.c; engines call this file and the state,
 * and are called by PagecacheEngineOps alone.
 *
 * One mutex guards it all and is never held across I/O or a callback.  A read
 * in flight belongs to two: its pages to the reader, its bounce buffer to the
 * engine.  Whoever is first under the mutex, the engine with the outcome or
 * the watchdog at the deadline, takes it off the list of reads in flight and
 * thereby the right to tell the caller; the other does nothing.  So a page
 * comes back exactly once, at the deadline at the latest, and a buffer is
 * freed only after the engine has let go of it.
 */

#include "qemu/osdep.h"
#include "qemu/pagecache-budget.h"
#include "qemu/pagecache-thread.h"
#include "pagecache-reader-fault.h"
#include "pagecache-reader-state.h"
#include "trace.h"

#define SECTOR              512u
#define DEFAULT_DEPTH       8
#define DEFAULT_MAX_READ    (256 * 1024)
#define DEFAULT_FAILURES    64
#define MAX_DEPTH           128
#define MAX_MAX_READ        (16 * 1024 * 1024)
/* The guest's limit may be exceeded by what it allows in this time... */
#define BURST_US            20000
/* ...and a refusal is final at the third time for each session */
#define MAX_REFUSALS        3

/* --- Reads; with the lock held -------------------------------------------- */

static void read_free(PagecacheReader *r, PagecacheRead *read)
{
    if (read->buf) {
        pcr_buffer_put(r, read->buf);
        if (r->starved) {
            r->starved = false;
            pcr_kick(r);
        }
    }
    g_array_free(read->pieces, true);
    g_free(read);
}

/* --- For the engines ----------------------------------------------------- */

uint32_t pagecache_reader_deadline_ms(PagecacheReader *r)
{
    return r->config.deadline_ms;
}

bool pagecache_reader_stopping(PagecacheReader *r)
{
    LOCK_GUARD(&r->lock);

    return pcr_stopping(r);
}

void pagecache_reader_give_up(PagecacheReader *r, const char *why)
{
    LOCK_GUARD(&r->lock);

    pcr_give_up(r, why);
}

/* Has the disk, which begins in @size bytes, all that the guest knows of it? */
static char *why_too_small(PagecacheReader *r, uint64_t size)
{
    const PagecacheReaderSpec *spec = r->spec;
    uint64_t have = spec->size ?: size - spec->offset;

    /* QEMU's block layer counts the last sector of a file whole, too */
    if (have / SECTOR + (have % SECTOR != 0) >= r->config.sectors) {
        return NULL;
    }
    return g_strdup_printf("the disk has %" PRIu64 " bytes here, expected %"
                           PRIu64 " or more, as at the source", have,
                           r->config.sectors * SECTOR);
}

void pagecache_reader_method(PagecacheReader *r, const char *text)
{
    LOCK_GUARD(&r->lock);

    r->method = g_intern_string(text);
}

bool pagecache_reader_up(PagecacheReader *r, uint64_t size, uint32_t align,
                         uint32_t max_read, char **why)
{
    LOCK_GUARD(&r->lock);
    const PagecacheReaderSpec *spec = r->spec;
    uint32_t limit = r->config.max_read;

    if (!align || (align & (align - 1)) ||
        align > PAGECACHE_READER_MAX_ALIGN) {
        *why = g_strdup_printf("block length is %u bytes, expected a power of "
                               "two up to %u", align,
                               PAGECACHE_READER_MAX_ALIGN);
        return false;
    }
    if (r->align && r->align != align) {
        *why = g_strdup_printf("block length is %u bytes, was %u bytes for "
                               "the first session", align, r->align);
        return false;
    }
    if (spec->offset > size || spec->size > size - spec->offset) {
        *why = g_strdup_printf("%" PRIu64 " bytes are there, expected %" PRIu64
                               " or more", size, spec->offset + spec->size);
        return false;
    }
    *why = why_too_small(r, size);
    if (*why) {
        /* no other session would find more */
        pcr_give_up(r, *why);
        return false;
    }
    if (max_read) {
        /* a read grows by up to two blocks when it is aligned */
        limit = max_read < 2 * align ? 0 : MIN(limit, max_read - 2 * align);
        limit -= limit % r->config.page_size;
        if (!limit) {
            *why = g_strdup_printf("takes reads of up to %u bytes, expected "
                                   "%u or more", max_read,
                                   r->config.page_size + 2 * align);
            return false;
        }
    }
    r->align = align;
    r->max_read = MIN(r->max_read, limit);
    r->size = spec->size ?: size - spec->offset;
    r->sessions_up++;
    if (r->state == PAGECACHE_READER_OPENING) {
        r->state = PAGECACHE_READER_READY;
    }
    pcr_not_stalled(r);
    pcr_check_stall(r, g_get_monotonic_time());
    trace_pagecache_reader_up(r, spec->name, size, align, r->max_read);
    return true;
}

void pagecache_reader_down(PagecacheReader *r, bool was_up, bool refused,
                           const char *why)
{
    LOCK_GUARD(&r->lock);

    trace_pagecache_reader_down(r, r->spec->name, was_up, why ?: "");
    if (was_up) {
        r->sessions_up--;
    }
    if (pcr_stopping(r)) {
        return;
    }
    pcr_set_error(r, why);
    /* a target that let us in before may be on its way back */
    if (refused && !r->align &&
        ++r->refusals >= MAX_REFUSALS * r->config.sessions) {
        pcr_give_up(r, why);
    }
}

static void align_read(PagecacheReader *r, PagecacheRead *read,
                       uint64_t sector, uint32_t bytes)
{
    uint64_t start = r->spec->offset + sector * SECTOR;
    uint32_t head = start % r->align;
    guint i;

    read->offset = start - head;
    read->needed = head + bytes;
    read->bytes = (read->needed + r->align - 1) / r->align * r->align;
    for (i = 0; i < read->pieces->len; i++) {
        g_array_index(read->pieces, PagecachePiece, i).offset += head;
    }
}

/* Pays for a read of @bytes out of what the limits allow */
static void charge(PagecacheReader *r, uint32_t bytes, int64_t now)
{
    uint64_t cost = 0;

    if (r->config.budget) {
        pagecache_budget_spend(r->config.budget, now, bytes);
    }
    if (r->spec->max_bandwidth) {
        cost = (uint64_t)bytes * G_USEC_PER_SEC / r->spec->max_bandwidth;
    }
    if (r->spec->max_iops) {
        cost = MAX(cost, G_USEC_PER_SEC / r->spec->max_iops);
    }
    if (cost) {
        r->next_us = MAX(r->next_us, now - BURST_US) + cost;
    }
}

static PagecacheRead *next_locked(PagecacheReader *r, int64_t *wait_us)
{
    PagecacheRead *read;
    uint64_t sector;
    uint32_t bytes;
    int64_t now;

    *wait_us = -1;
    if (pcr_stopping(r) || !r->align) {
        return NULL;
    }
    if (pagecache_run_queue_is_empty(r->queue)) {
        r->hungry = true;
        return NULL;
    }
    now = g_get_monotonic_time();
    *wait_us = pcr_limits_wait(r, now);
    if (*wait_us) {
        return NULL;
    }
    *wait_us = -1;
    if (!pcr_backoff_allows(&r->backoff, r->inflight.length)) {
        r->held_back = true;
        return NULL;
    }

    read = g_new0(PagecacheRead, 1);
    read->link.data = read;
    read->pieces = g_array_new(false, false, sizeof(PagecachePiece));
    read->buf = pcr_buffer_get(r, &r->starved);
    if (!read->buf) {
        read_free(r, read);
        *wait_us = r->starved ? -1 : 100000;
        return NULL;
    }
    if (!pagecache_run_queue_take(r->queue, r->size / SECTOR, r->max_read,
                                  read->pieces, r->rejects, &sector, &bytes)) {
        read_free(r, read);
        r->hungry = true;
        pcr_not_stalled(r);
        pcr_wake_watchdog(r);
        return NULL;
    }
    align_read(r, read, sector, bytes);
    charge(r, read->bytes, now);
    read->start_us = now;
    read->deadline_us = now + r->config.deadline_ms * 1000LL;
    g_queue_push_tail_link(&r->inflight, &read->link);
    read->tells = pcr_backoff_counts(&r->backoff, r->inflight.length);
    pcr_not_stalled(r);
    pcr_watch_until(r, r->rejects->len ? 0 : read->deadline_us);
    trace_pagecache_reader_read(r, read->offset, read->bytes,
                                read->pieces->len);
    return read;
}

PagecacheRead *pagecache_reader_next(PagecacheReader *r, int64_t *wait_us)
{
    LOCK_GUARD(&r->lock);

    return next_locked(r, wait_us);
}

PagecacheRead *pagecache_reader_next_wait(PagecacheReader *r)
{
    LOCK_GUARD(&r->lock);

    while (!pcr_stopping(r)) {
        int64_t wait_us;
        PagecacheRead *read = next_locked(r, &wait_us);

        if (read) {
            return read;
        }
        if (wait_us < 0) {
            g_cond_wait(&r->work, &r->lock);
        } else {
            g_cond_wait_until(&r->work, &r->lock,
                              g_get_monotonic_time() + wait_us);
        }
    }
    return NULL;
}

void pagecache_reader_complete(PagecacheReader *r, PagecacheRead *read,
                               int ret, const char *why)
{
    uint64_t used = 0;
    int64_t now;
    guint i;

    pcr_fault_complete(r, read, &ret, &why);
    g_mutex_lock(&r->lock);
    if (pagecache_read_revoked(read)) {
        /* nobody waits for it any more */
        read_free(r, read);
        g_mutex_unlock(&r->lock);
        return;
    }
    now = g_get_monotonic_time();
    trace_pagecache_reader_complete(r, read->offset, read->bytes, ret,
                                    now - read->start_us);
    pcr_landed(r, read, ret == 0, now);
    if (ret == 0) {
        for (i = 0; i < read->pieces->len; i++) {
            used += (uint64_t)r->config.page_size *
                    g_array_index(read->pieces, PagecachePiece, i).run.npages;
        }
        r->reads++;
        r->bytes_read += read->bytes;
        r->bytes_used += used;
        r->failures = 0;
    } else {
        g_autofree char *text = NULL;

        text = g_strdup_printf("a read of %u bytes at %" PRIu64 ": %s",
                               read->bytes, read->offset,
                               why && *why ? why : g_strerror(-ret));
        pcr_count_failure(r, text, false);
    }
    pcr_check_stall(r, now);
    r->callbacks++;
    g_mutex_unlock(&r->lock);

    pcr_tell(r, read->pieces, ret == 0 ? read->buf : NULL, ret);

    g_mutex_lock(&r->lock);
    r->callbacks--;
    if (r->closed) {
        pcr_wake_watchdog(r);
    }
    read_free(r, read);
    g_mutex_unlock(&r->lock);
}

/* --- For the caller ------------------------------------------------------ */

static void complete_config(PagecacheReaderConfig *c)
{
    g_assert(c->done && c->page_size >= SECTOR &&
             (c->page_size & (c->page_size - 1)) == 0);
    c->sessions = MIN(c->sessions ?: PAGECACHE_READER_SESSIONS,
                      PAGECACHE_READER_SESSIONS_MAX);
    c->depth = MIN(c->depth ?: DEFAULT_DEPTH, MAX_DEPTH);
    c->max_read = MIN(c->max_read ?: DEFAULT_MAX_READ, MAX_MAX_READ);
    c->max_read -= c->max_read % c->page_size;
    c->max_read = MAX(c->max_read, c->page_size);
    c->deadline_ms = c->deadline_ms ?: PAGECACHE_READER_DEADLINE_MS;
    c->max_failures = c->max_failures ?:
                      MAX(DEFAULT_FAILURES, 4 * c->sessions * c->depth);
    c->giveup_ms = c->giveup_ms ?: (uint32_t)MIN(3ull * c->deadline_ms,
                                                 UINT32_MAX);
}

PagecacheReader *pagecache_reader_open(PagecacheReaderSpec *spec,
                                       const PagecacheReaderConfig *config)
{
    PagecacheReader *r = g_new0(PagecacheReader, 1);

    r->refs = 1;
    r->config = *config;
    complete_config(&r->config);
    r->spec = spec;
    r->max_read = r->config.max_read;
    pcr_backoff_init(&r->backoff, !config->back_off ? 0 :
                     r->config.sessions * r->config.depth);
    g_mutex_init(&r->lock);
    g_cond_init(&r->work);
    g_queue_init(&r->inflight);
    r->queue = pagecache_run_queue_new(r->config.page_size);
    r->rejects = g_array_new(false, false, sizeof(PagecachePiece));
    r->watch_link.data = r;
    trace_pagecache_reader_open(r, spec->ops->name, spec->name,
                                r->config.sessions, r->config.depth,
                                r->config.max_read, spec->max_bandwidth);

    if (!pcr_watch(r)) {
        pagecache_reader_unref(r);
        return NULL;
    }
    return r;
}

/*
 * Nobody else can have started it meanwhile, or closed the reader: there is no
 * callback, and hence no second thread of the caller's, before the first run.
 */
void pagecache_reader_start(PagecacheReader *r)
{
    g_autofree char *why = NULL;
    void *engine;

    g_mutex_lock(&r->lock);
    if (r->started || pcr_stopping(r)) {
        g_mutex_unlock(&r->lock);
        return;
    }
    r->started = true;
    r->state = PAGECACHE_READER_OPENING;
    pcr_buffers_join();
    g_mutex_unlock(&r->lock);

    trace_pagecache_reader_start(r, r->spec->ops->name, r->spec->name);
    engine = r->spec->ops->start(r, r->spec, r->config.sessions,
                                 r->config.depth, &why);
    g_mutex_lock(&r->lock);
    r->engine = engine;
    if (!engine) {
        pcr_give_up(r, why ?: "the reader's engine could not be started");
    } else if (pcr_stopping(r)) {
        pcr_kick(r);        /* it was given up before it could be told */
    }
    g_mutex_unlock(&r->lock);
}

void pagecache_reader_submit(PagecacheReader *r, const PagecacheRun *runs,
                             uint32_t n)
{
    PagecacheRunBatch *batch = pagecache_run_batch_new(runs, n);

    if (!batch) {
        return;
    }
    pagecache_reader_start(r);
    LOCK_GUARD(&r->lock);
    pagecache_run_queue_add(r->queue, batch);
    if (pcr_stopping(r)) {
        pcr_wake_watchdog(r);
        return;
    }
    pcr_check_stall(r, g_get_monotonic_time());
    if (r->hungry && !pcr_fault_lose_kick()) {
        pcr_kick(r);
    }
}

void pagecache_reader_stats(PagecacheReader *r, PagecacheReaderStats *stats)
{
    LOCK_GUARD(&r->lock);

    *stats = (PagecacheReaderStats) {
        .engine = r->spec->ops->name,
        .method = r->method,
        .state = r->state,
        .sessions = r->sessions_up,
        .bytes_read = r->bytes_read,
        .bytes_used = r->bytes_used,
        .reads = r->reads,
        .errors = r->errors,
        .timeouts = r->timeouts,
        .last_error = g_strdup(r->last_error),
    };
}

void pagecache_reader_close(PagecacheReader *r)
{
    g_mutex_lock(&r->lock);
    trace_pagecache_reader_close(r, r->inflight.length);
    r->closed = true;
    pcr_kick(r);
    pcr_wake_watchdog(r);
    g_mutex_unlock(&r->lock);
    pagecache_reader_unref(r);
}
