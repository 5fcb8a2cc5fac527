/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's iov.h where code is built without a QEMU tree.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_IOV_H
#define SHIM_QEMU_IOV_H

#include <sys/uio.h>

typedef struct QEMUIOVector {
    struct iovec *iov;
    int niov;
    size_t size;
} QEMUIOVector;

#endif
