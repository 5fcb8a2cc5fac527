/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's units.h where the pure core is built without a QEMU
 * tree: binary prefixes.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_UNITS_H
#define SHIM_QEMU_UNITS_H

#define KiB     (INT64_C(1) << 10)
#define MiB     (INT64_C(1) << 20)
#define GiB     (INT64_C(1) << 30)

#endif
