/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecached: where device-mapper devices (LVM) lie on disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef DM_H
#define DM_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "virtio_pagecache_ioctl.h"

/*
 * Segments of all dm devices and md arrays that lie linearly on disks or
 * partitions, in the form that VPC_IOC_COLLECT takes.  Owns @seg, and the file
 * descriptors that are in it (@fd, or -1).  All zeroes is a valid, empty one.
 */
struct segments {
	struct vpc_ioc_segment *seg;
	size_t nr;
	int *fd;
	size_t nr_fds;
};

/*
 * Reads the tables of the dm devices as they are now.  What can't be read,
 * or is not linear, is left out, with a message if that is an error.
 */
void segments_read(struct segments *segments);

/* Closes the devices and frees the memory. */
void segments_free(struct segments *segments);

/*
 * @control: device-mapper's node, open.  The type of the first target of @dev that
 * is not linear; false: there is none, or no table.
 */
bool dm_other_target(int control, dev_t dev, char type[VPC_DETAIL_LEN]);

#endif
