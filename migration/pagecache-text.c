/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what people read, for each value that programs read
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "pagecache-text.h"

static const char *const inactive[PAGECACHE_INACTIVE_REASON__MAX] = {
    [PAGECACHE_INACTIVE_REASON_NOT_LIVE] =
        "not a live migration to another QEMU",
    [PAGECACHE_INACTIVE_REASON_NO_SOCKET] =
        "the target of the migration is no socket",
    [PAGECACHE_INACTIVE_REASON_MAPPED_RAM] =
        "the capability mapped-ram is on",
    [PAGECACHE_INACTIVE_REASON_BACKGROUND_SNAPSHOT] =
        "the capability background-snapshot is on",
    [PAGECACHE_INACTIVE_REASON_POSTCOPY_RAM] =
        "the capability postcopy-ram is on",
    [PAGECACHE_INACTIVE_REASON_X_COLO] =
        "the capability x-colo is on",
    [PAGECACHE_INACTIVE_REASON_XBZRLE] =
        "the capability xbzrle is on",
    [PAGECACHE_INACTIVE_REASON_RDMA] =
        "the migration uses RDMA",
    [PAGECACHE_INACTIVE_REASON_CPR] =
        "the migration mode is one of cpr",
    [PAGECACHE_INACTIVE_REASON_CONFIDENTIAL] =
        "the guest's memory is confidential",
    [PAGECACHE_INACTIVE_REASON_NO_DIGEST] =
        "there is no digest to compare pages by",
    [PAGECACHE_INACTIVE_REASON_REFUSED] =
        "the destination refused to take part",
    [PAGECACHE_INACTIVE_REASON_CANCELLED] =
        "the migration was cancelled",
    [PAGECACHE_INACTIVE_REASON_FAILED] =
        "the migration failed",
};

static const char *const notes[PAGECACHE_NOTE__MAX] = {
    [PAGECACHE_NOTE_NO_DEVICE] =
        "no hints; with -object pagecache-io-map QEMU makes them itself, and "
        "the guest needs no driver",
    [PAGECACHE_NOTE_NO_DRIVER] =
        "no hints; the guest has no driver for its device virtio-pagecache",
    [PAGECACHE_NOTE_NO_DAEMON] =
        "no hints; the guest has the driver, and its daemon virtio-pagecached "
        "does not run",
    [PAGECACHE_NOTE_GUEST_SILENT] =
        "no hints; the guest did not answer in time",
    [PAGECACHE_NOTE_MAP_EMPTY] =
        "no hints; no cached page was found that stands on a disk",
    [PAGECACHE_NOTE_NO_READABLE_DISK] =
        "the destination could not read any page; its figures say why for "
        "each disk",
    [PAGECACHE_NOTE_CACHE_SMALL] =
        "the hints are of less than a twentieth of the guest's RAM",
    [PAGECACHE_NOTE_CHANNEL_FASTER] =
        "the channel has sent all hinted pages before they could be read",
};

static const char *const given_up[PAGECACHE_GIVEN_UP_REASON__MAX] = {
    [PAGECACHE_GIVEN_UP_REASON_MOST_DIFFER] =
        "most hinted pages differ from disk",
    [PAGECACHE_GIVEN_UP_REASON_OTHER_DISK] =
        "nearly all hinted pages differ from disk",
    [PAGECACHE_GIVEN_UP_REASON_TOO_MANY_HINTS] =
        "more hints than the guest has pages",
    [PAGECACHE_GIVEN_UP_REASON_BAD_MESSAGES] =
        "too many messages that make no sense",
};

const char *pagecache_inactive_text(PagecacheInactiveReason reason)
{
    return inactive[reason];
}

const char *pagecache_note_text(PagecacheNote note)
{
    return notes[note];
}

const char *pagecache_given_up_text(PagecacheGivenUpReason reason)
{
    return given_up[reason];
}

char *pagecache_disk_text(const char *id, const char *path)
{
    return id ? g_strdup_printf("%s (%s)", id, path) : g_strdup(path);
}
