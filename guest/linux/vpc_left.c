// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: what is left out, and why
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A guest whose cache is on an encrypted volume has nothing to hint, and
 * somebody will wonder.  So pages that can't be told are counted by device and
 * reason, for the daemon's log and for the host.
 *
 * The walk tells of files that it passes over, and of superblocks, the pages of
 * which are counted later (vpc_count.c).  Here is the list of it all.
 *
 * File systems without a block device are no concern of this: their pages can
 * be on no disk.
 */

#include "vpc.h"

#include <linux/ctype.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/string.h>
#include <linux/uaccess.h>

/* Entries to begin with; those with the most pages are told */
#define VPC_LEFT_ENTRIES	256

/* The driver's own names for what the ABI has numbers for must be as long. */
static_assert(VPC_DEVICE_LEN == VIRTIO_PAGECACHE_DEVICE_LEN);
static_assert(VPC_DETAIL_LEN == VIRTIO_PAGECACHE_DETAIL_LEN);
static_assert(VPC_MAX_LEFT == VIRTIO_PAGECACHE_LEFT_OUT_MAX);
static_assert(sizeof(struct virtio_pagecache_hdr) +
	      VIRTIO_PAGECACHE_LEFT_OUT_MAX *
	      sizeof(struct virtio_pagecache_left_out) <= VPC_BUF_BYTES);

static void *vpc_left_copy(u64 user, u32 nr, size_t size)
{
	void *p;

	if (!nr)
		return NULL;
	p = kvcalloc(nr, size, GFP_KERNEL);
	if (!p)
		return ERR_PTR(-ENOMEM);
	if (copy_from_user(p, u64_to_user_ptr(user), nr * size)) {
		kvfree(p);
		return ERR_PTR(-EFAULT);
	}
	return p;
}

/* Takes over what the daemon knows.  vpc_left_free() also after an error. */
int vpc_left_init(struct vpc_collect *c, const struct vpc_ioc_left_out *arg)
{
	struct vpc_left *left = &c->left;
	u32 i;

	if (arg->nr_types > VPC_MAX_TYPES || arg->nr_targets > VPC_MAX_TARGETS)
		return -E2BIG;
	left->entries = kvcalloc(VPC_LEFT_ENTRIES, sizeof(*left->entries),
				 GFP_KERNEL);
	if (!left->entries)
		return -ENOMEM;
	left->types = vpc_left_copy(arg->types, arg->nr_types,
				    sizeof(*left->types));
	if (IS_ERR(left->types))
		return PTR_ERR(left->types);
	left->nr_types = arg->nr_types;
	left->targets = vpc_left_copy(arg->targets, arg->nr_targets,
				      sizeof(*left->targets));
	if (IS_ERR(left->targets))
		return PTR_ERR(left->targets);
	left->nr_targets = arg->nr_targets;

	for (i = 0; i < left->nr_types; i++)
		left->types[i].name[VPC_TYPE_LEN - 1] = 0;
	for (i = 0; i < left->nr_targets; i++)
		left->targets[i].name[VPC_DETAIL_LEN - 1] = 0;
	return 0;
}

void vpc_left_free(struct vpc_collect *c)
{
	struct vpc_left *left = &c->left;

	if (!IS_ERR(left->types))
		kvfree(left->types);
	if (!IS_ERR(left->targets))
		kvfree(left->targets);
	kvfree(left->entries);
	kfree(left->supers);
}

/* Names come from the kernel, but not all of them from its authors. */
static void vpc_left_name(char *out, size_t size, const char *name)
{
	strscpy(out, name, size);
	for (; *out; out++)
		if (!isascii(*out) || !isprint(*out))
			*out = '?';
}

/*
 * Counts @nr pages of the guest's; without any there is no entry, unless
 * they may not have been found.  @detail may be NULL.
 */
void vpc_left_add(struct vpc_collect *c, struct block_device *bdev, u32 reason,
		  const char *detail, u64 nr)
{
	struct vpc_left *left = &c->left;
	struct vpc_ioc_left *entry = NULL, new = { .reason = reason };
	char device[VPC_DEVICE_LEN];
	unsigned int i;

	if (!nr && reason != VIRTIO_PAGECACHE_LEFT_FROZEN)
		return;
	vpc_count(&c->stats.foreign, nr);
	/* one and the same, file after file */
	if (left->last && left->last_bdev == bdev &&
	    left->last->reason == reason) {
		vpc_count(&left->last->pages, nr);
		return;
	}

	snprintf(device, sizeof(device), "%pg", bdev);
	vpc_left_name(new.device, sizeof(new.device), device);
	vpc_left_name(new.detail, sizeof(new.detail), detail ?: "");
	for (i = 0; i < left->nr && !entry; i++)
		if (left->entries[i].reason == reason &&
		    !strcmp(left->entries[i].device, new.device))
			entry = &left->entries[i];
	if (!entry) {
		if (left->nr == VPC_LEFT_ENTRIES) {
			vpc_count(&left->more, nr);
			return;
		}
		entry = &left->entries[left->nr++];
		*entry = new;
	}
	vpc_count(&entry->pages, nr);
	left->last = entry;
	left->last_bdev = bdev;
}

/* Why @bdev can't be found on the host's disks */
void vpc_left_add_device(struct vpc_collect *c, struct block_device *bdev,
			 u64 nr)
{
	const char *name = bdev->bd_disk->disk_name, *target = NULL;
	u32 reason = VIRTIO_PAGECACHE_LEFT_NO_DISK;
	unsigned int i;

	if (!strncmp(name, "dm-", 3)) {
		for (i = 0; i < c->left.nr_targets && !target; i++)
			if (MKDEV(c->left.targets[i].dm_major,
				  c->left.targets[i].dm_minor) == bdev->bd_dev)
				target = c->left.targets[i].name;
		/* linear all the way down, to something that is no disk */
		if (target && !strcmp(target, VPC_TARGET_MD))
			reason = VIRTIO_PAGECACHE_LEFT_MD;
		else if (target)
			reason = VIRTIO_PAGECACHE_LEFT_DM;
	} else if (!strncmp(name, "md", 2)) {
		reason = VIRTIO_PAGECACHE_LEFT_MD;
	} else if (vpc_disk_mismatch(c, bdev)) {
		reason = VIRTIO_PAGECACHE_LEFT_MISMATCH;
	}
	vpc_left_add(c, bdev, reason,
		     reason == VIRTIO_PAGECACHE_LEFT_DM ? target : NULL, nr);
}

/* A file that vpc_map_wants() does not want */
void vpc_left_inode(struct vpc_collect *c, struct inode *inode)
{
	struct block_device *bdev = inode->i_sb->s_bdev;
	u32 reason = VIRTIO_PAGECACHE_LEFT_OTHER;

	if (IS_ENCRYPTED(inode))
		reason = VIRTIO_PAGECACHE_LEFT_ENCRYPTED;
	else if (IS_DAX(inode))
		reason = VIRTIO_PAGECACHE_LEFT_DAX;
	else if (IS_SWAPFILE(inode))
		reason = VIRTIO_PAGECACHE_LEFT_SWAP;
	vpc_left_add(c, bdev, reason, NULL, READ_ONCE(inode->i_mapping->nrpages));
}

/*
 * Pages of a file on @c->where that stand on no disk as they are: behind the
 * end of it, or on a piece of a dm device that is of another kind.
 */
void vpc_left_pages(struct vpc_collect *c, u64 nr)
{
	if (c->where == &c->whole)
		vpc_count(&c->stats.unmapped, nr);
	else
		vpc_left_add_device(c, c->left.bdev, nr);
}

/* The entry of a superblock, made if there is none; NULL: no memory */
struct vpc_left_super *vpc_left_find(struct vpc_collect *c, dev_t dev)
{
	struct vpc_left *left = &c->left;
	struct vpc_left_super *supers = left->supers;
	unsigned int i, max;

	for (i = 0; i < left->nr_supers; i++)
		if (supers[i].dev == dev)
			return &supers[i];
	if (left->nr_supers == left->max_supers) {
		max = left->max_supers ? 2 * left->max_supers : 64;
		supers = krealloc_array(supers, max, sizeof(*supers),
					GFP_KERNEL);
		if (!supers)
			return NULL;	/* the hints are not worse for it */
		left->supers = supers;
		left->max_supers = max;
	}
	supers[left->nr_supers] = (struct vpc_left_super) { .dev = dev };
	return &supers[left->nr_supers++];
}

/*
 * The walk passes over a superblock: because of its device if @reason is
 * NO_DISK.  Its pages are counted later.
 */
void vpc_left_super(struct vpc_collect *c, u32 reason)
{
	struct super_block *sb = c->visit->sb;
	struct vpc_left_super *s;

	if (!sb->s_bdev)
		return;
	s = vpc_left_find(c, sb->s_dev);
	if (s) {
		s->passed = true;
		s->reason = reason;
	}
}

static int vpc_left_compare(const void *a, const void *b)
{
	const struct vpc_ioc_left *x = a, *y = b;

	return x->pages < y->pages ? 1 : x->pages == y->pages ? 0 : -1;
}

/* Makes the list as short as it has to be for others. */
static void vpc_left_fold(struct vpc_left *left)
{
	sort(left->entries, left->nr, sizeof(*left->entries), vpc_left_compare,
	     NULL);
	left->last = NULL;
	while (left->nr > VPC_MAX_LEFT || (left->more && left->nr == VPC_MAX_LEFT))
		left->more += left->entries[--left->nr].pages;
	if (left->more) {
		left->entries[left->nr++] = (struct vpc_ioc_left) {
			.reason = VIRTIO_PAGECACHE_LEFT_OTHER,
			.pages = left->more,
		};
		left->more = 0;
	}
}

/* The list for the host, in @out; returns its length. */
unsigned int vpc_left_fill(struct vpc_collect *c,
			   struct virtio_pagecache_left_out *out)
{
	struct vpc_left *left = &c->left;
	unsigned int i;

	vpc_left_fold(left);
	for (i = 0; i < left->nr; i++) {
		out[i] = (struct virtio_pagecache_left_out) {
			.pages = cpu_to_le64(left->entries[i].pages),
			.reason = cpu_to_le32(left->entries[i].reason),
		};
		memcpy(out[i].device, left->entries[i].device,
		       sizeof(out[i].device));
		memcpy(out[i].detail, left->entries[i].detail,
		       sizeof(out[i].detail));
	}
	return left->nr;
}

/* ... and for the daemon. */
int vpc_left_tell(struct vpc_collect *c, struct vpc_ioc_left_out *arg)
{
	struct vpc_left *left = &c->left;

	vpc_left_fold(left);
	arg->nr = left->nr;
	return copy_to_user(u64_to_user_ptr(arg->entries), left->entries,
			    left->nr * sizeof(*left->entries)) ? -EFAULT : 0;
}
