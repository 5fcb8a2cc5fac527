/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Storage for tests that need more than a directory: file systems in files,
 * mounted where nobody else sees them, and mounts of one file that stand for
 * several hosts (tests/tools/fusefile.c).
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TEST_PAGECACHE_HOSTS_H
#define TEST_PAGECACHE_HOSTS_H

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

/* Mounts of ours from now on are ours alone.  False: not root; says so. */
static inline bool hosts_private(void)
{
    if (geteuid() || unshare(CLONE_NEWNS) < 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        g_test_skip("no mount namespace to be had (are you root?)");
        return false;
    }
    return true;
}

/* Runs @command, printf() style.  False: it failed, or is not there. */
static inline bool G_GNUC_PRINTF(1, 2) hosts_run(const char *format, ...)
{
    g_autofree char *command = NULL;
    g_autoptr(GError) err = NULL;
    va_list ap;
    int status;

    va_start(ap, format);
    command = g_strdup_vprintf(format, ap);
    va_end(ap);
    if (!g_spawn_command_line_sync(command, NULL, NULL, &status, &err)) {
        g_test_message("%s: %s", command, err->message);
        return false;
    }
    if (status) {
        g_test_message("%s: status %d", command, status);
    }
    return status == 0;
}

/* How many pages of @path are in the host's cache */
static inline unsigned hosts_cached(const char *path)
{
    size_t page = qemu_real_host_page_size(), n, i;
    g_autofree unsigned char *vec = NULL;
    unsigned cached = 0;
    struct stat st;
    void *map;
    int fd;

    fd = open(path, O_RDONLY | O_CLOEXEC);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    n = (st.st_size + page - 1) / page;
    vec = g_malloc(n);
    map = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    g_assert(map != MAP_FAILED);
    g_assert_cmpint(mincore(map, st.st_size, vec), ==, 0);
    for (i = 0; i < n; i++) {
        cached += vec[i] & 1;
    }
    munmap(map, st.st_size);
    close(fd);
    return cached;
}

/* Writes back what @path has in the host's cache, and empties it */
static inline void hosts_uncache(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC), i;

    g_assert_cmpint(fd, >=, 0);
    for (i = 0; i < 100; i++) {
        g_assert_cmpint(fsync(fd), ==, 0);
        g_assert_cmpint(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), ==, 0);
        if (!hosts_cached(path)) {
            break;
        }
        g_usleep(10 * 1000);
    }
    close(fd);
}

/* --- Mounts of one file --------------------------------------------------- */

/* The program; also from the environment */
#ifndef FUSEFILE
#define FUSEFILE ""
#endif

typedef struct Host {
    GPid pid;
    char *dir;              /* in its own mount namespace, through /proc */
    char *disk;
    char *control;
} Host;

/* @options: words for fusefile, or NULL.  False: can't be had; says why. */
static inline bool host_mount(Host *h, const char *file, const char *dir,
                              const char *options)
{
    const char *fusefile = getenv("PAGECACHE_FUSEFILE") ?: FUSEFILE;
    g_autofree char *command = NULL;
    g_autoptr(GError) err = NULL;
    g_auto(GStrv) argv = NULL;
    char line[4096] = "";
    size_t n = 0;
    int out;

    if (!*fusefile) {
        g_test_skip("no fusefile: set PAGECACHE_FUSEFILE, or build with "
                    "libfuse3");
        return false;
    }
    if (geteuid() || access("/dev/fuse", R_OK | W_OK) < 0) {
        g_test_skip("no FUSE to be had (are you root?)");
        return false;
    }
    command = g_strdup_printf("%s %s %s %s", fusefile, options ?: "", file,
                              dir);
    g_assert(g_shell_parse_argv(command, NULL, &argv, NULL));
    g_spawn_async_with_pipes(NULL, argv, NULL, G_SPAWN_DO_NOT_REAP_CHILD, NULL,
                             NULL, &h->pid, NULL, &out, NULL, &err);
    g_assert_no_error(err);
    while (n < sizeof(line) - 1 && read(out, line + n, 1) == 1 &&
           line[n] != '\n') {
        n++;
    }
    close(out);
    line[n] = 0;
    g_assert(g_str_has_prefix(line, "ready "));
    h->dir = g_strdup(line + strlen("ready "));
    h->disk = g_build_filename(h->dir, "disk", NULL);
    h->control = g_build_filename(h->dir, "control", NULL);
    return true;
}

static inline void host_command(Host *h, const char *line)
{
    int fd = open(h->control, O_WRONLY | O_CLOEXEC);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(write(fd, line, strlen(line)), ==, strlen(line));
    close(fd);
}

/* What 'control' says of @op: "came", "direct" or "held" */
static inline unsigned host_count(Host *h, const char *op, const char *what)
{
    g_autofree char *key = g_strdup_printf("%s=", what);
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;
    unsigned i;

    g_assert(g_file_get_contents(h->control, &text, NULL, NULL));
    lines = g_strsplit(text, "\n", -1);
    for (i = 0; lines[i]; i++) {
        if (g_str_has_prefix(lines[i], op) && strstr(lines[i], key)) {
            return atoi(strstr(lines[i], key) + strlen(key));
        }
    }
    g_assert_not_reached();
}

static inline void host_wait_held(Host *h, const char *op, bool any)
{
    int i;

    for (i = 0; i < 10000 && !host_count(h, op, "held") == any; i++) {
        g_usleep(1000);
    }
    g_assert_cmpint(!host_count(h, op, "held"), ==, !any);
}

static inline void host_unmount(Host *h)
{
    kill(h->pid, SIGKILL);
    waitpid(h->pid, NULL, 0);
    g_free(h->dir);
    g_free(h->disk);
    g_free(h->control);
}

#endif
