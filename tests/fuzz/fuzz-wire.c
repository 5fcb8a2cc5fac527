/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing target: frames and reports of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The first byte of the input says what the rest is: a frame with its header,
 * or a report.  What is refused has a message.  What is accepted is encoded
 * to the very bytes it came from: there is one way to say each thing, and
 * nothing is overlooked.  (MAP alone may cut its runs in several ways.)
 */
#include "qemu/osdep.h"
#include "pagecache-wire-map.h"
#include "fuzz.h"

/* Offers are checked against START, as it came last: by the input itself. */
static PagecacheWireStart *small_start(void)
{
    PagecacheWireStart *start = pagecache_wire_start_new();
    PagecacheWireDisk disks[] = {
        { .id = 1, .sectors = 4096, .path = g_strdup("one") },
        { .id = 7, .sectors = (1ULL << 54) - 1, .path = g_strdup("seven") },
    };
    PagecacheWireBlock blocks[] = {
        { .id = 0, .npages = 100, .idstr = g_strdup("small") },
        { .id = 1, .npages = 1ULL << 40, .idstr = g_strdup("large") },
    };

    start->page_bits = 12;
    g_array_append_vals(start->disks, disks, G_N_ELEMENTS(disks));
    g_array_append_vals(start->blocks, blocks, G_N_ELEMENTS(blocks));
    return start;
}

static void same(const GByteArray *frame, const uint8_t *body, size_t len)
{
    g_assert_cmpmem(frame->data + PAGECACHE_WIRE_FRAME_HEADER,
                    frame->len - PAGECACHE_WIRE_FRAME_HEADER, body, len);
}

static void start_body(const uint8_t *body, size_t len)
{
    g_autofree char *err = NULL;
    g_autoptr(PagecacheWireStart) start =
        pagecache_wire_decode_start(body, len, &err);
    g_autoptr(GByteArray) again = NULL;

    g_assert_true(!start == !!err);
    if (start) {
        again = pagecache_wire_encode_start(start);
        same(again, body, len);
    }
}

/* What the check lets through lies within its disk and its block. */
static void check(const PagecacheWireStart *start,
                  const PagecacheWireOffer *o)
{
    g_autofree char *err = NULL;
    bool good = pagecache_wire_check_offer(start, o, &err);
    guint i;

    g_assert_true(good == !err);
    if (!good) {
        return;
    }
    g_assert_cmpint(o->npages, >, 0);
    g_assert_cmpint(o->block, <, start->blocks->len);
    g_assert_cmpint((unsigned __int128)o->page + o->npages <=
                    g_array_index(start->blocks, PagecacheWireBlock,
                                  o->block).npages, ==, true);
    for (i = 0; i < start->disks->len; i++) {
        const PagecacheWireDisk *d = &g_array_index(start->disks,
                                                    PagecacheWireDisk, i);

        if (d->id == o->disk) {
            g_assert_true((unsigned __int128)o->sector +
                          ((unsigned __int128)o->npages
                           << (start->page_bits - 9)) <= d->sectors);
            return;
        }
    }
    g_assert_not_reached();
}

static void offers_body(const uint8_t *body, size_t len)
{
    g_autofree char *err = NULL;
    g_autoptr(GArray) offers = pagecache_wire_decode_offers(body, len, &err);
    g_autoptr(PagecacheWireStart) start = NULL;
    g_autoptr(GByteArray) again = NULL;
    guint i;

    g_assert_true(!offers == !!err);
    if (!offers) {
        return;
    }
    again = pagecache_wire_encode_offers((PagecacheWireOffer *)offers->data,
                                         offers->len);
    same(again, body, len);
    start = small_start();
    for (i = 0; i < offers->len; i++) {
        check(start, &g_array_index(offers, PagecacheWireOffer, i));
    }
}

/* From entry to entry of a body that is well-formed */
typedef struct MapCursor {
    const uint8_t *body;
    size_t len, pos;
    PagecacheWireMapRun run;
    uint16_t i;                 /* next one of the run */
} MapCursor;

static bool map_next(MapCursor *c, PagecacheWireMapEntry *e)
{
    g_autofree char *err = NULL;

    if (c->i == c->run.npages) {
        bool more = pagecache_wire_map_next(c->body, c->len, &c->pos, &c->run,
                                            &err);

        g_assert_null(err);
        if (!more) {
            return false;
        }
        c->i = 0;
    }
    *e = (PagecacheWireMapEntry) {
        .page = c->run.page + c->i, .sector = c->run.sector + 8ULL * c->i,
        .disk = c->run.disk, .block = c->run.block,
        .sum = pagecache_wire_map_sum(&c->run, c->i),
    };
    c->i++;
    return true;
}

static void map_again(const uint8_t *body, size_t len)
{
    g_autoptr(PagecacheWireMapWriter) w =
        pagecache_wire_map_writer_new(MAX(len, 64));
    MapCursor in = { .body = body, .len = len }, out;
    g_autoptr(GByteArray) frame = NULL;
    PagecacheWireMapEntry e, f;

    while (map_next(&in, &e)) {
        g_assert_true(pagecache_wire_map_add(w, &e, 12));
    }
    frame = pagecache_wire_map_finish(w);
    g_assert_true(!frame == !len);
    if (!frame) {
        return;
    }
    in = (MapCursor) { .body = body, .len = len };
    out = (MapCursor) {
        .body = frame->data + PAGECACHE_WIRE_FRAME_HEADER,
        .len = frame->len - PAGECACHE_WIRE_FRAME_HEADER,
    };
    g_assert_cmpint(out.len, <=, len);
    while (map_next(&in, &e)) {
        g_assert_true(map_next(&out, &f));
        g_assert_cmpuint(e.page, ==, f.page);
        g_assert_cmpuint(e.sector, ==, f.sector);
        g_assert_cmpuint(e.disk, ==, f.disk);
        g_assert_cmpuint(e.block, ==, f.block);
        g_assert_cmpuint(e.sum, ==, f.sum);
    }
    g_assert_false(map_next(&out, &f));
}

static void map_body(const uint8_t *body, size_t len)
{
    g_autoptr(PagecacheWireStart) start = small_start();
    g_autofree char *err = NULL;
    PagecacheWireMapRun run;
    size_t pos = 0;

    while (pagecache_wire_map_next(body, len, &pos, &run, &err)) {
        const PagecacheWireOffer place = pagecache_wire_map_place(&run);

        g_assert_null(err);
        g_assert_cmpint(pos, <=, len);
        check(start, &place);
    }
    if (!err) {
        g_assert_cmpint(pos, ==, len);
        map_again(body, len);
    }
}

static void end_body(const uint8_t *body, size_t len)
{
    g_autofree char *err = NULL;
    bool good = pagecache_wire_decode_end(body, len, &err);
    g_autoptr(GByteArray) again = pagecache_wire_encode_end();

    g_assert_true(good == !err);
    if (good) {
        same(again, body, len);
    }
}

static void frame(const uint8_t *data, size_t size)
{
    g_autofree char *err = NULL;
    uint32_t len;

    if (size < PAGECACHE_WIRE_FRAME_HEADER) {
        return;
    }
    if (!pagecache_wire_decode_header(data, data[0], &len, &err)) {
        g_assert_nonnull(err);
        return;
    }
    g_assert_cmpint(len, <=, PAGECACHE_WIRE_FRAME_MAX);
    data += PAGECACHE_WIRE_FRAME_HEADER;
    size -= PAGECACHE_WIRE_FRAME_HEADER;
    /* The stream's end is somebody else's business. */
    len = MIN(len, size);
    switch (data[-PAGECACHE_WIRE_FRAME_HEADER]) {
    case PAGECACHE_WIRE_START:
        start_body(data, len);
        break;
    case PAGECACHE_WIRE_OFFERS:
        offers_body(data, len);
        break;
    case PAGECACHE_WIRE_MAP:
        map_body(data, len);
        break;
    case PAGECACHE_WIRE_END:
        end_body(data, len);
        break;
    }
}

static void report(const uint8_t *data, size_t size)
{
    g_autofree PagecacheReport *r = g_new(PagecacheReport, 1);
    g_autofree char *err = NULL;
    uint8_t again[PAGECACHE_REPORT_MAX];

    PagecacheReportRun run;
    uint16_t pos = 0, n = 0;

    /* So that an uninitialised body shows */
    memset(r, 0xa5, sizeof(*r));
    if (!pagecache_wire_decode_report(data, size, r, &err)) {
        g_assert_nonnull(err);
        return;
    }
    g_assert_null(err);
    while (pagecache_report_next(r, &pos, &run)) {
        g_assert_cmpint(run.npages, >, 0);
        g_assert_cmpint(run.first + run.npages, <=, 65535);
        n++;
    }
    g_assert_cmpint(pos, ==, r->len);
    g_assert_cmpint(n, ==, r->nruns);
    g_assert_cmpmem(again, pagecache_wire_encode_report(r, again), data, size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size && data[0]) {
        frame(data + 1, size - 1);
    } else if (size) {
        report(data + 1, size - 1);
    }
    return 0;
}
