/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * virtio-pagecache: the guest tells the host which of its RAM is clean page
 * cache, and where on which disk the same bytes stand.
 *
 * This header is shared by the device (QEMU) and the driver (guest kernel).
 * docs/specs/virtio-pagecache.rst describes the protocol that goes with it.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Everything is little-endian: the device is a virtio 1.x device only.
 *
 * Nothing here is trusted by the device.  A hint may be stale, wrong or
 * hostile: it costs speed and never correctness, because the host compares
 * the content before it relies on a hint.
 */
#ifndef _LINUX_VIRTIO_PAGECACHE_H
#define _LINUX_VIRTIO_PAGECACHE_H

#include "standard-headers/linux/types.h"
#include "standard-headers/linux/virtio_types.h"
#include "standard-headers/linux/virtio_ids.h"
#include "standard-headers/linux/virtio_config.h"

/*
 * Not assigned by the virtio committee yet.  63 is the highest ID for which
 * the modern PCI device ID (0x1040 + ID) is accepted by Linux's virtio-pci.
 */
#ifndef VIRTIO_ID_PAGECACHE
#define VIRTIO_ID_PAGECACHE		63
#endif

/* A page of a hint is 4096 bytes, whatever the guest's own page size is. */
#define VIRTIO_PAGECACHE_PAGE_SHIFT	12
/* Sectors are 512 bytes, whatever the disk's logical block size is. */
#define VIRTIO_PAGECACHE_SECTOR_SHIFT	9

/* Feature bits */
#define VIRTIO_PAGECACHE_F_LEFT_OUT	0	/* LEFT_OUT messages */

/* Virtqueues */
#define VIRTIO_PAGECACHE_VQ_CTRL	0	/* disk table requests */
#define VIRTIO_PAGECACHE_VQ_HINT	1	/* hints and end records */
#define VIRTIO_PAGECACHE_VQ_MAX		2

/*
 * Configuration space, read-only for the driver.
 *
 * epoch: 0 while no collection is wanted, otherwise the number of the
 *        collection that is wanted.  A change is announced by a configuration
 *        change interrupt.  The driver stops at once when the value differs
 *        from that of the collection it is working on, and starts anew when
 *        the new value is not 0.
 * num_disks: number of entries in the disk table.  Entries are never reused
 *        for another disk while the device lives; an entry may become absent.
 * max_hints: the most hints that one buffer may hold.
 */
struct virtio_pagecache_config {
	uint32_t epoch;
	uint32_t num_disks;
	uint32_t max_hints;
};

/*
 * Control queue: a request (device-readable) followed by room for its answer
 * (device-writable).
 */
#define VIRTIO_PAGECACHE_CTRL_GET_DISK	0

struct virtio_pagecache_ctrl {
	uint32_t type;			/* VIRTIO_PAGECACHE_CTRL_* */
	uint32_t index;			/* GET_DISK: entry of the disk table */
};

/* virtio_pagecache_disk.status */
#define VIRTIO_PAGECACHE_S_OK		0
#define VIRTIO_PAGECACHE_S_ABSENT	1	/* no disk at this index (now) */
#define VIRTIO_PAGECACHE_S_BADREQ	2	/* the request makes no sense */

/* virtio_pagecache_disk.flags: which of the fields tell where the disk is */
#define VIRTIO_PAGECACHE_DISK_F_PCI	(1u << 0)
#define VIRTIO_PAGECACHE_DISK_F_SCSI	(1u << 1)
#define VIRTIO_PAGECACHE_DISK_F_RO	(1u << 2)

struct virtio_pagecache_disk {
	uint32_t status;		/* VIRTIO_PAGECACHE_S_* */
	uint32_t flags;			/* VIRTIO_PAGECACHE_DISK_F_* */
	uint64_t capacity;		/* in 512-byte sectors */
	/* F_PCI: PCI function of the disk, or of its host bus adapter */
	uint16_t pci_segment;
	uint8_t  pci_bus;
	uint8_t  pci_devfn;
	/* F_SCSI: address behind that host bus adapter */
	uint32_t scsi_channel;
	uint32_t scsi_target;
	uint32_t reserved;
	uint64_t scsi_lun;
	/* serial number as the guest sees it, padded with 0; may be empty */
	uint8_t  serial[64];
};

/*
 * Hint queue: each buffer (device-readable) starts with this header.
 *
 * HINTS:    followed by `count` of struct virtio_pagecache_hint
 * END:      followed by one struct virtio_pagecache_end; count is 1
 * LEFT_OUT: followed by `count` of struct virtio_pagecache_left_out, none to
 *           VIRTIO_PAGECACHE_LEFT_OUT_MAX; once in a collection at most, and
 *           only with VIRTIO_PAGECACHE_F_LEFT_OUT
 *
 * A buffer whose epoch is not the wanted one is dropped by the device.
 */
#define VIRTIO_PAGECACHE_MSG_HINTS	0
#define VIRTIO_PAGECACHE_MSG_END	1
#define VIRTIO_PAGECACHE_MSG_LEFT_OUT	2

struct virtio_pagecache_hdr {
	uint32_t type;			/* VIRTIO_PAGECACHE_MSG_* */
	uint32_t epoch;			/* the collection this belongs to */
	uint32_t count;
	uint32_t reserved;		/* 0 */
};

/*
 * "The npages pages from guest-physical address addr hold the same bytes as
 * the disk does from sector on, in the same order."
 */
struct virtio_pagecache_hint {
	uint64_t addr;			/* guest-physical, in bytes, page aligned */
	uint64_t sector;		/* first 512-byte sector on the disk */
	uint32_t npages;		/* 4096-byte pages; not 0 */
	uint32_t disk;			/* index into the disk table */
};

/* virtio_pagecache_end.status */
#define VIRTIO_PAGECACHE_END_OK		0	/* the map is complete */
#define VIRTIO_PAGECACHE_END_PARTIAL	1	/* the driver gave up half-way */

struct virtio_pagecache_end {
	uint32_t status;		/* VIRTIO_PAGECACHE_END_* */
	uint32_t reserved;		/* 0 */
	uint64_t hints;			/* hints sent for this epoch */
	uint64_t pages;			/* pages in them */
	uint64_t skipped;		/* cached pages seen and left out */
	uint64_t usecs;			/* what the collection took, microseconds */
};

/* virtio_pagecache_left_out.reason: why the driver can't tell where pages are */
#define VIRTIO_PAGECACHE_LEFT_OTHER	0	/* any other, or several */
#define VIRTIO_PAGECACHE_LEFT_FILESYSTEM 1	/* a file system it does not know */
#define VIRTIO_PAGECACHE_LEFT_NO_DISK	2	/* on no disk of the host's table */
#define VIRTIO_PAGECACHE_LEFT_MISMATCH	3	/* ... but for its size or serial */
#define VIRTIO_PAGECACHE_LEFT_DM	4	/* device-mapper, not linear */
#define VIRTIO_PAGECACHE_LEFT_MD	5	/* software RAID with no plain copy */
#define VIRTIO_PAGECACHE_LEFT_ENCRYPTED	6	/* encrypted files */
#define VIRTIO_PAGECACHE_LEFT_DAX	7	/* files with direct access */
#define VIRTIO_PAGECACHE_LEFT_SWAP	8	/* files that are swapped to */
#define VIRTIO_PAGECACHE_LEFT_REALTIME	9	/* XFS with a realtime device */
#define VIRTIO_PAGECACHE_LEFT_FROZEN	10	/* the file system was frozen */
#define VIRTIO_PAGECACHE_LEFT_DEVICE	11	/* the block device's own cache */

#define VIRTIO_PAGECACHE_LEFT_OUT_MAX	64	/* records in a message */
#define VIRTIO_PAGECACHE_DEVICE_LEN	32
#define VIRTIO_PAGECACHE_DETAIL_LEN	16

/*
 * "These cached pages are in no hint, for this reason."  Both names are
 * printable ASCII, padded with 0, and not terminated when they fill their
 * field.
 */
struct virtio_pagecache_left_out {
	uint64_t pages;			/* 4096-byte pages, about */
	uint32_t reason;		/* VIRTIO_PAGECACHE_LEFT_* */
	uint32_t reserved;		/* 0 */
	/* block device in the guest, without /dev/; empty: several */
	uint8_t device[VIRTIO_PAGECACHE_DEVICE_LEN];
	/* FILESYSTEM: its type; DM: the target's type; else empty */
	uint8_t detail[VIRTIO_PAGECACHE_DETAIL_LEN];
};

#endif /* _LINUX_VIRTIO_PAGECACHE_H */
