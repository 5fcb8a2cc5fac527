/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: comparing reported digests with the source's own pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The order makes the proof: the caller clears the dirty log and the dirty
 * bits of the pages first, and hands them over then; the content is sampled
 * after that, in threads of our own and outside of all locks.  A write that
 * the sample misses is a write after the clear, which the log shows.
 */
#ifndef MIGRATION_PAGECACHE_PROOF_H
#define MIGRATION_PAGECACHE_PROOF_H

#include "exec/ramblock.h"
#include "pagecache-digest.h"

typedef struct PagecacheProofPage {
    RAMBlock *rb;
    uint64_t page;
    uint64_t sector;            /* for the caller, as the next two */
    uint32_t producer, disk;
    uint8_t digest[PAGECACHE_DIGEST_LEN];       /* as reported */
    bool equal;                                 /* the outcome */
} PagecacheProofPage;

typedef struct PagecacheProof PagecacheProof;

PagecacheProof *pagecache_proof_new(const PagecacheDigest *digest);
/* Waits for the page that is being compared, forgets the others. */
void pagecache_proof_free(PagecacheProof *proof);

/*
 * Takes ownership of @pages, an array of PagecacheProofPage whose dirty log
 * and bits were cleared.  Migration thread, as the ones below.
 */
void pagecache_proof_submit(PagecacheProof *proof, GArray *pages);
/*
 * The next array whose outcome is known, or NULL; not in the order in which
 * they were submitted, and not the same arrays.  @wait: wait for it as long
 * as there is any.  The caller owns it.
 */
GArray *pagecache_proof_result(PagecacheProof *proof, bool wait);
/* Pages submitted whose outcome was not fetched yet */
uint64_t pagecache_proof_pending(PagecacheProof *proof);
/* Bytes a second that are compared; 0: not known */
uint64_t pagecache_proof_rate(PagecacheProof *proof);

#endif
