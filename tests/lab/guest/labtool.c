/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * labtool: what the lab does to files and memory inside the guest
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   labtool sum DIR <NAMES       make a list: "XXH64 SIZE NAME" a line
 *   labtool fill LIST DIR        read the listed files into the page cache
 *   labtool cached               count the pages of all files on block devices
 *                                that are in the page cache (mincore)
 *   labtool check LIST DIR       read the listed files and compare digests
 *   labtool dirty MIB MIBPS      write to MIB of memory at that rate, for ever
 *
 * Linked statically; runs on the host too (sum).  Prints one line of
 * key=value pairs; ends with status 1 if something could not be done and
 * with 2 if a digest differs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <mntent.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#define PAGE 4096
#define BUFFER (1 << 20)
/* files opened and announced to the kernel ahead of the one that is read */
#define AHEAD 32
/* a list with more bad files than this is not printed in full */
#define MAX_SHOWN 20

struct entry {
    uint64_t digest;
    uint64_t size;              /* bytes */
    char *name;
};

struct list {
    struct entry *entries;
    size_t count;
};

static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "labtool: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    exit(1);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void append(struct list *list, struct entry entry)
{
    /* grow in powers of two */
    if ((list->count & (list->count - 1)) == 0) {
        size_t room = list->count ? 2 * list->count : 1;

        list->entries = realloc(list->entries, room * sizeof(entry));
        if (!list->entries) {
            fail("out of memory");
        }
    }
    list->entries[list->count++] = entry;
}

static struct list read_list(const char *path)
{
    struct list list = { 0 };
    FILE *file = fopen(path, "r");
    char *line = NULL;
    size_t room = 0;

    if (!file) {
        fail("%s: %s", path, strerror(errno));
    }
    while (getline(&line, &room, file) > 0) {
        struct entry entry;
        int name = 0;

        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%" SCNx64 " %" SCNu64 " %n", &entry.digest,
                   &entry.size, &name) != 2 || !name) {
            fail("%s: expected 'XXH64 SIZE NAME', got '%s'", path, line);
        }
        entry.name = strdup(line + name);
        append(&list, entry);
    }
    free(line);
    fclose(file);
    return list;
}

static int open_file(const char *name)
{
    int fd = open(name, O_RDONLY);

    if (fd < 0) {
        fail("%s: %s", name, strerror(errno));
    }
    return fd;
}

/* Digest of a whole file; its size goes to *size */
static uint64_t digest_file(const char *name, uint64_t *size)
{
    static char buffer[BUFFER];
    static XXH64_state_t state;
    int fd = open_file(name);
    ssize_t got;

    XXH64_reset(&state, 0);
    *size = 0;
    while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
        XXH64_update(&state, buffer, got);
        *size += got;
    }
    if (got < 0) {
        fail("%s: %s", name, strerror(errno));
    }
    close(fd);
    return XXH64_digest(&state);
}

static int do_sum(void)
{
    char *line = NULL;
    size_t room = 0;

    while (getline(&line, &room, stdin) > 0) {
        uint64_t digest, size;

        line[strcspn(line, "\n")] = 0;
        digest = digest_file(line, &size);
        printf("%016" PRIx64 " %" PRIu64 " %s\n", digest, size, line);
    }
    free(line);
    return fflush(stdout) ? 1 : 0;
}

static int announce(const char *name)
{
    int fd = open_file(name);

    posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
    return fd;
}

static int do_fill(const struct list *list)
{
    int fds[AHEAD];
    int null = open("/dev/null", O_WRONLY);
    uint64_t bytes = 0;
    double start = now();

    for (size_t i = 0; i < list->count && i < AHEAD; i++) {
        fds[i] = announce(list->entries[i].name);
    }
    for (size_t i = 0; i < list->count; i++) {
        int fd = fds[i % AHEAD];
        ssize_t got;

        while ((got = sendfile(null, fd, NULL, BUFFER)) > 0) {
            bytes += got;
        }
        if (got < 0) {
            fail("%s: %s", list->entries[i].name, strerror(errno));
        }
        close(fd);
        if (i + AHEAD < list->count) {
            fds[i % AHEAD] = announce(list->entries[i + AHEAD].name);
        }
    }
    printf("files=%zu bytes=%" PRIu64 " seconds=%.2f\n", list->count, bytes,
           now() - start);
    return 0;
}

/* A file or device by number; those that were seen already, sorted not */
struct seen {
    uint64_t *ids;
    size_t count;
};

static bool seen_before(struct seen *seen, uint64_t id)
{
    for (size_t i = 0; i < seen->count; i++) {
        if (seen->ids[i] == id) {
            return true;
        }
    }
    seen->ids = realloc(seen->ids, (seen->count + 1) * sizeof(id));
    if (!seen->ids) {
        fail("out of memory");
    }
    seen->ids[seen->count++] = id;
    return false;
}

static struct {
    uint64_t files, resident, holes;
    struct seen linked;         /* files of this mount with several names */
} walk;

/*
 * Clear the pages' flags in @vector that stand on the disk in full, so that
 * those of holes and of blocks that were never written are left.
 */
static void take_mapped(const char *name, int fd, unsigned char *vector,
                        size_t pages)
{
    struct {
        struct fiemap map;
        struct fiemap_extent extents[64];
    } request;
    uint64_t at = 0, mapped = 0;        /* bytes; pages before are settled */
    bool last = false;

    while (!last) {
        memset(&request.map, 0, sizeof(request.map));
        request.map.fm_start = at;
        request.map.fm_length = FIEMAP_MAX_OFFSET - at;
        request.map.fm_extent_count = 64;
        if (ioctl(fd, FS_IOC_FIEMAP, &request.map)) {
            fail("%s: %s", name, strerror(errno));
        }
        last = !request.map.fm_mapped_extents;
        for (unsigned i = 0; i < request.map.fm_mapped_extents; i++) {
            struct fiemap_extent *extent = &request.map.fm_extents[i];
            uint64_t start = extent->fe_logical;

            at = start + extent->fe_length;
            last = extent->fe_flags & FIEMAP_EXTENT_LAST;
            if (extent->fe_flags & (FIEMAP_EXTENT_UNKNOWN |
                                    FIEMAP_EXTENT_NOT_ALIGNED |
                                    FIEMAP_EXTENT_UNWRITTEN)) {
                continue;
            }
            /* a page may be made of blocks of several extents */
            if (start != mapped) {
                start = (start + PAGE - 1) / PAGE * PAGE;
            } else {
                start = start / PAGE * PAGE;
            }
            mapped = at;
            for (; start + PAGE <= at && start / PAGE < pages;
                 start += PAGE) {
                vector[start / PAGE] = 0;
            }
        }
    }
}

/* Count pages of a file that are in the page cache */
static void count_file(const char *name, uint64_t size)
{
    size_t n = (size + PAGE - 1) / PAGE;
    unsigned char *vector = malloc(n);
    int fd = open_file(name);
    void *map = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);

    if (!vector || map == MAP_FAILED || mincore(map, size, vector)) {
        fail("%s: %s", name, strerror(errno));
    }
    for (size_t k = 0; k < n; k++) {
        walk.resident += vector[k] & 1;
    }
    take_mapped(name, fd, vector, n);
    for (size_t k = 0; k < n; k++) {
        walk.holes += vector[k] & 1;
    }
    walk.files++;
    munmap(map, size);
    close(fd);
    free(vector);
}

static int walk_file(const char *name, const struct stat *status, int type,
                     struct FTW *where)
{
    (void)where;
    if (type != FTW_F || !S_ISREG(status->st_mode) || !status->st_size ||
        (status->st_nlink > 1 && seen_before(&walk.linked, status->st_ino))) {
        return 0;
    }
    count_file(name, status->st_size);
    return 0;
}

/* Bytes of a block device */
static uint64_t disk_size(const char *name)
{
    uint64_t size;
    int fd = open_file(name);

    if (ioctl(fd, BLKGETSIZE64, &size)) {
        fail("%s: %s", name, strerror(errno));
    }
    close(fd);
    return size;
}

/*
 * Page cache of all files on block devices, and how much of it are holes and
 * blocks that were never written, which can be read from no disk.  Not seen
 * are files without a name.  For ext4, what its allocator may have cached is
 * told, too: two blocks for each group, in an inode that has no name.
 */
static int do_cached(void)
{
    FILE *mounts = setmntent("/proc/mounts", "r");
    struct seen devices = { NULL, 0 };
    uint64_t allocator = 0;
    struct mntent *mount;

    if (!mounts) {
        fail("/proc/mounts: %s", strerror(errno));
    }
    while ((mount = getmntent(mounts))) {
        struct stat status;
        struct statvfs fs;

        if (strncmp(mount->mnt_fsname, "/dev/", 5)) {
            continue;
        }
        if (stat(mount->mnt_dir, &status) || statvfs(mount->mnt_dir, &fs)) {
            fail("%s: %s", mount->mnt_dir, strerror(errno));
        }
        if (seen_before(&devices, status.st_dev)) {
            continue;
        }
        walk.linked.count = 0;
        if (nftw(mount->mnt_dir, walk_file, 32, FTW_MOUNT | FTW_PHYS)) {
            fail("%s: %s", mount->mnt_dir, strerror(errno));
        }
        if (!strcmp(mount->mnt_type, "ext4")) {
            uint64_t in_group = 8 * fs.f_frsize * fs.f_frsize;  /* bytes */

            allocator += (disk_size(mount->mnt_fsname) / in_group + 1) * 2 *
                         fs.f_frsize / PAGE + 1;
        }
    }
    endmntent(mounts);
    printf("files=%" PRIu64 " resident=%" PRIu64 " holes=%" PRIu64
           " devices=%zu allocator=%" PRIu64 "\n", walk.files, walk.resident,
           walk.holes, devices.count, allocator);
    return 0;
}

static int do_check(const struct list *list)
{
    uint64_t bytes = 0, wrong = 0;      /* wrong: pages of bad files */
    size_t bad = 0;
    double start = now();

    for (size_t i = 0; i < list->count; i++) {
        const struct entry *entry = &list->entries[i];
        uint64_t size, digest = digest_file(entry->name, &size);

        bytes += size;
        if (size != entry->size || digest != entry->digest) {
            wrong += (entry->size + PAGE - 1) / PAGE;
            if (bad++ < MAX_SHOWN) {
                printf("differs: %s: digest %016" PRIx64 " of %" PRIu64
                       " bytes, expected %016" PRIx64 " of %" PRIu64 "\n",
                       entry->name, digest, size, entry->digest,
                       entry->size);
            }
        }
    }
    printf("files=%zu bytes=%" PRIu64 " bad=%zu wrong=%" PRIu64
           " seconds=%.2f\n", list->count, bytes, bad, wrong, now() - start);
    return bad ? 2 : 0;
}

/* Write one word of each page in turn, never faster than rate MiB/s */
static int do_dirty(size_t mib, double rate)
{
    size_t size = mib << 20;
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    double start = now();
    uint64_t done = 0;

    if (memory == MAP_FAILED || rate <= 0) {
        fail("dirty: %zu MiB at %g MiB/s: impossible", mib, rate);
    }
    for (;;) {
        for (size_t offset = 0; offset < size; offset += PAGE) {
            memcpy(memory + offset, &(uint64_t){ ++done }, sizeof(done));
            if (done % 64 == 0) {
                double ahead = done * (double)PAGE / (1 << 20) / rate -
                               (now() - start);

                if (ahead > 0) {
                    struct timespec t = {
                        ahead, (ahead - (time_t)ahead) * 1e9
                    };
                    nanosleep(&t, NULL);
                } else if (ahead < -1) {
                    /* was stopped: don't try to catch up */
                    start = now();
                    done = 0;
                }
            }
        }
    }
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";
    struct list list;

    if (!strcmp(verb, "dirty") && argc == 4) {
        return do_dirty(atol(argv[2]), strtod(argv[3], NULL));
    }
    if (!strcmp(verb, "cached") && argc == 2) {
        return do_cached();
    }
    if (!strcmp(verb, "sum") && argc == 3) {
        if (chdir(argv[2])) {
            fail("%s: %s", argv[2], strerror(errno));
        }
        return do_sum();
    }
    if (argc != 4) {
        fail("expected sum DIR | fill LIST DIR | cached | check LIST DIR | "
             "dirty MIB MIBPS");
    }
    list = read_list(argv[2]);
    if (chdir(argv[3])) {
        fail("%s: %s", argv[3], strerror(errno));
    }
    if (!strcmp(verb, "fill")) {
        return do_fill(&list);
    }
    if (!strcmp(verb, "check")) {
        return do_check(&list);
    }
    fail("unknown verb '%s'", verb);
}
