/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's osdep.h where the pure core is built without a QEMU
 * tree (unit tests, fuzzers, micro-benchmarks).  Only what the core uses is
 * here, with the meaning that it has in QEMU; inside the QEMU tree this file
 * is not used.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_OSDEP_H
#define SHIM_QEMU_OSDEP_H

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <glib.h>

#define QEMU_BUILD_BUG_ON(x)    _Static_assert(!(x), "not expecting: " #x)
#define QEMU_PACKED             __attribute__((packed))
#define QEMU_ALIGNED(x)         __attribute__((aligned(x)))

#define DIV_ROUND_UP(n, d)      (((n) + (d) - 1) / (d))
#define QEMU_ALIGN_DOWN(n, m)   ((n) / (m) * (m))
#define QEMU_ALIGN_UP(n, m)     QEMU_ALIGN_DOWN((n) + (m) - 1, (m))
#define QEMU_IS_ALIGNED(n, m)   (((n) % (m)) == 0)
#define ROUND_UP(n, d)          QEMU_ALIGN_UP(n, d)
#define ROUND_DOWN(n, d)        QEMU_ALIGN_DOWN(n, d)

#ifndef ARRAY_SIZE
#define ARRAY_SIZE(x)           G_N_ELEMENTS(x)
#endif

#ifndef container_of
#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))
#endif

typedef struct Error Error;

/* Bytes: the granularity of mincore() */
static inline uintptr_t qemu_real_host_page_size(void)
{
    return sysconf(_SC_PAGE_SIZE);
}

/* Zeros, NULL if there is no memory */
static inline void *qemu_anon_ram_alloc(size_t size, uint64_t *align,
                                        bool shared, bool noreserve)
{
    void *p = mmap(NULL, size, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    return p == MAP_FAILED ? NULL : p;
}

static inline void qemu_anon_ram_free(void *p, size_t size)
{
    munmap(p, size);
}

#endif
