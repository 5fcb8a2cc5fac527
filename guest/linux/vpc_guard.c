// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: what keeps a superblock while its inodes are looked at
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * An inode that somebody has a reference on must not meet the end of its file
 * system.  Holding s_umount for reading sees to that, and makes umount(2)
 * wait, as it should.  But remount, freeze and thaw want s_umount, too, so
 * nobody may hold it who can wait for a user.  The walker can: in ->fiemap
 * for the inode's lock, which a writer holds while his memory is read from a
 * FUSE file system that does not answer; or, if it were to put the last
 * reference on a deleted file, for a thaw.
 *
 * So these are different threads.  The guard, a work item, holds s_umount and
 * does nothing but wait.  It lends the superblock to the walker as a visit.
 * The visit's users are the walker and batches of inodes that are being put.
 * When somebody waits for s_umount, the guard asks the walker to leave, and
 * goes as soon as the visit has no users.  If there are some after VPC_GRACE,
 * they are stuck: the visit gets an active reference on the superblock, which
 * its last user gives back, and the guard goes.  An active reference is in
 * the way of nothing but the end of the file system, and that waits for who
 * holds up our user: a process inside of a file system call keeps the mount
 * busy, and a freeze has an active reference of its own.  When no mount is
 * left, there are no such processes.  Then it is umount(2) that waits, the
 * users have to wait for the disk at most, and the guard stays.
 *
 * A superblock freezes and thaws under s_umount held for writing, in steps;
 * one that is not frozen when the guard comes stays so until the guard goes.
 * One that is frozen, or half-way there, is lent for its name only: no inode
 * of it may be held.
 */

#include "vpc.h"

#include <linux/module.h>
#include <linux/slab.h>

/* How long somebody waits for s_umount before a visit counts as stuck */
#define VPC_GRACE		HZ

/* Inodes in a batch */
#define VPC_PUTS		((PAGE_SIZE - sizeof(struct vpc_puts)) / \
				 sizeof(struct inode *))

/* Inodes on which ours may be the last reference */
struct vpc_puts {
	struct work_struct work;
	struct vpc_visit *visit;	/* when it is queued; a user of it */
	unsigned int nr;
	struct inode *inodes[];
};

/* Guards and batches: each may block as long as it likes */
static struct workqueue_struct *vpc_workqueue;

static bool vpc_in_use(struct vpc_visit *visit)
{
	return READ_ONCE(visit->users);
}

static void vpc_free_visit(struct kref *ref)
{
	kfree(container_of(ref, struct vpc_visit, ref));
}

static void vpc_visit_use(struct vpc_visit *visit)
{
	spin_lock(&visit->lock);
	visit->users++;
	spin_unlock(&visit->lock);
	kref_get(&visit->ref);
}

/*
 * Ends a use.  If the superblock was kept for this user's sake, this may be
 * its end, and sleep as long as an unmount.
 */
static void vpc_visit_unuse(struct vpc_visit *visit)
{
	bool last;

	spin_lock(&visit->lock);
	last = !--visit->users;
	spin_unlock(&visit->lock);
	if (last && visit->active)
		deactivate_super(visit->sb);
	else if (last)
		wake_up(&visit->wait);
	kref_put(&visit->ref, vpc_free_visit);
}

/* The work of a batch.  Here it may take as long as a file's deletion. */
static void vpc_put_work(struct work_struct *work)
{
	struct vpc_puts *puts = container_of(work, struct vpc_puts, work);
	unsigned int i;

	for (i = 0; i < puts->nr; i++) {
		iput(puts->inodes[i]);
		cond_resched();
	}
	vpc_visit_unuse(puts->visit);
	kfree(puts);
	module_put(THIS_MODULE);
}

static int vpc_puts_alloc(struct vpc_puts **puts)
{
	if (*puts)
		return 0;
	*puts = kzalloc(PAGE_SIZE, GFP_KERNEL);
	if (!*puts)
		return -ENOMEM;
	INIT_WORK(&(*puts)->work, vpc_put_work);
	return 0;
}

/*
 * Makes sure that there is room to hand an inode back, flush the batch, and
 * hand another one back.
 */
int vpc_visit_reserve(struct vpc_collect *c)
{
	return vpc_puts_alloc(&c->puts) ?: vpc_puts_alloc(&c->spare_puts);
}

/* Has the inodes put that were handed back until now.  Does not wait. */
void vpc_visit_flush(struct vpc_collect *c)
{
	struct vpc_puts *puts = c->puts;

	if (!puts || !puts->nr)
		return;
	c->puts = c->spare_puts;
	c->spare_puts = NULL;
	puts->visit = c->visit;
	vpc_visit_use(c->visit);
	__module_get(THIS_MODULE);
	queue_work(vpc_workqueue, &puts->work);
}

/*
 * Hands an inode back that vpc_visit_reserve() was called for.  Does not wait
 * for anything: if ours is the last reference, somebody else puts it.
 */
void vpc_visit_put_inode(struct vpc_collect *c, struct inode *inode)
{
	struct vpc_puts *puts = c->puts;

	if (atomic_add_unless(&inode->i_count, -1, 1))
		return;
	puts->inodes[puts->nr++] = inode;
	/* somebody may wait for the space of a deleted file */
	if (puts->nr == VPC_PUTS || !inode->i_nlink)
		vpc_visit_flush(c);
}

/* Whether nobody but us has anything to do with the file any more. */
bool vpc_visit_is_last(struct inode *inode)
{
	return atomic_read(&inode->i_count) == 1 && !inode->i_nlink;
}

/* Waits until the visit has no users, or is kept alive without s_umount. */
static void vpc_guard_leave(struct vpc_visit *visit)
{
	struct super_block *sb = visit->sb;

	while (!wait_event_idle_timeout(visit->wait, !vpc_in_use(visit),
					VPC_GRACE)) {
		if (!vpc_sb_has_mounts(sb))
			continue;
		spin_lock(&visit->lock);
		if (visit->users && atomic_inc_not_zero(&sb->s_active))
			visit->active = true;
		spin_unlock(&visit->lock);
		if (visit->active)
			return;
	}
}

/*
 * Ends the loan of what the walker has not come for yet: it may be held up
 * with another file system, and should not keep this one for that.
 */
static bool vpc_guard_take_back(struct vpc_guard *guard,
				struct vpc_visit *visit)
{
	bool ours;

	spin_lock(&guard->lock);
	ours = guard->visit == visit;
	if (ours) {
		guard->visit = NULL;
		guard->again = true;
	}
	spin_unlock(&guard->lock);
	if (ours)
		vpc_visit_unuse(visit);
	return ours;
}

/* Lends a superblock, whose s_umount is held for reading. */
static void vpc_guard_super(struct super_block *sb, void *arg)
{
	struct vpc_guard *guard = arg;
	struct vpc_visit *visit;

	spin_lock(&guard->lock);
	visit = guard->blank;
	guard->blank = NULL;
	if (visit) {
		visit->sb = sb;
		visit->frozen = sb->s_writers.frozen != SB_UNFROZEN;
		vpc_visit_use(visit);		/* the walker */
		guard->visit = visit;
	}
	spin_unlock(&guard->lock);
	if (!visit)				/* there is no walker */
		return;
	vpc_event(guard->dev);

	while (!wait_event_idle_timeout(visit->wait, !vpc_in_use(visit), 1)) {
		if (!rwsem_is_contended(&sb->s_umount))
			continue;
		if (vpc_guard_take_back(guard, visit))
			break;
		WRITE_ONCE(visit->leave, true);
		vpc_event(guard->dev);
		vpc_guard_leave(visit);
		break;
	}
	kref_put(&visit->ref, vpc_free_visit);
}

static void vpc_free_guard(struct kref *ref)
{
	struct vpc_guard *guard = container_of(ref, struct vpc_guard, ref);

	vpc_put(guard->dev);
	kfree(guard->blank);
	kfree(guard);
}

/* Gives the guard what it lends next, so that it need not allocate it. */
static bool vpc_guard_fill(struct vpc_guard *guard)
{
	struct vpc_visit *visit = kzalloc(sizeof(*visit), GFP_KERNEL);

	if (!visit)
		return false;
	kref_init(&visit->ref);
	spin_lock_init(&visit->lock);
	init_waitqueue_head(&visit->wait);
	spin_lock(&guard->lock);
	guard->blank = visit;
	spin_unlock(&guard->lock);
	return true;
}

static void vpc_guard_work(struct work_struct *work)
{
	struct vpc_guard *guard = container_of(work, struct vpc_guard, work);
	struct file_system_type *type = guard->type;

	iterate_supers_type(type, vpc_guard_super, guard);
	module_put(type->owner);
	smp_store_release(&guard->done, true);
	vpc_event(guard->dev);
	kref_put(&guard->ref, vpc_free_guard);
	module_put(THIS_MODULE);
}

/*
 * Begins to lend the superblocks of a type, one after the other.  NULL if
 * the kernel does not know the type, or an error.
 */
struct vpc_guard *vpc_guard_start(struct vpc_dev *dev, const char *name)
{
	struct vpc_guard *guard = kzalloc(sizeof(*guard), GFP_KERNEL);

	if (!guard)
		return ERR_PTR(-ENOMEM);
	guard->type = get_fs_type(name);
	if (!guard->type) {
		kfree(guard);
		return NULL;
	}
	kref_init(&guard->ref);
	spin_lock_init(&guard->lock);
	kref_get(&dev->ref);
	guard->dev = dev;
	if (!vpc_guard_fill(guard)) {
		module_put(guard->type->owner);
		kref_put(&guard->ref, vpc_free_guard);
		return ERR_PTR(-ENOMEM);
	}
	INIT_WORK(&guard->work, vpc_guard_work);
	kref_get(&guard->ref);			/* the work's */
	__module_get(THIS_MODULE);
	queue_work(vpc_workqueue, &guard->work);
	return guard;
}

static struct vpc_visit *vpc_guard_take(struct vpc_guard *guard)
{
	struct vpc_visit *visit;

	spin_lock(&guard->lock);
	visit = guard->visit;
	guard->visit = NULL;
	spin_unlock(&guard->lock);
	return visit;
}

/*
 * Waits until the next superblock is lent, and makes it c->visit, for the
 * caller to end with vpc_visit_end().  False if there is no more, if the
 * collection must stop or be interrupted.  Sets c->again if some were not
 * lent.
 */
bool vpc_guard_next(struct vpc_collect *c, struct vpc_guard *guard)
{
	for (;;) {
		int events = atomic_read(&c->dev->events);
		bool done = smp_load_acquire(&guard->done);

		c->visit = vpc_guard_take(guard);
		if (c->visit) {
			if (!vpc_guard_fill(guard))
				c->error = -ENOMEM;
			return true;
		}
		if (done) {
			c->again |= guard->again;
			return false;
		}
		if (vpc_wait_event(c->dev, c->epoch, events))
			return false;
	}
}

/* Ends a visit: the walker holds no inode any more. */
void vpc_visit_end(struct vpc_collect *c)
{
	vpc_visit_flush(c);
	vpc_visit_unuse(c->visit);
	c->visit = NULL;
}

/* Does not wait for a guard that stands before a superblock in use. */
void vpc_guard_end(struct vpc_guard *guard)
{
	struct vpc_visit *visit, *blank;

	spin_lock(&guard->lock);
	visit = guard->visit;
	guard->visit = NULL;
	blank = guard->blank;
	guard->blank = NULL;
	spin_unlock(&guard->lock);
	kfree(blank);
	if (visit)
		vpc_visit_unuse(visit);
	kref_put(&guard->ref, vpc_free_guard);
}

int vpc_guard_init(void)
{
	vpc_workqueue = alloc_workqueue("virtio_pagecache", WQ_UNBOUND, 0);
	return vpc_workqueue ? 0 : -ENOMEM;
}

/* Nothing is queued any more: it would have a reference on the module. */
void vpc_guard_exit(void)
{
	destroy_workqueue(vpc_workqueue);
}
