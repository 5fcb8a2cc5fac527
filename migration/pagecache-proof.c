/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: comparing reported digests with the source's own pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "exec/target_page.h"
#include "qemu/pagecache-fault.h"
#include "pagecache-proof.h"

/* Pages that one thread compares in one go */
#define PIECE_PAGES     256
/* One more is started when there are as many pieces waiting as threads. */
#define THREADS_MAX     4

struct PagecacheProof {
    const PagecacheDigest *digest;
    size_t page_size;
    QemuThread threads[THREADS_MAX];
    unsigned nthreads;          /* migration thread only, as the next one */
    uint64_t pending;           /* pages */

    QemuMutex lock;
    QemuCond work;              /* todo or quit changed */
    QemuCond done_cond;
    GQueue todo;                /* of GArray of PagecacheProofPage */
    GQueue done;
    uint64_t bytes, ns;         /* compared, and the time that it took */
    bool quit;
};

static bool page_is_equal(PagecacheProof *proof, const PagecacheProofPage *p)
{
    const uint8_t *host = p->rb->host + p->page * proof->page_size;
    uint8_t digest[PAGECACHE_DIGEST_LEN];

    return pagecache_digest_page(proof->digest, host, proof->page_size,
                                 digest) &&
           !memcmp(digest, p->digest, sizeof(digest));
}

static void compare(PagecacheProof *proof, GArray *pages)
{
    guint i;

    for (i = 0; i < pages->len && !qatomic_read(&proof->quit); i++) {
        PagecacheProofPage *p = &g_array_index(pages, PagecacheProofPage, i);

        p->equal = page_is_equal(proof, p) ||
                   pagecache_fault(PAGECACHE_FAULT_BREAK_PROOF);
    }
}

static void *proof_thread(void *opaque)
{
    PagecacheProof *proof = opaque;
    GArray *pages;
    int64_t start;

    qemu_mutex_lock(&proof->lock);
    while (!proof->quit) {
        pages = g_queue_pop_head(&proof->todo);
        if (!pages) {
            qemu_cond_wait(&proof->work, &proof->lock);
            continue;
        }
        qemu_mutex_unlock(&proof->lock);
        pagecache_fault_delay_unless(PAGECACHE_FAULT_DELAY_PROOF,
                                     &proof->quit);
        start = get_clock();
        compare(proof, pages);
        start = get_clock() - start;
        pagecache_fault_delay_unless(PAGECACHE_FAULT_DELAY_OUTCOME,
                                     &proof->quit);
        qemu_mutex_lock(&proof->lock);
        proof->bytes += pages->len * proof->page_size;
        proof->ns += start;
        /* On quit not all were compared; nobody looks at them any more. */
        g_queue_push_tail(&proof->done, pages);
        qemu_cond_signal(&proof->done_cond);
    }
    qemu_mutex_unlock(&proof->lock);
    return NULL;
}

static void add_thread(PagecacheProof *proof)
{
    g_autofree char *name = g_strdup_printf("mig/pc-proof%u",
                                            proof->nthreads);

    qemu_thread_create(&proof->threads[proof->nthreads++], name, proof_thread,
                       proof, QEMU_THREAD_JOINABLE);
}

PagecacheProof *pagecache_proof_new(const PagecacheDigest *digest)
{
    PagecacheProof *proof = g_new0(PagecacheProof, 1);

    proof->digest = digest;
    proof->page_size = qemu_target_page_size();
    qemu_mutex_init(&proof->lock);
    qemu_cond_init(&proof->work);
    qemu_cond_init(&proof->done_cond);
    g_queue_init(&proof->todo);
    g_queue_init(&proof->done);
    return proof;
}

static void free_array(gpointer data)
{
    g_array_unref(data);
}

void pagecache_proof_free(PagecacheProof *proof)
{
    unsigned i;

    if (!proof) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&proof->lock) {
        qatomic_set(&proof->quit, true);
        qemu_cond_broadcast(&proof->work);
    }
    pagecache_fault_wake();
    for (i = 0; i < proof->nthreads; i++) {
        qemu_thread_join(&proof->threads[i]);
    }
    g_queue_clear_full(&proof->todo, free_array);
    g_queue_clear_full(&proof->done, free_array);
    qemu_cond_destroy(&proof->work);
    qemu_cond_destroy(&proof->done_cond);
    qemu_mutex_destroy(&proof->lock);
    g_free(proof);
}

void pagecache_proof_submit(PagecacheProof *proof, GArray *pages)
{
    guint waiting, first, n;

    proof->pending += pages->len;
    WITH_QEMU_LOCK_GUARD(&proof->lock) {
        for (first = 0; first < pages->len; first += n) {
            GArray *piece;

            n = MIN(pages->len - first, PIECE_PAGES);
            piece = g_array_sized_new(FALSE, FALSE, sizeof(PagecacheProofPage),
                                      n);
            g_array_append_vals(piece, &g_array_index(pages,
                                                      PagecacheProofPage,
                                                      first), n);
            g_queue_push_tail(&proof->todo, piece);
            qemu_cond_signal(&proof->work);
        }
        waiting = g_queue_get_length(&proof->todo);
    }
    g_array_unref(pages);
    if (waiting > proof->nthreads && proof->nthreads < THREADS_MAX) {
        add_thread(proof);
    }
}

GArray *pagecache_proof_result(PagecacheProof *proof, bool wait)
{
    GArray *pages;

    QEMU_LOCK_GUARD(&proof->lock);
    while (!(pages = g_queue_pop_head(&proof->done)) && wait &&
           proof->pending) {
        qemu_cond_wait(&proof->done_cond, &proof->lock);
    }
    if (pages) {
        proof->pending -= pages->len;
    }
    return pages;
}

uint64_t pagecache_proof_pending(PagecacheProof *proof)
{
    return proof->pending;
}

uint64_t pagecache_proof_rate(PagecacheProof *proof)
{
    double seconds;

    QEMU_LOCK_GUARD(&proof->lock);
    seconds = proof->ns / 1e9;
    return proof->ns ? proof->bytes / seconds * proof->nthreads : 0;
}
