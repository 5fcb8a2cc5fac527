/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * agent: runs commands that come over a serial line, as the guest's init
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage: agent DEVICE
 *
 * Says "READY", then reads lines "NUMBER COMMAND", runs each in a shell of
 * its own with the line as standard output and error, and ends the output
 * with "END NUMBER STATUS".  (A shell that reads the line itself won't do:
 * busybox's loses what it has read of a line when a background job ends.)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#define MAX_LINE 65536

static void fail(const char *what)
{
    fprintf(stderr, "agent: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void say(int fd, const char *text)
{
    size_t left = strlen(text);

    while (left) {
        ssize_t done = write(fd, text, left);

        if (done < 0 && errno != EINTR) {
            fail("write");
        }
        if (done > 0) {
            text += done;
            left -= done;
        }
    }
}

/* One line without its end; what is too long for the buffer is cut off */
static void read_line(int fd, char *line, size_t room)
{
    size_t length = 0;

    for (;;) {
        char c;
        ssize_t got = read(fd, &c, 1);

        if (got < 0 && errno != EINTR) {
            fail("read");
        }
        if (got <= 0) {
            continue;
        }
        if (c == '\n') {
            break;
        }
        if (length < room - 1) {
            line[length++] = c;
        }
    }
    line[length] = 0;
}

/* Run a command to its end and reap whatever else ends meanwhile */
static int run(int fd, const char *command)
{
    pid_t child = fork();
    int status;

    if (child < 0) {
        fail("fork");
    }
    if (child == 0) {
        int null = open("/dev/null", O_RDONLY);

        dup2(null, 0);
        dup2(fd, 1);
        dup2(fd, 2);
        close(null);
        close(fd);
        execl("/bin/sh", "sh", "-c", command, NULL);
        _exit(127);
    }
    for (;;) {
        pid_t ended = waitpid(-1, &status, 0);

        if (ended == child) {
            break;
        }
        if (ended < 0 && errno != EINTR) {
            fail("wait");
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int argc, char **argv)
{
    static char line[MAX_LINE];
    struct termios mode;
    int fd;

    if (argc != 2) {
        fprintf(stderr, "usage: agent DEVICE\n");
        return 1;
    }
    fd = open(argv[1], O_RDWR | O_NOCTTY);
    if (fd < 0 || tcgetattr(fd, &mode)) {
        fail(argv[1]);
    }
    cfmakeraw(&mode);
    if (tcsetattr(fd, TCSANOW, &mode)) {
        fail(argv[1]);
    }
    say(fd, "READY\n");
    for (;;) {
        char answer[64];
        const char *command;

        read_line(fd, line, sizeof(line));
        command = strchrnul(line, ' ');
        snprintf(answer, sizeof(answer), "END %ld %d\n", atol(line),
                 run(fd, command));
        say(fd, answer);
    }
}
