/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecache: hints of the guest's page cache for live migration
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The guest is hostile.  What it can cost us:
 *
 * memory     one message and its hints (VirtIOPagecache.msg and .hints), of
 *            fixed size;
 * main loop  HINT_BUFFERS buffers or HINT_WORK hints and descriptors in one
 *            iteration while its hints are wanted, as much every DRAIN_NS
 *            otherwise; and CTRL_BUFFERS requests every CTRL_NS;
 * results    nothing: see migration/pagecache.h.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/log.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-pagecache.h"
#include "qemu/pagecache-fault.h"
#include "migration/vmstate.h"
#include "qapi/error.h"
#include "standard-headers/linux/virtio_pagecache.h"
#include "trace.h"

/*
 * The most hints that a buffer may hold.  What the migration code takes at
 * once, so that a message is taken whole or not at all.
 */
#define MAX_HINTS       PAGECACHE_BATCH_MAX
#define MSG_MAX         (sizeof(struct virtio_pagecache_hdr) + \
                         MAX_HINTS * sizeof(struct virtio_pagecache_hint))
QEMU_BUILD_BUG_ON(VIRTIO_PAGECACHE_LEFT_OUT_MAX *
                  sizeof(struct virtio_pagecache_left_out) >
                  MAX_HINTS * sizeof(struct virtio_pagecache_hint));

/*
 * Requests come one by one, hints in a stream.  (QEMU may make the queues
 * larger, up to VIRTQUEUE_MAX_SIZE.)
 */
#define CTRL_VQ_SIZE    16
#define HINT_VQ_SIZE    128

/* What one iteration of the main loop does at most, see above */
#define CTRL_BUFFERS    16
#define HINT_BUFFERS    16
#define HINT_WORK       (4 * MAX_HINTS)

/* Until hints that found no room are offered again, nanoseconds */
#define BUSY_NS         (5 * SCALE_MS)
/* Pace of returning buffers that nobody wants, nanoseconds */
#define DRAIN_NS        (10 * SCALE_MS)
/* Pace of answering requests, nanoseconds */
#define CTRL_NS         (1 * SCALE_MS)
/* vmstate: what VirtIOPagecache.saved says */
#define SAVED_ANNOUNCE  (1 << 0)
#define SAVED_LEFT_OUT  (1 << 1)    /* the driver has negotiated the feature */

/* A driver that sends more messages of no valid shape is given up */
#define MAX_BAD         64
/* ... or more messages of another collection: some times a full queue */
#define MAX_STALE       (4 * VIRTQUEUE_MAX_SIZE)

QEMU_BUILD_BUG_ON(sizeof(struct virtio_pagecache_config) != 12);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_pagecache_ctrl) != 8);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_pagecache_disk) != 104);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_pagecache_hdr) != 16);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_pagecache_hint) != 24);
QEMU_BUILD_BUG_ON(sizeof(struct virtio_pagecache_end) != 40);

/* BQL; the guest has one, as there is one disk table */
static VirtIOPagecache *the_device;

/* What the guest has not done yet for the collection that is wanted */
static void virtio_pagecache_lacks(VirtIOPagecache *s, PagecacheNote what)
{
    if (s->obstacle != what) {
        s->obstacle = what;
        if (s->producer) {      /* else realize() does it */
            pagecache_producer_obstacle(s->producer, what);
        }
    }
}

static void virtio_pagecache_arm(QEMUTimer *timer, int64_t ns)
{
    timer_mod(timer, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + ns);
}

/* Tells the guest that the configuration changed, now or when it can listen */
static void virtio_pagecache_announce(VirtIOPagecache *s)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(s);

    s->announce = !virtio_pagecache_ready(s);
    trace_virtio_pagecache_announce(s, s->epoch, s->announce);
    s->asked = s->asked || (s->epoch && !s->announce);
    if (!s->announce && !pagecache_fault(PAGECACHE_FAULT_LOSE_ANNOUNCE)) {
        virtio_notify_config(vdev);
    }
}

/*
 * What is in the hint queue has become welcome, or useless: serve it now
 * rather than at the pace that fitted until now.
 */
static void virtio_pagecache_set_epoch(VirtIOPagecache *s, uint32_t epoch)
{
    s->epoch = epoch;
    s->ended = false;
    s->left_out = false;
    s->bad = 0;
    s->stale = 0;
    s->nhints = 0;
    virtio_pagecache_announce(s);
    virtio_pagecache_arm(s->hint_timer, 0);
}

static uint32_t virtio_pagecache_next_epoch(VirtIOPagecache *s)
{
    if (!++s->last_epoch) {
        s->last_epoch = 1;
    }
    return s->last_epoch;
}

/* A driver that is there should answer from now on. */
static void virtio_pagecache_expect(VirtIOPagecache *s)
{
    bool driver = VIRTIO_DEVICE(s)->status & VIRTIO_CONFIG_S_DRIVER_OK;

    virtio_pagecache_lacks(s, driver ? PAGECACHE_NOTE_GUEST_SILENT
                                     : PAGECACHE_NOTE_NO_DRIVER);
}

/* PagecacheProducerOps.collect: BQL held, any thread */
static void virtio_pagecache_collect(void *opaque, uint32_t epoch)
{
    VirtIOPagecache *s = opaque;

    /*
     * The guest sees numbers of our own.  They go on counting on the next
     * host, whose migrations start with 1 again: a driver that slept through
     * the switchover must not take the next collection for its old one.
     */
    s->collection = epoch;
    s->num_disks = pagecache_disks_refresh();
    s->answered = false;
    virtio_pagecache_set_epoch(s, virtio_pagecache_next_epoch(s));
    virtio_pagecache_expect(s);
    trace_virtio_pagecache_collect(s, epoch, s->epoch, s->num_disks);
}

/* PagecacheProducerOps.stop: BQL held, any thread */
static void virtio_pagecache_stop(void *opaque)
{
    VirtIOPagecache *s = opaque;

    trace_virtio_pagecache_stop(s, s->epoch);
    if (s->epoch) {
        virtio_pagecache_set_epoch(s, 0);
    }
}

static const PagecacheProducerOps virtio_pagecache_producer = {
    .name = "virtio-pagecache",
    .from_guest = true,
    .collect = virtio_pagecache_collect,
    .stop = virtio_pagecache_stop,
    .busy = virtio_pagecache_busy,
    .query = virtio_pagecache_query,
};

/* No more hints for this collection; the guest is told to stop. */
static void virtio_pagecache_give_up(VirtIOPagecache *s, const char *why)
{
    trace_virtio_pagecache_give_up(s, s->epoch, why);
    if (s->epoch) {
        virtio_pagecache_set_epoch(s, 0);
    }
}

/* The driver is of no use for this collection: @why */
static void virtio_pagecache_misbehaves(VirtIOPagecache *s, const char *why)
{
    if (!s->ended) {
        pagecache_producer_end(s->producer, s->collection, false);
    }
    pagecache_producer_give_up(s->producer, s->collection,
                               PAGECACHE_GIVEN_UP_REASON_BAD_MESSAGES);
    virtio_pagecache_give_up(s, why);
}

/* A message that makes no sense: @what it is */
static void virtio_pagecache_bad(VirtIOPagecache *s, const char *what)
{
    trace_virtio_pagecache_bad(s, s->epoch, what);
    qemu_log_mask(LOG_GUEST_ERROR, "virtio-pagecache: %s\n", what);

    if (!s->epoch) {
        return;
    }
    pagecache_producer_bad(s->producer, what);
    if (++s->bad > MAX_BAD) {
        virtio_pagecache_misbehaves(s, "too many bad messages");
    }
}

/* A message for another collection: no fault of a driver that can't know yet */
static void virtio_pagecache_stale(VirtIOPagecache *s, uint32_t epoch)
{
    trace_virtio_pagecache_stale(s, s->epoch, epoch);
    if (s->epoch && ++s->stale > MAX_STALE) {
        virtio_pagecache_misbehaves(s, "too many messages of other epochs");
    }
}

/* Passes s->hints on.  False if they have to wait. */
static bool virtio_pagecache_deliver(VirtIOPagecache *s)
{
    PagecacheVerdict verdict;

    verdict = pagecache_producer_hints(s->producer, s->collection, s->hints,
                                       s->nhints);
    trace_virtio_pagecache_hints(s, s->epoch, s->nhints, verdict);
    if (verdict == PAGECACHE_BUSY) {
        return false;
    }
    s->nhints = 0;
    if (verdict == PAGECACHE_STOP) {
        virtio_pagecache_give_up(s, "no more hints are taken");
    }
    return true;
}

/* @h: the @count hints of the message, in our copy */
static void virtio_pagecache_handle_hints(VirtIOPagecache *s,
                                          const struct virtio_pagecache_hint *h,
                                          uint32_t count)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        s->hints[i] = (PagecacheHint) {
            .gpa = le64_to_cpu(h[i].addr),
            .sector = le64_to_cpu(h[i].sector),
            .npages = le32_to_cpu(h[i].npages),
            .disk = le32_to_cpu(h[i].disk),
        };
    }
    s->nhints = count;
    virtio_pagecache_deliver(s);
}

static void virtio_pagecache_handle_end(VirtIOPagecache *s,
                                        const struct virtio_pagecache_end *end)
{
    uint32_t status = le32_to_cpu(end->status);

    if (status != VIRTIO_PAGECACHE_END_OK &&
        status != VIRTIO_PAGECACHE_END_PARTIAL) {
        virtio_pagecache_bad(s, "END record of unknown status");
        return;
    }
    trace_virtio_pagecache_end(s, s->epoch, status, le64_to_cpu(end->hints),
                               le64_to_cpu(end->pages),
                               le64_to_cpu(end->skipped),
                               le64_to_cpu(end->usecs));
    s->ended = true;
    pagecache_producer_end(s->producer, s->collection,
                           status == VIRTIO_PAGECACHE_END_OK);
}

/* s->msg holds a message of @size bytes (more than MSG_MAX: was cut off). */
static void virtio_pagecache_handle_msg(VirtIOPagecache *s, size_t size)
{
    const struct virtio_pagecache_hdr *hdr = s->msg;
    uint32_t type, epoch, count;
    size_t want;

    if (size < sizeof(*hdr)) {
        virtio_pagecache_bad(s, "message shorter than its header");
        return;
    }
    type = le32_to_cpu(hdr->type);
    epoch = le32_to_cpu(hdr->epoch);
    count = le32_to_cpu(hdr->count);

    switch (type) {
    case VIRTIO_PAGECACHE_MSG_HINTS:
        if (!count || count > MAX_HINTS) {
            virtio_pagecache_bad(s, "HINTS with a count out of bounds");
            return;
        }
        want = sizeof(*hdr) + count * sizeof(struct virtio_pagecache_hint);
        break;
    case VIRTIO_PAGECACHE_MSG_END:
        if (count != 1) {
            virtio_pagecache_bad(s, "END with a count that is not 1");
            return;
        }
        want = sizeof(*hdr) + sizeof(struct virtio_pagecache_end);
        break;
    case VIRTIO_PAGECACHE_MSG_LEFT_OUT:
        if (!virtio_vdev_has_feature(VIRTIO_DEVICE(s),
                                     VIRTIO_PAGECACHE_F_LEFT_OUT)) {
            virtio_pagecache_bad(s, "LEFT_OUT without its feature");
            return;
        }
        if (count > VIRTIO_PAGECACHE_LEFT_OUT_MAX) {
            virtio_pagecache_bad(s, "LEFT_OUT with a count out of bounds");
            return;
        }
        want = sizeof(*hdr) + count * sizeof(struct virtio_pagecache_left_out);
        break;
    default:
        virtio_pagecache_bad(s, "message of unknown type");
        return;
    }
    if (size != want) {
        virtio_pagecache_bad(s, "message whose size belies its count");
        return;
    }

    if (!s->epoch || epoch != s->epoch) {
        virtio_pagecache_stale(s, epoch);
        return;
    }
    s->answered = true;
    if (s->ended) {
        virtio_pagecache_bad(s, "message after the END record");
        return;
    }

    if (type == VIRTIO_PAGECACHE_MSG_LEFT_OUT && s->left_out) {
        virtio_pagecache_bad(s, "second LEFT_OUT message");
        return;
    }

    virtio_pagecache_lacks(s, PAGECACHE_NOTE__MAX);
    switch (type) {
    case VIRTIO_PAGECACHE_MSG_HINTS:
        virtio_pagecache_handle_hints(s, (const void *)(hdr + 1), count);
        break;
    case VIRTIO_PAGECACHE_MSG_LEFT_OUT:
        virtio_pagecache_handle_left_out(s, (const void *)(hdr + 1), count);
        break;
    default:
        virtio_pagecache_handle_end(s, (const void *)(hdr + 1));
    }
}

/* Timer: serves the hint queue */
static void virtio_pagecache_hint_work(void *opaque)
{
    VirtIOPagecache *s = opaque;
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    unsigned buffers = 0, work = 0;
    bool wanted;

    if (s->nhints && !virtio_pagecache_deliver(s)) {
        virtio_pagecache_arm(s->hint_timer, BUSY_NS);
        return;
    }
    if (!virtio_pagecache_ready(s)) {
        return;
    }
    if (pagecache_fault(PAGECACHE_FAULT_STALL_DEVICE)) {
        virtio_pagecache_arm(s->hint_timer, BUSY_NS);
        return;
    }

    while (!s->nhints && buffers < HINT_BUFFERS && work < HINT_WORK) {
        g_autofree VirtQueueElement *elem =
            virtqueue_pop(s->hint_vq, sizeof(VirtQueueElement));
        size_t size;

        if (!elem) {
            break;
        }

        /*
         * Copied first and checked then: the guest may write to it all the
         * time.  One byte more than is allowed tells a message that is too
         * long.
         */
        size = iov_to_buf(elem->out_sg, elem->out_num, 0, s->msg,
                          MSG_MAX + 1);
        if (elem->in_num) {
            virtio_pagecache_bad(s, "message with a device-writable part");
        } else if (!pagecache_fault(PAGECACHE_FAULT_LOSE_MESSAGE)) {
            virtio_pagecache_handle_msg(s, size);
            if (!s->nhints &&
                pagecache_fault(PAGECACHE_FAULT_DUPLICATE_MESSAGE)) {
                virtio_pagecache_handle_msg(s, size);
            }
        }
        virtqueue_push(s->hint_vq, elem, 0);
        buffers++;
        work += elem->out_num + elem->in_num +
                size / sizeof(struct virtio_pagecache_hint);
    }

    if (!buffers) {
        return;
    }
    virtio_notify(vdev, s->hint_vq);

    wanted = s->epoch && !s->ended;
    if (s->nhints) {
        virtio_pagecache_arm(s->hint_timer, BUSY_NS);
    } else if (!wanted) {
        virtio_pagecache_arm(s->hint_timer, DRAIN_NS);
    } else if (buffers == HINT_BUFFERS || work >= HINT_WORK) {
        trace_virtio_pagecache_yield(s, s->epoch, buffers, work);
        virtio_pagecache_arm(s->hint_timer, 0);
    }
}

/* Returns the bytes written to the answer. */
static size_t virtio_pagecache_handle_ctrl(VirtIOPagecache *s,
                                           const VirtQueueElement *elem)
{
    struct virtio_pagecache_disk answer = { };
    struct virtio_pagecache_ctrl req;
    uint32_t status = VIRTIO_PAGECACHE_S_BADREQ;
    size_t size = sizeof(answer.status);
    uint32_t index = 0;

    if (iov_size(elem->out_sg, elem->out_num) == sizeof(req) &&
        iov_size(elem->in_sg, elem->in_num) >= sizeof(answer)) {
        iov_to_buf(elem->out_sg, elem->out_num, 0, &req, sizeof(req));
        index = le32_to_cpu(req.index);
        if (le32_to_cpu(req.type) == VIRTIO_PAGECACHE_CTRL_GET_DISK) {
            /* a driver that works on a collection asks for them first */
            s->answered = s->answered || s->epoch;
            status = virtio_pagecache_get_disk(index, &answer);
            size = sizeof(answer);
        }
    }
    if (status == VIRTIO_PAGECACHE_S_BADREQ) {
        qemu_log_mask(LOG_GUEST_ERROR, "virtio-pagecache: bad request\n");
    }
    trace_virtio_pagecache_get_disk(s, index, status,
                                    le64_to_cpu(answer.capacity),
                                    le32_to_cpu(answer.flags));

    answer.status = cpu_to_le32(status);
    return iov_from_buf(elem->in_sg, elem->in_num, 0, &answer, size);
}

/* Timer: serves the control queue, and makes up for a missed interrupt */
static void virtio_pagecache_ctrl_work(void *opaque)
{
    VirtIOPagecache *s = opaque;
    VirtIODevice *vdev = VIRTIO_DEVICE(s);
    unsigned buffers = 0;

    if (!virtio_pagecache_ready(s)) {
        return;
    }
    if (s->announce) {
        virtio_pagecache_announce(s);
    }

    while (buffers < CTRL_BUFFERS) {
        g_autofree VirtQueueElement *elem =
            virtqueue_pop(s->ctrl_vq, sizeof(VirtQueueElement));

        if (!elem) {
            break;
        }
        if (!buffers++) {
            pagecache_disks_refresh();
        }
        if (s->obstacle == PAGECACHE_NOTE_NO_DAEMON) {
            /* it works on its map */
            virtio_pagecache_lacks(s, PAGECACHE_NOTE_GUEST_SILENT);
        }
        virtqueue_push(s->ctrl_vq, elem,
                       virtio_pagecache_handle_ctrl(s, elem));
    }

    if (buffers) {
        virtio_notify(vdev, s->ctrl_vq);
        virtio_pagecache_arm(s->ctrl_timer, CTRL_NS);
    }
}

/* The guest can't shorten a delay by more notifications. */
static void virtio_pagecache_ctrl_kick(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOPagecache *s = VIRTIO_PAGECACHE(vdev);

    if (!timer_pending(s->ctrl_timer)) {
        virtio_pagecache_arm(s->ctrl_timer, 0);
    }
}

static void virtio_pagecache_hint_kick(VirtIODevice *vdev, VirtQueue *vq)
{
    VirtIOPagecache *s = VIRTIO_PAGECACHE(vdev);

    if (!timer_pending(s->hint_timer)) {
        virtio_pagecache_arm(s->hint_timer, 0);
    }
}

static void virtio_pagecache_get_config(VirtIODevice *vdev, uint8_t *config)
{
    VirtIOPagecache *s = VIRTIO_PAGECACHE(vdev);
    struct virtio_pagecache_config c = {
        .epoch = cpu_to_le32(s->epoch),
        .num_disks = cpu_to_le32(s->num_disks),
        .max_hints = cpu_to_le32(MAX_HINTS),
    };

    memcpy(config, &c, sizeof(c));
    if (s->epoch && s->obstacle == PAGECACHE_NOTE_GUEST_SILENT) {
        /* The driver knows.  A daemon would ask for the disks next. */
        virtio_pagecache_lacks(s, PAGECACHE_NOTE_NO_DAEMON);
    }
}

static uint64_t virtio_pagecache_get_features(VirtIODevice *vdev, uint64_t f,
                                              Error **errp)
{
    return f | VIRTIO_PAGECACHE(vdev)->features;
}

/*
 * Called when the driver writes the status, and with the same status again
 * when the VM starts or stops (vdev->vm_running is the new state then).
 */
static void virtio_pagecache_set_status(VirtIODevice *vdev, uint8_t status)
{
    VirtIOPagecache *s = VIRTIO_PAGECACHE(vdev);

    if (!(status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        return;
    }
    if (!(vdev->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
        /* it may have looked at the configuration before there was one */
        s->announce = s->epoch;
        if (s->obstacle == PAGECACHE_NOTE_NO_DRIVER) {
            virtio_pagecache_lacks(s, PAGECACHE_NOTE_GUEST_SILENT);
        }
    }
    if (vdev->vm_running) {
        /* what was left while the VM stood still; @status is not set yet */
        virtio_pagecache_arm(s->ctrl_timer, 0);
        virtio_pagecache_arm(s->hint_timer, 0);
    }
}

static void virtio_pagecache_reset(VirtIODevice *vdev)
{
    VirtIOPagecache *s = VIRTIO_PAGECACHE(vdev);

    trace_virtio_pagecache_reset(s, s->epoch, s->ended);
    timer_del(s->ctrl_timer);
    timer_del(s->hint_timer);
    s->nhints = 0;
    s->announce = false;
    s->left_out = false;
    virtio_pagecache_lacks(s, PAGECACHE_NOTE_NO_DRIVER);
    s->asked = false;
    s->answered = false;
    /*
     * A collection that was under way is still wanted, from the next driver;
     * one that has ended is not wanted a second time.
     */
    if (s->ended) {
        s->epoch = 0;
        s->ended = false;
    }
}

static void virtio_pagecache_realize(DeviceState *dev, Error **errp)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOPagecache *s = VIRTIO_PAGECACHE(dev);

    if (the_device) {
        g_autofree char *path =
            object_get_canonical_path(OBJECT(the_device)->parent);

        error_setg(errp, "There is a virtio-pagecache device already, %s; one "
                   "is enough for all disks", path);
        return;
    }
    virtio_init(vdev, VIRTIO_ID_PAGECACHE,
                sizeof(struct virtio_pagecache_config));
    s->ctrl_vq = virtio_add_queue(vdev, CTRL_VQ_SIZE,
                                  virtio_pagecache_ctrl_kick);
    s->hint_vq = virtio_add_queue(vdev, HINT_VQ_SIZE,
                                  virtio_pagecache_hint_kick);
    /* in nanoseconds: a timer armed for now must not run at once again */
    s->ctrl_timer = timer_new_ns(QEMU_CLOCK_REALTIME,
                                 virtio_pagecache_ctrl_work, s);
    s->hint_timer = timer_new_ns(QEMU_CLOCK_REALTIME,
                                 virtio_pagecache_hint_work, s);
    s->msg = g_malloc(MSG_MAX + 1);
    s->hints = g_new(PagecacheHint, MAX_HINTS);

    /* last: a migration that is under way wants its map at once */
    s->producer = pagecache_producer_register(&virtio_pagecache_producer, s);
    s->obstacle = PAGECACHE_NOTE__MAX;
    virtio_pagecache_expect(s);
    the_device = s;
}

static void virtio_pagecache_unrealize(DeviceState *dev)
{
    VirtIODevice *vdev = VIRTIO_DEVICE(dev);
    VirtIOPagecache *s = VIRTIO_PAGECACHE(dev);

    pagecache_producer_unregister(s->producer);
    s->producer = NULL;
    the_device = NULL;
    timer_free(s->hint_timer);
    timer_free(s->ctrl_timer);
    g_free(s->hints);
    g_free(s->msg);
    virtio_delete_queue(s->hint_vq);
    virtio_delete_queue(s->ctrl_vq);
    virtio_cleanup(vdev);
}

static int virtio_pagecache_pre_save(void *opaque)
{
    VirtIOPagecache *s = opaque;

    /* On the other side no collection is wanted: must the guest be told? */
    s->saved = s->announce || s->epoch ? SAVED_ANNOUNCE : 0;
    s->saved |= s->hidden_features ? SAVED_LEFT_OUT : 0;
    return 0;
}

static int virtio_pagecache_post_load(void *opaque, int version_id)
{
    VirtIOPagecache *s = opaque;

    s->announce = s->saved & SAVED_ANNOUNCE;
    s->hidden_features = s->saved & SAVED_LEFT_OUT ?
                         1ULL << VIRTIO_PAGECACHE_F_LEFT_OUT : 0;
    if (s->epoch) {
        /* a snapshot was loaded while a map is wanted */
        s->epoch = virtio_pagecache_next_epoch(s);
        s->ended = false;
        s->left_out = false;
        s->nhints = 0;
        s->announce = true;
    }
    trace_virtio_pagecache_post_load(s, s->epoch, s->last_epoch, s->announce);
    return 0;
}

static const VMStateDescription vmstate_virtio_pagecache_device = {
    .name = "virtio-pagecache-device",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = virtio_pagecache_pre_save,
    .post_load = virtio_pagecache_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(last_epoch, VirtIOPagecache),
        VMSTATE_UINT8(saved, VirtIOPagecache),
        VMSTATE_END_OF_LIST()
    },
};

static int virtio_pagecache_pre_save_all(void *opaque)
{
    virtio_pagecache_left_out_hide(opaque);
    return 0;
}

static int virtio_pagecache_post_save_all(void *opaque)
{
    virtio_pagecache_left_out_restore(opaque);
    return 0;
}

static int virtio_pagecache_post_load_all(void *opaque, int version_id)
{
    virtio_pagecache_left_out_restore(opaque);
    return 0;
}

static const VMStateDescription vmstate_virtio_pagecache = {
    .name = "virtio-pagecache",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = virtio_pagecache_pre_save_all,
    .post_save = virtio_pagecache_post_save_all,
    .post_load = virtio_pagecache_post_load_all,
    .fields = (const VMStateField[]) {
        VMSTATE_VIRTIO_DEVICE,
        VMSTATE_END_OF_LIST()
    },
};

static const Property virtio_pagecache_properties[] = {
    DEFINE_PROP_BIT64("left-out", VirtIOPagecache, features,
                      VIRTIO_PAGECACHE_F_LEFT_OUT, true),
};

static void virtio_pagecache_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    VirtioDeviceClass *vdc = VIRTIO_DEVICE_CLASS(klass);

    dc->vmsd = &vmstate_virtio_pagecache;
    device_class_set_props(dc, virtio_pagecache_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    vdc->realize = virtio_pagecache_realize;
    vdc->unrealize = virtio_pagecache_unrealize;
    vdc->reset = virtio_pagecache_reset;
    vdc->set_status = virtio_pagecache_set_status;
    vdc->get_config = virtio_pagecache_get_config;
    vdc->get_features = virtio_pagecache_get_features;
    vdc->vmsd = &vmstate_virtio_pagecache_device;
}

static const TypeInfo virtio_pagecache_info = {
    .name = TYPE_VIRTIO_PAGECACHE,
    .parent = TYPE_VIRTIO_DEVICE,
    .instance_size = sizeof(VirtIOPagecache),
    .class_init = virtio_pagecache_class_init,
};

static void virtio_pagecache_register_types(void)
{
    type_register_static(&virtio_pagecache_info);
}

type_init(virtio_pagecache_register_types)
