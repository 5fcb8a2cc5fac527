/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how the image of a guest's disk can be read without the
 * guest's node
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Raw images on iSCSI, NBD and in files go to the engines that keep clear of
 * QEMU's block layer.  Image formats are opened once more in the block layer,
 * as long as all that is below them is files and devices of this host.
 * Whatever is left, such as another protocol, an option that we don't know or a
 * transport that isn't TCP, would be opened there, too, in the main loop, which
 * it might stop; so it is only when the operator says so.  Filters in front of
 * the image (throttle, copy-on-read, a job's) are passed over; a throttle's
 * limit becomes the reader's own.
 */

#include "qemu/osdep.h"
#include "crypto/secret.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-machine.h"
#include "qobject/qdict.h"
#include "qemu/cutils.h"
#include "qemu/uuid.h"
#include "system/block-backend.h"
#include "system/system.h"
#include "pagecache-reader-spec.h"

/* --- Filters -------------------------------------------------------------- */

/* The node below the filters on top of @bs, with their limits */
static BlockDriverState *GRAPH_RDLOCK
skip_filters(BlockDriverState *bs, Limits *limits)
{
    BlockDriverState *below = bdrv_skip_filters(bs);

    for (; bs != below; bs = bdrv_filter_bs(bs)) {
        pcr_limits_add(limits, bs);
    }
    return below;
}

/* --- Options ------------------------------------------------------------- */

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
    return !option_unknown(options, known);
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
    } else if (!strcmp(driver, "nbd")) {
        spec = pcr_nbd_spec_new(bs->full_open_options, errp);
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
                                               bool any_protocol,
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
        pcr_limits_add_group(&limits, tgm);
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
    if (err && !any_protocol) {
        error_propagate(errp, err);
        return NULL;
    }
    error_free(err);
    if (!spec) {
        spec = pcr_clone_spec_new(bs, &limits, any_protocol, errp);
    }
    if (spec) {
        spec->max_bandwidth = limits.bandwidth;
        spec->max_iops = limits.iops;
    }
    return spec;
}
