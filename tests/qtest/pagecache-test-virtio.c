/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver of a virtio PCI device with one queue, for qtests of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_regs.h"
#include "libqos/pci-pc.h"
#include "standard-headers/linux/virtio_ring.h"
#include "pagecache-test-virtio.h"

#define TIMEOUT_US      (30 * G_USEC_PER_SEC)

void pct_virtio_start(PctVirtio *v, QTestState *qts, unsigned slot,
                      unsigned queue, uint64_t memory, uint64_t without)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(slot, 0) };
    QVirtioDevice *dev;

    v->qts = qts;
    v->bus = qpci_new_pc(qts, NULL);
    alloc_init(&v->alloc, 0, memory, memory + PCT_VIRTIO_SIZE, PAGE);
    v->pci = virtio_pci_new(v->bus, &addr);
    g_assert_nonnull(v->pci);
    dev = &v->pci->vdev;
    qvirtio_pci_device_enable(v->pci);
    qvirtio_start_device(dev);
    qvirtio_set_features(dev, qvirtio_get_features(dev) &
                              ~(QVIRTIO_F_BAD_FEATURE |
                                1ULL << VIRTIO_RING_F_INDIRECT_DESC |
                                1ULL << VIRTIO_RING_F_EVENT_IDX | without));
    v->vq = qvirtqueue_setup(dev, &v->alloc, queue);
    qvirtio_set_driver_ok(dev);
}

void pct_virtio_end(PctVirtio *v)
{
    /* another driver gives its device the same addresses */
    qpci_config_writew(v->pci->pdev, PCI_COMMAND, 0);
    qvirtqueue_cleanup(v->pci->vdev.bus, v->vq, &v->alloc);
    g_free(v->pci->pdev);
    g_free(v->pci);
    alloc_destroy(&v->alloc);
    qpci_free_pc(v->bus);
}

void pct_virtio_submit(PctVirtio *v, uint32_t head)
{
    qvirtqueue_kick(v->qts, &v->pci->vdev, v->vq, head);
}

void pct_virtio_wait(PctVirtio *v, uint32_t head)
{
    qvirtio_wait_used_elem(v->qts, &v->pci->vdev, v->vq, head, NULL,
                           TIMEOUT_US);
    /* the ring wraps: descriptors are used one after the other */
    v->vq->free_head = 0;
    v->vq->num_free = v->vq->size;
}
