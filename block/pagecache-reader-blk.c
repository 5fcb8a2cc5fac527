/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for what only QEMU's block layer can
 * read: image formats and backing chains in files and devices of this host
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The image is opened a second time, read-only, without locks and without the
 * host's page cache, in an iothread of its own.  No file of it is read but with
 * O_DIRECT, so nothing that the clone reads stays in the host's page cache,
 * where the guest's own node might find it after the switchover.
 *
 * What the clone sees may be old: while the source's guest writes, an image
 * format changes its tables under us, and we have some of them in memory.
 * That costs pages which the source then finds to differ and sends itself;
 * no page is believed because of what a reader read.
 *
 * Limits, and the reason why raw images don't come this way: opening the clone
 * is synchronous in the main thread, as it is for the guest's own disk.  So a
 * thread tries first whether all of its files answer; one that hangs between
 * that and the opening hangs QEMU.  What can hang for reasons of its own (a
 * protocol with a server behind it) is opened only when the operator wants it
 * (pagecache-any-protocol).  Every request holds the block graph's lock for
 * reading as long as it lives, so a read that hangs for ever holds up
 * whoever wants to change the graph (hot-plug) or to drain all of it (stop,
 * quit).  The deadline gives the pages back; it can't end such a read.
 *
 * Threads: the files are tried in a thread that is for that alone, opening and
 * closing happen in the main loop, reads in the iothread.
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
#include "qemu/memalign.h"
#include "qemu/timer.h"
#include "system/block-backend.h"
#include "system/iothread.h"
#include "pagecache-reader-blk.h"
#ifdef CONFIG_LINUX
#include "pagecache-reader-file.h"
#endif
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

/* Descriptors of an iothread, or a few more */
#define IOTHREAD_FDS    8

/* Nothing is read through the host's page cache, nor from where it may hang. */
static bool GRAPH_RDLOCK block_check_node(BlockDriverState *bs,
                                          const PcrClone *clone, Error **errp)
{
    bool local = pcr_protocol_is_local(bs);
    BdrvChild *child;

    QLIST_FOREACH(child, &bs->children, next) {
        if (!block_check_node(child->bs, clone, errp)) {
            return false;
        }
    }
    if (!QLIST_EMPTY(&bs->children)) {
        return true;
    }
    if (local && !(bs->open_flags & BDRV_O_NOCACHE)) {
        error_setg(errp, "'%s' was opened with the host's page cache",
                   bs->filename);
        return false;
    }
    if (!local && !clone->any_protocol) {
        error_setg(errp, "'%s' is of protocol '%s'", bs->filename,
                   bs->drv->format_name);
        return false;
    }
    return true;
}

static bool block_check(BlockBackend *blk, const PcrClone *clone, Error **errp)
{
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    return block_check_node(blk_bs(blk), clone, errp);
}

static bool block_open(BlockEngine *e, uint64_t *size, Error **errp)
{
    const PcrClone *clone = e->spec->u.data;
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
    options = qobject_from_json(clone->json, errp);
    if (!options) {
        goto fail_iothread;
    }
    e->blk = blk_new_open(NULL, NULL, qobject_to(QDict, options), 0, errp);
    if (!e->blk) {
        goto fail_iothread;
    }
    if (!block_check(e->blk, clone, errp)) {
        goto fail_blk;
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

static void block_fail(BlockEngine *e, const char *why)
{
    pagecache_reader_down(e->r, false, true, why);
    pagecache_reader_give_up(e->r, why);
    pagecache_reader_unref(e->r);
}

static void block_open_bh(void *opaque)
{
    BlockEngine *e = opaque;
    const PcrClone *clone = e->spec->u.data;
    unsigned fds = IOTHREAD_FDS + clone->files->len;
    PagecacheReader *r = e->r;
    g_autofree char *why = NULL;
    Error *err = NULL;
    uint64_t size;
    bool ok;

    if (pagecache_reader_stopping(r)) {
        pagecache_reader_unref(r);
        return;
    }
    if (!pagecache_reader_fds_reserve(fds, &why)) {
        block_fail(e, why);
        return;
    }
    ok = block_open(e, &size, &err);
    pagecache_reader_fds_opened(fds);
    if (!ok) {
        why = g_strdup_printf("cannot open a clone: %s", error_get_pretty(err));
        error_free(err);
        block_fail(e, why);
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

/* --- Trial --------------------------------------------------------------- */

#ifdef CONFIG_LINUX
/*
 * Whether @path answers, and by direct reads; see pagecache-reader-direct.c.
 * May hang: then so would QEMU, if it opened the file.
 */
static bool block_try_file(const char *path, char **why)
{
    PagecacheReaderSpec spec = {
        .name = (char *)path, .u.file.path = (char *)path,
    };
    bool opened;
    PcrDirect f;
    void *buf;
    ssize_t n;

    if (!pagecache_reader_fds_reserve(1, why)) {
        return false;
    }
    opened = pcr_direct_open(&spec, &f, why);
    pagecache_reader_fds_opened(1);
    if (!opened) {
        return false;
    }
    buf = qemu_memalign(MAX(f.align, 4096), f.align);
    n = pread(f.fd, buf, f.align, 0);
    if (n < 0) {
        *why = g_strdup_printf("cannot read %s with O_DIRECT: %s", path,
                               g_strerror(errno));
    }
    qemu_vfree(buf);
    pcr_direct_close(&f);
    return n >= 0;
}

static gpointer block_try_thread(gpointer opaque)
{
    BlockEngine *e = opaque;
    const PcrClone *clone = e->spec->u.data;
    unsigned limit_ms = pagecache_reader_deadline_ms(e->r);
    int64_t start = g_get_monotonic_time();
    g_autofree char *why = NULL;
    guint i;

    for (i = 0; i < clone->files->len && !why; i++) {
        const char *path = g_ptr_array_index(clone->files, i);

        if (block_try_file(path, &why) &&
            g_get_monotonic_time() - start > limit_ms * 1000LL) {
            why = g_strdup_printf("%s did not answer within %u ms", path,
                                  limit_ms);
        }
    }
    if (why) {
        block_fail(e, why);
    } else {
        aio_bh_schedule_oneshot(qemu_get_aio_context(), block_open_bh, e);
    }
    return NULL;
}
#endif

static void *block_start(PagecacheReader *r, const PagecacheReaderSpec *spec,
                         unsigned sessions, unsigned depth, char **why)
{
    BlockEngine *e = g_new0(BlockEngine, 1);

    e->r = pagecache_reader_ref(r);
    e->spec = spec;
    e->max_inflight = sessions * depth;
#ifdef CONFIG_LINUX
    if (!pagecache_reader_thread("pagecache-try", block_try_thread, e)) {
        *why = g_strdup("cannot create a thread");
        pagecache_reader_unref(r);
        g_free(e);
        return NULL;
    }
#else
    aio_bh_schedule_oneshot(qemu_get_aio_context(), block_open_bh, e);
#endif
    return e;
}

static void block_kick(void *opaque)
{
    BlockEngine *e = opaque;

    if (e->pump) {
        qemu_bh_schedule(e->pump);
    }
}

void pcr_clone_free(PcrClone *clone)
{
    g_ptr_array_unref(clone->files);
    g_free(clone->json);
    g_free(clone);
}

static void block_spec_free(PagecacheReaderSpec *spec)
{
    pcr_clone_free(spec->u.data);
}

const PagecacheEngineOps pagecache_reader_block_ops = {
    .name = "block",
    .start = block_start,
    .kick = block_kick,
    .free = g_free,
    .spec_free = block_spec_free,
};
