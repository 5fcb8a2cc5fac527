/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: the I/O map, and RAM that goes
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The guest gives memory back to the host, or QEMU hands all of it to another
 * one.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/virtio_mem.h"
#include "pagecache-test-blk.h"
#include "pagecache-test-cpr.h"

/* --- virtio-mem --- */

#define MEM_SLOT        6
#define BLOCK           (2 * MiB)       /* plugged and unplugged as a whole */
#define MORE_START      (4 * GiB)
#define MORE_SIZE       (2 * BLOCK)
/* Memory of its driver */
#define MEM_START       (PCT_BLK_START + PCT_BLK_SIZE)

static char *mem_args(PcTest *t, const char *file)
{
    g_autofree char *disk = pct_disk_args(t);

    return g_strdup_printf(
        IO_MAP_ARGS "%s -m slots=1,maxmem=1G "
        "-object memory-backend-file,id=more,size=4M,share=on,mem-path=%s "
        "-device virtio-mem-pci,memdev=more,id=more0,requested-size=4M,"
        "block-size=2M,memaddr=0x100000000,addr=0x6", disk, file);
}

static void mem_request(PctVirtio *mem, uint16_t type, uint64_t addr,
                        unsigned blocks)
{
    struct virtio_mem_req req = {
        .type = cpu_to_le16(type),
        .u.plug = {
            .addr = cpu_to_le64(addr), .nb_blocks = cpu_to_le16(blocks),
        },
    };
    struct virtio_mem_resp resp;
    uint64_t at = guest_alloc(&mem->alloc, PAGE);
    uint32_t head;

    qtest_memwrite(mem->qts, at, &req, sizeof(req));
    head = qvirtqueue_add(mem->qts, mem->vq, at, sizeof(req), false, true);
    qvirtqueue_add(mem->qts, mem->vq, at + sizeof(req), sizeof(resp), true,
                   false);
    pct_virtio_submit(mem, head);
    pct_virtio_wait(mem, head);
    qtest_memread(mem->qts, at + sizeof(req), &resp, sizeof(resp));
    g_assert_cmpint(le16_to_cpu(resp.type), ==, VIRTIO_MEM_RESP_ACK);
    guest_free(&mem->alloc, at);
}

/*
 * What the guest gives back is not looked at any more, which would allocate it
 * again.
 */
static void test_unplugged(void)
{
    const PctPiece piece = { MORE_START, MORE_SIZE };
    PcTest *t = pct_new();
    g_autofree char *ram[2] = { pct_path(t, "ram0"), pct_path(t, "ram1") };
    g_autofree char *src = mem_args(t, ram[0]);
    g_autofree char *dst = mem_args(t, ram[1]);
    PctBlk *blk;
    PctVirtio mem;

    pct_start_src(t, src);
    pct_virtio_start(&mem, t->src, MEM_SLOT, 0, MEM_START, 0);
    mem_request(&mem, VIRTIO_MEM_REQ_PLUG, MORE_START, 2);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    g_assert_cmpint(pct_blk_readv(blk, 0, &piece, 1), ==, 0);
    pct_blk_free(blk);
    g_assert_cmpint(pct_allocated(ram[0]), ==, MORE_SIZE);
    mem_request(&mem, VIRTIO_MEM_REQ_UNPLUG, MORE_START + BLOCK, 1);
    g_assert_cmpint(pct_allocated(ram[0]), ==, BLOCK);
    pct_learn(t, MEM_START, PCT_VIRTIO_SIZE);
    pct_virtio_end(&mem);
    pct_ready_dst(t, dst);
    pct_migrate_hinted(t, CACHE_PAGES + BLOCK / PAGE);
    g_assert_cmpint(pct_figure(t->src, "io-map-entries"), ==,
                    CACHE_PAGES + BLOCK / PAGE);
    g_assert_cmpint(pct_allocated(ram[0]), ==, BLOCK);
    g_assert_cmpint(pct_allocated(ram[1]), ==, BLOCK);
    pct_free(t);
}

/* --- CPR --- */

/* RAM is handed over, and its map is not: the guest has no history then. */
static void test_cpr(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(IO_MAP_ARGS "%s " PCT_CPR_ARGS, disk);
    PctBlk *blk;

    pct_start_src(t, args);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read_cache(blk, 0, CACHE_PAGES);
    pct_blk_free(blk);
    pct_cpr_transfer(t, args);
    pct_hop(t);
    blk = pct_blk_new(t, DISK_SLOT);
    pct_blk_read(blk, LATE, 64, 16 * PAGE);
    pct_blk_free(blk);
    pct_ready_dst(t, args);
    pct_migrate_hinted(t, 16);
    pct_free(t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (qtest_has_device("virtio-mem-pci")) {
        qtest_add_func("/pagecache/io-ram/unplugged", test_unplugged);
    }
    qtest_add_func("/pagecache/io-ram/cpr", test_cpr);
    return g_test_run();
}
