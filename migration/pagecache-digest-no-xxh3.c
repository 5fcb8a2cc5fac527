/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: no digest of a page by XXH3, in a build without libxxhash
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "pagecache-digest-xxh3.h"

bool pagecache_digest_have_xxh3(void)
{
    return false;
}

void pagecache_digest_xxh3(const uint8_t *secret, size_t secret_len,
                           const void *page, size_t size,
                           uint8_t out[PAGECACHE_DIGEST_LEN])
{
    g_assert_not_reached();
}

uint64_t pagecache_checksum_xxh3(const void *data, size_t size)
{
    g_assert_not_reached();
}
