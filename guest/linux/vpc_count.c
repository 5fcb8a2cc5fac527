// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: pages of superblocks that the walk went over
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * It takes a look at each of their inodes, and nobody should wait for that: it
 * is done when all hints are on their way.  The same goes for the file systems
 * that the driver does not know, which is all that the kernel has and the
 * daemon names.  What is counted is nrpages, so dirty pages are in it, and it
 * is as good as a number can be that changes while it is made up.
 */

#include "vpc.h"

/* Inodes that are looked at in a frozen file system, under one lock */
#define VPC_COUNT_FROZEN	1024

/* A superblock that others want is counted anew so often */
#define VPC_COUNT_TRIES		8

/*
 * No inode of a frozen file system may be held, so there is no place to go on
 * from: what can be counted in a moment has to do.
 */
static u64 vpc_count_frozen(struct super_block *sb)
{
	struct inode *inode;
	unsigned int n = 0;
	u64 pages = 0;

	spin_lock(&sb->s_inode_list_lock);
	list_for_each_entry(inode, &sb->s_inodes, i_sb_list) {
		if (S_ISREG(inode->i_mode))
			pages += READ_ONCE(inode->i_mapping->nrpages);
		if (++n == VPC_COUNT_FROZEN)
			break;
	}
	spin_unlock(&sb->s_inode_list_lock);
	return pages;
}

/* False if the walker has to leave; then *pages is a part. */
static bool vpc_count_inodes(struct vpc_collect *c, u64 *pages)
{
	struct inode *inode = NULL;
	unsigned long passed = 0;

	if (c->visit->frozen) {
		*pages = vpc_count_frozen(c->visit->sb);
		return true;
	}
	while ((inode = vpc_next_inode(c, inode, false, &passed))) {
		if (S_ISREG(inode->i_mode))
			*pages += READ_ONCE(inode->i_mapping->nrpages);
		if (vpc_must_leave(c)) {
			vpc_visit_put_inode(c, inode);
			return false;
		}
	}
	return true;
}

/* Was the superblock of this device passed over, because it is frozen? */
static bool vpc_is_frozen(struct vpc_collect *c, dev_t dev)
{
	struct vpc_place *place = vpc_find_place(c, dev);

	return place && place->frozen;
}

/* Counts the superblock of the visit.  False if it has to be done again. */
bool vpc_count_visit(struct vpc_collect *c)
{
	struct super_block *sb = c->visit->sb;
	struct block_device *bdev = sb->s_bdev;
	struct vpc_left_super *s;
	u64 pages = 0;

	if (!bdev || !(sb->s_flags & SB_ACTIVE))
		return true;
	s = vpc_left_find(c, sb->s_dev);
	if (!s || s->counted)
		return true;
	if (!s->passed && (c->left.type || vpc_is_frozen(c, sb->s_dev))) {
		s->passed = true;
		s->reason = c->left.type ? VIRTIO_PAGECACHE_LEFT_FILESYSTEM :
					   VIRTIO_PAGECACHE_LEFT_FROZEN;
	}
	if (s->passed && !vpc_count_inodes(c, &pages) &&
	    (signal_pending(current) || ++s->tries < VPC_COUNT_TRIES))
		return false;
	s->counted = true;
	if (s->reason == VIRTIO_PAGECACHE_LEFT_NO_DISK)
		vpc_left_add_device(c, bdev, pages);
	else
		vpc_left_add(c, bdev, s->reason,
			     s->reason == VIRTIO_PAGECACHE_LEFT_FILESYSTEM ?
			     sb->s_type->name : NULL, pages);
	vpc_left_add(c, bdev, VIRTIO_PAGECACHE_LEFT_DEVICE, NULL,
		     READ_ONCE(vpc_bdev_mapping(bdev)->nrpages));
	return true;
}
