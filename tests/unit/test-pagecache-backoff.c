/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: tests of reads that make way for others
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A storage of events, with a time of its own: some servers that take the first
 * of a queue, each for a time that may be fixed or random, behind a way with a
 * delay.  A reader keeps it busy as its window allows, and neighbours do as
 * they like.
 */
#include "qemu/osdep.h"
#include <math.h>
#include "qemu/units.h"
#include "pagecache-reader-backoff.h"

#define SIZE            (256 * KiB)
#define MAX_READS       256
#define DEPTH           16
#define SECOND          INT64_C(1000000)

typedef enum Spread {
    FIXED,
    EXPONENTIAL,                /* random, and often much longer */
    CACHED,                     /* one of five is found in a cache */
} Spread;

typedef struct Read {
    bool ours, counts, serving;
    uint32_t bytes;
    int64_t start, ends;        /* ends: of the service */
} Read;

typedef struct Storage {
    GRand *rand;
    unsigned servers;
    int64_t service_us, way_us;
    Spread spread;
    unsigned neighbours;        /* reads that they always have in flight */
    unsigned depth;             /* what the reader can have */
    bool sizes;                 /* of ours: all kinds */

    int64_t now;
    Read reads[MAX_READS];      /* as they have come */
    unsigned n, ours;
    PcrBackoff b;

    /* since the last reset */
    uint64_t done, theirs;
    double window_sum;
    unsigned least, most;
    int64_t since;
} Storage;

static int64_t service(Storage *s, uint32_t bytes)
{
    double us = (double)s->service_us * bytes / SIZE;

    switch (s->spread) {
    case EXPONENTIAL:
        us *= -log(1 - g_rand_double(s->rand));
        break;
    case CACHED:
        us *= g_rand_int_range(s->rand, 0, 5) ? 1 : 0.02;
        break;
    default:
        break;
    }
    return MAX(us, 1);
}

static void add(Storage *s, bool ours)
{
    Read *r = &s->reads[s->n++];

    g_assert_cmpuint(s->n, <, MAX_READS);
    *r = (Read) {
        .ours = ours, .start = s->now, .bytes = SIZE,
    };
    if (ours) {
        if (s->sizes) {
            r->bytes = SIZE >> g_rand_int_range(s->rand, 0, 7);
        }
        s->ours++;
        r->counts = pcr_backoff_counts(&s->b, s->ours);
    }
}

static void fill(Storage *s)
{
    unsigned busy = 0, i;

    while (pcr_backoff_allows(&s->b, s->ours) && s->ours < s->depth) {
        add(s, true);
    }
    while (s->n - s->ours < s->neighbours) {
        add(s, false);
    }
    for (i = 0; i < s->n; i++) {
        busy += s->reads[i].serving;
    }
    for (i = 0; i < s->n && busy < s->servers; i++) {
        Read *r = &s->reads[i];

        if (!r->serving) {
            r->serving = true;
            r->ends = s->now + service(s, r->bytes);
            busy++;
        }
    }
}

static void reset(Storage *s)
{
    s->done = s->theirs = 0;
    s->window_sum = 0;
    s->least = UINT_MAX;
    s->most = 0;
    s->since = s->now;
}

static void finish(Storage *s, Read *r)
{
    Read read = *r;

    memmove(r, r + 1, (uint8_t *)&s->reads[--s->n] - (uint8_t *)r);
    if (!read.ours) {
        s->theirs += read.bytes;
        return;
    }
    s->ours--;
    s->done += read.bytes;
    if (read.counts) {
        pcr_backoff_read(&s->b, read.bytes, read.start, s->now + s->way_us);
    }
}

static void run(Storage *s, int64_t us)
{
    int64_t until = s->now + us;

    reset(s);
    while (s->now < until) {
        int64_t next = INT64_MAX;
        Read *first = NULL;
        unsigned i;

        fill(s);
        for (i = 0; i < s->n; i++) {
            if (s->reads[i].serving && s->reads[i].ends < next) {
                next = s->reads[i].ends;
                first = &s->reads[i];
            }
        }
        s->window_sum += (double)s->b.window * (next - s->now);
        s->least = MIN(s->least, s->b.window);
        s->most = MAX(s->most, s->b.window);
        s->now = next;
        finish(s, first);
    }
}

/* Means of the last run: bytes a second, and the window */
static double rate(Storage *s)
{
    return (double)s->done * SECOND / (s->now - s->since);
}

static double window(Storage *s)
{
    return s->window_sum / (s->now - s->since);
}

static Storage storage_new(unsigned servers, int64_t service_us, Spread spread)
{
    Storage s = {
        .rand = g_rand_new_with_seed(1), .servers = servers,
        .service_us = service_us, .spread = spread, .way_us = 100,
        .depth = DEPTH, .now = SECOND,
    };

    pcr_backoff_init(&s.b, DEPTH);
    return s;
}

/* --- tests --- */

typedef struct Kind {
    unsigned servers;
    int64_t service_us;
    Spread spread;
    bool sizes;
} Kind;

static const Kind kinds[] = {
    { 1, 2000, FIXED }, { 1, 100, FIXED }, { 8, 5000, FIXED },
    { 1, 2000, EXPONENTIAL }, { 8, 5000, EXPONENTIAL },
    { 32, 500, EXPONENTIAL },
    { 1, 2000, CACHED }, { 8, 5000, CACHED },
    { 1, 2000, FIXED, true }, { 8, 5000, EXPONENTIAL, true },
};

static Storage storage_of(const Kind *k)
{
    Storage s = storage_new(k->servers, k->service_us, k->spread);

    s.sizes = k->sizes;
    return s;
}

/* Who is alone has all of it: nothing is lost to mere chance. */
static void test_alone(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        Storage s = storage_of(&kinds[i]), free = storage_of(&kinds[i]);

        g_test_message("%d", i);
        pcr_backoff_init(&free.b, 0);
        run(&free, 60 * SECOND);
        run(&s, 60 * SECOND);
        g_test_message("window %.1f, %.3f", window(&s), rate(&s) / rate(&free));
        g_assert_cmpfloat(rate(&s), >=, 0.97 * rate(&free));
        g_rand_free(s.rand);
        g_rand_free(free.rand);
    }
}

/*
 * Neighbours come: the window goes down, never to nothing, and they get more
 * than they would.  They go, and soon all is as before.
 */
static void test_neighbours(void)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        Storage s = storage_of(&kinds[i]), rude = storage_of(&kinds[i]);
        double before;

        g_test_message("%d", i);
        pcr_backoff_init(&rude.b, 0);
        run(&rude, 10 * SECOND);
        run(&s, 10 * SECOND);
        before = rate(&s);
        s.neighbours = rude.neighbours = 64;
        run(&s, 2 * SECOND);
        run(&rude, 2 * SECOND);
        run(&s, 8 * SECOND);
        run(&rude, 8 * SECOND);
        g_test_message("window %.1f, theirs %.2f times", window(&s),
                       (double)s.theirs / rude.theirs);
        g_assert_cmpuint(s.least, >=, PCR_BACKOFF_MIN);
        g_assert_cmpfloat(window(&s), <=, DEPTH / 2);
        g_assert_cmpfloat(rate(&s), >, 0);
        g_assert_cmpfloat(rate(&s), <, 0.7 * rate(&rude));
        g_assert_cmpuint(s.theirs, >, rude.theirs);
        s.neighbours = 0;
        run(&s, 5 * SECOND);
        run(&s, 10 * SECOND);
        g_assert_cmpfloat(rate(&s), >=, 0.95 * before);
        g_assert_cmpuint(s.most, ==, DEPTH);
        g_rand_free(s.rand);
        g_rand_free(rude.rand);
    }
}

/* A reader that can't have as many in flight as it might have */
static void test_shallow(void)
{
    Storage s = storage_new(1, 2000, FIXED);

    s.depth = DEPTH / 2;
    run(&s, 10 * SECOND);
    g_assert_cmpuint(s.least, ==, DEPTH);
    s.neighbours = 64;
    run(&s, 2 * SECOND);
    run(&s, 8 * SECOND);
    g_assert_cmpfloat(window(&s), <=, DEPTH / 4);
    s.neighbours = 0;
    run(&s, 20 * SECOND);
    g_assert_cmpuint(s.most, ==, DEPTH);
    g_rand_free(s.rand);
}

/* What makes reads take a little longer is no reason. */
static void test_some_load(void)
{
    Storage s = storage_new(1, 2000, FIXED);

    run(&s, 10 * SECOND);
    s.neighbours = 8;
    run(&s, 10 * SECOND);
    g_assert_cmpuint(s.least, ==, DEPTH);
    g_rand_free(s.rand);
}

/* Nor is what takes next to no time anyway. */
static void test_fast(void)
{
    Storage s = storage_new(1, 5, FIXED);

    s.way_us = 10;
    run(&s, SECOND);
    s.neighbours = 48;
    run(&s, SECOND);
    g_assert_cmpuint(s.least, ==, DEPTH);
    g_rand_free(s.rand);
}

/* Storage that is much slower for good is taken as it is, in the end. */
static void test_for_good(void)
{
    Storage s = storage_new(8, 5000, FIXED);

    run(&s, 10 * SECOND);
    s.service_us *= 8;
    run(&s, 10 * SECOND);
    g_assert_cmpuint(s.least, <=, DEPTH / 4);
    run(&s, 300 * SECOND);
    run(&s, 10 * SECOND);
    g_assert_cmpfloat(window(&s), >=, DEPTH - 1);
    g_rand_free(s.rand);
}

/* One read in flight, or two, is what there is anyway. */
static void test_small(void)
{
    unsigned max;

    for (max = 0; max <= 2; max++) {
        PcrBackoff b;
        unsigned i;

        pcr_backoff_init(&b, max);
        for (i = 0; i < 10000; i++) {
            pcr_backoff_read(&b, SIZE, i * SECOND,
                             i * SECOND + (i < 5000 ? 1000 : 100000));
        }
        g_assert_cmpuint(b.window, ==, max);
        g_assert_true(pcr_backoff_allows(&b, 0));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/pagecache-backoff/alone", test_alone);
    g_test_add_func("/pagecache-backoff/neighbours", test_neighbours);
    g_test_add_func("/pagecache-backoff/shallow", test_shallow);
    g_test_add_func("/pagecache-backoff/some-load", test_some_load);
    g_test_add_func("/pagecache-backoff/fast", test_fast);
    g_test_add_func("/pagecache-backoff/for-good", test_for_good);
    g_test_add_func("/pagecache-backoff/small", test_small);
    return g_test_run();
}
