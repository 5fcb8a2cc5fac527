/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's processor.h where the pure core is built without a QEMU
 * tree: a hint to the processor in a busy wait.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QEMU_PROCESSOR_H
#define SHIM_QEMU_PROCESSOR_H

/* Keeps the compiler from moving accesses out of the loop, no more. */
#define cpu_relax()     __asm__ volatile("" : : : "memory")

#endif
