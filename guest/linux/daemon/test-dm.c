/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's daemon: following device-mapper tables down to disks
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Built and run by guest/linux/check; prints TAP.  Random tables are followed
 * by the daemon, and sector by sector by a look at each row.
 */
#include "dm.c"

#include <sys/resource.h>
#include <time.h>

#define LEVELS		4
#define DEVICES		4	/* of each level; those of level 0: disks */
#define SECTORS		200	/* of each device */
#define ROUNDS		2000
#define MANY		65536
/* The quadratic way takes more than twice as long on the fastest machines */
#define SECONDS		2

bool read_sys(const char *path, const char *name, const char *key,
			  char *value, size_t size)
{
	return false;
}

bool read_sys_dev(const char *path, dev_t *dev)
{
	return false;
}

bool md_read(const char *name, struct mirror *mirror)
{
	return false;
}

static dev_t device(int level, int number)
{
	return makedev(level + 1, number);
}

/* Rows with and without gaps, each on some device of the level below */
static void make_rows(struct rows *rows)
{
	for (int level = 1; level < LEVELS; level++) {
		for (int number = 0; number < DEVICES; number++) {
			uint64_t at = 0;

			while (at < SECTORS) {
				uint64_t len = 1 + random() % 60;
				struct row row = {
					.dev = device(level, number),
					.start = at,
					.len = len < SECTORS - at ? len : SECTORS - at,
					.target = device(level - 1, random() % DEVICES),
				};

				row.offset = random() % (SECTORS - row.len + 1);
				if (random() % 8) {
					add_row(rows, &row);
				}
				at += row.len;
			}
		}
	}
}

/* Where @sector of @dev stands; false: nowhere */
static bool follow(const struct rows *rows, dev_t *dev, uint64_t *sector)
{
	while (major(*dev) != 1) {
		size_t i;

		for (i = 0; i < rows->nr; i++) {
			const struct row *row = &rows->row[i];

			if (row->dev == *dev && *sector >= row->start &&
				*sector - row->start < row->len) {
				break;
			}
		}
		if (i == rows->nr) {
			return false;
		}
		*sector += rows->row[i].offset - rows->row[i].start;
		*dev = rows->row[i].target;
	}
	return true;
}

static void free_rows(struct rows *rows)
{
	free(rows->row);
	memset(rows, 0, sizeof(*rows));
}

static bool same_as_sector_by_sector(void)
{
	struct rows rows = { }, leaves = { };
	uint64_t mapped = 0, told = 0;
	bool same = true;

	make_rows(&rows);
	qsort(rows.row, rows.nr, sizeof(*rows.row), compare_rows);
	for (size_t i = 0; i < rows.nr; i++) {
		resolve(&leaves, &rows, &rows.row[i], 0);
	}
	for (size_t i = 0; i < leaves.nr; i++) {
		const struct row *leaf = &leaves.row[i];

		told += leaf->len;
		for (uint64_t s = 0; s < leaf->len; s++) {
			uint64_t sector = leaf->start + s;
			dev_t dev = leaf->dev;

			same &= follow(&rows, &dev, &sector) && dev == leaf->target &&
					sector == leaf->offset + s;
		}
	}
	for (int level = 1; level < LEVELS; level++) {
		for (int number = 0; number < DEVICES; number++) {
			for (uint64_t s = 0; s < SECTORS; s++) {
				dev_t dev = device(level, number);
				uint64_t sector = s;

				mapped += follow(&rows, &dev, &sector);
			}
		}
	}
	free_rows(&rows);
	free_rows(&leaves);
	return same && mapped == told;
}

/* A volume of many pieces on a volume of many pieces, back to front */
static bool many(void)
{
	struct rows rows = { }, leaves = { };
	bool all;

	for (uint64_t i = 0; i < MANY / 2; i++) {
		add_row(&rows, &(struct row) {
			.dev = device(2, 0), .start = i * 8, .len = 8,
			.target = device(1, 0), .offset = (MANY / 2 - 1 - i) * 8,
		});
		add_row(&rows, &(struct row) {
			.dev = device(1, 0), .start = i * 8, .len = 8,
			.target = device(0, i), .offset = 0,
		});
	}
	qsort(rows.row, rows.nr, sizeof(*rows.row), compare_rows);
	for (size_t i = 0; i < rows.nr; i++) {
		resolve(&leaves, &rows, &rows.row[i], 0);
	}
	all = leaves.nr == MANY;
	free_rows(&rows);
	free_rows(&leaves);
	return all;
}

int main(void)
{
	struct rlimit limit = { .rlim_cur = SECONDS, .rlim_max = SECONDS };
	bool same = true, all;

	srandom(1);
	for (int i = 0; i < ROUNDS && same; i++) {
		same = same_as_sector_by_sector();
	}
	printf("%sok 1 - the same as sector by sector\n", same ? "" : "not ");
	fflush(stdout);
	/* of the processor's time: a loaded machine changes nothing */
	limit.rlim_cur += clock() / CLOCKS_PER_SEC + 1;
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_CPU, &limit)) {
		return 1;
	}
	all = many();
	printf("%sok 2 - %d rows at once\n1..2\n", all ? "" : "not ", MANY);
	return !same || !all;
}
