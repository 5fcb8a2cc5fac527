/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of include/qemu/pagecache-fault.h: when a fault fires, and what
 * is no fault
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/pagecache-fault.h"

#ifdef CONFIG_PAGECACHE_FAULTS

static void arm(const char *settings)
{
    g_autofree char *err = NULL;

    if (!pagecache_faults_arm(settings, &err)) {
        g_error("%s: %s", settings, err);
    }
}

static uint64_t fired(PagecacheFault fault)
{
    uint64_t passed, count;

    pagecache_fault_count(fault, &passed, &count);
    return count;
}

static uint64_t passed(PagecacheFault fault)
{
    uint64_t count, unused;

    pagecache_fault_count(fault, &count, &unused);
    return count;
}

/* What happens in 12 passes: '-' or '!' each */
static char *pattern(PagecacheFault fault)
{
    g_autofree char *s = g_strnfill(12, '-');
    unsigned i;

    for (i = 0; i < 12; i++) {
        if (pagecache_fault(fault)) {
            s[i] = '!';
        }
    }
    return g_steal_pointer(&s);
}

static void test_when(void)
{
    static const struct {
        const char *settings, *pattern;
    } cases[] = {
        { "", "------------" },
        { "lose-hint", "------------" },
        { "lose-report", "!!!!!!!!!!!!" },
        { "lose-report:every=5", "----!----!--" },
        { "lose-report:after=3", "---!!!!!!!!!" },
        { "lose-report:limit=2", "!!----------" },
        { "lose-report:every=3:after=2:limit=2", "----!--!----" },
        { "lose-hint,lose-report:limit=1", "!-----------" },
        { "lose-report:chance=100", "!!!!!!!!!!!!" },
    };
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *got = NULL;

        arm("");
        arm(cases[i].settings);
        got = pattern(PAGECACHE_FAULT_LOSE_REPORT);
        g_assert_cmpstr(got, ==, cases[i].pattern);
    }
    arm("");
}

static void test_chance(void)
{
    g_autofree char *first = NULL, *again = NULL, *other = NULL;
    uint64_t before;
    unsigned i;

    arm("lose-report:chance=50:seed=1");
    first = pattern(PAGECACHE_FAULT_LOSE_REPORT);
    arm("");
    arm("lose-report:chance=50:seed=1");
    again = pattern(PAGECACHE_FAULT_LOSE_REPORT);
    arm("lose-report:chance=50:seed=2");
    other = pattern(PAGECACHE_FAULT_LOSE_REPORT);
    g_assert_cmpstr(first, ==, again);
    g_assert_cmpstr(first, !=, other);

    arm("lose-report:chance=10");
    before = fired(PAGECACHE_FAULT_LOSE_REPORT);
    for (i = 0; i < 10000; i++) {
        pagecache_fault(PAGECACHE_FAULT_LOSE_REPORT);
    }
    g_assert_cmpint(fired(PAGECACHE_FAULT_LOSE_REPORT) - before, >, 800);
    g_assert_cmpint(fired(PAGECACHE_FAULT_LOSE_REPORT) - before, <, 1200);
    arm("");
}

static void test_counts(void)
{
    uint64_t p = passed(PAGECACHE_FAULT_LOSE_OFFER);
    uint64_t f = fired(PAGECACHE_FAULT_LOSE_OFFER);
    g_autofree char *a = NULL, *b = NULL;

    a = pattern(PAGECACHE_FAULT_LOSE_OFFER);    /* not armed: not counted */
    arm("lose-offer:every=4");
    b = pattern(PAGECACHE_FAULT_LOSE_OFFER);
    arm("");
    g_assert_cmpint(passed(PAGECACHE_FAULT_LOSE_OFFER) - p, ==, 12);
    g_assert_cmpint(fired(PAGECACHE_FAULT_LOSE_OFFER) - f, ==, 3);
}

/* The same settings again leave a fault alone. */
static void test_undisturbed(void)
{
    arm("lose-offer:limit=1,lose-hint");
    g_assert_true(pagecache_fault(PAGECACHE_FAULT_LOSE_OFFER));
    arm("lose-offer:limit=1");
    g_assert_false(pagecache_fault(PAGECACHE_FAULT_LOSE_OFFER));
    arm("lose-offer:limit=2");
    g_assert_true(pagecache_fault(PAGECACHE_FAULT_LOSE_OFFER));
    arm("");
}

static void test_errors(void)
{
    static const struct {
        const char *settings, *err;
    } cases[] = {
        { "nope", "no fault is called 'nope'; there are: lose-hint, " },
        { ",", "no fault is called ''; there are: " },
        { "lose-hint,", "no fault is called ''; there are: " },
        { "lose-hint:", "fault 'lose-hint' has no parameter ''; it has: "
                        "every, chance, after, limit, seed" },
        { "lose-hint:ms=3", "fault 'lose-hint' has no parameter 'ms'; it has: "
                            "every, chance, after, limit, seed" },
        { "delay-copy:xor=3", "fault 'delay-copy' has no parameter 'xor'; it "
                              "has: every, chance, after, limit, seed, ms" },
        { "corrupt-refill:xor=0", "parameter 'xor' is '0', expected a number "
                                  "from 1 to 255" },
        { "corrupt-refill:xor=256", "is '256', expected a number from 1 to" },
        { "delay-copy:ms=1h", "is '1h', expected a number from 1 to 60000" },
        { "delay-copy:ms", "'ms' is '', expected a number from 1 to 60000" },
        { "lose-hint:every=0", "is '0', expected a number from 1 to" },
        { "lose-hint:every=-1", "is '-1', expected a number from 1 to" },
        { "lose-hint:chance=101", "expected a number from 1 to 100" },
        { "lose-hint:every=2:chance=3", "'every' and 'chance' exclude each" },
        { "lose-hint,lose-hint", "fault 'lose-hint' is named twice" },
    };
    unsigned i;

    arm("lose-report");
    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        g_autofree char *err = NULL, *armed = NULL;

        g_assert_false(pagecache_faults_arm(cases[i].settings, &err));
        if (!strstr(err, cases[i].err)) {
            g_error("expected '%s', got '%s'", cases[i].err, err);
        }
        armed = pagecache_faults_armed();
        g_assert_cmpstr(armed, ==, "lose-report:every=1:after=0:seed=26");
    }
    arm("");
}

/* What is told to be armed can be armed. */
static void test_armed(void)
{
    g_autofree char *first = NULL, *again = NULL;
    g_autoptr(GString) all = g_string_new(NULL);
    unsigned i;

    for (i = 0; i < PAGECACHE_FAULT__MAX; i++) {
        g_string_append_printf(all, "%s%s:%s", i ? "," : "",
                               pagecache_fault_name(i),
                               i % 2 ? "chance=7:limit=3" : "every=9:after=2");
    }
    arm(all->str);
    first = pagecache_faults_armed();
    arm(first);
    again = pagecache_faults_armed();
    g_assert_cmpstr(first, ==, again);
    for (i = 0; i < PAGECACHE_FAULT__MAX; i++) {
        g_assert_true(pagecache_fault_is_armed(i));
    }
    arm("");
    for (i = 0; i < PAGECACHE_FAULT__MAX; i++) {
        g_assert_false(pagecache_fault_is_armed(i));
    }
}

static void test_breaks(void)
{
    g_assert_true(pagecache_fault_breaks(PAGECACHE_FAULT_BREAK_PROOF));
    g_assert_true(pagecache_fault_breaks(PAGECACHE_FAULT_BREAK_PLACE));
    g_assert_false(pagecache_fault_breaks(PAGECACHE_FAULT_CORRUPT_REFILL));
}

/* --- what happens --- */

static void test_corrupt(void)
{
    uint8_t data[4096], was[4096];
    unsigned i, j, places = 0;

    memset(was, 0x5a, sizeof(was));
    arm("corrupt-refill:xor=1");
    for (i = 0; i < 10; i++) {
        unsigned differ = 0;

        memcpy(data, was, sizeof(data));
        pagecache_fault_corrupt(PAGECACHE_FAULT_CORRUPT_REFILL, data,
                                sizeof(data));
        for (j = 0; j < sizeof(data); j++) {
            if (data[j] != was[j]) {
                g_assert_cmphex(data[j], ==, was[j] ^ 1);
                differ++;
                places |= j;
            }
        }
        g_assert_cmpint(differ, ==, 1);
    }
    g_assert_cmpint(places, >, 1024);   /* not always the same */
    arm("");
    memcpy(data, was, sizeof(data));
    pagecache_fault_corrupt(PAGECACHE_FAULT_CORRUPT_REFILL, data, 4096);
    g_assert_cmpmem(data, sizeof(data), was, sizeof(was));
}

static GArray *numbers(uint64_t first, uint64_t n)
{
    GArray *a = g_array_new(FALSE, FALSE, sizeof(uint64_t));

    for (; n; first++, n--) {
        g_array_append_val(a, first);
    }
    return a;
}

static void test_shuffle(void)
{
    g_autoptr(GArray) a = numbers(0, 100);
    uint64_t f = fired(PAGECACHE_FAULT_SHUFFLE_OFFERS), sum = 0;
    unsigned i;

    arm("shuffle-offers");
    pagecache_fault_shuffle(PAGECACHE_FAULT_SHUFFLE_OFFERS, a);
    for (i = 0; i < 100; i++) {
        g_assert_cmpint(g_array_index(a, uint64_t, i), !=, i);
        sum += g_array_index(a, uint64_t, i);
    }
    g_assert_cmpint(sum, ==, 4950);
    g_array_set_size(a, 1);
    pagecache_fault_shuffle(PAGECACHE_FAULT_SHUFFLE_OFFERS, a);
    g_assert_cmpint(fired(PAGECACHE_FAULT_SHUFFLE_OFFERS) - f, ==, 1);
    arm("");
}

static void late(GArray *a)
{
    pagecache_fault_late(PAGECACHE_FAULT_LATE_OFFERS, a, 10);
}

static void test_late(void)
{
    g_autoptr(GArray) a = numbers(0, 4), b = numbers(4, 6), c = numbers(10, 1);
    unsigned i;

    arm("late-offers");
    late(a);
    g_assert_cmpint(a->len, ==, 0);
    late(b);
    g_assert_cmpint(b->len, ==, 0);
    late(b);                            /* nothing is no reason to go on */
    g_assert_cmpint(b->len, ==, 0);
    late(c);                            /* no room: all come now, in order */
    g_assert_cmpint(c->len, ==, 11);
    for (i = 0; i < 11; i++) {
        g_assert_cmpint(g_array_index(c, uint64_t, i), ==, i);
    }
    late(b);
    g_assert_cmpint(b->len, ==, 0);

    g_array_set_size(c, 2);
    late(c);
    g_assert_cmpint(c->len, ==, 0);
    pagecache_fault_forget();
    arm("");
    late(a);
    g_assert_cmpint(a->len, ==, 0);
}

static gpointer sleeper(gpointer quit)
{
    pagecache_fault_delay_unless(PAGECACHE_FAULT_DELAY_COPY, quit);
    return NULL;
}

static void test_delay(void)
{
    gint64 begin = g_get_monotonic_time();
    uint64_t f = fired(PAGECACHE_FAULT_DELAY_COPY);
    GThread *thread;

    arm("delay-copy:ms=50:limit=1");
    pagecache_fault_delay(PAGECACHE_FAULT_DELAY_COPY);
    g_assert_cmpint(g_get_monotonic_time() - begin, >=, 50000);

    /* disarming ends it, long before its time */
    arm("delay-copy:ms=60000");
    thread = g_thread_new("sleeper", sleeper, NULL);
    while (fired(PAGECACHE_FAULT_DELAY_COPY) < f + 2) {
        g_usleep(1000);
    }
    arm("lose-hint,delay-copy:ms=60000");
    arm("");
    g_thread_join(thread);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 30 * G_USEC_PER_SEC);
}

/* Somebody has no use for the sleeper any more, before it sleeps or after. */
static void test_delay_unless(void)
{
    gint64 begin = g_get_monotonic_time();
    uint64_t f = fired(PAGECACHE_FAULT_DELAY_COPY);
    bool quit = false;
    GThread *thread;

    arm("delay-copy:ms=60000");
    thread = g_thread_new("sleeper", sleeper, &quit);
    while (fired(PAGECACHE_FAULT_DELAY_COPY) < f + 1) {
        g_usleep(1000);
    }
    qatomic_set(&quit, true);
    pagecache_fault_wake();
    g_thread_join(thread);

    pagecache_fault_delay_unless(PAGECACHE_FAULT_DELAY_COPY, &quit);
    g_assert_cmpint(fired(PAGECACHE_FAULT_DELAY_COPY), ==, f + 2);
    g_assert_cmpint(g_get_monotonic_time() - begin, <, 30 * G_USEC_PER_SEC);
    arm("");
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache-fault/when", test_when);
    g_test_add_func("/pagecache-fault/chance", test_chance);
    g_test_add_func("/pagecache-fault/counts", test_counts);
    g_test_add_func("/pagecache-fault/undisturbed", test_undisturbed);
    g_test_add_func("/pagecache-fault/errors", test_errors);
    g_test_add_func("/pagecache-fault/armed", test_armed);
    g_test_add_func("/pagecache-fault/breaks", test_breaks);
    g_test_add_func("/pagecache-fault/corrupt", test_corrupt);
    g_test_add_func("/pagecache-fault/shuffle", test_shuffle);
    g_test_add_func("/pagecache-fault/late", test_late);
    g_test_add_func("/pagecache-fault/delay", test_delay);
    g_test_add_func("/pagecache-fault/delay-unless", test_delay_unless);
    return g_test_run();
}

#else

int main(int argc, char **argv)
{
    printf("1..0 # SKIP built without faults on purpose\n");
    return 0;
}

#endif
