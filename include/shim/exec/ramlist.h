/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's ramlist.h where code is built without a QEMU tree: who
 * links with it has the blocks.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_EXEC_RAMLIST_H
#define SHIM_EXEC_RAMLIST_H

#include "exec/ramblock.h"

/* Ends with a NULL */
extern RAMBlock *shim_ram_blocks[];

#define RAMBLOCK_FOREACH(rb)                                    \
    for (RAMBlock **shim_rb = shim_ram_blocks;                  \
         ((rb) = *shim_rb) != NULL; shim_rb++)

#endif
