/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the frame MAP, encoder and decoder
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "pagecache-wire-map.h"

#define HEADER      PAGECACHE_WIRE_FRAME_HEADER
#define RUN         PAGECACHE_WIRE_MAP_RUN
#define SUM         PAGECACHE_WIRE_MAP_SUM

/* --- encoding --- */

struct PagecacheWireMapWriter {
    GByteArray *frame;          /* its length is what there is room for */
    size_t len;                 /* of what was written to it */
    size_t run;                 /* where the last run begins; 0: there is none */
    uint16_t npages;            /* of that run */
    PagecacheWireMapEntry next; /* what would continue it */
};

PagecacheWireMapWriter *pagecache_wire_map_writer_new(uint32_t max)
{
    PagecacheWireMapWriter *w = g_new0(PagecacheWireMapWriter, 1);

    g_assert(max >= RUN + SUM && max <= PAGECACHE_WIRE_FRAME_MAX);
    w->frame = g_byte_array_sized_new(HEADER + max);
    g_byte_array_set_size(w->frame, HEADER + max);
    w->len = HEADER;
    return w;
}

void pagecache_wire_map_writer_free(PagecacheWireMapWriter *w)
{
    if (w) {
        if (w->frame) {
            g_byte_array_unref(w->frame);
        }
        g_free(w);
    }
}

static bool continues(const PagecacheWireMapWriter *w,
                      const PagecacheWireMapEntry *e)
{
    return w->run && w->npages < UINT16_MAX && e->page == w->next.page &&
           e->sector == w->next.sector && e->disk == w->next.disk &&
           e->block == w->next.block;
}

static void begin_run(PagecacheWireMapWriter *w,
                      const PagecacheWireMapEntry *e)
{
    uint8_t *p = w->frame->data + w->len;

    stw_be_p(p, e->disk);
    stw_be_p(p + 2, e->block);
    stq_be_p(p + 6, e->page);
    stq_be_p(p + 14, e->sector);
    w->run = w->len;
    w->npages = 0;
    w->len += RUN;
}

bool pagecache_wire_map_add(PagecacheWireMapWriter *w,
                            const PagecacheWireMapEntry *entry,
                            unsigned page_bits)
{
    size_t room = w->frame->len - w->len;
    bool goes_on = continues(w, entry);
    uint8_t *p;

    g_assert(!(entry->sum >> PAGECACHE_WIRE_MAP_SUM_BITS));
    if (room < (goes_on ? SUM : RUN + SUM)) {
        return false;
    }
    if (!goes_on) {
        begin_run(w, entry);
    }
    p = w->frame->data + w->len;
    p[0] = entry->sum >> 16;
    stw_be_p(p + 1, entry->sum & 0xffff);
    w->len += SUM;
    stw_be_p(w->frame->data + w->run + 4, ++w->npages);
    w->next = *entry;
    w->next.page++;
    w->next.sector += 1ULL << (page_bits - 9);
    return true;
}

GByteArray *pagecache_wire_map_finish(PagecacheWireMapWriter *w)
{
    if (!w->run) {
        return NULL;
    }
    g_byte_array_set_size(w->frame, w->len);
    w->frame->data[0] = PAGECACHE_WIRE_MAP;
    stl_be_p(w->frame->data + 1, w->len - HEADER);
    return g_steal_pointer(&w->frame);
}

/* --- decoding --- */

PagecacheWireOffer pagecache_wire_map_place(const PagecacheWireMapRun *run)
{
    return (PagecacheWireOffer) {
        .disk = run->disk, .block = run->block, .npages = run->npages,
        .page = run->page, .sector = run->sector,
    };
}

uint32_t pagecache_wire_map_sum(const PagecacheWireMapRun *run, uint16_t i)
{
    const uint8_t *p = run->sums + (size_t)i * SUM;

    return p[0] << 16 | lduw_be_p(p + 1);
}

static bool check_sums(const PagecacheWireMapRun *run, char **err)
{
    uint16_t i;

    for (i = 0; i < run->npages; i++) {
        uint32_t sum = pagecache_wire_map_sum(run, i);

        if (sum >> PAGECACHE_WIRE_MAP_SUM_BITS) {
            *err = g_strdup_printf("checksum 0x%x, expected %u bits", sum,
                                   PAGECACHE_WIRE_MAP_SUM_BITS);
            return false;
        }
    }
    return true;
}

bool pagecache_wire_map_next(const uint8_t *body, size_t len, size_t *pos,
                             PagecacheWireMapRun *run, char **err)
{
    const uint8_t *p = body + *pos;
    size_t left = len - *pos;

    if (!left) {
        return false;
    }
    if (left < RUN) {
        *err = g_strdup_printf("truncated at a run: %zu bytes left, expected "
                               "%u", left, RUN);
        return false;
    }
    *run = (PagecacheWireMapRun) {
        .disk = lduw_be_p(p), .block = lduw_be_p(p + 2),
        .npages = lduw_be_p(p + 4), .page = ldq_be_p(p + 6),
        .sector = ldq_be_p(p + 14), .sums = p + RUN,
    };
    left -= RUN;
    if (!run->npages) {
        *err = g_strdup("run of 0 pages, expected 1 or more");
        return false;
    }
    if (left < (size_t)run->npages * SUM) {
        *err = g_strdup_printf("truncated at the checksums of %u pages: %zu "
                               "bytes left, expected %zu", run->npages, left,
                               (size_t)run->npages * SUM);
        return false;
    }
    *pos += RUN + (size_t)run->npages * SUM;
    return check_sums(run, err);
}
