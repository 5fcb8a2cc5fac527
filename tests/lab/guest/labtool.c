/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * labtool: what the lab does to files and memory inside the guest
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   labtool sum DIR <NAMES       make a list: "XXH64 SIZE NAME" a line
 *   labtool fill LIST DIR        read the listed files into the page cache
 *   labtool resident LIST DIR    count the pages that are there (mincore)
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
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
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

static int do_resident(const struct list *list)
{
    uint64_t resident = 0, pages = 0;

    for (size_t i = 0; i < list->count; i++) {
        const struct entry *entry = &list->entries[i];
        size_t n = (entry->size + PAGE - 1) / PAGE;
        unsigned char *vector = malloc(n);
        int fd = open_file(entry->name);
        void *map = mmap(NULL, entry->size, PROT_READ, MAP_SHARED, fd, 0);

        if (!vector || map == MAP_FAILED ||
            mincore(map, entry->size, vector)) {
            fail("%s: %s", entry->name, strerror(errno));
        }
        for (size_t k = 0; k < n; k++) {
            resident += vector[k] & 1;
        }
        pages += n;
        munmap(map, entry->size);
        close(fd);
        free(vector);
    }
    printf("resident=%" PRIu64 " pages=%" PRIu64 "\n", resident, pages);
    return 0;
}

static int do_check(const struct list *list)
{
    uint64_t bytes = 0;
    size_t bad = 0;
    double start = now();

    for (size_t i = 0; i < list->count; i++) {
        const struct entry *entry = &list->entries[i];
        uint64_t size, digest = digest_file(entry->name, &size);

        bytes += size;
        if (size != entry->size || digest != entry->digest) {
            if (bad++ < MAX_SHOWN) {
                printf("differs: %s: digest %016" PRIx64 " of %" PRIu64
                       " bytes, expected %016" PRIx64 " of %" PRIu64 "\n",
                       entry->name, digest, size, entry->digest,
                       entry->size);
            }
        }
    }
    printf("files=%zu bytes=%" PRIu64 " bad=%zu seconds=%.2f\n", list->count,
           bytes, bad, now() - start);
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
    if (!strcmp(verb, "sum") && argc == 3) {
        if (chdir(argv[2])) {
            fail("%s: %s", argv[2], strerror(errno));
        }
        return do_sum();
    }
    if (argc != 4) {
        fail("expected sum DIR | fill LIST DIR | resident LIST DIR | "
             "check LIST DIR | dirty MIB MIBPS");
    }
    list = read_list(argv[2]);
    if (chdir(argv[3])) {
        fail("%s: %s", argv[3], strerror(errno));
    }
    if (!strcmp(verb, "fill")) {
        return do_fill(&list);
    }
    if (!strcmp(verb, "resident")) {
        return do_resident(&list);
    }
    if (!strcmp(verb, "check")) {
        return do_check(&list);
    }
    fail("unknown verb '%s'", verb);
}
