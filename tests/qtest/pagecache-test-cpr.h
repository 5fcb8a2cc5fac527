/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPR of the mode cpr-transfer, for qtests of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_CPR_H
#define TESTS_QTEST_PAGECACHE_TEST_CPR_H

#include "pagecache-test-lib.h"

/* What both QEMUs need: RAM that one can hand to the other */
#define PCT_CPR_ARGS \
    "-object memory-backend-memfd,id=ram,size=24M " \
    "-machine memory-backend=ram,aux-ram-share=on "

/*
 * The source, which was started with PCT_CPR_ARGS among its arguments, hands
 * its guest to a new destination with @args, which has them, too.  Both have
 * completed, with the capability on.
 */
void pct_cpr_transfer(PcTest *t, const char *args);

#endif
