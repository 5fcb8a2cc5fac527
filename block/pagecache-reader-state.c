/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the state of a reader
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The floor below the reader, its watchdog and its engines: a reader's life,
 * and what any of them does to its state.  It calls none of them but by
 * PagecacheEngineOps.  The watchdog is woken by a list that it sleeps on.
 */

#include "qemu/osdep.h"
#include "qemu/pagecache-budget.h"
#include "qemu/pagecache-thread.h"
#include "pagecache-reader-state.h"
#include "trace.h"

const PagecacheEngineOps *pagecache_reader_iscsi_ops;
const PagecacheEngineOps *pagecache_reader_nbd_ops;
const PagecacheEngineOps *pagecache_reader_file_ops;

/* --- Specs ---------------------------------------------------------------- */

PagecacheReaderSpec *pagecache_reader_spec_alloc(const PagecacheEngineOps *ops)
{
    PagecacheReaderSpec *spec = g_new0(PagecacheReaderSpec, 1);

    spec->ops = ops;
    return spec;
}

void pagecache_reader_spec_free(PagecacheReaderSpec *spec)
{
    if (spec) {
        spec->ops->spec_free(spec);
        g_free(spec->name);
        g_free(spec);
    }
}

const char *pagecache_reader_spec_engine(const PagecacheReaderSpec *spec)
{
    return spec->ops->name;
}

uint64_t pagecache_reader_spec_limit(const PagecacheReaderSpec *spec)
{
    return spec->max_bandwidth;
}

/* --- Life ----------------------------------------------------------------- */

PagecacheReader *pagecache_reader_ref(PagecacheReader *r)
{
    g_atomic_int_inc(&r->refs);
    return r;
}

void pagecache_reader_unref(PagecacheReader *r)
{
    if (!g_atomic_int_dec_and_test(&r->refs)) {
        return;
    }
    trace_pagecache_reader_gone(r);
    if (r->engine) {
        r->spec->ops->free(r->engine);
    }
    if (r->started) {
        pcr_buffers_leave();
    }
    pagecache_reader_spec_free(r->spec);
    pagecache_run_queue_free(r->queue);
    g_array_free(r->rejects, true);
    g_cond_clear(&r->work);
    g_mutex_clear(&r->lock);
    g_free(r->last_error);
    g_free(r);
}

void pagecache_reader_lock(PagecacheReader *r)
{
    g_mutex_lock(&r->lock);
}

void pagecache_reader_unlock(PagecacheReader *r)
{
    g_mutex_unlock(&r->lock);
}

bool pagecache_reader_thread(const char *name, GThreadFunc fn, void *arg)
{
    GThread *thread = pagecache_thread_new(name, fn, arg);

    if (thread) {
        g_thread_unref(thread);
    }
    return thread != NULL;
}

/* --- For the watchdog ----------------------------------------------------- */

PcrToWatch pcr_to_watch;

void pcr_wake_watchdog(PagecacheReader *r)
{
    g_mutex_lock(&pcr_to_watch.lock);
    if (!r->watch_queued) {
        r->watch_queued = true;
        g_queue_push_tail_link(&pcr_to_watch.readers, &r->watch_link);
        g_cond_signal(&pcr_to_watch.cond);
    }
    g_mutex_unlock(&pcr_to_watch.lock);
}

/* --- Decisions; with the lock held --------------------------------------- */

void pcr_set_error(PagecacheReader *r, const char *why)
{
    if (why && *why) {
        g_free(r->last_error);
        r->last_error = g_strdup(why);
    }
}

void pcr_kick(PagecacheReader *r)
{
    r->hungry = false;
    g_cond_broadcast(&r->work);
    if (r->engine && r->spec->ops->kick) {
        r->spec->ops->kick(r->engine);
    }
}

void pcr_give_up(PagecacheReader *r, const char *why)
{
    if (pcr_stopping(r)) {
        return;
    }
    trace_pagecache_reader_give_up(r, r->spec->name, why);
    r->state = PAGECACHE_READER_FAILED;
    pcr_set_error(r, why);
    pcr_kick(r);
    pcr_wake_watchdog(r);
}

void pcr_count_failure(PagecacheReader *r, const char *why, bool timeout)
{
    g_autofree char *last = NULL;

    r->errors++;
    r->timeouts += timeout;
    if (pcr_stopping(r)) {
        return;     /* the reason for that counts */
    }
    pcr_set_error(r, why);
    if (++r->failures >= r->config.max_failures) {
        last = g_strdup_printf("%u reads failed in a row, the last one: %s",
                               r->failures,
                               r->last_error ?: "unknown error");
        pcr_give_up(r, last);
    }
}

void pcr_landed(PagecacheReader *r, PagecacheRead *read, bool ok, int64_t now)
{
    g_queue_unlink(&r->inflight, &read->link);
    if (ok && read->tells &&
        pcr_backoff_read(&r->backoff, read->bytes, read->start_us, now)) {
        trace_pagecache_reader_window(r, r->backoff.window);
    }
    if (r->held_back) {
        r->held_back = false;
        pcr_kick(r);
    }
}

int64_t pcr_limits_wait(PagecacheReader *r, int64_t now)
{
    int64_t us = MAX(0, r->next_us - now);

    if (r->config.budget) {
        us = MAX(us, MIN(pagecache_budget_wait(r->config.budget, now),
                         PAGECACHE_BUDGET_LOOK_US));
    }
    return us;
}

void pcr_check_stall(PagecacheReader *r, int64_t now)
{
    int64_t since = now + pcr_limits_wait(r, now);

    if (r->inflight.length || pagecache_run_queue_is_empty(r->queue)) {
        return;
    }
    if (!r->stall_us) {
        r->stall_us = since;
    }
    if (!r->flush_us) {
        r->flush_us = since + r->config.deadline_ms * 1000LL;
    }
    pcr_watch_until(r, MIN(r->flush_us, r->stall_us +
                           r->config.giveup_ms * 1000LL));
}

void pcr_not_stalled(PagecacheReader *r)
{
    r->stall_us = 0;
    r->flush_us = 0;
}

/* --- Without the lock ----------------------------------------------------- */

void pcr_tell(PagecacheReader *r, const GArray *pieces, const uint8_t *buf,
              int ret)
{
    r->config.done(r->config.opaque, (const PagecachePiece *)pieces->data,
                   pieces->len, buf, ret);
}
