/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: reports on their way to the migration thread
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The return path's thread puts them in, and does nothing else: it must never
 * wait for the dirty bitmap's lock, which is held across writes to the channel.
 */
#ifndef MIGRATION_PAGECACHE_INBOX_H
#define MIGRATION_PAGECACHE_INBOX_H

#include "pagecache-wire.h"

typedef struct PagecacheInbox PagecacheInbox;

PagecacheInbox *pagecache_inbox_new(void);
void pagecache_inbox_free(PagecacheInbox *in);

/*
 * A message that was decoded: ACCEPTED, or one that names pages.  There is
 * only room for as many pages as pagecache_inbox_limit() has said; what comes
 * on top is refused and counted, for the destination reports what was not
 * offered.  Return path thread.
 */
void pagecache_inbox_put(PagecacheInbox *in, const PagecacheReport *report);

/* The rest is for any other thread. */

void pagecache_inbox_limit(PagecacheInbox *in, uint64_t pages);
/* Waits for ACCEPTED, or for @ms; true: it has come. */
bool pagecache_inbox_wait_accepted(PagecacheInbox *in, int ms);
/* The features that came with it */
uint64_t pagecache_inbox_features(PagecacheInbox *in);
/* Waits until there is a message, or for @ms. */
void pagecache_inbox_wait(PagecacheInbox *in, int ms);
/* The oldest message, or NULL; g_free() it. */
PagecacheReport *pagecache_inbox_take(PagecacheInbox *in);
/* Pages that the messages name */
uint64_t pagecache_inbox_pages(PagecacheInbox *in);
/* How many messages were refused since this was last asked */
uint64_t pagecache_inbox_refused(PagecacheInbox *in);
/* Reports no longer count. */
void pagecache_inbox_close(PagecacheInbox *in);

#endif
