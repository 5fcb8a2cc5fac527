/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * hurttool: what the guest driver could get in the way of
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   hurttool freeze DIR          FIFREEZE
 *   hurttool thaw DIR            FITHAW
 *   hurttool lock FILE           write() from memory that never comes, so
 *                                that the file's lock is held; until killed
 *   hurttool names DIR N         N deleted files of 8 pages, each second one
 *                                a hole, open in a process each; with SIGUSR1
 *                                these are killed one by one
 *   hurttool files DIR N         N files of a page, and their pages cached
 *   hurttool wide FILE N         N pages with so much between them that each is
 *                                looked up on its own; written and cached
 *   hurttool direct FILE read|write
 *                                open for that only; a page, three times,
 *                                past the cache
 *   hurttool steps DIR DEV TYPE FILE
 *                                freeze, thaw, sync, remount, unmount, open
 *                                the device alone, mount, read FILE, on and on
 *                                until /tmp/stop is there
 *
 * Linked statically.  Prints a line when it is done or has begun, or what went
 * wrong.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PAGE 4096

static uint8_t page[PAGE] __attribute__((aligned(PAGE)));
static volatile sig_atomic_t told;

static void on_signal(int number)
{
    told = number;
}

static void say(const char *text)
{
    puts(text);
    fflush(stdout);
}

static int open_or_die(const char *name, int flags)
{
    int fd = open(name, flags, 0644);

    if (fd < 0) {
        err(1, "%s", name);
    }
    return fd;
}

static void fs_call(const char *name, unsigned long request)
{
    int fd = open_or_die(name, O_RDONLY);

    if (ioctl(fd, request, 0)) {
        err(1, "%s %s", request == FIFREEZE ? "freeze" : "thaw", name);
    }
    close(fd);
}

static void *write_absent(void *opaque)
{
    void **args = opaque;
    int fd = open_or_die(args[0], O_RDWR);

    if (pwrite(fd, args[1], PAGE, 0) != PAGE) {
        err(1, "write");
    }
    return NULL;
}

/* The kernel asks for the page with the file's lock held, and goes on asking */
static void hold_lock(char *name)
{
    int uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };
    struct uffd_msg msg;
    void *args[2] = { name };
    pthread_t thread;

    args[1] = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    reg.range.start = (uintptr_t)args[1];
    reg.range.len = PAGE;
    if (uffd < 0 || args[1] == MAP_FAILED || ioctl(uffd, UFFDIO_API, &api) ||
        ioctl(uffd, UFFDIO_REGISTER, &reg)) {
        err(1, "userfaultfd");
    }
    if (pthread_create(&thread, NULL, write_absent, args)) {
        errx(1, "no thread");
    }
    if (read(uffd, &msg, sizeof(msg)) != sizeof(msg)) {
        err(1, "userfaultfd");
    }
    say("locked");
    pause();
}

static void hold_names(const char *dir, int n)
{
    struct sigaction action = { .sa_handler = on_signal };
    pid_t *children = calloc(n, sizeof(*children));
    char name[4096];
    sigset_t old, set;
    int i, j, fd;

    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    sigprocmask(SIG_BLOCK, &set, &old);
    sigaction(SIGUSR1, &action, NULL);
    for (i = 0; i < n; i++) {
        snprintf(name, sizeof(name), "%s/name%d", dir, i);
        fd = open_or_die(name, O_RDWR | O_CREAT | O_TRUNC);
        for (j = 0; j < 8; j += 2) {
            memset(page, i + j, PAGE);
            if (pwrite(fd, page, PAGE, j * PAGE) != PAGE) {
                err(1, "write");
            }
        }
        if (unlink(name)) {
            err(1, "%s", name);
        }
        if (i == n - 1 && syncfs(fd)) {
            err(1, "sync");
        }
        children[i] = fork();
        if (children[i] < 0) {
            err(1, "fork");
        }
        while (!children[i]) {
            pause();
        }
        close(fd);
    }
    say("held");
    while (!told) {
        sigsuspend(&old);
    }
    for (i = 0; i < n; i++) {
        kill(children[i], SIGKILL);
        usleep(2000);
    }
    say("closed");
}

static void make_files(const char *dir, int n)
{
    char name[4096];
    int i, fd;

    for (i = 0; i < n; i++) {
        if (i % 500 == 0) {
            snprintf(name, sizeof(name), "%s/%d", dir, i / 500);
            if (mkdir(name, 0755) && errno != EEXIST) {
                err(1, "%s", name);
            }
        }
        snprintf(name, sizeof(name), "%s/%d/%d", dir, i / 500, i);
        fd = open_or_die(name, O_RDWR | O_CREAT | O_TRUNC);
        memcpy(page, &i, sizeof(i));
        if (write(fd, page, PAGE) != PAGE) {
            err(1, "write");
        }
        close(fd);
    }
    sync();
    say("made");
}

static void make_wide(const char *name, int n)
{
    int fd = open_or_die(name, O_RDWR | O_CREAT | O_TRUNC);
    int i;

    for (i = 0; i < n; i++) {
        memset(page, i, PAGE);
        if (pwrite(fd, page, PAGE, (off_t)i << 22) != PAGE) {
            err(1, "write");
        }
    }
    if (fsync(fd)) {
        err(1, "fsync");
    }
    say("made");
}

static void direct(const char *name, const char *how)
{
    bool writes = strcmp(how, "write") == 0;
    int fd = open_or_die(name, O_DIRECT | (writes ? O_WRONLY : O_RDONLY));
    int i;

    say("begun");
    for (i = 0; i < 3; i++) {
        if ((writes ? pwrite(fd, page, PAGE, i * PAGE)
                    : pread(fd, page, PAGE, i * PAGE)) != PAGE) {
            err(1, "%s %s", how, name);
        }
    }
    say("done");
}

/* All but the holes */
static void read_file(const char *name)
{
    int fd = open_or_die(name, O_RDONLY);
    off_t at = 0;

    while ((at = lseek(fd, at, SEEK_DATA)) >= 0) {
        if (pread(fd, page, PAGE, at) <= 0) {
            err(1, "read");
        }
        at += PAGE;
    }
    close(fd);
}

/* What an administrator may do, each of which must work as without us */
static void all_steps(char **args)
{
    const char *dir = args[0], *dev = args[1], *type = args[2];
    unsigned long rounds = 0;
    int fd;

    while (access("/tmp/stop", F_OK)) {
        fs_call(dir, FIFREEZE);
        usleep(rounds % 7 * 300);
        fs_call(dir, FITHAW);
        sync();
        if (mount(NULL, dir, NULL, MS_REMOUNT | MS_RDONLY, NULL) ||
            mount(NULL, dir, NULL, MS_REMOUNT, NULL)) {
            err(1, "remount %s", dir);
        }
        if (umount(dir)) {
            err(1, "unmount %s", dir);
        }
        /* it was unmounted, not only said to be */
        fd = open_or_die(dev, O_RDWR | O_EXCL);
        close(fd);
        if (mount(dev, dir, type, MS_NOATIME, NULL)) {
            err(1, "mount %s", dir);
        }
        read_file(args[3]);
        rounds++;
    }
    printf("%lu rounds\n", rounds);
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "freeze")) {
        fs_call(argv[2], FIFREEZE);
    } else if (argc == 3 && !strcmp(argv[1], "thaw")) {
        fs_call(argv[2], FITHAW);
    } else if (argc == 3 && !strcmp(argv[1], "lock")) {
        hold_lock(argv[2]);
    } else if (argc == 4 && !strcmp(argv[1], "names")) {
        hold_names(argv[2], atoi(argv[3]));
    } else if (argc == 4 && !strcmp(argv[1], "files")) {
        make_files(argv[2], atoi(argv[3]));
    } else if (argc == 4 && !strcmp(argv[1], "wide")) {
        make_wide(argv[2], atoi(argv[3]));
    } else if (argc == 4 && !strcmp(argv[1], "direct")) {
        direct(argv[2], argv[3]);
    } else if (argc == 6 && !strcmp(argv[1], "steps")) {
        all_steps(argv + 2);
    } else {
        errx(1, "usage: see the source");
    }
    return 0;
}
