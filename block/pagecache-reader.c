/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the destination's own read-only way to the guest's disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The part that all engines share: the queue, the reads in flight, deadlines,
 * the bandwidth cap, and when a disk is given up.
 *
 * One mutex guards it all and is never held across I/O or a callback.  A read
 * in flight belongs to two: its pages to the reader, its bounce buffer to the
 * engine.  Whoever is first under the mutex, the engine with the outcome or
 * the watchdog at the deadline, takes it off the list of reads in flight and
 * thereby the right to tell the caller; the other does nothing.  So a page
 * comes back exactly once, at the deadline at the latest, and a buffer is
 * freed only after the engine has let go of it.
 *
 * The watchdog is a thread of each reader's.  It never touches storage, so
 * nothing can hold it up but the caller's own callback.  It lives until the
 * reader is closed and the last callback has returned; engine threads may
 * live longer, with references of their own.
 */

#include "qemu/osdep.h"
#include <signal.h>
#include "pagecache-reader-int.h"
#include "pagecache-reader-queue.h"
#include "trace.h"

#define SECTOR              512u
#define DEFAULT_SESSIONS    2
#define DEFAULT_DEPTH       8
#define DEFAULT_MAX_READ    (256 * 1024)
#define DEFAULT_DEADLINE_MS 5000
#define DEFAULT_FAILURES    64
#define MAX_SESSIONS        16
#define MAX_DEPTH           128
#define MAX_MAX_READ        (16 * 1024 * 1024)
/* The cap may be exceeded by what it allows in this time... */
#define BURST_US            5000
/* ...and a refusal is final at the third time for each session */
#define MAX_REFUSALS        3
/* Runs put into the queue in one go, with the mutex held */
#define SUBMIT_BATCH        256

const PagecacheEngineOps *pagecache_reader_iscsi_ops;
const PagecacheEngineOps *pagecache_reader_file_ops;

struct PagecacheReader {
    gint refs;                      /* atomic */
    PagecacheReaderConfig config;   /* completed with the defaults; constant */
    PagecacheReaderSpec *spec;      /* constant */
    uint64_t bandwidth;             /* bytes/s or 0; constant */

    GMutex lock;                    /* for all that follows */
    GCond watchdog;                 /* something changed for the watchdog */
    GCond work;                     /* ... for pagecache_reader_next_wait() */
    void *engine;                   /* NULL until started, and if it failed */
    PagecacheReaderState state;
    bool closed;

    PagecacheRunQueue *queue;
    GArray *rejects;                /* PagecachePiece: beyond the disk */
    GQueue inflight;                /* PagecacheRead, by deadline */
    unsigned callbacks;             /* threads inside config.done() */
    bool hungry;                    /* the engine asked and got nothing */

    uint64_t size;                  /* bytes: of the guest's disk */
    uint32_t align;                 /* bytes; 0: no session was up yet */
    uint32_t max_read;              /* bytes, a multiple of the page size */
    unsigned sessions_up;
    unsigned refusals;              /* in a row */
    unsigned failures;              /* in a row */

    int64_t next_us;                /* bandwidth cap: no read before */
    /* work waits but nothing is in flight, since then; 0: not so */
    int64_t stall_us;
    int64_t flush_us;               /* give back what waits then; 0: never */

    GPtrArray *buffers;             /* free ones, of buffer_size() */

    uint64_t bytes_read, bytes_used, reads, errors, timeouts;
    char *last_error;
};

/* --- Life ---------------------------------------------------------------- */

PagecacheReaderSpec *pagecache_reader_spec_alloc(const PagecacheEngineOps *ops)
{
    PagecacheReaderSpec *spec = g_new0(PagecacheReaderSpec, 1);

    spec->ops = ops;
    return spec;
}

void pagecache_reader_spec_free(PagecacheReaderSpec *spec)
{
    if (spec) {
        spec->ops->spec_free(spec);
        g_free(spec->name);
        g_free(spec);
    }
}

PagecacheReader *pagecache_reader_ref(PagecacheReader *r)
{
    g_atomic_int_inc(&r->refs);
    return r;
}

void pagecache_reader_unref(PagecacheReader *r)
{
    if (!g_atomic_int_dec_and_test(&r->refs)) {
        return;
    }
    trace_pagecache_reader_gone(r);
    if (r->engine) {
        r->spec->ops->free(r->engine);
    }
    pagecache_reader_spec_free(r->spec);
    pagecache_run_queue_free(r->queue);
    g_array_free(r->rejects, true);
    g_ptr_array_free(r->buffers, true);
    g_cond_clear(&r->watchdog);
    g_cond_clear(&r->work);
    g_mutex_clear(&r->lock);
    g_free(r->last_error);
    g_free(r);
}

void pagecache_reader_lock(PagecacheReader *r)
{
    g_mutex_lock(&r->lock);
}

void pagecache_reader_unlock(PagecacheReader *r)
{
    g_mutex_unlock(&r->lock);
}

bool pagecache_reader_thread(const char *name, GThreadFunc fn, void *arg)
{
    sigset_t all, old;
    GThread *thread;

    sigfillset(&all);
    sigdelset(&all, SIGSEGV);
    sigdelset(&all, SIGFPE);
    sigdelset(&all, SIGILL);
    sigdelset(&all, SIGBUS);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    thread = g_thread_try_new(name, fn, arg, NULL);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (thread) {
        g_thread_unref(thread);
    }
    return thread != NULL;
}

/* --- With the lock held -------------------------------------------------- */

static void set_error(PagecacheReader *r, const char *why)
{
    if (why && *why) {
        g_free(r->last_error);
        r->last_error = g_strdup(why);
    }
}

static void kick(PagecacheReader *r)
{
    r->hungry = false;
    g_cond_broadcast(&r->work);
    if (r->engine && r->spec->ops->kick) {
        r->spec->ops->kick(r->engine);
    }
}

static bool stopping(PagecacheReader *r)
{
    return r->closed || r->state == PAGECACHE_READER_FAILED;
}

static void give_up(PagecacheReader *r, const char *why)
{
    if (stopping(r)) {
        return;
    }
    trace_pagecache_reader_give_up(r, r->spec->name, why);
    r->state = PAGECACHE_READER_FAILED;
    set_error(r, why);
    g_ptr_array_set_size(r->buffers, 0);
    kick(r);
    g_cond_signal(&r->watchdog);
}

/* A read failed for the reason @why, or (@timeout) for its deadline */
static void count_failure(PagecacheReader *r, const char *why, bool timeout)
{
    g_autofree char *last = NULL;

    r->errors++;
    r->timeouts += timeout;
    set_error(r, why);
    if (++r->failures >= r->config.max_failures) {
        last = g_strdup_printf("%u reads failed in a row, the last one: %s",
                               r->failures,
                               r->last_error ?: "unknown error");
        give_up(r, last);
    }
}

/*
 * Work waits and nothing is in flight: from now on time runs against us.  It
 * does not run while the bandwidth cap holds reads back.
 */
static void check_stall(PagecacheReader *r, int64_t now)
{
    int64_t since = MAX(now, r->next_us);

    if (r->inflight.length || pagecache_run_queue_is_empty(r->queue)) {
        return;
    }
    if (!r->stall_us) {
        r->stall_us = since;
    }
    if (!r->flush_us) {
        r->flush_us = since + r->config.deadline_ms * 1000LL;
        g_cond_signal(&r->watchdog);
    }
}

static void not_stalled(PagecacheReader *r)
{
    r->stall_us = 0;
    r->flush_us = 0;
}

static size_t buffer_size(PagecacheReader *r)
{
    return (size_t)r->config.max_read + 2 * r->align;
}

static uint8_t *buffer_get(PagecacheReader *r)
{
    void *buf;

    if (r->buffers->len) {
        return g_ptr_array_steal_index_fast(r->buffers, r->buffers->len - 1);
    }
    if (posix_memalign(&buf, MAX(r->align, 4096), buffer_size(r))) {
        return NULL;
    }
    return buf;
}

static void buffer_put(PagecacheReader *r, uint8_t *buf)
{
    if (stopping(r)) {
        free(buf);
    } else {
        g_ptr_array_add(r->buffers, buf);
    }
}

static void read_free(PagecacheReader *r, PagecacheRead *read)
{
    if (read->buf) {
        buffer_put(r, read->buf);
    }
    g_array_free(read->pieces, true);
    g_free(read);
}

/* --- The watchdog -------------------------------------------------------- */

static void tell(PagecacheReader *r, GArray *pieces, const uint8_t *buf,
                 int ret)
{
    guint i;

    for (i = 0; i < pieces->len; i++) {
        PagecachePiece *p = &g_array_index(pieces, PagecachePiece, i);

        r->config.done(r->config.opaque, &p->run, buf ? buf + p->offset : NULL,
                       ret);
    }
}

/* With the lock held, which is dropped meanwhile */
static void tell_failed(PagecacheReader *r, GArray *pieces, int ret)
{
    r->callbacks++;
    g_mutex_unlock(&r->lock);
    trace_pagecache_reader_return(r, pieces->len, ret);
    tell(r, pieces, NULL, ret);
    g_mutex_lock(&r->lock);
    r->callbacks--;
}

/* True when the lock was dropped and the watchdog has to look again */
static bool return_rejects(PagecacheReader *r)
{
    GArray *pieces = r->rejects;

    if (!pieces->len) {
        return false;
    }
    r->rejects = g_array_new(false, false, sizeof(PagecachePiece));
    tell_failed(r, pieces, -EINVAL);
    g_array_free(pieces, true);
    return true;
}

static bool revoke_reads(PagecacheReader *r, int64_t now)
{
    PagecacheRead *read = g_queue_peek_head(&r->inflight);
    GArray *pieces;
    int ret;

    if (!read || (!stopping(r) && read->deadline_us > now)) {
        return false;
    }
    g_queue_unlink(&r->inflight, &read->link);
    if (r->closed) {
        ret = -ECANCELED;
    } else if (r->state == PAGECACHE_READER_FAILED) {
        ret = -EIO;
    } else {
        g_autofree char *why = NULL;

        ret = -ETIMEDOUT;
        why = g_strdup_printf("no answer within %u ms to a read of %u bytes "
                              "at %" PRIu64, r->config.deadline_ms,
                              read->bytes, read->offset);
        count_failure(r, why, true);
    }
    trace_pagecache_reader_revoke(r, read->offset, read->bytes, ret);
    check_stall(r, now);
    /*
     * The pieces are ours.  From here on the engine may free the rest at any
     * moment.
     */
    pieces = read->pieces;
    read->pieces = g_array_new(false, false, sizeof(PagecachePiece));
    g_atomic_int_set(&read->revoked, 1);
    kick(r);
    tell_failed(r, pieces, ret);
    g_array_free(pieces, true);
    return true;
}

static bool flush_queue(PagecacheReader *r, int64_t now)
{
    g_autoptr(GArray) pieces = NULL;
    bool late = r->flush_us && now >= r->flush_us;
    int ret = r->closed ? -ECANCELED :
              r->state == PAGECACHE_READER_FAILED ? -EIO : -ETIMEDOUT;

    if (!late && !stopping(r)) {
        return false;
    }
    r->flush_us = 0;
    if (pagecache_run_queue_is_empty(r->queue)) {
        return false;
    }
    pieces = g_array_new(false, false, sizeof(PagecachePiece));
    pagecache_run_queue_flush(r->queue, pieces);
    tell_failed(r, pieces, ret);
    return true;
}

static void check_give_up(PagecacheReader *r, int64_t now)
{
    g_autofree char *why = NULL;

    if (r->stall_us && now - r->stall_us >= r->config.giveup_ms * 1000LL) {
        why = g_strdup_printf("no read could be started for %u ms%s%s",
                              r->config.giveup_ms, r->last_error ? ": " : "",
                              r->last_error ?: "");
        give_up(r, why);
    }
}

static void watchdog_wait(PagecacheReader *r)
{
    PagecacheRead *first = g_queue_peek_head(&r->inflight);
    int64_t until = INT64_MAX;

    if (first) {
        until = first->deadline_us;
    }
    if (!stopping(r)) {
        if (r->flush_us) {
            until = MIN(until, r->flush_us);
        }
        if (r->stall_us) {
            until = MIN(until, r->stall_us + r->config.giveup_ms * 1000LL);
        }
    }
    if (until == INT64_MAX) {
        g_cond_wait(&r->watchdog, &r->lock);
    } else {
        g_cond_wait_until(&r->watchdog, &r->lock, until);
    }
}

static gpointer watchdog_thread(gpointer opaque)
{
    PagecacheReader *r = opaque;

    g_mutex_lock(&r->lock);
    for (;;) {
        int64_t now = g_get_monotonic_time();

        check_give_up(r, now);
        if (return_rejects(r) || revoke_reads(r, now) || flush_queue(r, now)) {
            continue;
        }
        if (r->closed && !r->callbacks) {
            break;
        }
        watchdog_wait(r);
    }
    g_mutex_unlock(&r->lock);

    trace_pagecache_reader_release(r);
    if (r->config.release) {
        r->config.release(r->config.opaque);
    }
    pagecache_reader_unref(r);
    return NULL;
}

/* --- For the engines ----------------------------------------------------- */

uint32_t pagecache_reader_deadline_ms(PagecacheReader *r)
{
    return r->config.deadline_ms;
}

bool pagecache_reader_stopping(PagecacheReader *r)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);

    return stopping(r);
}

void pagecache_reader_give_up(PagecacheReader *r, const char *why)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);

    give_up(r, why);
}

bool pagecache_reader_up(PagecacheReader *r, uint64_t size, uint32_t align,
                         uint32_t max_read, char **why)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);
    const PagecacheReaderSpec *spec = r->spec;
    uint32_t limit = r->config.max_read;

    if (!align || (align & (align - 1)) ||
        align > PAGECACHE_READER_MAX_ALIGN) {
        *why = g_strdup_printf("block length is %u bytes, expected a power of "
                               "two up to %u", align,
                               PAGECACHE_READER_MAX_ALIGN);
        return false;
    }
    if (r->align && r->align != align) {
        *why = g_strdup_printf("block length is %u bytes, was %u bytes for "
                               "the first session", align, r->align);
        return false;
    }
    if (spec->offset > size || spec->size > size - spec->offset) {
        *why = g_strdup_printf("%" PRIu64 " bytes are there, expected %" PRIu64
                               " or more", size, spec->offset + spec->size);
        return false;
    }
    if (max_read) {
        /* a read grows by up to two blocks when it is aligned */
        limit = max_read < 2 * align ? 0 : MIN(limit, max_read - 2 * align);
        limit -= limit % r->config.page_size;
        if (!limit) {
            *why = g_strdup_printf("takes reads of up to %u bytes, expected "
                                   "%u or more", max_read,
                                   r->config.page_size + 2 * align);
            return false;
        }
    }
    r->align = align;
    r->max_read = MIN(r->max_read, limit);
    r->size = spec->size ?: size - spec->offset;
    r->refusals = 0;
    r->sessions_up++;
    if (r->state == PAGECACHE_READER_OPENING) {
        r->state = PAGECACHE_READER_READY;
    }
    not_stalled(r);
    check_stall(r, g_get_monotonic_time());
    trace_pagecache_reader_up(r, spec->name, size, align, r->max_read);
    return true;
}

void pagecache_reader_down(PagecacheReader *r, bool was_up, bool refused,
                           const char *why)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);

    trace_pagecache_reader_down(r, r->spec->name, was_up, why ?: "");
    if (was_up) {
        r->sessions_up--;
    }
    if (stopping(r)) {
        return;
    }
    set_error(r, why);
    if (refused && ++r->refusals >= MAX_REFUSALS * r->config.sessions) {
        give_up(r, why);
    }
}

static void align_read(PagecacheReader *r, PagecacheRead *read,
                       uint64_t sector, uint32_t bytes)
{
    uint64_t start = r->spec->offset + sector * SECTOR;
    uint32_t head = start % r->align;
    guint i;

    read->offset = start - head;
    read->needed = head + bytes;
    read->bytes = (read->needed + r->align - 1) / r->align * r->align;
    for (i = 0; i < read->pieces->len; i++) {
        g_array_index(read->pieces, PagecachePiece, i).offset += head;
    }
}

/* Pays for a read of @bytes out of the bandwidth cap */
static void charge(PagecacheReader *r, uint32_t bytes, int64_t now)
{
    uint64_t cost = 0;

    if (r->bandwidth) {
        cost = (uint64_t)bytes * G_USEC_PER_SEC / r->bandwidth;
    }
    if (r->spec->max_iops) {
        cost = MAX(cost, G_USEC_PER_SEC / r->spec->max_iops);
    }
    if (cost) {
        r->next_us = MAX(r->next_us, now - BURST_US) + cost;
    }
}

static PagecacheRead *next_locked(PagecacheReader *r, int64_t *wait_us)
{
    PagecacheRead *read;
    uint64_t sector;
    uint32_t bytes;
    int64_t now;

    *wait_us = -1;
    if (stopping(r) || !r->align) {
        return NULL;
    }
    if (pagecache_run_queue_is_empty(r->queue)) {
        r->hungry = true;
        return NULL;
    }
    now = g_get_monotonic_time();
    if (now < r->next_us) {
        *wait_us = r->next_us - now;
        return NULL;
    }

    read = g_new0(PagecacheRead, 1);
    read->link.data = read;
    read->pieces = g_array_new(false, false, sizeof(PagecachePiece));
    read->buf = buffer_get(r);
    if (!read->buf) {
        read_free(r, read);
        *wait_us = 100000;
        return NULL;
    }
    if (!pagecache_run_queue_take(r->queue, r->size / SECTOR, r->max_read,
                                  read->pieces, r->rejects, &sector, &bytes)) {
        read_free(r, read);
        r->hungry = true;
        not_stalled(r);
        g_cond_signal(&r->watchdog);
        return NULL;
    }
    align_read(r, read, sector, bytes);
    charge(r, read->bytes, now);
    read->start_us = now;
    read->deadline_us = now + r->config.deadline_ms * 1000LL;
    g_queue_push_tail_link(&r->inflight, &read->link);
    not_stalled(r);
    if (r->inflight.length == 1 || r->rejects->len) {
        g_cond_signal(&r->watchdog);
    }
    trace_pagecache_reader_read(r, read->offset, read->bytes,
                                read->pieces->len);
    return read;
}

PagecacheRead *pagecache_reader_next(PagecacheReader *r, int64_t *wait_us)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);

    return next_locked(r, wait_us);
}

PagecacheRead *pagecache_reader_next_wait(PagecacheReader *r)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);

    while (!stopping(r)) {
        int64_t wait_us;
        PagecacheRead *read = next_locked(r, &wait_us);

        if (read) {
            return read;
        }
        if (wait_us < 0) {
            g_cond_wait(&r->work, &r->lock);
        } else {
            g_cond_wait_until(&r->work, &r->lock,
                              g_get_monotonic_time() + wait_us);
        }
    }
    return NULL;
}

void pagecache_reader_complete(PagecacheReader *r, PagecacheRead *read,
                               int ret, const char *why)
{
    uint64_t used = 0;
    int64_t now;
    guint i;

    g_mutex_lock(&r->lock);
    if (pagecache_read_revoked(read)) {
        /* nobody waits for it any more */
        read_free(r, read);
        g_mutex_unlock(&r->lock);
        return;
    }
    now = g_get_monotonic_time();
    trace_pagecache_reader_complete(r, read->offset, read->bytes, ret,
                                    now - read->start_us);
    g_queue_unlink(&r->inflight, &read->link);
    if (ret == 0) {
        for (i = 0; i < read->pieces->len; i++) {
            used += (uint64_t)r->config.page_size *
                    g_array_index(read->pieces, PagecachePiece, i).run.npages;
        }
        r->reads++;
        r->bytes_read += read->bytes;
        r->bytes_used += used;
        r->failures = 0;
    } else {
        g_autofree char *text = NULL;

        text = g_strdup_printf("a read of %u bytes at %" PRIu64 ": %s",
                               read->bytes, read->offset,
                               why && *why ? why : g_strerror(-ret));
        count_failure(r, text, false);
    }
    check_stall(r, now);
    r->callbacks++;
    g_mutex_unlock(&r->lock);

    tell(r, read->pieces, ret == 0 ? read->buf : NULL, ret);

    g_mutex_lock(&r->lock);
    r->callbacks--;
    if (r->closed) {
        g_cond_signal(&r->watchdog);
    }
    read_free(r, read);
    g_mutex_unlock(&r->lock);
}

/* --- For the caller ------------------------------------------------------ */

static uint64_t min_nonzero(uint64_t a, uint64_t b)
{
    return a && b ? MIN(a, b) : MAX(a, b);
}

static void complete_config(PagecacheReaderConfig *c)
{
    g_assert(c->done && c->page_size >= SECTOR &&
             (c->page_size & (c->page_size - 1)) == 0);
    c->sessions = MIN(c->sessions ?: DEFAULT_SESSIONS, MAX_SESSIONS);
    c->depth = MIN(c->depth ?: DEFAULT_DEPTH, MAX_DEPTH);
    c->max_read = MIN(c->max_read ?: DEFAULT_MAX_READ, MAX_MAX_READ);
    c->max_read -= c->max_read % c->page_size;
    c->max_read = MAX(c->max_read, c->page_size);
    c->deadline_ms = c->deadline_ms ?: DEFAULT_DEADLINE_MS;
    c->max_failures = c->max_failures ?:
                      MAX(DEFAULT_FAILURES, 4 * c->sessions * c->depth);
    c->giveup_ms = c->giveup_ms ?: (uint32_t)MIN(3ull * c->deadline_ms,
                                                 UINT32_MAX);
}

PagecacheReader *pagecache_reader_open(PagecacheReaderSpec *spec,
                                       const PagecacheReaderConfig *config)
{
    PagecacheReader *r = g_new0(PagecacheReader, 1);
    g_autofree char *why = NULL;
    void *engine;

    r->refs = 1;
    r->config = *config;
    complete_config(&r->config);
    r->spec = spec;
    r->bandwidth = min_nonzero(r->config.max_bandwidth, spec->max_bandwidth);
    r->max_read = r->config.max_read;
    g_mutex_init(&r->lock);
    g_cond_init(&r->watchdog);
    g_cond_init(&r->work);
    g_queue_init(&r->inflight);
    r->queue = pagecache_run_queue_new(r->config.page_size);
    r->rejects = g_array_new(false, false, sizeof(PagecachePiece));
    r->buffers = g_ptr_array_new_with_free_func(free);
    trace_pagecache_reader_open(r, spec->ops->name, spec->name,
                                r->config.sessions, r->config.depth,
                                r->config.max_read, r->bandwidth);

    pagecache_reader_ref(r);
    if (!pagecache_reader_thread("pagecache-watch", watchdog_thread, r)) {
        r->refs = 1;
        pagecache_reader_unref(r);
        return NULL;
    }

    engine = spec->ops->start(r, spec, r->config.sessions, r->config.depth,
                              &why);
    g_mutex_lock(&r->lock);
    r->engine = engine;
    if (!engine) {
        give_up(r, why ?: "the reader's engine could not be started");
    }
    g_mutex_unlock(&r->lock);
    return r;
}

void pagecache_reader_submit(PagecacheReader *r, const PagecacheRun *runs,
                             size_t n)
{
    size_t i = 0;

    while (i < n) {
        size_t end = MIN(n, i + SUBMIT_BATCH);

        g_mutex_lock(&r->lock);
        for (; i < end; i++) {
            pagecache_run_queue_add(r->queue, &runs[i]);
        }
        if (stopping(r)) {
            g_cond_signal(&r->watchdog);
        } else {
            check_stall(r, g_get_monotonic_time());
            if (r->hungry) {
                kick(r);
            }
        }
        g_mutex_unlock(&r->lock);
    }
}

void pagecache_reader_stats(PagecacheReader *r, PagecacheReaderStats *stats)
{
    g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&r->lock);

    *stats = (PagecacheReaderStats) {
        .engine = r->spec->ops->name,
        .state = r->state,
        .sessions = r->sessions_up,
        .bytes_read = r->bytes_read,
        .bytes_used = r->bytes_used,
        .reads = r->reads,
        .errors = r->errors,
        .timeouts = r->timeouts,
        .last_error = g_strdup(r->last_error),
    };
}

void pagecache_reader_close(PagecacheReader *r)
{
    g_mutex_lock(&r->lock);
    trace_pagecache_reader_close(r, r->inflight.length);
    r->closed = true;
    g_ptr_array_set_size(r->buffers, 0);
    kick(r);
    g_cond_signal(&r->watchdog);
    g_mutex_unlock(&r->lock);
    pagecache_reader_unref(r);
}
