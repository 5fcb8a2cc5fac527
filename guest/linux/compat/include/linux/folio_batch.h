/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtio_pagecache: where struct folio_batch was before it had a header of
 * its own; not in the include path of kernels that have it
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#include <linux/pagevec.h>
