/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: its migration parameters
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "monitor/monitor.h"
#include "qapi/error.h"
#include "qapi/qapi-visit-pagecache.h"
#include "migration.h"
#include "pagecache-group.h"
#include "pagecache-params.h"

/*
 * What may be saved up: a reader asks before each read, the migration thread
 * makes offers every 50 to 100 ms.
 */
static const int64_t burst_us[] = {
    [PAGECACHE_OUTGOING] = 200000,
    [PAGECACHE_INCOMING] = 20000,
};

static PagecacheBudget budgets[PAGECACHE_SIDE__MAX];
/* BQL: in a migration; and in a group, too */
static bool begun[PAGECACHE_SIDE__MAX];
static PagecacheGroup *groups[PAGECACHE_SIDE__MAX];

/* --- for both sides --- */

static void set_limits(const MigrationParameters *p)
{
    int i;

    for (i = 0; i < PAGECACHE_SIDE__MAX; i++) {
        pagecache_budget_set_limit(&budgets[i], p->pagecache_bandwidth);
    }
}

static void leave_group(PagecacheSide side)
{
    pagecache_group_leave(g_steal_pointer(&groups[side]));
}

static void join_group(PagecacheSide side)
{
    const MigrationParameters *p = &migrate_get_current()->parameters;

    leave_group(side);
    if (p->pagecache_bandwidth_group && *p->pagecache_bandwidth_group) {
        groups[side] = pagecache_group_join(p->pagecache_bandwidth_group,
                                            &budgets[side]);
    }
}

void pagecache_params_begin(PagecacheSide side)
{
    pagecache_budget_reset(&budgets[side], burst_us[side]);
    /* with -global, nobody has told of them */
    set_limits(&migrate_get_current()->parameters);
    begun[side] = true;
    join_group(side);
}

void pagecache_params_end(PagecacheSide side)
{
    begun[side] = false;
    leave_group(side);
}

MigrationPagecacheGroup *pagecache_params_group(PagecacheSide side)
{
    MigrationPagecacheGroup *group;
    PagecacheGroupInfo info;

    if (!groups[side]) {
        return NULL;
    }
    pagecache_group_info(groups[side], &info);
    group = g_new0(MigrationPagecacheGroup, 1);
    group->has_bandwidth = group->has_share = group->has_members = info.known;
    group->bandwidth = info.bandwidth;
    group->share = info.share;
    group->members = info.members;
    group->error = info.error;
    return group;
}

PagecacheBudget *pagecache_params_budget(PagecacheSide side)
{
    return &budgets[side];
}

/* --- what options.c does --- */

void pagecache_params_init(MigrationParameters *p)
{
    p->has_pagecache_sessions = true;
    p->has_pagecache_read_deadline = true;
    p->has_pagecache_bandwidth = true;
    p->has_pagecache_back_off = true;
    p->has_pagecache_digest = true;
    p->has_pagecache_pool_max = true;
    p->has_pagecache_any_protocol = true;
}

static bool in_range(MigrationParameter number, uint64_t value, uint64_t min,
                     uint64_t max, Error **errp)
{
    if (value < min || value > max) {
        error_setg(errp, "Parameter '%s' is %" PRIu64 ", expected %" PRIu64
                   " to %" PRIu64, MigrationParameter_str(number), value, min,
                   max);
        return false;
    }
    return true;
}

static bool is_file_name(MigrationParameter number, const char *name,
                         Error **errp)
{
    if (name && *name && !g_path_is_absolute(name)) {
        error_setg(errp, "Parameter '%s' is '%s', expected an absolute name of "
                   "a file, or nothing", MigrationParameter_str(number), name);
        return false;
    }
    return true;
}

bool pagecache_params_check(const MigrationParameters *p, Error **errp)
{
    if (!is_file_name(MIGRATION_PARAMETER_PAGECACHE_BANDWIDTH_GROUP,
                      p->pagecache_bandwidth_group, errp)) {
        return false;
    }
    if (p->has_pagecache_sessions &&
        !in_range(MIGRATION_PARAMETER_PAGECACHE_SESSIONS,
                  p->pagecache_sessions, 1, PAGECACHE_READER_SESSIONS_MAX,
                  errp)) {
        return false;
    }
    return !p->has_pagecache_read_deadline ||
           in_range(MIGRATION_PARAMETER_PAGECACHE_READ_DEADLINE,
                    p->pagecache_read_deadline, 1,
                    PAGECACHE_PARAMS_DEADLINE_MAX_MS, errp);
}

/* Puts what is in @from into @to, with the strings' pointers. */
static void overlay(PagecacheParameters *to, const PagecacheParameters *from)
{
    if (from->has_pagecache_sessions) {
        to->has_pagecache_sessions = true;
        to->pagecache_sessions = from->pagecache_sessions;
    }
    if (from->has_pagecache_read_deadline) {
        to->has_pagecache_read_deadline = true;
        to->pagecache_read_deadline = from->pagecache_read_deadline;
    }
    if (from->has_pagecache_bandwidth) {
        to->has_pagecache_bandwidth = true;
        to->pagecache_bandwidth = from->pagecache_bandwidth;
    }
    if (from->pagecache_bandwidth_group) {
        to->pagecache_bandwidth_group = from->pagecache_bandwidth_group;
    }
    if (from->has_pagecache_back_off) {
        to->has_pagecache_back_off = true;
        to->pagecache_back_off = from->pagecache_back_off;
    }
    if (from->has_pagecache_digest) {
        to->has_pagecache_digest = true;
        to->pagecache_digest = from->pagecache_digest;
    }
    if (from->has_pagecache_pool_max) {
        to->has_pagecache_pool_max = true;
        to->pagecache_pool_max = from->pagecache_pool_max;
    }
    if (from->has_pagecache_any_protocol) {
        to->has_pagecache_any_protocol = true;
        to->pagecache_any_protocol = from->pagecache_any_protocol;
    }
}

void pagecache_params_query(MigrationParameters *to,
                            const MigrationParameters *from)
{
    overlay(qapi_MigrationParameters_base(to),
            qapi_MigrationParameters_base(from));
    to->pagecache_bandwidth_group =
        g_strdup(from->pagecache_bandwidth_group ?: "");
}

void pagecache_params_test_apply(const MigrateSetParameters *from,
                                 MigrationParameters *to)
{
    overlay(qapi_MigrationParameters_base(to),
            qapi_MigrateSetParameters_base(from));
}

void pagecache_params_apply(const MigrateSetParameters *from,
                            MigrationParameters *to)
{
    char *group = to->pagecache_bandwidth_group;
    int i;

    overlay(qapi_MigrationParameters_base(to),
            qapi_MigrateSetParameters_base(from));
    set_limits(to);
    if (!from->pagecache_bandwidth_group) {
        return;
    }
    to->pagecache_bandwidth_group = g_strdup(from->pagecache_bandwidth_group);
    for (i = 0; i < PAGECACHE_SIDE__MAX; i++) {
        if (begun[i] && g_strcmp0(group, to->pagecache_bandwidth_group)) {
            join_group(i);
        }
    }
    g_free(group);
}

/* --- for the human monitor --- */

void pagecache_params_parse(Visitor *v, MigrationParameter number,
                            MigrateSetParameters *p, Error **errp)
{
    const char *name = MigrationParameter_str(number);

    switch (number) {
    case MIGRATION_PARAMETER_PAGECACHE_SESSIONS:
        p->has_pagecache_sessions = true;
        visit_type_uint8(v, name, &p->pagecache_sessions, errp);
        break;
    case MIGRATION_PARAMETER_PAGECACHE_READ_DEADLINE:
        p->has_pagecache_read_deadline = true;
        visit_type_uint32(v, name, &p->pagecache_read_deadline, errp);
        break;
    case MIGRATION_PARAMETER_PAGECACHE_BANDWIDTH:
        p->has_pagecache_bandwidth = true;
        visit_type_size(v, name, &p->pagecache_bandwidth, errp);
        break;
    case MIGRATION_PARAMETER_PAGECACHE_BANDWIDTH_GROUP:
        visit_type_str(v, name, &p->pagecache_bandwidth_group, errp);
        break;
    case MIGRATION_PARAMETER_PAGECACHE_BACK_OFF:
        p->has_pagecache_back_off = true;
        visit_type_bool(v, name, &p->pagecache_back_off, errp);
        break;
    case MIGRATION_PARAMETER_PAGECACHE_DIGEST:
        p->has_pagecache_digest = true;
        visit_type_PagecacheDigestAlgorithm(v, name, &p->pagecache_digest,
                                            errp);
        break;
    case MIGRATION_PARAMETER_PAGECACHE_POOL_MAX:
        p->has_pagecache_pool_max = true;
        visit_type_size(v, name, &p->pagecache_pool_max, errp);
        break;
    case MIGRATION_PARAMETER_PAGECACHE_ANY_PROTOCOL:
        p->has_pagecache_any_protocol = true;
        visit_type_bool(v, name, &p->pagecache_any_protocol, errp);
        break;
    default:
        g_assert_not_reached();
    }
}

void pagecache_params_print(Monitor *mon, const MigrationParameters *p)
{
    monitor_printf(mon, "%s: %u\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_SESSIONS),
        p->pagecache_sessions);
    monitor_printf(mon, "%s: %u ms\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_READ_DEADLINE),
        p->pagecache_read_deadline);
    monitor_printf(mon, "%s: %" PRIu64 " bytes/second\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_BANDWIDTH),
        p->pagecache_bandwidth);
    monitor_printf(mon, "%s: '%s'\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_BANDWIDTH_GROUP),
        p->pagecache_bandwidth_group);
    monitor_printf(mon, "%s: %s\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_BACK_OFF),
        p->pagecache_back_off ? "on" : "off");
    monitor_printf(mon, "%s: %s\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_DIGEST),
        PagecacheDigestAlgorithm_str(p->pagecache_digest));
    monitor_printf(mon, "%s: %" PRIu64 " bytes\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_POOL_MAX),
        p->pagecache_pool_max);
    monitor_printf(mon, "%s: %s\n",
        MigrationParameter_str(MIGRATION_PARAMETER_PAGECACHE_ANY_PROTOCOL),
        p->pagecache_any_protocol ? "on" : "off");
}
