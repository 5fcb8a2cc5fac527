/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what the block layer tells of the guest's I/O
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * These are the hooks in block-backend.c.  Devices read and write through
 * blk_aio_preadv() and blk_aio_pwritev(), with the guest's memory in the vector
 * and the guest's sectors as the offset, whatever is below.  libblock is part of
 * qemu-img, too, which has no guest: hence the pointers to functions.
 *
 * A disk that is tracked has a number in its BlockBackend.  "Off" costs each
 * request the test of that byte.
 */
#ifndef BLOCK_PAGECACHE_TRACK_H
#define BLOCK_PAGECACHE_TRACK_H

#include "qemu/iov.h"
#include "block/block.h"

typedef struct PagecacheTrackOps {
    /*
     * A device or a medium has come to @blk, or is about to go from it (!@come).
     * BQL.
     */
    void (*disk)(BlockBackend *blk, bool come);
    /*
     * From now on the memory of @qiov has what stands at byte @offset of the
     * disk with that number; or nobody knows what it has.  The thread of the
     * request, which still has the memory mapped.  They must not wait.
     */
    void (*note)(uint8_t disk, int64_t offset, const QEMUIOVector *qiov);
    void (*forget)(const QEMUIOVector *qiov);
} PagecacheTrackOps;

/* NULL until the first disk is tracked, and the same ever after.  BQL. */
extern const PagecacheTrackOps *pagecache_track_ops;

/* The number of @blk, 0 for none; changed with the BQL, read atomically. */
uint8_t *blk_pagecache_disk(BlockBackend *blk);

static inline void pagecache_track_disk(BlockBackend *blk, bool come)
{
    if (pagecache_track_ops) {
        pagecache_track_ops->disk(blk, come);
    }
}

/* A read has ended, and the guest does not know it yet. */
static inline void pagecache_track_read(uint8_t disk, int64_t offset,
                                        const QEMUIOVector *qiov, int ret)
{
    if (likely(!disk)) {
        return;
    }
    if (ret >= 0) {
        pagecache_track_ops->note(disk, offset, qiov);
    } else {
        pagecache_track_ops->forget(qiov);
    }
}

/*
 * A write begins.  The checksum is of what the guest has written, even if it
 * changes the page meanwhile.  @qiov is NULL for zeroes.
 */
static inline void pagecache_track_write(uint8_t disk, int64_t offset,
                                         const QEMUIOVector *qiov)
{
    if (unlikely(disk) && qiov) {
        pagecache_track_ops->note(disk, offset, qiov);
    }
}

static inline void pagecache_track_written(uint8_t disk,
                                           const QEMUIOVector *qiov, int ret)
{
    if (unlikely(disk) && qiov && ret < 0) {
        pagecache_track_ops->forget(qiov);
    }
}

#endif
