/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: keyed digests of pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * 128 bits, keyed with a secret that is new for each migration.  That guards
 * against accident, and against collisions prepared inside the guest, which
 * does not know the secret.  XXH3 is no MAC: who reads the secret in the
 * stream makes two pages of the same digest in no time.  SHA-256 is that of
 * the secret followed by the page, cut to 128 bits.  Where QEMU was built
 * without libxxhash, it takes the place of XXH3.
 */
#ifndef MIGRATION_PAGECACHE_DIGEST_H
#define MIGRATION_PAGECACHE_DIGEST_H

#include "pagecache-wire.h"

typedef struct PagecacheDigest {
    PagecacheDigestKind kind;
    size_t secret_len;          /* bytes */
    uint8_t secret[PAGECACHE_SECRET_MAX];
} PagecacheDigest;

/*
 * A new random secret; @kind is what is wished for, digest->kind what it got.
 * False with @errp set: no randomness, or this QEMU has no such digest.
 */
bool pagecache_digest_init(PagecacheDigest *digest, PagecacheDigestKind kind,
                           Error **errp);
/* The secret of the other side.  False with @errp set: no such digest here. */
bool pagecache_digest_init_from(PagecacheDigest *digest,
                                const PagecacheWireStart *start, Error **errp);
/* False: the hash library failed; there is no digest then.  Any thread. */
bool pagecache_digest_page(const PagecacheDigest *digest, const void *page,
                           size_t size, uint8_t out[PAGECACHE_DIGEST_LEN]);

#endif
