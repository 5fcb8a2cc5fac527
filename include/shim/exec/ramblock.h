/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's ramblock.h where code is built without a QEMU tree: what
 * the I/O map knows of a block.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_EXEC_RAMBLOCK_H
#define SHIM_EXEC_RAMBLOCK_H

struct PagecacheIoMap;

typedef uint64_t ram_addr_t;

typedef struct RAMBlock {
    uint8_t *host;
    ram_addr_t used_length;
    ram_addr_t max_length;
    struct PagecacheIoMap *pagecache_io_map;
} RAMBlock;

#endif
