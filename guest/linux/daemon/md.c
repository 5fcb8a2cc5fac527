// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio-pagecached: where software RAID (md) lies on disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#define _GNU_SOURCE
#include "md.h"
#include "sysfs.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAX_MEMBERS	64

/* The one word that /sys/PATH/NAME has, or an empty one */
static const char *word(const char *path, const char *name)
{
	static char value[128];

	if (!read_sys(path, name, "", value, sizeof(value)))
		value[0] = 0;
	return value;
}

static bool is_one_of(const char *value, const char *const *words)
{
	for (; *words; words++)
		if (strcmp(value, *words) == 0)
			return true;
	return false;
}

/* May the members of the array at /sys/PATH be taken for each other? */
static bool members_agree(const char *path)
{
	static const char *const running[] = {
		"clean", "active", "active-idle", "write-pending", "readonly",
		"read-auto", NULL
	};
	/* "check" compares and writes nothing */
	static const char *const quiet[] = { "idle", "check", NULL };

	return strcmp(word(path, "level"), "raid1") == 0 &&
	       is_one_of(word(path, "array_state"), running) &&
	       strcmp(word(path, "degraded"), "0") == 0 &&
	       is_one_of(word(path, "sync_action"), quiet) &&
	       /* where a sync that was interrupted will go on */
	       strcmp(word(path, "resync_start"), "none") == 0 &&
	       strcmp(word(path, "reshape_position"), "none") == 0;
}

/* In sync, and neither faulty nor written late nor being replaced */
static bool read_member(const char *path, struct mirror *mirror)
{
	static const char *const good[] = {
		"in_sync", "in_sync,failfast", NULL
	};
	char block[400];

	snprintf(block, sizeof(block), "%s/block", path);
	return is_one_of(word(path, "state"), good) &&
	       sscanf(word(path, "offset"), "%" SCNu64, &mirror->offset) == 1 &&
	       read_sys_dev(block, &mirror->target);
}

bool md_read(const char *name, struct mirror *mirror)
{
	char array[300], path[350];
	unsigned int i;

	snprintf(array, sizeof(array), "block/%s", name);
	snprintf(path, sizeof(path), "%s/md", array);
	if (!members_agree(path) ||
	    sscanf(word(array, "size"), "%" SCNu64, &mirror->len) != 1)
		return false;
	for (i = 0; i < MAX_MEMBERS; i++) {
		snprintf(path, sizeof(path), "%s/md/rd%u", array, i);
		if (read_member(path, mirror))
			return true;
	}
	return false;
}
