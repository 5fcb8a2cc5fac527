/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes to its RAM when it is told
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "writer.h"
#include "i386/writer-rom.h"

#define TIMEOUT_US      (300 * G_USEC_PER_SEC)

/* Bits of a page table's entry */
#define PRESENT         (1 << 0)
#define WRITABLE        (1 << 1)
#define ACCESSED        (1 << 5)
#define DIRTY           (1 << 6)
#define LARGE           (1 << 7)        /* 2 MiB */

static void entry(uint8_t *table, unsigned n, uint64_t value)
{
    /* accessed and dirty already, so that the guest's walker writes nothing */
    stq_le_p(table + n * 8, value | PRESENT | WRITABLE | ACCESSED | DIRTY);
}

/*
 * The ROM: page tables that map the lowest GiB and that of the ROM to where
 * they are, and the code
 */
void writer_make_rom(const char *path)
{
    g_autofree uint8_t *rom = g_malloc0(WRITER_ROM_SIZE);
    uint8_t *pml4 = rom, *pdpt = rom + 0x1000;
    uint8_t *low = rom + 0x2000, *high = rom + 0x3000;
    unsigned i;

    QEMU_BUILD_BUG_ON(sizeof(writer_rom) != WRITER_CODE_SIZE);

    entry(pml4, 0, WRITER_ROM_PML4 + 0x1000);
    entry(pdpt, 0, WRITER_ROM_PML4 + 0x2000);
    entry(pdpt, 3, WRITER_ROM_PML4 + 0x3000);
    for (i = 0; i < 512; i++) {
        entry(low, i, LARGE + i * 2 * MiB);
        entry(high, i, LARGE + 3 * GiB + i * 2 * MiB);
    }
    memcpy(rom + WRITER_ROM_SIZE - WRITER_CODE_SIZE, writer_rom,
           WRITER_CODE_SIZE);
    g_assert_true(g_file_set_contents(path, (char *)rom, WRITER_ROM_SIZE,
                                      NULL));
}

static void set_param(QTestState *who, uint8_t index, uint32_t value)
{
    unsigned i;

    for (i = 0; i < 4; i++) {
        qtest_outb(who, 0x70, index + i);
        qtest_outb(who, 0x71, value >> (i * 8));
    }
}

static uint32_t get_param(QTestState *who, uint8_t index)
{
    uint32_t value = 0;
    unsigned i;

    for (i = 0; i < 4; i++) {
        qtest_outb(who, 0x70, index + i);
        value |= (uint32_t)qtest_inb(who, 0x71) << (i * 8);
    }
    return value;
}

static void wait_for(QTestState *who, uint16_t port, uint8_t wanted)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (qtest_inb(who, port) != wanted) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

/*
 * The guest accesses CMOS RAM between an order and its being taken, and before
 * it answers, and at no other time.
 */
void writer_order(QTestState *who, uint32_t addr, uint32_t pages,
                  uint32_t stride, uint32_t value, uint32_t sweeps)
{
    uint8_t number = qtest_inb(who, WRITER_ORDER) + 1;

    set_param(who, WRITER_CMOS_ADDR, addr);
    set_param(who, WRITER_CMOS_PAGES, pages);
    set_param(who, WRITER_CMOS_STRIDE, stride);
    set_param(who, WRITER_CMOS_VALUE, value);
    set_param(who, WRITER_CMOS_SWEEPS, sweeps);
    qtest_outb(who, WRITER_ORDER, number);
    wait_for(who, WRITER_TAKEN, number);
}

uint32_t writer_wait(QTestState *who)
{
    wait_for(who, WRITER_ANSWER, qtest_inb(who, WRITER_ORDER));
    return get_param(who, WRITER_CMOS_RESULT);
}

uint32_t writer_stop(QTestState *who)
{
    writer_order(who, 0, 0, 0, 0, 1);
    return writer_wait(who);
}

bool writer_runs(QTestState *who)
{
    unsigned i;

    set_param(who, WRITER_CMOS_PAGES, 0);
    qtest_outb(who, WRITER_ORDER, 1);
    for (i = 0; i < 30000; i++) {
        if (qtest_inb(who, WRITER_ANSWER) == 1) {
            return true;
        }
        g_usleep(1000);
    }
    return false;
}

void writer_write(QTestState *who, uint32_t addr, uint32_t value)
{
    writer_order(who, addr, 1, 0, value, 1);
    g_assert_cmphex(writer_wait(who), ==, value);
}
