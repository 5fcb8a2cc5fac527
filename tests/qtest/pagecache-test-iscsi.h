/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's disk on iSCSI, served by tgtd, for qtests of the migration
 * capability skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_ISCSI_H
#define TESTS_QTEST_PAGECACHE_TEST_ISCSI_H

#include "pagecache-test-lib.h"
#include "../unit/test-pagecache-tgtd.h"

/*
 * pct_new() and a target whose LUN 1 is the image, open to nobody yet; NULL:
 * the test is skipped, for there is no tgtd.
 */
PcTest *pct_new_iscsi(Tgtd *tgt);
/* In place of pct_free() */
void pct_free_iscsi(PcTest *t, Tgtd *tgt);

/* LUN 1 of a target at this port as the guest's disk; g_free() it */
char *pct_iscsi_args(int port);

#endif
