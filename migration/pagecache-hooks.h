/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the migration code sees of it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * These are the hooks in ram.c, multifd*.c, savevm.c and migration.c, and the
 * helpers that ram.c lends us.  "Off" costs each hot path the test of one
 * pointer.
 */
#ifndef MIGRATION_PAGECACHE_HOOKS_H
#define MIGRATION_PAGECACHE_HOOKS_H

#include "qapi/qapi-types-migration.h"
#include "qapi/qapi-types-pagecache.h"
#include "qemu/bitops.h"
#include "exec/ramblock.h"
#include "qemu/pagecache-fault.h"
#include "qemu-file.h"
#include "pagecache-claim.h"
#include "pagecache-pool.h"

/*
 * Not from the counter of section ids: all later sections would get other
 * numbers than in an unpatched QEMU.  "PGC" and a 1.
 */
#define PAGECACHE_SECTION_ID    0x50474301
/*
 * The type of our message on the return path.  Not the next number that is
 * free in enum mig_rp_message_type: another version of QEMU may have given it
 * to something else.  "PG".
 */
#define PAGECACHE_RP_MESSAGE    0x5047
/* MIG_RP_MSG_SHUT: QEMU's last message there, which says how it went */
#define PAGECACHE_RP_SHUT       1

/*
 * Registers the section; must come before ram_mig_init().
 * pagecache-section.c
 */
void pagecache_mig_init(void);
void pagecache_test_hints_init(void);

/* --- whether it can work: pagecache-active.c --- */

/*
 * Whether it can work in the migration that begins, or the first thing that it
 * can't work with.  Before the channel is connected: as far as is known by
 * then.  BQL.
 */
bool pagecache_is_possible(MigrationState *s, PagecacheInactiveReason *reason);

/* --- source: pagecache-src.c --- */

/* A migration is being prepared: nothing is known of the last one any more. */
void pagecache_src_reset(void);
/*
 * The channel is connected: decides whether the capability is active in this
 * migration, or why not.  BQL.
 */
void pagecache_src_begin(MigrationState *s);
/*
 * Is it?  Then the migration has a return path, with the capability of that
 * name or without.  BQL.
 */
bool pagecache_src_needs_return_path(void);
/*
 * A REPORT message of @len bytes comes on @rp.  Return path thread.  Waits for
 * these bytes, and for nothing else.  False: the return path is no good.
 */
bool pagecache_src_load_report(QEMUFile *rp, uint16_t len, Error **errp);
/* Bytes proven since the start: progress as far as throttling goes. */
uint64_t pagecache_src_proven_bytes(void);

/*
 * Many reports wait, and the last turn was some time ago: the channel shall
 * let another one come.  Migration thread; asked every now and then.
 */
bool pagecache_src_wants_turn(void);

/*
 * Is everything sent that is of no use after the switchover?  Migration thread.
 */
bool pagecache_src_may_switch_over(void);

/* The channel sends @page of @rb: no hint counts for it any more. */
static inline void pagecache_src_note_sent(RAMBlock *rb, unsigned long page)
{
    if (unlikely(rb->pagecache_sent)) {
        unsigned long *word = &rb->pagecache_sent[BIT_WORD(page)];

        /* Other threads look at it; none but ours writes it. */
        qatomic_set(word, *word | BIT_MASK(page));
    }
}

/*
 * The next dirty page of @rb that the scan does not pass over.  @all: it
 * passes over nothing, because this is the last stage or postcopy.
 */
static inline unsigned long pagecache_src_find_next(RAMBlock *rb,
                                                    unsigned long size,
                                                    unsigned long start,
                                                    bool all)
{
    if (likely(!rb->pagecache_held) || all) {
        return find_next_bit(rb->bmap, size, start);
    }
    return pagecache_pool_next_dirty(rb->bmap, rb->pagecache_held, size, start);
}

/* --- destination: pagecache-dst.c --- */

/*
 * A page at byte @offset of @rb has arrived on the channel and will be
 * written next: no refill writes it from now on.  Returns whether one has.
 * Any thread.
 */
static inline bool pagecache_dst_claim(RAMBlock *rb, uint64_t offset,
                                       unsigned page_bits)
{
    bool refilled;

    if (likely(!rb->pagecache_claims)) {
        return false;
    }
    refilled = pagecache_claim_channel(
        &rb->pagecache_claims[offset >> page_bits]);
    pagecache_fault_delay(PAGECACHE_FAULT_DELAY_CHANNEL);
    return refilled;
}

/* The same for @n offsets */
void pagecache_dst_claim_pages(RAMBlock *rb, const ram_addr_t *offsets,
                               uint32_t n);
/* Is a guest coming in, with the capability active?  BQL. */
bool pagecache_dst_is_loading(void);
/* What there is to tell meanwhile.  BQL. */
MigrationPagecacheInfo *pagecache_dst_info(void);

/* --- both: pagecache-info.c --- */

void pagecache_info_print(Monitor *mon, const MigrationPagecacheInfo *info);
MigrationPagecacheInfo *pagecache_info(void);

/* --- faults on purpose: pagecache-fault-qom.c --- */

#ifdef CONFIG_PAGECACHE_FAULTS
/* A property of the migration object, for -global */
void pagecache_fault_class_init(ObjectClass *klass);
/* The object for qom-set and qom-get */
void pagecache_fault_init(void);
#else
static inline void pagecache_fault_class_init(ObjectClass *klass)
{
}

static inline void pagecache_fault_init(void)
{
}
#endif

/* --- what ram.c lends us --- */

/*
 * Clears the dirty log and the dirty bits of those of @n pages that are
 * dirty, and sets the bits of these pages in @taken (bit 0 is @page).  The
 * content of the pages may be sampled afterwards, and only afterwards.
 * Migration thread, between the two functions that follow.
 */
uint32_t ram_pagecache_take_dirty(RAMBlock *rb, unsigned long page, uint32_t n,
                                  unsigned long *taken);
void ram_pagecache_lock_dirty(void);
void ram_pagecache_unlock_dirty(void);
/* Sets the dirty bit again.  Migration thread, without that lock. */
void ram_pagecache_mark_dirty(RAMBlock *rb, unsigned long page);
/*
 * Synchronizes the dirty bitmap with the dirty log, as between two rounds.
 * Migration thread, without the BQL and outside of RCU critical sections.
 */
void ram_pagecache_sync_dirty(void);

#endif
