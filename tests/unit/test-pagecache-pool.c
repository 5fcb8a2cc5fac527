/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the source's pool of hinted pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The larger part compares thousands of random operations with a model that
 * is too slow and too simple to be wrong: where each page is.  A failure names
 * the seed; --seed=... repeats it.  Another part has three threads at work on
 * one pool, as a migration has.
 *
 * The code under test is included, so that its inner state can be checked.
 */
#include "../../migration/pagecache-pool.c"

#define AMPLE   (64u << 20)     /* bytes: room for all that is added here */

/* --- the model --- */

#define BLOCKS  4
#define DISKS   3
#define GIVEN_UP 4              /* a producer that is, sooner or later... */
#define GIVEN_UP_DISK 1         /* ...for this disk */

typedef enum PageState {
    PAGE_FREE,
    PAGE_FRESH,         /* in the pool since the last turn */
    PAGE_POOL,
    PAGE_TAKEN,
    PAGE_FLIGHT,
    PAGE_DEAD,          /* of a producer that was given up */
} PageState;

typedef struct ModelPage {
    PageState state;
    bool sent;
    bool offered;       /* and not put back */
    uint32_t disk;      /* unless it is free, as the next two */
    uint32_t producer;
    uint64_t sector;
} ModelPage;

typedef struct Model {
    PagecachePool *pool;
    unsigned page_bits;
    uint64_t npages[BLOCKS];
    ModelPage *pages[BLOCKS];
    unsigned long *dirty[BLOCKS];
    GArray *taken;      /* of PagecachePoolRun */
    bool given_up;
} Model;

static uint64_t sectors(const Model *m, uint64_t pages)
{
    return pages << (m->page_bits - 9);
}

static bool model_gave_up(const Model *m, const PagecachePoolRun *run)
{
    return m->given_up && run->producer == GIVEN_UP &&
           run->disk == GIVEN_UP_DISK;
}

static ModelPage *page_of(const Model *m, const PagecachePoolRun *run,
                          uint32_t i)
{
    g_assert_cmpuint(run->block, <, BLOCKS);
    g_assert_cmpuint(run->page + i, <, m->npages[run->block]);
    return &m->pages[run->block][run->page + i];
}

static Model *model_new(unsigned page_bits)
{
    static const uint64_t sizes[BLOCKS] = { 200, 64, 1, 129 };
    Model *m = g_new0(Model, 1);
    unsigned b;

    m->page_bits = page_bits;
    m->pool = pagecache_pool_new(page_bits, AMPLE);
    m->taken = g_array_new(FALSE, FALSE, sizeof(PagecachePoolRun));
    for (b = 0; b < BLOCKS; b++) {
        m->npages[b] = sizes[b];
        m->pages[b] = g_new0(ModelPage, sizes[b]);
        m->dirty[b] = bitmap_new(sizes[b]);
        bitmap_set(m->dirty[b], 0, sizes[b]);
        g_assert_cmpuint(pagecache_pool_add_block(m->pool, sizes[b],
                                                  m->dirty[b]), ==, b);
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
    g_array_unref(m->taken);
    pagecache_pool_free(m->pool);
    g_free(m);
}

/* --- is the pool what the model says? --- */

static bool in_pool(const ModelPage *p)
{
    return p->state == PAGE_FRESH || p->state == PAGE_POOL;
}

static void check(const Model *m)
{
    uint64_t i, size = 0, disk_size[DISKS] = { 0 };
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        PoolBlock *block = pool_block(m->pool, b);

        g_assert_true(pagecache_pool_held(m->pool, b) == block->held);
        g_assert_true(pagecache_pool_sent(m->pool, b) == block->sent);
        for (i = 0; i < m->npages[b]; i++) {
            const ModelPage *p = &m->pages[b][i];

            g_assert_cmpint(test_bit(i, block->held), ==,
                            p->state != PAGE_FREE);
            g_assert_cmpint(test_bit(i, block->offered), ==, p->offered);
            g_assert_cmpint(test_bit(i, block->sent), ==, p->sent);
            if (in_pool(p)) {
                size++;
                disk_size[p->disk]++;
            }
        }
    }
    g_assert_cmpuint(pagecache_pool_size(m->pool), ==, size);
    for (i = 0; i < DISKS; i++) {
        g_assert_cmpuint(pagecache_pool_disk_size(m->pool, i), ==,
                         disk_size[i]);
    }
}

/* --- random steps --- */

static uint64_t rnd(uint64_t n)
{
    return n ? g_test_rand_int_range(0, MIN(n, G_MAXINT)) : 0;
}

static PagecachePoolRun random_run(Model *m)
{
    PagecachePoolRun run = {
        .block = rnd(BLOCKS), .disk = rnd(DISKS), .producer = rnd(5),
        .npages = rnd(8) ? 1 + rnd(12) : rnd(2) ? rnd(1000) : 1 + rnd(130),
    };

    /* Now and then it starts past the end, or ends there. */
    run.page = rnd(m->npages[run.block] + 4);
    run.sector = rnd(2) ? sectors(m, run.page) : rnd(2000);
    return run;
}

static bool is_fit(const Model *m, uint32_t block, uint64_t page)
{
    const ModelPage *p = &m->pages[block][page];

    return p->state == PAGE_FREE && !p->sent && !p->offered &&
           test_bit(page, m->dirty[block]);
}

static int run_order(const void *pa, const void *pb)
{
    const PagecachePoolRun *a = pa, *b = pb;

    if (a->producer != b->producer) {
        return a->producer < b->producer ? -1 : 1;
    }
    if (a->disk != b->disk) {
        return a->disk < b->disk ? -1 : 1;
    }
    return (a->sector > b->sector) - (a->sector < b->sector);
}

static void step_add(Model *m)
{
    PagecachePoolRun runs[20];
    PagecachePoolAdded count, want = { 0 };
    size_t n = rnd(ARRAY_SIZE(runs) + 1), i, j;

    /* Of runs that name a page twice the first in order counts. */
    for (i = 0; i < n; i++) {
        runs[i] = random_run(m);
        for (j = 0; j < i; j++) {
            if (!run_order(&runs[i], &runs[j])) {
                runs[i].sector += 2000 + i;
            }
        }
    }
    pagecache_pool_add(m->pool, runs, n, &count);
    qsort(runs, n, sizeof(runs[0]), run_order);
    for (i = 0; i < n; i++) {
        for (j = 0; j < runs[i].npages; j++) {
            uint64_t page = runs[i].page + j;
            ModelPage *p;

            if (page >= m->npages[runs[i].block] ||
                !is_fit(m, runs[i].block, page)) {
                want.unfit++;
                continue;
            }
            p = page_of(m, &runs[i], j);
            p->state = model_gave_up(m, &runs[i]) ? PAGE_DEAD : PAGE_FRESH;
            p->disk = runs[i].disk;
            p->producer = runs[i].producer;
            p->sector = runs[i].sector + sectors(m, j);
            want.added++;
        }
    }
    g_assert_cmpuint(count.added, ==, want.added);
    g_assert_cmpuint(count.unfit, ==, want.unfit);
    g_assert_cmpuint(count.dropped, ==, 0);
}

static void step_turn(Model *m)
{
    uint64_t i;
    unsigned b;

    pagecache_pool_turn(m->pool);
    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < m->npages[b]; i++) {
            if (m->pages[b][i].state == PAGE_FRESH) {
                m->pages[b][i].state = PAGE_POOL;
            }
        }
    }
}

static uint64_t model_count(const Model *m, PageState state, uint32_t disk)
{
    uint64_t i, n = 0;
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < m->npages[b]; i++) {
            n += m->pages[b][i].state == state &&
                 m->pages[b][i].disk == disk;
        }
    }
    return n;
}

static void step_take(Model *m)
{
    uint32_t disk = rnd(DISKS + 1), max_run = 1 + rnd(40), i, sum = 0;
    uint32_t max = rnd(6) ? rnd(30) : UINT32_MAX;
    uint64_t there = model_count(m, PAGE_POOL, disk);
    guint at = m->taken->len;

    g_assert_cmpuint(pagecache_pool_take(m->pool, disk, max, max_run,
                                         m->taken), ==, MIN(max, there));
    for (; at < m->taken->len; at++) {
        PagecachePoolRun *run = &g_array_index(m->taken, PagecachePoolRun, at);

        g_assert_cmpuint(run->disk, ==, disk);
        g_assert_cmpuint(run->npages, >, 0);
        g_assert_cmpuint(run->npages, <=, max_run);
        for (i = 0; i < run->npages; i++) {
            ModelPage *p = page_of(m, run, i);

            g_assert_cmpint(p->state, ==, PAGE_POOL);
            g_assert_cmpuint(p->disk, ==, disk);
            g_assert_cmpuint(p->producer, ==, run->producer);
            g_assert_cmpuint(p->sector, ==, run->sector + sectors(m, i));
            p->state = PAGE_TAKEN;
        }
        sum += run->npages;
    }
    g_assert_cmpuint(sum, ==, MIN(max, there));
}

static void check_check(Model *m, const PagecachePoolRun *run)
{
    g_autofree unsigned long *good = bitmap_new(run->npages);
    uint32_t i, count, want = 0;

    count = pagecache_pool_check(m->pool, run, good);
    for (i = 0; i < run->npages; i++) {
        bool is = test_bit(run->page + i, m->dirty[run->block]) &&
                  !page_of(m, run, i)->sent && !page_of(m, run, i)->offered;

        g_assert_cmpint(test_bit(i, good), ==, is);
        want += is;
    }
    g_assert_cmpuint(count, ==, want);
}

static void put_back(Model *m, const PagecachePoolRun *run)
{
    PagecachePoolRun again = *run;
    uint64_t want = 0;
    uint32_t i;

    if (rnd(2)) {
        again.disk = rnd(DISKS);
        again.sector = rnd(3000);
    }
    for (i = 0; i < run->npages; i++) {
        ModelPage *p = page_of(m, run, i);

        if (p->state != PAGE_TAKEN && p->state != PAGE_FLIGHT) {
            continue;
        }
        p->offered = false;
        p->state = PAGE_FREE;
        if (test_bit(run->page + i, m->dirty[run->block])) {
            p->state = model_gave_up(m, &again) ? PAGE_DEAD : PAGE_FRESH;
            p->disk = again.disk;
            p->sector = again.sector + sectors(m, i);
            want++;
        }
    }
    g_assert_cmpuint(pagecache_pool_put_back(m->pool, &again, 1), ==, want);
}

/* Some part of what was taken is offered, some released, some put back. */
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
    check_check(m, taken);
    part = *taken;
    part.npages = rnd(2) ? taken->npages : 1 + rnd(taken->npages);
    switch (rnd(6)) {
    case 0:
        pagecache_pool_release(m->pool, &part);
        for (i = 0; i < part.npages; i++) {
            page_of(m, &part, i)->state = PAGE_FREE;
        }
        break;
    case 1:
        put_back(m, &part);
        break;
    default:
        pagecache_pool_offer(m->pool, &part);
        for (i = 0; i < part.npages; i++) {
            page_of(m, &part, i)->state = PAGE_FLIGHT;
            page_of(m, &part, i)->offered = true;
        }
        break;
    }
    taken->npages -= part.npages;
    taken->page += part.npages;
    taken->sector += sectors(m, part.npages);
    if (!taken->npages) {
        g_array_remove_index_fast(m->taken, nr);
    }
}

/* A report, or pages that the channel shall send */
static void step_land(Model *m)
{
    PagecachePoolRun run = random_run(m);
    g_autofree unsigned long *which = bitmap_new(run.npages);
    uint32_t i, want = 0, got;

    got = pagecache_pool_land(m->pool, run.block, run.page, run.npages, which);
    for (i = 0; i < run.npages; i++) {
        ModelPage *p = run.page + i < m->npages[run.block] ?
                       page_of(m, &run, i) : NULL;
        bool is = p && p->state == PAGE_FLIGHT;

        g_assert_cmpint(test_bit(i, which), ==, is);
        if (is) {
            p->state = PAGE_FREE;
            want++;
        }
    }
    g_assert_cmpuint(got, ==, want);
}

/* What is in flight, or a part of it, is put back. */
static void step_recall(Model *m)
{
    PagecachePoolRun run = random_run(m);
    uint32_t i;

    for (i = 0; i < run.npages; i++) {
        if (run.page + i >= m->npages[run.block] ||
            page_of(m, &run, i)->state != PAGE_FLIGHT) {
            break;
        }
    }
    run.npages = i;
    if (i) {
        run.producer = page_of(m, &run, 0)->producer;
        for (i = 0; i < run.npages; i++) {
            page_of(m, &run, i)->producer = run.producer;
        }
        put_back(m, &run);
    }
}

/* The bits say which pages were released. */
static uint64_t model_released(Model *m, PageState from, uint32_t disk)
{
    uint64_t i, n = 0;
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < m->npages[b]; i++) {
            ModelPage *p = &m->pages[b][i];

            if (p->state == from && (from == PAGE_DEAD || p->disk == disk) &&
                !test_bit(i, pagecache_pool_held(m->pool, b))) {
                p->state = PAGE_FREE;
                n++;
            }
        }
    }
    return n;
}

static void step_release_tail(Model *m)
{
    uint64_t max = rnd(20) ? rnd(8) : UINT64_MAX;
    uint32_t disk = rnd(DISKS + 1);
    uint64_t want = MIN(max, model_count(m, PAGE_POOL, disk));

    g_assert_cmpuint(pagecache_pool_release_tail(m->pool, disk, max), ==, want);
    g_assert_cmpuint(model_released(m, PAGE_POOL, disk), ==, want);
}

static void step_give_up(Model *m)
{
    uint64_t i, want = 0;
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < m->npages[b]; i++) {
            ModelPage *p = &m->pages[b][i];

            if (in_pool(p) && p->producer == GIVEN_UP &&
                p->disk == GIVEN_UP_DISK) {
                p->state = PAGE_DEAD;
                want++;
            }
        }
    }
    m->given_up = true;
    g_assert_cmpuint(pagecache_pool_give_up(m->pool, GIVEN_UP, GIVEN_UP_DISK),
                     ==, want);
}

static void step_sweep(Model *m)
{
    uint64_t released, left = 0;
    uint32_t disk;

    released = pagecache_pool_sweep(m->pool, 1 + rnd(20));
    g_assert_cmpuint(model_released(m, PAGE_DEAD, 0), ==, released);
    for (disk = 0; disk < DISKS; disk++) {
        left += model_count(m, PAGE_DEAD, disk);
    }
    g_assert_true(released || !left);
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
        set_bit(page, pagecache_pool_sent(m->pool, block));
        m->pages[block][page].sent = true;
    }
    set_bit(rnd(size), m->dirty[block]);
    /* free page hinting */
    if (!rnd(8)) {
        clear_bit(rnd(size), m->dirty[block]);
    }
}

/* As if another migration had begun, or no page would be left that is fit */
static void step_renew(Model *m)
{
    uint64_t i;
    unsigned b;

    for (b = 0; b < BLOCKS; b++) {
        for (i = 0; i < m->npages[b]; i++) {
            ModelPage *p = &m->pages[b][i];

            if (rnd(2) && p->state == PAGE_FREE) {
                clear_bit(i, pagecache_pool_sent(m->pool, b));
                clear_bit(i, pool_block(m->pool, b)->offered);
                p->sent = p->offered = false;
            }
        }
    }
}

static void test_model(gconstpointer opaque)
{
    static void (* const steps[])(Model *m) = {
        step_add, step_add, step_turn, step_take, step_take, step_take,
        step_dispose, step_dispose, step_dispose, step_dispose,
        step_release_tail, step_land, step_land, step_recall, step_channel,
        step_sweep,
    };
    Model *m = model_new(GPOINTER_TO_UINT(opaque));
    int i;

    for (i = 0; i < 20000; i++) {
        steps[rnd(ARRAY_SIZE(steps))](m);
        if (i == 10000) {
            step_give_up(m);
        }
        if (!rnd(100)) {
            step_renew(m);
        }
        check(m);
    }
    model_free(m);
}

/* --- single cases --- */

typedef struct Fixture {
    PagecachePool *pool;
    unsigned long *dirty;       /* of block 0, all set */
    GArray *runs;               /* that were taken last */
} Fixture;

#define FIX_PAGES 256

static void fix_set_up(Fixture *fix, gconstpointer opaque)
{
    fix->pool = pagecache_pool_new(12, AMPLE);
    fix->dirty = bitmap_new(FIX_PAGES);
    fix->runs = g_array_new(FALSE, FALSE, sizeof(PagecachePoolRun));
    bitmap_set(fix->dirty, 0, FIX_PAGES);
    pagecache_pool_add_block(fix->pool, FIX_PAGES, fix->dirty);
    pagecache_pool_add_block(fix->pool, 10, fix->dirty);
}

static void fix_tear_down(Fixture *fix, gconstpointer opaque)
{
    pagecache_pool_free(fix->pool);
    g_array_unref(fix->runs);
    g_free(fix->dirty);
}

static uint64_t add_run_of(Fixture *fix, uint32_t producer, uint32_t disk,
                           uint64_t sector, uint64_t page, uint32_t npages)
{
    PagecachePoolRun run = {
        .producer = producer, .disk = disk, .sector = sector, .page = page,
        .npages = npages,
    };
    PagecachePoolAdded count;

    pagecache_pool_add(fix->pool, &run, 1, &count);
    g_assert_cmpuint(count.added + count.unfit + count.dropped, ==, npages);
    return count.added;
}

static uint64_t add(Fixture *fix, uint32_t disk, uint64_t sector,
                    uint64_t page, uint32_t npages)
{
    return add_run_of(fix, 0, disk, sector, page, npages);
}

static uint32_t take(Fixture *fix, uint32_t disk, uint32_t max_pages,
                     uint32_t max_run)
{
    pagecache_pool_turn(fix->pool);
    g_array_set_size(fix->runs, 0);
    return pagecache_pool_take(fix->pool, disk, max_pages, max_run, fix->runs);
}

static const PagecachePoolRun *taken(Fixture *fix, guint i)
{
    g_assert_cmpuint(i, <, fix->runs->len);
    return &g_array_index(fix->runs, PagecachePoolRun, i);
}

static void expect_taken(Fixture *fix, guint i, uint64_t sector,
                         uint64_t page, uint32_t npages)
{
    const PagecachePoolRun *run = taken(fix, i);

    g_assert_cmpuint(run->sector, ==, sector);
    g_assert_cmpuint(run->page, ==, page);
    g_assert_cmpuint(run->npages, ==, npages);
}

static void offer(Fixture *fix, uint64_t page, uint32_t npages)
{
    g_assert_cmpuint(add(fix, 0, 8 * page, page, npages), ==, npages);
    g_assert_cmpuint(take(fix, 0, npages, npages), ==, npages);
    g_assert_cmpuint(fix->runs->len, ==, 1);
    pagecache_pool_offer(fix->pool, taken(fix, 0));
}

static bool is_held(Fixture *fix, uint64_t page)
{
    return test_bit(page, pagecache_pool_held(fix->pool, 0));
}

static void test_empty(Fixture *fix, gconstpointer opaque)
{
    unsigned long which[1] = { 0 };
    PagecachePoolAdded count;

    g_assert_cmpuint(take(fix, 0, 1, 1), ==, 0);
    g_assert_cmpuint(take(fix, UINT32_MAX, 1, 1), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 0, 1), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 9, UINT64_MAX),
                     ==, 0);
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, 0, 64, which), ==, 0);
    g_assert_cmpuint(pagecache_pool_give_up(fix->pool, 3, 0), ==, 0);
    g_assert_cmpuint(pagecache_pool_sweep(fix->pool, 1), ==, 0);
    g_assert_cmpuint(which[0], ==, 0);
    pagecache_pool_add(fix->pool, NULL, 0, &count);
    g_assert_cmpuint(count.added + count.unfit + count.dropped, ==, 0);
    pagecache_pool_free(NULL);
}

static void test_add_past_end(Fixture *fix, gconstpointer opaque)
{
    g_assert_cmpuint(add(fix, 0, 0, FIX_PAGES, 1), ==, 0);
    g_assert_cmpuint(add(fix, 0, 0, UINT64_MAX, UINT32_MAX), ==, 0);
    g_assert_cmpuint(add(fix, 0, 80, FIX_PAGES - 2, UINT32_MAX), ==, 2);
    g_assert_cmpuint(take(fix, 0, 99, 99), ==, 2);
    expect_taken(fix, 0, 80, FIX_PAGES - 2, 2);
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
    g_assert_cmpuint(take(fix, 0, 99, 99), ==, 6);
    expect_taken(fix, 0, 80, 10, 2);
    expect_taken(fix, 1, 80 + 8 * 4, 14, 2);
    expect_taken(fix, 2, 1000, 12, 2);
}

static void test_add_unfit(Fixture *fix, gconstpointer opaque)
{
    clear_bit(3, fix->dirty);
    set_bit(5, pagecache_pool_sent(fix->pool, 0));
    g_assert_cmpuint(add(fix, 0, 0, 2, 5), ==, 3);
    g_assert_true(is_held(fix, 2));
    g_assert_false(is_held(fix, 3));
    g_assert_true(is_held(fix, 4));
    g_assert_false(is_held(fix, 5));
    g_assert_true(is_held(fix, 6));
}

/* What does not fit is dropped, and is an ordinary page. */
static void test_add_limit(Fixture *fix, gconstpointer opaque)
{
    PagecachePool *pool = pagecache_pool_new(12, 60000);
    PagecachePoolAdded count;
    unsigned long *dirty;
    uint64_t i, n = 20000, added = 0, dropped = 0;
    PagecachePoolRun run = { .npages = 1 };

    dirty = bitmap_new(n);
    bitmap_set(dirty, 0, n);
    pagecache_pool_add_block(pool, n, dirty);
    for (i = 0; i < n; i++) {
        /* no two of them are one run */
        run.sector = 16 * i;
        run.page = i;
        pagecache_pool_add(pool, &run, 1, &count);
        g_assert_cmpuint(count.unfit, ==, 0);
        added += count.added;
        dropped += count.dropped;
        g_assert_cmpint(test_bit(i, pagecache_pool_held(pool, 0)), ==,
                        count.added);
    }
    g_assert_cmpuint(added + dropped, ==, n);
    g_assert_cmpuint(added, >, 100);
    g_assert_cmpuint(dropped, >, 1000);
    g_assert_cmpuint(pagecache_pool_bytes(pool), >=, 60000);
    g_assert_cmpuint(pagecache_pool_bytes(pool), <, 120000);
    g_assert_cmpuint(pagecache_pool_size(pool), ==, added);

    /* There is room again once some are taken, or given up. */
    pagecache_pool_turn(pool);
    g_assert_cmpuint(pagecache_pool_release_tail(pool, 0, added / 2), ==,
                     added / 2);
    run.page = n - 1;
    run.sector = 0;
    pagecache_pool_add(pool, &run, 1, &count);
    g_assert_cmpuint(count.added, ==, 1);
    pagecache_pool_give_up(pool, 0, 0);
    while (pagecache_pool_sweep(pool, 100)) {
        continue;
    }
    g_assert_cmpuint(pagecache_pool_size(pool), ==, 0);
    g_assert_cmpuint(pagecache_pool_bytes(pool), ==, 0);
    pagecache_pool_free(pool);
    g_free(dirty);
}

/* Nothing is taken before the migration thread has come by. */
static void test_turn(Fixture *fix, gconstpointer opaque)
{
    add(fix, 0, 0, 0, 1);
    g_assert_cmpuint(pagecache_pool_take(fix->pool, 0, 9, 9, fix->runs), ==,
                     0);
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 0, 9), ==, 0);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 1);
    g_assert_cmpuint(take(fix, 0, 9, 9), ==, 1);
}

static void test_order(Fixture *fix, gconstpointer opaque)
{
    add(fix, 1, 0, 0, 1);
    add(fix, 0, 900, 1, 1);
    add(fix, 0, 16, 2, 1);
    add(fix, 1, 8, 4, 1);
    g_assert_cmpuint(pagecache_pool_disks(fix->pool), ==, 2);
    g_assert_cmpuint(take(fix, 0, 9, 9), ==, 2);
    expect_taken(fix, 0, 16, 2, 1);
    expect_taken(fix, 1, 900, 1, 1);
    g_assert_cmpuint(take(fix, 1, 9, 9), ==, 2);
    expect_taken(fix, 0, 0, 0, 1);
    expect_taken(fix, 1, 8, 4, 1);
}

/* Pages that stand side by side are one run, however they were hinted. */
static void test_join(Fixture *fix, gconstpointer opaque)
{
    uint32_t i;

    for (i = 0; i < 10; i++) {
        add(fix, 0, 8 * (9 - i), 100 + 9 - i, 1);
    }
    add(fix, 0, 80, 120, 1);            /* another page */
    add(fix, 0, 96, 121, 1);            /* another sector */
    add_run_of(fix, 1, 0, 104, 122, 1); /* another producer */
    g_assert_cmpuint(take(fix, 0, 99, 8), ==, 13);
    g_assert_cmpuint(fix->runs->len, ==, 5);
    expect_taken(fix, 0, 0, 100, 8);
    expect_taken(fix, 1, 64, 108, 2);
    expect_taken(fix, 2, 80, 120, 1);
    expect_taken(fix, 3, 96, 121, 1);
    expect_taken(fix, 4, 104, 122, 1);
}

/* What is left of a run that was split goes behind a run in between. */
static void test_split_overtaken(Fixture *fix, gconstpointer opaque)
{
    add(fix, 0, 0, 100, 10);
    add(fix, 0, 12, 0, 1);
    g_assert_cmpuint(take(fix, 0, 99, 4), ==, 11);
    g_assert_cmpuint(fix->runs->len, ==, 4);
    expect_taken(fix, 0, 0, 100, 4);
    expect_taken(fix, 1, 12, 0, 1);
    expect_taken(fix, 2, 32, 104, 4);
    expect_taken(fix, 3, 64, 108, 2);
}

static void test_taken_stays_held(Fixture *fix, gconstpointer opaque)
{
    add(fix, 0, 0, 7, 1);
    g_assert_cmpuint(take(fix, 0, 1, 1), ==, 1);
    g_assert_true(is_held(fix, 7));
    /* ...and can't be hinted once more */
    g_assert_cmpuint(add(fix, 0, 0, 7, 1), ==, 0);
    pagecache_pool_release(fix->pool, taken(fix, 0));
    g_assert_false(is_held(fix, 7));
    g_assert_cmpuint(add(fix, 0, 0, 7, 1), ==, 1);
}

/*
 * The channel was about to send a page when it was hinted; another one was in
 * flight, and had landed before its bit was set again.
 */
static void test_check_meanwhile(Fixture *fix, gconstpointer opaque)
{
    unsigned long good[1] = { 0 };

    add(fix, 0, 0, 60, 10);
    set_bit(63, pagecache_pool_sent(fix->pool, 0));
    set_bit(66, pool_block(fix->pool, 0)->offered);
    clear_bit(64, fix->dirty);
    g_assert_cmpuint(take(fix, 0, 10, 10), ==, 10);
    g_assert_cmpuint(pagecache_pool_check(fix->pool, taken(fix, 0), good), ==,
                     7);
    g_assert_cmphex(good[0], ==, 0x3a7);
}

static void test_offered_once(Fixture *fix, gconstpointer opaque)
{
    unsigned long which[1] = { 0 };

    offer(fix, 7, 2);
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, 7, 2, which), ==, 2);
    g_assert_cmphex(which[0], ==, 3);
    g_assert_false(is_held(fix, 7));
    g_assert_cmpuint(add(fix, 0, 0, 7, 2), ==, 0);
}

static void test_put_back(Fixture *fix, gconstpointer opaque)
{
    unsigned long which[1] = { 0 };
    PagecachePoolRun run = { .disk = 1, .sector = 800, .page = 7,
                             .npages = 6 };

    offer(fix, 7, 6);
    /* one was reported, one released, one cleaned */
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, 8, 1, which), ==, 1);
    clear_bit(10, fix->dirty);
    g_assert_cmpuint(pagecache_pool_put_back(fix->pool, &run, 1), ==, 4);
    g_assert_false(is_held(fix, 8));
    g_assert_false(is_held(fix, 10));
    /* a report of the earlier offer: not in flight */
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, 7, 6, which), ==, 0);
    g_assert_cmpuint(take(fix, 0, 9, 9), ==, 0);
    g_assert_cmpuint(take(fix, 1, 9, 9), ==, 4);
    expect_taken(fix, 0, 800, 7, 1);
    expect_taken(fix, 1, 816, 9, 1);
    expect_taken(fix, 2, 832, 11, 2);
    pagecache_pool_offer(fix->pool, taken(fix, 2));
    which[0] = 0;
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, 7, 6, which), ==, 2);
    g_assert_cmphex(which[0], ==, 0x30);
    /* what was only taken can go back, too */
    g_assert_cmpuint(pagecache_pool_put_back(fix->pool, taken(fix, 0), 2), ==,
                     2);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 2);
}

static void test_tail_from_end(Fixture *fix, gconstpointer opaque)
{
    add(fix, 0, 0, 0, 10);
    add(fix, 0, 800, 100, 10);
    pagecache_pool_turn(fix->pool);
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 0, 3), ==, 3);
    g_assert_true(is_held(fix, 106));
    g_assert_false(is_held(fix, 107));
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 0, 8), ==, 8);
    g_assert_false(is_held(fix, 100));
    g_assert_true(is_held(fix, 8));
    g_assert_false(is_held(fix, 9));
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 1, 100), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_tail(fix->pool, 0, 100), ==, 9);
}

/* Only that one's, and only what is in the pool */
static void test_give_up(Fixture *fix, gconstpointer opaque)
{
    add_run_of(fix, 7, 0, 0, 10, 4);
    add(fix, 0, 100, 20, 3);
    g_assert_cmpuint(take(fix, 0, 2, 2), ==, 2);
    g_assert_cmpuint(taken(fix, 0)->producer, ==, 7);
    add_run_of(fix, 7, 1, 0, 30, 5);
    g_assert_cmpuint(pagecache_pool_give_up(fix->pool, 6, 0), ==, 0);
    g_assert_cmpuint(pagecache_pool_give_up(fix->pool, 7, 0), ==, 2);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 8);
    g_assert_cmpuint(take(fix, 0, 99, 99), ==, 3);
    /* Its hints for another disk may be good. */
    g_assert_cmpuint(pagecache_pool_give_up(fix->pool, 7, 1), ==, 5);
    g_assert_cmpuint(take(fix, 1, 99, 99), ==, 0);
    /* ...and later */
    g_assert_cmpuint(add_run_of(fix, 7, 0, 0, 40, 4), ==, 4);
    g_assert_cmpuint(pagecache_pool_size(fix->pool), ==, 0);
    g_assert_cmpuint(take(fix, 0, 99, 99), ==, 0);
    while (pagecache_pool_sweep(fix->pool, 1)) {
        continue;
    }
    g_assert_true(is_held(fix, 11));
    g_assert_false(is_held(fix, 12));
    g_assert_true(is_held(fix, 20));
    g_assert_false(is_held(fix, 30));
    g_assert_false(is_held(fix, 40));
}

static void test_land_outside(Fixture *fix, gconstpointer opaque)
{
    unsigned long which[1] = { 0 };

    offer(fix, FIX_PAGES - 1, 1);
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, FIX_PAGES, 64, which),
                     ==, 0);
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, UINT64_MAX, 64, which),
                     ==, 0);
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, UINT64_MAX - 62, 64,
                                         which), ==, 0);
    g_assert_cmphex(which[0], ==, 0);
    g_assert_cmpuint(pagecache_pool_land(fix->pool, 0, FIX_PAGES - 1, 64,
                                         which), ==, 1);
    g_assert_cmphex(which[0], ==, 1);
}

static void test_block_of_no_page(Fixture *fix, gconstpointer opaque)
{
    unsigned long which[1] = { 0 };
    PagecachePoolRun run = {
        .block = pagecache_pool_add_block(fix->pool, 0, fix->dirty),
        .npages = 5,
    };
    PagecachePoolAdded count;

    pagecache_pool_add(fix->pool, &run, 1, &count);
    g_assert_cmpuint(count.unfit, ==, 5);
    g_assert_cmpuint(pagecache_pool_land(fix->pool, run.block, 0, 5, which),
                     ==, 0);
}

/* A pool is freed with pages in every state. */
static void test_free_full(Fixture *fix, gconstpointer opaque)
{
    offer(fix, 0, 8);
    add(fix, 0, 0, 10, 8);
    g_assert_cmpuint(take(fix, 0, 3, 3), ==, 3);
    add_run_of(fix, 3, 1, 0, 30, 8);
    pagecache_pool_give_up(fix->pool, 3, 0);
    add(fix, 2, 0, 20, 8);
}

/* Many hints in random order are taken in the order of the disk. */
static void test_large(void)
{
    enum { N = 20000 };
    g_autofree PagecachePoolRun *runs = g_new0(PagecachePoolRun, N);
    g_autoptr(PagecachePool) pool = pagecache_pool_new(12, AMPLE);
    g_autoptr(GArray) out = g_array_new(FALSE, FALSE,
                                        sizeof(PagecachePoolRun));
    g_autofree unsigned long *dirty = bitmap_new(2 * N);
    PagecachePoolAdded count;
    uint64_t sector = 0, pages = 0;
    guint i;

    bitmap_set(dirty, 0, 2 * N);
    pagecache_pool_add_block(pool, 2 * N, dirty);
    for (i = 0; i < N; i++) {
        guint j = g_test_rand_int_range(0, i + 1);

        runs[i] = runs[j];
        runs[j] = (PagecachePoolRun) {
            /* some are far from the others */
            .sector = 16ULL * i + (i % 100 ? 0 : (uint64_t)i << 33),
            .page = 2 * i, .npages = 1,
        };
    }
    for (i = 0; i < N; i += 1000) {
        pagecache_pool_add(pool, &runs[i], 1000, &count);
        g_assert_cmpuint(count.added, ==, 1000);
    }
    pagecache_pool_turn(pool);
    g_assert_cmpuint(pagecache_pool_release_tail(pool, 0, 100), ==, 100);
    while (pagecache_pool_take(pool, 0, 700, 100, out)) {
        for (i = 0; i < out->len; i++) {
            PagecachePoolRun *run = &g_array_index(out, PagecachePoolRun, i);

            g_assert_true(!pages || run->sector > sector);
            sector = run->sector;
            pages += run->npages;
        }
        g_array_set_size(out, 0);
    }
    g_assert_cmpuint(pages, ==, N - 100);
    g_assert_cmpuint(sector, <, (uint64_t)(N - 9900) << 33);
    g_assert_cmpuint(pagecache_pool_size(pool), ==, 0);
    g_assert_cmpuint(pagecache_pool_release_tail(pool, 0, 1), ==, 0);
    g_assert_cmpuint(pagecache_pool_bytes(pool), ==, 0);
}

/* --- three threads --- */

#define RACE_PAGES  4096
#define RACE_ROUNDS 400

/*
 * What the channel has sent is never offered, and what is offered is not sent
 * before it has landed, although hints are added all the time.
 */
typedef struct Race {
    PagecachePool *pool;
    unsigned long *dirty;
    uint8_t *sent;              /* atomic: by the channel, ever */
    uint8_t *flying;            /* atomic: offered, and has not landed */
    GAsyncQueue *offers;        /* of PagecachePoolRun */
    uint32_t seed;
    uint64_t offered;
    gint stop;
} Race;

static void *race_adder(void *opaque)
{
    Race *race = opaque;
    g_autoptr(GRand) rand = g_rand_new_with_seed(race->seed);
    PagecachePoolRun runs[64];
    PagecachePoolAdded count;
    unsigned i;

    while (!g_atomic_int_get(&race->stop)) {
        for (i = 0; i < ARRAY_SIZE(runs); i++) {
            runs[i] = (PagecachePoolRun) {
                .page = g_rand_int_range(rand, 0, RACE_PAGES),
                .npages = g_rand_int_range(rand, 1, 80),
                .sector = g_rand_int(rand),
                .disk = g_rand_int_range(rand, 0, 2),
            };
        }
        pagecache_pool_add(race->pool, runs, ARRAY_SIZE(runs), &count);
    }
    return NULL;
}

static void race_offer(Race *race, const PagecachePoolRun *run)
{
    DECLARE_BITMAP(good, 64) = { 0 };
    uint32_t i;

    pagecache_pool_check(race->pool, run, good);
    for (i = 0; i < run->npages; i++) {
        PagecachePoolRun one = *run;

        one.page += i;
        one.npages = 1;
        if (!test_bit(i, good)) {
            pagecache_pool_release(race->pool, &one);
            continue;
        }
        pagecache_pool_offer(race->pool, &one);
        g_assert_false(qatomic_read(&race->sent[one.page]));
        g_assert_false(qatomic_xchg(&race->flying[one.page], true));
        race->offered++;
        g_async_queue_push(race->offers, g_memdup2(&one, sizeof(one)));
    }
}

static void *race_taker(void *opaque)
{
    Race *race = opaque;
    g_autoptr(GArray) runs = g_array_new(FALSE, FALSE,
                                         sizeof(PagecachePoolRun));
    guint i, disk = 0;

    while (!g_atomic_int_get(&race->stop)) {
        g_array_set_size(runs, 0);
        pagecache_pool_take(race->pool, disk ^= 1, 100, 64, runs);
        for (i = 0; i < runs->len; i++) {
            race_offer(race, &g_array_index(runs, PagecachePoolRun, i));
        }
    }
    return NULL;
}

/* As the migration thread does: page by page */
static void race_send(Race *race, unsigned max)
{
    unsigned long *held = pagecache_pool_held(race->pool, 0);
    unsigned long page = 0;

    while (max--) {
        page = pagecache_pool_next_dirty(race->dirty, held, RACE_PAGES, page);
        if (page >= RACE_PAGES) {
            return;
        }
        if (!rnd(4)) {
            g_thread_yield();
        }
        qatomic_and(&race->dirty[BIT_WORD(page)], ~BIT_MASK(page));
        qatomic_or(&pagecache_pool_sent(race->pool, 0)[BIT_WORD(page)],
                   BIT_MASK(page));
        qatomic_set(&race->sent[page], true);
        g_assert_false(qatomic_read(&race->flying[page]));
    }
}

static void race_land(Race *race)
{
    PagecachePoolRun *run;
    unsigned long which[1] = { 0 };

    while ((run = g_async_queue_try_pop(race->offers))) {
        qatomic_set(&race->flying[run->page], false);
        g_assert_cmpuint(pagecache_pool_land(race->pool, 0, run->page, 1,
                                             which), ==, 1);
        g_free(run);
    }
}

static void race_once(uint64_t *offered, uint64_t *sent)
{
    Race race = {
        .pool = pagecache_pool_new(12, AMPLE),
        .dirty = bitmap_new(RACE_PAGES),
        .sent = g_new0(uint8_t, RACE_PAGES),
        .flying = g_new0(uint8_t, RACE_PAGES),
        .offers = g_async_queue_new_full(g_free),
        .seed = g_test_rand_int(),
    };
    GThread *adder, *taker;
    unsigned i;

    bitmap_set(race.dirty, 0, RACE_PAGES);
    pagecache_pool_add_block(race.pool, RACE_PAGES, race.dirty);
    adder = g_thread_new("adder", race_adder, &race);
    taker = g_thread_new("taker", race_taker, &race);
    for (i = 0; i < RACE_ROUNDS; i++) {
        unsigned long page = g_test_rand_int_range(0, RACE_PAGES);

        pagecache_pool_turn(race.pool);
        race_land(&race);
        pagecache_pool_release_tail(race.pool, i % 2, 2);
        race_send(&race, 4);
        /* the guest writes */
        qatomic_or(&race.dirty[BIT_WORD(page)], BIT_MASK(page));
    }
    g_atomic_int_set(&race.stop, 1);
    g_thread_join(adder);
    g_thread_join(taker);
    race_land(&race);
    *offered += race.offered;
    for (i = 0; i < RACE_PAGES; i++) {
        *sent += race.sent[i];
    }
    g_async_queue_unref(race.offers);
    pagecache_pool_free(race.pool);
    g_free(race.dirty);
    g_free(race.sent);
    g_free(race.flying);
}

static void test_race(void)
{
    uint64_t offered = 0, sent = 0;
    int i;

    for (i = 0; i < 40; i++) {
        race_once(&offered, &sent);
    }
    g_test_message("%" PRIu64 " pages were offered, %" PRIu64 " sent",
                   offered, sent);
    g_assert_cmpuint(offered, >, 100);
    g_assert_cmpuint(sent, >, 100);
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
    CASE("add/twice", test_add_twice);
    CASE("add/overlap", test_add_overlap);
    CASE("add/unfit", test_add_unfit);
    CASE("add/limit", test_add_limit);
    CASE("take/turn", test_turn);
    CASE("take/order", test_order);
    CASE("take/join", test_join);
    CASE("take/split-overtaken", test_split_overtaken);
    CASE("take/stays-held", test_taken_stays_held);
    CASE("take/meanwhile", test_check_meanwhile);
    CASE("offer/once", test_offered_once);
    CASE("put-back", test_put_back);
    CASE("release/tail-from-end", test_tail_from_end);
    CASE("give-up", test_give_up);
    CASE("land/outside", test_land_outside);
    CASE("block-of-no-page", test_block_of_no_page);
    CASE("free-full", test_free_full);
    g_test_add_func("/pagecache/pool/large", test_large);
    g_test_add_func("/pagecache/pool/race", test_race);
    g_test_add_func("/pagecache/pool/next-dirty/random",
                    test_next_dirty_random);
    g_test_add_func("/pagecache/pool/next-dirty/borders",
                    test_next_dirty_borders);
    return g_test_run();
}
