/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: what an operator sets
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The migration parameters: their defaults and ranges, on each way on which
 * they can be set, and what becomes of a bandwidth that changes on the way.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "pagecache-test-lib.h"

/* --- values --- */

/* Values are spelled as in JSON, and in the human monitor as there. */
typedef struct Value {
    const char *name, *json, *hmp;
    const char *error;          /* NULL: it is taken */
} Value;

static const Value defaults[] = {
    { "pagecache-sessions", "2", "2" },
    { "pagecache-read-deadline", "5000", "5000 ms" },
    { "pagecache-bandwidth", "0", "0 bytes/second" },
    { "pagecache-bandwidth-group", "\"\"", "''" },
    { "pagecache-back-off", "true", "on" },
    { "pagecache-digest", "\"xxh3\"", "xxh3" },
    { "pagecache-pool-max", "0", "0 bytes" },
    { "pagecache-any-protocol", "false", "off" },
};

static const Value values[] = {
    { "pagecache-sessions", "1", "1" },
    { "pagecache-sessions", "16", "16" },
    { "pagecache-sessions", "0", "0",
      "Parameter 'pagecache-sessions' is 0, expected 1 to 16" },
    { "pagecache-sessions", "17", "17",
      "Parameter 'pagecache-sessions' is 17, expected 1 to 16" },
    { "pagecache-read-deadline", "1", "1" },
    { "pagecache-read-deadline", "3600000", "3600000" },
    { "pagecache-read-deadline", "0", "0",
      "Parameter 'pagecache-read-deadline' is 0, expected 1 to 3600000" },
    { "pagecache-read-deadline", "3600001", "3600001",
      "Parameter 'pagecache-read-deadline' is 3600001, expected 1 to 3600000" },
    { "pagecache-bandwidth", "209715200", "200M" },
    { "pagecache-bandwidth-group", "\"/run/group\"", "/run/group" },
    { "pagecache-bandwidth-group", "\"group\"", "group",
      "Parameter 'pagecache-bandwidth-group' is 'group', expected an absolute "
      "name of a file, or nothing" },
    { "pagecache-back-off", "false", "off" },
    { "pagecache-digest", "\"sha256\"", "sha256" },
    { "pagecache-digest", "\"md5\"", "md5",
      "'pagecache-digest' does not accept value 'md5'" },
    { "pagecache-pool-max", "1048576", "1M" },
    { "pagecache-any-protocol", "true", "on" },
};

static char *parameter(QTestState *who, const char *name)
{
    QDict *rsp = qtest_qmp(who, "{ 'execute': 'query-migrate-parameters' }");
    QObject *value = qdict_get(qdict_get_qdict(rsp, "return"), name);
    GString *json;

    g_assert_nonnull(value);
    json = qobject_to_json(value);
    qobject_unref(rsp);
    return g_string_free(json, false);
}

static void check_parameter(QTestState *who, const Value *v)
{
    g_autofree char *is = parameter(who, v->name);

    g_test_message("%s", v->name);
    g_assert_cmpstr(is, ==, v->json);
}

/* The answer: NULL, or the error */
static char *set(QTestState *who, const Value *v)
{
    QDict *args = qdict_new(), *rsp, *error;
    char *text;

    qdict_put_obj(args, v->name, qobject_from_json(v->json, NULL));
    rsp = qtest_qmp(who, "{ 'execute': 'migrate-set-parameters',"
                    "  'arguments': %p }", args);
    error = qdict_get_qdict(rsp, "error");
    text = g_strdup(error ? qdict_get_str(error, "desc") : NULL);
    qobject_unref(rsp);
    return text;
}

static char *set_by_hmp(QTestState *who, const Value *v)
{
    char *text = qtest_hmp(who, "migrate_set_parameter %s %s", v->name,
                           v->hmp);

    if (!*text) {
        g_clear_pointer(&text, g_free);
    }
    return text;
}

static void check_answer(const Value *v, const char *text)
{
    if (v->error) {
        g_assert_nonnull(text);
        pct_assert_contains(text, v->error);
    } else {
        g_assert_cmpstr(text, ==, NULL);
    }
}

static const Value *default_of(const char *name)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(defaults); i++) {
        if (!strcmp(defaults[i].name, name)) {
            return &defaults[i];
        }
    }
    g_assert_not_reached();
}

/* Each value, in both monitors; what is refused changes nothing. */
static void test_parameters(void)
{
    QTestState *who = qtest_init("-machine none");
    g_autofree char *info = qtest_hmp(who, "info migrate_parameters");
    int i, way;

    for (i = 0; i < ARRAY_SIZE(defaults); i++) {
        g_autofree char *line = g_strdup_printf(
            "%s: %s\r\n", defaults[i].name, defaults[i].hmp);

        check_parameter(who, &defaults[i]);
        pct_assert_contains(info, line);
    }
    for (i = 0; i < ARRAY_SIZE(values); i++) {
        for (way = 0; way < 2; way++) {
            const Value *v = &values[i], *before = default_of(v->name);
            g_autofree char *text = way ? set_by_hmp(who, v) : set(who, v);
            g_autofree char *back = NULL;

            check_answer(v, text);
            check_parameter(who, v->error ? before : v);
            back = set(who, before);
            g_assert_cmpstr(back, ==, NULL);
        }
    }
    qtest_quit(who);
}

/* With -global they are there from the start, or QEMU does not start. */
static void test_global(void)
{
    GString *args = g_string_new("-machine none");
    const char *binary = getenv("QTEST_QEMU_BINARY");
    QTestState *who;
    int i;

    for (i = 0; i < ARRAY_SIZE(values); i++) {
        const Value *v = &values[i];
        g_autofree char *error = NULL, *command = NULL;
        int status;

        if (!v->error) {
            g_string_append_printf(args, " -global migration.%s=%s", v->name,
                                   v->hmp);
            continue;
        }
        command = g_strdup_printf("%s -machine none -display none -global "
                                  "migration.%s=%s", binary, v->name, v->hmp);
        g_assert_true(g_spawn_command_line_sync(command, NULL, &error, &status,
                                                NULL));
        g_assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        if (strstr(v->error, "expected")) {
            pct_assert_contains(error, v->error);
        }
    }
    who = qtest_init(args->str);
    for (i = 0; i < ARRAY_SIZE(values); i++) {
        /* the last one counts */
        if (!values[i].error && (i + 1 == ARRAY_SIZE(values) ||
                                 values[i + 1].error ||
                                 strcmp(values[i].name, values[i + 1].name))) {
            check_parameter(who, &values[i]);
        }
    }
    qtest_quit(who);
    g_string_free(args, true);
}

/* --- the bandwidth --- */

#define READ_PAGES      (256 * KiB / PAGE)

static void set_bandwidth(QTestState *who, int64_t bytes)
{
    migrate_set_parameter_int(who, "pagecache-bandwidth", bytes);
}

/*
 * At one byte a second one page is offered, and the others wait in the pool.
 * Then the rate is what is set on the way.
 */
static void test_bandwidth_source(void)
{
    PcTest *t = pct_new_pair();
    const int64_t rate = 8 * MiB, burst = rate / 5;
    gint64 start;

    set_bandwidth(t->src, 1);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "pooled-pages", CACHE_PAGES - 1);
    pct_wait_figure(t->src, "proven-pages", 1);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, 1);
    g_assert_cmpint(pct_figure(t->src, "pooled-pages"), ==, CACHE_PAGES - 1);

    start = g_get_monotonic_time();
    set_bandwidth(t->src, rate);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    g_assert_cmpint(g_get_monotonic_time() - start, >,
                    (CACHE_SIZE - burst - 1 * MiB) * G_USEC_PER_SEC / rate);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* The same on the other side: after one read the next ones wait. */
static void test_bandwidth_destination(void)
{
    PcTest *t = pct_new_pair();

    set_bandwidth(t->dst, 1);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", CACHE_PAGES);
    pct_wait_figure(t->dst, "reported-pages", 1);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), <=, READ_PAGES);
    /* no limit */
    set_bandwidth(t->dst, 0);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
    pct_free(t);
}

/* --- a bandwidth of several --- */

/* Two guests that move at the same time; those on one side are a group. */
typedef struct Group {
    bool sources;
    const char *figure;         /* what their bandwidth brings forth */
    unsigned before;            /* the most of it that one has without any */
    int64_t burst;              /* bytes on top of it */
} Group;

static const Group groups[] = {
    { true, "offered-pages", 1, 3 * MiB },
    { false, "reported-pages", READ_PAGES, 1 * MiB },
};

static QTestState *member(const Group *g, PcTest *t)
{
    return g->sources ? t->src : t->dst;
}

/* A figure of a group's member; -1: it has none yet */
static int64_t of_group(QTestState *who, const char *name)
{
    QDict *info = pct_info(who);
    QDict *group = info ? qdict_get_qdict(info, "bandwidth-group") : NULL;
    int64_t value = group ? qdict_get_try_int(group, name, -1) : -1;

    qobject_unref(info);
    return value;
}

static void wait_group(QTestState *who, const char *name, int64_t value)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;

    while (of_group(who, name) != value) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10000);
    }
}

static void wait_group_error(QTestState *who, const char *part)
{
    gint64 end = g_get_monotonic_time() + 60 * G_USEC_PER_SEC;
    bool found = false;

    while (!found) {
        QDict *info = pct_info(who);
        QDict *group = info ? qdict_get_qdict(info, "bandwidth-group") : NULL;
        const char *error = group ? qdict_get_try_str(group, "error") : NULL;

        found = error && strstr(error, part);
        qobject_unref(info);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(10000);
    }
}

/* As a shell does it, to the same file */
static void echo(const char *name, const char *line)
{
    FILE *f = fopen(name, "w");

    g_assert_nonnull(f);
    fputs(line, f);
    fclose(f);
}

static void join_and_go(const Group *g, PcTest *t, const char *name)
{
    migrate_set_parameter_str(member(g, t), "pagecache-bandwidth-group", name);
    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
}

static void test_group(const void *opaque)
{
    const Group *g = opaque;
    const int64_t rate = 16 * MiB;
    PcTest *t[2] = { pct_new_pair(), pct_new_pair() };
    g_autofree char *name = pct_path(t[0], "group");
    QTestState *m[2] = { member(g, t[0]), member(g, t[1]) };
    gint64 start;
    int i;

    /* Before there is a bandwidth nothing is spent. */
    join_and_go(g, t[0], name);
    wait_group_error(m[0], "can't be opened: No such file");
    echo(name, "1\n");
    wait_group(m[0], "bandwidth", 1);
    join_and_go(g, t[1], name);
    for (i = 0; i < 2; i++) {
        wait_group(m[i], "members", 2);
        pct_wait_figure(t[i]->src, "offered-pages", 1);
        g_assert_cmpint(pct_figure(m[i], g->figure), <=, g->before);
    }

    /* Both together get as much as there is, and each has his part. */
    start = g_get_monotonic_time();
    echo(name, "16M\n");
    for (i = 0; i < 2; i++) {
        wait_group(m[i], "bandwidth", rate);
        g_assert_cmpint(of_group(m[i], "share"), <=, rate);
    }
    for (i = 0; i < 2; i++) {
        pct_wait_figure(t[i]->src, "proven-pages", CACHE_PAGES);
    }
    g_assert_cmpint(g_get_monotonic_time() - start, >,
                    (2 * CACHE_SIZE - 2 * g->burst - rate / 5) *
                    G_USEC_PER_SEC / rate);

    /* A file that is none says so, and all stays as it was. */
    echo(name, "as much as you like");
    wait_group_error(m[0], "begins with 'as much as you like', expected a "
                     "number of bytes a second");
    g_assert_cmpint(of_group(m[0], "bandwidth"), ==, rate);
    wait_group(m[0], "members", 2);

    /* Who is killed has left, and nobody waits for him. */
    pct_kill(m[1]);
    if (g->sources) {
        t[1]->src = NULL;
    } else {
        t[1]->dst = NULL;
    }
    wait_group(m[0], "members", 1);
    pct_finish(t[0]);
    pct_check_all_proven(t[0], CACHE_PAGES);
    g_assert_cmpint(of_group(m[0], "members"), ==, -1);
    pct_free(t[0]);
    pct_free(t[1]);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/steer/parameters", test_parameters);
    qtest_add_func("/pagecache/steer/global", test_global);
    qtest_add_func("/pagecache/steer/bandwidth/source", test_bandwidth_source);
    qtest_add_func("/pagecache/steer/bandwidth/destination",
                   test_bandwidth_destination);
    qtest_add_data_func("/pagecache/steer/group/sources", &groups[0],
                        test_group);
    qtest_add_data_func("/pagecache/steer/group/destinations", &groups[1],
                        test_group);
    return g_test_run();
}
