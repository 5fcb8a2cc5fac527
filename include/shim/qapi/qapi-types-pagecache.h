/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for what QAPI makes where code is built without a QEMU tree: the
 * names in include/migration/pagecache.h.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_QAPI_TYPES_PAGECACHE_H
#define SHIM_QAPI_TYPES_PAGECACHE_H

typedef struct BlockBackend BlockBackend;
typedef struct DeviceState DeviceState;
typedef int PagecacheGivenUpReason;
typedef int PagecacheLeftOutReason;
typedef int PagecacheNote;
typedef struct PagecacheProducerInfo PagecacheProducerInfo;

#endif
