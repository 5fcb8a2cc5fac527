// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio-pagecached: where device-mapper devices (LVM) lie on disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * And arrays of software RAID (md.c), on which they may lie, and which may lie
 * on them.
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
#include "md.h"
#include "sysfs.h"

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

/* The partitions of the disk @dev at /sys/PATH */
static void add_partitions(struct rows *rows, dev_t dev, const char *path)
{
	char name[600], number[32], size[32];
	struct dirent *entry;
	DIR *dir;

	snprintf(name, sizeof(name), "/sys/%s", path);
	dir = opendir(name);
	while (dir && (entry = readdir(dir))) {
		struct row row = { .target = dev };

		snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
		if (read_sys(name, "partition", "", number, sizeof(number)) &&
		    read_sys(name, "start", "", number, sizeof(number)) &&
		    read_sys(name, "size", "", size, sizeof(size)) &&
		    read_sys_dev(name, &row.dev)) {
			row.offset = strtoull(number, NULL, 10);
			row.len = strtoull(size, NULL, 10);
			add_row(rows, &row);
		}
	}
	if (dir)
		closedir(dir);
}

static void add_mirror(struct rows *rows, const char *name, const char *path)
{
	struct row row = { };
	struct mirror mirror;

	if (!read_sys_dev(path, &row.dev) || !md_read(name, &mirror))
		return;
	row.len = mirror.len;
	row.target = mirror.target;
	row.offset = mirror.offset;
	add_row(rows, &row);
	/* the module knows those of disks, not these */
	add_partitions(rows, row.dev, path);
}

/* All linear rows of all dm devices, and of md arrays */
static void read_rows(struct rows *rows)
{
	DIR *dir = opendir("/sys/block");
	struct dirent *entry;
	bool no_dm = false;
	int control = -1;

	while (dir && (entry = readdir(dir))) {
		struct dm_ioctl *dmi;
		char path[300];
		dev_t dev;

		snprintf(path, sizeof(path), "block/%s", entry->d_name);
		if (strncmp(entry->d_name, "md", 2) == 0)
			add_mirror(rows, entry->d_name, path);
		if (strncmp(entry->d_name, "dm-", 3) || no_dm ||
		    !read_sys_dev(path, &dev))
			continue;
		/* opened late: it loads device-mapper where nobody uses it */
		if (control < 0)
			control = open("/dev/" DM_DIR "/" DM_CONTROL_NODE,
				       O_RDWR | O_CLOEXEC);
		if (control < 0) {
			fprintf(stderr, "/dev/%s/%s: %m; logical volumes are left out\n",
				DM_DIR, DM_CONTROL_NODE);
			no_dm = true;
			continue;
		}
		dmi = read_table(control, dev);
		if (dmi)
			parse_table(rows, dev, dmi);
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

/* A total order by device and sector: rows of a device stand together. */
static int compare_rows(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->start < y->start ? -1 : x->start > y->start;
}

static int compare_targets(const void *a, const void *b)
{
	const struct row *x = a, *y = b;

	if (x->target != y->target)
		return x->target < y->target ? -1 : 1;
	return 0;
}

/* The first of the sorted rows of @dev that ends behind @sector */
static size_t find_row(const struct rows *rows, dev_t dev, uint64_t sector)
{
	size_t lo = 0, hi = rows->nr;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct row *row = &rows->row[mid];

		if (row->dev < dev ||
		    (row->dev == dev && row->start + row->len <= sector))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Has @dev rows, be it with holes or with none that is linear? */
static bool has_rows(const struct rows *rows, dev_t dev)
{
	size_t i = find_row(rows, dev, 0);

	return i < rows->nr && rows->row[i].dev == dev;
}

/* Follows @row of the sorted @rows down to disks and partitions. */
static void resolve(struct rows *leaves, const struct rows *rows,
		    const struct row *row, int depth)
{
	uint64_t end = row->offset + row->len;
	size_t i;

	if (leaves->nr == VPC_MAX_SEGMENTS)
		return;
	if (!has_rows(rows, row->target)) {
		add_row(leaves, row);
		return;
	}
	if (depth == MAX_DEPTH)
		return;
	for (i = find_row(rows, row->target, row->offset); i < rows->nr; i++) {
		const struct row *below = &rows->row[i];
		struct row part = *row;
		uint64_t lo, hi;

		if (below->dev != row->target || below->start >= end)
			break;
		lo = below->start > row->offset ? below->start : row->offset;
		hi = below->start + below->len;
		if (hi > end)
			hi = end;
		part.start = row->start + (lo - row->offset);
		part.len = hi - lo;
		part.target = below->target;
		part.offset = below->offset + (lo - below->start);
		resolve(leaves, rows, &part, depth + 1);
	}
}

/* Makes segments of rows that lie on disks, and opens these. */
static void add_segments(struct segments *out, struct rows *leaves)
{
	size_t i;

	if (!leaves->nr)
		return;
	out->seg = calloc(leaves->nr, sizeof(*out->seg));
	out->fd = calloc(leaves->nr, sizeof(*out->fd));
	if (!out->seg || !out->fd)
		return;
	qsort(leaves->row, leaves->nr, sizeof(*leaves->row), compare_targets);
	for (i = 0; i < leaves->nr; i++) {
		const struct row *row = &leaves->row[i];

		if (!i || row->target != row[-1].target)
			out->fd[out->nr_fds++] = open_device(row->target);
		if (out->fd[out->nr_fds - 1] < 0)
			continue;
		out->seg[out->nr++] = (struct vpc_ioc_segment) {
			.dm_major = major(row->dev),
			.dm_minor = minor(row->dev),
			.start = row->start,
			.len = row->len,
			.target = row->offset,
			.fd = out->fd[out->nr_fds - 1],
		};
	}
}

void segments_read(struct segments *segments)
{
	struct rows rows = { }, leaves = { };
	size_t i;

	read_rows(&rows);
	if (rows.nr)
		qsort(rows.row, rows.nr, sizeof(*rows.row), compare_rows);
	for (i = 0; i < rows.nr; i++)
		resolve(&leaves, &rows, &rows.row[i], 0);
	add_segments(segments, &leaves);
	free(leaves.row);
	free(rows.row);
}

void segments_free(struct segments *segments)
{
	size_t i;

	for (i = 0; i < segments->nr_fds; i++)
		if (segments->fd[i] >= 0)
			close(segments->fd[i]);
	free(segments->fd);
	free(segments->seg);
	memset(segments, 0, sizeof(*segments));
}
