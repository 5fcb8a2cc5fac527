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

static bool have_kind(PagecacheDigestKind kind)
{
    return kind == PAGECACHE_DIGEST_XXH3 ? pagecache_digest_have_xxh3() :
           qcrypto_hash_supports(QCRYPTO_HASH_ALGO_SHA256);
}

bool pagecache_digest_init(PagecacheDigest *digest, PagecacheDigestKind kind,
                           Error **errp)
{
    bool fall_back = !have_kind(kind) && kind == PAGECACHE_DIGEST_XXH3;

    digest->kind = fall_back ? PAGECACHE_DIGEST_SHA256 : kind;
    digest->secret_len = PAGECACHE_SECRET_LEN;
    if (!have_kind(digest->kind)) {
        error_setg(errp, "this QEMU was built without %sSHA-256",
                   fall_back ? "libxxhash and without " : "");
        return false;
    }
    return !qcrypto_random_bytes(digest->secret, digest->secret_len, errp);
}

bool pagecache_digest_init_from(PagecacheDigest *digest,
                                const PagecacheWireStart *start, Error **errp)
{
    assert(start->secret->len <= sizeof(digest->secret));
    digest->kind = start->digest;
    digest->secret_len = start->secret->len;
    memcpy(digest->secret, start->secret->data, start->secret->len);
    if (have_kind(digest->kind)) {
        return true;
    }
    if (digest->kind == PAGECACHE_DIGEST_XXH3) {
        error_setg(errp, "the source's digests are by XXH3, expected SHA-256, "
                   "because this QEMU was built without libxxhash; set the "
                   "parameter pagecache-digest to sha256 at the source");
    } else {
        error_setg(errp, "the source's digests are by SHA-256, and this QEMU "
                   "was built without it; set the capability off at the "
                   "source");
    }
    return false;
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
