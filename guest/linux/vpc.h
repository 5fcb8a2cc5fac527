/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_pagecache: what the parts of the driver share
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 *   vpc_main.c	 the virtio driver
 *   vpc_misc.c	 /dev/virtio-pagecache: the daemon's door
 *   vpc_walk.c	 superblocks and inodes: what is looked at
 *   vpc_map.c	 one inode: which of its pages are clean, and where they stand
 *   vpc_count.c pages of superblocks that the walk went over
 *   vpc_inode.c from one inode to the next
 *   vpc_emit.c	 hints into buffers for the device
 *   vpc_left.c	 what is left out, and why
 *   vpc_disk.c	 which entry of the host's disk table a block device is
 *   vpc_guard.c what keeps a superblock while its inodes are looked at
 *   vpc_queue.c a device: its queues, its configuration, life and death
 *
 * None of them calls one that stands above it.
 *
 * Units: "page" is a page of the guest's (PAGE_SIZE) until a hint is made of
 * it, where it is 4096 bytes; "sector" is 512 bytes; "byte" offsets on a disk
 * are what fiemap gives.
 *
 * What may be held across what
 * ----------------------------
 *
 * A guest must not feel the driver.  Nothing that a user, a freeze or an
 * unmount can want is held across a wait that one of them, the host or the
 * network can make long.  These are all the threads, what they hold and what
 * they wait for:
 *
 * The walker, which is the daemon in its ioctl, holds vpc_collect_lock (which
 * is only ever tried), during a visit also one inode, and some more that are
 * the last references on them, in a batch.  It waits
 *
 *  - for the device, with or without an inode: interruptible; ends when the
 *    guard asks for the superblock, and when all others are done with the
 *    inode and its name is gone;
 *  - for the guard, without an inode: interruptible;
 *  - in ->fiemap and ->show_options for locks of the file system and for its
 *    disk, with an inode.  A user can hold the inode's lock as long as he
 *    likes.  That can't be interrupted; it is avoided as far as a look at the
 *    lock can do it, and otherwise bothers nobody but the daemon;
 *  - for a page fault in the daemon's memory, in ->fiemap and after it.
 *
 * It never puts a last reference, never takes s_umount, and never starts a
 * transaction.  Pages are referenced and locked (by trylock) for moments, with
 * nothing in between that sleeps; s_inode_list_lock is held for 1024 inodes.
 *
 * The guard holds s_umount of one superblock for reading, and waits
 *
 *  - for the visit's users, while nobody else wants s_umount; when somebody
 *    does, for VPC_GRACE, or without limit if the file system is unmounted:
 *    see vpc_guard.c;
 *  - for s_umount of the next superblock, holding nothing.  A signal frees
 *    the walker from a guard that hangs there.
 *
 * It allocates nothing, so it does not wait for memory to be written back.
 *
 * A batch's work holds its inodes, and waits in iput() for whatever deleting
 * a file takes, a thaw included, if the guard has left.
 *
 * vpc_dev.lock and vpc_devices_lock are held for moments; vpc_stop() (unbind,
 * suspend) waits for none of the above, but only for the configuration's work.
 * Guards and batches have references on the module, so that unloading it
 * fails instead of waiting, and visits keep their superblock as told above.
 *
 * A signal makes the walker leave at the next folio batch, extent or buffer,
 * and the ioctl return to be restarted: it is then that a process is stopped,
 * traced or frozen.  vpc_collect has all that is needed to go on.
 */
#ifndef _VPC_H
#define _VPC_H

#include "compat.h"

#include <linux/atomic.h>
#include <linux/blkdev.h>
#include <linux/fiemap.h>
#include <linux/folio_batch.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched/signal.h>
#include <linux/virtio.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "virtio_pagecache.h"
#include "virtio_pagecache_ioctl.h"

/* Buffers on their way to the device, and what each may hold at most */
#define VPC_BUFS		32
#define VPC_BUF_BYTES		(8 * 4096)
#define VPC_BUF_HINTS		((VPC_BUF_BYTES - \
				  sizeof(struct virtio_pagecache_hdr)) / \
				 sizeof(struct virtio_pagecache_hint))

/* Clean runs that are looked up at a time */
#define VPC_MAX_RUNS		1024

/* The longest disk table that is asked for */
#define VPC_MAX_DISKS		4096

struct vpc_buf {
	struct list_head node;		/* in vpc_dev.free */
	void *data;			/* VPC_BUF_BYTES, from kmalloc() */
};

/*
 * A device.  Lives until the last reference is put: probe() holds one, a
 * collection another, so that the device may go away under a collection.
 */
struct vpc_dev {
	struct kref ref;
	struct list_head node;		/* in vpc_devices */
	struct virtio_device *vdev;	/* valid while @ready */

	/*
	 * Protects the queues, @free and the ctrl fields.  Held for moments
	 * only, never while waiting for the device or for a file system.
	 */
	struct mutex lock;
	bool ready;			/* written under @lock */
	bool left_out;			/* LEFT_OUT was negotiated */
	bool reset;			/* since the collection began; same */
	struct virtqueue *ctrl_vq;
	struct virtqueue *hint_vq;
	struct list_head free;		/* buffers that nobody uses */
	unsigned int nr_free;
	unsigned int nr_bufs;		/* all there are, in @bufs */
	struct vpc_buf bufs[VPC_BUFS];
	u32 buf_hints;			/* hints per buffer */
	bool ctrl_busy;			/* the device owns @req and @answer */
	struct virtio_pagecache_ctrl *req;
	struct virtio_pagecache_disk *answer;

	/* The device used a buffer, or one of the fields below has changed */
	wait_queue_head_t wait;
	atomic_t events;

	/* The epoch that the device wants (0: none), and the last one done */
	u32 wanted;
	u32 done;
	struct work_struct config_work;
};

/* An entry of the host's disk table, and what it is here */
struct vpc_disk {
	struct virtio_pagecache_disk host;
	dev_t dev;			/* the disk in its place, or 0 */
	bool same;			/* it is that disk */
};

/* Where a block device lies on the disks of the host's table */
struct vpc_extent {
	dev_t dev;			/* the block device (key of the table) */
	u64 start;			/* in sectors of that block device */
	u64 len;
	u64 sector;			/* in sectors of the disk */
	u32 disk;			/* index into the host's table */
};

/* A run of clean pages of one inode: consecutive in the file and in RAM */
struct vpc_run {
	pgoff_t index;
	unsigned long pfn;
	unsigned long nr;
};

/* How far the walk is with a superblock; where to go on if it was left */
struct vpc_place {
	dev_t dev;
	bool done;
	bool frozen;			/* it was when we came last */
	bool begun;			/* what follows is valid */
	unsigned long left;		/* inodes from here to the list's end */
	u64 ino;			/* the inode that was being looked at */
	pgoff_t index;			/* and the page in it */
};

/* A superblock whose pages are to be counted, or were */
struct vpc_left_super {
	dev_t dev;
	u32 reason;			/* VIRTIO_PAGECACHE_LEFT_* */
	bool passed;			/* left out, for this reason */
	bool counted;
	u8 tries;
};

/* What is left out */
struct vpc_left {
	struct vpc_ioc_type *types;	/* file systems that we don't know */
	unsigned int nr_types;
	struct vpc_ioc_target *targets;	/* dm devices that are not linear */
	unsigned int nr_targets;

	struct vpc_left_super *supers;
	unsigned int nr_supers;
	unsigned int max_supers;
	bool counting;			/* pages, not emitting hints */
	const char *type;		/* one of @types, or NULL */

	struct block_device *bdev;	/* of the current superblock */
	struct vpc_ioc_left *entries;
	unsigned int nr;
	u64 more;			/* pages that found no entry */
	struct vpc_ioc_left *last;	/* the last one that grew */
	struct block_device *last_bdev;
	bool told;			/* the device was */
};

/* Lends the superblocks of a type, with s_umount held, as visits */
struct vpc_guard {
	struct kref ref;
	struct work_struct work;
	struct vpc_dev *dev;		/* a reference; has the walker's events */
	struct file_system_type *type;
	spinlock_t lock;		/* protects @visit and @blank */
	struct vpc_visit *visit;	/* not taken yet */
	struct vpc_visit *blank;	/* for the next; NULL: don't lend */
	bool again;			/* somebody was faster; see @done */
	bool done;			/* read first, with acquire */
};

/* A superblock on loan */
struct vpc_visit {
	struct kref ref;
	struct super_block *sb;		/* valid as long as one is a user */
	bool frozen;			/* no inode may be touched */
	bool leave;			/* the guard wants to go */
	spinlock_t lock;		/* protects what follows */
	unsigned int users;		/* 0: the superblock isn't needed */
	bool active;			/* the last user gives s_active back */
	wait_queue_head_t wait;		/* users have become 0 */
};

struct vpc_puts;

/*
 * A collection.  Belongs to the walker; lives from the ioctl that begins it to
 * the one that ends it, or until the daemon closes the device.
 */
struct vpc_collect {
	struct vpc_dev *dev;
	u32 epoch;
	enum { VPC_TABLES, VPC_WALK, VPC_LEFT, VPC_END } phase;
	u32 filesystems;		/* VPC_FS_* */

	/* Where things are: host's disk table; translations of dm devices */
	struct vpc_disk *disks;
	unsigned int nr_disks;
	struct vpc_extent *maps;
	unsigned int nr_maps;

	/* Superblocks that were met; is some of them not finished? */
	struct vpc_place *places;
	unsigned int nr_places;
	unsigned int max_places;
	bool again;
	bool last_pass;			/* for those that were frozen */

	/* The current superblock, and inodes that were handed back */
	struct vpc_visit *visit;
	struct vpc_puts *puts;
	struct vpc_puts *spare_puts;
	struct inode *inode;		/* that is being mapped */

	/* Its extents, sorted by @start */
	const struct vpc_extent *where;
	unsigned int nr_where;
	struct vpc_extent whole;	/* @where of a disk or partition */

	/* The current inode's mapping */
	struct fiemap_extent __user *scratch;
	struct fiemap_extent *extents;
	unsigned int room_extents;	/* in @extents */
	unsigned int max_extents;	/* in @scratch and @extents */
	unsigned int nr_extents;
	unsigned int next_extent;
	struct fiemap_extent stretch;	/* extents that go on in each other */
	u64 known;			/* extents tell all up to this byte */
	struct vpc_run *runs;		/* VPC_MAX_RUNS */
	unsigned int nr_runs;
	struct folio_batch batch;

	/* The buffer that is being filled, and the hint that may still grow */
	struct vpc_buf *buf;
	u32 buf_count;
	struct virtio_pagecache_hint hint;

	struct vpc_left left;

	/* Result.  @stats is in pages of 4096 bytes. */
	int error;
	bool complete;			/* the device has the whole map */
	struct vpc_ioc_stats stats;
};

/* vpc_queue.c */
struct vpc_dev *vpc_new(struct virtio_device *vdev, unsigned int bufs,
			u32 buf_hints);
int vpc_find_vqs(struct vpc_dev *dev);
void vpc_list(struct vpc_dev *dev);
void vpc_unlist(struct vpc_dev *dev);
void vpc_start(struct vpc_dev *dev);
void vpc_stop(struct vpc_dev *dev);
void vpc_config_event(struct vpc_dev *dev);
extern wait_queue_head_t vpc_wait;
struct vpc_dev *vpc_find_work(u32 *epoch);
void vpc_begin(struct vpc_dev *dev, u32 *epoch);
bool vpc_has_work(void);
void vpc_put(struct vpc_dev *dev);
void vpc_finish(struct vpc_dev *dev, u32 epoch);
bool vpc_stopped(struct vpc_dev *dev, u32 epoch);
void vpc_event(struct vpc_dev *dev);
int vpc_wait_event(struct vpc_dev *dev, u32 epoch, int events);
int vpc_num_disks(struct vpc_dev *dev, u32 *num);
int vpc_get_disk(struct vpc_dev *dev, u32 epoch, u32 index,
		 struct virtio_pagecache_disk *disk);
struct vpc_buf *vpc_buf_get(struct vpc_dev *dev);
void vpc_buf_put(struct vpc_dev *dev, struct vpc_buf *buf);
int vpc_buf_send(struct vpc_dev *dev, struct vpc_buf *buf, size_t len);

/* vpc_misc.c */
int vpc_misc_init(void);
void vpc_misc_exit(void);

/* vpc_disk.c */
int vpc_disk_table(struct vpc_collect *c, const struct vpc_ioc_collect *arg);
bool vpc_disk_lookup(struct vpc_collect *c, struct block_device *bdev,
		     struct vpc_extent *where);
bool vpc_disk_mismatch(struct vpc_collect *c, struct block_device *bdev);

/* vpc_guard.c */
int vpc_guard_init(void);
void vpc_guard_exit(void);
struct vpc_guard *vpc_guard_start(struct vpc_dev *dev, const char *name);
bool vpc_guard_next(struct vpc_collect *c, struct vpc_guard *guard);
void vpc_guard_end(struct vpc_guard *guard);
void vpc_visit_end(struct vpc_collect *c);
int vpc_visit_reserve(struct vpc_collect *c);
void vpc_visit_put_inode(struct vpc_collect *c, struct inode *inode);
void vpc_visit_flush(struct vpc_collect *c);
bool vpc_visit_is_last(struct inode *inode);

/* vpc_walk.c */
void vpc_walk(struct vpc_collect *c, u32 filesystems);
void vpc_walk_left(struct vpc_collect *c, u32 filesystems);

/* vpc_inode.c */
bool vpc_inode_cached(struct inode *inode);
struct inode *vpc_next_inode(struct vpc_collect *c, struct inode *prev,
			     bool count, unsigned long *passed);

/* vpc_count.c */
bool vpc_count_visit(struct vpc_collect *c);

/* vpc_map.c */
bool vpc_map_wants(struct inode *inode);
int vpc_map_inode(struct vpc_collect *c, struct inode *inode, pgoff_t *index);

/* vpc_emit.c */
int vpc_emit(struct vpc_collect *c, unsigned long pfn, u64 sector,
	     unsigned long nr, u32 disk);
int vpc_emit_wait(struct vpc_collect *c);
int vpc_emit_flush(struct vpc_collect *c);
int vpc_emit_end(struct vpc_collect *c, bool wait);

/* vpc_left.c */
int vpc_left_init(struct vpc_collect *c, const struct vpc_ioc_left_out *arg);
void vpc_left_free(struct vpc_collect *c);
void vpc_left_add(struct vpc_collect *c, struct block_device *bdev, u32 reason,
		  const char *detail, u64 nr);
void vpc_left_add_device(struct vpc_collect *c, struct block_device *bdev,
			 u64 nr);
struct vpc_left_super *vpc_left_find(struct vpc_collect *c, dev_t dev);
void vpc_left_inode(struct vpc_collect *c, struct inode *inode);
void vpc_left_pages(struct vpc_collect *c, u64 nr);
void vpc_left_super(struct vpc_collect *c, u32 reason);
unsigned int vpc_left_fill(struct vpc_collect *c,
			   struct virtio_pagecache_left_out *out);
int vpc_left_tell(struct vpc_collect *c, struct vpc_ioc_left_out *arg);

/* Is there no use in going on, now or ever? */
static inline bool vpc_collect_stopped(struct vpc_collect *c)
{
	return c->error || vpc_stopped(c->dev, c->epoch);
}

/* The place of a device's superblock; NULL: the walk did not come by. */
static inline struct vpc_place *vpc_find_place(struct vpc_collect *c, dev_t dev)
{
	unsigned int i;

	for (i = 0; i < c->nr_places; i++)
		if (c->places[i].dev == dev)
			return &c->places[i];
	return NULL;
}

/* Must the walker leave the superblock, to come back or not? */
static inline bool vpc_must_leave(struct vpc_collect *c)
{
	return READ_ONCE(c->visit->leave) || signal_pending(current) ||
	       vpc_collect_stopped(c);
}

/* Adds @nr pages of the guest's to a counter of vpc_ioc_stats. */
static inline void vpc_count(u64 *counter, u64 nr)
{
	*counter += nr << (PAGE_SHIFT - VIRTIO_PAGECACHE_PAGE_SHIFT);
}

#endif /* _VPC_H */
