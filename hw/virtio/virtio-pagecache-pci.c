/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PCI proxy of virtio-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"

#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-pci.h"
#include "hw/virtio/virtio-pagecache.h"
#include "qapi/error.h"
#include "qemu/module.h"
#include "qom/object.h"
#include "standard-headers/linux/virtio_pagecache.h"

/* The proxy is abstract; users create TYPE "virtio-pagecache-pci" */
#define TYPE_VIRTIO_PAGECACHE_PCI "virtio-pagecache-pci-base"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOPagecachePCI, VIRTIO_PAGECACHE_PCI)

struct VirtIOPagecachePCI {
    VirtIOPCIProxy parent_obj;
    VirtIOPagecache vdev;
};

static const Property virtio_pagecache_pci_properties[] = {
    DEFINE_PROP_BIT("ioeventfd", VirtIOPCIProxy, flags,
                    VIRTIO_PCI_FLAG_USE_IOEVENTFD_BIT, true),
    DEFINE_PROP_UINT32("vectors", VirtIOPCIProxy, nvectors,
                       DEV_NVECTORS_UNSPECIFIED),
};

static void virtio_pagecache_pci_realize(VirtIOPCIProxy *vpci_dev,
                                         Error **errp)
{
    VirtIOPagecachePCI *dev = VIRTIO_PAGECACHE_PCI(vpci_dev);

    if (vpci_dev->nvectors == DEV_NVECTORS_UNSPECIFIED) {
        /* one for each queue, one for changes of the configuration */
        vpci_dev->nvectors = VIRTIO_PAGECACHE_VQ_MAX + 1;
    }

    virtio_pci_force_virtio_1(vpci_dev);
    qdev_realize(DEVICE(&dev->vdev), BUS(&vpci_dev->bus), errp);
}

static void virtio_pagecache_pci_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioPCIClass *k = VIRTIO_PCI_CLASS(klass);
    PCIDeviceClass *pcidev_k = PCI_DEVICE_CLASS(klass);

    k->realize = virtio_pagecache_pci_realize;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    dc->desc = "Hints of the guest's page cache for live migration";
    pcidev_k->revision = VIRTIO_PCI_ABI_VERSION;
    pcidev_k->class_id = PCI_CLASS_OTHERS;
    device_class_set_props(dc, virtio_pagecache_pci_properties);
}

static void virtio_pagecache_pci_instance_init(Object *obj)
{
    VirtIOPagecachePCI *dev = VIRTIO_PAGECACHE_PCI(obj);

    virtio_instance_init_common(obj, &dev->vdev, sizeof(dev->vdev),
                                TYPE_VIRTIO_PAGECACHE);
}

static const VirtioPCIDeviceTypeInfo virtio_pagecache_pci_info = {
    .base_name     = TYPE_VIRTIO_PAGECACHE_PCI,
    .generic_name  = "virtio-pagecache-pci",
    .instance_size = sizeof(VirtIOPagecachePCI),
    .instance_init = virtio_pagecache_pci_instance_init,
    .class_init    = virtio_pagecache_pci_class_init,
};

static void virtio_pagecache_pci_register_types(void)
{
    virtio_pci_types_register(&virtio_pagecache_pci_info);
}

type_init(virtio_pagecache_pci_register_types)
