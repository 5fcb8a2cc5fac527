/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: a hostile destination
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A real destination, and somebody behind it who changes its reports and
 * forges more.  What has no valid form fails the migration and the guest goes
 * on; what has one changes nothing that is not in flight.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qobject/qdict.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-proxy.h"

typedef struct BadReport {
    const char *name;
    uint16_t type, len;         /* of the message */
    uint8_t status, digest_len;
    uint16_t nruns;
    uint32_t offer;             /* the first run; what follows is 0 */
    uint16_t first, npages;
    const char *error;          /* what the source says; NULL: nothing */
    bool in_the_end;            /* and when: upstream's own errors */
} BadReport;

#define NO_OFFER    4000000     /* nobody has made it */

static const BadReport bad_reports[] = {
    { "empty", RP_REPORT, 0,
      .error = "malformed report: truncated at the status" },
    { "half-a-header", RP_REPORT, 3, REPORT_OK, 16,
      .error = "malformed report: truncated at the number of runs" },
    { "half-a-run", RP_REPORT, 9, REPORT_OK, 16, 1, 0, 0, 1,
      .error = "malformed report: truncated at the first page" },
    { "status", RP_REPORT, 12, 6, 0, 1, 0, 0, 1,
      .error = "malformed report: status 6, expected at most 3" },
    { "status-placed", RP_REPORT, 12, 4, 0, 1, 0, 0, 1,
      .error = "malformed report: status 4 (PLACED), of a feature that was "
               "not agreed upon" },
    { "status-mismatch", RP_REPORT, 12, 5, 0, 1, 0, 0, 1,
      .error = "malformed report: status 5 (MISMATCH), of a feature that was "
               "not agreed upon" },
    { "digest-length", RP_REPORT, 28, REPORT_OK, 32, 1, 0, 0, 1,
      .error = "malformed report: digests of 32 bytes, expected 16" },
    { "digest-where-none-is", RP_REPORT, 12, REPORT_UNAVAILABLE, 16, 1, 0, 0, 1,
      .error = "malformed report: digests of 16 bytes, expected 0" },
    { "one-digest-too-few", RP_REPORT, 12 + 16, REPORT_OK, 16, 1, 0, 0, 2,
      .error = "malformed report: truncated at the digests" },
    { "one-digest-too-many", RP_REPORT, 12 + 32, REPORT_OK, 16, 1, 0, 0, 1,
      .error = "malformed report: 16 bytes too many" },
    { "no-runs", RP_REPORT, 4, REPORT_OK, 16, 0,
      .error = "malformed report: 0 runs, expected 1 or more" },
    { "runs-most-of-all", RP_REPORT, 28, REPORT_OK, 16, UINT16_MAX, 0, 0, 1,
      .error = "malformed report: truncated at the number of an offer" },
    { "no-pages", RP_REPORT, 12, REPORT_OK, 16, 1,
      .error = "malformed report: run of 0 pages, expected 1 or more" },
    { "pages-most-of-all", RP_REPORT, 512, REPORT_OK, 16, 1, 0, 0, UINT16_MAX,
      .error = "malformed report: truncated at the digests" },
    { "pages-beyond-any-offer", RP_REPORT, 12, REPORT_UNAVAILABLE, 0, 1, 0, 2,
      UINT16_MAX,
      .error = "malformed report: 65535 pages from page 2 of an offer, "
               "expected at most 65535 in all" },
    { "pages-beyond-their-offer", RP_REPORT, 28, REPORT_OK, 16, 1, 0, 65000, 1,
      .error = "malformed report: 1 pages from page 65000 of offer 0, which "
               "has 16" },
    { "unavailable-beyond-their-offer", RP_REPORT, 12, REPORT_UNAVAILABLE, 0,
      1, 0, 0, 1025,
      .error = "malformed report: 1025 pages from page 0 of offer 0, which "
               "has 16" },
    { "longer-than-the-path-takes", RP_REPORT, 524, REPORT_OK, 16, 1, 0, 0, 32,
      .error = "skip-pagecache: report of 524 bytes, expected at most 512" },
    { "refused-too-late", RP_REPORT, 4, REPORT_REFUSED, 0, 2,
      .error = "skip-pagecache is on here and off at the destination" },
    { "refused-by-another-version", RP_REPORT, 4, REPORT_REFUSED, 0, 3,
      .error = "skip-pagecache: the destination speaks version 3 of the wire "
               "format, expected 2" },
    { "refused-with-more", RP_REPORT, 5, REPORT_REFUSED, 0, 2,
      .error = "malformed report: 1 bytes too many" },
    { "accepted-with-less", RP_REPORT, 9, REPORT_ACCEPTED, 0,
      .error = "malformed report: truncated at the features" },
    { "accepted-what-was-not-offered", RP_REPORT, 10, REPORT_ACCEPTED, 0, 0, 0,
      1,                        /* there stands the lowest bit */
      .error = "malformed report: features 0x1 accepted, expected none but "
               "0x0" },
    { "message-unknown", RP_REPORT + 1, 16,
      .error = "Received invalid message 0x5048", .in_the_end = true },
    { "message-next-in-turn", RP_SWITCHOVER_ACK + 1, 16,
      .error = "Received invalid message 0x0008", .in_the_end = true },

    /* of a good form; and what they speak of doesn't exist, or isn't theirs */
    { "accepted-again", RP_REPORT, 10, REPORT_ACCEPTED },
    { "offer-unknown", RP_REPORT, 28, REPORT_OK, 16, 1, NO_OFFER, 0, 1 },
    { "offer-most-of-all", RP_REPORT, 508, REPORT_OK, 16, 1, UINT32_MAX, 0,
      31 },
    { "offer-unknown-of-any-size", RP_REPORT, 508, REPORT_OK, 16, 1, NO_OFFER,
      65504, 31 },
    { "unavailable-unknown", RP_REPORT, 12, REPORT_UNAVAILABLE, 0, 1, NO_OFFER,
      0, 2048 },
    { "unavailable-more-than-there-is", RP_REPORT, 12, REPORT_UNAVAILABLE, 0,
      1, NO_OFFER, 0, UINT16_MAX },
};

static void inject(PctProxy *p, const BadReport *b)
{
    uint8_t body[1024] = { 0 };

    body[0] = b->status;
    body[1] = b->digest_len;
    stw_be_p(body + 2, b->nruns);
    stl_be_p(body + 4, b->offer);
    stw_be_p(body + 8, b->first);
    stw_be_p(body + 10, b->npages);
    pct_proxy_inject(p, b->type, body, b->len);
}

static void test_bad_report(const void *opaque)
{
    const BadReport *b = opaque;
    PcTest *t = pct_new_pair();
    PctProxy *p;

    pct_hint_cache(t);
    /* for the channel, which would take what is in flight in the end */
    pct_scribble(t, ZERO_START, 4 * MiB / PAGE);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    inject(p, b);
    pct_proxy_hold(p, false);

    if (b->error) {
        g_autofree char *error = NULL;

        if (b->in_the_end) {
            pct_full_speed(t);
        }
        pct_wait_failed(t->src);
        error = pct_error(t->src);
        pct_assert_contains(error, b->error);
        pct_wait_running(t->src);
        pct_check_memory(t, t->src);
        pct_proxy_free(p);

        /* And it can go somewhere else. */
        qtest_quit(t->dst);
        pct_start_dst(t, NULL);
        pct_on(t);
        pct_incoming(t);
        pct_migrate_slowly(t);
        p = NULL;
    }
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    if (p) {
        pct_proxy_free(p);
    }
    pct_free(t);
}

/* --- one that does not answer --- */

static bool no_answer(void *opaque, GByteArray *body)
{
    return body->data[REPORT_STATUS] != REPORT_ACCEPTED;
}

/* Nothing of the guest's is sent, and it can be called off. */
static void test_no_answer(void)
{
    PcTest *t = pct_new_pair();
    g_autoptr(GByteArray) start = NULL;
    g_autoptr(GByteArray) sent = NULL;
    PctProxy *p;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, no_answer, NULL);
    pct_migrate(t);
    while (!(start = pct_proxy_start_body(p))) {
        g_usleep(1000);
    }
    pct_wait_figure(t->dst, "offered-pages", 0);
    wait_for_migration_status(t->src, "setup", NULL);
    sent = pct_proxy_recorded(p);
    g_assert_cmpuint(sent->len, <, 64 * KiB);
    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    pct_proxy_free(p);
    pct_free(t);
}

/* --- one that knows the secret --- */

static void digest(const GByteArray *start, const uint8_t *page, uint8_t *out)
{
    g_autoptr(GChecksum) sum = g_checksum_new(G_CHECKSUM_SHA256);
    uint8_t full[32];
    gsize len = sizeof(full);

    g_checksum_update(sum, start->data + START_SECRET,
                      lduw_be_p(start->data + START_SECRET_LEN));
    g_checksum_update(sum, page, PAGE);
    g_checksum_get_digest(sum, full, &len);
    memcpy(out, full, DIGEST_LEN);
}

/* Reports @n pages of an offer as what stands at @addr at the source */
static void forge(PcTest *t, PctProxy *p, uint32_t offer, unsigned first,
                  uint64_t addr, unsigned n)
{
    g_autoptr(GByteArray) start = pct_proxy_start_body(p);
    uint8_t body[REPORT_HEADER + RUN_HEADER + 31 * DIGEST_LEN] = { 0 };
    unsigned i;

    g_assert_cmpuint(n, <=, 31);
    body[1] = DIGEST_LEN;
    stw_be_p(body + 2, 1);
    stl_be_p(body + REPORT_HEADER, offer);
    stw_be_p(body + REPORT_HEADER + 4, first);
    stw_be_p(body + REPORT_HEADER + 6, n);
    for (i = 0; i < n; i++) {
        digest(start, t->ram + addr + i * PAGE,
               body + REPORT_HEADER + RUN_HEADER + i * DIGEST_LEN);
    }
    pct_proxy_inject(p, RP_REPORT, body,
                     REPORT_HEADER + RUN_HEADER + n * DIGEST_LEN);
}

static PcTest *sha256_pair(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration.pagecache-digest=sha256", disk);

    pct_start_src(t, args);
    pct_start_dst(t, NULL);
    pct_on(t);
    return t;
}

/* The control: what forge() makes is good where a report is due. */
static void test_forged_in_flight(void)
{
    PcTest *t = sha256_pair();
    PctProxy *p;
    PctOffer o;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    pct_wait_figure(t->dst, "reported-pages", CACHE_PAGES);
    o = pct_proxy_offer(p, 3);
    g_assert_cmpuint(o.npages, >=, 5);
    forge(t, p, 3, 2, o.page * PAGE + 2 * PAGE, 3);
    pct_wait_figure(t->src, "proven-pages", 3);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, 3);
    pct_proxy_hold(p, false);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_proxy_free(p);
    pct_free(t);
}

/*
 * Of pages that nobody hinted: no offer has them, so what is left is to say
 * that their content came with one that was not made yet.
 */
static void test_forged_not_hinted(void)
{
    PcTest *t = sha256_pair();
    PctProxy *p;
    unsigned i;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", CACHE_PAGES);
    for (i = 0; i < PRIVATE_SIZE / PAGE - 31; i += 31) {
        forge(t, p, pct_proxy_offers(p) + i, 0, PRIVATE_START + i * PAGE, 31);
    }
    pct_proxy_hold(p, false);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_proxy_free(p);
    pct_free(t);
}

/* Of pages that wait in the pool: twice the window is hinted */
static void test_forged_not_offered(void)
{
    PcTest *t = sha256_pair();
    PctProxy *p;
    uint64_t pooled;
    unsigned i, j;

    /* for the channel, which would take from the pool */
    pct_scribble(t, ZERO_START, 4 * MiB / PAGE);
    for (i = 0; i < 2 * CACHE_PAGES; i++) {
        uint64_t addr = PRIVATE_START + (uint64_t)i * PAGE;

        /* the last are the last on the disk, and the last to be offered */
        pct_hint(t, "blk0", addr, i * 8ull / 2, 1);
    }
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    pct_wait_figure(t->dst, "offered-pages", CACHE_PAGES);
    pooled = pct_figure(t->src, "pooled-pages");
    g_assert_cmpint(pooled, >=, 62);
    for (i = 0; i < 62; i += 31) {
        /* each page is an offer of its own */
        for (j = 0; j < 31; j++) {
            uint32_t nr = 2 * CACHE_PAGES - 62 + i + j;

            g_assert_cmpuint(nr, >=, pct_proxy_offers(p));
            forge(t, p, nr, 0, PRIVATE_START + (uint64_t)nr * PAGE, 1);
        }
    }
    /*
     * A report that counts, behind them; with another page's digest, as it may
     * be of any page: the channel has sent the first ones if hints were late.
     */
    forge(t, p, 0, 0, ZERO_START, 1);
    pct_wait_figure(t->src, "reported-pages", 1);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 1);
    pct_wait_figure(t->dst, "reported-pages", 1);
    pct_proxy_hold(p, false);
    pct_finish(t);
    pct_check_figures(t);
    pct_proxy_free(p);
    pct_free(t);
}

/* --- and one that changes the reports that were right --- */

typedef struct Reports {
    GMutex lock;
    GPtrArray *seen;            /* of GBytes */
    PctProxy *proxy;
} Reports;

static bool wrong_digest(void *opaque, GByteArray *body)
{
    if (body->data[REPORT_STATUS] == REPORT_OK) {
        /* of the first page */
        body->data[REPORT_HEADER + RUN_HEADER + 5] ^= 1;
    }
    return true;
}

static void test_wrong_digest(void)
{
    PcTest *t = pct_new_pair();
    PctProxy *p;
    int64_t bad;

    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, wrong_digest, NULL);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "reported-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_figures(t);
    bad = pct_figure(t->src, "mismatched-pages");
    g_assert_cmpint(bad, >=, CACHE_PAGES / 31);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, CACHE_PAGES - bad);
    pct_proxy_free(p);
    pct_free(t);
}

static bool remember(void *opaque, GByteArray *body)
{
    Reports *r = opaque;

    g_mutex_lock(&r->lock);
    g_ptr_array_add(r->seen, g_bytes_new(body->data, body->len));
    g_mutex_unlock(&r->lock);
    return true;
}

static void repeat_reports(Reports *r)
{
    guint i;

    g_mutex_lock(&r->lock);
    for (i = 0; i < r->seen->len; i++) {
        GBytes *bytes = g_ptr_array_index(r->seen, i);
        gsize len;
        const void *data = g_bytes_get_data(bytes, &len);

        pct_proxy_inject(r->proxy, RP_REPORT, data, len);
    }
    g_mutex_unlock(&r->lock);
}

/*
 * Reports once more, of pages that have changed since.  That they were right
 * at some time must not help.
 */
static void test_repeated_reports(void)
{
    Reports r = { 0 };
    PcTest *t = pct_new_pair();

    g_mutex_init(&r.lock);
    r.seen = g_ptr_array_new_with_free_func((GDestroyNotify)g_bytes_unref);
    pct_hint_cache(t);
    pct_incoming(t);
    r.proxy = pct_proxy_new(t, NULL, remember, &r);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    repeat_reports(&r);
    pct_scribble(t, CACHE_START, CACHE_PAGES / 2);
    repeat_reports(&r);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_proxy_free(r.proxy);
    g_ptr_array_unref(r.seen);
    g_mutex_clear(&r.lock);
    pct_free(t);
}

/*
 * More than anybody could want.  It fits into no memory that was meant for it,
 * and what is thrown away is not passed over in silence.
 */
static void test_flood_of_reports(void)
{
    BadReport junk = { "", RP_REPORT, 0, REPORT_OK, 16, 1 };
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *log = pct_path(t, "stderr");
    g_autofree char *args = g_strdup_printf("%s 2>%s", disk, log);
    g_autofree char *text = NULL;
    PctProxy *p;
    int i;

    pct_start_src(t, args);
    pct_start_dst(t, NULL);
    pct_on(t);
    pct_hint_cache(t);
    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_proxy_hold(p, true);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "in-flight-pages", CACHE_PAGES);
    junk.npages = MIN(pct_proxy_offer(p, 0).npages, 31);
    junk.len = REPORT_HEADER + RUN_HEADER + junk.npages * DIGEST_LEN;
    for (i = 0; i < 100 * 1000; i++) {
        inject(p, &junk);
    }
    pct_wait_figure(t->src, "mismatched-pages", junk.npages);
    pct_proxy_hold(p, false);
    pct_finish(t);
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "mismatched-pages"), ==, junk.npages);
    g_assert_true(g_file_get_contents(log, &text, NULL, NULL));
    pct_assert_contains(text, "skip-pagecache: the destination reports more "
                              "pages than were offered");
    pct_proxy_free(p);
    pct_free(t);
}

int main(int argc, char **argv)
{
    int i;

    g_test_init(&argc, &argv, NULL);

    for (i = 0; i < ARRAY_SIZE(bad_reports); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/report/%s",
                                                bad_reports[i].name);

        qtest_add_data_func(path, &bad_reports[i], test_bad_report);
    }
    qtest_add_func("/pagecache/report/no-answer", test_no_answer);
    qtest_add_func("/pagecache/report/forged/in-flight",
                   test_forged_in_flight);
    qtest_add_func("/pagecache/report/forged/not-hinted",
                   test_forged_not_hinted);
    qtest_add_func("/pagecache/report/forged/not-offered",
                   test_forged_not_offered);
    qtest_add_func("/pagecache/report/wrong-digest", test_wrong_digest);
    qtest_add_func("/pagecache/report/repeated", test_repeated_reports);
    qtest_add_func("/pagecache/report/flood", test_flood_of_reports);
    return g_test_run();
}
