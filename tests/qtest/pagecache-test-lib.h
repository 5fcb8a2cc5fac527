/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest with a page cache and the QEMUs it moves between, for qtests of the
 * migration capability skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * There is no guest code: the test writes the guest's memory (qtest protocol,
 * so dirty tracking is exact) and supplies the hints (QMP).  All bytes are
 * known here, so memory is compared with what it must be, not only with the
 * other side's.
 *
 * How tests get an order of events without sleeping:
 * - pct_migrate_slowly(): the channel is so slow that it is still busy with
 *   the private pages, which are first in memory, when all of the cache is
 *   proven; then pct_full_speed() or pct_finish();
 * - pause-before-switchover;
 * - pagecache-test-proxy.h between source and destination.
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_LIB_H
#define TESTS_QTEST_PAGECACHE_TEST_LIB_H

#include "qemu/units.h"
#include "libqtest.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"
#include "pagecache-test-inject.h"

#define PAGE            4096u

/* Guest memory: addresses and sizes in bytes.  What isn't named is zero. */
#define RAM_SIZE        (24 * MiB)
#define RAM_PAGES       (RAM_SIZE / PAGE)
#define PRIVATE_START   (1 * MiB)       /* what stands on no disk */
#define PRIVATE_SIZE    (8 * MiB)
#define CACHE_START     (10 * MiB)      /* what does */
#define CACHE_SIZE      (8 * MiB)
#define CACHE_PAGES     (CACHE_SIZE / PAGE)
/* Read for it at most: holes that are read over are a quarter of a read */
#define CACHE_READ_MAX  (CACHE_SIZE / 3 * 4)
#define ZERO_START      (19 * MiB)      /* zero, until a test writes there */

/* The disk, random all over: bytes */
#define DISK_SIZE       (16 * MiB)
#define DISK_SECTORS    (DISK_SIZE / 512)

#define SLOW            (64 * 1024)     /* of pct_migrate_slowly(), bytes/s */

/* The disk's file as a guest's disk "blk0"; %s is the file's name */
#define DISK_ARGS \
    "-blockdev file,node-name=disk0,filename=%s " \
    "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5 "
#define DISK_SLOT       5
/* The name under which START tells of it */
#define DISK_PATH       "0000:00:05.0"

typedef struct PcTest {
    char *dir;
    char *disk;                 /* name of the image file */
    char *uri;                  /* where the destination listens */
    char *connect_uri;          /* where the source connects; NULL: there */
    uint8_t *disk_data;         /* DISK_SIZE, what the image held at first */
    uint8_t *ram;               /* RAM_SIZE, what the guest's must be */
    GRand *rand;
    char *machine;              /* of both, NULL: q35 */
    QTestState *src, *dst;
} PcTest;

/* An image and nothing else */
PcTest *pct_new(void);
/* The same with a source and a destination, memory filled, both on */
PcTest *pct_new_pair(void);
/* qtest_quit(), which looks every 100 ms only whether QEMU has ended */
void pct_quit(QTestState *who);
/* Quits what runs, removes what was made */
void pct_free(PcTest *t);

/* A name in the test's directory; g_free() it */
char *pct_path(PcTest *t, const char *name);
/* DISK_ARGS with the test's image; g_free() it */
char *pct_disk_args(PcTest *t);
/*
 * The test's image as qcow2, made by qemu-img (have_qemu_img()), and that as
 * the guest's disk.  g_free() both.
 */
char *pct_qcow2(PcTest *t);
char *pct_qcow2_args(PcTest *t);

/*
 * Start a QEMU with @args (NULL: pct_disk_args()).  The source runs and its
 * memory is filled, the destination waits for pct_incoming() and will not run
 * its guest (-S).
 */
void pct_start_src(PcTest *t, const char *args);
void pct_start_dst(PcTest *t, const char *args);
QTestState *pct_start(PcTest *t, const char *args);
/* The capability on both sides */
void pct_on(PcTest *t);
/* A destination, the capability on both sides, and it listens. */
void pct_ready_dst(PcTest *t, const char *args);
/* The same with a source */
void pct_start_pair(PcTest *t, const char *src, const char *dst);
/* The destination listens at t->uri. */
void pct_incoming(PcTest *t);

/* Writes guest memory of the source, and t->ram. */
void pct_write(PcTest *t, uint64_t addr, const void *data, size_t len);
/* The same with one random page, or @n */
void pct_scribble(PcTest *t, uint64_t addr, unsigned n);
void pct_zero(PcTest *t, uint64_t addr, unsigned n);
/* t->ram gets what is in the source's memory, as a device has written it. */
void pct_learn(PcTest *t, uint64_t addr, size_t len);
/* Puts random bytes on the disk, in the image file. */
void pct_scribble_disk(PcTest *t, uint64_t sector, unsigned pages);

/* Address of the cache's page @n, and the sector where it stands */
uint64_t pct_cache_addr(unsigned n);
uint64_t pct_cache_sector(unsigned n);
/* True hints for the whole cache, or for @n pages of it from @first on */
void pct_hint_cache(PcTest *t);
void pct_hint_cache_part(PcTest *t, unsigned first, unsigned n);
void pct_hint(PcTest *t, const char *device, uint64_t addr, uint64_t sector,
              uint32_t pages);

/* Begins a migration to t->uri that goes on until it is told to be faster. */
void pct_migrate_slowly(PcTest *t);
/* With all speed */
void pct_migrate(PcTest *t);
void pct_full_speed(PcTest *t);
/* Both sides have completed. */
void pct_wait_complete(PcTest *t);
/* @who has failed, and not completed. */
void pct_wait_failed(QTestState *who);
/* Full speed, complete, memory right */
void pct_finish(PcTest *t);
/*
 * A whole migration, to where the destination listens: so many pages are hinted,
 * by a producer that comes to an end, all of them are proven, and no others.
 */
void pct_migrate_hinted(PcTest *t, int64_t pages);

/*
 * Is @who's memory as it must be?  The address of the first wrong byte, or
 * RAM_SIZE.
 */
uint64_t pct_first_wrong(PcTest *t, QTestState *who);
void pct_check_memory(PcTest *t, QTestState *who);
/* The destination arrived: it is the source of the next migration. */
void pct_hop(PcTest *t);
/* A whole migration: all of the cache, which is hinted, is refilled. */
void pct_refill_cache(PcTest *t);
/* ... and this kind of reader had no trouble with the disk. */
void pct_check_read_by(PcTest *t, const char *reader);
/*
 * Nothing was reported, and the destination says of its first disk, which has
 * this @status, that @error is why.
 */
void pct_check_unread(PcTest *t, const char *status, const char *error);
/* Ends a migration of which that is true. */
void pct_finish_unread(PcTest *t, const char *status, const char *error);
/* A whole one: all of the cache, which is hinted, goes over the channel. */
void pct_migrate_unread(PcTest *t, const char *status, const char *error);
/*
 * A migration came to nothing, and t->dst is gone: the guest runs on at the
 * source with its memory right, and the next migration, to a new destination
 * with @args, refills the whole cache as if nothing had been.
 */
void pct_migrate_again(PcTest *t, const char *args);
/* Runs qemu-img, see have_qemu_img(); false if it fails. */
bool pct_qemu_img(const char *format, ...) G_GNUC_PRINTF(1, 2);
/* Waits until the device is gone. */
void pct_wait_deleted(QTestState *who, const char *id);
/* The guest ejects the disk (machine "pc") as if it had been asked to. */
void pct_eject(QTestState *who);
/* Bytes of a file that take space, or memory */
int64_t pct_allocated(const char *name);
/* Ends a QEMU as kill -9 does it, which libqtest would take for a crash. */
void pct_kill(QTestState *qts);

/*
 * "pagecache" of query-migrate, or NULL; qobject_unref() it.  What only this
 * side has stands among the rest, and in "source" or "destination" as well.
 */
QDict *pct_info(QTestState *who);
/* One of its figures; -1 if it isn't there */
int64_t pct_figure(QTestState *who, const char *name);
/* Waits until it is @least or more. */
void pct_wait_figure(QTestState *who, const char *name, int64_t least);
/* The first disk of the destination's figures; qobject_unref() it */
QDict *pct_disk_info(QTestState *who);
/*
 * In a migration that goes on: the first so many pages of the cache are hinted,
 * and reported, so that the destination has opened the disk.
 */
#define PCT_OPENED      16
void pct_open_reader(PcTest *t);
/* Hints for the others */
void pct_hint_rest(PcTest *t);
/* Bytes on the channel so far */
int64_t pct_transferred(QTestState *who);
/* query-migrate's error-desc, or NULL; g_free() it */
char *pct_error(QTestState *who);
/* @reason: as programs read it */
void pct_assert_inactive(QTestState *who, const char *reason);
/* Some hints were given up: @reason, for programs, and in words @text */
void pct_check_given_up(QTestState *who, const char *reason, const char *text);
/* That of the source, in a migration that was a plain one */
void pct_check_inactive(PcTest *t, const char *reason);
/* What query-status says */
void pct_check_status(QTestState *who, const char *status);
/* The guest runs, or will at once: it does so after "failed" only. */
void pct_wait_running(QTestState *who);
/* What must hold of the figures of both sides after every migration */
void pct_check_figures(PcTest *t);
/* All @pages of hints went over the storage wire, and no others. */
void pct_check_all_proven(PcTest *t, int64_t pages);

/* Fails with the whole text unless @text has @part in it */
void pct_assert_contains(const char *text, const char *part);

#endif
