/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: tests of one bandwidth for all migrations of a host
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Members with a file in memory, which may be cut, forged, or full, and some
 * with a file and threads.
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include "qemu/units.h"
#include "pagecache-group.h"
#include "pagecache-share.h"

#define RECORD          PAGECACHE_SHARE_RECORD
#define HUNGRY          UINT64_MAX

/* --- the rule --- */

static void test_shares(void)
{
    static const struct {
        uint64_t bandwidth;
        unsigned n;
        uint64_t wants[4];
        uint64_t share;         /* of the first one */
    } cases[] = {
        { 100, 1, { 0 }, 100 },
        { 100, 1, { HUNGRY }, 100 },
        { 100, 2, { HUNGRY, HUNGRY }, 50 },
        { 100, 2, { HUNGRY, 0 }, 100 },
        { 100, 2, { 0, HUNGRY }, 0 },
        { 100, 2, { 10, HUNGRY }, 10 },
        { 100, 2, { HUNGRY, 10 }, 90 },
        { 100, 2, { 10, 20 }, 45 },         /* and what nobody wants */
        { 100, 4, { HUNGRY, 10, 30, HUNGRY }, 30 },
        { 100, 4, { HUNGRY, 10, 20, HUNGRY }, 35 },
        { 100, 4, { 34, 10, 20, HUNGRY }, 34 },
        { 3, 4, { HUNGRY, HUNGRY, HUNGRY, HUNGRY }, 0 },
        { UINT64_MAX, 2, { HUNGRY, HUNGRY }, UINT64_MAX / 2 },
    };
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        g_test_message("%d", i);
        g_assert_cmpuint(pagecache_share_of(cases[i].bandwidth, cases[i].wants,
                                            cases[i].n), ==, cases[i].share);
    }
}

/* Whatever they want, the shares add up to no more than there is. */
static void test_sums(void)
{
    unsigned i, k, round;

    for (round = 0; round < 2000; round++) {
        unsigned n = g_test_rand_int_range(1, 64);
        uint64_t wants[64], sum = 0, bandwidth = g_test_rand_int_range(1, 1000);

        for (i = 0; i < n; i++) {
            wants[i] = g_test_rand_bit() ? HUNGRY :
                       g_test_rand_int_range(0, 2000);
        }
        for (i = 0; i < n; i++) {
            uint64_t mine[64];

            for (k = 0; k < n; k++) {
                mine[k] = wants[(i + k) % n];
            }
            sum += pagecache_share_of(bandwidth, mine, n);
        }
        g_assert_cmpuint(sum, <=, bandwidth);
        g_assert_cmpuint(sum + n, >, bandwidth);
    }
}

/* --- members and a file --- */

#define MEMBERS     70

typedef struct World {
    GByteArray *file;
    int64_t now;
    PagecacheShare *member[MEMBERS];
    uint64_t want[MEMBERS];
    PagecacheShareTurn last[MEMBERS];
} World;

static void write_at(World *w, size_t offset, const void *data, size_t len)
{
    if (w->file->len < offset + len) {
        guint old = w->file->len;

        g_byte_array_set_size(w->file, offset + len);
        memset(w->file->data + old, 0, offset + len - old);
    }
    if (len) {
        memcpy(w->file->data + offset, data, len);
    }
}

/* As the operator's shell does it */
static void echo(World *w, const char *line)
{
    g_byte_array_set_size(w->file, 0);
    write_at(w, 0, line, strlen(line));
}

static World *world_new(const char *line, unsigned n)
{
    World *w = g_new0(World, 1);
    unsigned i;

    w->file = g_byte_array_new();
    w->now = 1000000;
    echo(w, line);
    for (i = 0; i < n; i++) {
        w->member[i] = pagecache_share_new(g_test_rand_int() * 1000ull + i);
        w->want[i] = HUNGRY;
    }
    return w;
}

static void kill_member(World *w, unsigned i)
{
    g_clear_pointer(&w->member[i], pagecache_share_free);
    w->last[i].share = 0;
}

static void world_free(World *w)
{
    unsigned i;

    for (i = 0; i < MEMBERS; i++) {
        kill_member(w, i);
    }
    g_byte_array_unref(w->file);
    g_free(w);
}

static bool turn(World *w, unsigned i, char **why)
{
    g_autofree char *copy = g_memdup2(w->file->data, w->file->len);
    PagecacheShareTurn *t = &w->last[i];
    bool known = pagecache_share_turn(w->member[i], w->now, copy,
                                      MIN(w->file->len, PAGECACHE_SHARE_BYTES),
                                      w->want[i], t, why);

    if (t->offset) {
        g_assert_cmpuint(t->offset % RECORD, ==, 0);
        g_assert_cmpuint(t->offset, <, PAGECACHE_SHARE_BYTES);
        write_at(w, t->offset, t->record, RECORD);
    }
    return known;
}

/* All of them, so many times */
static void turns(World *w, unsigned n)
{
    unsigned i;

    while (n--) {
        for (i = 0; i < MEMBERS; i++) {
            if (w->member[i]) {
                g_autofree char *why = NULL;

                turn(w, i, &why);
            }
        }
        w->now += PAGECACHE_SHARE_TURN_MS;
    }
}

static uint64_t sum(World *w)
{
    uint64_t all = 0;
    unsigned i;

    for (i = 0; i < MEMBERS; i++) {
        all += w->last[i].share;
    }
    return all;
}

/* So many take part: they know it, and have the same. */
static void check_equal(World *w, unsigned n, uint64_t bandwidth)
{
    unsigned i, found = 0;

    for (i = 0; i < MEMBERS; i++) {
        if (w->member[i]) {
            g_assert_cmpuint(w->last[i].members, ==, n);
            g_assert_cmpuint(w->last[i].share, ==, bandwidth / n);
            found++;
        }
    }
    g_assert_cmpuint(found, ==, n);
}

static void test_members(void)
{
    World *w = world_new("20000\n", 20);

    turns(w, 5);
    check_equal(w, 20, 20000);
    /* What some don't use the others have. */
    w->want[0] = w->want[1] = 100;
    turns(w, 2);
    g_assert_cmpuint(w->last[0].share, ==, 100);
    g_assert_cmpuint(w->last[2].share, ==, (20000 - 200) / 18);
    g_assert_cmpuint(sum(w), <=, 20000);
    w->want[0] = w->want[1] = HUNGRY;
    turns(w, 2);
    check_equal(w, 20, 20000);
    /* The operator changes his mind. */
    echo(w, "1k\n");
    turns(w, 2);
    check_equal(w, 20, 1024);
    echo(w, " 0\t\n");
    turns(w, 2);
    g_assert_cmpuint(w->last[7].share, ==, 0);
    g_assert_cmpuint(w->last[7].bandwidth, ==, 0);
    world_free(w);
}

/* One that has died, at any moment, is forgotten in a second. */
static void test_death(void)
{
    const unsigned ticks = PAGECACHE_SHARE_GONE_MS / PAGECACHE_SHARE_TURN_MS;
    World *w = world_new("1M", 3);

    turns(w, 3);
    check_equal(w, 3, MiB);
    kill_member(w, 1);
    turns(w, ticks - 1);
    g_assert_cmpuint(w->last[0].share, ==, MiB / 3);
    turns(w, 2);
    check_equal(w, 2, MiB);
    world_free(w);
}

/* The file is cut, or full of something else: all is as before, soon. */
static void test_damage(void)
{
    World *w = world_new("1M\n", 5);
    unsigned i, round;

    turns(w, 3);
    for (round = 0; round < 50; round++) {
        switch (round % 4) {
        case 0:
            g_byte_array_set_size(w->file, g_test_rand_int_range(0, 400));
            break;
        case 1:
            echo(w, "");
            break;
        case 2:
            for (i = 0; i < w->file->len; i++) {
                w->file->data[i] = g_test_rand_int();
            }
            break;
        default:
            /* records in each other's places */
            for (i = 2 * RECORD; i + RECORD <= w->file->len; i += RECORD) {
                memcpy(&w->file->data[i], &w->file->data[i - RECORD], RECORD);
            }
        }
        turns(w, 1);
        g_assert_cmpuint(sum(w), <=, MiB);
        turns(w, PAGECACHE_SHARE_GONE_MS / PAGECACHE_SHARE_TURN_MS + 3);
        check_equal(w, 5, MiB);
    }
    world_free(w);
}

/* What is no number is told, and the last one counts. */
static void test_first_line(void)
{
    static const char *const lines[] = {
        "", "\n", "x", "-1", "1.5M", "1X", "M", "0x10", "18446744073709551616",
        "18446744073709551615K", "100 M", "\x01", "1\t2",
    };
    unsigned i;

    for (i = 0; i < ARRAY_SIZE(lines); i++) {
        World *w = world_new(lines[i], 1);
        g_autofree char *why = NULL, *still = NULL, *none = NULL;

        g_test_message("%u", i);
        g_assert_false(turn(w, 0, &why));
        g_assert_nonnull(strstr(why, "expected a number of bytes a second"));
        echo(w, "5G");
        g_assert_true(turn(w, 0, &none));
        g_assert_null(none);
        g_assert_cmpuint(w->last[0].share, ==, 5 * GiB);
        echo(w, lines[i]);
        g_assert_true(turn(w, 0, &still));
        g_assert_cmpstr(still, ==, why);
        g_assert_cmpuint(w->last[0].share, ==, 5 * GiB);
        world_free(w);
    }
}

/*
 * Somebody who can write the file pretends that there are as many as can be,
 * all of them hungry, and never stands still: what is left is known.
 */
static void test_forged(void)
{
    World *w = world_new("64M\n", 1);
    unsigned i, n;

    for (n = 0; n < 50; n++) {
        for (i = 1; i <= PAGECACHE_SHARE_RECORDS; i++) {
            char record[RECORD + 1];

            snprintf(record, sizeof(record), "skip-pagecache %016x %08x %020"
                     PRIu64 "%*s\n", i, n, HUNGRY, 2, "");
            write_at(w, i * RECORD, record, RECORD);
        }
        turns(w, 1);
        g_assert_cmpuint(w->last[0].share, >=, MiB);
    }
    world_free(w);
}

/* More than there is room for: those without a record count themselves. */
static void test_too_many(void)
{
    World *w = world_new("70M\n", MEMBERS);

    turns(w, 20);
    g_assert_cmpuint(sum(w), <=, 70 * MiB / 63 * MEMBERS);
    world_free(w);
}

/* --- threads --- */

typedef struct Live {
    char *dir, *path;
    PagecacheBudget budget[2];
    PagecacheGroup *group[2];
} Live;

static void wait_share(Live *l, unsigned i, uint64_t share)
{
    gint64 end = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

    while (pagecache_budget_limit(&l->budget[i]) != share) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        /* hungry */
        pagecache_budget_want_more(&l->budget[0]);
        pagecache_budget_want_more(&l->budget[1]);
        g_usleep(10000);
    }
}

static void put(Live *l, const char *text)
{
    g_assert_true(g_file_set_contents(l->path, text, -1, NULL));
}

static void test_group(void)
{
    static Live l;
    PagecacheGroupInfo info;
    FILE *f;

    l.dir = g_dir_make_tmp("pagecache-share-XXXXXX", NULL);
    l.path = g_build_filename(l.dir, "group", NULL);
    l.group[0] = pagecache_group_join(l.path, &l.budget[0]);
    /* Nothing is spent before it is known what may be. */
    g_assert_cmpuint(pagecache_budget_limit(&l.budget[0]), ==, 1);
    do {
        pagecache_group_info(l.group[0], &info);
        g_usleep(1000);
    } while (!info.error);
    g_assert_false(info.known);
    g_assert_nonnull(strstr(info.error, "can't be opened"));
    g_free(info.error);
    g_assert_cmpuint(pagecache_budget_limit(&l.budget[0]), ==, 1);

    put(&l, "10M\n");
    wait_share(&l, 0, 10 * MiB);
    l.group[1] = pagecache_group_join(l.path, &l.budget[1]);
    wait_share(&l, 1, 5 * MiB);
    wait_share(&l, 0, 5 * MiB);
    /* a file in its place */
    put(&l, "20M\n");
    wait_share(&l, 0, 10 * MiB);
    wait_share(&l, 1, 10 * MiB);
    /* and the same file, cut */
    f = fopen(l.path, "w");
    fputs("40M\n", f);
    fclose(f);
    wait_share(&l, 0, 20 * MiB);
    wait_share(&l, 1, 20 * MiB);
    /* The limit of one's own counts as well. */
    pagecache_budget_set_limit(&l.budget[0], MiB);
    g_assert_cmpuint(pagecache_budget_limit(&l.budget[0]), ==, MiB);
    /* Who leaves leaves his part. */
    pagecache_group_leave(l.group[0]);
    g_assert_cmpuint(pagecache_budget_limit(&l.budget[0]), ==, MiB);
    wait_share(&l, 1, 40 * MiB);
    /* without a file it remains */
    g_unlink(l.path);
    do {
        g_usleep(1000);
        pagecache_group_info(l.group[1], &info);
    } while (!info.error);
    g_free(info.error);
    g_assert_true(info.known);
    g_assert_cmpuint(pagecache_budget_limit(&l.budget[1]), ==, 40 * MiB);
    pagecache_group_leave(l.group[1]);
    g_assert_cmpuint(pagecache_budget_limit(&l.budget[1]), ==, 0);
    g_unlink(l.path);
    g_rmdir(l.dir);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    g_test_add_func("/pagecache-share/shares", test_shares);
    g_test_add_func("/pagecache-share/sums", test_sums);
    g_test_add_func("/pagecache-share/members", test_members);
    g_test_add_func("/pagecache-share/death", test_death);
    g_test_add_func("/pagecache-share/damage", test_damage);
    g_test_add_func("/pagecache-share/first-line", test_first_line);
    g_test_add_func("/pagecache-share/forged", test_forged);
    g_test_add_func("/pagecache-share/too-many", test_too_many);
    g_test_add_func("/pagecache-share/group", test_group);
    return g_test_run();
}
