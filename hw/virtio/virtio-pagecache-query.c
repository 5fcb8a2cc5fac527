/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecache: what query-pagecache tells of it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "hw/virtio/virtio-pagecache.h"

/* A guest that has no driver, or stands still, will not end a collection. */
bool virtio_pagecache_busy(void *opaque)
{
    VirtIOPagecache *s = opaque;

    return virtio_pagecache_ready(s) && s->epoch && !s->ended;
}

/*
 * Whether the driver's daemon runs is known only by what the driver says when
 * it is asked.
 */
static PagecacheProducerState state_of(VirtIOPagecache *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    if (virtio_device_disabled(vdev) ||
        !(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        return PAGECACHE_PRODUCER_STATE_NO_DRIVER;
    }
    return s->answered ? PAGECACHE_PRODUCER_STATE_READY :
           s->asked ? PAGECACHE_PRODUCER_STATE_SILENT :
           PAGECACHE_PRODUCER_STATE_NOT_ASKED;
}

PagecacheProducerInfo *virtio_pagecache_query(void *opaque)
{
    VirtIOPagecache *s = opaque;
    PagecacheProducerInfo *info = g_new0(PagecacheProducerInfo, 1);

    info->state = state_of(s);
    info->device = qdev_get_dev_path(DEVICE(s));
    if (!info->device) {
        info->device = object_get_canonical_path(OBJECT(s));
    }
    if (info->state != PAGECACHE_PRODUCER_STATE_NO_DRIVER) {
        info->has_tells_left_out = true;
        info->tells_left_out =
            virtio_vdev_has_feature(VIRTIO_DEVICE(s),
                                    VIRTIO_PAGECACHE_F_LEFT_OUT);
    }
    return info;
}
