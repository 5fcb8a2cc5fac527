/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hints in the order of their disk, in a few bytes each
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "pagecache-batch.h"

/* Memory comes, and goes back, in chunks of so many runs. */
#define CHUNK_RUNS      4096

/* What a page number has above the bits that fit into a run, and its block */
typedef struct Place {
    uint32_t block;
    uint32_t page_high;
} Place;

/* They share the 32 bits of Run.what. */
#define NPAGES_BITS     17
#define PLACES_MAX      (1u << (32 - NPAGES_BITS))

typedef struct Run {
    uint32_t sector;    /* from the chunk's first */
    uint32_t page;      /* low 32 bits */
    uint32_t what;      /* pages, and number of the place above them */
} Run;

typedef struct Chunk {
    uint64_t sector;
    uint32_t n, room;
    Run runs[];
} Chunk;

struct PagecacheBatch {
    unsigned page_bits;
    uint32_t disk;
    uint32_t producer;
    uint64_t pages;
    size_t bytes;
    GArray *places;     /* of Place */
    uint32_t place;     /* the last one that was looked for */

    GPtrArray *chunks;  /* of Chunk; NULL once all of its runs are taken */
    guint head_chunk;   /* where the first run is, and which one it is */
    uint32_t head;
};

QEMU_BUILD_BUG_ON(sizeof(Run) != 12);
QEMU_BUILD_BUG_ON(PAGECACHE_BATCH_RUN_MAX >= 1u << NPAGES_BITS);

PagecacheBatch *pagecache_batch_new(unsigned page_bits, uint32_t disk,
                                    uint32_t producer)
{
    PagecacheBatch *b = g_new0(PagecacheBatch, 1);

    g_assert(page_bits >= 9 && page_bits < 32);
    b->page_bits = page_bits;
    b->disk = disk;
    b->producer = producer;
    b->places = g_array_new(FALSE, FALSE, sizeof(Place));
    b->chunks = g_ptr_array_new_with_free_func(g_free);
    b->bytes = sizeof(*b);
    return b;
}

void pagecache_batch_free(PagecacheBatch *b)
{
    if (b) {
        g_array_unref(b->places);
        g_ptr_array_unref(b->chunks);
        g_free(b);
    }
}

/* --- filling it --- */

static Chunk *last_chunk(const PagecacheBatch *b)
{
    return b->chunks->len ? g_ptr_array_index(b->chunks, b->chunks->len - 1)
                          : NULL;
}

static uint64_t to_sectors(const PagecacheBatch *b, uint64_t pages)
{
    return pages << (b->page_bits - 9);
}

static uint32_t run_npages(const Run *r)
{
    return r->what & ((1u << NPAGES_BITS) - 1);
}

static const Place *run_place(const PagecacheBatch *b, const Run *r)
{
    return &g_array_index(b->places, Place, r->what >> NPAGES_BITS);
}

/* The number of a place, or -1: there are too many */
static int64_t find_place(PagecacheBatch *b, uint32_t block,
                          uint32_t page_high)
{
    const Place new = { .block = block, .page_high = page_high };
    uint32_t i;

    for (i = 0; i < b->places->len; i++) {
        uint32_t nr = (b->place + i) % b->places->len;
        const Place *p = &g_array_index(b->places, Place, nr);

        if (p->block == block && p->page_high == page_high) {
            b->place = nr;
            return nr;
        }
    }
    if (b->places->len == PLACES_MAX) {
        return -1;
    }
    b->place = b->places->len;
    g_array_append_val(b->places, new);
    b->bytes += sizeof(new);
    return b->place;
}

static Chunk *chunk_new(PagecacheBatch *b, uint64_t sector)
{
    Chunk *c = g_malloc(sizeof(*c) + CHUNK_RUNS * sizeof(Run));

    c->sector = sector;
    c->n = 0;
    c->room = CHUNK_RUNS;
    b->bytes += sizeof(*c) + c->room * sizeof(Run);
    g_ptr_array_add(b->chunks, c);
    return c;
}

/* The last chunk is complete. */
static void chunk_shrink(PagecacheBatch *b)
{
    Chunk *c = last_chunk(b);

    if (c && c->n < c->room) {
        b->bytes -= (c->room - c->n) * sizeof(Run);
        c->room = c->n;
        b->chunks->pdata[b->chunks->len - 1] =
            g_realloc(c, sizeof(*c) + c->room * sizeof(Run));
    }
}

static void chunk_free(PagecacheBatch *b, Chunk *c)
{
    b->bytes -= sizeof(*c) + c->room * sizeof(Run);
    g_free(c);
}

/* Does @run continue @last, the last one, and fit into it? */
static bool continues(const PagecacheBatch *b, const Run *last,
                      const PagecachePoolRun *run, uint32_t place)
{
    uint32_t n = run_npages(last);

    return last->what >> NPAGES_BITS == place &&
           (uint64_t)last->page + n == (uint32_t)run->page &&
           last_chunk(b)->sector + last->sector + to_sectors(b, n) ==
           run->sector &&
           n + run->npages <= PAGECACHE_BATCH_RUN_MAX;
}

bool pagecache_batch_append(PagecacheBatch *b, const PagecachePoolRun *run)
{
    uint64_t span = to_sectors(b, PAGECACHE_BATCH_RUN_MAX);
    int64_t place = find_place(b, run->block, run->page >> 32);
    Chunk *c = last_chunk(b);
    Run *r;

    g_assert(run->npages && run->npages <= PAGECACHE_BATCH_RUN_MAX);
    g_assert((run->page + run->npages - 1) >> 32 == run->page >> 32);
    if (place < 0) {
        return false;
    }
    if (c) {
        r = &c->runs[c->n - 1];
        if (continues(b, r, run, place)) {
            r->what += run->npages;
            b->pages += run->npages;
            return true;
        }
    }
    /* Offsets never get as large as the field, whatever is taken. */
    if (!c || c->n == CHUNK_RUNS || run->sector < c->sector ||
        run->sector - c->sector > UINT32_MAX - span) {
        chunk_shrink(b);
        c = chunk_new(b, run->sector);
    }
    r = &c->runs[c->n++];
    r->sector = run->sector - c->sector;
    r->page = run->page;
    r->what = (uint32_t)place << NPAGES_BITS | run->npages;
    b->pages += run->npages;
    return true;
}

void pagecache_batch_seal(PagecacheBatch *b)
{
    chunk_shrink(b);
}

/* --- what is in it --- */

uint32_t pagecache_batch_disk(const PagecacheBatch *b)
{
    return b->disk;
}

uint32_t pagecache_batch_producer(const PagecacheBatch *b)
{
    return b->producer;
}

uint64_t pagecache_batch_pages(const PagecacheBatch *b)
{
    return b->pages;
}

size_t pagecache_batch_bytes(const PagecacheBatch *b)
{
    return b->bytes;
}

static Chunk *head_chunk(const PagecacheBatch *b)
{
    return g_ptr_array_index(b->chunks, b->head_chunk);
}

uint64_t pagecache_batch_head(const PagecacheBatch *b)
{
    Chunk *c = head_chunk(b);

    g_assert(b->pages);
    return c->sector + c->runs[b->head].sector;
}

uint64_t pagecache_batch_tail(const PagecacheBatch *b)
{
    Chunk *c = last_chunk(b);

    g_assert(b->pages);
    return c->sector + c->runs[c->n - 1].sector;
}

/* --- taking from it --- */

static void unpack(const PagecacheBatch *b, const Chunk *c, const Run *r,
                   PagecachePoolRun *run)
{
    const Place *place = run_place(b, r);

    *run = (PagecachePoolRun) {
        .sector = c->sector + r->sector,
        .page = (uint64_t)place->page_high << 32 | r->page,
        .npages = run_npages(r),
        .block = place->block,
        .disk = b->disk,
        .producer = b->producer,
    };
}

bool pagecache_batch_take_head(PagecacheBatch *b, uint32_t max_pages,
                               PagecachePoolRun *run)
{
    Chunk *c;
    Run *r;

    g_assert(max_pages);
    if (!b->pages) {
        return false;
    }
    c = head_chunk(b);
    r = &c->runs[b->head];
    unpack(b, c, r, run);
    if (run->npages > max_pages) {
        run->npages = max_pages;
        r->sector += to_sectors(b, max_pages);
        r->page += max_pages;
        r->what -= max_pages;
    } else if (++b->head == c->n) {
        chunk_free(b, c);
        b->chunks->pdata[b->head_chunk++] = NULL;
        b->head = 0;
    }
    b->pages -= run->npages;
    return true;
}

bool pagecache_batch_take_tail(PagecacheBatch *b, uint32_t max_pages,
                               PagecachePoolRun *run)
{
    Chunk *c;
    Run *r;
    uint32_t skip;

    g_assert(max_pages);
    if (!b->pages) {
        return false;
    }
    c = last_chunk(b);
    r = &c->runs[c->n - 1];
    unpack(b, c, r, run);
    if (run->npages > max_pages) {
        skip = run->npages - max_pages;
        run->sector += to_sectors(b, skip);
        run->page += skip;
        run->npages = max_pages;
        r->what -= max_pages;
    } else {
        c->n--;
        if (c->n == (b->chunks->len - 1 == b->head_chunk ? b->head : 0)) {
            chunk_free(b, c);
            b->chunks->pdata[b->chunks->len - 1] = NULL;
            g_ptr_array_set_size(b->chunks, b->chunks->len - 1);
        }
    }
    b->pages -= run->npages;
    return true;
}
