/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of skip-pagecache: which digest is taken
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Built twice: with XXH3 and, as where QEMU has no libxxhash, without it.
 * QEMU's crypto is played by GLib, and lacks what a test wants it to lack.
 */

#include "qemu/osdep.h"
#include "pagecache-digest.c"

#define PAGE    4096

static bool no_sha256, no_random;

bool qcrypto_hash_supports(QCryptoHashAlgo alg)
{
    g_assert_cmpint(alg, ==, QCRYPTO_HASH_ALGO_SHA256);
    return !no_sha256;
}

int qcrypto_hash_bytesv(QCryptoHashAlgo alg, const struct iovec *iov,
                        size_t niov, uint8_t **result, size_t *resultlen,
                        Error **errp)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    size_t i;

    g_assert_false(no_sha256);
    for (i = 0; i < niov; i++) {
        g_checksum_update(sum, iov[i].iov_base, iov[i].iov_len);
    }
    g_checksum_get_digest(sum, *result, resultlen);
    return 0;
}

int qcrypto_random_bytes(void *buf, size_t buflen, Error **errp)
{
    uint8_t *bytes = buf;
    size_t i;

    if (no_random) {
        error_setg(errp, "no randomness");
        return -1;
    }
    for (i = 0; i < buflen; i++) {
        bytes[i] = g_random_int();
    }
    return 0;
}

/* What the source takes when it wishes for @kind; 0: nothing, with an error */
static int source_takes(PagecacheDigestKind kind, const char *expected)
{
    PagecacheDigest d = { };
    Error *err = NULL;

    if (pagecache_digest_init(&d, kind, &err)) {
        g_assert_null(err);
        g_assert_cmpint(d.secret_len, ==, PAGECACHE_SECRET_LEN);
        g_assert_cmpint(d.secret[0] | d.secret[1] | d.secret[2] | d.secret[3],
                        !=, 0);
        return d.kind;
    }
    g_assert_cmpstr(error_get_pretty(err), ==, expected);
    g_free(err);
    return 0;
}

static void test_source(void)
{
    bool xxh3 = pagecache_digest_have_xxh3();

    g_assert_cmpint(source_takes(PAGECACHE_DIGEST_XXH3, NULL), ==,
                    xxh3 ? PAGECACHE_DIGEST_XXH3 : PAGECACHE_DIGEST_SHA256);
    g_assert_cmpint(source_takes(PAGECACHE_DIGEST_SHA256, NULL), ==,
                    PAGECACHE_DIGEST_SHA256);

    /* who wants SHA-256 gets nothing less */
    no_sha256 = true;
    g_assert_cmpint(source_takes(PAGECACHE_DIGEST_SHA256,
                                 "this QEMU was built without SHA-256"),
                    ==, 0);
    g_assert_cmpint(source_takes(PAGECACHE_DIGEST_XXH3,
                                 "this QEMU was built without libxxhash and "
                                 "without SHA-256"), ==,
                    xxh3 ? PAGECACHE_DIGEST_XXH3 : 0);
    no_sha256 = false;

    no_random = true;
    g_assert_cmpint(source_takes(PAGECACHE_DIGEST_XXH3, "no randomness"), ==,
                    0);
    no_random = false;
}

/* The destination's error when START names @kind; NULL: it takes it */
static char *destination_says(PagecacheDigestKind kind, PagecacheDigest *d)
{
    g_autoptr(GByteArray) secret = g_byte_array_new();
    PagecacheWireStart start = { .digest = kind, .secret = secret };
    Error *err = NULL;

    while (secret->len < PAGECACHE_SECRET_MIN) {
        uint8_t byte = secret->len * 7 + 1;

        g_byte_array_append(secret, &byte, 1);
    }
    if (pagecache_digest_init_from(d, &start, &err)) {
        g_assert_null(err);
        g_assert_cmpint(d->kind, ==, kind);
        g_assert_cmpmem(d->secret, d->secret_len, secret->data, secret->len);
        return NULL;
    }
    g_assert_nonnull(err);
    return (char *)err;
}

static void test_destination(void)
{
    g_autofree char *xxh3 = NULL, *sha256 = NULL, *without = NULL;
    PagecacheDigest d;

    xxh3 = destination_says(PAGECACHE_DIGEST_XXH3, &d);
    g_assert_cmpstr(xxh3, ==, pagecache_digest_have_xxh3() ? NULL :
                    "the source's digests are by XXH3, expected SHA-256, "
                    "because this QEMU was built without libxxhash; set the "
                    "parameter pagecache-digest to sha256 at the source");
    sha256 = destination_says(PAGECACHE_DIGEST_SHA256, &d);
    g_assert_null(sha256);
    no_sha256 = true;
    without = destination_says(PAGECACHE_DIGEST_SHA256, &d);
    g_assert_cmpstr(without, ==, "the source's digests are by SHA-256, and "
                    "this QEMU was built without it; set the capability off "
                    "at the source");
    no_sha256 = false;
}

/* The bytes that both sides must agree on, whatever they were built with */
static void test_page(void)
{
    uint8_t page[PAGE], out[PAGECACHE_DIGEST_LEN], expected[32];
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize len = sizeof(expected);
    PagecacheDigest d;
    int i;

    for (i = 0; i < PAGE; i++) {
        page[i] = i * 13 + i / 256;
    }
    g_assert_null(destination_says(PAGECACHE_DIGEST_SHA256, &d));
    g_assert_true(pagecache_digest_page(&d, page, PAGE, out));
    g_checksum_update(sum, d.secret, d.secret_len);
    g_checksum_update(sum, page, PAGE);
    g_checksum_get_digest(sum, expected, &len);
    g_assert_cmpmem(out, sizeof(out), expected, sizeof(out));

    if (pagecache_digest_have_xxh3()) {
        g_assert_null(destination_says(PAGECACHE_DIGEST_XXH3, &d));
        g_assert_true(pagecache_digest_page(&d, page, PAGE, out));
        pagecache_digest_xxh3(d.secret, d.secret_len, page, PAGE, expected);
        g_assert_cmpmem(out, sizeof(out), expected, sizeof(out));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/digest-kind/source", test_source);
    g_test_add_func("/pagecache/digest-kind/destination", test_destination);
    g_test_add_func("/pagecache/digest-kind/page", test_page);
    return g_test_run();
}
