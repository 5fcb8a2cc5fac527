/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: who may write a page of the destination's RAM
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One byte of state for each page, changed by atomic operations only:
 *
 *     NONE --offer--> OFFERED --copy_begin--> COPYING --copy_end--> REFILLED
 *       \                |                       :                     |
 *        `---------------`------ channel --------:---------------------`
 *                                   |         (waits)
 *                                   v
 *                                CHANNEL     for good
 *
 * The channel always wins: once pagecache_claim_channel() has returned, no
 * refill writes the page any more, and what a refill did write is visible to
 * the caller.  It waits for a copy that is under way, which is one memcpy() of
 * one page: copy_begin() and copy_end() must have nothing else in between.
 *
 * The order of memory accesses, on weakly ordered processors too: copy_end()
 * releases the content that was copied, and channel(), which sees REFILLED,
 * acquires it; so the bytes from the channel land after those of the refill.
 * A refill that finds CHANNEL has written nothing.  All state changes of one
 * page are in one total order, being compare-and-swaps of one variable.
 */
#ifndef MIGRATION_PAGECACHE_CLAIM_H
#define MIGRATION_PAGECACHE_CLAIM_H

#include "qemu/atomic.h"
#include "qemu/processor.h"

enum {
    PAGECACHE_CLAIM_NONE,
    PAGECACHE_CLAIM_OFFERED,
    PAGECACHE_CLAIM_COPYING,
    PAGECACHE_CLAIM_REFILLED,
    PAGECACHE_CLAIM_CHANNEL,
};

/*
 * The channel takes the page, for good.  Returns whether a refill had written
 * it (a page that is believed to be still zero is not, then).
 */
static inline bool pagecache_claim_channel(uint8_t *state)
{
    uint8_t old = qatomic_load_acquire(state);
    unsigned turns = 0;

    for (;;) {
        uint8_t seen;

        if (old == PAGECACHE_CLAIM_CHANNEL) {
            return false;
        }
        if (old == PAGECACHE_CLAIM_COPYING) {
            /* Somebody who copies and was preempted needs a processor. */
            if (++turns % 1024) {
                cpu_relax();
            } else {
                g_thread_yield();
            }
            old = qatomic_load_acquire(state);
            continue;
        }
        seen = qatomic_cmpxchg(state, old, PAGECACHE_CLAIM_CHANNEL);
        if (seen == old) {
            return old == PAGECACHE_CLAIM_REFILLED;
        }
        old = seen;
    }
}

/* False: the page has been offered before, or the channel has it. */
static inline bool pagecache_claim_offer(uint8_t *state)
{
    return qatomic_cmpxchg(state, PAGECACHE_CLAIM_NONE,
                           PAGECACHE_CLAIM_OFFERED) == PAGECACHE_CLAIM_NONE;
}

/* False: the channel has the page, nothing may be written to it. */
static inline bool pagecache_claim_copy_begin(uint8_t *state)
{
    return qatomic_cmpxchg(state, PAGECACHE_CLAIM_OFFERED,
                           PAGECACHE_CLAIM_COPYING) == PAGECACHE_CLAIM_OFFERED;
}

static inline void pagecache_claim_copy_end(uint8_t *state)
{
    qatomic_store_release(state, PAGECACHE_CLAIM_REFILLED);
}

#endif
