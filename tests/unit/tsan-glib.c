/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GLib's mutexes and conditions on top of those of pthreads
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * ThreadSanitizer knows pthread_mutex_t, and does not see what a library does
 * with futexes.  Linked into a program, these take the place of GLib's own for
 * our code (not for GLib's).  A GMutex or GCond that is all zeros gets its
 * object when it is first used.
 */
#include "qemu/osdep.h"
#include <pthread.h>

static pthread_mutex_t *mutex_of(GMutex *mutex)
{
    pthread_mutex_t *m = __atomic_load_n(&mutex->p, __ATOMIC_ACQUIRE);

    if (!m) {
        gpointer none = NULL;

        m = malloc(sizeof(*m));
        pthread_mutex_init(m, NULL);
        if (!__atomic_compare_exchange_n(&mutex->p, &none, m, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            pthread_mutex_destroy(m);
            free(m);
            m = none;
        }
    }
    return m;
}

static pthread_cond_t *cond_of(GCond *cond)
{
    pthread_cond_t *c = __atomic_load_n(&cond->p, __ATOMIC_ACQUIRE);

    if (!c) {
        pthread_condattr_t attr;
        gpointer none = NULL;

        c = malloc(sizeof(*c));
        pthread_condattr_init(&attr);
        pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
        pthread_cond_init(c, &attr);
        pthread_condattr_destroy(&attr);
        if (!__atomic_compare_exchange_n(&cond->p, &none, c, false,
                                         __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            pthread_cond_destroy(c);
            free(c);
            c = none;
        }
    }
    return c;
}

void g_mutex_init(GMutex *mutex)
{
    mutex->p = NULL;
    mutex_of(mutex);
}

void g_mutex_clear(GMutex *mutex)
{
    if (mutex->p) {
        pthread_mutex_destroy(mutex->p);
        free(mutex->p);
        mutex->p = NULL;
    }
}

void g_mutex_lock(GMutex *mutex)
{
    g_assert(!pthread_mutex_lock(mutex_of(mutex)));
}

gboolean g_mutex_trylock(GMutex *mutex)
{
    return !pthread_mutex_trylock(mutex_of(mutex));
}

void g_mutex_unlock(GMutex *mutex)
{
    g_assert(!pthread_mutex_unlock(mutex_of(mutex)));
}

void g_cond_init(GCond *cond)
{
    cond->p = NULL;
    cond_of(cond);
}

void g_cond_clear(GCond *cond)
{
    if (cond->p) {
        pthread_cond_destroy(cond->p);
        free(cond->p);
        cond->p = NULL;
    }
}

void g_cond_signal(GCond *cond)
{
    pthread_cond_signal(cond_of(cond));
}

void g_cond_broadcast(GCond *cond)
{
    pthread_cond_broadcast(cond_of(cond));
}

void g_cond_wait(GCond *cond, GMutex *mutex)
{
    pthread_cond_wait(cond_of(cond), mutex_of(mutex));
}

gboolean g_cond_wait_until(GCond *cond, GMutex *mutex, gint64 end_time)
{
    struct timespec until = {
        .tv_sec = end_time / G_USEC_PER_SEC,
        .tv_nsec = end_time % G_USEC_PER_SEC * 1000,
    };

    return !pthread_cond_timedwait(cond_of(cond), mutex_of(mutex), &until);
}
