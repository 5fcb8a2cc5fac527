/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's typedefs.h where code is built without a QEMU tree: its
 * names come with qapi/qapi-types-pagecache.h.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_TYPEDEFS_H
#define SHIM_QEMU_TYPEDEFS_H

#include "qapi/qapi-types-pagecache.h"

#endif
