/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's bswap.h where the pure core is built without a QEMU
 * tree: unaligned access in a given byte order, with QEMU's names and types
 * (the 16 and 32 bit loads return int there, too).
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_BSWAP_H
#define SHIM_QEMU_BSWAP_H

#include <glib.h>
#include <stdint.h>
#include <string.h>

#define SHIM_LOAD(name, type, ret, FROM)            \
    static inline ret name(const void *ptr)         \
    {                                               \
        type v;                                     \
                                                    \
        memcpy(&v, ptr, sizeof(v));                 \
        return FROM(v);                             \
    }

#define SHIM_STORE(name, type, TO)                  \
    static inline void name(void *ptr, type v)      \
    {                                               \
        v = TO(v);                                  \
        memcpy(ptr, &v, sizeof(v));                 \
    }

SHIM_LOAD(lduw_be_p, uint16_t, int, GUINT16_FROM_BE)
SHIM_LOAD(lduw_le_p, uint16_t, int, GUINT16_FROM_LE)
SHIM_LOAD(ldl_be_p, uint32_t, int, GUINT32_FROM_BE)
SHIM_LOAD(ldl_le_p, uint32_t, int, GUINT32_FROM_LE)
SHIM_LOAD(ldq_be_p, uint64_t, uint64_t, GUINT64_FROM_BE)
SHIM_LOAD(ldq_le_p, uint64_t, uint64_t, GUINT64_FROM_LE)

SHIM_STORE(stw_be_p, uint16_t, GUINT16_TO_BE)
SHIM_STORE(stw_le_p, uint16_t, GUINT16_TO_LE)
SHIM_STORE(stl_be_p, uint32_t, GUINT32_TO_BE)
SHIM_STORE(stl_le_p, uint32_t, GUINT32_TO_LE)
SHIM_STORE(stq_be_p, uint64_t, GUINT64_TO_BE)
SHIM_STORE(stq_le_p, uint64_t, GUINT64_TO_LE)

#endif
