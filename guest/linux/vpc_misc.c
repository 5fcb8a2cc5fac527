// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: /dev/virtio-pagecache, the daemon's door
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A collection runs in the context of the daemon's ioctl.  That is where the
 * user memory for fiemap comes from, and what makes it a process that can be
 * killed, stopped, frozen, niced and put into a cgroup.  For a signal that
 * does not kill it the ioctl is left and, by the kernel or by the daemon,
 * entered again; meanwhile the collection belongs to the open file.
 */

#include "vpc.h"

#include <linux/capability.h>
#include <linux/file.h>
#include <linux/ktime.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/uaccess.h>

static DEFINE_MUTEX(vpc_collect_lock);
static atomic_t vpc_opened = ATOMIC_INIT(0);

/*
 * Where a segment of a dm device stands on a disk of the host's table.
 * Returns 1 if it does, 0 if it is elsewhere, or an error of the daemon's.
 */
static int vpc_map_segment(struct vpc_collect *c,
			   const struct vpc_ioc_segment *seg,
			   struct vpc_extent *map)
{
	struct file *file;
	int ret = 0;

	file = fget(seg->fd);
	if (!file)
		return -EBADF;
	if (!S_ISBLK(file_inode(file)->i_mode)) {
		ret = -ENOTBLK;
	} else if (vpc_disk_lookup(c, I_BDEV(file->f_mapping->host), map) &&
		   seg->target <= map->len &&
		   seg->len <= map->len - seg->target &&
		   seg->start + seg->len >= seg->start) {
		map->dev = MKDEV(seg->dm_major, seg->dm_minor);
		map->start = seg->start;
		map->len = seg->len;
		map->sector += seg->target;
		ret = 1;
	}
	fput(file);
	return ret;
}

static int vpc_compare_maps(const void *a, const void *b)
{
	const struct vpc_extent *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

/* Makes c->maps of the daemon's segments.  Freed by the caller. */
static int vpc_map_segments(struct vpc_collect *c,
			    const struct vpc_ioc_collect *arg)
{
	const struct vpc_ioc_segment __user *user =
		u64_to_user_ptr(arg->segments);
	struct vpc_ioc_segment seg;
	u32 i;
	int ret;

	if (!arg->nr_segments)
		return 0;
	c->maps = kvcalloc(arg->nr_segments, sizeof(*c->maps), GFP_KERNEL);
	if (!c->maps)
		return -ENOMEM;
	for (i = 0; i < arg->nr_segments; i++) {
		if (copy_from_user(&seg, &user[i], sizeof(seg)))
			return -EFAULT;
		ret = vpc_map_segment(c, &seg, &c->maps[c->nr_maps]);
		if (ret < 0)
			return ret;
		c->nr_maps += ret;
		cond_resched();
	}
	sort(c->maps, c->nr_maps, sizeof(*c->maps), vpc_compare_maps, NULL);
	return 0;
}

/*
 * Does the collection, or as much of it as possible.  -ERESTARTSYS: to be
 * called again after a signal.
 */
static int vpc_run(struct vpc_collect *c, struct vpc_ioc_collect *arg)
{
	ktime_t start = ktime_get();
	int err = 0;

	switch (c->phase) {
	case VPC_TABLES:
		c->error = vpc_disk_table(c, arg);
		if (c->error == -ERESTARTSYS) {
			kvfree(c->disks);
			c->disks = NULL;
			c->nr_disks = 0;
			c->error = 0;
			return -ERESTARTSYS;
		}
		if (!c->error)
			c->error = vpc_map_segments(c, arg);
		c->phase = VPC_WALK;
		fallthrough;
	case VPC_WALK:
		if (!c->error)
			vpc_walk(c, c->filesystems);
		if (signal_pending(current) && !vpc_collect_stopped(c))
			err = -ERESTARTSYS;
		else
			c->phase = VPC_LEFT;
		c->stats.usecs += ktime_us_delta(ktime_get(), start);
		if (err)
			return err;
		fallthrough;
	case VPC_LEFT:
		vpc_walk_left(c, c->filesystems);
		if (signal_pending(current) && !vpc_collect_stopped(c))
			return -ERESTARTSYS;
		c->phase = VPC_END;
		fallthrough;
	case VPC_END:
		err = vpc_emit_end(c, true);
	}
	return err;
}

static void vpc_tell(const struct vpc_collect *c, struct vpc_ioc_collect *arg)
{
	arg->epoch = c->epoch;
	arg->complete = c->complete;
	arg->disks = c->nr_disks;
	arg->error = -c->error;
	arg->stats = c->stats;
}

static void vpc_collect_free(struct vpc_collect *c)
{
	if (c->dev) {
		vpc_finish(c->dev, c->epoch);
		vpc_put(c->dev);
	}
	kvfree(c->disks);
	kvfree(c->maps);
	kfree(c->places);
	vpc_left_free(c);
	kfree(c->puts);
	kfree(c->spare_puts);
	kvfree(c->extents);
	kvfree(c->runs);
	kfree(c);
}

/* A collection that is wanted, NULL if there is none, or an error. */
static struct vpc_collect *vpc_collect_new(const struct vpc_ioc_collect *arg)
{
	struct vpc_collect *c;
	u32 epoch;
	struct vpc_dev *dev = vpc_find_work(&epoch);
	int err = -ENOMEM;

	if (!dev)
		return NULL;
	c = kzalloc(sizeof(*c), GFP_KERNEL);
	if (c)
		err = vpc_left_init(c, &arg->left);
	if (err) {
		if (c)
			vpc_collect_free(c);
		vpc_put(dev);
		return ERR_PTR(err);
	}
	c->dev = dev;
	vpc_begin(dev, &c->epoch);
	if (!c->epoch) {			/* no more */
		vpc_collect_free(c);
		return NULL;
	}
	c->filesystems = arg->filesystems;
	c->room_extents = arg->scratch_len / sizeof(*c->extents);
	c->extents = kvcalloc(c->room_extents, sizeof(*c->extents), GFP_KERNEL);
	c->runs = kvcalloc(VPC_MAX_RUNS, sizeof(*c->runs), GFP_KERNEL);
	if (!c->extents || !c->runs) {
		vpc_collect_free(c);
		return ERR_PTR(-ENOMEM);
	}
	return c;
}

/*
 * Begins a collection, or goes on with the one that was interrupted; that
 * keeps to what it was begun with, apart from the memory.
 */
static int vpc_collect(struct file *file, struct vpc_ioc_collect *arg)
{
	struct vpc_collect *c = file->private_data;
	int err;

	if (arg->filesystems & ~VPC_FS_ALL || arg->reserved ||
	    arg->left.reserved ||
	    arg->scratch_len < VPC_SCRATCH_MIN ||
	    arg->scratch_len > VPC_SCRATCH_MAX)
		return -EINVAL;
	if (arg->nr_segments > VPC_MAX_SEGMENTS ||
	    arg->nr_serials > VPC_MAX_SERIALS)
		return -E2BIG;

	arg->epoch = 0;
	if (!c)
		c = vpc_collect_new(arg);
	if (IS_ERR_OR_NULL(c))
		return PTR_ERR_OR_ZERO(c);
	file->private_data = c;
	c->scratch = u64_to_user_ptr(arg->scratch);
	c->max_extents = min_t(unsigned int, c->room_extents,
			       arg->scratch_len / sizeof(*c->extents));
	err = vpc_run(c, arg);
	if (err)
		return err;
	vpc_tell(c, arg);
	err = vpc_left_tell(c, &arg->left);
	file->private_data = NULL;
	vpc_collect_free(c);
	return err;
}

static int vpc_tell_version(void __user *user)
{
	struct vpc_ioc_version version = {
		.abi = VPC_ABI,
		.collect = VPC_IOC_COLLECT,
		.module = VPC_VERSION,
	};

	return copy_to_user(user, &version, sizeof(version)) ? -EFAULT : 0;
}

static long vpc_ioctl(struct file *file, unsigned int cmd, unsigned long user)
{
	struct vpc_ioc_collect arg;
	int err;

	if (cmd == VPC_IOC_VERSION)
		return vpc_tell_version((void __user *)user);
	if (cmd != VPC_IOC_COLLECT) {
		/* a daemon that knows how to ask finds out for itself */
		if (_IOC_TYPE(cmd) == _IOC_TYPE(VPC_IOC_COLLECT))
			pr_warn_ratelimited(KBUILD_MODNAME ": the daemon %s is not the one of this module, version " VPC_VERSION ": install both from the same source\n",
					    current->comm);
		return -ENOTTY;
	}
	if (copy_from_user(&arg, (void __user *)user, sizeof(arg)))
		return -EFAULT;
	if (!mutex_trylock(&vpc_collect_lock))
		return -EBUSY;
	err = vpc_collect(file, &arg);
	mutex_unlock(&vpc_collect_lock);
	if (!err && copy_to_user((void __user *)user, &arg, sizeof(arg)))
		err = -EFAULT;
	return err;
}

static __poll_t vpc_poll(struct file *file, poll_table *table)
{
	poll_wait(file, &vpc_wait, table);
	return vpc_has_work() ? EPOLLIN | EPOLLRDNORM : 0;
}

/* What goes through here tells where things are in RAM: for root only. */
static int vpc_open(struct inode *inode, struct file *file)
{
	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	if (atomic_cmpxchg(&vpc_opened, 0, 1))
		return -EBUSY;
	file->private_data = NULL;		/* the collection under way */
	return nonseekable_open(inode, file);
}

static int vpc_close(struct inode *inode, struct file *file)
{
	struct vpc_collect *c = file->private_data;

	if (c) {			/* killed while it was stopped */
		vpc_emit_end(c, false);
		vpc_collect_free(c);
	}
	atomic_set(&vpc_opened, 0);
	return 0;
}

static const struct file_operations vpc_fops = {
	.owner		= THIS_MODULE,
	.open		= vpc_open,
	.release	= vpc_close,
	.poll		= vpc_poll,
	.unlocked_ioctl	= vpc_ioctl,
	.compat_ioctl	= compat_ptr_ioctl,
};

static struct miscdevice vpc_miscdev = {
	.minor	= MISC_DYNAMIC_MINOR,
	.name	= VPC_NODE,
	.mode	= 0600,
	.fops	= &vpc_fops,
};

int vpc_misc_init(void)
{
	return misc_register(&vpc_miscdev);
}

void vpc_misc_exit(void)
{
	misc_deregister(&vpc_miscdev);
}
