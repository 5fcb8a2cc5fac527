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
 *
 * pagecache-digest-xxh3.c is built with libxxhash, and without it
 * pagecache-digest-no-xxh3.c.
 */
#ifndef MIGRATION_PAGECACHE_DIGEST_XXH3_H
#define MIGRATION_PAGECACHE_DIGEST_XXH3_H

#include "pagecache-wire.h"

/* Is there XXH3 in this build? */
bool pagecache_digest_have_xxh3(void);

/*
 * @secret_len: bytes, PAGECACHE_SECRET_MIN or more.  Any thread.  Not to be
 * called in a build without XXH3.
 */
void pagecache_digest_xxh3(const uint8_t *secret, size_t secret_len,
                           const void *page, size_t size,
                           uint8_t out[PAGECACHE_DIGEST_LEN]);

/*
 * A checksum, that anybody can make fit.  Any thread.  Not to be called in a
 * build without XXH3.
 */
uint64_t pagecache_checksum_xxh3(const void *data, size_t size);

#endif
