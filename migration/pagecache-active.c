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

const char *pagecache_why_inactive(MigrationState *s)
{
    if (migrate_mapped_ram()) {
        return "the capability mapped-ram is on";
    }
    if (migrate_background_snapshot()) {
        return "the capability background-snapshot is on";
    }
    if (s->to_dst_file && migrate_rdma()) {
        return "the migration uses RDMA";
    }
    if (migrate_colo()) {
        return "the capability x-colo is on";
    }
    if (s->to_dst_file && !goes_to_a_socket(s)) {
        return "the target of the migration is no socket";
    }
    if (migrate_postcopy_ram()) {
        return "the capability postcopy-ram is on";
    }
    if (migrate_xbzrle()) {
        return "the capability xbzrle is on";
    }
    if (migrate_mode_is_cpr(s)) {
        return "the migration mode is one of cpr";
    }
    if (current_machine->cgs) {
        return "the guest's memory is confidential";
    }
    return NULL;
}
