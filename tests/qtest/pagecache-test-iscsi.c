/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest's disk on iSCSI, served by tgtd, for qtests of the migration
 * capability skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "pagecache-test-iscsi.h"

PcTest *pct_new_iscsi(Tgtd *tgt)
{
    PcTest *t;

    tgtd_init(tgt, NULL);
    if (!tgtd_available(tgt)) {
        tgtd_destroy(tgt);
        return NULL;
    }
    t = pct_new();
    tgt->disk = t->disk;
    tgtd_start(tgt);
    tgtd_add_target(tgt);
    return t;
}

void pct_free_iscsi(PcTest *t, Tgtd *tgt)
{
    pct_free(t);
    tgtd_destroy(tgt);
}

char *pct_iscsi_args(int port)
{
    return g_strdup_printf(
        "-blockdev iscsi,node-name=disk0,transport=tcp,portal=127.0.0.1:%d,"
        "target=" TGTD_TARGET ",lun=1 "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5 ", port);
}
