// SPDX-License-Identifier: GPL-2.0-or-later
/* Must compile everywhere: tells a broken build from a missing feature */
#include <linux/fs.h>
#include <linux/module.h>

void probe(struct inode *inode);
void probe(struct inode *inode)
{
	iput(inode);
}
