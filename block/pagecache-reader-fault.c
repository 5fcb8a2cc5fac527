/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: faults on purpose between the reader and its engines
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * In a build without faults there is nothing in here.
 */

#include "qemu/osdep.h"
#include "pagecache-reader-fault.h"
#include "pagecache-reader-state.h"

#ifdef CONFIG_PAGECACHE_FAULTS

/*
 * A wrong byte in one of the pages that were asked for.  With the lock: at the
 * deadline, the pages are no longer the read's.
 */
static void corrupt_pages(PagecacheReader *r, PagecacheRead *read)
{
    guint i, j;

    pagecache_reader_lock(r);
    for (i = 0; i < read->pieces->len; i++) {
        PagecachePiece *p = &g_array_index(read->pieces, PagecachePiece, i);

        for (j = 0; j < p->run.npages; j++) {
            pagecache_fault_corrupt(PAGECACHE_FAULT_CORRUPT_REFILL,
                                    read->buf + p->offset +
                                    j * r->config.page_size,
                                    r->config.page_size);
        }
    }
    pagecache_reader_unlock(r);
}

void pcr_fault_complete(PagecacheReader *r, PagecacheRead *read, int *ret,
                        const char **why)
{
    pagecache_fault_delay(PAGECACHE_FAULT_SLOW_READ);
    if (*ret == 0 && pagecache_fault(PAGECACHE_FAULT_READ_ERROR)) {
        *ret = -EIO;
        *why = "fault on purpose";
    }
    if (*ret == 0 && pagecache_fault_is_armed(PAGECACHE_FAULT_CORRUPT_REFILL)) {
        corrupt_pages(r, read);
    }
}

bool pcr_fault_refuse(const char *step, bool *refused, char **why)
{
    if (!pagecache_fault(PAGECACHE_FAULT_REFUSE_LOGIN)) {
        return false;
    }
    *why = g_strdup_printf("%s: fault on purpose", step);
    *refused = true;
    return true;
}

uint32_t pcr_fault_want(uint32_t want, uint32_t align)
{
    if (pagecache_fault(PAGECACHE_FAULT_SHORT_READ)) {
        return 0;
    }
    if (pagecache_fault(PAGECACHE_FAULT_PARTIAL_READ)) {
        return MIN(want, align);
    }
    return want;
}

#endif
