/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_pagecache: what older kernels lack
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The driver is written for the newest kernel.  For what a kernel does not
 * have yet there is a probe program in compat/probes/, which is compiled
 * against that kernel's headers; compat/generate puts the outcome into
 * compat-config.h as VPC_HAVE_<name of the probe>.  No version numbers.
 */
#ifndef _VPC_COMPAT_H
#define _VPC_COMPAT_H

#include "compat-config.h"

#include <linux/blkdev.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

/* Linux 6.11: the queues' callbacks and names in one array */
#ifndef VPC_HAVE_VIRTQUEUE_INFO
#define VPC_COMPAT_MAX_VQS	4

struct virtqueue_info {
	const char *name;
	vq_callback_t *callback;
};

static inline int vpc_compat_find_vqs(struct virtio_device *vdev,
				      unsigned int nvqs,
				      struct virtqueue *vqs[],
				      struct virtqueue_info info[],
				      struct irq_affinity *desc)
{
	vq_callback_t *callbacks[VPC_COMPAT_MAX_VQS];
	const char *names[VPC_COMPAT_MAX_VQS];
	unsigned int i;

	if (WARN_ON(nvqs > VPC_COMPAT_MAX_VQS))
		return -EINVAL;
	for (i = 0; i < nvqs; i++) {
		callbacks[i] = info[i].callback;
		names[i] = info[i].name;
	}
	return virtio_find_vqs(vdev, nvqs, vqs, callbacks, names, desc);
}

#define virtio_find_vqs vpc_compat_find_vqs
#endif

/* Linux 5.17: a function for it */
#ifndef VPC_HAVE_VIRTIO_RESET_DEVICE
static inline void vpc_compat_reset_device(struct virtio_device *vdev)
{
	vdev->config->reset(vdev);
}

#define virtio_reset_device vpc_compat_reset_device
#endif

/* Linux 5.11 */
#ifndef VPC_HAVE_KREALLOC_ARRAY
static inline void *vpc_compat_krealloc_array(void *p, size_t n, size_t size,
					      gfp_t flags)
{
	return krealloc(p, array_size(n, size), flags);
}

#define krealloc_array vpc_compat_krealloc_array
#endif

/* Linux 5.16 */
#ifndef VPC_HAVE_BDEV_NR_SECTORS
static inline sector_t vpc_compat_bdev_nr_sectors(struct block_device *bdev)
{
	return i_size_read(bdev->bd_inode) >> SECTOR_SHIFT;
}

#define bdev_nr_sectors vpc_compat_bdev_nr_sectors
#endif

#ifndef VPC_HAVE_FOLIO
#include "compat/folio.h"
#endif

/*
 * Linux 6.5 or so: an inline function; before that one that modules can't
 * call.  This may count a mapping of a whole large folio more than once, which
 * is no harm for what it is used for (see vpc_folio_held()).
 */
#ifndef VPC_HAVE_FOLIO_MAPCOUNT
static inline int vpc_compat_folio_mapcount(struct folio *folio)
{
	long i, nr = folio_nr_pages(folio);
	int count = 0;

	for (i = 0; i < nr; i++)
		count += atomic_read(&folio_page(folio, i)->_mapcount) + 1;
	if (folio_test_large(folio))
		count += folio_entire_mapcount(folio);
	return count;
}

#define folio_mapcount vpc_compat_folio_mapcount
#endif

/* Linux 6.10: a member of its own; before that an inode's */
static inline struct address_space *vpc_bdev_mapping(struct block_device *bdev)
{
#ifdef VPC_HAVE_BD_MAPPING
	return bdev->bd_mapping;
#else
	return bdev->bd_inode->i_mapping;
#endif
}

/* Is the file system mounted anywhere?  A look, no more. */
static inline bool vpc_sb_has_mounts(struct super_block *sb)
{
#ifdef VPC_HAVE_S_MOUNTS_POINTER
	return READ_ONCE(sb->s_mounts);
#else
	return !list_empty(&sb->s_mounts);
#endif
}

#endif /* _VPC_COMPAT_H */
