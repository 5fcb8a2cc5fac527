/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A relay in front of an iSCSI target that can stop to pass on what comes, for
 * qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_RELAY_H
#define TESTS_QTEST_PAGECACHE_TEST_RELAY_H

#define PCT_RELAY_CONNECTIONS   64
#define PCT_RELAY_NEVER         G_MAXUINT

typedef struct PctRelay {
    int port;                   /* its own */
    int target;                 /* port of the target */
    int listen_fd, wake;
    int fds[PCT_RELAY_CONNECTIONS][2];  /* the thread's; -1: none */
    GThread *thread;

    GMutex lock;                /* for the rest */
    unsigned count;             /* connections so far */
    unsigned hang_from;         /* connections of this number and above hang */
    bool quit;
} PctRelay;

/* Listens on 127.0.0.1 and connects to port @target there. */
void pct_relay_start(PctRelay *r, int target);
void pct_relay_stop(PctRelay *r);
/*
 * Connections of this number (the first is 0) and above hang from now on:
 * 0: all, PCT_RELAY_NEVER: none.
 */
void pct_relay_hang(PctRelay *r, unsigned from);
/* Connections so far */
unsigned pct_relay_connections(PctRelay *r);

#endif
