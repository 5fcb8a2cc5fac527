/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: one bandwidth for all migrations of a host
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A record is a line of text, so that an operator can look at it:
 *
 *   skip-pagecache 0123456789abcdef 00000042 00000000000104857600
 *
 * The numbers are the member's, that of its turns (hexadecimal both), and the
 * bytes a second that it wants.  Who leaves writes "left" in their place.
 */
#include "qemu/osdep.h"
#include "pagecache-share.h"

#define RECORD          PAGECACHE_SHARE_RECORD
#define RECORDS         PAGECACHE_SHARE_RECORDS
#define FORMAT          "skip-pagecache %016" PRIx64 " %08" PRIx32 \
                        " %020" PRIu64
#define WORD            "skip-pagecache "
#define LEFT            WORD "left"
/* Where the numbers are, and how long */
#define ID_AT           15
#define ID_LEN          16
#define TURN_AT         (ID_AT + ID_LEN + 1)
#define TURN_LEN        8
#define WANT_AT         (TURN_AT + TURN_LEN + 1)
#define WANT_LEN        20

/* What is known of the place of a record */
typedef struct Place {
    char last[RECORD];          /* what it held */
    bool valid;                 /* the following are, */
    int64_t seen;               /* ...from a record that came then */
    uint64_t id, want;
} Place;

struct PagecacheShare {
    uint64_t id;
    uint32_t turn;
    unsigned mine;              /* place; 0: none */
    bool known;                 /* @bandwidth is */
    uint64_t bandwidth;
    Place places[1 + RECORDS];  /* the first one is not used */
};

PagecacheShare *pagecache_share_new(uint64_t id)
{
    PagecacheShare *s = g_new0(PagecacheShare, 1);

    s->id = id;
    return s;
}

void pagecache_share_free(PagecacheShare *s)
{
    g_free(s);
}

/* --- the shares --- */

uint64_t pagecache_share_of(uint64_t bandwidth, const uint64_t *wants,
                            unsigned n)
{
    g_autofree bool *content = g_new0(bool, n);
    uint64_t left = bandwidth;
    unsigned i, hungry = n;
    bool more = true;

    /* Whoever wants less than an equal part of what is left has all of it. */
    while (more && hungry) {
        uint64_t part = left / hungry;

        more = false;
        for (i = 0; i < n; i++) {
            if (!content[i] && wants[i] <= part) {
                content[i] = true;
                left -= wants[i];
                hungry--;
                more = true;
                break;
            }
        }
    }
    if (hungry) {
        return content[0] ? wants[0] : left / hungry;
    }
    return wants[0] + left / n;
}

/* --- the file --- */

/* False: @text, of @len bytes, is more than digits of this base. */
static bool parse_number(const char *text, size_t len, unsigned base,
                         uint64_t *value)
{
    size_t i;

    *value = 0;
    for (i = 0; i < len; i++) {
        int digit = base == 16 ? g_ascii_xdigit_value(text[i]) :
                                 g_ascii_digit_value(text[i]);

        if (digit < 0 || *value > (UINT64_MAX - digit) / base) {
            return false;
        }
        *value = *value * base + digit;
    }
    return len > 0;
}

/* The operator's line */
static bool parse_bandwidth(const char *file, size_t len, uint64_t *bandwidth,
                            char **why)
{
    static const char suffixes[] = "KMGT";
    g_autofree char *line = g_strndup(len ? file : "", MIN(len, RECORD));
    char *end = strchr(line, '\n'), *suffix;
    unsigned shift = 0;
    uint64_t value;

    if (end) {
        *end = '\0';
    }
    g_strstrip(line);
    len = strlen(line);
    suffix = len ? strchr(suffixes, g_ascii_toupper(line[len - 1])) : NULL;
    if (suffix && *suffix) {
        shift = 10 * (suffix - suffixes + 1);
        len--;
    }
    if (!parse_number(line, len, 10, &value) || value > UINT64_MAX >> shift) {
        g_autofree char *shown = g_strescape(line, NULL);

        *why = g_strdup_printf("begins with '%s', expected a number of "
                               "bytes a second, such as 500M", shown);
        return false;
    }
    *bandwidth = value << shift;
    return true;
}

static bool parse_record(const char *r, uint64_t *id, uint64_t *want)
{
    uint64_t turn;

    return !strncmp(r, WORD, ID_AT) &&
           parse_number(r + ID_AT, ID_LEN, 16, id) &&
           parse_number(r + TURN_AT, TURN_LEN, 16, &turn) &&
           parse_number(r + WANT_AT, WANT_LEN, 10, want);
}

/*
 * Is somebody there who goes on?  He may be for a while if there is something
 * else: the file was cut, and he has yet to notice it.
 */
static bool is_alive(const Place *p, int64_t now)
{
    return p->valid && now - p->seen < PAGECACHE_SHARE_GONE_MS;
}

static void look_at(Place *p, const char *record, int64_t now)
{
    uint64_t id, want;

    if (!memcmp(p->last, record, RECORD)) {
        return;
    }
    memcpy(p->last, record, RECORD);
    if (parse_record(record, &id, &want)) {
        p->id = id;
        p->want = want;
        p->seen = now;
        p->valid = true;
    } else if (!strncmp(record, LEFT, strlen(LEFT))) {
        p->valid = false;
    }
}

/* Is there another place that has the same member, and has it later? */
static bool is_elsewhere(PagecacheShare *s, unsigned nr, int64_t now)
{
    const Place *p = &s->places[nr];
    unsigned i;

    for (i = 1; i <= RECORDS; i++) {
        const Place *other = &s->places[i];

        if (i != nr && other->id == p->id && is_alive(other, now) &&
            (other->seen > p->seen || (other->seen == p->seen && i < nr))) {
            return true;
        }
    }
    return false;
}

/* One that nobody has, anywhere; 0: there is none */
static unsigned find_place(PagecacheShare *s, int64_t now)
{
    unsigned i, first = (s->id ^ s->turn) % RECORDS;

    for (i = 0; i < RECORDS; i++) {
        unsigned nr = 1 + (first + i) % RECORDS;

        if (!is_alive(&s->places[nr], now)) {
            return nr;
        }
    }
    return 0;
}

/* Our own record, as it is to be now */
static void write_record(PagecacheShare *s, uint64_t want,
                         PagecacheShareTurn *turn)
{
    Place *p = &s->places[s->mine];
    int n;

    turn->offset = s->mine * RECORD;
    n = snprintf(turn->record, RECORD, FORMAT, s->id, s->turn, want);
    memset(turn->record + n, ' ', RECORD - n);
    turn->record[RECORD - 1] = '\n';
    memcpy(p->last, turn->record, RECORD);
    p->valid = false;           /* it is no other's */
}

void pagecache_share_left(char record[PAGECACHE_SHARE_RECORD])
{
    memset(record, ' ', RECORD);
    memcpy(record, LEFT, strlen(LEFT));
    record[RECORD - 1] = '\n';
}

bool pagecache_share_turn(PagecacheShare *s, int64_t now, const char *file,
                          size_t len, uint64_t want, PagecacheShareTurn *turn,
                          char **why)
{
    uint64_t wants[1 + RECORDS], bandwidth;
    unsigned i, n = 0;

    *why = NULL;
    if (parse_bandwidth(file, len, &bandwidth, why)) {
        s->bandwidth = bandwidth;
        s->known = true;
    }
    s->turn++;
    wants[n++] = MIN(want, s->bandwidth);
    for (i = 1; i <= RECORDS; i++) {
        char record[RECORD] = { 0 };

        if (len > i * RECORD) {
            memcpy(record, file + i * RECORD, MIN(len - i * RECORD, RECORD));
        }
        look_at(&s->places[i], record, now);
        if (s->mine == i && is_alive(&s->places[i], now)) {
            s->mine = 0;        /* somebody else has written there */
        }
    }
    for (i = 1; i <= RECORDS; i++) {
        const Place *p = &s->places[i];

        if (is_alive(p, now) && p->id != s->id && !is_elsewhere(s, i, now)) {
            wants[n++] = MIN(p->want, s->bandwidth);
        }
    }
    if (!s->mine) {
        s->mine = find_place(s, now);
    }
    *turn = (PagecacheShareTurn) {
        .bandwidth = s->bandwidth, .members = n,
    };
    if (s->mine) {
        write_record(s, want, turn);
    }
    if (s->bandwidth) {
        turn->share = MAX(pagecache_share_of(s->bandwidth, wants, n), 1);
    }
    return s->known;
}
