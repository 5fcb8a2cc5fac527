// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio-pagecached: serial numbers of disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#define _GNU_SOURCE
#include "serial.h"
#include "sysfs.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

/* VPD page 0x80: a header of 4 bytes, of which the last two are the length */
#define VPD_HEADER	4

/* Room for more than what is compared: what is longer must not match */
#define MAX_SERIAL	256

/* Serial number of the disk /sys/PATH, with blanks; its length, 0: none */
static size_t read_serial(const char *path, uint8_t *serial)
{
	uint8_t page[VPD_HEADER + MAX_SERIAL];
	size_t got, len;

	/*
	 * Both are what the kernel remembers; for a virtio-blk disk's it would
	 * ask the disk, and wait.
	 */
	got = read_sys_bytes(path, "device/vpd_pg80", page, sizeof(page));
	if (got > VPD_HEADER) {
		len = page[2] << 8 | page[3];
		if (len > got - VPD_HEADER)
			len = got - VPD_HEADER;
		memcpy(serial, page + VPD_HEADER, len);
		return len;
	}
	if (read_sys(path, "device/serial", "", (char *)serial, MAX_SERIAL))
		return strlen((char *)serial);
	return 0;
}

static bool add_serial(struct vpc_ioc_serial *out, const char *path)
{
	uint8_t serial[MAX_SERIAL], *start = serial;
	size_t len;
	dev_t dev;

	/* what is hidden (paths of NVMe disks) has no number */
	if (!read_sys_dev(path, &dev))
		return false;
	len = read_serial(path, serial);
	while (len && (start[len - 1] == ' ' || !start[len - 1]))
		len--;
	while (len && *start == ' ') {
		start++;
		len--;
	}
	if (!len || len > sizeof(out->serial))
		return false;
	*out = (struct vpc_ioc_serial) {
		.major = major(dev),
		.minor = minor(dev),
	};
	memcpy(out->serial, start, len);
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct vpc_ioc_serial *x = a, *y = b;

	return memcmp(x->serial, y->serial, sizeof(x->serial));
}

/* Leaves out what two disks have. */
static void drop_doubles(struct serials *serials)
{
	struct vpc_ioc_serial *s = serials->serial;
	size_t i, end, nr = 0;

	qsort(s, serials->nr, sizeof(*s), compare);
	for (i = 0; i < serials->nr; i = end) {
		for (end = i + 1; end < serials->nr; end++)
			if (compare(&s[i], &s[end]))
				break;
		if (end == i + 1)
			s[nr++] = s[i];
	}
	serials->nr = nr;
}

void serials_read(struct serials *serials)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;

	serials->serial = dir ? calloc(VPC_MAX_SERIALS,
				       sizeof(*serials->serial)) : NULL;
	while (serials->serial && serials->nr < VPC_MAX_SERIALS &&
	       (entry = readdir(dir))) {
		char path[300];

		snprintf(path, sizeof(path), "block/%s", entry->d_name);
		if (entry->d_name[0] != '.' &&
		    add_serial(&serials->serial[serials->nr], path))
			serials->nr++;
	}
	if (dir)
		closedir(dir);
	if (serials->nr)
		drop_doubles(serials);
}

void serials_free(struct serials *serials)
{
	free(serials->serial);
	memset(serials, 0, sizeof(*serials));
}
