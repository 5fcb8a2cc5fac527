/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the frame MAP
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "pagecache-wire-map.h"

#define HEADER      PAGECACHE_WIRE_FRAME_HEADER
#define RUN         PAGECACHE_WIRE_MAP_RUN
#define SUM         PAGECACHE_WIRE_MAP_SUM
#define BITS        12

static PagecacheWireMapEntry entry(uint16_t disk, uint16_t block,
                                   uint64_t page, uint64_t sector,
                                   uint32_t sum)
{
    return (PagecacheWireMapEntry) {
        .disk = disk, .block = block, .page = page, .sector = sector,
        .sum = sum,
    };
}

static void add(PagecacheWireMapWriter *w, PagecacheWireMapEntry e)
{
    g_assert_true(pagecache_wire_map_add(w, &e, BITS));
}

/* The one run that continues at *@pos, and its first checksum */
static void next_is(const GByteArray *frame, size_t *pos, uint16_t disk,
                    uint16_t block, uint16_t npages, uint64_t page,
                    uint64_t sector, uint32_t sum)
{
    g_autofree char *err = NULL;
    PagecacheWireMapRun run;

    g_assert_true(pagecache_wire_map_next(frame->data + HEADER,
                                          frame->len - HEADER, pos, &run,
                                          &err));
    g_assert_null(err);
    g_assert_cmpuint(run.disk, ==, disk);
    g_assert_cmpuint(run.block, ==, block);
    g_assert_cmpuint(run.npages, ==, npages);
    g_assert_cmpuint(run.page, ==, page);
    g_assert_cmpuint(run.sector, ==, sector);
    g_assert_cmphex(pagecache_wire_map_sum(&run, 0), ==, sum);
}

static void no_more(const GByteArray *frame, size_t *pos)
{
    g_autofree char *err = NULL;
    PagecacheWireMapRun run;

    g_assert_false(pagecache_wire_map_next(frame->data + HEADER,
                                           frame->len - HEADER, pos, &run,
                                           &err));
    g_assert_null(err);
    g_assert_cmpuint(*pos, ==, frame->len - HEADER);
}

/* As the specification has it, byte for byte */
static void test_bytes(void)
{
    static const uint8_t expected[] = {
        6, 0, 0, 0, 28,
        0x01, 0x02, 0x03, 0x04, 0, 2,
        0, 0, 0, 1, 0, 0, 0, 5,
        0, 0, 0, 2, 0, 0, 0, 63,
        0x03, 0xff, 0xff, 0x01, 0x23, 0x45,
    };
    g_autoptr(PagecacheWireMapWriter) w = pagecache_wire_map_writer_new(28);
    g_autoptr(GByteArray) frame = NULL;

    add(w, entry(0x102, 0x304, 0x100000005, 0x20000003f, 0x3ffff));
    add(w, entry(0x102, 0x304, 0x100000006, 0x200000047, 0x12345));
    frame = pagecache_wire_map_finish(w);
    g_assert_cmpmem(frame->data, frame->len, expected, sizeof(expected));
}

/* What continues is one run, and whatever is different begins another. */
static void test_runs(void)
{
    g_autoptr(PagecacheWireMapWriter) w = pagecache_wire_map_writer_new(4096);
    g_autoptr(GByteArray) frame = NULL;
    size_t pos = 0;

    add(w, entry(1, 0, 10, 80, 7));
    add(w, entry(1, 0, 11, 88, 8));
    add(w, entry(1, 0, 12, 96, 9));
    add(w, entry(1, 0, 13, 105, 10));   /* another sector */
    add(w, entry(1, 0, 15, 113, 11));   /* page */
    add(w, entry(2, 0, 16, 121, 12));   /* disk */
    add(w, entry(2, 1, 17, 129, 13));   /* block */
    add(w, entry(2, 1, 17, 129, 14));   /* the same again */
    frame = pagecache_wire_map_finish(w);
    g_assert_cmpuint(frame->len, ==, HEADER + 6 * RUN + 8 * SUM);
    next_is(frame, &pos, 1, 0, 3, 10, 80, 7);
    next_is(frame, &pos, 1, 0, 1, 13, 105, 10);
    next_is(frame, &pos, 1, 0, 1, 15, 113, 11);
    next_is(frame, &pos, 2, 0, 1, 16, 121, 12);
    next_is(frame, &pos, 2, 1, 1, 17, 129, 13);
    next_is(frame, &pos, 2, 1, 1, 17, 129, 14);
    no_more(frame, &pos);
}

/* A run has 65535 pages at most. */
static void test_long(void)
{
    g_autoptr(PagecacheWireMapWriter) w =
        pagecache_wire_map_writer_new(1 << 20);
    g_autoptr(GByteArray) frame = NULL;
    size_t pos = 0;
    uint32_t i;

    for (i = 0; i < 65537; i++) {
        add(w, entry(0, 0, i, 8ULL * i, i & 0x3ffff));
    }
    frame = pagecache_wire_map_finish(w);
    next_is(frame, &pos, 0, 0, 65535, 0, 0, 0);
    next_is(frame, &pos, 0, 0, 2, 65535, 8ULL * 65535, 65535);
    no_more(frame, &pos);
}

static void test_full(void)
{
    g_autoptr(PagecacheWireMapWriter) w =
        pagecache_wire_map_writer_new(RUN + 2 * SUM);
    g_autoptr(GByteArray) frame = NULL;
    PagecacheWireMapEntry third = entry(0, 0, 3, 24, 3);
    PagecacheWireMapEntry apart = entry(1, 0, 9, 9, 9);

    add(w, entry(0, 0, 1, 8, 1));
    g_assert_false(pagecache_wire_map_add(w, &apart, BITS));
    add(w, entry(0, 0, 2, 16, 2));
    g_assert_false(pagecache_wire_map_add(w, &third, BITS));
    frame = pagecache_wire_map_finish(w);
    g_assert_cmpuint(frame->len, ==, HEADER + RUN + 2 * SUM);
}

static void test_empty(void)
{
    g_autoptr(PagecacheWireMapWriter) w = pagecache_wire_map_writer_new(100);

    g_assert_null(pagecache_wire_map_finish(w));
}

/* --- what is no frame --- */

/* The body in memory of just its size; the first run is bad. */
static void bad(const void *body, size_t len, const char *expected)
{
    g_autofree uint8_t *copy = g_memdup2(body, len);
    g_autofree char *err = NULL;
    PagecacheWireMapRun run;
    size_t pos = 0;

    g_assert_false(pagecache_wire_map_next(copy, len, &pos, &run, &err));
    g_assert_cmpstr(err, ==, expected);
}

static void test_malformed(void)
{
    uint8_t body[RUN + 2 * SUM] = { 0, 1, 0, 0, 0, 2 };

    bad(body, 1, "truncated at a run: 1 bytes left, expected 22");
    bad(body, RUN - 1, "truncated at a run: 21 bytes left, expected 22");
    bad(body, RUN, "truncated at the checksums of 2 pages: 0 bytes left, "
        "expected 6");
    bad(body, RUN + 5, "truncated at the checksums of 2 pages: 5 bytes left, "
        "expected 6");
    body[RUN + SUM] = 4;
    bad(body, sizeof(body), "checksum 0x40000, expected 18 bits");
    body[5] = 0;
    bad(body, sizeof(body), "run of 0 pages, expected 1 or more");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/wire/map/bytes", test_bytes);
    g_test_add_func("/pagecache/wire/map/runs", test_runs);
    g_test_add_func("/pagecache/wire/map/long", test_long);
    g_test_add_func("/pagecache/wire/map/full", test_full);
    g_test_add_func("/pagecache/wire/map/empty", test_empty);
    g_test_add_func("/pagecache/wire/map/malformed", test_malformed);
    return g_test_run();
}
