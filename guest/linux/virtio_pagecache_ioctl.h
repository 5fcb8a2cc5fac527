/* SPDX-License-Identifier: GPL-2.0-or-later WITH Linux-syscall-note */
/*
 * /dev/virtio-pagecache: between the virtio_pagecache module and its daemon
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The device can be open once at a time, by a process with CAP_SYS_ADMIN in
 * the initial user namespace.  poll() tells when a collection is wanted;
 * VPC_IOC_COLLECT then does it, in the context of the caller, who can be
 * killed, frozen, niced and put into a cgroup like any process.  Module and
 * daemon come from the same source tree; there is no promise of stability
 * between versions but for VPC_IOC_VERSION, by which the daemon finds out.
 */
#ifndef _VIRTIO_PAGECACHE_IOCTL_H
#define _VIRTIO_PAGECACHE_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define VPC_NODE		"virtio-pagecache"

/*
 * File systems that the module knows to be safe.  The daemon says which of
 * them the kernel has at present (/proc/filesystems): the module could not
 * ask without loading those that nobody uses.
 */
#define VPC_FS_EXT4		(1U << 0)
#define VPC_FS_EXT3		(1U << 1)	/* of the ext4 driver */
#define VPC_FS_XFS		(1U << 2)
#define VPC_FS_EXT2		(1U << 3)	/* of the ext4 driver, or not */
#define VPC_FS_ALL		(VPC_FS_EXT4 | VPC_FS_EXT3 | VPC_FS_XFS | \
				 VPC_FS_EXT2)

/*
 * What VPC_IOC_VERSION tells; never changes.  VPC_ABI is raised with every
 * change of meaning below that VPC_IOC_COLLECT's number does not show.
 */
#define VPC_ABI			2

struct vpc_ioc_version {
	__u32 abi;			/* VPC_ABI */
	__u32 collect;			/* VPC_IOC_COLLECT */
	char module[32];		/* version of the module, ends with 0 */
};

/*
 * "The disk major:minor has this serial number, and no other disk has."
 * Without blanks around it, padded with 0.
 */
struct vpc_ioc_serial {
	__u32 major;
	__u32 minor;
	__u8 serial[64];
};

#define VPC_MAX_SERIALS		4096

/*
 * "Sectors start to start + len - 1 of block device dm_major:dm_minor are the
 * sectors from target on of the block device that is open as fd."
 * The latter is a disk or a partition; everything in 512-byte sectors.
 */
struct vpc_ioc_segment {
	__u32 dm_major;
	__u32 dm_minor;
	__u64 start;
	__u64 len;
	__u64 target;
	__s32 fd;
	__u32 reserved;			/* 0 */
};

#define VPC_MAX_SEGMENTS	65536

/* What became of the pages that were looked at; pages of 4096 bytes */
struct vpc_ioc_stats {
	__u64 hints;			/* hints that were sent */
	__u64 hinted;			/* pages in them */
	__u64 dirty;			/* not written back yet */
	__u64 busy;			/* locked, pinned, being read, DMA */
	__u64 unmapped;			/* no block of its own: hole, ... */
	__u64 foreign;			/* all in the list of what is left out */
	__u64 inodes;			/* that were looked at */
	__u64 pauses;			/* times that a file system was left for
					 * others to go on
					 */
	__u64 usecs;			/* duration */
};

/* A file system that needs a block device and is none of VPC_FS_* */
#define VPC_TYPE_LEN		32
struct vpc_ioc_type {
	char name[VPC_TYPE_LEN];
};

#define VPC_MAX_TYPES		256

/*
 * "dm_major:dm_minor has, itself or below, a target of this type, which is not
 * linear."  VPC_TARGET_MD: what is below is software RAID.
 */
#define VPC_DETAIL_LEN		16
#define VPC_TARGET_MD		"md"
struct vpc_ioc_target {
	__u32 dm_major;
	__u32 dm_minor;
	char name[VPC_DETAIL_LEN];
};

#define VPC_MAX_TARGETS		65536

/* Pages that are left out on one device, for one reason */
#define VPC_DEVICE_LEN		32
struct vpc_ioc_left {
	char device[VPC_DEVICE_LEN];	/* without /dev/; empty: several */
	char detail[VPC_DETAIL_LEN];	/* type of file system, target */
	__u32 reason;			/* VIRTIO_PAGECACHE_LEFT_* */
	__u32 reserved;
	__u64 pages;			/* of 4096 bytes */
};

#define VPC_MAX_LEFT		64

/* Names end with a 0. */
struct vpc_ioc_left_out {
	/* in */
	__u64 types;			/* address of struct vpc_ioc_type[] */
	__u64 targets;			/* address of struct vpc_ioc_target[] */
	__u64 entries;			/* address of room for VPC_MAX_LEFT
					 * of struct vpc_ioc_left
					 */
	__u32 nr_types;
	__u32 nr_targets;
	/* out */
	__u32 nr;			/* entries that were filled in */
	__u32 reserved;			/* 0 */
};

struct vpc_ioc_collect {
	/* in */
	__u32 filesystems;		/* VPC_FS_* */
	__u32 nr_segments;
	__u64 segments;			/* address of struct vpc_ioc_segment[] */
	__u64 scratch;			/* address of memory for the module */
	__u32 scratch_len;		/* in bytes, VPC_SCRATCH_MIN to _MAX */
	__u32 reserved;			/* 0 */
	__u64 serials;			/* address of struct vpc_ioc_serial[] */
	__u32 nr_serials;
	/* out */
	__u32 epoch;			/* of the collection; 0: none wanted */
	__u32 complete;			/* 1: the whole map, 0: a part */
	__u32 disks;			/* in the host's table */
	__u32 error;			/* errno that cut it short, or 0 */
	__u32 reserved2;
	struct vpc_ioc_left_out left;	/* in and out */
	struct vpc_ioc_stats stats;
};

#define VPC_SCRATCH_MIN		4096
#define VPC_SCRATCH_MAX		(256 * 1024)

/*
 * Does a collection, if one is wanted.  Fails with EINVAL, EFAULT or E2BIG
 * (bad argument), ENOMEM, or EBUSY (another thread is at it).  What goes wrong
 * later, bad segments included, makes the collection incomplete and is told
 * in @error.  When a signal comes that is not fatal, the call is restarted, or
 * fails with EINTR if there is a handler without SA_RESTART; either way the
 * next call goes on with the same collection.
 */
#define VPC_IOC_COLLECT		_IOWR(0xb7, 0x01, struct vpc_ioc_collect)

/* Which module is this?  The first ones don't know it: ENOTTY. */
#define VPC_IOC_VERSION		_IOR(0xb7, 0x00, struct vpc_ioc_version)

#endif /* _VIRTIO_PAGECACHE_IOCTL_H */
