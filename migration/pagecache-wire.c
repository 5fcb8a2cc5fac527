/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the wire format, encoder and decoder
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "pagecache-wire.h"

/* --- encoding --- */

static void put_u8(GByteArray *out, uint8_t v)
{
    g_byte_array_append(out, &v, 1);
}

static void put_u16(GByteArray *out, uint16_t v)
{
    uint8_t buf[2];

    stw_be_p(buf, v);
    g_byte_array_append(out, buf, sizeof(buf));
}

static void put_u32(GByteArray *out, uint32_t v)
{
    uint8_t buf[4];

    stl_be_p(buf, v);
    g_byte_array_append(out, buf, sizeof(buf));
}

static void put_u64(GByteArray *out, uint64_t v)
{
    uint8_t buf[8];

    stq_be_p(buf, v);
    g_byte_array_append(out, buf, sizeof(buf));
}

static void put_name(GByteArray *out, const char *name)
{
    size_t len = strlen(name);

    g_assert(len && len <= PAGECACHE_WIRE_MAX_NAME);
    put_u8(out, len);
    g_byte_array_append(out, (const uint8_t *)name, len);
}

static void put_fields(GByteArray *out, GBytes *fields)
{
    size_t len = 0;
    const void *data = fields ? g_bytes_get_data(fields, &len) : NULL;

    g_assert(len <= UINT16_MAX);
    put_u16(out, len);
    if (len) {
        g_byte_array_append(out, data, len);
    }
}

static GByteArray *frame_new(uint8_t type)
{
    GByteArray *out = g_byte_array_new();

    put_u8(out, type);
    put_u32(out, 0);            /* frame_end() puts the length here */
    return out;
}

static GByteArray *frame_end(GByteArray *out)
{
    size_t len = out->len - PAGECACHE_WIRE_FRAME_HEADER;

    g_assert(len <= PAGECACHE_WIRE_FRAME_MAX);
    stl_be_p(out->data + 1, len);
    return out;
}

GByteArray *pagecache_wire_encode_start(const PagecacheWireStart *start)
{
    GByteArray *out = frame_new(PAGECACHE_WIRE_START);
    guint i;

    put_u32(out, PAGECACHE_WIRE_MAGIC);
    put_u16(out, PAGECACHE_WIRE_VERSION);
    put_u64(out, start->features);
    put_u8(out, start->page_bits);
    put_u8(out, start->digest);
    put_u16(out, start->secret->len);
    g_byte_array_append(out, start->secret->data, start->secret->len);

    put_u32(out, start->disks->len);
    for (i = 0; i < start->disks->len; i++) {
        PagecacheWireDisk *d = &g_array_index(start->disks,
                                              PagecacheWireDisk, i);

        put_u32(out, d->id);
        put_u64(out, d->sectors);
        put_name(out, d->path);
        put_fields(out, d->fields);
    }

    put_u32(out, start->blocks->len);
    for (i = 0; i < start->blocks->len; i++) {
        PagecacheWireBlock *b = &g_array_index(start->blocks,
                                               PagecacheWireBlock, i);

        put_u32(out, b->id);
        put_u64(out, b->npages);
        put_name(out, b->idstr);
    }
    return frame_end(out);
}

GByteArray *pagecache_wire_encode_offers(const PagecacheWireOffer *offers,
                                         uint32_t n)
{
    GByteArray *out = frame_new(PAGECACHE_WIRE_OFFERS);
    uint32_t i;

    put_u32(out, n);
    for (i = 0; i < n; i++) {
        put_u32(out, offers[i].disk);
        put_u32(out, offers[i].block);
        put_u32(out, offers[i].npages);
        put_u64(out, offers[i].page);
        put_u64(out, offers[i].sector);
    }
    return frame_end(out);
}

GByteArray *pagecache_wire_encode_end(void)
{
    return frame_end(frame_new(PAGECACHE_WIRE_END));
}

/* --- decoding --- */

/*
 * A cursor over the input.  Once something is wrong, everything that is read
 * is 0 and the first error stays.
 */
typedef struct Reader {
    const uint8_t *p;
    size_t left;
    char **err;
    bool failed;
} Reader;

static void G_GNUC_PRINTF(2, 3) fail(Reader *r, const char *fmt, ...)
{
    va_list ap;

    if (!r->failed) {
        r->failed = true;
        va_start(ap, fmt);
        *r->err = g_strdup_vprintf(fmt, ap);
        va_end(ap);
    }
}

static const uint8_t *get(Reader *r, size_t len, const char *what)
{
    const uint8_t *p = r->p;

    if (r->failed) {
        return NULL;
    }
    if (len > r->left) {
        fail(r, "truncated at the %s: %zu bytes left, expected %zu",
             what, r->left, len);
        return NULL;
    }
    r->p += len;
    r->left -= len;
    return p;
}

static uint8_t get_u8(Reader *r, const char *what)
{
    const uint8_t *p = get(r, 1, what);

    return p ? *p : 0;
}

static uint16_t get_u16(Reader *r, const char *what)
{
    const uint8_t *p = get(r, 2, what);

    return p ? lduw_be_p(p) : 0;
}

static uint32_t get_u32(Reader *r, const char *what)
{
    const uint8_t *p = get(r, 4, what);

    return p ? ldl_be_p(p) : 0;
}

static uint64_t get_u64(Reader *r, const char *what)
{
    const uint8_t *p = get(r, 8, what);

    return p ? ldq_be_p(p) : 0;
}

static char *get_name(Reader *r, const char *what)
{
    uint8_t len = get_u8(r, what);
    const uint8_t *p;

    if (!r->failed && !len) {
        fail(r, "%s is empty", what);
    }
    p = get(r, len, what);
    if (!p) {
        return NULL;
    }
    if (memchr(p, 0, len)) {
        fail(r, "%s holds a NUL byte", what);
        return NULL;
    }
    return g_strndup((const char *)p, len);
}

/*
 * Optional fields.  Of none is known yet what it means: they are passed over,
 * but are to be read by somebody who knows one behind them.
 */
static GBytes *get_fields(Reader *r, const char *what)
{
    uint16_t len = get_u16(r, what);
    Reader in = { .p = get(r, len, what), .left = len, .err = r->err };
    const uint8_t *begin = in.p;
    int32_t last = -1;

    while (!r->failed && in.left) {
        uint16_t type = get_u16(&in, what);

        get(&in, get_u16(&in, what), what);
        if (!in.failed && type <= last) {
            fail(&in, "%s: field of type %u behind one of type %u", what, type,
                 last);
        }
        last = type;
        r->failed = in.failed;
    }
    return len && !r->failed ? g_bytes_new(begin, len) : NULL;
}

static void get_end(Reader *r)
{
    if (r->left) {
        fail(r, "%zu bytes too many", r->left);
    }
}

bool pagecache_wire_decode_header(const uint8_t *buf, uint8_t type,
                                  uint32_t *len, char **err)
{
    *len = ldl_be_p(buf + 1);
    if (buf[0] != type) {
        *err = g_strdup_printf("frame of type %u, expected %u", buf[0], type);
        return false;
    }
    if (*len > PAGECACHE_WIRE_FRAME_MAX) {
        *err = g_strdup_printf("frame of %u bytes, expected at most %u",
                               *len, PAGECACHE_WIRE_FRAME_MAX);
        return false;
    }
    return true;
}

char *pagecache_wire_unexpected(uint8_t type)
{
    static const char *reserved[] = { "SWITCH", "DIGESTS", "MAP", "TOTALS" };

    if (type >= PAGECACHE_WIRE_SWITCH && type <= PAGECACHE_WIRE_TOTALS) {
        return g_strdup_printf("frame of type %u (%s), of a feature that was "
                               "not agreed upon", type,
                               reserved[type - PAGECACHE_WIRE_SWITCH]);
    }
    return g_strdup_printf("frame of type %u, expected %u to %u", type,
                           PAGECACHE_WIRE_START, PAGECACHE_WIRE_END);
}

static void clear_disk(gpointer data)
{
    PagecacheWireDisk *d = data;

    g_free(d->path);
    g_clear_pointer(&d->fields, g_bytes_unref);
}

static void clear_block(gpointer data)
{
    g_free(((PagecacheWireBlock *)data)->idstr);
}

PagecacheWireStart *pagecache_wire_start_new(void)
{
    PagecacheWireStart *start = g_new0(PagecacheWireStart, 1);

    start->secret = g_byte_array_new();
    start->disks = g_array_new(FALSE, FALSE, sizeof(PagecacheWireDisk));
    g_array_set_clear_func(start->disks, clear_disk);
    start->blocks = g_array_new(FALSE, FALSE, sizeof(PagecacheWireBlock));
    g_array_set_clear_func(start->blocks, clear_block);
    return start;
}

void pagecache_wire_start_free(PagecacheWireStart *start)
{
    if (!start) {
        return;
    }
    g_byte_array_unref(start->secret);
    g_array_unref(start->disks);
    g_array_unref(start->blocks);
    g_free(start);
}

static void decode_disks(Reader *r, PagecacheWireStart *start)
{
    uint32_t i, n = get_u32(r, "number of disks");

    if (n > PAGECACHE_WIRE_MAX_DISKS) {
        fail(r, "%u disks, expected at most %u", n, PAGECACHE_WIRE_MAX_DISKS);
    }
    for (i = 0; i < n && !r->failed; i++) {
        PagecacheWireDisk d;

        d.id = get_u32(r, "disk number");
        d.sectors = get_u64(r, "disk size");
        d.path = get_name(r, "disk name");
        d.fields = get_fields(r, "optional fields of a disk");
        if (!r->failed && i &&
            d.id <= g_array_index(start->disks, PagecacheWireDisk, i - 1).id) {
            fail(r, "disk number %u out of order", d.id);
        }
        if (!r->failed && d.sectors > INT64_MAX >> 9) {
            fail(r, "disk %u of %" PRIu64 " sectors, expected at most %" PRIu64,
                 d.id, d.sectors, (uint64_t)(INT64_MAX >> 9));
        }
        g_array_append_val(start->disks, d);
    }
}

static void decode_blocks(Reader *r, PagecacheWireStart *start)
{
    uint32_t i, n = get_u32(r, "number of RAM blocks");

    if (n > PAGECACHE_WIRE_MAX_BLOCKS) {
        fail(r, "%u RAM blocks, expected at most %u", n,
             PAGECACHE_WIRE_MAX_BLOCKS);
    }
    for (i = 0; i < n && !r->failed; i++) {
        PagecacheWireBlock b;

        b.id = get_u32(r, "RAM block number");
        b.npages = get_u64(r, "RAM block size");
        b.idstr = get_name(r, "RAM block name");
        if (!r->failed && b.id != i) {
            fail(r, "RAM block number %u, expected %u", b.id, i);
        }
        if (!r->failed && b.npages > UINT64_MAX >> start->page_bits) {
            fail(r, "RAM block of %" PRIu64 " pages, expected at most %" PRIu64,
                 b.npages, UINT64_MAX >> start->page_bits);
        }
        g_array_append_val(start->blocks, b);
    }
}

static uint16_t get_version(Reader *r)
{
    uint32_t magic = get_u32(r, "magic");

    if (!r->failed && magic != PAGECACHE_WIRE_MAGIC) {
        fail(r, "magic 0x%08x, expected 0x%08x", magic, PAGECACHE_WIRE_MAGIC);
    }
    return get_u16(r, "version");
}

bool pagecache_wire_start_version(const uint8_t *body, size_t len,
                                  uint16_t *version)
{
    g_autofree char *err = NULL;
    Reader r = { .p = body, .left = len, .err = &err };

    *version = get_version(&r);
    return !r.failed;
}

bool pagecache_wire_check_features(uint64_t offered, uint64_t accepted,
                                   char **err)
{
    if (accepted & ~offered) {
        *err = g_strdup_printf("features 0x%" PRIx64 " accepted, expected none "
                               "but 0x%" PRIx64, accepted, offered);
        return false;
    }
    return true;
}

PagecacheWireStart *pagecache_wire_decode_start(const uint8_t *body,
                                                size_t len, char **err)
{
    g_autoptr(PagecacheWireStart) start = pagecache_wire_start_new();
    Reader r = { .p = body, .left = len, .err = err };
    const uint8_t *secret;
    uint16_t version, secret_len;

    version = get_version(&r);
    if (!r.failed && version != PAGECACHE_WIRE_VERSION) {
        fail(&r, "version %u, expected %u", version, PAGECACHE_WIRE_VERSION);
    }
    start->features = get_u64(&r, "features");
    start->page_bits = get_u8(&r, "page size");
    if (!r.failed && (start->page_bits < 9 || start->page_bits > 24)) {
        fail(&r, "pages of 2^%u bytes, expected 2^9 to 2^24",
             start->page_bits);
    }
    start->digest = get_u8(&r, "digest");
    if (!r.failed && start->digest != PAGECACHE_DIGEST_XXH3 &&
        start->digest != PAGECACHE_DIGEST_SHA256) {
        fail(&r, "digest %u, expected %u or %u", start->digest,
             PAGECACHE_DIGEST_XXH3, PAGECACHE_DIGEST_SHA256);
    }
    secret_len = get_u16(&r, "length of the secret");
    if (!r.failed && (secret_len < PAGECACHE_SECRET_MIN ||
                      secret_len > PAGECACHE_SECRET_MAX)) {
        fail(&r, "secret of %u bytes, expected %u to %u", secret_len,
             PAGECACHE_SECRET_MIN, PAGECACHE_SECRET_MAX);
    }
    secret = get(&r, secret_len, "secret");
    if (secret) {
        g_byte_array_append(start->secret, secret, secret_len);
    }
    decode_disks(&r, start);
    decode_blocks(&r, start);
    get_end(&r);

    return r.failed ? NULL : g_steal_pointer(&start);
}

GArray *pagecache_wire_decode_offers(const uint8_t *body, size_t len,
                                     char **err)
{
    g_autoptr(GArray) offers = NULL;
    Reader r = { .p = body, .left = len, .err = err };
    uint32_t i, n = get_u32(&r, "number of offers");

    if (!r.failed && (uint64_t)n * PAGECACHE_WIRE_OFFER_LEN != r.left) {
        fail(&r, "%zu bytes of offers, expected %u times %u", r.left, n,
             PAGECACHE_WIRE_OFFER_LEN);
    }
    if (r.failed) {
        return NULL;
    }
    offers = g_array_sized_new(FALSE, FALSE, sizeof(PagecacheWireOffer), n);
    for (i = 0; i < n; i++) {
        PagecacheWireOffer o;

        o.disk = get_u32(&r, "offer");
        o.block = get_u32(&r, "offer");
        o.npages = get_u32(&r, "offer");
        o.page = get_u64(&r, "offer");
        o.sector = get_u64(&r, "offer");
        g_array_append_val(offers, o);
    }
    return g_steal_pointer(&offers);
}

bool pagecache_wire_decode_end(const uint8_t *body, size_t len, char **err)
{
    Reader r = { .p = body, .left = len, .err = err };

    get_end(&r);
    return !r.failed;
}

static const PagecacheWireDisk *find_disk(const PagecacheWireStart *start,
                                          uint32_t id)
{
    guint lo = 0, hi = start->disks->len;

    while (lo < hi) {
        guint mid = lo + (hi - lo) / 2;
        const PagecacheWireDisk *d = &g_array_index(start->disks,
                                                    PagecacheWireDisk, mid);

        if (d->id == id) {
            return d;
        }
        if (d->id < id) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

bool pagecache_wire_check_place(const PagecacheWireStart *start,
                                const char *what,
                                const PagecacheWireOffer *place, char **err)
{
    const PagecacheWireDisk *disk = find_disk(start, place->disk);
    const PagecacheWireBlock *block;
    uint64_t nsectors = (uint64_t)place->npages << (start->page_bits - 9);

    if (!disk) {
        *err = g_strdup_printf("%s from disk %u, which START did not name",
                               what, place->disk);
        return false;
    }
    if (place->block >= start->blocks->len) {
        *err = g_strdup_printf("%s for RAM block %u, expected 0 to %d", what,
                               place->block, (int)start->blocks->len - 1);
        return false;
    }
    if (place->npages > PAGECACHE_WIRE_OFFER_PAGES_MAX) {
        *err = g_strdup_printf("%s of %u pages, expected at most %u", what,
                               place->npages, PAGECACHE_WIRE_OFFER_PAGES_MAX);
        return false;
    }
    block = &g_array_index(start->blocks, PagecacheWireBlock, place->block);
    if (!place->npages || place->npages > block->npages ||
        place->page > block->npages - place->npages) {
        *err = g_strdup_printf("%s of %u pages from page %" PRIu64
                               " of RAM block '%s', which has %" PRIu64, what,
                               place->npages, place->page, block->idstr,
                               block->npages);
        return false;
    }
    if (nsectors > disk->sectors || place->sector > disk->sectors - nsectors) {
        *err = g_strdup_printf("%s of %" PRIu64 " sectors from sector %"
                               PRIu64 " of disk '%s', which has %" PRIu64,
                               what, nsectors, place->sector, disk->path,
                               disk->sectors);
        return false;
    }
    return true;
}

bool pagecache_wire_check_offer(const PagecacheWireStart *start,
                                const PagecacheWireOffer *offer, char **err)
{
    return pagecache_wire_check_place(start, "offer", offer, err);
}

/* --- reports --- */

static bool has_runs(const PagecacheReport *report)
{
    return report->status <= PAGECACHE_REPORT_UNAVAILABLE;
}

/* Bytes for each page */
static size_t digest_len(const PagecacheReport *report)
{
    return report->status == PAGECACHE_REPORT_OK ? PAGECACHE_DIGEST_LEN : 0;
}

void pagecache_report_init(PagecacheReport *report, uint8_t status)
{
    /* The body as it comes */
    memset(report, 0, offsetof(PagecacheReport, body));
    report->status = status;
}

static PagecacheReportRun run_at(const PagecacheReport *report, uint16_t pos)
{
    const uint8_t *p = report->body + pos;

    return (PagecacheReportRun) {
        .offer = ldl_be_p(p), .first = lduw_be_p(p + 4),
        .npages = lduw_be_p(p + 6),
        .digests = digest_len(report) ? p + PAGECACHE_REPORT_RUN : NULL,
    };
}

uint16_t pagecache_report_add(PagecacheReport *report,
                              const PagecacheReportRun *run)
{
    size_t each = digest_len(report), room = sizeof(report->body) - report->len;
    PagecacheReportRun last = { 0 };
    uint8_t *p = report->body + report->len;
    uint16_t n = run->npages;
    bool goes_on;

    g_assert(has_runs(report) && n &&
             run->first + n <= PAGECACHE_WIRE_OFFER_PAGES_MAX);
    if (report->nruns) {
        last = run_at(report, report->last);
    }
    goes_on = report->nruns && run->offer == last.offer &&
              run->first == last.first + last.npages;
    if (!goes_on) {
        if (room < PAGECACHE_REPORT_RUN + each) {
            return 0;
        }
        room -= PAGECACHE_REPORT_RUN;
    }
    if (each) {
        n = MIN(n, room / each);
    }
    if (!goes_on) {
        stl_be_p(p, run->offer);
        stw_be_p(p + 4, run->first);
        report->nruns++;
        report->last = report->len;
        report->len += PAGECACHE_REPORT_RUN;
        last.npages = 0;
    }
    stw_be_p(report->body + report->last + 6, last.npages + n);
    if (each) {
        memcpy(report->body + report->len, run->digests, n * each);
        report->len += n * each;
    }
    return n;
}

bool pagecache_report_next(const PagecacheReport *report, uint16_t *pos,
                           PagecacheReportRun *run)
{
    if (*pos >= report->len) {
        return false;
    }
    *run = run_at(report, *pos);
    *pos += PAGECACHE_REPORT_RUN + run->npages * digest_len(report);
    return true;
}

size_t pagecache_wire_encode_report(const PagecacheReport *report,
                                    uint8_t *buf)
{
    buf[0] = report->status;
    buf[1] = digest_len(report);
    if (report->status == PAGECACHE_REPORT_REFUSED) {
        stw_be_p(buf + 2, report->version);
        return 4;
    }
    if (report->status == PAGECACHE_REPORT_ACCEPTED) {
        stq_be_p(buf + 2, report->features);
        return 10;
    }
    g_assert(report->nruns);
    stw_be_p(buf + 2, report->nruns);
    memcpy(buf + PAGECACHE_REPORT_HEADER, report->body, report->len);
    return PAGECACHE_REPORT_HEADER + report->len;
}

static void get_run(Reader *r, size_t each)
{
    uint16_t first, npages;

    get_u32(r, "number of an offer");
    first = get_u16(r, "first page");
    npages = get_u16(r, "number of pages");
    if (!r->failed && !npages) {
        fail(r, "run of 0 pages, expected 1 or more");
    }
    if (!r->failed && first + npages > PAGECACHE_WIRE_OFFER_PAGES_MAX) {
        fail(r, "%u pages from page %u of an offer, expected at most %u in "
             "all", npages, first, PAGECACHE_WIRE_OFFER_PAGES_MAX);
    }
    get(r, npages * each, "digests");
}

static void decode_runs(Reader *r, PagecacheReport *report)
{
    uint16_t i, n = get_u16(r, "number of runs");
    const uint8_t *body = r->p;

    if (!r->failed && !n) {
        fail(r, "0 runs, expected 1 or more");
    }
    for (i = 0; i < n && !r->failed; i++) {
        report->last = r->p - body;
        get_run(r, digest_len(report));
    }
    get_end(r);
    if (!r->failed && r->p - body > sizeof(report->body)) {
        fail(r, "runs of %zu bytes, expected at most %zu",
             (size_t)(r->p - body), sizeof(report->body));
    }
    if (!r->failed) {
        report->nruns = n;
        report->len = r->p - body;
        memcpy(report->body, body, report->len);
    }
}

static void check_status(Reader *r, uint8_t status)
{
    static const char *reserved[] = { "PLACED", "MISMATCH" };

    if (!r->failed && (status == PAGECACHE_REPORT_PLACED ||
                       status == PAGECACHE_REPORT_MISMATCH)) {
        fail(r, "status %u (%s), of a feature that was not agreed upon",
             status, reserved[status - PAGECACHE_REPORT_PLACED]);
    }
    if (!r->failed && status > PAGECACHE_REPORT_ACCEPTED) {
        fail(r, "status %u, expected at most %u", status,
             PAGECACHE_REPORT_ACCEPTED);
    }
}

bool pagecache_wire_decode_report(const uint8_t *buf, size_t len,
                                  PagecacheReport *report, char **err)
{
    Reader r = { .p = buf, .left = len, .err = err };
    uint8_t each;

    pagecache_report_init(report, get_u8(&r, "status"));
    check_status(&r, report->status);
    each = get_u8(&r, "length of a digest");
    if (!r.failed && each != digest_len(report)) {
        fail(&r, "digests of %u bytes, expected %zu", each,
             digest_len(report));
    }
    if (r.failed) {
        return false;
    }
    if (has_runs(report)) {
        decode_runs(&r, report);
    } else if (report->status == PAGECACHE_REPORT_REFUSED) {
        report->version = get_u16(&r, "version");
    } else {
        report->features = get_u64(&r, "features");
    }
    get_end(&r);
    return !r.failed;
}
