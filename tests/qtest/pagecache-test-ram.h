/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * All of a guest's RAM at once, for qtests of skip-pagecache
 *
 * The qtest protocol takes 40 us for a kilobyte, which was a third of the time of
 * a test that fills RAM and compares it.  Here files that have no name take the
 * content: QEMU's fw_cfg device reads them into RAM, and pmemsave writes them.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_RAM_H
#define TESTS_QTEST_PAGECACHE_TEST_RAM_H

#include "libqtest.h"

/*
 * Memory of the test's own, of a guest's size: zero, and in huge pages if there
 * are any.  QEMU, as a child, does not get it, so a write does not fault after
 * each start.
 */
void *pct_ram_alloc(size_t len);
void pct_ram_release(void *buf, size_t len);

/* Content for the RAM of any number of guests; there as long as the process */
typedef struct PctRamFile PctRamFile;

PctRamFile *pct_ram_file_new(void);
/* These bytes for guest-physical address @addr; they are copied. */
void pct_ram_file_add(PctRamFile *file, uint64_t addr, const void *data,
                      size_t len);

/* Arguments of a PC that is going to be filled; g_free() it */
char *pct_ram_file_args(const PctRamFile *file);

/*
 * Writes the guest's RAM as a device does.  @scratch: bytes, where 8 KiB are
 * zero, now and afterwards.
 */
void pct_ram_fill(QTestState *who, const PctRamFile *file, uint64_t scratch);

/* Reads @len bytes from @addr on.  The monitor must answer. */
void pct_ram_read(QTestState *who, uint64_t addr, void *buf, size_t len);

#endif
