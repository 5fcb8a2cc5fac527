/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what reader threads do with what they have read
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "qemu/pagecache-fault.h"
#include "migration/pagecache.h"
#include "pagecache-claim.h"
#include "pagecache-io-map.h"
#include "pagecache-refill.h"
#include "trace.h"

/* Pages that are copied, then digested, then reported in one go */
#define PAGES_AT_ONCE   64
/* No less than a cache line */
#define APART           64

typedef struct RefillBlock {
    uint8_t *host;
    uint8_t *claims;            /* PAGECACHE_CLAIM_*, one byte a page */
    RAMBlock *rb;               /* for the main thread */
    PagecacheIoMap *io_map;     /* NULL: the guest's I/O is not tracked */
} RefillBlock;

struct PagecacheRefillDisk {
    PagecacheRefill *refill;
    uint8_t io_number;          /* in the I/O map; 0: none */

    /*
     * Reader threads between looking at "revoked" and the end of what they
     * write to guest RAM.  Each disk has its own, not to share it.
     */
    int copiers;                /* atomic */
    uint8_t apart[APART];
};

struct PagecacheRefill {
    int refs;                   /* atomic */
    Stat64 superseded;          /* pages */

    /* Set up before the first read */
    PagecacheDigest digest;
    unsigned page_bits;
    uint32_t nblocks, ndisks;
    RefillBlock *blocks;
    PagecacheRefillDisk *disks;
    PagecacheReporter *reporter;
    void (*unread)(void);

    /*
     * Nothing is written to guest RAM unless a copier saw !revoked after it
     * had counted itself.
     */
    bool revoked;               /* atomic */
    QemuEvent copied;           /* revoked, and a copier is done */
};

/* --- its life --- */

PagecacheRefill *pagecache_refill_new(unsigned page_bits, uint32_t nblocks,
                                      uint32_t ndisks,
                                      PagecacheReporter *reporter,
                                      void (*unread)(void))
{
    PagecacheRefill *refill = g_new0(PagecacheRefill, 1);
    uint32_t i;

    refill->refs = 1;
    refill->page_bits = page_bits;
    refill->blocks = g_new0(RefillBlock, nblocks);
    refill->ndisks = ndisks;
    refill->disks = g_new0(PagecacheRefillDisk, ndisks);
    for (i = 0; i < ndisks; i++) {
        refill->disks[i].refill = refill;
    }
    pagecache_reporter_ref(reporter);
    refill->reporter = reporter;
    refill->unread = unread;
    qemu_event_init(&refill->copied, false);
    return refill;
}

void pagecache_refill_ref(PagecacheRefill *refill)
{
    qatomic_fetch_inc(&refill->refs);
}

void pagecache_refill_unref(PagecacheRefill *refill)
{
    uint32_t i;

    if (qatomic_fetch_dec(&refill->refs) != 1) {
        return;
    }
    for (i = 0; i < refill->nblocks; i++) {
        g_free(refill->blocks[i].claims);
        pagecache_io_map_release(refill->blocks[i].io_map);
    }
    g_free(refill->blocks);
    g_free(refill->disks);
    pagecache_reporter_unref(refill->reporter);
    qemu_event_destroy(&refill->copied);
    g_free(refill);
}

void pagecache_refill_released(void *opaque)
{
    PagecacheRefillDisk *disk = opaque;

    pagecache_refill_unref(disk->refill);
}

void pagecache_refill_set_digest(PagecacheRefill *refill,
                                 const PagecacheDigest *digest)
{
    refill->digest = *digest;
}

uint8_t *pagecache_refill_add_block(PagecacheRefill *refill, RAMBlock *rb,
                                    uint64_t npages)
{
    RefillBlock *block = &refill->blocks[refill->nblocks++];

    *block = (RefillBlock) {
        .host = rb->host, .claims = g_new0(uint8_t, npages), .rb = rb,
    };
    return block->claims;
}

void pagecache_refill_seed(PagecacheRefill *refill, uint32_t nr,
                           uint8_t number)
{
    uint32_t i;

    if (!number || refill->page_bits != PAGECACHE_PAGE_BITS) {
        return;
    }
    refill->disks[nr].io_number = number;
    for (i = 0; i < refill->nblocks; i++) {
        RefillBlock *block = &refill->blocks[i];

        if (!block->io_map) {
            block->io_map = pagecache_io_map_hold(block->rb);
        }
    }
}

PagecacheRefillDisk *pagecache_refill_disk(PagecacheRefill *refill,
                                           uint32_t nr)
{
    assert(nr < refill->ndisks);
    return &refill->disks[nr];
}

/* --- reader threads --- */

static bool copy_page(PagecacheRefill *refill, const RefillBlock *b,
                      uint64_t page, const uint8_t *data)
{
    uint8_t *to = b->host + (page << refill->page_bits);

    if (!qatomic_read(&refill->revoked) &&
        pagecache_claim_copy_begin(&b->claims[page])) {
        pagecache_fault_delay(PAGECACHE_FAULT_DELAY_COPY);
        memcpy(to, data, 1 << refill->page_bits);
        pagecache_fault_corrupt(PAGECACHE_FAULT_BREAK_COPY, to,
                                1 << refill->page_bits);
        pagecache_claim_copy_end(&b->claims[page]);
        return true;
    }
    if (pagecache_fault(PAGECACHE_FAULT_BREAK_CLAIM)) {
        memcpy(to, data, 1 << refill->page_bits);
    }
    return false;
}

static void copying_begin(PagecacheRefillDisk *disk)
{
    qatomic_fetch_inc(&disk->copiers);
    smp_mb__after_rmw(); /* pairs with the one in pagecache_refill_revoke() */
}

static void copying_end(PagecacheRefillDisk *disk)
{
    qatomic_fetch_dec(&disk->copiers);
    smp_mb__after_rmw(); /* pairs with that one, too */
    if (qatomic_read(&disk->refill->revoked)) {
        qemu_event_set(&disk->refill->copied);
    }
}

/* Some pages of a read, whatever runs they belong to */
typedef struct Group {
    unsigned npages;
    struct {
        const uint8_t *data;
        RefillBlock *block;
        uint64_t page;
        uint32_t offer;
        uint32_t index;         /* in the offer */
        uint64_t sector;
        bool copied;
    } pages[PAGES_AT_ONCE];
    uint8_t digests[PAGES_AT_ONCE][PAGECACHE_DIGEST_LEN];
} Group;

/* Returns how many of them the channel had claimed. */
static unsigned copy_pages(PagecacheRefillDisk *disk, Group *group)
{
    PagecacheRefill *refill = disk->refill;
    unsigned i, claimed = 0;

    copying_begin(disk);
    for (i = 0; i < group->npages; i++) {
        if (pagecache_fault_is_armed(PAGECACHE_FAULT_DELAY_CLAIM)) {
            copying_end(disk);
            pagecache_fault_delay(PAGECACHE_FAULT_DELAY_CLAIM);
            copying_begin(disk);
        }
        group->pages[i].copied = copy_page(refill, group->pages[i].block,
                                           group->pages[i].page,
                                           group->pages[i].data);
        claimed += !group->pages[i].copied;
    }
    copying_end(disk);
    return claimed;
}

/*
 * At the next migration these pages are hints.  If the channel overwrites one of
 * them the checksum tells.
 */
static void seed_pages(PagecacheRefillDisk *disk, const Group *group)
{
    unsigned i;

    for (i = 0; disk->io_number && i < group->npages; i++) {
        PagecacheIoMap *map = group->pages[i].block->io_map;
        const PagecacheIoPlace place = {
            .disk = disk->io_number, .sector = group->pages[i].sector,
        };

        if (map && group->pages[i].copied) {
            pagecache_io_map_seed(map, group->pages[i].page, &place,
                                  group->pages[i].data);
        }
    }
}

/* Pages of one offer or a part of it */
static void report_unavailable(PagecacheRefill *refill,
                               PagecacheReportBatch *batch,
                               const PagecacheRun *run)
{
    const PagecacheReportRun report = {
        .offer = run->tag, .first = run->index, .npages = run->npages,
    };

    pagecache_reporter_add(refill->reporter, batch, &report);
}

/* Pages that are in RAM, with their digests, which are changed */
static void report_ok(PagecacheRefill *refill, PagecacheReportBatch *batch,
                      PagecacheReportRun run, uint8_t *digests)
{
    if (!run.npages) {
        return;
    }
    pagecache_fault_corrupt(PAGECACHE_FAULT_CORRUPT_DIGEST, digests,
                            (size_t)run.npages * PAGECACHE_DIGEST_LEN);
    run.digests = digests;
    if (run.npages > 1 && pagecache_fault(PAGECACHE_FAULT_BREAK_PLACE)) {
        run.first++;
        run.npages--;
    }
    pagecache_reporter_add(refill->reporter, batch, &run);
}

static void digest_pages(PagecacheRefill *refill, Group *group,
                         PagecacheReportBatch *batch)
{
    PagecacheReportRun run = { .npages = 0 };
    unsigned i, first = 0;

    for (i = 0; i < group->npages; i++) {
        uint32_t offer = group->pages[i].offer;
        uint32_t index = group->pages[i].index;

        /*
         * The digest is of the bytes that were written.  They are private to
         * us, unlike the page, which the channel may be writing already.
         */
        if (!group->pages[i].copied ||
            !pagecache_digest_page(&refill->digest, group->pages[i].data,
                                   1 << refill->page_bits,
                                   group->digests[i])) {
            continue;
        }
        if (run.npages && first + run.npages == i && run.offer == offer &&
            run.first + run.npages == index) {
            run.npages++;
            continue;
        }
        report_ok(refill, batch, run, group->digests[first]);
        run = (PagecacheReportRun) {
            .offer = offer, .first = index, .npages = 1,
        };
        first = i;
    }
    report_ok(refill, batch, run, group->digests[first]);
}

static void do_refill(PagecacheRefillDisk *disk, Group *group)
{
    PagecacheRefill *refill = disk->refill;
    PagecacheReportBatch batch = { .status = PAGECACHE_REPORT_OK };
    unsigned claimed = copy_pages(disk, group);

    if (claimed) {
        stat64_add(&refill->superseded, claimed);
    }
    digest_pages(refill, group, &batch);
    pagecache_reporter_flush(refill->reporter, &batch);
    /* Nobody waits for that. */
    seed_pages(disk, group);
    group->npages = 0;
}

static void trace_run(const PagecacheRun *run, int ret)
{
    trace_pagecache_dst_refill(run->sector, run->block, run->page,
                               run->npages, ret);
}

static void refill_runs(PagecacheRefillDisk *disk, const PagecachePiece *pieces,
                        size_t n, const uint8_t *data)
{
    PagecacheRefill *refill = disk->refill;
    Group group;
    size_t i;

    group.npages = 0;
    for (i = 0; i < n; i++) {
        const PagecacheRun *run = &pieces[i].run;
        uint32_t k;

        trace_run(run, 0);
        for (k = 0; k < run->npages; k++) {
            unsigned nr = group.npages++;

            group.pages[nr].data = data + pieces[i].offset +
                                   ((size_t)k << refill->page_bits);
            group.pages[nr].block = &refill->blocks[run->block];
            group.pages[nr].page = run->page + k;
            group.pages[nr].offer = run->tag;
            group.pages[nr].index = run->index + k;
            group.pages[nr].sector = run->sector + (uint64_t)k *
                                     ((1 << refill->page_bits) / 512);
            if (group.npages == PAGES_AT_ONCE) {
                do_refill(disk, &group);
            }
        }
    }
    do_refill(disk, &group);
}

static void runs_unavailable(PagecacheRefill *refill,
                             const PagecachePiece *pieces, size_t n, int ret)
{
    PagecacheReportBatch batch = { .status = PAGECACHE_REPORT_UNAVAILABLE };
    size_t i;

    for (i = 0; i < n; i++) {
        trace_run(&pieces[i].run, ret);
        report_unavailable(refill, &batch, &pieces[i].run);
    }
    pagecache_reporter_flush(refill->reporter, &batch);
}

void pagecache_refill_done(void *opaque, const PagecachePiece *pieces, size_t n,
                           const uint8_t *data, int ret)
{
    PagecacheRefillDisk *disk = opaque;
    PagecacheRefill *refill = disk->refill;

    if (qatomic_read(&refill->revoked)) {
        return;
    }
    if (ret < 0) {
        runs_unavailable(refill, pieces, n, ret);
        refill->unread();
    } else {
        refill_runs(disk, pieces, n, data);
    }
}

/* --- the main thread --- */

bool pagecache_refill_offer(PagecacheRefill *refill, uint32_t block,
                            uint64_t page)
{
    if (pagecache_claim_offer(&refill->blocks[block].claims[page])) {
        return true;
    }
    stat64_add(&refill->superseded, 1);
    return false;
}

uint64_t pagecache_refill_superseded(PagecacheRefill *refill)
{
    return stat64_get(&refill->superseded);
}

void pagecache_refill_unavailable(PagecacheRefill *refill,
                                  const PagecacheRun *runs, size_t n)
{
    PagecacheReportBatch batch = { .status = PAGECACHE_REPORT_UNAVAILABLE };
    size_t i;

    for (i = 0; i < n; i++) {
        report_unavailable(refill, &batch, &runs[i]);
    }
    pagecache_reporter_flush(refill->reporter, &batch);
}

static bool copying(PagecacheRefill *refill)
{
    uint32_t i;

    for (i = 0; i < refill->ndisks; i++) {
        if (qatomic_load_acquire(&refill->disks[i].copiers)) {
            return true;
        }
    }
    return false;
}

void pagecache_refill_revoke(PagecacheRefill *refill)
{
    qatomic_set(&refill->revoked, true);
    smp_mb(); /* pairs with the ones in copying_begin() and _end() */
    for (;;) {
        qemu_event_reset(&refill->copied);
        if (!copying(refill)) {
            return;
        }
        qemu_event_wait(&refill->copied);
    }
}

bool pagecache_refill_is_revoked(PagecacheRefill *refill)
{
    return qatomic_read(&refill->revoked);
}
