/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All of a guest's RAM at once, for qtests of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/qemu_fw_cfg.h"
#include "pagecache-test-ram.h"

/* libqtest reads a line in small pieces and looks for its end each time */
#define CHUNK           (16 * 1024)

#define MAX_PIECES      8
#define FILE_NAME       "opt/skip-pagecache/ram"

/* Lower half of the address of a struct fw_cfg_dma_access, which starts it */
#define DMA_PORT        0x518

#define SCRATCH_SIZE    8192
#define DIR_SIZE        4096

struct PctRamFile {
    int fd;
    unsigned npieces;
    struct {
        uint64_t addr;
        size_t len;
    } pieces[MAX_PIECES];
};

void *pct_ram_alloc(size_t len)
{
    void *buf = mmap(NULL, len, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    g_assert(buf != MAP_FAILED);
    madvise(buf, len, MADV_HUGEPAGE);
    madvise(buf, len, MADV_DONTFORK);
    return buf;
}

void pct_ram_release(void *buf, size_t len)
{
    munmap(buf, len);
}

static int new_file(void)
{
    int fd = memfd_create("guest-ram", 0);

    g_assert_cmpint(fd, >=, 0);
    return fd;
}

/* QEMU, which is a child of ours, opens it by this name. */
static char *file_path(int fd)
{
    return g_strdup_printf("/proc/%d/fd/%d", getpid(), fd);
}

PctRamFile *pct_ram_file_new(void)
{
    PctRamFile *file = g_new0(PctRamFile, 1);

    file->fd = new_file();
    return file;
}

void pct_ram_file_add(PctRamFile *file, uint64_t addr, const void *data,
                      size_t len)
{
    g_assert_cmpuint(file->npieces, <, MAX_PIECES);
    g_assert_cmpint(qemu_write_full(file->fd, data, len), ==, len);
    file->pieces[file->npieces].addr = addr;
    file->pieces[file->npieces++].len = len;
}

char *pct_ram_file_args(const PctRamFile *file)
{
    g_autofree char *path = file_path(file->fd);

    return g_strdup_printf("-fw_cfg name=" FILE_NAME ",file=%s", path);
}

/* @key: of the item to begin with, or -1 to go on with the last one */
static void dma(QTestState *who, uint64_t scratch, int key, uint64_t addr,
                size_t len)
{
    uint32_t select = key < 0 ? 0 : FW_CFG_DMA_CTL_SELECT | key << 16;
    struct fw_cfg_dma_access access = {
        .control = cpu_to_be32(FW_CFG_DMA_CTL_READ | select),
        .length = cpu_to_be32(len),
        .address = cpu_to_be64(addr),
    };

    qtest_memwrite(who, scratch, &access, sizeof(access));
    qtest_outl(who, DMA_PORT, bswap32(scratch));
    qtest_memread(who, scratch, &access, sizeof(access));
    g_assert_cmphex(access.control, ==, 0);
}

static int find_key(QTestState *who, uint64_t scratch)
{
    uint64_t dir = scratch + sizeof(struct fw_cfg_dma_access);
    struct fw_cfg_file entry;
    uint32_t count, i;

    dma(who, scratch, FW_CFG_FILE_DIR, dir, DIR_SIZE);
    qtest_memread(who, dir, &count, sizeof(count));
    dir += sizeof(count);
    for (i = 0; i < be32_to_cpu(count); i++, dir += sizeof(entry)) {
        qtest_memread(who, dir, &entry, sizeof(entry));
        if (!strcmp(entry.name, FILE_NAME)) {
            return be16_to_cpu(entry.select);
        }
    }
    g_assert_not_reached();
}

void pct_ram_fill(QTestState *who, const PctRamFile *file, uint64_t scratch)
{
    int key = find_key(who, scratch);
    unsigned i;

    for (i = 0; i < file->npieces; i++, key = -1) {
        dma(who, scratch, key, file->pieces[i].addr, file->pieces[i].len);
    }
    qtest_memset(who, scratch, 0, SCRATCH_SIZE);
}

/* Any QEMU can do this. */
static void read_slowly(QTestState *who, uint64_t addr, uint8_t *buf,
                        size_t len)
{
    size_t i;

    for (i = 0; i < len; i += CHUNK) {
        qtest_bufread(who, addr + i, buf + i, MIN(CHUNK, len - i));
    }
}

void pct_ram_read(QTestState *who, uint64_t addr, void *buf, size_t len)
{
    int fd = new_file();
    g_autofree char *path = file_path(fd);
    QDict *rsp = qtest_qmp(
        who, "{ 'execute': 'pmemsave', 'arguments': { 'val': %" PRId64 ","
             " 'size': %" PRId64 ", 'filename': %s } }",
        (int64_t)addr, (int64_t)len, path);

    if (qdict_haskey(rsp, "return")) {
        g_assert_cmpint(pread(fd, buf, len, 0), ==, len);
    } else {
        read_slowly(who, addr, buf, len);   /* it is another user's */
    }
    qobject_unref(rsp);
    close(fd);
}
