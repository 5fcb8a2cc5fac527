/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the I/O map as MAP frames
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Goes through the map once and makes frames of its entries, whether they fit
 * or not: 8 bytes a page are looked at, and the page itself is not.
 */
#ifndef MIGRATION_PAGECACHE_IO_SENDER_H
#define MIGRATION_PAGECACHE_IO_SENDER_H

#include "pagecache-wire.h"

typedef struct PagecacheIoSender PagecacheIoSender;

/*
 * What @start names, and nothing else, is in the frames.  @blocks are the
 * RAMBlocks of its blocks; they and their regions stay until it is freed.
 */
PagecacheIoSender *pagecache_io_sender_new(const PagecacheWireStart *start,
                                           GPtrArray *blocks);
void pagecache_io_sender_free(PagecacheIoSender *sender);
/*
 * Goes on for about a millisecond.  Returns the entries that were found, with
 * *@frame, or 0 if there were none.
 */
uint64_t pagecache_io_sender_next(PagecacheIoSender *sender,
                                  GByteArray **frame);
/* Is there nothing left? */
bool pagecache_io_sender_is_done(const PagecacheIoSender *sender);

#endif
