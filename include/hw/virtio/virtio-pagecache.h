/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecache: hints of the guest's page cache for live migration
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The device asks the guest for a map of its clean page cache while a
 * migration wants one, and passes the hints on.  It checks their shape and
 * bounds the work and the memory they can cost; what they say is checked by
 * migration/pagecache.h's side, and believed by nobody.
 *
 * docs/specs/virtio-pagecache.rst is the specification of the device,
 * standard-headers/linux/virtio_pagecache.h its ABI.
 */
#ifndef HW_VIRTIO_PAGECACHE_H
#define HW_VIRTIO_PAGECACHE_H

#include "hw/virtio/virtio.h"
#include "migration/pagecache.h"
#include "qom/object.h"
#include "standard-headers/linux/virtio_pagecache.h"

#define TYPE_VIRTIO_PAGECACHE "virtio-pagecache-device"
OBJECT_DECLARE_SIMPLE_TYPE(VirtIOPagecache, VIRTIO_PAGECACHE)

/*
 * Everything is protected by the BQL.  Both queues are served by timers of
 * the main loop, never from a notification itself, and only while the VM
 * runs and the driver is ready: guest RAM of a stopped VM is not touched.
 * No buffer of the guest is kept from one run of a timer to the next.
 */
struct VirtIOPagecache {
    VirtIODevice parent_obj;

    uint64_t features;          /* that are offered: properties */
    VirtQueue *ctrl_vq;
    VirtQueue *hint_vq;
    QEMUTimer *ctrl_timer;
    QEMUTimer *hint_timer;      /* pending: its queue will be served then */
    PagecacheProducer *producer;

    /* The collection that is wanted */
    uint32_t epoch;             /* as the guest knows it; 0: none */
    uint32_t collection;        /* as the producer interface knows it */
    bool ended;                 /* its END record came */
    bool left_out;              /* its LEFT_OUT message came */
    unsigned bad;               /* messages without a valid shape */
    unsigned stale;             /* messages of other epochs */
    /* what the guest has not done for it yet; PAGECACHE_NOTE__MAX: nothing */
    PagecacheNote obstacle;
    uint32_t num_disks;         /* length of the disk table when it began */
    bool asked;                 /* this driver was told of a collection... */
    bool answered;              /* ...and has said something of the last one */

    /* For ever, across migrations */
    uint32_t last_epoch;        /* the last number given to a collection */
    bool announce;              /* tell the guest as soon as it can listen */
    uint8_t saved;              /* vmstate only: SAVED_* */
    uint64_t hidden_features;   /* while it is saved or loaded */

    /* One message of the guest, copied before it is looked at */
    void *msg;
    /* Hints that the migration code had no room for yet, or none */
    PagecacheHint *hints;
    size_t nhints;
};

/* May the device use the queues and interrupt the guest? */
static inline bool virtio_pagecache_ready(VirtIOPagecache *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    return vdev->vm_running && !virtio_device_disabled(vdev) &&
           (vdev->status & VIRTIO_CONFIG_S_DRIVER_OK);
}

/* PagecacheProducerOps.busy and .query */
bool virtio_pagecache_busy(void *opaque);
PagecacheProducerInfo *virtio_pagecache_query(void *opaque);

/*
 * Fills in all of *@answer (zeroed by the caller) but its status, which is
 * returned.  BQL; pagecache_disks_refresh() was called in the same section.
 */
uint32_t virtio_pagecache_get_disk(uint32_t index,
                                   struct virtio_pagecache_disk *answer);

/* The driver has sent what it left out: @count entries, in our copy */
void virtio_pagecache_handle_left_out(
    VirtIOPagecache *s, const struct virtio_pagecache_left_out *in,
    uint32_t count);
/* Around saving the features that the driver has negotiated, and after loading */
void virtio_pagecache_left_out_hide(VirtIOPagecache *s);
void virtio_pagecache_left_out_restore(VirtIOPagecache *s);

#endif
