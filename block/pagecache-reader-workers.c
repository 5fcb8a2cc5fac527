/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: threads for what may block for ever, for all readers
 * together
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Opening a file, reading it without io_uring, and closing it may hang for
 * ever where a server is dead.  A few threads do that for all disks.  One that
 * has not come back for a while is not counted any more and another takes its
 * place, so that a disk that hangs does not hold up the others; all of them
 * together are bounded, and a disk whose first read hangs has one of them.
 *
 * One thread more than those that work is there as long as anything is: it
 * waits for the next moment at which something is due, and for a worker to
 * become late.
 */

#include "qemu/osdep.h"
#include "pagecache-reader-file.h"

/* At work, those that are late not counted */
#define MAX_WORKING     16u
#define MAX_THREADS     64u
/* A step that takes longer is late */
#define LATE_US         G_USEC_PER_SEC
/* A thread that nobody needs ends */
#define IDLE_US         G_USEC_PER_SEC

static GMutex lock;             /* for all that follows */
static GCond cond;
static GQueue queue;            /* of PcrWork with a step to do */
static GQueue waiting;          /* ...of those with a due_us */
static unsigned nworks;         /* not ended */
static unsigned nthreads;
static unsigned nsteps;         /* of them, in step() */
static unsigned nidle;          /* ...and in work_wait() */
static int64_t began_us[MAX_THREADS];   /* by thread: in step() since; or 0 */
static bool taken[MAX_THREADS];         /* there is such a thread */

static gpointer worker_thread(gpointer opaque);

/* All of the following with the lock held */

static bool new_thread(void)
{
    unsigned i;

    for (i = 0; i < MAX_THREADS; i++) {
        if (taken[i]) {
            continue;
        }
        if (!pagecache_reader_thread("pagecache-work", worker_thread,
                                     GUINT_TO_POINTER(i))) {
            return false;
        }
        taken[i] = true;
        nthreads++;
        return true;
    }
    return false;
}

/* *@late_us: when the next of them is late */
static unsigned count_working(int64_t now, int64_t *late_us)
{
    unsigned i, n = 0;

    *late_us = INT64_MAX;
    for (i = 0; i < MAX_THREADS; i++) {
        if (began_us[i] && began_us[i] + LATE_US > now) {
            *late_us = MIN(*late_us, began_us[i] + LATE_US);
            n++;
        }
    }
    return n;
}

static void enqueue(PcrWork *w)
{
    if (w->due_us) {
        g_queue_unlink(&waiting, &w->link);
        w->due_us = 0;
        w->queued = false;
    }
    if (w->ended || w->queued) {
        return;
    }
    if (w->running >= w->allowed) {
        w->again = true;
        return;
    }
    w->queued = true;
    w->again = false;
    g_queue_push_tail_link(&queue, &w->link);
    g_cond_signal(&cond);
}

static void enqueue_due(int64_t now, int64_t *next_us)
{
    GList *l, *next;

    *next_us = INT64_MAX;
    for (l = waiting.head; l; l = next) {
        PcrWork *w = l->data;

        next = l->next;
        if (w->due_us <= now) {
            enqueue(w);
        } else {
            *next_us = MIN(*next_us, w->due_us);
        }
    }
}

static void wait_until(PcrWork *w, int64_t due_us)
{
    if (!w->ended && !w->queued) {
        w->queued = true;
        w->due_us = due_us;
        g_queue_push_tail_link(&waiting, &w->link);
        g_cond_signal(&cond);
    }
}

static void run_step(PcrWork *w, unsigned me)
{
    int64_t next_us;

    w->queued = false;
    w->running++;
    if (++nsteps == nthreads) {
        new_thread();
    }
    began_us[me] = g_get_monotonic_time();
    g_mutex_unlock(&lock);
    next_us = w->step(w);
    g_mutex_lock(&lock);
    began_us[me] = 0;
    nsteps--;
    if (next_us == PCR_WORK_GONE) {
        return;
    }
    w->running--;
    if (next_us == 0 || w->again || (w->ending && !w->running)) {
        enqueue(w);
    } else if (next_us > 0) {
        wait_until(w, g_get_monotonic_time() + next_us);
    }
}

/* False: not woken for as long as a thread may be idle */
static bool work_wait(int64_t until_us)
{
    int64_t idle_us = g_get_monotonic_time() + IDLE_US;
    bool woken;

    nidle++;
    woken = g_cond_wait_until(&cond, &lock, MIN(until_us, idle_us));
    nidle--;
    return woken || until_us < idle_us;
}

static gpointer worker_thread(gpointer opaque)
{
    unsigned me = GPOINTER_TO_UINT(opaque);

    g_mutex_lock(&lock);
    for (;;) {
        int64_t now = g_get_monotonic_time(), due_us, late_us;
        unsigned working;

        enqueue_due(now, &due_us);
        working = count_working(now, &late_us);
        if (queue.length && working < MAX_WORKING) {
            run_step(g_queue_pop_head_link(&queue)->data, me);
            continue;
        }
        if (!nworks) {
            break;
        }
        if (queue.length) {
            due_us = MIN(due_us, late_us);
        }
        if (!work_wait(due_us) && nidle) {
            break;
        }
    }
    taken[me] = false;
    nthreads--;
    g_mutex_unlock(&lock);
    return NULL;
}

bool pcr_work_init(PcrWork *w, int64_t (*step)(PcrWork *w_))
{
    bool ok = true;

    *w = (PcrWork) { .step = step, .allowed = 1 };
    w->link.data = w;
    g_mutex_lock(&lock);
    if (nsteps == nthreads) {
        ok = new_thread() || nthreads;
    }
    nworks += ok;
    g_mutex_unlock(&lock);
    return ok;
}

void pcr_work_push(PcrWork *w)
{
    g_mutex_lock(&lock);
    enqueue(w);
    g_mutex_unlock(&lock);
}

void pcr_work_allow(PcrWork *w, unsigned n)
{
    g_mutex_lock(&lock);
    w->allowed = n;
    g_mutex_unlock(&lock);
}

bool pcr_work_end(PcrWork *w)
{
    bool alone;

    g_mutex_lock(&lock);
    alone = w->running == 1;
    w->ending = true;
    if (alone && !w->ended) {
        w->ended = true;
        if (w->due_us) {
            g_queue_unlink(&waiting, &w->link);
        } else if (w->queued) {
            g_queue_unlink(&queue, &w->link);
        }
        w->due_us = 0;
        w->queued = false;
        if (!--nworks) {
            g_cond_broadcast(&cond);
        }
    }
    g_mutex_unlock(&lock);
    return alone;
}
