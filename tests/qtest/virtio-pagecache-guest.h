/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest with a driver for virtio-pagecache, for qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The guest is a PC without CPU: the test is its driver, well-behaved or not.
 * Everything waits TIMEOUT_US at most and fails the test then.
 */
#ifndef TESTS_VIRTIO_PAGECACHE_GUEST_H
#define TESTS_VIRTIO_PAGECACHE_GUEST_H

#include "libqtest.h"
#include "libqos/pci-pc.h"
#include "libqos/malloc-pc.h"
#include "libqos/virtio-pci.h"
#include "standard-headers/linux/virtio_pagecache.h"

#define TIMEOUT_US          (120 * G_USEC_PER_SEC)
#define GUEST_SLOT          4       /* of virtio-pagecache on pci.0 */
#define GUEST_RAM_MIB       32
/* A message of the largest size, and some more */
#define GUEST_MSG_SIZE      (32 * 1024)

typedef struct PcGuest {
    QTestState *qts;
    QPCIBus *bus;
    unsigned slot;                  /* of the device on pci.0 */
    QVirtioPCIDevice *dev;
    QVirtQueue *ctrl;
    QVirtQueue *hint;
    QGuestAllocator alloc;
    uint64_t msg;                   /* guest address, GUEST_MSG_SIZE bytes */
    uint64_t req;                   /* the same for a request and its answer */
} PcGuest;

/* A QEMU with virtio-pagecache in GUEST_SLOT, and @args; no driver yet */
PcGuest *pcguest_new(const char *args);
/* The same machine waiting for a migration to @uri */
QTestState *pcguest_incoming(const char *args, const char *uri);
/* What became of @from after its migration to @to, where the driver goes on */
PcGuest *pcguest_arrived(PcGuest *from, QTestState *to);
/* Quits QEMU. */
void pcguest_free(PcGuest *g);

/* Finds and resets the device, sets up the queues, sets DRIVER_OK */
void pcguest_probe(PcGuest *g);
/* The same with these features besides VIRTIO_F_VERSION_1 */
void pcguest_probe_with(PcGuest *g, uint64_t features);
/* The driver's part of an unplug */
void pcguest_remove(PcGuest *g);
/* The same, and ejects the device, @id, that was asked to go */
void pcguest_eject(PcGuest *g, const char *id);
/* Waits until the device is gone */
void pcguest_wait_deleted(QTestState *qts, const char *id);

/* Configuration */
uint32_t pcguest_epoch(PcGuest *g);
uint32_t pcguest_num_disks(PcGuest *g);
/* Was there a configuration change interrupt?  Acknowledges it. */
bool pcguest_config_irq(PcGuest *g);
/* Waits for an interrupt, returns the epoch */
uint32_t pcguest_wait_epoch(PcGuest *g);

/*
 * Makes one buffer available: @out bytes readable, @in bytes writable, at
 * @addr one after the other, each part left out when it is 0.
 */
void pcguest_put(PcGuest *g, QVirtQueue *vq, uint64_t addr, uint32_t out,
                 uint32_t in);
/* Is one returned?  *@used is the length that the device wrote. */
bool pcguest_get(PcGuest *g, QVirtQueue *vq, uint32_t *used);
/* Waits until one is returned */
uint32_t pcguest_wait(PcGuest *g, QVirtQueue *vq);

/*
 * Writes a message to @g->msg, and returns its length.  @payload of @size
 * bytes comes after the header and may be NULL.
 */
uint32_t pcguest_write(PcGuest *g, uint32_t type, uint32_t epoch,
                       uint32_t count, const void *payload, size_t size);
uint32_t pcguest_write_hint(PcGuest *g, uint32_t epoch, uint64_t addr,
                            uint64_t sector, uint32_t npages, uint32_t disk);
/* The same, sends it, and waits until it is returned */
void pcguest_send(PcGuest *g, uint32_t type, uint32_t epoch, uint32_t count,
                  const void *payload, size_t size);
void pcguest_send_hint(PcGuest *g, uint32_t epoch, uint64_t addr,
                       uint64_t sector, uint32_t npages, uint32_t disk);
void pcguest_send_end(PcGuest *g, uint32_t epoch, uint32_t status);
/* LEFT_OUT; @list has the device's byte order. */
void pcguest_send_left_out(PcGuest *g, uint32_t epoch,
                           const struct virtio_pagecache_left_out *list,
                           uint32_t n);

/* GET_DISK.  Returns the status; *@disk is in host byte order. */
uint32_t pcguest_get_disk(PcGuest *g, uint32_t index,
                          struct virtio_pagecache_disk *disk);
/* The index of the disk with @serial; *@disk is its entry. */
uint32_t pcguest_find_disk(PcGuest *g, const char *serial,
                           struct virtio_pagecache_disk *disk);
/* Goes to the device and back: whatever it had to do before is done then */
void pcguest_sync(PcGuest *g);

/*
 * Two hosts: a VM and where it migrates to.  The VM has a virtio-blk disk
 * (blk0, serial "first", DISK_SECTORS), and nothing but 0x5a in its memory
 * from FILL_START to FILL_END.  Collections are real ones: a migration with
 * skip-pagecache wants them, and goes so slowly that it is under way for as
 * long as a test needs it.
 */
#define DISK_SECTORS        (16 * 2048)
#define FILL_START          (1 * 1024 * 1024)
#define FILL_END            (16 * 1024 * 1024)
#define SLOW_BANDWIDTH      (64 * 1024)     /* bytes per second */
#define MAX_HINTS           1024            /* what the device offers */

typedef struct PcPair {
    char *dir;
    char *uri;
    char *args;
    PcGuest *g;
    QTestState *dst;                /* NULL: none under way */
} PcPair;

PcPair *pair_new(const char *args);
void pair_free(PcPair *p);

/* Begins a migration to a new destination. */
void pair_migrate(PcPair *p);
/* ... and returns the epoch of the collection that the driver is asked for */
uint32_t pair_collect(PcPair *p);
/* 0: as fast as possible */
void pair_set_bandwidth(PcPair *p, long long bytes_per_second);
void pair_cancel(PcPair *p);
/* Lets the migration end.  p->g is at the destination from then on. */
void pair_finish(PcPair *p);

/* A figure of query-migrate's statistics, -1 if it is not there */
int64_t pair_figure(PcPair *p, const char *name);
/* Waits for it: the migration thread publishes them when it comes by. */
void pair_wait_figure(PcPair *p, const char *name, int64_t want);
/* The same with what is a word, "note" for instance; "": it is not there. */
void pair_wait_word(PcPair *p, const char *name, const char *want);

/*
 * A pair whose guest has a cache: CACHE_PAGES of its memory from CACHE_START
 * on stand on its disk as well, from its first sector on.
 */
#define CACHE_START         (8 * 1024 * 1024)
#define CACHE_PAGES         300u

PcPair *pair_new_cache(const char *args);
uint64_t cache_addr(unsigned page);
/* True hints for some of the cache, in one message */
void pcguest_hint_cache(PcGuest *g, uint32_t epoch, unsigned first,
                        unsigned pages);
/*
 * Lets the migration end when @proven pages are, and compares all of memory.
 * p->g stays the source.
 */
void pair_complete(PcPair *p, int64_t proven);
/* The same, and the guest goes on at the destination, which is p->g then. */
void pair_move(PcPair *p, int64_t proven);

/* Still the device that it should be: goes through a reset, and answers */
void pair_assert_sane(PcPair *p);

#endif
