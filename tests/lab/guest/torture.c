/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * torture: writers that know what every sector must hold
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   torture write CONTROL SLOT DIR SEED FILES MIB
 *                              write to so many files of up to MIB, for ever
 *   torture memory CONTROL SLOT SEED MIB
 *                              the same with memory that is swapped out
 *   torture rate CONTROL KIB   what each of them may write in a second
 *   torture check CONTROL [drop]
 *                              all of them check all they have; with 'drop',
 *                              files are read from the disk
 *   torture squeeze MIB        take memory, check that it keeps its content
 *
 * CONTROL is a file in memory (tmpfs) through which they talk.  SLOT counts
 * from 0.  Each process keeps in its memory what every sector of its files
 * must hold: (inode, index, generation).  Linked statically.  'check' prints
 * key=value pairs, ends with status 2 if a byte was wrong, with status 1 if
 * something could not be done.
 */
#define _GNU_SOURCE
#include "torture.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x54524f54u
#define WORDS (SECTOR / sizeof(uint64_t))
#define XFS_MAGIC 0x58465342
#define EXT4_MAGIC 0xef53
/* seconds for all workers to check all they have */
#define CHECK_TIMEOUT 280

static const char *const op_names[OPS] = { OP_NAMES };

static uint64_t mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccdull;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53ull;
    return x ^ x >> 33;
}

/* A number below @limit */
uint32_t pick(struct writer *w, uint32_t limit)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 17;
    w->random ^= w->random << 5;
    return (uint64_t)w->random * limit >> 32;
}

static void stamp_words(uint64_t *word, const struct stamp *stamp)
{
    uint64_t seed, step;
    size_t i;

    word[0] = (uint64_t)stamp->inode << 32 | MAGIC;
    word[1] = (uint64_t)stamp->generation << 32 | stamp->index;
    seed = mix(word[0] ^ mix(word[1]));
    step = mix(seed) | 1;
    for (i = 2; i < WORDS; i++) {
        seed += step;
        word[i] = seed;
    }
}

void stamp_fill(uint8_t *sector, const struct stamp *stamp)
{
    uint64_t word[WORDS] = { 0 };

    if (stamp->generation) {
        stamp_words(word, stamp);
    }
    memcpy(sector, word, SECTOR);
}

bool stamp_matches(const uint8_t *sector, const struct stamp *stamp)
{
    uint64_t word[WORDS] = { 0 };

    if (stamp->generation) {
        stamp_words(word, stamp);
    }
    return !memcmp(sector, word, SECTOR);
}

/* Only the first message is kept */
void report(struct worker *me, const char *format, ...)
{
    va_list args;

    if (!me->message[0]) {
        va_start(args, format);
        vsnprintf(me->message, sizeof(me->message), format, args);
        va_end(args);
    }
}

void failed(struct worker *me, const char *what, const char *name)
{
    report(me, "%s: %s: %s", name, what, strerror(errno));
    me->failures++;
}

static struct control *open_control(const char *path)
{
    int fd = open(path, O_RDWR | O_CREAT, 0600);
    struct control *control;

    if (fd < 0 || ftruncate(fd, sizeof(*control))) {
        err(1, "%s", path);
    }
    control = mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE,
                   MAP_SHARED, fd, 0);
    if (control == MAP_FAILED) {
        err(1, "%s", path);
    }
    close(fd);
    return control;
}

static struct worker *take_slot(struct control *control, const char *slot,
                                const char *what)
{
    unsigned number = atoi(slot);
    struct worker *me;

    if (number >= MAX_WORKERS || control->workers[number].pid) {
        errx(1, "slot %s: expected a free one below %u", slot, MAX_WORKERS);
    }
    me = &control->workers[number];
    snprintf(me->directory, sizeof(me->directory), "%s", what);
    me->epoch = control->epoch;
    return me;
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* Sleeps as long as the rate asks for and no check is wanted */
static void pause_for(struct control *control, struct worker *me,
                      uint64_t bytes)
{
    double end = now() + (control->rate ? bytes / 1024.0 / control->rate : 0);

    while (control->epoch == me->epoch && (!control->rate || now() < end)) {
        usleep(5000);
    }
}

static void __attribute__((noreturn))
write_files(struct control *control, struct writer *w)
{
    /* how often each is chosen */
    static const uint8_t weights[OPS] = {
        [OP_PWRITE] = 20, [OP_MMAP] = 20, [OP_DIRECT] = 12,
        [OP_TRUNCATE] = 4, [OP_PUNCH] = 6, [OP_ZERO_RANGE] = 4,
        [OP_COLLAPSE] = 3, [OP_FALLOCATE] = 3, [OP_FSYNC] = 10,
        [OP_UNLINK] = 3, [OP_REFLINK] = 6, [OP_DEFRAG] = 6,
        [OP_EVICT] = 6, [OP_VERIFY] = 6,
    };
    unsigned i, total = 0;

    for (i = 0; i < OPS; i++) {
        total += weights[i];
    }
    for (;;) {
        uint32_t choice = pick(w, total);
        uint64_t bytes;
        enum op op = 0;

        if (control->epoch != w->me->epoch) {
            uint32_t epoch = control->epoch;

            for (i = 0; i < w->count; i++) {
                if (control->drop) {
                    file_evict(w, &w->files[i]);
                }
                file_verify(w, &w->files[i], 0);
                if (control->drop) {
                    file_verify(w, &w->files[i], 1);
                }
            }
            w->me->epoch = epoch;
        }
        while (choice >= weights[op]) {
            choice -= weights[op++];
        }
        if (!control->rate) {
            pause_for(control, w->me, 0);
            continue;
        }
        bytes = file_op(w, op);
        w->me->written += bytes;
        /* what writes nothing isn't free either */
        pause_for(control, w->me, bytes + 16384);
    }
}

static int do_write(struct control *control, char **argv)
{
    struct writer w = { .me = take_slot(control, argv[0], argv[1]) };
    struct statfs fs;
    unsigned i;

    w.directory = w.me->directory;
    w.random = mix(atol(argv[2]) + 1) | 1;
    w.generation = atoi(argv[0]) << 26;
    w.count = atoi(argv[3]);
    w.max = atoi(argv[4]) << 11;
    w.files = calloc(w.count, sizeof(*w.files));
    w.buffer = mmap(NULL, w.max * SECTOR, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (!w.files || !w.count || !w.max || w.buffer == MAP_FAILED ||
        (mkdir(w.directory, 0755) && errno != EEXIST) ||
        statfs(w.directory, &fs)) {
        err(1, "%s", w.directory);
    }
    w.xfs = fs.f_type == XFS_MAGIC;
    w.ext4 = fs.f_type == EXT4_MAGIC;
    for (i = 0; i < w.count; i++) {
        struct file *f = &w.files[i];

        snprintf(f->name, sizeof(f->name), "%s/%u", w.directory, i);
        f->expect = calloc(w.max, sizeof(*f->expect));
        if (!f->expect) {
            err(1, "memory");
        }
        file_create(&w, f);
    }
    w.me->pid = getpid();
    write_files(control, &w);
}

/* Memory in place of a file: its pages go to swap and come back */
static int do_memory(struct control *control, char **argv)
{
    struct writer w = { .me = take_slot(control, argv[0], "memory") };
    uint32_t i, epoch, sectors = atoi(argv[2]) << 11;
    uint8_t *memory = mmap(NULL, (size_t)sectors * SECTOR,
                           PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct stamp *expect = calloc(sectors, sizeof(*expect));

    if (memory == MAP_FAILED || !expect || !sectors) {
        err(1, "memory");
    }
    w.random = mix(atol(argv[1]) + 1) | 1;
    w.me->pid = getpid();
    for (;;) {
        uint32_t n = 1 + pick(&w, 64), at = pick(&w, sectors - n);

        epoch = control->epoch;
        if (epoch != w.me->epoch) {
            for (i = 0; i < sectors; i++) {
                if (!stamp_matches(memory + (size_t)i * SECTOR, &expect[i])) {
                    w.me->bad++;
                    report(w.me, "memory: sector %u at %p: expected "
                           "generation %u", i, memory + (size_t)i * SECTOR,
                           expect[i].generation);
                }
            }
            w.me->checked += sectors;
            w.me->epoch = epoch;
        }
        if (!control->rate) {
            pause_for(control, w.me, 0);
            continue;
        }
        for (i = at; i < at + n; i++) {
            expect[i] = (struct stamp) { getpid(), i, ++w.generation };
            stamp_fill(memory + (size_t)i * SECTOR, &expect[i]);
        }
        if (pick(&w, 8) == 0) {
            uint32_t pages = sectors / PAGE_SECTORS;
            uint32_t many = 1 + pick(&w, pages), from = pick(&w, pages);

            if (many > pages - from) {
                many = pages - from;
            }
            if (madvise(memory + (size_t)from * PAGE, (size_t)many * PAGE,
                        MADV_PAGEOUT) == 0) {
                w.me->ops[OP_SWAP]++;
            } else {
                failed(w.me, "pageout", "memory");
            }
        }
        w.me->written += n * SECTOR;
        pause_for(control, w.me, n * SECTOR + 16384);
    }
}

static int do_check(struct control *control, bool drop)
{
    uint64_t checked = 0, bad = 0, written = 0, ops[OPS] = { 0 };
    uint32_t failures = 0, late = 0;
    double start = now(), deadline = start + CHECK_TIMEOUT;
    unsigned i, k, workers = 0;

    control->drop = drop;
    control->epoch++;
    for (i = 0; i < MAX_WORKERS; i++) {
        struct worker *w = &control->workers[i];

        if (!w->pid) {
            continue;
        }
        while (w->epoch != control->epoch && now() < deadline &&
               !kill(w->pid, 0)) {
            usleep(5000);
        }
        workers++;
        late += w->epoch != control->epoch;
        checked += w->checked;
        bad += w->bad;
        failures += w->failures;
        written += w->written;
        for (k = 0; k < OPS; k++) {
            ops[k] += w->ops[k];
        }
        if (w->message[0]) {
            printf("%s\n", w->message);
        }
        if (w->epoch != control->epoch) {
            printf("%s: %s, epoch %u of %u, after %.2f s (from %.2f)\n",
                   w->directory,
                   kill(w->pid, 0) ? "its writer has died"
                                   : "its writer does not answer",
                   w->epoch, control->epoch, now() - start, start);
        }
    }
    printf("workers=%u late=%u checked=%" PRIu64 " bad=%" PRIu64
           " failures=%u written=%" PRIu64, workers, late, checked, bad,
           failures, written);
    for (k = 0; k < OPS; k++) {
        printf(" %s=%" PRIu64, op_names[k], ops[k]);
    }
    printf("\n");
    return bad ? 2 : failures || late;
}

static int do_squeeze(uint32_t mib)
{
    size_t size = (size_t)mib << 20, at;
    struct stamp stamp = { getpid(), 0, 1 };
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t bad = 0;

    if (memory == MAP_FAILED) {
        err(1, "memory");
    }
    for (at = 0; at < size; at += PAGE) {
        stamp.index = at / PAGE;
        stamp_fill(memory + at, &stamp);
    }
    for (at = 0; at < size; at += PAGE) {
        stamp.index = at / PAGE;
        bad += !stamp_matches(memory + at, &stamp);
    }
    printf("bad=%u\n", bad);
    return bad ? 2 : 0;
}

int main(int argc, char **argv)
{
    const char *verb = argc > 2 ? argv[1] : "";
    struct control *control;

    if (!strcmp(verb, "squeeze")) {
        return do_squeeze(atoi(argv[2]));
    }
    control = argc > 2 ? open_control(argv[2]) : NULL;
    if (!strcmp(verb, "write") && argc == 8) {
        return do_write(control, argv + 3);
    }
    if (!strcmp(verb, "memory") && argc == 6) {
        return do_memory(control, argv + 3);
    }
    if (!strcmp(verb, "rate") && argc == 4) {
        control->rate = atoi(argv[3]);
        return 0;
    }
    if (!strcmp(verb, "check")) {
        return do_check(control, argc > 3);
    }
    errx(1, "usage: see the source");
}
