// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio-pagecached: where device-mapper devices (LVM) lie on disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A logical volume is, most of the time, a row of "linear" targets: its
 * blocks are those of the disk.  Only these are taken; what encrypts,
 * duplicates or remaps has blocks of its own.  A linear target may lie on
 * another dm device, so tables are followed down to a disk or partition,
 * which is handed to the module as an open file: the module knows best where
 * that is.
 */

#define _GNU_SOURCE
#include "dm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/dm-ioctl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* dm devices on dm devices; the kernel's own limit is about the same */
#define MAX_DEPTH	8
#define MIN_BUFFER	(16 * 1024)
#define MAX_BUFFER	(16 * 1024 * 1024)

/* "@len sectors from @start of @dev are those of @target from @offset" */
struct row {
	dev_t dev;
	uint64_t start;
	uint64_t len;
	dev_t target;
	uint64_t offset;
};

struct rows {
	struct row *row;
	size_t nr;
};

static bool grow(void **array, size_t nr, size_t size)
{
	void *p;

	/* doubles at each power of two */
	if (nr & (nr - 1))
		return true;
	p = reallocarray(*array, nr ? 2 * nr : 1, size);
	if (!p)
		return false;
	*array = p;
	return true;
}

static void add_row(struct rows *rows, const struct row *row)
{
	if (grow((void **)&rows->row, rows->nr, sizeof(*row)))
		rows->row[rows->nr++] = *row;
}

/* The table of @dev in a buffer that the caller frees, or NULL with errno */
static struct dm_ioctl *read_table(int control, dev_t dev)
{
	size_t size;

	for (size = MIN_BUFFER; size <= MAX_BUFFER; size *= 2) {
		struct dm_ioctl *dmi = calloc(1, size);
		int err;

		if (!dmi)
			return NULL;
		dmi->version[0] = DM_VERSION_MAJOR;
		dmi->data_size = size;
		dmi->data_start = sizeof(*dmi);
		dmi->flags = DM_STATUS_TABLE_FLAG | DM_NOFLUSH_FLAG;
		dmi->dev = dev;
		if (ioctl(control, DM_TABLE_STATUS, dmi) == 0 &&
		    !(dmi->flags & DM_BUFFER_FULL_FLAG))
			return dmi;
		err = dmi->flags & DM_BUFFER_FULL_FLAG ? 0 : errno;
		free(dmi);
		if (err) {
			errno = err;
			return NULL;
		}
	}
	errno = E2BIG;
	return NULL;
}

/*
 * The target at *at of a table, and its parameters; moves *at to the next one.
 * NULL if the table is broken.
 */
static const char *next_target(const struct dm_ioctl *dmi, size_t *at,
			       struct dm_target_spec *spec)
{
	const char *data = (const char *)dmi + dmi->data_start + *at;
	size_t room = dmi->data_size - dmi->data_start;
	const char *parameters = data + sizeof(*spec);

	if (*at > room || room - *at <= sizeof(*spec) ||
	    !memchr(parameters, 0, room - *at - sizeof(*spec)))
		return NULL;
	memcpy(spec, data, sizeof(*spec));
	/* what does not go on is the end, whatever target_count says */
	*at = spec->next > *at ? spec->next : room;
	return parameters;
}

static bool is_linear(const struct dm_target_spec *spec)
{
	return strncmp(spec->target_type, "linear",
		       sizeof(spec->target_type)) == 0;
}

/* Adds the linear targets of a table. */
static void parse_table(struct rows *rows, dev_t dev,
			const struct dm_ioctl *dmi)
{
	struct dm_target_spec spec;
	const char *parameters;
	size_t at = 0;
	unsigned int i;

	/* while it is suspended, its table is about to be replaced */
	if (dmi->flags & DM_SUSPEND_FLAG)
		return;
	for (i = 0; i < dmi->target_count &&
		    (parameters = next_target(dmi, &at, &spec)); i++) {
		unsigned int major, minor;
		unsigned long long offset;

		if (is_linear(&spec) &&
		    sscanf(parameters, "%u:%u %llu", &major, &minor,
			   &offset) == 3) {
			add_row(rows, &(struct row) {
				.dev = dev,
				.start = spec.sector_start,
				.len = spec.length,
				.target = makedev(major, minor),
				.offset = offset,
			});
		}
	}
}

bool dm_other_target(int control, dev_t dev, char type[VPC_DETAIL_LEN])
{
	struct dm_ioctl *dmi = read_table(control, dev);
	struct dm_target_spec spec;
	bool found = false;
	unsigned int i;
	size_t at = 0;

	for (i = 0; dmi && !found && i < dmi->target_count &&
		    next_target(dmi, &at, &spec); i++) {
		found = !is_linear(&spec);
		if (found)
			snprintf(type, VPC_DETAIL_LEN, "%.*s",
				 (int)sizeof(spec.target_type),
				 spec.target_type);
	}
	free(dmi);
	return found;
}

/* First line of /sys/PATH/NAME that begins with @key, without it */
static bool read_sys(const char *path, const char *name, const char *key,
		     char *value, size_t size)
{
	char *file = NULL;
	bool found = false;
	FILE *f;

	if (asprintf(&file, "/sys/%s/%s", path, name) < 0)
		return false;
	f = fopen(file, "re");
	free(file);
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

/* All linear rows of all dm devices */
static void read_rows(struct rows *rows)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	int control = -1;

	while (dir && (entry = readdir(dir))) {
		unsigned int major, minor;
		struct dm_ioctl *dmi;
		char path[300], dev[32];

		if (strncmp(entry->d_name, "dm-", 3))
			continue;
		snprintf(path, sizeof(path), "block/%s", entry->d_name);
		if (!read_sys(path, "dev", "", dev, sizeof(dev)) ||
		    sscanf(dev, "%u:%u", &major, &minor) != 2)
			continue;
		/* opened late: it loads device-mapper where nobody uses it */
		if (control < 0)
			control = open("/dev/" DM_DIR "/" DM_CONTROL_NODE,
				       O_RDWR | O_CLOEXEC);
		if (control < 0) {
			fprintf(stderr, "/dev/%s/%s: %m; logical volumes are left out\n",
				DM_DIR, DM_CONTROL_NODE);
			break;
		}
		dmi = read_table(control, makedev(major, minor));
		if (dmi)
			parse_table(rows, makedev(major, minor), dmi);
		else if (errno != ENXIO)
			fprintf(stderr, "table of %s: %m; it is left out\n",
				entry->d_name);
		free(dmi);
	}
	if (control >= 0)
		close(control);
	if (dir)
		closedir(dir);
}

/* Opens a block device by its number: -1 if that can't be done */
static int open_device(dev_t dev)
{
	char path[64], name[256], *node = NULL;
	struct stat st;
	int fd = -1;

	snprintf(path, sizeof(path), "dev/block/%u:%u", major(dev),
		 minor(dev));
	if (read_sys(path, "uevent", "DEVNAME=", name, sizeof(name)) &&
	    asprintf(&node, "/dev/%s", name) >= 0)
		fd = open(node, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	free(node);
	if (fd >= 0 && (fstat(fd, &st) || !S_ISBLK(st.st_mode) ||
			st.st_rdev != dev)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* The devices that are open, by number */
struct files {
	struct {
		dev_t dev;
		int fd;
	} *file;
	size_t nr;
};

static int get_file(struct files *files, dev_t dev)
{
	size_t i;

	for (i = 0; i < files->nr; i++)
		if (files->file[i].dev == dev)
			return files->file[i].fd;
	if (!grow((void **)&files->file, files->nr, sizeof(*files->file)))
		return -1;
	files->file[files->nr].dev = dev;
	files->file[files->nr].fd = open_device(dev);
	return files->file[files->nr++].fd;
}

static void add_segment(struct segments *out, struct files *files,
			const struct row *row)
{
	int fd = get_file(files, row->target);

	if (fd < 0 || out->nr == VPC_MAX_SEGMENTS ||
	    !grow((void **)&out->seg, out->nr, sizeof(*out->seg)))
		return;
	out->seg[out->nr++] = (struct vpc_ioc_segment) {
		.dm_major = major(row->dev),
		.dm_minor = minor(row->dev),
		.start = row->start,
		.len = row->len,
		.target = row->offset,
		.fd = fd,
	};
}

/* Follows @row down to a disk or partition. */
static void resolve(struct segments *out, struct files *files,
		    const struct rows *rows, const struct row *row, int depth)
{
	bool leaf = true;
	size_t i;

	for (i = 0; i < rows->nr; i++) {
		const struct row *below = &rows->row[i];
		struct row part = *row;
		uint64_t lo, hi;

		if (below->dev != row->target)
			continue;
		leaf = false;
		lo = below->start > row->offset ? below->start : row->offset;
		hi = below->start + below->len;
		if (hi > row->offset + row->len)
			hi = row->offset + row->len;
		if (lo >= hi || depth == MAX_DEPTH)
			continue;
		part.start = row->start + (lo - row->offset);
		part.len = hi - lo;
		part.target = below->target;
		part.offset = below->offset + (lo - below->start);
		resolve(out, files, rows, &part, depth + 1);
	}
	if (leaf)
		add_segment(out, files, row);
}

void segments_read(struct segments *segments)
{
	struct files files = { };
	struct rows rows = { };
	size_t i;

	read_rows(&rows);
	for (i = 0; i < rows.nr; i++)
		resolve(segments, &files, &rows, &rows.row[i], 0);
	/* those that no segment uses can't be told by segments_free() */
	for (i = 0; i < files.nr; i++) {
		size_t j;

		for (j = 0; j < segments->nr; j++)
			if (segments->seg[j].fd == files.file[i].fd)
				break;
		if (j == segments->nr && files.file[i].fd >= 0)
			close(files.file[i].fd);
	}
	free(files.file);
	free(rows.row);
}

void segments_free(struct segments *segments)
{
	size_t i, j;

	for (i = 0; i < segments->nr; i++) {
		for (j = 0; j < i; j++)
			if (segments->seg[j].fd == segments->seg[i].fd)
				break;
		if (i == j)
			close(segments->seg[i].fd);
	}
	free(segments->seg);
	memset(segments, 0, sizeof(*segments));
}
