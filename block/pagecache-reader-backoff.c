/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: fewer reads in flight while the storage is slow
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What is usual is learned with a full window only.  A reader that has backed
 * off sees its reads come faster for that reason alone; if it took that for
 * usual, its own reads would be too slow for it once it had come back.
 */
#include "qemu/osdep.h"
#include "pagecache-reader-backoff.h"

void pcr_backoff_init(PcrBackoff *b, unsigned max)
{
    memset(b, 0, sizeof(*b));
    b->max = b->window = max;
    b->full = true;
}

static unsigned size_class(uint32_t bytes)
{
    unsigned class = 0;

    while (bytes >>= 1) {
        class++;
    }
    return MIN(class, PCR_BACKOFF_SIZES - 1);
}

/* Do this round's reads take twice the usual time, of those that have one? */
static bool is_slow(const PcrBackoff *b)
{
    double took = 0, usual = 0;
    unsigned i, n = 0;

    for (i = 0; i < PCR_BACKOFF_SIZES; i++) {
        if (b->usual_us[i]) {
            took += b->round.us[i];
            usual += b->usual_us[i] * b->round.n[i];
            n += b->round.n[i];
        }
    }
    return took > 2 * usual && took > usual + (double)n * PCR_BACKOFF_SLACK_US;
}

/* It falls by a quarter of the difference, and rises with time. */
static void learn_size(PcrBackoff *b, unsigned i, double mean, int64_t now)
{
    double past = now - b->learned_us;
    double *usual = &b->usual_us[i];

    if (!*usual) {
        *usual = MAX(mean, 1);
    } else if (mean > *usual) {
        *usual += (mean - *usual) * past / (past + PCR_BACKOFF_FORGET_US);
    } else if (b->full) {
        *usual += (mean - *usual) / 4;
    }
}

static void learn(PcrBackoff *b, int64_t now)
{
    unsigned i;

    for (i = 0; i < PCR_BACKOFF_SIZES; i++) {
        /* too few are no lesson */
        if (b->lesson.n[i] * 8 >= b->lesson.all) {
            learn_size(b, i, b->lesson.us[i] / b->lesson.n[i], now);
        }
    }
    b->learned_us = now;
    b->full = true;
    memset(&b->lesson, 0, sizeof(b->lesson));
}

static void end_round(PcrBackoff *b, int64_t now)
{
    unsigned i;

    b->full = b->full && b->window >= MIN(b->max, b->peak);
    for (i = 0; i < PCR_BACKOFF_SIZES; i++) {
        b->lesson.us[i] += b->round.us[i];
        b->lesson.n[i] += b->round.n[i];
    }
    b->lesson.all += b->round.all;
    memset(&b->round, 0, sizeof(b->round));
    if (b->lesson.all >= PCR_BACKOFF_LESSON * PCR_BACKOFF_ROUND) {
        learn(b, now);
    }
}

bool pcr_backoff_read(PcrBackoff *b, uint32_t bytes, int64_t start,
                      int64_t now)
{
    unsigned class = size_class(bytes), before = b->window;
    bool slow;

    if (!b->max || start < b->changed_us) {
        return false;
    }
    b->round.us[class] += MAX(now - start, 0);
    b->round.n[class]++;
    if (++b->round.all < PCR_BACKOFF_ROUND) {
        return false;
    }
    slow = is_slow(b);
    end_round(b, now);
    if (slow) {
        b->window = MAX(MIN(b->window, b->peak) / 2,
                        MIN(PCR_BACKOFF_MIN, b->max));
        /* The next round has what comes of that. */
        b->changed_us = now;
    } else {
        b->window = MIN(b->window + 1, b->max);
    }
    return b->window != before;
}
