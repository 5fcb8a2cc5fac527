/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: hint producers and the queue of hints
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Hints are checked here for what can be known without looking at content:
 * RAM that migrates, sectors that exist, sizes that make sense.  What is left
 * waits in a bounded queue for the thread that puts it into the pool, or is
 * counted at once.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/lockable.h"
#include "qapi/util.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "exec/target_page.h"
#include "migration/misc.h"
#include "qemu/pagecache-fault.h"
#include "pagecache-hints.h"
#include "pagecache-left-out.h"
#include "ram.h"
#include "trace.h"

#define QUEUE_MAX (128 * 1024)          /* hints */
/* Pages; so that a number of hints is a limited amount of work */
#define QUEUED_HINT_MAX 16384
/* Many are sorted at once: they wait so long for each other, or for so many. */
#define GATHER_MS       10
#define GATHER_HINTS    (QUEUE_MAX / 2)

struct PagecacheProducer {
    const PagecacheProducerOps *ops;
    void *opaque;
    uint32_t id;
    /* Of the collection under way, under hints.lock: */
    uint64_t pages;                     /* delivered, good or bad */
    uint64_t inputs;                    /* hints and malformed inputs */
    PagecacheHintStats stats;
    bool refused;                       /* too much came, nothing more taken */
    GHashTable *refused_disks;          /* a set: given up for these */
    bool ended;
    PagecacheNote obstacle;             /* PAGECACHE_NOTE__MAX: none */
    PagecacheGivenUpReason given_up;    /* _REASON__MAX: it is not */
    bool given_up_told;
    QLIST_ENTRY(PagecacheProducer) next;
};

static struct {
    /* changed under the BQL and the lock */
    QLIST_HEAD(, PagecacheProducer) producers;
    uint32_t next_id;

    QemuMutex lock;                     /* for all of the rest */
    uint32_t epoch;                     /* never reused, never 0 once started */
    bool wanted;                        /* a collection is under way */
    PagecacheTally *tally;              /* hints are only counted; or NULL */
    PagecacheSample sample;             /* ... of this RAM */
    PagecacheHintDisk *disks;
    unsigned ndisks;
    uint64_t ram_pages;                 /* 4096-byte pages, bounds a map */
    int64_t started;
    GArray *queue;                      /* of PagecacheQueuedHint */
    QemuCond queued;                    /* the first one, or enough of them */
    int64_t queued_since;               /* the first of the queue */
    bool taken;                         /* somebody is busy with some of them */
    QemuCond idle;                      /* none is queued, and none taken */
    PagecacheHintStats stats;
} hints;

static void __attribute__((constructor)) pagecache_hints_init(void)
{
    qemu_mutex_init(&hints.lock);
    qemu_cond_init(&hints.queued);
    qemu_cond_init(&hints.idle);
    QLIST_INIT(&hints.producers);
    hints.queue = g_array_new(FALSE, FALSE, sizeof(PagecacheQueuedHint));
}

/* --- producers --- */

PagecacheProducer *pagecache_producer_register(const PagecacheProducerOps *ops,
                                               void *opaque)
{
    PagecacheProducer *p = g_new0(PagecacheProducer, 1);
    bool wanted;
    uint32_t epoch;

    GLOBAL_STATE_CODE();
    p->ops = ops;
    p->opaque = opaque;
    p->refused_disks = g_hash_table_new(NULL, NULL);
    p->obstacle = PAGECACHE_NOTE__MAX;
    p->given_up = PAGECACHE_GIVEN_UP_REASON__MAX;
    WITH_QEMU_LOCK_GUARD(&hints.lock) {
        p->id = hints.next_id++;
        QLIST_INSERT_HEAD(&hints.producers, p, next);
        wanted = hints.wanted;
        epoch = hints.epoch;
    }
    trace_pagecache_producer_register(ops->name, p->id);
    if (wanted) {
        ops->collect(opaque, epoch);
    }
    return p;
}

void pagecache_producer_unregister(PagecacheProducer *producer)
{
    GLOBAL_STATE_CODE();
    if (producer) {
        trace_pagecache_producer_unregister(producer->ops->name, producer->id);
        WITH_QEMU_LOCK_GUARD(&hints.lock) {
            QLIST_REMOVE(producer, next);
        }
        g_hash_table_unref(producer->refused_disks);
        g_free(producer);
    }
}

/* Called with hints.lock held. */
static void drop(PagecacheProducer *p, const char *why, uint64_t count)
{
    p->stats.dropped += count;
    hints.stats.dropped += count;
    trace_pagecache_hint_dropped(p->ops->name, why, count);
}

/*
 * A map names every page of RAM once at most, and a run has a page at least.
 * Twice as much is tolerated, for cache that moves while it is collected.
 * Called with hints.lock held.
 */
static bool producer_may_go_on(PagecacheProducer *p)
{
    if (!p->refused && (p->pages > 2 * hints.ram_pages ||
                        p->inputs > 2 * hints.ram_pages)) {
        p->refused = true;
        p->given_up = PAGECACHE_GIVEN_UP_REASON_TOO_MANY_HINTS;
        warn_report("skip-pagecache: %s delivers more hints than the guest has "
                    "pages (%" PRIu64 "), the rest is ignored",
                    p->ops->name, hints.ram_pages);
        trace_pagecache_producer_refused(p->ops->name, p->pages, p->inputs);
    }
    return !p->refused;
}

/* Is @rb RAM that a refill may write?  Called in an RCU critical section. */
static bool block_is_eligible(RAMBlock *rb)
{
    return rb && qemu_ram_is_migratable(rb) && !migrate_ram_is_ignored(rb) &&
           !memory_region_is_ram_device(rb->mr) && !rb->mr->readonly &&
           !memory_region_has_guest_memfd(rb->mr);
}

/* Called with hints.lock held. */
static void queue_hint(PagecacheProducer *p, const PagecacheQueuedHint *q)
{
    p->stats.hinted += q->npages;
    hints.stats.hinted += q->npages;
    if (hints.tally) {
        pagecache_tally_add(hints.tally, p->ops->name, q->disk, q->rb, q->page,
                            q->npages);
        return;
    }
    g_array_append_val(hints.queue, *q);
    if (hints.queue->len == 1) {
        hints.queued_since = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
    }
    if (hints.queue->len == 1 || hints.queue->len == GATHER_HINTS) {
        qemu_cond_signal(&hints.queued);
    }
}

/*
 * Queues the whole target pages among @bytes bytes at @offset of @rb.  Called
 * with hints.lock held, in an RCU critical section.
 */
static void queue_range(PagecacheProducer *p, uint32_t disk, RAMBlock *rb,
                        uint64_t offset, uint64_t bytes, uint64_t sector)
{
    unsigned bits = qemu_target_page_bits();
    uint64_t start = ROUND_UP(offset, 1ULL << bits);
    uint64_t end = ROUND_DOWN(offset + bytes, 1ULL << bits);
    uint64_t step;
    PagecacheQueuedHint q = {
        .rb = rb,
        .sector = sector + ((start - offset) >> PAGECACHE_SECTOR_BITS),
        .disk = disk,
        .producer = p->id,
    };

    if (end <= start) {
        drop(p, "smaller than a page", 1);
        return;
    }
    if (end > rb->used_length) {
        drop(p, "outside of RAM block", bytes >> PAGECACHE_PAGE_BITS);
        return;
    }
    if (pagecache_fault(PAGECACHE_FAULT_LOSE_HINT)) {
        return;
    }
    if (q.sector >= 8 && pagecache_fault(PAGECACHE_FAULT_MISPLACE_HINT)) {
        q.sector -= 8;
    }
    for (; start < end; start += step) {
        step = MIN(end - start, (uint64_t)QUEUED_HINT_MAX << bits);
        q.page = start >> bits;
        q.npages = step >> bits;
        queue_hint(p, &q);
        if (pagecache_fault(PAGECACHE_FAULT_DUPLICATE_HINT)) {
            queue_hint(p, &q);
        }
        q.sector += step >> PAGECACHE_SECTOR_BITS;
    }
}

/* Called with hints.lock held. */
static bool disk_holds(PagecacheProducer *p, uint32_t disk, uint64_t sector,
                       uint32_t npages)
{
    uint64_t n = (uint64_t)npages << (PAGECACHE_PAGE_BITS -
                                      PAGECACHE_SECTOR_BITS);

    if (disk >= hints.ndisks || !hints.disks[disk].present) {
        drop(p, "no such disk", npages);
        return false;
    }
    if (g_hash_table_contains(p->refused_disks, GUINT_TO_POINTER(disk))) {
        drop(p, "given up for this disk", npages);
        return false;
    }
    if (n > hints.disks[disk].sectors ||
        sector > hints.disks[disk].sectors - n) {
        drop(p, "outside of disk", npages);
        return false;
    }
    return true;
}

/* Called with hints.lock held. */
static bool shape_is_good(PagecacheProducer *p, uint64_t addr, uint32_t npages)
{
    uint64_t bytes = (uint64_t)npages << PAGECACHE_PAGE_BITS;

    p->inputs++;
    if (!npages || npages > hints.ram_pages || addr + bytes < addr) {
        drop(p, "number of pages", 1);
        return false;
    }
    p->pages += npages;
    if (addr & ((1 << PAGECACHE_PAGE_BITS) - 1)) {
        drop(p, "misaligned", npages);
        return false;
    }
    return true;
}

/* Called with hints.lock held, in an RCU critical section. */
static void queue_gpa(PagecacheProducer *p, const void *hints, size_t i)
{
    const PagecacheHint *h = (const PagecacheHint *)hints + i;
    uint64_t left = (uint64_t)h->npages << PAGECACHE_PAGE_BITS;
    uint64_t gpa = h->gpa, sector = h->sector;

    if (!shape_is_good(p, gpa, h->npages) ||
        !disk_holds(p, h->disk, sector, h->npages)) {
        return;
    }
    while (left) {
        hwaddr xlat, len = left;
        MemoryRegion *mr = address_space_translate(&address_space_memory, gpa,
                                                   &xlat, &len, false,
                                                   MEMTXATTRS_UNSPECIFIED);

        /* Whatever is there, it goes on at the next page at the latest. */
        if (len < (1 << PAGECACHE_PAGE_BITS)) {
            len = 1 << PAGECACHE_PAGE_BITS;
            drop(p, "not RAM", 1);
        } else if (!memory_region_is_ram(mr) || mr->readonly ||
                   !block_is_eligible(mr->ram_block)) {
            len = ROUND_UP(len, 1 << PAGECACHE_PAGE_BITS);
            drop(p, "not RAM that migrates", MIN(len, left) >>
                                             PAGECACHE_PAGE_BITS);
        } else {
            len = ROUND_DOWN(len, 1 << PAGECACHE_PAGE_BITS);
            queue_range(p, h->disk, mr->ram_block, xlat, len, sector);
        }
        len = MIN(len, left);
        gpa += len;
        left -= len;
        sector += len >> PAGECACHE_SECTOR_BITS;
    }
}

/* Called with hints.lock held. */
static PagecacheVerdict verdict(PagecacheProducer *p, uint32_t epoch)
{
    if (!hints.wanted || epoch != hints.epoch || p->ended ||
        !producer_may_go_on(p) || pagecache_fault(PAGECACHE_FAULT_STOP_MAP)) {
        return PAGECACHE_STOP;
    }
    if (hints.queue->len >= QUEUE_MAX ||
        pagecache_fault(PAGECACHE_FAULT_BUSY_MAP)) {
        return PAGECACHE_BUSY;
    }
    return PAGECACHE_MORE;
}

/* Queues hint @i of @hints.  With hints.lock, in an RCU critical section. */
typedef void QueueHint(PagecacheProducer *p, const void *hints, size_t i);

static PagecacheVerdict deliver(PagecacheProducer *p, uint32_t epoch,
                                QueueHint *queue, const void *h, size_t n)
{
    PagecacheVerdict ret;
    size_t i;

    assert(n <= PAGECACHE_BATCH_MAX);
    RCU_READ_LOCK_GUARD();
    QEMU_LOCK_GUARD(&hints.lock);

    ret = verdict(p, epoch);
    for (i = 0; ret == PAGECACHE_MORE && i < n; i++) {
        /* Asked for each hint: one alone may be of all RAM. */
        if (producer_may_go_on(p)) {
            queue(p, h, i);
        }
    }
    return ret;
}

PagecacheVerdict pagecache_producer_hints(PagecacheProducer *producer,
                                          uint32_t epoch,
                                          const PagecacheHint *h, size_t n)
{
    return deliver(producer, epoch, queue_gpa, h, n);
}

/* Called with hints.lock held, in an RCU critical section. */
static void queue_in_block(PagecacheProducer *p, RAMBlock *rb, uint64_t offset,
                           uint32_t npages, uint32_t disk, uint64_t sector)
{
    if (!shape_is_good(p, offset, npages) ||
        !disk_holds(p, disk, sector, npages)) {
        return;
    }
    if (!block_is_eligible(rb)) {
        drop(p, "no such RAM block that migrates", npages);
        return;
    }
    queue_range(p, disk, rb, offset, (uint64_t)npages << PAGECACHE_PAGE_BITS,
                sector);
}

static void queue_ram(PagecacheProducer *p, const void *hints, size_t i)
{
    const PagecacheRamHint *h = (const PagecacheRamHint *)hints + i;

    queue_in_block(p, h->rb, h->page << PAGECACHE_PAGE_BITS, h->npages,
                   h->disk, h->sector);
}

PagecacheVerdict pagecache_producer_ram_hints(PagecacheProducer *producer,
                                              uint32_t epoch,
                                              const PagecacheRamHint *h,
                                              size_t n)
{
    return deliver(producer, epoch, queue_ram, h, n);
}

typedef struct NamedHint {
    const char *idstr;
    const PagecacheHint *hint;
} NamedHint;

static void queue_named(PagecacheProducer *p, const void *hints, size_t i)
{
    const NamedHint *named = (const NamedHint *)hints + i;
    const PagecacheHint *h = named->hint;

    queue_in_block(p, qemu_ram_block_by_name(named->idstr), h->gpa, h->npages,
                   h->disk, h->sector);
}

PagecacheVerdict pagecache_producer_block_hint(PagecacheProducer *producer,
                                               uint32_t epoch,
                                               const char *idstr,
                                               const PagecacheHint *h)
{
    const NamedHint named = { .idstr = idstr, .hint = h };

    return deliver(producer, epoch, queue_named, &named, 1);
}

void pagecache_producer_end(PagecacheProducer *producer, uint32_t epoch,
                            bool complete)
{
    QEMU_LOCK_GUARD(&hints.lock);

    if (!hints.wanted || epoch != hints.epoch || producer->ended) {
        return;
    }
    producer->ended = true;
    hints.stats.map_ms = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) -
                         hints.started;
    producer->stats.map_ms = hints.stats.map_ms;
    trace_pagecache_producer_end(producer->ops->name, epoch, complete,
                                 producer->inputs, producer->pages,
                                 hints.stats.map_ms);
}

void pagecache_producer_left_out(PagecacheProducer *producer, uint32_t epoch,
                                 const PagecacheLeftOut *list, size_t n)
{
    QEMU_LOCK_GUARD(&hints.lock);

    if (hints.wanted && epoch == hints.epoch && !producer->ended) {
        pagecache_left_out_set(hints.tally ? PAGECACHE_LEFT_OUT_COUNTED
                                           : PAGECACHE_LEFT_OUT_MIGRATION,
                               producer->id, list, n, hints.ram_pages);
        trace_pagecache_producer_left_out(producer->ops->name, epoch, n);
    }
}

void pagecache_producer_bad(PagecacheProducer *producer, const char *what)
{
    QEMU_LOCK_GUARD(&hints.lock);

    if (hints.wanted) {
        producer->inputs++;
        drop(producer, what, 1);
    }
}

void pagecache_producer_obstacle(PagecacheProducer *producer,
                                 PagecacheNote obstacle)
{
    QEMU_LOCK_GUARD(&hints.lock);
    producer->obstacle = obstacle;
}

void pagecache_producer_give_up(PagecacheProducer *producer, uint32_t epoch,
                                PagecacheGivenUpReason reason)
{
    QEMU_LOCK_GUARD(&hints.lock);

    if (hints.wanted && epoch == hints.epoch && !producer->refused) {
        producer->refused = true;
        producer->given_up = reason;
    }
}

uint32_t pagecache_producer_id(const PagecacheProducer *producer)
{
    return producer->id;
}

/* --- the source side --- */

/* @tally: hints are only counted; NULL: they go into the queue. */
static uint32_t start(const PagecacheHintDisk *disks, unsigned ndisks,
                      PagecacheTally *tally, PagecacheSample sample)
{
    PagecacheProducer *p, *next;
    uint32_t epoch;

    GLOBAL_STATE_CODE();
    WITH_QEMU_LOCK_GUARD(&hints.lock) {
        g_free(hints.disks);
        hints.disks = g_memdup2(disks, ndisks * sizeof(*disks));
        hints.ndisks = ndisks;
        hints.ram_pages = ram_bytes_total() >> PAGECACHE_PAGE_BITS;
        hints.started = qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
        g_array_set_size(hints.queue, 0);
        hints.stats = (PagecacheHintStats) { .map_ms = -1 };
        QLIST_FOREACH(p, &hints.producers, next) {
            p->pages = p->inputs = 0;
            p->stats = (PagecacheHintStats) { .map_ms = -1 };
            p->refused = p->ended = p->given_up_told = false;
            p->given_up = PAGECACHE_GIVEN_UP_REASON__MAX;
            g_hash_table_remove_all(p->refused_disks);
        }
        if (!++hints.epoch) {
            hints.epoch++;
        }
        epoch = hints.epoch;
        hints.tally = tally;
        hints.sample = sample;
        hints.wanted = true;
    }
    trace_pagecache_hints_start(epoch, ndisks);
    QLIST_FOREACH_SAFE(p, &hints.producers, next, next) {
        p->ops->collect(p->opaque, epoch);
    }
    return epoch;
}

void pagecache_hints_start(const PagecacheHintDisk *disks, unsigned ndisks)
{
    start(disks, ndisks, NULL, PAGECACHE_SAMPLE_ALL);
}

uint32_t pagecache_hints_count(const PagecacheHintDisk *disks, unsigned ndisks,
                               PagecacheTally *tally, PagecacheSample sample)
{
    assert(tally);
    return start(disks, ndisks, tally, sample);
}

bool pagecache_hints_is_wanted(uint32_t epoch)
{
    QEMU_LOCK_GUARD(&hints.lock);
    return hints.wanted && hints.epoch == epoch;
}

bool pagecache_hints_busy(void)
{
    PagecacheProducer *p;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH(p, &hints.producers, next) {
        if (p->ops->busy && p->ops->busy(p->opaque)) {
            return true;
        }
    }
    return false;
}

bool pagecache_hints_are_counted(PagecacheSample *sample)
{
    QEMU_LOCK_GUARD(&hints.lock);
    *sample = hints.sample;
    return hints.tally;
}

void pagecache_hints_refuse(uint32_t producer, uint32_t disk)
{
    PagecacheProducer *p;

    QEMU_LOCK_GUARD(&hints.lock);
    QLIST_FOREACH(p, &hints.producers, next) {
        if (p->id == producer) {
            g_hash_table_add(p->refused_disks, GUINT_TO_POINTER(disk));
        }
    }
}

void pagecache_hints_stop(void)
{
    PagecacheProducer *p, *next;

    GLOBAL_STATE_CODE();
    WITH_QEMU_LOCK_GUARD(&hints.lock) {
        hints.wanted = false;
        hints.tally = NULL;
        /* The queue may have been large; it starts small the next time. */
        g_array_unref(hints.queue);
        hints.queue = g_array_new(FALSE, FALSE, sizeof(PagecacheQueuedHint));
    }
    QLIST_FOREACH_SAFE(p, &hints.producers, next, next) {
        p->ops->stop(p->opaque);
    }
    trace_pagecache_hints_stop();
}

GArray *pagecache_hints_wait(const bool *quit)
{
    GArray *queue;
    int64_t left;

    QEMU_LOCK_GUARD(&hints.lock);
    hints.taken = false;
    while (!qatomic_read(quit)) {
        if (!hints.queue->len) {
            qemu_cond_broadcast(&hints.idle);
            qemu_cond_wait(&hints.queued, &hints.lock);
            continue;
        }
        if (pagecache_fault(PAGECACHE_FAULT_SLOW_MAP)) {
            qemu_cond_timedwait(&hints.queued, &hints.lock, GATHER_MS);
            continue;
        }
        left = hints.queued_since + GATHER_MS -
               qemu_clock_get_ms(QEMU_CLOCK_REALTIME);
        if (left > 0 && hints.queue->len < GATHER_HINTS) {
            qemu_cond_timedwait(&hints.queued, &hints.lock, left);
        } else {
            queue = hints.queue;
            hints.queue = g_array_new(FALSE, FALSE,
                                      sizeof(PagecacheQueuedHint));
            hints.taken = true;
            return queue;
        }
    }
    return NULL;
}

void pagecache_hints_wait_taken(int ms)
{
    int64_t until = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ms, left;

    QEMU_LOCK_GUARD(&hints.lock);
    while ((hints.queue->len || hints.taken) &&
           (left = until - qemu_clock_get_ms(QEMU_CLOCK_REALTIME)) > 0) {
        qemu_cond_timedwait(&hints.idle, &hints.lock, left);
    }
}

void pagecache_hints_wake(void)
{
    QEMU_LOCK_GUARD(&hints.lock);
    qemu_cond_broadcast(&hints.queued);
}

void pagecache_hints_dropped(uint64_t pages, const char *why)
{
    QEMU_LOCK_GUARD(&hints.lock);
    hints.stats.dropped += pages;
    trace_pagecache_hint_dropped("pool", why, pages);
}

const char *pagecache_hints_name(uint32_t producer)
{
    PagecacheProducer *p;

    QEMU_LOCK_GUARD(&hints.lock);
    QLIST_FOREACH(p, &hints.producers, next) {
        if (p->id == producer) {
            return p->ops->name;
        }
    }
    return "a producer that is gone";
}

PagecacheProducerInfoList *pagecache_hints_producers(void)
{
    PagecacheProducerInfoList *list = NULL;
    PagecacheProducer *p;

    GLOBAL_STATE_CODE();
    QLIST_FOREACH(p, &hints.producers, next) {
        PagecacheProducerInfo *info = p->ops->query ?
                                      p->ops->query(p->opaque) : NULL;

        if (info) {
            info->name = g_strdup(p->ops->name);
            QAPI_LIST_PREPEND(list, info);
        }
    }
    return list;
}

void pagecache_hints_stats(PagecacheHintStats *stats, GArray *producers)
{
    PagecacheProducer *p;

    QEMU_LOCK_GUARD(&hints.lock);
    *stats = hints.stats;
    QLIST_FOREACH(p, &hints.producers, next) {
        const PagecacheProducerStats of_one = {
            .name = p->ops->name, .id = p->id, .stats = p->stats,
            .obstacle = p->obstacle, .ended = p->ended,
            .from_guest = p->ops->from_guest,
        };

        g_array_append_val(producers, of_one);
    }
}

const char *pagecache_hints_given_up(PagecacheGivenUpReason *reason)
{
    PagecacheProducer *p;

    QEMU_LOCK_GUARD(&hints.lock);
    QLIST_FOREACH(p, &hints.producers, next) {
        if (p->given_up != PAGECACHE_GIVEN_UP_REASON__MAX &&
            !p->given_up_told) {
            p->given_up_told = true;
            *reason = p->given_up;
            return p->ops->name;
        }
    }
    return NULL;
}
