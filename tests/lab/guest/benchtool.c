/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * benchtool: what the benchmark's guests do besides serving clients
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   benchtool cached LIST DIR        count the listed files' pages that are in
 *                                    the page cache
 *   benchtool hold MIB RESULT        keep so much memory that is never written
 *                                    again; returns when it is filled
 *   benchtool beat HOST PORT MS      a datagram every so often, for ever
 *   benchtool scan LIST DIR MIBPS HOST PORT
 *                                    read the listed files again and again;
 *                                    rate 0: as fast as it goes
 *   benchtool write MIB MIBPS DIR RESULT HOST PORT
 *                                    write to MIB of memory at that rate, and
 *                                    to files below DIR at a tenth of it
 *   benchtool settle RESULT          let hold or write check what it holds and
 *                                    end; prints what it found
 *   benchtool verify DIR             compare write's files with what it left
 *
 * LIST is in labtool's format.  What is done is told to HOST by datagrams
 * "SEQUENCE BYTES": the bytes since the last one, a MiB at a time, from write
 * every 20 ms, too.  After a time in which the guest stood still everything
 * goes on at its rate, with nothing made up for.  Findings are a line
 * "pages=N bad=N"; bad ones make the status 2.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MIB (1 << 20)
#define WORDS (PAGE / sizeof(uint64_t))
#define LINE 8                  /* words */
#define CHUNK (64 << 10)        /* bytes that are read or written at once */
#define BEAT 0.02               /* s between datagrams of the writer */
#define LATE 0.05               /* s behind its time that are made up for */
/* the writer's files */
#define FILES 8
#define FILE_SIZE (8 << 20)
#define BLOCKS (FILE_SIZE / CHUNK * FILES)
#define MEMORY UINT64_MAX       /* the owner of pages in no file */

static volatile sig_atomic_t ended;

static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "benchtool: ");
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

static void sleep_until(double when)
{
    double left = when - now();

    if (left > 0) {
        struct timespec t = { left, (left - (time_t)left) * 1e9 };

        nanosleep(&t, NULL);
    }
}

/* When the next so many bytes are due */
static double pace(double due, double bytes, double rate)
{
    double t = now();

    due += bytes / rate;
    return due < t - LATE ? t : due;
}

static double number(const char *text)
{
    char *end;
    double value = strtod(text, &end);

    if (*end || end == text || value < 0 || value > INT_MAX) {
        fail("'%s': expected a number", text);
    }
    return value;
}

/* The place where datagrams go */
struct listener {
    int fd;
    uint64_t sequence;
    uint64_t bytes;             /* done since the last datagram */
};

static struct listener listener(const char *host, const char *port)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(number(port)),
    };
    struct listener to = { socket(AF_INET, SOCK_DGRAM, 0), 0, 0 };

    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
        fail("'%s': expected an address such as 10.3.0.3", host);
    }
    if (to.fd < 0 ||
        connect(to.fd, (struct sockaddr *)&address, sizeof(address))) {
        fail("%s port %s: %s", host, port, strerror(errno));
    }
    return to;
}

static void tell(struct listener *to)
{
    char text[64];
    int length = snprintf(text, sizeof(text), "%" PRIu64 " %" PRIu64,
                          to->sequence++, to->bytes);

    /* one that is lost, or that nobody listens to, is no matter */
    (void)!send(to->fd, text, length, MSG_DONTWAIT);
    to->bytes = 0;
}

static uint64_t mix(uint64_t x)
{
    x += 0x9e3779b97f4a7c15;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
    x = (x ^ x >> 27) * 0x94d049bb133111eb;
    return x ^ x >> 31;
}

/*
 * A page that is like no other and compresses two to one: in each line half
 * is random, the other half counts.
 */
static void fill_page(uint64_t *page, uint64_t owner, uint64_t index,
                      uint64_t generation)
{
    uint64_t random = mix(owner ^ mix(index ^ mix(generation)));

    for (size_t i = 0; i < WORDS; i += LINE) {
        for (size_t k = 0; k < LINE / 2; k++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            page[i + k] = random;
            page[i + LINE / 2 + k] = index;
        }
    }
    page[LINE - 1] = generation;
}

static bool page_is(const uint64_t *page, uint64_t owner, uint64_t index,
                    uint64_t generation)
{
    uint64_t expected[WORDS];

    fill_page(expected, owner, index, generation);
    return !memcmp(page, expected, PAGE);
}

static uint64_t *memory(size_t mib)
{
    void *start = mmap(NULL, mib * MIB, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (start == MAP_FAILED) {
        fail("%zu MiB: %s", mib, strerror(errno));
    }
    for (size_t i = 0; i < mib * MIB / PAGE; i++) {
        fill_page((uint64_t *)start + i * WORDS, MEMORY, i, 0);
    }
    return start;
}

struct found {
    uint64_t pages, bad;
};

static int print_found(FILE *out, struct found found)
{
    fprintf(out, "pages=%" PRIu64 " bad=%" PRIu64 "\n", found.pages,
            found.bad);
    return found.bad ? 2 : 0;
}

/* A file that appears with all of its contents at once */
static void leave(const char *path, struct found found)
{
    char name[PATH_MAX];
    FILE *out;

    snprintf(name, sizeof(name), "%s.new", path);
    out = fopen(name, "w");
    if (!out) {
        fail("%s: %s", name, strerror(errno));
    }
    print_found(out, found);
    if (fclose(out) || rename(name, path)) {
        fail("%s: %s", path, strerror(errno));
    }
}

static void on_end(int signal)
{
    (void)signal;
    ended = 1;
}

/* Let settle find us */
static void sign(const char *path)
{
    struct sigaction action = { .sa_handler = on_end };
    char name[PATH_MAX];
    FILE *out;

    sigaction(SIGTERM, &action, NULL);
    unlink(path);
    snprintf(name, sizeof(name), "%s.pid", path);
    out = fopen(name, "w");
    if (!out || fprintf(out, "%d\n", getpid()) < 0 || fclose(out)) {
        fail("%s: %s", name, strerror(errno));
    }
}

static int do_settle(const char *path)
{
    char name[PATH_MAX], line[80] = "";
    uint64_t pages, bad;
    FILE *in;
    int pid;

    snprintf(name, sizeof(name), "%s.pid", path);
    in = fopen(name, "r");
    if (!in || fscanf(in, "%d", &pid) != 1) {
        fail("%s: no process number there", name);
    }
    fclose(in);
    kill(pid, SIGTERM);
    while (access(path, R_OK)) {
        if (kill(pid, 0) && access(path, R_OK)) {
            fail("process %d ended without a word", pid);
        }
        usleep(20000);
    }
    in = fopen(path, "r");
    if (!in || !fgets(line, sizeof(line), in) ||
        sscanf(line, "pages=%" SCNu64 " bad=%" SCNu64, &pages, &bad) != 2) {
        fail("%s: expected pages=N bad=N, got '%s'", path, line);
    }
    return print_found(stdout, (struct found) { pages, bad });
}

static void fill_and_hold(size_t mib, const char *result, int tell_fd)
{
    struct found found = { mib * MIB / PAGE, 0 };
    uint64_t *start = memory(mib);
    sigset_t none, end;
    int null;

    /* closed for the signal but while it waits */
    sigemptyset(&none);
    sigemptyset(&end);
    sigaddset(&end, SIGTERM);
    sigprocmask(SIG_BLOCK, &end, NULL);
    sign(result);
    null = open("/dev/null", O_RDWR);
    if (write(tell_fd, "", 1) != 1) {
        fail("nobody waits");
    }
    for (int fd = 0; fd < 3; fd++) {
        dup2(null, fd);
    }
    while (!ended) {
        sigsuspend(&none);
    }
    for (size_t i = 0; i < found.pages; i++) {
        found.bad += !page_is(start + i * WORDS, MEMORY, i, 0);
    }
    leave(result, found);
    exit(0);
}

static int do_hold(size_t mib, const char *result)
{
    int fds[2];
    char c;

    if (pipe(fds)) {
        fail("pipe: %s", strerror(errno));
    }
    fflush(stdout);
    if (fork() == 0) {
        close(fds[0]);
        setsid();
        fill_and_hold(mib, result, fds[1]);
    }
    close(fds[1]);
    if (read(fds[0], &c, 1) != 1) {
        fail("%zu MiB could not be held", mib);
    }
    printf("held %zu\n", mib);
    return 0;
}

/* Calls a function for each listed file until it returns false */
static void each_file(const char *list, const char *directory,
                      bool (*visit)(const char *name, void *data), void *data)
{
    FILE *in = fopen(list, "r");
    char *line = NULL;
    size_t room = 0;
    bool more = true;

    if (!in || chdir(directory)) {
        fail("%s or %s: %s", list, directory, strerror(errno));
    }
    while (more && getline(&line, &room, in) > 0) {
        int name = 0;

        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%*s %*s %n", &name) < 0 || !name) {
            fail("%s: expected 'XXH64 SIZE NAME', got '%s'", list, line);
        }
        more = visit(line + name, data);
    }
    free(line);
    fclose(in);
}

static int open_file(const char *name, int flags)
{
    int fd = open(name, flags, 0644);

    if (fd < 0) {
        fail("%s: %s", name, strerror(errno));
    }
    return fd;
}

static bool count_file(const char *name, void *data)
{
    uint64_t *counts = data;    /* pages, resident ones */
    int fd = open_file(name, O_RDONLY);
    struct stat status;
    unsigned char *vector;
    size_t pages;
    void *map;

    if (fstat(fd, &status)) {
        fail("%s: %s", name, strerror(errno));
    }
    pages = (status.st_size + PAGE - 1) / PAGE;
    if (pages) {
        vector = malloc(pages);
        map = mmap(NULL, status.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (!vector || map == MAP_FAILED ||
            mincore(map, status.st_size, vector)) {
            fail("%s: %s", name, strerror(errno));
        }
        for (size_t i = 0; i < pages; i++) {
            counts[1] += vector[i] & 1;
        }
        counts[0] += pages;
        munmap(map, status.st_size);
        free(vector);
    }
    close(fd);
    return true;
}

static int do_cached(const char *list, const char *directory)
{
    uint64_t counts[2] = { 0, 0 };

    each_file(list, directory, count_file, counts);
    printf("pages=%" PRIu64 " resident=%" PRIu64 "\n", counts[0], counts[1]);
    return 0;
}

struct scan {
    struct listener to;
    double rate;                /* bytes per second; 0: any */
    double due;
};

static bool scan_file(const char *name, void *data)
{
    static char buffer[CHUNK];
    struct scan *scan = data;
    int fd = open_file(name, O_RDONLY);
    ssize_t got;

    while ((got = read(fd, buffer, sizeof(buffer))) > 0) {
        scan->to.bytes += got;
        if (scan->to.bytes >= MIB) {
            uint64_t bytes = scan->to.bytes;

            tell(&scan->to);
            if (scan->rate) {
                scan->due = pace(scan->due, bytes, scan->rate);
                sleep_until(scan->due);
            }
        }
    }
    if (got < 0) {
        fail("%s: %s", name, strerror(errno));
    }
    close(fd);
    return true;
}

static int __attribute__((noreturn)) do_scan(char **argv)
{
    struct scan scan = {
        listener(argv[3], argv[4]), number(argv[2]) * MIB, now()
    };

    for (;;) {
        each_file(argv[0], argv[1], scan_file, &scan);
    }
}

static int __attribute__((noreturn))
do_beat(const char *host, const char *port, double ms)
{
    struct listener to = listener(host, port);
    double due = now();

    for (;;) {
        tell(&to);
        due = pace(due, ms, 1000);
        sleep_until(due);
    }
}

/* The writer's files; a block's pages have its generation */
static void table_name(char *name, const char *directory)
{
    snprintf(name, PATH_MAX, "%s/table", directory);
}

static int open_part(const char *directory, unsigned file, int flags)
{
    char name[PATH_MAX];

    snprintf(name, sizeof(name), "%s/%u", directory, file);
    return open_file(name, flags);
}

static struct found check_files(const char *directory,
                                const uint32_t *generations)
{
    static uint64_t block[CHUNK / sizeof(uint64_t)];
    struct found found = { 0, 0 };

    for (unsigned b = 0; b < BLOCKS; b++) {
        unsigned file = b % FILES, at = b / FILES;
        int fd = open_part(directory, file, O_RDONLY);

        if (pread(fd, block, CHUNK, (off_t)at * CHUNK) != CHUNK) {
            memset(block, 0, CHUNK);
        }
        for (unsigned i = 0; i < CHUNK / PAGE; i++) {
            found.pages++;
            found.bad += !page_is(block + i * WORDS, file,
                                  at * (CHUNK / PAGE) + i, generations[b]);
        }
        close(fd);
    }
    return found;
}

static void write_block(int *fds, uint32_t *generations, unsigned b)
{
    static uint64_t block[CHUNK / sizeof(uint64_t)];
    unsigned file = b % FILES, at = b / FILES;

    generations[b]++;
    for (unsigned i = 0; i < CHUNK / PAGE; i++) {
        fill_page(block + i * WORDS, file, at * (CHUNK / PAGE) + i,
                  generations[b]);
    }
    if (pwrite(fds[file], block, CHUNK, (off_t)at * CHUNK) != CHUNK) {
        fail("writing a file: %s", strerror(errno));
    }
}

/* A process that writes the disk's part out once a second */
static void sync_regularly(int fd)
{
    pid_t parent = getpid();

    if (fork() == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        while (getppid() == parent) {
            sleep(1);
            syncfs(fd);
        }
        _exit(0);
    }
}

static int do_write(char **argv)
{
    size_t pages = number(argv[0]) * MIB / PAGE, at = 0;
    double rate = number(argv[1]) * MIB, due, beat;
    const char *directory = argv[2], *result = argv[3];
    struct listener to = listener(argv[4], argv[5]);
    uint64_t *start, pass = 0;
    uint32_t generations[BLOCKS] = { 0 };
    unsigned unit = 0, block = 0;
    struct found found;
    char name[PATH_MAX];
    int fds[FILES], fd;

    if (!pages || (mkdir(directory, 0755) && errno != EEXIST)) {
        fail("%s MiB in %s: impossible", argv[0], directory);
    }
    for (unsigned i = 0; i < FILES; i++) {
        fds[i] = open_part(directory, i, O_WRONLY | O_CREAT | O_TRUNC);
    }
    for (unsigned b = 0; b < BLOCKS; b++) {
        write_block(fds, generations, b);
    }
    syncfs(fds[0]);
    /* before the memory is there, which it would keep a copy of */
    sync_regularly(fds[0]);
    start = memory(pages * PAGE / MIB);
    sign(result);
    for (due = beat = now(); !ended;) {
        double t = now();

        if (t >= beat || to.bytes >= MIB) {
            tell(&to);
            beat = t + BEAT;
        }
        if (!rate || t < due) {
            sleep_until(rate && due < beat ? due : beat);
            continue;
        }
        for (unsigned i = 0; i < CHUNK / PAGE; i++) {
            if (at == pages) {
                at = 0;
                pass++;
            }
            start[at++ * WORDS + LINE - 1] = pass + 1;
        }
        to.bytes += CHUNK;
        due = pace(due, CHUNK, rate);
        if (++unit % 10 == 0) {
            write_block(fds, generations, block++ % BLOCKS);
        }
    }
    found = check_files(directory, generations);
    for (size_t i = 0; i < pages; i++) {
        uint64_t *page = start + i * WORDS;
        bool good = page[LINE - 1] == pass + (i < at);

        page[LINE - 1] = 0;             /* as it was made */
        found.pages++;
        found.bad += !good || !page_is(page, MEMORY, i, 0);
    }
    table_name(name, directory);
    fd = open_file(name, O_WRONLY | O_CREAT | O_TRUNC);
    if (write(fd, generations, sizeof(generations)) != sizeof(generations) ||
        syncfs(fd)) {
        fail("%s: %s", name, strerror(errno));
    }
    leave(result, found);
    return 0;
}

static int do_verify(const char *directory)
{
    uint32_t generations[BLOCKS];
    char name[PATH_MAX];
    int fd;

    table_name(name, directory);
    fd = open_file(name, O_RDONLY);
    if (read(fd, generations, sizeof(generations)) != sizeof(generations)) {
        fail("%s: expected %u generations", name, BLOCKS);
    }
    return print_found(stdout, check_files(directory, generations));
}

int main(int argc, char **argv)
{
    const char *verb = argc > 1 ? argv[1] : "";

    argc = argc > 2 ? argc - 2 : 0;
    argv += 2;
    if (!strcmp(verb, "cached") && argc == 2) {
        return do_cached(argv[0], argv[1]);
    }
    if (!strcmp(verb, "hold") && argc == 2) {
        return do_hold(number(argv[0]), argv[1]);
    }
    if (!strcmp(verb, "beat") && argc == 3) {
        do_beat(argv[0], argv[1], number(argv[2]));
    }
    if (!strcmp(verb, "scan") && argc == 5) {
        do_scan(argv);
    }
    if (!strcmp(verb, "write") && argc == 6) {
        return do_write(argv);
    }
    if (!strcmp(verb, "settle") && argc == 1) {
        return do_settle(argv[0]);
    }
    if (!strcmp(verb, "verify") && argc == 1) {
        return do_verify(argv[0]);
    }
    fail("'%s' with %d words: see the source for its usage", verb, argc);
}
