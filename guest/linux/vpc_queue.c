// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: a device and its queues
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The host wants to know, for a live migration, which of the guest's RAM is
 * clean page cache and where on which disk the same bytes stand.  It says so
 * by an epoch in the configuration space.  Collecting is done by whoever
 * calls VPC_IOC_COLLECT (vpc_misc.c); here are the queues on which it speaks
 * with the device, and what happens when the device changes its mind, goes
 * away or sleeps.  The driver's other files stand on this one, and it calls
 * none of them.
 *
 * A collection holds a reference on struct vpc_dev and nothing else.  Every
 * access to a queue is made under vpc_dev.lock and after a look at
 * vpc_dev.ready, so removing or freezing a device never has to wait for a
 * collection: it finds its device gone with the next buffer, and the epoch
 * changed (vpc_stopped()) long before.
 */

#include "vpc.h"

#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

/* Descriptors of a request: what it says, and room for the answer */
#define VPC_CTRL_PARTS		2U

static DEFINE_MUTEX(vpc_devices_lock);
static LIST_HEAD(vpc_devices);

/* Somebody's epoch changed: who waits for work looks again */
DECLARE_WAIT_QUEUE_HEAD(vpc_wait);

static void vpc_free(struct vpc_dev *dev)
{
	int i;

	for (i = 0; i < VPC_BUFS; i++)
		kfree(dev->bufs[i].data);
	kfree(dev->req);
	kfree(dev->answer);
	kfree(dev);
}

static void vpc_release(struct kref *ref)
{
	vpc_free(container_of(ref, struct vpc_dev, ref));
}

void vpc_put(struct vpc_dev *dev)
{
	kref_put(&dev->ref, vpc_release);
}

static u32 vpc_pending(struct vpc_dev *dev)
{
	u32 wanted = READ_ONCE(dev->wanted);

	if (!READ_ONCE(dev->ready) || wanted == READ_ONCE(dev->done))
		return 0;
	return wanted;
}

/* A device that wants a collection, with a reference for the caller. */
struct vpc_dev *vpc_find_work(u32 *epoch)
{
	struct vpc_dev *dev, *found = NULL;

	mutex_lock(&vpc_devices_lock);
	list_for_each_entry(dev, &vpc_devices, node) {
		*epoch = vpc_pending(dev);
		if (*epoch) {
			kref_get(&dev->ref);
			found = dev;
			break;
		}
	}
	mutex_unlock(&vpc_devices_lock);
	return found;
}

bool vpc_has_work(void)
{
	u32 epoch;
	struct vpc_dev *dev = vpc_find_work(&epoch);

	if (dev)
		vpc_put(dev);
	return dev;
}

/* A collection begins, of the epoch that is wanted now (0: none). */
void vpc_begin(struct vpc_dev *dev, u32 *epoch)
{
	mutex_lock(&dev->lock);
	*epoch = vpc_pending(dev);
	WRITE_ONCE(dev->reset, false);
	mutex_unlock(&dev->lock);
}

/*
 * The collection is over, in whatever way; don't ask for it again.  Unless
 * the device was reset: it has forgotten what it was told, and wants all of it
 * anew.
 */
void vpc_finish(struct vpc_dev *dev, u32 epoch)
{
	mutex_lock(&dev->lock);
	if (READ_ONCE(dev->wanted) == epoch && !READ_ONCE(dev->reset))
		WRITE_ONCE(dev->done, epoch);
	mutex_unlock(&dev->lock);
}

/* Is the collection of @epoch of no use any more? */
bool vpc_stopped(struct vpc_dev *dev, u32 epoch)
{
	return !READ_ONCE(dev->ready) || READ_ONCE(dev->reset) ||
	       READ_ONCE(dev->wanted) != epoch || fatal_signal_pending(current);
}

/* The collector may have something to do. */
void vpc_event(struct vpc_dev *dev)
{
	atomic_inc(&dev->events);
	wake_up_all(&dev->wait);
}

/*
 * Waits until the device did something since @events was read from
 * dev->events, but no longer than a second: a queue breaks without an
 * interrupt.  Returns -EINTR if the collection must stop, -ERESTARTSYS if it
 * must be interrupted for a signal.
 */
int vpc_wait_event(struct vpc_dev *dev, u32 epoch, int events)
{
	wait_event_interruptible_timeout(dev->wait,
					 atomic_read(&dev->events) != events ||
					 vpc_stopped(dev, epoch), HZ);
	if (vpc_stopped(dev, epoch))
		return -EINTR;
	return signal_pending(current) ? -ERESTARTSYS : 0;
}

static void vpc_queue_event(struct virtqueue *vq)
{
	virtqueue_disable_cb(vq);
	vpc_event(vq->vdev->priv);
}

/* 0 if the queues can be used.  Called with dev->lock held. */
static int vpc_usable(struct vpc_dev *dev, struct virtqueue *vq)
{
	lockdep_assert_held(&dev->lock);
	if (!dev->ready)
		return -ENODEV;
	return virtqueue_is_broken(vq) ? -EIO : 0;
}

/*
 * The control queue: one request at a time.  One that was abandoned stays
 * with the device, and so do its buffers, until the device returns them.
 */

static int vpc_ctrl_send(struct vpc_dev *dev, u32 index)
{
	struct scatterlist req, answer, *sgs[] = { &req, &answer };
	int err;

	dev->req->type = cpu_to_le32(VIRTIO_PAGECACHE_CTRL_GET_DISK);
	dev->req->index = cpu_to_le32(index);
	sg_init_one(&req, dev->req, sizeof(*dev->req));
	sg_init_one(&answer, dev->answer, sizeof(*dev->answer));
	err = virtqueue_add_sgs(dev->ctrl_vq, sgs, 1, 1, dev, GFP_KERNEL);
	if (err)
		return err;
	dev->ctrl_busy = true;
	return virtqueue_kick(dev->ctrl_vq) ? 0 : -EIO;
}

/*
 * Fetches entry @index of the disk table.  Sleeps.  Returns what
 * vpc_wait_event() does, or -EPROTO if the device's answer is too short.
 */
int vpc_get_disk(struct vpc_dev *dev, u32 epoch, u32 index,
		 struct virtio_pagecache_disk *disk)
{
	bool sent = false, done = false;
	unsigned int len;
	int events, err;

	for (;;) {
		events = atomic_read(&dev->events);
		mutex_lock(&dev->lock);
		err = vpc_usable(dev, dev->ctrl_vq);
again:
		if (!err && dev->ctrl_busy &&
		    virtqueue_get_buf(dev->ctrl_vq, &len)) {
			dev->ctrl_busy = false;
			done = sent;
		}
		if (!err && !dev->ctrl_busy && !sent) {
			err = vpc_ctrl_send(dev, index);
			sent = true;
		}
		if (!err && done) {
			*disk = *dev->answer;
			if (len < sizeof(*disk))
				err = -EPROTO;
		} else if (!err && !virtqueue_enable_cb(dev->ctrl_vq)) {
			goto again;
		}
		mutex_unlock(&dev->lock);

		if (err || done)
			return err;
		err = vpc_wait_event(dev, epoch, events);
		if (err)
			return err;
	}
}

int vpc_num_disks(struct vpc_dev *dev, u32 *num)
{
	int err;

	mutex_lock(&dev->lock);
	err = vpc_usable(dev, dev->ctrl_vq);
	if (!err)
		virtio_cread_le(dev->vdev, struct virtio_pagecache_config,
				num_disks, num);
	mutex_unlock(&dev->lock);
	return err;
}

/*
 * The hint queue.  A buffer belongs to the device, to dev->free or to the
 * collection that filled it.
 */

static void vpc_buf_free(struct vpc_dev *dev, struct vpc_buf *buf)
{
	list_add(&buf->node, &dev->free);
	dev->nr_free++;
}

/*
 * A buffer for the caller to fill, if the device leaves one.  Otherwise
 * -EAGAIN, and there will be an event when one comes back; or another error
 * when none will.  Takes a mutex, doesn't wait for the device.
 */
struct vpc_buf *vpc_buf_get(struct vpc_dev *dev)
{
	struct vpc_buf *buf;
	unsigned int len;
	int err;

	mutex_lock(&dev->lock);
	err = vpc_usable(dev, dev->hint_vq);
	if (err) {
		buf = ERR_PTR(err);
		goto out;
	}
	do {
		while ((buf = virtqueue_get_buf(dev->hint_vq, &len)))
			vpc_buf_free(dev, buf);
		if (dev->nr_free)
			buf = list_first_entry(&dev->free, struct vpc_buf,
					       node);
	} while (!buf && !virtqueue_enable_cb(dev->hint_vq));
	if (buf) {
		list_del(&buf->node);
		dev->nr_free--;
		virtqueue_disable_cb(dev->hint_vq);
	} else {
		buf = ERR_PTR(-EAGAIN);
	}
out:
	mutex_unlock(&dev->lock);
	return buf;
}

/* Gives a buffer back unsent. */
void vpc_buf_put(struct vpc_dev *dev, struct vpc_buf *buf)
{
	mutex_lock(&dev->lock);
	vpc_buf_free(dev, buf);
	mutex_unlock(&dev->lock);
}

/*
 * Sends @len bytes of a buffer, which belongs to the device from now on, also
 * in case of an error.  Doesn't wait for the device.
 */
int vpc_buf_send(struct vpc_dev *dev, struct vpc_buf *buf, size_t len)
{
	struct scatterlist sg;
	int err;

	mutex_lock(&dev->lock);
	err = vpc_usable(dev, dev->hint_vq);
	if (!err) {
		sg_init_one(&sg, buf->data, len);
		err = virtqueue_add_outbuf(dev->hint_vq, &sg, 1, buf,
					   GFP_KERNEL);
	}
	if (err)
		vpc_buf_free(dev, buf);
	else if (!virtqueue_kick(dev->hint_vq))
		err = -EIO;
	mutex_unlock(&dev->lock);
	return err;
}

/* The configuration can be read in process context only. */
static void vpc_config_work(struct work_struct *work)
{
	struct vpc_dev *dev = container_of(work, struct vpc_dev, config_work);
	u32 epoch = 0;

	mutex_lock(&dev->lock);
	if (vpc_usable(dev, dev->hint_vq) == 0)
		virtio_cread_le(dev->vdev, struct virtio_pagecache_config,
				epoch, &epoch);
	WRITE_ONCE(dev->wanted, epoch);
	if (!epoch)
		WRITE_ONCE(dev->done, 0);
	mutex_unlock(&dev->lock);

	dev_dbg(&dev->vdev->dev, "wanted epoch: %u\n", epoch);
	vpc_event(dev);
	wake_up_all(&vpc_wait);
}

/* The epoch may have changed.  Also in an interrupt. */
void vpc_config_event(struct vpc_dev *dev)
{
	queue_work(system_freezable_wq, &dev->config_work);
}

static int vpc_alloc_bufs(struct vpc_dev *dev, unsigned int max)
{
	unsigned int i;

	dev->req = kzalloc(sizeof(*dev->req), GFP_KERNEL);
	dev->answer = kzalloc(sizeof(*dev->answer), GFP_KERNEL);
	if (!dev->req || !dev->answer)
		return -ENOMEM;

	dev->nr_bufs = clamp(max, 1U, (unsigned int)VPC_BUFS);
	for (i = 0; i < dev->nr_bufs; i++) {
		dev->bufs[i].data = kmalloc(VPC_BUF_BYTES, GFP_KERNEL);
		if (!dev->bufs[i].data)
			return -ENOMEM;
		vpc_buf_free(dev, &dev->bufs[i]);
	}
	return 0;
}

/*
 * A device with a reference for the caller, which nobody knows yet.  It gets
 * as many as @bufs buffers; of @buf_hints hints each.
 */
struct vpc_dev *vpc_new(struct virtio_device *vdev, unsigned int bufs,
			u32 buf_hints)
{
	struct vpc_dev *dev = kzalloc(sizeof(*dev), GFP_KERNEL);
	int err;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	kref_init(&dev->ref);
	mutex_init(&dev->lock);
	init_waitqueue_head(&dev->wait);
	INIT_LIST_HEAD(&dev->free);
	INIT_LIST_HEAD(&dev->node);
	INIT_WORK(&dev->config_work, vpc_config_work);
	dev->vdev = vdev;
	dev->left_out = virtio_has_feature(vdev, VIRTIO_PAGECACHE_F_LEFT_OUT);
	dev->buf_hints = buf_hints;
	err = vpc_alloc_bufs(dev, bufs);
	if (err) {
		vpc_put(dev);
		return ERR_PTR(err);
	}
	return dev;
}

/* vpc_find_work() finds it, once it was started; and does no more. */
void vpc_list(struct vpc_dev *dev)
{
	mutex_lock(&vpc_devices_lock);
	list_add_tail(&dev->node, &vpc_devices);
	mutex_unlock(&vpc_devices_lock);
}

void vpc_unlist(struct vpc_dev *dev)
{
	mutex_lock(&vpc_devices_lock);
	list_del_init(&dev->node);
	mutex_unlock(&vpc_devices_lock);
}

/* No more buffers than the queue has room for; all of them are free. */
static void vpc_limit_bufs(struct vpc_dev *dev, unsigned int max)
{
	while (dev->nr_bufs > max) {
		list_del(dev->free.next);
		dev->nr_free--;
		dev->nr_bufs--;
	}
}

/* Called once before vpc_start(), and again after each vpc_stop(). */
int vpc_find_vqs(struct vpc_dev *dev)
{
	struct virtqueue_info info[VIRTIO_PAGECACHE_VQ_MAX] = {
		[VIRTIO_PAGECACHE_VQ_CTRL] = { "control", vpc_queue_event },
		[VIRTIO_PAGECACHE_VQ_HINT] = { "hints", vpc_queue_event },
	};
	struct virtqueue *vqs[VIRTIO_PAGECACHE_VQ_MAX];
	int err;

	err = virtio_find_vqs(dev->vdev, VIRTIO_PAGECACHE_VQ_MAX, vqs, info,
			      NULL);
	if (err)
		return err;
	dev->ctrl_vq = vqs[VIRTIO_PAGECACHE_VQ_CTRL];
	dev->hint_vq = vqs[VIRTIO_PAGECACHE_VQ_HINT];
	if (virtqueue_get_vring_size(dev->ctrl_vq) < VPC_CTRL_PARTS) {
		dev_err(&dev->vdev->dev, "control queue of %u, expected at least %u\n",
			virtqueue_get_vring_size(dev->ctrl_vq), VPC_CTRL_PARTS);
		dev->vdev->config->del_vqs(dev->vdev);
		dev->ctrl_vq = NULL;
		dev->hint_vq = NULL;
		return -EINVAL;
	}
	vpc_limit_bufs(dev, virtqueue_get_vring_size(dev->hint_vq));
	return 0;
}

/* From here on the device may be used, and looks for its first epoch. */
void vpc_start(struct vpc_dev *dev)
{
	virtio_device_ready(dev->vdev);
	mutex_lock(&dev->lock);
	WRITE_ONCE(dev->done, 0);
	WRITE_ONCE(dev->wanted, 0);
	WRITE_ONCE(dev->ready, true);
	mutex_unlock(&dev->lock);
	vpc_config_event(dev);
}

/*
 * From here on nobody uses the device.  The core has stopped configuration
 * interrupts before it calls us.
 */
void vpc_stop(struct vpc_dev *dev)
{
	struct virtio_device *vdev = dev->vdev;
	struct vpc_buf *buf;

	mutex_lock(&dev->lock);
	WRITE_ONCE(dev->ready, false);
	WRITE_ONCE(dev->reset, true);
	mutex_unlock(&dev->lock);
	vpc_event(dev);
	cancel_work_sync(&dev->config_work);

	virtio_reset_device(vdev);
	if (!dev->hint_vq)		/* waking up had failed */
		return;
	mutex_lock(&dev->lock);
	while ((buf = virtqueue_detach_unused_buf(dev->hint_vq)))
		vpc_buf_free(dev, buf);
	while (virtqueue_detach_unused_buf(dev->ctrl_vq))
		;
	dev->ctrl_busy = false;
	dev->ctrl_vq = NULL;
	dev->hint_vq = NULL;
	mutex_unlock(&dev->lock);
	vdev->config->del_vqs(vdev);
}
