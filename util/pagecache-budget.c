/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how many bytes a second may be taken from storage
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Pure code on GLib, for both sides.  Debts are bytes, not times: so a new
 * limit counts for what was spent under the old one, too.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/pagecache-budget.h"
#include "qemu/pagecache-thread.h"

void pagecache_budget_reset(PagecacheBudget *b, int64_t burst_us)
{
    LOCK_GUARD(&b->lock);

    b->burst_us = burst_us;
    b->at_us = 0;
    b->debt = 0;
    stat64_set(&b->spent, 0);
    qatomic_set(&b->was_short, 0);
}

void pagecache_budget_set_limit(PagecacheBudget *b, uint64_t limit)
{
    stat64_set(&b->limit, limit);
}

void pagecache_budget_set_share(PagecacheBudget *b, uint64_t share)
{
    stat64_set(&b->share, share);
}

void pagecache_budget_want_more(PagecacheBudget *b)
{
    qatomic_set(&b->was_short, 1);
}

bool pagecache_budget_was_short(PagecacheBudget *b)
{
    return qatomic_xchg(&b->was_short, 0);
}

/* What was earned since the last time; with the lock */
static void earn(PagecacheBudget *b, int64_t now, uint64_t limit)
{
    double per_us = (double)limit / G_USEC_PER_SEC;

    if (now > b->at_us) {
        b->debt -= per_us * (now - b->at_us);
        b->at_us = now;
    }
    b->debt = MAX(b->debt, -per_us * b->burst_us);
}

int64_t pagecache_budget_wait(PagecacheBudget *b, int64_t now)
{
    uint64_t limit = pagecache_budget_limit(b);
    double us;

    if (!limit) {
        return 0;
    }
    LOCK_GUARD(&b->lock);
    earn(b, now, limit);
    if (b->debt <= 0) {
        return 0;
    }
    pagecache_budget_want_more(b);
    us = b->debt / limit * G_USEC_PER_SEC;
    if (us >= INT64_MAX / 2) {
        return INT64_MAX / 2;
    }
    return MAX(us, 1);
}

uint64_t pagecache_budget_room(PagecacheBudget *b, int64_t now)
{
    uint64_t limit = pagecache_budget_limit(b);

    if (!limit) {
        return UINT64_MAX;
    }
    LOCK_GUARD(&b->lock);
    earn(b, now, limit);
    if (b->debt > 0) {
        pagecache_budget_want_more(b);
        return 0;
    }
    return MAX(-b->debt, 1);
}

void pagecache_budget_spend(PagecacheBudget *b, int64_t now, uint64_t bytes)
{
    uint64_t limit = pagecache_budget_limit(b);

    stat64_add(&b->spent, bytes);
    if (limit) {
        LOCK_GUARD(&b->lock);
        earn(b, now, limit);
        b->debt += bytes;
    }
}
