/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: GLib's threads and mutexes, for what does without QEMU's
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef QEMU_PAGECACHE_THREAD_H
#define QEMU_PAGECACHE_THREAD_H

#ifndef _WIN32
#include <signal.h>
#endif

/*
 * Holds a GMutex up to the end of the scope.  G_GNUC_UNUSED: clang says so of
 * what is freed and otherwise not looked at.
 */
#define LOCK_GUARD(mutex) \
    g_autoptr(GMutexLocker) G_GNUC_UNUSED locker = g_mutex_locker_new(mutex)

/*
 * A thread that QEMU's signals are not for: with all of them blocked but those
 * that are its own.  The caller owns the reference; NULL: no thread can be had.
 * Any thread.
 */
static inline GThread *pagecache_thread_new(const char *name, GThreadFunc fn,
                                            void *arg)
{
#ifdef _WIN32
    return g_thread_try_new(name, fn, arg, NULL);
#else
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
    return thread;
#endif
}

#endif
