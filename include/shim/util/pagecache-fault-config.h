/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for the header that QEMU's build makes of -Dpagecache_faults:
 * without a QEMU tree the project's own meson.build defines
 * CONFIG_PAGECACHE_FAULTS, or not.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
