/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver of a virtio PCI device with one queue, for qtests of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_VIRTIO_H
#define TESTS_QTEST_PAGECACHE_TEST_VIRTIO_H

#include "libqos/libqos-malloc.h"
#include "libqos/virtio-pci.h"
#include "pagecache-test-lib.h"

/* Of the guest's memory, for the ring and for what is allocated: bytes */
#define PCT_VIRTIO_SIZE (64 * KiB)

typedef struct PctVirtio {
    QTestState *qts;
    QPCIBus *bus;
    QGuestAllocator alloc;
    QVirtioPCIDevice *pci;
    QVirtQueue *vq;
} PctVirtio;

/*
 * Starts the device in this slot with its queue @queue.  The driver has the
 * memory from @memory on, and takes all features but indirect descriptors, event
 * indices and those in @without.
 */
void pct_virtio_start(PctVirtio *v, QTestState *qts, unsigned slot,
                      unsigned queue, uint64_t memory, uint64_t without);
/* The device is there no more for the guest.  It must not have gone before. */
void pct_virtio_end(PctVirtio *v);

/*
 * A request that was added to the queue is submitted, and waited for.  There is
 * one at a time.
 */
void pct_virtio_submit(PctVirtio *v, uint32_t head);
void pct_virtio_wait(PctVirtio *v, uint32_t head);

#endif
