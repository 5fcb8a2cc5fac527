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

static void assert_same_start(const PagecacheWireStart *a,
                              const PagecacheWireStart *b)
{
    guint i;

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
}

/* The numbers of the specification, byte by byte */
static void test_start_bytes(void)
{
    g_autoptr(PagecacheWireStart) start = make_start(1, 1);
    g_autoptr(GByteArray) frame = NULL;
    static const uint8_t head[] = {
        1, 0, 0, 1, 0xbc, 'P', 'G', 'C', '1', 0, 1, 12, 1, 1, 128,
    };
    static const uint8_t tail[] = {
        0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 3, 0xe8, 12,
        '0', '0', '0', '0', ':', '0', '0', ':', '0', '0', '.', '0',
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
    g_autoptr(GByteArray) frame = pagecache_wire_encode_start(start);
    size_t len;

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
#define AT_BITS     (AT_VERSION + 2)
#define AT_DIGEST   (AT_BITS + 1)
#define AT_SECLEN   (AT_DIGEST + 1)
#define AT_DISKS    (AT_SECLEN + 2 + PAGECACHE_SECRET_LEN)
#define AT_DISK(n)  (AT_DISKS + 4 + (n) * (4 + 8 + 1 + 12))
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
    patched_start(AT_VERSION, 2, 2, "version 2, expected 1");
    patched_start(AT_VERSION, 2, 0, "version 0, expected 1");
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
                  "truncated at the secret: 476 bytes left, expected 1024");
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
                "offer of 4294967295 pages from page 0 of RAM block 'ram0', "
                "which has 500");
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

    check_offer(start, 1, 0, npages - UINT32_MAX, UINT32_MAX,
                disk->sectors - (UINT64_C(0xffffffff) << 15), NULL);
    check_offer(start, 1, 0, 0, UINT32_MAX,
                disk->sectors - (UINT64_C(0xffffffff) << 15) + 1,
                "offer of 140737488322560 sectors from sector "
                "17873661021159424 of disk '0000:00:00.0', which has "
                "18014398509481983");
    check_offer(start, 1, 0, npages - UINT32_MAX + 1, UINT32_MAX, 0,
                "offer of 4294967295 pages from page 1095216660481 of RAM "
                "block 'ram0', which has 1099511627775");
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

static void fill_report(PagecacheReport *r, uint16_t npages, uint8_t status)
{
    unsigned i;

    *r = (PagecacheReport) {
        .block = 0x01020304, .page = 0x1112131415161718, .npages = npages,
        .status = status,
    };
    for (i = 0; i < sizeof(r->digests); i++) {
        ((uint8_t *)r->digests)[i] = i * 11;
    }
}

static void round_trip_report(uint16_t npages, uint8_t status)
{
    bool ok = status == PAGECACHE_REPORT_OK;
    uint8_t buf[PAGECACHE_REPORT_MAX];
    g_autofree char *err = NULL;
    PagecacheReport r, back;
    size_t len;

    fill_report(&r, npages, status);
    len = pagecache_wire_encode_report(&r, buf);
    g_assert_cmpuint(len, ==, PAGECACHE_REPORT_HEADER + (ok ? 16 * npages : 0));
    g_assert_true(decode_report(buf, len, &back, &err));
    g_assert_null(err);
    g_assert_cmpuint(back.block, ==, r.block);
    g_assert_cmpuint(back.page, ==, r.page);
    g_assert_cmpuint(back.npages, ==, npages);
    g_assert_cmpuint(back.status, ==, status);
    if (ok) {
        g_assert_cmpmem(back.digests, 16 * npages, r.digests, 16 * npages);
    }
}

static void test_report_round_trip(void)
{
    round_trip_report(0, PAGECACHE_REPORT_OK);
    round_trip_report(1, PAGECACHE_REPORT_OK);
    round_trip_report(PAGECACHE_REPORT_PAGES_MAX, PAGECACHE_REPORT_OK);
    round_trip_report(1, PAGECACHE_REPORT_UNAVAILABLE);
    round_trip_report(UINT16_MAX, PAGECACHE_REPORT_UNAVAILABLE);
    round_trip_report(0, PAGECACHE_REPORT_REFUSED);
    round_trip_report(0, PAGECACHE_REPORT_ACCEPTED);
    round_trip_report(0, PAGECACHE_REPORT_ACCEPTED);
}

/* The limit of the return path's buffer is met exactly. */
static void test_report_limit(void)
{
    g_assert_cmpuint(PAGECACHE_REPORT_PAGES_MAX, ==, 31);
    g_assert_cmpuint(PAGECACHE_REPORT_HEADER +
                     PAGECACHE_REPORT_PAGES_MAX * PAGECACHE_DIGEST_LEN, ==,
                     PAGECACHE_REPORT_MAX);
}

static void test_report_bytes(void)
{
    uint8_t buf[PAGECACHE_REPORT_MAX];
    static const uint8_t expected[] = {
        1, 2, 3, 4, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18, 0, 1, 0,
        16, 0, 11, 22, 33, 44, 55, 66, 77, 88, 99, 110, 121, 132, 143, 154,
        165,
    };
    PagecacheReport r;

    fill_report(&r, 1, PAGECACHE_REPORT_OK);
    g_assert_cmpuint(pagecache_wire_encode_report(&r, buf), ==,
                     sizeof(expected));
    g_assert_cmpmem(buf, sizeof(expected), expected, sizeof(expected));
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

    fill_report(&r, 3, PAGECACHE_REPORT_OK);
    len = pagecache_wire_encode_report(&r, buf);
    for (i = 0; i < len; i++) {
        g_autofree char *err = NULL;

        g_assert_false(decode_report(buf, i, &r, &err));
        g_assert_nonnull(err);
    }
    bad_report(buf, 0, "truncated at the RAM block: 0 bytes left, expected 4");
    bad_report(buf, len - 1,
               "truncated at the digests: 47 bytes left, expected 48");
    bad_report(buf, len + 1, "1 bytes too many");

    buf[14] = 4;
    bad_report(buf, len, "status 4, expected at most 3");
    buf[14] = PAGECACHE_REPORT_UNAVAILABLE;
    bad_report(buf, len, "digests of 16 bytes, expected 0");
    buf[15] = 0;
    bad_report(buf, len, "48 bytes too many");
    buf[14] = PAGECACHE_REPORT_OK;
    bad_report(buf, len, "digests of 0 bytes, expected 16");
    buf[15] = 32;
    bad_report(buf, len, "digests of 32 bytes, expected 16");
    buf[15] = 16;
    stw_be_p(buf + 12, 32);
    bad_report(buf, PAGECACHE_REPORT_HEADER + 32 * 16,
               "32 pages, expected at most 31");
    stw_be_p(buf + 12, UINT16_MAX);
    bad_report(buf, len, "65535 pages, expected at most 31");
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
        g_autoptr(GByteArray) frame = pagecache_wire_encode_start(base);
        g_autoptr(GByteArray) bad = mutate(frame->data + HEADER,
                                           frame->len - HEADER);
        g_autofree char *err = NULL;

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
        bool ok;

        fill_report(&r, g_test_rand_int_range(0, 32),
                    g_test_rand_int_range(0, 4));
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
    g_test_add_func("/pagecache/wire/header", test_header);
    g_test_add_func("/pagecache/wire/start/round-trip", test_start_round_trip);
    g_test_add_func("/pagecache/wire/start/bytes", test_start_bytes);
    g_test_add_func("/pagecache/wire/start/truncated", test_start_truncated);
    g_test_add_func("/pagecache/wire/start/too-long", test_start_too_long);
    g_test_add_func("/pagecache/wire/start/bad-fields", test_start_bad_fields);
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
    g_test_add_func("/pagecache/wire/report/limit", test_report_limit);
    g_test_add_func("/pagecache/wire/report/bytes", test_report_bytes);
    g_test_add_func("/pagecache/wire/report/malformed", test_report_malformed);
    g_test_add_func("/pagecache/wire/mutations/start", test_mutations_start);
    g_test_add_func("/pagecache/wire/mutations/offers", test_mutations_offers);
    g_test_add_func("/pagecache/wire/mutations/report", test_mutations_report);
    return g_test_run();
}
