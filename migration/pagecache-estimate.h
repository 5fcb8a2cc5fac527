/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * skip-pagecache: how long a migration will take
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * Of R bytes, C of which are clean cache that can be read from storage, the
 * channel brings Bn in a second and storage Bs.  Precopy takes R / Bn.  With both
 * wires busy until the end it takes R / (Bn + Bs); storage can't bring more than
 * C, however, and then the channel needs (R - C) / Bn.  The share of the time
 * that is saved is the ceiling of docs/benchmarks: min(C / R, Bs / (Bn + Bs)).
 * What the guest writes meanwhile comes on top, of both.
 */
#ifndef MIGRATION_PAGECACHE_ESTIMATE_H
#define MIGRATION_PAGECACHE_ESTIMATE_H

/*
 * Milliseconds.  @ram, @cache: bytes; @cache may be more than @ram, and counts
 * as @ram then.  @channel, @storage: bytes/s, @channel not 0.
 */
uint64_t pagecache_estimate_ms(uint64_t ram, uint64_t cache, uint64_t channel,
                               uint64_t storage);

#endif
