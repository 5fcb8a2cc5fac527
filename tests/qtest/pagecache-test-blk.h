/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's driver of a virtio-blk disk, for qtests of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Requests go from and to any place of the guest's memory, as those of a guest
 * do, one at a time.  The ring and the headers stand in memory at
 * PCT_BLK_START.
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_BLK_H
#define TESTS_QTEST_PAGECACHE_TEST_BLK_H

#include "pagecache-test-virtio.h"

/* Memory of the driver: bytes */
#define PCT_BLK_START   (22 * MiB)
#define PCT_BLK_SIZE    PCT_VIRTIO_SIZE

/* QEMU remembers what the guest reads and writes. */
#define IO_MAP_ARGS     "-object pagecache-io-map,id=map "
/* Private pages that the channel does not reach before there are hints */
#define LATE            (PRIVATE_START + PRIVATE_SIZE - 2 * MiB)

typedef struct PctBlk PctBlk;

/* A piece of memory: bytes */
typedef struct PctPiece {
    uint64_t addr;
    uint32_t len;
} PctPiece;

/* Of the source's disk in this slot.  It goes with the QEMU. */
PctBlk *pct_blk_new(PcTest *t, unsigned slot);
void pct_blk_free(PctBlk *blk);

/*
 * Reads into @n pieces of memory, which t->ram gets, too (there may be more
 * memory behind RAM_SIZE), or writes from there.
 * Returns the status that the guest gets, 0 for success.
 */
uint8_t pct_blk_readv(PctBlk *blk, uint64_t sector, const PctPiece *pieces,
                      unsigned n);
uint8_t pct_blk_writev(PctBlk *blk, uint64_t sector, const PctPiece *pieces,
                       unsigned n);
/* One piece, and no error */
void pct_blk_read(PctBlk *blk, uint64_t addr, uint64_t sector, uint32_t len);
void pct_blk_write(PctBlk *blk, uint64_t addr, uint64_t sector, uint32_t len);
/* A write that goes on while the test does something else */
void pct_blk_write_begin(PctBlk *blk, uint64_t addr, uint64_t sector,
                         uint32_t len);
void pct_blk_write_end(PctBlk *blk);
void pct_blk_flush(PctBlk *blk);
/* The disk has zeros there. */
void pct_blk_write_zeroes(PctBlk *blk, uint64_t sector, uint32_t sectors);
/* Reads what stands in the cache, @n pages from @first on, in runs. */
void pct_blk_read_cache(PctBlk *blk, unsigned first, unsigned n);

#endif
