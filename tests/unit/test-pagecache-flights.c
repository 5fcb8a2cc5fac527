/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the offers in flight
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The model is an array of all offers that ever were.
 */
#include "qemu/osdep.h"
#include "../../migration/pagecache-flights.c"

typedef struct Offer {
    PagecacheFlight f;
    int64_t at;
    unsigned left;
} Offer;

typedef struct Model {
    PagecacheFlights *f;
    uint32_t first;             /* number of the first offer */
    GArray *offers;             /* of Offer */
    uint64_t count, pages;
    int64_t now;
} Model;

static Model *model_new(uint32_t first)
{
    Model *m = g_new0(Model, 1);

    m->f = pagecache_flights_new(first);
    m->first = first;
    m->offers = g_array_new(FALSE, FALSE, sizeof(Offer));
    m->now = 1000;
    return m;
}

static void model_free(Model *m)
{
    pagecache_flights_free(m->f);
    g_array_unref(m->offers);
    g_free(m);
}

static Offer *offer_nr(Model *m, guint nr)
{
    return &g_array_index(m->offers, Offer, nr);
}

static void append(Model *m, unsigned npages)
{
    Offer o = {
        .f.page = ((uint64_t)g_test_rand_int() << 32) + m->offers->len,
        .f.producer = g_test_rand_int(), .f.block = g_test_rand_int(),
        .f.disk = g_test_rand_int(), .f.npages = npages,
        .f.left = 77, .f.ms = 88,       /* these don't matter */
        .at = m->now, .left = npages,
    };

    g_assert_cmpuint(pagecache_flights_append(m->f, &o.f, m->now), ==,
                     m->first + m->offers->len);
    g_array_append_val(m->offers, o);
    m->count++;
    m->pages += npages;
}

static void land(Model *m, guint nr, unsigned n)
{
    pagecache_flights_land(m->f, m->first + nr, n);
    offer_nr(m, nr)->left -= n;
    m->pages -= n;
    m->count -= !offer_nr(m, nr)->left;
}

static void check_offer(Model *m, guint nr)
{
    const Offer *o = offer_nr(m, nr);
    const PagecacheFlight *f = pagecache_flights_find(m->f, m->first + nr);

    if (!o->left) {
        g_assert_null(f);
        return;
    }
    g_assert_nonnull(f);
    g_assert_cmphex(f->page, ==, o->f.page);
    g_assert_cmpuint(f->producer, ==, o->f.producer);
    g_assert_cmpuint(f->block, ==, o->f.block);
    g_assert_cmpuint(f->disk, ==, o->f.disk);
    g_assert_cmpuint(f->npages, ==, o->f.npages);
    g_assert_cmpuint(f->left, ==, o->left);
    g_assert_cmpint(pagecache_flights_offered_at(m->f, f), ==, o->at);
}

/* Each offer, and all walks */
static void check(Model *m)
{
    uint32_t at = 0, back = 0;
    bool more = pagecache_flights_oldest(m->f, &at);
    guint i;

    g_assert_cmpuint(pagecache_flights_count(m->f), ==, m->count);
    g_assert_cmpuint(pagecache_flights_pages(m->f), ==, m->pages);
    for (i = 0; i < m->offers->len; i++) {
        check_offer(m, i);
        if (offer_nr(m, i)->left) {
            g_assert_true(more);
            g_assert_cmphex(at, ==, m->first + i);
            more = pagecache_flights_next(m->f, &at);
        }
    }
    g_assert_false(more);
    more = pagecache_flights_newest(m->f, &back);
    while (i-- > 0) {
        if (offer_nr(m, i)->left) {
            g_assert_true(more);
            g_assert_cmphex(back, ==, m->first + i);
            more = pagecache_flights_prev(m->f, &back);
        }
    }
    g_assert_false(more);
}

static void test_empty(void)
{
    g_autoptr(PagecacheFlights) f = pagecache_flights_new(0);
    uint32_t nr = 3;

    g_assert_false(pagecache_flights_oldest(f, &nr));
    g_assert_false(pagecache_flights_newest(f, &nr));
    g_assert_cmpuint(nr, ==, 3);
    g_assert_null(pagecache_flights_find(f, 0));
    g_assert_null(pagecache_flights_find(f, UINT32_MAX));
    g_assert_false(pagecache_flights_full(f));
    g_assert_cmpuint(pagecache_flights_count(f), ==, 0);
    pagecache_flights_free(NULL);
}

static void test_one(void)
{
    Model *m = model_new(0);

    append(m, UINT16_MAX);
    check(m);
    land(m, 0, 65000);
    check(m);
    land(m, 0, 0);
    check(m);
    land(m, 0, 535);
    check(m);
    append(m, 1);
    check(m);
    model_free(m);
}

/* Numbers that nobody has given out, or whose flight is over */
static void test_any_number(void)
{
    Model *m = model_new(0);
    uint32_t nr;
    int i;

    for (i = 0; i < 5000; i++) {
        append(m, 1);
    }
    for (i = 0; i < 3000; i++) {
        land(m, i, 1);
    }
    for (i = 0; i < 3000; i++) {
        g_assert_null(pagecache_flights_find(m->f, i));
    }
    g_assert_null(pagecache_flights_find(m->f, 5000));
    /* the next in a chunk that is there */
    g_assert_null(pagecache_flights_find(m->f, 5001));
    for (i = 1; i < 32; i++) {
        /* where they share a place in the index with one that is there */
        nr = 4000 + (1u << i);
        g_assert_true(!pagecache_flights_find(m->f, nr) == (nr >= 5000));
        nr = 4000 - (1u << i);
        g_assert_true(!pagecache_flights_find(m->f, nr) ==
                      (nr < 3000 || nr >= 5000));
    }
    for (i = 0; i < 100000; i++) {
        nr = g_test_rand_int();
        g_assert_true(!pagecache_flights_find(m->f, nr) ==
                      (nr < 3000 || nr >= 5000));
    }
    model_free(m);
}

/* Anything, in any order; most offers are reported about as they went out. */
static void random_steps(uint32_t first, unsigned steps)
{
    Model *m = model_new(first);
    unsigned i, live = 1 + g_test_rand_int_range(0, 2000);
    guint from = 0;

    for (i = 0; i < steps; i++) {
        m->now += g_test_rand_int_range(0, 3);
        if (g_test_rand_int_range(0, 2 * live) > m->count) {
            append(m, g_test_rand_int_range(0, 3) ?
                      1 : g_test_rand_int_range(1, 1025));
        } else if (m->count) {
            /* near the oldest, near the newest, or anywhere */
            guint nr, len = m->offers->len;
            unsigned left;

            while (!offer_nr(m, from)->left) {
                from++;
            }
            switch (g_test_rand_int_range(0, 8)) {
            case 0:
                nr = len - 1 - g_test_rand_int_range(0, MIN(len, 100));
                break;
            case 1:
                nr = g_test_rand_int_range(from, len);
                break;
            default:
                nr = from + g_test_rand_int_range(0, 200);
                nr = MIN(nr, len - 1);
            }
            left = offer_nr(m, nr)->left;
            if (left) {
                land(m, nr, g_test_rand_int_range(0, 2) ?
                            left : g_test_rand_int_range(0, left + 1));
            }
        }
        if (i % 1000 == 0) {
            check(m);
        }
    }
    check(m);
    for (i = 0; i < m->offers->len; i++) {
        if (offer_nr(m, i)->left) {
            land(m, i, offer_nr(m, i)->left);
        }
    }
    check(m);
    g_assert_cmpuint(pagecache_flights_bytes(m->f), <=, 512);
    model_free(m);
}

static void test_random(void)
{
    int i;

    for (i = 0; i < 10; i++) {
        random_steps(i ? g_test_rand_int() : 0, 20000);
    }
}

/* 2^32 - 1 is followed by 0. */
static void test_wrap(void)
{
    int i;

    random_steps(UINT32_MAX, 1000);
    for (i = 0; i < 10; i++) {
        random_steps(-g_test_rand_int_range(0, 10000), 20000);
    }
}

/* --- memory --- */

#define MANY    1000000

static void test_bytes_a_flight(void)
{
    Model *m = model_new(12345);
    int i;

    for (i = 0; i < MANY; i++) {
        append(m, 1);
    }
    g_test_message("%.2f bytes a flight",
                   (double)pagecache_flights_bytes(m->f) / MANY);
    g_assert_cmpuint(pagecache_flights_bytes(m->f), <, 34 * MANY);
    /* As many as there were, from the front; in the end there is nothing. */
    for (i = 0; i < MANY; i++) {
        land(m, i, 1);
        if (i % 1000 == 999) {
            g_assert_cmpuint(pagecache_flights_bytes(m->f), <,
                             34 * m->count + 4096);
        }
    }
    g_assert_cmpuint(pagecache_flights_bytes(m->f), <=, 512);
    model_free(m);
}

static void test_bytes_from_the_end(void)
{
    Model *m = model_new(0);
    int i;

    for (i = 0; i < MANY; i++) {
        append(m, 1);
    }
    for (i = MANY - 1; i >= 0; i--) {
        land(m, i, 1);
        if (i % 1000 == 0) {
            /* the index goes from the oldest to the next, which stays */
            g_assert_cmpuint(pagecache_flights_bytes(m->f), <,
                             34 * m->count + MANY / 4 + 4096);
        }
    }
    g_assert_cmpuint(pagecache_flights_bytes(m->f), <=, 512);
    model_free(m);
}

/* One is never reported: only the index remembers the others. */
static void test_bytes_straggler(void)
{
    Model *m = model_new(0);
    int i;

    append(m, 1);
    for (i = 1; i < MANY; i++) {
        append(m, 1);
        land(m, i, 1);
        /* an index that shrank here would be made anew for each chunk */
        g_assert_cmpuint(pagecache_flights_bytes(m->f), >=,
                         i / CHUNK_SIZE * sizeof(void *));
    }
    g_assert_cmpuint(pagecache_flights_bytes(m->f), <, MANY);
    g_assert_nonnull(pagecache_flights_find(m->f, 0));
    append(m, 1);
    check_offer(m, 0);
    check_offer(m, MANY);
    check_offer(m, MANY / 2);
    land(m, 0, 1);
    g_assert_cmpuint(pagecache_flights_bytes(m->f), <, 4096);
    check_offer(m, MANY);
    land(m, MANY, 1);
    g_assert_cmpuint(pagecache_flights_bytes(m->f), <=, 512);
    model_free(m);
}

/* No number may mean two flights. */
static void test_full(void)
{
    g_autoptr(PagecacheFlights) f = pagecache_flights_new(UINT32_MAX - 100);
    const PagecacheFlight one = { .npages = 1 };
    uint32_t nr = pagecache_flights_append(f, &one, 0);
    uint32_t chunk = nr & ~(CHUNK_SIZE - 1);

    f->next = chunk + SPAN_MAX - 1;
    g_assert_false(pagecache_flights_full(f));
    f->next++;
    g_assert_true(pagecache_flights_full(f));
    pagecache_flights_land(f, nr, 1);
    g_assert_false(pagecache_flights_full(f));
}

/* The time of each is its own, also when they wait long. */
static void test_times(void)
{
    Model *m = model_new(0);

    m->now = -5;
    append(m, 1);
    m->now = 1LL << 31;
    append(m, 1);
    m->now = UINT32_MAX - 10;
    append(m, 1);
    check(m);
    /* more than can be told from the first */
    pagecache_flights_append(m->f, &(PagecacheFlight) { .npages = 1 },
                             1LL << 40);
    g_assert_cmpint(pagecache_flights_offered_at(
                        m->f, pagecache_flights_find(m->f, 3)), ==,
                    UINT32_MAX - 5LL);
    model_free(m);

    m = model_new(0);
    m->now = 1LL << 50;
    append(m, 1);
    land(m, 0, 1);
    m->now = 1LL << 51;
    append(m, 1);
    check(m);
    model_free(m);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/flights/empty", test_empty);
    g_test_add_func("/pagecache/flights/one", test_one);
    g_test_add_func("/pagecache/flights/any-number", test_any_number);
    g_test_add_func("/pagecache/flights/random", test_random);
    g_test_add_func("/pagecache/flights/wrap", test_wrap);
    g_test_add_func("/pagecache/flights/bytes/each", test_bytes_a_flight);
    g_test_add_func("/pagecache/flights/bytes/from-the-end",
                    test_bytes_from_the_end);
    g_test_add_func("/pagecache/flights/bytes/straggler",
                    test_bytes_straggler);
    g_test_add_func("/pagecache/flights/full", test_full);
    g_test_add_func("/pagecache/flights/times", test_times);
    return g_test_run();
}
