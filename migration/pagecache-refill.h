/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what reader threads do with what they have read
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A page that the channel has not claimed is copied into RAM, and its digest
 * reported.
 *
 * Reader threads may outlive the migration (a read may hang for ever), so this
 * lives as long as there is a reference: one of the migration's and one of each
 * reader's.  Once it is revoked, they write nothing to guest RAM.
 *
 * There is no lock.  Claims change atomically (pagecache-claim.h); for the
 * revocation each side writes what is its own, has a barrier, and reads what is
 * the other's.  The reporter's lock is taken (pagecache-reporter.h).
 */
#ifndef MIGRATION_PAGECACHE_REFILL_H
#define MIGRATION_PAGECACHE_REFILL_H

#include "block/pagecache-reader.h"
#include "exec/ramblock.h"
#include "pagecache-digest.h"
#include "pagecache-reporter.h"

typedef struct PagecacheRefill PagecacheRefill;
typedef struct PagecacheRefillDisk PagecacheRefillDisk;

/* --- the main thread ------------------------------------------------------ */

/*
 * For up to so many blocks and disks.  Has a reference of the reporter.
 * @unread is called by reader threads that could not read something, until it is
 * revoked or not long after.
 */
PagecacheRefill *pagecache_refill_new(unsigned page_bits, uint32_t nblocks,
                                      uint32_t ndisks,
                                      PagecacheReporter *reporter,
                                      void (*unread)(void));
/* Before the first read */
void pagecache_refill_set_digest(PagecacheRefill *refill,
                                 const PagecacheDigest *digest);
/*
 * Blocks get the numbers 0, 1, ...  Returns the claims of its pages
 * (PAGECACHE_CLAIM_*, one byte a page), which live as long as @refill.
 */
uint8_t *pagecache_refill_add_block(PagecacheRefill *refill, RAMBlock *rb,
                                    uint64_t npages);
/*
 * From now on what is refilled from disk @nr has an entry in the I/O map, where
 * the disk has this number (pagecache-io-disks.h).  Before its first read; BQL.
 */
void pagecache_refill_seed(PagecacheRefill *refill, uint32_t nr,
                           uint8_t number);
/*
 * For the callbacks of the reader of disk @nr.  Lives as long as @refill; the
 * reader has a reference, which pagecache_refill_released() drops.
 */
PagecacheRefillDisk *pagecache_refill_disk(PagecacheRefill *refill,
                                           uint32_t nr);
/*
 * A page is offered.  False: the channel has it, or it was offered before, and
 * it counts as superseded.
 */
bool pagecache_refill_offer(PagecacheRefill *refill, uint32_t block,
                            uint64_t page);
/* Reports runs that nobody will read. */
void pagecache_refill_unavailable(PagecacheRefill *refill,
                                  const PagecacheRun *runs, size_t n);
/*
 * Returns once no refill writes guest RAM any more: after memcpy()s of some
 * pages at most, and the page faults that these meet.  It sleeps meanwhile, as
 * a copier may need this processor.
 */
void pagecache_refill_revoke(PagecacheRefill *refill);
bool pagecache_refill_is_revoked(PagecacheRefill *refill);

/* --- any thread ----------------------------------------------------------- */

void pagecache_refill_ref(PagecacheRefill *refill);
void pagecache_refill_unref(PagecacheRefill *refill);
/* How many pages the channel had first */
uint64_t pagecache_refill_superseded(PagecacheRefill *refill);

/* --- reader threads: see PagecacheReaderConfig ---------------------------- */

void pagecache_refill_done(void *disk, const PagecachePiece *pieces, size_t n,
                           const uint8_t *data, int ret);
void pagecache_refill_released(void *disk);

#endif
