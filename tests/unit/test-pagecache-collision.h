/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Two pages of one digest by XXH3, for whoever knows the secret
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What skip-pagecache does not guard against, for tests that say so.
 *
 * XXH3 takes a page in stripes of eight words of 64 bits.  In lane i it adds
 * up lo(w) * hi(w), where w is the word xor its key; and in the lane beside it,
 * the words themselves.  All that is asked of two pages is that they have both
 * sums equal, for both halves of the secret.  The words used here stand in
 * one lane of six of the first stripes:
 *
 * - lo(w) is 0 with the first half's keys, whatever is in the word's upper
 *   half: its sum of products is the same;
 * - with the second half's keys lo(w) is d, the xor of both lower keys.  Two
 *   words whose hi(w) change by e0 and e1 so that d0 * e0 + d1 * e1 is 0 leave
 *   its sum of products as it was;
 * - then the words' own sum has changed by some value that depends on where
 *   hi(w) began.  Three pairs are looked for whose changes add up to 0: by the
 *   birthday paradox, that takes a few 100,000 attempts.
 */
#ifndef TESTS_UNIT_TEST_PAGECACHE_COLLISION_H
#define TESTS_UNIT_TEST_PAGECACHE_COLLISION_H

#define COLLISION_PAIRS     7       /* of the 16 stripes before a scramble */
#define COLLISION_ATTEMPTS  (1 << 17)

typedef struct CollisionPair {
    const uint8_t *keys[2];         /* of both halves, of its first stripe */
    unsigned stripe, lane;          /* the first of two stripes */
    uint32_t d[2], e[2];            /* of its words; e[1] is subtracted */
} CollisionPair;

static inline uint32_t collision_u32(const uint8_t *p)
{
    return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline void collision_put_u32(uint8_t *p, uint32_t value)
{
    int i;

    for (i = 0; i < 4; i++) {
        p[i] = value >> (8 * i);
    }
}

static inline CollisionPair collision_pair(const uint8_t *secret, size_t half,
                                           unsigned stripe, unsigned lane)
{
    CollisionPair p = { .stripe = stripe, .lane = lane };
    uint32_t a, b;
    int i;

    for (i = 0; i < 2; i++) {
        p.keys[i] = secret + i * half + (stripe + lane) * 8;
    }
    for (i = 0; i < 2; i++) {
        p.d[i] = collision_u32(p.keys[0] + i * 8) ^
                 collision_u32(p.keys[1] + i * 8);
    }
    /* the smallest e0, e1 with d0 * e0 == d1 * e1 */
    for (a = p.d[0], b = p.d[1]; b;) {
        uint32_t rest = a % b;

        a = b;
        b = rest;
    }
    p.e[0] = p.d[1] / MAX(a, 1);
    p.e[1] = p.d[0] / MAX(a, 1);
    return p;
}

/* By how much the words' upper halves change, if hi(w) begin with @hi */
static inline uint32_t collision_change(const CollisionPair *p,
                                        const uint32_t hi[2])
{
    uint32_t key0 = collision_u32(p->keys[1] + 4);
    uint32_t key1 = collision_u32(p->keys[1] + 12);

    return ((hi[0] + p->e[0]) ^ key0) - (hi[0] ^ key0) +
           ((hi[1] - p->e[1]) ^ key1) - (hi[1] ^ key1);
}

/* Any, but so that neither word overflows */
static inline void collision_hi(const CollisionPair *p, uint64_t seed,
                                uint32_t hi[2])
{
    seed = (seed + 1) * 0x9e3779b97f4a7c15ull;
    seed = (seed ^ seed >> 29) * 0xbf58476d1ce4e5b9ull;
    hi[0] = (seed >> 32) % (UINT32_MAX - p->e[0] + 1ull);
    hi[1] = p->e[1] + (uint32_t)seed % (UINT32_MAX - p->e[1] + 1ull);
}

static inline void collision_write(const CollisionPair *p, uint64_t seed,
                                   uint8_t *one, uint8_t *two)
{
    uint32_t hi[2];
    int i;

    collision_hi(p, seed, hi);
    for (i = 0; i < 2; i++) {
        unsigned at = (p->stripe + i) * 64 + p->lane * 8;
        uint32_t lo = collision_u32(p->keys[0] + i * 8);
        uint32_t key = collision_u32(p->keys[1] + i * 8 + 4);

        collision_put_u32(one + at, lo);
        collision_put_u32(two + at, lo);
        collision_put_u32(one + at + 4, hi[i] ^ key);
        collision_put_u32(two + at + 4,
                          (i ? hi[i] - p->e[i] : hi[i] + p->e[i]) ^ key);
    }
}

/* A collision of which @p[h] is a part; false: there is none to be found */
static inline bool collision_with(const CollisionPair *p, unsigned h,
                                  uint8_t *one, uint8_t *two)
{
    g_autoptr(GHashTable) seen = g_hash_table_new(NULL, NULL);
    uint32_t hi[2], change;
    unsigned i, k, n;
    gpointer other;

    for (n = 0; n < COLLISION_ATTEMPTS; n++) {
        collision_hi(&p[h], n, hi);
        g_hash_table_insert(seen,
                            GUINT_TO_POINTER(collision_change(&p[h], hi)),
                            GUINT_TO_POINTER(n));
    }
    for (i = h + 1; i < COLLISION_PAIRS; i++) {
        for (k = i + 1; k < COLLISION_PAIRS; k++) {
            for (n = 0; n < COLLISION_ATTEMPTS; n++) {
                collision_hi(&p[i], n, hi);
                change = collision_change(&p[i], hi);
                collision_hi(&p[k], ~n, hi);
                change += collision_change(&p[k], hi);
                if (g_hash_table_lookup_extended(seen,
                                                 GUINT_TO_POINTER(-change),
                                                 NULL, &other)) {
                    collision_write(&p[h], GPOINTER_TO_UINT(other), one, two);
                    collision_write(&p[i], n, one, two);
                    collision_write(&p[k], ~n, one, two);
                    return true;
                }
            }
        }
    }
    return false;
}

/*
 * Changes some words of two equal pages, so that they differ and have the same
 * digest.  False: not with this secret, which does not happen.
 */
static inline bool collision_make(const uint8_t *secret, size_t secret_len,
                                  uint8_t *one, uint8_t *two)
{
    unsigned lane, i;

    for (lane = 0; lane < 8; lane++) {
        CollisionPair p[COLLISION_PAIRS];

        for (i = 0; i < COLLISION_PAIRS; i++) {
            p[i] = collision_pair(secret, secret_len / 2, 2 * i, lane);
        }
        for (i = 0; i < COLLISION_PAIRS; i++) {
            if (collision_with(p, i, one, two)) {
                return true;
            }
        }
    }
    return false;
}

#endif
