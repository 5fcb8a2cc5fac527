/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: comparing reported digests with the source's own pages
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "exec/target_page.h"
#include "qemu/pagecache-fault.h"
#include "pagecache-proof.h"

struct PagecacheProof {
    const PagecacheDigest *digest;
    size_t page_size;
    QemuThread thread;
    uint64_t pending;           /* pages; migration thread only */

    QemuMutex lock;
    QemuCond work;              /* todo or quit changed */
    QemuCond done_cond;
    GQueue todo;                /* of GArray of PagecacheProofPage */
    GQueue done;
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

static void *proof_thread(void *opaque)
{
    PagecacheProof *proof = opaque;
    GArray *pages;
    guint i;

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
        for (i = 0; i < pages->len && !qatomic_read(&proof->quit); i++) {
            PagecacheProofPage *p = &g_array_index(pages, PagecacheProofPage,
                                                   i);

            p->equal = page_is_equal(proof, p) ||
                       pagecache_fault(PAGECACHE_FAULT_BREAK_PROOF);
        }
        pagecache_fault_delay_unless(PAGECACHE_FAULT_DELAY_OUTCOME,
                                     &proof->quit);
        qemu_mutex_lock(&proof->lock);
        /* On quit not all were compared; nobody looks at them any more. */
        g_queue_push_tail(&proof->done, pages);
        qemu_cond_signal(&proof->done_cond);
    }
    qemu_mutex_unlock(&proof->lock);
    return NULL;
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
    qemu_thread_create(&proof->thread, "mig/pagecache", proof_thread, proof,
                       QEMU_THREAD_JOINABLE);
    return proof;
}

static void free_array(gpointer data)
{
    g_array_unref(data);
}

void pagecache_proof_free(PagecacheProof *proof)
{
    if (!proof) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&proof->lock) {
        qatomic_set(&proof->quit, true);
        qemu_cond_signal(&proof->work);
    }
    pagecache_fault_wake();
    qemu_thread_join(&proof->thread);
    g_queue_clear_full(&proof->todo, free_array);
    g_queue_clear_full(&proof->done, free_array);
    qemu_cond_destroy(&proof->work);
    qemu_cond_destroy(&proof->done_cond);
    qemu_mutex_destroy(&proof->lock);
    g_free(proof);
}

void pagecache_proof_submit(PagecacheProof *proof, GArray *pages)
{
    proof->pending += pages->len;
    QEMU_LOCK_GUARD(&proof->lock);
    g_queue_push_tail(&proof->todo, pages);
    qemu_cond_signal(&proof->work);
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
