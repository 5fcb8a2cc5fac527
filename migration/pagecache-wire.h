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
 * START in the section's START, OFFERS or MAP in each PART, END in its END.
 * Offers have numbers, which are not in the frames: 0, 1, 2... in the order in
 * which they stand in the stream, modulo 2^32.  The return path carries REPORT
 * messages, which name offers.  Everything is big-endian, as the rest of the
 * migration stream is.  Pages are target pages and count within their RAM
 * block, in reports within their offer; sectors are 512 bytes.
 *
 * The decoders take hostile input: they check every length and value against
 * what they can know, and say in @err what came and what was expected.
 * Whether a page lies in its block, and a sector on its disk, is checked by
 * pagecache_wire_check_offer().
 */
#ifndef MIGRATION_PAGECACHE_WIRE_H
#define MIGRATION_PAGECACHE_WIRE_H

#define PAGECACHE_WIRE_MAGIC        0x50474331  /* "PGC1" */
#define PAGECACHE_WIRE_VERSION      2

/*
 * START's and ACCEPTED's features: the I/O map goes along.  Who has no map does
 * not have the feature.
 */
#define PAGECACHE_WIRE_FEATURE_MAP  UINT64_C(1)

#define PAGECACHE_WIRE_START        1
#define PAGECACHE_WIRE_OFFERS       2
#define PAGECACHE_WIRE_END          3
#define PAGECACHE_WIRE_MAP          6           /* pagecache-wire-map.h */
/* Reserved: refused as long as no feature has them */
#define PAGECACHE_WIRE_SWITCH       4
#define PAGECACHE_WIRE_DIGESTS      5
#define PAGECACHE_WIRE_TOTALS       7

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
    /*
     * Optional fields, as they stand on the wire: u16 type, u16 length, bytes;
     * types ascending.  At most 65535 bytes; NULL: none.
     */
    GBytes *fields;
} PagecacheWireDisk;

typedef struct PagecacheWireBlock {
    uint32_t id;                /* its number in offers */
    uint64_t npages;
    char *idstr;
} PagecacheWireBlock;

typedef struct PagecacheWireStart {
    uint64_t features;          /* that the source has */
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
#define PAGECACHE_WIRE_OFFER_PAGES_MAX  65535
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
/* What to say of a frame of a type that is not expected at all; g_free() it */
char *pagecache_wire_unexpected(uint8_t type);
/*
 * The version that START's body is of; false: it is too short to tell, or is
 * something else.  What stands there is the same in each version.
 */
bool pagecache_wire_start_version(const uint8_t *body, size_t len,
                                  uint16_t *version);
/* Has START offered all that was accepted? */
bool pagecache_wire_check_features(uint64_t offered, uint64_t accepted,
                                   char **err);
/* Bodies.  NULL/false with @err set when they are malformed. */
PagecacheWireStart *pagecache_wire_decode_start(const uint8_t *body,
                                                size_t len, char **err);
/* Returns an array of PagecacheWireOffer */
GArray *pagecache_wire_decode_offers(const uint8_t *body, size_t len,
                                     char **err);
bool pagecache_wire_decode_end(const uint8_t *body, size_t len, char **err);

/*
 * Do its numbers exist, are its pages in the block and on the disk?  @what is
 * it, for @err?
 */
bool pagecache_wire_check_place(const PagecacheWireStart *start,
                                const char *what,
                                const PagecacheWireOffer *place, char **err);
/* ...of an offer */
bool pagecache_wire_check_offer(const PagecacheWireStart *start,
                                const PagecacheWireOffer *offer, char **err);

/*
 * REPORT: what became of offered pages.
 *
 *     u8 status, u8 length of a digest (16 if OK, else 0)
 *
 * and, if the status is OK or UNAVAILABLE,
 *
 *     u16 number of runs, 1 or more; for each:
 *         u32 number of the offer, u16 first page in it, u16 npages
 *         digests[npages] if the status is OK
 *
 * if it is ACCEPTED, u64 features; if it is REFUSED, u16 version.
 */
#define PAGECACHE_REPORT_OK             0   /* in RAM; digests follow */
#define PAGECACHE_REPORT_UNAVAILABLE    1   /* could not be read */
#define PAGECACHE_REPORT_REFUSED        2   /* answer to START: no */
#define PAGECACHE_REPORT_ACCEPTED       3   /* answer to START: go on */
/* Reserved: refused as long as no feature has them */
#define PAGECACHE_REPORT_PLACED         4   /* reserved */
#define PAGECACHE_REPORT_MISMATCH       5   /* reserved */

#define PAGECACHE_REPORT_MAX        512     /* bytes, limit of the path */
/* In bytes: up to the number of runs, and a run without its digests */
#define PAGECACHE_REPORT_HEADER     4
#define PAGECACHE_REPORT_RUN        8
/* Of one run, if the status is OK */
#define PAGECACHE_REPORT_PAGES_MAX \
    ((PAGECACHE_REPORT_MAX - PAGECACHE_REPORT_HEADER - PAGECACHE_REPORT_RUN) \
     / PAGECACHE_DIGEST_LEN)

typedef struct PagecacheReport {
    uint8_t status;             /* PAGECACHE_REPORT_* */
    uint16_t version;           /* REFUSED: what the destination speaks */
    uint64_t features;          /* ACCEPTED: those that both have */
    /* OK, UNAVAILABLE: runs as they stand on the wire */
    uint16_t nruns;
    uint16_t last;              /* where in @body the last run begins */
    uint16_t len;               /* of @body, in bytes */
    uint8_t body[PAGECACHE_REPORT_MAX - PAGECACHE_REPORT_HEADER];
} PagecacheReport;

typedef struct PagecacheReportRun {
    uint32_t offer;             /* its number */
    uint16_t first;             /* page of the offer */
    uint16_t npages;
    const uint8_t *digests;     /* of each page if OK, else NULL */
} PagecacheReportRun;

/* A report without runs */
void pagecache_report_init(PagecacheReport *report, uint8_t status);
/*
 * Adds the pages of @run, the first ones if there is no room for all, and
 * returns how many it has added.
 */
uint16_t pagecache_report_add(PagecacheReport *report,
                              const PagecacheReportRun *run);
/*
 * From run to run: *@pos is 0 at first.  False: there are no more.  The digests
 * are those in @report.
 */
bool pagecache_report_next(const PagecacheReport *report, uint16_t *pos,
                           PagecacheReportRun *run);

/* Returns the length of the message in @buf (PAGECACHE_REPORT_MAX bytes). */
size_t pagecache_wire_encode_report(const PagecacheReport *report,
                                    uint8_t *buf);
bool pagecache_wire_decode_report(const uint8_t *buf, size_t len,
                                  PagecacheReport *report, char **err);

#endif
