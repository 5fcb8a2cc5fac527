/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: from the queue of hints into the pool
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "exec/ramblock.h"
#include "pagecache-hints.h"
#include "pagecache-intake.h"
#include "trace.h"

/* Added in one go: so long does the end of the thread take at most. */
#define ADD_HINTS_MAX   (32 * 1024)
#define ADD_PAGES_MAX   (4 * 1024 * 1024)

struct PagecacheIntake {
    PagecachePool *pool;
    GHashTable *numbers;
    QemuThread thread;
    bool quit;              /* atomic */
    Stat64 unfit;
};

/*
 * Makes some of @n hints runs; returns how many.  Hints of RAM that came after
 * the start have no number, and are left out.
 */
static guint make_runs(PagecacheIntake *in, const PagecacheQueuedHint *q,
                       guint n, GArray *runs)
{
    const RAMBlock *rb = NULL;
    uint64_t pages = 0;
    guint i, nr = 0;

    g_array_set_size(runs, 0);
    for (i = 0; i < MIN(n, ADD_HINTS_MAX) && pages < ADD_PAGES_MAX; i++) {
        PagecachePoolRun run = {
            .sector = q[i].sector, .page = q[i].page,
            .npages = q[i].npages, .disk = q[i].disk,
            .producer = q[i].producer,
        };

        pages += run.npages;
        if (q[i].rb != rb) {
            rb = q[i].rb;
            nr = GPOINTER_TO_UINT(g_hash_table_lookup(in->numbers, rb));
        }
        if (nr) {
            run.block = nr - 1;
            g_array_append_val(runs, run);
            trace_pagecache_src_hint(run.disk, run.sector, rb->idstr, run.page,
                                     run.npages);
        }
    }
    return i;
}

static void add(PagecacheIntake *in, GArray *runs)
{
    PagecachePoolAdded count;

    pagecache_pool_add(in->pool, (PagecachePoolRun *)runs->data, runs->len,
                       &count);
    stat64_add(&in->unfit, count.unfit);
    if (count.dropped) {
        pagecache_hints_dropped(count.dropped, "no room in the pool");
    }
    trace_pagecache_src_pooled(runs->len, count.added, count.unfit,
                               count.dropped);
}

static void *intake_thread(void *opaque)
{
    PagecacheIntake *in = opaque;
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE,
                                         sizeof(PagecachePoolRun));
    GArray *queue;
    guint i;

    rcu_register_thread();
    while ((queue = pagecache_hints_wait(&in->quit))) {
        for (i = 0; i < queue->len && !qatomic_read(&in->quit);) {
            i += make_runs(in, &g_array_index(queue, PagecacheQueuedHint, i),
                           queue->len - i, runs);
            add(in, runs);
        }
        g_array_unref(queue);
    }
    rcu_unregister_thread();
    return NULL;
}

PagecacheIntake *pagecache_intake_new(PagecachePool *pool, GHashTable *numbers)
{
    PagecacheIntake *in = g_new0(PagecacheIntake, 1);

    in->pool = pool;
    in->numbers = numbers;
    qemu_thread_create(&in->thread, "mig/pc-hints", intake_thread, in,
                       QEMU_THREAD_JOINABLE);
    return in;
}

void pagecache_intake_free(PagecacheIntake *in)
{
    if (in) {
        qatomic_set(&in->quit, true);
        pagecache_hints_wake();
        qemu_thread_join(&in->thread);
        g_free(in);
    }
}

uint64_t pagecache_intake_unfit(PagecacheIntake *in)
{
    return stat64_get(&in->unfit);
}
