/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the offers that are in flight, by number
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Flights stand in chunks of 64, a chunk in the index at a place that follows
 * from its flights' numbers.  A chunk whose flights have all ended is freed
 * wherever it stands; the others are linked, so that nobody has to look for
 * them.  A flight takes 32 bytes, and all the rest one or two for each.
 */
#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/host-utils.h"
#include "pagecache-flights.h"

#define CHUNK_BITS  6
#define CHUNK_SIZE  (1u << CHUNK_BITS)      /* flights; bits in Chunk.alive */

#define SPAN_MAX    (1u << 31)              /* see pagecache_flights_full() */
#define INDEX_MIN   16                      /* chunks; a power of two */

typedef struct Chunk {
    uint64_t alive;             /* bit n: flights[n] has pages in flight */
    uint32_t first;             /* number of flights[0] */
    struct Chunk *older, *newer;
    PagecacheFlight flights[CHUNK_SIZE];
} Chunk;

struct PagecacheFlights {
    uint32_t next;              /* number of the next offer */
    /*
     * The chunk of number n is index[n / 64 % index_size], or NULL: the chunks
     * from the oldest one to that of @next are never more than index_size.
     */
    Chunk **index;
    uint32_t index_size;        /* a power of two */
    Chunk *oldest, *newest;     /* of those with flights */
    uint64_t count, pages;
    uint64_t chunks;
    int64_t epoch;              /* what PagecacheFlight.ms counts from */
};

static Chunk **chunk_slot(const PagecacheFlights *f, uint32_t number)
{
    return &f->index[(number >> CHUNK_BITS) & (f->index_size - 1)];
}

/* How many chunks stand from @oldest to @newest, those that are freed too */
static uint32_t span(uint32_t oldest, uint32_t newest)
{
    return ((newest >> CHUNK_BITS) - (oldest >> CHUNK_BITS)) %
           (1u << (32 - CHUNK_BITS)) + 1;
}

PagecacheFlights *pagecache_flights_new(uint32_t first)
{
    PagecacheFlights *f = g_new0(PagecacheFlights, 1);

    f->next = first;
    f->index_size = INDEX_MIN;
    f->index = g_new0(Chunk *, f->index_size);
    return f;
}

void pagecache_flights_free(PagecacheFlights *f)
{
    Chunk *chunk, *newer;

    if (!f) {
        return;
    }
    for (chunk = f->oldest; chunk; chunk = newer) {
        newer = chunk->newer;
        g_free(chunk);
    }
    g_free(f->index);
    g_free(f);
}

/* --- the index --- */

static void set_index_size(PagecacheFlights *f, uint32_t size)
{
    Chunk *chunk;

    g_free(f->index);
    f->index_size = size;
    f->index = g_new0(Chunk *, size);
    for (chunk = f->oldest; chunk; chunk = chunk->newer) {
        *chunk_slot(f, chunk->first) = chunk;
    }
}

static Chunk *chunk_new(PagecacheFlights *f)
{
    Chunk *chunk = g_new(Chunk, 1);
    uint32_t need, size = f->index_size;

    chunk->alive = 0;
    chunk->first = f->next & ~(CHUNK_SIZE - 1);
    chunk->older = f->newest;
    chunk->newer = NULL;
    *(f->newest ? &f->newest->newer : &f->oldest) = chunk;
    f->newest = chunk;
    f->chunks++;

    need = span(f->oldest->first, chunk->first);
    while (need > size) {
        size *= 2;
    }
    if (size > f->index_size) {
        set_index_size(f, size);
    } else {
        g_assert(!*chunk_slot(f, chunk->first));
        *chunk_slot(f, chunk->first) = chunk;
    }
    return chunk;
}

static void chunk_free(PagecacheFlights *f, Chunk *chunk)
{
    uint32_t need, size = f->index_size;

    *chunk_slot(f, chunk->first) = NULL;
    *(chunk->older ? &chunk->older->newer : &f->oldest) = chunk->newer;
    *(chunk->newer ? &chunk->newer->older : &f->newest) = chunk->older;
    f->chunks--;
    g_free(chunk);

    /*
     * With a distance to where it grows: not back and forth.  The next chunk
     * counts, even if all but an old one have ended.
     */
    need = f->oldest ? span(f->oldest->first, f->next) : 0;
    while (size > INDEX_MIN && need < size / 8) {
        size /= 2;
    }
    if (size < f->index_size) {
        set_index_size(f, size);
    }
}

/* The chunk that has this flight; NULL: there is none, or none any more */
static Chunk *find_chunk(const PagecacheFlights *f, uint32_t number)
{
    Chunk *chunk = *chunk_slot(f, number);

    if (!chunk || chunk->first != (number & ~(CHUNK_SIZE - 1)) ||
        !(chunk->alive >> (number % CHUNK_SIZE) & 1)) {
        return NULL;
    }
    return chunk;
}

/* --- flights --- */

bool pagecache_flights_full(const PagecacheFlights *f)
{
    return f->oldest && f->next - f->oldest->first >= SPAN_MAX;
}

uint32_t pagecache_flights_append(PagecacheFlights *f,
                                  const PagecacheFlight *flight, int64_t now)
{
    uint32_t number = f->next;
    Chunk *chunk = f->newest;
    PagecacheFlight *to;

    g_assert(flight->npages &&
             (!f->oldest || number - f->oldest->first < SPAN_MAX / 2 * 3));
    if (!chunk || chunk->first != (number & ~(CHUNK_SIZE - 1))) {
        chunk = chunk_new(f);
    }
    if (!f->count) {
        f->epoch = now;
    }
    to = &chunk->flights[number % CHUNK_SIZE];
    *to = *flight;
    to->left = flight->npages;
    /* 49 days are as good as 50. */
    to->ms = MIN(MAX(now - f->epoch, 0), UINT32_MAX);
    chunk->alive |= 1ULL << (number % CHUNK_SIZE);
    f->next++;
    f->count++;
    f->pages += to->npages;
    return number;
}

const PagecacheFlight *pagecache_flights_find(const PagecacheFlights *f,
                                              uint32_t number)
{
    const Chunk *chunk = find_chunk(f, number);

    return chunk ? &chunk->flights[number % CHUNK_SIZE] : NULL;
}

int64_t pagecache_flights_offered_at(const PagecacheFlights *f,
                                     const PagecacheFlight *flight)
{
    return f->epoch + flight->ms;
}

void pagecache_flights_land(PagecacheFlights *f, uint32_t number, uint16_t n)
{
    Chunk *chunk = find_chunk(f, number);
    PagecacheFlight *flight;

    g_assert(chunk);
    flight = &chunk->flights[number % CHUNK_SIZE];
    g_assert(n <= flight->left);
    flight->left -= n;
    f->pages -= n;
    if (flight->left) {
        return;
    }
    f->count--;
    chunk->alive &= ~(1ULL << (number % CHUNK_SIZE));
    if (!chunk->alive) {
        chunk_free(f, chunk);
    }
}

/* --- walks --- */

/*
 * The first flight in this direction of those in @mask, in @chunk, or else of
 * those in the chunk that follows
 */
static bool walk(const Chunk *chunk, uint64_t mask, bool newer,
                 uint32_t *number)
{
    uint64_t alive = chunk ? chunk->alive & mask : 0;

    if (chunk && !alive) {
        chunk = newer ? chunk->newer : chunk->older;
        alive = chunk ? chunk->alive : 0;
    }
    if (!alive) {
        return false;
    }
    *number = chunk->first + (newer ? ctz64(alive) : 63 - clz64(alive));
    return true;
}

static bool walk_from(const PagecacheFlights *f, uint64_t mask, bool newer,
                      uint32_t *number)
{
    const Chunk *chunk = find_chunk(f, *number);

    g_assert(chunk);
    return walk(chunk, mask, newer, number);
}

bool pagecache_flights_oldest(const PagecacheFlights *f, uint32_t *number)
{
    return walk(f->oldest, ~0ULL, true, number);
}

bool pagecache_flights_newest(const PagecacheFlights *f, uint32_t *number)
{
    return walk(f->newest, ~0ULL, false, number);
}

bool pagecache_flights_next(const PagecacheFlights *f, uint32_t *number)
{
    return walk_from(f, ~1ULL << *number % CHUNK_SIZE, true, number);
}

bool pagecache_flights_prev(const PagecacheFlights *f, uint32_t *number)
{
    return walk_from(f, (1ULL << *number % CHUNK_SIZE) - 1, false, number);
}

uint64_t pagecache_flights_count(const PagecacheFlights *f)
{
    return f->count;
}

uint64_t pagecache_flights_pages(const PagecacheFlights *f)
{
    return f->pages;
}

size_t pagecache_flights_bytes(const PagecacheFlights *f)
{
    return sizeof(*f) + f->chunks * sizeof(Chunk) +
           f->index_size * sizeof(*f->index);
}
