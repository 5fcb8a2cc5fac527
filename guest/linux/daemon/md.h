/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecached: where software RAID (md) lies on disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef MD_H
#define MD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* "@len sectors from the start of the array are those of @target from @offset" */
struct mirror {
	uint64_t len;
	dev_t target;
	uint64_t offset;
};

/*
 * A member of the array @name ("md0"), if all its members hold the same: a
 * RAID1 that runs, lacks none of its members, and is not being written to make
 * them equal.
 */
bool md_read(const char *name, struct mirror *mirror);

#endif
