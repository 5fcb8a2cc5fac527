/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of how long a migration is said to take
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "pagecache-estimate.h"

static void test_cases(void)
{
    static const struct {
        const char *what;
        uint64_t ram, cache, channel, storage, ms;
    } cases[] = {
        { "no storage", 1000, 500, 100, 0, 10000 },
        { "no cache", 1000, 0, 100, 300, 10000 },
        { "both until the end", 1000, 900, 100, 150, 4000 },
        { "storage is done first", 1000, 500, 100, 900, 5000 },
        { "just enough cache", 1000, 750, 100, 300, 2500 },
        { "all is cache", 1000, 1000, 100, 300, 2500 },
        { "more cache than RAM", 1000, 5000, 100, 300, 2500 },
        { "nothing to send", 0, 0, 100, 300, 0 },
        { "rounded", 1, 0, 3, 0, 333 },
        { "rounded up", 2, 0, 3, 0, 667 },
        { "sums that overflow", 1ULL << 40, 0, UINT64_MAX, UINT64_MAX, 0 },
        { "without end", UINT64_MAX, 0, 1, 0, INT64_MAX },
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_test_message("%s", cases[i].what);
        g_assert_cmpuint(pagecache_estimate_ms(cases[i].ram, cases[i].cache,
                                               cases[i].channel,
                                               cases[i].storage), ==,
                         cases[i].ms);
    }
}

/* 1 - T / T0 is what docs/benchmarks calls the ceiling. */
static void test_ceiling(void)
{
    const uint64_t ram = 1000000000;
    uint64_t cache, storage;

    for (cache = 0; cache <= ram; cache += ram / 10) {
        for (storage = 0; storage <= 1000000; storage += 100000) {
            double channel = 100000;
            double precopy = pagecache_estimate_ms(ram, 0, channel, storage);
            double ms = pagecache_estimate_ms(ram, cache, channel, storage);
            double ceiling = MIN((double)cache / ram,
                                 storage / (channel + storage));

            g_assert_cmpfloat_with_epsilon(1 - ms / precopy, ceiling, 0.000001);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache/estimate/cases", test_cases);
    g_test_add_func("/pagecache/estimate/ceiling", test_ceiling);
    return g_test_run();
}
