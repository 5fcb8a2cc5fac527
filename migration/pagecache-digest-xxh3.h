/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the digest of a page by XXH3
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Two hashes of 64 bits, each keyed with its own half of the secret.  One of
 * 128 bits is not as good: its two halves are drawn from the same inner state,
 * and there are pairs of contents that lead to the same state for one secret
 * in 2^33 (flip the topmost bits of two words that stand a multiple of 64
 * bytes apart).  Such a pair has to fit both secrets here.
 */
#ifndef MIGRATION_PAGECACHE_DIGEST_XXH3_H
#define MIGRATION_PAGECACHE_DIGEST_XXH3_H

#include <xxhash.h>
#include "pagecache-wire.h"

QEMU_BUILD_BUG_ON(PAGECACHE_SECRET_MIN < 2 * XXH3_SECRET_SIZE_MIN);
QEMU_BUILD_BUG_ON(PAGECACHE_DIGEST_LEN != 2 * sizeof(XXH64_canonical_t));

static inline void pagecache_digest_xxh3(const uint8_t *secret,
                                         size_t secret_len, const void *page,
                                         size_t size,
                                         uint8_t out[PAGECACHE_DIGEST_LEN])
{
    size_t half = secret_len / 2;
    XXH64_canonical_t *sums = (XXH64_canonical_t *)out;

    XXH64_canonicalFromHash(&sums[0], XXH3_64bits_withSecret(page, size,
                                                             secret, half));
    XXH64_canonicalFromHash(&sums[1], XXH3_64bits_withSecret(page, size,
                                                             secret + half,
                                                             half));
}

#endif
