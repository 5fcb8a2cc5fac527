/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how the image of a guest's disk can be read without the
 * guest's node
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Raw images on iSCSI and in files go to the engines that keep clear of
 * QEMU's block layer.  Whatever is not plain, such as an option that we don't
 * know, a transport that isn't TCP, or an image format, is opened once more in
 * the block layer.  Filters in front of the image (throttle, copy-on-read, a
 * job's) are passed over; a throttle's limit becomes the reader's own.
 */

#include "qemu/osdep.h"
#include "block/block_int.h"
#include "block/qdict.h"
#include "block/throttle-groups.h"
#include "crypto/secret.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-machine.h"
#include "qobject/qbool.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "qemu/cutils.h"
#include "qemu/uuid.h"
#include "system/block-backend.h"
#include "system/system.h"
#include "pagecache-reader-int.h"

/* Seconds after which a clone's own iSCSI session gives a request up */
#define CLONE_ISCSI_TIMEOUT "10"

typedef struct Limits {
    uint64_t bandwidth;     /* bytes/s; 0: none */
    uint64_t iops;
} Limits;

/* --- Limits -------------------------------------------------------------- */

static void add_limit(uint64_t *limit, uint64_t value)
{
    *limit = *limit && value ? MIN(*limit, value) : MAX(*limit, value);
}

static void limits_add_group(Limits *limits, ThrottleGroupMember *tgm)
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

/* The node below the filters on top of @bs, with their limits */
static BlockDriverState *GRAPH_RDLOCK
skip_filters(BlockDriverState *bs, Limits *limits)
{
    BlockDriverState *below = bdrv_skip_filters(bs);

    for (; bs != below; bs = bdrv_filter_bs(bs)) {
        if (!strcmp(bs->drv->format_name, "throttle")) {
            limits_add_group(limits, bs->opaque);
        }
    }
    return below;
}

/* --- Options ------------------------------------------------------------- */

/* An option as text, whichever way it was given; NULL: none, or no scalar */
static char *option_text(const QDict *options, const char *name)
{
    QObject *value = qdict_get(options, name);
    QString *string = qobject_to(QString, value);
    QNum *num = qobject_to(QNum, value);

    return string ? g_strdup(qstring_get_str(string)) :
           num ? qnum_to_string(num) : NULL;
}

static bool option_size(const QDict *options, const char *name,
                        uint64_t *result)
{
    g_autofree char *text = option_text(options, name);

    *result = 0;
    if (!text) {
        return !qdict_haskey(options, name);
    }
    return qemu_strtosz(text, NULL, result) == 0;
}

/* Nothing is in @options but what is in @known (ends with NULL) */
static bool options_known(const QDict *options, const char *const *known)
{
    const QDictEntry *entry;

    for (entry = qdict_first(options); entry;
         entry = qdict_next(options, entry)) {
        if (!g_strv_contains(known, qdict_entry_key(entry))) {
            return false;
        }
    }
    return true;
}

/* --- iSCSI --------------------------------------------------------------- */

/* As block/iscsi.c does it: a target's access list must match us as well */
static char *iscsi_initiator_name(const QDict *options)
{
    char *name = option_text(options, "initiator-name");
    const char *vm;
    UuidInfo *info;

    if (name) {
        return name;
    }
    info = qmp_query_uuid(NULL);
    vm = strcmp(info->UUID, UUID_NONE) ? info->UUID : qemu_get_vm_name();
    name = g_strdup_printf("iqn.2008-11.org.linux-kvm%s%s", vm ? ":" : "",
                           vm ?: "");
    qapi_free_UuidInfo(info);
    return name;
}

static bool iscsi_header_digest(const QDict *options,
                                PagecacheHeaderDigest *digest)
{
    static const struct {
        const char *name;
        PagecacheHeaderDigest digest;
    } digests[] = {
        { "none-crc32c", PAGECACHE_DIGEST_NONE_CRC32C },
        { "crc32c-none", PAGECACHE_DIGEST_CRC32C_NONE },
        { "crc32c", PAGECACHE_DIGEST_CRC32C },
        { "none", PAGECACHE_DIGEST_NONE },
    };
    g_autofree char *text = option_text(options, "header-digest");
    int i;

    *digest = PAGECACHE_DIGEST_NONE_CRC32C;
    for (i = 0; text && i < ARRAY_SIZE(digests); i++) {
        if (!strcmp(text, digests[i].name)) {
            *digest = digests[i].digest;
            return true;
        }
    }
    return !text;
}

/* NULL without an error: another engine's */
static PagecacheReaderSpec *iscsi_spec_new(const QDict *options, Error **errp)
{
    static const char *const known[] = {
        "driver", "transport", "portal", "target", "lun", "user", "password",
        "password-secret", "initiator-name", "header-digest", NULL
    };
    g_autofree char *transport = option_text(options, "transport");
    g_autofree char *portal = option_text(options, "portal");
    g_autofree char *target = option_text(options, "target");
    g_autofree char *user = option_text(options, "user");
    g_autofree char *password = option_text(options, "password");
    g_autofree char *secret = option_text(options, "password-secret");
    g_autofree char *lun_text = option_text(options, "lun");
    PagecacheHeaderDigest digest;
    PagecacheReaderSpec *spec;
    int lun = 0;

    if (!pagecache_reader_iscsi_ops || !options_known(options, known) ||
        g_strcmp0(transport, "tcp") != 0 || !portal || !target ||
        !iscsi_header_digest(options, &digest) ||
        (lun_text && (qemu_strtoi(lun_text, NULL, 10, &lun) < 0 || lun < 0))) {
        return NULL;
    }
    if (user && secret) {
        g_free(password);
        password = qcrypto_secret_lookup_as_utf8(secret, errp);
        if (!password) {
            return NULL;
        }
    }
    if (user && !password) {
        return NULL;
    }
    spec = pagecache_reader_spec_alloc(pagecache_reader_iscsi_ops);
    spec->name = g_strdup_printf("iscsi://%s/%s/%d", portal, target, lun);
    spec->u.iscsi.portal = g_steal_pointer(&portal);
    spec->u.iscsi.target = g_steal_pointer(&target);
    spec->u.iscsi.initiator = iscsi_initiator_name(options);
    spec->u.iscsi.lun = lun;
    spec->u.iscsi.header_digest = digest;
    if (user) {
        spec->u.iscsi.user = g_steal_pointer(&user);
        spec->u.iscsi.password = g_steal_pointer(&password);
    }
    return spec;
}

/* --- Files --------------------------------------------------------------- */

/* NULL without an error: another engine's */
static PagecacheReaderSpec *file_spec_new(BlockDriverState *bs, Error **errp)
{
    static const char *const known[] = { "driver", "filename", NULL };
    const QDict *options = bs->full_open_options;
    g_autofree char *path = option_text(options, "filename");
    PagecacheReaderSpec *spec;

    if (!pagecache_reader_file_ops || !options_known(options, known) ||
        !path) {
        return NULL;
    }
#ifdef CONFIG_LINUX
    if (strstart(path, "/dev/fdset/", NULL)) {
        return pagecache_reader_fdset_spec_new(path, errp);
    }
#endif
    spec = pagecache_reader_spec_alloc(pagecache_reader_file_ops);
    spec->name = g_strdup(path);
    spec->u.file.path = g_steal_pointer(&path);
    return spec;
}

/* --- Anything ------------------------------------------------------------ */

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

static PagecacheReaderSpec *clone_spec_new(BlockDriverState *bs, Error **errp)
{
    g_autoptr(QDict) options = NULL;
    g_autoptr(GString) json = NULL;
    PagecacheReaderSpec *spec;

    if (!bs->full_open_options) {
        error_setg(errp, "node '%s' does not tell how to open it once more",
                   bdrv_get_device_or_node_name(bs));
        return NULL;
    }
    options = qdict_clone_shallow(bs->full_open_options);
    qdict_flatten(options);
    add_iscsi_timeouts(options);
    qdict_put_bool(options, BDRV_OPT_READ_ONLY, true);
    qdict_put_bool(options, BDRV_OPT_AUTO_READ_ONLY, false);
    qdict_put_bool(options, BDRV_OPT_FORCE_SHARE, true);
    qdict_put_bool(options, BDRV_OPT_CACHE_DIRECT, true);

    /* as text: the objects are the guest node's, and not for other threads */
    json = qobject_to_json(QOBJECT(options));
    spec = pagecache_reader_spec_alloc(&pagecache_reader_block_ops);
    spec->name = g_strdup_printf("%s image '%s'", bs->drv->format_name,
                                 bdrv_get_device_or_node_name(bs));
    spec->u.data = g_string_free(g_steal_pointer(&json), false);
    return spec;
}

/* NULL without an error: another engine's */
static PagecacheReaderSpec *GRAPH_RDLOCK
raw_spec_new(BlockDriverState *bs, Limits *limits, Error **errp)
{
    static const char *const known[] = {
        "driver", "file", "offset", "size", NULL
    };
    PagecacheReaderSpec *spec = NULL;
    uint64_t offset = 0, size = 0;
    const char *driver;

    if (!strcmp(bs->drv->format_name, "raw")) {
        if (!bs->file || !options_known(bs->full_open_options, known) ||
            !option_size(bs->full_open_options, "offset", &offset) ||
            !option_size(bs->full_open_options, "size", &size) ||
            (!size && qdict_haskey(bs->full_open_options, "size"))) {
            return NULL;
        }
        bs = skip_filters(bs->file->bs, limits);
        if (!bs->drv || !bs->full_open_options) {
            return NULL;
        }
    }

    driver = bs->drv->format_name;
    if (!strcmp(driver, "iscsi")) {
        spec = iscsi_spec_new(bs->full_open_options, errp);
    } else if (!strcmp(driver, "file") || !strcmp(driver, "host_device")) {
        spec = file_spec_new(bs, errp);
    }
    if (spec) {
        spec->offset = offset;
        spec->size = size;
    }
    return spec;
}

PagecacheReaderSpec *pagecache_reader_spec_new(BlockBackend *blk,
                                               Error **errp)
{
    BlockDriverState *bs = blk_bs(blk);
    ThrottleGroupMember *tgm = &blk_get_public(blk)->throttle_group_member;
    PagecacheReaderSpec *spec;
    Limits limits = {};
    Error *err = NULL;

    GLOBAL_STATE_CODE();
    assert(!qemu_in_coroutine());
    GRAPH_RDLOCK_GUARD_MAINLOOP();

    if (tgm->throttle_state) {
        limits_add_group(&limits, tgm);
    }
    bs = bs ? skip_filters(bs, &limits) : NULL;
    if (!bs || !bs->drv) {
        error_setg(errp, "the disk has no medium");
        return NULL;
    }
    if (bdrv_is_sg(bs)) {
        error_setg(errp, "node '%s' is a SCSI device that is passed through, "
                   "expected a disk", bdrv_get_device_or_node_name(bs));
        return NULL;
    }
    bdrv_refresh_filename(bs);
    spec = raw_spec_new(bs, &limits, &err);
    if (err) {
        error_propagate(errp, err);
        return NULL;
    }
    if (!spec) {
        spec = clone_spec_new(bs, errp);
    }
    if (spec) {
        spec->max_bandwidth = limits.bandwidth;
        spec->max_iops = limits.iops;
    }
    return spec;
}
