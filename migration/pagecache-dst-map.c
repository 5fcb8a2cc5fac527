/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the destination side, the source's I/O map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Where the source says that pages stand is where the next migration, from here,
 * may look for them.  It believes none of that: hints are proven.  The source
 * knows better than refills, as the guest may have read something else since.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/ramblock.h"
#include "pagecache-dst-int.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-map.h"
#include "pagecache-wire-map.h"

static void take_run(PagecacheDst *d, const PagecacheWireMapRun *run)
{
    RAMBlock *rb = g_ptr_array_index(d->blocks, run->block);
    PagecacheIoPlace place = {
        .disk = pagecache_dst_disk(d, run->disk)->io_number,
        .sector = run->sector,
    };
    PagecacheIoMap *map;
    uint16_t i;

    if (!place.disk) {
        return;                 /* that disk is not tracked here */
    }
    map = pagecache_io_map_hold(rb);
    if (!map) {
        return;
    }
    for (i = 0; i < run->npages; i++) {
        pagecache_io_map_put(map, run->page + i, &place,
                             pagecache_wire_map_sum(run, i));
        place.sector += 1ULL << (d->page_bits - 9);
    }
    pagecache_io_map_release(map);
    stat64_add(&d->io_map_entries, run->npages);
}

bool pagecache_dst_load_map(PagecacheDst *d, const uint8_t *body, size_t len,
                            Error **errp)
{
    /* It may have been switched off since START. */
    bool on = pagecache_io_disks_on();
    g_autofree char *err = NULL;
    PagecacheWireMapRun run;
    size_t pos = 0;

    while (pagecache_wire_map_next(body, len, &pos, &run, &err)) {
        const PagecacheWireOffer place = pagecache_wire_map_place(&run);

        if (!pagecache_wire_check_place(d->start, "run", &place, &err)) {
            break;
        }
        if (on) {
            take_run(d, &run);
        }
    }
    if (err) {
        error_setg(errp, "malformed MAP: %s", err);
        return false;
    }
    return true;
}
