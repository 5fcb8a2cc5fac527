// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio-pagecached: the daemon of the virtio_pagecache module
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Waits until the host wants to know the guest's page cache, and then gives
 * the module what only a process has: memory that a file system's fiemap can
 * write to, and the tables of logical volumes.  Between two migrations it
 * sleeps.  It keeps one capability, CAP_SYS_ADMIN, which reading
 * device-mapper tables takes.
 */

#define _GNU_SOURCE
#include "dm.h"
#include "left.h"
#include "serial.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/capability.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SCRATCH_LEN	(16 * 1024)

static const struct {
	const char *name;
	uint32_t bit;
} filesystems[] = {
	{ "ext4", VPC_FS_EXT4 },
	{ "ext3", VPC_FS_EXT3 },
	{ "xfs", VPC_FS_XFS },
	{ "ext2", VPC_FS_EXT2 },
};

/* What can't get better by trying again; the service knows it, too */
#define EXIT_MISMATCH	78

static bool is_known(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(filesystems) / sizeof(*filesystems); i++)
		if (strcmp(name, filesystems[i].name) == 0)
			return true;
	return false;
}

static void fail(const char *what)
{
	fprintf(stderr, "%s: %m\n", what);
	exit(EXIT_FAILURE);
}

/* Which of the file systems that the module knows this kernel has (VPC_FS_*) */
static uint32_t known_filesystems(void)
{
	FILE *f = fopen("/proc/filesystems", "re");
	uint32_t found = 0;
	char line[128], name[128];
	size_t i;

	if (!f)
		fail("/proc/filesystems");
	while (fgets(line, sizeof(line), f)) {
		/* with "nodev" before it, it is on no disk */
		if (line[0] != '\t' || sscanf(line, "%127s", name) != 1)
			continue;
		for (i = 0; i < sizeof(filesystems) / sizeof(*filesystems); i++)
			if (strcmp(name, filesystems[i].name) == 0)
				found |= filesystems[i].bit;
	}
	fclose(f);
	return found;
}

static void drop_privileges(void)
{
	struct __user_cap_header_struct header = {
		.version = _LINUX_CAPABILITY_VERSION_3,
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = { };
	unsigned int cap;

	for (cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0))
			fail("dropping a capability");
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
		fail("dropping ambient capabilities");
	data[CAP_TO_INDEX(CAP_SYS_ADMIN)].permitted =
		CAP_TO_MASK(CAP_SYS_ADMIN);
	data[CAP_TO_INDEX(CAP_SYS_ADMIN)].effective =
		CAP_TO_MASK(CAP_SYS_ADMIN);
	if (syscall(SYS_capset, &header, data))
		fail("dropping capabilities");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		fail("PR_SET_NO_NEW_PRIVS");
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
		fail("PR_SET_DUMPABLE");
}

/* Ends the daemon, unless module and daemon are made for each other. */
static void check_module(int fd, const char *device)
{
	struct vpc_ioc_version version = { };

	if (ioctl(fd, VPC_IOC_VERSION, &version) && errno != ENOTTY)
		fail("VPC_IOC_VERSION");
	if (version.abi == VPC_ABI && version.collect == VPC_IOC_COLLECT)
		return;
	version.module[sizeof(version.module) - 1] = 0;
	fprintf(stderr, "%s: the loaded module virtio_pagecache (%s%s, interface %u) is not the one of this daemon (version " VPC_VERSION ", interface %u): install both from the same source, then load the module anew\n",
		device, version.abi ? "version " : "an older one",
		version.module, version.abi, VPC_ABI);
	exit(EXIT_MISMATCH);
}

static void tell(const struct vpc_ioc_collect *c)
{
	const struct vpc_ioc_stats *s = &c->stats;

	printf("collection %u %s: %llu pages in %llu hints of %llu files, %llu ms; left out: %llu dirty, %llu busy, %llu unmapped, %llu foreign; pauses: %llu\n",
	       c->epoch, c->complete ? "complete" : "cut short", s->hinted,
	       s->hints, s->inodes, (s->usecs + 999) / 1000, s->dirty, s->busy,
	       s->unmapped, s->foreign, s->pauses);
	if (c->error)
		fprintf(stderr, "collection %u: %s\n", c->epoch,
			strerror(c->error));
}

static void collect(int fd, void *scratch)
{
	struct segments segments = { };
	struct serials serials = { };
	struct left left = { };
	struct vpc_ioc_collect c = {
		.filesystems = known_filesystems(),
		.scratch = (uintptr_t)scratch,
		.scratch_len = SCRATCH_LEN,
	};
	int ret;

	segments_read(&segments);
	left_read(&left, &c.left, is_known);
	c.nr_segments = segments.nr;
	c.segments = (uintptr_t)segments.seg;
	serials_read(&serials);
	c.nr_serials = serials.nr;
	c.serials = (uintptr_t)serials.serial;
	do {
		ret = ioctl(fd, VPC_IOC_COLLECT, &c);
	} while (ret && errno == EINTR);
	if (ret)
		fail("VPC_IOC_COLLECT");
	segments_free(&segments);
	serials_free(&serials);
	if (c.epoch) {
		tell(&c);
		left_tell(&left, &c.left);
	}
	left_free(&left);
}

static void usage(FILE *out)
{
	fprintf(out,
		"usage: virtio-pagecached [OPTION]\n"
		"Serves the virtio_pagecache module, in the foreground.\n"
		"  -d, --device=FILE  instead of /dev/" VPC_NODE "\n"
		"  -h, --help         this text\n"
		"  -V, --version      the version\n");
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ }
	};
	const char *device = "/dev/" VPC_NODE;
	struct pollfd pollfd = { .events = POLLIN };
	void *scratch;
	int option;

	while ((option = getopt_long(argc, argv, "d:hV", options,
				     NULL)) >= 0) {
		switch (option) {
		case 'd':
			device = optarg;
			break;
		case 'h':
			usage(stdout);
			return EXIT_SUCCESS;
		case 'V':
			puts("virtio-pagecached " VPC_VERSION);
			return EXIT_SUCCESS;
		default:
			usage(stderr);
			return EXIT_FAILURE;
		}
	}
	if (optind < argc) {
		fprintf(stderr, "%s: unexpected argument\n", argv[optind]);
		return EXIT_FAILURE;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	pollfd.fd = open(device, O_RDWR | O_CLOEXEC);
	if (pollfd.fd < 0 && errno == ENOENT) {
		fprintf(stderr, "%s: not there; is the module virtio_pagecache loaded?\n",
			device);
		return EXIT_FAILURE;
	}
	if (pollfd.fd < 0)
		fail(device);
	check_module(pollfd.fd, device);
	scratch = mmap(NULL, SCRATCH_LEN, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (scratch == MAP_FAILED)
		fail("memory");
	/* only spares the module page faults */
	if (mlock(scratch, SCRATCH_LEN))
		fprintf(stderr, "locking %d bytes of memory: %m\n",
			SCRATCH_LEN);
	if (chdir("/"))
		fail("/");
	drop_privileges();

	for (;;) {
		if (poll(&pollfd, 1, -1) < 0) {
			if (errno == EINTR)
				continue;
			fail("poll");
		}
		if (!(pollfd.revents & POLLIN)) {
			fprintf(stderr, "%s: poll gives 0x%x, expected POLLIN\n",
				device, pollfd.revents);
			return EXIT_FAILURE;
		}
		collect(pollfd.fd, scratch);
	}
}
