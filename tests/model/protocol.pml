/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the whole protocol, in Promela
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What is left out, why so little is enough, and how this goes together with
 * dirty-log.pml and claim.pml: docs/devel/migration/skip-pagecache-proof.rst.
 * "code:" names the functions that a step stands for.
 *
 * -DMULTIFD            two multifd channels besides the main one
 * -DZERO_ON_MAIN       zero pages are found by the migration thread,
 * -DZERO_IN_PACKET     by the multifd threads; neither: they are ordinary
 * -DPAGES=n            1 or 2; with 2 some disks have no reader
 * -DCONTENTS=n         2 or 3: a page holds 0 (a zero page), 1 and 2
 * -DWRITES=n           by the guest
 * -DFREE_HINTS         the guest may also hint at free pages
 * -DCANCEL             the migration may be cancelled at any time
 * -DORDERED            the migration thread takes its steps in the code's
 *                      order, for liveness; else it takes any, at any time
 * -DBUG_...            a seeded bug
 *
 * A digest is the content itself: no collisions.  The wire format's features
 * are not here, as there are none yet.
 */

#ifndef PAGES
#define PAGES 1
#endif
#ifndef CONTENTS
#define CONTENTS 3
#endif
#ifndef WRITES
#define WRITES 2
#endif
/* of offers: a page is offered once */
#ifndef BUG_OFFERED_TWICE
#define NUMBERS PAGES
#else
#define NUMBERS (2 * PAGES)
#endif

mtype = { START, OFFER, PAGE, ZERO, FLUSH, SYNC, END, EOF,
          ACCEPTED, REFUSED, OK, UNAVAILABLE };

/* PAGECACHE_CLAIM_* */
#define NONE        0
#define OFFERED     1
#define COPYING     2
#define REFILLED    3
#define CHANNEL     4

/* --- source --- */

byte src[PAGES];        /* guest RAM */
bit logged[PAGES];      /* the next sync finds it dirty; see dirty-log.pml */
bit bmap[PAGES];        /* RAMBlock.bmap */
bit holding;            /* RAMBlock.pagecache_held is there */
bit held[PAGES];        /* PoolBlock.held */
bit offered[PAGES];     /* PoolBlock.offered */
bit sent[PAGES];        /* PoolBlock.sent */
bit ready[PAGES];       /* OffersDisk.runs: chosen, but in no frame yet */
byte flight[NUMBERS];   /* PagecacheFlight.page, by number of the offer */
byte numbers;           /* PagecacheFlights.next */
byte pending;           /* PagecacheProof.pending */
byte writes = WRITES;   /* that the guest has left */
bit dma_busy;           /* a device has written and not yet marked it */
bit stopped;            /* vCPUs and devices */
bit last_stage;
#ifdef FREE_HINTS
bit freed[PAGES];       /* the guest does not need the content */
#endif

chan main_wire = [4] of { mtype, byte, byte };
/*
 * The return path, with the inbox at its end: status, number of the offer,
 * digest; does another run follow in the same message?
 */
chan return_path = [NUMBERS + 1] of { mtype, byte, byte, bit };
/* PagecacheProof.todo and .done */
chan todo = [NUMBERS] of { byte, byte };
chan compared = [NUMBERS] of { byte, bit };
#ifdef MULTIFD
chan job[2] = [1] of { byte };
chan wire[2] = [2] of { mtype, byte, byte };
bit sent_in_round[PAGES];
#endif

/* --- destination --- */

byte dst[PAGES];        /* guest RAM */
bit claims;             /* RAMBlock.pagecache_claims is there */
byte claim[PAGES];      /* ...and what it says */
#ifdef ZERO_IN_PACKET
bit received[PAGES];    /* RAMBlock.receivedmap */
#endif
bit revoked;
byte copiers;
bit finished;           /* the guest runs here */
byte next_offer;        /* PagecacheDst.next_offer */
bit accepted;           /* ACCEPTED waits to be sent */
chan queue = [NUMBERS] of { byte, byte };       /* of the reader */
/* PagecacheDst.open_ok, .open_unavailable: runs of the next message */
chan open_ok = [NUMBERS] of { byte, byte };
chan open_unavailable = [NUMBERS] of { byte };

/* --- what is asserted, by name --- */

bit ok_pages_equal = 1;         /* when the guest starts at the destination */
bit ok_no_late_refill = 1;      /* after that */

#if PAGES > 1
#define any(what)       (what[0] || what[1])
#define any_to_send     (in_scan(0) || in_scan(1))
#define any_in_flight   (in_flight(0) || in_flight(1))
#define each_page(option) option(0) option(1)
#else
#define any(what)       (what[0])
#define any_to_send     in_scan(0)
#define any_in_flight   in_flight(0)
#define each_page(option) option(0)
#endif
#ifdef FREE_HINTS
#define needed(p)       (!freed[p])
#else
#define needed(p)       1
#endif

inline any_content(v)
{
    if
    :: v = 0
    :: v = 1
#if CONTENTS > 2
    :: v = 2
#endif
    fi
}

/* --- the guest --- */

#define may_write(p) (writes && !stopped && !dma_busy && needed(p))
/* What a vCPU writes is in the log at once. */
#define option_write(p) \
    :: atomic { \
           may_write(p) -> writes--; logged[p] = 1; any_content(src[p]) \
       }
/* A device marks afterwards.  code: invalidate_and_set_dirty() */
#define option_dma(p) \
    :: atomic { \
           may_write(p) -> writes--; dma_busy = 1; any_content(src[p]) \
       } \
       atomic { logged[p] = 1; dma_busy = 0 }
/* code: qemu_guest_free_page_hint() */
#define option_free(p) \
    :: atomic { may_write(p) -> writes--; freed[p] = 1; bmap[p] = 0 }

active proctype guest()
{
end:
    do
    each_page(option_write)
    each_page(option_dma)
#ifdef FREE_HINTS
    each_page(option_free)
#endif
    od
}

#define merge(p) bmap[p] = bmap[p] || logged[p]; logged[p] = 0;

/*
 * The migration thread syncs, and so does the main thread by the timer of
 * auto-converge: at any moment.
 * code: migration_bitmap_sync()
 */
active proctype syncs()
{
end:
    do
    :: atomic { any(logged) && !stopped -> each_page(merge) }
    od
}

/* --- source: mig/pc-hints and mig/pc-offers; see hold.pml, too --- */

/* code: pagecache_pool_land() pagecache_pool_release() */
#ifndef BUG_OFFERED_TWICE
#define let_go(p) held[p] = 0;
#else
#define let_go(p) held[p] = 0; offered[p] = 0;
#endif

/* code: pagecache_pool_add() */
#define may_pool(p) \
    (holding && bmap[p] && !held[p] && !offered[p] && !sent[p])
#ifndef ORDERED
#define option_hint(p) \
    :: atomic { may_pool(p) -> held[p] = 1 }
#else
byte hints = PAGES;     /* There are only so many. */
#define option_hint(p) \
    :: atomic { hints && may_pool(p) -> hints--; held[p] = 1 }
#endif

/* code: choose_run() pagecache_pool_check() pagecache_pool_offer() */
#define may_choose(p) (holding && held[p] && !offered[p])
#define option_choose(p) \
    :: atomic { \
           may_choose(p) -> \
           if \
           :: !bmap[p] || src[p] == 0 -> let_go(p) \
           :: else -> offered[p] = 1; ready[p] = 1 \
           fi \
       }

/* code: pagecache_pool_release_tail() release_ready() */
#define option_release_tail(p) \
    :: atomic { may_choose(p) -> let_go(p) }
#define option_release_ready(p) \
    :: atomic { holding && ready[p] -> ready[p] = 0; let_go(p) }

active proctype pool()
{
end:
    do
    each_page(option_hint)
    each_page(option_choose)
#ifndef ORDERED
    each_page(option_release_tail)
    each_page(option_release_ready)
#endif
    od
}

/* --- source: the migration thread --- */

/* code: pagecache_offers_collect() make_offer() pagecache_flights_append() */
inline offer(p)
{
    ready[p] = 0;
    flight[numbers] = p;
    numbers++;
#ifdef BUG_CLEARED_AT_OFFER
    bmap[p] = 0;
#endif
    main_wire!OFFER,p,0
}
#ifndef BUG_OFFERED_TWICE
#define may_offer(p) ready[p]
#else
#define may_offer(p) (ready[p] && numbers < NUMBERS)
#endif
#define option_offer(p) \
    :: atomic { may_offer(p) -> offer(p) }

#define in_flight(p) (held[p] && offered[p] && !ready[p])
/* code: release_late() release_newest() pagecache_src_release_flight() */
#define option_release(p) \
    :: atomic { in_flight(p) -> let_go(p) }

/*
 * Of a run in a message.  What has lost its bit is noted to be compared.
 * code: take_run() pagecache_flights_find() pagecache_pool_land()
 * ram_pagecache_take_dirty()
 */
#define forget(p) taken[p] = 0; digest[p] = 0;
inline take_run()
{
    return_path?status,n,v,more;
    if
#ifndef BUG_REPORT_OF_RELEASED
    :: n < numbers && in_flight(flight[n]) ->
#else
    :: n < numbers ->
#endif
       p = flight[n];
       let_go(p)
       if
#ifdef BUG_CLEARED_AT_OFFER
       :: status == OK ->
#else
       :: status == OK && bmap[p] ->
#if !defined(BUG_SAMPLED_BEFORE_CLEAR) && !defined(BUG_SUBMITTED_BEFORE_CLEAR)
          bmap[p] = 0; sent[p] = 1;
#endif
#endif
#ifdef BUG_LAST_RUN_ONLY
          each_page(forget)
#endif
          taken[p] = 1; digest[p] = v
       :: else
       fi
    :: else
    fi;
    p = 0; v = 0; n = 0; status = 0
}

/* code: pagecache_proof_submit() */
#ifndef BUG_SUBMITTED_BEFORE_CLEAR
#define submit(p) \
    if \
    :: taken[p] -> todo!p,digest[p]; pending++; forget(p) \
    :: else \
    fi;
#else
#define submit(p) \
    if \
    :: taken[p] -> todo!p,digest[p]; pending++ \
    :: else \
    fi;
#define clear_late(p) \
    if \
    :: taken[p] -> bmap[p] = 0; sent[p] = 1; forget(p) \
    :: else \
    fi;
#endif

/*
 * As many messages as there is time for.
 * code: pagecache_src_take_reports() take_report()
 */
inline take_reports()
{
    do
    :: atomic {
           nempty(return_path) ->
           do
           :: take_run();
              if
              :: more -> more = 0
              :: else -> break
              fi
           od
       }
    :: break
    od;
    atomic { each_page(submit) skip }
#ifdef BUG_SUBMITTED_BEFORE_CLEAR
    atomic { each_page(clear_late) skip }
#endif
}

/* code: take_proof() ram_pagecache_mark_dirty() */
inline take_proof()
{
    compared?p,equal;
    pending--;
    if
#ifdef BUG_SAMPLED_BEFORE_CLEAR
    :: equal -> bmap[p] = 0
#else
    :: !equal -> bmap[p] = 1
#endif
    :: else
    fi;
    p = 0; equal = 0
}

/* code: pagecache_proof_result() */
#ifndef BUG_IN_HAND_NOT_PENDING
#define settled (pending == 0)
#else
#define settled (empty(todo) && empty(compared))
#endif

/* code: pss_find_next_dirty() pagecache_src_find_next() */
#if defined(BUG_LAST_STAGE_PASSES_OVER)
#define in_scan(p) (bmap[p] && !held[p])
#elif defined(BUG_READY_NOT_HELD)
#define in_scan(p) (bmap[p] && (!(holding && held[p] && !ready[p]) || \
                                last_stage))
#else
#define in_scan(p) (bmap[p] && (!(holding && held[p]) || last_stage))
#endif

/*
 * First the bit is cleared, then somebody looks at the content.  Between two
 * times that the scan comes by the same page it goes round.
 * code: ram_save_host_page() migration_bitmap_clear_dirty()
 * pagecache_src_note_sent()
 */
#ifdef BUG_REFILL_AFTER_SEND
#define note_sent(p) skip
#else
#define note_sent(p) sent[p] = 1
#endif
#ifdef MULTIFD
#define may_send(p) (in_scan(p) && !sent_in_round[p])
#define clear_to_send(p) bmap[p] = 0; note_sent(p); sent_in_round[p] = 1;
#else
#define may_send(p) in_scan(p)
#define clear_to_send(p) bmap[p] = 0; note_sent(p);
#endif
#define option_send(q) \
    :: atomic { may_send(q) -> clear_to_send(q) p = q } \
       send();

/* code: ram_save_target_page() save_zero_page() ram_save_multifd_page() */
inline send()
{
    atomic {
        if
#ifdef MULTIFD
#ifdef ZERO_ON_MAIN
        :: src[p] == 0 -> main_wire!ZERO,p,0
        :: src[p] != 0 && empty(job[0]) -> job[0]!p
        :: src[p] != 0 && empty(job[1]) -> job[1]!p
#else
        :: empty(job[0]) -> job[0]!p
        :: empty(job[1]) -> job[1]!p
#endif
#else
        :: main_wire!PAGE,p,src[p]
#endif
        fi;
        p = 0
    }
}

/*
 * The scan goes round: what was sent before is not overtaken by what is sent
 * afterwards.  SYNC is written when a channel has no job left.
 * code: find_dirty_block() multifd_ram_flush_and_sync() multifd_send_sync_main()
 */
#define clear_round(p) sent_in_round[p] = 0;
#ifdef MULTIFD
#define may_wrap any(sent_in_round)
inline wrap()
{
    atomic {
#ifndef BUG_NO_SYNC_AT_WRAP
        empty(job[0]) && empty(job[1]) && nfull(wire[0]) && nfull(wire[1]) &&
        nfull(main_wire) ->
        wire[0]!SYNC,0,0; wire[1]!SYNC,0,0; main_wire!FLUSH,0,0;
#endif
        each_page(clear_round)
    }
}
#else
#define may_wrap 0
inline wrap()
{
    skip
}
#endif

active proctype migration()
{
    byte p, v, n;
    mtype status;
    bit equal, more;
    bit taken[PAGES];       /* by reports, and to be compared... */
    byte digest[PAGES];     /* ...with this */

    /* Any content, any state of the log.  code: ram_list_init_bitmaps() */
    atomic {
#define begin(p) \
        bmap[p] = 1; \
        if \
        :: src[p] = 0 \
        :: src[p] = 1 \
        fi; \
        if \
        :: logged[p] = 0 \
        :: logged[p] = 1 \
        fi;
        each_page(begin)
        main_wire!START,0,0
    }
    /* code: wait_for_answer() check_answer() */
#ifndef BUG_NO_WAIT_FOR_ANSWER
    if
    :: return_path?ACCEPTED,_,_,_
    :: return_path?REFUSED,_,_,_ -> goto out
    fi;
#endif
    /* code: begin_turns() */
    holding = 1;

#ifndef ORDERED
    do
    each_page(option_offer)
    each_page(option_release)
    :: nempty(return_path) -> take_reports()
    :: atomic { nempty(compared) -> take_proof() }
    each_page(option_send)
    :: may_wrap -> wrap()
    /* code: migration_stop_vm() do_vm_stop() */
    :: atomic { !dma_busy -> stopped = 1; break }
#ifdef CANCEL
    :: goto cancel
#endif
    od;
#else
    do
    /* code: pagecache_src_iterate() pagecache_src_turn() */
    :: take_reports();
       do
       :: atomic { nempty(compared) -> take_proof() }
       :: empty(compared) -> break
       od;
       /* code: make_offers() feed_channel() */
       if
       option_offer(0)
#ifndef BUG_NO_PATIENCE
#define late(p) (in_flight(p) && !any_to_send)
#else
#define late(p) 0
#endif
       :: atomic { late(0) -> let_go(0) }
       :: !may_offer(0) && !late(0)
       fi;
       /* code: ram_save_iterate() */
       do
       option_send(0)
       :: !may_send(0) -> break
       od;
       if
       :: may_wrap -> wrap()
       :: else
       fi;
       /* code: migration_iteration_run() ram_state_pending_exact() */
       atomic {
           each_page(merge)
           if
           :: !bmap[0] && settled && !dma_busy -> stopped = 1; break
           :: else
           fi
       }
    od;
#endif
#ifdef CANCEL
    if
    :: goto cancel      /* in pre-switchover */
    :: 1
    fi;
#endif

    /* code: pagecache_src_complete() pagecache_src_take_proofs() */
#ifdef BUG_WAITS_FOR_REPORTS
    do
    :: any_in_flight -> nempty(return_path); take_reports()
    :: else -> break
    od;
#endif
#ifndef BUG_PROOFS_NOT_SETTLED
    do
    :: atomic { nempty(compared) -> take_proof() }
    :: settled -> break
    od;
#endif
    atomic {
        /* code: stop_holding() */
        holding = 0;
        main_wire!END,0,0
    }

    /* code: ram_save_complete() */
    atomic {
        last_stage = 1;
#ifndef BUG_NO_FINAL_SYNC
        each_page(merge)
#endif
    }
    do
    each_page(option_send)
    :: may_wrap -> wrap()
#ifdef CANCEL
    :: goto cancel      /* or a failure after END */
#endif
    :: !any_to_send && !may_wrap -> break
    od;
#ifdef BUG_PROOFS_NOT_SETTLED
    do
    :: atomic { nempty(compared) -> take_proof() }
    :: settled -> break
    od;
#endif
    main_wire!EOF,0,0;
    /* code: close_return_path_on_source() */
    finished;
#ifdef CANCEL
    goto out;
cancel:
    /* code: pagecache_src_cleanup() migration_iteration_finish() */
    atomic { holding = 0; stopped = 0 }
#endif
out:
    skip
}

/*
 * Some threads, as many as there may be pages to compare; their results come
 * in any order.  code: proof_thread() page_is_equal()
 */
active [PAGES] proctype proofs()
{
    byte p, v;
    bit equal;

end:
    do
    :: atomic { todo?p,v -> equal = (src[p] == v); v = 0 }
       atomic { compared!p,equal; p = 0; equal = 0 }
    od
}

#ifdef MULTIFD
/* code: multifd_send_thread() multifd_send_zero_page_detect() */
proctype multifd_send(byte c)
{
    byte p;

end:
    do
    :: atomic {
           nempty(job[c]) && nfull(wire[c]) -> job[c]?p;
           if
#ifdef ZERO_IN_PACKET
           :: src[p] == 0 -> wire[c]!ZERO,p,0
#endif
           :: else -> wire[c]!PAGE,p,src[p]
           fi;
           p = 0
       }
    od
}
#endif

/* --- destination: the claim; its memory ordering is in claim.pml --- */

/* code: pagecache_dst_claim() pagecache_claim_channel() */
inline claim_channel()
{
#ifndef BUG_NO_CLAIM_BY_CHANNEL
    claim[p] != COPYING;
    refilled = (claim[p] == REFILLED);
    if
    :: claims -> claim[p] = CHANNEL
    :: else
    fi
#else
    skip
#endif
}

/* code: qemu_loadvm_state() pagecache_dst_load() ram_load_precopy() */
active proctype load()
{
    byte p, v;
    bit refilled;

end:
    do
    /* code: load_start() set_up_blocks() accept_start() */
    :: atomic { main_wire?START,p,v -> claims = 1; accepted = 1 }
#if !defined(BUG_NO_WAIT_FOR_ANSWER) && !defined(ORDERED)
    /* code: pagecache_reporter_refuse() */
    :: atomic { main_wire?START,p,v -> return_path!REFUSED,0,0,0 }
       goto end_refused
#endif
    /* code: load_offers() take_offer() pagecache_claim_offer() */
    :: atomic {
           main_wire?OFFER,p,v ->
           if
#ifdef BUG_OFFERED_TWICE
           :: claim[p] == REFILLED -> claim[p] = OFFERED; queue!next_offer,p
#endif
           :: claim[p] == NONE -> claim[p] = OFFERED; queue!next_offer,p
#if PAGES > 1
           /* There is no reader. */
           :: claim[p] == NONE -> claim[p] = OFFERED;
              open_unavailable!next_offer;
#ifdef BUG_NOT_NUMBERED
              next_offer--
#endif
#endif
           :: else
           fi;
           next_offer++;
           p = 0
       }
    :: atomic { main_wire?PAGE,p,v -> claim_channel() }
       atomic { dst[p] = v; p = 0; v = 0; refilled = 0 }
#ifdef ZERO_ON_MAIN
    /* code: ram_handle_zero() */
    :: atomic { main_wire?ZERO,p,v -> claim_channel() }
       atomic { dst[p] = 0; p = 0; refilled = 0 }
#endif
#ifdef MULTIFD
    /* All wait for each other.  code: multifd_recv_sync_main() */
    :: atomic {
           main_wire?[FLUSH,p,v] && wire[0]?[SYNC,p,v] && wire[1]?[SYNC,p,v] ->
           main_wire?FLUSH,p,v; wire[0]?SYNC,p,v; wire[1]?SYNC,p,v
       }
#endif
    /* code: load_end() pagecache_refill_revoke() */
    :: atomic {
           main_wire?END,p,v;
#ifndef BUG_END_DOES_NOT_REVOKE
           revoked = 1
       }
       !copiers
#else
       }
#endif
    /* code: process_incoming_migration_bh() */
    :: atomic {
           main_wire?EOF,p,v ->
#define compare(p) \
           ok_pages_equal = ok_pages_equal && \
                            (!needed(p) || dst[p] == src[p]);
           each_page(compare)
           assert(ok_pages_equal);
           finished = 1
       }
    od;
end_refused:
    false
}

#ifdef MULTIFD
/*
 * A packet stays on the wire until it has been processed.
 * code: multifd_recv_thread() multifd_recv_unfill_packet_ram()
 */
proctype multifd_recv(byte c)
{
    byte p, v;
    bit refilled;

end:
    do
    /* code: multifd_ram_unfill_packet() multifd_nocomp_recv() */
    :: atomic { wire[c]?<PAGE,p,v> -> claim_channel() }
       atomic {
           dst[p] = v;
#ifdef ZERO_IN_PACKET
           received[p] = 1;
#endif
           wire[c]?PAGE,p,v; p = 0; v = 0; refilled = 0
       }
#ifdef ZERO_IN_PACKET
    /* code: multifd_recv_zero_page_process() */
    :: atomic { wire[c]?<ZERO,p,v> -> claim_channel() }
       atomic {
           if
#ifndef BUG_ZERO_SKIPS_MEMSET
           :: refilled || received[p] -> dst[p] = 0
#else
           :: received[p] -> dst[p] = 0
#endif
           :: else
           fi;
           received[p] = 1;
           wire[c]?ZERO,p,v; p = 0; refilled = 0
       }
#endif
    od
}
#endif

/* --- destination: a thread of the reader --- */

/* code: copy_page() */
inline copy_begin()
{
    if
#ifdef BUG_COPY_WITHOUT_CLAIM
    :: !revoked -> copiers++; copied = 1
#else
    /* code: pagecache_claim_copy_begin() */
    :: !revoked && claim[p] == OFFERED ->
       copiers++; claim[p] = COPYING; copied = 1
#endif
    :: else
    fi
}

/* code: pagecache_claim_copy_end() */
inline copy_end()
{
#ifndef BUG_COPY_WITHOUT_CLAIM
    claim[p] = REFILLED;
#endif
    copiers--
}

/* What the LUN says may be anything, may be an error, and may take for ever. */
active proctype reader()
{
    byte p, n, v;
    bit copied;

end:
    do
    :: queue?n,p ->
#ifdef BUG_COUNTED_WHILE_READING
       atomic { !revoked -> copiers++ };
#endif
       if
       :: atomic { any_content(v); copy_begin() }
       /* code: report_unavailable() */
       :: open_unavailable!n
       :: goto end_hung
       fi;
       if
       :: copied ->
          atomic {
              ok_no_late_refill = !finished;
              assert(ok_no_late_refill);
              dst[p] = v
          }
#ifdef BUG_DIGEST_OF_RAM
          atomic { copy_end() };
          v = dst[p];
          open_ok!n,v
#else
          /* code: do_refill() report_ok() pagecache_reporter_add() */
          atomic { copy_end(); open_ok!n,v }
#endif
       :: else
       fi;
#ifdef BUG_COUNTED_WHILE_READING
       copiers--;
#endif
       atomic { p = 0; n = 0; v = 0; copied = 0 }
    od;
end_hung:
    false
}

/*
 * mig/pc-report sends what has come meanwhile in one message, or in two if it
 * is too much for one.  code: reporter_thread() next_report() push_open()
 */
active proctype reporter()
{
    byte n, v;

end:
    do
    :: atomic { accepted -> accepted = 0; return_path!ACCEPTED,NUMBERS,0,0 }
    :: atomic {
           open_ok?n,v ->
           do
           :: nempty(open_ok) -> return_path!OK,n,v,1; open_ok?n,v
           :: break
           od;
           return_path!OK,n,v,0;
           n = 0; v = 0
       }
    :: atomic {
           open_unavailable?n ->
           do
           :: nempty(open_unavailable) ->
              return_path!UNAVAILABLE,n,0,1; open_unavailable?n
           :: break
           od;
           return_path!UNAVAILABLE,n,0,0;
           n = 0
       }
    /* lost: there was no room in the inbox.  code: pagecache_inbox_put() */
    :: atomic {
           open_ok?n,v ->
           do
           :: open_ok?n,v
           :: empty(open_ok) -> break
           od;
           n = 0; v = 0
       }
    od
}

#ifdef MULTIFD
init {
    atomic {
        run multifd_send(0); run multifd_send(1);
        run multifd_recv(0); run multifd_recv(1)
    }
}
#endif

#ifdef ORDERED
ltl switchover_happens { <> finished }
#endif
