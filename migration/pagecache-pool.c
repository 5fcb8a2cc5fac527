/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the source's pool of hinted pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Hints come in batches (pagecache-batch.h), each sorted when it is added.  A
 * heap for each disk has its batches by the first sector of each, so that all
 * are taken in one order; another has them by the last one.
 *
 * Who may do what with a page follows from two bits: it is its owner's, the
 * thread that has added it, taken it, or landed it.  As pages share words, the
 * bits change atomically.  The lock is for the batches and the sums.
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitmap.h"
#include "qemu/host-utils.h"
#include "qemu/pagecache-thread.h"
#include "pagecache-pool.h"
#include "pagecache-sort.h"

typedef struct PoolBlock {
    uint64_t npages;
    const unsigned long *dirty;
    unsigned long *held;        /* in the pool, taken or in flight */
    unsigned long *offered;     /* ever, and not put back */
    unsigned long *sent;
} PoolBlock;

/* A batch in the heaps of its disk; freed with its last link */
typedef struct Linked {
    PagecacheBatch *batch;
    unsigned links;
} Linked;

typedef struct HeapItem {
    uint64_t key;               /* may be out of date: heap_top() looks */
    Linked *linked;
} HeapItem;

typedef struct PoolDisk {
    GArray *head;               /* of HeapItem, a heap by first sector */
    GArray *tail;               /* the same batches, by ~(last sector) */
    GHashTable *given_up;       /* a set of producers */
    uint64_t size;
} PoolDisk;

struct PagecachePool {
    unsigned page_bits;
    uint64_t max_bytes;
    GPtrArray *blocks;          /* of PoolBlock; constant once in use */

    GMutex lock;                /* for the rest */
    GPtrArray *disks;           /* of PoolDisk, by number */
    GQueue fresh;               /* of PagecacheBatch: since the last turn */
    GQueue dead;                /* of PagecacheBatch: to be released */
    uint64_t size;
    uint64_t bytes;
};

/* --- heaps of batches; with the lock held --- */

static HeapItem *heap_item(GArray *heap, guint i)
{
    return &g_array_index(heap, HeapItem, i);
}

static void heap_swap(GArray *heap, guint i, guint j)
{
    HeapItem tmp = *heap_item(heap, i);

    *heap_item(heap, i) = *heap_item(heap, j);
    *heap_item(heap, j) = tmp;
}

static void heap_down(GArray *heap, guint i)
{
    for (;;) {
        guint least = i, child = 2 * i + 1;

        if (child < heap->len &&
            heap_item(heap, child)->key < heap_item(heap, least)->key) {
            least = child;
        }
        child++;
        if (child < heap->len &&
            heap_item(heap, child)->key < heap_item(heap, least)->key) {
            least = child;
        }
        if (least == i) {
            return;
        }
        heap_swap(heap, i, least);
        i = least;
    }
}

static void heap_push(GArray *heap, uint64_t key, Linked *linked)
{
    HeapItem item = { .key = key, .linked = linked };
    guint i = heap->len;

    linked->links++;
    g_array_append_val(heap, item);
    while (i && heap_item(heap, i)->key < heap_item(heap, (i - 1) / 2)->key) {
        heap_swap(heap, i, (i - 1) / 2);
        i = (i - 1) / 2;
    }
}

/* Returns the batch if that was the last link. */
static PagecacheBatch *unlink_batch(Linked *linked)
{
    PagecacheBatch *batch = linked->batch;

    if (--linked->links) {
        return NULL;
    }
    g_free(linked);
    return batch;
}

static uint64_t head_key(const PagecacheBatch *b)
{
    return pagecache_batch_head(b);
}

static uint64_t tail_key(const PagecacheBatch *b)
{
    return ~pagecache_batch_tail(b);
}

/* The batch that comes first, or NULL; those that are empty are forgotten. */
static PagecacheBatch *heap_top(PagecachePool *pool, GArray *heap,
                                uint64_t (*key_of)(const PagecacheBatch *b))
{
    while (heap->len) {
        HeapItem *top = heap_item(heap, 0);
        PagecacheBatch *b = top->linked->batch;
        uint64_t key;

        if (!pagecache_batch_pages(b)) {
            b = unlink_batch(top->linked);
            if (b) {
                pool->bytes -= pagecache_batch_bytes(b);
                pagecache_batch_free(b);
            }
            *top = *heap_item(heap, heap->len - 1);
            g_array_set_size(heap, heap->len - 1);
            heap_down(heap, 0);
            continue;
        }
        key = key_of(b);
        if (key == top->key) {
            return b;
        }
        top->key = key;
        heap_down(heap, 0);
    }
    return NULL;
}

/* --- life --- */

static void block_free(gpointer data)
{
    PoolBlock *b = data;

    g_free(b->held);
    g_free(b->offered);
    g_free(b->sent);
    g_free(b);
}

static void batch_free(gpointer data)
{
    pagecache_batch_free(data);
}

static void heap_free(GArray *heap)
{
    guint i;

    for (i = 0; i < heap->len; i++) {
        pagecache_batch_free(unlink_batch(heap_item(heap, i)->linked));
    }
    g_array_unref(heap);
}

static void disk_free(gpointer data)
{
    PoolDisk *d = data;

    heap_free(d->head);
    heap_free(d->tail);
    g_hash_table_unref(d->given_up);
    g_free(d);
}

PagecachePool *pagecache_pool_new(unsigned page_bits, uint64_t max_bytes)
{
    PagecachePool *pool = g_new0(PagecachePool, 1);

    g_assert(page_bits >= 9 && page_bits < 32);
    pool->page_bits = page_bits;
    pool->max_bytes = max_bytes;
    pool->blocks = g_ptr_array_new_with_free_func(block_free);
    g_mutex_init(&pool->lock);
    pool->disks = g_ptr_array_new_with_free_func(disk_free);
    g_queue_init(&pool->fresh);
    g_queue_init(&pool->dead);
    return pool;
}

void pagecache_pool_free(PagecachePool *pool)
{
    if (!pool) {
        return;
    }
    g_ptr_array_unref(pool->disks);
    g_queue_clear_full(&pool->fresh, batch_free);
    g_queue_clear_full(&pool->dead, batch_free);
    g_mutex_clear(&pool->lock);
    g_ptr_array_unref(pool->blocks);
    g_free(pool);
}

static PoolBlock *pool_block(const PagecachePool *pool, uint32_t block)
{
    g_assert(block < pool->blocks->len);
    return g_ptr_array_index(pool->blocks, block);
}

uint32_t pagecache_pool_add_block(PagecachePool *pool, uint64_t npages,
                                  const unsigned long *dirty)
{
    PoolBlock *b = g_new0(PoolBlock, 1);

    b->npages = npages;
    b->dirty = dirty;
    b->held = bitmap_new(npages);
    b->offered = bitmap_new(npages);
    b->sent = bitmap_new(npages);
    g_ptr_array_add(pool->blocks, b);
    return pool->blocks->len - 1;
}

unsigned long *pagecache_pool_held(PagecachePool *pool, uint32_t block)
{
    return pool_block(pool, block)->held;
}

unsigned long *pagecache_pool_sent(PagecachePool *pool, uint32_t block)
{
    return pool_block(pool, block)->sent;
}

/* --- bits --- */

/*
 * A part of a run whose pages have their bits in one word: @mask are their
 * bits in word @word, the first of them bit @shift.
 */
typedef struct Part {
    uint64_t page;
    uint32_t npages;
    unsigned long word, mask;
    unsigned shift;
} Part;

/* The part of [@page, @end) that begins with @page, which is not @end */
static Part part_at(uint64_t page, uint64_t end)
{
    Part p = {
        .page = page,
        .word = BIT_WORD(page),
        .shift = page % BITS_PER_LONG,
    };

    p.npages = MIN(end - page, BITS_PER_LONG - p.shift);
    p.mask = (~0UL >> (BITS_PER_LONG - p.npages)) << p.shift;
    return p;
}

/* The end of @run as far as it is in its block */
static uint64_t run_end(const PoolBlock *b, const PagecachePoolRun *run)
{
    if (run->page >= b->npages) {
        return run->page;
    }
    return run->page + MIN(run->npages, b->npages - run->page);
}

/* Sets the bits in @map of the pages with @bits; @first is that of @p. */
static void note_bits(unsigned long *map, uint32_t first, const Part *p,
                      unsigned long bits)
{
    for (; bits; bits &= bits - 1) {
        set_bit(first + ctzl(bits) - p->shift, map);
    }
}

/* The bits of @p's pages that are dirty, and neither sent nor offered */
static unsigned long fit_bits(const PoolBlock *b, const Part *p)
{
    return p->mask & qatomic_read(&b->dirty[p->word]) &
           ~qatomic_read(&b->sent[p->word]) &
           ~qatomic_read(&b->offered[p->word]);
}

/* --- sums; with the lock held --- */

static PoolDisk *pool_disk(PagecachePool *pool, uint32_t nr)
{
    while (nr >= pool->disks->len) {
        PoolDisk *d = g_new0(PoolDisk, 1);

        d->head = g_array_new(FALSE, FALSE, sizeof(HeapItem));
        d->tail = g_array_new(FALSE, FALSE, sizeof(HeapItem));
        d->given_up = g_hash_table_new(NULL, NULL);
        g_ptr_array_add(pool->disks, d);
    }
    return g_ptr_array_index(pool->disks, nr);
}

static void count_taken(PagecachePool *pool, PoolDisk *d, uint64_t pages)
{
    pool->size -= pages;
    d->size -= pages;
}

static void add_batch(PagecachePool *pool, PagecacheBatch *b)
{
    PoolDisk *d = pool_disk(pool, pagecache_batch_disk(b));

    pool->bytes += pagecache_batch_bytes(b);
    if (g_hash_table_contains(d->given_up,
                              GUINT_TO_POINTER(pagecache_batch_producer(b)))) {
        g_queue_push_tail(&pool->dead, b);
        return;
    }
    pool->size += pagecache_batch_pages(b);
    d->size += pagecache_batch_pages(b);
    g_queue_push_tail(&pool->fresh, b);
}

/* --- adding --- */

typedef struct Adding {
    PagecachePool *pool;
    GQueue batches;             /* of PagecacheBatch */
    PagecacheBatch *batch;      /* the last of them */
    uint64_t room;              /* bytes, for all of them */
    uint64_t bytes;             /* of all but the last */
    uint64_t added;             /* pages */
} Adding;

static void adding_begin(Adding *a, PagecachePool *pool)
{
    *a = (Adding) { .pool = pool };
    g_queue_init(&a->batches);
    LOCK_GUARD(&pool->lock);
    a->room = pool->max_bytes - MIN(pool->max_bytes, pool->bytes);
}

static bool adding_has_room(const Adding *a)
{
    return a->bytes + (a->batch ? pagecache_batch_bytes(a->batch) : 0) <
           a->room;
}

static void seal(Adding *a)
{
    if (a->batch) {
        pagecache_batch_seal(a->batch);
        a->bytes += pagecache_batch_bytes(a->batch);
    }
}

static void adding_end(Adding *a)
{
    PagecacheBatch *b;

    seal(a);
    LOCK_GUARD(&a->pool->lock);
    while ((b = g_queue_pop_head(&a->batches))) {
        add_batch(a->pool, b);
    }
}

/* Pages that are held on its behalf */
static void append(Adding *a, const PagecachePoolRun *run)
{
    while (!a->batch ||
           pagecache_batch_disk(a->batch) != run->disk ||
           pagecache_batch_producer(a->batch) != run->producer ||
           !pagecache_batch_append(a->batch, run)) {
        seal(a);
        a->batch = pagecache_batch_new(a->pool->page_bits, run->disk,
                                       run->producer);
        g_queue_push_tail(&a->batches, a->batch);
    }
    a->added += run->npages;
}

/* The pages of @run whose bits are @bits of the part @p */
static void append_bits(Adding *a, const PagecachePoolRun *run, const Part *p,
                        unsigned long bits)
{
    while (bits) {
        unsigned first = ctzl(bits);
        unsigned long rest = ~(bits >> first);
        unsigned n = rest ? MIN(ctzl(rest), BITS_PER_LONG - first)
                          : BITS_PER_LONG;
        PagecachePoolRun piece = *run;
        uint64_t skip = p->page + first - p->shift - run->page;

        piece.page += skip;
        piece.sector += skip << (a->pool->page_bits - 9);
        piece.npages = n;
        append(a, &piece);
        bits &= ~((~0UL >> (BITS_PER_LONG - n)) << first);
    }
}

static void add_run(Adding *a, const PagecachePoolRun *run)
{
    PoolBlock *b = pool_block(a->pool, run->block);
    uint64_t page, end = run_end(b, run);
    Part p;

    for (page = run->page; page < end; page += p.npages) {
        unsigned long bits;

        p = part_at(page, end);
        bits = fit_bits(b, &p);
        if (bits) {
            bits &= ~qatomic_fetch_or(&b->held[p.word], bits);
        }
        append_bits(a, run, &p, bits);
    }
}

/* The words of a large guest's bitmaps are far away. */
static void prefetch(const PagecachePool *pool, const PagecachePoolRun *run)
{
    PoolBlock *b = pool_block(pool, run->block);
    unsigned long word = BIT_WORD(run->page);

    if (run->page < b->npages) {
        __builtin_prefetch(&b->held[word], 1);
        __builtin_prefetch(&b->dirty[word]);
        __builtin_prefetch(&b->sent[word]);
        __builtin_prefetch(&b->offered[word]);
    }
}

/* So many runs are few nanoseconds more than the memory takes. */
#define PREFETCH_RUNS   16

void pagecache_pool_add(PagecachePool *pool, const PagecachePoolRun *runs,
                        size_t n, PagecachePoolAdded *count)
{
    g_autofree uint32_t *order = pagecache_sort_runs(runs, n);
    Adding a;
    size_t i;

    *count = (PagecachePoolAdded) { 0 };
    adding_begin(&a, pool);
    for (i = 0; i < n; i++) {
        const PagecachePoolRun *run = &runs[order ? order[i] : i];
        uint64_t before = a.added;

        if (i + PREFETCH_RUNS < n) {
            prefetch(pool, &runs[order ? order[i + PREFETCH_RUNS]
                                       : i + PREFETCH_RUNS]);
        }
        if (!adding_has_room(&a)) {
            count->dropped += run->npages;
            continue;
        }
        add_run(&a, run);
        count->unfit += run->npages - (a.added - before);
    }
    count->added = a.added;
    adding_end(&a);
}

static void put_back_run(Adding *a, const PagecachePoolRun *run)
{
    PoolBlock *b = pool_block(a->pool, run->block);
    uint64_t page, end = run_end(b, run);
    Part p;

    for (page = run->page; page < end; page += p.npages) {
        unsigned long held, dirty;

        p = part_at(page, end);
        held = p.mask & qatomic_read(&b->held[p.word]);
        dirty = held & qatomic_read(&b->dirty[p.word]);
        qatomic_and(&b->offered[p.word], ~held);
        qatomic_and(&b->held[p.word], ~(held & ~dirty));
        append_bits(a, run, &p, dirty);
    }
}

uint64_t pagecache_pool_put_back(PagecachePool *pool,
                                 const PagecachePoolRun *runs, size_t n)
{
    g_autofree uint32_t *order = pagecache_sort_runs(runs, n);
    Adding a;
    size_t i;

    adding_begin(&a, pool);
    for (i = 0; i < n; i++) {
        put_back_run(&a, &runs[order ? order[i] : i]);
    }
    adding_end(&a);
    return a.added;
}

void pagecache_pool_turn(PagecachePool *pool)
{
    PagecacheBatch *b;

    LOCK_GUARD(&pool->lock);
    while ((b = g_queue_pop_head(&pool->fresh))) {
        PoolDisk *d = pool_disk(pool, pagecache_batch_disk(b));
        Linked *linked = g_new0(Linked, 1);

        linked->batch = b;
        heap_push(d->head, head_key(b), linked);
        heap_push(d->tail, tail_key(b), linked);
    }
}

/* --- sums --- */

uint64_t pagecache_pool_size(PagecachePool *pool)
{
    LOCK_GUARD(&pool->lock);

    return pool->size;
}

uint64_t pagecache_pool_disk_size(PagecachePool *pool, uint32_t disk)
{
    LOCK_GUARD(&pool->lock);

    return disk < pool->disks->len ? pool_disk(pool, disk)->size : 0;
}

uint64_t pagecache_pool_bytes(PagecachePool *pool)
{
    LOCK_GUARD(&pool->lock);

    return pool->bytes;
}

uint32_t pagecache_pool_disks(PagecachePool *pool)
{
    LOCK_GUARD(&pool->lock);

    return pool->disks->len;
}

/* --- taking --- */

/* Is @next the continuation of @run, and may both be one run? */
static bool may_join(const PagecachePool *pool, const PagecachePoolRun *run,
                     const PagecachePoolRun *next, uint32_t max_run)
{
    return run->npages + next->npages <= max_run &&
           run->block == next->block && run->producer == next->producer &&
           run->page + run->npages == next->page &&
           run->sector + ((uint64_t)run->npages << (pool->page_bits - 9)) ==
           next->sector;
}

uint32_t pagecache_pool_take(PagecachePool *pool, uint32_t disk,
                             uint32_t max_pages, uint32_t max_run,
                             GArray *runs)
{
    PagecachePoolRun run, *last = NULL;
    PagecacheBatch *b;
    PoolDisk *d;
    uint32_t taken = 0;

    LOCK_GUARD(&pool->lock);
    if (disk >= pool->disks->len) {
        return 0;
    }
    d = pool_disk(pool, disk);
    while (taken < max_pages && (b = heap_top(pool, d->head, head_key))) {
        pool->bytes -= pagecache_batch_bytes(b);
        pagecache_batch_take_head(b, MIN(max_run, max_pages - taken), &run);
        pool->bytes += pagecache_batch_bytes(b);
        taken += run.npages;
        if (last && may_join(pool, last, &run, max_run)) {
            last->npages += run.npages;
            continue;
        }
        g_array_append_val(runs, run);
        last = &g_array_index(runs, PagecachePoolRun, runs->len - 1);
    }
    count_taken(pool, d, taken);
    return taken;
}

uint32_t pagecache_pool_check(PagecachePool *pool, const PagecachePoolRun *run,
                              unsigned long *good)
{
    PoolBlock *b = pool_block(pool, run->block);
    uint64_t page, end = run_end(b, run);
    uint32_t count = 0;
    Part p;

    for (page = run->page; page < end; page += p.npages) {
        unsigned long bits;

        p = part_at(page, end);
        bits = fit_bits(b, &p);
        note_bits(good, page - run->page, &p, bits);
        count += ctpopl(bits);
    }
    return count;
}

void pagecache_pool_offer(PagecachePool *pool, const PagecachePoolRun *run)
{
    PoolBlock *b = pool_block(pool, run->block);
    uint64_t page, end = run_end(b, run);
    Part p;

    for (page = run->page; page < end; page += p.npages) {
        p = part_at(page, end);
        qatomic_or(&b->offered[p.word], p.mask);
    }
}

void pagecache_pool_release(PagecachePool *pool, const PagecachePoolRun *run)
{
    PoolBlock *b = pool_block(pool, run->block);
    uint64_t page, end = run_end(b, run);
    Part p;

    for (page = run->page; page < end; page += p.npages) {
        p = part_at(page, end);
        qatomic_and(&b->held[p.word], ~p.mask);
    }
}

uint32_t pagecache_pool_land(PagecachePool *pool, uint32_t block,
                             uint64_t page, uint32_t n, unsigned long *which)
{
    const PagecachePoolRun run = { .block = block, .page = page, .npages = n };
    PoolBlock *b = pool_block(pool, block);
    uint64_t end = run_end(b, &run);
    uint32_t count = 0;
    Part p;

    for (; page < end; page += p.npages) {
        unsigned long bits;

        p = part_at(page, end);
        bits = p.mask & qatomic_read(&b->held[p.word]) &
               qatomic_read(&b->offered[p.word]);
        if (bits) {
            qatomic_and(&b->held[p.word], ~bits);
            note_bits(which, page - run.page, &p, bits);
            count += ctpopl(bits);
        }
    }
    return count;
}

/* --- releasing --- */

/* Runs that are taken from the tail in one go, with the lock held */
#define RELEASE_RUNS    256

static unsigned take_tail(PagecachePool *pool, uint32_t disk,
                          uint64_t max_pages, PagecachePoolRun *runs)
{
    PagecacheBatch *b;
    PoolDisk *d;
    unsigned n = 0;

    LOCK_GUARD(&pool->lock);
    if (disk >= pool->disks->len) {
        return 0;
    }
    d = pool_disk(pool, disk);
    while (n < RELEASE_RUNS && max_pages &&
           (b = heap_top(pool, d->tail, tail_key))) {
        pool->bytes -= pagecache_batch_bytes(b);
        pagecache_batch_take_tail(b, MIN(max_pages, PAGECACHE_BATCH_RUN_MAX),
                                  &runs[n]);
        pool->bytes += pagecache_batch_bytes(b);
        max_pages -= runs[n].npages;
        count_taken(pool, d, runs[n].npages);
        n++;
    }
    return n;
}

uint64_t pagecache_pool_release_tail(PagecachePool *pool, uint32_t disk,
                                     uint64_t max_pages)
{
    PagecachePoolRun runs[RELEASE_RUNS];
    uint64_t released = 0;
    unsigned i, n;

    while (released < max_pages &&
           (n = take_tail(pool, disk, max_pages - released, runs))) {
        for (i = 0; i < n; i++) {
            pagecache_pool_release(pool, &runs[i]);
            released += runs[i].npages;
        }
    }
    return released;
}

/* --- giving a producer up --- */

static bool of_producer(const HeapItem *item, uint32_t producer)
{
    return pagecache_batch_producer(item->linked->batch) == producer;
}

/* Moves the batches of a producer from a heap to those to be released. */
static void heap_filter(PagecachePool *pool, PoolDisk *d, GArray *heap,
                        uint32_t producer)
{
    guint i, kept = 0;

    for (i = 0; i < heap->len; i++) {
        HeapItem *item = heap_item(heap, i);
        PagecacheBatch *b;

        if (!of_producer(item, producer)) {
            *heap_item(heap, kept++) = *item;
            continue;
        }
        b = unlink_batch(item->linked);
        if (b) {
            count_taken(pool, d, pagecache_batch_pages(b));
            g_queue_push_tail(&pool->dead, b);
        }
    }
    g_array_set_size(heap, kept);
    for (i = kept / 2; i-- > 0;) {
        heap_down(heap, i);
    }
}

static void fresh_filter(PagecachePool *pool, uint32_t producer, uint32_t disk)
{
    GList *link, *next;

    for (link = pool->fresh.head; link; link = next) {
        PagecacheBatch *b = link->data;

        next = link->next;
        if (pagecache_batch_producer(b) == producer &&
            pagecache_batch_disk(b) == disk) {
            count_taken(pool, pool_disk(pool, disk), pagecache_batch_pages(b));
            g_queue_unlink(&pool->fresh, link);
            g_queue_push_tail_link(&pool->dead, link);
        }
    }
}

/* There are as many batches as calls of pagecache_pool_add(), or some more. */
uint64_t pagecache_pool_give_up(PagecachePool *pool, uint32_t producer,
                                uint32_t disk)
{
    uint64_t before;
    PoolDisk *d;

    LOCK_GUARD(&pool->lock);
    before = pool->size;
    d = pool_disk(pool, disk);
    g_hash_table_add(d->given_up, GUINT_TO_POINTER(producer));
    heap_filter(pool, d, d->head, producer);
    heap_filter(pool, d, d->tail, producer);
    fresh_filter(pool, producer, disk);
    return before - pool->size;
}

uint64_t pagecache_pool_sweep(PagecachePool *pool, uint64_t max_pages)
{
    uint64_t released = 0;
    PagecacheBatch *b;
    PagecachePoolRun run;

    while (released < max_pages) {
        size_t before;

        g_mutex_lock(&pool->lock);
        b = g_queue_pop_head(&pool->dead);
        g_mutex_unlock(&pool->lock);
        if (!b) {
            break;
        }
        before = pagecache_batch_bytes(b);
        while (released < max_pages &&
               pagecache_batch_take_head(b, PAGECACHE_BATCH_RUN_MAX, &run)) {
            pagecache_pool_release(pool, &run);
            released += run.npages;
        }
        g_mutex_lock(&pool->lock);
        pool->bytes -= before;
        if (pagecache_batch_pages(b)) {
            pool->bytes += pagecache_batch_bytes(b);
            g_queue_push_head(&pool->dead, g_steal_pointer(&b));
        }
        g_mutex_unlock(&pool->lock);
        pagecache_batch_free(b);
    }
    return released;
}

/* --- the channel's scan --- */

unsigned long pagecache_pool_next_dirty(const unsigned long *dirty,
                                        const unsigned long *held,
                                        unsigned long size,
                                        unsigned long start)
{
    unsigned long i, nwords = BITS_TO_LONGS(size);

    if (start >= size) {
        return size;
    }
    for (i = BIT_WORD(start); i < nwords; i++) {
        unsigned long word = dirty[i] & ~qatomic_read(&held[i]);

        if (i == BIT_WORD(start)) {
            word &= BITMAP_FIRST_WORD_MASK(start);
        }
        if (word) {
            return MIN(size, i * BITS_PER_LONG + ctzl(word));
        }
    }
    return size;
}
