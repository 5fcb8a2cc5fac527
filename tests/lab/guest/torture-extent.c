/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * torture: files that share blocks, and files whose blocks move
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#define _GNU_SOURCE
#include "torture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* fs/ext4/ext4.h has this for e4defrag */
struct move_extent {
    uint32_t reserved;
    uint32_t donor_fd;
    uint64_t orig_start, donor_start, len;      /* blocks */
    uint64_t moved_len;
};
#define EXT4_IOC_MOVE_EXT _IOWR('f', 15, struct move_extent)

/* fs/xfs/libxfs/xfs_fs.h has these for xfs_fsr */
struct xfs_bstime {
    long tv_sec;
    int32_t tv_nsec;
};

struct xfs_bstat {
    uint64_t bs_ino;
    uint16_t bs_mode, bs_nlink;
    uint32_t bs_uid, bs_gid, bs_rdev;
    int32_t bs_blksize;
    int64_t bs_size;
    struct xfs_bstime bs_atime, bs_mtime, bs_ctime;
    int64_t bs_blocks;
    uint32_t bs_xflags;
    int32_t bs_extsize, bs_extents;
    uint32_t bs_gen;
    uint16_t bs_projid_lo, bs_forkoff, bs_projid_hi, bs_sick, bs_checked;
    unsigned char bs_pad[2];
    uint32_t bs_cowextsize, bs_dmevmask;
    uint16_t bs_dmstate, bs_aextents;
};

struct xfs_fsop_bulkreq {
    uint64_t *lastip;
    int32_t icount;
    void *ubuffer;
    int32_t *ocount;
};
#define XFS_IOC_FSBULKSTAT_SINGLE _IOWR('X', 102, struct xfs_fsop_bulkreq)

struct xfs_swapext {
    int64_t sx_version;
    int64_t sx_fdtarget, sx_fdtmp;
    int64_t sx_offset, sx_length;
    char sx_pad[16];
    struct xfs_bstat sx_stat;
};
#define XFS_IOC_SWAPEXT _IOWR('X', 109, struct xfs_swapext)

/* @to becomes the same as @from, on the same blocks */
bool extent_reflink(struct writer *w, struct file *from, struct file *to)
{
    if (ftruncate(to->fd, 0) || ioctl(to->fd, FICLONE, from->fd)) {
        failed(w->me, "reflink", to->name);
        return false;
    }
    return true;
}

static int donor(struct writer *w)
{
    int fd = open(w->directory, O_RDWR | O_TMPFILE, 0600);

    if (fd < 0) {
        failed(w->me, "donor", w->directory);
    }
    return fd;
}

static bool ext4_defrag(struct writer *w, struct file *f, int fd)
{
    uint32_t pages = f->sectors / PAGE_SECTORS, at = pick(w, pages);
    struct move_extent move = {
        .donor_fd = fd, .orig_start = at, .donor_start = at,
        .len = 1 + pick(w, pages - at),
    };

    if (fallocate(fd, 0, 0, (off_t)f->sectors * SECTOR)) {
        failed(w->me, "donor", f->name);
        return false;
    }
    if (ioctl(f->fd, EXT4_IOC_MOVE_EXT, &move)) {
        /* busy, or nothing but a hole there */
        if (errno != EBUSY && errno != EINVAL && errno != ENODATA) {
            failed(w->me, "move extents", f->name);
        }
        return false;
    }
    return move.moved_len;
}

static bool xfs_defrag(struct writer *w, struct file *f, int fd)
{
    size_t size = (size_t)f->sectors * SECTOR;
    struct xfs_swapext swap = {
        .sx_fdtarget = f->fd, .sx_fdtmp = fd, .sx_length = size,
    };
    uint64_t inode = f->inode;
    int32_t count = 0;
    struct xfs_fsop_bulkreq request = { &inode, 1, &swap.sx_stat, &count };

    /* a mapping that can be written forbids it, a read cache does not */
    file_evict(w, f);
    if (pread(f->direct, w->buffer, size, 0) != (ssize_t)size ||
        pwrite(fd, w->buffer, size, 0) != (ssize_t)size || fsync(fd) ||
        ioctl(f->fd, XFS_IOC_FSBULKSTAT_SINGLE, &request)) {
        failed(w->me, "copy", f->name);
        return false;
    }
    if (ioctl(f->fd, XFS_IOC_SWAPEXT, &swap)) {
        if (errno != EBUSY && errno != EINVAL && errno != EFAULT &&
            errno != EOPNOTSUPP) {
            failed(w->me, "swap extents", f->name);
        }
        return false;
    }
    return true;
}

/* Move a file to other blocks, its content unchanged */
bool extent_defrag(struct writer *w, struct file *f)
{
    bool done;
    int fd;

    if (f->sectors < PAGE_SECTORS || (!w->ext4 && !w->xfs)) {
        return false;
    }
    fd = donor(w);
    if (fd < 0) {
        return false;
    }
    done = w->ext4 ? ext4_defrag(w, f, fd) : xfs_defrag(w, f, fd);
    close(fd);
    return done;
}
