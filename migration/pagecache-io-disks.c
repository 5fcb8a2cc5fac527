/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: which disks the I/O map knows
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "block/aio.h"
#include "block/pagecache-track.h"
#include "system/block-backend.h"
#include "migration/pagecache.h"
#include "pagecache-io-disks.h"
#include "trace.h"

typedef struct Number {
    BlockBackend *blk;          /* NULL: of no disk */
    bool old;                   /* the map may have entries of a disk before */
} Number;

/* Written with the BQL */
static struct {
    bool on;                    /* atomic */
    uint64_t sweeping;          /* bit n: number n is; 0: none */
    Number numbers[PAGECACHE_IO_DISKS + 1];     /* the first is not used */
    int index[PAGECACHE_IO_DISKS + 1];          /* atomic; plus 1 */
} disks;

/* --- numbers --- */

static bool wants_number(BlockBackend *blk)
{
    return disks.on && blk_get_attached_dev(blk) && blk_bs(blk) &&
           !*blk_pagecache_disk(blk);
}

/* 0: none is free */
static uint8_t free_number(void)
{
    uint8_t n;

    for (n = 1; n <= PAGECACHE_IO_DISKS; n++) {
        if (!disks.numbers[n].blk && !disks.numbers[n].old) {
            return n;
        }
    }
    return 0;
}

static void start_sweep(void);

static void give_number(BlockBackend *blk)
{
    uint8_t n = free_number();

    if (!n) {
        start_sweep();
        return;
    }
    disks.numbers[n].blk = blk;
    disks.numbers[n].old = true;
    qatomic_set(blk_pagecache_disk(blk), n);
    trace_pagecache_io_disk(n, true);
}

static void take_number(BlockBackend *blk)
{
    uint8_t n = *blk_pagecache_disk(blk);

    if (n) {
        qatomic_set(blk_pagecache_disk(blk), 0);
        qatomic_set(&disks.index[n], 0);
        disks.numbers[n].blk = NULL;
        trace_pagecache_io_disk(n, false);
    }
}

static void give_all(void)
{
    BlockBackend *blk = NULL;

    while ((blk = blk_all_next(blk))) {
        if (wants_number(blk)) {
            give_number(blk);
        }
    }
}

/* --- numbers that were given out before --- */

static uint64_t old_numbers(void)
{
    uint64_t old = 0;
    uint8_t n;

    for (n = 1; n <= PAGECACHE_IO_DISKS; n++) {
        if (!disks.numbers[n].blk && disks.numbers[n].old) {
            old |= 1ULL << n;
        }
    }
    return old;
}

static void sweep_done(void *opaque)
{
    uint8_t n;

    for (n = 1; n <= PAGECACHE_IO_DISKS; n++) {
        if (disks.sweeping >> n & 1) {
            disks.numbers[n].old = false;
        }
    }
    trace_pagecache_io_swept(disks.sweeping);
    disks.sweeping = 0;
    give_all();
}

/* Nothing changes "sweeping" before sweep_done(). */
static void *sweep_thread(void *opaque)
{
    rcu_register_thread();
    pagecache_io_map_sweep(disks.sweeping);
    rcu_unregister_thread();
    aio_bh_schedule_oneshot(qemu_get_aio_context(), sweep_done, NULL);
    return NULL;
}

/* Nobody waits for it: a disk without a number is not tracked, no more. */
static void start_sweep(void)
{
    QemuThread thread;

    if (disks.sweeping) {
        return;
    }
    disks.sweeping = old_numbers();
    if (disks.sweeping) {
        qemu_thread_create(&thread, "pagecache-sweep", sweep_thread, NULL,
                           QEMU_THREAD_DETACHED);
    }
}

/* --- of the block layer --- */

static void disk_changed(BlockBackend *blk, bool come)
{
    GLOBAL_STATE_CODE();
    if (!come) {
        take_number(blk);
    } else if (wants_number(blk)) {
        give_number(blk);
    }
}

static const PagecacheTrackOps ops = {
    .disk = disk_changed,
    .note = pagecache_io_map_note,
    .forget = pagecache_io_map_forget,
};

/* --- for others --- */

void pagecache_io_disks_start(void)
{
    GLOBAL_STATE_CODE();
    pagecache_track_ops = &ops;
    qatomic_set(&disks.on, true);
    give_all();
}

void pagecache_io_disks_stop(void)
{
    uint8_t n;

    GLOBAL_STATE_CODE();
    qatomic_set(&disks.on, false);
    for (n = 1; n <= PAGECACHE_IO_DISKS; n++) {
        if (disks.numbers[n].blk) {
            take_number(disks.numbers[n].blk);
        }
    }
}

bool pagecache_io_disks_on(void)
{
    return qatomic_read(&disks.on);
}

unsigned pagecache_io_disks_count(void)
{
    BlockBackend *blk = NULL;
    unsigned count = 0;

    GLOBAL_STATE_CODE();
    while ((blk = blk_all_next(blk))) {
        count += *blk_pagecache_disk(blk) != 0;
    }
    return count;
}

uint8_t pagecache_io_disks_number(BlockBackend *blk)
{
    GLOBAL_STATE_CODE();
    return *blk_pagecache_disk(blk);
}

void pagecache_io_disks_resolve(void)
{
    uint8_t n;

    GLOBAL_STATE_CODE();
    for (n = 1; n <= PAGECACHE_IO_DISKS; n++) {
        BlockBackend *blk = disks.numbers[n].blk;

        qatomic_set(&disks.index[n], blk ? pagecache_disk_find(blk) + 1 : 0);
    }
}

int pagecache_io_disks_index(uint8_t number)
{
    return qatomic_read(&disks.index[number]) - 1;
}
