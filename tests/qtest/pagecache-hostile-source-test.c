/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: a hostile source
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A real source, and somebody behind it who changes what it says.  What has
 * no valid form fails the migration with a message that says what came and
 * what was expected; the destination stays in order and the guest goes on at
 * the source.  What has one costs pages at most.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "pagecache-test-blk.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-proxy.h"

/* Where things stand in START's body: with our secret, disk and RAM blocks */
#define AT_MAGIC        0
#define AT_VERSION      4
#define AT_PAGE_BITS    14
#define AT_DIGEST       15
#define AT_DISKS        (START_SECRET + 384)
#define AT_DISK         (AT_DISKS + 4)
#define AT_DISK_SECTORS (AT_DISK + 4)
#define AT_DISK_NAME    (AT_DISK + 12)
#define AT_DISK_FIELDS  (AT_DISK_NAME + 1 + (sizeof(DISK_PATH) - 1))
#define DISK_LEN        (AT_DISK_FIELDS + 2 - AT_DISK)
#define AT_BLOCKS       (AT_DISK + DISK_LEN)
#define AT_BLOCK        (AT_BLOCKS + 4)
#define AT_BLOCK_PAGES  (AT_BLOCK + 4)
#define AT_BLOCK_NAME   (AT_BLOCK + 12)
/* In that of OFFERS */
#define AT_OFFER_DISK   4
#define AT_OFFER_BLOCK  8
#define AT_OFFER_NPAGES 12
#define AT_OFFER_PAGE   16
#define AT_OFFER_SECTOR 24
/* In that of MAP */
#define AT_RUN_DISK     0
#define AT_RUN_BLOCK    2
#define AT_RUN_NPAGES   4
#define AT_RUN_PAGE     6
#define AT_RUN_SECTOR   14
#define AT_RUN_SUMS     22

typedef struct Attack {
    const char *name;
    uint8_t frame;              /* the first of this type is changed: */
    uint32_t at;                /* in the body; */
    uint8_t width;              /* to a number of so many bytes */
    uint64_t value;
    void (*edit)(GByteArray *section);  /* or so */
    const char *error;          /* what the destination says */
} Attack;

static void repeat(GByteArray *section)
{
    g_autofree uint8_t *copy = g_memdup2(section->data, section->len);
    uint8_t foot[] = { SECTION_FOOTER, 0, 0, 0, 0 };
    guint len = section->len;

    if (section->data[0] == SECTION_START) {
        stl_be_p(foot + 1, SECTION_ID);
        g_byte_array_append(section, foot, sizeof(foot));
    }
    g_byte_array_append(section, copy, len);
}

static void one_byte_more(GByteArray *section)
{
    uint32_t len;

    pct_frame_body(section, &len);
    pct_frame_splice(section, len, 0, "", 1);
}

static void one_byte_less(GByteArray *section)
{
    uint32_t len;

    pct_frame_body(section, &len);
    pct_frame_splice(section, len - 1, 1, NULL, 0);
}

static void no_body(GByteArray *section)
{
    uint32_t len;

    pct_frame_body(section, &len);
    pct_frame_splice(section, 0, len, NULL, 0);
}

static void set_type(GByteArray *section, uint8_t type)
{
    section->data[pct_frame_offset(section)] = type;
}

static void type_0(GByteArray *section)
{
    set_type(section, 0);
}

static void type_start(GByteArray *section)
{
    set_type(section, FRAME_START);
}

static void type_offers(GByteArray *section)
{
    set_type(section, FRAME_OFFERS);
}

static void type_end(GByteArray *section)
{
    set_type(section, FRAME_END);
}

static void type_255(GByteArray *section)
{
    set_type(section, 255);
}

static void set_length(GByteArray *section, uint32_t len)
{
    stl_be_p(section->data + pct_frame_offset(section) + 1, len);
}

static void length_giant(GByteArray *section)
{
    set_length(section, UINT32_MAX);
}

static void length_just_too_large(GByteArray *section)
{
    set_length(section, 4 * MiB + 1);
}

static void disk_twice(GByteArray *section)
{
    uint32_t len;
    uint8_t *body = pct_frame_body(section, &len);
    g_autofree uint8_t *disk = g_memdup2(body + AT_DISK, DISK_LEN);

    stl_be_p(body + AT_DISKS, 2);
    pct_frame_splice(section, AT_BLOCKS, 0, disk, DISK_LEN);
}

static void block_twice(GByteArray *section)
{
    uint32_t len;
    uint8_t *body = pct_frame_body(section, &len);
    uint32_t n = ldl_be_p(body + AT_BLOCKS);
    uint32_t block_len = 12 + 1 + body[AT_BLOCK_NAME];
    g_autofree uint8_t *block = g_memdup2(body + AT_BLOCK, block_len);

    stl_be_p(body + AT_BLOCKS, n + 1);
    stl_be_p(block, n);
    pct_frame_splice(section, len, 0, block, block_len);
}

/* Optional fields of the disk: @fields of @len bytes, said to be @said */
static void disk_fields(GByteArray *section, const void *fields, uint16_t len,
                        uint16_t said)
{
    uint8_t be[2];

    stw_be_p(be, said);
    pct_frame_splice(section, AT_DISK_FIELDS, 2, be, 2);
    pct_frame_splice(section, AT_DISK_FIELDS + 2, 0, fields, len);
}

static void field_too_long(GByteArray *section)
{
    static const uint8_t field[] = { 0, 1, 0, 5, 'h', 'e', 'l', 'l' };

    disk_fields(section, field, sizeof(field), sizeof(field));
}

static void field_cut(GByteArray *section)
{
    static const uint8_t field[] = { 0, 1, 0, 0, 9 };

    disk_fields(section, field, sizeof(field), sizeof(field));
}

static void field_twice(GByteArray *section)
{
    static const uint8_t fields[] = { 0, 1, 0, 0, 0, 1, 0, 0 };

    disk_fields(section, fields, sizeof(fields), sizeof(fields));
}

static void fields_too_long(GByteArray *section)
{
    disk_fields(section, "", 0, UINT16_MAX);
}

static void type_switch(GByteArray *section)
{
    set_type(section, 4);
}

static void type_digests(GByteArray *section)
{
    set_type(section, 5);
}

static void type_map(GByteArray *section)
{
    set_type(section, 6);
}

static void type_totals(GByteArray *section)
{
    set_type(section, 7);
}

/* An offer that was right, in a section of its own behind this one */
static void offers_behind(GByteArray *section)
{
    g_autoptr(GByteArray) offers = g_byte_array_new();
    uint8_t body[4 + OFFER_LEN] = { 0 };
    uint8_t head[] = { SECTION_PART, 0, 0, 0, 0, FRAME_OFFERS, 0, 0, 0, 0 };
    uint8_t foot[] = { SECTION_FOOTER, 0, 0, 0, 0 };

    stl_be_p(head + 1, SECTION_ID);
    stl_be_p(head + 6, sizeof(body));
    stl_be_p(foot + 1, SECTION_ID);
    stl_be_p(body, 1);
    stl_be_p(body + AT_OFFER_NPAGES, 1);
    g_byte_array_append(offers, head, sizeof(head));
    g_byte_array_append(offers, body, sizeof(body));
    g_byte_array_append(offers, foot, sizeof(foot));
    g_byte_array_append(section, offers->data, offers->len);
}

/* A frame without a run, likewise */
static void map_behind(GByteArray *section)
{
    uint8_t map[] = {
        SECTION_PART, 0, 0, 0, 0, FRAME_MAP, 0, 0, 0, 0,
        SECTION_FOOTER, 0, 0, 0, 0,
    };

    stl_be_p(map + 1, SECTION_ID);
    stl_be_p(map + 11, SECTION_ID);
    g_byte_array_append(section, map, sizeof(map));
}

static const Attack attacks[] = {
    { "start/magic", FRAME_START, AT_MAGIC, 4, 0x12345678,
      .error = "malformed START: magic 0x12345678, expected 0x50474331" },
    { "start/version-1", FRAME_START, AT_VERSION, 2, 1,
      .error = "the source speaks version 1 of the wire format, expected 2" },
    { "start/version-3", FRAME_START, AT_VERSION, 2, 3,
      .error = "the source speaks version 3 of the wire format, expected 2" },
    { "start/version-65535", FRAME_START, AT_VERSION, 2, 65535,
      .error = "the source speaks version 65535 of the wire format" },
    { "start/page-size", FRAME_START, AT_PAGE_BITS, 1, 13,
      .error = "pages of 2^13 bytes, expected 2^12" },
    { "start/page-size-absurd", FRAME_START, AT_PAGE_BITS, 1, 200,
      .error = "malformed START: pages of 2^200 bytes, expected 2^9 to 2^24" },
    { "start/digest", FRAME_START, AT_DIGEST, 1, 9,
      .error = "malformed START: digest 9, expected 1 or 2" },
    { "start/secret-short", FRAME_START, START_SECRET_LEN, 2, 271,
      .error = "malformed START: secret of 271 bytes, expected 272 to 1024" },
    { "start/secret-long", FRAME_START, START_SECRET_LEN, 2, UINT16_MAX,
      .error = "malformed START: secret of 65535 bytes, expected 272" },
    { "start/secret-other-length", FRAME_START, START_SECRET_LEN, 2, 385,
      .error = "malformed START: " },
    { "start/disks-too-many", FRAME_START, AT_DISKS, 4, UINT32_MAX,
      .error = "malformed START: 4294967295 disks, expected at most 4096" },
    { "start/disks-more-than-are-there", FRAME_START, AT_DISKS, 4, 2,
      .error = "malformed START: " },
    { "start/disk-absurd", FRAME_START, AT_DISK_SECTORS, 8, UINT64_MAX,
      .error = "malformed START: disk 0 of 18446744073709551615 sectors" },
    { "start/disk-without-name", FRAME_START, AT_DISK_NAME, 1, 0,
      .error = "malformed START: disk name is empty" },
    { "start/disk-name-with-nul", FRAME_START, AT_DISK_NAME + 1, 1, 0,
      .error = "malformed START: disk name holds a NUL byte" },
    { "start/disk-name-too-long", FRAME_START, AT_DISK_NAME, 1, 255,
      .error = "malformed START: " },
    { "start/disk-twice", FRAME_START, .edit = disk_twice,
      .error = "malformed START: disk number 0 out of order" },
    { "start/disk-field-too-long", FRAME_START, .edit = field_too_long,
      .error = "malformed START: truncated at the optional fields of a disk: "
               "4 bytes left, expected 5" },
    { "start/disk-field-cut", FRAME_START, .edit = field_cut,
      .error = "malformed START: truncated at the optional fields of a disk: "
               "1 bytes left, expected 2" },
    { "start/disk-field-twice", FRAME_START, .edit = field_twice,
      .error = "malformed START: optional fields of a disk: field of type 1 "
               "behind one of type 1" },
    { "start/disk-fields-too-long", FRAME_START, .edit = fields_too_long,
      .error = "malformed START: truncated at the optional fields of a disk" },
    { "start/blocks-too-many", FRAME_START, AT_BLOCKS, 4, UINT32_MAX,
      .error = "malformed START: 4294967295 RAM blocks, expected at most" },
    { "start/blocks-fewer-than-are-there", FRAME_START, AT_BLOCKS, 4, 1,
      .error = " bytes too many" },
    { "start/block-number", FRAME_START, AT_BLOCK, 4, 7,
      .error = "malformed START: RAM block number 7, expected 0" },
    { "start/block-too-large", FRAME_START, AT_BLOCK_PAGES, 8, RAM_PAGES + 1,
      .error = "RAM block 'pc.ram' has 6145 pages at the source, expected at "
               "most 6144" },
    { "start/block-absurd", FRAME_START, AT_BLOCK_PAGES, 8, UINT64_MAX,
      .error = "malformed START: RAM block of 18446744073709551615 pages" },
    { "start/block-unknown", FRAME_START, AT_BLOCK_NAME + 1, 1, 'X',
      .error = "RAM block 'Xc.ram' of the source is not here" },
    { "start/block-without-name", FRAME_START, AT_BLOCK_NAME, 1, 0,
      .error = "malformed START: RAM block name is empty" },
    { "start/block-twice", FRAME_START, .edit = block_twice,
      .error = "RAM block 'pc.ram' is named twice" },
    { "start/one-byte-more", FRAME_START, .edit = one_byte_more,
      .error = "malformed START: 1 bytes too many" },
    { "start/one-byte-less", FRAME_START, .edit = one_byte_less,
      .error = "malformed START: truncated at the RAM block name" },
    { "start/empty", FRAME_START, .edit = no_body,
      .error = "malformed START: truncated at the magic: 0 bytes left, "
               "expected 4" },
    { "start/twice", FRAME_START, .edit = repeat,
      .error = "a second START, expected one" },
    { "start/offers-instead", FRAME_START, .edit = type_offers,
      .error = "OFFERS out of turn, expected START before and END after" },
    { "start/end-instead", FRAME_START, .edit = type_end,
      .error = "END out of turn, expected one after START" },
    { "start/type-0", FRAME_START, .edit = type_0,
      .error = "frame of type 0, expected 1 to 3" },
    { "start/type-255", FRAME_START, .edit = type_255,
      .error = "frame of type 255, expected 1 to 3" },
    { "start/type-switch", FRAME_START, .edit = type_switch,
      .error = "frame of type 4 (SWITCH), of a feature that was not agreed "
               "upon" },
    { "start/length-giant", FRAME_START, .edit = length_giant,
      .error = "frame of 4294967295 bytes, expected at most 4194304" },
    { "start/length-just-too-large", FRAME_START,
      .edit = length_just_too_large,
      .error = "frame of 4194305 bytes, expected at most 4194304" },

    { "offers/more-than-are-there", FRAME_OFFERS, 0, 4, 0x10000000,
      .error = "malformed OFFERS: " },
    { "offers/number-absurd", FRAME_OFFERS, 0, 4, UINT32_MAX,
      .error = "bytes of offers, expected 4294967295 times 28" },
    { "offers/none-said", FRAME_OFFERS, 0, 4, 0,
      .error = "bytes of offers, expected 0 times 28" },
    { "offers/one-byte-more", FRAME_OFFERS, .edit = one_byte_more,
      .error = "malformed OFFERS: " },
    { "offers/one-byte-less", FRAME_OFFERS, .edit = one_byte_less,
      .error = "malformed OFFERS: " },
    { "offers/empty", FRAME_OFFERS, .edit = no_body,
      .error = "malformed OFFERS: truncated at the number of offers: 0 bytes "
               "left, expected 4" },
    { "offers/disk-unknown", FRAME_OFFERS, AT_OFFER_DISK, 4, 77,
      .error = "offer from disk 77, which START did not name" },
    { "offers/block-unknown", FRAME_OFFERS, AT_OFFER_BLOCK, 4, 4097,
      .error = "offer for RAM block 4097, expected 0 to " },
    { "offers/block-most-of-all", FRAME_OFFERS, AT_OFFER_BLOCK, 4, UINT32_MAX,
      .error = "offer for RAM block 4294967295, expected 0 to " },
    { "offers/no-pages", FRAME_OFFERS, AT_OFFER_NPAGES, 4, 0,
      .error = "offer of 0 pages" },
    { "offers/pages-most-of-all", FRAME_OFFERS, AT_OFFER_NPAGES, 4, UINT32_MAX,
      .error = "offer of 4294967295 pages, expected at most 65535" },
    { "offers/pages-too-many", FRAME_OFFERS, AT_OFFER_NPAGES, 4, 65536,
      .error = "offer of 65536 pages, expected at most 65535" },
    { "offers/type-switch", FRAME_OFFERS, .edit = type_switch,
      .error = "frame of type 4 (SWITCH), of a feature that was not agreed "
               "upon" },
    { "offers/type-digests", FRAME_OFFERS, .edit = type_digests,
      .error = "frame of type 5 (DIGESTS), of a feature that was not agreed "
               "upon" },
    { "offers/type-map", FRAME_OFFERS, .edit = type_map,
      .error = "frame of type 6 (MAP), of a feature that was not agreed upon" },
    { "offers/type-totals", FRAME_OFFERS, .edit = type_totals,
      .error = "frame of type 7 (TOTALS), of a feature that was not agreed "
               "upon" },
    { "offers/page-beyond-block", FRAME_OFFERS, AT_OFFER_PAGE, 8, RAM_PAGES,
      .error = "from page 6144 of RAM block 'pc.ram', which has 6144" },
    { "offers/page-across-end", FRAME_OFFERS, AT_OFFER_PAGE, 8, RAM_PAGES - 1,
      .error = "from page 6143 of RAM block 'pc.ram', which has 6144" },
    { "offers/page-most-of-all", FRAME_OFFERS, AT_OFFER_PAGE, 8, UINT64_MAX,
      .error = "from page 18446744073709551615 of RAM block 'pc.ram'" },
    { "offers/sector-beyond-disk", FRAME_OFFERS, AT_OFFER_SECTOR, 8,
      DISK_SECTORS,
      .error = "from sector 32768 of disk '" DISK_PATH "', which has 32768" },
    { "offers/sector-across-end", FRAME_OFFERS, AT_OFFER_SECTOR, 8,
      DISK_SECTORS - 1,
      .error = "from sector 32767 of disk '" DISK_PATH "', which has 32768" },
    { "offers/sector-most-of-all", FRAME_OFFERS, AT_OFFER_SECTOR, 8,
      UINT64_MAX,
      .error = "from sector 18446744073709551615 of disk '" DISK_PATH "'" },
    { "offers/start-instead", FRAME_OFFERS, .edit = type_start,
      .error = "a second START, expected one" },
    { "offers/length-giant", FRAME_OFFERS, .edit = length_giant,
      .error = "frame of 4294967295 bytes, expected at most 4194304" },

    { "end/one-byte-more", FRAME_END, .edit = one_byte_more,
      .error = "malformed END: 1 bytes too many" },
    { "end/twice", FRAME_END, .edit = repeat,
      .error = "END out of turn, expected one after START" },
    { "end/offers-behind", FRAME_END, .edit = offers_behind,
      .error = "OFFERS out of turn, expected START before and END after" },
    { "end/start-instead", FRAME_END, .edit = type_start,
      .error = "a second START, expected one" },
};

/* Those of a source with an I/O map */
static const Attack map_attacks[] = {
    { "map/disk-unknown", FRAME_MAP, AT_RUN_DISK, 2, 77,
      .error = "malformed MAP: run from disk 77, which START did not name" },
    { "map/block-unknown", FRAME_MAP, AT_RUN_BLOCK, 2, 4097,
      .error = "malformed MAP: run for RAM block 4097, expected 0 to " },
    { "map/no-pages", FRAME_MAP, AT_RUN_NPAGES, 2, 0,
      .error = "malformed MAP: run of 0 pages, expected 1 or more" },
    { "map/pages-most-of-all", FRAME_MAP, AT_RUN_NPAGES, 2, UINT16_MAX,
      .error = "malformed MAP: truncated at the checksums of 65535 pages: " },
    { "map/page-beyond-block", FRAME_MAP, AT_RUN_PAGE, 8, RAM_PAGES,
      .error = "from page 6144 of RAM block 'pc.ram', which has 6144" },
    { "map/page-most-of-all", FRAME_MAP, AT_RUN_PAGE, 8, UINT64_MAX,
      .error = "from page 18446744073709551615 of RAM block 'pc.ram'" },
    { "map/sector-beyond-disk", FRAME_MAP, AT_RUN_SECTOR, 8, DISK_SECTORS,
      .error = "from sector 32768 of disk '" DISK_PATH "', which has 32768" },
    { "map/sector-most-of-all", FRAME_MAP, AT_RUN_SECTOR, 8, UINT64_MAX,
      .error = "from sector 18446744073709551615 of disk '" DISK_PATH "'" },
    { "map/checksum", FRAME_MAP, AT_RUN_SUMS, 1, 4,
      .error = ", expected 18 bits" },
    { "map/one-byte-more", FRAME_MAP, .edit = one_byte_more,
      .error = "malformed MAP: truncated at a run: 1 bytes left, expected 22" },
    { "map/one-byte-less", FRAME_MAP, .edit = one_byte_less,
      .error = "malformed MAP: truncated at the checksums of " },
    { "map/before-start", FRAME_START, .edit = type_map,
      .error = "MAP out of turn, expected START before and END after it" },
    { "map/after-end", FRAME_END, .edit = map_behind,
      .error = "MAP out of turn, expected START before and END after it" },
};

/* An attack under way; @done is the proxy's */
typedef struct Mallory {
    const Attack *attack;
    bool done;
} Mallory;

static void attack_section(void *opaque, GByteArray *section)
{
    Mallory *m = opaque;
    const Attack *a = m->attack;
    uint32_t len;
    uint8_t *body = pct_frame_body(section, &len);

    if (m->done || pct_frame_type(section) != a->frame ||
        (a->frame == FRAME_OFFERS && ldl_be_p(body) == 0)) {
        return;
    }
    m->done = true;
    if (a->edit) {
        a->edit(section);
        return;
    }
    g_assert_cmpuint(a->at + a->width, <=, len);
    switch (a->width) {
    case 1:
        body[a->at] = a->value;
        break;
    case 2:
        stw_be_p(body + a->at, a->value);
        break;
    case 4:
        stl_be_p(body + a->at, a->value);
        break;
    default:
        stq_be_p(body + a->at, a->value);
    }
}

/* The destination is still there, and does what it is told. */
static void assert_alive(QTestState *who)
{
    qtest_qmp_assert_success(who, "{ 'execute': 'query-status' }");
    g_assert_true(qtest_probe_child(who));
}

/* The migration fails, and nothing else does. */
static void attack(PcTest *t, const Attack *a)
{
    Mallory m = { .attack = a };
    g_autofree char *error = NULL;
    PctProxy *p;

    pct_incoming(t);
    p = pct_proxy_new(t, attack_section, NULL, &m);
    pct_migrate_slowly(t);
    if (a->frame != FRAME_START) {
        pct_wait_figure(t->src, "offered-pages", 1);
    }
    pct_full_speed(t);
    pct_wait_failed(t->dst);
    error = pct_error(t->dst);
    pct_assert_contains(error, "skip-pagecache: ");
    pct_assert_contains(error, a->error);
    assert_alive(t->dst);

    pct_wait_failed(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    pct_proxy_free(p);
    pct_free(t);
}

static void test_attack(const void *opaque)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    attack(t, opaque);
}

static void test_map_attack(const void *opaque)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strconcat("-object pagecache-io-map,id=map ",
                                        disk, NULL);
    PctBlk *blk;

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_blk_free(blk);
    attack(t, opaque);
}

/* The stream ends in the middle of a frame. */
static void cut_in_frame(void *opaque, GByteArray *section)
{
    PctProxy **p = opaque;
    uint32_t len;

    pct_frame_body(section, &len);
    if (len > OFFER_LEN && pct_frame_type(section) == FRAME_OFFERS) {
        g_byte_array_set_size(section, section->len - OFFER_LEN / 2);
        pct_proxy_cut(*p);
    }
}

static void test_cut_in_frame(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, cut_in_frame, NULL, &p);
    pct_migrate_slowly(t);
    pct_wait_failed(t->dst);
    assert_alive(t->dst);
    pct_wait_failed(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    pct_proxy_free(p);
    pct_free(t);
}

/* It waits for a rest that never comes, and so does the source for an answer */
static void length_too_large(void *opaque, GByteArray *section)
{
    if (pct_frame_type(section) == FRAME_START) {
        set_length(section, 64 * KiB);
    }
}

static void test_length_too_large(void)
{
    PcTest *t = pct_new_pair();
    g_autoptr(GByteArray) start = NULL;
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, length_too_large, NULL, NULL);
    pct_migrate(t);
    while (!(start = pct_proxy_start_body(p))) {
        g_usleep(1000);
    }
    wait_for_migration_status(t->src, "setup", NULL);
    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    pct_wait_failed(t->dst);
    assert_alive(t->dst);
    pct_proxy_free(p);
    pct_free(t);
}

/* A destination that was started the usual way exits, by no signal. */
static void test_attack_exits(void)
{
    static const Attack attack = {
        .frame = FRAME_OFFERS, .at = AT_OFFER_PAGE, .width = 8,
        .value = UINT64_MAX,
    };
    Mallory m = { .attack = &attack };
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *log = pct_path(t, "stderr");
    g_autofree char *args = g_strdup_printf(
        "%s -S -global migration.skip-pagecache=on -incoming %s 2>%s", disk,
        t->uri, log);
    g_autofree char *text = NULL;
    PctProxy *p;

    pct_start_src(t, NULL);
    t->dst = pct_start(t, args);
    qtest_set_expected_status(t->dst, EXIT_FAILURE);
    migrate_set_capability(t->src, "skip-pagecache", true);
    pct_hint_cache(t);
    p = pct_proxy_new(t, attack_section, NULL, &m);
    pct_migrate_slowly(t);
    pct_wait_failed(t->src);
    qtest_wait_qemu(t->dst);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    pct_assert_contains(text, "skip-pagecache: offer of ");
    pct_assert_contains(text, "from page 18446744073709551615");
    pct_check_memory(t, t->src);
    pct_proxy_free(p);
    pct_free(t);
}

/* --- what another version may say --- */

typedef struct Newer {
    bool features, fields;      /* what it adds to START */
    uint16_t version;           /* if it is not 0: of START, of the answer */
    uint64_t accepted;          /* by the destination */
    bool answered;
} Newer;

static void newer_start(void *opaque, GByteArray *section)
{
    static const uint8_t fields[] = {
        0, 0, 0, 0, 0, 9, 0, 2, 'h', 'i', 0xff, 0xff, 0, 1, 0,
    };
    Newer *n = opaque;
    uint32_t len;
    uint8_t *body = pct_frame_body(section, &len);

    if (pct_frame_type(section) != FRAME_START) {
        return;
    }
    if (n->features) {
        stq_be_p(body + START_FEATURES, UINT64_MAX);
    }
    if (n->version) {
        stw_be_p(body + AT_VERSION, n->version);
    }
    if (n->fields) {
        disk_fields(section, fields, sizeof(fields), sizeof(fields));
    }
}

static bool newer_answer(void *opaque, GByteArray *body)
{
    Newer *n = opaque;

    if (body->data[REPORT_STATUS] == REPORT_ACCEPTED) {
        g_assert_cmpuint(body->len, ==, 10);
        n->accepted = ldq_be_p(body->data + 2);
        n->answered = true;
    }
    if (body->data[REPORT_STATUS] == REPORT_REFUSED) {
        /* ours, and what the source is to believe */
        g_assert_cmpuint(body->len, ==, 4);
        g_assert_cmpuint(lduw_be_p(body->data + 2), ==, 2);
        stw_be_p(body->data + 2, n->version);
        n->answered = true;
    }
    return true;
}

/* Features and fields that the destination does not know change nothing. */
static void test_unknown(void)
{
    Newer n = { .features = true, .fields = true, .accepted = 77 };
    PcTest *t = pct_new_pair();
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, newer_start, newer_answer, &n);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_proxy_free(p);
    g_assert_true(n.answered);
    g_assert_cmphex(n.accepted, ==, 0);
    pct_free(t);
}

/* Both sides say which version it is, and the guest stays. */
static void test_other_version(const void *opaque)
{
    Newer n = { .version = GPOINTER_TO_UINT(opaque) };
    PcTest *t = pct_new_pair();
    g_autofree char *dst = NULL, *src = NULL;
    g_autofree char *at_dst = g_strdup_printf(
        "skip-pagecache: the source speaks version %u of the wire format, "
        "expected 2", n.version);
    g_autofree char *at_src = g_strdup_printf(
        "skip-pagecache: the destination speaks version %u of the wire "
        "format, expected 2", n.version);
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, newer_start, newer_answer, &n);
    pct_migrate(t);
    pct_wait_failed(t->dst);
    pct_wait_failed(t->src);
    dst = pct_error(t->dst);
    src = pct_error(t->src);
    pct_assert_contains(dst, at_dst);
    pct_assert_contains(src, at_src);
    assert_alive(t->dst);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    pct_proxy_free(p);
    g_assert_true(n.answered);
    pct_free(t);
}

/* Well-formed, but lies: each costs pages, or nothing. */

static void swallow_end(void *opaque, GByteArray *section)
{
    if (pct_frame_type(section) == FRAME_END) {
        g_byte_array_set_size(section, 0);
    }
}

static void test_no_end(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, swallow_end, NULL, NULL);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_proxy_free(p);
    pct_free(t);
}

/* What an offer at the destination is at the source */
typedef struct Origin {
    uint32_t number;
    uint16_t first;             /* page */
} Origin;

typedef struct More {
    GArray *origins;            /* of Origin, by number; the proxy's thread */
    uint32_t sent;
    bool inside;                /* one page in the middle; else twice the same */
} More;

#define MIDDLE  5

/* Pages are offered once more, before or behind the offer that has them all. */
static void more_offers(void *opaque, GByteArray *section)
{
    More *m = opaque;
    g_autoptr(GByteArray) out = g_byte_array_new();
    uint32_t len, n, i;
    uint8_t *body = pct_frame_body(section, &len);
    uint8_t be[4];

    if (pct_frame_type(section) != FRAME_OFFERS || len <= 4) {
        return;
    }
    n = ldl_be_p(body);
    stl_be_p(be, 2 * n);
    g_byte_array_append(out, be, 4);
    for (i = 0; i < 2 * n; i++) {
        uint32_t nr = m->inside ? i / 2 : i % n;
        Origin o = { .number = m->sent + nr };
        uint8_t offer[OFFER_LEN];

        memcpy(offer, body + 4 + nr * OFFER_LEN, OFFER_LEN);
        if (m->inside && i % 2 == 0) {
            o.first = MIDDLE;
            g_assert_cmpuint(ldl_be_p(offer + 8), >, MIDDLE + 1);
            stl_be_p(offer + 8, 1);
            stq_be_p(offer + 12, ldq_be_p(offer + 12) + MIDDLE);
            stq_be_p(offer + 20, ldq_be_p(offer + 20) + MIDDLE * (PAGE / 512));
        }
        g_byte_array_append(out, offer, OFFER_LEN);
        g_array_append_val(m->origins, o);
    }
    m->sent += n;
    pct_frame_splice(section, 0, len, out->data, out->len);
}

static bool as_the_source_knows(void *opaque, GByteArray *body)
{
    More *m = opaque;
    uint8_t *p = body->data + REPORT_HEADER;
    uint16_t n;

    if (body->data[REPORT_STATUS] != REPORT_OK) {
        return true;
    }
    for (n = lduw_be_p(body->data + 2); n; n--) {
        uint32_t number = ldl_be_p(p);
        const Origin *o;

        g_assert_cmpuint(number, <, m->origins->len);
        o = &g_array_index(m->origins, Origin, number);
        stl_be_p(p, o->number);
        stw_be_p(p + 4, lduw_be_p(p + 4) + o->first);
        p += RUN_HEADER + lduw_be_p(p + 6) * DIGEST_LEN;
    }
    return true;
}

/* What was offered before brings nothing, and what is left is named right. */
static void test_more_offers(const void *inside)
{
    More m = { .origins = g_array_new(FALSE, FALSE, sizeof(Origin)),
               .inside = inside };
    PcTest *t = pct_new_pair();
    PctProxy *p;
    QDict *disk;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, more_offers, as_the_source_knows, &m);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_proxy_free(p);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), ==, CACHE_PAGES);
    g_assert_cmpint(pct_figure(t->dst, "superseded-pages"), ==,
                    inside ? m.sent : CACHE_PAGES);
    /* nothing was read for nothing */
    disk = pct_disk_info(t->dst);
    g_assert_cmpint(qdict_get_int(disk, "bytes-read"), <=, CACHE_READ_MAX);
    qobject_unref(disk);
    g_array_unref(m.origins);
    pct_free(t);
}

static void wrong_sectors(void *opaque, GByteArray *section)
{
    uint32_t len, i;
    uint8_t *body = pct_frame_body(section, &len);

    if (pct_frame_type(section) == FRAME_OFFERS) {
        for (i = 4; i + OFFER_LEN <= len; i += OFFER_LEN) {
            stq_be_p(body + i + 20, 0);
        }
    }
}

static void test_wrong_sectors(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, wrong_sectors, NULL, NULL);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "mismatched-pages", CACHE_PAGES / 2);
    pct_finish(t);
    pct_check_figures(t);
    pct_proxy_free(p);
    pct_free(t);
}

/* --- one that does not read its return path --- */

#define CHANNEL "channel"

/*
 * The destination's channel is a socket that takes a few reports at most until
 * somebody reads them.  Returns the other end.
 */
static int incoming_narrow(PcTest *t)
{
    int fds[2], size = 1;

    g_assert_cmpint(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), ==, 0);
    g_assert_cmpint(setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &size,
                               sizeof(size)), ==, 0);
    qtest_qmp_fds_assert_success(t->dst, fds, 1,
        "{ 'execute': 'getfd', 'arguments': { 'fdname': '" CHANNEL "' } }");
    close(fds[0]);
    migrate_incoming_qmp(t->dst, "fd:" CHANNEL, NULL,
                         "{ 'exit-on-error': false }");
    return fds[1];
}

/* A migration that goes on, with a report that can't be sent */
static PctProxy *stop_reading(PcTest *t)
{
    PctProxy *p;
    int fd = incoming_narrow(t);

    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_use(p, fd);
    pct_migrate_slowly(t);
    pct_open_reader(t);
    pct_proxy_ignore(p, true);
    pct_hint_rest(t);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    return p;
}

/* The same, and the destination has got all */
static PctProxy *arrive_unread(PcTest *t)
{
    PctProxy *p = stop_reading(t);

    pct_full_speed(t);
    wait_for_migration_complete(t->dst);
    pct_check_memory(t, t->dst);
    return p;
}

/*
 * The destination has got all, and runs its guest, long before the source
 * learns of it.  The source waits meanwhile, as it does without the capability,
 * and does not run the guest.
 */
static void test_ignores_return_path(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p = arrive_unread(t);

    qtest_qmp_assert_success(t->dst, "{ 'execute': 'cont' }");
    pct_check_status(t->dst, "running");
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), <, CACHE_PAGES);
    pct_check_status(t->src, "finish-migrate");

    pct_proxy_ignore(p, false);
    wait_for_migration_complete(t->src);
    pct_check_status(t->src, "postmigrate");
    pct_check_status(t->dst, "running");
    pct_proxy_free(p);
    pct_free(t);
}

/* ... and where nobody reads it any more, the destination may still leave. */
static void test_never_reads_again(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p = arrive_unread(t);

    qtest_quit(t->dst);
    t->dst = NULL;
    pct_proxy_free(p);
    pct_free(t);
}

/* A migration that fails is told of, and the guest stays. */
static void test_ignores_and_cuts(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p = stop_reading(t);

    pct_proxy_free(p);
    pct_wait_failed(t->dst);
    pct_wait_failed(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    qtest_quit(t->dst);
    t->dst = NULL;
    pct_migrate_again(t, NULL);
    pct_free(t);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(attacks); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/source/%s",
                                                attacks[i].name);

        qtest_add_data_func(path, &attacks[i], test_attack);
    }
    for (i = 0; i < ARRAY_SIZE(map_attacks); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/source/%s",
                                                map_attacks[i].name);

        qtest_add_data_func(path, &map_attacks[i], test_map_attack);
    }
    qtest_add_func("/pagecache/source/start/length-too-large",
                   test_length_too_large);
    qtest_add_func("/pagecache/source/offers/cut", test_cut_in_frame);
    qtest_add_func("/pagecache/source/destination-exits", test_attack_exits);
    qtest_add_func("/pagecache/source/start/unknown", test_unknown);
    qtest_add_data_func("/pagecache/source/start/other-version/1",
                        GUINT_TO_POINTER(1), test_other_version);
    qtest_add_data_func("/pagecache/source/start/other-version/3",
                        GUINT_TO_POINTER(3), test_other_version);
    qtest_add_func("/pagecache/source/end/none", test_no_end);
    qtest_add_data_func("/pagecache/source/offers/twice", NULL,
                        test_more_offers);
    qtest_add_data_func("/pagecache/source/offers/inside", "",
                        test_more_offers);
    qtest_add_func("/pagecache/source/offers/wrong-sectors",
                   test_wrong_sectors);
    qtest_add_func("/pagecache/source/return-path/not-read",
                   test_ignores_return_path);
    qtest_add_func("/pagecache/source/return-path/never-read",
                   test_never_reads_again);
    qtest_add_func("/pagecache/source/return-path/not-read-and-cut",
                   test_ignores_and_cuts);
    return g_test_run();
}
