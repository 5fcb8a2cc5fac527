/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzzing target: the queues of virtio-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * virtio_pagecache_fuzz.c is the device and the migration that wants hints,
 * virtio_pagecache_driver.c the driver: what it sends and what of it arrives.
 */
#ifndef VIRTIO_PAGECACHE_FUZZ_H
#define VIRTIO_PAGECACHE_FUZZ_H

#include "hw/virtio/virtio-pagecache.h"
#include "migration/pagecache-hints.h"
#include "migration/pagecache-left-out.h"
#include "tests/qtest/libqos/virtio-pci.h"

#define PCFUZZ_RAM_MIB      32
#define PCFUZZ_QUEUE_MAX    128

/* A hint in a message of good shape, or (npages 0) an END */
typedef struct PcFuzzSent {
    PagecacheHint hint;
    uint32_t epoch;
} PcFuzzSent;

/* A buffer that was made available, and how it has to come back */
typedef struct PcFuzzBuffer {
    uint16_t head;
    uint16_t ndescs;
    uint64_t answer;                    /* guest address, 0: there is none */
    uint32_t room;                      /* bytes there */
    uint32_t used;                      /* bytes that the device writes */
} PcFuzzBuffer;

typedef struct PcFuzzRing {
    uint16_t size;
    uint16_t next;                      /* descriptor to be used next */
    uint16_t in_use;                    /* descriptors before it */
    uint16_t avail;                     /* buffers made available */
    uint16_t returned;                  /* ... that came back, and were right */
    PcFuzzBuffer buffers[PCFUZZ_QUEUE_MAX];
} PcFuzzRing;

typedef struct PcFuzz {
    QTestState *qts;
    QVirtioPCIDevice *pci;
    QVirtioDevice *d;
    QVirtQueue *vq[VIRTIO_PAGECACHE_VQ_MAX];
    VirtIOPagecache *dev;
    VirtIODevice *vdev;

    /* Of one input */
    const uint8_t *in;
    size_t left;
    bool wild;                          /* may write anything into its rings */
    bool held_up;                       /* a fault keeps the device waiting */
    bool wanted;
    unsigned saves;
    uint32_t epoch;                     /* the last that the device had */
    PagecacheHintDisk disks[4];

    /* The driver's */
    PcFuzzRing ring[VIRTIO_PAGECACHE_VQ_MAX];
    bool indirect;
    uint64_t brk;                       /* guest memory for the next message */
    GArray *sent;                       /* of PcFuzzSent, since the reset */
    unsigned arrived;                   /* index in it: the last that arrived */
    uint64_t arrived_end;               /* ... up to this address */
    unsigned matched;                   /* hints that arrived since the reset */
} PcFuzz;

extern PcFuzz fz;

uint64_t pcfuzz_take(unsigned n);

/* Resets the device and begins anew.  @how: features and sizes of queues */
void pcfuzz_probe(uint8_t how);
void pcfuzz_kick(unsigned q);

/* Make a buffer available; what it is, the input says. */
void pcfuzz_put_hints(void);
void pcfuzz_put_end(void);
void pcfuzz_put_left_out(void);
void pcfuzz_put_request(void);
/* Descriptors of any kind, with a message in them now and then (wild only) */
void pcfuzz_put_raw(void);
/* Writes to the rings or to the device's registers (wild only) */
void pcfuzz_poke(void);
/* A HINTS message with @hint, a LEFT_OUT message, and an END */
void pcfuzz_put_good(const PagecacheHint *hint);

/* What came back must say what the specification says. */
void pcfuzz_check_returned(void);
/* What the migration gets must be in RAM, on a disk, and what was sent. */
void pcfuzz_check_hint(const PagecacheQueuedHint *q);
/* What was left out must be fit to be shown; @good: it is that of put_good(). */
void pcfuzz_check_left_out(bool good);

#endif
