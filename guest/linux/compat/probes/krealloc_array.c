// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux 5.11: krealloc_array() */
#include <linux/slab.h>

void *probe(void *p);
void *probe(void *p)
{
	return krealloc_array(p, 2, 3, GFP_KERNEL);
}
