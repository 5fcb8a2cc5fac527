/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's madvise.h where code is built without a QEMU tree.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_MADVISE_H
#define SHIM_QEMU_MADVISE_H

#include <sys/mman.h>

#ifdef MADV_POPULATE_WRITE
#define QEMU_MADV_POPULATE_WRITE    MADV_POPULATE_WRITE
#else
#define QEMU_MADV_POPULATE_WRITE    (-1)
#endif

#define QEMU_MADV_NOHUGEPAGE        MADV_NOHUGEPAGE

static inline int qemu_madvise(void *addr, size_t len, int advice)
{
    return madvise(addr, len, advice);
}

#endif
