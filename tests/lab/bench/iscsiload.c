/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * iscsiload: a host that reads from a LUN at a rate, and how long it waits
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   iscsiload URL MBPS KIB DEPTH
 *
 * Reads KIB KiB at random places until SIGTERM or SIGINT, at most DEPTH reads
 * at a time, so many that they are MBPS megabytes (1e6 bytes) a second; 0: as
 * many as DEPTH allows.  Each read is due at its time, whatever became of the
 * ones before, and is late if all of DEPTH are under way then.  One that could
 * not be sent within a second is given up.
 *
 * Prints "DUE LATENCY" for each read that was answered, microseconds of
 * CLOCK_MONOTONIC; the latency is from when it was due.  The last line is
 * "end SKIPPED FAILED".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

#define INITIATOR "iqn.2026-01.lab:neighbour"
#define GIVE_UP 1000000         /* microseconds */

struct load {
    struct iscsi_context *iscsi;
    int lun;
    uint32_t block;             /* bytes */
    uint32_t size;              /* of a read, bytes */
    uint64_t places;            /* where reads may begin, in reads */
    int depth;
    int under_way;
    uint64_t skipped;
    uint64_t failed;
};

struct read {
    struct load *load;
    int64_t due;
};

static volatile sig_atomic_t ended;

static void end(int number)
{
    (void)number;
    ended = 1;
}

static void __attribute__((noreturn, format(printf, 1, 2)))
fail(const char *format, ...)
{
    va_list args;

    fprintf(stderr, "iscsiload: ");
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\n");
    exit(1);
}

static int64_t now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static uint64_t random_place(const struct load *load)
{
    static uint64_t state = 88172645463325252;

    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state % load->places;
}

static void answered(struct iscsi_context *iscsi, int status, void *data,
                     void *opaque)
{
    struct read *read = opaque;

    (void)iscsi;
    read->load->under_way--;
    if (status == SCSI_STATUS_GOOD) {
        printf("%" PRId64 " %" PRId64 "\n", read->due, now() - read->due);
    } else {
        read->load->failed++;
    }
    scsi_free_scsi_task(data);
    free(read);
}

static void send_read(struct load *load, int64_t due)
{
    uint64_t lba = random_place(load) * (load->size / load->block);
    struct read *read = malloc(sizeof(*read));

    if (!read) {
        fail("out of memory");
    }
    *read = (struct read) { load, due };
    if (!iscsi_read16_task(load->iscsi, load->lun, lba, load->size,
                           load->block, 0, 0, 0, 0, 0, answered, read)) {
        fail("read: %s", iscsi_get_error(load->iscsi));
    }
    load->under_way++;
}

/* Let the connection work until a time, or until something has happened. */
static void serve(struct load *load, int64_t until)
{
    struct pollfd fd = { iscsi_get_fd(load->iscsi),
                         iscsi_which_events(load->iscsi), 0 };
    int64_t left = until - now();
    struct timespec timeout = { 0, left < 0 ? 0 : left * 1000 };

    if (left >= 1000000) {
        timeout.tv_nsec = 999999999;
    }
    if (ppoll(&fd, 1, &timeout, NULL) < 0 && errno != EINTR) {
        fail("poll failed");
    }
    if (iscsi_service(load->iscsi, fd.revents) < 0) {
        fail("connection: %s", iscsi_get_error(load->iscsi));
    }
}

static void connect_to(struct load *load, const char *url_text)
{
    struct iscsi_url *url;
    struct scsi_task *task;
    struct scsi_readcapacity16 *capacity;

    load->iscsi = iscsi_create_context(INITIATOR);
    url = iscsi_parse_full_url(load->iscsi, url_text);
    if (!url) {
        fail("%s", iscsi_get_error(load->iscsi));
    }
    load->lun = url->lun;
    iscsi_set_session_type(load->iscsi, ISCSI_SESSION_NORMAL);
    iscsi_set_targetname(load->iscsi, url->target);
    if (iscsi_full_connect_sync(load->iscsi, url->portal, url->lun)) {
        fail("%s: %s", url_text, iscsi_get_error(load->iscsi));
    }
    iscsi_destroy_url(url);
    task = iscsi_readcapacity16_sync(load->iscsi, load->lun);
    capacity = task && task->status == SCSI_STATUS_GOOD ?
        scsi_datain_unmarshall(task) : NULL;
    if (!capacity) {
        fail("capacity: %s", iscsi_get_error(load->iscsi));
    }
    load->block = capacity->block_length;
    if (!load->size || load->size % load->block) {
        fail("a read of %" PRIu32 " bytes: expected a multiple of the "
             "LUN's blocks of %" PRIu32, load->size, load->block);
    }
    load->places = (capacity->returned_lba + 1) * load->block / load->size;
    if (!load->places) {
        fail("the LUN is smaller than a read");
    }
    scsi_free_scsi_task(task);
}

int main(int argc, char **argv)
{
    struct load load = { 0 };
    struct sigaction action = { .sa_handler = end };
    double interval = 0;        /* microseconds */
    int64_t start;
    uint64_t count = 0;

    if (argc != 5 || atof(argv[2]) < 0 || atoi(argv[3]) <= 0 ||
        atoi(argv[4]) <= 0) {
        fail("expected URL MBPS KIB DEPTH");
    }
    load.size = atoi(argv[3]) * 1024;
    load.depth = atoi(argv[4]);
    connect_to(&load, argv[1]);
    if (atof(argv[2]) > 0) {
        interval = load.size / atof(argv[2]);
    }
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    start = now();
    while (!ended) {
        int64_t due = interval ? start + (int64_t)(count * interval) : now();

        if (now() - due > GIVE_UP) {
            load.skipped++;
            count++;
        } else if (due <= now() && load.under_way < load.depth) {
            send_read(&load, due);
            count++;
        } else {
            serve(&load, load.under_way < load.depth ? due :
                  now() + GIVE_UP);
        }
    }
    printf("end %" PRIu64 " %" PRIu64 "\n", load.skipped, load.failed);
    return 0;
}
