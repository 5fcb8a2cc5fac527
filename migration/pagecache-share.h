/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: one bandwidth for all migrations of a host
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The members of a group have a file in common.  Its first line is the
 * bandwidth of them all, written by the operator: a number of bytes a second,
 * which may have a suffix (K, M, G, T); 0 is no limit.  What follows are
 * records, one for each member, which nobody else writes: it says who that is
 * and how much it wants.  From the records each member finds its own share, by
 * the same rule, so the shares add up to the bandwidth: nobody gets more than it
 * wants, and those who want more than is left get the same.  What nobody wants
 * is shared out as well, in equal parts, so that whoever needs more has it at
 * hand.
 *
 * There are no locks.  A member whose record has not changed for
 * PAGECACHE_SHARE_GONE_MS is gone, however it ended.  The file may hold
 * anything, be cut, or replaced: records come again with the next turn, a first
 * line that is none leaves the bandwidth as it was, and at the worst a member
 * has one part in PAGECACHE_SHARE_RECORDS + 1 of it.
 *
 * Pure code on GLib; times are milliseconds of any clock that does not go back.
 * No locking: one thread.
 */
#ifndef MIGRATION_PAGECACHE_SHARE_H
#define MIGRATION_PAGECACHE_SHARE_H

#define PAGECACHE_SHARE_RECORD      64      /* bytes; the first line's, too */
#define PAGECACHE_SHARE_RECORDS     63
/* What is read of the file */
#define PAGECACHE_SHARE_BYTES       (PAGECACHE_SHARE_RECORD * \
                                     (1 + PAGECACHE_SHARE_RECORDS))
#define PAGECACHE_SHARE_TURN_MS     100
#define PAGECACHE_SHARE_GONE_MS     1000

typedef struct PagecacheShare PagecacheShare;

typedef struct PagecacheShareTurn {
    uint64_t bandwidth;         /* bytes a second, of all; 0: no limit */
    uint64_t share;             /* and what we have of it; 0: no limit */
    unsigned members;           /* with us */
    /* our record, to be written at @offset; 0: there is no room for it */
    size_t offset;
    char record[PAGECACHE_SHARE_RECORD];
} PagecacheShareTurn;

/* @id: a random number that no other member has */
PagecacheShare *pagecache_share_new(uint64_t id);
void pagecache_share_free(PagecacheShare *s);

/*
 * One turn: @file are the first @len bytes of it, PAGECACHE_SHARE_BYTES or
 * fewer, and we want @want bytes a second.  False, with *@why (to be freed) set:
 * there has not been a bandwidth yet.  If there has, but is none now, *@why is
 * set as well.
 */
bool pagecache_share_turn(PagecacheShare *s, int64_t now, const char *file,
                          size_t len, uint64_t want, PagecacheShareTurn *turn,
                          char **why);

/* The last record of a member: the others need not wait until it is gone. */
void pagecache_share_left(char record[PAGECACHE_SHARE_RECORD]);

/*
 * Of @bandwidth bytes a second, what the first of @n gets if these are what
 * they want.
 */
uint64_t pagecache_share_of(uint64_t bandwidth, const uint64_t *wants,
                            unsigned n);

#endif
