/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: the reader's engine for raw files and block devices
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Threads that call pread(), each on a file descriptor of its own, with one
 * read in flight each.  A thread whose pread() never returns leaks itself;
 * the reader has given its pages back at the deadline.
 *
 * Opening a file once more and closing it would release POSIX record locks;
 * QEMU locks images with open file description locks on Linux, which don't
 * mind.
 */

#include "qemu/osdep.h"
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include "migration/pagecache-fault.h"
#include "pagecache-reader-int.h"

/* One read at a time and thread: as many threads as reads in flight, but... */
#define MAX_THREADS 16u
/* What O_DIRECT asks of files; a device says it by itself */
#define FILE_ALIGN  4096u
/* A buffered read can begin anywhere */
#define BUFFERED_ALIGN 512u

typedef struct FileEngine {
    PagecacheReader *r;
    const PagecacheReaderSpec *spec;
} FileEngine;

typedef struct FileSession {
    int fd;
    uint64_t size;
    uint32_t align;
} FileSession;

static bool file_session_open(const PagecacheReaderSpec *spec, FileSession *s,
                              char **why)
{
    const char *path = spec->u.file.path;
    struct stat st;
    int sector = 0;
    off_t end;

    s->align = BUFFERED_ALIGN;
    s->fd = -1;
    if (spec->u.file.direct) {
        s->fd = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
    }
    if (s->fd >= 0) {
        s->align = FILE_ALIGN;
    } else if (!spec->u.file.direct || errno == EINVAL) {
        s->fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    if (s->fd < 0) {
        *why = g_strdup_printf("cannot open %s: %s", path, g_strerror(errno));
        return false;
    }
    if (fstat(s->fd, &st) < 0) {
        *why = g_strdup_printf("cannot stat %s: %s", path, g_strerror(errno));
        goto fail;
    }
    if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode)) {
        *why = g_strdup_printf("%s is neither a file nor a block device",
                               path);
        goto fail;
    }
    if (S_ISBLK(st.st_mode) && s->align != BUFFERED_ALIGN &&
        ioctl(s->fd, BLKSSZGET, &sector) == 0 && sector > FILE_ALIGN) {
        s->align = sector;
    }
    end = lseek(s->fd, 0, SEEK_END);
    if (end < 0) {
        *why = g_strdup_printf("cannot find out the size of %s: %s", path,
                               g_strerror(errno));
        goto fail;
    }
    s->size = end;
    return true;

fail:
    close(s->fd);
    return false;
}

/* Some filesystems take O_DIRECT and then refuse to read */
static int file_drop_direct(FileSession *s)
{
    int flags = fcntl(s->fd, F_GETFL);

    if (flags < 0 || !(flags & O_DIRECT) ||
        fcntl(s->fd, F_SETFL, flags & ~O_DIRECT) < 0) {
        return -EINVAL;
    }
    return 0;
}

static int file_read(FileSession *s, PagecacheRead *read, const char **why)
{
    uint32_t done = 0;

    while (done < read->needed) {
        uint32_t want = read->bytes - done;
        ssize_t n = 0;
        int error = 0;

        if (pagecache_fault(PAGECACHE_FAULT_PARTIAL_READ)) {
            want = MIN(want, s->align);
        }
        if (!pagecache_fault(PAGECACHE_FAULT_SHORT_READ)) {
            n = pread(s->fd, read->buf + done, want, read->offset + done);
            error = errno;
        }
        if (n > 0) {
            done += n;
        } else if (n == 0) {
            *why = "the file ends before";
            return -EIO;
        } else if (error == EINVAL && file_drop_direct(s) == 0) {
            continue;
        } else if (error != EINTR) {
            return -error;
        }
    }
    return 0;
}

static gpointer file_thread(gpointer opaque)
{
    FileEngine *e = opaque;
    PagecacheReader *r = e->r;
    g_autofree char *error = NULL;
    FileSession s;

    if (!file_session_open(e->spec, &s, &error)) {
        /* it is here or not: trying again would not change it */
        pagecache_reader_down(r, false, true, error);
        pagecache_reader_give_up(r, error);
        pagecache_reader_unref(r);
        return NULL;
    }
    if (!pagecache_reader_up(r, s.size, s.align, 0, &error)) {
        pagecache_reader_down(r, false, true, error);
        pagecache_reader_give_up(r, error);
    } else {
        PagecacheRead *read;

        while ((read = pagecache_reader_next_wait(r))) {
            const char *why = NULL;
            int ret = file_read(&s, read, &why);

            pagecache_reader_complete(r, read, ret, why);
        }
        pagecache_reader_down(r, true, false, NULL);
    }
    close(s.fd);
    pagecache_reader_unref(r);
    return NULL;
}

static void *file_start(PagecacheReader *r, const PagecacheReaderSpec *spec,
                        unsigned sessions, unsigned depth, char **why)
{
    FileEngine *e = g_new(FileEngine, 1);
    unsigned n = MIN(sessions * depth, MAX_THREADS), i;

    *e = (FileEngine) { .r = r, .spec = spec };
    for (i = 0; i < n; i++) {
        pagecache_reader_ref(r);
        if (!pagecache_reader_thread("pagecache-file", file_thread, e)) {
            pagecache_reader_unref(r);
            break;
        }
    }
    if (!i) {
        *why = g_strdup("cannot create a thread");
        g_free(e);
        return NULL;
    }
    return e;
}

static void file_spec_free(PagecacheReaderSpec *spec)
{
    g_free(spec->u.file.path);
}

static const PagecacheEngineOps file_ops = {
    .name = "file",
    .start = file_start,
    .free = g_free,
    .spec_free = file_spec_free,
};

static void __attribute__((constructor)) file_register(void)
{
    pagecache_reader_file_ops = &file_ops;
}
