/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest testcases for skip-pagecache: a capability among others
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Whatever is set and cleared along with it, before or after: the others
 * answer and stand as if it were not there, and migrations end as they would
 * without it.  The rules are asked of the unpatched binary where
 * QTEST_QEMU_BINARY_PRISTINE names one, else of this one with the capability
 * left alone.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "pagecache-test-cancel.h"
#include "pagecache-test-proxy.h"

#define PRISTINE        "QTEST_QEMU_BINARY_PRISTINE"
#define OURS            "skip-pagecache"

/* --- setting and asking --- */

/*
 * Commands are spelled: a word is one migrate-set-capabilities, and a letter
 * of it a capability.  P is ours, X and Y are two others; upper case switches
 * on, lower case off.
 */
typedef struct Names {
    const char *x, *y;          /* NULL: without it */
} Names;

static const char *name_of(const Names *names, char letter)
{
    switch (g_ascii_toupper(letter)) {
    case 'P':
        return OURS;
    case 'X':
        return names->x;
    case 'Y':
        return names->y;
    default:
        g_assert_not_reached();
    }
}

/* The list for one command, without the letters in @not */
static QList *list_of(const Names *names, const char *word, const char *not)
{
    QList *list = qlist_new();

    for (; *word; word++) {
        const char *name = name_of(names, *word);
        QDict *status;

        if (!name || strchr(not, *word)) {
            continue;
        }
        status = qdict_new();
        qdict_put_str(status, "capability", name);
        qdict_put_bool(status, "state", g_ascii_isupper(*word));
        qlist_append(list, status);
    }
    return list;
}

/* Sends it, and takes over @list. */
static void tell(QTestState *who, QList *list)
{
    qtest_qmp_send(who, "{ 'execute': 'migrate-set-capabilities',"
                   "  'arguments': { 'capabilities': %p } }", list);
}

/* The answer: NULL, or the error */
static char *answer(QTestState *who)
{
    QDict *rsp = qtest_qmp_receive(who);
    QDict *error = qdict_get_qdict(rsp, "error");
    char *text = g_strdup(error ? qdict_get_str(error, "desc") : NULL);

    g_assert_true(error || qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    return text;
}

/* False: one of them was refused. */
static bool set_all(QTestState *who, const Names *names, const char *words)
{
    g_auto(GStrv) word = g_strsplit(words, " ", 0);
    g_autofree char *error = NULL;
    int i;

    for (i = 0; word[i] && !error; i++) {
        tell(who, list_of(names, word[i], ""));
        error = answer(who);
    }
    if (error) {
        g_test_message("%s", error);
    }
    return !error;
}

/* Those that query-migrate-capabilities knows, or those that are on */
static GStrv listed(QTestState *who, bool all)
{
    QDict *rsp = qtest_qmp(who, "{ 'execute': 'query-migrate-capabilities' }");
    GPtrArray *names = g_ptr_array_new();
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), entry) {
        QDict *cap = qobject_to(QDict, qlist_entry_obj(entry));

        if (all || qdict_get_bool(cap, "state")) {
            g_ptr_array_add(names, g_strdup(qdict_get_str(cap, "capability")));
        }
    }
    g_ptr_array_add(names, NULL);
    qobject_unref(rsp);
    return (GStrv)g_ptr_array_free(names, false);
}

static bool has(GStrv names, const char *name)
{
    return g_strv_contains((const char *const *)names, name);
}

static bool is_on(QTestState *who, const char *name)
{
    g_auto(GStrv) names = listed(who, false);

    return has(names, name);
}

/* Those are on which have these letters, and no others. */
static void check_on(QTestState *who, const Names *names, const char *letters)
{
    g_auto(GStrv) on = listed(who, false);
    unsigned n = 0;

    for (; *letters; letters++) {
        const char *name = name_of(names, *letters);

        if (name) {
            g_assert_true(has(on, name));
            n++;
        }
    }
    g_assert_cmpuint(g_strv_length(on), ==, n);
}

/* --- all capabilities --- */

typedef enum To {
    TO_QEMU,
    TO_QEMU_BY_TCP,
    TO_FILE,
    TO_NOBODY,          /* it has a test of its own */
} To;

typedef struct Capability {
    Names names;                /* it, and one that it can't do without */
    const char *reason;         /* why ours is inactive with it */
    To to;
} Capability;

static const Capability capabilities[] = {
    { { "xbzrle" }, "xbzrle" },
    { { "rdma-pin-all" } },
    { { "auto-converge" } },
    { { "zero-blocks" } },
    { { "events" } },
    { { "postcopy-ram" }, "postcopy-ram" },
    /* both go on with it: /pagecache/inactive/x-colo */
    { { "x-colo" }, "x-colo", TO_NOBODY },
    { { "release-ram" } },
    { { "return-path" } },
    { { "pause-before-switchover" } },
    { { "multifd" } },
    { { "dirty-bitmaps" } },
    { { "postcopy-blocktime" } },
    { { "late-block-activate" } },
    { { "x-ignore-shared" } },
    { { "validate-uuid" } },
    { { "background-snapshot" }, "background-snapshot" },
    { { "zero-copy-send", "multifd" }, NULL, TO_QEMU_BY_TCP },
    { { "postcopy-preempt", "postcopy-ram" },
      "postcopy-ram" },
    { { "switchover-ack", "return-path" } },
    { { "dirty-limit" } },
    { { "mapped-ram" }, "mapped-ram", TO_FILE },
};

/* A capability that another version of QEMU has needs a line above. */
static void check_complete(QTestState *who)
{
    g_auto(GStrv) all = listed(who, true);
    int i;

    g_assert_true(has(all, OURS));
    for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
        g_assert_true(has(all, capabilities[i].names.x));
    }
    g_assert_cmpuint(g_strv_length(all), ==, ARRAY_SIZE(capabilities) + 1);
}

/* --- setting: all pairs, in all orders --- */

/*
 * Two others, set and cleared in every order, one by one and at once; ours
 * comes and goes before them, in between, and along with them.  None is on in
 * the end, whatever was refused.
 */
#define WALK            "P X Y x y Y pX xy PXY y x pX xPY Xy xyp"

/* Ours and another: each way in, and then each way out; one for the other */
static const char *const ways_in[] = { "P X", "X P", "PX", "XP" };
static const char *const ways_out[] = { "p x", "x p", "px", "xp" };
#define EXCHANGE        "P pX Px p X xP Xp x"

typedef struct Pairs {
    QTestState *patched, *rules;
    const char *not;            /* letters that are left out */
    unsigned asked, refused;
} Pairs;

/* One command: both answer the same, but only one of them hears of ours. */
static void ask(Pairs *p, const Names *names, const char *word)
{
    QList *patched = list_of(names, word, p->not);
    QList *rules = list_of(names, word, "Pp");
    g_autofree char *got = NULL, *expected = NULL;
    bool any = !qlist_empty(rules);

    tell(p->patched, patched);
    if (any) {
        tell(p->rules, rules);
        expected = answer(p->rules);
    } else {
        qobject_unref(rules);
    }
    got = answer(p->patched);
    if (g_strcmp0(got, expected)) {
        g_error("%s for X=%s, Y=%s: expected '%s', got '%s'", word, names->x,
                names->y ?: "-", expected ?: "success", got ?: "success");
    }
    p->asked++;
    p->refused += got != NULL;
}

static void ask_all(Pairs *p, const Names *names, const char *words)
{
    g_auto(GStrv) word = g_strsplit(words, " ", 0);
    int i;

    for (i = 0; word[i]; i++) {
        ask(p, names, word[i]);
    }
}

/* All but ours stand as they do there. */
static void compare_states(Pairs *p)
{
    g_auto(GStrv) got = listed(p->patched, false);
    g_auto(GStrv) expected = listed(p->rules, false);
    char **name, **rule = expected;

    for (name = got; *name; name++) {
        if (strcmp(*name, OURS)) {
            g_assert_cmpstr(*name, ==, *rule);
            rule++;
        }
    }
    g_assert_null(*rule);
}

static void ask_with_ours(Pairs *p, const char *name)
{
    Names names = { name };
    int i, j;

    for (i = 0; i < ARRAY_SIZE(ways_in); i++) {
        for (j = 0; j < ARRAY_SIZE(ways_out); j++) {
            ask_all(p, &names, ways_in[i]);
            if (j == i) {
                compare_states(p);
            }
            ask_all(p, &names, ways_out[j]);
        }
    }
    ask_all(p, &names, EXCHANGE);
}

static void ask_pairs(const char *args, const char *not)
{
    Pairs p = { .not = not };
    /* that zero-blocks is deprecated is said each time */
    g_autofree char *all_args = g_strdup_printf("-machine none %s 2>/dev/null",
                                                args);
    const Names none = { NULL };
    int i, j;

    p.patched = qtest_init(all_args);
    p.rules = qtest_init_with_env(getenv(PRISTINE) ? PRISTINE : NULL, all_args,
                                  true);
    check_complete(p.patched);
    for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
        const char *x = capabilities[i].names.x;

        if (!*not) {
            ask_with_ours(&p, x);
        }
        for (j = 0; j < i; j++) {
            Names names = { x, capabilities[j].names.x };

            ask_all(&p, &names, WALK);
        }
        check_on(p.patched, &none, "");
        check_on(p.rules, &none, "");
    }
    g_test_message("%u commands, %u refused", p.asked, p.refused);
    g_assert_cmpuint(p.refused, >, 0);
    qtest_quit(p.patched);
    qtest_quit(p.rules);
}

static void test_pairs_source(void)
{
    ask_pairs("", "");
}

static void test_pairs_destination(void)
{
    ask_pairs("-incoming defer", "");
}

/* Ours is never touched: it is there, and that is all. */
static void test_pairs_off(void)
{
    if (!getenv(PRISTINE)) {
        g_test_skip(PRISTINE " is not set");
        return;
    }
    ask_pairs("", "Pp");
    ask_pairs("-incoming defer", "Pp");
}

/* --- migrations: ours and each of the others --- */

static void quit_dst(PcTest *t)
{
    qtest_quit(t->dst);
    t->dst = NULL;
}

/* The source goes on as if nothing had been. */
static void run_again(PcTest *t)
{
    quit_dst(t);
    qtest_qmp_assert_success(t->src, "{ 'execute': 'cont' }");
    pct_wait_running(t->src);
}

/* Whatever the channel is */
static void migrate_to(PcTest *t, To to)
{
    if (to == TO_FILE) {
        g_autofree char *uri = g_strdup_printf("file:%s/saved", t->dir);

        migrate_qmp(t->src, NULL, uri, NULL, "{}");
        wait_for_migration_complete(t->src);
        migrate_incoming_qmp(t->dst, uri, NULL, "{}");
    } else if (to == TO_QEMU_BY_TCP) {
        migrate_incoming_qmp(t->dst, "tcp:127.0.0.1:0", NULL, "{}");
        migrate_qmp(t->src, t->dst, NULL, NULL, "{}");
    } else {
        pct_incoming(t);
        pct_migrate(t);
    }
    if (is_on(t->src, "pause-before-switchover")) {
        wait_for_migration_status(t->src, "pre-switchover", NULL);
        qtest_qmp_assert_success(t->src, "{ 'execute': 'migrate-continue',"
                                 "  'arguments': {"
                                 "    'state': 'pre-switchover' } }");
    }
    pct_wait_complete(t);
}

static bool set_sides(PcTest *t, const Capability *c, const char *src,
                      const char *dst)
{
    pct_start_dst(t, NULL);
    if (!set_all(t->src, &c->names, src) || !set_all(t->dst, &c->names, dst)) {
        return false;
    }
    check_on(t->src, &c->names, "PXY");
    check_on(t->dst, &c->names, "PXY");
    return true;
}

static void clear(QTestState *who, const Capability *c, const char *words)
{
    g_assert_true(set_all(who, &c->names, words));
}

/* Both are on: either it is active, or it says why not. */
static void migrate_both(PcTest *t, const Capability *c)
{
    migrate_to(t, c->to);
    if (c->reason) {
        pct_assert_inactive(t->src, c->reason);
    } else {
        pct_check_figures(t);
        pct_check_memory(t, t->dst);
    }
    check_on(t->src, &c->names, "PXY");
}

/* Ours has gone, the other stays: a plain migration, which ends. */
static void migrate_without(PcTest *t, const Capability *c)
{
    clear(t->src, c, "p");
    clear(t->dst, c, "p");
    migrate_to(t, c->to);
    g_assert_null(pct_info(t->src));
    g_assert_null(pct_info(t->dst));
    check_on(t->src, &c->names, "XY");
}

/* Its source goes from one of these tests to the next. */
static PcTest *with;

static void test_with(const void *opaque)
{
    const Capability *c = opaque;
    PcTest *t = with;

    if (!t) {
        t = with = pct_new();
        pct_start_src(t, NULL);
        pct_hint_cache(t);
    }
    if (set_sides(t, c, "P Y X", "YXP")) {
        migrate_both(t, c);
        clear(t->src, c, "x p y");
        check_on(t->src, &c->names, "");
        run_again(t);
        g_assert_true(set_sides(t, c, "YX P", "P Y X"));
        migrate_without(t, c);
        clear(t->src, c, "xy");
        run_again(t);
    } else {
        g_test_skip("capability can't be set here");
        clear(t->src, c, "p x y");
        quit_dst(t);
    }
}

/* --- the return path --- */

/* QEMU_VM_COMMAND, MIG_CMD_OPEN_RETURN_PATH, no argument */
static const uint8_t open_command[] = { 8, 0, 1, 0, 0 };
/* It stands behind the configuration, before anything of the guest's. */
#define BEGINNING       256

/* Does the stream tell the destination to open the return path? */
static bool is_opened(PcTest *t, const char *reason)
{
    g_autoptr(GByteArray) sent = NULL;
    PctProxy *p;
    bool opened;

    pct_incoming(t);
    p = pct_proxy_new(t, NULL, NULL, NULL);
    pct_migrate(t);
    pct_finish(t);
    sent = pct_proxy_recorded(p);
    pct_proxy_free(p);
    if (reason) {
        pct_assert_inactive(t->src, reason);
    }
    g_assert_cmpuint(sent->len, >, BEGINNING);
    opened = memmem(sent->data, BEGINNING, open_command, sizeof(open_command));
    g_assert_false(is_on(t->src, "return-path"));
    g_assert_false(is_on(t->dst, "return-path"));
    return opened;
}

/* For one migration, where it is active, and no other */
static void test_return_path(void)
{
    PcTest *t = pct_new();

    pct_start_src(t, NULL);
    pct_start_dst(t, NULL);
    g_assert_false(is_opened(t, NULL));

    run_again(t);
    pct_start_dst(t, NULL);
    pct_on(t);
    pct_hint_cache(t);
    g_assert_true(is_opened(t, NULL));
    pct_check_figures(t);

    run_again(t);
    pct_start_dst(t, NULL);
    pct_on(t);
    migrate_set_capability(t->src, "xbzrle", true);
    migrate_set_capability(t->dst, "xbzrle", true);
    g_assert_false(is_opened(t, "xbzrle"));

    run_again(t);
    pct_start_dst(t, NULL);
    migrate_set_capability(t->src, "xbzrle", false);
    migrate_set_capability(t->src, OURS, false);
    g_assert_false(is_opened(t, NULL));
    g_assert_null(pct_info(t->src));
    pct_free(t);
}

/* Cancelled, and tried again: the second one opens it anew. */
static void test_cancelled(void)
{
    PcTest *t = pct_new_pair();

    pct_hint_cache(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", 1);
    g_assert_false(is_on(t->src, "return-path"));
    migrate_cancel(t->src);
    wait_for_migration_cancelled(t->src);
    g_assert_false(is_on(t->src, "return-path"));
    quit_dst(t);
    pct_migrate_again(t, NULL);
    g_assert_false(is_on(t->src, "return-path"));
    pct_free(t);
}

/* What one side has beside ours, the other does not. */
static void one_side(const char *name, bool src)
{
    PcTest *t = pct_new_pair();
    QTestState *who = src ? t->src : t->dst;

    migrate_set_capability(who, "return-path", true);
    migrate_set_capability(who, name, true);
    pct_hint_cache(t);
    pct_refill_cache(t);
    g_assert_cmpint(is_on(t->src, "return-path"), ==, src);
    g_assert_cmpint(is_on(t->dst, "return-path"), ==, !src);
    pct_free(t);
}

static void test_one_side_source(void)
{
    one_side("return-path", true);
}

/* The acknowledgement comes on a path that was not opened for it. */
static void test_one_side_destination(void)
{
    one_side("switchover-ack", false);
}

/* --- other ways to set it --- */

static void test_global(void)
{
    PcTest *t = pct_new();
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *args = g_strdup_printf(
        "%s -global migration." OURS "=on", disk);
    g_autofree char *info = NULL, *off = NULL, *on = NULL;
    const Names none = { NULL };

    pct_start_src(t, args);
    pct_start_dst(t, args);
    check_on(t->src, &none, "P");
    check_on(t->dst, &none, "P");
    info = qtest_hmp(t->src, "info migrate_capabilities");
    pct_assert_contains(info, OURS ": on");
    pct_assert_contains(info, "return-path: off");
    off = qtest_hmp(t->src, "migrate_set_capability " OURS " off");
    g_assert_cmpstr(off, ==, "");
    check_on(t->src, &none, "");
    on = qtest_hmp(t->src, "migrate_set_capability " OURS " on");
    g_assert_cmpstr(on, ==, "");
    check_on(t->src, &none, "P");
    pct_hint_cache(t);
    pct_refill_cache(t);
    check_on(t->src, &none, "P");
    pct_free(t);
}

int main(int argc, char **argv)
{
    int i, ret;

    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pagecache/capability/pairs/source", test_pairs_source);
    qtest_add_func("/pagecache/capability/pairs/destination",
                   test_pairs_destination);
    qtest_add_func("/pagecache/capability/pairs/off", test_pairs_off);
    for (i = 0; i < ARRAY_SIZE(capabilities); i++) {
        const Capability *c = &capabilities[i];
        g_autofree char *path = g_strdup_printf(
            "/pagecache/capability/with/%s", c->names.x);

        if (c->to != TO_NOBODY) {
            qtest_add_data_func(path, c, test_with);
        }
    }
    qtest_add_func("/pagecache/capability/return-path", test_return_path);
    qtest_add_func("/pagecache/capability/cancelled", test_cancelled);
    qtest_add_func("/pagecache/capability/one-side/source",
                   test_one_side_source);
    qtest_add_func("/pagecache/capability/one-side/destination",
                   test_one_side_destination);
    qtest_add_func("/pagecache/capability/global", test_global);
    ret = g_test_run();
    if (with) {
        pct_free(with);
    }
    return ret;
}
