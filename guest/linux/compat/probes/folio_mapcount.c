// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux 6.5 or so: folio_mapcount() can be used by modules */
#include <linux/mm.h>

int probe(struct folio *folio);
int probe(struct folio *folio)
{
	return folio_mapcount(folio);
}
