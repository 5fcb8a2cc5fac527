/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: its migration parameters
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * QAPI's PagecacheParameters is the base of both MigrationParameters and
 * MigrateSetParameters; what options.c and migration-hmp-cmds.c do with the
 * others, they have done here with these.  With the BQL.
 */
#ifndef MIGRATION_PAGECACHE_PARAMS_H
#define MIGRATION_PAGECACHE_PARAMS_H

#include "qapi/qapi-types-migration.h"
#include "block/pagecache-reader.h"
#include "qemu/pagecache-budget.h"
#include "pagecache-ledger.h"

/* Limits of what may be set; the defaults are the reader's */
#define PAGECACHE_PARAMS_DEADLINE_MAX_MS    3600000

/* All are there. */
void pagecache_params_init(MigrationParameters *p);
/*
 * False: one that is there is out of range.  The message says what came, and
 * what was expected.
 */
bool pagecache_params_check(const MigrationParameters *p, Error **errp);
/* Copies all of @from, for the caller of query-migrate-parameters to free. */
void pagecache_params_query(MigrationParameters *to,
                            const MigrationParameters *from);
/* Puts what is in @from into @to, which owns nothing of it. */
void pagecache_params_test_apply(const MigrateSetParameters *from,
                                 MigrationParameters *to);
/*
 * Puts what is in @from into @to, the parameters in force.  They were checked.
 */
void pagecache_params_apply(const MigrateSetParameters *from,
                            MigrationParameters *to);

/* --- for both sides --- */

/*
 * A migration begins on @side, with nothing spent yet of what the parameters
 * allow.
 */
void pagecache_params_begin(PagecacheSide side);
/* What it may spend; lives as long as the process, follows the parameters. */
PagecacheBudget *pagecache_params_budget(PagecacheSide side);
/* It has come to its end, good or bad. */
void pagecache_params_end(PagecacheSide side);
/* What it shares with others, for the caller to free; NULL: nothing */
MigrationPagecacheGroup *pagecache_params_group(PagecacheSide side);

/* --- for the human monitor --- */

/* The value in @v is for parameter @number, which is one of ours. */
void pagecache_params_parse(Visitor *v, MigrationParameter number,
                            MigrateSetParameters *p, Error **errp);
void pagecache_params_print(Monitor *mon, const MigrationParameters *p);

#endif
