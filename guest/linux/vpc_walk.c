// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: superblocks and inodes
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The walk must not be felt.  While it looks at the inodes of a superblock,
 * it holds s_umount for reading, because that is what keeps inodes it has a
 * reference on from being in the way of an unmount.  Whoever wants s_umount
 * for writing (umount, remount, freeze) gets it after the page cache batch at
 * hand; and waiting for the device happens without it.  Then no inode is held
 * either, so the place in the superblock's list is kept as the number of
 * inodes that are left: new ones come in at the other end, and if some of the
 * rest are gone meanwhile, as many are looked at twice, which the host finds
 * out.
 */

#include "vpc.h"

#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

/* The list's spinlock is dropped after so many inodes without pages */
#define VPC_INODES		1024

static bool vpc_inode_cached(struct inode *inode)
{
	return S_ISREG(inode->i_mode) && READ_ONCE(inode->i_mapping->nrpages);
}

/*
 * The next regular file with cached pages after @prev, which is put (NULL:
 * from the start of the list), or any inode after a while; NULL at the end.
 * *passed is increased by the number of inodes that this went on.  With
 * @count, files don't matter, only their number.
 */
struct inode *vpc_next_inode(struct super_block *sb, struct inode *prev,
			     bool count, unsigned long *passed)
{
	struct inode *inode, *found = NULL;
	unsigned long n = 0;

	spin_lock(&sb->s_inode_list_lock);
	if (prev)
		inode = list_next_entry(prev, i_sb_list);
	else
		inode = list_first_entry(&sb->s_inodes, struct inode,
					 i_sb_list);
	list_for_each_entry_from(inode, &sb->s_inodes, i_sb_list) {
		n++;
		if (n < VPC_INODES && (count || !vpc_inode_cached(inode)))
			continue;
		found = igrab(inode);
		if (found)
			break;
	}
	spin_unlock(&sb->s_inode_list_lock);

	/* may delete the file, if it was unlinked and closed meanwhile */
	iput(prev);
	cond_resched();
	*passed += n;
	return found;
}

/* The number of inodes after @inode (NULL: of all), which is put. */
static unsigned long vpc_count_inodes(struct super_block *sb,
				      struct inode *inode)
{
	unsigned long n = 0;

	do {
		inode = vpc_next_inode(sb, inode, true, &n);
	} while (inode);
	return n;
}

/*
 * Leaves the superblock for the time being, at page @index of @inode, which
 * is put.
 */
static void vpc_pause(struct vpc_collect *c, struct super_block *sb,
		      struct inode *inode, pgoff_t index)
{
	c->cursor.dev = sb->s_dev;
	c->cursor.ino = inode->i_ino;
	c->cursor.index = index;
	c->cursor.left = vpc_count_inodes(sb, inode) + 1;
	c->paused = true;
	c->stats.pauses++;
}

/* False if the walk was left by vpc_pause(). */
static bool vpc_walk_inodes(struct vpc_collect *c, struct super_block *sb)
{
	struct vpc_cursor resume = c->cursor;
	unsigned long skip = 0, passed = 0;
	struct inode *inode = NULL;
	bool begun = false;
	pgoff_t index;

	c->cursor.dev = 0;
	if (resume.dev) {
		unsigned long all = vpc_count_inodes(sb, NULL);

		skip = all > resume.left ? all - resume.left : 0;
	}

	while ((inode = vpc_next_inode(sb, inode, false, &passed))) {
		if (vpc_collect_stopped(c))
			break;
		if (passed <= skip)
			continue;
		if (begun && rwsem_is_contended(&sb->s_umount)) {
			vpc_pause(c, sb, inode, 0);
			return false;
		}
		begun = true;
		if (!vpc_inode_cached(inode))
			continue;
		if (!vpc_map_wants(inode)) {
			vpc_left_inode(c, inode);
			continue;
		}
		index = 0;
		if (resume.dev && resume.ino == inode->i_ino)
			index = resume.index;
		resume.dev = 0;
		c->stats.inodes++;
		if (vpc_map_inode(c, inode, &index)) {
			vpc_pause(c, sb, inode, index);
			return false;
		}
	}
	iput(inode);
	return true;
}

/*
 * XFS tells of a file on its realtime device where it is on that, and not
 * that it is.  Which file is one can't be asked without a dentry, which a
 * cached inode needn't have; but the mount options tell if there is such a
 * device.
 */
static bool vpc_has_realtime(struct super_block *sb)
{
	struct seq_file m = { .size = PAGE_SIZE };
	bool found = true;

	if (strcmp(sb->s_type->name, "xfs") || !sb->s_op->show_options)
		return false;
	m.buf = kzalloc(m.size, GFP_KERNEL);
	if (!m.buf)
		return true;
	if (!sb->s_op->show_options(&m, sb->s_root) && !seq_has_overflowed(&m))
		found = strnstr(m.buf, "rtdev=", m.count);
	kfree(m.buf);
	return found;
}

/* Finds out where the superblock's block device is; false: on no disk. */
static bool vpc_set_where(struct vpc_collect *c, struct super_block *sb)
{
	unsigned int first, end;

	if (!sb->s_bdev)
		return false;
	c->left.bdev = sb->s_bdev;
	if (vpc_disk_lookup(c, sb->s_bdev, &c->whole)) {
		c->where = &c->whole;
		c->nr_where = 1;
		return true;
	}
	for (first = 0; first < c->nr_maps; first++)
		if (c->maps[first].dev == sb->s_bdev->bd_dev)
			break;
	for (end = first; end < c->nr_maps; end++)
		if (c->maps[end].dev != sb->s_bdev->bd_dev)
			break;
	c->where = &c->maps[first];
	c->nr_where = end - first;
	return c->nr_where;
}

static bool vpc_seen(struct vpc_collect *c, dev_t dev)
{
	unsigned int i;

	for (i = 0; i < c->nr_seen; i++)
		if (c->seen[i] == dev)
			return true;
	return false;
}

static void vpc_set_seen(struct vpc_collect *c, dev_t dev)
{
	if (c->nr_seen == c->max_seen) {
		unsigned int max = c->max_seen ? 2 * c->max_seen : 64;
		dev_t *seen = krealloc_array(c->seen, max, sizeof(*seen),
					     GFP_KERNEL);

		if (!seen) {
			c->error = -ENOMEM;
			return;
		}
		c->seen = seen;
		c->max_seen = max;
	}
	c->seen[c->nr_seen++] = dev;
}

/* Called with s_umount held for reading. */
static void vpc_walk_super(struct super_block *sb, void *arg)
{
	struct vpc_collect *c = arg;

	if (c->left.counting) {
		c->again |= !vpc_collect_stopped(c) && !vpc_left_visit(c, sb);
		return;
	}
	if (vpc_collect_stopped(c) || vpc_seen(c, sb->s_dev))
		return;
	if (c->paused || (c->cursor.dev && c->cursor.dev != sb->s_dev)) {
		c->again = true;	/* there is only one cursor */
		return;
	}
	c->sb = sb;
	if (!(sb->s_flags & SB_ACTIVE)) {
		/* it is going away */
	} else if (!vpc_set_where(c, sb)) {
		vpc_left_super(c, sb, VIRTIO_PAGECACHE_LEFT_NO_DISK);
	} else if (vpc_has_realtime(sb)) {
		vpc_left_super(c, sb, VIRTIO_PAGECACHE_LEFT_REALTIME);
	} else if (!vpc_walk_inodes(c, sb)) {
		c->again = true;
		return;
	}
	c->cursor.dev = 0;
	vpc_set_seen(c, sb->s_dev);
}

void vpc_walk_type(struct vpc_collect *c, const char *name)
{
	struct file_system_type *type = get_fs_type(name);

	if (!type)
		return;
	c->cursor.dev = 0;
	while (!vpc_emit_wait(c) && !vpc_collect_stopped(c)) {
		c->again = false;
		c->paused = false;
		iterate_supers_type(type, vpc_walk_super, c);
		if (!c->again)
			break;
		if (!c->paused)		/* its superblock is gone */
			c->cursor.dev = 0;
	}
	module_put(type->owner);
}

void vpc_walk_types(struct vpc_collect *c, u32 filesystems)
{
	if (filesystems & VPC_FS_EXT4)
		vpc_walk_type(c, "ext4");
	if (filesystems & VPC_FS_EXT3)
		vpc_walk_type(c, "ext3");
	if (filesystems & VPC_FS_XFS)
		vpc_walk_type(c, "xfs");
}

/*
 * Emits hints for every superblock of these types (VPC_FS_*), and counts what
 * they leave out.
 */
void vpc_walk(struct vpc_collect *c, u32 filesystems)
{
	vpc_walk_types(c, filesystems);
	vpc_left_walk(c, filesystems);
}
