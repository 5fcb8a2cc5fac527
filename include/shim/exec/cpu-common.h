/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's cpu-common.h where code is built without a QEMU tree.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_EXEC_CPU_COMMON_H
#define SHIM_EXEC_CPU_COMMON_H

#include "exec/ramlist.h"

static inline RAMBlock *qemu_ram_block_from_host(void *ptr, bool round_offset,
                                                 ram_addr_t *offset)
{
    uint8_t *host = ptr;
    RAMBlock *rb;

    RAMBLOCK_FOREACH(rb) {
        if (host >= rb->host && host < rb->host + rb->max_length) {
            *offset = host - rb->host;
            return rb;
        }
    }
    return NULL;
}

#endif
