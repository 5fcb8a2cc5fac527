/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw files and block devices
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * One descriptor a disk.  Reads go through io_urings that disks share; where
 * the kernel or a sandbox forbids that, or the file system has no reads that
 * can be started without waiting for them (NFS, FUSE), a few threads for all
 * disks call pread().  They also open and close, which may hang like a read.
 * What hangs for ever leaks a thread or a place in the ring, with its bounce
 * buffer; the reader has given its pages back at the deadline.
 *
 * All reads are direct, and those that turn out not to be are an end to the
 * disk: see pagecache-reader-direct.c.
 *
 * Opening a file once more and closing it would release POSIX record locks;
 * QEMU locks images with open file description locks on Linux, which don't
 * mind.
 */

#include "qemu/osdep.h"
#include "pagecache-reader-fault.h"
#include "pagecache-reader-file.h"

/* Reads in flight of all disks that are read by threads; but 2 each or more */
#define THREAD_DEPTH    16u

/* A worker reads for so long before it looks for other disks */
#define STEP_US         1000

static gint ndisks;         /* atomic; that are read by threads */

/* --- Reads by threads ----------------------------------------------------- */

static int file_pread(PcrFile *d, PagecacheRead *read, const char **why)
{
    uint32_t done = 0;

    while (done < read->needed) {
        uint32_t want = pcr_fault_want(read->bytes - done, d->f.align);
        ssize_t n = 0;

        if (want) {
            n = pread(d->f.fd, read->buf + done, want, read->offset + done);
        }
        if (n > 0) {
            done += n;
        } else if (n == 0) {
            *why = "the file ends before";
            return -EIO;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static void file_read(PcrFile *d, PagecacheRead *read)
{
    unsigned before = pcr_direct_cached(&d->f, read->offset, read->bytes);
    const char *why = NULL, *not_direct;
    int ret = file_pread(d, read, &why);

    not_direct = pcr_direct_check(&d->f, read, before);
    if (not_direct) {
        pagecache_reader_give_up(d->r, not_direct);
        ret = -EIO;
    }
    pagecache_reader_complete(d->r, read, ret, why);
    if (ret == 0) {
        /* it answers: more than one thread is not lost at once */
        unsigned n = MAX(THREAD_DEPTH / g_atomic_int_get(&ndisks), 2u);

        pcr_work_allow(&d->work, MIN(d->max_inflight, n));
    }
}

/* --- The life of a disk, in workers --------------------------------------- */

static void file_set_up(PcrFile *d)
{
    g_autofree char *why = NULL, *ring = NULL, *method = NULL;
    bool opened = false;

    if (pagecache_reader_fds_reserve(1, &why)) {
        opened = pcr_direct_open(d->spec, &d->f, &why);
        pagecache_reader_fds_opened(1);
    }
    if (!opened ||
        !pagecache_reader_up(d->r, d->f.size, d->f.align, 0, &why)) {
        /* it is here or not: trying again would not change it */
        if (opened) {
            pcr_direct_close(&d->f);
        }
        pagecache_reader_down(d->r, false, true, why);
        pagecache_reader_give_up(d->r, why);
        return;
    }
    d->up = true;
    if (!d->f.async) {
        ring = g_strdup("the file system has no asynchronous direct reads");
    } else if (pcr_ring_add(d, &ring)) {
        pagecache_reader_method(d->r, "io_uring");
        return;
    }
    method = g_strdup_printf("threads: %s", ring);
    pagecache_reader_method(d->r, method);
    d->by_threads = true;
    g_atomic_int_inc(&ndisks);
}

static bool file_in_ring(PcrFile *d)
{
    bool in_ring;

    pagecache_reader_lock(d->r);
    in_ring = d->in_ring;
    pagecache_reader_unlock(d->r);
    return in_ring;
}

static int64_t file_end(PcrFile *d)
{
    PagecacheReader *r = d->r;

    if (!pcr_work_end(&d->work)) {
        return PCR_WORK_WAIT;
    }
    if (d->up) {
        if (d->by_threads) {
            g_atomic_int_add(&ndisks, -1);
        }
        pcr_direct_close(&d->f);
        pagecache_reader_down(r, true, false, NULL);
    }
    pagecache_reader_unref(r);
    return PCR_WORK_GONE;
}

static int64_t file_step(PcrWork *w)
{
    PcrFile *d = container_of(w, PcrFile, work);
    PagecacheRead *read;
    int64_t wait_us, until_us;

    if (!d->tried) {
        d->tried = true;
        if (!pagecache_reader_stopping(d->r)) {
            file_set_up(d);
        }
    }
    if (file_in_ring(d)) {
        return PCR_WORK_WAIT;
    }
    if (pagecache_reader_stopping(d->r)) {
        return file_end(d);
    }
    read = pagecache_reader_next(d->r, &wait_us);
    if (!read) {
        /* once more: it may be stopping now */
        return wait_us >= 0 ? MAX(wait_us, 1) :
               pagecache_reader_stopping(d->r) ? 0 : PCR_WORK_WAIT;
    }
    pcr_work_push(w);       /* there may be more, for another worker */
    until_us = g_get_monotonic_time() + STEP_US;
    do {
        file_read(d, read);
    } while (g_get_monotonic_time() < until_us &&
             (read = pagecache_reader_next(d->r, &wait_us)));
    return 0;
}

/* --- For the reader ------------------------------------------------------- */

static void *file_start(PagecacheReader *r, const PagecacheReaderSpec *spec,
                        unsigned sessions, unsigned depth, char **why)
{
    PcrFile *d = g_new0(PcrFile, 1);

    *d = (PcrFile) {
        .r = r, .spec = spec, .max_inflight = sessions * depth,
        .woken_link.data = d, .ready_link.data = d,
    };
    if (!pcr_work_init(&d->work, file_step)) {
        *why = g_strdup("cannot create a thread");
        g_free(d);
        return NULL;
    }
    pagecache_reader_ref(r);
    pcr_work_push(&d->work);
    return d;
}

static void file_kick(void *opaque)
{
    PcrFile *d = opaque;

    if (d->in_ring) {
        pcr_ring_kick(d);
    } else {
        pcr_work_push(&d->work);
    }
}

static void file_spec_free(PagecacheReaderSpec *spec)
{
    g_free(spec->u.file.path);
    if (spec->u.file.passed_fd && *spec->u.file.passed_fd >= 0) {
        close(*spec->u.file.passed_fd);
    }
    g_free(spec->u.file.passed_fd);
}

static const PagecacheEngineOps file_ops = {
    .name = "file",
    .start = file_start,
    .kick = file_kick,
    .free = g_free,
    .spec_free = file_spec_free,
};

static void __attribute__((constructor)) file_register(void)
{
    pagecache_reader_file_ops = &file_ops;
}
