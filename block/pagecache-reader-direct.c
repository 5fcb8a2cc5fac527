/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: reads of files and block devices that leave the host's page
 * cache alone
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * While the source's guest writes, any block that we read may be old a moment
 * later.  In our own buffers that does no harm: the digest differs.  In the
 * host's page cache it would: the guest's own node reads there after the
 * switchover, and would be given what the guest overwrote long ago.  Nothing
 * removes such pages reliably: POSIX_FADV_DONTNEED passes over pages that are
 * locked by a read in flight, and nobody can wait for that read.  So reads are
 * direct, or there are none.
 *
 * O_DIRECT is a wish, and some kernels and file systems answer such a read
 * from their cache all the same (ext4 with data=journal, tmpfs, compressed
 * files on btrfs, a loop device on a file).  Where statx() tells what direct
 * reads need (STATX_DIOALIGN, since Linux 6.1), it also tells that there are
 * none.  Elsewhere (NFS, FUSE, older kernels) mincore() tells whether pages of
 * the file appear in the cache when a place is read that was not there; that
 * is tried when the file is opened, and looked at after each read.
 */

#include "qemu/osdep.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include "pagecache-reader-file.h"

/* What O_DIRECT asks for where nobody says */
#define DEFAULT_ALIGN   4096u
#define SECTOR          512u
/* Places where we look for a page that is not in the cache */
#define PROBES          64u
/* Devices on devices on devices... */
#define MAX_DEPTH       8
/* A file system that is not in linux/magic.h */
#define ZFS_MAGIC       0x2fc12fc1

#ifndef RWF_NOWAIT
#define RWF_NOWAIT      0x00000008
#endif

/* --- The page cache ------------------------------------------------------- */

static unsigned cached_pages(const PcrDirect *f, uint64_t offset,
                             uint32_t bytes)
{
    uint64_t page = qemu_real_host_page_size(), begin, end, n, i;
    g_autofree unsigned char *vec = NULL;
    unsigned cached = 0;

    begin = offset / page * page;
    end = MIN(offset + bytes, f->size);
    if (end <= begin) {
        return 0;
    }
    n = (end - begin + page - 1) / page;
    vec = g_malloc(n);
    if (mincore((uint8_t *)f->map + begin, n * page, vec) < 0) {
        return n;
    }
    for (i = 0; i < n; i++) {
        cached += vec[i] & 1;
    }
    return cached;
}

unsigned pcr_direct_cached(const PcrDirect *f, uint64_t offset, uint32_t bytes)
{
    return f->map ? cached_pages(f, offset, bytes) : 0;
}

const char *pcr_direct_check(const PcrDirect *f, const PagecacheRead *read,
                             unsigned before)
{
    if (f->shared && !(fcntl(f->fd, F_GETFL) & O_DIRECT)) {
        return "O_DIRECT was taken off the descriptor that was passed in";
    }
    if (f->map && cached_pages(f, read->offset, read->bytes) > before) {
        /* the read is over: of these pages it holds none any more */
        posix_fadvise(f->fd, read->offset, read->bytes, POSIX_FADV_DONTNEED);
        return "the read went through the host's page cache, in spite of "
               "O_DIRECT";
    }
    return NULL;
}

/* --- Block devices -------------------------------------------------------- */

static bool file_says(const char *dir, const char *name,
                      const char *text)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);
    g_autofree char *content = NULL;

    return g_file_get_contents(path, &content, NULL, NULL) &&
           g_str_has_prefix(content, text);
}

static bool sysfs_has(const char *dir, const char *name)
{
    g_autofree char *path = g_build_filename(dir, name, NULL);

    return access(path, F_OK) == 0;
}

/*
 * A loop device reads its file through the page cache unless it was told
 * otherwise; it may stand below others.  @dir: of the device, in sysfs.
 */
static char *find_buffered_loop(const char *dir, int depth)
{
    g_autofree char *real = realpath(dir, NULL);
    g_autofree char *slaves = NULL;
    g_autoptr(GDir) d = NULL;
    const char *name;

    if (!real || depth > MAX_DEPTH) {
        return NULL;
    }
    if (sysfs_has(real, "partition")) {
        g_autofree char *disk = g_path_get_dirname(real);

        return find_buffered_loop(disk, depth + 1);
    }
    if (sysfs_has(real, "loop/backing_file") &&
        !file_says(real, "loop/dio", "1")) {
        return g_path_get_basename(real);
    }
    slaves = g_build_filename(real, "slaves", NULL);
    d = g_dir_open(slaves, 0, NULL);
    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *slave = g_build_filename(slaves, name, NULL);
        char *found = find_buffered_loop(slave, depth + 1);

        if (found) {
            return found;
        }
    }
    return NULL;
}

static bool check_device(PcrDirect *f, const struct stat *st, const char *name,
                         char **why)
{
    g_autofree char *dir = g_strdup_printf("/sys/dev/block/%u:%u",
                                           major(st->st_rdev),
                                           minor(st->st_rdev));
    g_autofree char *loop = find_buffered_loop(dir, 0);
    int sector = 0;

    if (loop) {
        *why = g_strdup_printf("%s is read through the host's page cache by "
                               "the loop device %s (losetup --direct-io=on "
                               "makes it a direct one)", name, loop);
        return false;
    }
    if (ioctl(f->fd, BLKGETSIZE64, &f->size) < 0 ||
        ioctl(f->fd, BLKSSZGET, &sector) < 0) {
        *why = g_strdup_printf("cannot find out the size of %s: %s", name,
                               g_strerror(errno));
        return false;
    }
    f->align = MAX(f->align, sector);
    return true;
}

/* --- Files ---------------------------------------------------------------- */

/* True: the kernel says what direct reads need, or (f->align 0) has none */
static bool ask_kernel(PcrDirect *f)
{
#ifdef STATX_DIOALIGN
    struct statx stx;

    if (statx(f->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
        (stx.stx_mask & STATX_DIOALIGN)) {
        f->align = stx.stx_dio_offset_align;
        if (f->align) {
            /* offsets in memory are those on the disk */
            f->align = MAX(f->align, MAX(stx.stx_dio_mem_align, SECTOR));
        }
        return true;
    }
#endif
    return false;
}

static bool is_memory(PcrDirect *f)
{
    struct statfs fs;

    if (fstatfs(f->fd, &fs) < 0) {
        return true;
    }
    switch ((uint32_t)fs.f_type) {
    case TMPFS_MAGIC:
    case RAMFS_MAGIC:
    case HUGETLBFS_MAGIC:
    case ZFS_MAGIC:
        return true;
    default:
        return false;
    }
}

/* A place that is not in the cache; else one that could be taken out of it */
static bool find_place(const PcrDirect *f, uint64_t *place)
{
    uint64_t n = f->size / f->align, i;

    for (i = 0; i < PROBES; i++) {
        /* all over the file, each place another one */
        *place = (i * 0x9e3779b97f4a7c15ull) % n * f->align;
        if (!cached_pages(f, *place, f->align)) {
            return true;
        }
    }
    /* pages of others, clean ones only; they are read again when needed */
    posix_fadvise(f->fd, *place, f->align, POSIX_FADV_DONTNEED);
    return !cached_pages(f, *place, f->align);
}

/* MAP_FAILED with errno set, also if it is more than a host of 32 bits maps */
static void *map_all(int fd, uint64_t size)
{
    size_t len = size;

    if (len != size) {
        errno = EFBIG;
        return MAP_FAILED;
    }
    return mmap(NULL, len, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
}

/* Reads a place that is not in the host's cache, and sees whether it is then */
static bool try_direct(PcrDirect *f, const char *name, char **why)
{
    uint64_t place;
    void *buf;
    ssize_t n;
    int error;

    if (f->size < f->align) {
        *why = g_strdup_printf("%s has %" PRIu64 " bytes, expected %u or more",
                               name, f->size, f->align);
        return false;
    }
    f->map = map_all(f->fd, f->size);
    if (f->map == MAP_FAILED) {
        f->map = NULL;
        *why = g_strdup_printf("cannot map %s, to see whether direct reads go "
                               "past the host's page cache: %s", name,
                               g_strerror(errno));
        return false;
    }
    if (!find_place(f, &place)) {
        *why = g_strdup_printf("cannot see whether direct reads of %s go past "
                               "the host's page cache, it is in there already "
                               "(or we may not write to it)", name);
        return false;
    }
    if (posix_memalign(&buf, f->align, f->align)) {
        *why = g_strdup("out of memory");
        return false;
    }
    if (!f->shared) {
        /* what is read through the cache is this and nothing behind it */
        posix_fadvise(f->fd, 0, 0, POSIX_FADV_RANDOM);
    }
    n = pread(f->fd, buf, f->align, place);
    error = errno;
    free(buf);
    if (n < 0) {
        *why = g_strdup_printf("cannot read %s with O_DIRECT: %s", name,
                               g_strerror(error));
        return false;
    }
    if (cached_pages(f, place, f->align)) {
        posix_fadvise(f->fd, place, f->align, POSIX_FADV_DONTNEED);
        *why = g_strdup_printf("direct reads of %s go through the host's page "
                               "cache", name);
        return false;
    }
    return true;
}

static bool check_file(PcrDirect *f, const struct stat *st, const char *name,
                       char **why)
{
    f->size = st->st_size;
    if (ask_kernel(f)) {
        if (!f->align) {
            *why = g_strdup_printf("direct reads of %s go through the host's "
                                   "page cache (STATX_DIOALIGN says so)",
                                   name);
            return false;
        }
        return true;
    }
    if (is_memory(f)) {
        *why = g_strdup_printf("%s is on a file system that has no direct "
                               "reads", name);
        return false;
    }
    f->align = MAX(f->align, DEFAULT_ALIGN);
    return try_direct(f, name, why);
}

/* --- Opening -------------------------------------------------------------- */

/* Whether a read is refused rather than waited for, as io_uring wants it */
static bool has_nowait(PcrDirect *f)
{
    void *buf;
    struct iovec iov = { .iov_len = f->align };
    ssize_t n;
    int error;

    if (posix_memalign(&buf, MAX(f->align, 4096), f->align)) {
        return false;
    }
    iov.iov_base = buf;
    n = preadv2(f->fd, &iov, 1, 0, RWF_NOWAIT);
    error = errno;
    free(buf);
    return n >= 0 || error == EAGAIN;
}

/*
 * A descriptor that was passed in: opened once more, so that what others do
 * with its flags does not concern us.  Where we may not do that, it will do as
 * it is, if it has O_DIRECT already.  One descriptor is left of two.
 */
static int open_passed(const PagecacheReaderSpec *spec, bool *shared,
                       char **why)
{
    int passed = *spec->u.file.passed_fd;
    g_autofree char *path = g_strdup_printf("/proc/self/fd/%d", passed);
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);

    if (fd >= 0) {
        close(passed);
        *spec->u.file.passed_fd = -1;
    } else if (fcntl(passed, F_GETFL) & O_DIRECT) {
        *shared = true;
        fd = passed;
        *spec->u.file.passed_fd = -1;
    } else {
        *why = g_strdup_printf("cannot open %s once more with O_DIRECT: %s; "
                               "add a descriptor to the set that was opened "
                               "with O_RDONLY and O_DIRECT", spec->name,
                               g_strerror(errno));
    }
    return fd;
}

static int open_path(const PagecacheReaderSpec *spec, char **why)
{
    int fd = open(spec->u.file.path, O_RDONLY | O_CLOEXEC | O_DIRECT);

    if (fd < 0 && errno == EINVAL) {
        *why = g_strdup_printf("%s is on a file system that does not take "
                               "O_DIRECT", spec->name);
    } else if (fd < 0) {
        *why = g_strdup_printf("cannot open %s: %s", spec->name,
                               g_strerror(errno));
    }
    return fd;
}

static bool check_opened(PcrDirect *f, const char *name, char **why)
{
    struct stat st;
    bool ok;

    if (fstat(f->fd, &st) < 0) {
        *why = g_strdup_printf("cannot stat %s: %s", name, g_strerror(errno));
        return false;
    }
    if (S_ISBLK(st.st_mode)) {
        ok = check_device(f, &st, name, why);
    } else if (S_ISREG(st.st_mode)) {
        ok = check_file(f, &st, name, why);
    } else {
        *why = g_strdup_printf("%s is neither a file nor a block device",
                               name);
        ok = false;
    }
    f->async = ok && has_nowait(f);
    return ok;
}

bool pcr_direct_open(const PagecacheReaderSpec *spec, PcrDirect *f, char **why)
{
    *f = (PcrDirect) { .align = SECTOR };
    if (spec->u.file.path) {
        f->fd = open_path(spec, why);
    } else {
        f->fd = open_passed(spec, &f->shared, why);
    }
    if (f->fd < 0) {
        return false;
    }
    if (!check_opened(f, spec->name, why)) {
        pcr_direct_close(f);
        return false;
    }
    return true;
}

void pcr_direct_close(PcrDirect *f)
{
    if (f->map) {
        munmap(f->map, f->size);
    }
    close(f->fd);
}
