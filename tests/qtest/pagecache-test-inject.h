/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults on purpose in a QEMU under test, for qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * docs/devel/migration/skip-pagecache-faults.rst has the faults and their
 * settings.
 */
#ifndef TESTS_QTEST_PAGECACHE_TEST_INJECT_H
#define TESTS_QTEST_PAGECACHE_TEST_INJECT_H

#include "libqtest.h"

/* Is QEMU built with them? */
bool pct_has_faults(void);
/* From now on @settings, and no others */
void pct_arm(QTestState *who, const char *settings);
/* How often it has happened, and until it has happened so often */
int64_t pct_fired(QTestState *who, const char *fault);
void pct_wait_fired(QTestState *who, const char *fault, int64_t least);

#endif
