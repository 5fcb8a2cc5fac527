/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw files and block devices: who
 * calls back when a ring's reads have ended
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What was read is given to the reader's callback (a copy and a digest) by
 * workers, or by the ring's thread itself.  To wake a worker takes longer than
 * to copy some pages, so the thread does it as long as it has the time: where
 * callbacks would keep it too busy, or where they block, workers do it.
 */

#include "qemu/osdep.h"
#include "pagecache-reader-file.h"

/* Workers that call back, and what one takes at a time */
#define COMPLETERS      4u
#define COMPLETER_BYTES (256u * 1024)
#define COMPLETER_READS 8u
/* Percent of the ring's thread that reads and callbacks may take */
#define KEEPS_UP        75
/* ...but callbacks that are less of that are not worth a worker */
#define WORTH           30
/* How often that is looked at; a thread that did not keep up has to wait */
#define LOOK_US         20000
#define CALM            10u
/* Callbacks that take longer than this do so after more reads were started */
#define LONG_US         5

struct PcrCompleter {
    gint refs;              /* atomic: the ring's and the workers' */
    gint ended;             /* atomic: nothing is finished any more */
    PcrWork work;

    GMutex lock;            /* for the following */
    GQueue finished;        /* of PcrRingRead: for workers */
    int64_t helped_us;      /* of workers in callbacks, since the last look */

    /* the thread's */
    GQueue done;            /* of PcrRingRead: for the callbacks */
    unsigned calm;          /* looks in a row at which it had the time */
    bool helps;             /* it calls back by itself... */
    bool lingers;           /* ...and that takes long */
    int64_t called_us;      /* ...and took so long since the last look */
    int64_t look_us;        /* when that was, */
    int64_t look_ns;        /* ...and the CPU time then */
};

/* --- What comes of reads -------------------------------------------------- */

static void complete_read(PcrRingRead *rr)
{
    PagecacheReader *r = rr->d->r;

    if (rr->not_direct) {
        pagecache_reader_give_up(r, rr->not_direct);
        rr->ret = -EIO;
    }
    pagecache_reader_complete(r, rr->read, rr->ret, rr->why);
    pagecache_reader_unref(r);
    g_free(rr);
}

/* How long it took, in microseconds */
static int64_t complete_all(GQueue *reads)
{
    int64_t began = g_get_monotonic_time();
    GList *link;

    while ((link = g_queue_pop_head_link(reads))) {
        complete_read(link->data);
    }
    return g_get_monotonic_time() - began;
}

static void completer_unref(PcrCompleter *c)
{
    if (g_atomic_int_dec_and_test(&c->refs)) {
        g_mutex_clear(&c->lock);
        g_free(c);
    }
}

/* --- Workers -------------------------------------------------------------- */

/* Some for one worker; true: there are more */
static bool pop_finished(PcrCompleter *c, GQueue *reads)
{
    uint32_t bytes = 0;
    bool more;

    g_mutex_lock(&c->lock);
    while (c->finished.length && bytes < COMPLETER_BYTES &&
           reads->length < COMPLETER_READS) {
        GList *link = g_queue_pop_head_link(&c->finished);
        PcrRingRead *rr = link->data;

        g_queue_push_tail_link(reads, link);
        bytes += rr->read->bytes;
    }
    more = c->finished.length;
    g_mutex_unlock(&c->lock);
    return more;
}

static int64_t complete_step(PcrWork *w)
{
    PcrCompleter *c = container_of(w, PcrCompleter, work);
    GQueue reads = G_QUEUE_INIT;
    int64_t took;

    if (pop_finished(c, &reads)) {
        pcr_work_push(w);
    }
    if (!reads.length) {
        if (g_atomic_int_get(&c->ended) && pcr_work_end(w)) {
            completer_unref(c);
            return PCR_WORK_GONE;
        }
        return PCR_WORK_WAIT;
    }
    took = complete_all(&reads);
    g_mutex_lock(&c->lock);
    c->helped_us += took;
    g_mutex_unlock(&c->lock);
    return 0;
}

/* --- Whether the ring's thread has the time ------------------------------- */

static int64_t thread_ns(void)
{
    struct timespec ts;

    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts) < 0) {
        return 0;
    }
    return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/*
 * How busy the thread is, or would be if it called back.  That is its CPU time,
 * but a callback that blocks counts as well.
 */
static void look(PcrCompleter *c)
{
    int64_t now = g_get_monotonic_time(), took = now - c->look_us;
    int64_t ns, busy_us, called_us;

    if (took < LOOK_US) {
        return;
    }
    ns = thread_ns();
    called_us = c->called_us;
    busy_us = MAX((ns - c->look_ns) / 1000, called_us);
    c->look_ns = ns;
    c->look_us = now;
    c->called_us = 0;
    g_mutex_lock(&c->lock);
    called_us += c->helped_us;
    busy_us += c->helped_us;
    c->helped_us = 0;
    g_mutex_unlock(&c->lock);
    if (busy_us < took * KEEPS_UP / 100 ||
        called_us < busy_us * WORTH / 100) {
        c->calm = MIN(c->calm + 1, CALM);
    } else {
        c->calm = 0;
    }
    c->helps = c->calm == CALM;
}

/* --- For the ring --------------------------------------------------------- */

bool pcr_completer_lingers(PcrCompleter *c)
{
    if (!c->done.length) {
        return false;
    }
    look(c);
    return c->helps && c->lingers;
}

void pcr_completer_run(PcrCompleter *c)
{
    guint n = c->done.length;
    GList *link;

    if (!n) {
        return;
    }
    if (c->helps) {
        int64_t took = complete_all(&c->done);

        c->called_us += took;
        c->lingers = took > n * LONG_US;
        return;
    }
    g_mutex_lock(&c->lock);
    while ((link = g_queue_pop_head_link(&c->done))) {
        g_queue_push_tail_link(&c->finished, link);
    }
    g_mutex_unlock(&c->lock);
    pcr_work_push(&c->work);
}

void pcr_completer_add(PcrCompleter *c, PcrRingRead *rr)
{
    g_queue_push_tail_link(&c->done, &rr->link);
}

void pcr_completer_begin(PcrCompleter *c)
{
    c->look_us = g_get_monotonic_time();
    c->look_ns = thread_ns();
    c->calm = CALM - 1;
}

PcrCompleter *pcr_completer_new(void)
{
    PcrCompleter *c = g_new0(PcrCompleter, 1);

    if (!pcr_work_init(&c->work, complete_step)) {
        g_free(c);
        return NULL;
    }
    pcr_work_allow(&c->work, COMPLETERS);
    g_mutex_init(&c->lock);
    c->refs = 2;
    return c;
}

void pcr_completer_end(PcrCompleter *c)
{
    g_atomic_int_set(&c->ended, 1);
    pcr_work_push(&c->work);
    completer_unref(c);
}
