/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Stands in for the trace events of block/ and migration/ where code is built
 * without a QEMU tree: it traces nothing there.
 *
 * Copyright (c) 2026 The skip-pagecache authors
 */
#ifndef SHIM_TRACE_H
#define SHIM_TRACE_H

#define trace_pagecache_reader_open(...)        ((void)0)
#define trace_pagecache_reader_start(...)       ((void)0)
#define trace_pagecache_reader_up(...)          ((void)0)
#define trace_pagecache_reader_down(...)        ((void)0)
#define trace_pagecache_reader_read(...)        ((void)0)
#define trace_pagecache_reader_complete(...)    ((void)0)
#define trace_pagecache_reader_window(...)      ((void)0)
#define trace_pagecache_reader_revoke(...)      ((void)0)
#define trace_pagecache_reader_return(...)      ((void)0)
#define trace_pagecache_reader_give_up(...)     ((void)0)
#define trace_pagecache_reader_close(...)       ((void)0)
#define trace_pagecache_reader_release(...)     ((void)0)
#define trace_pagecache_reader_gone(...)        ((void)0)

#define trace_pagecache_fault(...)              ((void)0)
#define trace_pagecache_populate(host, bytes, ret, us) \
    ((void)(ret), (void)(us))

#endif
