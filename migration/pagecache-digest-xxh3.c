/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the digest of a page by XXH3, of libxxhash
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include <xxhash.h>
#include "pagecache-digest-xxh3.h"

QEMU_BUILD_BUG_ON(PAGECACHE_SECRET_MIN < 2 * XXH3_SECRET_SIZE_MIN);
QEMU_BUILD_BUG_ON(PAGECACHE_DIGEST_LEN != 2 * sizeof(XXH64_canonical_t));

bool pagecache_digest_have_xxh3(void)
{
    return true;
}

void pagecache_digest_xxh3(const uint8_t *secret, size_t secret_len,
                           const void *page, size_t size,
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

uint64_t pagecache_checksum_xxh3(const void *data, size_t size)
{
    return XXH3_64bits(data, size);
}
