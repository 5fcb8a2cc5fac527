/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecache: what the guest is told of a disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_device.h"
#include "hw/scsi/scsi.h"
#include "hw/virtio/virtio-blk.h"
#include "hw/virtio/virtio-pagecache.h"
#include "standard-headers/linux/virtio_blk.h"

/*
 * The PCI function that a disk hangs on: its own, or that of its host bus
 * adapter @dev; NULL if there is none.
 */
static PCIDevice *disk_function(DeviceState *dev)
{
    /* virtio devices are on a bus of their own behind their proxy */
    if (dev && object_dynamic_cast(OBJECT(dev), TYPE_VIRTIO_DEVICE)) {
        dev = qdev_get_parent_bus(dev)->parent;
    }
    return dev ? (PCIDevice *)object_dynamic_cast(OBJECT(dev),
                                                  TYPE_PCI_DEVICE) : NULL;
}

/*
 * Where the guest finds disk @d.  Only an address that belongs to this disk
 * alone is told: units of IDE and namespaces of NVMe have none, so that the
 * driver can't take one of them for the other.
 */
static void disk_locate(const PagecacheDisk *d,
                        struct virtio_pagecache_disk *answer)
{
    DeviceState *hba = d->dev;
    SCSIDevice *sdev;
    PCIDevice *pdev;
    uint32_t flags = 0;

    sdev = (SCSIDevice *)object_dynamic_cast(OBJECT(d->dev), TYPE_SCSI_DEVICE);
    if (sdev) {
        hba = qdev_get_parent_bus(d->dev)->parent;
    }
    pdev = disk_function(hba);
    if (pdev) {
        flags |= VIRTIO_PAGECACHE_DISK_F_PCI;
        /* QEMU's machines with PCI have one segment, or number them from 0 */
        answer->pci_segment = cpu_to_le16(0);
        answer->pci_bus = pci_dev_bus_num(pdev);
        answer->pci_devfn = pdev->devfn;
    }
    if (pdev && sdev) {
        flags |= VIRTIO_PAGECACHE_DISK_F_SCSI;
        answer->scsi_channel = cpu_to_le32(sdev->channel);
        answer->scsi_target = cpu_to_le32(sdev->id);
        answer->scsi_lun = cpu_to_le64(sdev->lun);
    }
    if (d->read_only) {
        flags |= VIRTIO_PAGECACHE_DISK_F_RO;
    }
    answer->flags = cpu_to_le32(flags);
}

/* Disks have a property "serial", or none */
static void disk_serial(const PagecacheDisk *d,
                        struct virtio_pagecache_disk *answer)
{
    g_autofree char *serial = NULL;
    size_t max = sizeof(answer->serial);

    if (object_property_find(OBJECT(d->dev), "serial")) {
        serial = object_property_get_str(OBJECT(d->dev), "serial", NULL);
    }
    if (!serial) {
        return;
    }
    if (object_dynamic_cast(OBJECT(d->dev), TYPE_VIRTIO_BLK)) {
        max = VIRTIO_BLK_ID_BYTES;      /* the guest gets no more of it */
    }
    memcpy(answer->serial, serial, MIN(strlen(serial), max));
}

uint32_t virtio_pagecache_get_disk(uint32_t index,
                                   struct virtio_pagecache_disk *answer)
{
    const PagecacheDisk *d = pagecache_disk_get(index);

    if (!d || !d->dev || !d->blk) {
        return VIRTIO_PAGECACHE_S_ABSENT;
    }
    answer->capacity = cpu_to_le64(d->sectors);
    disk_locate(d, answer);
    disk_serial(d, answer);
    return VIRTIO_PAGECACHE_S_OK;
}
