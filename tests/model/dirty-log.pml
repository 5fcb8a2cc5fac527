/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what protocol.pml takes for granted of the dirty log
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One page of two halves, which are written and sampled one by one.  If its
 * bit is clear after the final sync, the page has the content that was
 * sampled after the bit was cleared for the last time.
 *
 * -DKVM_BITMAP         KVM's dirty bitmap with manual protect,
 * -DKVM_NO_MANUAL      ...without it,
 * -DKVM_RING           KVM's dirty ring,
 * -DTCG                or TCG's TLB: what sees the writes of the vCPU
 * -DTIMER              the main thread syncs as well, for auto-converge
 * -DWRITES=n           by the vCPU and by a device, together
 * -DBUG_...            a seeded bug
 *
 * "code:" names the functions that a step stands for.
 */

#ifndef WRITES
#define WRITES 3
#endif

byte src[2];            /* the page, by halves */
byte sample[2];         /* what was seen of it */
byte writes = WRITES;   /* that are left */
bit vcpu_busy, device_busy;
bit stopped = 1;

bit kernel;             /* the kernel's bit, or an entry in the ring */
bit armed;              /* the next write is noticed */
bit reported;           /* KVMSlot.dirty_bmap */
bit dirty_memory;       /* ram_list.dirty_memory[DIRTY_MEMORY_MIGRATION] */
bit bmap = 1;           /* RAMBlock.bmap */
bit clear_bmap;         /* RAMBlock.clear_bmap: the log is yet to be cleared */

bit bitmap_mutex, bql;

bit ok_clean_is_sampled = 1;

inline lock(l)
{
    atomic { !l -> l = 1 }
}

/* --- who writes --- */

/* A content that this half did not have before, if there is one left */
inline write(h)
{
    if
    :: writes -> src[h] = WRITES + 1 - writes; writes--
    :: else
    fi
}

active proctype vcpu()
{
    byte h;

end:
    do
    :: atomic {
           writes && !stopped -> vcpu_busy = 1;
           if
           :: h = 0
           :: h = 1
           fi
       }
#ifdef TCG
       /* The check and the store are two; code: notdirty_write() */
       atomic {
           if
           :: armed -> dirty_memory = 1; armed = 0
           :: else
           fi
       }
       atomic { write(h); h = 0; vcpu_busy = 0 }
#else
       /* A fault marks the page; then the write is tried again. */
       do
       :: atomic { armed -> kernel = 1; armed = 0 }
       :: atomic { !armed -> write(h); h = 0; vcpu_busy = 0; break }
       od
#endif
    od
}

/* code: invalidate_and_set_dirty() */
active proctype device()
{
end:
    do
    :: atomic { writes && !stopped -> device_busy = 1 }
#ifdef BUG_MARKS_BEFORE_WRITE
       dirty_memory = 1;
#endif
       atomic { write(0) }
#ifndef BUG_MARKS_BEFORE_WRITE
       dirty_memory = 1;
#endif
       device_busy = 0
    od
}

/* --- the log --- */

/* From the tracker to dirty_memory; the steps under kvm_slots_lock are one. */
inline get_log()
{
#if defined(KVM_BITMAP)
    /* code: kvm_log_sync() kvm_slot_get_dirty_log() kvm_slot_sync_dirty_pages() */
    atomic {
        reported = kernel;
        dirty_memory = dirty_memory || reported
    }
#elif defined(KVM_NO_MANUAL)
    atomic {
        reported = kernel;
        armed = armed || kernel; kernel = 0;
        dirty_memory = dirty_memory || reported
    }
#elif defined(KVM_RING)
    /* code: kvm_log_sync_global() kvm_dirty_ring_reap_locked() */
#ifndef BUG_PUBLISHED_BEFORE_RESET
    atomic {
        reported = reported || kernel;
        armed = armed || kernel; kernel = 0
    }
    atomic { dirty_memory = dirty_memory || reported; reported = 0 }
#else
    atomic { dirty_memory = dirty_memory || kernel }
#endif
#endif
    skip
}

/*
 * code: migration_bitmap_sync() cpu_physical_memory_sync_dirty_bitmap()
 * memory_global_after_dirty_log_sync() tcg_log_global_after_sync()
 */
inline sync()
{
    get_log();
    lock(bitmap_mutex);
    atomic {
        if
        :: dirty_memory ->
           dirty_memory = 0;
#ifdef TCG
#ifdef BUG_TLB_NOT_RESET
           armed = armed || !bmap;
#else
           armed = 1;   /* code: cpu_physical_memory_dirty_bits_cleared() */
#endif
#endif
           bmap = 1
        :: else
        fi;
        clear_bmap = 1;
        bitmap_mutex = 0
    }
#ifdef BUG_PUBLISHED_BEFORE_RESET
    atomic { armed = armed || kernel; kernel = 0 }
#endif
#if defined(TCG) && !defined(BUG_TCG_NO_AFTER_SYNC)
    !vcpu_busy
#else
    skip
#endif
}

/*
 * For the chunk that the page is in: for its own sake or another page's
 * code: migration_clear_memory_region_dirty_bitmap() kvm_log_clear_one_slot()
 */
inline clear_log()
{
    atomic {
        if
        :: clear_bmap ->
           clear_bmap = 0;
#ifdef KVM_BITMAP
           if
#ifdef BUG_CLEARS_UNREPORTED
           :: kernel -> kernel = 0; armed = 1
#else
           :: reported && kernel -> kernel = 0; armed = 1
#endif
           :: else
           fi;
           reported = 0
#endif
        :: else
        fi
    }
}

inline take_sample()
{
    sample[0] = src[0];
    sample[1] = src[1]
}

active proctype migration()
{
    /* code: ram_list_init_bitmaps() memory_global_dirty_log_start() */
    atomic {
        if
#ifndef TCG
        :: kernel = 1           /* KVM_DIRTY_LOG_INITIALLY_SET */
#else
        :: dirty_memory = 1     /* left over from earlier */
#endif
        :: armed = 1
        fi;
        sample[0] = 255;
        stopped = 0
    }
    do
    /* code: migration_bitmap_clear_dirty() ram_pagecache_take_dirty() */
    :: bmap ->
#ifdef BUG_SAMPLED_BEFORE_CLEAR
       take_sample();
#endif
       lock(bitmap_mutex);
#ifndef BUG_LOG_CLEARED_AFTER_SAMPLE
       clear_log();
#endif
       bmap = 0;
       bitmap_mutex = 0;
       /* code: page_is_equal() save_normal_page() multifd_send_thread() */
#ifndef BUG_SAMPLED_BEFORE_CLEAR
       take_sample();
#endif
#ifdef BUG_LOG_CLEARED_AFTER_SAMPLE
       lock(bitmap_mutex);
       clear_log();
       bitmap_mutex = 0
#endif
    /* for another page of the chunk */
    :: clear_bmap ->
       lock(bitmap_mutex);
       clear_log();
       bitmap_mutex = 0
    :: lock(bql);
       sync();
       bql = 0
    :: break
    od;
    /* code: migration_stop_vm() ram_save_complete() */
    lock(bql);
    atomic { !vcpu_busy && !device_busy -> stopped = 1 }
    sync();
    atomic {
        ok_clean_is_sampled = bmap || (src[0] == sample[0] &&
                                       src[1] == sample[1]);
        assert(ok_clean_is_sampled)
    }
    bql = 0
}

#ifdef TIMER
/* code: cpu_throttle_dirty_sync_timer_tick() */
active proctype timer()
{
end:
    do
    :: atomic { !stopped && !bql -> bql = 1 }
       sync();
       bql = 0
    od
}
#endif
