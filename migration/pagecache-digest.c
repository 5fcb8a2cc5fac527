/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: keyed digests of pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "pagecache-digest.h"
#include "pagecache-digest-xxh3.h"

static bool kind_is_supported(PagecacheDigestKind kind, Error **errp)
{
    if (kind == PAGECACHE_DIGEST_SHA256 &&
        !qcrypto_hash_supports(QCRYPTO_HASH_ALGO_SHA256)) {
        error_setg(errp, "skip-pagecache: this QEMU was built without SHA-256");
        return false;
    }
    return true;
}

bool pagecache_digest_init(PagecacheDigest *digest, PagecacheDigestKind kind,
                           Error **errp)
{
    digest->kind = kind;
    digest->secret_len = PAGECACHE_SECRET_LEN;
    return kind_is_supported(kind, errp) &&
           !qcrypto_random_bytes(digest->secret, digest->secret_len, errp);
}

bool pagecache_digest_init_from(PagecacheDigest *digest,
                                const PagecacheWireStart *start, Error **errp)
{
    assert(start->secret->len <= sizeof(digest->secret));
    digest->kind = start->digest;
    digest->secret_len = start->secret->len;
    memcpy(digest->secret, start->secret->data, start->secret->len);
    return kind_is_supported(digest->kind, errp);
}

static bool digest_sha256(const PagecacheDigest *digest, const void *page,
                          size_t size, uint8_t *out)
{
    struct iovec iov[2] = {
        { .iov_base = (void *)digest->secret, .iov_len = digest->secret_len },
        { .iov_base = (void *)page, .iov_len = size },
    };
    uint8_t full[32];
    uint8_t *result = full;
    size_t len = sizeof(full);

    if (qcrypto_hash_bytesv(QCRYPTO_HASH_ALGO_SHA256, iov, 2, &result, &len,
                            NULL) < 0) {
        return false;
    }
    memcpy(out, full, PAGECACHE_DIGEST_LEN);
    return true;
}

bool pagecache_digest_page(const PagecacheDigest *digest, const void *page,
                           size_t size, uint8_t out[PAGECACHE_DIGEST_LEN])
{
    if (digest->kind == PAGECACHE_DIGEST_XXH3) {
        pagecache_digest_xxh3(digest->secret, digest->secret_len, page, size,
                              out);
        return true;
    }
    return digest_sha256(digest, page, size, out);
}
