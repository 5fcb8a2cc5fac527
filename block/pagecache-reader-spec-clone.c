/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how an image is opened once more in the block layer
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * By options that name each node of the chain, backing files included: what is
 * opened is what the guest's node has open now, and not what the headers of the
 * images say by then.  Filters are passed over.
 */

#include "qemu/osdep.h"
#include "block/block.h"
#include "block/qdict.h"
#include "qapi/error.h"
#include "qobject/qbool.h"
#include "qobject/qjson.h"
#include "qobject/qnull.h"
#include "qemu/cutils.h"
#include "pagecache-reader-blk.h"
#include "pagecache-reader-spec.h"

/* Seconds after which a clone's own iSCSI session gives a request up */
#define CLONE_ISCSI_TIMEOUT "10"

/*
 * A clone's session would wait for ever; the block driver's "timeout" is not
 * among the options that a node tells.
 */
static void add_iscsi_timeouts(QDict *options)
{
    g_autoptr(GPtrArray) names = g_ptr_array_new_with_free_func(g_free);
    const QDictEntry *entry;
    guint i;

    for (entry = qdict_first(options); entry;
         entry = qdict_next(options, entry)) {
        const char *key = qdict_entry_key(entry);
        const char *value = qdict_get_try_str(options, key);

        if (value && (!strcmp(value, "iscsi") || !strcmp(value, "iser")) &&
            (!strcmp(key, "driver") || g_str_has_suffix(key, ".driver"))) {
            g_ptr_array_add(names,
                            g_strdup_printf("%.*stimeout",
                                            (int)(strlen(key) -
                                                  strlen("driver")), key));
        }
    }
    for (i = 0; i < names->len; i++) {
        qdict_put_str(options, g_ptr_array_index(names, i),
                      CLONE_ISCSI_TIMEOUT);
    }
}

/* A node without nodes below it */
static bool add_protocol(BlockDriverState *bs, PcrClone *clone, Error **errp)
{
    g_autofree char *path = option_text(bs->full_open_options, "filename");

    if (!pcr_protocol_is_local(bs)) {
        if (!clone->any_protocol) {
            error_setg(errp, "node '%s' is of protocol '%s', which would be "
                       "opened in QEMU's main loop and might stop it; "
                       "the parameter pagecache-any-protocol allows that",
                       bdrv_get_device_or_node_name(bs),
                       bs->drv->format_name);
        }
        return clone->any_protocol;
    }
    if (!path || strstart(path, "/dev/fdset/", NULL)) {
        error_setg(errp, "node '%s' was passed in as a file descriptor, "
                   "expected the name of a file for an image format",
                   bdrv_get_device_or_node_name(bs));
        return false;
    }
    g_ptr_array_add(clone->files, g_steal_pointer(&path));
    return true;
}

/* Whoever has put faults in the way of the guest's disk wants ours to pass them */
static BlockDriverState *GRAPH_RDLOCK skip_filters(BlockDriverState *bs,
                                                   Limits *limits)
{
    BlockDriverState *below;

    while (strcmp(bs->drv ? bs->drv->format_name : "", "blkdebug") &&
           (below = bdrv_filter_bs(bs))) {
        pcr_limits_add(limits, bs);
        bs = below;
    }
    return bs;
}

/*
 * The name of a backing file that stands in an image's header would be taken as
 * well, and be one too many, unless there is an option "file.filename".
 */
static QDict *put_raw_on_top(QDict *below)
{
    QDict *raw = qdict_new();

    qdict_put_str(raw, "driver", "raw");
    qdict_put(raw, "file", below);
    return raw;
}

/* The options of @bs with those of all that is below it; NULL: @errp is set */
static QDict *GRAPH_RDLOCK node_options(BlockDriverState *bs, PcrClone *clone,
                                        Limits *limits, Error **errp)
{
    g_autoptr(QDict) options = NULL;
    BdrvChild *child;

    if (!bs->drv || !bs->full_open_options) {
        error_setg(errp, "node '%s' does not tell how to open it once more",
                   bdrv_get_device_or_node_name(bs));
        return NULL;
    }
    options = qdict_clone_shallow(bs->full_open_options);
    if (QLIST_EMPTY(&bs->children) && !add_protocol(bs, clone, errp)) {
        return NULL;
    }
    QLIST_FOREACH(child, &bs->children, next) {
        BlockDriverState *child_bs = skip_filters(child->bs, limits);
        QDict *below = node_options(child_bs, clone, limits, errp);

        if (!below) {
            return NULL;
        }
        if (child == bs->backing && QLIST_EMPTY(&child_bs->children)) {
            below = put_raw_on_top(below);
        }
        if (child == bs->backing || qdict_haskey(options, child->name)) {
            qdict_put(options, child->name, below);
        } else {
            /* a driver that has another way to tell it, like quorum */
            qobject_unref(below);
        }
    }
    if (bs->drv->supports_backing && !bs->backing) {
        qdict_put_null(options, "backing");
    }
    return g_steal_pointer(&options);
}

PagecacheReaderSpec *pcr_clone_spec_new(BlockDriverState *bs, Limits *limits,
                                        bool any_protocol, Error **errp)
{
    g_autoptr(PcrClone) clone = g_new0(PcrClone, 1);
    g_autoptr(QDict) options = NULL;
    g_autoptr(GString) json = NULL;
    PagecacheReaderSpec *spec;

    clone->any_protocol = any_protocol;
    clone->files = g_ptr_array_new_with_free_func(g_free);
    options = node_options(bs, clone, limits, errp);
    if (!options) {
        return NULL;
    }
    qdict_flatten(options);
    add_iscsi_timeouts(options);
    qdict_put_bool(options, BDRV_OPT_READ_ONLY, true);
    qdict_put_bool(options, BDRV_OPT_AUTO_READ_ONLY, false);
    qdict_put_bool(options, BDRV_OPT_FORCE_SHARE, true);
    qdict_put_bool(options, BDRV_OPT_CACHE_DIRECT, true);

    /* as text: the objects are the guest node's, and not for other threads */
    json = qobject_to_json(QOBJECT(options));
    clone->json = g_string_free(g_steal_pointer(&json), false);
    spec = pagecache_reader_spec_alloc(&pagecache_reader_block_ops);
    spec->name = g_strdup_printf("%s image '%s'", bs->drv->format_name,
                                 bdrv_get_device_or_node_name(bs));
    spec->u.data = g_steal_pointer(&clone);
    return spec;
}
