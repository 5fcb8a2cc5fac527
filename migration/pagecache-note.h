/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what could make it more useful
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef MIGRATION_PAGECACHE_NOTE_H
#define MIGRATION_PAGECACHE_NOTE_H

#include "qapi/qapi-types-pagecache.h"

/* What the figures don't have */
typedef struct PagecacheNoteInput {
    const GArray *producers;    /* of PagecacheProducerStats */
    bool io_map;                /* there is an I/O map */
    bool patient;               /* the guest had the time to answer */
    bool ended;                 /* nothing more is to come */
    uint64_t ram_pages;         /* of the guest */
} PagecacheNoteInput;

/* PAGECACHE_NOTE__MAX: nothing that is known.  Any thread. */
PagecacheNote pagecache_note(const MigrationPagecacheInfo *info,
                             const PagecacheNoteInput *in);

#endif
