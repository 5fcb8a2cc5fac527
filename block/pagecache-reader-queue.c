/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's queue of runs, sorted and merged by sector
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Runs come from the stream: any number of them may overlap or be equal, may
 * be huge or lie beyond the disk.  What one range can cost is bounded: its
 * length, the share of it that nobody wants, and the pages it delivers (many
 * runs may want the same sectors).
 *
 * The disk is read in sweeps, each from its beginning to its end.  A batch is
 * cut where the sweep is: what lies ahead is part of it, the rest of the next
 * one.  The parts of this sweep are in a heap by their first sector, so taking
 * a run from k batches costs log k.
 */

#include "qemu/osdep.h"
#include "qemu/pagecache-radix.h"
#include "pagecache-reader-queue.h"

#define SECTOR  512u

/* Pages that a range may deliver, as a multiple of those that fit into it */
#define MAX_OVERLAP 4u

struct PagecacheRunBatch {
    uint64_t seq;           /* batches are counted as they are added */
    uint32_t parts;         /* in the queue */
    uint32_t n;
    PagecacheRun runs[];    /* by sector, equal ones in the caller's order */
};

/* The runs of a batch that one sweep takes; one or more */
typedef struct Part {
    uint64_t sector;        /* of the run @next */
    PagecacheRunBatch *batch;
    uint32_t next, end;     /* in the batch's runs */
} Part;

struct PagecacheRunQueue {
    GArray *now;            /* of Part: from the cursor on; a heap */
    GArray *later;          /* of Part: below it, for the next sweep */
    uint32_t page_size;
    uint32_t page_sectors;
    uint64_t seq;
    uint64_t cursor;        /* sector where the next range begins, or above */
};

/* --- batches --- */

static bool is_sorted(const PagecacheRun *runs, uint32_t n)
{
    uint32_t i;

    for (i = 1; i < n; i++) {
        if (runs[i].sector < runs[i - 1].sector) {
            return false;
        }
    }
    return true;
}

/* Copies them to @out in the order of their sectors. */
static void copy_sorted(const PagecacheRun *runs, uint32_t n,
                        PagecacheRun *out)
{
    PagecacheRadixItem *items = g_new(PagecacheRadixItem, n);
    PagecacheRadixItem *spare = g_new(PagecacheRadixItem, n);
    uint32_t i;

    for (i = 0; i < n; i++) {
        items[i] = (PagecacheRadixItem) { .key = runs[i].sector, .index = i };
    }
    pagecache_radix_sort(&items, &spare, n);
    for (i = 0; i < n; i++) {
        out[i] = runs[items[i].index];
    }
    g_free(items);
    g_free(spare);
}

PagecacheRunBatch *pagecache_run_batch_new(const PagecacheRun *runs,
                                           uint32_t n)
{
    PagecacheRunBatch *batch;
    uint32_t i, left = 0;

    if (!n) {
        return NULL;            /* and @runs may be */
    }
    batch = g_malloc(sizeof(*batch) + n * sizeof(PagecacheRun));
    if (is_sorted(runs, n)) {
        memcpy(batch->runs, runs, n * sizeof(PagecacheRun));
    } else {
        copy_sorted(runs, n, batch->runs);
    }
    for (i = 0; i < n; i++) {
        if (batch->runs[i].npages) {
            batch->runs[left++] = batch->runs[i];
        }
    }
    if (!left) {
        g_free(batch);
        return NULL;
    }
    batch->parts = 0;
    batch->n = left;
    return batch;
}

/* The first run at @sector or above it; batch->n: none */
static uint32_t find_run(const PagecacheRunBatch *batch, uint64_t sector)
{
    uint32_t low = 0, high = batch->n;

    while (low < high) {
        uint32_t mid = low + (high - low) / 2;

        if (batch->runs[mid].sector < sector) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return low;
}

/* --- the heap --- */

static Part *get_part(GArray *parts, guint i)
{
    return &g_array_index(parts, Part, i);
}

static bool is_before(const Part *a, const Part *b)
{
    return a->sector != b->sector ? a->sector < b->sector :
           a->batch->seq < b->batch->seq;
}

static void swap_parts(Part *a, Part *b)
{
    Part tmp = *a;

    *a = *b;
    *b = tmp;
}

static void sift_up(GArray *heap, guint i)
{
    while (i && is_before(get_part(heap, i), get_part(heap, (i - 1) / 2))) {
        swap_parts(get_part(heap, i), get_part(heap, (i - 1) / 2));
        i = (i - 1) / 2;
    }
}

static void sift_down(GArray *heap, guint i)
{
    for (;;) {
        guint least = i, child;

        for (child = 2 * i + 1; child <= 2 * i + 2 && child < heap->len;
             child++) {
            if (is_before(get_part(heap, child), get_part(heap, least))) {
                least = child;
            }
        }
        if (least == i) {
            return;
        }
        swap_parts(get_part(heap, i), get_part(heap, least));
        i = least;
    }
}

/* --- the queue --- */

PagecacheRunQueue *pagecache_run_queue_new(uint32_t page_size)
{
    PagecacheRunQueue *q = g_new0(PagecacheRunQueue, 1);

    g_assert(page_size && page_size % SECTOR == 0);
    q->now = g_array_new(false, false, sizeof(Part));
    q->later = g_array_new(false, false, sizeof(Part));
    q->page_size = page_size;
    q->page_sectors = page_size / SECTOR;
    return q;
}

static void put_batch(PagecacheRunBatch *batch)
{
    if (!--batch->parts) {
        g_free(batch);
    }
}

static void free_parts(GArray *parts)
{
    guint i;

    for (i = 0; i < parts->len; i++) {
        put_batch(get_part(parts, i)->batch);
    }
    g_array_unref(parts);
}

void pagecache_run_queue_free(PagecacheRunQueue *q)
{
    free_parts(q->now);
    free_parts(q->later);
    g_free(q);
}

bool pagecache_run_queue_is_empty(PagecacheRunQueue *q)
{
    return !q->now->len && !q->later->len;
}

static void add_part(GArray *parts, PagecacheRunBatch *batch, uint32_t first,
                     uint32_t end)
{
    Part part = {
        .sector = batch->runs[first].sector, .batch = batch,
        .next = first, .end = end,
    };

    batch->parts++;
    g_array_append_val(parts, part);
}

void pagecache_run_queue_add(PagecacheRunQueue *q, PagecacheRunBatch *batch)
{
    uint32_t cut;

    if (!batch) {
        return;
    }
    batch->seq = q->seq++;
    cut = find_run(batch, q->cursor);
    if (cut) {
        add_part(q->later, batch, 0, cut);
    }
    if (cut < batch->n) {
        add_part(q->now, batch, cut, batch->n);
        sift_up(q->now, q->now->len - 1);
    }
}

/* The first run of this sweep leaves the queue. */
static PagecacheRun pop_run(PagecacheRunQueue *q)
{
    Part *first = get_part(q->now, 0);
    PagecacheRun run = first->batch->runs[first->next++];

    if (first->next < first->end) {
        first->sector = first->batch->runs[first->next].sector;
    } else {
        put_batch(first->batch);
        g_array_remove_index_fast(q->now, 0);
    }
    sift_down(q->now, 0);
    return run;
}

static void next_sweep(PagecacheRunQueue *q)
{
    GArray *parts = q->later;
    guint i;

    q->later = q->now;
    q->now = parts;
    for (i = parts->len / 2; i-- > 0;) {
        sift_down(parts, i);
    }
}

static bool run_fits_disk(PagecacheRunQueue *q, const PagecacheRun *run,
                          uint64_t disk_sectors)
{
    return run->sector <= disk_sectors &&
           (uint64_t)run->npages * q->page_sectors <=
           disk_sectors - run->sector;
}

static void append_piece(GArray *pieces, const PagecacheRun *run,
                         uint32_t npages, uint32_t offset)
{
    PagecachePiece piece = { .run = *run, .offset = offset };

    piece.run.npages = npages;
    g_array_append_val(pieces, piece);
}

/* A range that grows; in sectors, but for the pages */
typedef struct Range {
    uint64_t max_sectors, max_pages;
    uint64_t start, end, holes;
    uint64_t pages;             /* 0: it has not begun */
} Range;

/* How many pages of @run, the next one, it has room for; they are in it then */
static uint32_t range_add(PagecacheRunQueue *q, Range *range,
                          const PagecacheRun *run)
{
    uint64_t end, hole, n;

    if (!range->pages) {
        range->start = range->end = run->sector;
    }
    if (run->sector - range->start >= range->max_sectors) {
        return 0;
    }
    n = (range->max_sectors - (run->sector - range->start)) / q->page_sectors;
    n = MIN(n, run->npages);
    n = MIN(n, range->max_pages - range->pages);
    end = MAX(range->end, run->sector + n * q->page_sectors);
    hole = run->sector > range->end ? run->sector - range->end : 0;
    if (!n || (range->holes + hole) * 4 > end - range->start) {
        return 0;
    }
    range->pages += n;
    range->holes += hole;
    range->end = end;
    return n;
}

/* The pages from @n on come back to the queue. */
static void add_rest(PagecacheRunQueue *q, const PagecacheRun *run, uint32_t n)
{
    PagecacheRun rest = *run;

    rest.sector += (uint64_t)n * q->page_sectors;
    rest.page += n;
    rest.index += n;
    rest.npages -= n;
    pagecache_run_queue_add(q, pagecache_run_batch_new(&rest, 1));
}

/* What this sweep has next; the range may remain empty. */
static void take_range(PagecacheRunQueue *q, uint64_t disk_sectors,
                       Range *range, GArray *pieces, GArray *rejects)
{
    while (q->now->len) {
        const Part *first = get_part(q->now, 0);
        PagecacheRun run = first->batch->runs[first->next];
        uint32_t n;

        if (!run_fits_disk(q, &run, disk_sectors)) {
            append_piece(rejects, &run, run.npages, 0);
            pop_run(q);
            continue;
        }
        n = range_add(q, range, &run);
        if (!n) {
            return;
        }
        append_piece(pieces, &run, n, (run.sector - range->start) * SECTOR);
        q->cursor = run.sector;
        pop_run(q);
        if (n < run.npages) {
            add_rest(q, &run, n);
            return;
        }
    }
}

bool pagecache_run_queue_take(PagecacheRunQueue *q, uint64_t disk_sectors,
                              uint32_t max_bytes, GArray *pieces,
                              GArray *rejects, uint64_t *sector,
                              uint32_t *bytes)
{
    Range range = {
        .max_sectors = max_bytes / SECTOR,
        .max_pages = (uint64_t)max_bytes / q->page_size * MAX_OVERLAP,
    };

    g_assert(max_bytes >= q->page_size);

    /* twice if all that is left of this sweep lies beyond the disk */
    while (!range.pages && !pagecache_run_queue_is_empty(q)) {
        if (!q->now->len) {
            next_sweep(q);
        }
        take_range(q, disk_sectors, &range, pieces, rejects);
    }
    *sector = range.start;
    *bytes = (range.end - range.start) * SECTOR;
    return range.pages > 0;
}

/* Up to @max runs of @part, from its end; false: there are more */
static bool flush_part(Part *part, uint32_t max, GArray *pieces)
{
    while (part->end > part->next && max--) {
        const PagecacheRun *run = &part->batch->runs[--part->end];

        append_piece(pieces, run, run->npages, 0);
    }
    return part->end == part->next;
}

bool pagecache_run_queue_flush(PagecacheRunQueue *q, uint32_t max,
                               GArray *pieces)
{
    guint start = pieces->len;

    while (pieces->len - start < max && !pagecache_run_queue_is_empty(q)) {
        /* the last one: a heap is still one without it */
        GArray *parts = q->later->len ? q->later : q->now;
        Part *last = get_part(parts, parts->len - 1);

        if (flush_part(last, max - (pieces->len - start), pieces)) {
            put_batch(last->batch);
            g_array_set_size(parts, parts->len - 1);
        }
    }
    return pieces->len > start;
}
