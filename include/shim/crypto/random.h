/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's crypto/random.h where code is built without a QEMU
 * tree: who is built with it brings the function.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_CRYPTO_RANDOM_H
#define SHIM_CRYPTO_RANDOM_H

int qcrypto_random_bytes(void *buf, size_t buflen, Error **errp);

#endif
