/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: a member of a group that shares one bandwidth
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A thread of its own looks at the group's file (pagecache-share.h) every
 * PAGECACHE_SHARE_TURN_MS and puts this QEMU's share into a budget.  Until it
 * knows that, nothing may be spent.  If the file can't be read any more, the
 * share remains what it was.  The file is opened anew each time, so it may be
 * replaced; where that hangs, only the thread does.
 */
#ifndef MIGRATION_PAGECACHE_GROUP_H
#define MIGRATION_PAGECACHE_GROUP_H

#include "qemu/pagecache-budget.h"

typedef struct PagecacheGroup PagecacheGroup;

typedef struct PagecacheGroupInfo {
    bool known;                 /* the following are */
    uint64_t bandwidth;         /* bytes a second, of all; 0: no limit */
    uint64_t share;             /* of it */
    unsigned members;
    char *error;                /* what is wrong now; NULL: nothing */
} PagecacheGroupInfo;

/*
 * Joins the group of the file @path.  @budget has to live as long as the
 * process; nobody else sets its share.  Any thread; does not wait.
 */
PagecacheGroup *pagecache_group_join(const char *path, PagecacheBudget *budget);
/* @budget has no share any more.  Does not wait.  NULL is ignored. */
void pagecache_group_leave(PagecacheGroup *group);
/* g_free() info->error.  Any thread. */
void pagecache_group_info(PagecacheGroup *group, PagecacheGroupInfo *info);

#endif
