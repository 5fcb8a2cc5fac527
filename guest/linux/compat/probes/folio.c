// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux 6.0 or so: folios, with all that the driver needs of them */
#include <linux/buffer_head.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#if __has_include(<linux/folio_batch.h>)
#include <linux/folio_batch.h>
#else
#include <linux/pagevec.h>
#endif

unsigned int probe(struct address_space *mapping, struct folio_batch *batch);
unsigned int probe(struct address_space *mapping, struct folio_batch *batch)
{
	pgoff_t index = 0;
	struct folio *folio;

	folio_batch_init(batch);
	if (!filemap_get_folios(mapping, &index, 0, batch))
		return 0;
	folio = batch->folios[0];
	return folio_maybe_dma_pinned(folio) + folio_ref_count(folio) +
	       folio_nr_pages(folio) + !folio_buffers(folio);
}
