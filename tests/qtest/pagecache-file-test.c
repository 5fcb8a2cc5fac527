/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Tests of the migration capability skip-pagecache: disks in raw files, what
 * the destination leaves in its page cache, how many threads and descriptors
 * many disks take, and disks that are passed as descriptors
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */

#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/resource.h>
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "pagecache-test-iscsi.h"
#include "../unit/test-pagecache-hosts.h"

#define CHUNK       16u         /* pages, consecutive on the disk */
#define CHUNKS      (CACHE_PAGES / CHUNK)

static void start_running_dst(PcTest *t, const char *args)
{
    g_autofree char *all = g_strdup_printf("%s -incoming defer", args);

    t->dst = pct_start(t, all);
}

/* --- Two hosts, each with a page cache ------------------------------------ */

static char *host_args(Host *h)
{
    return g_strdup_printf(DISK_ARGS, h->disk);
}

/* The guest, which runs on at the source, overwrites all of its disk. */
static void rewrite_disk(PcTest *t, Host *src)
{
    int fd = open(src->disk, O_WRONLY | O_CLOEXEC);
    size_t i;

    for (i = 0; i < DISK_SIZE; i++) {
        t->disk_data[i] ^= 0xff;
    }
    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(pwrite(fd, t->disk_data, DISK_SIZE, 0), ==, DISK_SIZE);
    g_assert_cmpint(fsync(fd), ==, 0);
    close(fd);
}

/*
 * Reads at the destination that are under way when the guest overwrites its
 * disk, and come after it has gone on there.  It must read what it wrote, and
 * the migration must not have waited for them.
 */
static void test_late(void)
{
    PcTest *t = pct_new();
    g_autofree char *mnt = pct_path(t, "mnt");
    g_autofree char *src_args = NULL, *dst_args = NULL, *content = NULL;
    gsize len;
    Host src, dst;

    g_assert_cmpint(g_mkdir(mnt, 0700), ==, 0);
    if (!host_mount(&src, t->disk, mnt, NULL)) {
        g_rmdir(mnt);
        pct_free(t);
        return;
    }
    g_assert_true(host_mount(&dst, t->disk, mnt, NULL));
    src_args = host_args(&src);
    dst_args = host_args(&dst);
    pct_start_src(t, src_args);
    start_running_dst(t, dst_args);
    pct_on(t);
    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_hint_cache_part(t, 0, 8 * CHUNK);
    pct_wait_figure(t->src, "proven-pages", 8 * CHUNK);

    host_command(&dst, "read late 3600000");
    pct_hint_cache_part(t, 8 * CHUNK, CACHE_PAGES - 8 * CHUNK);
    host_wait_held(&dst, "read", true);
    rewrite_disk(t, &src);
    pct_full_speed(t);
    pct_wait_complete(t);
    g_assert_cmpuint(host_count(&dst, "read", "held"), >, 0);
    pct_check_memory(t, t->dst);

    host_command(&dst, "read now");
    host_wait_held(&dst, "read", false);
    g_usleep(300 * 1000);
    /* through the page cache of the destination, as the guest's own node */
    g_assert_true(g_file_get_contents(dst.disk, &content, &len, NULL));
    g_assert_cmpuint(len, ==, DISK_SIZE);
    g_assert_cmpint(memcmp(content, t->disk_data, DISK_SIZE), ==, 0);

    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    host_unmount(&dst);
    host_unmount(&src);
    g_assert_cmpint(g_rmdir(mnt), ==, 0);
    pct_free(t);
}

/* A disk whose reads can't be direct is not read */
static void test_not_direct(void)
{
    PcTest *t = pct_new();
    g_autofree char *mnt = pct_path(t, "mnt");
    g_autofree char *args = NULL, *error = NULL;
    Host dst;

    g_assert_cmpint(g_mkdir(mnt, 0700), ==, 0);
    if (!host_mount(&dst, t->disk, mnt, "--no-o-direct")) {
        g_rmdir(mnt);
        pct_free(t);
        return;
    }
    args = host_args(&dst);
    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    pct_on(t);
    pct_hint_cache(t);
    pct_migrate_unread(t, "failed",
                       "is on a file system that does not take O_DIRECT");

    qtest_quit(t->src);
    qtest_quit(t->dst);
    t->src = t->dst = NULL;
    host_unmount(&dst);
    g_assert_cmpint(g_rmdir(mnt), ==, 0);
    pct_free(t);
}

/* --- Many disks ----------------------------------------------------------- */

static unsigned count(QTestState *who, const char *what)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/%s", qtest_pid(who),
                                            what);
    g_autoptr(GDir) d = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(d);
    while (g_dir_read_name(d)) {
        n++;
    }
    return n;
}

/* All disks have the same content; each has its part of the cache. */
static void hint_disks(PcTest *t, unsigned ndisks)
{
    unsigned i;

    for (i = 0; i < CHUNKS; i++) {
        g_autofree char *id = g_strdup_printf("hd%u", i % ndisks);

        pct_hint(t, id, pct_cache_addr(i * CHUNK), pct_cache_sector(i * CHUNK),
                 CHUNK);
    }
}

static void check_statuses(PcTest *t, const char *status)
{
    QDict *info = pct_info(t->dst);
    QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "disks"), e) {
        QDict *disk = qobject_to(QDict, qlist_entry_obj(e));

        if (qdict_haskey(disk, "error")) {
            g_test_message("%s", qdict_get_str(disk, "error"));
        }
        g_assert_cmpstr(qdict_get_str(disk, "status"), ==, status);
    }
    qobject_unref(info);
}

/*
 * What @ndisks take of the destination: nothing as long as nothing of them was
 * offered, and then at most so many.
 */
static void check_many(PcTest *t, const char *args, unsigned ndisks,
                       unsigned max_threads, unsigned max_fds)
{
    unsigned threads, fds, most_threads = 0, most_fds = 0;

    pct_start_src(t, args);
    pct_start_dst(t, args);
    pct_on(t);
    pct_incoming(t);
    threads = count(t->dst, "task");
    fds = count(t->dst, "fd");
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", 0);
    g_test_message("%u disks, none read: %d threads, %d descriptors", ndisks,
                   count(t->dst, "task") - threads, count(t->dst, "fd") - fds);
    /* the channel, the reports, the watchdog, and some of QEMU's own */
    g_assert_cmpuint(count(t->dst, "task"), <=, threads + 8);
    g_assert_cmpuint(count(t->dst, "fd"), <=, fds + 8);
    check_statuses(t, "idle");

    hint_disks(t, ndisks);
    while (pct_figure(t->src, "proven-pages") < CACHE_PAGES) {
        most_threads = MAX(most_threads, count(t->dst, "task"));
        most_fds = MAX(most_fds, count(t->dst, "fd"));
    }
    g_test_message("%u disks, all read: %d threads, %d descriptors", ndisks,
                   most_threads - threads, most_fds - fds);
    check_statuses(t, "ready");
    g_assert_cmpuint(most_threads, <=, threads + max_threads + 8);
    g_assert_cmpuint(most_fds, <=, fds + max_fds + 8);
    pct_finish(t);
    pct_check_all_proven(t, CACHE_PAGES);
}

static char *many_files(const char *file, unsigned ndisks)
{
    GString *args = g_string_new("-device virtio-scsi-pci,addr=0x5 ");
    unsigned i;

    for (i = 0; i < ndisks; i++) {
        g_string_append_printf(args, "-blockdev file,node-name=disk%u,"
                               "locking=off,filename=%s "
                               "-device scsi-hd,id=hd%u,drive=disk%u,"
                               "channel=0,scsi-id=%u,lun=0,share-rw=on ",
                               i, file, i, i, i);
    }
    return g_string_free(args, false);
}

/*
 * One ring and its workers, or workers alone; one descriptor a disk.  16 workers
 * and one that waits are enough, but a loaded machine may make some late.
 */
static void test_many_files(const void *opaque)
{
    unsigned ndisks = GPOINTER_TO_UINT(opaque);
    PcTest *t = pct_new();
    g_autofree char *args = many_files(t->disk, ndisks);

    check_many(t, args, ndisks, 1 + 64 + 8, ndisks + 2);
    pct_free(t);
}

/* Two sessions a LUN; a thread, a socket and an eventfd each */
static void test_many_luns(void)
{
    enum { LUNS = 32 };
    g_autoptr(GString) args = g_string_new("-device virtio-scsi-pci,"
                                           "addr=0x5 ");
    PcTest *t;
    Tgtd tgt;
    unsigned i;

    t = pct_new_iscsi(&tgt);
    if (!t) {
        return;
    }
    for (i = 0; i < LUNS; i++) {
        unsigned lun = TGTD_LUNS + 1 + i;

        g_assert_true(tgtadm(&tgt, "--op new --mode logicalunit --tid 1 "
                             "--lun %u --bstype rdwr -b %s", lun, t->disk));
        g_string_append_printf(args, "-blockdev iscsi,node-name=disk%u,"
                               "transport=tcp,portal=127.0.0.1:%d,"
                               "target=" TGTD_TARGET ",lun=%u "
                               "-device scsi-hd,id=hd%u,drive=disk%u,"
                               "channel=0,scsi-id=%u,lun=0 ", i, tgt.port,
                               lun, i, i, i);
    }
    tgtd_bind_all(&tgt);
    check_many(t, args->str, LUNS, 2 * LUNS, 4 * LUNS);
    pct_free_iscsi(t, &tgt);
}

/*
 * Few descriptors are left: the disk is not read, the migration is a plain
 * one, and what QEMU opens next can be opened.
 */
static void test_few_descriptors(void)
{
    PcTest *t = pct_new_pair();
    struct rlimit limit;

    pct_incoming(t);
    pct_migrate_slowly(t);
    pct_wait_figure(t->dst, "offered-pages", 0);
    g_assert_cmpint(prlimit(qtest_pid(t->dst), RLIMIT_NOFILE, NULL, &limit),
                    ==, 0);
    limit.rlim_cur = count(t->dst, "fd") + 20;
    g_assert_cmpint(prlimit(qtest_pid(t->dst), RLIMIT_NOFILE, &limit, NULL),
                    ==, 0);
    pct_hint_cache(t);
    pct_wait_figure(t->src, "unavailable-pages", 1);
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'blockdev-add',"
                             "  'arguments': { 'driver': 'file',"
                             "    'node-name': 'other', 'read-only': true,"
                             "    'locking': 'off', 'filename': %s } }",
                             t->disk);
    pct_finish_unread(t, "failed", "file descriptors are in use, expected 65 "
                      "or more to be left (RLIMIT_NOFILE)");
    pct_free(t);
}

/* --- Disks that are passed as descriptors --------------------------------- */

typedef struct Passed {
    const char *name;
    int flags[2];           /* of descriptors in the set; -1: none */
    bool deleted;           /* the file has no name any more */
    const char *user;       /* the destination's QEMU is */
    const char *error;      /* NULL: the disk is read */
} Passed;

static const Passed passed[] = {
    { "rdwr", { O_RDWR, -1 } },
    { "rdonly-and-rdwr", { O_RDONLY, O_RDWR } },
    { "deleted", { O_RDWR, O_RDONLY }, .deleted = true },
    { "no-access", { O_RDWR, -1 }, .user = "nobody",
      .error = "cannot open /dev/fdset/3 once more with O_DIRECT: Permission "
               "denied; add a descriptor to the set that was opened with "
               "O_RDONLY and O_DIRECT" },
    { "no-access-direct", { O_RDWR, O_RDONLY | O_DIRECT }, .user = "nobody" },
};

static void test_passed(const void *opaque)
{
    const Passed *p = opaque;
    g_autoptr(GString) args = g_string_new("");
    PcTest *t;
    int fds[2], i;

    if (p->user && geteuid()) {
        g_test_skip("only root can run QEMU as somebody else");
        return;
    }
    t = pct_new();
    g_assert_cmpint(g_chmod(t->disk, 0600), ==, 0);
    g_assert_cmpint(g_chmod(t->dir, 0777), ==, 0);
    for (i = 0; i < 2 && p->flags[i] >= 0; i++) {
        fds[i] = open(t->disk, p->flags[i]);    /* QEMU inherits it */
        g_assert_cmpint(fds[i], >=, 0);
        g_string_append_printf(args, "-add-fd fd=%d,set=3 ", fds[i]);
    }
    g_string_append_printf(args, DISK_ARGS, "/dev/fdset/3");
    if (p->user) {
        g_string_append_printf(args, "-run-with user=%s ", p->user);
    }
    pct_start_src(t, NULL);
    pct_start_dst(t, args->str);
    while (i-- > 0) {
        close(fds[i]);
    }
    if (p->deleted) {
        g_autofree char *other = pct_path(t, "other");

        /* the same name for another file, so that the test's end finds one */
        g_assert_true(g_file_set_contents(other, "x", 1, NULL));
        g_assert_cmpint(g_rename(other, t->disk), ==, 0);
    }
    pct_on(t);
    pct_hint_cache(t);
    if (p->error) {
        pct_migrate_unread(t, "failed", p->error);
    } else {
        pct_refill_cache(t);
        pct_check_read_by(t, "file");
    }
    pct_free(t);
}

/* The set was taken away again */
static void test_passed_removed(void)
{
    PcTest *t = pct_new();
    g_autofree char *args = NULL;
    int fd;

    fd = open(t->disk, O_RDWR);
    args = g_strdup_printf("-add-fd fd=%d,set=3 " DISK_ARGS, fd,
                           "/dev/fdset/3");
    pct_start_src(t, NULL);
    pct_start_dst(t, args);
    close(fd);
    qtest_qmp_assert_success(t->dst, "{ 'execute': 'remove-fd',"
                             "  'arguments': { 'fdset-id': 3 } }");
    pct_on(t);
    pct_hint_cache(t);
    pct_migrate_unread(t, "none", "no descriptor is left in /dev/fdset/3, add "
                       "one that was opened with O_RDONLY and O_DIRECT "
                       "(add-fd)");
    pct_free(t);
}

int main(int argc, char **argv)
{
    unsigned i;

    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/pagecache/file/late", test_late);
    qtest_add_func("/pagecache/file/not-direct", test_not_direct);
    qtest_add_data_func("/pagecache/file/many/32", GUINT_TO_POINTER(32),
                        test_many_files);
    qtest_add_data_func("/pagecache/file/many/70", GUINT_TO_POINTER(70),
                        test_many_files);
    qtest_add_func("/pagecache/file/many/luns", test_many_luns);
    qtest_add_func("/pagecache/file/few-descriptors", test_few_descriptors);
    for (i = 0; i < G_N_ELEMENTS(passed); i++) {
        g_autofree char *path = g_strdup_printf("/pagecache/file/passed/%s",
                                                passed[i].name);

        qtest_add_data_func(path, &passed[i], test_passed);
    }
    qtest_add_func("/pagecache/file/passed/removed", test_passed_removed);
    return g_test_run();
}
