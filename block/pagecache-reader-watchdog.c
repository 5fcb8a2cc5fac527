/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's watchdog: deadlines, and when a disk is given up
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The watchdog is one thread for all readers.  It never touches storage, so
 * nothing can hold it up but the callers' own callbacks.  It watches a reader
 * until that is closed and the last callback has returned, and lives as long
 * as there is one; engine threads may live longer, with references of their
 * own.
 *
 * It looks at a reader that was put on the list of those with something new
 * (pcr_wake_watchdog()), or whose time has come.
 */

#include "qemu/osdep.h"
#include "pagecache-reader-state.h"
#include "trace.h"

/* Runs that are given back in one go */
#define FLUSH_RUNS  1024

/* --- The watchdog -------------------------------------------------------- */

/* With the lock held, which is dropped meanwhile */
static void tell_failed(PagecacheReader *r, GArray *pieces, int ret)
{
    r->callbacks++;
    g_mutex_unlock(&r->lock);
    trace_pagecache_reader_return(r, pieces->len, ret);
    pcr_tell(r, pieces, NULL, ret);
    g_mutex_lock(&r->lock);
    r->callbacks--;
}

/* True when the lock was dropped and the watchdog has to look again */
static bool return_rejects(PagecacheReader *r)
{
    GArray *pieces = r->rejects;
    g_autofree char *why = NULL;

    if (!pieces->len) {
        return false;
    }
    why = g_strdup_printf("a page at sector %" PRIu64 " or after it ends beyond "
                          "the disk, which has %" PRIu64 " bytes",
                          g_array_index(pieces, PagecachePiece, 0).run.sector,
                          r->size);
    pcr_set_error(r, why);
    r->rejects = g_array_new(false, false, sizeof(PagecachePiece));
    tell_failed(r, pieces, -EINVAL);
    g_array_free(pieces, true);
    return true;
}

static bool revoke_reads(PagecacheReader *r, int64_t now)
{
    PagecacheRead *read = g_queue_peek_head(&r->inflight);
    GArray *pieces;
    int ret;

    if (!read || (!pcr_stopping(r) && read->deadline_us > now)) {
        return false;
    }
    /* One that never comes tells less than those that come late. */
    pcr_landed(r, read, false, now);
    if (r->closed) {
        ret = -ECANCELED;
    } else if (r->state == PAGECACHE_READER_FAILED) {
        ret = -EIO;
    } else {
        g_autofree char *why = NULL;

        ret = -ETIMEDOUT;
        why = g_strdup_printf("no answer within %u ms to a read of %u bytes "
                              "at %" PRIu64, r->config.deadline_ms,
                              read->bytes, read->offset);
        pcr_count_failure(r, why, true);
    }
    trace_pagecache_reader_revoke(r, read->offset, read->bytes, ret);
    pcr_check_stall(r, now);
    /*
     * The pieces are ours.  From here on the engine may free the rest at any
     * moment.
     */
    pieces = read->pieces;
    read->pieces = g_array_new(false, false, sizeof(PagecachePiece));
    g_atomic_int_set(&read->revoked, 1);
    pcr_kick(r);
    tell_failed(r, pieces, ret);
    g_array_free(pieces, true);
    return true;
}

/* The queue is replaced: however many runs wait, the lock is held for some. */
static bool flush_queue(PagecacheReader *r, int64_t now)
{
    g_autoptr(GArray) pieces = NULL;
    PagecacheRunQueue *queue = r->queue;
    bool late = r->flush_us && now >= r->flush_us;
    int ret = r->closed ? -ECANCELED :
              r->state == PAGECACHE_READER_FAILED ? -EIO : -ETIMEDOUT;

    if (!late && !pcr_stopping(r)) {
        return false;
    }
    r->flush_us = 0;
    if (pagecache_run_queue_is_empty(queue)) {
        return false;
    }
    r->queue = pagecache_run_queue_new(r->config.page_size);
    pieces = g_array_new(false, false, sizeof(PagecachePiece));
    while (pagecache_run_queue_flush(queue, FLUSH_RUNS, pieces)) {
        tell_failed(r, pieces, ret);
        g_array_set_size(pieces, 0);
    }
    pagecache_run_queue_free(queue);
    return true;
}

/* A limit that has held reads back holds on: time has not run. */
static void check_limits(PagecacheReader *r, int64_t now)
{
    if (r->stall_us && pcr_limits_wait(r, now)) {
        pcr_not_stalled(r);
        pcr_check_stall(r, now);
    }
}

static void check_give_up(PagecacheReader *r, int64_t now)
{
    g_autofree char *why = NULL;

    if (r->stall_us && now - r->stall_us >= r->config.giveup_ms * 1000LL) {
        why = g_strdup_printf("no read could be started for %u ms%s%s",
                              r->config.giveup_ms, r->last_error ? ": " : "",
                              r->last_error ?: "");
        pcr_give_up(r, why);
    }
}

/* When to look at @r again if nothing happens; with its lock held */
static int64_t watch_due(PagecacheReader *r)
{
    PagecacheRead *first = g_queue_peek_head(&r->inflight);
    int64_t until = INT64_MAX;

    if (first) {
        until = first->deadline_us;
    }
    if (!pcr_stopping(r)) {
        if (r->flush_us) {
            until = MIN(until, r->flush_us);
        }
        if (r->stall_us) {
            until = MIN(until, r->stall_us + r->config.giveup_ms * 1000LL);
        }
    }
    return until;
}

/* False: @r is closed, and nothing of the caller's is used any more */
static bool watch_reader(PagecacheReader *r)
{
    bool more;

    g_mutex_lock(&r->lock);
    for (;;) {
        int64_t now = g_get_monotonic_time();

        check_limits(r, now);
        check_give_up(r, now);
        if (!return_rejects(r) && !revoke_reads(r, now) &&
            !flush_queue(r, now)) {
            break;
        }
    }
    more = !r->closed || r->callbacks;
    r->watch_due_us = watch_due(r);
    g_mutex_unlock(&r->lock);
    return more;
}

/* --- The thread; pcr_to_watch.lock guards what follows, too --------------- */

static GPtrArray *watched;      /* of PagecacheReader; NULL: no thread */

/* @watch_due_us changes in this thread only */
static int64_t next_due(void)
{
    int64_t due = INT64_MAX;
    guint i;

    for (i = 0; i < watched->len; i++) {
        PagecacheReader *r = g_ptr_array_index(watched, i);

        due = MIN(due, r->watch_due_us);
    }
    return due;
}

/* Puts those whose time has come into the queue */
static void queue_due(int64_t now)
{
    guint i;

    for (i = 0; i < watched->len; i++) {
        PagecacheReader *r = g_ptr_array_index(watched, i);

        if (!r->watch_queued && r->watch_due_us <= now) {
            r->watch_queued = true;
            g_queue_push_tail_link(&pcr_to_watch.readers, &r->watch_link);
        }
    }
}

static void watchdog_wait(void)
{
    int64_t due = next_due();

    if (due == INT64_MAX) {
        g_cond_wait(&pcr_to_watch.cond, &pcr_to_watch.lock);
    } else {
        g_cond_wait_until(&pcr_to_watch.cond, &pcr_to_watch.lock, due);
    }
}

/* With the lock held, as it is around the following */
static void stop_watching(PagecacheReader *r)
{
    /* an engine that ends late may have woken us for it, or may yet do so */
    if (r->watch_queued) {
        g_queue_unlink(&pcr_to_watch.readers, &r->watch_link);
    }
    r->watch_queued = true;
    g_ptr_array_remove_fast(watched, r);
}

static gpointer watchdog_thread(gpointer opaque)
{
    guint n;

    g_mutex_lock(&pcr_to_watch.lock);
    while (watched->len) {
        queue_due(g_get_monotonic_time());
        if (!pcr_to_watch.readers.length) {
            watchdog_wait();
            continue;
        }
        for (n = pcr_to_watch.readers.length; n > 0; n--) {
            GList *link = g_queue_pop_head_link(&pcr_to_watch.readers);
            PagecacheReader *r = link->data;
            bool more;

            r->watch_queued = false;
            g_mutex_unlock(&pcr_to_watch.lock);
            more = watch_reader(r);
            if (!more) {
                trace_pagecache_reader_release(r);
                if (r->config.release) {
                    r->config.release(r->config.opaque);
                }
            }
            g_mutex_lock(&pcr_to_watch.lock);
            if (!more) {
                stop_watching(r);
                g_mutex_unlock(&pcr_to_watch.lock);
                pagecache_reader_unref(r);
                g_mutex_lock(&pcr_to_watch.lock);
            }
        }
    }
    g_clear_pointer(&watched, g_ptr_array_unref);
    g_mutex_unlock(&pcr_to_watch.lock);
    return NULL;
}

bool pcr_watch(PagecacheReader *r)
{
    bool ok = true;

    r->watch_due_us = INT64_MAX;
    g_mutex_lock(&pcr_to_watch.lock);
    if (!watched) {
        watched = g_ptr_array_new();
        ok = pagecache_reader_thread("pagecache-watch", watchdog_thread, NULL);
        if (!ok) {
            g_clear_pointer(&watched, g_ptr_array_unref);
        }
    }
    if (ok) {
        g_ptr_array_add(watched, pagecache_reader_ref(r));
    }
    g_mutex_unlock(&pcr_to_watch.lock);
    return ok;
}
