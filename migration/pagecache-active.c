/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: when it is active, and when not
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A flag that stands in a domain's XML for years must never break a save, a
 * restore or another kind of migration.  So nothing is refused for its sake,
 * and no other capability is looked at when it is set, nor set along with it:
 * where it can't work it is inactive, and query-migrate gives the reason.
 */
#include "qemu/osdep.h"
#include "hw/boards.h"
#include "io/channel-socket.h"
#include "io/channel-tls.h"
#include "migration.h"
#include "options.h"
#include "pagecache-hooks.h"
#include "qemu-file.h"

/*
 * All others are taken to carry no return path: most commands and pipes don't,
 * and none of them can be shut down when its other end no longer answers.
 */
static bool goes_to_a_socket(MigrationState *s)
{
    Object *ioc = OBJECT(qemu_file_get_ioc(s->to_dst_file));

    return object_dynamic_cast(ioc, TYPE_QIO_CHANNEL_SOCKET) ||
           object_dynamic_cast(ioc, TYPE_QIO_CHANNEL_TLS);
}

bool pagecache_is_possible(MigrationState *s, PagecacheInactiveReason *reason)
{
    if (migrate_mapped_ram()) {
        *reason = PAGECACHE_INACTIVE_REASON_MAPPED_RAM;
    } else if (migrate_background_snapshot()) {
        *reason = PAGECACHE_INACTIVE_REASON_BACKGROUND_SNAPSHOT;
    } else if (s->to_dst_file && migrate_rdma()) {
        *reason = PAGECACHE_INACTIVE_REASON_RDMA;
    } else if (migrate_colo()) {
        *reason = PAGECACHE_INACTIVE_REASON_X_COLO;
    } else if (s->to_dst_file && !goes_to_a_socket(s)) {
        *reason = PAGECACHE_INACTIVE_REASON_NO_SOCKET;
    } else if (migrate_postcopy_ram()) {
        *reason = PAGECACHE_INACTIVE_REASON_POSTCOPY_RAM;
    } else if (migrate_xbzrle()) {
        *reason = PAGECACHE_INACTIVE_REASON_XBZRLE;
    } else if (migrate_mode_is_cpr(s)) {
        *reason = PAGECACHE_INACTIVE_REASON_CPR;
    } else if (current_machine->cgs) {
        *reason = PAGECACHE_INACTIVE_REASON_CONFIDENTIAL;
    } else {
        return true;
    }
    return false;
}
