/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * torture: what is done to files, and how they are checked
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * f->expect says what each sector must hold.  It is changed along with the
 * file, by the one process that writes to the file.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* sectors that one operation writes at most */
#define LONGEST 256u
/* ways to read a file */
enum { CACHED, DIRECT, MAPPED, WAYS };

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

/* Expect zeros from sector @from up to @to */
static void expect_zeros(struct file *f, uint32_t from, uint32_t to)
{
    memset(f->expect + from, 0, (to - from) * sizeof(*f->expect));
}

void file_create(struct writer *w, struct file *f)
{
    struct stat st;

    f->fd = open(f->name, O_RDWR | O_CREAT | O_TRUNC, 0644);
    f->direct = open(f->name, O_RDWR | O_DIRECT);   /* tmpfs has none */
    if (f->fd < 0 || fstat(f->fd, &st)) {
        failed(w->me, "create", f->name);
        exit(1);
    }
    f->inode = st.st_ino;
    f->sectors = 0;
    f->named = true;
    f->map = NULL;
    expect_zeros(f, 0, w->max);
}

static void unmap(struct writer *w, struct file *f)
{
    if (f->map) {
        munmap(f->map, (size_t)w->max * SECTOR);
        f->map = NULL;
    }
}

/* Mapped once and then kept: a mapping lives through migrations */
static bool map(struct writer *w, struct file *f)
{
    if (!f->map) {
        f->map = mmap(NULL, (size_t)w->max * SECTOR, PROT_READ | PROT_WRITE,
                      MAP_SHARED, f->fd, 0);
        if (f->map == MAP_FAILED) {
            f->map = NULL;
            failed(w->me, "mmap", f->name);
        }
    }
    return f->map;
}

/* New content for sectors: into @to, and expected from now on */
static void renew(struct writer *w, struct file *f, uint32_t at, uint32_t n,
                  uint8_t *to)
{
    uint32_t i;

    w->generation++;
    for (i = 0; i < n; i++) {
        f->expect[at + i] = (struct stamp) {
            f->inode, at + i, w->generation
        };
        stamp_fill(to + i * SECTOR, &f->expect[at + i]);
    }
}

static void check_sector(struct writer *w, struct file *f, uint32_t i,
                         const uint8_t *sector, int way)
{
    static const char *const ways[WAYS] = { "cache", "disk", "mapping" };
    const struct stamp *e = &f->expect[i];
    uint32_t got[4];

    if (!stamp_matches(sector, e)) {
        memcpy(got, sector, sizeof(got));
        w->me->bad++;
        report(w->me, "%s (inode %u), %s, sector %u of %u: expected inode %u "
               "index %u generation %u, found inode %u index %u generation "
               "%u (magic %x)%s", f->name, f->inode, ways[way], i, f->sectors,
               e->inode, e->index, e->generation, got[1], got[2], got[3],
               got[0],
               got[1] == e->inode && got[2] == e->index &&
               got[3] == e->generation ? ", another sector's rest" : "");
    }
}

/* Compare the whole file with what it must be */
void file_verify(struct writer *w, struct file *f, int way)
{
    size_t size = (size_t)f->sectors * SECTOR;
    const uint8_t *data = w->buffer;
    struct stat st;
    uint32_t i;

    if (way == DIRECT && f->direct < 0) {
        way = CACHED;
    }
    if (fstat(f->fd, &st) || st.st_size != (off_t)size) {
        report(w->me, "%s: size %ju, expected %zu", f->name,
               (uintmax_t)st.st_size, size);
        w->me->bad++;
        return;
    }
    if (way == MAPPED) {
        if (!map(w, f)) {
            return;
        }
        data = f->map;
    } else if (pread(way == DIRECT ? f->direct : f->fd, w->buffer,
                     (size_t)w->max * SECTOR, 0) != (ssize_t)size) {
        failed(w->me, "read", f->name);
        return;
    }
    for (i = 0; i < f->sectors; i++) {
        check_sector(w, f, i, data + (size_t)i * SECTOR, way);
    }
    w->me->checked += f->sectors;
}

/* Out of the page cache: what is read next comes from the disk */
void file_evict(struct writer *w, struct file *f)
{
    unmap(w, f);
    if (fsync(f->fd)) {
        failed(w->me, "fsync", f->name);
    }
    posix_fadvise(f->fd, 0, 0, POSIX_FADV_DONTNEED);
}

static bool write_out(struct writer *w, struct file *f, bool direct)
{
    uint32_t at = pick(w, w->max), n = 1 + pick(w, LONGEST);
    int fd = f->fd;

    if (direct && f->direct >= 0) {
        fd = f->direct;
        /* mostly whole pages */
        if (pick(w, 4)) {
            at &= ~(PAGE_SECTORS - 1);
            n = (n + PAGE_SECTORS - 1) & ~(PAGE_SECTORS - 1);
        }
    }
    n = least(n, w->max - at);
    renew(w, f, at, n, w->buffer);
    if (pwrite(fd, w->buffer, n * SECTOR, (off_t)at * SECTOR)
        != (ssize_t)(n * SECTOR)) {
        failed(w->me, direct ? "direct write" : "write", f->name);
        return false;
    }
    if (at + n > f->sectors) {
        f->sectors = at + n;
    }
    return true;
}

static bool store(struct writer *w, struct file *f)
{
    uint32_t at, n = 1 + pick(w, LONGEST), i;

    if (!f->sectors || !map(w, f)) {
        return false;
    }
    at = pick(w, f->sectors);
    n = least(n, f->sectors - at);
    for (i = 0; i < n; i++) {
        renew(w, f, at + i, 1, f->map + (size_t)(at + i) * SECTOR);
    }
    if (!pick(w, 4)) {
        size_t from = (size_t)at * SECTOR & ~(size_t)(PAGE - 1);

        if (msync(f->map + from, (size_t)(at + n) * SECTOR - from,
                  pick(w, 2) ? MS_SYNC : MS_ASYNC)) {
            failed(w->me, "msync", f->name);
        }
    }
    return true;
}

static bool resize(struct writer *w, struct file *f)
{
    uint32_t sectors = pick(w, w->max + 1);

    if (ftruncate(f->fd, (off_t)sectors * SECTOR)) {
        failed(w->me, "truncate", f->name);
        return false;
    }
    if (sectors < f->sectors) {
        expect_zeros(f, sectors, f->sectors);
    }
    f->sectors = sectors;
    return true;
}

/* A file system may refuse a kind of fallocate() that it does not have */
static bool allocate(struct writer *w, struct file *f, int mode,
                     const char *what, uint32_t at, uint32_t n)
{
    if (!fallocate(f->fd, mode, (off_t)at * SECTOR, (off_t)n * SECTOR)) {
        return true;
    }
    if (errno != EOPNOTSUPP) {
        failed(w->me, what, f->name);
    }
    return false;
}

static bool zero(struct writer *w, struct file *f, int mode, const char *what)
{
    uint32_t at = pick(w, w->max), n = 1 + pick(w, LONGEST);

    n = least(n, w->max - at);
    if (!allocate(w, f, mode | FALLOC_FL_KEEP_SIZE, what, at, n)) {
        return false;
    }
    expect_zeros(f, at, at + n);
    return true;
}

/* Take out pages in the middle: the rest moves down */
static bool collapse(struct writer *w, struct file *f)
{
    uint32_t pages = f->sectors / PAGE_SECTORS, at, n;

    if (pages < 3) {
        return false;
    }
    at = pick(w, pages - 2);
    n = 1 + pick(w, least(pages - at - 2, LONGEST / PAGE_SECTORS));
    at *= PAGE_SECTORS;
    n *= PAGE_SECTORS;
    if (!allocate(w, f, FALLOC_FL_COLLAPSE_RANGE, "collapse", at, n)) {
        return false;
    }
    memmove(f->expect + at, f->expect + at + n,
            (f->sectors - at - n) * sizeof(*f->expect));
    expect_zeros(f, f->sectors - n, f->sectors);
    f->sectors -= n;
    return true;
}

static bool preallocate(struct writer *w, struct file *f)
{
    uint32_t at = pick(w, w->max), n = 1 + pick(w, LONGEST);

    n = least(n, w->max - at);
    if (!allocate(w, f, 0, "fallocate", at, n)) {
        return false;
    }
    if (at + n > f->sectors) {
        f->sectors = at + n;
    }
    return true;
}

static bool synchronise(struct writer *w, struct file *f)
{
    static int (*const calls[])(int) = { fsync, fdatasync, syncfs };

    if (calls[pick(w, 3)](f->fd)) {
        failed(w->me, "fsync", f->name);
        return false;
    }
    return true;
}

/* First the name goes, the next time the rest */
static bool delete(struct writer *w, struct file *f)
{
    if (f->named) {
        if (unlink(f->name)) {
            failed(w->me, "unlink", f->name);
        }
        f->named = false;
        return true;
    }
    unmap(w, f);
    close(f->fd);
    if (f->direct >= 0) {
        close(f->direct);
    }
    file_create(w, f);
    return true;
}

static bool reflink(struct writer *w, struct file *to)
{
    struct file *from = &w->files[pick(w, w->count)];

    if (!w->xfs || from == to || !extent_reflink(w, from, to)) {
        return false;
    }
    to->sectors = from->sectors;
    memcpy(to->expect, from->expect, w->max * sizeof(*to->expect));
    return true;
}

/* Do one thing to one file.  Returns the bytes that were written. */
uint64_t file_op(struct writer *w, enum op op)
{
    struct file *f = &w->files[pick(w, w->count)];
    uint32_t before = w->generation;
    bool done = false;

    switch (op) {
    case OP_PWRITE:
        done = write_out(w, f, false);
        break;
    case OP_MMAP:
        done = store(w, f);
        break;
    case OP_DIRECT:
        done = f->direct >= 0 && write_out(w, f, true);
        break;
    case OP_TRUNCATE:
        done = resize(w, f);
        break;
    case OP_PUNCH:
        done = zero(w, f, FALLOC_FL_PUNCH_HOLE, "punch");
        break;
    case OP_ZERO_RANGE:
        done = zero(w, f, FALLOC_FL_ZERO_RANGE, "zero range");
        break;
    case OP_COLLAPSE:
        done = collapse(w, f);
        break;
    case OP_FALLOCATE:
        done = preallocate(w, f);
        break;
    case OP_FSYNC:
        done = synchronise(w, f);
        break;
    case OP_UNLINK:
        done = delete(w, f);
        break;
    case OP_REFLINK:
        done = reflink(w, f);
        break;
    case OP_DEFRAG:
        done = extent_defrag(w, f);
        break;
    case OP_EVICT:
        file_evict(w, f);
        done = true;
        break;
    case OP_VERIFY:
        file_verify(w, f, pick(w, WAYS));
        done = true;
        break;
    default:
        break;
    }
    w->me->ops[op] += done;
    return w->generation == before ? 0 : LONGEST / 2 * SECTOR;
}
