/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * maptool: page cache of every kind, for the test of the guest driver's map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   maptool map FILE...          map files, touch their pages, stay
 *   maptool dirty FILE MIB       write a file and leave it dirty
 *   maptool sparse FILE MIB      write every eighth page, sync, read all
 *   maptool unwritten FILE MIB   preallocate blocks, sync, read all
 *   maptool tail FILE BYTES      write so many bytes, sync, map the page
 *   maptool deleted FILE MIB     write, sync, unlink, stay with it open
 *   maptool clone FROM TO        a reflink, then every eighth page written
 *   maptool dm NAME DEV OFFSET SECTORS [DEV OFFSET SECTORS]...
 *                                make a linear device-mapper device
 *   maptool table NAME SECTORS TYPE PARAMETERS [SECTORS TYPE PARAMETERS]...
 *                                make any other device-mapper device
 *   maptool nobody FILE          open a file as a user without privileges;
 *                                prints "opened", or why not
 *   maptool holes FILE...        pages that no written extent has, by FIEMAP
 *   maptool ioctl FILE NR SIZE   call the ioctl _IOWR(0xb7, NR, SIZE bytes)
 *
 * Linked statically.  Prints a line when it is done, or what went wrong.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/dm-ioctl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES_PER_MIB 256

static uint8_t page[PAGE];

/* Something that is on no disk yet */
static void fill_page(uint64_t seed)
{
    uint64_t x = seed * 0x9e3779b97f4a7c15ull + getpid();
    size_t i;

    for (i = 0; i < PAGE; i += sizeof(x)) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        memcpy(page + i, &x, sizeof(x));
    }
}

static int create(const char *name)
{
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0644);

    if (fd < 0) {
        err(1, "%s", name);
    }
    return fd;
}

static void write_page(int fd, uint64_t index, size_t size)
{
    fill_page(index);
    if (pwrite(fd, page, size, index * PAGE) != (ssize_t)size) {
        err(1, "write");
    }
}

static void sync_and_read(int fd)
{
    uint64_t at = 0;
    ssize_t got;

    if (fsync(fd)) {
        err(1, "fsync");
    }
    do {
        got = pread(fd, page, PAGE, at);
        at += PAGE;
    } while (got > 0);
    if (got < 0) {
        err(1, "read");
    }
}

/* Says that all is there, closes what a waiting shell may read from, waits */
static void __attribute__((noreturn)) stay(uint64_t pages)
{
    printf("%ju pages\n", (uintmax_t)pages);
    fflush(stdout);
    for (;;) {
        pause();
    }
}

static uint64_t map_file(const char *name)
{
    int fd = open(name, O_RDONLY);
    struct stat st;
    volatile const uint8_t *p;          /* must be read, not used */
    uint64_t sum = 0;
    off_t at;

    if (fd < 0 || fstat(fd, &st)) {
        err(1, "%s", name);
    }
    if (st.st_size) {
        p = mmap(NULL, st.st_size, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            err(1, "mmap %s", name);
        }
        for (at = 0; at < st.st_size; at += PAGE) {
            sum += p[at];
        }
    }
    close(fd);
    return (st.st_size + PAGE - 1) / PAGE;
}

static void write_kind(const char *kind, const char *name, uint64_t number)
{
    uint64_t pages = number * PAGES_PER_MIB, i;
    int fd = create(name);

    if (!strcmp(kind, "dirty")) {
        for (i = 0; i < pages; i++) {
            write_page(fd, i, PAGE);
        }
    } else if (!strcmp(kind, "sparse")) {
        for (i = 0; i < pages; i += 8) {
            write_page(fd, i, PAGE);
        }
        sync_and_read(fd);
    } else if (!strcmp(kind, "unwritten")) {
        if (posix_fallocate(fd, 0, pages * PAGE)) {
            errx(1, "fallocate %s failed", name);
        }
        sync_and_read(fd);
    } else if (!strcmp(kind, "tail")) {
        write_page(fd, 0, number);
        if (fsync(fd)) {
            err(1, "fsync");
        }
        map_file(name);
        pages = 1;
    } else if (!strcmp(kind, "deleted")) {
        for (i = 0; i < pages; i++) {
            write_page(fd, i, PAGE);
        }
        sync_and_read(fd);
        if (unlink(name)) {
            err(1, "%s", name);
        }
        stay(pages);
    } else {
        errx(1, "%s: unknown command", kind);
    }
    printf("%ju pages\n", (uintmax_t)pages);
}

static void clone_file(const char *from, const char *to)
{
    int source = open(from, O_RDONLY), fd = create(to);
    uint64_t i, pages;
    struct stat st;

    if (source < 0 || fstat(source, &st)) {
        err(1, "%s", from);
    }
    if (ioctl(fd, FICLONE, source)) {
        err(1, "clone %s", from);
    }
    pages = st.st_size / PAGE;
    for (i = 0; i < pages; i += 8) {
        write_page(fd, i, PAGE);
    }
    sync_and_read(fd);
    printf("%ju pages\n", (uintmax_t)pages);
}

static struct dm_ioctl *dm_request(const char *name)
{
    static union {
        struct dm_ioctl dmi;
        uint8_t room[16384];
    } buffer;
    struct dm_ioctl *dmi = &buffer.dmi;

    memset(&buffer, 0, sizeof(buffer));
    dmi->version[0] = DM_VERSION_MAJOR;
    dmi->data_size = sizeof(buffer);
    dmi->data_start = sizeof(*dmi);
    snprintf(dmi->name, sizeof(dmi->name), "%s", name);
    return dmi;
}

static void dm_call(int control, unsigned long request, struct dm_ioctl *dmi)
{
    if (ioctl(control, request, dmi)) {
        err(1, "device-mapper %s", dmi->name);
    }
}

/* @argv: DEV OFFSET SECTORS of each segment */
/* Adds a target behind those that are in a table. */
static void add_target(struct dm_ioctl *dmi, uint64_t sectors,
                       const char *type, const char *parameters)
{
    static uint64_t start;
    static size_t at = sizeof(*dmi);
    struct dm_target_spec *spec = (struct dm_target_spec *)((char *)dmi + at);

    spec->sector_start = start;
    spec->length = sectors;
    snprintf(spec->target_type, sizeof(spec->target_type), "%s", type);
    strcpy((char *)(spec + 1), parameters);
    spec->next = (sizeof(*spec) + strlen(parameters) + 8) & ~7u;
    at += spec->next;
    start += sectors;
    dmi->target_count++;
}

/* @linear: the arguments are of "dm", otherwise of "table" */
static void make_dm(const char *name, bool linear, int argc, char **argv)
{
    struct dm_ioctl *dmi = dm_request(name);
    int control = open("/dev/mapper/control", O_RDWR);

    if (control < 0) {
        err(1, "/dev/mapper/control");
    }
    dm_call(control, DM_DEV_CREATE, dmi);

    dmi = dm_request(name);
    for (; argc >= 3; argc -= 3, argv += 3) {
        char parameters[64];
        struct stat st;

        if (!linear) {
            add_target(dmi, atoll(argv[0]), argv[1], argv[2]);
            continue;
        }
        if (stat(argv[0], &st)) {
            err(1, "%s", argv[0]);
        }
        snprintf(parameters, sizeof(parameters), "%u:%u %s",
                 major(st.st_rdev), minor(st.st_rdev), argv[1]);
        add_target(dmi, atoll(argv[2]), "linear", parameters);
    }
    dm_call(control, DM_TABLE_LOAD, dmi);
    dmi = dm_request(name);
    dm_call(control, DM_DEV_SUSPEND, dmi);      /* without a flag: resume */
    printf("dm-%u\n", minor(dmi->dev));
}

static void open_as_nobody(const char *name)
{
    if (setgroups(0, NULL) || setgid(65534) || setuid(65534)) {
        err(1, "becoming nobody");
    }
    printf("%s\n", open(name, O_RDWR) < 0 ? strerror(errno) : "opened");
}

/* Pages of a file over holes and blocks that were not written yet */
static uint64_t count_holes(const char *name)
{
    struct {
        struct fiemap map;
        struct fiemap_extent extent[1];
    } arg;
    int fd = open(name, O_RDONLY);
    uint64_t holes = 0, at = 0;
    struct stat st;

    if (fd < 0 || fstat(fd, &st)) {
        err(1, "%s", name);
    }
    while (at < (uint64_t)st.st_size) {
        const struct fiemap_extent *e = &arg.extent[0];
        uint64_t end = st.st_size, next = st.st_size;

        memset(&arg, 0, sizeof(arg));
        arg.map.fm_start = at;
        arg.map.fm_length = st.st_size - at;
        arg.map.fm_extent_count = 1;
        if (ioctl(fd, FS_IOC_FIEMAP, &arg)) {
            err(1, "FIEMAP %s", name);
        }
        if (arg.map.fm_mapped_extents && e->fe_logical < end) {
            next = e->fe_logical + e->fe_length;
            if (!(e->fe_flags & FIEMAP_EXTENT_UNWRITTEN)) {
                end = e->fe_logical > at ? e->fe_logical : at;
            } else if (next < end) {
                end = next;
            }
        }
        holes += (end - at + PAGE - 1) / PAGE;
        at = next > end ? next : end;
    }
    close(fd);
    return holes;
}

static void call_ioctl(const char *name, unsigned int number, size_t size)
{
    static uint8_t argument[1 << 14];
    int fd = open(name, O_RDWR);

    if (fd < 0) {
        err(1, "%s", name);
    }
    if (ioctl(fd, _IOC(_IOC_READ | _IOC_WRITE, 0xb7, number, size),
              argument)) {
        err(1, "ioctl");
    }
}

int main(int argc, char **argv)
{
    if (argc >= 3 && !strcmp(argv[1], "map")) {
        uint64_t pages = 0;
        int i;

        for (i = 2; i < argc; i++) {
            pages += map_file(argv[i]);
        }
        stay(pages);
    } else if (argc >= 6 && !strcmp(argv[1], "dm")) {
        make_dm(argv[2], true, argc - 3, argv + 3);
    } else if (argc >= 6 && !strcmp(argv[1], "table")) {
        make_dm(argv[2], false, argc - 3, argv + 3);
    } else if (argc == 3 && !strcmp(argv[1], "nobody")) {
        open_as_nobody(argv[2]);
    } else if (argc >= 3 && !strcmp(argv[1], "holes")) {
        uint64_t holes = 0;
        int i;

        for (i = 2; i < argc; i++) {
            holes += count_holes(argv[i]);
        }
        printf("%ju\n", (uintmax_t)holes);
    } else if (argc == 5 && !strcmp(argv[1], "ioctl")) {
        call_ioctl(argv[2], atoi(argv[3]), atoi(argv[4]));
    } else if (argc == 4 && !strcmp(argv[1], "clone")) {
        clone_file(argv[2], argv[3]);
    } else if (argc == 4) {
        write_kind(argv[1], argv[2], atoll(argv[3]));
    } else {
        errx(1, "usage: see the source");
    }
    return 0;
}
