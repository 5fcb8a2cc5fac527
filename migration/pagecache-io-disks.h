/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: which disks the I/O map knows
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A disk has a number as long as it has a device and a medium.  Entries with
 * the number of one that went mean nothing; the number is given out again once
 * they have been swept out of the map.
 */
#ifndef MIGRATION_PAGECACHE_IO_DISKS_H
#define MIGRATION_PAGECACHE_IO_DISKS_H

#include "qemu/typedefs.h"
#include "pagecache-io-map.h"

/* From now on the guest's disks are tracked; or no longer, any of them.  BQL. */
void pagecache_io_disks_start(void);
void pagecache_io_disks_stop(void);

/* Atomic */
bool pagecache_io_disks_on(void);
/* How many disks are tracked.  BQL. */
unsigned pagecache_io_disks_count(void);

/* The number of a disk; 0: it is not tracked.  BQL. */
uint8_t pagecache_io_disks_number(BlockBackend *blk);
/*
 * From now on pagecache_io_disks_index() knows the disk table as it is; disks
 * that come later are in it after the next call.  BQL.
 */
void pagecache_io_disks_resolve(void);
/* Index in the disk table of the disk with this number; -1: none.  Any thread. */
int pagecache_io_disks_index(uint8_t number);

#endif
