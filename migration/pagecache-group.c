/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a member of a group that shares one bandwidth
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Pure code on GLib.  What the file holds is other processes', so it is read
 * and written, and not mapped: a file that is cut would be the end of whoever
 * has it mapped.
 */
#include "qemu/osdep.h"
#ifndef _WIN32
#include <fcntl.h>
#include <sys/stat.h>
#endif
#include "qemu/atomic.h"
#include "qemu/pagecache-thread.h"
#include "pagecache-group.h"
#include "pagecache-share.h"

/* A share before there is one: as good as nothing */
#define NOTHING_YET     1

struct PagecacheGroup {
    int refs;                   /* atomic: the owner's and the thread's */
    char *path;
    PagecacheBudget *budget;

    /* the thread's */
    PagecacheShare *share;
    uint64_t spent;             /* at the last turn, */
    int64_t last_us;            /* when that was; 0: not yet */
    size_t offset;              /* of our record; 0: there is none */

    GMutex lock;                /* for the following */
    GCond cond;                 /* @left */
    bool left;
    PagecacheGroupInfo info;
};

static void group_unref(PagecacheGroup *g)
{
    if (qatomic_fetch_dec(&g->refs) > 1) {
        return;
    }
    pagecache_share_free(g->share);
    g_mutex_clear(&g->lock);
    g_cond_clear(&g->cond);
    g_free(g->info.error);
    g_free(g->path);
    g_free(g);
}

/* --- the file --- */

#ifdef _WIN32
static int open_file(PagecacheGroup *g, char **why)
{
    *why = g_strdup("not supported on this host");
    return -1;
}
#else
static int open_file(PagecacheGroup *g, char **why)
{
    int fd = open(g->path, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;

    if (fd < 0) {
        *why = g_strdup_printf("can't be opened: %s", g_strerror(errno));
        return -1;
    }
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        *why = g_strdup("is no file, expected one with a number of bytes a "
                        "second");
        close(fd);
        return -1;
    }
    return fd;
}
#endif

static size_t read_file(int fd, char *buf, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while (len < size) {
        n = read(fd, buf + len, size - len);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            break;
        }
        len += n;
    }
    return len;
}

/* If that fails, the others don't know of us, until it works again. */
static void write_at(int fd, size_t offset, const char *record)
{
    if (offset && lseek(fd, offset, SEEK_SET) >= 0) {
        ssize_t n = write(fd, record, PAGECACHE_SHARE_RECORD);

        (void)n;
    }
}

/* --- the thread --- */

/*
 * Bytes a second: all that there are if somebody had to wait for the budget,
 * else what was spent and some more.
 */
static uint64_t what_we_want(PagecacheGroup *g)
{
    uint64_t spent = stat64_get(&g->budget->spent);
    int64_t now = g_get_monotonic_time(), us = MAX(now - g->last_us, 1);
    uint64_t bytes = spent >= g->spent ? spent - g->spent : spent;
    bool first = !g->last_us;

    g->spent = spent;
    g->last_us = now;
    if (pagecache_budget_was_short(g->budget) || first) {
        return UINT64_MAX;
    }
    return bytes * 1.25 * G_USEC_PER_SEC / us;
}

static void put_share(PagecacheGroup *g, bool known,
                      const PagecacheShareTurn *turn, char *why)
{
    LOCK_GUARD(&g->lock);

    if (g->left) {
        g_free(why);
        return;
    }
    g_free(g->info.error);
    g->info.error = why;
    if (known) {
        g->info.known = true;
        g->info.bandwidth = turn->bandwidth;
        g->info.share = turn->share;
        g->info.members = turn->members;
        pagecache_budget_set_share(g->budget, turn->share);
    }
}

static void take_turn(PagecacheGroup *g)
{
    char buf[PAGECACHE_SHARE_BYTES];
    PagecacheShareTurn turn = { };
    char *why = NULL;
    bool known = false;
    int fd = open_file(g, &why);

    if (fd >= 0) {
        known = pagecache_share_turn(g->share, g_get_monotonic_time() / 1000,
                                     buf, read_file(fd, buf, sizeof(buf)),
                                     what_we_want(g), &turn, &why);
        write_at(fd, turn.offset, turn.record);
        g->offset = turn.offset;
        close(fd);
    }
    put_share(g, known, &turn, why);
}

/* The others need not wait until our record is out of date. */
static void say_goodbye(PagecacheGroup *g)
{
    char record[PAGECACHE_SHARE_RECORD];
    char *why = NULL;
    int fd = g->offset ? open_file(g, &why) : -1;

    if (fd >= 0) {
        pagecache_share_left(record);
        write_at(fd, g->offset, record);
        close(fd);
    }
    g_free(why);
}

static gpointer group_thread(gpointer opaque)
{
    PagecacheGroup *g = opaque;
    int64_t next = g_get_monotonic_time();

    g_mutex_lock(&g->lock);
    while (!g->left) {
        g_mutex_unlock(&g->lock);
        take_turn(g);
        next = MAX(next + PAGECACHE_SHARE_TURN_MS * 1000,
                   g_get_monotonic_time());
        g_mutex_lock(&g->lock);
        while (!g->left && g_cond_wait_until(&g->cond, &g->lock, next)) {
            /* woken for nothing */
        }
    }
    g_mutex_unlock(&g->lock);
    say_goodbye(g);
    group_unref(g);
    return NULL;
}

/* --- for the owner --- */

PagecacheGroup *pagecache_group_join(const char *path, PagecacheBudget *budget)
{
    PagecacheGroup *g = g_new0(PagecacheGroup, 1);
    GThread *thread;

    g->refs = 2;
    g->path = g_strdup(path);
    g->budget = budget;
    g->share = pagecache_share_new((uint64_t)g_random_int() << 32 |
                                   g_random_int());
    g_mutex_init(&g->lock);
    g_cond_init(&g->cond);
    pagecache_budget_set_share(budget, NOTHING_YET);
    thread = pagecache_thread_new("pagecache-group", group_thread, g);
    if (thread) {
        g_thread_unref(thread);
    } else {
        g->info.error = g_strdup("no thread could be created");
        group_unref(g);
    }
    return g;
}

void pagecache_group_leave(PagecacheGroup *g)
{
    if (!g) {
        return;
    }
    g_mutex_lock(&g->lock);
    g->left = true;
    pagecache_budget_set_share(g->budget, 0);
    g_cond_signal(&g->cond);
    g_mutex_unlock(&g->lock);
    group_unref(g);
}

void pagecache_group_info(PagecacheGroup *g, PagecacheGroupInfo *info)
{
    LOCK_GUARD(&g->lock);

    *info = g->info;
    info->error = g_strdup(g->info.error);
}
