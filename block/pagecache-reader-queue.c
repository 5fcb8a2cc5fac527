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
 */

#include "qemu/osdep.h"
#include "pagecache-reader-queue.h"

#define SECTOR  512u

/* Pages that a range may deliver, as a multiple of those that fit into it */
#define MAX_OVERLAP 4u

typedef struct QueuedRun {
    PagecacheRun run;
    uint64_t seq;           /* makes the order total, so that it is stable */
} QueuedRun;

struct PagecacheRunQueue {
    GSequence *runs;        /* of QueuedRun, by sector and seq */
    uint32_t page_size;
    uint32_t page_sectors;
    uint64_t seq;
    uint64_t cursor;        /* sector where the next range begins, or above */
};

static gint run_compare(gconstpointer a, gconstpointer b, gpointer opaque)
{
    const QueuedRun *x = a, *y = b;

    if (x->run.sector != y->run.sector) {
        return x->run.sector < y->run.sector ? -1 : 1;
    }
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

PagecacheRunQueue *pagecache_run_queue_new(uint32_t page_size)
{
    PagecacheRunQueue *q = g_new0(PagecacheRunQueue, 1);

    g_assert(page_size && page_size % SECTOR == 0);
    q->runs = g_sequence_new(g_free);
    q->page_size = page_size;
    q->page_sectors = page_size / SECTOR;
    return q;
}

void pagecache_run_queue_free(PagecacheRunQueue *q)
{
    g_sequence_free(q->runs);
    g_free(q);
}

bool pagecache_run_queue_is_empty(PagecacheRunQueue *q)
{
    return g_sequence_is_empty(q->runs);
}

static void queue_insert(PagecacheRunQueue *q, const PagecacheRun *run)
{
    QueuedRun *item = g_new(QueuedRun, 1);

    item->run = *run;
    item->seq = ++q->seq;
    g_sequence_insert_sorted(q->runs, item, run_compare, NULL);
}

void pagecache_run_queue_add(PagecacheRunQueue *q, const PagecacheRun *run)
{
    if (run->npages) {
        queue_insert(q, run);
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

bool pagecache_run_queue_take(PagecacheRunQueue *q, uint64_t disk_sectors,
                              uint32_t max_bytes, GArray *pieces,
                              GArray *rejects, uint64_t *sector,
                              uint32_t *bytes)
{
    const uint64_t max_sectors = max_bytes / SECTOR;
    const uint64_t max_pages = (uint64_t)max_bytes / q->page_size * MAX_OVERLAP;
    QueuedRun key = { .run.sector = q->cursor };
    uint64_t start = 0, end = 0, holes = 0, pages = 0;
    GSequenceIter *iter, *next;

    g_assert(max_bytes >= q->page_size);

    iter = g_sequence_search(q->runs, &key, run_compare, NULL);
    if (g_sequence_iter_is_end(iter)) {
        iter = g_sequence_get_begin_iter(q->runs);
    }
    for (; !g_sequence_iter_is_end(iter); iter = next) {
        QueuedRun *item = g_sequence_get(iter);
        PagecacheRun *run = &item->run;
        uint64_t run_end, hole, n;

        next = g_sequence_iter_next(iter);
        if (!run_fits_disk(q, run, disk_sectors)) {
            append_piece(rejects, run, run->npages, 0);
            g_sequence_remove(iter);
            continue;
        }
        if (!pages) {
            start = end = run->sector;
        }
        if (run->sector - start >= max_sectors) {
            break;
        }
        n = (max_sectors - (run->sector - start)) / q->page_sectors;
        n = MIN(n, run->npages);
        n = MIN(n, max_pages - pages);
        run_end = MAX(end, run->sector + n * q->page_sectors);
        hole = run->sector > end ? run->sector - end : 0;
        if (!n || (holes + hole) * 4 > run_end - start) {
            break;
        }

        append_piece(pieces, run, n, (run->sector - start) * SECTOR);
        pages += n;
        holes += hole;
        end = run_end;
        q->cursor = run->sector;
        if (n < run->npages) {
            PagecacheRun rest = *run;

            rest.sector += n * q->page_sectors;
            rest.page += n;
            rest.index += n;
            rest.npages -= n;
            g_sequence_remove(iter);
            queue_insert(q, &rest);
            break;
        }
        g_sequence_remove(iter);
    }
    if (!pages && !g_sequence_is_empty(q->runs)) {
        /* all that stood above the cursor was rejected; the rest is below */
        g_assert(q->cursor > 0);
        q->cursor = 0;
        return pagecache_run_queue_take(q, disk_sectors, max_bytes, pieces,
                                        rejects, sector, bytes);
    }
    *sector = start;
    *bytes = (end - start) * SECTOR;
    return pages > 0;
}

void pagecache_run_queue_flush(PagecacheRunQueue *q, GArray *pieces)
{
    GSequenceIter *iter = g_sequence_get_begin_iter(q->runs);

    for (; !g_sequence_iter_is_end(iter); iter = g_sequence_iter_next(iter)) {
        QueuedRun *item = g_sequence_get(iter);

        append_piece(pieces, &item->run, item->run.npages, 0);
    }
    g_sequence_remove_range(g_sequence_get_begin_iter(q->runs),
                            g_sequence_get_end_iter(q->runs));
}
