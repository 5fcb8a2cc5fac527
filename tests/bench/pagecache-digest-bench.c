/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast pages are proven at the source, and put into RAM at the destination,
 * by several threads.
 *
 *   pagecache-digest-bench [OPTION...]
 *
 * "proof" digests pages where they are and compares, in pieces as the source's
 * threads get them.  "copy" copies pages out of a reader's buffer and digests
 * what was copied, as a reader's threads do at the destination.  Nothing is in
 * the processor's cache but what was copied just before.  SHA-256 is that of
 * GnuTLS, called as QEMU calls it.
 *
 * Prints one line for each digest, side, and number of threads: how much in a
 * second, and in a second of CPU time, where other work does not count.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include <time.h>
#include <gnutls/crypto.h>
#include "qemu/atomic.h"
#include "qemu/units.h"
#include "crypto/hash.h"
#include "crypto/random.h"
#include "pagecache-digest.h"

#define PAGE            4096
#define PROOF_PAGES     256         /* PIECE_PAGES of pagecache-proof.c */
#define COPY_PAGES      64          /* PAGES_AT_ONCE of pagecache-refill.c */

static int seconds = 2, ram_mib = 512, only_threads;

static const GOptionEntry options[] = {
    { "seconds", 's', 0, G_OPTION_ARG_INT, &seconds,
      "How long each is measured (default: 2)", "N" },
    { "ram", 0, 0, G_OPTION_ARG_INT, &ram_mib,
      "MiB of pages, and as many for what is read (default: 512)", "N" },
    { "threads", 't', 0, G_OPTION_ARG_INT, &only_threads,
      "So many threads only (default: 1, 2 and 4)", "N" },
    { NULL }
};

/* --- QEMU's crypto, as it is with GnuTLS --- */

bool qcrypto_hash_supports(QCryptoHashAlgo alg)
{
    return true;
}

int qcrypto_hash_bytesv(QCryptoHashAlgo alg, const struct iovec *iov,
                        size_t niov, uint8_t **result, size_t *resultlen,
                        Error **errp)
{
    g_autofree gnutls_hash_hd_t *hash = g_new(gnutls_hash_hd_t, 1);
    size_t i;

    if (gnutls_hash_init(hash, GNUTLS_DIG_SHA256) < 0) {
        return -1;
    }
    for (i = 0; i < niov; i++) {
        gnutls_hash(*hash, iov[i].iov_base, iov[i].iov_len);
    }
    gnutls_hash_output(*hash, *result);
    gnutls_hash_deinit(*hash, NULL);
    return 0;
}

int qcrypto_random_bytes(void *buf, size_t buflen, Error **errp)
{
    uint8_t *bytes = buf;
    size_t i;

    for (i = 0; i < buflen; i++) {
        bytes[i] = g_random_int();
    }
    return 0;
}

/* --- what is measured --- */

typedef struct Bench {
    PagecacheDigest digest;
    uint8_t *ram, *read;        /* of @pages pages each */
    uint64_t pages;
    uint64_t next;              /* atomic: page, of all threads */
    bool stop;                  /* atomic */
    void (*piece)(struct Bench *b, uint64_t page);
    unsigned piece_pages;
} Bench;

static void digest_pages(Bench *b, const uint8_t *data, unsigned n)
{
    static const uint8_t reported[PAGECACHE_DIGEST_LEN];
    uint8_t digest[PAGECACHE_DIGEST_LEN];
    unsigned i;

    for (i = 0; i < n; i++, data += PAGE) {
        g_assert_true(pagecache_digest_page(&b->digest, data, PAGE, digest));
        g_assert_false(!memcmp(digest, reported, sizeof(digest)));
    }
}

static void prove(Bench *b, uint64_t page)
{
    digest_pages(b, b->ram + page * PAGE, PROOF_PAGES);
}

static void copy(Bench *b, uint64_t page)
{
    const uint8_t *data = b->read + page * PAGE;
    unsigned i;

    for (i = 0; i < COPY_PAGES; i++) {
        memcpy(b->ram + (page + i) * PAGE, data + i * PAGE, PAGE);
    }
    digest_pages(b, data, COPY_PAGES);
}

static gpointer bench_thread(gpointer opaque)
{
    Bench *b = opaque;
    uint64_t n = 0;

    while (!qatomic_read(&b->stop)) {
        b->piece(b, qatomic_fetch_add(&b->next, b->piece_pages) % b->pages);
        n += b->piece_pages;
    }
    return (gpointer)(uintptr_t)n;
}

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

/* GB a second, and a second of CPU time */
static double run(Bench *b, int nthreads, double *per_cpu)
{
    g_autofree GThread **threads = g_new(GThread *, nthreads);
    int64_t start = g_get_monotonic_time();
    double cpu = cpu_seconds();
    uint64_t pages = 0;
    int i;

    b->stop = false;
    for (i = 0; i < nthreads; i++) {
        threads[i] = g_thread_new("bench", bench_thread, b);
    }
    g_usleep(seconds * G_USEC_PER_SEC);
    qatomic_set(&b->stop, true);
    for (i = 0; i < nthreads; i++) {
        pages += (uintptr_t)g_thread_join(threads[i]);
    }
    *per_cpu = pages * PAGE / 1e9 / (cpu_seconds() - cpu);
    return pages * PAGE / 1e3 / (g_get_monotonic_time() - start);
}

static void measure(Bench *b, const char *digest, const char *side)
{
    static const int numbers[] = { 1, 2, 4 };
    unsigned i;

    for (i = 0; i < (only_threads ? 1 : ARRAY_SIZE(numbers)); i++) {
        int n = only_threads ?: numbers[i];
        double per_cpu, gb = run(b, n, &per_cpu);

        printf("%-8s %-6s %2d thread%s %6.2f GB/s, %.2f GB a second of CPU "
               "time\n", digest, side, n, n == 1 ? ": " : "s:", gb, per_cpu);
        fflush(stdout);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        PagecacheDigestKind kind;
        const char *name;
    } kinds[] = {
        { PAGECACHE_DIGEST_XXH3, "XXH3" },
        { PAGECACHE_DIGEST_SHA256, "SHA-256" },
    };
    g_autoptr(GOptionContext) context = g_option_context_new(NULL);
    g_autoptr(GError) err = NULL;
    Bench b = { 0 };
    unsigned i;

    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &err)) {
        fprintf(stderr, "%s: %s\n", argv[0], err->message);
        return 2;
    }
    if (seconds < 1 || ram_mib < 1 || only_threads < 0) {
        fprintf(stderr, "%s: --seconds=%d --ram=%d --threads=%d: expected "
                "positive numbers\n", argv[0], seconds, ram_mib, only_threads);
        return 2;
    }
    b.pages = ram_mib * MiB / PAGE;
    b.ram = g_malloc(b.pages * PAGE);
    b.read = g_malloc(b.pages * PAGE);
    memset(b.ram, 1, b.pages * PAGE);
    memset(b.read, 2, b.pages * PAGE);
    for (i = 0; i < ARRAY_SIZE(kinds); i++) {
        g_assert_true(pagecache_digest_init(&b.digest, kinds[i].kind, NULL));
        b.piece = prove;
        b.piece_pages = PROOF_PAGES;
        measure(&b, kinds[i].name, "proof");
        b.piece = copy;
        b.piece_pages = COPY_PAGES;
        measure(&b, kinds[i].name, "copy");
    }
    g_free(b.ram);
    g_free(b.read);
    return 0;
}
