/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * tlsrekey: new TLS keys early and often
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * To be loaded into a program that uses GnuTLS (LD_PRELOAD).  A thread that
 * sends gets a new key at its 20th record and then every 150 ms; GnuTLS itself
 * waits for 2^24 records.  (The peer refuses more than 8 in a second.)
 *
 * For each a byte is appended to the file that TLSREKEY_COUNT names.
 */

#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define FIRST_RECORD    20
#define PERIOD_MS       150

static int64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

static void count(void)
{
    const char *name = getenv("TLSREKEY_COUNT");
    int fd = name ? open(name, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;

    if (fd < 0 || write(fd, ".", 1) != 1) {
        abort();
    }
    close(fd);
}

/* In place of GnuTLS's own, which does the same but for the new key */
ssize_t gnutls_record_send(gnutls_session_t session,
                           const void *data, size_t len)
{
    static __thread unsigned records;
    static __thread int64_t last;

    if (records++ >= FIRST_RECORD && now_ms() - last >= PERIOD_MS) {
        int ret = gnutls_session_key_update(session, 0);

        if (ret < 0) {
            return ret;
        }
        last = now_ms();
        count();
    }
    return gnutls_record_send2(session, data, len, 0, 0);
}
