/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's qapi/error.h where code is built without a QEMU tree:
 * an error is its message, to be freed with g_free().
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QAPI_ERROR_H
#define SHIM_QAPI_ERROR_H

#define error_setg(errp, ...)                               \
    do {                                                    \
        if (errp) {                                         \
            *(errp) = (Error *)g_strdup_printf(__VA_ARGS__); \
        }                                                   \
    } while (0)

#define error_get_pretty(err)   ((const char *)(err))

#endif
