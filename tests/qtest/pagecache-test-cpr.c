/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * CPR of the mode cpr-transfer, for qtests of skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "pagecache-test-cpr.h"

QEMU_BUILD_BUG_ON(RAM_SIZE != 24 * MiB);        /* PCT_CPR_ARGS */

/* Both channels; false: nobody listens at @cpr yet. */
static bool migrate_cpr(QTestState *who, const char *cpr, const char *path)
{
    QDict *rsp = qtest_qmp(who, "{ 'execute': 'migrate', 'arguments': {"
                           "  'channels': [ { 'channel-type': 'cpr',"
                           "    'addr': { 'transport': 'socket',"
                           "              'type': 'unix', 'path': %s } },"
                           "  { 'channel-type': 'main',"
                           "    'addr': { 'transport': 'socket',"
                           "              'type': 'unix', 'path': %s } }"
                           "  ] } }", cpr, path);
    bool ok = qdict_haskey(rsp, "return");

    qobject_unref(rsp);
    return ok;
}

void pct_cpr_transfer(PcTest *t, const char *args)
{
    g_autofree char *cpr = pct_path(t, "cpr");
    g_autofree char *path = pct_path(t, "migrate");
    g_autofree char *all = g_strdup_printf(
        "-machine q35 -m %u -nodefaults %s -S -incoming defer "
        "-incoming cpr,addr.transport=socket,addr.type=unix,addr.path=%s",
        (unsigned)(RAM_SIZE / MiB), args, cpr);
    gint64 end = g_get_monotonic_time() + 120 * G_USEC_PER_SEC;

    migrate_set_capability(t->src, "skip-pagecache", true);
    migrate_set_parameter_str(t->src, "mode", "cpr-transfer");
    /* it comes to life when the source has begun */
    t->dst = qtest_init_with_env_and_capabilities(NULL, all, NULL, false);
    while (!migrate_cpr(t->src, cpr, path)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10 * 1000);
    }
    qtest_connect(t->dst);
    qtest_qmp_handshake(t->dst, NULL);
    migrate_set_capability(t->dst, "skip-pagecache", true);
    pct_incoming(t);
    pct_wait_complete(t);
}
