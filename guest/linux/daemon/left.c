// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio-pagecached: what is left out
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The module counts pages that it can't tell the place of, by device and
 * reason.  The kernel does not tell it which file systems there are, nor of
 * what kind the target of a device-mapper device is; we look it up.
 */

#define _GNU_SOURCE
#include "left.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "dm.h"
#include "virtio_pagecache.h"

/* dm devices on dm devices; the kernel's own limit is about the same */
#define MAX_DEPTH	8

static void read_types(struct left *left, struct vpc_ioc_left_out *arg,
		       bool (*known)(const char *name))
{
	FILE *f = fopen("/proc/filesystems", "re");
	char line[128], name[VPC_TYPE_LEN];

	left->type = calloc(VPC_MAX_TYPES, sizeof(*left->type));
	while (f && left->type && arg->nr_types < VPC_MAX_TYPES &&
	       fgets(line, sizeof(line), f)) {
		/* with "nodev" before it, it is on no disk */
		if (line[0] != '\t' || sscanf(line, "%31s", name) != 1 ||
		    known(name))
			continue;
		strcpy(left->type[arg->nr_types++].name, name);
	}
	if (f)
		fclose(f);
}

/* Number of a device in /sys/block or in a "slaves" directory; 0: gone */
static dev_t device_number(const char *directory, const char *name)
{
	unsigned int major, minor;
	char *path = NULL;
	dev_t dev = 0;
	FILE *f;

	if (asprintf(&path, "%s/%s/dev", directory, name) < 0)
		return 0;
	f = fopen(path, "re");
	if (f && fscanf(f, "%u:%u", &major, &minor) == 2)
		dev = makedev(major, minor);
	if (f)
		fclose(f);
	free(path);
	return dev;
}

/*
 * The type of the first target that is not linear, of the dm device @name or
 * of what it stands on; false: there is none.
 */
static bool find_target(int control, const char *name, int depth,
			char type[VPC_DETAIL_LEN])
{
	char *slaves = NULL;
	struct dirent *entry;
	bool found;
	DIR *dir;

	if (strncmp(name, "md", 2) == 0) {
		strcpy(type, VPC_TARGET_MD);
		return true;
	}
	if (strncmp(name, "dm-", 3) || depth > MAX_DEPTH)
		return false;
	found = dm_other_target(control, device_number("/sys/block", name),
				type);
	if (found || asprintf(&slaves, "/sys/block/%s/slaves", name) < 0)
		return found;
	dir = opendir(slaves);
	while (!found && dir && (entry = readdir(dir)))
		found = find_target(control, entry->d_name, depth + 1, type);
	if (dir)
		closedir(dir);
	free(slaves);
	return found;
}

static void read_targets(struct left *left, struct vpc_ioc_left_out *arg)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	size_t room = 0;
	int control = -1;

	while (dir && (entry = readdir(dir)) &&
	       arg->nr_targets < VPC_MAX_TARGETS) {
		struct vpc_ioc_target target = { };
		dev_t dev;

		if (strncmp(entry->d_name, "dm-", 3))
			continue;
		/* opened late: it loads device-mapper where nobody uses it */
		if (control < 0)
			control = open("/dev/" DM_DIR "/" DM_CONTROL_NODE,
				       O_RDWR | O_CLOEXEC);
		if (control < 0)
			break;
		dev = device_number("/sys/block", entry->d_name);
		if (!dev || !find_target(control, entry->d_name, 0,
					 target.name))
			continue;
		if (arg->nr_targets == room) {
			void *p = reallocarray(left->target,
					       room ? 2 * room : 16,
					       sizeof(target));

			if (!p)
				break;
			left->target = p;
			room = room ? 2 * room : 16;
		}
		target.dm_major = major(dev);
		target.dm_minor = minor(dev);
		left->target[arg->nr_targets++] = target;
	}
	if (control >= 0)
		close(control);
	if (dir)
		closedir(dir);
}

void left_read(struct left *left, struct vpc_ioc_left_out *arg,
	       bool (*known)(const char *name))
{
	read_types(left, arg, known);
	read_targets(left, arg);
	arg->types = (uintptr_t)left->type;
	arg->targets = (uintptr_t)left->target;
	arg->entries = (uintptr_t)left->entry;
}

void left_free(struct left *left)
{
	free(left->type);
	free(left->target);
}

/* 51,000 */
static const char *with_commas(unsigned long long n, char out[32])
{
	char *p = out + 31;
	int digits = 0;

	*p = 0;
	do {
		if (digits && digits % 3 == 0)
			*--p = ',';
		*--p = '0' + n % 10;
		digits++;
	} while (n /= 10);
	return p;
}

static const char *what(const struct vpc_ioc_left *e, char out[64])
{
	static const char *const text[] = {
		[VIRTIO_PAGECACHE_LEFT_OTHER] = "others",
		[VIRTIO_PAGECACHE_LEFT_FILESYSTEM] = "file system",
		[VIRTIO_PAGECACHE_LEFT_NO_DISK] = "no disk of the host's,",
		[VIRTIO_PAGECACHE_LEFT_MISMATCH] =
			"disk of another size or serial number,",
		[VIRTIO_PAGECACHE_LEFT_DM] = "dm",
		[VIRTIO_PAGECACHE_LEFT_MD] = "RAID",
		[VIRTIO_PAGECACHE_LEFT_ENCRYPTED] = "encrypted files on",
		[VIRTIO_PAGECACHE_LEFT_DAX] = "DAX files on",
		[VIRTIO_PAGECACHE_LEFT_SWAP] = "swap files on",
		[VIRTIO_PAGECACHE_LEFT_REALTIME] = "realtime XFS on",
		[VIRTIO_PAGECACHE_LEFT_FROZEN] = "frozen file system on",
		[VIRTIO_PAGECACHE_LEFT_DEVICE] = "metadata and raw reads of",
	};
	size_t n = sizeof(text) / sizeof(*text);

	if (e->reason == VIRTIO_PAGECACHE_LEFT_DM && e->detail[0])
		snprintf(out, 64, "dm-%s", e->detail);
	else if (e->reason == VIRTIO_PAGECACHE_LEFT_FILESYSTEM && e->detail[0])
		snprintf(out, 64, "%s on", e->detail);
	else
		snprintf(out, 64, "%s",
			 text[e->reason < n ? e->reason : 0]);
	return out;
}

void left_tell(const struct left *left, const struct vpc_ioc_left_out *arg)
{
	char text[64], number[32];
	uint32_t i;

	for (i = 0; i < arg->nr && i < VPC_MAX_LEFT; i++) {
		const struct vpc_ioc_left *e = &left->entry[i];

		printf("left out: %s%s%s, %s pages\n", what(e, text),
		       e->device[0] ? " /dev/" : "", e->device,
		       with_commas(e->pages, number));
	}
}
