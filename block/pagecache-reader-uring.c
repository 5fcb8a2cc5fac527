/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw files and block devices: reads
 * by io_uring
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A few rings for all disks that are open now, as one thread does not keep up
 * with fast ones: each with a thread that fills and reaps it.  A disk is put on
 * the ring that has the fewest, and a ring goes with its last disk, when none
 * of its reads is under way any more.
 *
 * A disk gets one read after the other in turn, up to its depth, so that those
 * which are slow do not keep the ring from the others.
 *
 * What was read goes to a completer (pagecache-reader-completer.c).
 */

#include "qemu/osdep.h"
#include <liburing.h>
#include <poll.h>
#include <sys/eventfd.h>
#include "pagecache-reader-fault.h"
#include "pagecache-reader-file.h"

/* ...but not more than processors */
#define MAX_RINGS       2u
/* Reads in flight in a ring; one more is the eventfd's */
#define RING_READS      1023u
#define RING_COMPLETIONS 1024u
/* ...of which so many are started by one system call */
#define RING_ENTRIES    256u
/* Descriptors: the ring's and its eventfd */
#define RING_FDS        2u
/* EAGAIN and EINTR in a row for one read */
#define MAX_RETRIES     100u
/* Reads that are reaped before others are started */
#define REAP_READS      16u
/* The kernel's own threads, for reads that it can't start without waiting */
#define MAX_KERNEL_THREADS 8u

typedef struct PcrRing Ring;

struct PcrRing {
    gint refs;              /* atomic: the thread's and its maker's */
    struct io_uring uring;  /* the thread's */
    int event;              /* eventfd */

    GMutex lock;            /* for the following */
    GCond cond;             /* @tried */
    bool tried;             /* to make the ring: */
    int error;              /* 0: there is one; or a negative errno */
    GQueue woken;           /* of PcrFile: something to do */
    bool asleep;            /* the thread waits, or is about to */

    /* the thread's */
    PcrCompleter *completer;
    GQueue ready;           /* of PcrFile that may get a read */
    GQueue waiting;         /* ...not before their wait_us */
    unsigned inflight;
    bool quit;              /* no disk is left, and none can come */

    unsigned ndisks;        /* with rings_lock */
    unsigned number;        /* in rings[]; constant */
};

/* Rings that disks are added to; NULL: none */
static GMutex rings_lock;
static Ring *rings[MAX_RINGS];

static void ring_unref(Ring *ring)
{
    if (!g_atomic_int_dec_and_test(&ring->refs)) {
        return;
    }
    if (!ring->error) {
        io_uring_queue_exit(&ring->uring);
    }
    close(ring->event);
    g_cond_clear(&ring->cond);
    g_mutex_clear(&ring->lock);
    g_free(ring);
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
    ring->asleep = false;
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

static void start_read(Ring *ring, PcrRingRead *rr)
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

static void finish_read(Ring *ring, PcrRingRead *rr)
{
    if (rr->ret == 0) {
        /* now: once none is in flight the disk may be closed */
        rr->not_direct = pcr_direct_check(&rr->d->f, rr->read, rr->before);
    }
    ring->inflight--;
    rr->d->inflight--;
    make_ready(ring, rr->d);
    pcr_completer_add(ring->completer, rr);
}

static void reap_read(Ring *ring, PcrRingRead *rr, int res)
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

    g_mutex_lock(&rings_lock);
    if (!--ring->ndisks) {
        ring->quit = true;
        rings[ring->number] = NULL;
    }
    g_mutex_unlock(&rings_lock);

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
    PcrRingRead *rr;

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
    rr = g_new0(PcrRingRead, 1);
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

static void feed_all(Ring *ring)
{
    while (ring->ready.length && ring->inflight < RING_READS) {
        feed(ring, g_queue_pop_head_link(&ring->ready)->data);
    }
}

static void call_back(Ring *ring)
{
    if (pcr_completer_lingers(ring->completer)) {
        feed_all(ring);
        io_uring_submit(&ring->uring);
    }
    pcr_completer_run(ring->completer);
}

static void wait_for_event(Ring *ring)
{
    struct io_uring_sqe *sqe = get_sqe(ring);

    io_uring_prep_poll_add(sqe, ring->event, POLLIN);
    io_uring_sqe_set_data(sqe, NULL);
}

static void take_event(Ring *ring)
{
    uint64_t count;

    /* EAGAIN when there was nothing: fine */
    if (read(ring->event, &count, sizeof(count)) < 0) {
        count = 0;
    }
    wait_for_event(ring);
}

/* Some of what has come; the disks are to get more before the rest */
static void reap(Ring *ring)
{
    struct io_uring_cqe *cqe;
    unsigned i;

    for (i = 0; i < REAP_READS &&
                io_uring_peek_cqe(&ring->uring, &cqe) == 0; i++) {
        PcrRingRead *rr = io_uring_cqe_get_data(cqe);
        int res = cqe->res;

        io_uring_cqe_seen(&ring->uring, cqe);
        if (rr) {
            reap_read(ring, rr, res);
        } else {
            take_event(ring);
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

/* False: there is something to do */
static bool may_sleep(Ring *ring)
{
    bool may;

    g_mutex_lock(&ring->lock);
    may = !ring->woken.length;
    ring->asleep = may;
    g_mutex_unlock(&ring->lock);
    return may;
}

static void ring_run(Ring *ring)
{
    unsigned workers[] = { MAX_KERNEL_THREADS, MAX_KERNEL_THREADS };

    /* Linux 5.15; before, there may be more of them */
    io_uring_register_iowq_max_workers(&ring->uring, workers);
    pcr_completer_begin(ring->completer);
    wait_for_event(ring);
    while (!ring->quit) {
        if (may_sleep(ring)) {
            ring_wait(ring, first_waiting(ring));
        }
        reap(ring);
        take_woken(ring);
        take_waiting(ring);
        call_back(ring);
        feed_all(ring);
    }
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

/*
 * With what makes completions cheap for one thread, where the kernel has it
 * (Linux 6.1 and 5.19).  In the thread that is to use the ring.
 */
static int init_ring(struct io_uring *uring)
{
    static const unsigned flags[] = {
#ifdef IORING_SETUP_DEFER_TASKRUN
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
#endif
#ifdef IORING_SETUP_COOP_TASKRUN
        IORING_SETUP_COOP_TASKRUN,
#endif
        0,
    };
    int ret = -EINVAL, i;

    for (i = 0; ret == -EINVAL && i < G_N_ELEMENTS(flags); i++) {
        struct io_uring_params params = {
            .flags = flags[i] | IORING_SETUP_CQSIZE,
            .cq_entries = RING_COMPLETIONS,
        };

        ret = io_uring_queue_init_params(RING_ENTRIES, uring, &params);
    }
    if (ret < 0) {
        return ret;
    }
    ret = try_ring(uring);
    if (ret < 0) {
        io_uring_queue_exit(uring);
    }
    return ret;
}

static gpointer ring_thread(gpointer opaque)
{
    Ring *ring = opaque;
    int error = init_ring(&ring->uring);

    g_mutex_lock(&ring->lock);
    ring->error = error;
    ring->tried = true;
    g_cond_signal(&ring->cond);
    g_mutex_unlock(&ring->lock);
    if (error == 0) {
        ring_run(ring);
    }
    pcr_completer_end(ring->completer);
    ring_unref(ring);
    return NULL;
}

/* The thread is making the ring; that takes no storage */
static int wait_tried(Ring *ring)
{
    int error;

    g_mutex_lock(&ring->lock);
    while (!ring->tried) {
        g_cond_wait(&ring->cond, &ring->lock);
    }
    error = ring->error;
    g_mutex_unlock(&ring->lock);
    return error;
}

static Ring *ring_new(unsigned number, char **why)
{
    Ring *ring = g_new0(Ring, 1);
    int error;

    ring->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->event < 0) {
        *why = g_strdup_printf("no eventfd: %s", g_strerror(errno));
        g_free(ring);
        return NULL;
    }
    g_mutex_init(&ring->lock);
    g_cond_init(&ring->cond);
    ring->refs = 2;         /* the thread's, ours */
    ring->number = number;
    ring->ndisks = 1;       /* the caller's */
    ring->error = -ENOSYS;
    ring->completer = pcr_completer_new();
    if (!ring->completer) {
        *why = g_strdup("no io_uring: cannot create a thread");
        ring->refs = 1;
        ring_unref(ring);
        return NULL;
    }
    if (!pagecache_reader_thread("pagecache-uring", ring_thread, ring)) {
        *why = g_strdup("no io_uring: cannot create a thread");
        ring->refs = 1;
        pcr_completer_end(ring->completer);
        ring_unref(ring);
        return NULL;
    }
    error = wait_tried(ring);
    ring_unref(ring);
    if (error) {
        *why = g_strdup_printf("no io_uring: %s", g_strerror(-error));
        return NULL;
    }
    return ring;
}

/* --- Rings; with rings_lock ----------------------------------------------- */

static unsigned fewest_disks(void)
{
    unsigned n = MIN(g_get_num_processors(), MAX_RINGS), i, best = 0;

    for (i = 1; i < n && rings[best]; i++) {
        if (!rings[i] || rings[i]->ndisks < rings[best]->ndisks) {
            best = i;
        }
    }
    return best;
}

static Ring *ring_for_disk(char **why)
{
    unsigned number = fewest_disks(), i;

    if (!rings[number] && pagecache_reader_fds_reserve(RING_FDS, why)) {
        rings[number] = ring_new(number, why);
        pagecache_reader_fds_opened(RING_FDS);
        if (rings[number]) {
            return rings[number];
        }
    }
    /* where one more can't be had, the other will do */
    for (i = 0; i < MAX_RINGS && !rings[number]; i++) {
        number = i;
    }
    if (rings[number]) {
        rings[number]->ndisks++;
        g_clear_pointer(why, g_free);
    }
    return rings[number];
}

/* --- For a disk ----------------------------------------------------------- */

bool pcr_ring_add(PcrFile *d, char **why)
{
    Ring *ring;

    g_mutex_lock(&rings_lock);
    ring = ring_for_disk(why);
    g_mutex_unlock(&rings_lock);
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

    g_mutex_lock(&ring->lock);
    if (!d->woken) {
        d->woken = true;
        g_queue_push_tail_link(&ring->woken, &d->woken_link);
    }
    /* fails only when the counter is full: then it is awake anyway */
    if (ring->asleep && write(ring->event, &one, sizeof(one)) > 0) {
        ring->asleep = false;
    }
    g_mutex_unlock(&ring->lock);
}
