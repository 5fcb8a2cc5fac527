// SPDX-License-Identifier: GPL-2.0-or-later
#include <linux/fs.h>

struct mount *probe(struct super_block *sb);
struct mount *probe(struct super_block *sb)
{
	return sb->s_mounts;
}
