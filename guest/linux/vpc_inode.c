// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: from one inode of a superblock to the next
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "vpc.h"

/* The list's spinlock is dropped after so many inodes without pages */
#define VPC_INODES		1024

/* A regular file with something in the cache */
bool vpc_inode_cached(struct inode *inode)
{
	return S_ISREG(inode->i_mode) && READ_ONCE(inode->i_mapping->nrpages);
}

/*
 * The next regular file with cached pages after @prev, which is handed back
 * (NULL: from the start of the list), or any inode after a while; NULL at the
 * end, or with c->error set.  *passed is increased by the number of inodes
 * that this went on.  With @count, files don't matter, only their number.
 */
struct inode *vpc_next_inode(struct vpc_collect *c, struct inode *prev,
			     bool count, unsigned long *passed)
{
	struct super_block *sb = c->visit->sb;
	struct inode *inode, *found = NULL;
	unsigned long n = 0;

	if (vpc_visit_reserve(c)) {
		c->error = -ENOMEM;
		if (prev)
			vpc_visit_put_inode(c, prev);
		return NULL;
	}
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

	if (prev)
		vpc_visit_put_inode(c, prev);
	cond_resched();
	*passed += n;
	return found;
}
