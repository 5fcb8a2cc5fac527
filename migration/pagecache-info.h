/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: lines that several commands of the human monitor print
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef MIGRATION_PAGECACHE_INFO_H
#define MIGRATION_PAGECACHE_INFO_H

#include "monitor/monitor.h"
#include "qapi/qapi-types-pagecache.h"

/* A line for each; BQL. */
void pagecache_info_print_left_out(Monitor *mon,
                                   const MigrationPagecacheLeftOutList *l);
void pagecache_info_print_unseen(Monitor *mon,
                                 const MigrationPagecacheUnseenList *u);

#endif
