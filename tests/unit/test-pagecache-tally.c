/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of counting hints
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "pagecache-tally.h"

#define PART    512             /* pages */
#define DISKS   3

static const int ram, rom;      /* two blocks */

static PagecacheTally *new_tally(void)
{
    PagecacheTally *t = pagecache_tally_new(PAGECACHE_SAMPLE_ALL, PART, DISKS);

    pagecache_tally_add_block(t, &ram, 100 * PART);
    pagecache_tally_add_block(t, &rom, 10);
    return t;
}

static void check(PagecacheTally *t, int producer, uint64_t first,
                  uint64_t second, uint64_t third)
{
    g_assert_cmpuint(pagecache_tally_pages(t, producer, 0), ==, first);
    g_assert_cmpuint(pagecache_tally_pages(t, producer, 1), ==, second);
    g_assert_cmpuint(pagecache_tally_pages(t, producer, 2), ==, third);
}

static void test_once(void)
{
    PagecacheTally *t = new_tally();

    g_assert_null(pagecache_tally_producer(t, 0));
    pagecache_tally_add(t, "a", 1, &ram, 500, 1000);
    pagecache_tally_add(t, "a", 1, &ram, 500, 1000);
    pagecache_tally_add(t, "a", 2, &ram, 400, 200);     /* half is new */
    pagecache_tally_add(t, "a", 0, &rom, 9, 1);
    check(t, -1, 1, 1000, 100);
    check(t, 0, 1, 1000, 100);
    g_assert_cmpstr(pagecache_tally_producer(t, 0), ==, "a");
    g_assert_null(pagecache_tally_producer(t, 1));
    pagecache_tally_free(t);
}

/* What two have named counts for both, and once in all. */
static void test_producers(void)
{
    PagecacheTally *t = new_tally();
    char same[] = "a";

    pagecache_tally_add(t, "a", 0, &ram, 0, 100);
    pagecache_tally_add(t, "b", 1, &ram, 50, 100);
    pagecache_tally_add(t, same, 0, &ram, 100, 10);
    check(t, -1, 100, 50, 0);
    check(t, 0, 110, 0, 0);
    check(t, 1, 0, 100, 0);
    g_assert_cmpstr(pagecache_tally_producer(t, 1), ==, "b");

    pagecache_tally_add(t, "c", 0, &ram, 1000, 1);
    pagecache_tally_add(t, "d", 0, &ram, 1001, 1);
    pagecache_tally_add(t, "e", 0, &ram, 1002, 1);
    check(t, -1, 102, 50, 0);
    g_assert_null(pagecache_tally_producer(t, PAGECACHE_TALLY_PRODUCERS));
    pagecache_tally_free(t);
}

/* Hints are hostile: what is nowhere does not count, and hurts nobody. */
static void test_bounds(void)
{
    PagecacheTally *t = new_tally();

    pagecache_tally_add(t, "a", DISKS, &ram, 0, 1);
    pagecache_tally_add(t, "a", UINT_MAX, &ram, 0, 1);
    pagecache_tally_add(t, "a", 0, &t, 0, 1);
    pagecache_tally_add(t, "a", 0, &ram, 100 * PART, 1);
    pagecache_tally_add(t, "a", 0, &ram, UINT64_MAX, UINT64_MAX);
    pagecache_tally_add(t, "a", 0, &ram, 7, 0);
    check(t, -1, 0, 0, 0);
    pagecache_tally_add(t, "a", 0, &ram, 100 * PART - 5, UINT64_MAX);
    pagecache_tally_add(t, "a", 0, &rom, 0, 11);
    check(t, -1, 15, 0, 0);
    g_assert_cmpuint(pagecache_tally_pages(t, 0, DISKS), ==, 0);
    g_assert_cmpuint(pagecache_tally_pages(t, 99, 0), ==, 0);
    pagecache_tally_free(t);
}

static void test_end(void)
{
    PagecacheTally *t = new_tally();

    pagecache_tally_add(t, "a", 0, &ram, 0, 10);
    pagecache_tally_end(t);
    pagecache_tally_add(t, "a", 0, &ram, 100, 10);
    check(t, -1, 10, 0, 0);
    pagecache_tally_end(t);
    pagecache_tally_free(t);
    pagecache_tally_free(NULL);
}

/* One part of each group, and of each group another one */
static void test_sample(void)
{
    enum { GROUPS = 1000, EVERY = 16 };
    const PagecacheSample s = { .every = EVERY, .seed = 7 };
    unsigned at[EVERY] = { 0 };
    uint64_t part, n = 0;
    int i;

    for (part = 0; part < GROUPS * EVERY; part++) {
        if (pagecache_sample_has(&s, part)) {
            g_assert_cmpuint(part / EVERY, ==, n++);
            at[part % EVERY]++;
        }
    }
    g_assert_cmpuint(n, ==, GROUPS);
    for (i = 0; i < EVERY; i++) {
        g_assert_cmpuint(at[i], >, GROUPS / EVERY / 2);
        g_assert_cmpuint(at[i], <, GROUPS / EVERY * 2);
    }
    for (part = 0; part < 100; part++) {
        g_assert_true(pagecache_sample_has(&PAGECACHE_SAMPLE_ALL, part));
    }
}

/* A sample says about what there is, whatever hints look like. */
static void test_estimate(void)
{
    enum { GROUPS = 4096, EVERY = 32 };
    const uint64_t all = (uint64_t)GROUPS * EVERY * PART;
    const PagecacheSample s = { .every = EVERY, .seed = 99 };
    PagecacheTally *t = pagecache_tally_new(s, PART, 1);
    uint64_t page, named = 0, found;

    pagecache_tally_add_block(t, &ram, all);
    /* a third of each two parts; 700 pages cross the ends of parts */
    for (page = 0; page + 700 < all; page += 2100) {
        pagecache_tally_add(t, "a", 0, &ram, page, 700);
        named += 700;
    }
    found = pagecache_tally_pages(t, -1, 0);
    g_assert_cmpuint(found, >, named / 100 * 97);
    g_assert_cmpuint(found, <, named / 100 * 103);

    /* all of it, in one hint: exactly that */
    pagecache_tally_add(t, "b", 0, &ram, 0, all);
    g_assert_cmpuint(pagecache_tally_pages(t, 1, 0), ==, all);
    g_assert_cmpuint(pagecache_tally_pages(t, -1, 0), ==, all);
    pagecache_tally_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/tally/once", test_once);
    g_test_add_func("/pagecache/tally/producers", test_producers);
    g_test_add_func("/pagecache/tally/bounds", test_bounds);
    g_test_add_func("/pagecache/tally/end", test_end);
    g_test_add_func("/pagecache/tally/sample", test_sample);
    g_test_add_func("/pagecache/tally/estimate", test_estimate);
    return g_test_run();
}
