/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the first touch of what is offered, ahead of its copy
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Where the host has not backed the destination's RAM yet, the first write to
 * any page of a transparent huge page clears all 2 MiB of it.  Offers come in
 * the order of the disk, so the first few bring a page for nearly every huge
 * page, and who copies them, or loads the channel, would clear all the time.
 * So threads that no wire waits for touch what is offered when the offer
 * comes.
 *
 * They ask the kernel for pages that were offered and for no others.  What it
 * gives is what it would give for the copy: a huge page, where there are such
 * for this RAM, else pages of the usual size.  So this needs to know nothing
 * of the RAM's kind, and RAM that the guest does not use stays untouched.
 * Asking changes no content: no claim is needed, and a copy, the channel and
 * another thread may be there at the same time.
 *
 * All of it is a help.  Where the kernel lacks the call (Linux before 5.14),
 * no thread can be had or the queue is full, the copy is the first touch.
 */
#ifndef MIGRATION_PAGECACHE_POPULATE_H
#define MIGRATION_PAGECACHE_POPULATE_H

typedef struct PagecachePopulate PagecachePopulate;

/* NULL if this host can't; NULL is allowed in what follows. */
PagecachePopulate *pagecache_populate_new(void);
/*
 * Blocks get the numbers 0, 1, ...  RAM must stay until
 * pagecache_populate_free().  No other call for this @p at the same time.
 */
void pagecache_populate_add_block(PagecachePopulate *p, void *host,
                                  uint64_t size);
/*
 * @bytes of a block at @offset are offered.  Never blocks but for a mutex that
 * is held for moments.  Each 2 MiB of RAM are asked for once.  One thread.
 */
void pagecache_populate_want(PagecachePopulate *p, uint32_t block,
                             uint64_t offset, uint64_t bytes);
/*
 * Nothing more is begun; at most one touch a thread is still under way when it
 * returns.  Any thread.
 */
void pagecache_populate_stop(PagecachePopulate *p);
/* The same, and waits for those, each of which is as long as a page fault. */
void pagecache_populate_free(PagecachePopulate *p);

#endif
