/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw files and block devices: reads
 * by io_uring
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One ring for all disks that are open now, with one thread that fills and
 * reaps it and does nothing else: what was read is handed to workers, which
 * call the reader's callbacks (a copy and a digest, so several of them).  The
 * ring goes with the last disk, when none of its reads is under way any more.
 *
 * A disk gets one read after the other in turn, up to its depth, so that those
 * which are slow do not keep the ring from the others.
 */

#include "qemu/osdep.h"
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include "pagecache-reader-fault.h"
#include "pagecache-reader-file.h"

/* Reads in flight of all disks; one entry more is the eventfd's */
#define RING_READS      255u
#define RING_ENTRIES    256u
/* Workers that call back */
#define COMPLETERS      4u
/* Descriptors: the ring's and its eventfd */
#define RING_FDS        2u
/* EAGAIN and EINTR in a row for one read */
#define MAX_RETRIES     100u
/* The kernel's own threads, for reads that it can't start without waiting */
#define MAX_KERNEL_THREADS 8u

typedef struct PcrRing Ring;

typedef struct RingRead {
    PcrFile *d;
    PagecacheRead *read;
    uint32_t done;          /* bytes */
    unsigned retries;
    unsigned before;        /* pcr_direct_cached() */
    int ret;
    const char *why;
    GList link;             /* in finished */
} RingRead;

struct PcrRing {
    gint refs;              /* atomic: the thread's and the completer's */
    gint ended;             /* atomic: nothing is finished any more */
    struct io_uring uring;  /* the thread's, once it runs */
    int event;              /* eventfd */

    GMutex lock;            /* for the following */
    GQueue woken;           /* of PcrFile: something to do */
    bool signalled;         /* the eventfd was written to */
    GQueue finished;        /* of RingRead */

    PcrWork completer;

    /* the thread's */
    GQueue ready;           /* of PcrFile that may get a read */
    GQueue waiting;         /* ...not before their wait_us */
    unsigned inflight;
    bool quit;              /* no disk is left, and none can come */

    unsigned ndisks;        /* with ring_lock */
};

/* The ring that disks are added to; NULL: none */
static GMutex ring_lock;
static Ring *the_ring;

/* --- Workers: what comes of reads ----------------------------------------- */

static RingRead *pop_finished(Ring *ring, bool *more)
{
    GList *link;

    g_mutex_lock(&ring->lock);
    link = g_queue_pop_head_link(&ring->finished);
    *more = ring->finished.length;
    g_mutex_unlock(&ring->lock);
    return link ? link->data : NULL;
}

static void ring_unref(Ring *ring)
{
    if (!g_atomic_int_dec_and_test(&ring->refs)) {
        return;
    }
    io_uring_queue_exit(&ring->uring);
    close(ring->event);
    g_mutex_clear(&ring->lock);
    g_free(ring);
}

static int64_t complete_step(PcrWork *w)
{
    Ring *ring = container_of(w, Ring, completer);
    PagecacheReader *r;
    RingRead *rr;
    bool more;

    rr = pop_finished(ring, &more);
    if (!rr) {
        if (g_atomic_int_get(&ring->ended) && pcr_work_end(w)) {
            ring_unref(ring);
            return PCR_WORK_GONE;
        }
        return PCR_WORK_WAIT;
    }
    if (more) {
        pcr_work_push(w);
    }
    r = rr->d->r;
    if (rr->ret == 0) {
        const char *not_direct = pcr_direct_check(&rr->d->f, rr->read,
                                                  rr->before);

        if (not_direct) {
            pagecache_reader_give_up(r, not_direct);
            rr->ret = -EIO;
        }
    }
    pagecache_reader_complete(r, rr->read, rr->ret, rr->why);
    pagecache_reader_unref(r);
    g_free(rr);
    return 0;
}

/* --- The ring's thread ---------------------------------------------------- */

static void make_ready(Ring *ring, PcrFile *d)
{
    if (d->wait_us) {
        g_queue_unlink(&ring->waiting, &d->ready_link);
        d->wait_us = 0;
        d->ready = false;
    }
    if (!d->ready) {
        d->ready = true;
        g_queue_push_tail_link(&ring->ready, &d->ready_link);
    }
}

static void take_woken(Ring *ring)
{
    GList *link;

    g_mutex_lock(&ring->lock);
    ring->signalled = false;
    while ((link = g_queue_pop_head_link(&ring->woken))) {
        PcrFile *d = link->data;

        d->woken = false;
        make_ready(ring, d);
    }
    g_mutex_unlock(&ring->lock);
}

static void take_waiting(Ring *ring)
{
    int64_t now = g_get_monotonic_time();
    GList *l, *next;

    for (l = ring->waiting.head; l; l = next) {
        PcrFile *d = l->data;

        next = l->next;
        if (d->wait_us <= now) {
            make_ready(ring, d);
        }
    }
}

/* When the first of those that wait may have its read */
static int64_t first_waiting(Ring *ring)
{
    int64_t until_us = INT64_MAX;
    GList *l;

    for (l = ring->waiting.head; l; l = l->next) {
        PcrFile *d = l->data;

        until_us = MIN(until_us, d->wait_us);
    }
    return until_us;
}

static struct io_uring_sqe *get_sqe(Ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);

    while (!sqe) {
        io_uring_submit(&ring->uring);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    return sqe;
}

static void start_read(Ring *ring, RingRead *rr)
{
    PagecacheRead *read = rr->read;
    struct io_uring_sqe *sqe = get_sqe(ring);
    uint32_t want = pcr_fault_want(read->bytes - rr->done, rr->d->f.align);

    if (want) {
        io_uring_prep_read(sqe, rr->d->f.fd, read->buf + rr->done, want,
                           read->offset + rr->done);
    } else {
        io_uring_prep_nop(sqe);     /* a fault on purpose: brings 0 bytes */
    }
    io_uring_sqe_set_data(sqe, rr);
}

static void finish_read(Ring *ring, RingRead *rr)
{
    ring->inflight--;
    rr->d->inflight--;
    make_ready(ring, rr->d);
    g_mutex_lock(&ring->lock);
    g_queue_push_tail_link(&ring->finished, &rr->link);
    g_mutex_unlock(&ring->lock);
    pcr_work_push(&ring->completer);
}

static void reap_read(Ring *ring, RingRead *rr, int res)
{
    if ((res == -EINTR || res == -EAGAIN) && rr->retries++ < MAX_RETRIES) {
        start_read(ring, rr);
        return;
    }
    if (res > 0) {
        rr->retries = 0;
        rr->done += res;
        if (rr->done < rr->read->needed) {
            start_read(ring, rr);
            return;
        }
    } else if (res == 0) {
        rr->ret = -EIO;
        rr->why = "the file ends before";
    } else {
        rr->ret = res;
    }
    finish_read(ring, rr);
}

/* The disk is closed by a worker; it may be gone at once */
static void let_go(Ring *ring, PcrFile *d)
{
    PagecacheReader *r = pagecache_reader_ref(d->r);

    g_mutex_lock(&ring_lock);
    if (!--ring->ndisks) {
        ring->quit = true;
        the_ring = NULL;
    }
    g_mutex_unlock(&ring_lock);

    pagecache_reader_lock(r);       /* no kick any more */
    d->in_ring = false;
    g_mutex_lock(&ring->lock);
    if (d->woken) {
        g_queue_unlink(&ring->woken, &d->woken_link);
        d->woken = false;
    }
    g_mutex_unlock(&ring->lock);
    pcr_work_push(&d->work);
    pagecache_reader_unlock(r);
    pagecache_reader_unref(r);
}

/* One read for @d, which is at the end of the line then */
static void feed(Ring *ring, PcrFile *d)
{
    PagecacheRead *read;
    int64_t wait_us;
    RingRead *rr;

    d->ready = false;
    if (d->inflight >= d->max_inflight) {
        return;             /* finish_read() brings it back */
    }
    read = pagecache_reader_next(d->r, &wait_us);
    if (!read) {
        if (pagecache_reader_stopping(d->r)) {
            if (!d->inflight) {
                let_go(ring, d);
            }
        } else if (wait_us >= 0) {
            d->ready = true;
            d->wait_us = g_get_monotonic_time() + wait_us;
            g_queue_push_tail_link(&ring->waiting, &d->ready_link);
        }
        return;
    }
    rr = g_new0(RingRead, 1);
    rr->d = d;
    rr->read = read;
    rr->link.data = rr;
    rr->before = pcr_direct_cached(&d->f, read->offset, read->bytes);
    pagecache_reader_ref(d->r);
    d->inflight++;
    ring->inflight++;
    start_read(ring, rr);
    make_ready(ring, d);
}

static void wait_for_event(Ring *ring)
{
    struct io_uring_sqe *sqe = get_sqe(ring);

    io_uring_prep_poll_add(sqe, ring->event, POLLIN);
    io_uring_sqe_set_data(sqe, NULL);
}

static void reap(Ring *ring)
{
    struct io_uring_cqe *cqe;

    while (io_uring_peek_cqe(&ring->uring, &cqe) == 0) {
        RingRead *rr = io_uring_cqe_get_data(cqe);
        int res = cqe->res;
        uint64_t count;

        io_uring_cqe_seen(&ring->uring, cqe);
        if (rr) {
            reap_read(ring, rr, res);
        } else {
            /* EAGAIN when there was nothing: fine */
            if (read(ring->event, &count, sizeof(count)) < 0) {
                count = 0;
            }
            wait_for_event(ring);
        }
    }
}

static void ring_wait(Ring *ring, int64_t until_us)
{
    struct io_uring_cqe *cqe;
    struct __kernel_timespec ts;
    int64_t left;

    if (until_us == INT64_MAX) {
        io_uring_submit_and_wait(&ring->uring, 1);
        return;
    }
    io_uring_submit(&ring->uring);
    left = MAX(until_us - g_get_monotonic_time(), 1);
    ts.tv_sec = left / G_USEC_PER_SEC;
    ts.tv_nsec = left % G_USEC_PER_SEC * 1000;
    io_uring_wait_cqe_timeout(&ring->uring, &cqe, &ts);
}

static gpointer ring_thread(gpointer opaque)
{
    Ring *ring = opaque;
    unsigned workers[] = { MAX_KERNEL_THREADS, MAX_KERNEL_THREADS };

    /* Linux 5.15; before, there may be more of them */
    io_uring_register_iowq_max_workers(&ring->uring, workers);
    wait_for_event(ring);
    while (!ring->quit) {
        take_woken(ring);
        take_waiting(ring);
        while (ring->ready.length && ring->inflight < RING_READS) {
            feed(ring, g_queue_pop_head_link(&ring->ready)->data);
        }
        if (!ring->quit) {
            ring_wait(ring, first_waiting(ring));
            reap(ring);
        }
    }
    g_atomic_int_set(&ring->ended, 1);
    pcr_work_push(&ring->completer);
    ring_unref(ring);
    return NULL;
}

/* --- A new ring ----------------------------------------------------------- */

/* Some sandboxes let a ring be made, and nothing be done with it */
static int try_ring(struct io_uring *uring)
{
    struct io_uring_probe *probe = io_uring_get_probe_ring(uring);
    bool has_read = probe && io_uring_opcode_supported(probe, IORING_OP_READ);
    struct io_uring_cqe *cqe;
    int ret;

    io_uring_free_probe(probe);
    if (!has_read) {
        return -EOPNOTSUPP;     /* before Linux 5.6 */
    }
    io_uring_prep_nop(io_uring_get_sqe(uring));
    ret = io_uring_submit_and_wait(uring, 1);
    if (ret >= 0) {
        ret = io_uring_wait_cqe(uring, &cqe);
    }
    if (ret < 0) {
        return ret;
    }
    io_uring_cqe_seen(uring, cqe);
    return 0;
}

static Ring *ring_new(char **why)
{
    Ring *ring = g_new0(Ring, 1);
    int ret;

    ret = io_uring_queue_init(RING_ENTRIES, &ring->uring, 0);
    if (ret < 0) {
        *why = g_strdup_printf("no io_uring: %s", g_strerror(-ret));
        g_free(ring);
        return NULL;
    }
    ret = try_ring(&ring->uring);
    if (ret < 0) {
        *why = g_strdup_printf("no io_uring: %s", g_strerror(-ret));
        goto fail_ring;
    }
    ring->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->event < 0) {
        *why = g_strdup_printf("no eventfd: %s", g_strerror(errno));
        goto fail_ring;
    }
    g_mutex_init(&ring->lock);
    ring->refs = 2;
    ring->ndisks = 1;       /* the caller's */
    if (!pcr_work_init(&ring->completer, complete_step)) {
        goto fail_thread;
    }
    pcr_work_allow(&ring->completer, COMPLETERS);
    if (!pagecache_reader_thread("pagecache-uring", ring_thread, ring)) {
        goto fail_thread;
    }
    return ring;

fail_thread:
    *why = g_strdup("no io_uring: cannot create a thread");
    close(ring->event);
fail_ring:
    io_uring_queue_exit(&ring->uring);
    g_free(ring);
    return NULL;
}

bool pcr_ring_add(PcrFile *d, char **why)
{
    Ring *ring;

    g_mutex_lock(&ring_lock);
    ring = the_ring;
    if (ring) {
        ring->ndisks++;
    } else if (pagecache_reader_fds_reserve(RING_FDS, why)) {
        ring = ring_new(why);
        pagecache_reader_fds_opened(RING_FDS);
        the_ring = ring;
    }
    g_mutex_unlock(&ring_lock);
    if (!ring) {
        return false;
    }
    pagecache_reader_lock(d->r);
    d->ring = ring;
    d->in_ring = true;
    pcr_ring_kick(d);
    pagecache_reader_unlock(d->r);
    return true;
}

void pcr_ring_kick(PcrFile *d)
{
    Ring *ring = d->ring;
    uint64_t one = 1;
    bool signal = false;

    g_mutex_lock(&ring->lock);
    if (!d->woken) {
        d->woken = true;
        g_queue_push_tail_link(&ring->woken, &d->woken_link);
        signal = !ring->signalled;
        ring->signalled = true;
    }
    /* fails only when the counter is full: then it is awake anyway */
    if (signal && write(ring->event, &one, sizeof(one)) < 0) {
        signal = false;
    }
    g_mutex_unlock(&ring->lock);
}
