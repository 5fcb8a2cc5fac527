/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what all readers of a process share: bounce memory and
 * descriptors
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Bounce memory: each reader that was started may have an equal share of the
 * whole in use, and one buffer at least.  Shares don't wait for each other, so
 * a disk whose reads hang for ever, with their buffers, takes nothing from
 * the others.  Free buffers belong to all.
 *
 * Descriptors: the last ones are not ours.  What QEMU opens next may be the
 * guest's own disk, a monitor's client or the channel of another migration,
 * and none of that may fail because we read a disk.
 *
 * A lock of its own, taken with a reader's lock held, never the other way.
 */

#include "qemu/osdep.h"
#ifndef _WIN32
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#endif
#include "pagecache-reader-state.h"

#define MiB             (1024u * 1024)

/* Bounce buffers of all readers together, as long as 1 each is no more */
#define BUFFER_BYTES    (64 * MiB)

/* Descriptors that we leave to others: an eighth of all, within these */
#define MIN_SPARE_FDS   64u
#define MAX_SPARE_FDS   256u

static GMutex limits_lock;      /* for all that follows */
static unsigned nreaders;
static GPtrArray *free_buffers; /* of free_size bytes; NULL: none yet */
static size_t free_size;
static size_t used_bytes;
static unsigned opening;        /* descriptors that are about to be opened */

/* --- Bounce buffers ------------------------------------------------------ */

#ifdef _WIN32
static void *buffer_alloc(size_t align, size_t size)
{
    return _aligned_malloc(size, align);
}

static void buffer_free(void *buf)
{
    _aligned_free(buf);
}
#else
static void *buffer_alloc(size_t align, size_t size)
{
    void *buf;

    return posix_memalign(&buf, align, size) ? NULL : buf;
}

static void buffer_free(void *buf)
{
    free(buf);
}
#endif

static size_t buffer_align(PagecacheReader *r)
{
    return MAX(r->align, 4096);
}

/* A read grows by up to two blocks when it is aligned */
static size_t buffer_size(PagecacheReader *r)
{
    return (size_t)r->config.max_read + 2 * buffer_align(r);
}

/* Only the usual ones are kept: they fit any reader of their size */
static bool is_usual(PagecacheReader *r)
{
    return buffer_align(r) == 4096;
}

void pcr_buffers_join(void)
{
    g_mutex_lock(&limits_lock);
    nreaders++;
    if (!free_buffers) {
        free_buffers = g_ptr_array_new_with_free_func(buffer_free);
    }
    g_mutex_unlock(&limits_lock);
}

void pcr_buffers_leave(void)
{
    g_mutex_lock(&limits_lock);
    if (!--nreaders) {
        g_clear_pointer(&free_buffers, g_ptr_array_unref);
    }
    g_mutex_unlock(&limits_lock);
}

uint8_t *pcr_buffer_get(PagecacheReader *r, bool *starved)
{
    size_t size = buffer_size(r);
    uint8_t *buf = NULL;

    g_mutex_lock(&limits_lock);
    *starved = r->buffers &&
               (r->buffers + 1) * size > BUFFER_BYTES / nreaders;
    if (!*starved) {
        r->buffers++;
        used_bytes += size;
        if (is_usual(r) && size == free_size && free_buffers->len) {
            buf = g_ptr_array_steal_index_fast(free_buffers,
                                               free_buffers->len - 1);
        }
    }
    g_mutex_unlock(&limits_lock);
    if (*starved || buf) {
        return buf;
    }
    buf = buffer_alloc(buffer_align(r), size);
    if (!buf) {
        g_mutex_lock(&limits_lock);
        r->buffers--;
        used_bytes -= size;
        g_mutex_unlock(&limits_lock);
    }
    return buf;
}

void pcr_buffer_put(PagecacheReader *r, uint8_t *buf)
{
    size_t size = buffer_size(r);

    g_mutex_lock(&limits_lock);
    r->buffers--;
    used_bytes -= size;
    if (is_usual(r)) {
        if (size != free_size) {
            g_ptr_array_set_size(free_buffers, 0);
            free_size = size;
        }
        if (used_bytes + (free_buffers->len + 1) * size <= BUFFER_BYTES) {
            g_ptr_array_add(free_buffers, buf);
            buf = NULL;
        }
    }
    g_mutex_unlock(&limits_lock);
    buffer_free(buf);
}

/* --- Descriptors --------------------------------------------------------- */

#ifdef _WIN32
bool pagecache_reader_fds_reserve(unsigned n, char **why)
{
    return true;
}

void pagecache_reader_fds_opened(unsigned n)
{
}
#else
/* How many are open; 0: can't be told */
static uint64_t fds_in_use(void)
{
    struct stat st;
    int fd;

    /* Linux 6.2 and later count them */
    if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0) {
        return st.st_size;
    }
    /* the lowest one that is free: all below are not */
    fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == EMFILE || errno == ENFILE ? UINT32_MAX : 0;
    }
    close(fd);
    return fd;
}

bool pagecache_reader_fds_reserve(unsigned n, char **why)
{
    struct rlimit limit;
    uint64_t used, spare;
    bool ok = true;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 ||
        limit.rlim_cur == RLIM_INFINITY) {
        limit.rlim_cur = UINT32_MAX;
    }
    spare = MIN(MAX(limit.rlim_cur / 8, MIN_SPARE_FDS), MAX_SPARE_FDS);
    g_mutex_lock(&limits_lock);
    used = fds_in_use();
    if (used + opening + n + spare > limit.rlim_cur) {
        *why = g_strdup_printf("%" PRIu64 " of %" PRIu64 " file descriptors "
                               "are in use, expected %" PRIu64 " or more to be "
                               "left (RLIMIT_NOFILE)", used + opening,
                               (uint64_t)limit.rlim_cur, n + spare);
        ok = false;
    } else {
        opening += n;
    }
    g_mutex_unlock(&limits_lock);
    return ok;
}

void pagecache_reader_fds_opened(unsigned n)
{
    g_mutex_lock(&limits_lock);
    opening -= n;
    g_mutex_unlock(&limits_lock);
}
#endif
