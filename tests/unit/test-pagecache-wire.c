/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the wire format
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Input always stands in memory of just its size, so that AddressSanitizer
 * sees a decoder that reads on.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "pagecache-wire.h"

#define HEADER PAGECACHE_WIRE_FRAME_HEADER

/* --- helpers --- */

static PagecacheWireStart *make_start(unsigned disks, unsigned blocks)
{
    PagecacheWireStart *start = pagecache_wire_start_new();
    unsigned i;

    start->features = 0xfedcba9876543210;
    start->page_bits = 12;
    start->digest = PAGECACHE_DIGEST_XXH3;
    for (i = 0; i < PAGECACHE_SECRET_LEN; i++) {
        uint8_t byte = i * 7;

        g_byte_array_append(start->secret, &byte, 1);
    }
    for (i = 0; i < disks; i++) {
        PagecacheWireDisk d = {
            .id = 3 * i + 1, .sectors = 1000 + i,
            .path = g_strdup_printf("0000:00:%02x.0", i),
        };

        g_array_append_val(start->disks, d);
    }
    for (i = 0; i < blocks; i++) {
        PagecacheWireBlock b = {
            .id = i, .npages = 500 + i, .idstr = g_strdup_printf("ram%u", i),
        };

        g_array_append_val(start->blocks, b);
    }
    return start;
}

/* Two fields, one of them empty, of types that nobody knows */
static const uint8_t some_fields[] = {
    0, 0, 0, 0, 0xff, 0xff, 0, 5, 'h', 'e', 'l', 'l', 'o',
};

static void set_fields(PagecacheWireStart *start, guint disk,
                       const void *fields, size_t len)
{
    PagecacheWireDisk *d = &g_array_index(start->disks, PagecacheWireDisk,
                                          disk);

    g_clear_pointer(&d->fields, g_bytes_unref);
    d->fields = g_bytes_new(fields, len);
}

static void assert_same_start(const PagecacheWireStart *a,
                              const PagecacheWireStart *b)
{
    guint i;

    g_assert_cmphex(a->features, ==, b->features);
    g_assert_cmpuint(a->page_bits, ==, b->page_bits);
    g_assert_cmpuint(a->digest, ==, b->digest);
    g_assert_cmpmem(a->secret->data, a->secret->len,
                    b->secret->data, b->secret->len);
    g_assert_cmpuint(a->disks->len, ==, b->disks->len);
    for (i = 0; i < a->disks->len; i++) {
        PagecacheWireDisk *x = &g_array_index(a->disks, PagecacheWireDisk, i);
        PagecacheWireDisk *y = &g_array_index(b->disks, PagecacheWireDisk, i);

        g_assert_cmpuint(x->id, ==, y->id);
        g_assert_cmpuint(x->sectors, ==, y->sectors);
        g_assert_cmpstr(x->path, ==, y->path);
        g_assert_true(!x->fields == !y->fields);
        g_assert_true(!x->fields || g_bytes_equal(x->fields, y->fields));
    }
    g_assert_cmpuint(a->blocks->len, ==, b->blocks->len);
    for (i = 0; i < a->blocks->len; i++) {
        PagecacheWireBlock *x = &g_array_index(a->blocks, PagecacheWireBlock,
                                               i);
        PagecacheWireBlock *y = &g_array_index(b->blocks, PagecacheWireBlock,
                                               i);

        g_assert_cmpuint(x->id, ==, y->id);
        g_assert_cmpuint(x->npages, ==, y->npages);
        g_assert_cmpstr(x->idstr, ==, y->idstr);
    }
}

static PagecacheWireStart *decode_start(const uint8_t *body, size_t len,
                                        char **err)
{
    g_autofree uint8_t *copy = g_memdup2(body, len);

    return pagecache_wire_decode_start(copy, len, err);
}

static GArray *decode_offers(const uint8_t *body, size_t len, char **err)
{
    g_autofree uint8_t *copy = g_memdup2(body, len);

    return pagecache_wire_decode_offers(copy, len, err);
}

static bool decode_report(const uint8_t *buf, size_t len, PagecacheReport *r,
                          char **err)
{
    g_autofree uint8_t *copy = g_memdup2(buf, len);

    return pagecache_wire_decode_report(copy, len, r, err);
}

/* The frame says what it is and how long. */
static void check_header(const GByteArray *frame, uint8_t type)
{
    g_autofree char *err = NULL;
    uint32_t len = 0;

    g_assert_cmpuint(frame->len, >=, HEADER);
    g_assert_true(pagecache_wire_decode_header(frame->data, type, &len, &err));
    g_assert_null(err);
    g_assert_cmpuint(len, ==, frame->len - HEADER);
}

static void bad_start(const GByteArray *frame, const char *expected)
{
    g_autofree char *err = NULL;

    g_assert_null(decode_start(frame->data + HEADER, frame->len - HEADER,
                               &err));
    g_assert_cmpstr(err, ==, expected);
}

/* --- headers --- */

static void test_header(void)
{
    uint8_t buf[HEADER] = { PAGECACHE_WIRE_OFFERS, 0, 0x40, 0, 0 };
    g_autofree char *err1 = NULL, *err2 = NULL;
    uint32_t len = 0;

    g_assert_true(pagecache_wire_decode_header(buf, PAGECACHE_WIRE_OFFERS,
                                               &len, &err1));
    g_assert_cmpuint(len, ==, PAGECACHE_WIRE_FRAME_MAX);
    g_assert_false(pagecache_wire_decode_header(buf, PAGECACHE_WIRE_END, &len,
                                                &err1));
    g_assert_cmpstr(err1, ==, "frame of type 2, expected 3");
    buf[4] = 1;
    g_assert_false(pagecache_wire_decode_header(buf, PAGECACHE_WIRE_OFFERS,
                                                &len, &err2));
    g_assert_cmpstr(err2, ==,
                    "frame of 4194305 bytes, expected at most 4194304");
}

/* --- START --- */

static void round_trip_start(PagecacheWireStart *start)
{
    g_autoptr(PagecacheWireStart) back = NULL;
    g_autoptr(GByteArray) frame = pagecache_wire_encode_start(start);
    g_autofree char *err = NULL;

    check_header(frame, PAGECACHE_WIRE_START);
    back = decode_start(frame->data + HEADER, frame->len - HEADER, &err);
    g_assert_cmpstr(err, ==, NULL);
    g_assert_nonnull(back);
    assert_same_start(start, back);
    pagecache_wire_start_free(start);
}

static void test_start_round_trip(void)
{
    g_autofree uint8_t *much = g_new0(uint8_t, UINT16_MAX);
    PagecacheWireStart *start;
    PagecacheWireDisk *d;

    round_trip_start(make_start(0, 0));
    round_trip_start(make_start(1, 1));
    round_trip_start(make_start(7, 13));
    round_trip_start(make_start(PAGECACHE_WIRE_MAX_DISKS,
                                PAGECACHE_WIRE_MAX_BLOCKS));

    start = make_start(1, 1);
    start->digest = PAGECACHE_DIGEST_SHA256;
    start->page_bits = 24;
    g_byte_array_set_size(start->secret, PAGECACHE_SECRET_MIN);
    d = &g_array_index(start->disks, PagecacheWireDisk, 0);
    d->id = UINT32_MAX;
    d->sectors = INT64_MAX >> 9;
    g_free(d->path);
    d->path = g_strnfill(PAGECACHE_WIRE_MAX_NAME, 'x');
    g_array_index(start->blocks, PagecacheWireBlock, 0).npages =
        UINT64_MAX >> 24;
    round_trip_start(start);

    start = make_start(1, 0);
    start->page_bits = 9;
    d = &g_array_index(start->disks, PagecacheWireDisk, 0);
    d->id = 0;
    d->sectors = 0;
    d->path[1] = 0;
    g_byte_array_set_size(start->secret, PAGECACHE_SECRET_MAX);
    memset(start->secret->data, 0xee, PAGECACHE_SECRET_MAX);
    round_trip_start(start);

    start = make_start(3, 1);
    set_fields(start, 1, some_fields, sizeof(some_fields));
    start->features = UINT64_MAX;
    round_trip_start(start);

    /* As much as there can be */
    start = make_start(2, 1);
    stw_be_p(much + 2, UINT16_MAX - 4);
    set_fields(start, 0, much, UINT16_MAX);
    set_fields(start, 1, some_fields, 4);
    start->features = 0;
    round_trip_start(start);
}

/* The numbers of the specification, byte by byte */
static void test_start_bytes(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(1, 1);
    g_autoptr(GByteArray) frame = NULL;
    static const uint8_t head[] = {
        1, 0, 0, 1, 0xc6, 'P', 'G', 'C', '1', 0, 2,
        0xfe, 0xdc, 0xba, 0x98, 0x76, 0x54, 0x32, 0x10, 12, 1, 1, 128,
    };
    static const uint8_t tail[] = {
        0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 0xe8, 12,
        '0', '0', '0', '0', ':', '0', '0', ':', '0', '0', '.', '0', 0, 0,
        0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xf4, 4,
        'r', 'a', 'm', '0',
    };

    frame = pagecache_wire_encode_start(start);
    g_assert_cmpmem(frame->data, sizeof(head), head, sizeof(head));
    g_assert_cmpmem(frame->data + frame->len - sizeof(tail), sizeof(tail),
                    tail, sizeof(tail));
    g_assert_cmpuint(frame->len, ==,
                     sizeof(head) + PAGECACHE_SECRET_LEN + sizeof(tail));
}

static void test_start_truncated(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(2, 2);
    g_autoptr(GByteArray) frame = NULL;
    size_t len;

    set_fields(start, 1, some_fields, sizeof(some_fields));
    frame = pagecache_wire_encode_start(start);
    for (len = 0; len < frame->len - HEADER; len++) {
        g_autofree char *err = NULL;

        g_assert_null(decode_start(frame->data + HEADER, len, &err));
        g_assert_true(g_str_has_prefix(err, "truncated at the "));
    }
    g_byte_array_set_size(frame, HEADER + 3);
    bad_start(frame, "truncated at the magic: 3 bytes left, expected 4");
    g_byte_array_set_size(frame, HEADER);
    bad_start(frame, "truncated at the magic: 0 bytes left, expected 4");
}

static void test_start_too_long(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(2, 2);
    g_autoptr(GByteArray) frame = pagecache_wire_encode_start(start);

    g_byte_array_append(frame, (const uint8_t *)"xyz", 3);
    bad_start(frame, "3 bytes too many");
}

/* Offsets in the frame of make_start(2, 2) */
#define AT_MAGIC    HEADER
#define AT_VERSION  (AT_MAGIC + 4)
#define AT_FEATURES (AT_VERSION + 2)
#define AT_BITS     (AT_FEATURES + 8)
#define AT_DIGEST   (AT_BITS + 1)
#define AT_SECLEN   (AT_DIGEST + 1)
#define AT_DISKS    (AT_SECLEN + 2 + PAGECACHE_SECRET_LEN)
#define AT_DISK(n)  (AT_DISKS + 4 + (n) * (4 + 8 + 1 + 12 + 2))
#define AT_FIELDS(n) (AT_DISK(n) + 4 + 8 + 1 + 12)
#define AT_BLOCKS   AT_DISK(2)
#define AT_BLOCK(n) (AT_BLOCKS + 4 + (n) * (4 + 8 + 1 + 4))

/* One field of @size bytes at @at becomes @value. */
static void patched_start(unsigned at, unsigned size, uint64_t value,
                          const char *expected)
{
    g_autoptr(PagecacheWireStart) start = make_start(2, 2);
    g_autoptr(GByteArray) frame = pagecache_wire_encode_start(start);
    uint8_t be[8];

    g_assert_cmpuint(frame->len, ==, AT_BLOCK(2));
    stq_be_p(be, value);
    memcpy(frame->data + at, be + 8 - size, size);
    bad_start(frame, expected);
}

static void test_start_bad_fields(void)
{
    patched_start(AT_MAGIC, 4, 0x50474332,
                  "magic 0x50474332, expected 0x50474331");
    patched_start(AT_VERSION, 2, 1, "version 1, expected 2");
    patched_start(AT_VERSION, 2, 3, "version 3, expected 2");
    patched_start(AT_VERSION, 2, 0, "version 0, expected 2");
    patched_start(AT_VERSION, 2, UINT16_MAX, "version 65535, expected 2");
    patched_start(AT_BITS, 1, 8,
                  "pages of 2^8 bytes, expected 2^9 to 2^24");
    patched_start(AT_BITS, 1, 25,
                  "pages of 2^25 bytes, expected 2^9 to 2^24");
    patched_start(AT_BITS, 1, 255,
                  "pages of 2^255 bytes, expected 2^9 to 2^24");
    patched_start(AT_DIGEST, 1, 0, "digest 0, expected 1 or 2");
    patched_start(AT_DIGEST, 1, 3, "digest 3, expected 1 or 2");
    patched_start(AT_SECLEN, 2, 271,
                  "secret of 271 bytes, expected 272 to 1024");
    patched_start(AT_SECLEN, 2, 1025,
                  "secret of 1025 bytes, expected 272 to 1024");
    patched_start(AT_SECLEN, 2, 1024,
                  "truncated at the secret: 480 bytes left, expected 1024");
    patched_start(AT_DISKS, 4, 4097, "4097 disks, expected at most 4096");
    patched_start(AT_DISKS, 4, UINT32_MAX,
                  "4294967295 disks, expected at most 4096");
    patched_start(AT_DISK(1), 4, 1, "disk number 1 out of order");
    patched_start(AT_DISK(1), 4, 0, "disk number 0 out of order");
    patched_start(AT_DISK(0) + 4, 8, (INT64_MAX >> 9) + 1,
                  "disk 1 of 18014398509481984 sectors, expected at most "
                  "18014398509481983");
    patched_start(AT_DISK(0) + 12, 1, 0, "disk name is empty");
    patched_start(AT_DISK(0) + 13, 1, 0, "disk name holds a NUL byte");
    patched_start(AT_DISK(1) + 12 + 12, 1, 0, "disk name holds a NUL byte");
    patched_start(AT_BLOCKS, 4, 4097,
                  "4097 RAM blocks, expected at most 4096");
    patched_start(AT_BLOCKS, 4, 3,
                  "truncated at the RAM block number: 0 bytes left, "
                  "expected 4");
    patched_start(AT_BLOCKS, 4, 1, "17 bytes too many");
    patched_start(AT_BLOCK(0), 4, 1, "RAM block number 1, expected 0");
    patched_start(AT_BLOCK(1), 4, 0, "RAM block number 0, expected 1");
    patched_start(AT_BLOCK(1) + 4, 8, UINT64_C(1) << 52,
                  "RAM block of 4503599627370496 pages, expected at most "
                  "4503599627370495");
    patched_start(AT_BLOCK(1) + 12, 1, 0, "RAM block name is empty");
    patched_start(AT_BLOCK(1) + 12, 1, 5,
                  "truncated at the RAM block name: 4 bytes left, "
                  "expected 5");
    patched_start(AT_BLOCK(0) + 14, 1, 0, "RAM block name holds a NUL byte");
}

/* The version, of which a receiver of another one speaks */
static void test_start_version(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(0, 0);
    g_autoptr(GByteArray) frame = pagecache_wire_encode_start(start);
    uint8_t *body = frame->data + HEADER;
    uint16_t version;

    g_assert_true(pagecache_wire_start_version(body, frame->len - HEADER,
                                               &version));
    g_assert_cmpuint(version, ==, 2);
    stw_be_p(body + 4, 777);
    g_assert_true(pagecache_wire_start_version(body, 6, &version));
    g_assert_cmpuint(version, ==, 777);
    g_assert_false(pagecache_wire_start_version(body, 5, &version));
    g_assert_false(pagecache_wire_start_version(body, 0, &version));
    body[0]++;
    g_assert_false(pagecache_wire_start_version(body, frame->len - HEADER,
                                                &version));
}

static void test_features(void)
{
    g_autofree char *err = NULL;

    g_assert_true(pagecache_wire_check_features(0, 0, &err));
    g_assert_true(pagecache_wire_check_features(UINT64_MAX, 0, &err));
    g_assert_true(pagecache_wire_check_features(5, 4, &err));
    g_assert_true(pagecache_wire_check_features(UINT64_MAX, UINT64_MAX, &err));
    g_assert_null(err);
    g_assert_false(pagecache_wire_check_features(5, 6, &err));
    g_assert_cmpstr(err, ==, "features 0x6 accepted, expected none but 0x5");
    g_clear_pointer(&err, g_free);
    g_assert_false(pagecache_wire_check_features(0, 1ULL << 63, &err));
    g_assert_cmpstr(err, ==, "features 0x8000000000000000 accepted, expected "
                             "none but 0x0");
}

/* @fields of @len bytes of which the receiver thinks that they are @said */
static void with_fields(const void *fields, size_t len, uint16_t said,
                        const char *expected)
{
    g_autoptr(PagecacheWireStart) start = make_start(2, 2), back = NULL;
    g_autoptr(GByteArray) frame = NULL;
    g_autofree char *err = NULL;

    set_fields(start, 0, fields, len);
    frame = pagecache_wire_encode_start(start);
    stw_be_p(frame->data + AT_FIELDS(0), said);
    back = decode_start(frame->data + HEADER, frame->len - HEADER, &err);
    g_assert_cmpstr(err, ==, expected);
    g_assert_true(!back == !!err);
    if (back) {
        assert_same_start(start, back);
    }
}

static void test_start_fields(void)
{
#define WHAT "optional fields of a disk"
    static const uint8_t twice[] = { 0, 7, 0, 0, 0, 7, 0, 0 };
    static const uint8_t back[] = { 0, 7, 0, 1, 9, 0, 6, 0, 0 };

    with_fields(some_fields, sizeof(some_fields), sizeof(some_fields), NULL);
    with_fields(some_fields, 4, 4, NULL);
    with_fields(some_fields, 3, 3,
                "truncated at the " WHAT ": 1 bytes left, expected 2");
    with_fields(some_fields, 1, 1,
                "truncated at the " WHAT ": 1 bytes left, expected 2");
    with_fields(some_fields, 12, 12,
                "truncated at the " WHAT ": 4 bytes left, expected 5");
    with_fields(twice, 8, 8, WHAT ": field of type 7 behind one of type 7");
    with_fields(back, 9, 9, WHAT ": field of type 6 behind one of type 7");
    /* It reads on in what follows, or takes too little. */
    with_fields(some_fields, 13, UINT16_MAX,
                "truncated at the " WHAT ": 78 bytes left, expected 65535");
    with_fields(some_fields, 13, 4, "disk name holds a NUL byte");
#undef WHAT
}

/* --- OFFERS and END --- */

static void test_offers_round_trip(void)
{
    static const uint32_t counts[] = { 0, 1, 2, 1000,
                                       PAGECACHE_WIRE_OFFERS_MAX };
    unsigned c;
    uint32_t i;

    for (c = 0; c < ARRAY_SIZE(counts); c++) {
        uint32_t n = counts[c];
        g_autofree PagecacheWireOffer *offers = g_new0(PagecacheWireOffer, n);
        g_autoptr(GByteArray) frame = NULL;
        g_autoptr(GArray) back = NULL;
        g_autofree char *err = NULL;

        for (i = 0; i < n; i++) {
            offers[i] = (PagecacheWireOffer) {
                .disk = g_test_rand_int(), .block = g_test_rand_int(),
                .npages = g_test_rand_int(),
                .page = (uint64_t)g_test_rand_int() << 31,
                .sector = (uint64_t)g_test_rand_int() << 29,
            };
        }
        frame = pagecache_wire_encode_offers(offers, n);
        check_header(frame, PAGECACHE_WIRE_OFFERS);
        back = decode_offers(frame->data + HEADER, frame->len - HEADER, &err);
        g_assert_nonnull(back);
        g_assert_null(err);
        g_assert_cmpuint(back->len, ==, n);
        for (i = 0; i < n; i++) {
            PagecacheWireOffer *o = &g_array_index(back, PagecacheWireOffer,
                                                   i);

            g_assert_cmpuint(o->disk, ==, offers[i].disk);
            g_assert_cmpuint(o->block, ==, offers[i].block);
            g_assert_cmpuint(o->npages, ==, offers[i].npages);
            g_assert_cmpuint(o->page, ==, offers[i].page);
            g_assert_cmpuint(o->sector, ==, offers[i].sector);
        }
    }
}

static void test_offers_bytes(void)
{
    PagecacheWireOffer o = {
        .disk = 1, .block = 2, .npages = 3, .page = 4,
        .sector = 0x0102030405060708,
    };
    g_autoptr(GByteArray) frame = pagecache_wire_encode_offers(&o, 1);
    static const uint8_t expected[] = {
        2, 0, 0, 0, 32, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3,
        0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4, 5, 6, 7, 8,
    };

    g_assert_cmpmem(frame->data, frame->len, expected, sizeof(expected));
}

static void bad_offers(const uint8_t *body, size_t len, const char *expected)
{
    g_autofree char *err = NULL;

    g_assert_null(decode_offers(body, len, &err));
    g_assert_cmpstr(err, ==, expected);
}

static void test_offers_malformed(void)
{
    PagecacheWireOffer o[2] = { { 0 } };
    g_autoptr(GByteArray) frame = pagecache_wire_encode_offers(o, 2);
    uint8_t *body = frame->data + HEADER;
    size_t len;

    for (len = 0; len < frame->len - HEADER; len++) {
        g_autofree char *err = NULL;

        g_assert_null(decode_offers(body, len, &err));
        g_assert_nonnull(err);
    }
    bad_offers(body, 2, "truncated at the number of offers: 2 bytes left, "
                        "expected 4");
    bad_offers(body, 59, "55 bytes of offers, expected 2 times 28");
    body[3] = 1;
    bad_offers(body, 60, "56 bytes of offers, expected 1 times 28");
    /* No room is made for what is only said to come. */
    memset(body, 0xff, 4);
    bad_offers(body, 60, "56 bytes of offers, expected 4294967295 times 28");
    /* 28 times this is 56 in 32 bits. */
    stl_be_p(body, 0x80000002);
    bad_offers(body, 60, "56 bytes of offers, expected 2147483650 times 28");
}

static void test_end(void)
{
    g_autoptr(GByteArray) frame = pagecache_wire_encode_end();
    g_autofree char *err = NULL;

    check_header(frame, PAGECACHE_WIRE_END);
    g_assert_cmpuint(frame->len, ==, HEADER);
    g_assert_true(pagecache_wire_decode_end(frame->data + HEADER, 0, &err));
    g_assert_null(err);
    g_assert_false(pagecache_wire_decode_end(frame->data, 5, &err));
    g_assert_cmpstr(err, ==, "5 bytes too many");
}

/* --- offers against START --- */

static void check_offer(const PagecacheWireStart *start, uint32_t disk,
                        uint32_t block, uint64_t page, uint32_t npages,
                        uint64_t sector, const char *expected)
{
    PagecacheWireOffer o = {
        .disk = disk, .block = block, .npages = npages, .page = page,
        .sector = sector,
    };
    g_autofree char *err = NULL;

    g_assert_cmpint(pagecache_wire_check_offer(start, &o, &err), ==,
                    !expected);
    g_assert_cmpstr(err, ==, expected);
}

/* make_start(): disk 1 has 1000 sectors, RAM block 0 has 500 pages. */
static void test_check_offer(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(3, 2);

    check_offer(start, 1, 0, 0, 1, 0, NULL);
    check_offer(start, 7, 1, 500, 1, 0, NULL);
    /* The last ones that fit */
    check_offer(start, 1, 0, 499, 1, 992, NULL);
    check_offer(start, 1, 0, 375, 125, 0, NULL);

    check_offer(start, 0, 0, 0, 1, 0,
                "offer from disk 0, which START did not name");
    check_offer(start, 2, 0, 0, 1, 0,
                "offer from disk 2, which START did not name");
    check_offer(start, UINT32_MAX, 0, 0, 1, 0,
                "offer from disk 4294967295, which START did not name");
    check_offer(start, 1, 2, 0, 1, 0,
                "offer for RAM block 2, expected 0 to 1");
    check_offer(start, 1, UINT32_MAX, 0, 1, 0,
                "offer for RAM block 4294967295, expected 0 to 1");
    check_offer(start, 1, 0, 0, 0, 0,
                "offer of 0 pages from page 0 of RAM block 'ram0', "
                "which has 500");
    check_offer(start, 1, 0, 500, 1, 0,
                "offer of 1 pages from page 500 of RAM block 'ram0', "
                "which has 500");
    check_offer(start, 1, 0, 499, 2, 0,
                "offer of 2 pages from page 499 of RAM block 'ram0', "
                "which has 500");
    check_offer(start, 1, 0, 0, 501, 0,
                "offer of 501 pages from page 0 of RAM block 'ram0', "
                "which has 500");
    check_offer(start, 1, 0, UINT64_MAX, 1, 0,
                "offer of 1 pages from page 18446744073709551615 of RAM "
                "block 'ram0', which has 500");
    check_offer(start, 1, 0, UINT64_MAX, 2, 0,
                "offer of 2 pages from page 18446744073709551615 of RAM "
                "block 'ram0', which has 500");
    check_offer(start, 1, 0, 0, UINT32_MAX, 0,
                "offer of 4294967295 pages, expected at most 65535");
    check_offer(start, 1, 0, 0, 1, 993,
                "offer of 8 sectors from sector 993 of disk '0000:00:00.0', "
                "which has 1000");
    check_offer(start, 1, 0, 0, 126, 0,
                "offer of 1008 sectors from sector 0 of disk "
                "'0000:00:00.0', which has 1000");
    check_offer(start, 1, 0, 0, 1, UINT64_MAX,
                "offer of 8 sectors from sector 18446744073709551615 of disk "
                "'0000:00:00.0', which has 1000");
    check_offer(start, 1, 0, 0, 1, UINT64_MAX - 7,
                "offer of 8 sectors from sector 18446744073709551608 of disk "
                "'0000:00:00.0', which has 1000");
}

/* Pages of 16 MiB, as many as there can be: no multiplication overflows. */
static void test_check_offer_large(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(1, 1);
    PagecacheWireDisk *disk = &g_array_index(start->disks, PagecacheWireDisk,
                                             0);
    uint64_t npages = UINT64_MAX >> 24;

    start->page_bits = 24;
    g_array_index(start->blocks, PagecacheWireBlock, 0).npages = npages;
    disk->sectors = INT64_MAX >> 9;

    check_offer(start, 1, 0, npages - UINT16_MAX, UINT16_MAX,
                disk->sectors - (UINT64_C(0xffff) << 15), NULL);
    check_offer(start, 1, 0, 0, UINT16_MAX,
                disk->sectors - (UINT64_C(0xffff) << 15) + 1,
                "offer of 2147450880 sectors from sector "
                "18014396362031104 of disk '0000:00:00.0', which has "
                "18014398509481983");
    check_offer(start, 1, 0, npages - UINT16_MAX + 1, UINT16_MAX, 0,
                "offer of 65535 pages from page 1099511562241 of RAM "
                "block 'ram0', which has 1099511627775");
    check_offer(start, 1, 0, 0, UINT16_MAX + 1, 0,
                "offer of 65536 pages, expected at most 65535");
    check_offer(start, 1, 0, UINT64_MAX, UINT32_MAX, UINT64_MAX,
                "offer of 4294967295 pages, expected at most 65535");
}

static void test_check_offer_nothing_there(void)
{
    g_autoptr(PagecacheWireStart) none = make_start(0, 0);
    g_autoptr(PagecacheWireStart) disk = make_start(1, 0);
    g_autoptr(PagecacheWireStart) empty = make_start(1, 1);

    check_offer(none, 0, 0, 0, 1, 0,
                "offer from disk 0, which START did not name");
    check_offer(disk, 1, 0, 0, 1, 0,
                "offer for RAM block 0, expected 0 to -1");
    g_array_index(empty->blocks, PagecacheWireBlock, 0).npages = 0;
    check_offer(empty, 1, 0, 0, 1, 0,
                "offer of 1 pages from page 0 of RAM block 'ram0', "
                "which has 0");
}

/* --- REPORT --- */

static uint8_t pattern[64][PAGECACHE_DIGEST_LEN];

static uint16_t add_run(PagecacheReport *r, uint32_t offer, uint16_t first,
                        uint16_t npages)
{
    const PagecacheReportRun run = {
        .offer = offer, .first = first, .npages = npages,
        .digests = r->status == PAGECACHE_REPORT_OK ? pattern[0] : NULL,
    };

    return pagecache_report_add(r, &run);
}

static void expect_run(const PagecacheReport *r, uint16_t *pos, uint32_t offer,
                       uint16_t first, uint16_t npages)
{
    PagecacheReportRun run;

    g_assert_true(pagecache_report_next(r, pos, &run));
    g_assert_cmpuint(run.offer, ==, offer);
    g_assert_cmpuint(run.first, ==, first);
    g_assert_cmpuint(run.npages, ==, npages);
    g_assert_true(!run.digests == (r->status != PAGECACHE_REPORT_OK));
}

static void expect_end(const PagecacheReport *r, uint16_t *pos)
{
    PagecacheReportRun run;

    g_assert_false(pagecache_report_next(r, pos, &run));
}

static void fill_pattern(void)
{
    unsigned i;

    for (i = 0; i < sizeof(pattern); i++) {
        ((uint8_t *)pattern)[i] = i * 11;
    }
}

/* It says the same once it has been encoded and decoded. */
static size_t round_trip_report(const PagecacheReport *r)
{
    uint8_t buf[PAGECACHE_REPORT_MAX];
    size_t len = pagecache_wire_encode_report(r, buf);
    g_autofree char *err = NULL;
    PagecacheReport back;

    memset(&back, 0xa5, sizeof(back));
    g_assert_true(decode_report(buf, len, &back, &err));
    g_assert_null(err);
    g_assert_cmpuint(back.status, ==, r->status);
    g_assert_cmpuint(back.version, ==, r->version);
    g_assert_cmphex(back.features, ==, r->features);
    g_assert_cmpuint(back.nruns, ==, r->nruns);
    g_assert_cmpuint(back.last, ==, r->last);
    g_assert_cmpmem(back.body, back.len, r->body, r->len);
    return len;
}

static void test_report_round_trip(void)
{
    PagecacheReport r;
    uint16_t pos = 0;

    pagecache_report_init(&r, PAGECACHE_REPORT_OK);
    expect_end(&r, &pos);
    g_assert_cmpuint(add_run(&r, 7, 65534, 1), ==, 1);
    g_assert_cmpuint(round_trip_report(&r), ==, 4 + 8 + 16);
    g_assert_cmpuint(add_run(&r, UINT32_MAX, 0, 3), ==, 3);
    g_assert_cmpuint(round_trip_report(&r), ==, 4 + 2 * 8 + 4 * 16);
    expect_run(&r, &pos, 7, 65534, 1);
    expect_run(&r, &pos, UINT32_MAX, 0, 3);
    expect_end(&r, &pos);

    pagecache_report_init(&r, PAGECACHE_REPORT_UNAVAILABLE);
    g_assert_cmpuint(add_run(&r, 1, 0, UINT16_MAX), ==, UINT16_MAX);
    g_assert_cmpuint(round_trip_report(&r), ==, 4 + 8);

    pagecache_report_init(&r, PAGECACHE_REPORT_ACCEPTED);
    r.features = 0x0123456789abcdef;
    g_assert_cmpuint(round_trip_report(&r), ==, 10);
    pagecache_report_init(&r, PAGECACHE_REPORT_REFUSED);
    r.version = 3;
    g_assert_cmpuint(round_trip_report(&r), ==, 4);
}

/* What goes on where the last run ended needs no run of its own. */
static void test_report_goes_on(void)
{
    PagecacheReport r;
    uint16_t pos = 0;
    PagecacheReportRun run;

    pagecache_report_init(&r, PAGECACHE_REPORT_OK);
    g_assert_cmpuint(add_run(&r, 5, 10, 2), ==, 2);
    g_assert_cmpuint(add_run(&r, 5, 12, 1), ==, 1);
    g_assert_cmpuint(add_run(&r, 6, 13, 1), ==, 1);     /* another offer */
    g_assert_cmpuint(add_run(&r, 6, 15, 1), ==, 1);     /* a hole */
    g_assert_cmpuint(add_run(&r, 6, 14, 1), ==, 1);     /* before it */
    g_assert_cmpuint(add_run(&r, 6, 14, 1), ==, 1);     /* again */
    g_assert_cmpuint(r.nruns, ==, 5);
    g_assert_true(pagecache_report_next(&r, &pos, &run));
    g_assert_cmpuint(run.npages, ==, 3);
    g_assert_cmpmem(run.digests, 32, pattern[0], 32);
    g_assert_cmpmem(run.digests + 32, 16, pattern[0], 16);
    expect_run(&r, &pos, 6, 13, 1);
    expect_run(&r, &pos, 6, 15, 1);
    expect_run(&r, &pos, 6, 14, 1);
    expect_run(&r, &pos, 6, 14, 1);
    expect_end(&r, &pos);
    round_trip_report(&r);

    pagecache_report_init(&r, PAGECACHE_REPORT_UNAVAILABLE);
    g_assert_cmpuint(add_run(&r, 5, 0, 1000), ==, 1000);
    g_assert_cmpuint(add_run(&r, 5, 1000, 64535), ==, 64535);
    g_assert_cmpuint(r.nruns, ==, 1);
    pos = 0;
    expect_run(&r, &pos, 5, 0, UINT16_MAX);
    expect_end(&r, &pos);
    round_trip_report(&r);
}

/* The limit of the return path's buffer is met exactly. */
static void test_report_limit(void)
{
    PagecacheReport r;
    unsigned i;

    g_assert_cmpuint(PAGECACHE_REPORT_PAGES_MAX, ==, 31);
    pagecache_report_init(&r, PAGECACHE_REPORT_OK);
    g_assert_cmpuint(add_run(&r, 0, 0, 40), ==, 31);
    g_assert_cmpuint(add_run(&r, 0, 31, 9), ==, 0);
    g_assert_cmpuint(add_run(&r, 1, 0, 9), ==, 0);
    g_assert_cmpuint(round_trip_report(&r), ==, 508);

    pagecache_report_init(&r, PAGECACHE_REPORT_OK);
    for (i = 0; add_run(&r, i, 5, 1); i++) {
        /* nothing */
    }
    g_assert_cmpuint(i, ==, 21);
    g_assert_cmpuint(round_trip_report(&r), ==, 508);

    /* 4 bytes are left for what goes on, none for another run. */
    pagecache_report_init(&r, PAGECACHE_REPORT_OK);
    g_assert_cmpuint(add_run(&r, 1, 0, 15), ==, 15);
    g_assert_cmpuint(add_run(&r, 2, 0, 14), ==, 14);
    g_assert_cmpuint(add_run(&r, 3, 0, 2), ==, 1);
    g_assert_cmpuint(add_run(&r, 3, 1, 1), ==, 0);
    g_assert_cmpuint(round_trip_report(&r), ==, 4 + 3 * 8 + 30 * 16);

    pagecache_report_init(&r, PAGECACHE_REPORT_UNAVAILABLE);
    for (i = 0; add_run(&r, i, 0, UINT16_MAX); i++) {
        /* nothing */
    }
    g_assert_cmpuint(i, ==, 63);
    g_assert_cmpuint(round_trip_report(&r), ==, 508);
}

static void test_report_bytes(void)
{
    uint8_t buf[PAGECACHE_REPORT_MAX];
    static const uint8_t ok[] = {
        0, 16, 0, 2, 1, 2, 3, 4, 0x11, 0x12, 0, 1,
        0, 11, 22, 33, 44, 55, 66, 77, 88, 99, 110, 121, 132, 143, 154, 165,
        0, 0, 0, 9, 0, 0, 0, 1,
        0, 11, 22, 33, 44, 55, 66, 77, 88, 99, 110, 121, 132, 143, 154, 165,
    };
    static const uint8_t unavailable[] = {
        1, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe, 0, 3, 4, 5,
    };
    static const uint8_t refused[] = { 2, 0, 0, 2 };
    static const uint8_t accepted[] = { 3, 0, 0, 0, 0, 0, 1, 2, 3, 4 };
    PagecacheReport r;

    pagecache_report_init(&r, PAGECACHE_REPORT_OK);
    add_run(&r, 0x01020304, 0x1112, 1);
    add_run(&r, 9, 0, 1);
    g_assert_cmpmem(buf, pagecache_wire_encode_report(&r, buf), ok,
                    sizeof(ok));
    pagecache_report_init(&r, PAGECACHE_REPORT_UNAVAILABLE);
    add_run(&r, 0xfffffffe, 3, 0x0405);
    g_assert_cmpmem(buf, pagecache_wire_encode_report(&r, buf), unavailable,
                    sizeof(unavailable));
    pagecache_report_init(&r, PAGECACHE_REPORT_REFUSED);
    r.version = PAGECACHE_WIRE_VERSION;
    g_assert_cmpmem(buf, pagecache_wire_encode_report(&r, buf), refused,
                    sizeof(refused));
    pagecache_report_init(&r, PAGECACHE_REPORT_ACCEPTED);
    r.features = 0x01020304;
    g_assert_cmpmem(buf, pagecache_wire_encode_report(&r, buf), accepted,
                    sizeof(accepted));
}

static void bad_report(const uint8_t *buf, size_t len, const char *expected)
{
    g_autofree char *err = NULL;
    PagecacheReport r;

    g_assert_false(decode_report(buf, len, &r, &err));
    g_assert_cmpstr(err, ==, expected);
}

static void test_report_malformed(void)
{
    uint8_t buf[2 * PAGECACHE_REPORT_MAX] = { 0 };
    PagecacheReport r;
    size_t len, i;

    pagecache_report_init(&r, PAGECACHE_REPORT_OK);
    add_run(&r, 1, 0, 2);
    add_run(&r, 2, 0, 1);
    len = pagecache_wire_encode_report(&r, buf);
    for (i = 0; i < len; i++) {
        g_autofree char *err = NULL;

        g_assert_false(decode_report(buf, i, &r, &err));
        g_assert_nonnull(err);
    }
    bad_report(buf, 0, "truncated at the status: 0 bytes left, expected 1");
    bad_report(buf, 1,
               "truncated at the length of a digest: 0 bytes left, expected 1");
    bad_report(buf, 3,
               "truncated at the number of runs: 1 bytes left, expected 2");
    bad_report(buf, 4,
               "truncated at the number of an offer: 0 bytes left, expected 4");
    bad_report(buf, len - 1,
               "truncated at the digests: 15 bytes left, expected 16");
    bad_report(buf, len + 1, "1 bytes too many");

    buf[0] = 6;
    bad_report(buf, len, "status 6, expected at most 3");
    buf[0] = 255;
    bad_report(buf, len, "status 255, expected at most 3");
    buf[0] = 4;
    bad_report(buf, len, "status 4 (PLACED), of a feature that was not agreed "
                         "upon");
    buf[0] = 5;
    bad_report(buf, len, "status 5 (MISMATCH), of a feature that was not "
                         "agreed upon");
    buf[0] = PAGECACHE_REPORT_UNAVAILABLE;
    bad_report(buf, len, "digests of 16 bytes, expected 0");
    buf[1] = 0;
    bad_report(buf, len, "48 bytes too many");
    buf[0] = PAGECACHE_REPORT_OK;
    bad_report(buf, len, "digests of 0 bytes, expected 16");
    buf[1] = 32;
    bad_report(buf, len, "digests of 32 bytes, expected 16");
    buf[1] = 16;
    stw_be_p(buf + 2, 0);
    bad_report(buf, len, "0 runs, expected 1 or more");
    stw_be_p(buf + 2, 1);
    bad_report(buf, len, "24 bytes too many");
    stw_be_p(buf + 2, 3);
    bad_report(buf, len,
               "truncated at the number of an offer: 0 bytes left, expected 4");
    stw_be_p(buf + 2, UINT16_MAX);
    bad_report(buf, len,
               "truncated at the number of an offer: 0 bytes left, expected 4");
    stw_be_p(buf + 2, 2);
    stw_be_p(buf + 10, 0);
    bad_report(buf, len, "run of 0 pages, expected 1 or more");
    stw_be_p(buf + 10, UINT16_MAX);
    bad_report(buf, len,
               "truncated at the digests: 56 bytes left, expected 1048560");
    stw_be_p(buf + 8, UINT16_MAX);
    stw_be_p(buf + 10, 2);
    bad_report(buf, len, "2 pages from page 65535 of an offer, expected at "
                         "most 65535 in all");
    stw_be_p(buf + 8, UINT16_MAX);
    stw_be_p(buf + 10, UINT16_MAX);
    bad_report(buf, len, "65535 pages from page 65535 of an offer, expected at "
                         "most 65535 in all");
    stw_be_p(buf + 8, UINT16_MAX - 2);
    stw_be_p(buf + 10, 2);
    g_assert_true(decode_report(buf, len, &r, NULL));

    /* Longer than the path takes, and right but for that */
    stw_be_p(buf + 8, 0);
    stw_be_p(buf + 2, 1);
    stw_be_p(buf + 10, 32);
    bad_report(buf, 4 + 8 + 32 * 16, "runs of 520 bytes, expected at most 508");
}

static void test_answers_malformed(void)
{
    uint8_t buf[PAGECACHE_REPORT_MAX] = { PAGECACHE_REPORT_ACCEPTED };

    bad_report(buf, 9, "truncated at the features: 7 bytes left, expected 8");
    bad_report(buf, 11, "1 bytes too many");
    buf[1] = 1;
    bad_report(buf, 10, "digests of 1 bytes, expected 0");
    buf[0] = PAGECACHE_REPORT_REFUSED;
    bad_report(buf, 4, "digests of 1 bytes, expected 0");
    buf[1] = 0;
    bad_report(buf, 3, "truncated at the version: 1 bytes left, expected 2");
    bad_report(buf, 5, "1 bytes too many");
}

static void test_unexpected(void)
{
    g_autofree char *zero = pagecache_wire_unexpected(0);
    g_autofree char *four = pagecache_wire_unexpected(4);
    g_autofree char *seven = pagecache_wire_unexpected(7);
    g_autofree char *eight = pagecache_wire_unexpected(8);

    g_assert_cmpstr(zero, ==, "frame of type 0, expected 1 to 3");
    g_assert_cmpstr(four, ==, "frame of type 4 (SWITCH), of a feature that was "
                              "not agreed upon");
    g_assert_cmpstr(seven, ==, "frame of type 7 (TOTALS), of a feature that "
                               "was not agreed upon");
    g_assert_cmpstr(eight, ==, "frame of type 8, expected 1 to 3");
}

/* --- anything at all --- */

/* Changes some bytes, and now and then the length. */
static GByteArray *mutate(const uint8_t *data, size_t len)
{
    GByteArray *out = g_byte_array_new();
    int changes = g_test_rand_int_range(1, 5);
    uint8_t junk[16];

    g_byte_array_append(out, data, len);
    while (changes--) {
        unsigned at = out->len ? g_test_rand_int_range(0, out->len) : 0;

        switch (g_test_rand_int_range(0, 6)) {
        case 0:
            g_byte_array_set_size(out, at);
            break;
        case 1:
            memset(junk, g_test_rand_int(), sizeof(junk));
            g_byte_array_append(out, junk, g_test_rand_int_range(1, 16));
            break;
        case 2:
            if (out->len) {
                g_byte_array_remove_index(out, at);
            }
            break;
        case 3:
            if (out->len) {
                out->data[at] = g_test_rand_int_range(0, 2) ? 0 : 0xff;
            }
            break;
        default:
            if (out->len) {
                out->data[at] ^= 1 << g_test_rand_int_range(0, 8);
            }
        }
    }
    return out;
}

/* What a decoder accepts means something, so it encodes to the same bytes. */
static void test_mutations_start(void)
{
    int i, good = 0;

    for (i = 0; i < 20000; i++) {
        g_autoptr(PagecacheWireStart) start = NULL;
        g_autoptr(PagecacheWireStart) base =
            make_start(g_test_rand_int_range(0, 3),
                       g_test_rand_int_range(0, 3));
        g_autoptr(GByteArray) frame = NULL, bad = NULL;
        g_autofree char *err = NULL;

        if (base->disks->len) {
            set_fields(base, 0, some_fields, sizeof(some_fields));
        }
        frame = pagecache_wire_encode_start(base);
        bad = mutate(frame->data + HEADER, frame->len - HEADER);
        start = decode_start(bad->data, bad->len, &err);
        g_assert_true(!start == !!err);
        if (start) {
            g_autoptr(GByteArray) again = pagecache_wire_encode_start(start);

            g_assert_cmpmem(again->data + HEADER, again->len - HEADER,
                            bad->data, bad->len);
            good++;
        }
    }
    g_test_message("%d of %d were accepted", good, i);
    g_assert_cmpint(good, >, 0);
    g_assert_cmpint(good, <, i);
}

static void test_mutations_offers(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(3, 3);
    int i, good = 0, fit = 0;
    guint j;

    for (i = 0; i < 20000; i++) {
        PagecacheWireOffer o[3] = {
            { .disk = 1, .npages = 10, .page = 7, .sector = 99 },
            { .disk = 4, .block = 1, .npages = 1 },
            { .disk = 7, .block = 2, .npages = 100, .page = 402 },
        };
        g_autoptr(GByteArray) frame =
            pagecache_wire_encode_offers(o, g_test_rand_int_range(0, 4));
        g_autoptr(GByteArray) bad = mutate(frame->data + HEADER,
                                           frame->len - HEADER);
        g_autoptr(GByteArray) again = NULL;
        g_autoptr(GArray) offers = NULL;
        g_autofree char *err = NULL;

        offers = decode_offers(bad->data, bad->len, &err);
        g_assert_true(!offers == !!err);
        if (!offers) {
            continue;
        }
        good++;
        again = pagecache_wire_encode_offers(
                    (PagecacheWireOffer *)offers->data, offers->len);
        g_assert_cmpmem(again->data + HEADER, again->len - HEADER,
                        bad->data, bad->len);
        for (j = 0; j < offers->len; j++) {
            PagecacheWireOffer *p = &g_array_index(offers, PagecacheWireOffer,
                                                   j);
            g_autofree char *why = NULL;

            if (!pagecache_wire_check_offer(start, p, &why)) {
                g_assert_nonnull(why);
                continue;
            }
            fit++;
            /* Said with another arithmetic; nothing here comes near 2^64. */
            g_assert_true(p->block < 3 && p->npages && p->page < 503 &&
                          p->page + p->npages <= 500 + p->block);
            g_assert_true(p->disk < 8 && p->disk % 3 == 1);
            g_assert_true(p->sector < 1003 && p->sector + 8 * p->npages <=
                          1000 + p->disk / 3);
        }
    }
    g_test_message("%d of %d were accepted, %d offers fit", good, i, fit);
    g_assert_cmpint(good, >, 0);
    g_assert_cmpint(good, <, i);
    g_assert_cmpint(fit, >, 0);
}

static void test_mutations_report(void)
{
    int i, good = 0;

    for (i = 0; i < 20000; i++) {
        uint8_t buf[PAGECACHE_REPORT_MAX];
        g_autoptr(GByteArray) bad = NULL;
        g_autofree char *err = NULL;
        PagecacheReport r;
        unsigned j;
        bool ok;

        pagecache_report_init(&r, g_test_rand_int_range(0, 4));
        r.features = g_test_rand_int();
        r.version = g_test_rand_int();
        for (j = g_test_rand_int_range(1, 5);
             j && r.status <= PAGECACHE_REPORT_UNAVAILABLE; j--) {
            add_run(&r, g_test_rand_int(), g_test_rand_int_range(0, 1000),
                    g_test_rand_int_range(1, 32));
        }
        bad = mutate(buf, pagecache_wire_encode_report(&r, buf));
        ok = decode_report(bad->data, bad->len, &r, &err);
        g_assert_true(ok == !err);
        if (ok) {
            g_assert_cmpuint(pagecache_wire_encode_report(&r, buf), ==,
                             bad->len);
            g_assert_cmpmem(buf, bad->len, bad->data, bad->len);
            good++;
        }
    }
    g_test_message("%d of %d were accepted", good, i);
    g_assert_cmpint(good, >, 0);
    g_assert_cmpint(good, <, i);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    fill_pattern();
    g_test_add_func("/pagecache/wire/header", test_header);
    g_test_add_func("/pagecache/wire/unexpected", test_unexpected);
    g_test_add_func("/pagecache/wire/start/round-trip", test_start_round_trip);
    g_test_add_func("/pagecache/wire/start/bytes", test_start_bytes);
    g_test_add_func("/pagecache/wire/start/truncated", test_start_truncated);
    g_test_add_func("/pagecache/wire/start/too-long", test_start_too_long);
    g_test_add_func("/pagecache/wire/start/bad-fields", test_start_bad_fields);
    g_test_add_func("/pagecache/wire/start/version", test_start_version);
    g_test_add_func("/pagecache/wire/start/features", test_features);
    g_test_add_func("/pagecache/wire/start/fields", test_start_fields);
    g_test_add_func("/pagecache/wire/offers/round-trip",
                    test_offers_round_trip);
    g_test_add_func("/pagecache/wire/offers/bytes", test_offers_bytes);
    g_test_add_func("/pagecache/wire/offers/malformed", test_offers_malformed);
    g_test_add_func("/pagecache/wire/end", test_end);
    g_test_add_func("/pagecache/wire/check-offer/borders", test_check_offer);
    g_test_add_func("/pagecache/wire/check-offer/large",
                    test_check_offer_large);
    g_test_add_func("/pagecache/wire/check-offer/nothing-there",
                    test_check_offer_nothing_there);
    g_test_add_func("/pagecache/wire/report/round-trip",
                    test_report_round_trip);
    g_test_add_func("/pagecache/wire/report/goes-on", test_report_goes_on);
    g_test_add_func("/pagecache/wire/report/limit", test_report_limit);
    g_test_add_func("/pagecache/wire/report/bytes", test_report_bytes);
    g_test_add_func("/pagecache/wire/report/malformed", test_report_malformed);
    g_test_add_func("/pagecache/wire/report/answers-malformed",
                    test_answers_malformed);
    g_test_add_func("/pagecache/wire/mutations/start", test_mutations_start);
    g_test_add_func("/pagecache/wire/mutations/offers", test_mutations_offers);
    g_test_add_func("/pagecache/wire/mutations/report", test_mutations_report);
    return g_test_run();
}
