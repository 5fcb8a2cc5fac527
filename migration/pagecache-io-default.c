/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: an I/O map for each guest
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Built with --enable-pagecache-io-map, for hosts whose managers know nothing of
 * -object pagecache-io-map.  Who has given that object has his own.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qapi/error.h"
#include "qom/object.h"
#include "system/system.h"
#include "pagecache-io-map.h"
#include "pagecache-io-object.h"

static void machine_done(Notifier *notifier, void *data)
{
    Error *err = NULL;

    if (pagecache_io_object_exists() || pagecache_io_map_why_not()) {
        return;
    }
    if (!object_new_with_props(TYPE_PAGECACHE_IO_MAP,
                               object_get_objects_root(),
                               "pagecache-io-map", &err, NULL)) {
        warn_reportf_err(err, "skip-pagecache: no I/O map: ");
    }
}

static Notifier notifier = { .notify = machine_done };

static void __attribute__((constructor)) init(void)
{
    qemu_add_machine_init_done_notifier(&notifier);
}
