/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the I/O map as MAP frames
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The pages themselves are not looked at: the RAM blocks have none.
 */
#include "qemu/osdep.h"
#include "exec/ramlist.h"
#include "migration/pagecache.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-map.h"
#include "pagecache-io-sender.h"
#include "pagecache-wire-map.h"

#define SECTORS     8
/* Numbers in the map; START has the first as disk 3, and not the second. */
#define DISK        5
#define OTHER       6
#define INDEX       3
#define DISK_SIZE   1000000         /* sectors */

static RAMBlock small, large;
RAMBlock *shim_ram_blocks[] = { &small, &large, NULL };

int pagecache_io_disks_index(uint8_t number)
{
    return number == DISK ? INDEX : number == OTHER ? INDEX + 1 : -1;
}

typedef struct Sent {
    PagecacheWireStart *start;
    GPtrArray *blocks;
    PagecacheIoSender *sender;
    GArray *entries;            /* of PagecacheWireMapEntry, as they came */
    unsigned frames;
} Sent;

static void put(RAMBlock *rb, uint64_t page, uint8_t disk, uint64_t sector)
{
    PagecacheIoMap *map = pagecache_io_map_hold(rb);
    const PagecacheIoPlace place = { .disk = disk, .sector = sector };

    pagecache_io_map_put(map, page, &place, page & 0x3ffff);
    pagecache_io_map_release(map);
}

static void add_block(Sent *s, RAMBlock *rb, uint64_t npages, uint64_t named)
{
    PagecacheWireBlock block = {
        .id = s->blocks->len, .npages = named, .idstr = g_strdup("block"),
    };

    *rb = (RAMBlock) {
        .used_length = npages << 12, .max_length = npages << 12,
    };
    g_ptr_array_add(s->blocks, rb);
    g_array_append_val(s->start->blocks, block);
}

/* START names so many pages of the second block. */
static Sent *sent_new(uint64_t named)
{
    Sent *s = g_new0(Sent, 1);
    PagecacheWireDisk disk = {
        .id = INDEX, .sectors = DISK_SIZE, .path = g_strdup("disk"),
    };

    s->start = pagecache_wire_start_new();
    s->start->page_bits = 12;
    s->blocks = g_ptr_array_new();
    s->entries = g_array_new(FALSE, FALSE, sizeof(PagecacheWireMapEntry));
    g_array_append_val(s->start->disks, disk);
    add_block(s, &small, 100, 100);
    add_block(s, &large, 262144, named);
    return s;
}

static void sent_free(Sent *s)
{
    pagecache_io_sender_free(s->sender);
    pagecache_wire_start_free(s->start);
    g_ptr_array_unref(s->blocks);
    g_array_unref(s->entries);
    pagecache_io_map_free(&small);
    pagecache_io_map_free(&large);
    g_free(s);
}

/* Each run passes the receiver's check. */
static void read_frame(Sent *s, const GByteArray *frame)
{
    g_autofree char *err = NULL;
    PagecacheWireMapRun run;
    size_t pos = 0;
    uint16_t i;

    while (pagecache_wire_map_next(frame->data + PAGECACHE_WIRE_FRAME_HEADER,
                                   frame->len - PAGECACHE_WIRE_FRAME_HEADER,
                                   &pos, &run, &err)) {
        const PagecacheWireOffer place = pagecache_wire_map_place(&run);

        g_assert_true(pagecache_wire_check_place(s->start, "run", &place,
                                                 &err));
        for (i = 0; i < run.npages; i++) {
            PagecacheWireMapEntry e = {
                .disk = run.disk, .block = run.block, .page = run.page + i,
                .sector = run.sector + i * SECTORS,
                .sum = pagecache_wire_map_sum(&run, i),
            };

            g_array_append_val(s->entries, e);
        }
    }
    g_assert_null(err);
}

static void send_all(Sent *s)
{
    unsigned calls = 0;

    s->sender = pagecache_io_sender_new(s->start, s->blocks);
    while (!pagecache_io_sender_is_done(s->sender)) {
        g_autoptr(GByteArray) frame = NULL;
        guint before = s->entries->len;
        uint64_t n = pagecache_io_sender_next(s->sender, &frame);

        g_assert_true(!frame == !n);
        if (frame) {
            g_assert_cmpuint(frame->len, <=, 256 * 1024 + 5);
            s->frames++;
            read_frame(s, frame);
        }
        g_assert_cmpuint(s->entries->len - before, ==, n);
        g_assert_cmpuint(++calls, <, 1000);
    }
}

static void entry_is(Sent *s, guint i, uint16_t block, uint64_t page,
                     uint64_t sector)
{
    PagecacheWireMapEntry *e = &g_array_index(s->entries,
                                              PagecacheWireMapEntry, i);

    g_assert_cmpuint(e->disk, ==, INDEX);
    g_assert_cmpuint(e->block, ==, block);
    g_assert_cmpuint(e->page, ==, page);
    g_assert_cmpuint(e->sector, ==, sector);
    g_assert_cmpuint(e->sum, ==, page & 0x3ffff);
}

/* Blocks that end within a chunk, and entries at their ends */
static void test_ends(void)
{
    Sent *s = sent_new(200000);

    put(&small, 0, DISK, 8);
    put(&small, 99, DISK, 800);
    put(&large, 511, DISK, 16);
    put(&large, 512, DISK, 24);
    put(&large, 199999, DISK, 63);
    put(&large, 200000, DISK, 71);      /* START does not know of it */
    put(&large, 262143, DISK, 79);
    send_all(s);
    g_assert_cmpuint(s->entries->len, ==, 5);
    entry_is(s, 0, 0, 0, 8);
    entry_is(s, 1, 0, 99, 800);
    entry_is(s, 2, 1, 511, 16);
    entry_is(s, 3, 1, 512, 24);
    entry_is(s, 4, 1, 199999, 63);
    sent_free(s);
}

/* Of disks that START does not name, and behind the end of one it does */
static void test_disks(void)
{
    Sent *s = sent_new(262144);

    put(&large, 10, OTHER, 8);
    put(&large, 11, DISK + 20, 8);
    put(&large, 12, DISK, DISK_SIZE - SECTORS);
    put(&large, 13, DISK, DISK_SIZE - SECTORS + 1);
    put(&large, 14, DISK, 1ULL << 39);
    send_all(s);
    g_assert_cmpuint(s->entries->len, ==, 1);
    entry_is(s, 0, 1, 12, DISK_SIZE - SECTORS);
    sent_free(s);
}

/* More than a frame takes: nothing is lost in between, or comes twice. */
static void test_many(void)
{
    Sent *s = sent_new(262144);
    guint i;

    for (i = 0; i < 50000; i++) {
        put(&large, 3 * i, DISK, i);
    }
    send_all(s);
    g_assert_cmpuint(s->entries->len, ==, 50000);
    g_assert_cmpuint(s->frames, ==, 5);         /* 25 bytes each */
    for (i = 0; i < 50000; i++) {
        entry_is(s, i, 1, 3 * i, i);
    }
    sent_free(s);
}

static void test_nothing(void)
{
    Sent *s = sent_new(262144);

    send_all(s);
    g_assert_cmpuint(s->frames, ==, 0);
    sent_free(s);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/io-sender/ends", test_ends);
    g_test_add_func("/pagecache/io-sender/disks", test_disks);
    g_test_add_func("/pagecache/io-sender/many", test_many);
    g_test_add_func("/pagecache/io-sender/nothing", test_nothing);
    return g_test_run();
}
