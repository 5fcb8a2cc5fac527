/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecached: serial numbers of disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SERIAL_H
#define SERIAL_H

#include <stddef.h>

#include "virtio_pagecache_ioctl.h"

/* All zeroes is a valid, empty one.  Owns @serial. */
struct serials {
	struct vpc_ioc_serial *serial;
	size_t nr;
};

/*
 * Reads the serial numbers that disks of the SCSI layer (SATA, IDE and USB
 * disks among them) and NVMe disks have told the kernel.  None that two disks
 * have is among them.
 */
void serials_read(struct serials *serials);

void serials_free(struct serials *serials);

#endif
