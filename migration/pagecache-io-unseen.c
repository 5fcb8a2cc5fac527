/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the I/O map does not see
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/boards.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-core.h"
#include "hw/scsi/scsi.h"
#include "system/block-backend.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-unseen.h"

/* By name: a QEMU need not have all of them. */
static const struct {
    const char *type;
    PagecacheUnseenReason reason;
} kinds[] = {
    { "vhost-user-blk", PAGECACHE_UNSEEN_REASON_OTHER_PROCESS },
    { "vhost-scsi-common", PAGECACHE_UNSEEN_REASON_OTHER_PROCESS },
    { "vhost-user-fs-device", PAGECACHE_UNSEEN_REASON_DIRECTORY },
    { "virtio-9p-device", PAGECACHE_UNSEEN_REASON_DIRECTORY },
    { "scsi-block", PAGECACHE_UNSEEN_REASON_PASSED_THROUGH },
    { "scsi-generic", PAGECACHE_UNSEEN_REASON_PASSED_THROUGH },
    { "ide-cd", PAGECACHE_UNSEEN_REASON_BUFFERED },
    { "xen-block", PAGECACHE_UNSEEN_REASON_BUFFERED },
};

/* A disk, as far as its class says */
static bool is_passed_through(Object *obj)
{
    PCIDevice *pci = (PCIDevice *)object_dynamic_cast(obj, "vfio-pci");

    return pci && pci->config[PCI_CLASS_DEVICE + 1] == PCI_BASE_CLASS_STORAGE;
}

/* Without a scatter list scsi-disk has a buffer of its own. */
static bool is_buffered(Object *obj)
{
    SCSIDevice *dev = (SCSIDevice *)object_dynamic_cast(obj, TYPE_SCSI_DEVICE);

    return dev && dev->conf.blk &&
           !scsi_bus_from_device(dev)->info->get_sg_list;
}

/* There are more disks than numbers. */
static bool has_no_number(DeviceState *dev)
{
    BlockBackend *blk = NULL;

    while ((blk = blk_all_next(blk))) {
        if (blk_get_attached_dev(blk) == dev) {
            return blk_bs(blk) && !pagecache_io_disks_number(blk);
        }
    }
    return false;
}

static bool is_unseen(DeviceState *dev, PagecacheUnseenReason *reason)
{
    Object *obj = OBJECT(dev);
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        if (object_dynamic_cast(obj, kinds[i].type)) {
            *reason = kinds[i].reason;
            return true;
        }
    }
    if (is_passed_through(obj)) {
        *reason = PAGECACHE_UNSEEN_REASON_PASSED_THROUGH;
    } else if (is_buffered(obj)) {
        *reason = PAGECACHE_UNSEEN_REASON_BUFFERED;
    } else if (has_no_number(dev)) {
        *reason = PAGECACHE_UNSEEN_REASON_TOO_MANY;
    } else {
        return false;
    }
    return true;
}

static int add_device(Object *obj, void *opaque)
{
    MigrationPagecacheUnseenList **list = opaque;
    DeviceState *dev = (DeviceState *)object_dynamic_cast(obj, TYPE_DEVICE);
    PagecacheUnseenReason reason;

    if (dev && dev->realized && is_unseen(dev, &reason)) {
        MigrationPagecacheUnseen *u = g_new0(MigrationPagecacheUnseen, 1);

        u->device = qdev_get_dev_path(dev);
        if (!u->device) {
            u->device = dev->id ? g_strdup_printf("id=%s", dev->id) :
                                  object_get_canonical_path(obj);
        }
        u->reason = reason;
        QAPI_LIST_PREPEND(*list, u);
    }
    return 0;
}

MigrationPagecacheUnseenList *pagecache_io_unseen(void)
{
    MigrationPagecacheUnseenList *list = NULL;

    GLOBAL_STATE_CODE();
    object_child_foreach_recursive(qdev_get_machine(), add_device, &list);
    return list;
}
