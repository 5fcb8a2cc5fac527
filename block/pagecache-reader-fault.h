/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: faults on purpose between the reader and its engines
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A filter that all engines have above them.  What an engine gives back passes
 * through it before the reader sees it, and what goes wrong on the way to
 * storage is told by it to the engine.  No PagecacheEngineOps around another:
 * an engine calls the reader itself to give a read back.  In a build without
 * faults every call below is a constant or nothing.
 */
#ifndef BLOCK_PAGECACHE_READER_FAULT_H
#define BLOCK_PAGECACHE_READER_FAULT_H

#include "qemu/pagecache-fault.h"
#include "pagecache-reader-int.h"

#ifdef CONFIG_PAGECACHE_FAULTS

/*
 * @read is about to be given back, with the outcome *@ret and *@why: slow-read,
 * read-error, corrupt-refill.  Takes the reader's lock.
 */
void pcr_fault_complete(PagecacheReader *r, PagecacheRead *read, int *ret,
                        const char **why);

/*
 * refuse-login: true with *@refused and *@why (to be freed) set, as if the
 * server had said no in @step.
 */
bool pcr_fault_refuse(const char *step, bool *refused, char **why);

/*
 * short-read, partial-read: how many of @want bytes storage may bring at once,
 * a multiple of @align or 0.
 */
uint32_t pcr_fault_want(uint32_t want, uint32_t align);

#else

static inline void pcr_fault_complete(PagecacheReader *r, PagecacheRead *read,
                                      int *ret, const char **why)
{
}

static inline bool pcr_fault_refuse(const char *step, bool *refused,
                                    char **why)
{
    return false;
}

static inline uint32_t pcr_fault_want(uint32_t want, uint32_t align)
{
    return want;
}

#endif

/* lose-kick: the engine is not told that there is work. */
static inline bool pcr_fault_lose_kick(void)
{
    return pagecache_fault(PAGECACHE_FAULT_LOSE_KICK);
}

/* drop-session: a session has ended. */
static inline bool pcr_fault_drop_session(void)
{
    return pagecache_fault(PAGECACHE_FAULT_DROP_SESSION);
}

/* short-read, for an engine that has to look for what did not come */
static inline bool pcr_fault_short_read(void)
{
    return pagecache_fault(PAGECACHE_FAULT_SHORT_READ);
}

#endif
