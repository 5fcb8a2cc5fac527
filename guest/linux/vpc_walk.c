// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: superblocks and inodes
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The walk must not be felt.  It looks at the inodes of a superblock while it
 * has that on loan (vpc_guard.c), and leaves when somebody wants it for
 * himself (umount, remount, freeze), after the page cache batch at hand.  Then
 * no inode is held either, so the place in the superblock's list is kept as
 * the number of inodes that are left: new ones come in at the other end, and
 * if some of the rest are gone meanwhile, as many are looked at twice, which
 * the host finds out.  Keeping and finding the place takes a walk over all
 * inodes, so it is not left for less; waiting for the device is no reason.
 *
 * A file system that is frozen is passed over, and looked at again when all
 * others are done.  If it still is frozen then, it is left out.
 */

#include "vpc.h"

#include <linux/module.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/string.h>

/* The number of inodes after @inode (NULL: of all), which is handed back. */
static unsigned long vpc_inodes_after(struct vpc_collect *c,
				      struct inode *inode)
{
	unsigned long n = 0;

	do {
		inode = vpc_next_inode(c, inode, true, &n);
	} while (inode);
	return n;
}

/*
 * Leaves the superblock for the time being, at page @index of @inode, which
 * is handed back.
 */
static void vpc_pause(struct vpc_collect *c, struct vpc_place *place,
		      struct inode *inode, pgoff_t index)
{
	place->begun = true;
	place->ino = inode->i_ino;
	place->index = index;
	place->left = vpc_inodes_after(c, inode) + 1;
	c->stats.pauses++;
}

/* False if the walk was left by vpc_pause(). */
static bool vpc_walk_inodes(struct vpc_collect *c, struct vpc_place *place)
{
	unsigned long skip = 0, passed = 0;
	struct inode *inode = NULL;
	bool resume = place->begun;
	bool begun = false;
	pgoff_t index;

	if (resume) {
		unsigned long all = vpc_inodes_after(c, NULL);

		skip = all > place->left ? all - place->left : 0;
	}

	while ((inode = vpc_next_inode(c, inode, false, &passed))) {
		if (vpc_collect_stopped(c))
			break;
		if (passed <= skip)
			continue;
		if (begun && vpc_must_leave(c)) {
			vpc_pause(c, place, inode, 0);
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
		if (resume && place->ino == inode->i_ino)
			index = place->index;
		resume = false;
		c->stats.inodes++;
		if (vpc_map_inode(c, inode, &index)) {
			vpc_pause(c, place, inode, index);
			return false;
		}
	}
	if (inode)
		vpc_visit_put_inode(c, inode);
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

/* The place of a device's superblock; NULL with c->error set. */
static struct vpc_place *vpc_get_place(struct vpc_collect *c, dev_t dev)
{
	struct vpc_place *places, *place = vpc_find_place(c, dev);
	unsigned int max;

	if (place)
		return place;
	places = c->places;
	if (c->nr_places == c->max_places) {
		max = c->max_places ? 2 * c->max_places : 64;
		places = krealloc_array(places, max, sizeof(*places),
					GFP_KERNEL);
		if (!places) {
			c->error = -ENOMEM;
			return NULL;
		}
		c->places = places;
		c->max_places = max;
	}
	places[c->nr_places] = (struct vpc_place) { .dev = dev };
	return &places[c->nr_places++];
}

/* Called during a visit. */
static void vpc_walk_super(struct vpc_collect *c)
{
	struct super_block *sb = c->visit->sb;
	struct vpc_place *place;

	if (c->left.counting) {
		c->again |= !vpc_collect_stopped(c) && !vpc_count_visit(c);
		return;
	}
	place = vpc_get_place(c, sb->s_dev);
	if (!place || place->done || vpc_collect_stopped(c))
		return;
	place->frozen = c->visit->frozen;
	if (place->frozen)
		return;
	if (signal_pending(current)) {
		c->again = true;
		return;
	}
	if (!(sb->s_flags & SB_ACTIVE)) {
		/* it is going away */
	} else if (!vpc_set_where(c, sb)) {
		vpc_left_super(c, VIRTIO_PAGECACHE_LEFT_NO_DISK);
	} else if (vpc_has_realtime(sb)) {
		vpc_left_super(c, VIRTIO_PAGECACHE_LEFT_REALTIME);
	} else if (!vpc_walk_inodes(c, place)) {
		c->again = true;
		return;
	}
	place->done = true;
}

/*
 * Is ext2 a name of ext4's driver?  ext2 may have a driver of its own, which
 * nobody looked at.  Where ext4 is no module, drivers are told from each other
 * by a function, which Linux before 5.17 does not have: then it is not taken.
 */
static bool vpc_ext2_is_ext4(void)
{
	struct file_system_type *ext2 = get_fs_type("ext2");
	struct file_system_type *ext4 = get_fs_type("ext4");
	bool same = ext2 && ext4 && ext2->owner == ext4->owner &&
		    (ext2->owner ||
		     (ext2->init_fs_context &&
		      ext2->init_fs_context == ext4->init_fs_context));

	if (ext2)
		module_put(ext2->owner);
	if (ext4)
		module_put(ext4->owner);
	return same;
}

static void vpc_walk_type(struct vpc_collect *c, const char *name)
{
	struct vpc_guard *guard;

	do {
		/* nobody's superblock is needed to wait for the device */
		if (vpc_emit_wait(c))
			return;
		guard = vpc_guard_start(c->dev, name);
		if (IS_ERR(guard))
			c->error = PTR_ERR(guard);
		if (IS_ERR_OR_NULL(guard))
			return;
		c->again = false;
		while (vpc_guard_next(c, guard)) {
			vpc_walk_super(c);
			vpc_visit_end(c);
		}
		vpc_guard_end(guard);
	} while (c->again && !signal_pending(current) &&
		 !vpc_collect_stopped(c));
}

/* As ext4's, or as of a driver that we don't know */
static void vpc_walk_ext2(struct vpc_collect *c, bool have_ext4)
{
	if (have_ext4 && vpc_ext2_is_ext4()) {
		vpc_walk_type(c, "ext2");
	} else if (c->left.counting) {
		c->left.type = "ext2";
		vpc_walk_type(c, "ext2");
		c->left.type = NULL;
	}
}

/* One look at every superblock of these types */
static void vpc_walk_types(struct vpc_collect *c, u32 filesystems)
{
	if (filesystems & VPC_FS_EXT4)
		vpc_walk_type(c, "ext4");
	if (filesystems & VPC_FS_EXT3)
		vpc_walk_type(c, "ext3");
	if (filesystems & VPC_FS_EXT2)
		vpc_walk_ext2(c, filesystems & VPC_FS_EXT4);
	if (filesystems & VPC_FS_XFS)
		vpc_walk_type(c, "xfs");
}

static bool vpc_any_frozen(struct vpc_collect *c)
{
	unsigned int i;

	for (i = 0; i < c->nr_places; i++)
		if (c->places[i].frozen)
			return true;
	return false;
}

/*
 * Emits hints for every superblock of these types (VPC_FS_*).  When this is
 * interrupted by a signal, the next call goes on.
 */
void vpc_walk(struct vpc_collect *c, u32 filesystems)
{
	for (;;) {
		vpc_walk_types(c, filesystems);
		if (signal_pending(current) || vpc_collect_stopped(c) ||
		    c->last_pass || !vpc_any_frozen(c))
			break;
		c->last_pass = true;
	}
}

/*
 * Counts what is left to count: superblocks of the @filesystems (VPC_FS_*)
 * that the walk went over, and of all others.  When this is interrupted by a
 * signal, the next call goes on.
 */
void vpc_walk_left(struct vpc_collect *c, u32 filesystems)
{
	struct vpc_left *left = &c->left;
	unsigned int i;

	if (vpc_emit_flush(c))
		return;
	left->counting = true;
	vpc_walk_types(c, filesystems);
	for (i = 0; i < left->nr_types && !signal_pending(current) &&
		    !vpc_collect_stopped(c); i++) {
		left->type = left->types[i].name;
		vpc_walk_type(c, left->type);
	}
	left->type = NULL;
	left->counting = false;
}
