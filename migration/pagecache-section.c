/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: its section in the migration stream
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * This is the only file that knows both sides.
 */
#include "qemu/osdep.h"
#include "migration/register.h"
#include "pagecache-hooks.h"
#include "pagecache-io-producer.h"
#include "pagecache-section.h"

static const SaveVMHandlers pagecache_handlers = {
    .is_active = pagecache_src_is_active,
    .save_setup = pagecache_src_setup,
    .save_live_iterate = pagecache_src_iterate,
    .state_pending_estimate = pagecache_src_pending,
    .state_pending_exact = pagecache_src_pending,
    .save_live_complete_precopy = pagecache_src_complete,
    .save_cleanup = pagecache_src_cleanup,
    .load_state = pagecache_dst_load,
    .load_cleanup = pagecache_dst_cleanup,
};

void pagecache_mig_init(void)
{
    register_savevm_live_fixed_id("pagecache", 0, PAGECACHE_SECTION_ID, 1,
                                  &pagecache_handlers, NULL);
    pagecache_test_hints_init();
    pagecache_io_producer_init();
    pagecache_fault_init();
}
