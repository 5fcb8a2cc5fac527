/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay in front of an iSCSI target that can stop to pass on what comes, for
 * qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include "qemu/units.h"
#include "pagecache-test-relay.h"

static int connect_to(int port)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(port),
    };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void close_pair(int *fds)
{
    int i;

    for (i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
}

static void pass_on(int *fds, int from)
{
    static uint8_t buf[64 * KiB];
    ssize_t n = recv(fds[from], buf, sizeof(buf), 0), sent = 0, k;

    while (sent < n) {
        k = send(fds[!from], buf + sent, n - sent, MSG_NOSIGNAL);
        if (k <= 0) {
            n = 0;
        }
        sent += k;
    }
    if (n <= 0) {
        close_pair(fds);
    }
}

static void accept_one(PctRelay *r)
{
    int fd = accept(r->listen_fd, NULL, NULL);
    unsigned nr;

    g_mutex_lock(&r->lock);
    nr = r->count++;
    g_mutex_unlock(&r->lock);
    g_assert_cmpuint(nr, <, PCT_RELAY_CONNECTIONS);
    r->fds[nr][0] = fd;
    r->fds[nr][1] = connect_to(r->target);
    if (r->fds[nr][1] < 0) {
        close_pair(r->fds[nr]);
    }
}

static gpointer relay_thread(gpointer opaque)
{
    PctRelay *r = opaque;
    struct pollfd polled[2 + 2 * PCT_RELAY_CONNECTIONS];
    unsigned i, hang_from;
    uint64_t count;

    for (;;) {
        g_mutex_lock(&r->lock);
        if (r->quit) {
            g_mutex_unlock(&r->lock);
            return NULL;
        }
        hang_from = r->hang_from;
        g_mutex_unlock(&r->lock);

        polled[0] = (struct pollfd) { .fd = r->wake, .events = POLLIN };
        polled[1] = (struct pollfd) { .fd = r->listen_fd, .events = POLLIN };
        for (i = 0; i < 2 * PCT_RELAY_CONNECTIONS; i++) {
            int fd = r->fds[i / 2][i % 2];

            polled[2 + i] = (struct pollfd) {
                .fd = i / 2 >= hang_from ? -1 : fd, .events = POLLIN
            };
        }
        if (poll(polled, ARRAY_SIZE(polled), -1) < 0) {
            continue;
        }
        if (polled[0].revents) {
            g_assert_cmpint(read(r->wake, &count, 8), ==, 8);
            continue;
        }
        if (polled[1].revents) {
            accept_one(r);
        }
        for (i = 0; i < 2 * PCT_RELAY_CONNECTIONS; i++) {
            if (polled[2 + i].revents && r->fds[i / 2][i % 2] >= 0) {
                pass_on(r->fds[i / 2], i % 2);
            }
        }
    }
}

void pct_relay_start(PctRelay *r, int target)
{
    struct sockaddr_in sa = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(sa);

    *r = (PctRelay) { .target = target, .hang_from = PCT_RELAY_NEVER };
    memset(r->fds, -1, sizeof(r->fds));
    r->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(bind(r->listen_fd, (struct sockaddr *)&sa, len), ==, 0);
    g_assert_cmpint(getsockname(r->listen_fd, (struct sockaddr *)&sa, &len),
                    ==, 0);
    g_assert_cmpint(listen(r->listen_fd, PCT_RELAY_CONNECTIONS), ==, 0);
    r->port = ntohs(sa.sin_port);
    r->wake = eventfd(0, EFD_CLOEXEC);
    g_mutex_init(&r->lock);
    r->thread = g_thread_new("relay", relay_thread, r);
}

static void wake(PctRelay *r)
{
    uint64_t one = 1;

    g_assert_cmpint(write(r->wake, &one, 8), ==, 8);
}

void pct_relay_hang(PctRelay *r, unsigned from)
{
    g_mutex_lock(&r->lock);
    r->hang_from = from;
    g_mutex_unlock(&r->lock);
    wake(r);
}

unsigned pct_relay_connections(PctRelay *r)
{
    unsigned n;

    g_mutex_lock(&r->lock);
    n = r->count;
    g_mutex_unlock(&r->lock);
    return n;
}

void pct_relay_stop(PctRelay *r)
{
    unsigned i;

    g_mutex_lock(&r->lock);
    r->quit = true;
    g_mutex_unlock(&r->lock);
    wake(r);
    g_thread_join(r->thread);
    for (i = 0; i < PCT_RELAY_CONNECTIONS; i++) {
        close_pair(r->fds[i]);
    }
    close(r->listen_fd);
    close(r->wake);
    g_mutex_clear(&r->lock);
}
