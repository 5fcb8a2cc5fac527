/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what there is to tell of the last or current migration
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-visit-pagecache.h"
#include "pagecache-ledger.h"

static struct {
    QemuMutex lock;
    MigrationPagecacheInfo *info[PAGECACHE_SIDE__MAX];
} ledger;

static void __attribute__((constructor)) pagecache_ledger_init(void)
{
    qemu_mutex_init(&ledger.lock);
}

void pagecache_ledger_write(PagecacheSide side, MigrationPagecacheInfo *info)
{
    MigrationPagecacheInfo *old;

    WITH_QEMU_LOCK_GUARD(&ledger.lock) {
        old = ledger.info[side];
        ledger.info[side] = info;
    }
    qapi_free_MigrationPagecacheInfo(old);
}

MigrationPagecacheInfo *pagecache_ledger_read(PagecacheSide side)
{
    QEMU_LOCK_GUARD(&ledger.lock);
    return ledger.info[side] ? QAPI_CLONE(MigrationPagecacheInfo,
                                          ledger.info[side]) : NULL;
}
