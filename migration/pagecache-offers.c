/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: what leaves the pool, and on which wire
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qemu/lockable.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "exec/ramblock.h"
#include "pagecache-offers.h"

/* Pages that are looked at in one go */
#define CHOOSE_PAGES    1024
#define RELEASE_PAGES   16384
#define SWEEP_PAGES     16384

typedef struct OffersDisk {
    GArray *runs;           /* of PagecachePoolRun: ready from @first on */
    guint first;
    uint64_t stock;         /* pages that shall be ready */
    uint64_t ready;         /* pages that are, or are being looked at */
    uint64_t release;       /* pages to be released from the tail */
    bool dry;               /* there was nothing in the pool */
} OffersDisk;

struct PagecacheOffers {
    PagecachePool *pool;
    const GPtrArray *blocks;
    unsigned page_bits;
    PagecacheLook *look;        /* at the hints of the next one */
    uint32_t looked_at;
    QemuThread thread;

    QemuMutex lock;         /* for the rest */
    QemuCond work;
    QemuCond done;          /* busy is false */
    bool busy;              /* there may be something to do */
    bool quit;
    bool sweep;             /* a producer was given up */
    GPtrArray *disks;       /* of OffersDisk */
    guint next;             /* the disk that has its turn */
    uint64_t ready, releasing;      /* pages, of all disks */
    PagecacheOffersCounts counts;
};

static void disk_free(gpointer data)
{
    OffersDisk *d = data;

    g_array_unref(d->runs);
    g_free(d);
}

/* With the lock held, as the next one */
static OffersDisk *get_disk(PagecacheOffers *o, uint32_t nr)
{
    while (nr >= o->disks->len) {
        OffersDisk *d = g_new0(OffersDisk, 1);

        d->runs = g_array_new(FALSE, FALSE, sizeof(PagecachePoolRun));
        g_ptr_array_add(o->disks, d);
    }
    return g_ptr_array_index(o->disks, nr);
}

static void count_ready(PagecacheOffers *o, OffersDisk *d, int64_t pages)
{
    d->ready += pages;
    o->ready += pages;
}

/* --- the thread --- */

/* Takes the pages out of @good that are zero; returns how many. */
static uint32_t sort_out_zeros(PagecacheOffers *o, const PagecachePoolRun *run,
                               unsigned long *good)
{
    RAMBlock *rb = g_ptr_array_index(o->blocks, run->block);
    size_t page_size = 1ul << o->page_bits;
    unsigned long i;
    uint32_t zeros = 0;

    for (i = find_first_bit(good, run->npages); i < run->npages;
         i = find_next_bit(good, run->npages, i + 1)) {
        if (buffer_is_zero(rb->host + ((run->page + i) << o->page_bits),
                           page_size)) {
            clear_bit(i, good);
            zeros++;
        }
    }
    return zeros;
}

static PagecachePoolRun part_of(const PagecacheOffers *o,
                                const PagecachePoolRun *run, uint32_t first,
                                uint32_t n)
{
    PagecachePoolRun part = *run;

    part.page += first;
    part.sector += (uint64_t)first << (o->page_bits - 9);
    part.npages = n;
    return part;
}

/* What becomes of the pages of a run that was taken */
typedef struct Choice {
    DECLARE_BITMAP(good, PAGECACHE_OFFER_PAGES_MAX);    /* to be offered */
    DECLARE_BITMAP(moved, PAGECACHE_OFFER_PAGES_MAX);   /* in @back */
    GArray *back;           /* of PagecachePoolRun: with another hint */
} Choice;

/* Takes the pages out of those that are good whose hint is not true by now. */
static void look_again(PagecacheOffers *o, const PagecachePoolRun *run,
                       Choice *c, PagecacheOffersCounts *counts)
{
    RAMBlock *rb = g_ptr_array_index(o->blocks, run->block);
    unsigned long i;

    if (run->producer != o->looked_at) {
        return;
    }
    for (i = find_first_bit(c->good, run->npages); i < run->npages;
         i = find_next_bit(c->good, run->npages, i + 1)) {
        PagecachePoolRun page = part_of(o, run, i, 1);

        switch (o->look(rb, &page)) {
        case PAGECACHE_LOOK_SAME:
            continue;
        case PAGECACHE_LOOK_MOVED:
            set_bit(i, c->moved);
            g_array_append_val(c->back, page);
            break;
        case PAGECACHE_LOOK_GONE:
            counts->stale++;
            break;
        }
        clear_bit(i, c->good);
    }
}

/*
 * Offers the pages of @run that are worth it, and releases the others, but for
 * those that go back into the pool.
 */
static void choose_run(PagecacheOffers *o, const PagecachePoolRun *run,
                       Choice *c, GArray *chosen,
                       PagecacheOffersCounts *counts)
{
    unsigned long first, end;
    PagecachePoolRun part;

    bitmap_zero(c->good, run->npages);
    bitmap_zero(c->moved, run->npages);
    counts->free += run->npages - pagecache_pool_check(o->pool, run, c->good);
    counts->zero += sort_out_zeros(o, run, c->good);
    look_again(o, run, c, counts);
    for (first = 0; first < run->npages; first = end) {
        bool is_good = test_bit(first, c->good);
        bool is_moved = test_bit(first, c->moved);

        for (end = first + 1; end < run->npages &&
                              test_bit(end, c->good) == is_good &&
                              test_bit(end, c->moved) == is_moved; end++) {
            continue;
        }
        part = part_of(o, run, first, end - first);
        if (is_good) {
            pagecache_pool_offer(o->pool, &part);
            g_array_append_val(chosen, part);
        } else if (!is_moved) {
            pagecache_pool_release(o->pool, &part);
        }
    }
}

/* Without the lock.  Returns how many pages were taken, offered or not. */
static uint32_t choose(PagecacheOffers *o, uint32_t disk, uint32_t max_pages,
                       GArray *chosen, PagecacheOffersCounts *counts)
{
    g_autoptr(GArray) taken = g_array_new(FALSE, FALSE,
                                          sizeof(PagecachePoolRun));
    Choice c = {
        .back = g_array_new(FALSE, FALSE, sizeof(PagecachePoolRun)),
    };
    uint32_t n;
    guint i;

    RCU_READ_LOCK_GUARD();
    n = pagecache_pool_take(o->pool, disk, max_pages,
                            PAGECACHE_OFFER_PAGES_MAX, taken);
    for (i = 0; i < taken->len; i++) {
        choose_run(o, &g_array_index(taken, PagecachePoolRun, i), &c, chosen,
                   counts);
    }
    pagecache_pool_put_back(o->pool, (PagecachePoolRun *)c.back->data,
                            c.back->len);
    g_array_unref(c.back);
    return n;
}

/* The disk whose turn it is to be released, or offered; -1: none */
static int64_t next_release(PagecacheOffers *o)
{
    guint i;

    for (i = 0; i < o->disks->len; i++) {
        if (get_disk(o, i)->release) {
            return i;
        }
    }
    return -1;
}

static int64_t next_offer(PagecacheOffers *o)
{
    guint i;

    for (i = 0; i < o->disks->len; i++) {
        guint nr = (o->next + i) % o->disks->len;
        const OffersDisk *d = get_disk(o, nr);

        if (!d->dry && d->ready < d->stock) {
            o->next = nr + 1;
            return nr;
        }
    }
    return -1;
}

/* These three drop the lock meanwhile. */
static void do_sweep(PagecacheOffers *o)
{
    uint64_t n;

    o->sweep = false;
    qemu_mutex_unlock(&o->lock);
    n = pagecache_pool_sweep(o->pool, SWEEP_PAGES);
    qemu_mutex_lock(&o->lock);
    o->counts.given_up += n;
    o->sweep |= n > 0;
}

/* Of what is ready, the last ones first.  With the lock. */
static uint64_t release_ready(PagecacheOffers *o, OffersDisk *d,
                              uint64_t max_pages)
{
    DECLARE_BITMAP(landed, PAGECACHE_OFFER_PAGES_MAX) = { 0 };
    uint64_t pages = 0;

    while (d->runs->len > d->first && pages < max_pages) {
        PagecachePoolRun *run = &g_array_index(d->runs, PagecachePoolRun,
                                               d->runs->len - 1);
        uint32_t n = MIN(run->npages, max_pages - pages);

        run->npages -= n;
        pagecache_pool_land(o->pool, run->block, run->page + run->npages, n,
                            landed);
        pages += n;
        if (!run->npages) {
            g_array_set_size(d->runs, d->runs->len - 1);
        }
    }
    count_ready(o, d, -(int64_t)pages);
    return pages;
}

static void do_release(PagecacheOffers *o, uint32_t disk)
{
    OffersDisk *d = get_disk(o, disk);
    uint64_t n, want = MIN(d->release, RELEASE_PAGES);

    qemu_mutex_unlock(&o->lock);
    n = pagecache_pool_release_tail(o->pool, disk, want);
    qemu_mutex_lock(&o->lock);
    n += release_ready(o, d, want - n);
    o->counts.tail += n;
    /* what is not there can't be released */
    n = n < want ? d->release : n;
    d->release -= n;
    o->releasing -= n;
}

static void do_offer(PagecacheOffers *o, uint32_t disk, GArray *chosen)
{
    OffersDisk *d = get_disk(o, disk);
    uint32_t max = MIN(d->stock - d->ready, CHOOSE_PAGES);
    PagecacheOffersCounts counts = { 0 };
    uint64_t good = 0;
    uint32_t n;
    guint i;

    /* They are ready before they are out of the pool: none is ever missed. */
    count_ready(o, d, max);
    qemu_mutex_unlock(&o->lock);
    n = choose(o, disk, max, chosen, &counts);
    for (i = 0; i < chosen->len; i++) {
        good += g_array_index(chosen, PagecachePoolRun, i).npages;
    }
    qemu_mutex_lock(&o->lock);
    d->dry = !n;
    count_ready(o, d, (int64_t)good - max);
    o->counts.zero += counts.zero;
    o->counts.free += counts.free;
    o->counts.stale += counts.stale;
    g_array_append_vals(d->runs, chosen->data, chosen->len);
    g_array_set_size(chosen, 0);
}

static void *offers_thread(void *opaque)
{
    PagecacheOffers *o = opaque;
    g_autoptr(GArray) chosen = g_array_new(FALSE, FALSE,
                                           sizeof(PagecachePoolRun));
    int64_t disk;

    rcu_register_thread();
    qemu_mutex_lock(&o->lock);
    while (!o->quit) {
        /* The channel's share first: it idles if it has to wait. */
        disk = next_release(o);
        if (disk >= 0) {
            do_release(o, disk);
            continue;
        }
        if (o->sweep) {
            do_sweep(o);
            continue;
        }
        disk = next_offer(o);
        if (disk >= 0) {
            do_offer(o, disk, chosen);
            continue;
        }
        o->busy = false;
        qemu_cond_broadcast(&o->done);
        qemu_cond_wait(&o->work, &o->lock);
    }
    qemu_mutex_unlock(&o->lock);
    rcu_unregister_thread();
    return NULL;
}

/* With the lock */
static void wake(PagecacheOffers *o)
{
    o->busy = true;
    qemu_cond_signal(&o->work);
}

/* --- for the migration thread --- */

PagecacheOffers *pagecache_offers_new(PagecachePool *pool,
                                      const GPtrArray *blocks,
                                      unsigned page_bits, PagecacheLook *look,
                                      uint32_t looked_at)
{
    PagecacheOffers *o = g_new0(PagecacheOffers, 1);

    o->pool = pool;
    o->blocks = blocks;
    o->page_bits = page_bits;
    o->look = look;
    o->looked_at = looked_at;
    qemu_mutex_init(&o->lock);
    qemu_cond_init(&o->work);
    qemu_cond_init(&o->done);
    o->disks = g_ptr_array_new_with_free_func(disk_free);
    qemu_thread_create(&o->thread, "mig/pc-offers", offers_thread, o,
                       QEMU_THREAD_JOINABLE);
    return o;
}

void pagecache_offers_stop(PagecacheOffers *o)
{
    QEMU_LOCK_GUARD(&o->lock);
    o->quit = true;
    qemu_cond_signal(&o->work);
}

void pagecache_offers_free(PagecacheOffers *o)
{
    if (!o) {
        return;
    }
    pagecache_offers_stop(o);
    qemu_thread_join(&o->thread);
    g_ptr_array_unref(o->disks);
    qemu_cond_destroy(&o->work);
    qemu_cond_destroy(&o->done);
    qemu_mutex_destroy(&o->lock);
    g_free(o);
}

void pagecache_offers_stock(PagecacheOffers *o, uint32_t disk, uint64_t pages)
{
    OffersDisk *d;

    QEMU_LOCK_GUARD(&o->lock);
    d = get_disk(o, disk);
    d->stock = pages;
    d->dry = false;
    wake(o);
}

void pagecache_offers_settle(PagecacheOffers *o, int ms)
{
    int64_t until = qemu_clock_get_ms(QEMU_CLOCK_REALTIME) + ms, left;

    QEMU_LOCK_GUARD(&o->lock);
    while (o->busy &&
           (left = until - qemu_clock_get_ms(QEMU_CLOCK_REALTIME)) > 0) {
        qemu_cond_timedwait(&o->done, &o->lock, left);
    }
}

uint64_t pagecache_offers_collect(PagecacheOffers *o, uint32_t disk,
                                  uint64_t max_pages, guint max_runs,
                                  GArray *runs)
{
    uint64_t pages = 0;
    OffersDisk *d;

    QEMU_LOCK_GUARD(&o->lock);
    d = get_disk(o, disk);
    while (d->first < d->runs->len && pages < max_pages &&
           runs->len < max_runs) {
        PagecachePoolRun *run = &g_array_index(d->runs, PagecachePoolRun,
                                               d->first);
        uint32_t n = MIN(run->npages, max_pages - pages);
        PagecachePoolRun part = part_of(o, run, 0, n);

        g_array_append_val(runs, part);
        *run = part_of(o, run, n, run->npages - n);
        d->first += !run->npages;
        pages += n;
    }
    /* Keeps what was collected from piling up, at a cost of O(1) a run. */
    if (d->first && d->first >= d->runs->len / 2) {
        g_array_remove_range(d->runs, 0, d->first);
        d->first = 0;
    }
    count_ready(o, d, -(int64_t)pages);
    return pages;
}

void pagecache_offers_release(PagecacheOffers *o, uint32_t disk,
                              uint64_t pages)
{
    QEMU_LOCK_GUARD(&o->lock);
    get_disk(o, disk)->release += pages;
    o->releasing += pages;
    wake(o);
}

void pagecache_offers_give_up(PagecacheOffers *o, uint32_t producer,
                              uint32_t disk)
{
    pagecache_pool_give_up(o->pool, producer, disk);
    QEMU_LOCK_GUARD(&o->lock);
    o->sweep = true;
    wake(o);
}

uint64_t pagecache_offers_ready(PagecacheOffers *o)
{
    QEMU_LOCK_GUARD(&o->lock);
    return o->ready;
}

uint64_t pagecache_offers_disk_ready(PagecacheOffers *o, uint32_t disk)
{
    QEMU_LOCK_GUARD(&o->lock);
    return get_disk(o, disk)->ready;
}

uint64_t pagecache_offers_releasing(PagecacheOffers *o)
{
    QEMU_LOCK_GUARD(&o->lock);
    return o->releasing;
}

void pagecache_offers_counts(PagecacheOffers *o, PagecacheOffersCounts *counts)
{
    QEMU_LOCK_GUARD(&o->lock);
    *counts = o->counts;
}
