/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the I/O map
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Two RAM blocks with random bytes, and requests into them.
 */
#include "qemu/osdep.h"
#include "exec/ramlist.h"
#include "migration/pagecache.h"
#include "pagecache-io-disks.h"
#include "pagecache-io-map.h"
#include "pagecache-io-walk.h"

#define PAGE        4096
#define PAGES       2048            /* of a block */
#define SECTORS     (PAGE / 512)
#define DISK        7
#define LARGE       (65536 / PAGE + 1)      /* pages: sums are of samples */

/* The sender wants it; it has a test of its own. */
int pagecache_io_disks_index(uint8_t number)
{
    return -1;
}

static RAMBlock low, high;
RAMBlock *shim_ram_blocks[] = { &low, &high, NULL };

static void make_block(RAMBlock *rb)
{
    size_t i, bytes = PAGES * PAGE;

    rb->host = g_malloc(bytes);
    rb->used_length = rb->max_length = bytes;
    rb->pagecache_io_map = NULL;
    for (i = 0; i < bytes; i += 4) {
        *(uint32_t *)(rb->host + i) = g_test_rand_int();
    }
}

static void set_up(void)
{
    make_block(&low);
    make_block(&high);
    pagecache_io_map_set_whole(false);
}

static void tear_down(void)
{
    pagecache_io_map_free(&low);
    pagecache_io_map_free(&high);
    g_free(low.host);
    g_free(high.host);
}

typedef void Test(void);

static void run(const void *test)
{
    set_up();
    ((Test *)test)();
    tear_down();
}

/* A request of one piece */
static void note_bytes(RAMBlock *rb, uint64_t at, size_t bytes, int64_t offset)
{
    struct iovec iov = { rb->host + at, bytes };
    QEMUIOVector qiov = { &iov, 1, bytes };

    pagecache_io_map_note(DISK, offset, &qiov);
}

static void note(RAMBlock *rb, uint64_t page, unsigned npages, uint64_t sector)
{
    note_bytes(rb, page * PAGE, (size_t)npages * PAGE, sector * 512);
}

static void has(RAMBlock *rb, uint64_t page, uint64_t sector)
{
    PagecacheIoPlace place;

    g_assert_true(pagecache_io_map_get(rb, page, &place));
    g_assert_cmpint(place.disk, ==, DISK);
    g_assert_cmpuint(place.sector, ==, sector);
}

static void has_not(RAMBlock *rb, uint64_t page)
{
    PagecacheIoPlace place;
    uint32_t sum;

    g_assert_false(pagecache_io_map_get(rb, page, &place));
    g_assert_false(pagecache_io_map_read(rb, page, &place, &sum));
}

/* There is an entry, of what the page had before. */
static void fits_not(RAMBlock *rb, uint64_t page)
{
    PagecacheIoPlace place;
    uint32_t sum;

    g_assert_false(pagecache_io_map_get(rb, page, &place));
    g_assert_true(pagecache_io_map_read(rb, page, &place, &sum));
}

static void test_whole_pages(void)
{
    unsigned i;

    note(&low, 3, 4, 63);
    has_not(&low, 2);
    for (i = 0; i < 4; i++) {
        has(&low, 3 + i, 63 + i * SECTORS);
    }
    has_not(&low, 7);
    has_not(&high, 3);
    note(&high, PAGES - 1, 1, 8);
    has(&high, PAGES - 1, 8);
    has_not(&high, PAGES);
}

/* What a request covers in part has no entry any more. */
static void test_parts(void)
{
    note(&low, 0, 8, 0);
    note_bytes(&low, 512, 2 * PAGE, 800 * 512);
    has_not(&low, 0);
    has(&low, 1, 800 + SECTORS - 1);
    has_not(&low, 2);
    note_bytes(&low, 5 * PAGE + 1024, 512, 0);
    has(&low, 4, 4 * SECTORS);
    has_not(&low, 5);
    has(&low, 6, 6 * SECTORS);
}

/* Memory or disk not at a sector: nobody knows what the page has. */
static void test_odd(void)
{
    note(&low, 0, 8, 0);
    note_bytes(&low, PAGE, 2 * PAGE, 100);
    note_bytes(&low, 5 * PAGE + 4, PAGE, 512);
    has(&low, 0, 0);
    has_not(&low, 1);
    has_not(&low, 2);
    has(&low, 3, 3 * SECTORS);
    has_not(&low, 5);
    has_not(&low, 6);
    has(&low, 7, 7 * SECTORS);
}

/* Pieces that follow each other, and others; what is no RAM has no entry. */
static void test_pieces(void)
{
    g_autofree uint8_t *bounce = g_malloc(PAGE);
    struct iovec iov[] = {
        { low.host + PAGE, 1536 }, { low.host + PAGE + 1536, 2560 },
        { high.host + 9 * PAGE, PAGE }, { bounce, PAGE },
        { low.host + 5 * PAGE, PAGE }, { low.host + 7 * PAGE, 512 },
    };
    QEMUIOVector qiov = { iov, G_N_ELEMENTS(iov), 4 * PAGE + 512 };

    pagecache_io_map_note(DISK, 64 * 512, &qiov);
    has(&low, 1, 64);
    has(&high, 9, 64 + SECTORS);
    has(&low, 5, 64 + 3 * SECTORS);
    has_not(&low, 7);
}

static void test_forget(void)
{
    struct iovec iov = { low.host + 2 * PAGE, 2 * PAGE };
    QEMUIOVector qiov = { &iov, 1, 2 * PAGE };

    note(&low, 0, 8, 0);
    pagecache_io_map_forget(&qiov);
    has(&low, 1, SECTORS);
    has_not(&low, 2);
    has_not(&low, 3);
    has(&low, 4, 4 * SECTORS);
}

/* 512 TiB, and what comes after them */
static void test_far(void)
{
    note(&low, 0, 2, PAGECACHE_IO_SECTORS - SECTORS);
    has(&low, 0, PAGECACHE_IO_SECTORS - SECTORS);
    has_not(&low, 1);
    note(&low, 0, 1, PAGECACHE_IO_SECTORS);
    has_not(&low, 0);
}

static void test_changed(void)
{
    note(&low, 0, 2, 0);
    note(&low, 100, LARGE, 4096);
    low.host[PAGE + 2000] ^= 1;
    low.host[101 * PAGE] ^= 1;
    low.host[102 * PAGE + PAGE - 1] ^= 1;
    low.host[103 * PAGE + 500] ^= 1;            /* where no sample is */
    has(&low, 0, 0);
    fits_not(&low, 1);
    fits_not(&low, 101);
    fits_not(&low, 102);
    has(&low, 103, 4096 + 3 * SECTORS);
    pagecache_io_map_set_whole(true);
    note(&low, 100, LARGE, 4096);
    low.host[103 * PAGE + 500] ^= 1;
    fits_not(&low, 103);
    has(&low, 104, 4096 + 4 * SECTORS);
}

/* An entry goes to another map as it is. */
static void test_put(void)
{
    PagecacheIoMap *map = pagecache_io_map_hold(&high);
    PagecacheIoPlace place;
    uint32_t sum;
    unsigned i;

    note(&low, 4, 1, 12345);
    note(&low, 100, LARGE, 800);
    memcpy(high.host, low.host, PAGES * PAGE);
    for (i = 0; i < PAGES; i++) {
        if (pagecache_io_map_read(&low, i, &place, &sum)) {
            pagecache_io_map_put(map, i, &place, sum);
        }
    }
    has(&high, 4, 12345);
    has(&high, 100 + LARGE - 1, 800 + (LARGE - 1) * SECTORS);
    has_not(&high, 5);
    high.host[4 * PAGE] ^= 1;
    fits_not(&high, 4);
    /* outside of the block, or too far back: nothing */
    pagecache_io_map_put(map, PAGES, &place, sum);
    place.sector = PAGECACHE_IO_SECTORS;
    pagecache_io_map_put(map, 9, &place, sum);
    has_not(&high, 9);
    pagecache_io_map_release(map);
}

static void test_sweep(void)
{
    struct iovec iov = { low.host, PAGE };
    QEMUIOVector qiov = { &iov, 1, PAGE };
    PagecacheIoPlace place;

    note(&low, 1, 4, 0);
    note(&high, 1000, 4, 0);
    pagecache_io_map_note(PAGECACHE_IO_DISKS, 0, &qiov);
    pagecache_io_map_sweep(1ULL << DISK);
    has_not(&low, 1);
    has_not(&high, 1003);
    g_assert_true(pagecache_io_map_get(&low, 0, &place));
    g_assert_cmpint(place.disk, ==, PAGECACHE_IO_DISKS);
    pagecache_io_map_drop();
    g_assert_null(low.pagecache_io_map);
    has_not(&low, 0);
}

/* Given back to the host: in part of a chunk, across chunks, and what has none */
static void test_discarded(void)
{
    note(&low, 0, PAGECACHE_IO_CHUNK + 8, 0);
    note(&high, 3, 1, 8);
    pagecache_io_map_discarded(&low, 4 * PAGE, PAGE);
    pagecache_io_map_discarded(&low, 500 * PAGE, 16 * PAGE);
    has(&low, 3, 3 * SECTORS);
    has_not(&low, 4);
    has(&low, 5, 5 * SECTORS);
    has(&low, 499, 499 * SECTORS);
    has_not(&low, 500);
    has_not(&low, 515);
    has(&low, 516, 516 * SECTORS);
    has(&high, 3, 8);
    pagecache_io_map_discarded(&high, 0, PAGES * PAGE);
    has_not(&high, 3);
    pagecache_io_map_drop();
    pagecache_io_map_discarded(&low, 0, PAGES * PAGE);
}

/* Memory: nothing before the first entry, then 4096 bytes for 2 MiB. */
static void test_memory(void)
{
    uint64_t before;

    g_assert_cmpuint(pagecache_io_map_bytes(), ==, 0);
    note_bytes(&low, 100, 1000, 0);
    g_assert_cmpuint(pagecache_io_map_bytes(), ==, 0);
    note(&low, 0, 1, 0);
    before = pagecache_io_map_bytes();
    note(&low, 1, PAGECACHE_IO_CHUNK - 1, 8);
    g_assert_cmpuint(pagecache_io_map_bytes(), ==, before);
    note(&low, PAGECACHE_IO_CHUNK, 1, 8);
    g_assert_cmpuint(pagecache_io_map_bytes(), ==, before + 4096);
    g_assert_cmpuint(pagecache_io_map_chunks(&low), ==, 2);
    g_assert_cmpuint(pagecache_io_map_chunks(&high), ==, 0);
}

/* --- walks --- */

typedef struct Found {
    unsigned runs;
    uint64_t pages;
    PagecacheIoRun all[PAGECACHE_IO_RUNS_MAX];
} Found;

static bool found(void *opaque, const PagecacheIoRun *runs, size_t n)
{
    Found *f = opaque;
    size_t i;

    for (i = 0; i < n; i++) {
        f->pages += runs[i].npages;
        f->all[f->runs++] = runs[i];
    }
    return true;
}

static void run_is(const PagecacheIoRun *run, RAMBlock *rb, uint64_t page,
                   uint32_t npages, uint64_t sector)
{
    g_assert_true(run->rb == rb);
    g_assert_cmpuint(run->page, ==, page);
    g_assert_cmpuint(run->npages, ==, npages);
    g_assert_cmpuint(run->sector, ==, sector);
    g_assert_cmpint(run->disk, ==, DISK);
}

static PagecacheIoWalk *walk_sample(PagecacheSample sample)
{
    g_autoptr(GPtrArray) blocks = g_ptr_array_new();

    g_ptr_array_add(blocks, &low);
    g_ptr_array_add(blocks, &high);
    return pagecache_io_walk_new(blocks, sample);
}

static PagecacheIoWalk *walk_new(void)
{
    return walk_sample(PAGECACHE_SAMPLE_ALL);
}

/* The last block comes first; what has changed cuts a run in two. */
static void test_walk(void)
{
    PagecacheIoWalk *walk = walk_new();
    g_autofree Found *f = g_new0(Found, 1);

    note(&low, 500, 100, 0);        /* across the end of a chunk */
    note(&low, 600, 2, 9000);
    note(&high, 0, 3, 80);
    high.host[PAGE] ^= 1;
    low.used_length = 601 * PAGE;
    g_assert_true(pagecache_io_walk_run(walk, found, f));
    g_assert_cmpuint(f->runs, ==, 4);
    run_is(&f->all[0], &high, 0, 1, 80);
    run_is(&f->all[1], &high, 2, 1, 80 + 2 * SECTORS);
    run_is(&f->all[2], &low, 500, 100, 0);
    run_is(&f->all[3], &low, 600, 1, 9000);
    /* There is nothing left. */
    g_assert_true(pagecache_io_walk_run(walk, found, f));
    g_assert_cmpuint(f->runs, ==, 4);
    pagecache_io_walk_free(walk);
}

/* Nothing is looked at that is not in the sample. */
static void test_walk_sample(void)
{
    const PagecacheSample sample = { .every = 2, .seed = 3 };
    PagecacheIoWalk *walk = walk_sample(sample);
    g_autofree Found *f = g_new0(Found, 1);
    uint64_t wanted = 0;
    unsigned i;

    for (i = 0; i < PAGES; i += 10) {
        note(&low, i, 1, 2 * i * SECTORS);
        wanted += pagecache_sample_has(&sample, i / PAGECACHE_IO_CHUNK);
    }
    g_assert_true(pagecache_io_walk_run(walk, found, f));
    g_assert_cmpuint(f->pages, ==, wanted);
    for (i = 0; i < f->runs; i++) {
        g_assert_true(pagecache_sample_has(&sample, f->all[i].page /
                                                    PAGECACHE_IO_CHUNK));
    }
    pagecache_io_walk_free(walk);
}

static bool enough(void *opaque, const PagecacheIoRun *runs, size_t n)
{
    ++*(unsigned *)opaque;
    return false;
}

static void test_walk_stopped(void)
{
    PagecacheIoWalk *walk = walk_new();
    unsigned i, times = 0;

    for (i = 0; i < PAGES; i++) {
        note(&low, i, 1, 2 * i * SECTORS);
    }
    g_assert_false(pagecache_io_walk_run(walk, enough, &times));
    g_assert_cmpuint(times, ==, 1);
    g_assert_false(pagecache_io_walk_run(walk, enough, &times));
    g_assert_cmpuint(times, ==, 1);
    g_assert_true(pagecache_io_walk_is_stopped(walk));
    pagecache_io_walk_free(walk);
}

/* --- threads --- */

#define ROUNDS 20000

/* Two requests with the same pages: either entry will do. */
static void *note_again_and_again(void *opaque)
{
    uint64_t sector = GPOINTER_TO_UINT(opaque);
    unsigned i;

    for (i = 0; i < ROUNDS; i++) {
        note(&low, i % 16, 2, sector + i % 16 * SECTORS);
    }
    return NULL;
}

static void test_threads(void)
{
    GThread *one, *two;
    PagecacheIoPlace place;
    unsigned i;

    one = g_thread_new("one", note_again_and_again, GUINT_TO_POINTER(0));
    two = g_thread_new("two", note_again_and_again, GUINT_TO_POINTER(8192));
    for (i = 0; i < ROUNDS; i++) {
        if (pagecache_io_map_get(&low, i % 16, &place)) {
            g_assert_cmpuint(place.sector % 8192, ==, i % 16 * SECTORS);
            g_assert_cmpint(place.disk, ==, DISK);
        }
    }
    g_thread_join(one);
    g_thread_join(two);
    for (i = 0; i < 16; i++) {
        g_assert_true(pagecache_io_map_get(&low, i, &place));
        g_assert_cmpuint(place.sector % 8192, ==, i * SECTORS);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        Test *test;
    } tests[] = {
        { "whole-pages", test_whole_pages },
        { "parts", test_parts },
        { "odd", test_odd },
        { "pieces", test_pieces },
        { "forget", test_forget },
        { "far", test_far },
        { "changed", test_changed },
        { "put", test_put },
        { "sweep", test_sweep },
        { "discarded", test_discarded },
        { "memory", test_memory },
        { "walk", test_walk },
        { "walk/sample", test_walk_sample },
        { "walk/stopped", test_walk_stopped },
        { "threads", test_threads },
    };
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    for (i = 0; i < G_N_ELEMENTS(tests); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/io-map/%s",
                                                tests[i].name);

        g_test_add_data_func(path, tests[i].test, run);
    }
    return g_test_run();
}
