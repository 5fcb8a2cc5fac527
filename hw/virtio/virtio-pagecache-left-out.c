/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecache: what the driver says it has left out
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The feature VIRTIO_PAGECACHE_F_LEFT_OUT and its message.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/virtio/virtio-pagecache.h"
#include "trace.h"

#define FEATURE (1ULL << VIRTIO_PAGECACHE_F_LEFT_OUT)

QEMU_BUILD_BUG_ON(sizeof(struct virtio_pagecache_left_out) != 64);
QEMU_BUILD_BUG_ON(VIRTIO_PAGECACHE_LEFT_OUT_MAX > PAGECACHE_LEFT_OUT_MAX);
/* the record's names fit, with a 0 behind them */
QEMU_BUILD_BUG_ON(sizeof_field(PagecacheLeftOut, device) !=
                  VIRTIO_PAGECACHE_DEVICE_LEN + 1);
QEMU_BUILD_BUG_ON(sizeof_field(PagecacheLeftOut, detail) !=
                  VIRTIO_PAGECACHE_DETAIL_LEN + 1);

static PagecacheLeftOutReason reason_of(uint32_t reason)
{
    static const PagecacheLeftOutReason reasons[] = {
        [VIRTIO_PAGECACHE_LEFT_OTHER] = PAGECACHE_LEFT_OUT_REASON_OTHER,
        [VIRTIO_PAGECACHE_LEFT_FILESYSTEM] =
            PAGECACHE_LEFT_OUT_REASON_FILESYSTEM,
        [VIRTIO_PAGECACHE_LEFT_NO_DISK] = PAGECACHE_LEFT_OUT_REASON_NO_DISK,
        [VIRTIO_PAGECACHE_LEFT_MISMATCH] = PAGECACHE_LEFT_OUT_REASON_MISMATCH,
        [VIRTIO_PAGECACHE_LEFT_DM] = PAGECACHE_LEFT_OUT_REASON_DM,
        [VIRTIO_PAGECACHE_LEFT_MD] = PAGECACHE_LEFT_OUT_REASON_MD,
        [VIRTIO_PAGECACHE_LEFT_ENCRYPTED] =
            PAGECACHE_LEFT_OUT_REASON_ENCRYPTED,
        [VIRTIO_PAGECACHE_LEFT_DAX] = PAGECACHE_LEFT_OUT_REASON_DAX,
        [VIRTIO_PAGECACHE_LEFT_SWAP] = PAGECACHE_LEFT_OUT_REASON_SWAP,
        [VIRTIO_PAGECACHE_LEFT_REALTIME] = PAGECACHE_LEFT_OUT_REASON_REALTIME,
        [VIRTIO_PAGECACHE_LEFT_FROZEN] = PAGECACHE_LEFT_OUT_REASON_FROZEN,
        [VIRTIO_PAGECACHE_LEFT_DEVICE] =
            PAGECACHE_LEFT_OUT_REASON_BLOCK_DEVICE,
    };

    /* a driver may know reasons that are newer than we are */
    return reason < ARRAY_SIZE(reasons) ? reasons[reason] :
                                          PAGECACHE_LEFT_OUT_REASON_OTHER;
}

void virtio_pagecache_handle_left_out(
    VirtIOPagecache *s, const struct virtio_pagecache_left_out *in,
    uint32_t count)
{
    g_autofree PagecacheLeftOut *list = g_new0(PagecacheLeftOut,
                                               VIRTIO_PAGECACHE_LEFT_OUT_MAX);
    uint32_t i;

    assert(count <= VIRTIO_PAGECACHE_LEFT_OUT_MAX);
    for (i = 0; i < count; i++) {
        list[i].reason = reason_of(le32_to_cpu(in[i].reason));
        list[i].pages = le64_to_cpu(in[i].pages);
        memcpy(list[i].device, in[i].device, sizeof(in[i].device));
        memcpy(list[i].detail, in[i].detail, sizeof(in[i].detail));
    }
    s->left_out = true;
    trace_virtio_pagecache_left_out(s, s->epoch, count);
    pagecache_producer_left_out(s->producer, s->collection, list, count);
}

/*
 * A QEMU that does not know the feature would refuse a guest whose driver has
 * negotiated it, for no good reason: it drops the driver's messages, and that
 * is all.  So the feature does not stand among those that are saved, but in a
 * flag of our own, where an older QEMU reads no more than that the guest has
 * to be told of a change of the configuration, which never hurts.
 */
void virtio_pagecache_left_out_hide(VirtIOPagecache *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    s->hidden_features = vdev->guest_features & FEATURE;
    vdev->guest_features &= ~FEATURE;
}

void virtio_pagecache_left_out_restore(VirtIOPagecache *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    /* where the property is off, the feature is gone until the next reset */
    vdev->guest_features |= s->hidden_features & vdev->host_features;
    s->hidden_features = 0;
}
