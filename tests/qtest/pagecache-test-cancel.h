/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of a migration that was cancelled, for qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef PAGECACHE_TEST_CANCEL_H
#define PAGECACHE_TEST_CANCEL_H

#include "libqtest.h"
#include "migration/migration-qmp.h"
#include "migration/migration-util.h"

/*
 * With a return path the status may be "failed": migration_cancel() shuts the
 * return path down first, which is the same socket as the channel, and the
 * migration thread may see that error before the status says "cancelling".
 * Either way the migration is over, and the guest is where it was.
 */
static inline void wait_for_migration_cancelled(QTestState *who)
{
    gint64 end = g_get_monotonic_time() + 120 * G_USEC_PER_SEC;

    for (;;) {
        g_autofree char *status = migrate_query_status(who);

        if (!strcmp(status, "cancelled") || !strcmp(status, "failed")) {
            return;
        }
        g_assert_cmpstr(status, !=, "completed");
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(1000);
    }
}

#endif
