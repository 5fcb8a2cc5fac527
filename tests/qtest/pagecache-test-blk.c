/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest's driver of a virtio-blk disk, for qtests of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_blk.h"
#include "pagecache-test-blk.h"

struct PctBlk {
    PcTest *t;
    PctVirtio v;
    uint64_t header;            /* address of a request's header and status */
    uint32_t head;              /* the request's first descriptor */
};

#define STATUS(blk)     ((blk)->header + sizeof(struct virtio_blk_outhdr))

PctBlk *pct_blk_new(PcTest *t, unsigned slot)
{
    PctBlk *blk = g_new0(PctBlk, 1);

    blk->t = t;
    pct_virtio_start(&blk->v, t->src, slot, 0, PCT_BLK_START,
                     1ULL << VIRTIO_BLK_F_SCSI);
    blk->header = guest_alloc(&blk->v.alloc, PAGE);
    return blk;
}

void pct_blk_free(PctBlk *blk)
{
    pct_virtio_end(&blk->v);
    g_free(blk);
}

static void submit(PctBlk *blk, uint32_t type, uint64_t sector,
                   const PctPiece *pieces, unsigned n)
{
    struct virtio_blk_outhdr header = {
        .type = cpu_to_le32(type), .sector = cpu_to_le64(sector),
    };
    QTestState *qts = blk->v.qts;
    QVirtQueue *vq = blk->v.vq;
    unsigned i;

    qtest_memwrite(qts, blk->header, &header, sizeof(header));
    qtest_writeb(qts, STATUS(blk), 0xff);
    blk->head = qvirtqueue_add(qts, vq, blk->header, sizeof(header), false,
                               true);
    for (i = 0; i < n; i++) {
        qvirtqueue_add(qts, vq, pieces[i].addr, pieces[i].len,
                       type == VIRTIO_BLK_T_IN, true);
    }
    qvirtqueue_add(qts, vq, STATUS(blk), 1, true, false);
    pct_virtio_submit(&blk->v, blk->head);
}

static uint8_t complete(PctBlk *blk)
{
    pct_virtio_wait(&blk->v, blk->head);
    pct_learn(blk->t, PCT_BLK_START, PCT_BLK_SIZE);
    return blk->t->ram[STATUS(blk)];
}

static uint8_t request(PctBlk *blk, uint32_t type, uint64_t sector,
                       const PctPiece *pieces, unsigned n)
{
    submit(blk, type, sector, pieces, n);
    return complete(blk);
}

uint8_t pct_blk_readv(PctBlk *blk, uint64_t sector, const PctPiece *pieces,
                      unsigned n)
{
    uint8_t status = request(blk, VIRTIO_BLK_T_IN, sector, pieces, n);
    unsigned i;

    for (i = 0; i < n; i++) {
        if (pieces[i].addr < RAM_SIZE) {
            pct_learn(blk->t, pieces[i].addr, pieces[i].len);
        }
    }
    return status;
}

uint8_t pct_blk_writev(PctBlk *blk, uint64_t sector, const PctPiece *pieces,
                       unsigned n)
{
    return request(blk, VIRTIO_BLK_T_OUT, sector, pieces, n);
}

void pct_blk_read(PctBlk *blk, uint64_t addr, uint64_t sector, uint32_t len)
{
    const PctPiece piece = { .addr = addr, .len = len };

    g_assert_cmpint(pct_blk_readv(blk, sector, &piece, 1), ==, 0);
}

void pct_blk_write(PctBlk *blk, uint64_t addr, uint64_t sector, uint32_t len)
{
    const PctPiece piece = { .addr = addr, .len = len };

    g_assert_cmpint(pct_blk_writev(blk, sector, &piece, 1), ==, 0);
}

void pct_blk_write_begin(PctBlk *blk, uint64_t addr, uint64_t sector,
                         uint32_t len)
{
    const PctPiece piece = { .addr = addr, .len = len };

    submit(blk, VIRTIO_BLK_T_OUT, sector, &piece, 1);
}

void pct_blk_write_end(PctBlk *blk)
{
    g_assert_cmpint(complete(blk), ==, 0);
}

void pct_blk_flush(PctBlk *blk)
{
    g_assert_cmpint(request(blk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0), ==, 0);
}

void pct_blk_write_zeroes(PctBlk *blk, uint64_t sector, uint32_t sectors)
{
    const struct virtio_blk_discard_write_zeroes zeroes = {
        .sector = cpu_to_le64(sector), .num_sectors = cpu_to_le32(sectors),
    };
    const PctPiece piece = {
        .addr = blk->header + 64, .len = sizeof(zeroes),
    };

    qtest_memwrite(blk->v.qts, piece.addr, &zeroes, sizeof(zeroes));
    g_assert_cmpint(request(blk, VIRTIO_BLK_T_WRITE_ZEROES, 0, &piece, 1), ==,
                    0);
}

void pct_blk_read_cache(PctBlk *blk, unsigned first, unsigned n)
{
    unsigned run;

    for (; n; first += run, n -= run) {
        for (run = 1; run < n && pct_cache_sector(first + run) ==
                                 pct_cache_sector(first) + run * (PAGE / 512);
             run++) {
            continue;
        }
        pct_blk_read(blk, pct_cache_addr(first), pct_cache_sector(first),
                     run * PAGE);
    }
}
