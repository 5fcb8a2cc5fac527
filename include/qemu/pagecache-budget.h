/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how many bytes a second may be taken from storage
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A budget has a limit, and may have a share of what others have as well: the
 * lower one counts.  Both may change at any time.  Who wants to spend asks
 * first whether there is anything left, and spends afterwards, whatever it
 * comes to: what is spent beyond is a debt, and nobody spends anything before
 * it is paid.  What is not spent is saved up, but for a short time only.
 *
 * Times are microseconds of g_get_monotonic_time().  Any thread; a lock is
 * taken only while there is a limit.  The lock is the last one: no other is
 * taken under it.
 */
#ifndef QEMU_PAGECACHE_BUDGET_H
#define QEMU_PAGECACHE_BUDGET_H

#include "qemu/stats64.h"

typedef struct PagecacheBudget {
    Stat64 limit;           /* bytes a second; 0: none */
    Stat64 share;           /* the same */
    Stat64 spent;           /* bytes since the last reset */
    int was_short;          /* atomic: somebody had to wait */
    GMutex lock;            /* for the following */
    int64_t burst_us;       /* so long it may be saved up */
    int64_t at_us;          /* when @debt was right */
    double debt;            /* bytes; below 0: saved up */
} PagecacheBudget;

/*
 * How often a limit that has changed is to be noticed: who waits asks again
 * after so long.
 */
#define PAGECACHE_BUDGET_LOOK_US    250000

/* All 0 is a budget without a limit that nobody has used. */
void pagecache_budget_reset(PagecacheBudget *b, int64_t burst_us);

/* Take effect for those who wait as well, within PAGECACHE_BUDGET_LOOK_US. */
void pagecache_budget_set_limit(PagecacheBudget *b, uint64_t limit);
void pagecache_budget_set_share(PagecacheBudget *b, uint64_t share);

/* The lower one of both; 0: there is none. */
static inline uint64_t pagecache_budget_limit(const PagecacheBudget *b)
{
    uint64_t limit = stat64_get(&b->limit), share = stat64_get(&b->share);

    return limit && share ? MIN(limit, share) : limit | share;
}

/*
 * 0: bytes may be spent now.  Otherwise, in how many microseconds the debt will
 * be paid if the limit remains what it is; INT64_MAX / 2 at most.
 */
int64_t pagecache_budget_wait(PagecacheBudget *b, int64_t now);

/*
 * How many bytes may be spent now: 0, or 1 and more, or UINT64_MAX without a
 * limit.  For those who can't spend more than they are told to, and do so again
 * and again: they need not wait for what is saved up to be gone.
 */
uint64_t pagecache_budget_room(PagecacheBudget *b, int64_t now);

void pagecache_budget_spend(PagecacheBudget *b, int64_t now, uint64_t bytes);

/* Who was given room has used it up, and would have had a use for more. */
void pagecache_budget_want_more(PagecacheBudget *b);
/* Did anybody have to wait, or want more, since the last time? */
bool pagecache_budget_was_short(PagecacheBudget *b);

#endif
