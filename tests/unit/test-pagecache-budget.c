/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: tests of what may be taken from storage
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Time is the test's own.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/pagecache-budget.h"

#define MS      INT64_C(1000)
#define SECOND  INT64_C(1000000)
#define BURST   (20 * MS)
#define START   INT64_C(1000000000)

static void budget_init(PagecacheBudget *b, uint64_t limit)
{
    memset(b, 0, sizeof(*b));
    pagecache_budget_reset(b, BURST);
    pagecache_budget_set_limit(b, limit);
}

/* Spends pieces of @size as soon as they are allowed, until @until. */
static uint64_t spend_all(PagecacheBudget *b, int64_t *now, int64_t until,
                          uint64_t size)
{
    uint64_t spent = 0;

    while (*now < until) {
        int64_t us = pagecache_budget_wait(b, *now);

        if (us) {
            *now += MIN(us, PAGECACHE_BUDGET_LOOK_US);
            continue;
        }
        pagecache_budget_spend(b, *now, size);
        spent += size;
    }
    return spent;
}

/* The rate is the limit, whatever the pieces; a burst is all that is on top. */
static void test_rate(void)
{
    static const uint64_t limits[] = { 4096, MiB, 100 * MiB, 10ull * GiB };
    static const uint64_t sizes[] = { 4096, 65536, 262144 };
    PagecacheBudget b;
    int i, k;

    for (i = 0; i < ARRAY_SIZE(limits); i++) {
        for (k = 0; k < ARRAY_SIZE(sizes); k++) {
            int64_t seconds = MAX(1, 20 * sizes[k] / limits[i]);
            int64_t now = START;
            uint64_t spent;

            budget_init(&b, limits[i]);
            spent = spend_all(&b, &now, START + seconds * SECOND,
                              sizes[k]);
            g_assert_cmpuint(spent, <=, limits[i] * seconds * 1.021 +
                             2 * sizes[k]);
            g_assert_cmpuint(spent, >=, limits[i] * seconds * 0.99);
            g_assert_cmpuint(stat64_get(&b.spent), ==, spent);
        }
    }
}

static void test_no_limit(void)
{
    PagecacheBudget b = { };

    g_assert_cmpint(pagecache_budget_wait(&b, START), ==, 0);
    g_assert_cmpuint(pagecache_budget_room(&b, START), ==, UINT64_MAX);
    pagecache_budget_spend(&b, START, UINT64_MAX / 4);
    g_assert_cmpint(pagecache_budget_wait(&b, START), ==, 0);
    /* What was spent without a limit is no debt. */
    pagecache_budget_reset(&b, BURST);
    pagecache_budget_spend(&b, START, GiB);
    pagecache_budget_set_limit(&b, MiB);
    g_assert_cmpint(pagecache_budget_wait(&b, START), ==, 0);
}

/* A debt that would take a day is paid in no time under a higher limit. */
static void test_change(void)
{
    PagecacheBudget b;

    budget_init(&b, 1);
    pagecache_budget_spend(&b, START, 262144);
    g_assert_cmpint(pagecache_budget_wait(&b, START + MS), >,
                    1000 * SECOND);
    pagecache_budget_set_limit(&b, 100 * MiB);
    g_assert_cmpint(pagecache_budget_wait(&b, START + 4 * MS), ==, 0);
    /* and the other way round */
    pagecache_budget_spend(&b, START + 4 * MS, 262144);
    pagecache_budget_set_limit(&b, 1);
    g_assert_cmpint(pagecache_budget_wait(&b, START + 5 * MS), >,
                    1000 * SECOND);
    pagecache_budget_set_limit(&b, 0);
    g_assert_cmpint(pagecache_budget_wait(&b, START + 5 * MS), ==, 0);
}

/* Who is told what he may spend gets all of it in long steps, too. */
static void test_room(void)
{
    const int64_t step = 15 * MS;
    uint64_t spent = 0;
    PagecacheBudget b;
    int i;

    budget_init(&b, 10 * MiB);
    for (i = 0; i < 1000; i++) {
        int64_t now = START + i * step;
        uint64_t room = pagecache_budget_room(&b, now);

        room = DIV_ROUND_UP(room, 4096) * 4096;
        pagecache_budget_spend(&b, now, room);
        spent += room;
    }
    g_assert_cmpuint(spent, <=, 10 * MiB * 15.1);
    g_assert_cmpuint(spent, >=, 10 * MiB * 14.9);

    /* little as it may be, it is something in the end */
    budget_init(&b, 1);
    g_assert_cmpuint(pagecache_budget_room(&b, START), ==, 1);
    pagecache_budget_spend(&b, START, 4096);
    g_assert_cmpuint(pagecache_budget_room(&b, START + SECOND), ==, 0);
    g_assert_cmpuint(pagecache_budget_room(&b, START + 4097 * SECOND), ==, 1);
}

/* Whatever the numbers, and a clock that stands or goes back */
static void test_extremes(void)
{
    PagecacheBudget b;

    budget_init(&b, UINT64_MAX);
    pagecache_budget_spend(&b, START, UINT64_MAX);
    g_assert_cmpint(pagecache_budget_wait(&b, START), <=, SECOND);
    budget_init(&b, 1);
    pagecache_budget_spend(&b, START, UINT64_MAX);
    g_assert_cmpint(pagecache_budget_wait(&b, START), ==, INT64_MAX / 2);
    budget_init(&b, 1000);
    pagecache_budget_spend(&b, START, 1000);
    g_assert_cmpint(pagecache_budget_wait(&b, START - SECOND), <=,
                    SECOND);
    g_assert_cmpint(pagecache_budget_wait(&b, START + SECOND), ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/pagecache-budget/rate", test_rate);
    g_test_add_func("/pagecache-budget/no-limit", test_no_limit);
    g_test_add_func("/pagecache-budget/change", test_change);
    g_test_add_func("/pagecache-budget/room", test_room);
    g_test_add_func("/pagecache-budget/extremes", test_extremes);
    return g_test_run();
}
