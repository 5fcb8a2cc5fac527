/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: faults on purpose
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Pure code on GLib: the readers' unit tests use it without QEMU.  In a build
 * without faults there is nothing in here.
 */
#include "qemu/osdep.h"
#include "qemu/pagecache-fault.h"

#ifdef CONFIG_PAGECACHE_FAULTS

#include "qemu/pagecache-thread.h"
#include "trace.h"

#define DEFAULT_MS      100
#define DEFAULT_XOR     0xff
#define MAX_MS          60000

typedef enum Kind {
    EVENT,                      /* happens or not */
    DELAY,                      /* has ms */
    CORRUPTION,                 /* has xor */
} Kind;

static const struct {
    const char *name;
    Kind kind;
} faults[PAGECACHE_FAULT__MAX] = {
    [PAGECACHE_FAULT_LOSE_HINT] = { "lose-hint" },
    [PAGECACHE_FAULT_DUPLICATE_HINT] = { "duplicate-hint" },
    [PAGECACHE_FAULT_MISPLACE_HINT] = { "misplace-hint" },
    [PAGECACHE_FAULT_SLOW_MAP] = { "slow-map" },
    [PAGECACHE_FAULT_BUSY_MAP] = { "busy-map" },
    [PAGECACHE_FAULT_STOP_MAP] = { "stop-map" },
    [PAGECACHE_FAULT_LOSE_ANNOUNCE] = { "lose-announce" },
    [PAGECACHE_FAULT_LOSE_MESSAGE] = { "lose-message" },
    [PAGECACHE_FAULT_DUPLICATE_MESSAGE] = { "duplicate-message" },
    [PAGECACHE_FAULT_STALL_DEVICE] = { "stall-device" },
    [PAGECACHE_FAULT_SHUFFLE_OFFERS] = { "shuffle-offers" },
    [PAGECACHE_FAULT_LATE_OFFERS] = { "late-offers" },
    [PAGECACHE_FAULT_EARLY_RELEASE] = { "early-release" },
    [PAGECACHE_FAULT_RELEASE_IN_FLIGHT] = { "release-in-flight" },
    [PAGECACHE_FAULT_WITHHOLD_RELEASE] = { "withhold-release" },
    [PAGECACHE_FAULT_EXTRA_SYNC] = { "extra-sync" },
    [PAGECACHE_FAULT_DELAY_PROOF] = { "delay-proof", DELAY },
    [PAGECACHE_FAULT_DELAY_OUTCOME] = { "delay-outcome", DELAY },
    [PAGECACHE_FAULT_REFUSE_READER] = { "refuse-reader" },
    [PAGECACHE_FAULT_LOSE_OFFER] = { "lose-offer" },
    [PAGECACHE_FAULT_DUPLICATE_OFFER] = { "duplicate-offer" },
    [PAGECACHE_FAULT_DELAY_CLAIM] = { "delay-claim", DELAY },
    [PAGECACHE_FAULT_DELAY_COPY] = { "delay-copy", DELAY },
    [PAGECACHE_FAULT_DELAY_CHANNEL] = { "delay-channel", DELAY },
    [PAGECACHE_FAULT_CORRUPT_DIGEST] = { "corrupt-digest", CORRUPTION },
    [PAGECACHE_FAULT_LOSE_REPORT] = { "lose-report" },
    [PAGECACHE_FAULT_LATE_REPORT] = { "late-report", DELAY },
    [PAGECACHE_FAULT_DUPLICATE_REPORT] = { "duplicate-report" },
    [PAGECACHE_FAULT_SHUFFLE_REPORTS] = { "shuffle-reports" },
    [PAGECACHE_FAULT_DELAY_POPULATE] = { "delay-populate", DELAY },
    [PAGECACHE_FAULT_FAIL_POPULATE] = { "fail-populate" },
    [PAGECACHE_FAULT_REFUSE_DIGEST] = { "refuse-digest" },
    [PAGECACHE_FAULT_CORRUPT_REFILL] = { "corrupt-refill", CORRUPTION },
    [PAGECACHE_FAULT_READ_ERROR] = { "read-error" },
    [PAGECACHE_FAULT_SHORT_READ] = { "short-read" },
    [PAGECACHE_FAULT_PARTIAL_READ] = { "partial-read" },
    [PAGECACHE_FAULT_SLOW_READ] = { "slow-read", DELAY },
    [PAGECACHE_FAULT_LOSE_KICK] = { "lose-kick" },
    [PAGECACHE_FAULT_DROP_SESSION] = { "drop-session" },
    [PAGECACHE_FAULT_REFUSE_LOGIN] = { "refuse-login" },
    [PAGECACHE_FAULT_BREAK_PROOF] = { "break-proof" },
    [PAGECACHE_FAULT_BREAK_CLEAR] = { "break-clear" },
    [PAGECACHE_FAULT_BREAK_MARK] = { "break-mark" },
    [PAGECACHE_FAULT_BREAK_SETTLE] = { "break-settle" },
    [PAGECACHE_FAULT_BREAK_CLAIM] = { "break-claim" },
    [PAGECACHE_FAULT_BREAK_COPY] = { "break-copy", CORRUPTION },
    [PAGECACHE_FAULT_BREAK_PLACE] = { "break-place" },
};

/* All of one size: settings are compared with memcmp(). */
typedef struct Settings {
    uint32_t armed;
    uint32_t every;             /* of those passed, 1: each */
    uint32_t chance;            /* percent; 0: @every counts */
    uint32_t after;             /* so many were passed */
    uint32_t limit;             /* times it fires; 0: no limit */
    uint32_t seed;              /* for chance and corruptions */
    uint32_t ms;
    uint32_t xor;
} Settings;

static const struct {
    const char *name;
    size_t offset;
    uint64_t min, max;
    Kind kind;                  /* EVENT: all have it */
} parameters[] = {
    { "every", offsetof(Settings, every), 1, UINT32_MAX },
    { "chance", offsetof(Settings, chance), 1, 100 },
    { "after", offsetof(Settings, after), 0, UINT32_MAX },
    { "limit", offsetof(Settings, limit), 1, UINT32_MAX },
    { "seed", offsetof(Settings, seed), 0, UINT32_MAX },
    { "ms", offsetof(Settings, ms), 1, MAX_MS, DELAY },
    /* A corruption that changes nothing would prove nothing. */
    { "xor", offsetof(Settings, xor), 1, 255, CORRUPTION },
};

typedef struct State {
    Settings settings;
    uint64_t seen, hits;        /* since it was armed */
    unsigned turn;              /* counts when settings change */
    GRand *rand;
    uint64_t passed, fired;     /* since ever */
} State;

unsigned pagecache_fault_set[PAGECACHE_FAULT__MAX];

static GMutex lock;             /* for what follows */
static GCond changed;           /* settings have, or somebody's *quit */
static State states[PAGECACHE_FAULT__MAX];
static GArray *stash;

/* --- when it fires; with the lock held ------------------------------------ */

static bool is_due(State *s)
{
    const Settings *set = &s->settings;

    if (++s->seen <= set->after || (set->limit && s->hits >= set->limit)) {
        return false;
    }
    if (set->chance) {
        return g_rand_int_range(s->rand, 0, 100) < set->chance;
    }
    return (s->seen - set->after) % set->every == 0;
}

static bool fires(PagecacheFault fault)
{
    State *s = &states[fault];

    if (!s->settings.armed) {
        return false;
    }
    s->passed++;
    if (!is_due(s)) {
        return false;
    }
    s->hits++;
    s->fired++;
    trace_pagecache_fault(faults[fault].name, s->passed, s->fired);
    return true;
}

/* --- what happens then ---------------------------------------------------- */

bool pagecache_fault_pass(PagecacheFault fault)
{
    LOCK_GUARD(&lock);

    return fires(fault);
}

void pagecache_fault_wait(PagecacheFault fault, const bool *quit)
{
    LOCK_GUARD(&lock);
    State *s = &states[fault];
    unsigned turn = s->turn;
    int64_t until;

    if (!fires(fault)) {
        return;
    }
    until = g_get_monotonic_time() + s->settings.ms * 1000LL;
    while (s->turn == turn && !(quit && qatomic_read(quit)) &&
           g_cond_wait_until(&changed, &lock, until)) {
        continue;
    }
}

/* With the lock, so that nobody is between his look at *quit and his sleep */
void pagecache_fault_wake(void)
{
    LOCK_GUARD(&lock);

    g_cond_broadcast(&changed);
}

void pagecache_fault_flip(PagecacheFault fault, void *data, size_t len)
{
    LOCK_GUARD(&lock);
    State *s = &states[fault];
    uint8_t *bytes = data;

    if (len && fires(fault)) {
        bytes[g_rand_int(s->rand) % len] ^= s->settings.xor;
    }
}

static void swap(char *a, char *b, guint size)
{
    for (; size; size--, a++, b++) {
        char c = *a;

        *a = *b;
        *b = c;
    }
}

/* One cycle of all elements: none stays where it was. */
void pagecache_fault_mix(PagecacheFault fault, GArray *array)
{
    LOCK_GUARD(&lock);
    guint size = g_array_get_element_size(array), i;

    if (array->len < 2 || !fires(fault)) {
        return;
    }
    for (i = array->len - 1; i > 0; i--) {
        guint j = g_rand_int_range(states[fault].rand, 0, i);

        swap(array->data + i * size, array->data + j * size, size);
    }
}

void pagecache_fault_stash(PagecacheFault fault, GArray *array, guint max)
{
    LOCK_GUARD(&lock);
    guint size = g_array_get_element_size(array);

    if (!stash) {
        stash = g_array_new(FALSE, FALSE, size);
    }
    g_assert(g_array_get_element_size(stash) == size);
    if ((stash->len || array->len) && stash->len + array->len <= max &&
        fires(fault)) {
        g_array_append_vals(stash, array->data, array->len);
        g_array_set_size(array, 0);
    } else if (stash->len) {
        g_array_prepend_vals(array, stash->data, stash->len);
        g_array_set_size(stash, 0);
    }
}

void pagecache_fault_forget(void)
{
    LOCK_GUARD(&lock);

    if (stash) {
        g_array_set_size(stash, 0);
    }
}

/* --- settings ------------------------------------------------------------- */

const char *pagecache_fault_name(PagecacheFault fault)
{
    return faults[fault].name;
}

bool pagecache_fault_breaks(PagecacheFault fault)
{
    return g_str_has_prefix(faults[fault].name, "break-");
}

static char *all_names(void)
{
    g_autoptr(GString) s = g_string_new(NULL);
    unsigned i;

    for (i = 0; i < PAGECACHE_FAULT__MAX; i++) {
        g_string_append_printf(s, "%s%s", i ? ", " : "", faults[i].name);
    }
    return g_string_free(g_steal_pointer(&s), FALSE);
}

static bool has_parameter(unsigned fault, unsigned p)
{
    return parameters[p].kind == EVENT ||
           parameters[p].kind == faults[fault].kind;
}

static char *all_parameters(unsigned fault)
{
    g_autoptr(GString) s = g_string_new(NULL);
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(parameters); i++) {
        if (has_parameter(fault, i)) {
            g_string_append_printf(s, "%s%s", i ? ", " : "",
                                   parameters[i].name);
        }
    }
    return g_string_free(g_steal_pointer(&s), FALSE);
}

static uint32_t *parameter_of(Settings *set, unsigned p)
{
    return (uint32_t *)((char *)set + parameters[p].offset);
}

/* @text: "name=number" */
static bool parse_parameter(unsigned fault, Settings *set, const char *text,
                            char **err)
{
    g_auto(GStrv) pair = g_strsplit(text, "=", 2);
    const char *value = pair[0] ? pair[1] : NULL;
    guint64 number;
    unsigned i;

    for (i = 0; i < G_N_ELEMENTS(parameters); i++) {
        if (has_parameter(fault, i) &&
            !g_strcmp0(pair[0], parameters[i].name)) {
            break;
        }
    }
    if (i == G_N_ELEMENTS(parameters)) {
        g_autofree char *names = all_parameters(fault);

        *err = g_strdup_printf("fault '%s' has no parameter '%s'; it has: %s",
                               faults[fault].name, pair[0] ?: "", names);
        return false;
    }
    if (!value || !g_ascii_string_to_unsigned(value, 10, parameters[i].min,
                                              parameters[i].max, &number,
                                              NULL)) {
        *err = g_strdup_printf("fault '%s': parameter '%s' is '%s', expected "
                               "a number from %" PRIu64 " to %" PRIu64,
                               faults[fault].name, parameters[i].name,
                               value ?: "", parameters[i].min,
                               parameters[i].max);
        return false;
    }
    *parameter_of(set, i) = number;
    return true;
}

/* @text: "name[:parameter=number]..." */
static bool parse_fault(Settings *all, const char *text, char **err)
{
    g_auto(GStrv) parts = g_strsplit(text, ":", -1);
    const char *name = parts[0] ?: "";
    Settings *set;
    unsigned f, i;

    for (f = 0; f < PAGECACHE_FAULT__MAX; f++) {
        if (!strcmp(name, faults[f].name)) {
            break;
        }
    }
    if (f == PAGECACHE_FAULT__MAX) {
        g_autofree char *names = all_names();

        *err = g_strdup_printf("no fault is called '%s'; there are: %s", name,
                               names);
        return false;
    }
    set = &all[f];
    if (set->armed) {
        *err = g_strdup_printf("fault '%s' is named twice", name);
        return false;
    }
    set->armed = 1;
    set->seed = f + 1;
    set->ms = DEFAULT_MS;
    set->xor = DEFAULT_XOR;
    for (i = 1; parts[i]; i++) {
        if (!parse_parameter(f, set, parts[i], err)) {
            return false;
        }
    }
    if (set->every && set->chance) {
        *err = g_strdup_printf("fault '%s': 'every' and 'chance' exclude each "
                               "other", name);
        return false;
    }
    set->every = set->every ?: 1;
    return true;
}

/* With the lock held */
static void arm(PagecacheFault fault, const Settings *set)
{
    State *s = &states[fault];

    if (!memcmp(&s->settings, set, sizeof(*set))) {
        return;
    }
    s->settings = *set;
    s->seen = s->hits = 0;
    s->turn++;
    g_clear_pointer(&s->rand, g_rand_free);
    if (set->armed) {
        s->rand = g_rand_new_with_seed(set->seed);
    }
    qatomic_set(&pagecache_fault_set[fault], set->armed);
}

bool pagecache_faults_arm(const char *settings, char **err)
{
    Settings all[PAGECACHE_FAULT__MAX] = { };
    g_auto(GStrv) parts = g_strsplit(settings, ",", -1);
    unsigned i;

    for (i = 0; parts[i]; i++) {
        if (!parse_fault(all, parts[i], err)) {
            return false;
        }
    }
    g_mutex_lock(&lock);
    for (i = 0; i < PAGECACHE_FAULT__MAX; i++) {
        arm(i, &all[i]);
    }
    g_cond_broadcast(&changed);
    g_mutex_unlock(&lock);
    return true;
}

char *pagecache_faults_armed(void)
{
    LOCK_GUARD(&lock);
    g_autoptr(GString) out = g_string_new(NULL);
    unsigned f, p;

    for (f = 0; f < PAGECACHE_FAULT__MAX; f++) {
        Settings *set = &states[f].settings;

        if (!set->armed) {
            continue;
        }
        g_string_append_printf(out, "%s%s", out->len ? "," : "",
                               faults[f].name);
        for (p = 0; p < G_N_ELEMENTS(parameters); p++) {
            uint32_t value = *parameter_of(set, p);

            if (has_parameter(f, p) && value >= parameters[p].min &&
                !(set->chance && parameters[p].offset ==
                                 offsetof(Settings, every))) {
                g_string_append_printf(out, ":%s=%u", parameters[p].name,
                                       value);
            }
        }
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

void pagecache_fault_count(PagecacheFault fault, uint64_t *passed,
                           uint64_t *fired)
{
    LOCK_GUARD(&lock);

    *passed = states[fault].passed;
    *fired = states[fault].fired;
}

#endif
