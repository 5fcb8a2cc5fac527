/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: reports on their way to the migration thread
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "pagecache-inbox.h"

typedef struct Message {
    PagecacheReport report; /* first, as it is given away in place of this */
    uint64_t pages;         /* that it names */
} Message;

struct PagecacheInbox {
    QemuMutex lock;         /* for all */
    QemuCond cond;          /* messages, accepted */
    GQueue messages;        /* of Message */
    uint64_t pages;         /* that all of them name */
    uint64_t max_pages;
    uint64_t refused;
    uint64_t features;      /* of ACCEPTED */
    bool accepted;
    bool closed;
};

PagecacheInbox *pagecache_inbox_new(void)
{
    PagecacheInbox *in = g_new0(PagecacheInbox, 1);

    qemu_mutex_init(&in->lock);
    qemu_cond_init(&in->cond);
    g_queue_init(&in->messages);
    return in;
}

void pagecache_inbox_free(PagecacheInbox *in)
{
    if (in) {
        g_queue_clear_full(&in->messages, g_free);
        qemu_cond_destroy(&in->cond);
        qemu_mutex_destroy(&in->lock);
        g_free(in);
    }
}

static uint64_t count_pages(const PagecacheReport *report)
{
    PagecacheReportRun run;
    uint64_t pages = 0;
    uint16_t pos = 0;

    while (pagecache_report_next(report, &pos, &run)) {
        pages += run.npages;
    }
    return pages;
}

void pagecache_inbox_put(PagecacheInbox *in, const PagecacheReport *report)
{
    uint64_t pages = count_pages(report);

    QEMU_LOCK_GUARD(&in->lock);
    if (report->status == PAGECACHE_REPORT_ACCEPTED) {
        in->accepted = true;
        in->features = report->features;
        qemu_cond_signal(&in->cond);
    } else if (in->pages + pages > in->max_pages) {
        in->refused++;
    } else if (!in->closed) {
        Message *m = g_new(Message, 1);

        m->report = *report;
        m->pages = pages;
        in->pages += pages;
        g_queue_push_tail(&in->messages, m);
        qemu_cond_signal(&in->cond);
    }
}

void pagecache_inbox_limit(PagecacheInbox *in, uint64_t pages)
{
    QEMU_LOCK_GUARD(&in->lock);
    in->max_pages = pages;
}

bool pagecache_inbox_wait_accepted(PagecacheInbox *in, int ms)
{
    QEMU_LOCK_GUARD(&in->lock);
    if (!in->accepted) {
        qemu_cond_timedwait(&in->cond, &in->lock, ms);
    }
    return in->accepted;
}

uint64_t pagecache_inbox_features(PagecacheInbox *in)
{
    QEMU_LOCK_GUARD(&in->lock);
    return in->features;
}

void pagecache_inbox_wait(PagecacheInbox *in, int ms)
{
    QEMU_LOCK_GUARD(&in->lock);
    if (g_queue_is_empty(&in->messages)) {
        qemu_cond_timedwait(&in->cond, &in->lock, ms);
    }
}

PagecacheReport *pagecache_inbox_take(PagecacheInbox *in)
{
    Message *m;

    QEMU_LOCK_GUARD(&in->lock);
    m = g_queue_pop_head(&in->messages);
    if (!m) {
        return NULL;
    }
    in->pages -= m->pages;
    return &m->report;
}

uint64_t pagecache_inbox_pages(PagecacheInbox *in)
{
    QEMU_LOCK_GUARD(&in->lock);
    return in->pages;
}

uint64_t pagecache_inbox_refused(PagecacheInbox *in)
{
    uint64_t n;

    QEMU_LOCK_GUARD(&in->lock);
    n = in->refused;
    in->refused = 0;
    return n;
}

void pagecache_inbox_close(PagecacheInbox *in)
{
    QEMU_LOCK_GUARD(&in->lock);
    in->closed = true;
    g_queue_clear_full(&in->messages, g_free);
}
