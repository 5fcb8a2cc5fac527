/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for QEMU's crypto/hash.h where code is built without a QEMU tree:
 * who is built with it brings the functions.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_CRYPTO_HASH_H
#define SHIM_CRYPTO_HASH_H

#include <sys/uio.h>

typedef enum QCryptoHashAlgo {
    QCRYPTO_HASH_ALGO_SHA256,
} QCryptoHashAlgo;

bool qcrypto_hash_supports(QCryptoHashAlgo alg);
int qcrypto_hash_bytesv(QCryptoHashAlgo alg, const struct iovec *iov,
                        size_t niov, uint8_t **result, size_t *resultlen,
                        Error **errp);

#endif
