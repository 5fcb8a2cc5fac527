/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for everything that QEMU's block layer
 * can open: image formats, backing chains, NBD, RBD, iSER, ...
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The image is opened a second time, read-only, without locks and without the
 * host's page cache, in an iothread of its own.
 *
 * What the clone sees may be old: while the source's guest writes, an image
 * format changes its tables under us, and we have some of them in memory.
 * That costs pages which the source then finds to differ and sends itself;
 * no page is believed because of what a reader read.
 *
 * Limits, and the reason why raw images on iSCSI and raw files don't come
 * this way: opening the clone is synchronous in the main thread, as it is for
 * the guest's own disk.  Every request holds the block graph's lock for
 * reading as long as it lives, so a read that hangs for ever holds up
 * whoever wants to change the graph (hot-plug) or to drain all of it (stop,
 * quit).  The deadline gives the pages back; it can't end such a read.
 *
 * Threads: opening and closing happen in the main loop, reads in the iothread.
 * The clone is closed by a bottom half of the main loop after the last read
 * has come back, never with reads in flight, because that would drain.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "block/aio.h"
#include "block/block.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/block-backend.h"
#include "system/iothread.h"
#include "pagecache-reader-int.h"

typedef struct BlockEngine {
    PagecacheReader *r;
    const PagecacheReaderSpec *spec;
    unsigned max_inflight;

    /* main thread; the iothread uses @blk while the clone is open */
    IOThread *iothread;
    BlockBackend *blk;
    bool up;

    /* with the reader's lock; NULL: not open yet, or not any more */
    QEMUBH *pump;

    /* iothread */
    QEMUTimer *timer;
    unsigned inflight;
    GSList *finished;       /* of BlockRead; among those in flight still */
    bool ending;
} BlockEngine;

typedef struct BlockRead {
    BlockEngine *engine;
    PagecacheRead *read;
    QEMUIOVector qiov;
    int ret;
} BlockRead;

/* Main loop, when the last read has come back */
static void block_close_bh(void *opaque)
{
    BlockEngine *e = opaque;
    PagecacheReader *r = e->r;
    QEMUBH *pump;

    pagecache_reader_lock(r);
    pump = e->pump;
    e->pump = NULL;
    pagecache_reader_unlock(r);

    qemu_bh_delete(pump);
    timer_free(e->timer);
    blk_set_aio_context(e->blk, qemu_get_aio_context(), NULL);
    blk_unref(e->blk);
    iothread_destroy(e->iothread);

    pagecache_reader_down(r, e->up, false, NULL);
    pagecache_reader_unref(r);
}

/*
 * May run in the request's coroutine, where the caller's callback must not:
 * what it sends on the return path would yield there instead of blocking.
 */
static void block_read_done(void *opaque, int ret)
{
    BlockRead *br = opaque;
    BlockEngine *e = br->engine;

    br->ret = ret < 0 ? ret : 0;
    e->finished = g_slist_prepend(e->finished, br);
    qemu_bh_schedule(e->pump);
}

static void block_complete_finished(BlockEngine *e)
{
    GSList *list = g_slist_reverse(g_steal_pointer(&e->finished)), *l;

    for (l = list; l; l = l->next) {
        BlockRead *br = l->data;

        e->inflight--;
        pagecache_reader_complete(e->r, br->read, br->ret, NULL);
        g_free(br);
    }
    g_slist_free(list);
}

/* Bottom half and timer of the iothread */
static void block_pump(void *opaque)
{
    BlockEngine *e = opaque;
    int64_t wait_us = -1;

    if (e->ending) {
        return;
    }
    block_complete_finished(e);
    while (e->inflight < e->max_inflight) {
        PagecacheRead *read = pagecache_reader_next(e->r, &wait_us);
        BlockRead *br;

        if (!read) {
            break;
        }
        br = g_new(BlockRead, 1);
        br->engine = e;
        br->read = read;
        qemu_iovec_init_buf(&br->qiov, read->buf, read->bytes);
        e->inflight++;
        blk_aio_preadv(e->blk, read->offset, &br->qiov, 0, block_read_done,
                       br);
    }
    if (wait_us >= 0) {
        timer_mod(e->timer, qemu_clock_get_us(QEMU_CLOCK_REALTIME) + wait_us);
    }
    if (!e->inflight && pagecache_reader_stopping(e->r)) {
        e->ending = true;
        timer_del(e->timer);
        aio_bh_schedule_oneshot(qemu_get_aio_context(), block_close_bh, e);
    }
}

static bool block_open(BlockEngine *e, uint64_t *size, Error **errp)
{
    static unsigned count;
    g_autofree char *id = g_strdup_printf("pagecache-reader-%u", count++);
    AioContext *ctx;
    QObject *options;
    int64_t length;

    e->iothread = iothread_create(id, errp);
    if (!e->iothread) {
        return false;
    }
    ctx = iothread_get_aio_context(e->iothread);
    options = qobject_from_json(e->spec->u.data, errp);
    if (!options) {
        goto fail_iothread;
    }
    e->blk = blk_new_open(NULL, NULL, qobject_to(QDict, options), 0, errp);
    if (!e->blk) {
        goto fail_iothread;
    }
    length = blk_getlength(e->blk);
    if (length < 0) {
        error_setg_errno(errp, -length, "cannot find out the size");
        goto fail_blk;
    }
    *size = length;
    if (blk_set_aio_context(e->blk, ctx, errp) < 0) {
        goto fail_blk;
    }
    e->timer = aio_timer_new(ctx, QEMU_CLOCK_REALTIME, SCALE_US, block_pump,
                             e);
    return true;

fail_blk:
    blk_unref(e->blk);
    e->blk = NULL;
fail_iothread:
    iothread_destroy(e->iothread);
    e->iothread = NULL;
    return false;
}

static void block_open_bh(void *opaque)
{
    BlockEngine *e = opaque;
    PagecacheReader *r = e->r;
    g_autofree char *why = NULL;
    Error *err = NULL;
    uint64_t size;

    if (pagecache_reader_stopping(r)) {
        pagecache_reader_unref(r);
        return;
    }
    if (!block_open(e, &size, &err)) {
        why = g_strdup_printf("cannot open a clone: %s", error_get_pretty(err));
        error_free(err);
        pagecache_reader_down(r, false, true, why);
        pagecache_reader_give_up(r, why);
        pagecache_reader_unref(r);
        return;
    }
    pagecache_reader_lock(r);
    e->pump = aio_bh_new(iothread_get_aio_context(e->iothread), block_pump, e);
    pagecache_reader_unlock(r);
    /* the block layer takes care of any stricter alignment */
    e->up = pagecache_reader_up(r, size, BDRV_SECTOR_SIZE,
                                blk_get_max_transfer(e->blk), &why);
    if (!e->up) {
        pagecache_reader_give_up(r, why);
    }
    qemu_bh_schedule(e->pump);
}

static void *block_start(PagecacheReader *r, const PagecacheReaderSpec *spec,
                         unsigned sessions, unsigned depth, char **why)
{
    BlockEngine *e = g_new0(BlockEngine, 1);

    e->r = pagecache_reader_ref(r);
    e->spec = spec;
    e->max_inflight = sessions * depth;
    aio_bh_schedule_oneshot(qemu_get_aio_context(), block_open_bh, e);
    return e;
}

static void block_kick(void *opaque)
{
    BlockEngine *e = opaque;

    if (e->pump) {
        qemu_bh_schedule(e->pump);
    }
}

static void block_spec_free(PagecacheReaderSpec *spec)
{
    g_free(spec->u.data);
}

const PagecacheEngineOps pagecache_reader_block_ops = {
    .name = "block",
    .start = block_start,
    .kick = block_kick,
    .free = g_free,
    .spec_free = block_spec_free,
};
