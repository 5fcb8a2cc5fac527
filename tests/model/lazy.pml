/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a page from the switch to postcopy on
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The source stops, and holds a page that the destination may read from the
 * disk.  It says SWITCH, QEMU's postcopy discards what is dirty, the guest runs
 * at the destination, and the source sends a digest of what has stopped.  A
 * read whose digest is the same is placed there; a request, the scan and the
 * last stage send the page.  Precopy, up to the stop, is in protocol.pml: the page begins
 * here in any of the states in which that leaves it.
 *
 * -DREADERS=n      threads of the reader
 * -DREADS=n        by each of them
 * -DDISK_WRITES=n  by the guest or by somebody else
 * -DRECOVER        the channels break once, and postcopy is resumed
 * -DDEATH          the source may go at any time after RUN
 * -DALONE          ...but not before the digest has come; the disk is well
 * -DBUG_...        a seeded bug
 *
 * A digest is the content itself: no collisions.  A vCPU that waits for ever is
 * an invalid end state.  Memory is sequentially consistent here, as what orders
 * claim, ioctl and receivedmap is in claim.pml.  Blocks with larger host pages
 * do not take part, so one page is enough.
 *
 * "code:" names the functions that a step stands for.
 */

#ifndef READERS
#define READERS 1
#endif
#ifndef READS
#define READS 1
#endif
#ifndef DISK_WRITES
#ifdef ALONE
#define DISK_WRITES 0
#else
#define DISK_WRITES 1
#endif
#endif
#ifdef ALONE
#define DEATH
#endif

mtype = { SWITCH, DISCARD, LISTEN, RUN, DIGEST, PAGE, END, EOF,
          OK, PLACED, MISMATCH, REQUEST };

/* Contents.  FROZEN: what the source has when it stops */
#define MISSING     0
#define FROZEN      1
#define OTHER       2

/* PAGECACHE_CLAIM_*, and what the lazy phase adds */
#define NONE        0
#define OFFERED     1
#define COPYING     2
#define REFILLED    3
#define CHANNEL     4
#define LAZY        5

/* --- source --- */

byte src;               /* guest RAM */
bit dirty;              /* RAMBlock.bmap */
bit held;
bit pending;            /* it is being compared... */
byte reported;          /* ...with this */
bit dirty_at_stop;
bit source_gone;

/* The main channel, that of postcopy-preempt, the return path */
chan wire = [8] of { mtype, byte };
chan fast = [1] of { mtype, byte };
chan return_path = [3] of { mtype, byte };

/* --- destination --- */

byte ram;               /* guest RAM */
bit received;           /* RAMBlock.receivedmap */
byte claim;             /* RAMBlock.pagecache_claims */
byte digest;
bit lazy;               /* SWITCH has been loaded */
bit listening;
bit running;
bit revoked;
byte copiers;
bit closed;             /* the userfaultfd */
bit waits;              /* the vCPU faulted */
bit busy_main, busy_fast;

byte disk;
byte disk_writes = DISK_WRITES;
bit begun;

/* --- what is asserted, by name --- */

bit ok_frozen_content = 1;      /* what the vCPU sees */
bit ok_missing_is_dirty = 1;    /* when RUN is loaded */
bit ok_placed_once = 1;         /* no EEXIST */
bit ok_open = 1;                /* no ioctl after the userfaultfd is closed */

active proctype disk_changes()
{
end:
    do
    :: atomic { disk_writes && begun -> disk_writes--; disk = 3 - disk }
    od
}

/* --- source --- */

/* code: ram_save_target_page() migration_bitmap_clear_dirty() */
#define send_on(channel) dirty = 0; channel!PAGE,src

/* What precopy leaves.  The last write of the guest is still to come. */
inline begin()
{
    if
    :: src = FROZEN
    :: src = OTHER
    fi;
    if
    :: disk = FROZEN
#ifndef ALONE
    :: disk = OTHER
#endif
    fi;
    if
    :: dirty = 1                                /* not sent yet */
    :: dirty = 1; held = 1                      /* pooled */
    :: dirty = 1; held = 1; claim = OFFERED     /* in flight */
    :: pending = 1; claim = REFILLED;           /* reported */
       reported = disk; ram = disk; received = 1
    :: claim = REFILLED; ram = src;             /* proven */
#ifndef BUG_NO_RECEIVED_BIT
       received = 1
#endif
    :: claim = CHANNEL; ram = src; received = 1 /* sent */
    :: claim = CHANNEL; ram = OTHER;            /* sent, and dirty again */
       received = 1; dirty = 1
    :: claim = REFILLED; ram = OTHER;           /* proven, and dirty again */
       received = 1; dirty = 1
    fi;
    begun = 1
}

/* A report that comes before the switch */
inline take_ok()
{
    return_path?OK,v;
    if
    :: held -> held = 0; dirty = 0; pending = 1; reported = v
    :: else
    fi;
    v = 0
}

/*
 * The guest writes for the last time, and stops.  Nobody waits for a proof that
 * is under way: its page gets its bit back, and stays or is held no more.
 * code: migration_stop_vm() migration_bitmap_sync_precopy()
 */
inline stop()
{
    if
    :: src != FROZEN -> src = FROZEN; dirty = 1; pending = 0
    :: else
    fi;
    reported = 0;
    if
    :: pending ->
       pending = 0;
#ifndef BUG_PROOF_FORGOTTEN
       dirty = 1;
       if
       :: held = 1
       :: 1
       fi
#endif
    :: else
    fi;
    dirty_at_stop = dirty
}

/* What comes back after the switch.  Requests are never held back. */
inline take_answer()
{
    return_path?answer,v;
    if
    :: answer == PLACED -> dirty = 0; held = 0
    :: answer == MISMATCH -> held = 0
    /* code: ram_save_queue_pages() get_queued_page() */
    :: answer == REQUEST && dirty -> send_on(fast)
#ifdef BUG_OK_AFTER_SWITCH
    :: answer == OK && dirty -> held = 0; dirty = (v != src)
#endif
    :: else
    fi;
    answer = OK; v = 0
}

inline drain()
{
    do
    :: nempty(wire) -> wire?message,v
    :: nempty(fast) -> fast?message,v
    :: nempty(return_path) -> return_path?answer,v
    :: empty(wire) && empty(fast) && empty(return_path) -> break
    od;
    message = SWITCH; answer = OK; v = 0
}

active proctype migration()
{
    mtype message = SWITCH, answer = OK;
    byte v, early;
    bit announced, resumed;

    atomic {
        begin();
#ifdef BUG_DIGEST_BEFORE_STOP
        early = src
#endif
    };
    do
    :: atomic { nempty(return_path) -> take_ok() }
    /* code: page_is_equal() ram_pagecache_mark_dirty() */
    :: atomic {
           pending -> pending = 0; dirty = (reported != src); reported = 0
       }
    :: atomic { src != FROZEN -> src = FROZEN; dirty = 1 }
    /* code: postcopy_start() */
    :: atomic { 1 -> stop(); break }
    od;

    /*
     * SWITCH is written before the first discard.  code:
     * ram_postcopy_send_discard_bitmap() qemu_savevm_send_postcopy_listen()
     * qemu_savevm_send_postcopy_run()
     */
    atomic {
#ifdef BUG_SWITCH_AFTER_DISCARD
        if
        :: dirty -> wire!DISCARD,0
        :: else
        fi;
        wire!SWITCH,0;
#else
        wire!SWITCH,0;
        if
        :: dirty -> wire!DISCARD,0
        :: else
        fi;
#endif
        wire!LISTEN,0; wire!RUN,0
    }

    do
    :: atomic {
           !announced && dirty && held && nfull(wire) ->
           announced = 1;
#ifdef BUG_DIGEST_BEFORE_STOP
           wire!DIGEST,early
#else
           wire!DIGEST,src
#endif
       }
    /* the tail, or a breaker */
    :: atomic { held -> held = 0 }
    /* code: pss_find_next_dirty() ram_save_host_page() */
    :: atomic { dirty && !held && nfull(wire) -> send_on(wire) }
    :: atomic { nempty(return_path) && nfull(fast) -> take_answer() }
#ifdef RECOVER
    /*
     * Both threads that load have stopped; the reader goes on.  What the vCPU
     * waits for is requested again.
     * code: postcopy_pause_incoming() ram_dirty_bitmap_reload()
     * postcopy_request_shared_page()
     */
    :: atomic {
           !resumed && running && !busy_main && !busy_fast ->
           resumed = 1;
           drain();
           dirty = !received;
           announced = 1;
#ifndef BUG_HELD_AFTER_RESUME
           held = 0;
#endif
           if
           :: waits -> return_path!REQUEST,0
           :: else
           fi
       }
#endif
#ifdef DEATH
    /* What is on the wires may arrive, or be lost. */
    :: atomic {
           running &&
#ifdef ALONE
           (digest || received) &&
#endif
           !busy_main && !busy_fast ->
           source_gone = 1;
           if
           :: drain()
           :: 1
           fi;
           goto gone
       }
#endif
    :: nfull(wire) -> break
    od;

    /* code: ram_save_complete() */
#ifndef BUG_END_AFTER_LAST
    wire!END,0;
#endif
    atomic {
        if
#ifdef BUG_LAST_STAGE_PASSES_OVER
        :: dirty && !held -> send_on(wire)
#else
        :: dirty -> send_on(wire)
#endif
        :: else
        fi
    };
    wire!EOF,0;
#ifdef BUG_END_AFTER_LAST
    wire!END,0;
#endif
end:
    do
    :: atomic { return_path?answer,v; answer = OK; v = 0 }
    od;
gone:
    skip
}

/* --- destination --- */

/* code: qemu_ufd_copy_ioctl() uffd_copy_page() */
inline place(v)
{
    ok_open = ok_open && !closed;
    assert(ok_open);
    ok_placed_once = ok_placed_once && ram == MISSING;
    assert(ok_placed_once);
    ram = v;
    waits = 0
}

/* code: ram_load_postcopy() postcopy_place_page() pagecache_claim_channel() */
inline load_page(v)
{
#ifndef BUG_NO_CLAIM_BY_CHANNEL
    atomic { claim != COPYING -> was = claim; claim = CHANNEL };
#else
    was = claim;
#endif
    if
#ifdef BUG_PRESENCE_BY_CLAIM
    :: was == REFILLED
    :: else ->
#else
    :: received
    :: !received ->
#endif
       atomic { place(v) };
       received = 1
    fi
}

/* code: postcopy_ram_listen_thread() */
active proctype listen_thread()
{
    mtype message = SWITCH;
    byte v, was;

    begun;
end:
    do
    :: atomic { nempty(wire) -> wire?message,v; busy_main = 1 };
       if
       /* No refill copies any more, and none begins. */
       :: message == SWITCH -> lazy = 1; copiers == 0
       /* code: ram_discard_range() */
       :: atomic { message == DISCARD -> ram = MISSING; received = 0 }
       :: message == LISTEN -> listening = 1
       :: atomic {
              message == RUN ->
              ok_missing_is_dirty = ((ram == MISSING) == dirty_at_stop);
              assert(ok_missing_is_dirty);
              dirty_at_stop = 0;
              running = 1
          }
       :: atomic {
              message == DIGEST ->
              digest = v;
              if
              :: !received && claim != CHANNEL && claim != COPYING ->
                 claim = LAZY
              :: else
              fi
          }
       :: message == PAGE -> load_page(v)
       :: message == END -> revoked = 1; copiers == 0
       /* code: postcopy_ram_incoming_cleanup() */
       :: atomic { message == EOF -> !waits && !busy_fast; closed = 1 }
       fi;
       atomic { message = SWITCH; v = 0; was = 0; busy_main = 0 }
    od
}

/* code: postcopy_preempt_thread() */
active proctype preempt_thread()
{
    mtype message = SWITCH;
    byte v, was;

end:
    do
    :: atomic { nempty(fast) && !closed -> fast?message,v; busy_fast = 1 };
       load_page(v);
       atomic { message = SWITCH; v = 0; was = 0; busy_fast = 0 }
    od
}

/* A report may be lost; the page is sent again then, and dropped. */
#define report(status, v) \
    if \
    :: atomic { nfull(return_path) && !source_gone -> return_path!status,v } \
    :: 1 \
    fi

/* What was read while the page was offered is copied, as in protocol.pml. */
inline refill()
{
    copiers++;
    if
#ifdef BUG_NO_PHASE_CHECK
    :: atomic { claim == OFFERED -> claim = COPYING };
#else
    :: atomic { claim == OFFERED && !lazy && !revoked -> claim = COPYING };
#endif
       ram = v; received = 1; claim = REFILLED;
       report(OK, v)
#ifdef BUG_NO_PHASE_CHECK
    :: claim != OFFERED
#else
    :: claim != OFFERED || lazy || revoked
#endif
    fi;
    copiers--
}

inline place_read()
{
    if
#ifdef BUG_UNVERIFIED
    :: 1 ->
#else
    :: v == digest ->
#endif
       copiers++;
       if
       :: atomic { claim == LAZY && !revoked -> claim = COPYING };
          atomic { place(v) };
          received = 1; claim = REFILLED;
          report(PLACED, 0)
       :: claim != LAZY || revoked
       fi;
       copiers--
#ifndef BUG_UNVERIFIED
    :: else -> report(MISMATCH, 0)
#endif
    fi
}

/* What a request has brought first is reported, too. */
#ifdef BUG_PLACED_BEFORE_LISTEN
#define may_report (received)
#else
#define may_report (received && listening)
#endif

/* In the end what has a digest is read until it is there. */
#ifdef ALONE
#define may_read (!revoked && (reads || claim == LAZY))
#define did_read reads = (reads -> reads - 1 : 0)
#else
#define may_read (!revoked && reads)
#define did_read reads--
#endif

active [READERS] proctype reader()
{
    byte v, reads = READS;

    begun;
end:
    do
    :: atomic { may_read -> did_read; v = disk };
       if
#ifndef ALONE
       :: goto end_hung
#endif
       :: !lazy -> refill()
       :: lazy && claim == LAZY -> place_read()
       :: lazy && claim != LAZY ->
          if
          :: may_report -> report(PLACED, 0)
          :: !may_report
          fi
       fi;
       v = 0
    od;
end_hung:
    false
}

/* code: postcopy_ram_fault_thread() migrate_send_rp_req_pages() */
active proctype vcpu()
{
    running;
    if
    :: atomic { ram == MISSING -> waits = 1 };
       if
       :: atomic { nfull(return_path) && !source_gone ->
                   return_path!REQUEST,0 }
       :: source_gone
       :: ram != MISSING
       fi
    :: ram != MISSING
    fi;
#if defined(DEATH) && !defined(ALONE)
    /* as in any postcopy */
end:
#endif
    ram != MISSING;
    ok_frozen_content = (ram == FROZEN);
    assert(ok_frozen_content)
}
