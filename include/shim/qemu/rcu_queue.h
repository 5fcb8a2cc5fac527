/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's rcu_queue.h where code is built without a QEMU tree: see
 * exec/ramlist.h.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
