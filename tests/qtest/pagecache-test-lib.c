/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A guest with a page cache and the QEMUs it moves between, for qtests of the
 * migration capability skip-pagecache
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/wait.h>
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "pagecache-test-lib.h"
#include "pagecache-test-ram.h"

/* The legacy hole: below it and above 1 MiB everything is RAM */
#define HOLE_START      (640 * KiB)
#define HOLE_END        (1 * MiB)

/* For pct_ram_fill(); zero before, and afterwards */
#define SCRATCH         (64 * KiB)

/* libqtest reads a line in small pieces and looks for its end each time */
#define CHUNK           (16 * KiB)

/* The cache stands on the disk in chunks of this many pages, shuffled. */
#define CACHE_CHUNK     16
#define CACHE_SECTOR    2048

#define TIMEOUT_US      (60 * G_USEC_PER_SEC)
/* QEMU takes 5 ms of a processor for an answer to query-migrate */
#define POLL_US         (10 * 1000)

/* Of the machine "pc": a bit for each slot */
#define ACPI_EJECT      0xae08

/* --- content --- */

static void fill_random(GRand *rand, uint8_t *buf, size_t len)
{
    size_t i;

    for (i = 0; i < len; i += 4) {
        uint32_t word = g_rand_int(rand);

        memcpy(buf + i, &word, 4);
    }
}

uint64_t pct_cache_addr(unsigned n)
{
    return CACHE_START + (uint64_t)n * PAGE;
}

uint64_t pct_cache_sector(unsigned n)
{
    unsigned chunks = CACHE_PAGES / CACHE_CHUNK;
    unsigned chunk = (n / CACHE_CHUNK * 37 + 11) % chunks;

    return CACHE_SECTOR + (chunk * CACHE_CHUNK + n % CACHE_CHUNK) *
                          (uint64_t)(PAGE / 512);
}

static void guest_write(QTestState *who, uint64_t addr, const uint8_t *data,
                        size_t len)
{
    size_t i;

    for (i = 0; i < len; i += CHUNK) {
        qtest_bufwrite(who, addr + i, data + i, MIN(CHUNK, len - i));
    }
}

void pct_write(PcTest *t, uint64_t addr, const void *data, size_t len)
{
    g_assert_cmpuint(addr + len, <=, RAM_SIZE);
    memcpy(t->ram + addr, data, len);
    guest_write(t->src, addr, t->ram + addr, len);
}

void pct_scribble(PcTest *t, uint64_t addr, unsigned n)
{
    g_autofree uint8_t *data = g_malloc(n * PAGE);

    fill_random(t->rand, data, n * PAGE);
    pct_write(t, addr, data, n * PAGE);
}

void pct_zero(PcTest *t, uint64_t addr, unsigned n)
{
    g_autofree uint8_t *data = g_malloc0(n * PAGE);

    pct_write(t, addr, data, n * PAGE);
}

void pct_learn(PcTest *t, uint64_t addr, size_t len)
{
    pct_ram_read(t->src, addr, t->ram + addr, len);
}

void pct_scribble_disk(PcTest *t, uint64_t sector, unsigned pages)
{
    g_autofree uint8_t *data = g_malloc(pages * PAGE);
    int fd = open(t->disk, O_WRONLY);

    fill_random(t->rand, data, pages * PAGE);
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, data, pages * PAGE, sector * 512), ==,
                    pages * PAGE);
    close(fd);
}

/* What a disk holds at first, the same for each test */
static const uint8_t *first_disk(void)
{
    static uint8_t *content;
    g_autoptr(GRand) rand = NULL;

    if (!content) {
        rand = g_rand_new_with_seed(20260101);
        content = pct_ram_alloc(DISK_SIZE);
        fill_random(rand, content, DISK_SIZE);
    }
    return content;
}

/* What RAM holds at first: the private pages and the cache */
static const uint8_t *first_ram(void)
{
    static uint8_t *content;
    g_autoptr(GRand) rand = NULL;
    unsigned i;

    if (!content) {
        rand = g_rand_new_with_seed(20260102);
        content = pct_ram_alloc(RAM_SIZE);
        fill_random(rand, content + PRIVATE_START, PRIVATE_SIZE);
        for (i = 0; i < CACHE_PAGES; i++) {
            memcpy(content + pct_cache_addr(i),
                   first_disk() + pct_cache_sector(i) * 512, PAGE);
        }
    }
    return content;
}

static const PctRamFile *ram_file(void)
{
    static PctRamFile *file;

    if (!file) {
        file = pct_ram_file_new();
        pct_ram_file_add(file, PRIVATE_START, first_ram() + PRIVATE_START,
                         PRIVATE_SIZE);
        pct_ram_file_add(file, CACHE_START, first_ram() + CACHE_START,
                         CACHE_SIZE);
    }
    return file;
}

static uint64_t first_wrong(PcTest *t, QTestState *who, uint64_t from,
                            uint64_t to)
{
    uint8_t *buf = pct_ram_alloc(to - from);
    uint64_t addr = to;

    pct_ram_read(who, from, buf, to - from);
    if (memcmp(buf, t->ram + from, to - from)) {
        addr = from;
        while (buf[addr - from] == t->ram[addr]) {
            addr++;
        }
    }
    pct_ram_release(buf, to - from);
    return addr;
}

uint64_t pct_first_wrong(PcTest *t, QTestState *who)
{
    uint64_t addr = first_wrong(t, who, 0, HOLE_START);

    return addr < HOLE_START ? addr : first_wrong(t, who, HOLE_END, RAM_SIZE);
}

void pct_check_memory(PcTest *t, QTestState *who)
{
    g_assert_cmphex(pct_first_wrong(t, who), ==, RAM_SIZE);
}

/* --- QEMUs --- */

char *pct_path(PcTest *t, const char *name)
{
    return g_build_filename(t->dir, name, NULL);
}

char *pct_disk_args(PcTest *t)
{
    return g_strdup_printf(DISK_ARGS, t->disk);
}

char *pct_qcow2(PcTest *t)
{
    char *image = pct_path(t, "disk.qcow2");
    g_autofree char *command = g_strdup_printf(
        "%s convert -f raw -O qcow2 %s %s", getenv("QTEST_QEMU_IMG"), t->disk,
        image);
    int status;

    g_assert_true(g_spawn_command_line_sync(command, NULL, NULL, &status,
                                            NULL));
    g_assert_cmpint(status, ==, 0);
    return image;
}

char *pct_qcow2_args(PcTest *t)
{
    g_autofree char *image = pct_qcow2(t);

    return g_strdup_printf(
        "-blockdev qcow2,node-name=disk0,file.driver=file,file.filename=%s "
        "-device virtio-blk-pci,id=blk0,drive=disk0,addr=0x5", image);
}

PcTest *pct_new(void)
{
    PcTest *t = g_new0(PcTest, 1);

    /* not /tmp, which may be a tmpfs and have no O_DIRECT */
    t->dir = g_mkdtemp(g_strdup("/var/tmp/pagecache-test-XXXXXX"));
    g_assert_nonnull(t->dir);
    t->disk = pct_path(t, "disk");
    t->uri = g_strdup_printf("unix:%s/migrate", t->dir);
    t->rand = g_rand_new_with_seed(20260103);
    t->ram = pct_ram_alloc(RAM_SIZE);
    t->disk_data = pct_ram_alloc(DISK_SIZE);
    memcpy(t->disk_data, first_disk(), DISK_SIZE);
    g_assert_true(g_file_set_contents(t->disk, (char *)t->disk_data,
                                      DISK_SIZE, NULL));
    return t;
}

QTestState *pct_start(PcTest *t, const char *args)
{
    g_autofree char *disk = pct_disk_args(t);

    return qtest_initf("-machine %s -m %u -nodefaults %s",
                       t->machine ?: "q35", (unsigned)(RAM_SIZE / MiB),
                       args ?: disk);
}

void pct_start_src(PcTest *t, const char *args)
{
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *fill = pct_ram_file_args(ram_file());
    g_autofree char *all = g_strdup_printf("%s %s", args ?: disk, fill);

    t->src = pct_start(t, all);
    memcpy(t->ram, first_ram(), RAM_SIZE);
    pct_ram_fill(t->src, ram_file(), SCRATCH);
    /* what QEMU itself has put there */
    pct_learn(t, 0, HOLE_START);
}

void pct_start_dst(PcTest *t, const char *args)
{
    g_autofree char *disk = pct_disk_args(t);
    g_autofree char *all = g_strdup_printf("%s -S -incoming defer",
                                           args ?: disk);

    t->dst = pct_start(t, all);
}

void pct_on(PcTest *t)
{
    migrate_set_capability(t->src, "skip-pagecache", true);
    migrate_set_capability(t->dst, "skip-pagecache", true);
}

void pct_incoming(PcTest *t)
{
    migrate_incoming_qmp(t->dst, t->uri, NULL, "{ 'exit-on-error': false }");
}

void pct_ready_dst(PcTest *t, const char *args)
{
    pct_start_dst(t, args);
    pct_on(t);
    pct_incoming(t);
}

void pct_start_pair(PcTest *t, const char *src, const char *dst)
{
    pct_start_src(t, src);
    pct_ready_dst(t, dst);
}

PcTest *pct_new_pair(void)
{
    PcTest *t = pct_new();

    pct_start_src(t, NULL);
    pct_start_dst(t, NULL);
    pct_on(t);
    return t;
}

static void remove_dir(const char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        g_assert_cmpint(g_unlink(path), ==, 0);
    }
    g_dir_close(d);
    g_assert_cmpint(g_rmdir(dir), ==, 0);
}

void pct_quit(QTestState *who)
{
    gint64 end = g_get_monotonic_time() + G_USEC_PER_SEC;
    pid_t pid = qtest_pid(who);
    siginfo_t info = { };

    if (pid > 0) {      /* it has not ended before */
        kill(pid, SIGTERM);
        while (!waitid(P_PID, pid, &info, WEXITED | WNOHANG | WNOWAIT) &&
               !info.si_pid && g_get_monotonic_time() < end) {
            g_usleep(2000);
        }
    }
    qtest_quit(who);
}

void pct_free(PcTest *t)
{
    if (t->src) {
        pct_quit(t->src);
    }
    if (t->dst) {
        pct_quit(t->dst);
    }
    remove_dir(t->dir);
    g_rand_free(t->rand);
    g_free(t->dir);
    g_free(t->disk);
    g_free(t->uri);
    g_free(t->connect_uri);
    pct_ram_release(t->disk_data, DISK_SIZE);
    pct_ram_release(t->ram, RAM_SIZE);
    g_free(t->machine);
    g_free(t);
}

void pct_hop(PcTest *t)
{
    pct_quit(t->src);
    t->src = t->dst;
    t->dst = NULL;
    qtest_qmp_assert_success(t->src, "{ 'execute': 'cont' }");
}

/* --- hints --- */

void pct_hint(PcTest *t, const char *device, uint64_t addr, uint64_t sector,
              uint32_t pages)
{
    qtest_qmp_assert_success(t->src,
                             "{ 'execute': 'x-pagecache-add-hints',"
                             "  'arguments': { 'hints': [ { 'device': %s,"
                             "  'address': %" PRIu64 ", 'sector': %" PRIu64
                             ", 'pages': %u } ] } }",
                             device, addr, sector, pages);
}

void pct_hint_cache_part(PcTest *t, unsigned first, unsigned n)
{
    QList *hints = qlist_new();
    unsigned i;

    g_assert_cmpuint(first % CACHE_CHUNK + n % CACHE_CHUNK, ==, 0);
    for (i = first; i < first + n; i += CACHE_CHUNK) {
        QDict *hint = qdict_new();

        qdict_put_str(hint, "device", "blk0");
        qdict_put_int(hint, "address", pct_cache_addr(i));
        qdict_put_int(hint, "sector", pct_cache_sector(i));
        qdict_put_int(hint, "pages", CACHE_CHUNK);
        qlist_append(hints, hint);
    }
    qtest_qmp_assert_success(t->src,
                             "{ 'execute': 'x-pagecache-add-hints',"
                             "  'arguments': { 'hints': %p } }", hints);
}

void pct_hint_cache(PcTest *t)
{
    pct_hint_cache_part(t, 0, CACHE_PAGES);
}

/* --- migration --- */

void pct_migrate(PcTest *t)
{
    pct_full_speed(t);
    migrate_qmp(t->src, t->dst, t->connect_uri ?: t->uri, NULL, "{}");
}

void pct_migrate_slowly(PcTest *t)
{
    migrate_set_parameter_int(t->src, "max-bandwidth", SLOW);
    migrate_qmp(t->src, t->dst, t->connect_uri ?: t->uri, NULL, "{}");
}

void pct_full_speed(PcTest *t)
{
    migrate_set_parameter_int(t->src, "max-bandwidth", 0);
}

/* As wait_for_migration_status() does, but not busy with asking */
static void wait_status(QTestState *who, const char *goal, const char *ungoal)
{
    gint64 end = g_get_monotonic_time() + 2 * TIMEOUT_US;
    bool there = false;

    while (!there) {
        QDict *info = migrate_query(who);
        const char *status = qdict_get_try_str(info, "status") ?: "none";

        g_assert_cmpstr(status, !=, ungoal);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        there = g_str_equal(status, goal);
        qobject_unref(info);
        if (!there) {
            g_usleep(POLL_US);
        }
    }
}

void pct_wait_complete(PcTest *t)
{
    wait_status(t->src, "completed", "failed");
    wait_status(t->dst, "completed", "failed");
}

void pct_wait_failed(QTestState *who)
{
    wait_status(who, "failed", "completed");
}

void pct_finish(PcTest *t)
{
    pct_full_speed(t);
    pct_wait_complete(t);
    pct_check_memory(t, t->src);
    pct_check_memory(t, t->dst);
}

void pct_migrate_hinted(PcTest *t, int64_t pages)
{
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "map-time", 0);
    pct_wait_figure(t->src, "proven-pages", pages);
    pct_finish(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, pages);
    pct_check_all_proven(t, pages);
}

void pct_refill_cache(PcTest *t)
{
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "proven-pages", CACHE_PAGES);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
}

void pct_check_read_by(PcTest *t, const char *reader)
{
    QDict *disk = pct_disk_info(t->dst);

    g_assert_cmpstr(qdict_get_str(disk, "device"), ==, DISK_PATH);
    g_assert_cmpstr(qdict_get_str(disk, "status"), ==, "ready");
    g_assert_cmpstr(qdict_get_str(disk, "reader"), ==, reader);
    g_assert_cmpint(qdict_get_int(disk, "errors"), ==, 0);
    qobject_unref(disk);
}

void pct_check_unread(PcTest *t, const char *status, const char *error)
{
    QDict *disk = pct_disk_info(t->dst);

    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, 0);
    g_assert_cmpstr(qdict_get_str(disk, "status"), ==, status);
    pct_assert_contains(qdict_get_str(disk, "error"), error);
    qobject_unref(disk);
}

void pct_finish_unread(PcTest *t, const char *status, const char *error)
{
    pct_finish(t);
    pct_check_figures(t);
    pct_check_unread(t, status, error);
}

void pct_migrate_unread(PcTest *t, const char *status, const char *error)
{
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    pct_finish_unread(t, status, error);
}

void pct_migrate_again(PcTest *t, const char *args)
{
    pct_wait_running(t->src);
    pct_check_memory(t, t->src);
    pct_start_dst(t, args);
    pct_on(t);
    pct_refill_cache(t);
}

bool pct_qemu_img(const char *format, ...)
{
    g_autofree char *args = NULL, *command = NULL, *out = NULL;
    int status;
    va_list ap;

    va_start(ap, format);
    args = g_strdup_vprintf(format, ap);
    va_end(ap);
    command = g_strdup_printf("%s %s", getenv("QTEST_QEMU_IMG"), args);
    return g_spawn_command_line_sync(command, &out, NULL, &status, NULL) &&
           status == 0;
}

void pct_wait_deleted(QTestState *who, const char *id)
{
    const char *device;
    QDict *rsp;
    bool gone;

    do {
        rsp = qtest_qmp_eventwait_ref(who, "DEVICE_DELETED");
        device = qdict_get_try_str(qdict_get_qdict(rsp, "data"), "device");
        gone = device && !strcmp(device, id);
        qobject_unref(rsp);
    } while (!gone);
}

void pct_eject(QTestState *who)
{
    qtest_outl(who, ACPI_EJECT, 1 << DISK_SLOT);
    pct_wait_deleted(who, "blk0");
    /* and with it goes the image */
    qtest_qmp_assert_success(who, "{ 'execute': 'blockdev-del',"
                             "  'arguments': { 'node-name': 'disk0' } }");
}

int64_t pct_allocated(const char *name)
{
    struct stat st;

    g_assert_cmpint(stat(name, &st), ==, 0);
    return st.st_blocks * 512;
}

void pct_kill(QTestState *qts)
{
    pid_t pid = qtest_pid(qts);

    qtest_remove_abrt_handler(qts);
    g_assert_cmpint(kill(pid, SIGKILL), ==, 0);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
}

/* --- figures --- */

static void add_all(QDict *info, const char *side)
{
    QDict *figures = qdict_get_qdict(info, side);
    const QDictEntry *e;

    for (e = figures ? qdict_first(figures) : NULL; e;
         e = qdict_next(figures, e)) {
        g_assert_false(qdict_haskey(info, qdict_entry_key(e)));
        qdict_put_obj(info, qdict_entry_key(e),
                      qobject_ref(qdict_entry_value(e)));
    }
}

QDict *pct_info(QTestState *who)
{
    QDict *rsp = migrate_query(who);
    QDict *info = qdict_get_qdict(rsp, "pagecache");

    qobject_ref(info);
    qobject_unref(rsp);
    if (info) {
        /* one side's, and not the other's */
        g_assert_true(qdict_haskey(info, "source") !=
                      qdict_haskey(info, "destination"));
        add_all(info, "source");
        add_all(info, "destination");
    }
    return info;
}

int64_t pct_figure(QTestState *who, const char *name)
{
    QDict *info = pct_info(who);
    int64_t n = info ? qdict_get_try_int(info, name, -1) : -1;

    qobject_unref(info);
    return n;
}

void pct_wait_figure(QTestState *who, const char *name, int64_t least)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (pct_figure(who, name) < least) {
        if (g_get_monotonic_time() > end) {
            QDict *rsp = migrate_query(who);
            g_autoptr(GString) s = qobject_to_json_pretty(QOBJECT(rsp), true);

            g_error("waited for %s to be %" PRIi64 " in vain: %s", name,
                    least, s->str);
        }
        g_usleep(POLL_US);
    }
}

QDict *pct_disk_info(QTestState *who)
{
    QDict *info = pct_info(who), *disk;
    QList *disks;

    g_assert_nonnull(info);
    disks = qdict_get_qlist(info, "disks");
    disk = qobject_to(QDict, qlist_peek(disks));
    g_assert_nonnull(disk);
    qobject_ref(disk);
    qobject_unref(info);
    return disk;
}

void pct_open_reader(PcTest *t)
{
    pct_hint_cache_part(t, 0, PCT_OPENED);
    pct_wait_figure(t->src, "reported-pages", PCT_OPENED);
}

void pct_hint_rest(PcTest *t)
{
    pct_hint_cache_part(t, PCT_OPENED, CACHE_PAGES - PCT_OPENED);
}

int64_t pct_transferred(QTestState *who)
{
    return read_ram_property_int(who, "transferred");
}

char *pct_error(QTestState *who)
{
    QDict *rsp = migrate_query(who);
    char *text = g_strdup(qdict_get_try_str(rsp, "error-desc"));

    qobject_unref(rsp);
    return text;
}

void pct_assert_contains(const char *text, const char *part)
{
    if (!text || !strstr(text, part)) {
        g_error("expected '%s', got '%s'", part, text ?: "nothing");
    }
}

void pct_assert_inactive(QTestState *who, const char *reason)
{
    QDict *info = pct_info(who);

    g_assert_nonnull(info);
    g_assert_false(qdict_get_bool(info, "active"));
    g_assert_cmpstr(qdict_get_try_str(info, "reason"), ==, reason);
    g_assert_true(qdict_haskey(info, "reason-text"));
    g_assert_cmpint(qdict_get_int(info, "offered-pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(info, "refill-bytes"), ==, 0);
    qobject_unref(info);
}

void pct_check_given_up(QTestState *who, const char *reason, const char *text)
{
    QDict *info = pct_info(who);

    g_assert_true(qdict_get_bool(info, "active"));
    g_assert_cmpstr(qdict_get_try_str(info, "given-up"), ==, reason);
    g_assert_cmpstr(qdict_get_try_str(info, "given-up-text"), ==, text);
    qobject_unref(info);
}

void pct_check_inactive(PcTest *t, const char *reason)
{
    pct_assert_inactive(t->src, reason);
    g_assert_cmpint(pct_transferred(t->src), >, PRIVATE_SIZE + CACHE_SIZE);
}

void pct_check_status(QTestState *who, const char *status)
{
    QDict *rsp = qtest_qmp_assert_success_ref(
        who, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(rsp, "status"), ==, status);
    qobject_unref(rsp);
}

void pct_wait_running(QTestState *who)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    bool running;

    do {
        QDict *rsp = qtest_qmp_assert_success_ref(
            who, "{ 'execute': 'query-status' }");

        running = qdict_get_bool(rsp, "running");
        qobject_unref(rsp);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    } while (!running);
}

static void say(const char *who, const QDict *info)
{
    g_autoptr(GString) text = qobject_to_json_pretty(QOBJECT(info), true);

    g_test_message("%s: %s", who, text->str);
}

void pct_check_figures(PcTest *t)
{
    QDict *s = pct_info(t->src), *d = pct_info(t->dst);
    int64_t hinted, duplicate, offered, reported, proven, mismatched;
    int64_t released, unavailable;

    g_assert_nonnull(s);
    g_assert_nonnull(d);
    say("source", s);
    say("destination", d);

    g_assert_true(qdict_get_bool(s, "active"));
    g_assert_true(qdict_get_bool(d, "active"));
    g_assert_false(qdict_haskey(s, "reason") || qdict_haskey(d, "reason"));
    hinted = qdict_get_int(s, "hinted-pages");
    duplicate = qdict_get_int(s, "duplicate-pages");
    offered = qdict_get_int(s, "offered-pages");
    reported = qdict_get_int(s, "reported-pages");
    proven = qdict_get_int(s, "proven-pages");
    mismatched = qdict_get_int(s, "mismatched-pages");
    released = qdict_get_int(s, "released-pages");
    unavailable = qdict_get_int(s, "unavailable-pages");

    /* nothing is left in between */
    g_assert_cmpint(qdict_get_int(s, "pooled-pages"), ==, 0);
    g_assert_cmpint(qdict_get_int(s, "in-flight-pages"), ==, 0);
    /* what was hinted was reported, or released, or no hint that counted */
    if (!qdict_haskey(s, "given-up")) {
        g_assert_cmpint(hinted - duplicate, ==, reported + released);
    }
    g_assert_cmpint(proven + mismatched, <=, reported);
    g_assert_cmpint(reported + unavailable, <=, offered);
    g_assert_cmpint(unavailable, <=, released);
    g_assert_cmpint(qdict_get_int(s, "refill-bytes"), ==, proven * PAGE);

    /* both sides agree; reports may be late */
    g_assert_cmpint(qdict_get_int(d, "offered-pages"), ==, offered);
    g_assert_cmpint(qdict_get_int(d, "reported-pages"), >=, reported);
    g_assert_cmpint(qdict_get_int(d, "unavailable-pages"), >=, unavailable);
    g_assert_cmpint(qdict_get_int(d, "reported-pages") +
                    qdict_get_int(d, "unavailable-pages") +
                    qdict_get_int(d, "superseded-pages"), <=, offered);
    g_assert_cmpint(qdict_get_int(d, "refill-bytes"), ==,
                    qdict_get_int(d, "reported-pages") * PAGE);
    qobject_unref(s);
    qobject_unref(d);
}

void pct_check_all_proven(PcTest *t, int64_t pages)
{
    pct_check_figures(t);
    g_assert_cmpint(pct_figure(t->src, "hinted-pages"), ==, pages);
    g_assert_cmpint(pct_figure(t->src, "dropped-hints"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "duplicate-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->src, "offered-pages"), ==, pages);
    g_assert_cmpint(pct_figure(t->src, "reported-pages"), ==, pages);
    g_assert_cmpint(pct_figure(t->src, "proven-pages"), ==, pages);
    g_assert_cmpint(pct_figure(t->src, "released-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->dst, "reported-pages"), ==, pages);
    g_assert_cmpint(pct_figure(t->dst, "superseded-pages"), ==, 0);
    g_assert_cmpint(pct_figure(t->dst, "unavailable-pages"), ==, 0);
}
