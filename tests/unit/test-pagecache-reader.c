/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the skip-pagecache reader: queue, deadlines, bandwidth cap, giving
 * up and the end of its life, with an engine that does what the test says.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include "qemu/pagecache-budget.h"
#include "pagecache-reader-queue.h"
#include "test-pagecache-reader-lib.h"

#define PAGE_SECTORS    (PAGE / SECTOR)

/* --- The queue against a naive model ------------------------------------- */

#define MODEL_SECTORS   20000u
#define MODEL_PAGES     3000u

/* How many runs want each sector, the model of the queue */
typedef struct Model {
    unsigned wanted[MODEL_SECTORS];
    uint64_t sector_of[MODEL_PAGES];
    uint8_t taken[MODEL_PAGES];
    unsigned npages;
} Model;

static void model_add(Model *m, GArray *batch, uint64_t sector,
                      unsigned npages)
{
    PagecacheRun run = {
        .sector = sector, .page = m->npages, .block = 3, .npages = npages,
        .tag = m->npages, .index = 9,
    };
    unsigned i;

    g_array_append_val(batch, run);
    for (i = 0; i < npages; i++) {
        m->sector_of[m->npages++] = sector + i * PAGE_SECTORS;
    }
}

static void add_batch(PagecacheRunQueue *q, GArray *batch)
{
    const PagecacheRun *runs = (PagecacheRun *)batch->data;

    pagecache_run_queue_add(q, pagecache_run_batch_new(runs, batch->len));
    g_array_set_size(batch, 0);
}

/* Every page of @p is out for the first time and where it belongs */
static void model_take(Model *m, const PagecachePiece *p)
{
    unsigned i;

    g_assert_cmpuint(p->run.block, ==, 3);
    g_assert_cmpuint(p->run.index - 9, ==, p->run.page - p->run.tag);
    for (i = 0; i < p->run.npages; i++) {
        g_assert_cmpuint(p->run.page + i, <, m->npages);
        g_assert_cmpuint(m->sector_of[p->run.page + i], ==,
                         p->run.sector + i * PAGE_SECTORS);
        g_assert_cmpuint(m->taken[p->run.page + i]++, ==, 0);
    }
}

static void check_range(Model *m, GArray *pieces, uint64_t sector,
                        uint32_t bytes, uint32_t max_bytes)
{
    g_autofree uint8_t *used = g_new0(uint8_t, bytes / SECTOR);
    unsigned pages = 0, unused = 0, i, j;

    g_assert_cmpuint(bytes, <=, max_bytes);
    g_assert_cmpuint(bytes % SECTOR, ==, 0);
    for (i = 0; i < pieces->len; i++) {
        PagecachePiece *p = &g_array_index(pieces, PagecachePiece, i);

        model_take(m, p);
        pages += p->run.npages;
        g_assert_cmpuint(p->offset, ==, (p->run.sector - sector) * SECTOR);
        g_assert_cmpuint(p->offset + p->run.npages * PAGE, <=, bytes);
        for (j = 0; j < p->run.npages * PAGE_SECTORS; j++) {
            used[p->offset / SECTOR + j] = 1;
        }
    }
    g_assert(used[0] && used[bytes / SECTOR - 1]);
    for (i = 0; i < bytes / SECTOR; i++) {
        unused += !used[i];
    }
    /* the rule for holes, and the bound on what one range delivers */
    g_assert_cmpuint(unused * 4, <=, bytes / SECTOR);
    g_assert_cmpuint(pages, <=, 4 * (max_bytes / PAGE));
}

static void test_queue_random(void)
{
    int round;

    for (round = 0; round < 300; round++) {
        g_autofree Model *m = g_new0(Model, 1);
        PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
        g_autoptr(GArray) pieces = g_array_new(0, 0, sizeof(PagecachePiece));
        g_autoptr(GArray) rejects = g_array_new(0, 0, sizeof(PagecachePiece));
        g_autoptr(GArray) batch = g_array_new(0, 0, sizeof(PagecacheRun));
        int max_batch = g_test_rand_int_range(1, 40);
        uint32_t max_bytes = PAGE * g_test_rand_int_range(1, 70);
        bool aligned = g_test_rand_bit();
        unsigned spread = g_test_rand_int_range(100, MODEL_SECTORS);
        unsigned disk = g_test_rand_int_range(spread / 2, MODEL_SECTORS);
        unsigned i, ranges = 0, rejected = 0, expected = 0;
        uint64_t sector;
        uint32_t bytes;

        while (m->npages < MODEL_PAGES - 200 || ranges % 3) {
            unsigned n = g_test_rand_int_range(1, g_test_rand_bit() ? 4 : 150);
            unsigned at = g_test_rand_int_range(0, spread);

            if (m->npages + n > MODEL_PAGES) {
                break;
            }
            at -= aligned ? at % PAGE_SECTORS : 0;
            expected += at + n * PAGE_SECTORS > disk ? n : 0;
            model_add(m, batch, at, n);
            if (batch->len >= g_test_rand_int_range(1, max_batch + 1)) {
                add_batch(q, batch);
            }
            if (g_test_rand_int_range(0, 10) == 0) {
                g_array_set_size(pieces, 0);
                if (pagecache_run_queue_take(q, disk, max_bytes, pieces,
                                             rejects, &sector, &bytes)) {
                    check_range(m, pieces, sector, bytes, max_bytes);
                    ranges++;
                }
            }
        }
        add_batch(q, batch);
        g_array_set_size(pieces, 0);
        while (pagecache_run_queue_take(q, disk, max_bytes, pieces, rejects,
                                        &sector, &bytes)) {
            check_range(m, pieces, sector, bytes, max_bytes);
            g_array_set_size(pieces, 0);
            if (round % 10 == 9) {
                break;
            }
        }
        while (pagecache_run_queue_flush(q, 20, rejects)) {
            /* all that is left */
        }
        g_assert(pagecache_run_queue_is_empty(q));
        for (i = 0; i < rejects->len; i++) {
            PagecachePiece *p = &g_array_index(rejects, PagecachePiece, i);

            rejected += p->run.npages;
            model_take(m, p);
        }
        if (round % 10 != 9) {
            g_assert_cmpuint(rejected, ==, expected);
        }
        for (i = 0; i < m->npages; i++) {
            g_assert_cmpuint(m->taken[i], ==, 1);
        }
        pagecache_run_queue_free(q);
    }
}

static void take_all(PagecacheRunQueue *q, uint64_t disk, uint32_t max_bytes,
                     unsigned *ranges, unsigned *pages, uint64_t *total)
{
    g_autoptr(GArray) pieces = g_array_new(0, 0, sizeof(PagecachePiece));
    g_autoptr(GArray) rejects = g_array_new(0, 0, sizeof(PagecachePiece));
    uint64_t sector;
    uint32_t bytes;
    unsigned i;

    *ranges = *pages = 0;
    *total = 0;
    while (pagecache_run_queue_take(q, disk, max_bytes, pieces, rejects,
                                    &sector, &bytes)) {
        (*ranges)++;
        *total += bytes;
    }
    for (i = 0; i < pieces->len; i++) {
        *pages += g_array_index(pieces, PagecachePiece, i).run.npages;
    }
}

static void add(PagecacheRunQueue *q, uint64_t page_on_disk, uint32_t npages)
{
    PagecacheRun run = {
        .sector = page_on_disk * PAGE_SECTORS, .npages = npages,
    };

    pagecache_run_queue_add(q, pagecache_run_batch_new(&run, 1));
}

static void test_queue_holes(void)
{
    PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
    unsigned ranges, pages, i;
    uint64_t total;

    /* a hole of one page in four: read through */
    for (i = 0; i < 64; i++) {
        if (i % 4 != 2) {
            add(q, i, 1);
        }
    }
    take_all(q, UINT64_MAX / SECTOR, 64 * PAGE, &ranges, &pages, &total);
    g_assert_cmpuint(ranges, ==, 1);
    g_assert_cmpuint(pages, ==, 48);

    /* every other page: no read may carry what nobody wants */
    for (i = 0; i < 64; i += 2) {
        add(q, i, 1);
    }
    take_all(q, UINT64_MAX / SECTOR, 64 * PAGE, &ranges, &pages, &total);
    g_assert_cmpuint(pages, ==, 32);
    g_assert_cmpuint(total, ==, 32 * PAGE);

    /* the first and the last page of a request */
    add(q, 0, 1);
    add(q, 63, 1);
    take_all(q, UINT64_MAX / SECTOR, 64 * PAGE, &ranges, &pages, &total);
    g_assert_cmpuint(ranges, ==, 2);
    g_assert_cmpuint(total, ==, 2 * PAGE);
    pagecache_run_queue_free(q);
}

/* Takes all there is; the pieces come in the order of their sectors. */
static void check_sweep(PagecacheRunQueue *q, GArray *pieces)
{
    uint64_t sector, last = 0;
    uint32_t bytes;
    guint i, first = pieces->len;

    while (pagecache_run_queue_take(q, UINT64_MAX / SECTOR, 64 * PAGE, pieces,
                                    pieces, &sector, &bytes)) {
        g_assert_cmpuint(bytes, <=, 64 * PAGE);
    }
    for (i = first; i < pieces->len; i++) {
        uint64_t next = g_array_index(pieces, PagecachePiece, i).run.sector;

        g_assert_cmpuint(next, >=, last);
        last = next;
    }
}

/* By sector, and runs of one sector in the order in which they were added */
static void test_queue_order(void)
{
    const unsigned n = 20000;
    PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
    g_autoptr(GArray) pieces = g_array_new(0, 0, sizeof(PagecachePiece));
    g_autoptr(GArray) batch = g_array_new(0, 0, sizeof(PagecacheRun));
    unsigned i;

    for (i = 0; i < n; i++) {
        PagecacheRun run = {
            /* sectors that differ in their first and in their last byte */
            .sector = (uint64_t)g_test_rand_int_range(0, 100) << 40 |
                      g_test_rand_int_range(0, 3),
            .npages = 1, .tag = i,
        };

        g_array_append_val(batch, run);
        if (batch->len == 1 + i % 500) {
            add_batch(q, batch);
        }
    }
    add_batch(q, batch);
    check_sweep(q, pieces);
    g_assert_cmpuint(pieces->len, ==, n);
    for (i = 1; i < n; i++) {
        const PagecacheRun *a = &g_array_index(pieces, PagecachePiece,
                                               i - 1).run;
        const PagecacheRun *b = &g_array_index(pieces, PagecachePiece, i).run;

        g_assert(a->sector < b->sector || a->tag < b->tag);
    }
    pagecache_run_queue_free(q);
}

/* What lies behind the last range waits for the next sweep. */
static void test_queue_sweep(void)
{
    static const unsigned at[] = { 900, 300, 700, 100, 500 };
    PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
    g_autoptr(GArray) pieces = g_array_new(0, 0, sizeof(PagecachePiece));
    PagecacheRun runs[G_N_ELEMENTS(at)] = { 0 };
    uint64_t sector;
    uint32_t bytes;
    unsigned i;

    add(q, 400, 1);
    add(q, 800, 1);
    g_assert(pagecache_run_queue_take(q, 10000, PAGE, pieces, pieces, &sector,
                                      &bytes));
    g_assert_cmpuint(sector, ==, 400 * PAGE_SECTORS);

    /* one batch, on both sides; others; and where the last range began */
    for (i = 0; i < G_N_ELEMENTS(at); i++) {
        runs[i].sector = at[i] * PAGE_SECTORS;
        runs[i].npages = 1;
    }
    pagecache_run_queue_add(q, pagecache_run_batch_new(runs, i));
    add(q, 250, 1);
    add(q, 50, 1);
    add(q, 400, 1);
    g_array_set_size(pieces, 0);
    while (pagecache_run_queue_take(q, 10000, PAGE, pieces, pieces, &sector,
                                    &bytes)) {
        static const unsigned expected[] = { 400, 500, 700, 800, 900, 50, 100,
                                             250, 300 };

        g_assert_cmpuint(sector, ==,
                         expected[pieces->len - 1] * PAGE_SECTORS);
    }
    g_assert_cmpuint(pieces->len, ==, 9);

    /* a queue that ends between two sweeps */
    add(q, 200, 1);
    add(q, 400, 1);
    g_assert(pagecache_run_queue_take(q, 10000, PAGE, pieces, pieces, &sector,
                                      &bytes));
    pagecache_run_queue_add(q, pagecache_run_batch_new(runs, i));
    pagecache_run_queue_free(q);
}

/* A long run comes piece by piece, with what others want of the same place. */
static void test_queue_long(void)
{
    PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
    g_autoptr(GArray) pieces = g_array_new(0, 0, sizeof(PagecachePiece));
    PagecacheRun runs[] = {
        { .sector = 0, .npages = 1000, .index = 70, .page = 5, .tag = 1 },
        { .sector = 90 * PAGE_SECTORS, .npages = 1, .tag = 2 },
        { .sector = 10 * PAGE_SECTORS, .npages = 300, .tag = 3 },
    };
    g_autofree uint8_t *times = g_new0(uint8_t, 1000);
    unsigned ranges = 0, others = 0, i, k;
    uint64_t sector, end = 0;
    uint32_t bytes;

    pagecache_run_queue_add(q, pagecache_run_batch_new(runs,
                                                       G_N_ELEMENTS(runs)));
    while (pagecache_run_queue_take(q, 1000 * PAGE_SECTORS, 64 * PAGE, pieces,
                                    pieces, &sector, &bytes)) {
        g_assert_cmpuint(bytes, <=, 64 * PAGE);
        g_assert_cmpuint(sector, <=, end);
        end = MAX(end, sector + bytes / SECTOR);
        ranges++;
    }
    for (i = 0; i < pieces->len; i++) {
        const PagecachePiece *p = &g_array_index(pieces, PagecachePiece, i);

        for (k = 0; p->run.tag == 1 && k < p->run.npages; k++) {
            g_assert_cmpuint(p->run.sector + k * PAGE_SECTORS, ==,
                             (p->run.index + k - 70) * PAGE_SECTORS);
            g_assert_cmpuint(p->run.page - 5, ==, p->run.index - 70);
            times[p->run.index + k - 70]++;
        }
        others += p->run.tag == 1 ? 0 : p->run.npages;
    }
    for (i = 0; i < 1000; i++) {
        g_assert_cmpuint(times[i], ==, 1);
    }
    g_assert_cmpuint(others, ==, 301);
    g_assert_cmpuint(ranges, <=, 2 * 1000 / 64 + 2);
    pagecache_run_queue_free(q);
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

/*
 * Millions of runs, in the largest frames and in the smallest ones, in any
 * order, or all of one place: no more than some microseconds each.  The limit
 * is far above what it takes even with sanitizers, and far below the square.
 */
static void test_queue_millions(void)
{
    static const unsigned sizes[] = { 149796, 1 };
    const uint64_t n = 1000000;
    unsigned i, same;

    for (i = 0; i < G_N_ELEMENTS(sizes); i++) {
        for (same = 0; same < 2; same++) {
            PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
            g_autoptr(GArray) batch = g_array_new(0, 0, sizeof(PagecacheRun));
            double start = cpu_seconds(), took;
            unsigned ranges, pages;
            uint64_t total, k;

            for (k = 0; k < n; k++) {
                PagecacheRun run = {
                    .sector = same ? 0 : k * 0x9e3779b1 % n * PAGE_SECTORS,
                    .npages = 1,
                };

                g_array_append_val(batch, run);
                if (batch->len == sizes[i]) {
                    add_batch(q, batch);
                }
            }
            add_batch(q, batch);
            take_all(q, UINT64_MAX / SECTOR, 64 * PAGE, &ranges, &pages,
                     &total);
            g_assert_cmpuint(pages, ==, n);
            g_assert_cmpuint(ranges, ==, same ? (n + 255) / 256 :
                             (n + 63) / 64);
            pagecache_run_queue_free(q);
            took = cpu_seconds() - start;
            g_test_message("batches of %u, %s: %.2f s", sizes[i],
                           same ? "one place" : "random order", took);
            g_assert_cmpfloat(took, <, 30);
        }
    }
}

/* A batch is handed over, and all is given back, whatever its length. */
static void test_queue_hand_over(void)
{
    const unsigned n = 1000000;
    PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
    g_autofree PagecacheRun *runs = g_new0(PagecacheRun, n);
    g_autoptr(GArray) pieces = g_array_new(0, 0, sizeof(PagecachePiece));
    PagecacheRunBatch *batch;
    uint64_t sector;
    uint32_t bytes;
    double start;
    unsigned i;

    for (i = 0; i < n; i++) {
        runs[i].sector = (uint64_t)(n - i) * PAGE_SECTORS;
        runs[i].npages = i % 2;
    }
    /* somewhere in the middle of it */
    add(q, n / 2, 1);
    g_assert(pagecache_run_queue_take(q, UINT64_MAX / SECTOR, PAGE, pieces,
                                      pieces, &sector, &bytes));
    batch = pagecache_run_batch_new(runs, n);
    start = cpu_seconds();
    pagecache_run_queue_add(q, batch);
    g_assert_cmpfloat(cpu_seconds() - start, <, 0.001);
    g_array_set_size(pieces, 0);
    for (i = 0; pagecache_run_queue_flush(q, 1000, pieces); i++) {
        g_assert_cmpuint(pieces->len, <=, (i + 1) * 1000);
    }
    g_assert_cmpuint(pieces->len, ==, n / 2);
    g_assert_cmpuint(i, ==, n / 2 / 1000);
    g_assert(pagecache_run_queue_is_empty(q));
    pagecache_run_queue_free(q);

    /* nothing at all */
    g_assert_null(pagecache_run_batch_new(NULL, 0));
    g_assert_null(pagecache_run_batch_new(runs, 1));
}

/* Numbers that a hostile stream may hold */
static void test_queue_hostile(void)
{
    PagecacheRunQueue *q = pagecache_run_queue_new(PAGE);
    g_autoptr(GArray) pieces = g_array_new(0, 0, sizeof(PagecachePiece));
    g_autoptr(GArray) rejects = g_array_new(0, 0, sizeof(PagecachePiece));
    PagecacheRun runs[] = {
        { .sector = UINT64_MAX, .npages = 1 },
        { .sector = UINT64_MAX - 7, .npages = UINT32_MAX },
        { .sector = 0, .npages = UINT32_MAX },
        { .sector = 1000, .npages = 1 },
        { .sector = 993, .npages = 1 },
        { .sector = 992, .npages = 0 },
    };
    unsigned i, ranges, pages;
    uint64_t sector, total;
    uint32_t bytes;

    pagecache_run_queue_add(q, pagecache_run_batch_new(runs,
                                                       G_N_ELEMENTS(runs)));
    g_assert(!pagecache_run_queue_take(q, 1000, 64 * PAGE, pieces, rejects,
                                       &sector, &bytes));
    g_assert_cmpuint(pieces->len, ==, 0);
    g_assert_cmpuint(rejects->len, ==, 5);
    g_assert(pagecache_run_queue_is_empty(q));

    /* a page everybody wants: bounded in each range, all are served */
    for (i = 0; i < 10000; i++) {
        add(q, 5, 1);
    }
    take_all(q, 1000, 4 * PAGE, &ranges, &pages, &total);
    g_assert_cmpuint(pages, ==, 10000);
    g_assert_cmpuint(ranges, ==, 10000 / 16);

    /* exactly up to the end of the disk */
    add(q, 0, 125);
    take_all(q, 1000, 4 * PAGE, &ranges, &pages, &total);
    g_assert_cmpuint(pages, ==, 125);
    pagecache_run_queue_free(q);
}

/* --- An engine that does what the test says ------------------------------ */

typedef struct Fake {
    PagecacheReader *r;
    gint kicks;                 /* atomic */
    gint freed;                 /* atomic */
} Fake;

static Fake *fake_next;

static void *fake_start(PagecacheReader *r, const PagecacheReaderSpec *spec,
                        unsigned sessions, unsigned depth, char **why)
{
    if (!fake_next) {
        *why = g_strdup("told to fail");
        return NULL;
    }
    fake_next->r = pagecache_reader_ref(r);
    return fake_next;
}

static void fake_kick(void *opaque)
{
    Fake *f = opaque;

    g_atomic_int_inc(&f->kicks);
}

static void fake_free(void *opaque)
{
    Fake *f = opaque;

    g_atomic_int_set(&f->freed, 1);
}

static void fake_spec_free(PagecacheReaderSpec *spec)
{
}

static const PagecacheEngineOps fake_ops = {
    .name = "fake",
    .start = fake_start,
    .kick = fake_kick,
    .free = fake_free,
    .spec_free = fake_spec_free,
};

static PagecacheReader *fake_open(Fake *f, Sink *s, uint64_t size,
                                  const PagecacheReaderConfig *config)
{
    PagecacheReaderSpec *spec = pagecache_reader_spec_alloc(&fake_ops);
    PagecacheReader *r;

    spec->name = g_strdup("fake disk");
    spec->offset = s->offset;
    spec->size = size;
    fake_next = f;
    r = pagecache_reader_open(spec, config);
    g_assert_nonnull(r);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_IDLE);
    pagecache_reader_start(r);
    fake_next = NULL;
    return r;
}

static void fake_up(Fake *f, uint64_t size, uint32_t align, uint32_t max_read)
{
    char *why = NULL;

    if (!pagecache_reader_up(f->r, size, align, max_read, &why)) {
        g_error("%s", why);
    }
}

/* The engine ends; frees @f when the reader has let go of it */
static void fake_end(Fake *f)
{
    int i;

    pagecache_reader_unref(f->r);
    for (i = 0; i < 5000 && !g_atomic_int_get(&f->freed); i++) {
        g_usleep(1000);
    }
    g_assert(g_atomic_int_get(&f->freed));
    g_free(f);
}

static PagecacheRead *fake_pull(Fake *f)
{
    int64_t wait_us;

    return pagecache_reader_next(f->r, &wait_us);
}

static void fake_finish(Fake *f, PagecacheRead *read, int ret)
{
    if (ret == 0) {
        pattern_fill(read->buf, read->offset, read->bytes);
    }
    pagecache_reader_complete(f->r, read, ret, NULL);
}

static void submit(PagecacheReader *r, Sink *s, uint64_t sector, unsigned n)
{
    PagecacheRun run = sink_run(s, sector, n);

    pagecache_reader_submit(r, &run, 1);
}

/* --- The reader ---------------------------------------------------------- */

static void test_random(void)
{
    static const uint32_t aligns[] = { 512, 4096, 65536 };
    int round;

    for (round = 0; round < 40; round++) {
        const unsigned max_pages = 4000;
        const uint64_t disk = 8 * MiB;
        Sink *s = sink_new(max_pages, SECTOR * g_test_rand_int_range(0, 300));
        PagecacheReaderConfig config = sink_config(s);
        Fake *f = g_new0(Fake, 1);
        uint32_t align = aligns[round % 3];
        g_autoptr(GPtrArray) held = g_ptr_array_new();
        unsigned failed = 0, outside = 0, i;
        PagecacheReaderStats stats;
        PagecacheReader *r;

        config.max_read = PAGE * g_test_rand_int_range(1, 100);
        config.max_failures = 1000000;
        r = fake_open(f, s, disk, &config);
        fake_up(f, 16 * MiB, align, round % 2 ? 0 : MiB);

        while (s->npages < max_pages - 200 || held->len) {
            if (s->npages < max_pages - 200) {
                unsigned n = g_test_rand_int_range(1, 100);
                uint64_t at = g_test_rand_int_range(0, disk / SECTOR);

                if (at + n * PAGE_SECTORS > disk / SECTOR) {
                    outside += n;
                }
                submit(r, s, at, n);
            }
            for (i = g_test_rand_int_range(0, 8); i > 0; i--) {
                PagecacheRead *read = fake_pull(f);

                if (!read) {
                    break;
                }
                g_assert_cmpuint(read->offset % align, ==, 0);
                g_assert_cmpuint(read->bytes % align, ==, 0);
                g_assert_cmpuint((uintptr_t)read->buf % MAX(align, 4096), ==,
                                 0);
                g_assert_cmpuint(read->needed, <=, read->bytes);
                g_assert_cmpuint(read->bytes - read->needed, <, align);
                g_assert_cmpuint(read->bytes, <=,
                                 config.max_read + 2 * align);
                g_ptr_array_add(held, read);
            }
            while (held->len > 8 || (s->npages >= max_pages - 200 &&
                                     held->len)) {
                PagecacheRead *read;

                i = g_test_rand_int_range(0, held->len);
                read = g_ptr_array_steal_index(held, i);
                if (g_test_rand_int_range(0, 20) == 0) {
                    for (i = 0; i < read->pieces->len; i++) {
                        failed += g_array_index(read->pieces, PagecachePiece,
                                                i).run.npages;
                    }
                    fake_finish(f, read, -EIO);
                } else {
                    fake_finish(f, read, 0);
                }
            }
            if (s->npages >= max_pages - 200) {
                PagecacheRead *read;

                while ((read = fake_pull(f))) {
                    g_ptr_array_add(held, read);
                }
            }
        }
        g_assert(sink_wait(s, s->npages, 5000));
        g_assert_cmpuint(s->good, ==, s->npages - failed - outside);
        for (i = 0; i < s->npages; i++) {
            g_assert(s->ret[i] == 0 || s->ret[i] == -EIO ||
                     s->ret[i] == -EINVAL);
        }
        pagecache_reader_stats(r, &stats);
        g_assert_cmpuint(stats.bytes_used, ==, (uint64_t)s->good * PAGE);
        g_assert_cmpstr(stats.engine, ==, "fake");
        g_assert_cmpint(stats.state, ==, PAGECACHE_READER_READY);
        g_free(stats.last_error);
        close_and_check(r, s);
        fake_end(f);
    }
}

static void test_order(void)
{
    Sink *s = sink_new(10, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r = fake_open(f, s, 0, &config);
    PagecacheRead *read;

    fake_up(f, 64 * MiB, 512, 0);
    submit(r, s, 5000, 1);
    submit(r, s, 1008, 1);
    submit(r, s, 1000, 1);
    read = fake_pull(f);
    g_assert_cmpuint(read->offset, ==, 1000 * SECTOR);
    g_assert_cmpuint(read->bytes, ==, 2 * PAGE);
    fake_finish(f, read, 0);
    /* upwards first, then from the beginning again */
    submit(r, s, 0, 1);
    read = fake_pull(f);
    g_assert_cmpuint(read->offset, ==, 5000 * SECTOR);
    fake_finish(f, read, 0);
    read = fake_pull(f);
    g_assert_cmpuint(read->offset, ==, 0);
    fake_finish(f, read, 0);
    g_assert_null(fake_pull(f));
    close_and_check(r, s);
    fake_end(f);
}

/* One call for a read, whatever it holds; and a few when it all comes back */
static void test_calls(void)
{
    const unsigned n = 5000;
    Sink *s = sink_new(n, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r = fake_open(f, s, 0, &config);
    g_autofree PagecacheRun *runs = g_new(PagecacheRun, n);
    PagecacheRead *read;
    unsigned i;

    fake_up(f, 64 * MiB, 512, 0);
    g_assert_null(fake_pull(f));
    for (i = 0; i < n; i++) {
        /* backwards */
        runs[i] = sink_run(s, (n - 1 - i) * PAGE_SECTORS, 1);
    }
    pagecache_reader_submit(r, runs, n);
    g_assert_cmpint(g_atomic_int_get(&f->kicks), ==, 1);
    read = fake_pull(f);
    g_assert_cmpuint(read->offset, ==, 0);
    g_assert_cmpuint(read->bytes, ==, 256 * 1024);
    fake_finish(f, read, 0);
    g_assert_cmpuint(s->returned, ==, 64);
    g_assert_cmpuint(s->calls, ==, 1);
    read = fake_pull(f);
    fake_finish(f, read, -EIO);
    g_assert_cmpuint(s->returned, ==, 128);
    g_assert_cmpuint(s->calls, ==, 2);

    /* the rest at once, but not in one call */
    pagecache_reader_close(r);
    g_assert(sink_wait_release(s, 5000));
    g_assert_cmpuint(s->returned, ==, n);
    g_assert_cmpuint(s->good, ==, 64);
    g_assert_cmpuint(s->calls, ==, 2 + (n - 128 + 1023) / 1024);
    sink_free(s);
    fake_end(f);
}

static void test_deadline(void)
{
    Sink *s = sink_new(10, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReaderStats stats;
    PagecacheReader *r;
    PagecacheRead *slow, *fast;
    int64_t start;

    config.deadline_ms = 100;
    r = fake_open(f, s, 0, &config);
    fake_up(f, 64 * MiB, 512, 0);
    submit(r, s, 0, 2);
    submit(r, s, 8000, 3);
    start = g_get_monotonic_time();
    slow = fake_pull(f);
    fast = fake_pull(f);
    fake_finish(f, fast, 0);
    g_assert(sink_wait(s, 5, 5000));
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 100 * 1000);
    assert_ret(s, 0, 2, -ETIMEDOUT);
    assert_ret(s, 2, 3, 0);
    g_assert(pagecache_read_revoked(slow));

    /* the buffer is still the engine's; what comes of it reaches nobody */
    fake_finish(f, slow, 0);
    g_assert_cmpuint(s->returned, ==, 5);
    pagecache_reader_stats(r, &stats);
    g_assert_cmpuint(stats.timeouts, ==, 1);
    g_assert_cmpuint(stats.errors, ==, 1);
    g_assert_cmpuint(stats.reads, ==, 1);
    g_free(stats.last_error);
    assert_error(r, "no answer within 100 ms");
    close_and_check(r, s);
    fake_end(f);
}

/* The storage is never reached: runs come back, the disk is given up */
static void test_stall(void)
{
    Sink *s = sink_new(10, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r;
    int64_t start = g_get_monotonic_time();

    config.deadline_ms = 100;
    config.giveup_ms = 400;
    r = fake_open(f, s, 0, &config);
    submit(r, s, 0, 2);
    g_assert(sink_wait(s, 2, 5000));
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 100 * 1000);
    assert_ret(s, 0, 2, -ETIMEDOUT);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_OPENING);
    submit(r, s, 0, 2);
    g_assert(sink_wait(s, 4, 5000));
    assert_ret(s, 2, 2, -ETIMEDOUT);
    pagecache_reader_down(f->r, false, false, "nobody there");
    g_assert(wait_state(r, PAGECACHE_READER_FAILED, 5000));
    g_assert_cmpint(g_get_monotonic_time() - start, >=, 400 * 1000);
    assert_error(r, "no read could be started for 400 ms: nobody there");
    submit(r, s, 0, 2);
    g_assert(sink_wait(s, 6, 5000));
    assert_ret(s, 4, 2, -EIO);
    g_assert(pagecache_reader_stopping(f->r));
    close_and_check(r, s);
    fake_end(f);
}

/* Being idle, a run that is rejected, or a late session are no stall */
static void test_no_stall(void)
{
    Sink *s = sink_new(10, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r;

    config.deadline_ms = 100;
    config.giveup_ms = 1000;
    r = fake_open(f, s, 0, &config);
    submit(r, s, 0, 1);
    g_assert(sink_wait(s, 1, 5000));
    fake_up(f, 1 * MiB, 512, 0);
    submit(r, s, 1 * MiB / SECTOR, 1);
    g_assert_null(fake_pull(f));
    g_assert(sink_wait(s, 2, 5000));
    assert_ret(s, 1, 1, -EINVAL);
    g_usleep(1200 * 1000);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    submit(r, s, 0, 1);
    fake_finish(f, fake_pull(f), 0);
    assert_ret(s, 2, 1, 0);
    close_and_check(r, s);
    fake_end(f);
}

/* Every read hangs: what waits behind them comes back as well */
static void test_all_hang(void)
{
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheRead *reads[2];
    PagecacheReader *r;
    unsigned i;

    config.deadline_ms = 100;
    config.giveup_ms = 300;
    config.max_read = PAGE;
    r = fake_open(f, s, 0, &config);
    fake_up(f, 64 * MiB, 512, 0);
    for (i = 0; i < 50; i++) {
        submit(r, s, 1000 * i, 1);
    }
    reads[0] = fake_pull(f);
    reads[1] = fake_pull(f);
    g_assert(sink_wait(s, 50, 5000));
    assert_ret(s, 0, 50, -ETIMEDOUT);
    submit(r, s, 0, 1);
    g_assert(wait_state(r, PAGECACHE_READER_FAILED, 5000));
    close_and_check(r, s);
    /* the threads come back from the storage when all is over */
    fake_finish(f, reads[0], 0);
    fake_finish(f, reads[1], -EIO);
    fake_end(f);
}

static void test_failures(void)
{
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r;
    PagecacheRead *read;
    int i;

    config.max_failures = 3;
    r = fake_open(f, s, 0, &config);
    fake_up(f, 64 * MiB, 512, 0);
    for (i = 0; i < 6; i++) {
        submit(r, s, 1000, 1);
        fake_finish(f, fake_pull(f), i % 3 == 2 ? 0 : -ENOMEDIUM);
    }
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    submit(r, s, 4000, 1);
    read = fake_pull(f);
    submit(r, s, 8000, 1);
    for (i = 0; i < 3; i++) {
        submit(r, s, 1000, 1);
        fake_finish(f, fake_pull(f), -ENOMEDIUM);
    }
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
    assert_error(r, "3 reads failed in a row, the last one: a read of 4096 "
                 "bytes at 512000: No medium found");
    /* what was queued, and what is in flight */
    g_assert(sink_wait(s, s->npages, 5000));
    g_assert_null(fake_pull(f));
    fake_finish(f, read, 0);
    g_assert_cmpint(s->good, ==, 2);
    close_and_check(r, s);
    fake_end(f);
}

static void test_refused(void)
{
    Sink *s = sink_new(10, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r;
    int i;

    config.sessions = 1;
    r = fake_open(f, s, 0, &config);
    submit(r, s, 0, 1);
    for (i = 0; i < 10; i++) {
        pagecache_reader_down(f->r, false, false, "nobody there");
    }
    pagecache_reader_down(f->r, false, true, "go away");
    pagecache_reader_down(f->r, false, true, "go away");
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_OPENING);
    pagecache_reader_down(f->r, false, true, "go away");
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
    assert_error(r, "go away");
    g_assert(sink_wait(s, 1, 5000));
    assert_ret(s, 0, 1, -EIO);
    close_and_check(r, s);
    fake_end(f);

    /* let in once, we are patient: one session may be all that we get */
    s = sink_new(10, 0);
    config = sink_config(s);
    config.sessions = 1;
    f = g_new0(Fake, 1);
    r = fake_open(f, s, 0, &config);
    pagecache_reader_down(f->r, false, true, "go away");
    fake_up(f, 1 * MiB, 512, 0);
    for (i = 0; i < 10; i++) {
        pagecache_reader_down(f->r, false, true, "go away");
    }
    submit(r, s, 0, 1);
    fake_finish(f, fake_pull(f), 0);
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    close_and_check(r, s);
    fake_end(f);
}

static void test_start_fails(void)
{
    Sink *s = sink_new(10, 0);
    PagecacheReaderConfig config = sink_config(s);
    PagecacheReader *r = fake_open(NULL, s, 0, &config);

    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
    assert_error(r, "told to fail");
    submit(r, s, 0, 3);
    g_assert(sink_wait(s, 3, 5000));
    assert_ret(s, 0, 3, -EIO);
    close_and_check(r, s);
}

static void test_geometry(void)
{
    Sink *s = sink_new(10, 1 * MiB);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r = fake_open(f, s, 2 * MiB, &config);
    char *why = NULL;

    g_assert(!pagecache_reader_up(r, 3 * MiB - 512, 512, 0, &why));
    g_assert_cmpstr(why, ==, "3145216 bytes are there, expected 3145728 or "
                    "more");
    g_clear_pointer(&why, g_free);
    g_assert(!pagecache_reader_up(r, 3 * MiB, 520, 0, &why));
    g_assert_cmpstr(why, ==, "block length is 520 bytes, expected a power of "
                    "two up to 65536");
    g_clear_pointer(&why, g_free);
    g_assert(!pagecache_reader_up(r, 3 * MiB, 512, 4096, &why));
    g_assert_cmpstr(why, ==, "takes reads of up to 4096 bytes, expected 5120 "
                    "or more");
    g_clear_pointer(&why, g_free);
    fake_up(f, 3 * MiB, 512, 5120);
    g_assert(!pagecache_reader_up(r, 3 * MiB, 4096, 0, &why));
    g_assert_cmpstr(why, ==, "block length is 4096 bytes, was 512 bytes for "
                    "the first session");
    g_clear_pointer(&why, g_free);
    submit(r, s, 0, 2);
    fake_finish(f, fake_pull(f), 0);
    fake_finish(f, fake_pull(f), 0);
    /* the guest's disk ends before the LUN does */
    submit(r, s, 2 * MiB / SECTOR - 8, 1);
    submit(r, s, 2 * MiB / SECTOR - 7, 1);
    fake_finish(f, fake_pull(f), 0);
    g_assert_null(fake_pull(f));
    g_assert(sink_wait(s, 4, 5000));
    assert_ret(s, 0, 3, 0);
    assert_ret(s, 3, 1, -EINVAL);
    assert_error(r, "a page at sector 4089 or after it ends beyond the disk, "
                 "which has 2097152 bytes");
    close_and_check(r, s);
    fake_end(f);
}

static void test_close_in_flight(void)
{
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r = fake_open(f, s, 0, &config);
    PagecacheRead *read[2];
    Sink copy;

    fake_up(f, 64 * MiB, 512, 0);
    submit(r, s, 0, 3);
    read[0] = fake_pull(f);
    submit(r, s, 8000, 3);
    read[1] = fake_pull(f);
    submit(r, s, 0, 50);
    pagecache_reader_close(r);
    g_assert(sink_wait_release(s, 5000));
    assert_ret(s, 0, 56, -ECANCELED);
    /* released: the caller's memory is gone when the storage answers */
    copy = *s;
    sink_free(s);
    g_assert_cmpuint(copy.returned, ==, 56);
    g_assert(pagecache_reader_stopping(f->r));
    fake_finish(f, read[0], 0);
    fake_finish(f, read[1], -EIO);
    g_assert_null(fake_pull(f));
    fake_end(f);
}

typedef struct Callback {
    Fake *f;
    PagecacheRead *read;
} Callback;

static gpointer finish_thread(gpointer opaque)
{
    Callback *c = opaque;

    fake_finish(c->f, c->read, 0);
    return NULL;
}

/* release() waits for a callback that is running */
static void test_close_in_callback(void)
{
    Sink *s = sink_new(100, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    PagecacheReader *r = fake_open(f, s, 0, &config);
    Callback c = { .f = f };
    GThread *thread;

    s->delay_us = 300 * 1000;
    fake_up(f, 64 * MiB, 512, 0);
    submit(r, s, 0, 1);
    c.read = fake_pull(f);
    thread = g_thread_new("finish", finish_thread, &c);
    g_usleep(100 * 1000);
    close_and_check(r, s);
    g_thread_join(thread);
    fake_end(f);
}

static void test_cap(void)
{
    static PagecacheBudget budget;
    Sink *s = sink_new(2000, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    const uint64_t rate = 16 * MiB;
    int64_t start, us, wait_us;
    PagecacheReader *r;
    unsigned reads = 0, i;

    pagecache_budget_set_limit(&budget, rate);
    config.budget = &budget;
    config.max_read = 16 * PAGE;
    r = fake_open(f, s, 0, &config);
    fake_up(f, 64 * MiB, 512, 0);
    for (i = 0; i < 64; i++) {
        submit(r, s, 1000 * i, 16);
    }
    pagecache_budget_reset(&budget, 20 * 1000);
    start = g_get_monotonic_time();
    while (reads < 64) {
        PagecacheRead *read;

        wait_us = -2;
        read = pagecache_reader_next(f->r, &wait_us);
        if (read) {
            fake_finish(f, read, 0);
            reads++;
        } else {
            g_assert_cmpint(wait_us, >, 0);
            g_usleep(wait_us);
        }
    }
    us = g_get_monotonic_time() - start;
    /* 4 MiB at 16 MiB/s: 250 ms, less a burst */
    g_assert_cmpint(us, >=, 220 * 1000);
    g_assert_cmpint(us, <, 1000 * 1000);
    g_assert_cmpuint(s->good, ==, 1024);

    /* one read at 100 bytes/s: the next is due in a minute */
    close_and_check(r, s);
    fake_end(f);
    s = sink_new(100, 0);
    config = sink_config(s);
    f = g_new0(Fake, 1);
    pagecache_budget_reset(&budget, 20 * 1000);
    pagecache_budget_set_limit(&budget, 100);
    config.budget = &budget;
    /* a cap that holds reads back for longer is no stall */
    config.deadline_ms = 50;
    config.giveup_ms = 60;
    r = fake_open(f, s, 0, &config);
    fake_up(f, 64 * MiB, 512, 0);
    submit(r, s, 0, 1);
    submit(r, s, 8000, 1);
    fake_finish(f, fake_pull(f), 0);
    /* it is not stalled for as long as that may be */
    g_usleep(600 * 1000);
    g_assert_null(fake_pull(f));
    g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_READY);
    g_assert_cmpuint(s->returned, ==, 1);
    /* but who asks does so again soon, and a limit that is gone is gone */
    g_assert_null(pagecache_reader_next(f->r, &wait_us));
    g_assert_cmpint(wait_us, >, 0);
    g_assert_cmpint(wait_us, <=, PAGECACHE_BUDGET_LOOK_US);
    pagecache_budget_set_limit(&budget, 0);
    fake_finish(f, fake_pull(f), 0);
    g_assert_cmpuint(s->good, ==, 2);
    close_and_check(r, s);
    fake_end(f);
}

/*
 * Storage that becomes slower has fewer reads to do, and an engine that was
 * refused one is told as soon as another one has ended.
 */
static void test_back_off(void)
{
    enum { DEPTH = 8, READS = 1600, USUAL = 900 };
    Sink *s = sink_new(READS, 0);
    PagecacheReaderConfig config = sink_config(s);
    Fake *f = g_new0(Fake, 1);
    bool backed_off = false;
    PagecacheReader *r;
    unsigned i;

    config.sessions = 1;
    config.depth = DEPTH;
    config.max_read = PAGE;
    config.back_off = true;
    r = fake_open(f, s, 0, &config);
    fake_up(f, 64 * MiB, 512, 0);
    for (i = 0; i < READS; i++) {
        submit(r, s, 16 * i, 1);
    }
    while (s->returned < READS) {
        PagecacheRead *reads[DEPTH];
        unsigned n = 0, kicks, before = s->returned;

        while (n < DEPTH && (reads[n] = fake_pull(f))) {
            n++;
        }
        g_usleep(before < USUAL || backed_off ? 100 : 20000);
        kicks = g_atomic_int_get(&f->kicks);
        for (i = 0; i < n; i++) {
            fake_finish(f, reads[i], 0);
        }
        if (n < DEPTH && before + n < READS) {
            backed_off = true;
            g_assert_cmpuint(n, >=, 2);
            g_assert_cmpuint(g_atomic_int_get(&f->kicks), >, kicks);
        }
    }
    g_assert_true(backed_off);
    g_assert_cmpuint(s->good, ==, READS);
    close_and_check(r, s);
    fake_end(f);
}

/* Two readers with one budget: together they get what it allows. */
static void test_cap_shared(void)
{
    enum { READERS = 2, READS = 32 };
    static PagecacheBudget budget;
    const uint64_t rate = 16 * MiB;
    PagecacheReader *r[READERS];
    unsigned done[READERS] = { 0 }, i, k;
    Sink *s[READERS];
    Fake *f[READERS];
    int64_t start, us;

    pagecache_budget_reset(&budget, 20 * 1000);
    pagecache_budget_set_limit(&budget, rate);
    for (i = 0; i < READERS; i++) {
        PagecacheReaderConfig config;

        s[i] = sink_new(2000, 0);
        f[i] = g_new0(Fake, 1);
        config = sink_config(s[i]);
        config.budget = &budget;
        config.max_read = 16 * PAGE;
        r[i] = fake_open(f[i], s[i], 0, &config);
        fake_up(f[i], 64 * MiB, 512, 0);
        for (k = 0; k < READS; k++) {
            submit(r[i], s[i], 1000 * k, 16);
        }
    }
    start = g_get_monotonic_time();
    while (done[0] + done[1] < READERS * READS) {
        for (i = 0; i < READERS; i++) {
            int64_t wait_us;
            PagecacheRead *read = pagecache_reader_next(f[i]->r, &wait_us);

            if (read) {
                fake_finish(f[i], read, 0);
                done[i]++;
            }
        }
        g_usleep(500);
    }
    us = g_get_monotonic_time() - start;
    /* 4 MiB at 16 MiB/s, less a burst, and none of them is left behind */
    g_assert_cmpint(us, >=, 220 * 1000);
    g_assert_cmpuint(done[0], ==, READS);
    g_assert_cmpuint(done[1], ==, READS);
    for (i = 0; i < READERS; i++) {
        close_and_check(r[i], s[i]);
        fake_end(f[i]);
    }
}

/*
 * Bounce memory of many readers is bounded, and none of them is left without,
 * even if the reads of all others hang.
 */
static void test_memory(void)
{
    enum { READERS = 50, READS = 100 };
    Sink *s[READERS];
    Fake *f[READERS];
    PagecacheReader *r[READERS];
    GPtrArray *reads[READERS];
    uint64_t bytes = 0;
    unsigned i, j, most = 0, kicks;
    PagecacheRead *read;

    for (i = 0; i < READERS; i++) {
        PagecacheReaderConfig config;

        s[i] = sink_new(READS * 64, 0);
        f[i] = g_new0(Fake, 1);
        reads[i] = g_ptr_array_new();
        config = sink_config(s[i]);
        r[i] = fake_open(f[i], s[i], 0, &config);
        fake_up(f[i], 64 * MiB, 512, 0);
    }
    for (i = 0; i < READERS; i++) {
        for (j = 0; j < READS; j++) {
            submit(r[i], s[i], j * 1000, 64);
        }
        while ((read = fake_pull(f[i]))) {
            g_ptr_array_add(reads[i], read);
            bytes += 256 * 1024 + 2 * 4096;
        }
        g_assert_cmpuint(reads[i]->len, >=, 1);
        most = MAX(most, reads[i]->len);
    }
    g_assert_cmpuint(bytes, <=, 64 * MiB);
    g_assert_cmpuint(most, >, 1);

    /* who has had its share gets no more until a buffer of its own is free */
    g_assert_null(fake_pull(f[0]));
    kicks = g_atomic_int_get(&f[0]->kicks);
    fake_finish(f[0], g_ptr_array_steal_index(reads[0], 0), 0);
    g_assert_cmpuint(g_atomic_int_get(&f[0]->kicks), >, kicks);
    read = fake_pull(f[0]);
    g_assert_nonnull(read);
    fake_finish(f[0], read, 0);

    for (i = 0; i < READERS; i++) {
        close_and_check(r[i], s[i]);
    }
    for (i = 0; i < READERS; i++) {
        for (j = 0; j < reads[i]->len; j++) {
            fake_finish(f[i], g_ptr_array_index(reads[i], j), -EIO);
        }
        g_ptr_array_unref(reads[i]);
        fake_end(f[i]);
    }
}

/* Readers that come and go, each watched by the one thread for all of them */
static void test_one_watchdog(void)
{
    enum { READERS = 30 };
    Sink *s[READERS];
    Fake *f[READERS];
    PagecacheReader *r[READERS];
    PagecacheRead *hung[READERS];
    unsigned i;

    for (i = 0; i < READERS; i++) {
        PagecacheReaderConfig config;

        s[i] = sink_new(10, 0);
        f[i] = g_new0(Fake, 1);
        config = sink_config(s[i]);
        config.deadline_ms = 50 + 5 * (i * 7 % READERS);
        r[i] = fake_open(f[i], s[i], 0, &config);
        fake_up(f[i], 64 * MiB, 512, 0);
        submit(r[i], s[i], 0, 1);
        hung[i] = fake_pull(f[i]);
    }
    for (i = 0; i < READERS; i++) {
        g_assert(sink_wait(s[i], 1, 5000));
        assert_ret(s[i], 0, 1, -ETIMEDOUT);
        close_and_check(r[i], s[i]);
        fake_finish(f[i], hung[i], 0);
        fake_end(f[i]);
    }
}

/* --- Many threads at once ------------------------------------------------ */

typedef struct Stress {
    Fake *f;
    gint64 until_us;
    unsigned seed;
} Stress;

static gpointer stress_engine(gpointer opaque)
{
    Stress *t = opaque;
    g_autoptr(GRand) rand = g_rand_new_with_seed(t->seed);
    PagecacheRead *read;

    pagecache_reader_ref(t->f->r);
    while ((read = pagecache_reader_next_wait(t->f->r))) {
        int what = g_rand_int_range(rand, 0, 100);

        if (what < 2) {
            g_usleep(45000);    /* beyond the deadline */
        } else if (what < 10) {
            g_usleep(500);
        }
        fake_finish(t->f, read, what > 95 ? -EIO : 0);
    }
    pagecache_reader_unref(t->f->r);
    return NULL;
}

static void test_stress(void)
{
    int round;

    for (round = 0; round < 10; round++) {
        Sink *s = sink_new(40000, 0);
        PagecacheReaderConfig config = sink_config(s);
        Fake *f = g_new0(Fake, 1);
        GThread *threads[4];
        Stress t[4];
        PagecacheReader *r;
        unsigned i;

        config.deadline_ms = 30;
        config.giveup_ms = 60000;
        config.max_failures = 1000000;
        config.max_read = 16 * PAGE;
        r = fake_open(f, s, 0, &config);
        fake_up(f, 64 * MiB, 4096, 0);
        for (i = 0; i < 4; i++) {
            t[i] = (Stress) { .f = f, .seed = g_test_rand_int() };
            threads[i] = g_thread_new("engine", stress_engine, &t[i]);
        }
        /* all runs are known before the first comes back */
        {
            g_autofree PagecacheRun *runs = g_new(PagecacheRun, 2000);

            for (i = 0; i < 2000; i++) {
                runs[i] = sink_run(s, g_test_rand_int_range(0, 100000),
                                   g_test_rand_int_range(1, 20));
            }
            for (i = 0; i < 2000; i += 50) {
                pagecache_reader_submit(r, runs + i, 50);
            }
        }
        if (round % 2) {
            g_assert(sink_wait(s, s->npages, 60000));
            g_assert_cmpuint(sink_good(s), >, 0);
        } else {
            g_usleep(g_test_rand_int_range(0, 20000));
        }
        close_and_check(r, s);
        for (i = 0; i < 4; i++) {
            g_thread_join(threads[i]);
        }
        fake_end(f);
    }
}

/*
 * What the guest may know of has to be there; more does no harm.  A disk that
 * has less is given up at once, also when it was good before.
 */
static void test_smaller(void)
{
    static const struct {
        uint64_t offset, view, size, sectors;
        const char *error;
    } cases[] = {
        { 0, 0, 1 * MiB, 2048, NULL },
        { 0, 0, 2 * MiB, 2048, NULL },
        { 0, 0, 1 * MiB - 511, 2048, NULL },
        { 0, 0, 1 * MiB - 512, 2048,
          "the disk has 1048064 bytes here, expected 1048576 or more, as at "
          "the source" },
        { 1 * MiB, 0, 2 * MiB, 2048, NULL },
        { 1 * MiB, 0, 2 * MiB - 512, 2048, "the disk has 1048064 bytes" },
        { 1 * MiB, 1 * MiB, 3 * MiB, 2049, "the disk has 1048576 bytes" },
        { 0, 0, 1 * MiB, INT64_MAX / SECTOR, "expected 9223372036854775296" },
    };
    guint i;

    for (i = 0; i < G_N_ELEMENTS(cases); i++) {
        Sink *s = sink_new(10, cases[i].offset);
        PagecacheReaderConfig config = sink_config(s);
        Fake *f = g_new0(Fake, 1);
        g_autofree char *why = NULL;
        PagecacheReader *r;

        config.sectors = cases[i].sectors;
        r = fake_open(f, s, cases[i].view, &config);
        submit(r, s, 0, 2);
        if (!cases[i].error) {
            fake_up(f, cases[i].size, 512, 0);
            fake_finish(f, fake_pull(f), 0);
            g_assert(sink_wait(s, 2, 5000));
            assert_ret(s, 0, 2, 0);
            /* it has shrunk until the next session */
            fake_up(f, cases[i].size + 512, 512, 0);
            g_assert(!pagecache_reader_up(r, cases[i].offset + 4096, 512, 0,
                                          &why));
        } else {
            g_assert(!pagecache_reader_up(r, cases[i].size, 512, 0, &why));
            assert_error(r, cases[i].error);
            g_assert(sink_wait(s, 2, 5000));
            assert_ret(s, 0, 2, -EIO);
        }
        g_assert_cmpint(reader_state(r), ==, PAGECACHE_READER_FAILED);
        assert_error(r, why);
        close_and_check(r, s);
        fake_end(f);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pagecache-reader/queue/random", test_queue_random);
    g_test_add_func("/pagecache-reader/queue/holes", test_queue_holes);
    g_test_add_func("/pagecache-reader/queue/hostile", test_queue_hostile);
    g_test_add_func("/pagecache-reader/queue/order", test_queue_order);
    g_test_add_func("/pagecache-reader/queue/sweep", test_queue_sweep);
    g_test_add_func("/pagecache-reader/queue/long", test_queue_long);
    g_test_add_func("/pagecache-reader/queue/millions", test_queue_millions);
    g_test_add_func("/pagecache-reader/queue/hand-over", test_queue_hand_over);
    g_test_add_func("/pagecache-reader/random", test_random);
    g_test_add_func("/pagecache-reader/order", test_order);
    g_test_add_func("/pagecache-reader/calls", test_calls);
    g_test_add_func("/pagecache-reader/deadline", test_deadline);
    g_test_add_func("/pagecache-reader/stall", test_stall);
    g_test_add_func("/pagecache-reader/no-stall", test_no_stall);
    g_test_add_func("/pagecache-reader/all-hang", test_all_hang);
    g_test_add_func("/pagecache-reader/failures", test_failures);
    g_test_add_func("/pagecache-reader/refused", test_refused);
    g_test_add_func("/pagecache-reader/start-fails", test_start_fails);
    g_test_add_func("/pagecache-reader/geometry", test_geometry);
    g_test_add_func("/pagecache-reader/smaller", test_smaller);
    g_test_add_func("/pagecache-reader/close-in-flight", test_close_in_flight);
    g_test_add_func("/pagecache-reader/close-in-callback",
                    test_close_in_callback);
    g_test_add_func("/pagecache-reader/memory", test_memory);
    g_test_add_func("/pagecache-reader/one-watchdog", test_one_watchdog);
    g_test_add_func("/pagecache-reader/cap", test_cap);
    g_test_add_func("/pagecache-reader/cap-shared", test_cap_shared);
    g_test_add_func("/pagecache-reader/back-off", test_back_off);
    g_test_add_func("/pagecache-reader/stress", test_stress);
    return g_test_run();
}
