/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A real iSCSI target for tests: tgtd on 127.0.0.1, with a port and a control
 * socket of its own, which dies with the test.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TEST_PAGECACHE_TGTD_H
#define TEST_PAGECACHE_TGTD_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define TGTD_TARGET "iqn.2026-01.test:disk"

typedef struct Tgtd {
    char *tgtd, *tgtadm;        /* programs */
    char *disk;                 /* the image; the caller's */
    int port;                   /* fixed for the life of the test */
    int control;
    GPid pid;                   /* 0: not running */
} Tgtd;

static inline char *tgtd_find_program(const char *name)
{
    char *path = g_find_program_in_path(name);

    if (!path) {
        path = g_strdup_printf("/usr/sbin/%s", name);
        if (!g_file_test(path, G_FILE_TEST_IS_EXECUTABLE)) {
            g_clear_pointer(&path, g_free);
        }
    }
    return path;
}

static inline int tgtd_free_port(void)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(bind(fd, (struct sockaddr *)&sa, len), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sa, &len), ==, 0);
    close(fd);
    return ntohs(sa.sin_port);
}

static inline bool tgtd_port_answers(int port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(port),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok = connect(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0;

    close(fd);
    return ok;
}

/* Finds the programs; starts nothing */
static inline void tgtd_init(Tgtd *t, char *disk)
{
    *t = (Tgtd) {
        .tgtd = tgtd_find_program("tgtd"),
        .tgtadm = tgtd_find_program("tgtadm"),
        .disk = disk,
        .port = tgtd_free_port(),
        .control = 20000 + getpid() % 10000,
    };
    if (geteuid() == 0) {
        g_mkdir_with_parents("/var/run/tgtd", 0755);
    }
}

/* False, and the test is skipped, when there is no tgtd */
static inline bool tgtd_available(Tgtd *t)
{
    if (!t->tgtd || !t->tgtadm) {
        g_test_skip("tgtd and tgtadm (package tgt) are not installed");
        return false;
    }
    if (access("/var/run/tgtd", W_OK) != 0) {
        g_test_skip("tgtd needs to write to /var/run/tgtd");
        return false;
    }
    return true;
}

static inline bool G_GNUC_PRINTF(2, 3) tgtadm(Tgtd *t, const char *format, ...)
{
    g_autofree char *args = NULL, *command = NULL, *out = NULL, *err = NULL;
    int status = -1;
    va_list ap;

    va_start(ap, format);
    args = g_strdup_vprintf(format, ap);
    va_end(ap);
    command = g_strdup_printf("%s -C %d --lld iscsi %s", t->tgtadm,
                              t->control, args);
    if (!g_spawn_command_line_sync(command, &out, &err, &status, NULL)) {
        return false;
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static inline void tgtd_in_child(gpointer opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static inline void tgtd_start(Tgtd *t)
{
    g_autofree char *control = g_strdup_printf("%d", t->control);
    g_autofree char *portal = g_strdup_printf("portal=127.0.0.1:%d", t->port);
    char *argv[] = {
        t->tgtd, (char *)"-f", (char *)"-C", control, (char *)"--iscsi",
        portal, NULL
    };
    GError *err = NULL;
    int i;

    g_assert_cmpint(t->pid, ==, 0);
    g_spawn_async(NULL, argv, NULL,
                  G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                  G_SPAWN_STDERR_TO_DEV_NULL, tgtd_in_child, NULL, &t->pid,
                  &err);
    g_assert_no_error(err);
    for (i = 0; i < 200; i++) {
        if (tgtd_port_answers(t->port) && tgtadm(t, "--op show --mode sys")) {
            return;
        }
        g_usleep(50 * 1000);
    }
    g_error("tgtd does not answer on 127.0.0.1:%d", t->port);
}

static inline void tgtd_kill(Tgtd *t)
{
    if (t->pid) {
        kill(t->pid, SIGKILL);
        waitpid(t->pid, NULL, 0);
        t->pid = 0;
    }
}

/* LUN 1: the disk; LUN 2: the same with blocks of 4 KiB; LUN 3: as a CD */
#define TGTD_LUNS       3

static inline void tgtd_add_target(Tgtd *t)
{
    g_assert_true(tgtadm(t, "--op new --mode target --tid 1 -T " TGTD_TARGET));
    g_assert_true(tgtadm(t, "--op new --mode logicalunit --tid 1 --lun 1 "
                         "--bstype rdwr -b %s", t->disk));
    g_assert_true(tgtadm(t, "--op new --mode logicalunit --tid 1 --lun 2 "
                         "--bstype rdwr --blocksize 4096 -b %s", t->disk));
    g_assert_true(tgtadm(t, "--op new --mode logicalunit --tid 1 --lun 3 "
                         "--device-type cd -b %s", t->disk));
}

static inline void tgtd_bind_all(Tgtd *t)
{
    g_assert_true(tgtadm(t, "--op bind --mode target --tid 1 -I ALL"));
}

/* (Re)starts it, open to everybody */
static inline void tgtd_fresh(Tgtd *t)
{
    tgtd_kill(t);
    tgtd_start(t);
    tgtd_add_target(t);
    tgtd_bind_all(t);
}

static inline void tgtd_destroy(Tgtd *t)
{
    g_autofree char *name = g_strdup_printf("/var/run/tgtd/socket.%d",
                                            t->control);
    g_autofree char *lock = g_strdup_printf("%s.lock", name);

    tgtd_kill(t);
    unlink(name);
    unlink(lock);
    g_free(t->tgtd);
    g_free(t->tgtadm);
}

#endif
