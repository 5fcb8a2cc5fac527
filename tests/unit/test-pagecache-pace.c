/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the measured rates of both wires and what follows from them
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "pagecache-pace.h"

#define T0 123456               /* some time, in ms */

/* What a rate is taken from, in ms */
#define LONGEST (PAGECACHE_RATE_SLOTS * PAGECACHE_RATE_SLOT_MS)
#define SHORTEST (LONGEST - PAGECACHE_RATE_SLOT_MS)

static void assert_near(uint64_t value, uint64_t expected, unsigned percent)
{
    uint64_t off = value > expected ? value - expected : expected - value;

    if (off > expected * percent / 100) {
        g_error("%" PRIu64 ", expected %" PRIu64 " within %u %%", value,
                expected, percent);
    }
}

/* @bytes every @every ms, from @start until before @end */
static void flow(PagecacheRate *rate, int64_t start, int64_t end,
                 int64_t every, uint64_t bytes)
{
    int64_t t;

    for (t = start; t < end; t += every) {
        pagecache_rate_add(rate, t, bytes);
    }
}

/* --- rates --- */

static void test_rate_unknown(void)
{
    PagecacheRate rate = { 0 };

    g_assert_cmpuint(pagecache_rate_get(&rate, T0), ==, 0);
    pagecache_rate_add(&rate, T0, 1000000);
    g_assert_cmpuint(pagecache_rate_get(&rate, T0), ==, 0);
    g_assert_cmpuint(pagecache_rate_get(&rate, T0 + 99), ==, 0);
    g_assert_cmpuint(pagecache_rate_get(&rate, T0 + 100), ==, 10000000);
}

static void test_rate_constant(void)
{
    static const int64_t every[] = { 1, 7, 50, 100, 128, 250 };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(every); i++) {
        PagecacheRate rate = { 0 };
        int64_t t;

        for (t = 0; t < 10000; t += every[i]) {
            pagecache_rate_add(&rate, T0 + t, 1000 * every[i]);
            if (t >= 2000) {
                /* One lump more or less at the borders of a second */
                assert_near(pagecache_rate_get(&rate, T0 + t), 1000000,
                            1 + every[i] * 100 / 850);
            }
        }
    }
}

/* Only the last second counts. */
static void test_rate_changes(void)
{
    PagecacheRate rate = { 0 };

    flow(&rate, T0, T0 + 5000, 10, 100 * 1000);
    assert_near(pagecache_rate_get(&rate, T0 + 5000), 10000000, 2);
    flow(&rate, T0 + 5000, T0 + 6100, 10, 1000);
    assert_near(pagecache_rate_get(&rate, T0 + 6100), 100000, 2);
}

static void test_rate_dies_away(void)
{
    PagecacheRate rate = { 0 };
    uint64_t last, now;
    int64_t t;

    flow(&rate, T0, T0 + 2000, 10, 10000);
    last = pagecache_rate_get(&rate, T0 + 2000);
    for (t = 2000; t < 3200; t += 10) {
        now = pagecache_rate_get(&rate, T0 + t);
        /* A slot that drops out takes time with it: up by a slot at most */
        g_assert_cmpuint(now, <=, last + last / 7);
        last = now;
    }
    g_assert_cmpuint(last, ==, 0);
    g_assert_cmpuint(pagecache_rate_get(&rate, T0 + 1000000000), ==, 0);
}

/* What is added after a pause does not meet what was there before. */
static void test_rate_clock_jumps(void)
{
    static const int64_t jumps[] = {
        PAGECACHE_RATE_SLOT_MS, 7 * PAGECACHE_RATE_SLOT_MS,
        8 * PAGECACHE_RATE_SLOT_MS, 9 * PAGECACHE_RATE_SLOT_MS,
        3600 * 1000, INT64_C(1) << 40,
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(jumps); i++) {
        int64_t t = T0 + 2000 + jumps[i];
        PagecacheRate rate = { 0 };
        uint64_t got;

        flow(&rate, T0, T0 + 2000, 10, 10000);
        pagecache_rate_add(&rate, t, 5000);
        got = pagecache_rate_get(&rate, t);
        /* 7 to 8 slots are looked at; the jump's time brought nothing. */
        g_assert_cmpint(got, <=, MAX(LONGEST - jumps[i], 0) * 1000000 /
                                 SHORTEST + 16000);
        g_assert_cmpint(got, >=, MAX(SHORTEST - jumps[i], 0) * 1000000 /
                                 LONGEST);
        if (jumps[i] >= 8 * PAGECACHE_RATE_SLOT_MS) {
            /* All of it is gone but the newest, over 7 to 8 slots. */
            assert_near(got, 5000, 15);
        }
    }
}

/* A clock that starts at 0 is no reason to know nothing for ever. */
static void test_rate_clock_from_zero(void)
{
    PagecacheRate rate = { 0 };

    flow(&rate, 0, 500, 10, 10000);
    assert_near(pagecache_rate_get(&rate, 500), 1000000, 2);
    flow(&rate, 500, 3000, 10, 10000);
    assert_near(pagecache_rate_get(&rate, 3000), 1000000, 2);
}

static void test_rate_large(void)
{
    PagecacheRate rate = { 0 };

    /* 1 TB/s */
    flow(&rate, T0, T0 + 2000, 1, UINT64_C(1000000000));
    assert_near(pagecache_rate_get(&rate, T0 + 2000),
                UINT64_C(1000000000000), 1);
}

static void test_rate_zero_bytes(void)
{
    PagecacheRate rate = { 0 };

    flow(&rate, T0, T0 + 2000, 10, 0);
    g_assert_cmpuint(pagecache_rate_get(&rate, T0 + 2000), ==, 0);
}

/* --- the window --- */

/* A storage wire that is given as much as the window allows, turn by turn */
typedef struct Wire {
    PagecachePace pace;
    GQueue offers;              /* of Offer, oldest first */
    uint64_t in_flight;
    uint64_t done;              /* bytes, of all time */
    int64_t now;
    int64_t way;                /* ms: how long an offer takes to arrive */
    int64_t held_up;            /* ms of each second in which none arrives */
    uint64_t supply;            /* offers in a turn; 0: as many as may be */
} Wire;

typedef struct Offer {
    uint64_t bytes;
    int64_t at, arrives;
} Offer;

#define OFFER_BYTES (1 * MiB)

static Offer *wire_next(Wire *w)
{
    Offer *o = g_queue_peek_head(&w->offers);

    return o && o->arrives <= w->now ? o : NULL;
}

static void wire_read(Wire *w, uint64_t budget)
{
    Offer *o;

    pagecache_pace_turn(&w->pace, w->now, w->in_flight, wire_next(w));
    while (budget && (o = wire_next(w))) {
        uint64_t n = MIN(o->bytes, budget);

        pagecache_pace_reported(&w->pace, w->now, n, w->now - o->at);
        w->in_flight -= n;
        w->done += n;
        budget -= n;
        o->bytes -= n;
        if (!o->bytes) {
            g_free(g_queue_pop_head(&w->offers));
        }
    }
}

static void wire_offer(Wire *w)
{
    Offer *o = g_new(Offer, 1);
    int64_t arrives = w->now + w->way;

    if (arrives % 1000 < w->held_up) {
        arrives = arrives / 1000 * 1000 + w->held_up;
    }
    *o = (Offer) { .bytes = OFFER_BYTES, .at = w->now, .arrives = arrives };
    g_queue_push_tail(&w->offers, o);
    w->in_flight += OFFER_BYTES;
}

/* For @ms, at @rate bytes/s.  Returns the bytes that were reported. */
static uint64_t wire_run(Wire *w, int64_t ms, uint64_t rate, int64_t turn)
{
    uint64_t before = w->done;
    int64_t end;

    for (end = w->now + ms; w->now < end; w->now += turn) {
        uint64_t n = w->supply ?: UINT64_MAX;

        wire_read(w, rate * turn / 1000);
        while (n-- && w->in_flight < pagecache_pace_window(&w->pace)) {
            wire_offer(w);
        }
    }
    return w->done - before;
}

static void wire_end(Wire *w)
{
    g_queue_clear_full(&w->offers, g_free);
}

static void test_window_first(void)
{
    PagecachePace pace = { 0 };

    g_assert_cmpuint(pagecache_pace_window(&pace), ==, PAGECACHE_WINDOW_MIN);
}

/* The window grows until the wire is what limits, for all sensible wires. */
static void test_window_growth(void)
{
    /* The migration thread comes by as it can: compression takes its time. */
    static const int64_t turns[] = { 20, 50, 100, 150, 200, 250, 350, 500 };
    uint64_t rate;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(turns); i++) {
        for (rate = 1000 * 1000; rate < 10 * GiB; rate *= 3) {
            Wire w = { .now = T0 };

            wire_run(&w, MAX(1000, 12 * turns[i]), rate, turns[i]);
            assert_near(wire_run(&w, 20 * turns[i], rate, turns[i]),
                        20 * turns[i] * rate / 1000, 2);
            /* ...and not much more than that is in flight */
            g_assert_cmpuint(w.in_flight, <=,
                             MAX(PAGECACHE_WINDOW_MIN,
                                 rate * MAX(700, 5 * turns[i]) / 1000) +
                             OFFER_BYTES);
            wire_end(&w);
        }
    }
}

/*
 * Offers and reports take their time on the way.  That is no reason to offer
 * less, on the contrary.
 */
static void test_window_long_way(void)
{
    static const int64_t ways[] = { 100, 150, 200, 250, 300, 350, 400 };
    uint64_t rate;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(ways); i++) {
        for (rate = 100 * MiB; rate < 10 * GiB; rate *= 3) {
            Wire w = { .now = T0, .way = ways[i] };

            wire_run(&w, 20 * ways[i], rate, 50);
            assert_near(wire_run(&w, 10000, rate, 50), 10 * rate, 2);
            g_assert_cmpuint(w.in_flight, <=, rate * 2);
            wire_end(&w);
        }
    }
}

/*
 * Offers are held up once a second, as behind a synchronisation of the
 * channels.  Storage has work all the same.
 */
static void test_window_held_up(void)
{
    static const int64_t times[] = { 50, 100, 150, 200, 250, 300 };
    uint64_t rate;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(times); i++) {
        for (rate = 100 * MiB; rate < 10 * GiB; rate *= 3) {
            Wire w = { .now = T0, .way = 20, .held_up = times[i] };

            wire_run(&w, 2000, rate, 50);
            g_assert_cmpuint(wire_run(&w, 10000, rate, 50), >,
                             rate / 10 * 95);
            g_assert_cmpuint(w.in_flight, <=, rate * 2);
            wire_end(&w);
        }
    }
}

/* What is not used does not grow: there is not always enough to offer. */
static void test_window_unused(void)
{
    Wire w = { .now = T0, .supply = 4 };

    wire_run(&w, 60000, 1000 * MiB, 50);
    g_assert_cmpuint(pagecache_pace_window(&w.pace), ==, PAGECACHE_WINDOW_MIN);
    w.supply = 0;
    wire_run(&w, 1000, 1000 * MiB, 50);
    assert_near(wire_run(&w, 2000, 1000 * MiB, 50), 2000 * MiB, 2);
    wire_end(&w);
}

/* A wire that becomes slow is not given what a fast one was. */
static void test_window_shrinks(void)
{
    uint64_t rate;

    for (rate = 100 * MiB; rate < 4 * GiB; rate *= 4) {
        Wire w = { .now = T0 };

        wire_run(&w, 3000, rate, 50);
        wire_run(&w, 6000, rate / 10, 50);
        g_assert_cmpuint(pagecache_pace_window(&w.pace), <=,
                         MAX(PAGECACHE_WINDOW_MIN, rate / 10 * 7 / 10));
        wire_end(&w);
    }
}

static void test_window_never_below_min(void)
{
    Wire w = { .now = T0 };

    wire_run(&w, 5000, 1000 * MiB, 50);
    wire_run(&w, 60000, 100 * 1000, 50);
    g_assert_cmpuint(pagecache_pace_window(&w.pace), ==, PAGECACHE_WINDOW_MIN);
    wire_end(&w);
}

/* --- the channel --- */

static void test_channel_counts(void)
{
    PagecacheChannel channel = { 0 };
    uint64_t total = 5 * GiB;
    int64_t t;

    /* What went before is none of its business. */
    for (t = 0; t < 2000; t += 50, total += 50 * 1000) {
        pagecache_channel_sent(&channel, T0 + t, total);
    }
    assert_near(pagecache_rate_get(&channel.rate, T0 + 2000), 1000000, 8);
    /* The count starts anew (another migration): no huge jump */
    for (t = 2000, total = 0; t < 4000; t += 50, total += 50 * 1000) {
        pagecache_channel_sent(&channel, T0 + t, total);
        g_assert_cmpuint(pagecache_rate_get(&channel.rate, T0 + t), <,
                         1200000);
    }
    assert_near(pagecache_rate_get(&channel.rate, T0 + 4000), 1000000, 8);
}

static void test_channel_share(void)
{
    PagecacheChannel channel = { 0 };
    uint64_t low, chunk;

    pagecache_channel_share(&channel, T0, &low, &chunk);
    g_assert_cmpuint(low, ==, PAGECACHE_CHANNEL_MIN / 2);
    g_assert_cmpuint(chunk, ==, PAGECACHE_CHANNEL_MIN);

    flow(&channel.rate, T0, T0 + 2000, 10, 10000000);   /* 1 GB/s */
    pagecache_channel_share(&channel, T0 + 2000, &low, &chunk);
    assert_near(low, UINT64_C(1000000) * PAGECACHE_CHANNEL_LOW_MS, 2);
    assert_near(chunk, UINT64_C(1000000) * PAGECACHE_CHANNEL_CHUNK_MS, 2);
    g_assert_cmpuint(low, <, chunk);
}

/* --- the end --- */

/* One disk: @storage and @channel are bytes a second. */
static uint64_t tail_share(uint64_t in_flight, uint64_t storage,
                           uint64_t channel, uint64_t todo)
{
    PagecacheTail disk = { .in_flight = in_flight, .rate = storage,
                           .share = 77 };

    pagecache_pace_tail(&disk, 1, channel, todo);
    return disk.share;
}

static void test_tail_unknown(void)
{
    g_assert_cmpuint(tail_share(GiB, 0, 0, 0), ==, 0);
    g_assert_cmpuint(tail_share(GiB, 10000, 0, 0), ==, 0);
    pagecache_pace_tail(NULL, 0, 10000, 5);
}

static void test_tail_share(void)
{
    /* A quarter of it takes both as long. */
    assert_near(tail_share(4000000, 3000000, 1000000, 0), 1000000, 1);
    /* (1 + 0.5) s on the channel, (6 - 1.5) / 3 s on the storage wire */
    assert_near(tail_share(6000000, 3000000, 1000000, 0), 1500000, 1);
    assert_near(tail_share(6000000, 3000000, 1000000, 1000000), 750000, 1);
    /* The channel is the one that ends last. */
    g_assert_cmpuint(tail_share(3000000, 3000000, 1000000, 1100000), ==, 0);
    g_assert_cmpuint(tail_share(0, 3000000, 1000000, 0), ==, 0);
    g_assert_cmpuint(tail_share(0, 3000000, 1000000, GiB), ==, 0);
}

/* The disk that would end last gives most; one that is done before, nothing. */
static void test_tail_disks(void)
{
    PagecacheTail disks[] = {
        { .in_flight = 4000000, .rate = 1000000 },
        { .in_flight = 1000000, .rate = 1000000 },
        { .in_flight = 4000000, .rate = 2000000 },
    };

    /* (4 - 2) s of the first and none of the others: 2 s on the channel */
    pagecache_pace_tail(disks, ARRAY_SIZE(disks), 1000000, 0);
    assert_near(disks[0].share, 2000000, 1);
    g_assert_cmpuint(disks[1].share, ==, 0);
    g_assert_cmpuint(disks[2].share, <, 1000);
    /* All of the first two but 0.5 s, and of the third (4 - 1) MB */
    pagecache_pace_tail(disks, ARRAY_SIZE(disks), 14000000, 0);
    assert_near(disks[0].share, 3500000, 1);
    assert_near(disks[1].share, 500000, 1);
    assert_near(disks[2].share, 3000000, 1);
}

/*
 * One from which nothing comes gives all that it has, and the others only what
 * the channel has time for besides.
 */
static void test_tail_stuck(void)
{
    PagecacheTail disks[] = {
        { .in_flight = 3000000 },
        { .in_flight = 4000000, .rate = 1000000 },
        { .in_flight = 4000000, .rate = 1000000 },
    };

    g_assert_cmpuint(tail_share(GiB, 0, 10000, 0), ==, GiB);
    /* 4 s on all wires: there is nothing to share but what is stuck. */
    pagecache_pace_tail(disks, ARRAY_SIZE(disks), 750000, 0);
    g_assert_cmpuint(disks[0].share, ==, 3000000);
    g_assert_cmpuint(disks[1].share, <, 1000);
    g_assert_cmpuint(disks[2].share, <, 1000);
    /* The channel needs longer for it alone than they do. */
    pagecache_pace_tail(disks, ARRAY_SIZE(disks), 500000, 0);
    g_assert_cmpuint(disks[0].share, ==, 3000000);
    g_assert_cmpuint(disks[1].share, ==, 0);
    g_assert_cmpuint(disks[2].share, ==, 0);
    /* 2.2 s: 11 MB over 5 MB/s */
    pagecache_pace_tail(disks, ARRAY_SIZE(disks), 3000000, 0);
    g_assert_cmpuint(disks[0].share, ==, 3000000);
    assert_near(disks[1].share, 1800000, 1);
    assert_near(disks[2].share, 1800000, 1);
}

/* Whatever the rates are, there is no more to take than there is. */
static void test_tail_bounds(void)
{
    int i;
    unsigned j;

    for (i = 0; i < 2000; i++) {
        PagecacheTail disks[5] = { 0 };
        unsigned n = g_test_rand_int_range(0, 6);

        for (j = 0; j < n; j++) {
            disks[j].in_flight = (uint64_t)g_test_rand_int_range(0, G_MAXINT)
                                 << g_test_rand_int_range(0, 12);
            disks[j].rate = g_test_rand_int_range(
                                0, 1 << g_test_rand_int_range(1, 31));
        }
        pagecache_pace_tail(disks, n, g_test_rand_int_range(0, G_MAXINT),
                            (uint64_t)g_test_rand_int_range(0, G_MAXINT)
                            << g_test_rand_int_range(0, 12));
        for (j = 0; j < n; j++) {
            g_assert_cmpuint(disks[j].share, <=, disks[j].in_flight);
        }
    }
}

static void test_is_low(void)
{
    uint64_t low;

    /* Nothing is low as long as one wire's speed is not known. */
    g_assert_false(pagecache_pace_is_low(0, 0, 0));
    g_assert_false(pagecache_pace_is_low(3000000, 0, 0));
    g_assert_false(pagecache_pace_is_low(0, 1000000, 0));
    g_assert_true(pagecache_pace_is_low(3000000, 1000000, 0));
    /* 4 MB/s together */
    low = UINT64_C(4000) * PAGECACHE_LOW_MS;
    g_assert_true(pagecache_pace_is_low(3000000, 1000000, low * 98 / 100));
    g_assert_false(pagecache_pace_is_low(3000000, 1000000, low * 102 / 100));
    g_assert_false(pagecache_pace_is_low(3000000, 1000000, UINT64_MAX));
    g_assert_true(pagecache_pace_is_low(UINT64_MAX, UINT64_MAX, GiB));
}

/* --- the downtime --- */

/*
 * 920 MB under SHA-256 at 1.23 GB/s take 0.75 s, in which a channel of 25
 * Gbit/s sends 2.3 GB: QEMU, which compares with what that sends within the
 * downtime limit, must not take them for the 0.3 s of 920 MB.
 */
static void test_pending(void)
{
    static const uint64_t channel = UINT64_C(25000000000) / 8;
    static const uint64_t sha256 = 1230000000, xxh3 = UINT64_C(9000000000);
    static const uint64_t bytes = 920000000;

    assert_near(pagecache_pace_pending(bytes, sha256, channel) * 1000 /
                channel, bytes * 1000 / sha256, 1);
    /* What is compared faster than it is sent may have to be sent still. */
    g_assert_cmpuint(pagecache_pace_pending(bytes, xxh3, channel), ==, bytes);
    g_assert_cmpuint(pagecache_pace_pending(bytes, channel, channel), ==,
                     bytes);
    /* Either rate may not be known. */
    g_assert_cmpuint(pagecache_pace_pending(bytes, 0, channel), ==, bytes);
    g_assert_cmpuint(pagecache_pace_pending(bytes, sha256, 0), ==, bytes);
    g_assert_cmpuint(pagecache_pace_pending(0, sha256, channel), ==, 0);
    /* 1 TiB in flight is no reason for a wrong number. */
    assert_near(pagecache_pace_pending(UINT64_C(1) << 40, sha256,
                                       UINT64_C(100) << 30),
                (UINT64_C(100) << 40) / 1230 * 1024 / 1000 * 1024 / 1000 * 1024,
                1);
}

/* --- patience --- */

static void test_patience(void)
{
    PagecachePace pace = { 0 };
    int i;

    g_assert_cmpint(pagecache_pace_patience(&pace), ==, 1000);
    pagecache_pace_reported(&pace, T0, 4096, 300);
    g_assert_cmpint(pagecache_pace_patience(&pace), ==, 600);
    /* One late report does not change the custom. */
    pagecache_pace_reported(&pace, T0, 4096, 1900);
    g_assert_cmpint(pagecache_pace_patience(&pace), ==, 800);
    for (i = 0; i < 100; i++) {
        pagecache_pace_reported(&pace, T0, 4096, 500);
    }
    assert_near(pagecache_pace_patience(&pace), 1000, 1);
    /* Fast storage is given some time nevertheless. */
    for (i = 0; i < 100; i++) {
        pagecache_pace_reported(&pace, T0, 4096, 2);
    }
    g_assert_cmpint(pagecache_pace_patience(&pace), ==, 200);
}

/* Slow storage that hangs in the end must not hold the channel up. */
static void test_patience_has_a_limit(void)
{
    PagecachePace pace = { 0 };

    pagecache_pace_reported(&pace, T0, 4096, 900);
    g_assert_cmpint(pagecache_pace_patience(&pace), ==, 1800);
    pagecache_pace_reported(&pace, T0, 4096, 8000);
    g_assert_cmpint(pagecache_pace_patience(&pace), ==, 2000);
}

/* Reports within the same millisecond are known to be fast, not unknown. */
static void test_patience_of_no_time(void)
{
    PagecachePace pace = { 0 };
    int i;

    for (i = 0; i < 20000; i++) {
        pagecache_pace_reported(&pace, T0, 4096, 0);
        g_assert_cmpint(pagecache_pace_patience(&pace), ==, 200);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/pace/rate/unknown", test_rate_unknown);
    g_test_add_func("/pagecache/pace/rate/constant", test_rate_constant);
    g_test_add_func("/pagecache/pace/rate/changes", test_rate_changes);
    g_test_add_func("/pagecache/pace/rate/dies-away", test_rate_dies_away);
    g_test_add_func("/pagecache/pace/rate/clock-jumps", test_rate_clock_jumps);
    g_test_add_func("/pagecache/pace/rate/clock-from-zero",
                    test_rate_clock_from_zero);
    g_test_add_func("/pagecache/pace/rate/large", test_rate_large);
    g_test_add_func("/pagecache/pace/rate/zero-bytes", test_rate_zero_bytes);
    g_test_add_func("/pagecache/pace/window/first", test_window_first);
    g_test_add_func("/pagecache/pace/window/growth", test_window_growth);
    g_test_add_func("/pagecache/pace/window/long-way", test_window_long_way);
    g_test_add_func("/pagecache/pace/window/held-up", test_window_held_up);
    g_test_add_func("/pagecache/pace/window/unused", test_window_unused);
    g_test_add_func("/pagecache/pace/window/shrinks", test_window_shrinks);
    g_test_add_func("/pagecache/pace/window/never-below-min",
                    test_window_never_below_min);
    g_test_add_func("/pagecache/pace/channel/counts", test_channel_counts);
    g_test_add_func("/pagecache/pace/channel/share", test_channel_share);
    g_test_add_func("/pagecache/pace/tail/unknown", test_tail_unknown);
    g_test_add_func("/pagecache/pace/tail/share", test_tail_share);
    g_test_add_func("/pagecache/pace/tail/disks", test_tail_disks);
    g_test_add_func("/pagecache/pace/tail/stuck", test_tail_stuck);
    g_test_add_func("/pagecache/pace/tail/bounds", test_tail_bounds);
    g_test_add_func("/pagecache/pace/is-low", test_is_low);
    g_test_add_func("/pagecache/pace/pending", test_pending);
    g_test_add_func("/pagecache/pace/patience", test_patience);
    g_test_add_func("/pagecache/pace/patience/has-a-limit",
                    test_patience_has_a_limit);
    g_test_add_func("/pagecache/pace/patience/of-no-time",
                    test_patience_of_no_time);
    return g_test_run();
}
