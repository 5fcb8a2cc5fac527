/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the source's pool of hinted pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The larger part compares thousands of random operations with a model that
 * is too slow and too simple to be wrong: a state for each page, and plain
 * arrays of runs and offers that are searched from end to end.  A failure
 * names the seed; --seed=... repeats it.
 *
 * The code under test is included, so that its inner state can be checked.
 */
#include "../../migration/pagecache-pool.c"

/* --- the model --- */

#define BLOCKS 4

typedef enum PageState {
    PAGE_FREE,
    PAGE_POOL,
    PAGE_TAKEN,
    PAGE_FLIGHT,
} PageState;

typedef struct ModelPage {
    PageState state;
    bool spent;
    bool offered;       /* ever */
    uint32_t disk;      /* in the pool only, as sector */
    uint64_t sector;
} ModelPage;

typedef struct ModelFlight {
    uint32_t number;
    PagecachePoolRun run;
    int64_t offered_at;
} ModelFlight;

typedef struct Model {
    PagecachePool *pool;
    unsigned page_bits;
    uint64_t npages[BLOCKS];
    ModelPage *pages[BLOCKS];
    unsigned long *dirty[BLOCKS];
    GArray *runs;       /* of PagecachePoolRun, in no order */
    GArray *taken;      /* of PagecachePoolRun */
    GArray *flights;    /* of ModelFlight, oldest first */
    uint32_t offers;    /* that there were */
    int64_t now;
} Model;

static uint64_t sectors(const Model *m, uint64_t pages)
{
    return pages << (m->page_bits - 9);
}

static uint64_t model_count(const Model *m, PageState state)
{
    uint64_t i, n = 0;
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < m->npages[b]; i++) {
            n += m->pages[b][i].state == state;
        }
    }
    return n;
}

static Model *model_new(unsigned page_bits)
{
    static const uint64_t sizes[BLOCKS] = { 200, 64, 1, 129 };
    Model *m = g_new0(Model, 1);
    unsigned b;

    m->page_bits = page_bits;
    m->pool = pagecache_pool_new(page_bits);
    m->runs = g_array_new(FALSE, FALSE, sizeof(PagecachePoolRun));
    m->taken = g_array_new(FALSE, FALSE, sizeof(PagecachePoolRun));
    m->flights = g_array_new(FALSE, FALSE, sizeof(ModelFlight));
    m->now = 1000;
    for (b = 0; b < BLOCKS; b++) {
        m->npages[b] = sizes[b];
        m->pages[b] = g_new0(ModelPage, sizes[b]);
        m->dirty[b] = bitmap_new(sizes[b]);
        bitmap_set(m->dirty[b], 0, sizes[b]);
        g_assert_cmpuint(pagecache_pool_add_block(m->pool, sizes[b]), ==, b);
    }
    return m;
}

static void model_free(Model *m)
{
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        g_free(m->pages[b]);
        g_free(m->dirty[b]);
    }
    g_array_unref(m->runs);
    g_array_unref(m->taken);
    g_array_unref(m->flights);
    pagecache_pool_free(m->pool);
    g_free(m);
}

/* Index of the first (or @last) run of the pool by disk, sector... */
static guint model_end_run(const Model *m, bool last)
{
    guint i, best = 0;

    for (i = 1; i < m->runs->len; i++) {
        int cmp = run_cmp(&g_array_index(m->runs, PagecachePoolRun, i),
                          &g_array_index(m->runs, PagecachePoolRun, best),
                          NULL);

        g_assert_cmpint(cmp, !=, 0);
        if (last ? cmp > 0 : cmp < 0) {
            best = i;
        }
    }
    return best;
}

static void model_set(Model *m, const PagecachePoolRun *run, PageState from,
                      PageState to)
{
    uint32_t i;

    for (i = 0; i < run->npages; i++) {
        ModelPage *p = &m->pages[run->block][run->page + i];

        g_assert_cmpint(p->state, ==, from);
        p->state = to;
    }
}

/* --- is the pool what the model says? --- */

static void check_blocks(const Model *m)
{
    uint64_t i;
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        PoolBlock *block = pool_block(m->pool, b);

        g_assert_true(pagecache_pool_held(m->pool, b) == block->held);
        g_assert_true(pagecache_pool_spent(m->pool, b) == block->spent);
        for (i = 0; i < m->npages[b]; i++) {
            const ModelPage *p = &m->pages[b][i];

            g_assert_cmpint(test_bit(i, block->held), ==,
                            p->state != PAGE_FREE);
            g_assert_cmpint(test_bit(i, block->in_flight), ==,
                            p->state == PAGE_FLIGHT);
            g_assert_cmpint(!!test_bit(i, block->spent), ==, p->spent);
            g_assert_false(p->state == PAGE_FLIGHT && !p->spent);
            g_assert_false(p->state == PAGE_POOL && p->spent);
        }
    }
}

/* The runs are in order, and hold each page of the pool once. */
static void check_runs(const Model *m)
{
    GSequenceIter *it = g_sequence_get_begin_iter(m->pool->runs);
    const PagecachePoolRun *prev = NULL;
    uint64_t size = 0;
    uint32_t i;

    for (; !g_sequence_iter_is_end(it); it = g_sequence_iter_next(it)) {
        const PagecachePoolRun *run = g_sequence_get(it);

        g_assert_cmpuint(run->npages, >, 0);
        g_assert_true(!prev || run_cmp(prev, run, NULL) < 0);
        for (i = 0; i < run->npages; i++) {
            const ModelPage *p = &m->pages[run->block][run->page + i];

            g_assert_cmpint(p->state, ==, PAGE_POOL);
            g_assert_cmpuint(p->disk, ==, run->disk);
            g_assert_cmpuint(p->sector, ==, run->sector + sectors(m, i));
        }
        size += run->npages;
        prev = run;
    }
    /* As none is there that isn't in the pool, equal sums mean: each once. */
    g_assert_cmpuint(size, ==, model_count(m, PAGE_POOL));
    g_assert_cmpuint(size, ==, pagecache_pool_size(m->pool));
    g_assert_cmpint(g_sequence_get_length(m->pool->runs), ==, m->runs->len);
}

static void check_flights(const Model *m)
{
    uint64_t in_flight = 0;
    PagecacheFlights *flights = m->pool->flights;
    uint32_t at = 0;
    bool more = pagecache_flights_oldest(flights, &at);
    guint i;

    g_assert_cmpuint(pagecache_flights_count(flights), ==, m->flights->len);
    for (i = 0; i < m->flights->len; i++) {
        const ModelFlight *f = &g_array_index(m->flights, ModelFlight, i);
        const PagecacheFlight *fl = pagecache_flights_find(flights, at);
        uint32_t j, left = 0;

        g_assert_true(more);
        g_assert_cmpuint(at, ==, f->number);
        g_assert_cmpuint(fl->block, ==, f->run.block);
        g_assert_cmpuint(fl->page, ==, f->run.page);
        g_assert_cmpuint(fl->npages, ==, f->run.npages);
        g_assert_cmpuint(fl->disk, ==, f->run.disk);
        g_assert_cmpuint(fl->producer, ==, f->run.producer);
        g_assert_cmpint(pagecache_flights_offered_at(flights, fl), ==,
                        f->offered_at);
        for (j = 0; j < f->run.npages; j++) {
            left += m->pages[f->run.block][f->run.page + j].state ==
                    PAGE_FLIGHT;
        }
        g_assert_cmpuint(fl->left, ==, left);
        g_assert_cmpuint(left, >, 0);
        in_flight += left;
        more = pagecache_flights_next(flights, &at);
    }
    g_assert_false(more);
    g_assert_cmpuint(in_flight, ==, model_count(m, PAGE_FLIGHT));
    g_assert_cmpuint(in_flight, ==, pagecache_pool_in_flight(m->pool));
}

static void check(const Model *m)
{
    check_blocks(m);
    check_runs(m);
    check_flights(m);
}

/* --- random steps --- */

static uint64_t rnd(uint64_t n)
{
    return n ? g_test_rand_int_range(0, MIN(n, G_MAXINT)) : 0;
}

static void step_add(Model *m)
{
    PagecachePoolRun run = {
        .block = rnd(BLOCKS), .disk = rnd(3), .producer = rnd(5),
        .npages = rnd(8) ? 1 + rnd(12) : rnd(1000),
    };
    PagecachePoolRun part = run;
    uint64_t i, added = 0;

    /* Now and then it starts past the end, or ends there. */
    run.page = rnd(m->npages[run.block] + 4);
    run.sector = rnd(2) ? sectors(m, run.page) : rnd(2000);
    part.npages = 0;
    for (i = run.page; i <= run.page + run.npages; i++) {
        ModelPage *p = &m->pages[run.block][i];

        if (i < run.page + run.npages && i < m->npages[run.block] &&
            p->state == PAGE_FREE && !p->spent &&
            test_bit(i, m->dirty[run.block])) {
            if (!part.npages++) {
                part.page = i;
                part.sector = run.sector + sectors(m, i - run.page);
            }
            p->state = PAGE_POOL;
            p->disk = run.disk;
            p->sector = run.sector + sectors(m, i - run.page);
            added++;
        } else if (part.npages) {
            g_array_append_val(m->runs, part);
            part.npages = 0;
        }
    }
    g_assert_cmpuint(pagecache_pool_add(m->pool, &run, m->dirty[run.block]),
                     ==, added);
}

static void step_take(Model *m)
{
    uint32_t max = rnd(6) ? 1 + rnd(10) : rnd(2) ? 0 : UINT32_MAX;
    PagecachePoolRun run = { 0 }, *head;
    guint i;

    if (!m->runs->len || !max) {
        g_assert_false(pagecache_pool_take_head(m->pool, max, &run));
        return;
    }
    i = model_end_run(m, false);
    head = &g_array_index(m->runs, PagecachePoolRun, i);
    g_assert_true(pagecache_pool_take_head(m->pool, max, &run));
    g_assert_cmpint(run_cmp(&run, head, NULL), ==, 0);
    g_assert_cmpuint(run.npages, ==, MIN(head->npages, max));
    g_assert_cmpuint(run.producer, ==, head->producer);
    model_set(m, &run, PAGE_POOL, PAGE_TAKEN);
    g_array_append_val(m->taken, run);

    head->npages -= run.npages;
    head->page += run.npages;
    head->sector += sectors(m, run.npages);
    if (!head->npages) {
        g_array_remove_index_fast(m->runs, i);
    }
}

/* Some part of what was taken is offered, some released. */
static void step_dispose(Model *m)
{
    PagecachePoolRun *taken, part;
    uint32_t i;
    guint nr;

    if (!m->taken->len) {
        return;
    }
    nr = rnd(m->taken->len);
    taken = &g_array_index(m->taken, PagecachePoolRun, nr);
    part = *taken;
    part.npages = rnd(2) ? taken->npages : 1 + rnd(taken->npages);
    if (rnd(4)) {
        ModelFlight f = { .number = m->offers++, .run = part,
                          .offered_at = m->now };

        model_set(m, &part, PAGE_TAKEN, PAGE_FLIGHT);
        for (i = 0; i < part.npages; i++) {
            ModelPage *p = &m->pages[part.block][part.page + i];

            g_assert_false(p->offered);
            p->offered = p->spent = true;
        }
        g_array_append_val(m->flights, f);
        g_assert_cmpuint(pagecache_pool_offer(m->pool, &part, m->now), ==,
                         f.number);
    } else {
        model_set(m, &part, PAGE_TAKEN, PAGE_FREE);
        pagecache_pool_release(m->pool, &part);
    }
    taken->npages -= part.npages;
    taken->page += part.npages;
    taken->sector += sectors(m, part.npages);
    if (!taken->npages) {
        g_array_remove_index_fast(m->taken, nr);
    }
}

static void step_release_tail(Model *m)
{
    uint64_t max = rnd(20) ? rnd(8) : UINT64_MAX, left = max, released = 0;

    while (left && m->runs->len) {
        guint i = model_end_run(m, true);
        PagecachePoolRun *tail = &g_array_index(m->runs, PagecachePoolRun, i);
        PagecachePoolRun part = *tail;

        part.npages = MIN(tail->npages, left);
        part.page += tail->npages - part.npages;
        model_set(m, &part, PAGE_POOL, PAGE_FREE);
        tail->npages -= part.npages;
        if (!tail->npages) {
            g_array_remove_index_fast(m->runs, i);
        }
        left -= part.npages;
        released += part.npages;
    }
    g_assert_cmpuint(pagecache_pool_release_tail(m->pool, max), ==, released);
}

static void step_release_producer(Model *m)
{
    uint32_t producer = rnd(6);
    uint64_t released = 0;
    guint i;

    for (i = m->runs->len; i-- > 0;) {
        PagecachePoolRun *run = &g_array_index(m->runs, PagecachePoolRun, i);

        if (run->producer == producer) {
            model_set(m, run, PAGE_POOL, PAGE_FREE);
            released += run->npages;
            g_array_remove_index_fast(m->runs, i);
        }
    }
    g_assert_cmpuint(pagecache_pool_release_producer(m->pool, producer), ==,
                     released);
}

static uint32_t model_flight_left(const Model *m, guint nr)
{
    ModelFlight *f = &g_array_index(m->flights, ModelFlight, nr);
    uint32_t i, left = 0;

    for (i = 0; i < f->run.npages; i++) {
        left += m->pages[f->run.block][f->run.page + i].state == PAGE_FLIGHT;
    }
    return left;
}

/* The offer that page is or was in; the number of offers if there is none */
static guint model_find_flight(const Model *m, uint32_t block, uint64_t page)
{
    guint nr;

    for (nr = 0; nr < m->flights->len; nr++) {
        ModelFlight *f = &g_array_index(m->flights, ModelFlight, nr);

        if (f->run.block == block && page >= f->run.page &&
            page < f->run.page + f->run.npages) {
            break;
        }
    }
    return nr;
}

static void model_flight_release(Model *m, guint nr)
{
    ModelFlight *f = &g_array_index(m->flights, ModelFlight, nr);
    uint32_t i;

    for (i = 0; i < f->run.npages; i++) {
        ModelPage *p = &m->pages[f->run.block][f->run.page + i];

        if (p->state == PAGE_FLIGHT) {
            p->state = PAGE_FREE;
        }
    }
    g_array_remove_index(m->flights, nr);
}

static void step_release_old(Model *m)
{
    int64_t before = m->now - rnd(60);
    uint64_t max = rnd(4) ? rnd(20) : UINT64_MAX, released = 0;

    while (released < max && m->flights->len &&
           g_array_index(m->flights, ModelFlight, 0).offered_at < before) {
        released += model_flight_left(m, 0);
        model_flight_release(m, 0);
    }
    g_assert_cmpuint(pagecache_pool_release_old(m->pool, before, max), ==,
                     released);
}

static void step_release_newest(Model *m)
{
    uint64_t max = rnd(4) ? rnd(20) : UINT64_MAX, released = 0;

    while (m->flights->len) {
        guint last = m->flights->len - 1;
        uint32_t left = model_flight_left(m, last);

        if (left > max - released) {
            break;
        }
        released += left;
        model_flight_release(m, last);
    }
    g_assert_cmpuint(pagecache_pool_release_newest(m->pool, max), ==,
                     released);
}

/* The flight of that number; NULL: none */
static ModelFlight *model_flight(const Model *m, uint32_t number)
{
    guint nr;

    for (nr = 0; nr < m->flights->len; nr++) {
        ModelFlight *f = &g_array_index(m->flights, ModelFlight, nr);

        if (f->number == number) {
            return f;
        }
    }
    return NULL;
}

static void step_report(Model *m)
{
    uint32_t number = rnd(2) ? rnd(m->offers + 3) : g_test_rand_int();
    uint32_t first = rnd(20), n = 1 + rnd(40), i, want = 0;
    g_autofree unsigned long *accepted = NULL;
    const ModelFlight *f;
    PagecachePoolReport r;
    bool fits, ok;
    guint nr;

    if (m->flights->len && rnd(4)) {
        /* One that fits, more or less */
        f = &g_array_index(m->flights, ModelFlight, rnd(m->flights->len));
        number = f->number;
        first = rnd(f->run.npages);
        n = 1 + rnd(f->run.npages - first + !rnd(20));
    }
    f = model_flight(m, number);
    fits = !f || first + n <= f->run.npages;
    accepted = bitmap_new(n);
    ok = pagecache_pool_report(m->pool, number, first, n, accepted, &r);

    g_assert_cmpint(ok, ==, fits);
    for (i = 0; i < n; i++) {
        ModelPage *p = f && fits ?
                       &m->pages[f->run.block][f->run.page + first + i] : NULL;
        bool good = p && p->state == PAGE_FLIGHT;

        g_assert_cmpint(test_bit(i, accepted), ==, good);
        if (good) {
            p->state = PAGE_FREE;
            want++;
        }
    }
    g_assert_cmpuint(r.accepted, ==, want);
    if (f && fits) {
        g_assert_cmpuint(r.block, ==, f->run.block);
        g_assert_cmpuint(r.page, ==, f->run.page + first);
        g_assert_cmpuint(r.producer, ==, f->run.producer);
        g_assert_cmpint(r.offered_at, ==, f->offered_at);
    }
    for (nr = m->flights->len; nr-- > 0;) {
        if (!model_flight_left(m, nr)) {
            g_array_remove_index(m->flights, nr);
        }
    }
}

/* The channel's scan sends a page, or the guest writes one. */
static void step_channel(Model *m)
{
    uint32_t block = rnd(BLOCKS);
    unsigned long size = m->npages[block], page;

    page = pagecache_pool_next_dirty(m->dirty[block],
                                     pagecache_pool_held(m->pool, block), size,
                                     rnd(size));
    if (page < size && !rnd(4)) {
        g_assert_cmpint(m->pages[block][page].state, ==, PAGE_FREE);
        g_assert_true(test_bit(page, m->dirty[block]));
        clear_bit(page, m->dirty[block]);
        set_bit(page, pagecache_pool_spent(m->pool, block));
        m->pages[block][page].spent = true;
    }
    page = rnd(size);
    set_bit(page, m->dirty[block]);
}

/*
 * As if another migration had begun, or no page would be left that isn't
 * spent.  Pages of an offer stay spent as long as it is in flight.
 */
static void step_renew(Model *m)
{
    uint64_t i;
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < m->npages[b]; i++) {
            ModelPage *p = &m->pages[b][i];

            if (rnd(2) && model_find_flight(m, b, i) == m->flights->len) {
                clear_bit(i, pagecache_pool_spent(m->pool, b));
                p->spent = p->offered = false;
            }
        }
    }
}

static void test_model(gconstpointer opaque)
{
    Model *m = model_new(GPOINTER_TO_UINT(opaque));
    int i;

    for (i = 0; i < 20000; i++) {
        switch (rnd(14)) {
        case 0: case 1: case 2: case 3:
            step_add(m);
            break;
        case 4: case 5:
            step_take(m);
            break;
        case 6: case 7:
            step_dispose(m);
            break;
        case 8:
            step_release_tail(m);
            break;
        case 9:
            step_release_old(m);
            break;
        case 10:
            step_release_newest(m);
            break;
        case 11: case 12:
            step_report(m);
            break;
        default:
            step_channel(m);
            break;
        }
        if (!rnd(50)) {
            step_release_producer(m);
        }
        if (!rnd(100)) {
            step_renew(m);
        }
        m->now += rnd(4);
        check(m);
    }
    model_free(m);
}

/* --- single cases --- */

typedef struct Fixture {
    PagecachePool *pool;
    unsigned long *dirty;       /* of block 0, all set */
} Fixture;

#define FIX_PAGES 256

static void fix_set_up(Fixture *fix, gconstpointer opaque)
{
    fix->pool = pagecache_pool_new(12);
    fix->dirty = bitmap_new(FIX_PAGES);
    bitmap_set(fix->dirty, 0, FIX_PAGES);
    pagecache_pool_add_block(fix->pool, FIX_PAGES);
    pagecache_pool_add_block(fix->pool, 10);
}

static void fix_tear_down(Fixture *fix, gconstpointer opaque)
{
    pagecache_pool_free(fix->pool);
    g_free(fix->dirty);
}

static uint64_t add(Fixture *fix, uint32_t disk, uint64_t sector,
                    uint64_t page, uint32_t npages)
{
    PagecachePoolRun run = {
        .disk = disk, .sector = sector, .page = page, .npages = npages,
    };

    return pagecache_pool_add(fix->pool, &run, fix->dirty);
}

static void expect_head(Fixture *fix, uint32_t max, uint32_t disk,
                        uint64_t sector, uint64_t page, uint32_t npages)
{
    PagecachePoolRun run;

    g_assert_true(pagecache_pool_take_head(fix->pool, max, &run));
    g_assert_cmpuint(run.disk, ==, disk);
    g_assert_cmpuint(run.sector, ==, sector);
    g_assert_cmpuint(run.page, ==, page);
    g_assert_cmpuint(run.npages, ==, npages);
}

static uint32_t offer(Fixture *fix, uint64_t page, uint32_t npages,
                      int64_t now)
{
    PagecachePoolRun run;

    g_assert_cmpuint(add(fix, 0, 8 * page, page, npages), ==, npages);
    g_assert_true(pagecache_pool_take_head(fix->pool, npages, &run));
    g_assert_cmpuint(run.npages, ==, npages);
    return pagecache_pool_offer(fix->pool, &run, now);
}

/* Which of @n pages were in flight */
static unsigned long report(Fixture *fix, uint32_t number, uint32_t first,
                            uint32_t n)
{
    unsigned long accepted[1] = { 0 };
    PagecachePoolReport r;

    g_assert_true(pagecache_pool_report(fix->pool, number, first, n, accepted,
                                        &r));
    g_assert_cmpuint(r.accepted, ==, ctpopl(accepted[0]));
    return accepted[0];
}

static uint64_t flights(Fixture *fix)
{
    return pagecache_flights_count(fix->pool->flights);
}

static bool is_held(Fixture *fix, uint64_t page)
{
    return test_bit(page, pagecache_pool_held(fix->pool, 0));
}

static void test_empty(Fixture *fix, gconstpointer opaque)
{
    PagecachePoolRun run;

    g_assert_false(pagecache_pool_take_head(fix->pool, 1, &run));
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 1), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, UINT64_MAX), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_old(fix->pool, INT64_MAX, 9),
                     ==, 0);
    g_assert_cmpuint(pagecache_pool_release_newest(fix->pool, 9), ==, 0);
    g_assert_cmphex(report(fix, 0, 0, 64), ==, 0);
    pagecache_pool_free(NULL);
}

static void test_add_past_end(Fixture *fix, gconstpointer opaque)
{
    g_assert_cmpuint(add(fix, 0, 0, FIX_PAGES, 1), ==, 0);
    g_assert_cmpuint(add(fix, 0, 0, UINT64_MAX, UINT32_MAX), ==, 0);
    g_assert_cmpuint(add(fix, 0, 80, FIX_PAGES - 2, UINT32_MAX), ==, 2);
    expect_head(fix, 99, 0, 80, FIX_PAGES - 2, 2);
}

static void test_add_nothing(Fixture *fix, gconstpointer opaque)
{
    g_assert_cmpuint(add(fix, 0, 0, 5, 0), ==, 0);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 0);
}

static void test_add_twice(Fixture *fix, gconstpointer opaque)
{
    g_assert_cmpuint(add(fix, 0, 100, 10, 4), ==, 4);
    /* Also when it is said to stand elsewhere */
    g_assert_cmpuint(add(fix, 1, 500, 10, 4), ==, 0);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 4);
}

static void test_add_overlap(Fixture *fix, gconstpointer opaque)
{
    g_assert_cmpuint(add(fix, 0, 1000, 12, 2), ==, 2);
    /* Both ends are new; their sectors count from the start of the run. */
    g_assert_cmpuint(add(fix, 0, 80, 10, 6), ==, 4);
    expect_head(fix, 99, 0, 80, 10, 2);
    expect_head(fix, 99, 0, 80 + 8 * 4, 14, 2);
    expect_head(fix, 99, 0, 1000, 12, 2);
}

static void test_add_clean_or_spent(Fixture *fix, gconstpointer opaque)
{
    clear_bit(3, fix->dirty);
    set_bit(5, pagecache_pool_spent(fix->pool, 0));
    g_assert_cmpuint(add(fix, 0, 0, 2, 5), ==, 3);
    g_assert_true(is_held(fix, 2));
    g_assert_false(is_held(fix, 3));
    g_assert_true(is_held(fix, 4));
    g_assert_false(is_held(fix, 5));
    g_assert_true(is_held(fix, 6));
}

static void test_head_order(Fixture *fix, gconstpointer opaque)
{
    add(fix, 1, 0, 0, 1);
    add(fix, 0, 900, 1, 1);
    add(fix, 0, 16, 2, 1);
    add(fix, 1, 8, 3, 1);
    expect_head(fix, 9, 0, 16, 2, 1);
    expect_head(fix, 9, 0, 900, 1, 1);
    expect_head(fix, 9, 1, 0, 0, 1);
    expect_head(fix, 9, 1, 8, 3, 1);
}

/* What is left of a run that was split goes behind a run in between. */
static void test_head_split_overtaken(Fixture *fix, gconstpointer opaque)
{
    add(fix, 0, 0, 100, 10);
    add(fix, 0, 12, 0, 1);
    expect_head(fix, 4, 0, 0, 100, 4);
    expect_head(fix, 4, 0, 12, 0, 1);
    expect_head(fix, 4, 0, 32, 104, 4);
    expect_head(fix, 4, 0, 64, 108, 2);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 0);
}

static void test_taken_stays_held(Fixture *fix, gconstpointer opaque)
{
    PagecachePoolRun run;

    add(fix, 0, 0, 7, 1);
    g_assert_true(pagecache_pool_take_head(fix->pool, 1, &run));
    g_assert_true(is_held(fix, 7));
    /* ...and can't be hinted once more */
    g_assert_cmpuint(add(fix, 0, 0, 7, 1), ==, 0);
    pagecache_pool_release(fix->pool, &run);
    g_assert_false(is_held(fix, 7));
    g_assert_cmpuint(add(fix, 0, 0, 7, 1), ==, 1);
}

static void test_offered_once(Fixture *fix, gconstpointer opaque)
{
    offer(fix, 7, 2, 50);
    g_assert_true(test_bit(7, pagecache_pool_spent(fix->pool, 0)));
    g_assert_cmpuint(pagecache_pool_release_newest(fix->pool, 2), ==, 2);
    g_assert_false(is_held(fix, 7));
    g_assert_true(test_bit(7, pagecache_pool_spent(fix->pool, 0)));
    g_assert_cmpuint(add(fix, 0, 0, 7, 2), ==, 0);
}

/* As large as an offer may be; blocks and disks of the largest number */
static void test_offer_large(Fixture *fix, gconstpointer opaque)
{
    g_autofree unsigned long *accepted = bitmap_new(UINT16_MAX);
    PagecachePoolRun run = { .npages = UINT16_MAX, .disk = UINT16_MAX };
    PagecachePoolReport r;

    run.block = pagecache_pool_add_block(fix->pool, UINT16_MAX + 1);
    run.page = 1;
    g_assert_true(pagecache_pool_may_offer(fix->pool));
    g_assert_cmpuint(pagecache_pool_offer(fix->pool, &run, 1), ==, 0);
    g_assert_cmpuint(pagecache_pool_in_flight(fix->pool), ==, UINT16_MAX);
    g_assert_false(pagecache_pool_report(fix->pool, 0, 1, UINT16_MAX, accepted,
                                         &r));
    g_assert_true(pagecache_pool_report(fix->pool, 0, 0, UINT16_MAX, accepted,
                                        &r));
    g_assert_cmpuint(r.accepted, ==, UINT16_MAX);
    g_assert_cmpuint(r.page, ==, 1);
    g_assert_cmpuint(pagecache_pool_in_flight(fix->pool), ==, 0);
}

static void test_tail_from_end(Fixture *fix, gconstpointer opaque)
{
    add(fix, 0, 0, 0, 10);
    add(fix, 0, 800, 100, 10);
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 3), ==, 3);
    g_assert_true(is_held(fix, 106));
    g_assert_false(is_held(fix, 107));
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 8), ==, 8);
    g_assert_false(is_held(fix, 100));
    g_assert_true(is_held(fix, 8));
    g_assert_false(is_held(fix, 9));
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 100), ==, 9);
}

/* Only that one's, and only what is in the pool */
static void test_release_producer(Fixture *fix, gconstpointer opaque)
{
    PagecachePoolRun run = { .producer = 7, .page = 10, .npages = 4 }, taken;

    pagecache_pool_add(fix->pool, &run, fix->dirty);
    add(fix, 0, 100, 20, 3);
    g_assert_true(pagecache_pool_take_head(fix->pool, 2, &taken));
    g_assert_cmpuint(taken.producer, ==, 7);
    g_assert_cmpuint(pagecache_pool_release_producer(fix->pool, 6), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_producer(fix->pool, 7), ==, 2);
    g_assert_true(is_held(fix, 11));
    g_assert_false(is_held(fix, 12));
    g_assert_true(is_held(fix, 20));
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 3);
}

static void test_release_old(Fixture *fix, gconstpointer opaque)
{
    offer(fix, 0, 4, 100);
    offer(fix, 10, 4, 100);
    offer(fix, 20, 4, 101);
    /* "before" is before */
    g_assert_cmpuint(pagecache_pool_release_old(fix->pool, 100, 99), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_old(fix->pool, 101, 1), ==, 4);
    g_assert_false(is_held(fix, 0));
    g_assert_true(is_held(fix, 10));
    g_assert_cmpuint(pagecache_pool_release_old(fix->pool, 101, 99), ==, 4);
    g_assert_cmpuint(pagecache_pool_in_flight(fix->pool), ==, 4);
}

static void test_release_newest(Fixture *fix, gconstpointer opaque)
{
    offer(fix, 0, 4, 1);
    offer(fix, 10, 4, 2);
    offer(fix, 20, 4, 2);
    /* Whole offers only */
    g_assert_cmpuint(pagecache_pool_release_newest(fix->pool, 3), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_newest(fix->pool, 7), ==, 4);
    g_assert_false(is_held(fix, 20));
    g_assert_true(is_held(fix, 10));
    g_assert_cmpuint(pagecache_pool_release_newest(fix->pool, 8), ==, 8);
}

static void test_report_partial(Fixture *fix, gconstpointer opaque)
{
    unsigned long accepted[1] = { 0 };
    PagecachePoolReport r;
    uint32_t nr = offer(fix, 60, 10, 33);

    g_assert_true(pagecache_pool_report(fix->pool, nr, 2, 6, accepted, &r));
    g_assert_cmphex(accepted[0], ==, 0x3f);
    g_assert_cmpuint(r.accepted, ==, 6);
    g_assert_cmpuint(r.block, ==, 0);
    g_assert_cmpuint(r.page, ==, 62);
    g_assert_cmpint(r.offered_at, ==, 33);
    g_assert_true(is_held(fix, 61));
    g_assert_false(is_held(fix, 62));
    g_assert_false(is_held(fix, 67));
    g_assert_true(is_held(fix, 68));
    g_assert_cmpuint(pagecache_pool_in_flight(fix->pool), ==, 4);
    /* The same again counts nothing. */
    g_assert_cmphex(report(fix, nr, 2, 6), ==, 0);
    /* Among some that do */
    g_assert_cmphex(report(fix, nr, 1, 8), ==, 0x81);
    /* What is left of the offer is released as one. */
    g_assert_cmpuint(pagecache_pool_release_newest(fix->pool, 2), ==, 2);
    g_assert_cmpuint(flights(fix), ==, 0);
}

/* Pages of the next offer are not those of this one. */
static void test_report_beyond_offer(Fixture *fix, gconstpointer opaque)
{
    unsigned long accepted[1] = { 0 };
    PagecachePoolReport r;
    uint32_t nr;

    offer(fix, 0, 4, 5);
    nr = offer(fix, 4, 4, 6);
    offer(fix, 8, 4, 7);
    g_assert_false(pagecache_pool_report(fix->pool, nr, 0, 5, accepted, &r));
    g_assert_false(pagecache_pool_report(fix->pool, nr, 3, 2, accepted, &r));
    g_assert_false(pagecache_pool_report(fix->pool, nr, 4, 1, accepted, &r));
    g_assert_false(pagecache_pool_report(fix->pool, nr, 5, UINT16_MAX,
                                         accepted, &r));
    g_assert_false(pagecache_pool_report(fix->pool, nr, UINT32_MAX, 2,
                                         accepted, &r));
    g_assert_false(pagecache_pool_report(fix->pool, nr, 2, UINT32_MAX,
                                         accepted, &r));
    g_assert_cmphex(accepted[0], ==, 0);
    g_assert_cmpuint(pagecache_pool_in_flight(fix->pool), ==, 12);
    g_assert_cmphex(report(fix, nr, 0, 4), ==, 0xf);
    /* It is gone now, and nobody remembers how large it was. */
    g_assert_cmphex(report(fix, nr, 0, 5), ==, 0);
    g_assert_cmpuint(pagecache_pool_in_flight(fix->pool), ==, 8);
}

static void test_report_any_number(Fixture *fix, gconstpointer opaque)
{
    uint32_t nr = offer(fix, FIX_PAGES - 1, 1, 5);

    g_assert_cmphex(report(fix, nr + 1, 0, 1), ==, 0);
    g_assert_cmphex(report(fix, nr - 1, 0, 64), ==, 0);
    g_assert_cmphex(report(fix, UINT32_MAX, UINT16_MAX, 64), ==, 0);
    g_assert_cmphex(report(fix, nr, 0, 1), ==, 1);
    g_assert_cmphex(report(fix, nr, 0, 1), ==, 0);
}

/* Only what is in flight: not what waits, not what was taken or released */
static void test_report_not_in_flight(Fixture *fix, gconstpointer opaque)
{
    PagecachePoolRun run;
    uint32_t nr = offer(fix, 8, 1, 1);

    pagecache_pool_release_newest(fix->pool, 1);
    add(fix, 0, 0, 0, 4);
    g_assert_true(pagecache_pool_take_head(fix->pool, 2, &run));
    g_assert_cmphex(report(fix, nr, 0, 20), ==, 0);
    g_assert_cmphex(report(fix, nr + 1, 0, 20), ==, 0);
    g_assert_true(is_held(fix, 0));
    g_assert_true(is_held(fix, 3));
    g_assert_false(is_held(fix, 8));
}

static void test_block_of_no_page(Fixture *fix, gconstpointer opaque)
{
    unsigned long dirty[1] = { ~0UL };
    PagecachePoolRun run = {
        .block = pagecache_pool_add_block(fix->pool, 0), .npages = 5,
    };

    g_assert_cmpuint(pagecache_pool_add(fix->pool, &run, dirty), ==, 0);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 0);
}

/* A pool is freed with pages in every state. */
static void test_free_full(Fixture *fix, gconstpointer opaque)
{
    PagecachePoolRun run;

    offer(fix, 0, 8, 1);
    offer(fix, 10, 8, 2);
    add(fix, 0, 0, 20, 8);
    g_assert_true(pagecache_pool_take_head(fix->pool, 3, &run));
}

/* --- the scan --- */

static unsigned long random_word(void)
{
    return (uint64_t)g_test_rand_int() << 32 | (uint32_t)g_test_rand_int();
}

static void test_next_dirty_random(void)
{
    DECLARE_BITMAP(dirty, 256);
    DECLARE_BITMAP(held, 256);
    unsigned long size, start, want;
    int round, i;

    for (round = 0; round < 3000; round++) {
        for (i = 0; i < ARRAY_SIZE(dirty); i++) {
            dirty[i] = random_word();
            held[i] = random_word();
            /* Sparse, dense, empty, full */
            if (rnd(2)) {
                held[i] |= dirty[i] & ~(1UL << rnd(BITS_PER_LONG));
            }
            if (!rnd(8)) {
                dirty[i] = rnd(2) ? 0 : ~0UL;
            }
        }
        size = rnd(257);
        start = rnd(260);
        for (want = start; want < size; want++) {
            if (test_bit(want, dirty) && !test_bit(want, held)) {
                break;
            }
        }
        want = MIN(MAX(want, start), size);
        g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, size, start),
                         ==, start >= size ? size : want);
    }
}

static void test_next_dirty_borders(void)
{
    DECLARE_BITMAP(dirty, 128);
    DECLARE_BITMAP(held, 128);

    bitmap_set(dirty, 0, 128);
    bitmap_zero(held, 128);
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 0, 0), ==, 0);
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 65, 64), ==, 64);
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 65, 65), ==, 65);
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 65, 1000), ==, 65);
    bitmap_set(held, 0, 65);
    /* The next one is past the end. */
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 65, 0), ==, 65);
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 66, 0), ==, 65);
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 66, 63), ==, 65);
    bitmap_clear(dirty, 64, 64);
    g_assert_cmpuint(pagecache_pool_next_dirty(dirty, held, 128, 0), ==, 128);
}

#define CASE(name, func) \
    g_test_add("/pagecache/pool/" name, Fixture, NULL, fix_set_up, func, \
               fix_tear_down)

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_data_func("/pagecache/pool/model/4k", GUINT_TO_POINTER(12),
                         test_model);
    g_test_add_data_func("/pagecache/pool/model/64k", GUINT_TO_POINTER(16),
                         test_model);
    g_test_add_data_func("/pagecache/pool/model/512", GUINT_TO_POINTER(9),
                         test_model);
    CASE("empty", test_empty);
    CASE("add/past-end", test_add_past_end);
    CASE("add/nothing", test_add_nothing);
    CASE("add/twice", test_add_twice);
    CASE("add/overlap", test_add_overlap);
    CASE("add/clean-or-spent", test_add_clean_or_spent);
    CASE("head/order", test_head_order);
    CASE("head/split-overtaken", test_head_split_overtaken);
    CASE("head/taken-stays-held", test_taken_stays_held);
    CASE("offer/once", test_offered_once);
    CASE("offer/large", test_offer_large);
    CASE("release/tail-from-end", test_tail_from_end);
    CASE("release/producer", test_release_producer);
    CASE("release/old", test_release_old);
    CASE("release/newest", test_release_newest);
    CASE("report/partial", test_report_partial);
    CASE("report/beyond-offer", test_report_beyond_offer);
    CASE("report/any-number", test_report_any_number);
    CASE("report/not-in-flight", test_report_not_in_flight);
    CASE("block-of-no-page", test_block_of_no_page);
    CASE("free-full", test_free_full);
    g_test_add_func("/pagecache/pool/next-dirty/random",
                    test_next_dirty_random);
    g_test_add_func("/pagecache/pool/next-dirty/borders",
                    test_next_dirty_borders);
    return g_test_run();
}
