/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecached: what the kernel says in /sys
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SYSFS_H
#define SYSFS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The first line of /sys/PATH/NAME that begins with @key, without it and
 * without the line's end; cut off at @size - 1 bytes.  False if there is none.
 */
bool read_sys(const char *path, const char *name, const char *key,
	      char *value, size_t size);

/* Up to @size bytes of /sys/PATH/NAME, whatever they are; 0: none. */
size_t read_sys_bytes(const char *path, const char *name, void *value,
		      size_t size);

/* The number of the block device that /sys/PATH is */
bool read_sys_dev(const char *path, dev_t *dev);

#endif
