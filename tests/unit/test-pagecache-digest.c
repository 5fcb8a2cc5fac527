/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of skip-pagecache: digests by XXH3
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * That two contents are told apart, what would fool a single hash of 128 bits
 * among them; and that somebody who knows the secret can make two that are
 * not.
 */

#include "qemu/osdep.h"
#include <xxhash.h>
#include "pagecache-digest-xxh3.h"
#include "test-pagecache-collision.h"

#define PAGE    4096
#define HALF    (PAGECACHE_SECRET_LEN / 2)

typedef struct Digest {
    uint8_t bytes[PAGECACHE_DIGEST_LEN];
} Digest;

static void fill(GRand *rand, uint8_t *buf, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        buf[i] = g_rand_int(rand);
    }
}

static Digest digest(const uint8_t *secret, const uint8_t *page)
{
    Digest d;

    pagecache_digest_xxh3(secret, PAGECACHE_SECRET_LEN, page, PAGE, d.bytes);
    return d;
}

static bool equal(const Digest *a, const Digest *b)
{
    return !memcmp(a, b, sizeof(*a));
}

static bool half_equal(const Digest *a, const Digest *b, int half)
{
    return !memcmp(a->bytes + half * 8, b->bytes + half * 8, 8);
}

static uint64_t word_at(const uint8_t *p)
{
    return collision_u32(p) | (uint64_t)collision_u32(p + 4) << 32;
}

static void put_word(uint8_t *p, uint64_t value)
{
    collision_put_u32(p, value);
    collision_put_u32(p + 4, value >> 32);
}

/* The bytes that both sides of a migration must agree on */
static void test_bytes(void)
{
    static const uint8_t expected[PAGECACHE_DIGEST_LEN] = {
        0x84, 0x18, 0x6c, 0xee, 0x16, 0x05, 0xc5, 0xbe,
        0xbb, 0x0d, 0x0b, 0x72, 0x99, 0x25, 0x7c, 0xb2,
    };
    uint8_t secret[PAGECACHE_SECRET_LEN], page[PAGE];
    Digest d;
    int i;

    for (i = 0; i < sizeof(secret); i++) {
        secret[i] = i * 7 + 1;
    }
    for (i = 0; i < PAGE; i++) {
        page[i] = i * 13 + i / 256;
    }
    d = digest(secret, page);
    g_assert_cmpmem(d.bytes, sizeof(d), expected, sizeof(expected));
}

/* Each half of the digest has a key of its own. */
static void test_halves(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    uint8_t secret[PAGECACHE_SECRET_LEN], page[PAGE];
    Digest before, after;
    int half;

    fill(rand, secret, sizeof(secret));
    fill(rand, page, PAGE);
    before = digest(secret, page);
    g_assert_false(!memcmp(before.bytes, before.bytes + 8, 8));
    for (half = 0; half < 2; half++) {
        secret[half * HALF + 17] ^= 4;
        after = digest(secret, page);
        secret[half * HALF + 17] ^= 4;
        g_assert_false(half_equal(&before, &after, half));
        g_assert_true(half_equal(&before, &after, !half));
    }
}

/* One bit, wherever it is, is seen by both halves. */
static void test_every_bit(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(2);
    uint8_t secret[PAGECACHE_SECRET_LEN], page[PAGE];
    Digest before, after;
    int bit;

    fill(rand, secret, sizeof(secret));
    fill(rand, page, PAGE);
    before = digest(secret, page);
    for (bit = 0; bit < PAGE * 8; bit++) {
        page[bit / 8] ^= 1 << bit % 8;
        after = digest(secret, page);
        page[bit / 8] ^= 1 << bit % 8;
        g_assert_false(half_equal(&before, &after, 0));
        g_assert_false(half_equal(&before, &after, 1));
    }
}

/*
 * What programs do to their data: words and records that swap their places,
 * signs that change, counters that go up and others down, content that moves.
 */
static void change(GRand *rand, int how, uint8_t *page)
{
    unsigned a = g_rand_int_range(rand, 0, 32) * 64;
    unsigned b = g_rand_int_range(rand, 32, 64) * 64;
    unsigned lane = g_rand_int_range(rand, 0, 8) * 8;
    uint8_t record[64];
    uint64_t word;

    switch (how) {
    case 0:                     /* records */
        memcpy(record, page + a, 64);
        memcpy(page + a, page + b, 64);
        memcpy(page + b, record, 64);
        break;
    case 1:                     /* words, a multiple of 64 bytes apart */
        word = word_at(page + a + lane);
        put_word(page + a + lane, word_at(page + b + lane));
        put_word(page + b + lane, word);
        break;
    case 2:                     /* signs, within 1 KiB */
        page[a % 1024 + lane + 7] ^= 0x80;
        page[(a + 64) % 1024 + lane + 7] ^= 0x80;
        break;
    case 3:                     /* one up, one down */
        put_word(page + a + lane, word_at(page + a + lane) + 1);
        put_word(page + b + lane, word_at(page + b + lane) - 1);
        break;
    case 4:                     /* the same, of halves of a word */
        put_word(page + a + lane, word_at(page + a + lane) + (1ull << 32));
        put_word(page + b + lane, word_at(page + b + lane) - (1ull << 32));
        break;
    case 5:                     /* by a record, and round again */
        memcpy(record, page, 64);
        memmove(page, page + 64, PAGE - 64);
        memcpy(page + PAGE - 64, record, 64);
        break;
    case 6:                     /* upper and lower half of a word */
        word = word_at(page + a + lane);
        put_word(page + a + lane, word << 32 | word >> 32);
        break;
    default:
        g_assert_not_reached();
    }
}

static void test_changes(const void *opaque)
{
    int how = GPOINTER_TO_INT(opaque);
    g_autoptr(GRand) rand = g_rand_new_with_seed(3 + how);
    uint8_t secret[PAGECACHE_SECRET_LEN], page[PAGE], was[PAGE];
    int i;

    for (i = 0; i < 20 * 1000; i++) {
        Digest before, after;

        if (i % 100 == 0) {
            fill(rand, secret, sizeof(secret));
            fill(rand, page, PAGE);
        }
        before = digest(secret, page);
        memcpy(was, page, PAGE);
        change(rand, how, page);
        g_assert_true(memcmp(was, page, PAGE));
        after = digest(secret, page);
        g_assert_false(half_equal(&before, &after, 0));
        g_assert_false(half_equal(&before, &after, 1));
    }
}

/*
 * Why there are two hashes: of two words in the same lane the topmost bits
 * flip, which no sum of words sees; and if the secret happens to fit, with
 * probability 2^-33, the sum of products doesn't see it either.  All bits of a
 * single hash are equal then.
 */
static void test_fits_one_half(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(5);
    int i, half;

    for (i = 0; i < 1000; i++) {
        uint8_t secret[PAGECACHE_SECRET_LEN], page[PAGE];
        XXH128_hash_t single, single_after;
        Digest before, after;
        uint64_t x, y, key_x, key_y;

        fill(rand, secret, sizeof(secret));
        fill(rand, page, PAGE);
        half = i % 2;
        key_x = word_at(secret + half * HALF);
        key_y = word_at(secret + half * HALF + 8);
        x = word_at(page);
        /* lower halves that are equal, topmost bits that differ: under keys */
        y = ((x ^ key_x) & UINT32_MAX) ^ (key_y & UINT32_MAX);
        y |= word_at(page + 64) & 0x7fffffff00000000ull;
        y |= ~(x ^ key_x ^ key_y) & 1ull << 63;
        put_word(page + 64, y);

        before = digest(secret, page);
        single = XXH3_128bits_withSecret(page, PAGE, secret + half * HALF,
                                         HALF);
        page[7] ^= 0x80;
        page[64 + 7] ^= 0x80;
        after = digest(secret, page);
        single_after = XXH3_128bits_withSecret(page, PAGE,
                                               secret + half * HALF, HALF);
        g_assert_true(XXH128_isEqual(single, single_after));
        g_assert_true(half_equal(&before, &after, half));
        g_assert_false(half_equal(&before, &after, !half));
    }
}

static void sha256(const uint8_t *secret, const uint8_t *page, uint8_t out[32])
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    gsize len = 32;

    g_checksum_update(sum, secret, PAGECACHE_SECRET_LEN);
    g_checksum_update(sum, page, PAGE);
    g_checksum_get_digest(sum, out, &len);
}

/*
 * What it is not: with the secret known, two pages of one digest are made in
 * a moment.  SHA-256 tells them apart, and so does another secret.
 */
static void test_known_secret(void)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(6);
    int i;

    for (i = 0; i < 4; i++) {
        uint8_t secret[PAGECACHE_SECRET_LEN], one[PAGE], two[PAGE];
        uint8_t sha_one[32], sha_two[32];
        Digest a, b;

        fill(rand, secret, sizeof(secret));
        fill(rand, one, PAGE);
        memcpy(two, one, PAGE);
        g_assert_true(collision_make(secret, sizeof(secret), one, two));
        g_assert_true(memcmp(one, two, PAGE));
        a = digest(secret, one);
        b = digest(secret, two);
        g_assert_true(equal(&a, &b));

        sha256(secret, one, sha_one);
        sha256(secret, two, sha_two);
        g_assert_true(memcmp(sha_one, sha_two, PAGECACHE_DIGEST_LEN));

        fill(rand, secret, sizeof(secret));
        a = digest(secret, one);
        b = digest(secret, two);
        g_assert_false(half_equal(&a, &b, 0));
        g_assert_false(half_equal(&a, &b, 1));
    }
}

int main(int argc, char **argv)
{
    static const char *const changes[] = {
        "records-swap", "words-swap", "signs", "counters", "upper-counters",
        "moved", "halves-swap",
    };
    int i;

    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/pagecache/digest/bytes", test_bytes);
    g_test_add_func("/pagecache/digest/halves", test_halves);
    g_test_add_func("/pagecache/digest/every-bit", test_every_bit);
    for (i = 0; i < G_N_ELEMENTS(changes); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/digest/changes/%s",
                                                changes[i]);

        g_test_add_data_func(path, GINT_TO_POINTER(i), test_changes);
    }
    g_test_add_func("/pagecache/digest/fits-one-half", test_fits_one_half);
    g_test_add_func("/pagecache/digest/known-secret", test_known_secret);
    return g_test_run();
}
