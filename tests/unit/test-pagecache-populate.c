/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Unit tests of the first touch of what is offered
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Some let the kernel do it and ask which pages are there.  Others put
 * themselves in its place, to count, to be slow and to fail.
 */
#include "qemu/osdep.h"
#include <sys/stat.h>
#include "qemu/madvise.h"

static int fake_madvise(void *addr, size_t len, int advice);
#define qemu_madvise fake_madvise
#include "../../migration/pagecache-populate.c"
#undef qemu_madvise

#define PAGE    ((size_t)sysconf(_SC_PAGE_SIZE))

static struct {
    GMutex lock;
    GCond cond;
    bool real;                  /* the kernel does it */
    int error;                  /* or it fails */
    bool hold;                  /* or it takes until this is over */
    unsigned begun, done;
    GArray *parts;              /* of Part: what was asked for */
} fake;

static int fake_madvise(void *addr, size_t len, int advice)
{
    Part part = { addr, len };
    int ret = 0, error = 0;

    g_assert_cmpint(advice, ==, QEMU_MADV_POPULATE_WRITE);
    g_mutex_lock(&fake.lock);
    if (len) {
        fake.begun++;
        g_array_append_val(fake.parts, part);
        g_cond_broadcast(&fake.cond);
        while (fake.hold) {
            g_cond_wait(&fake.cond, &fake.lock);
        }
    }
    error = fake.error;
    if (fake.real) {
        ret = madvise(addr, len, advice);
        error = ret < 0 ? errno : 0;
    }
    fake.done += len > 0;
    g_cond_broadcast(&fake.cond);
    g_mutex_unlock(&fake.lock);
    errno = error;
    return error ? -1 : 0;
}

static void fake_start(bool real, bool hold)
{
    fake.real = real;
    fake.hold = hold;
    fake.error = 0;
    fake.begun = fake.done = 0;
    g_clear_pointer(&fake.parts, g_array_unref);
    fake.parts = g_array_new(false, false, sizeof(Part));
}

static void fake_release(void)
{
    g_mutex_lock(&fake.lock);
    fake.hold = false;
    g_cond_broadcast(&fake.cond);
    g_mutex_unlock(&fake.lock);
}

/* Waits until @count (begun or done) is @least. */
static void fake_wait(const unsigned *count, unsigned least)
{
    g_mutex_lock(&fake.lock);
    while (*count < least) {
        g_cond_wait(&fake.cond, &fake.lock);
    }
    g_mutex_unlock(&fake.lock);
}

static bool fake_idle(PagecachePopulate *p)
{
    bool idle;

    g_mutex_lock(&p->lock);
    idle = !p->n;
    g_mutex_unlock(&p->lock);
    return idle;
}

/* Everything that was wanted was touched; after it no more threads run. */
static void finish(PagecachePopulate *p)
{
    while (!fake_idle(p)) {
        g_usleep(100);
    }
    pagecache_populate_free(p);
}

/* --- memory --- */

static uint8_t *map(int fd, size_t size)
{
    uint8_t *m = mmap(NULL, size + UNIT, PROT_READ | PROT_WRITE,
                      fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED,
                      fd, 0);

    g_assert_true(m != MAP_FAILED);
    return (uint8_t *)(uintptr_t)QEMU_ALIGN_UP((uintptr_t)m, UNIT);
}

/* How many of the @bytes at @m are there */
static size_t resident(uint8_t *m, size_t bytes)
{
    g_autofree unsigned char *vec = g_malloc(bytes / PAGE);
    size_t i, n = 0;

    g_assert_cmpint(mincore(m, bytes, vec), ==, 0);
    for (i = 0; i < bytes / PAGE; i++) {
        n += vec[i] & 1;
    }
    return n * PAGE;
}

static bool can(void)
{
    if (madvise(NULL, 0, QEMU_MADV_POPULATE_WRITE) < 0) {
        g_test_skip("the kernel doesn't know MADV_POPULATE_WRITE");
        return false;
    }
    return true;
}

/* Offers of a page, of two pages, and of what goes over three units */
static void want_some(PagecachePopulate *p, uint32_t block)
{
    pagecache_populate_want(p, block, 3 * PAGE, PAGE);
    pagecache_populate_want(p, block, 2 * UNIT + 4 * PAGE, 2 * PAGE);
    pagecache_populate_want(p, block, 5 * UNIT - PAGE, UNIT + 2 * PAGE);
}

static void check_some(uint8_t *m)
{
    g_assert_cmpuint(resident(m, 8 * UNIT), ==, UNIT + 5 * PAGE);
    g_assert_cmpuint(resident(m + 3 * PAGE, PAGE), ==, PAGE);
    g_assert_cmpuint(resident(m + 2 * UNIT + 4 * PAGE, 2 * PAGE), ==,
                     2 * PAGE);
    g_assert_cmpuint(resident(m + 5 * UNIT - PAGE, UNIT + 2 * PAGE), ==,
                     UNIT + 2 * PAGE);
}

/* Pages of the usual size: those that are offered, and no others */
static void test_small_pages(void)
{
    PagecachePopulate *p;
    uint8_t *m;

    if (!can()) {
        return;
    }
    fake_start(true, false);
    m = map(-1, 8 * UNIT);
    g_assert_cmpint(madvise(m, 8 * UNIT, MADV_NOHUGEPAGE), ==, 0);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, m, 8 * UNIT);
    want_some(p, 0);
    finish(p);
    check_some(m);
}

/* Huge pages: nothing of the others, and each whole, if the kernel has any */
static void test_huge_pages(void)
{
    PagecachePopulate *p;
    uint8_t *m;
    int i;

    if (!can()) {
        return;
    }
    fake_start(true, false);
    m = map(-1, 8 * UNIT);
    if (madvise(m, 8 * UNIT, MADV_HUGEPAGE) < 0) {
        g_test_skip("the kernel has no transparent huge pages");
        return;
    }
    memset(m, 1, 1);
    if (resident(m, UNIT) != UNIT) {
        g_test_skip("no transparent huge page of 2 MiB to be had");
        return;
    }
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, m, 8 * UNIT);
    want_some(p, 0);
    finish(p);
    for (i = 0; i < 8; i++) {
        bool offered = i != 1 && i != 3 && i < 7;

        g_assert_cmpuint(resident(m + i * UNIT, UNIT), ==,
                         offered ? UNIT : 0);
    }
}

/* Memory that others share: it is not known to this code as such. */
static void test_shared(void)
{
    PagecachePopulate *p;
    struct stat st;
    uint8_t *m;
    int fd;

    if (!can()) {
        return;
    }
    fake_start(true, false);
    fd = memfd_create("ram", 0);
    g_assert_cmpint(ftruncate(fd, 16 * UNIT), ==, 0);
    m = map(fd, 8 * UNIT);
    g_assert_cmpint(madvise(m, 8 * UNIT, MADV_NOHUGEPAGE), ==, 0);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, map(-1, UNIT), UNIT);
    pagecache_populate_add_block(p, m, 8 * UNIT);
    want_some(p, 1);
    finish(p);
    check_some(m);
    g_assert_cmpint(fstat(fd, &st), ==, 0);
    g_assert_cmpint(st.st_blocks * 512, ==, UNIT + 5 * PAGE);
    close(fd);
}

/* What was written before stays. */
static void test_content(void)
{
    PagecachePopulate *p;
    size_t i;
    uint8_t *m;

    if (!can()) {
        return;
    }
    fake_start(true, false);
    m = map(-1, 4 * UNIT);
    for (i = 0; i < 4 * UNIT; i += 3 * PAGE) {
        m[i] = i / PAGE | 1;
    }
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, m, 4 * UNIT);
    pagecache_populate_want(p, 0, 0, 4 * UNIT);
    finish(p);
    for (i = 0; i < 4 * UNIT; i += PAGE) {
        uint8_t was = i % (3 * PAGE) ? 0 : i / PAGE | 1;

        g_assert_cmpuint(m[i], ==, was);
    }
}

/* --- what is asked for --- */

static uint8_t *anywhere(size_t offset)
{
    return (uint8_t *)(uintptr_t)(64 * UNIT + offset);
}

/* Each unit once, though a block need not begin with one */
static void test_once(void)
{
    PagecachePopulate *p;
    int i, turn;

    fake_start(false, false);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, anywhere(UNIT - 8 * PAGE), 4 * UNIT);
    for (turn = 0; turn < 3; turn++) {
        for (i = 0; i < 4 * UNIT / PAGE; i++) {
            pagecache_populate_want(p, 0, i * PAGE, PAGE);
        }
        pagecache_populate_want(p, 0, 0, 4 * UNIT);
    }
    finish(p);
    g_assert_cmpuint(fake.done, ==, 5);
    for (i = 0; i < 5; i++) {
        Part *part = &g_array_index(fake.parts, Part, i);

        g_assert_cmpuint(part->bytes, ==, PAGE);
    }
}

/* All units of a large offer, the first and the last in part */
static void test_large_offer(void)
{
    uint64_t bytes = 0;
    PagecachePopulate *p;
    guint i;

    fake_start(false, false);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, anywhere(0), 100 * UNIT);
    pagecache_populate_want(p, 0, UNIT / 2, 90 * UNIT);
    finish(p);
    g_assert_cmpuint(fake.done, ==, 91);
    for (i = 0; i < fake.parts->len; i++) {
        Part *part = &g_array_index(fake.parts, Part, i);
        uintptr_t start = (uintptr_t)part->host;

        g_assert_cmpuint(start / UNIT, ==, (start + part->bytes - 1) / UNIT);
        bytes += part->bytes;
    }
    g_assert_cmpuint(bytes, ==, 90 * UNIT);
}

/* The kernel hangs: nobody waits for it, and the queue is bounded. */
static void test_hangs(void)
{
    /* more than the queue holds, and less than 32 bits can address */
    const unsigned units = QUEUE_MAX + QUEUE_MAX / 4;
    PagecachePopulate *p;
    unsigned i;

    fake_start(false, true);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, anywhere(0), units * UNIT);
    for (i = 0; i < units; i++) {
        pagecache_populate_want(p, 0, i * UNIT, PAGE);
    }
    fake_wait(&fake.begun, THREADS);
    fake_release();
    while (!fake_idle(p)) {
        g_usleep(100);
    }
    /* what found no room may be asked for again */
    for (i = 0; i < units; i++) {
        while (!fake_idle(p)) {
            g_usleep(100);
        }
        pagecache_populate_want(p, 0, i * UNIT, PAGE);
    }
    finish(p);
    g_assert_cmpuint(fake.done, ==, units);
}

/* Stopped in between: what is under way ends, and nothing else begins. */
static void test_stop(void)
{
    PagecachePopulate *p;

    fake_start(false, true);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, anywhere(0), 100 * UNIT);
    pagecache_populate_want(p, 0, 0, 100 * UNIT);
    fake_wait(&fake.begun, THREADS);
    pagecache_populate_stop(p);
    pagecache_populate_stop(p);
    pagecache_populate_want(p, 0, 0, 100 * UNIT);
    fake_release();
    pagecache_populate_free(p);
    g_assert_cmpuint(fake.done, ==, THREADS);
}

/* It fails: that of the others is tried all the same. */
static void test_fails(void)
{
    PagecachePopulate *p;

    fake_start(false, false);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, anywhere(0), 100 * UNIT);
    fake.error = ENOMEM;
    pagecache_populate_want(p, 0, 0, 100 * UNIT);
    finish(p);
    g_assert_cmpuint(fake.done, ==, 100);
}

/* An older kernel */
static void test_not_known(void)
{
    PagecachePopulate *p;

    fake_start(false, false);
    fake.error = EINVAL;
    p = pagecache_populate_new();
    g_assert_null(p);
    pagecache_populate_add_block(p, anywhere(0), UNIT);
    pagecache_populate_want(p, 0, 0, UNIT);
    pagecache_populate_stop(p);
    pagecache_populate_free(p);
}

/* No offer came: no thread was made. */
static void test_nothing(void)
{
    PagecachePopulate *p;

    fake_start(false, false);
    p = pagecache_populate_new();
    pagecache_populate_free(p);
    p = pagecache_populate_new();
    pagecache_populate_add_block(p, anywhere(0), UNIT);
    g_assert_null(p->threads[0]);
    pagecache_populate_free(p);
    g_assert_cmpuint(fake.begun, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/pagecache/populate/small-pages", test_small_pages);
    g_test_add_func("/pagecache/populate/huge-pages", test_huge_pages);
    g_test_add_func("/pagecache/populate/shared", test_shared);
    g_test_add_func("/pagecache/populate/content", test_content);
    g_test_add_func("/pagecache/populate/once", test_once);
    g_test_add_func("/pagecache/populate/large-offer", test_large_offer);
    g_test_add_func("/pagecache/populate/hangs", test_hangs);
    g_test_add_func("/pagecache/populate/stop", test_stop);
    g_test_add_func("/pagecache/populate/fails", test_fails);
    g_test_add_func("/pagecache/populate/not-known", test_not_known);
    g_test_add_func("/pagecache/populate/nothing", test_nothing);
    return g_test_run();
}
