/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the claim of a page on a weakly ordered machine, in Promela
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Promela is sequentially consistent, so the memory is part of the model.  It
 * is that of C11 without load buffering: each location has a history of
 * writes in slots, and each thread a view, which says for each location the
 * oldest write that it may still read.
 *
 * - A load reads any write that is not older than the view.
 * - A store goes into any free slot after the view, so even before a write
 *   that somebody else has done already: a store that was late to arrive.
 * - A release store takes the thread's view along; an acquire load that reads
 *   it adds that view to its own.
 * - A read-modify-write takes the slot next to what it reads, so nothing comes
 *   in between.  It also hands on the view of what it has read.
 * - smp_mb() adds a view that all barriers share, and becomes part of it.
 *
 * Each store says by its choice of a slot which place it has in the order in
 * the end.  A choice that leaves no room for the others is a dead end that
 * stands for nothing; so Spin is not asked about states without a successor.
 *
 * One page is one location: all bytes of a page are alike.
 *
 * -DREVOKE     END against copies; else the claim of a page against its copy
 * -DBUG_...    a seeded bug
 *
 * "code:" names the functions that a step stands for.
 */

#define SLOTS 6
#define PLACES 3
#define THREADS 4

#define RELAXED 0
#define ORDERED 1

byte val[PLACES * SLOTS];
bit used[PLACES * SLOTS];
byte taken_along[PLACES * SLOTS * PLACES];
byte view[THREADS * PLACES];
byte barrier_view[PLACES];
byte done;              /* threads that are through */

bit ok_channel_wins = 1;        /* its content is there in the end */
bit ok_guest_wins = 1;          /* ...or what the guest wrote after END */
bit ok_refill_seen = 1;         /* the guest sees what was copied */

#define at(l, s)        ((l) * SLOTS + (s))
#define seen(t, l)      view[(t) * PLACES + (l)]

#define join_1(to, from) \
    if \
    :: from > to -> to = from \
    :: else \
    fi
#define acquire_1(t, l, s, k) \
    join_1(seen(t, k), taken_along[at(l, s) * PLACES + k])
inline acquire(t, l, s)
{
    acquire_1(t, l, s, 0);
    acquire_1(t, l, s, 1);
    acquire_1(t, l, s, 2)
}
#define take_1(t, l, s, k) \
    join_1(taken_along[at(l, s) * PLACES + k], seen(t, k))
inline take_along(t, l, s)
{
    take_1(t, l, s, 0);
    take_1(t, l, s, 1);
    take_1(t, l, s, 2)
}
/* A thread goes on where another has stopped: a lock, a semaphore */
inline inherit(t, from)
{
    join_1(seen(t, 0), seen(from, 0));
    join_1(seen(t, 1), seen(from, 1));
    join_1(seen(t, 2), seen(from, 2))
}

#define may_read(t, l, n) (used[at(l, n)] && n >= seen(t, l))
#define each_slot(option, a, b, c) \
    option(a, b, c, 0) option(a, b, c, 1) option(a, b, c, 2) \
    option(a, b, c, 3) option(a, b, c, 4)

#define option_read(t, l, unused, n) \
    :: may_read(t, l, n) -> s = n
inline load(t, l, order, result)
{
    atomic {
        if
        each_slot(option_read, t, l, 0)
        :: may_read(t, l, 5) -> s = 5
        fi;
        seen(t, l) = s;
        result = val[at(l, s)];
        if
        :: order == ORDERED -> acquire(t, l, s)
        :: else
        fi;
        s = 0
    }
}

#define option_free(t, l, unused, n) \
    :: !used[at(l, n)] && n > seen(t, l) -> s = n
inline put(t, l, value, order)
{
    used[at(l, s)] = 1;
    val[at(l, s)] = value;
    seen(t, l) = s;
    if
    :: order == ORDERED -> take_along(t, l, s)
    :: else -> taken_along[at(l, s) * PLACES + l] = s
    fi;
    s = 0
}
inline store(t, l, value, order)
{
    atomic {
        if
        each_slot(option_free, t, l, 0)
        :: !used[at(l, 5)] -> s = 5
        fi;
        put(t, l, value, order)
    }
}

/* code: qatomic_cmpxchg() */
#define option_cas(t, l, want, n) \
    :: may_read(t, l, n) && \
       (val[at(l, n)] != want || !used[at(l, n + 1)]) -> s = n
inline cas(t, l, want, new, order, result)
{
    atomic {
        if
        each_slot(option_cas, t, l, want)
        :: may_read(t, l, 5) && val[at(l, 5)] != want -> s = 5
        fi;
        result = val[at(l, s)];
        seen(t, l) = s;
        if
        :: order == ORDERED -> acquire(t, l, s)
        :: else
        fi;
        if
        :: result == want ->
           acquire_along(l, s);
           s = s + 1;
           put(t, l, new, order)
        :: else -> s = 0
        fi
    }
}
#define along_1(l, s, k) \
    taken_along[at(l, s + 1) * PLACES + k] = \
        taken_along[at(l, s) * PLACES + k]
inline acquire_along(l, s)
{
    along_1(l, s, 0);
    along_1(l, s, 1);
    along_1(l, s, 2)
}

/* code: qatomic_fetch_inc() qatomic_fetch_dec() */
#define option_last(t, l, unused, n) \
    :: may_read(t, l, n) && !used[at(l, n + 1)] -> s = n
inline add(t, l, plus)
{
    atomic {
        if
        each_slot(option_last, t, l, 0)
        fi;
        acquire(t, l, s);
        acquire_along(l, s);
        s = s + 1;
        put(t, l, val[at(l, s - 1)] + plus, ORDERED)
    }
}

/* code: smp_mb() smp_mb__after_rmw() */
#define barrier_1(t, k) \
    join_1(seen(t, k), barrier_view[k]); \
    barrier_view[k] = seen(t, k)
inline barrier(t)
{
    atomic {
        barrier_1(t, 0);
        barrier_1(t, 1);
        barrier_1(t, 2)
    }
}

#define PAGE 0
#define last_of(l) \
    (used[at(l, 5)] -> val[at(l, 5)] : \
     (used[at(l, 4)] -> val[at(l, 4)] : \
      (used[at(l, 3)] -> val[at(l, 3)] : \
       (used[at(l, 2)] -> val[at(l, 2)] : \
        (used[at(l, 1)] -> val[at(l, 1)] : val[at(l, 0)])))))

#ifndef REVOKE

/* --- a page from the channel against the copy of its refill --- */

#define STATE 1
#define RECEIVED 2      /* RAMBlock.receivedmap */

#define NONE        0
#define OFFERED     1
#define COPYING     2
#define REFILLED    3
#define CHANNEL     4

#define REFILL_CONTENT 1

bit offered;
bit channel_done;
byte content;           /* what the channel brought last; 0: a zero page */
bit came;               /* whether it brought anything */

/* code: take_offer() pagecache_claim_offer() */
active proctype loader()
{
    byte s, old;

    cas(0, STATE, NONE, OFFERED, ORDERED, old);
    atomic {
        if
        :: old == NONE -> offered = 1
        :: else -> done++       /* no copy */
        fi;
        done++
    }
}

/* code: copy_page() */
active proctype copier()
{
    byte s, old;

    /* code: pagecache_reader_submit() */
    atomic { offered -> inherit(1, 0) }
    /* code: pagecache_claim_copy_begin() */
#ifndef BUG_COPY_BEGIN_IN_TWO
    cas(1, STATE, OFFERED, COPYING, ORDERED, old);
#else
    load(1, STATE, ORDERED, old);
    if
    :: old == OFFERED -> store(1, STATE, COPYING, ORDERED)
    :: else
    fi;
#endif
    if
#ifdef BUG_COPY_WITHOUT_CLAIM
    :: 1 ->
#else
    :: old == OFFERED ->
#endif
       store(1, PAGE, REFILL_CONTENT, RELAXED);
       /* code: pagecache_claim_copy_end() */
#ifndef BUG_COPY_END_PLAIN
       store(1, STATE, REFILLED, ORDERED)
#else
       store(1, STATE, REFILLED, RELAXED)
#endif
    :: else
    fi;
    done++;
end:
    skip
}

#ifdef BUG_PLAIN_LOADS
#define LOADS RELAXED
#else
#define LOADS ORDERED
#endif

/* code: pagecache_claim_channel() */
inline claim_channel(t)
{
    refilled = 0;
    load(t, STATE, LOADS, old);
    do
    :: old == CHANNEL -> break
#ifndef BUG_DOES_NOT_WAIT
    :: old == COPYING -> load(t, STATE, LOADS, old)
    :: old != CHANNEL && old != COPYING ->
#else
    :: old != CHANNEL ->
#endif
#ifndef BUG_CLAIM_IN_TWO
       cas(t, STATE, old, CHANNEL, LOADS, found);
#else
       store(t, STATE, CHANNEL, ORDERED);
       found = old;
#endif
       if
       :: found == old -> refilled = (old == REFILLED); break
       :: else -> old = found
       fi
    od;
    old = 0; found = 0
}

/* A page that comes on the channel, in one of its shapes */
inline bring(t)
{
    claim_channel(t);
    if
    /* code: multifd_nocomp_recv() */
    :: store(t, RECEIVED, 1, RELAXED);
       store(t, PAGE, 2 + t, RELAXED);
       content = 2 + t
    /* code: ram_handle_zero() */
    :: store(t, RECEIVED, 1, RELAXED);
       load(t, PAGE, RELAXED, old);
       if
       :: old != 0 -> store(t, PAGE, 0, RELAXED)
       :: else
       fi;
       content = 0
    /* code: multifd_recv_zero_page_process() */
    :: load(t, RECEIVED, RELAXED, old);
       if
#ifndef BUG_ZERO_SKIPS_MEMSET
       :: refilled || old -> store(t, PAGE, 0, RELAXED)
#else
       :: old -> store(t, PAGE, 0, RELAXED)
#endif
       :: else
       fi;
       store(t, RECEIVED, 1, RELAXED);
       content = 0
    fi;
    old = 0
}

active proctype channel()
{
    byte s, old, found;
    bit refilled;

    bring(2);
    atomic { came = 1; channel_done = 1; done++ }
}

/* The same page again, after a sync of the channels, by another thread */
active proctype channel_again()
{
    byte s, old, found;
    bit refilled;

    /* code: multifd_recv_sync_main() */
    atomic { channel_done -> inherit(3, 2) }
    if
    :: bring(3)
    :: 1
    fi;
    done++
}

active proctype check()
{
    atomic {
        done == THREADS ->
        ok_channel_wins = (last_of(PAGE) == content);
        assert(ok_channel_wins)
    }
}

#else

/* --- END against copies that are under way --- */

#define COPIERS 1
#define REVOKED 2
#define REFILL_CONTENT 1
#define GUEST_CONTENT 2

bit copied;

/* code: copy_page() */
inline copy(t)
{
    add(t, COPIERS, 1);
#ifndef BUG_NO_BARRIER_IN_COPY
    barrier(t);
#endif
    load(t, REVOKED, RELAXED, old);
    if
    :: !old ->
       store(t, PAGE, REFILL_CONTENT, RELAXED);
       copied = 1
    :: else
    fi;
    add(t, COPIERS, -1);
    done++
}

active proctype copier()
{
    byte s, old;

    copy(0)
}

active proctype another_copier()
{
    byte s, old;

    copy(1)
}

/* code: load_end() pagecache_refill_revoke() process_incoming_migration_bh() */
active proctype loader()
{
    byte s, old;

    store(2, REVOKED, 1, RELAXED);
#ifndef BUG_NO_BARRIER_IN_REVOKE
    barrier(2);
#endif
    do
#ifndef BUG_COPIERS_PLAIN_LOAD
    :: load(2, COPIERS, ORDERED, old);
#else
    :: load(2, COPIERS, RELAXED, old);
#endif
       if
       :: !old -> break
       :: else
       fi
    od;
    /* The guest runs: it reads the page, and writes it. */
    load(2, PAGE, RELAXED, old);
    atomic {
        ok_refill_seen = (!copied || old == REFILL_CONTENT);
        assert(ok_refill_seen)
    }
    store(2, PAGE, GUEST_CONTENT, RELAXED);
    done++
}

active proctype check()
{
    atomic {
        done == THREADS - 1 ->
        ok_guest_wins = (last_of(PAGE) == GUEST_CONTENT);
        assert(ok_guest_wins)
    }
}

#endif

init {
    d_step { used[at(0, 0)] = 1; used[at(1, 0)] = 1; used[at(2, 0)] = 1 }
}
