/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the guest writer-rom.S and the test that drives it agree on
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TESTS_QTEST_MIGRATION_I386_WRITER_LAYOUT_H
#define TESTS_QTEST_MIGRATION_I386_WRITER_LAYOUT_H

/* The ROM ends at 4 GiB, with the code; page tables are at its start. */
#define WRITER_ROM_SIZE         0x10000
#define WRITER_CODE_SIZE        0x400
#define WRITER_ROM_PML4         0xffff0000
#define WRITER_ROM_CODE         0xfffffc00

/*
 * An order is a new value here.  Its parameters were read when the second has
 * the same value, and it is done when the third has.
 */
#define WRITER_ORDER            0x3ff
#define WRITER_TAKEN            0x3ef
#define WRITER_ANSWER           0x2ff

/* Parameters of an order, 32 bits each, in CMOS RAM that nothing else uses */
#define WRITER_CMOS_ADDR        0x68    /* of the first page */
#define WRITER_CMOS_PAGES       0x6c
#define WRITER_CMOS_STRIDE      0x70    /* from page to page, in bytes */
#define WRITER_CMOS_VALUE       0x74    /* of the first sweep; then one more */
#define WRITER_CMOS_SWEEPS      0x78    /* 0: until the next order */
/* The value that the last sweep of the last order with pages has written */
#define WRITER_CMOS_RESULT      0x7c

/* Where in each page the value is written */
#define WRITER_FIRST            0x000
#define WRITER_LAST             0xffc

#endif
