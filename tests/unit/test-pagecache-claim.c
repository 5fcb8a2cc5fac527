/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the claims on the pages of the destination's RAM
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The races are also meant for ThreadSanitizer: pages are ordinary memory,
 * which nothing but the claims keeps the threads from writing at the same
 * time.  Hence pthreads, which it knows.
 */
#include "qemu/osdep.h"
#include <pthread.h>
#include <sched.h>
#include "pagecache-claim.h"

/* --- one thread: every operation in every state --- */

typedef enum Op {
    OP_OFFER,
    OP_COPY_BEGIN,
    OP_CHANNEL,
} Op;

static bool do_op(Op op, uint8_t *state)
{
    switch (op) {
    case OP_OFFER:
        return pagecache_claim_offer(state);
    case OP_COPY_BEGIN:
        return pagecache_claim_copy_begin(state);
    default:
        return pagecache_claim_channel(state);
    }
}

static void test_transitions(void)
{
    static const struct {
        uint8_t from;
        Op op;
        bool ret;
        uint8_t to;
    } table[] = {
        { PAGECACHE_CLAIM_NONE, OP_OFFER, true, PAGECACHE_CLAIM_OFFERED },
        { PAGECACHE_CLAIM_NONE, OP_COPY_BEGIN, false, PAGECACHE_CLAIM_NONE },
        { PAGECACHE_CLAIM_NONE, OP_CHANNEL, false, PAGECACHE_CLAIM_CHANNEL },
        { PAGECACHE_CLAIM_OFFERED, OP_OFFER, false, PAGECACHE_CLAIM_OFFERED },
        { PAGECACHE_CLAIM_OFFERED, OP_COPY_BEGIN, true,
          PAGECACHE_CLAIM_COPYING },
        { PAGECACHE_CLAIM_OFFERED, OP_CHANNEL, false,
          PAGECACHE_CLAIM_CHANNEL },
        { PAGECACHE_CLAIM_COPYING, OP_OFFER, false, PAGECACHE_CLAIM_COPYING },
        { PAGECACHE_CLAIM_COPYING, OP_COPY_BEGIN, false,
          PAGECACHE_CLAIM_COPYING },
        { PAGECACHE_CLAIM_REFILLED, OP_OFFER, false,
          PAGECACHE_CLAIM_REFILLED },
        { PAGECACHE_CLAIM_REFILLED, OP_COPY_BEGIN, false,
          PAGECACHE_CLAIM_REFILLED },
        { PAGECACHE_CLAIM_REFILLED, OP_CHANNEL, true,
          PAGECACHE_CLAIM_CHANNEL },
        { PAGECACHE_CLAIM_CHANNEL, OP_OFFER, false, PAGECACHE_CLAIM_CHANNEL },
        { PAGECACHE_CLAIM_CHANNEL, OP_COPY_BEGIN, false,
          PAGECACHE_CLAIM_CHANNEL },
        { PAGECACHE_CLAIM_CHANNEL, OP_CHANNEL, false,
          PAGECACHE_CLAIM_CHANNEL },
    };
    uint8_t state;
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(table); i++) {
        state = table[i].from;
        g_assert_cmpint(do_op(table[i].op, &state), ==, table[i].ret);
        g_assert_cmpuint(state, ==, table[i].to);
    }
    state = PAGECACHE_CLAIM_COPYING;
    pagecache_claim_copy_end(&state);
    g_assert_cmpuint(state, ==, PAGECACHE_CLAIM_REFILLED);
}

/* A fresh array of claims is one of pages that nobody has claimed. */
static void test_zero_is_none(void)
{
    g_assert_cmpuint(PAGECACHE_CLAIM_NONE, ==, 0);
}

/* --- the channel waits for a copy that is under way --- */

typedef struct Slow {
    uint8_t state;
    bool ended;                 /* atomic: the copy is about to end */
    pthread_barrier_t begun;
} Slow;

static void *slow_copier(void *opaque)
{
    Slow *s = opaque;

    g_assert_true(pagecache_claim_copy_begin(&s->state));
    pthread_barrier_wait(&s->begun);
    g_usleep(50 * 1000);
    qatomic_set(&s->ended, true);
    pagecache_claim_copy_end(&s->state);
    return NULL;
}

static void test_channel_waits(void)
{
    Slow s = { .state = PAGECACHE_CLAIM_OFFERED };
    pthread_t thread;

    pthread_barrier_init(&s.begun, NULL, 2);
    g_assert_cmpint(pthread_create(&thread, NULL, slow_copier, &s), ==, 0);
    pthread_barrier_wait(&s.begun);
    g_assert_true(pagecache_claim_channel(&s.state));
    g_assert_true(qatomic_read(&s.ended));
    g_assert_cmpuint(qatomic_read(&s.state), ==, PAGECACHE_CLAIM_CHANNEL);
    pthread_join(thread, NULL);
    pthread_barrier_destroy(&s.begun);
}

/* --- races on many pages --- */

#define PAGES       2048
#define PAGE_SIZE   1024
#define REFILLERS   2
#define CHANNELS    2

#define DISK        0xd1        /* what a refill writes */
#define CHANNEL     0xc4        /* what the channel writes */

typedef struct Race {
    uint8_t claims[PAGES];
    uint8_t ram[PAGES][PAGE_SIZE];
    uint32_t order[REFILLERS + CHANNELS][PAGES];
    bool zero;                  /* the channel brings zero pages */
    int copies[PAGES];          /* by refills, atomic */
    int late;                   /* pages that a refill found taken, atomic */
    int early;                  /* pages that a refill had first, atomic */
    pthread_barrier_t start;
} Race;

typedef struct Runner {
    Race *race;
    unsigned nr;
    pthread_t thread;
} Runner;

/* All of them offer, and copy what they can. */
static void *refiller(void *opaque)
{
    Runner *r = opaque;
    Race *race = r->race;
    uint8_t data[PAGE_SIZE];
    unsigned i;

    memset(data, DISK, sizeof(data));
    pthread_barrier_wait(&race->start);
    for (i = 0; i < PAGES; i++) {
        uint32_t page = race->order[r->nr][i];
        uint8_t *claim = &race->claims[page];

        pagecache_claim_offer(claim);
        if (!pagecache_claim_copy_begin(claim)) {
            qatomic_inc(&race->late);
            continue;
        }
        memcpy(race->ram[page], data, sizeof(data));
        qatomic_inc(&race->copies[page]);
        pagecache_claim_copy_end(claim);
    }
    return NULL;
}

/* Each page is brought by one of the channel's threads, as with multifd. */
static void *channel(void *opaque)
{
    Runner *r = opaque;
    Race *race = r->race;
    unsigned i;

    pthread_barrier_wait(&race->start);
    for (i = 0; i < PAGES; i++) {
        uint32_t page = race->order[r->nr][i];
        bool refilled;

        if (page % CHANNELS != r->nr % CHANNELS) {
            continue;
        }
        refilled = pagecache_claim_channel(&race->claims[page]);
        if (refilled) {
            qatomic_inc(&race->early);
        }
        if (!race->zero) {
            memset(race->ram[page], CHANNEL, PAGE_SIZE);
        } else if (refilled) {
            /* RAM that nobody has written is zero already. */
            memset(race->ram[page], 0, PAGE_SIZE);
        }
    }
    return NULL;
}

static void shuffle(uint32_t *order)
{
    uint32_t i;

    for (i = 0; i < PAGES; i++) {
        order[i] = i;
    }
    /* By pieces, so that the threads meet on neighbouring pages, too */
    for (i = 0; i + 16 < PAGES; i += 16) {
        uint32_t j = g_test_rand_int_range(0, PAGES / 16) * 16, k;

        for (k = 0; k < 16; k++) {
            uint32_t swap = order[i + k];

            order[i + k] = order[j + k];
            order[j + k] = swap;
        }
    }
}

static bool is_all(const uint8_t *page, uint8_t value)
{
    return page[0] == value && !memcmp(page, page + 1, PAGE_SIZE - 1);
}

static void race_once(Race *race, bool zero, bool same_order)
{
    Runner runners[REFILLERS + CHANNELS];
    unsigned i;

    memset(race, 0, sizeof(*race));
    race->zero = zero;
    pthread_barrier_init(&race->start, NULL, ARRAY_SIZE(runners));
    shuffle(race->order[0]);
    for (i = 1; i < ARRAY_SIZE(runners); i++) {
        if (same_order) {
            memcpy(race->order[i], race->order[0], sizeof(race->order[0]));
        } else {
            shuffle(race->order[i]);
        }
    }
    for (i = 0; i < ARRAY_SIZE(runners); i++) {
        runners[i] = (Runner) { .race = race, .nr = i };
        g_assert_cmpint(pthread_create(&runners[i].thread, NULL,
                                       i < REFILLERS ? refiller : channel,
                                       &runners[i]), ==, 0);
    }
    for (i = 0; i < ARRAY_SIZE(runners); i++) {
        pthread_join(runners[i].thread, NULL);
    }
    pthread_barrier_destroy(&race->start);

    for (i = 0; i < PAGES; i++) {
        g_assert_true(is_all(race->ram[i], zero ? 0 : CHANNEL));
        g_assert_cmpuint(race->claims[i], ==, PAGECACHE_CLAIM_CHANNEL);
        g_assert_cmpint(race->copies[i], <=, 1);
    }
}

static void test_race(gconstpointer opaque)
{
    bool zero = GPOINTER_TO_INT(opaque);
    g_autofree Race *race = g_new(Race, 1);
    int i, early = 0, late = 0;

    for (i = 0; i < 100; i++) {
        race_once(race, zero, i % 2);
        early += race->early;
        late += race->late - PAGES * (REFILLERS - 1);
    }
    g_test_message("%d pages refilled first, %d refills found the channel "
                   "there", early, late);
    /* If one side always wins, this is no test of a race. */
    g_assert_cmpint(early, >, 0);
    g_assert_cmpint(late, >, 0);
}

/* Of two refills that have the same page, one copies. */
static void test_race_of_refills(void)
{
    g_autofree Race *race = g_new0(Race, 1);
    Runner runners[REFILLERS];
    unsigned i, round;

    for (round = 0; round < 20; round++) {
        memset(race, 0, sizeof(*race));
        pthread_barrier_init(&race->start, NULL, REFILLERS);
        for (i = 0; i < REFILLERS; i++) {
            shuffle(race->order[i]);
        }
        for (i = 0; i < REFILLERS; i++) {
            runners[i] = (Runner) { .race = race, .nr = i };
            g_assert_cmpint(pthread_create(&runners[i].thread, NULL, refiller,
                                           &runners[i]), ==, 0);
        }
        for (i = 0; i < REFILLERS; i++) {
            pthread_join(runners[i].thread, NULL);
        }
        pthread_barrier_destroy(&race->start);
        for (i = 0; i < PAGES; i++) {
            g_assert_cmpint(race->copies[i], ==, 1);
            g_assert_true(is_all(race->ram[i], DISK));
            g_assert_cmpuint(race->claims[i], ==, PAGECACHE_CLAIM_REFILLED);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/claim/transitions", test_transitions);
    g_test_add_func("/pagecache/claim/zero-is-none", test_zero_is_none);
    g_test_add_func("/pagecache/claim/channel-waits", test_channel_waits);
    g_test_add_data_func("/pagecache/claim/race/content",
                         GINT_TO_POINTER(false), test_race);
    g_test_add_data_func("/pagecache/claim/race/zero-pages",
                         GINT_TO_POINTER(true), test_race);
    g_test_add_func("/pagecache/claim/race/of-refills", test_race_of_refills);
    return g_test_run();
}
