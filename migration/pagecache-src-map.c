/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source side, the I/O map goes along
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A guest that has arrived needs its map for the next migration.  It is sent
 * when RAM is nearly done: what the guest reads meanwhile changes it.  QEMU waits
 * for that with the switchover, the guest does not; but not for long.
 */
#include "qemu/osdep.h"
#include "exec/target_page.h"
#include "migration/misc.h"
#include "migration/pagecache.h"
#include "migration.h"
#include "pagecache-io-sender.h"
#include "pagecache-src-int.h"
#include "ram.h"
#include "trace.h"

/*
 * The switchover waits for so long, at most, or for a part of the time that the
 * migration has taken, if that is more.
 */
#define HOLD_MS         100
#define HOLD_SHARE      32

void pagecache_src_map_begin(PagecacheSrc *src, const PagecacheWireStart *start)
{
    if (src->page_bits == PAGECACHE_PAGE_BITS) {
        src->map = pagecache_io_sender_new(start, src->blocks);
        src->map_since = pagecache_src_now();
    }
}

static void end(PagecacheSrc *src, bool complete)
{
    trace_pagecache_src_map(src->info->io_map_entries, complete);
    g_clear_pointer(&src->map, pagecache_io_sender_free);
}

/* Would RAM let QEMU switch over? */
static bool ram_is_nearly_done(void)
{
    return ram_bytes_remaining() <= migrate_get_current()->threshold_size;
}

bool pagecache_src_map_is_due(PagecacheSrc *src)
{
    return src->map && src->map_until;
}

GByteArray *pagecache_src_map_frame(PagecacheSrc *src)
{
    int64_t now = pagecache_src_now();
    GByteArray *frame;

    /* Every second turn is for offers. */
    src->map_turn = !src->map_turn;
    if (!src->map || !src->map_turn) {
        return NULL;
    }
    if (!src->map_until) {
        if (!ram_is_nearly_done()) {
            return NULL;
        }
        src->map_until = now + MAX(HOLD_MS, (now - src->map_since) /
                                            HOLD_SHARE);
    }
    if (now > src->map_until) {
        end(src, false);
        return NULL;
    }
    src->info->has_io_map_entries = true;
    src->info->io_map_entries += pagecache_io_sender_next(src->map, &frame);
    if (pagecache_io_sender_is_done(src->map)) {
        end(src, true);
    }
    return frame;
}

void pagecache_src_map_end(PagecacheSrc *src)
{
    if (src->map) {
        end(src, false);
    }
}
