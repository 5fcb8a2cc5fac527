// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: hints into buffers for the device
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Runs that go on in RAM and on the disk alike become one hint, also across
 * files.  Full buffers are sent at once.  When the device has all buffers,
 * vpc_emit() waits where it is, with the caller's inode, until somebody else
 * wants the superblock; vpc_emit_wait() is for when that was left.
 */

#include "vpc.h"

#include <linux/delay.h>

/* Hints that waited longer (in jiffies) are looked up again */
#define VPC_STALE		(HZ / 10)

/* Pages of 4096 bytes in a page of the guest's, and sectors in one of them */
#define VPC_SPLIT		(PAGE_SHIFT - VIRTIO_PAGECACHE_PAGE_SHIFT)
#define VPC_SECTORS		(1 << (VIRTIO_PAGECACHE_PAGE_SHIFT - \
				       VIRTIO_PAGECACHE_SECTOR_SHIFT))

static struct virtio_pagecache_hint *vpc_hints(struct vpc_buf *buf)
{
	return buf->data + sizeof(struct virtio_pagecache_hdr);
}

static void vpc_set_header(struct vpc_collect *c, u32 type, u32 count)
{
	struct virtio_pagecache_hdr *hdr = c->buf->data;

	*hdr = (struct virtio_pagecache_hdr) {
		.type = cpu_to_le32(type),
		.epoch = cpu_to_le32(c->epoch),
		.count = cpu_to_le32(count),
	};
}

/* -EAGAIN if the device has all buffers; remembers every other error. */
static int vpc_emit_buf(struct vpc_collect *c)
{
	struct vpc_buf *buf;
	int err;

	if (c->buf)
		return 0;
	buf = vpc_buf_get(c->dev);
	if (IS_ERR(buf)) {
		err = PTR_ERR(buf);
		if (err != -EAGAIN)
			c->error = err;
		return err;
	}
	c->buf = buf;
	c->buf_count = 0;
	return 0;
}

static int vpc_emit_send(struct vpc_collect *c, size_t body)
{
	struct vpc_buf *buf = c->buf;
	int err;

	c->buf = NULL;
	err = vpc_buf_send(c->dev, buf,
			   sizeof(struct virtio_pagecache_hdr) + body);
	if (err)
		c->error = err;
	return err;
}

static int vpc_emit_send_hints(struct vpc_collect *c)
{
	vpc_set_header(c, VIRTIO_PAGECACHE_MSG_HINTS, c->buf_count);
	return vpc_emit_send(c, c->buf_count *
				sizeof(struct virtio_pagecache_hint));
}

/*
 * Waits for a buffer during a visit.  -EAGAIN if there is none, since the
 * walker must leave, or nobody else uses the inode any more; or if there is
 * one, but it took so long that clean pages may have become rare.
 */
static int vpc_emit_wait_here(struct vpc_collect *c)
{
	unsigned long start = jiffies;
	int events, err;

	for (;;) {
		events = atomic_read(&c->dev->events);
		err = vpc_emit_buf(c);
		if (err != -EAGAIN)
			break;
		/* who waits for their end should not wait for the device */
		vpc_visit_flush(c);
		if (vpc_must_leave(c) || vpc_visit_is_last(c->inode))
			return err;
		wait_event_interruptible_timeout(c->dev->wait,
			atomic_read(&c->dev->events) != events ||
			vpc_must_leave(c), VPC_STALE);
	}
	if (!err && time_after(jiffies, start + VPC_STALE))
		err = -EAGAIN;
	return err;
}

/* Puts the hint that may still grow into the buffer; there is room for it. */
static int vpc_emit_close(struct vpc_collect *c)
{
	int err;

	if (!c->hint.npages)
		return 0;
	err = c->visit ? vpc_emit_wait_here(c) : vpc_emit_buf(c);
	if (err)
		return err;
	vpc_hints(c->buf)[c->buf_count++] = c->hint;
	c->stats.hints++;
	c->hint.npages = 0;
	if (c->buf_count < c->dev->buf_hints)
		return 0;
	return vpc_emit_send_hints(c);
}

/*
 * "The @nr pages that begin with @pfn stand on @disk, beginning at @sector."
 * Called during a visit.  -EAGAIN: not taken, see vpc_emit_wait_here(); any
 * other error ends the collection.
 */
int vpc_emit(struct vpc_collect *c, unsigned long pfn, u64 sector,
	     unsigned long nr, u32 disk)
{
	struct virtio_pagecache_hint *hint = &c->hint;
	u64 addr = PFN_PHYS(pfn);
	u64 pages = (u64)nr << VPC_SPLIT;
	u64 npages = le32_to_cpu(hint->npages);
	int err;

	if (npages && npages + pages <= U32_MAX &&
	    le32_to_cpu(hint->disk) == disk &&
	    le64_to_cpu(hint->addr) +
	    (npages << VIRTIO_PAGECACHE_PAGE_SHIFT) == addr &&
	    le64_to_cpu(hint->sector) + npages * VPC_SECTORS == sector) {
		hint->npages = cpu_to_le32(npages + pages);
	} else {
		err = vpc_emit_close(c);
		if (err)
			return err;
		*hint = (struct virtio_pagecache_hint) {
			.addr = cpu_to_le64(addr),
			.sector = cpu_to_le64(sector),
			.npages = cpu_to_le32(pages),
			.disk = cpu_to_le32(disk),
		};
	}
	c->stats.hinted += pages;
	return 0;
}

/*
 * Waits until there is a buffer to fill.  May sleep as long as the device
 * likes; an error of vpc_wait_event() if it must not go on.
 */
int vpc_emit_wait(struct vpc_collect *c)
{
	int events, err;

	for (;;) {
		events = atomic_read(&c->dev->events);
		err = vpc_emit_buf(c);
		if (err != -EAGAIN)
			return err;
		err = vpc_wait_event(c->dev, c->epoch, events);
		if (err)
			return err;
	}
}

/*
 * The same for the end of a collection.  Without @wait, and if somebody wants
 * the daemon dead: that waits for moments only.
 */
static int vpc_emit_wait_end(struct vpc_collect *c, bool wait)
{
	int tries = 10, err;

	if (wait) {
		err = vpc_emit_wait(c);
		if (!err || !fatal_signal_pending(current))
			return err;
	}
	while ((err = vpc_emit_buf(c)) == -EAGAIN && tries--)
		msleep(20);
	return err;
}

/* Sends what there is, waiting for the device if it must. */
int vpc_emit_flush(struct vpc_collect *c)
{
	int err = 0;

	if (c->hint.npages) {
		err = vpc_emit_wait(c);
		if (!err)
			err = vpc_emit_close(c);
	}
	if (!err && c->buf && c->buf_count)
		err = vpc_emit_send_hints(c);
	return err;
}

/* What is left out, in the empty buffer that there is */
static void vpc_emit_left(struct vpc_collect *c)
{
	unsigned int nr;

	nr = vpc_left_fill(c, c->buf->data +
			      sizeof(struct virtio_pagecache_hdr));
	vpc_set_header(c, VIRTIO_PAGECACHE_MSG_LEFT_OUT, nr);
	vpc_emit_send(c, nr * sizeof(struct virtio_pagecache_left_out));
}

/*
 * Sends what is left, what was left out, and the END record; nothing to a
 * device that does not want it any more.  Afterwards the collection has no
 * buffer, unless -ERESTARTSYS is returned: it is to be called again then.
 * Nothing is returned with @wait false.
 */
int vpc_emit_end(struct vpc_collect *c, bool wait)
{
	const struct vpc_ioc_stats *s = &c->stats;
	bool complete = wait && !vpc_collect_stopped(c);
	struct virtio_pagecache_end *end;
	int err;

	if (READ_ONCE(c->dev->wanted) != c->epoch || READ_ONCE(c->dev->reset))
		goto drop;

	if (c->hint.npages) {
		err = vpc_emit_wait_end(c, wait);
		if (err == -ERESTARTSYS)
			return err;
		if (err || vpc_emit_close(c))
			complete = false;
	}
	if (c->buf && c->buf_count)
		vpc_emit_send_hints(c);
	err = vpc_emit_wait_end(c, wait);
	if (err == -ERESTARTSYS)
		return err;
	if (err)
		goto drop;

	if (c->dev->left_out && !c->left.told) {
		vpc_emit_left(c);
		c->left.told = true;
		err = vpc_emit_wait_end(c, wait);
		if (err == -ERESTARTSYS)
			return err;
		if (err)
			goto drop;
	}

	vpc_set_header(c, VIRTIO_PAGECACHE_MSG_END, 1);
	end = c->buf->data + sizeof(struct virtio_pagecache_hdr);
	*end = (struct virtio_pagecache_end) {
		.status = cpu_to_le32(complete ? VIRTIO_PAGECACHE_END_OK :
						 VIRTIO_PAGECACHE_END_PARTIAL),
		.hints = cpu_to_le64(s->hints),
		.pages = cpu_to_le64(s->hinted),
		.skipped = cpu_to_le64(s->dirty + s->busy + s->unmapped +
				       s->foreign),
		.usecs = cpu_to_le64(s->usecs),
	};
	if (!vpc_emit_send(c, sizeof(*end)))
		c->complete = complete;
drop:
	if (c->buf)
		vpc_buf_put(c->dev, c->buf);
	c->buf = NULL;
	return 0;
}
