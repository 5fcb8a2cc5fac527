/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio-pagecached: what is left out
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef LEFT_H
#define LEFT_H

#include <stdbool.h>

#include "virtio_pagecache_ioctl.h"

struct left {
	struct vpc_ioc_type *type;
	struct vpc_ioc_target *target;
	struct vpc_ioc_left entry[VPC_MAX_LEFT];
};

/*
 * Fills in *@arg what the module wants to know to name what it leaves out;
 * what can't be found out, it will have no name for.  @known: is this file
 * system one that the module takes hints from?
 */
void left_read(struct left *left, struct vpc_ioc_left_out *arg,
	       bool (*known)(const char *name));
void left_free(struct left *left);

/* Prints a line for each entry that the module has made. */
void left_tell(const struct left *left, const struct vpc_ioc_left_out *arg);

#endif
