/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how fast both wires are, and what follows from it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "pagecache-pace.h"

/* What the usual time of a report is before the first one has come */
#define PATIENCE_START_MS 1000
#define PATIENCE_MAX_MS 2000

void pagecache_rate_add(PagecacheRate *rate, int64_t now, uint64_t bytes)
{
    int64_t slot = now / PAGECACHE_RATE_SLOT_MS;

    if (!rate->start) {
        rate->start = MAX(now, 1);
        rate->slot = slot;
    }
    if (slot - rate->slot >= PAGECACHE_RATE_SLOTS) {
        memset(rate->bytes, 0, sizeof(rate->bytes));
        rate->slot = slot;
    }
    while (rate->slot < slot) {
        rate->slot++;
        rate->bytes[rate->slot % PAGECACHE_RATE_SLOTS] = 0;
    }
    rate->bytes[rate->slot % PAGECACHE_RATE_SLOTS] += bytes;
}

uint64_t pagecache_rate_get(const PagecacheRate *rate, int64_t now)
{
    int64_t slot = now / PAGECACHE_RATE_SLOT_MS;
    int64_t oldest = slot - PAGECACHE_RATE_SLOTS + 1;
    int64_t from, i;
    uint64_t sum = 0;

    if (!rate->start || now < rate->start + 100) {
        return 0;
    }
    for (i = MAX(oldest, rate->slot - PAGECACHE_RATE_SLOTS + 1);
         i <= rate->slot; i++) {
        if (i >= 0) {
            sum += rate->bytes[i % PAGECACHE_RATE_SLOTS];
        }
    }
    from = MAX(rate->start, oldest * PAGECACHE_RATE_SLOT_MS);
    return sum * 1000 / MAX(now - from, 1);
}

void pagecache_pace_turn(PagecachePace *pace, int64_t now, uint64_t in_flight,
                         bool reported)
{
    if (in_flight && reported && pace->quiet_since) {
        int64_t pause = MIN(now - pace->quiet_since, PAGECACHE_PAUSE_MAX_MS);

        /* Another may follow: it is forgotten slowly. */
        pace->pause_ms = MAX(pause, pace->pause_ms * 7 / 8);
    }
    if (!in_flight || reported) {
        pace->quiet_since = MAX(now, 1);
    }
    /* The window need not be a number of whole pages. */
    pace->full = in_flight >= pagecache_pace_window(pace) / 16 * 15;
}

void pagecache_pace_reported(PagecachePace *pace, int64_t now, uint64_t bytes,
                             int64_t age)
{
    double work_ms = MAX(PAGECACHE_WINDOW_MS,
                         pace->pause_ms * PAGECACHE_WINDOW_PAUSES);
    int64_t way_ms;

    pagecache_rate_add(&pace->storage, now, bytes);
    if (!pace->report_ms) {
        pace->report_ms = MAX(age, 1);
        pace->least_ms = age;
    } else {
        pace->report_ms += (age - pace->report_ms) / 16;
        pace->least_ms = MIN(pace->least_ms, age);
    }
    way_ms = MIN(pace->least_ms, PAGECACHE_PAUSE_MAX_MS);
    pace->window = MAX(pace->window, PAGECACHE_WINDOW_MIN);
    if (age < way_ms + work_ms * 2 / 3) {
        pace->window += pace->full ? bytes : 0;
    } else if (age > way_ms + work_ms) {
        uint64_t rate = pagecache_rate_get(&pace->storage, now);
        uint64_t fair = rate * (way_ms + work_ms) / 1000;

        if (rate && pace->window > fair) {
            pace->window = MAX(fair, PAGECACHE_WINDOW_MIN);
        }
    }
}

uint64_t pagecache_pace_window(const PagecachePace *pace)
{
    return MAX(pace->window, PAGECACHE_WINDOW_MIN);
}

void pagecache_channel_sent(PagecacheChannel *channel, int64_t now,
                            uint64_t total)
{
    if (!channel->started || total < channel->total) {
        channel->started = true;
    } else {
        pagecache_rate_add(&channel->rate, now, total - channel->total);
    }
    channel->total = total;
}

void pagecache_channel_share(const PagecacheChannel *channel, int64_t now,
                             uint64_t *low, uint64_t *chunk)
{
    uint64_t rate = pagecache_rate_get(&channel->rate, now);

    *low = MAX(PAGECACHE_CHANNEL_MIN / 2,
               rate * PAGECACHE_CHANNEL_LOW_MS / 1000);
    *chunk = MAX(PAGECACHE_CHANNEL_MIN,
                 rate * PAGECACHE_CHANNEL_CHUNK_MS / 1000);
}

/* What is left of the disks after @time, at their own speed */
static double left_after(const PagecacheTail *disks, unsigned n, double time)
{
    double sum = 0;
    unsigned i;

    for (i = 0; i < n; i++) {
        sum += MAX(0, disks[i].in_flight - disks[i].rate * time);
    }
    return sum;
}

void pagecache_pace_tail(PagecacheTail *disks, unsigned n, uint64_t channel,
                         uint64_t todo)
{
    double early = 0, late = 0, time;
    unsigned i, step;

    for (i = 0; i < n; i++) {
        if (disks[i].rate) {
            late = MAX(late, disks[i].in_flight / (double)disks[i].rate);
        }
    }
    /* The channel sends @todo and what is left: the more, the earlier it is. */
    for (step = 0; step < 50; step++) {
        time = (early + late) / 2;
        if (channel * time > todo + left_after(disks, n, time)) {
            late = time;
        } else {
            early = time;
        }
    }
    for (i = 0; i < n; i++) {
        disks[i].share = !channel ? 0 :
                         MAX(0, disks[i].in_flight - disks[i].rate * late);
    }
}

uint64_t pagecache_pace_pending(uint64_t bytes, uint64_t proof,
                                uint64_t channel)
{
    return proof && proof < channel ? (double)bytes / proof * channel : bytes;
}

int64_t pagecache_pace_patience(const PagecachePace *pace)
{
    if (!pace->report_ms) {
        return PATIENCE_START_MS;
    }
    return MIN(MAX(PAGECACHE_PATIENCE_MIN_MS, 2 * pace->report_ms),
               PATIENCE_MAX_MS);
}

bool pagecache_pace_is_low(uint64_t storage, uint64_t channel, uint64_t bytes)
{
    return storage && channel &&
           bytes < (storage + (double)channel) * PAGECACHE_LOW_MS / 1000;
}
