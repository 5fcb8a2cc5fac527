/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the limits that filters put on reads of the guest's disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "pagecache-reader-spec.h"

static void add_limit(uint64_t *limit, uint64_t value)
{
    *limit = *limit && value ? MIN(*limit, value) : MAX(*limit, value);
}

void pcr_limits_add_group(Limits *limits, ThrottleGroupMember *tgm)
{
    ThrottleConfig cfg;
    uint64_t iops = 0;

    throttle_group_get_config(tgm, &cfg);
    add_limit(&limits->bandwidth, cfg.buckets[THROTTLE_BPS_READ].avg);
    add_limit(&limits->bandwidth, cfg.buckets[THROTTLE_BPS_TOTAL].avg);
    add_limit(&iops, cfg.buckets[THROTTLE_OPS_READ].avg);
    add_limit(&iops, cfg.buckets[THROTTLE_OPS_TOTAL].avg);
    add_limit(&limits->iops, iops);
    if (cfg.op_size) {
        /* a large request counts as many of this size */
        add_limit(&limits->bandwidth, iops * cfg.op_size);
    }
}

void pcr_limits_add(Limits *limits, BlockDriverState *bs)
{
    if (!strcmp(bs->drv->format_name, "throttle")) {
        pcr_limits_add_group(limits, bs->opaque);
    }
}
