/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what could make it more useful
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "pagecache-hints.h"
#include "pagecache-note.h"

/* Hints are of less than this part of RAM */
#define SMALL   20

/* Nobody has delivered a hint. */
static PagecacheNote no_hints(const PagecacheNoteInput *in)
{
    PagecacheNote obstacle = PAGECACHE_NOTE__MAX;
    bool device = false, guest_ended = true, any_ended = false;
    guint i;

    for (i = 0; i < in->producers->len; i++) {
        const PagecacheProducerStats *p =
            &g_array_index(in->producers, PagecacheProducerStats, i);

        any_ended |= p->ended;
        if (p->from_guest) {
            device = true;
            guest_ended = p->ended;
            obstacle = p->ended ? PAGECACHE_NOTE__MAX : p->obstacle;
        }
    }
    if (!device && !in->io_map) {
        return PAGECACHE_NOTE_NO_DEVICE;
    }
    if (obstacle == PAGECACHE_NOTE_NO_DRIVER ||
        (obstacle != PAGECACHE_NOTE__MAX && (in->patient || in->ended))) {
        return obstacle;
    }
    return any_ended && (guest_ended || in->ended) ? PAGECACHE_NOTE_MAP_EMPTY
                                                   : PAGECACHE_NOTE__MAX;
}

PagecacheNote pagecache_note(const MigrationPagecacheInfo *info,
                             const PagecacheNoteInput *in)
{
    const MigrationPagecacheSource *s = info->source;

    if (s->has_given_up) {
        return PAGECACHE_NOTE__MAX;     /* says more */
    }
    if (!s->hinted_pages) {
        return no_hints(in);
    }
    if (!info->reported_pages && info->unavailable_pages) {
        return PAGECACHE_NOTE_NO_READABLE_DISK;
    }
    if (!in->ended) {
        return PAGECACHE_NOTE__MAX;
    }
    if (!info->reported_pages && s->released_pages) {
        return PAGECACHE_NOTE_CHANNEL_FASTER;
    }
    if (s->hinted_pages < in->ram_pages / SMALL) {
        return PAGECACHE_NOTE_CACHE_SMALL;
    }
    return PAGECACHE_NOTE__MAX;
}
