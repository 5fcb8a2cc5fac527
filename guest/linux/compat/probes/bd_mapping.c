// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux 6.10: struct block_device has bd_mapping, and no inode that we see */
#include <linux/blkdev.h>

struct address_space *probe(struct block_device *bdev);
struct address_space *probe(struct block_device *bdev)
{
	return bdev->bd_mapping;
}
