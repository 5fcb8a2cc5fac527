/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecache: what the guest is told of a disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/ide/ide-dev.h"
#include "hw/nvme/nvme.h"
#include "hw/pci/pci_device.h"
#include "hw/scsi/scsi.h"
#include "hw/virtio/virtio-blk.h"
#include "hw/virtio/virtio-pagecache.h"
#include "standard-headers/linux/virtio_blk.h"

/* Serial numbers as the guest gets them */
#define IDE_SERIAL_BYTES    20
#define NVME_SERIAL_BYTES   20
#define SCSI_SERIAL_BYTES   36

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
 * driver can't take one of them for the other.  (An NVMe controller with a
 * drive of its own may have more namespaces.)
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
    if (pdev && object_dynamic_cast(OBJECT(pdev), TYPE_NVME)) {
        pdev = NULL;
    }
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

/*
 * Disks have a property "serial", or none; what the guest sees of it is
 * limited by the kind of disk.  Namespaces of NVMe have that of their
 * subsystem, which its controllers share.
 */
static void disk_serial(const PagecacheDisk *d,
                        struct virtio_pagecache_disk *answer)
{
    g_autofree char *serial = NULL;
    Object *obj = OBJECT(d->dev);
    size_t max = sizeof(answer->serial);

    if (object_dynamic_cast(obj, TYPE_NVME_NS)) {
        serial = g_strdup(NVME_NS(obj)->subsys->serial);
    } else if (object_property_find(obj, "serial")) {
        serial = object_property_get_str(obj, "serial", NULL);
    }
    if (!serial) {
        return;
    }
    if (object_dynamic_cast(obj, TYPE_VIRTIO_BLK)) {
        max = VIRTIO_BLK_ID_BYTES;
    } else if (object_dynamic_cast(obj, TYPE_IDE_DEVICE)) {
        max = IDE_SERIAL_BYTES;
    } else if (object_dynamic_cast(obj, TYPE_NVME) ||
               object_dynamic_cast(obj, TYPE_NVME_NS)) {
        max = NVME_SERIAL_BYTES;
    } else if (object_dynamic_cast(obj, TYPE_SCSI_DEVICE)) {
        max = SCSI_SERIAL_BYTES;
    }
    if (strlen(serial) > max) {
        serial[max] = '\0';
    }
    g_strstrip(serial);             /* blanks are padding */
    memcpy(answer->serial, serial, strlen(serial));
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
