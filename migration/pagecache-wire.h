/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the wire format, encoder and decoder
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * docs/devel/migration/skip-pagecache-wire.rst is the specification.  In
 * short: each savevm section "pagecache" holds one frame,
 *
 *     u8 type, u32 length, body[length]
 *
 * START in the section's START, OFFERS in each PART, END in its END.  The
 * return path carries REPORT messages.  Everything is big-endian, as the rest
 * of the migration stream is.  Pages are target pages and count within their
 * RAM block; sectors are 512 bytes.
 *
 * The decoders take hostile input: they check every length and value against
 * what they can know, and say in @err what came and what was expected.
 * Whether a page lies in its block, and a sector on its disk, is checked by
 * pagecache_wire_check_offer().
 */
#ifndef MIGRATION_PAGECACHE_WIRE_H
#define MIGRATION_PAGECACHE_WIRE_H

#define PAGECACHE_WIRE_MAGIC        0x50474331  /* "PGC1" */
#define PAGECACHE_WIRE_VERSION      1

#define PAGECACHE_WIRE_START        1
#define PAGECACHE_WIRE_OFFERS       2
#define PAGECACHE_WIRE_END          3

#define PAGECACHE_WIRE_FRAME_HEADER 5           /* bytes */
#define PAGECACHE_WIRE_FRAME_MAX    (4 * 1024 * 1024)   /* bytes of a body */

#define PAGECACHE_WIRE_MAX_DISKS    4096
#define PAGECACHE_WIRE_MAX_BLOCKS   4096
#define PAGECACHE_WIRE_MAX_NAME     255

/* Keyed digests of a page, 128 bits each */
typedef enum PagecacheDigestKind {
    PAGECACHE_DIGEST_XXH3 = 1,      /* twice XXH3-64, with a secret each */
    PAGECACHE_DIGEST_SHA256 = 2,    /* SHA-256 of secret and page, cut */
} PagecacheDigestKind;

#define PAGECACHE_DIGEST_LEN        16
#define PAGECACHE_SECRET_MIN        272         /* 2 * XXH3_SECRET_SIZE_MIN */
#define PAGECACHE_SECRET_LEN        384
#define PAGECACHE_SECRET_MAX        1024

typedef struct PagecacheWireDisk {
    uint32_t id;                /* its number in offers */
    uint64_t sectors;           /* capacity */
    char *path;                 /* of the guest's device */
} PagecacheWireDisk;

typedef struct PagecacheWireBlock {
    uint32_t id;                /* its number in offers and reports */
    uint64_t npages;
    char *idstr;
} PagecacheWireBlock;

typedef struct PagecacheWireStart {
    uint8_t page_bits;          /* log2 of the page size */
    uint8_t digest;             /* PagecacheDigestKind */
    GByteArray *secret;
    GArray *disks;              /* of PagecacheWireDisk, ids ascending */
    GArray *blocks;             /* of PagecacheWireBlock, ids ascending */
} PagecacheWireStart;

typedef struct PagecacheWireOffer {
    uint32_t disk;
    uint32_t block;
    uint32_t npages;
    uint64_t page;
    uint64_t sector;
} PagecacheWireOffer;

#define PAGECACHE_WIRE_OFFER_LEN    28          /* bytes */
#define PAGECACHE_WIRE_OFFERS_MAX \
    ((PAGECACHE_WIRE_FRAME_MAX - 4) / PAGECACHE_WIRE_OFFER_LEN)

/* Empty, with its arrays */
PagecacheWireStart *pagecache_wire_start_new(void);
void pagecache_wire_start_free(PagecacheWireStart *start);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PagecacheWireStart, pagecache_wire_start_free)

/* Whole frames, header included */
GByteArray *pagecache_wire_encode_start(const PagecacheWireStart *start);
GByteArray *pagecache_wire_encode_offers(const PagecacheWireOffer *offers,
                                         uint32_t n);
GByteArray *pagecache_wire_encode_end(void);

/*
 * A frame's header: false with @err when its type is not @type or its body
 * too long.
 */
bool pagecache_wire_decode_header(const uint8_t *buf, uint8_t type,
                                  uint32_t *len, char **err);
/* Bodies.  NULL/false with @err set when they are malformed. */
PagecacheWireStart *pagecache_wire_decode_start(const uint8_t *body,
                                                size_t len, char **err);
/* Returns an array of PagecacheWireOffer */
GArray *pagecache_wire_decode_offers(const uint8_t *body, size_t len,
                                     char **err);
bool pagecache_wire_decode_end(const uint8_t *body, size_t len, char **err);

/* Do its numbers exist, are its pages in the block and on the disk? */
bool pagecache_wire_check_offer(const PagecacheWireStart *start,
                                const PagecacheWireOffer *offer, char **err);

/*
 * REPORT: what became of consecutive pages.
 *
 *     u32 block, u64 page, u16 npages, u8 status, u8 digest length,
 *     digests[npages] when the status is OK
 */
#define PAGECACHE_REPORT_OK             0   /* in RAM; digests follow */
#define PAGECACHE_REPORT_UNAVAILABLE    1   /* could not be read */
#define PAGECACHE_REPORT_REFUSED        2   /* the capability is off there */
#define PAGECACHE_REPORT_ACCEPTED       3   /* answer to START: go on */

#define PAGECACHE_REPORT_HEADER     16      /* bytes */
#define PAGECACHE_REPORT_MAX        512     /* bytes, limit of the path */
#define PAGECACHE_REPORT_PAGES_MAX \
    ((PAGECACHE_REPORT_MAX - PAGECACHE_REPORT_HEADER) / PAGECACHE_DIGEST_LEN)

typedef struct PagecacheReport {
    uint32_t block;
    uint64_t page;
    uint16_t npages;            /* at most PAGECACHE_REPORT_PAGES_MAX if OK */
    uint8_t status;             /* PAGECACHE_REPORT_* */
    uint8_t digests[PAGECACHE_REPORT_PAGES_MAX][PAGECACHE_DIGEST_LEN];
} PagecacheReport;

/* Returns the length of the message in @buf (PAGECACHE_REPORT_MAX bytes). */
size_t pagecache_wire_encode_report(const PagecacheReport *report,
                                    uint8_t *buf);
bool pagecache_wire_decode_report(const uint8_t *buf, size_t len,
                                  PagecacheReport *report, char **err);

#endif
