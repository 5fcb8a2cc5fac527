/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: files and devices that were passed to QEMU as descriptors
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A node whose filename is /dev/fdset/N has its descriptor from a set, by its
 * access mode and flags; one for reads with O_DIRECT is seldom there.  But any
 * of them will do to open the file once more, by /proc/self/fd: that works for
 * a file without a name, too, and fails only where we may not read it.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-misc.h"
#include "qemu/cutils.h"
#include "pagecache-reader-int.h"

/* 3: to be used as it is if need be; 2: readable; 1: not; 0: not open */
static int usefulness(int fd)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0) {
        return 0;
    }
    if ((flags & O_ACCMODE) == O_WRONLY) {
        return 1;
    }
    return flags & O_DIRECT ? 3 : 2;
}

/* The set's most useful descriptor; -1: it has none */
static int find_fd(int64_t id)
{
    FdsetInfoList *sets = qmp_query_fdsets(&error_abort), *set;
    int fd = -1, best = 0;

    for (set = sets; set; set = set->next) {
        FdsetFdInfoList *l = set->value->fdset_id == id ? set->value->fds :
                             NULL;

        for (; l; l = l->next) {
            int useful = usefulness(l->value->fd);

            if (useful > best) {
                best = useful;
                fd = l->value->fd;
            }
        }
    }
    qapi_free_FdsetInfoList(sets);
    return fd;
}

/*
 * With the BQL, as what takes descriptors out of sets: it is the file's as
 * long as we look.
 */
PagecacheReaderSpec *pagecache_reader_fdset_spec_new(const char *path,
                                                     Error **errp)
{
    g_autofree char *why = NULL;
    PagecacheReaderSpec *spec;
    const char *number;
    int64_t id;
    int fd;

    if (!strstart(path, "/dev/fdset/", &number) ||
        qemu_strtoi64(number, NULL, 10, &id) < 0) {
        error_setg(errp, "'%s' is no set of file descriptors", path);
        return NULL;
    }
    fd = find_fd(id);
    if (fd < 0) {
        error_setg(errp, "no descriptor is left in %s, add one that was "
                   "opened with O_RDONLY and O_DIRECT (add-fd)", path);
        return NULL;
    }
    if (!pagecache_reader_fds_reserve(1, &why)) {
        error_setg(errp, "%s", why);
        return NULL;
    }
    fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    pagecache_reader_fds_opened(1);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot duplicate a descriptor of %s",
                         path);
        return NULL;
    }
    spec = pagecache_reader_spec_alloc(pagecache_reader_file_ops);
    spec->name = g_strdup(path);
    spec->u.file.passed_fd = g_new(int, 1);
    *spec->u.file.passed_fd = fd;
    return spec;
}
