/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A real NBD server for tests: nbdkit on 127.0.0.1 or on a UNIX socket, which
 * dies with the test.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TEST_PAGECACHE_NBDKIT_H
#define TEST_PAGECACHE_NBDKIT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

typedef struct Nbdkit {
    char *program;              /* NULL: not installed */
    char *socket;               /* the caller's; where it listens, or... */
    bool tcp;                   /* ...at 127.0.0.1 and this port */
    int port;
    GPid pid;                   /* 0: not running */
} Nbdkit;

/* False, and the test is skipped, when there is no nbdkit */
static inline bool nbdkit_available(Nbdkit *k)
{
    if (!k->program) {
        k->program = g_find_program_in_path("nbdkit");
    }
    if (!k->program) {
        g_test_skip("nbdkit (package nbdkit) is not installed");
        return false;
    }
    return true;
}

static inline void nbdkit_in_child(gpointer opaque)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static inline int nbdkit_free_port(void)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    g_assert_cmpint(bind(fd, (struct sockaddr *)&sa, len), ==, 0);
    g_assert_cmpint(getsockname(fd, (struct sockaddr *)&sa, &len), ==, 0);
    close(fd);
    return ntohs(sa.sin_port);
}

/* nbdkit writes its process id when it listens.  False: it does not. */
static inline bool nbdkit_wait(Nbdkit *k, const char *pid_file)
{
    int i;

    for (i = 0; i < 1200; i++) {
        if (access(pid_file, F_OK) == 0) {
            g_assert_cmpint(unlink(pid_file), ==, 0);
            return true;
        }
        if (waitpid(k->pid, NULL, WNOHANG)) {
            return false;
        }
        g_usleep(25 * 1000);
    }
    g_error("nbdkit does not listen");
}

/* @args: options, plugin, its parameters */
static inline void G_GNUC_PRINTF(2, 3) nbdkit_start(Nbdkit *k,
                                                    const char *format, ...)
{
    g_autofree char *pid_file = g_strdup_printf("%s.pid", k->socket);
    g_autofree char *args = NULL;
    va_list ap;
    int i;

    va_start(ap, format);
    args = g_strdup_vprintf(format, ap);
    va_end(ap);
    g_assert_cmpint(k->pid, ==, 0);
    unlink(k->socket);
    /* somebody else may be faster to take the port */
    for (i = 0; i < 20; i++) {
        g_autofree char *command = NULL, *where = NULL;
        g_auto(GStrv) argv = NULL;
        GError *err = NULL;

        k->port = k->tcp ? nbdkit_free_port() : 0;
        where = k->tcp ? g_strdup_printf("-i 127.0.0.1 -p %d", k->port) :
                g_strdup_printf("-U %s", k->socket);
        command = g_strdup_printf("%s -f -r %s -P %s %s", k->program, where,
                                  pid_file, args);
        g_assert(g_shell_parse_argv(command, NULL, &argv, &err));
        g_spawn_async(NULL, argv, NULL,
                      G_SPAWN_DO_NOT_REAP_CHILD | G_SPAWN_STDOUT_TO_DEV_NULL |
                      G_SPAWN_STDERR_TO_DEV_NULL, nbdkit_in_child, NULL,
                      &k->pid, &err);
        g_assert_no_error(err);
        if (nbdkit_wait(k, pid_file)) {
            return;
        }
        k->pid = 0;
    }
    g_error("nbdkit does not start: %s", args);
}

static inline void nbdkit_kill(Nbdkit *k)
{
    if (k->pid) {
        kill(k->pid, SIGKILL);
        waitpid(k->pid, NULL, 0);
        k->pid = 0;
        unlink(k->socket);
    }
}

#endif
