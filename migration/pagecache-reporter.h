/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: reports on their way to the source
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Reader threads say which pages they have; a thread of its own sends that, so
 * that they do not wait for the network.  At the end it has QEMU's last word on
 * the return path if the source does not read it.
 *
 * The lock is for reports that wait and for the end of the thread.  It is not
 * held while a report is sent, nor when another one is taken, but for that of
 * QEMU's yank instances in pagecache_reporter_join().
 */
#ifndef MIGRATION_PAGECACHE_REPORTER_H
#define MIGRATION_PAGECACHE_REPORTER_H

#include "pagecache-wire.h"

/* Runs that are reported with the lock held */
#define PAGECACHE_RUNS_AT_ONCE  64

typedef struct PagecacheReporter PagecacheReporter;

/* Runs that are reported together: what is theirs alone takes no lock. */
typedef struct PagecacheReportBatch {
    uint8_t status;             /* OK or UNAVAILABLE; the rest is 0 at first */
    unsigned nruns;
    uint64_t pages;
    PagecacheReportRun runs[PAGECACHE_RUNS_AT_ONCE];
} PagecacheReportBatch;

/* --- the main thread ------------------------------------------------------ */

PagecacheReporter *pagecache_reporter_new(void);
/*
 * Starts the thread, which has a reference of its own and sends through what is
 * the return path now: first of all that START was accepted, with these
 * @features.
 */
void pagecache_reporter_start(PagecacheReporter *rep, uint64_t features);
/* Tells the source, without any reporter, that START is refused. */
void pagecache_reporter_refuse(void);
/* Nothing is reported any more; does not wait. */
void pagecache_reporter_close(PagecacheReporter *rep);
/*
 * The incoming migration is over, good or bad, and the reporter closed: when
 * it returns, the return path is QEMU's again or, if a report is still on its
 * way, the thread's.  With the BQL.
 */
void pagecache_reporter_join(PagecacheReporter *rep);

/* --- any thread ----------------------------------------------------------- */

void pagecache_reporter_ref(PagecacheReporter *rep);
void pagecache_reporter_unref(PagecacheReporter *rep);
/* pagecache_reporter_flush() is to follow the last run. */
void pagecache_reporter_add(PagecacheReporter *rep, PagecacheReportBatch *batch,
                            const PagecacheReportRun *run);
/* @batch is empty afterwards. */
void pagecache_reporter_flush(PagecacheReporter *rep,
                              PagecacheReportBatch *batch);
/* How many were reported with this status, OK or UNAVAILABLE */
uint64_t pagecache_reporter_pages(PagecacheReporter *rep, uint8_t status);

#endif
