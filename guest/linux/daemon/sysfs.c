// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio-pagecached: what the kernel says in /sys
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#define _GNU_SOURCE
#include "sysfs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

static FILE *open_sys(const char *path, const char *name)
{
	char *file = NULL;
	FILE *f;

	if (asprintf(&file, "/sys/%s/%s", path, name) < 0)
		return NULL;
	f = fopen(file, "re");
	free(file);
	return f;
}

bool read_sys(const char *path, const char *name, const char *key,
	      char *value, size_t size)
{
	FILE *f = open_sys(path, name);
	bool found = false;

	if (!f)
		return false;
	while (!found && fgets(value, size, f)) {
		value[strcspn(value, "\n")] = 0;
		if (strncmp(value, key, strlen(key)) == 0) {
			memmove(value, value + strlen(key),
				strlen(value + strlen(key)) + 1);
			found = true;
		}
	}
	fclose(f);
	return found;
}

size_t read_sys_bytes(const char *path, const char *name, void *value,
		      size_t size)
{
	FILE *f = open_sys(path, name);
	size_t got;

	if (!f)
		return 0;
	got = fread(value, 1, size, f);
	fclose(f);
	return got;
}

bool read_sys_dev(const char *path, dev_t *dev)
{
	unsigned int major, minor;
	char line[32];

	if (!read_sys(path, "dev", "", line, sizeof(line)) ||
	    sscanf(line, "%u:%u", &major, &minor) != 2)
		return false;
	*dev = makedev(major, minor);
	return true;
}
