// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux 7.0 or so: struct folio_batch has a header of its own */
#include <linux/folio_batch.h>

struct folio_batch probe;
