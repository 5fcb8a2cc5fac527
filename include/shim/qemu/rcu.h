/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's rcu.h where code is built without a QEMU tree: nobody
 * reads what is freed there.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_RCU_H
#define SHIM_QEMU_RCU_H

#include "qemu/atomic.h"

struct rcu_head {
    char unused;
};

#define RCU_READ_LOCK_GUARD()       ((void)0)
#define WITH_RCU_READ_LOCK_GUARD()
#define call_rcu(p, func, field)    func(p)
#define qatomic_rcu_read(p)         qatomic_load_acquire(p)

#endif
