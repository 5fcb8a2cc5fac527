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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#endif
#include "pagecache-reader-state.h"

#define MiB             (1024u * 1024)

/* Bounce buffers of all readers together, as long as 1 each is no more */
#define BUFFER_BYTES    (64 * MiB)
#define HUGE_PAGE       (2 * MiB)
/* Not with a sanitizer: it is to see reads that go past a buffer's end. */
#if defined(MADV_HUGEPAGE) && !defined(__SANITIZE_ADDRESS__)
#define HAVE_HUGE_BUFFERS
#endif

/* Descriptors that we leave to others: an eighth of all, within these */
#define MIN_SPARE_FDS   64u
#define MAX_SPARE_FDS   256u

static GMutex limits_lock;      /* for all that follows */
static unsigned nreaders;
static unsigned opening;        /* descriptors that are about to be opened */

/*
 * One piece of memory, cut into buffers of one size, those that most readers
 * have: in huge pages, so that the kernel finds a buffer's pages faster.
 */
static struct {
    uint8_t *mem;               /* BUFFER_BYTES; NULL: none */
    size_t piece;               /* bytes of a buffer; 0: not cut yet */
    size_t cut;                 /* bytes that were cut so far */
    size_t used;                /* buffers that are */
    GPtrArray *free;            /* of those that are not */
} arena;

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

/* With limits_lock, as the next three */
static void arena_open(void)
{
#ifdef HAVE_HUGE_BUFFERS
    arena.mem = buffer_alloc(HUGE_PAGE, BUFFER_BYTES);
    if (arena.mem) {
        madvise(arena.mem, BUFFER_BYTES, MADV_HUGEPAGE);
        arena.free = g_ptr_array_new();
    }
#endif
}

static void arena_close(void)
{
    buffer_free(arena.mem);
    g_clear_pointer(&arena.free, g_ptr_array_unref);
    arena.mem = NULL;
    arena.piece = arena.cut = 0;
}

/* NULL: it has none of that size, or no more of them */
static uint8_t *arena_get(size_t align, size_t size)
{
    uint8_t *buf = NULL;

    if (!arena.mem || align != 4096) {
        return NULL;
    }
    if (size != arena.piece && !arena.used) {
        g_ptr_array_set_size(arena.free, 0);
        arena.piece = size;
        arena.cut = 0;
    }
    if (size != arena.piece) {
        return NULL;
    }
    if (arena.free->len) {
        buf = g_ptr_array_steal_index_fast(arena.free, arena.free->len - 1);
    } else if (BUFFER_BYTES - arena.cut >= size) {
        buf = arena.mem + arena.cut;
        arena.cut += ROUND_UP(size, 4096);
    }
    arena.used += buf != NULL;
    return buf;
}

/* False: it is not the arena's */
static bool arena_put(uint8_t *buf)
{
    if (!arena.mem || buf < arena.mem || buf >= arena.mem + BUFFER_BYTES) {
        return false;
    }
    arena.used--;
    g_ptr_array_add(arena.free, buf);
    return true;
}

void pcr_buffers_join(void)
{
    g_mutex_lock(&limits_lock);
    if (!nreaders++) {
        arena_open();
    }
    g_mutex_unlock(&limits_lock);
}

void pcr_buffers_leave(void)
{
    g_mutex_lock(&limits_lock);
    if (!--nreaders) {
        arena_close();
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
        buf = arena_get(buffer_align(r), size);
    }
    g_mutex_unlock(&limits_lock);
    if (*starved || buf) {
        return buf;
    }
    buf = buffer_alloc(buffer_align(r), size);
    if (!buf) {
        g_mutex_lock(&limits_lock);
        r->buffers--;
        g_mutex_unlock(&limits_lock);
    }
    return buf;
}

void pcr_buffer_put(PagecacheReader *r, uint8_t *buf)
{
    bool put;

    g_mutex_lock(&limits_lock);
    r->buffers--;
    put = arena_put(buf);
    g_mutex_unlock(&limits_lock);
    if (!put) {
        buffer_free(buf);
    }
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
