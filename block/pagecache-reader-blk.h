/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what is cloned in the block layer
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef BLOCK_PAGECACHE_READER_BLK_H
#define BLOCK_PAGECACHE_READER_BLK_H

#include "block/block_int.h"

/* PagecacheReaderSpec.u.data; constant */
typedef struct PcrClone {
    char *json;             /* the node's options with all that is below it */
    GPtrArray *files;       /* of char *: each file that will be opened */
    bool any_protocol;
} PcrClone;

void pcr_clone_free(PcrClone *clone);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PcrClone, pcr_clone_free)

/* Is opening and reading a node of this protocol what the kernel does? */
static inline bool pcr_protocol_is_local(BlockDriverState *bs)
{
    return !strcmp(bs->drv->format_name, "file") ||
           !strcmp(bs->drv->format_name, "host_device");
}

#endif
