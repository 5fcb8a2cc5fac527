/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Faults on purpose in a QEMU under test, for qtests
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-inject.h"

bool pct_has_faults(void)
{
    QTestState *qts = qtest_init("-M none -nodefaults");
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'qom-get', 'arguments': {"
                                "  'path': '/pagecache-faults',"
                                "  'property': 'armed' } }");
    bool has = qdict_haskey(rsp, "return");

    qobject_unref(rsp);
    qtest_quit(qts);
    return has;
}

void pct_arm(QTestState *who, const char *settings)
{
    qtest_qmp_assert_success(who,
                             "{ 'execute': 'qom-set', 'arguments': {"
                             "  'path': '/pagecache-faults',"
                             "  'property': 'armed', 'value': %s } }",
                             settings);
}

int64_t pct_fired(QTestState *who, const char *fault)
{
    QDict *rsp = qtest_qmp_assert_success_ref(
        who, "{ 'execute': 'qom-get', 'arguments': {"
             "  'path': '/pagecache-faults', 'property': 'fired' } }");
    int64_t n = qdict_get_int(rsp, fault);

    qobject_unref(rsp);
    return n;
}

void pct_wait_fired(QTestState *who, const char *fault, int64_t least)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

    while (pct_fired(who, fault) < least) {
        if (g_get_monotonic_time() > end) {
            g_error("fault %s did not fire %" PRIi64 " times", fault, least);
        }
        g_usleep(2000);
    }
}
