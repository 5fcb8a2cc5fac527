/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what those who find out how a disk is read have in common
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * All of it in the main thread with the BQL, and the graph locked for reading.
 */
#ifndef BLOCK_PAGECACHE_READER_SPEC_H
#define BLOCK_PAGECACHE_READER_SPEC_H

#include "block/block_int.h"
#include "block/throttle-groups.h"
#include "qobject/qdict.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "pagecache-reader-int.h"

/* --- pagecache-reader-spec-limits.c --------------------------------------- */

typedef struct Limits {
    uint64_t bandwidth;     /* bytes/s; 0: none */
    uint64_t iops;
} Limits;

/* Those of the group that @tgm is in */
void pcr_limits_add_group(Limits *limits, ThrottleGroupMember *tgm);

/* Those of @bs, if it is a throttle filter */
void GRAPH_RDLOCK pcr_limits_add(Limits *limits, BlockDriverState *bs);

/* --- Options -------------------------------------------------------------- */

/* An option as text, whichever way it was given; NULL: none, or no scalar */
static inline char *option_text(const QDict *options, const char *name)
{
    QObject *value = qdict_get(options, name);
    QString *string = qobject_to(QString, value);
    QNum *num = qobject_to(QNum, value);

    return string ? g_strdup(qstring_get_str(string)) :
           num ? qnum_to_string(num) : NULL;
}

/* The first key in @options that is not in @known (ends with NULL); or NULL */
static inline const char *option_unknown(const QDict *options,
                                         const char *const *known)
{
    const QDictEntry *entry;

    for (entry = qdict_first(options); entry;
         entry = qdict_next(options, entry)) {
        if (!g_strv_contains(known, qdict_entry_key(entry))) {
            return qdict_entry_key(entry);
        }
    }
    return NULL;
}

/* --- pagecache-reader-spec-nbd.c ------------------------------------------ */

/* For a node of the driver nbd.  NULL with @errp set: libnbd can't do it. */
PagecacheReaderSpec *pcr_nbd_spec_new(const QDict *options, Error **errp);

/* --- pagecache-reader-spec-clone.c ---------------------------------------- */

/*
 * A clone in the block layer of @bs and all that is below it.  NULL with @errp
 * set: there are nodes of a protocol for which it would not be safe
 * (@any_protocol: it is asked for nevertheless), or they don't tell enough.
 */
PagecacheReaderSpec *GRAPH_RDLOCK pcr_clone_spec_new(BlockDriverState *bs,
                                                     Limits *limits,
                                                     bool any_protocol,
                                                     Error **errp);

#endif
