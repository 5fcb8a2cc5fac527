/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what protocol.pml takes for granted of the pool
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One page, and the three threads of the source that decide about it: one
 * adds it to the pool, one takes it from there, and the migration thread sends
 * pages meanwhile.  If it is offered, it was never sent nor offered before, and
 * it is not sent while it is in flight.  (In protocol.pml a hint is a single
 * step.)
 *
 * -DHINTS=n    of this page
 * -DWRITES=n   by the guest
 * -DBUG_...    a seeded bug
 *
 * Memory is sequentially consistent here.  The bits change atomically, and the
 * pool's lock, under which a batch goes from hand to hand, orders the others.
 *
 * "code:" names the functions that a step stands for.
 */

#ifndef HINTS
#define HINTS 3
#endif
#ifndef WRITES
#define WRITES 3
#endif

bit dirty = 1;          /* RAMBlock.bmap */
bit held;               /* PoolBlock.held */
bit offered;            /* PoolBlock.offered */
bit sent;               /* PoolBlock.sent */
byte fresh;             /* batches with it: PagecachePool.fresh */
byte pooled;            /* ...and in the heaps of a disk */

bit in_flight;
bit ever_sent;
byte writes = WRITES;

bit ok_never_sent = 1;
bit ok_offered_once = 1;
bit ok_held_in_one_place = 1;

inline check()
{
    ok_held_in_one_place = ok_held_in_one_place && fresh + pooled <= held;
    assert(ok_held_in_one_place)
}

active proctype guest()
{
end:
    do
    :: atomic { writes -> writes--; dirty = 1 }
    od
}

/* mig/pc-hints.  code: add_run() add_batch() */
active proctype hints()
{
    byte left = HINTS;
    bit is_dirty, was_sent, was_offered, was_held;

end:
    do
    :: atomic { left -> left-- };
       is_dirty = dirty;
       was_offered = offered;
       was_sent = sent;
       if
       :: is_dirty && !was_sent && !was_offered ->
          atomic { was_held = held; held = 1 }
          if
          :: !was_held ->
             atomic {
#ifdef BUG_NO_TURN
                 pooled++;
#else
                 fresh++;
#endif
                 check()
             }
          :: else
          fi
       :: else
       fi
    od
}

active proctype migration()
{
    bit is_dirty, is_held;

end:
    do
    /* code: pagecache_pool_turn() */
    :: atomic { pooled = pooled + fresh; fresh = 0; check() }
    /* a report, or a release.  code: pagecache_pool_land() */
    :: atomic { in_flight -> in_flight = 0; held = 0 }
    /* code: pagecache_pool_next_dirty() migration_bitmap_clear_dirty()
       pagecache_src_note_sent() */
    :: is_dirty = dirty; is_held = held;
       if
       :: is_dirty && !is_held ->
          dirty = 0;
          atomic {
              sent = 1; ever_sent = 1;
              ok_never_sent = ok_never_sent && !in_flight;
              assert(ok_never_sent)
          }
       :: else
       fi
    od
}

/* mig/pc-offers */
active proctype offers()
{
    bit was_sent, was_offered, is_dirty;

end:
    do
    /* code: pagecache_pool_take() choose_run() pagecache_pool_check() */
    :: atomic { pooled -> pooled-- };
       is_dirty = dirty;
#ifndef BUG_SENT_NOT_CHECKED
       was_sent = sent;
#endif
#ifndef BUG_OFFERED_NOT_CHECKED
       was_offered = offered;
#endif
       if
       :: is_dirty && !was_sent && !was_offered ->
          /* code: pagecache_pool_offer() make_offer() */
          atomic {
              ok_offered_once = ok_offered_once && !offered;
              assert(ok_offered_once);
              offered = 1; in_flight = 1;
              ok_never_sent = ok_never_sent && !ever_sent;
              assert(ok_never_sent)
          }
       :: else -> held = 0
       fi
    /* code: pagecache_pool_release_tail() */
    :: atomic { pooled -> pooled-- }; held = 0
    od
}
