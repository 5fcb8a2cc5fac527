/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the I/O map as a hint producer
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * For each migration threads go through the map, beginning with the RAM that
 * the channel reaches last, and deliver what still fits.  An entry is looked at
 * once more when its page is about to be offered.
 */
#ifndef MIGRATION_PAGECACHE_IO_PRODUCER_H
#define MIGRATION_PAGECACHE_IO_PRODUCER_H

#include "pagecache-offers.h"

/* Registers the producer, which has nothing to say without a map.  BQL. */
void pagecache_io_producer_init(void);

/* What its hints are counted under */
uint32_t pagecache_io_producer_id(void);
/*
 * A PagecacheLook (pagecache-offers.h) for its hints: what the map says of a
 * page by now.  In an RCU critical section.
 */
PagecacheLookResult pagecache_io_producer_look(RAMBlock *rb,
                                               PagecachePoolRun *page);

#endif
