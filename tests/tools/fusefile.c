/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fusefile: one file as a host sees it on storage that may be slow or hang
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Usage:
 *   fusefile [OPTION...] FILE DIR
 *
 * Mounts a FUSE file system at DIR with FILE in it, as 'disk'.  Writes go to
 * FILE at once.  Each mount has a page cache of its own in the kernel, and
 * nothing tells it when FILE changes: two mounts of one FILE are two hosts
 * with a file on NFS or on a cluster file system.
 *
 *   --direct-io       no open uses the page cache (FOPEN_DIRECT_IO)
 *   --no-o-direct     refuse to open with O_DIRECT (EINVAL)
 *   --drop-cache      an open empties the page cache (default: it is kept)
 *   --name=NAME       the file's name in the mount
 *   --command=LINE    as if written to 'control', before the mount; repeatable
 *   --async-dio       libaio does not wait in io_submit() with O_DIRECT; but
 *                     then who waits for such a read cannot be killed
 *   --here            mount in the mount namespace we are in
 *
 * Without --here the mount is in a namespace of our own, where others reach
 * it through /proc.  When it can be used, a line on standard output says so:
 * "ready PATH", PATH being the directory.  Runs in the foreground, and ends
 * with its parent (with the thread that forked it), on SIGTERM, and when it
 * is unmounted.  With the namespace the mount is gone, even after SIGKILL;
 * what was waiting for an answer gets ECONNABORTED or ENOTCONN then.
 *
 * A line written to the file 'control' in the mount changes how 'disk'
 * answers from now on:
 *
 *   OP now            at once; held requests are answered, too
 *   OP late MS        so many milliseconds after the request
 *   OP hang           never, until 'now', 'fail' or a signal (EINTR)
 *   OP fail           with EIO, and nothing is done; held requests, too
 *
 * OP is open, read, write, fsync, close, getattr or all.  What a request
 * does, it does when it comes, only the answer is late: a read returns the
 * bytes of that moment.  'control' reads as a line for each OP: how it is
 * answered, how many came, how many of them on files open with O_DIRECT, how
 * many are held now.
 */
#define _GNU_SOURCE
#define FUSE_USE_VERSION 35
#include <errno.h>
#include <fcntl.h>
#include <fuse_lowlevel.h>
#include <glib.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEVER G_MAXINT64
#define CONTROL "control"
#define MAX_LINE 256

enum { ROOT_INO = FUSE_ROOT_ID, DISK_INO, CONTROL_INO };

enum op { OP_OPEN, OP_READ, OP_WRITE, OP_FSYNC, OP_CLOSE, OP_GETATTR, OPS };

static const char *const op_names[OPS] = {
    "open", "read", "write", "fsync", "close", "getattr",
};

enum mode { MODE_NOW, MODE_LATE, MODE_HANG, MODE_FAIL, MODES };

static const char *const mode_names[MODES] = { "now", "late", "hang", "fail" };

struct answer {
    enum { ANSWER_STATUS, ANSWER_OPEN, ANSWER_BYTES, ANSWER_WRITTEN,
           ANSWER_ATTR } kind;
    int error;                  /* errno; the rest is not looked at then */
    size_t size;
    char *bytes;                /* owned */
    struct fuse_file_info file;
    struct stat attr;
};

struct held {
    fuse_req_t req;
    uint64_t id;                /* never used twice */
    enum op op;
    int64_t due;                /* g_get_monotonic_time(), or NEVER */
    bool registered;            /* interrupts are: may be answered */
    struct answer answer;
};

static struct {
    enum mode mode;
    unsigned ms;
    uint64_t came, direct, held;
} ops[OPS];                     /* under lock */

static GMutex lock;             /* not held while libfuse is called */
static GCond wake;
static GQueue held = G_QUEUE_INIT;      /* of struct held, under lock */
static uint64_t last_id;                /* under lock */

static int backing = -1;
static const char *disk_name = "disk";
static gboolean direct_io, no_o_direct, drop_cache, async_dio, here;
static char **commands;

static void give(fuse_req_t req, struct answer *answer)
{
    if (answer->error) {
        fuse_reply_err(req, answer->error);
    } else if (answer->kind == ANSWER_OPEN) {
        fuse_reply_open(req, &answer->file);
    } else if (answer->kind == ANSWER_BYTES) {
        fuse_reply_buf(req, answer->bytes, answer->size);
    } else if (answer->kind == ANSWER_WRITTEN) {
        fuse_reply_write(req, answer->size);
    } else if (answer->kind == ANSWER_ATTR) {
        fuse_reply_attr(req, &answer->attr, 0);
    } else {
        fuse_reply_err(req, 0);
    }
    g_free(answer->bytes);
}

static struct held *find_held(uint64_t id)
{
    for (GList *link = held.head; link; link = link->next) {
        struct held *entry = link->data;

        if (entry->id == id) {
            return entry;
        }
    }
    return NULL;
}

/* A signal came to who waits, as a mount with "intr" has it. */
static void interrupted(fuse_req_t req, void *id)
{
    struct held *entry;

    (void)req;
    g_mutex_lock(&lock);
    entry = find_held((uintptr_t)id);
    if (entry) {
        entry->answer.error = EINTR;
        entry->due = 0;
        g_cond_signal(&wake);
    }
    g_mutex_unlock(&lock);
}

/* Count a request; false if it was refused already. */
static bool begin(fuse_req_t req, enum op op, struct fuse_file_info *file)
{
    bool fail;

    g_mutex_lock(&lock);
    ops[op].came++;
    ops[op].direct += file && (file->flags & O_DIRECT);
    fail = ops[op].mode == MODE_FAIL;
    g_mutex_unlock(&lock);
    if (fail) {
        fuse_reply_err(req, EIO);
    }
    return !fail;
}

/* Answer now or later; takes over answer->bytes. */
static void end(fuse_req_t req, enum op op, struct answer *answer)
{
    struct held *entry = NULL;
    uint64_t id = 0;

    g_mutex_lock(&lock);
    if (ops[op].mode == MODE_LATE || ops[op].mode == MODE_HANG) {
        entry = g_new0(struct held, 1);
        entry->req = req;
        entry->id = id = ++last_id;
        entry->op = op;
        entry->due = ops[op].mode == MODE_HANG ? NEVER
                     : g_get_monotonic_time() + ops[op].ms * 1000ll;
        entry->answer = *answer;
        ops[op].held++;
        g_queue_push_tail(&held, entry);
    }
    g_mutex_unlock(&lock);
    if (!entry) {
        give(req, answer);
        return;
    }
    fuse_req_interrupt_func(req, interrupted, (void *)(uintptr_t)id);
    g_mutex_lock(&lock);
    entry->registered = true;
    g_cond_signal(&wake);
    g_mutex_unlock(&lock);
}

/* A thread: answers what was held when its time has come. */
static void *answer_held(void *opaque)
{
    (void)opaque;
    g_mutex_lock(&lock);
    for (;;) {
        struct held *ready = NULL;
        int64_t next = NEVER;

        for (GList *link = held.head; link; link = link->next) {
            struct held *entry = link->data;

            if (!entry->registered) {
                continue;
            }
            if (entry->due <= g_get_monotonic_time()) {
                ready = entry;
                g_queue_delete_link(&held, link);
                break;
            }
            next = MIN(next, entry->due);
        }
        if (ready) {
            ops[ready->op].held--;
            g_mutex_unlock(&lock);
            give(ready->req, &ready->answer);
            g_free(ready);
            g_mutex_lock(&lock);
        } else if (next == NEVER) {
            g_cond_wait(&wake, &lock);
        } else {
            g_cond_wait_until(&wake, &lock, next);
        }
    }
    return NULL;
}

static void set_mode(enum op op, enum mode mode, unsigned ms)
{
    ops[op].mode = mode;
    ops[op].ms = ms;
    for (GList *link = held.head; link; link = link->next) {
        struct held *entry = link->data;

        if (entry->op == op && (mode == MODE_NOW || mode == MODE_FAIL)) {
            entry->due = 0;
            if (mode == MODE_FAIL) {
                entry->answer.error = EIO;
            }
        }
    }
}

/* Carry out a line of 'control'; false if it is none. */
static bool command(const char *text)
{
    char op[16], mode[16], rest[2];
    unsigned ms = 0;
    int words = sscanf(text, " %15s %15s %u %1s", op, mode, &ms, rest);
    bool known = false;
    unsigned number = 0;

    if (words < 2) {
        return false;
    }
    while (number < MODES && strcmp(mode, mode_names[number])) {
        number++;
    }
    if (number == MODES || words != (number == MODE_LATE ? 3 : 2)) {
        return false;
    }
    g_mutex_lock(&lock);
    for (unsigned i = 0; i < OPS; i++) {
        if (!strcmp(op, op_names[i]) || !strcmp(op, "all")) {
            set_mode(i, number, ms);
            known = true;
        }
    }
    g_cond_signal(&wake);
    g_mutex_unlock(&lock);
    return known;
}

static char *report(void)
{
    GString *text = g_string_new("");

    g_mutex_lock(&lock);
    for (unsigned i = 0; i < OPS; i++) {
        g_string_append_printf(text, "%s %s", op_names[i],
                               mode_names[ops[i].mode]);
        if (ops[i].mode == MODE_LATE) {
            g_string_append_printf(text, " %u", ops[i].ms);
        }
        g_string_append_printf(text, " came=%" PRIu64 " direct=%" PRIu64
                               " held=%" PRIu64 "\n", ops[i].came,
                               ops[i].direct, ops[i].held);
    }
    g_mutex_unlock(&lock);
    return g_string_free(text, FALSE);
}

static void fill_attr(fuse_ino_t ino, struct stat *attr)
{
    memset(attr, 0, sizeof(*attr));
    if (ino == DISK_INO) {
        fstat(backing, attr);
        attr->st_mode = S_IFREG | 0666;
    } else {
        attr->st_mode = ino == ROOT_INO ? S_IFDIR | 0755 : S_IFREG | 0666;
    }
    attr->st_ino = ino;
    attr->st_nlink = ino == ROOT_INO ? 2 : 1;
}

static void on_init(void *opaque, struct fuse_conn_info *conn)
{
    (void)opaque;
    /* what another host writes does not change this host's cache */
    conn->want &= ~FUSE_CAP_AUTO_INVAL_DATA;
    if (!async_dio) {
        conn->want &= ~FUSE_CAP_ASYNC_DIO;
    }
    /* so that many held reads do not keep others from being seen */
    conn->max_background = 1024;
    conn->congestion_threshold = 1024;
}

static void on_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct fuse_entry_param entry = {};

    if (parent == ROOT_INO && !strcmp(name, disk_name)) {
        entry.ino = DISK_INO;
    } else if (parent == ROOT_INO && !strcmp(name, CONTROL)) {
        entry.ino = CONTROL_INO;
    } else {
        fuse_reply_err(req, ENOENT);
        return;
    }
    fill_attr(entry.ino, &entry.attr);
    fuse_reply_entry(req, &entry);
}

static void on_getattr(fuse_req_t req, fuse_ino_t ino,
                       struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_ATTR };

    fill_attr(ino, &answer.attr);
    if (ino != DISK_INO) {
        give(req, &answer);
    } else if (begin(req, OP_GETATTR, file)) {
        end(req, OP_GETATTR, &answer);
    }
}

static void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr,
                       int what, struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_ATTR };

    (void)file;
    if (ino == DISK_INO && (what & FUSE_SET_ATTR_SIZE)
        && ftruncate(backing, attr->st_size) < 0) {
        answer.error = errno;
    }
    fill_attr(ino, &answer.attr);
    give(req, &answer);
}

static void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at,
                       struct fuse_file_info *file)
{
    const char *const names[] = { ".", "..", disk_name, CONTROL };
    const fuse_ino_t inos[] = { ROOT_INO, ROOT_INO, DISK_INO, CONTROL_INO };
    g_autofree char *buffer = g_malloc(size);
    size_t used = 0;

    (void)ino;
    (void)file;
    for (size_t i = at; i < G_N_ELEMENTS(names); i++) {
        struct stat attr;
        size_t more;

        fill_attr(inos[i], &attr);
        more = fuse_add_direntry(req, buffer + used, size - used, names[i],
                                 &attr, i + 1);
        if (more > size - used) {
            break;
        }
        used += more;
    }
    fuse_reply_buf(req, buffer, used);
}

static void on_open(fuse_req_t req, fuse_ino_t ino,
                    struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_OPEN };

    if (ino != DISK_INO) {
        file->direct_io = true;
        answer.file = *file;
        give(req, &answer);
        return;
    }
    if (!begin(req, OP_OPEN, file)) {
        return;
    }
    if (no_o_direct && (file->flags & O_DIRECT)) {
        answer.error = EINVAL;
    }
    file->direct_io = direct_io;
    file->keep_cache = !drop_cache;
    answer.file = *file;
    end(req, OP_OPEN, &answer);
}

static void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t at,
                    struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_BYTES };
    ssize_t got;

    if (ino == CONTROL_INO) {
        g_autofree char *text = report();
        size_t length = strlen(text);

        at = MIN((size_t)at, length);
        fuse_reply_buf(req, text + at, MIN(size, length - at));
        return;
    }
    if (!begin(req, OP_READ, file)) {
        return;
    }
    answer.bytes = g_malloc(size);
    got = pread(backing, answer.bytes, size, at);
    answer.size = MAX(got, 0);
    answer.error = got < 0 ? errno : 0;
    end(req, OP_READ, &answer);
}

static void on_write(fuse_req_t req, fuse_ino_t ino, const char *bytes,
                     size_t size, off_t at, struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_WRITTEN, .size = size };
    ssize_t put;

    if (ino == CONTROL_INO) {
        g_autofree char *text = g_strndup(bytes, MIN(size, MAX_LINE));

        answer.error = command(text) ? 0 : EINVAL;
        give(req, &answer);
        return;
    }
    if (!begin(req, OP_WRITE, file)) {
        return;
    }
    put = pwrite(backing, bytes, size, at);
    answer.size = MAX(put, 0);
    answer.error = put < 0 ? errno : 0;
    end(req, OP_WRITE, &answer);
}

static void on_fsync(fuse_req_t req, fuse_ino_t ino, int datasync,
                     struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_STATUS };

    (void)datasync;
    if (ino != DISK_INO) {
        give(req, &answer);
    } else if (begin(req, OP_FSYNC, file)) {
        answer.error = fdatasync(backing) < 0 ? errno : 0;
        end(req, OP_FSYNC, &answer);
    }
}

static void on_flush(fuse_req_t req, fuse_ino_t ino,
                     struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_STATUS };

    if (ino != DISK_INO) {
        give(req, &answer);
    } else if (begin(req, OP_CLOSE, file)) {
        end(req, OP_CLOSE, &answer);
    }
}

static void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t at,
                         off_t length, struct fuse_file_info *file)
{
    struct answer answer = { .kind = ANSWER_STATUS };

    (void)ino;
    (void)file;
    if (fallocate(backing, mode, at, length) < 0) {
        answer.error = errno;
    }
    give(req, &answer);
}

static const struct fuse_lowlevel_ops callbacks = {
    .init = on_init,
    .lookup = on_lookup,
    .getattr = on_getattr,
    .setattr = on_setattr,
    .readdir = on_readdir,
    .open = on_open,
    .read = on_read,
    .write = on_write,
    .fsync = on_fsync,
    .flush = on_flush,
    .fallocate = on_fallocate,
};

static void G_GNUC_PRINTF(1, 2) die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    fprintf(stderr, "fusefile: ");
    vfprintf(stderr, format, args);
    fprintf(stderr, "\n");
    va_end(args);
    exit(1);
}

static void die_with_parent(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) {
        exit(1);
    }
}

static void open_backing(const char *path)
{
    struct stat attr;

    backing = open(path, O_RDWR | O_CLOEXEC);
    if (backing < 0 && (errno == EACCES || errno == EROFS)) {
        backing = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (backing < 0 || fstat(backing, &attr) < 0) {
        die("%s: %s", path, strerror(errno));
    }
    if (!S_ISREG(attr.st_mode)) {
        die("%s: not a regular file", path);
    }
}

static void own_namespace(void)
{
    if (unshare(CLONE_NEWNS) < 0
        || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0) {
        die("no mount namespace to be had (are you root?): %s",
            strerror(errno));
    }
}

int main(int argc, char **argv)
{
    const GOptionEntry options[] = {
        { "direct-io", 0, 0, G_OPTION_ARG_NONE, &direct_io,
          "no open uses the page cache", NULL },
        { "no-o-direct", 0, 0, G_OPTION_ARG_NONE, &no_o_direct,
          "refuse to open with O_DIRECT", NULL },
        { "drop-cache", 0, 0, G_OPTION_ARG_NONE, &drop_cache,
          "an open empties the page cache", NULL },
        { "async-dio", 0, 0, G_OPTION_ARG_NONE, &async_dio,
          "O_DIRECT requests are asynchronous", NULL },
        { "name", 0, 0, G_OPTION_ARG_STRING, &disk_name,
          "the file's name in the mount", "NAME" },
        { "command", 0, 0, G_OPTION_ARG_STRING_ARRAY, &commands,
          "as if written to 'control'", "LINE" },
        { "here", 0, 0, G_OPTION_ARG_NONE, &here,
          "mount in the mount namespace we are in", NULL },
        {}
    };
    pid_t parent = getppid();
    GOptionContext *context = g_option_context_new("FILE DIR");
    g_autofree char *where = NULL;
    struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
    struct fuse_session *session;
    GError *error = NULL;
    int status;

    die_with_parent(parent);
    g_option_context_add_main_entries(context, options, NULL);
    if (!g_option_context_parse(context, &argc, &argv, &error)) {
        die("%s", error->message);
    }
    g_option_context_free(context);
    if (argc != 3) {
        die("expected FILE and DIR; see --help");
    }
    for (char **line = commands; line && *line; line++) {
        if (!command(*line)) {
            die("--command='%s': expected OP now|late MS|hang|fail", *line);
        }
    }
    open_backing(argv[1]);
    where = realpath(argv[2], NULL);
    if (!where) {
        die("%s: %s", argv[2], strerror(errno));
    }
    if (!here) {
        own_namespace();
    }
    fuse_opt_add_arg(&args, argv[0]);
    fuse_opt_add_arg(&args, "-oallow_other,default_permissions,"
                            "fsname=fusefile,subtype=fusefile");
    session = fuse_session_new(&args, &callbacks, sizeof(callbacks), NULL);
    if (!session || fuse_set_signal_handlers(session) < 0
        || fuse_session_mount(session, where) < 0) {
        die("%s: cannot mount there", where);
    }
    g_thread_unref(g_thread_new("answers", answer_held, NULL));
    if (here) {
        printf("ready %s\n", where);
    } else {
        printf("ready /proc/%d/root%s\n", getpid(), where);
    }
    fflush(stdout);
    status = fuse_session_loop(session);
    fuse_session_unmount(session);
    /* not exit(): held requests die with the connection */
    _exit(status < 0);
}
