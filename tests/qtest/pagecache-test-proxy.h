/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Somebody in the middle of a migration with skip-pagecache, for qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A thread between source and destination that can change the sections
 * "pagecache" of the stream and the reports of the return path, hold reports
 * back, and forge more of them.  Format and numbers are those of the wire
 * specification, written down here once more: the code under test must not
 * be its own judge.
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_PROXY_H
#define TESTS_QTEST_PAGECACHE_TEST_PROXY_H

#include "pagecache-test-lib.h"

/* Section types of the migration stream, and the id of ours */
#define SECTION_START   1
#define SECTION_PART    2
#define SECTION_END     3
#define SECTION_FOOTER  0x7e
#define SECTION_ID      0x50474301

/* Frame types */
#define FRAME_START     1
#define FRAME_OFFERS    2
#define FRAME_END       3
#define FRAME_MAP       6
#define FRAME_HEADER    5               /* u8 type, u32 length of the body */

/* u32 disk, block, npages, u64 page, sector */
#define OFFER_LEN       28
#define DIGEST_LEN      16
/* Where START's body has features (u64), length of the secret (u16), secret */
#define START_FEATURES      6
#define START_SECRET_LEN    16
#define START_SECRET        18

/* Return path: message types */
#define RP_SHUT             1           /* the last one: how it went */
#define RP_SWITCHOVER_ACK   7
#define RP_REPORT           0x5047
/* u8 status, u8 digest length, u16 number of runs */
#define REPORT_STATUS       0           /* where it stands */
#define REPORT_HEADER       4
/* u32 offer, u16 first page, u16 npages, digests */
#define RUN_HEADER          8
#define REPORT_OK           0
#define REPORT_UNAVAILABLE  1
#define REPORT_REFUSED      2
#define REPORT_ACCEPTED     3           /* the answer to START */

typedef struct PctProxy PctProxy;

/*
 * Both run in the proxy's thread.  @section is one section, from its type to
 * its footer (but for START, whose footer comes after the answer to it), and
 * may be edited, emptied or made longer.  @body is one report
 * without the message's header; false: it goes no further.
 */
typedef void PctProxySection(void *opaque, GByteArray *section);
typedef bool PctProxyReport(void *opaque, GByteArray *body);

/*
 * The next migration of t->src goes through the proxy.  The destination must
 * be listening.  Each function may be NULL.
 */
PctProxy *pct_proxy_new(PcTest *t, PctProxySection *section,
                        PctProxyReport *report, void *opaque);
/* The same, of a stream that is encrypted: it is recorded and passed on. */
PctProxy *pct_proxy_new_blind(PcTest *t);
/* Closes both connections, if they are open. */
void pct_proxy_free(PctProxy *p);

/*
 * To be called from @section: the connections are closed when this section
 * has been sent.
 */
void pct_proxy_cut(PctProxy *p);
/*
 * The same: what the source sends behind this section waits here, until
 * pct_proxy_go_on().
 */
void pct_proxy_stall(PctProxy *p);
void pct_proxy_go_on(PctProxy *p);

/*
 * Reports wait here from now on, or go on.  They pass through @report first.
 * The answer to START is never held.
 */
void pct_proxy_hold(PctProxy *p, bool hold);
unsigned pct_proxy_held(PctProxy *p);
/* Messages of type @type go no further, from now on. */
void pct_proxy_swallow(PctProxy *p, uint16_t type);
/*
 * The destination's last message, which says how it went, waits here, or goes
 * on.  The source has sent all then, and can't know yet what became of it.
 */
void pct_proxy_hold_verdict(PctProxy *p, bool hold);
bool pct_proxy_verdict_held(PctProxy *p);
/* What the destination sends is not read from now on, or is again. */
void pct_proxy_ignore(PctProxy *p, bool ignore);
/*
 * @fd, which the proxy closes, is connected with the destination, which need
 * not listen.  Before the source connects.
 */
void pct_proxy_use(PctProxy *p, int fd);
/* The return path ends here: the source reads its end, the stream goes on. */
void pct_proxy_end_return_path(PctProxy *p);
/* Sends a message of type @type to the source, past everything held. */
void pct_proxy_inject(PctProxy *p, uint16_t type, const void *data,
                      uint16_t len);
/* All that the source has sent so far, as it sent it */
GByteArray *pct_proxy_recorded(PctProxy *p);
/* The body of START as the source sent it, once it has; else NULL */
GByteArray *pct_proxy_start_body(PctProxy *p);

/* An offer as the source sent it */
typedef struct PctOffer {
    uint32_t disk, block, npages;
    uint64_t page, sector;
} PctOffer;

/* So many offers were sent; their numbers are 0, 1, 2... */
uint32_t pct_proxy_offers(PctProxy *p);
/* Waits until it has been sent. */
PctOffer pct_proxy_offer(PctProxy *p, uint32_t number);

/* Where in @section the frame begins */
unsigned pct_frame_offset(const GByteArray *section);
uint8_t pct_frame_type(const GByteArray *section);
/* The frame's body */
uint8_t *pct_frame_body(const GByteArray *section, uint32_t *len);
/* Puts @len bytes into the body at @at in place of @old bytes. */
void pct_frame_splice(GByteArray *section, uint32_t at, uint32_t old,
                      const void *data, uint32_t len);

#endif
