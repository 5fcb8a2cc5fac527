/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: reports on their way to the source
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Reader threads add runs of pages to a report of their status, which is sent
 * when the reporter thread is free: at once if nothing is on its way, and
 * together with all that has come meanwhile if the return path is busy.  What
 * waits here is bounded by what is in flight: each page is offered once, the
 * claims see to it that it is read once, so it is reported once, and 24 bytes
 * are the most that a page takes in a report.
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/stats64.h"
#include "qemu/timer.h"
#include "qemu/pagecache-fault.h"
#include "migration.h"
#include "pagecache-hooks.h"
#include "pagecache-reporter.h"
#include "qemu-file.h"
#include "trace.h"
#include "yank_functions.h"

/*
 * How long the end of a migration waits for a report to be sent, in ms: if it
 * failed, and if the guest runs already
 */
#define REPORTER_PATIENCE_FAILED_MS 1000
#define REPORTER_PATIENCE_MS        20

/*
 * Reader threads and the reporter's own may outlive the migration, this one if
 * only for its last word: all of them have references.
 */
struct PagecacheReporter {
    int refs;                   /* atomic */
    QEMUFile *to_src;           /* what mis->to_src_file is, or was */
    Stat64 ok, unavailable;     /* pages */
    bool started;               /* main thread */

    QemuMutex lock;             /* for the rest */
    QemuCond cond;              /* reports, closing, done */
    GQueue reports;             /* of PagecacheReport: full, or ACCEPTED */
    PagecacheReport open_ok, open_unavailable;  /* that take more runs */
    bool closing;
    bool done;
    QEMUFile *from_src;         /* the thread has the last word */
    uint32_t verdict;           /* which is that */
};

PagecacheReporter *pagecache_reporter_new(void)
{
    PagecacheReporter *rep = g_new0(PagecacheReporter, 1);

    rep->refs = 1;
    qemu_mutex_init(&rep->lock);
    qemu_cond_init(&rep->cond);
    g_queue_init(&rep->reports);
    pagecache_report_init(&rep->open_ok, PAGECACHE_REPORT_OK);
    pagecache_report_init(&rep->open_unavailable, PAGECACHE_REPORT_UNAVAILABLE);
    return rep;
}

void pagecache_reporter_ref(PagecacheReporter *rep)
{
    qatomic_fetch_inc(&rep->refs);
}

void pagecache_reporter_unref(PagecacheReporter *rep)
{
    if (qatomic_fetch_dec(&rep->refs) != 1) {
        return;
    }
    g_queue_clear_full(&rep->reports, g_free);
    qemu_cond_destroy(&rep->cond);
    qemu_mutex_destroy(&rep->lock);
    g_free(rep);
}

/* --- what waits --- */

/* Faults may happen to @r on its way to the reporter thread.  With the lock. */
static void push_report(PagecacheReporter *rep, const PagecacheReport *r)
{
    if (pagecache_fault(PAGECACHE_FAULT_LOSE_REPORT)) {
        return;
    }
    if (!g_queue_is_empty(&rep->reports) &&
        pagecache_fault(PAGECACHE_FAULT_SHUFFLE_REPORTS)) {
        g_queue_push_head(&rep->reports, g_memdup2(r, sizeof(*r)));
        return;
    }
    g_queue_push_tail(&rep->reports, g_memdup2(r, sizeof(*r)));
    if (pagecache_fault(PAGECACHE_FAULT_DUPLICATE_REPORT)) {
        g_queue_push_tail(&rep->reports, g_memdup2(r, sizeof(*r)));
    }
}

/* With the lock */
static void push_open(PagecacheReporter *rep, PagecacheReport *open)
{
    if (open->nruns) {
        push_report(rep, open);
        pagecache_report_init(open, open->status);
    }
}

/* With the lock */
static void add_to_report(PagecacheReporter *rep, PagecacheReport *open,
                          PagecacheReportRun run)
{
    while (run.npages) {
        uint16_t n = pagecache_report_add(open, &run);

        if (n < run.npages) {
            push_open(rep, open);
        }
        run.first += n;
        run.npages -= n;
        if (run.digests) {
            run.digests += n * PAGECACHE_DIGEST_LEN;
        }
    }
}

static Stat64 *pages_of(PagecacheReporter *rep, uint8_t status)
{
    return status == PAGECACHE_REPORT_OK ? &rep->ok : &rep->unavailable;
}

void pagecache_reporter_flush(PagecacheReporter *rep,
                              PagecacheReportBatch *batch)
{
    bool ok = batch->status == PAGECACHE_REPORT_OK;
    unsigned i;

    if (!batch->nruns) {
        return;
    }
    stat64_add(pages_of(rep, batch->status), batch->pages);
    WITH_QEMU_LOCK_GUARD(&rep->lock) {
        /* closing: the end has come, or the return path is broken */
        for (i = 0; i < batch->nruns && !rep->closing; i++) {
            add_to_report(rep, ok ? &rep->open_ok : &rep->open_unavailable,
                          batch->runs[i]);
        }
        qemu_cond_broadcast(&rep->cond);
    }
    batch->nruns = 0;
    batch->pages = 0;
}

void pagecache_reporter_add(PagecacheReporter *rep, PagecacheReportBatch *batch,
                            const PagecacheReportRun *run)
{
    trace_pagecache_dst_report(run->offer, run->first, run->npages,
                               batch->status);
    batch->runs[batch->nruns++] = *run;
    batch->pages += run->npages;
    if (batch->nruns == PAGECACHE_RUNS_AT_ONCE) {
        pagecache_reporter_flush(rep, batch);
    }
}

uint64_t pagecache_reporter_pages(PagecacheReporter *rep, uint8_t status)
{
    return stat64_get(pages_of(rep, status));
}

/* --- the thread --- */

/*
 * Through @f, which may have been taken out of @mis meanwhile: the reporter
 * thread need not know.
 */
static int send_rp(MigrationIncomingState *mis, QEMUFile *f, uint16_t type,
                   uint16_t len, const void *data)
{
    QEMU_LOCK_GUARD(&mis->rp_mutex);

    trace_migrate_send_rp_message(type, len);
    qemu_put_be16(f, type);
    qemu_put_be16(f, len);
    qemu_put_buffer(f, data, len);
    return qemu_fflush(f);
}

void pagecache_reporter_refuse(void)
{
    MigrationIncomingState *mis = migration_incoming_get_current();
    uint8_t buf[PAGECACHE_REPORT_MAX];
    PagecacheReport r;

    pagecache_report_init(&r, PAGECACHE_REPORT_REFUSED);
    r.version = PAGECACHE_WIRE_VERSION;
    if (mis->to_src_file) {
        send_rp(mis, mis->to_src_file, PAGECACHE_RP_MESSAGE,
                pagecache_wire_encode_report(&r, buf), buf);
    }
}

/* The next one that waits; NULL: none.  g_free() it.  With the lock. */
static PagecacheReport *next_report(PagecacheReporter *rep)
{
    if (g_queue_is_empty(&rep->reports)) {
        push_open(rep, &rep->open_ok);
        push_open(rep, &rep->open_unavailable);
    }
    return g_queue_pop_head(&rep->reports);
}

/* What QEMU does with it at the end, see pagecache_reporter_join() */
static void say_last_word(PagecacheReporter *rep, MigrationIncomingState *mis)
{
    uint32_t be = cpu_to_be32(rep->verdict);

    send_rp(mis, rep->to_src, PAGECACHE_RP_SHUT, sizeof(be), &be);
    qemu_fclose(rep->to_src);
    qemu_fclose(rep->from_src);
    trace_pagecache_dst_last_word(rep->verdict);
}

static void *reporter_thread(void *opaque)
{
    PagecacheReporter *rep = opaque;
    MigrationIncomingState *mis = migration_incoming_get_current();
    int ret = 0;

    qemu_mutex_lock(&rep->lock);
    while (!rep->closing && ret >= 0) {
        uint8_t buf[PAGECACHE_REPORT_MAX];
        PagecacheReport *r = next_report(rep);
        size_t len;

        if (!r) {
            qemu_cond_wait(&rep->cond, &rep->lock);
            continue;
        }
        qemu_mutex_unlock(&rep->lock);
        len = pagecache_wire_encode_report(r, buf);
        g_free(r);
        pagecache_fault_delay(PAGECACHE_FAULT_LATE_REPORT);
        ret = send_rp(mis, rep->to_src, PAGECACHE_RP_MESSAGE, len, buf);
        qemu_mutex_lock(&rep->lock);
    }
    rep->closing = true;
    rep->done = true;
    qemu_cond_broadcast(&rep->cond);
    qemu_mutex_unlock(&rep->lock);
    if (rep->from_src) {
        say_last_word(rep, mis);
    }
    pagecache_reporter_unref(rep);
    return NULL;
}

static void accept_start(PagecacheReporter *rep, uint64_t features)
{
    PagecacheReport *r = g_new(PagecacheReport, 1);

    pagecache_report_init(r, PAGECACHE_REPORT_ACCEPTED);
    r->features = features;
    QEMU_LOCK_GUARD(&rep->lock);
    g_queue_push_tail(&rep->reports, r);
    qemu_cond_broadcast(&rep->cond);
}

void pagecache_reporter_start(PagecacheReporter *rep, uint64_t features)
{
    QemuThread thread;

    pagecache_reporter_ref(rep);
    rep->started = true;
    rep->to_src = migration_incoming_get_current()->to_src_file;
    qemu_thread_create(&thread, "mig/pc-report", reporter_thread, rep,
                       QEMU_THREAD_DETACHED);
    accept_start(rep, features);
}

/* --- the end --- */

void pagecache_reporter_close(PagecacheReporter *rep)
{
    QEMU_LOCK_GUARD(&rep->lock);
    rep->closing = true;
    qemu_cond_broadcast(&rep->cond);
}

/* With the lock.  False: it still sends @ms from now. */
static bool wait_for_reporter(PagecacheReporter *rep, int ms)
{
    int64_t until = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ms, left;

    while (!rep->done &&
           (left = until - qemu_clock_get_ms(QEMU_CLOCK_REALTIME)) > 0) {
        qemu_cond_timedwait(&rep->cond, &rep->lock, left);
    }
    return rep->done;
}

/*
 * The reporter thread may be sending.  It is done at once when the source
 * reads its return path, as no other report follows.  If the source doesn't,
 * the main loop, and with it the guest, must not wait for it.
 *
 * The return path of a migration that failed can be shut down.  That of one
 * that went well must stay open: without QEMU's last message, which says that
 * it did, the source runs the guest, too.  That message has to wait behind the
 * report, so the reporter thread sends it and closes the channel, both of which
 * QEMU does not find any more.
 */
void pagecache_reporter_join(PagecacheReporter *rep)
{
    MigrationIncomingState *mis = migration_incoming_get_current();

    if (!rep->started) {
        return;
    }
    QEMU_LOCK_GUARD(&rep->lock);
    if (mis->state == MIGRATION_STATUS_FAILED) {
        if (!wait_for_reporter(rep, REPORTER_PATIENCE_FAILED_MS)) {
            qemu_file_shutdown(rep->to_src);
        }
        while (!rep->done) {
            qemu_cond_wait(&rep->cond, &rep->lock);
        }
    } else if (!wait_for_reporter(rep, REPORTER_PATIENCE_MS)) {
        migration_ioc_unregister_yank_from_file(mis->from_src_file);
        rep->verdict = qemu_file_get_error(mis->from_src_file) != 0;
        rep->from_src = g_steal_pointer(&mis->from_src_file);
        mis->to_src_file = NULL;
    }
}
