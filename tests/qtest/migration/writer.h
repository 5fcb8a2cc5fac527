/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest that writes to its RAM when it is told, for tests of dirty tracking
 * with a real vCPU
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * What qtest_memwrite() writes is marked dirty by QEMU itself, as a device's
 * DMA is.  What a vCPU writes has to be noticed by the accelerator.  This is
 * for the latter.  x86 only; the guest is i386/writer-rom.S.
 */
#ifndef TESTS_QTEST_MIGRATION_WRITER_H
#define TESTS_QTEST_MIGRATION_WRITER_H

#include "libqtest.h"
#include "i386/writer-layout.h"

/* To be given to QEMU, with a file made by writer_make_rom() */
#define WRITER_ARGS \
    "-nodefaults -bios %s -serial null -serial null -serial null "

/* Sweeps: again and again, until the next order */
#define WRITER_ENDLESS  0

void writer_make_rom(const char *path);

/*
 * Tells the guest of @who to write @value to the first and to the last four
 * bytes of each of @pages pages, the first one at @addr, and then every
 * @stride bytes; and to repeat that with @value + 1 and so on, in @sweeps
 * sweeps.  Returns when it has begun.
 */
void writer_order(QTestState *who, uint32_t addr, uint32_t pages,
                  uint32_t stride, uint32_t value, uint32_t sweeps);
/* Waits until it is done.  Returns the value of the last sweep. */
uint32_t writer_wait(QTestState *who);
/* Ends endless sweeps after a complete one.  Returns that one's value. */
uint32_t writer_stop(QTestState *who);

/* Gives the first order, for nothing.  Is it followed within half a minute? */
bool writer_runs(QTestState *who);

/* One page, once */
void writer_write(QTestState *who, uint32_t addr, uint32_t value);

#endif
