/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of the skip-pagecache readers share: a disk whose content is
 * known at every sector, and a sink that counts how often each page came back
 * and with what.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TEST_PAGECACHE_READER_LIB_H
#define TEST_PAGECACHE_READER_LIB_H

#include "pagecache-reader-int.h"

#define SECTOR  512u
#define PAGE    4096u
#define MiB     (1024u * 1024)

/* What stands in word @i of the sector at byte @offset of the storage */
static inline uint64_t pattern_word(uint64_t offset, unsigned i)
{
    return (offset / SECTOR + 1) * 0x9e3779b97f4a7c15ull + i;
}

/* @offset and @bytes: multiples of the sector size */
static inline void pattern_fill(uint8_t *buf, uint64_t offset, size_t bytes)
{
    size_t pos;
    unsigned i;

    for (pos = 0; pos < bytes; pos += SECTOR) {
        for (i = 0; i < SECTOR / 8; i++) {
            uint64_t word = pattern_word(offset + pos, i);

            memcpy(buf + pos + 8 * i, &word, 8);
        }
    }
}

static inline bool pattern_holds(const uint8_t *buf, uint64_t offset,
                                 size_t bytes)
{
    size_t pos;
    unsigned i;

    for (pos = 0; pos < bytes; pos += SECTOR) {
        for (i = 0; i < SECTOR / 8; i++) {
            uint64_t word = pattern_word(offset + pos, i);

            if (memcmp(buf + pos + 8 * i, &word, 8)) {
                return false;
            }
        }
    }
    return true;
}

/* Makes @path a file of @bytes with the pattern */
static inline void pattern_file(const char *path, size_t bytes)
{
    g_autofree uint8_t *buf = g_malloc(bytes);
    GError *err = NULL;

    pattern_fill(buf, 0, bytes);
    g_file_set_contents(path, (char *)buf, bytes, &err);
    g_assert_no_error(err);
}

/*
 * Pages are numbered from 0, each submitted once; sector_of[] says what each
 * should hold.
 */
typedef struct Sink {
    GMutex lock;
    GCond cond;
    uint64_t offset;            /* of the guest's disk in the storage */
    unsigned npages;
    uint64_t *sector_of;
    uint8_t *times;             /* the page came back */
    int *ret;
    unsigned calls;
    unsigned returned;          /* pages */
    unsigned good;
    bool released;
    unsigned late;              /* pages that came back after the release */
    unsigned delay_us;          /* of each callback */
} Sink;

static inline Sink *sink_new(unsigned max_pages, uint64_t offset)
{
    Sink *s = g_new0(Sink, 1);

    g_mutex_init(&s->lock);
    g_cond_init(&s->cond);
    s->offset = offset;
    s->sector_of = g_new0(uint64_t, max_pages);
    s->times = g_new0(uint8_t, max_pages);
    s->ret = g_new0(int, max_pages);
    return s;
}

static inline void sink_free(Sink *s)
{
    g_mutex_clear(&s->lock);
    g_cond_clear(&s->cond);
    g_free(s->sector_of);
    g_free(s->times);
    g_free(s->ret);
    g_free(s);
}

/* The run of the next @n pages, at @sector */
static inline PagecacheRun sink_run(Sink *s, uint64_t sector, unsigned n)
{
    PagecacheRun run = {
        .sector = sector, .page = s->npages, .block = 7, .npages = n,
        .tag = s->npages, .index = 5,
    };
    unsigned i;

    g_mutex_lock(&s->lock);
    for (i = 0; i < n; i++) {
        s->sector_of[s->npages++] = sector + i * (PAGE / SECTOR);
    }
    g_mutex_unlock(&s->lock);
    return run;
}

/* With the lock; @data: its content or NULL */
static inline void sink_run_done(Sink *s, const PagecacheRun *run,
                                 const uint8_t *data, int ret)
{
    unsigned i;

    g_assert_cmpuint(run->block, ==, 7);
    g_assert_cmpuint(run->index - 5, ==, run->page - run->tag);
    g_assert_cmpuint(run->npages, >, 0);
    g_assert_cmpuint(run->page + run->npages, <=, s->npages);
    g_assert((data != NULL) == (ret == 0));
    for (i = 0; i < run->npages; i++) {
        uint64_t page = run->page + i;
        uint64_t sector = run->sector + i * (PAGE / SECTOR);

        g_assert_cmphex(sector, ==, s->sector_of[page]);
        s->times[page]++;
        g_assert_cmpuint(s->times[page], ==, 1);
        s->ret[page] = ret;
        s->late += s->released;
        s->returned++;
        if (data) {
            g_assert(pattern_holds(data + i * PAGE,
                                   s->offset + sector * SECTOR, PAGE));
            s->good++;
        }
    }
}

static inline void sink_done(void *opaque, const PagecachePiece *pieces,
                             size_t n, const uint8_t *data, int ret)
{
    Sink *s = opaque;
    size_t i;

    if (s->delay_us) {
        g_usleep(s->delay_us);
    }
    g_mutex_lock(&s->lock);
    s->calls++;
    g_assert_cmpuint(n, >, 0);
    for (i = 0; i < n; i++) {
        sink_run_done(s, &pieces[i].run,
                      data ? data + pieces[i].offset : NULL, ret);
    }
    g_cond_broadcast(&s->cond);
    g_mutex_unlock(&s->lock);
}

static inline void sink_release(void *opaque)
{
    Sink *s = opaque;

    g_mutex_lock(&s->lock);
    g_assert(!s->released);
    s->released = true;
    g_cond_broadcast(&s->cond);
    g_mutex_unlock(&s->lock);
}

/* Waits until @pages are back; false: not within @ms */
static inline bool sink_wait(Sink *s, unsigned pages, unsigned ms)
{
    int64_t until = g_get_monotonic_time() + ms * 1000LL;
    bool ok = true;

    g_mutex_lock(&s->lock);
    while (s->returned < pages && ok) {
        ok = g_cond_wait_until(&s->cond, &s->lock, until);
    }
    ok = s->returned >= pages;
    g_mutex_unlock(&s->lock);
    return ok;
}

static inline bool sink_wait_release(Sink *s, unsigned ms)
{
    int64_t until = g_get_monotonic_time() + ms * 1000LL;
    bool ok = true;

    g_mutex_lock(&s->lock);
    while (!s->released && ok) {
        ok = g_cond_wait_until(&s->cond, &s->lock, until);
    }
    ok = s->released;
    g_mutex_unlock(&s->lock);
    return ok;
}

static inline unsigned sink_good(Sink *s)
{
    unsigned n;

    g_mutex_lock(&s->lock);
    n = s->good;
    g_mutex_unlock(&s->lock);
    return n;
}

static inline PagecacheReaderConfig sink_config(Sink *s)
{
    return (PagecacheReaderConfig) {
        .page_size = PAGE,
        .done = sink_done,
        .release = sink_release,
        .opaque = s,
    };
}

/* Closes @r, which must return at once, and sees to the end of it all */
static inline void close_and_check(PagecacheReader *r, Sink *s)
{
    int64_t start = g_get_monotonic_time();

    pagecache_reader_close(r);
    g_assert_cmpint(g_get_monotonic_time() - start, <, 1000 * 1000);
    g_assert(sink_wait_release(s, 5000));
    g_assert_cmpuint(s->returned, ==, s->npages);
    g_assert_cmpuint(s->late, ==, 0);
    sink_free(s);
}

/* Pages [@first, @first + @n) came back with @ret */
static inline void assert_ret(Sink *s, unsigned first, unsigned n, int ret)
{
    unsigned i;

    g_mutex_lock(&s->lock);
    for (i = first; i < first + n; i++) {
        g_assert_cmpuint(s->times[i], ==, 1);
        g_assert_cmpint(s->ret[i], ==, ret);
    }
    g_mutex_unlock(&s->lock);
}

static inline PagecacheReaderState reader_state(PagecacheReader *r)
{
    PagecacheReaderStats stats;

    pagecache_reader_stats(r, &stats);
    g_free(stats.last_error);
    return stats.state;
}

/* Waits until @r is in @state; false: not within @ms */
static inline bool wait_state(PagecacheReader *r, PagecacheReaderState state,
                              unsigned ms)
{
    int64_t until = g_get_monotonic_time() + ms * 1000LL;

    while (reader_state(r) != state) {
        if (g_get_monotonic_time() > until) {
            return false;
        }
        g_usleep(2000);
    }
    return true;
}

/* The last error has @text in it */
static inline void assert_error(PagecacheReader *r, const char *text)
{
    PagecacheReaderStats stats;

    pagecache_reader_stats(r, &stats);
    g_assert_nonnull(stats.last_error);
    if (!strstr(stats.last_error, text)) {
        g_error("last error is \"%s\", expected \"%s\" in it",
                stats.last_error, text);
    }
    g_free(stats.last_error);
}

#endif
