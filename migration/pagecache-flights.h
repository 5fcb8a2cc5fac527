/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the offers that are in flight, by number
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Offers have numbers: 0, 1, 2... in the order in which they go out, modulo
 * 2^32.  A flight is an offer of which pages are still to be reported; it ends
 * when none is left.  This is a deque: flights are appended at one end and
 * mostly end near the other, but each may end at any time, and its memory
 * returns when its neighbours have ended, too.  All operations take constant
 * time, but for a copy of the index (8 bytes for 64 flights) when it grows or
 * shrinks.
 *
 * Which of an offer's pages are in flight, only how many, is not known here:
 * that is for the caller's bitmap.
 *
 * Times are milliseconds of any clock that does not go back.  No locking: all
 * calls from one thread.
 */
#ifndef MIGRATION_PAGECACHE_FLIGHTS_H
#define MIGRATION_PAGECACHE_FLIGHTS_H

typedef struct PagecacheFlights PagecacheFlights;

/* Blocks and disks have numbers below 2^16, see PAGECACHE_WIRE_MAX_*. */
typedef struct PagecacheFlight {
    uint64_t page;      /* first page, in its RAM block */
    uint64_t sector;    /* first sector, on its disk */
    uint32_t producer;  /* the caller's number of the hint producer */
    uint32_t ms;        /* when; see pagecache_flights_offered_at() */
    uint16_t block;     /* the caller's number of the RAM block */
    uint16_t disk;      /* the caller's number of the disk */
    uint16_t npages;    /* of the offer: 1 or more */
    uint16_t left;      /* of them in flight: 1 or more */
} PagecacheFlight;

/* @first: the number of the first offer; 0 but in tests */
PagecacheFlights *pagecache_flights_new(uint32_t first);
void pagecache_flights_free(PagecacheFlights *f);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(PagecacheFlights, pagecache_flights_free)

/*
 * Are the oldest flight and the next number 2^31 apart?  Then the oldest should
 * end before there are more, or a number would mean two offers; half as many
 * can still be appended.
 */
bool pagecache_flights_full(const PagecacheFlights *f);
/*
 * Appends a copy of @flight, all pages of which are in flight from @now on,
 * and returns its number.  Its fields @ms and @left do not matter.
 */
uint32_t pagecache_flights_append(PagecacheFlights *f,
                                  const PagecacheFlight *flight, int64_t now);
/*
 * NULL: there is no flight of this number, or none any more.  Any number will
 * do.  Valid until the next call that is not const.
 */
const PagecacheFlight *pagecache_flights_find(const PagecacheFlights *f,
                                              uint32_t number);
int64_t pagecache_flights_offered_at(const PagecacheFlights *f,
                                     const PagecacheFlight *flight);
/*
 * @n pages of flight @number, at most as many as are left, are no longer in
 * flight.  Without a page left it ends.
 */
void pagecache_flights_land(PagecacheFlights *f, uint32_t number, uint16_t n);

/*
 * The number of the flight that was offered first, or last; false: there is
 * none.
 */
bool pagecache_flights_oldest(const PagecacheFlights *f, uint32_t *number);
bool pagecache_flights_newest(const PagecacheFlights *f, uint32_t *number);
/*
 * From the flight @number to the one that was offered right after it, or right
 * before it; false: there is none.  (Go on before you end the flight.)
 */
bool pagecache_flights_next(const PagecacheFlights *f, uint32_t *number);
bool pagecache_flights_prev(const PagecacheFlights *f, uint32_t *number);

uint64_t pagecache_flights_count(const PagecacheFlights *f);
/* In flight, over all flights */
uint64_t pagecache_flights_pages(const PagecacheFlights *f);
/* Memory in use, in bytes, but for what the allocator adds */
size_t pagecache_flights_bytes(const PagecacheFlights *f);

#endif
