// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: one inode: which of its pages are clean, and where they
 * stand on the disk
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A page is first found clean, under its folio's lock, and looked up in the
 * file's extents afterwards.  The other way round, a page that was dirty
 * since before the host watches its RAM could be written back to a new place
 * in between, and be told with its old one.
 *
 * Looking up is done with the file system's own fiemap, as the ioctl does it:
 * it knows about delayed allocation, unwritten and inline extents and
 * reflinks, and unlike bmap() it never writes anything back.  It puts the
 * extents into user memory; that is what the daemon's is for.
 */

#include "vpc.h"

#include <linux/buffer_head.h>
#include <linux/delay.h>
#include <linux/jbd2.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/pagemap.h>
#include <linux/uaccess.h>

/* Batches of folios that are looked at before their runs are looked up */
#define VPC_MAX_BATCHES		1024

/* Pages further apart than this are looked up by separate calls */
#define VPC_GAP			512

/* How often, and how long in between (us), a file's lock is tried */
#define VPC_LOCK_TRIES		20
#define VPC_LOCK_PAUSE		50

/* Lets a test be there between the look at a file's lock and its use */
static unsigned int lookup_delay;
module_param(lookup_delay, uint, 0644);
MODULE_PARM_DESC(lookup_delay, "Milliseconds that looking up a file's extents takes longer, for tests (default: 0)");

/* Extents with any other flag have no plain block for each of their bytes */
#define VPC_PLAIN_EXTENT	(FIEMAP_EXTENT_LAST | FIEMAP_EXTENT_MERGED | \
				 FIEMAP_EXTENT_SHARED)

enum vpc_state { VPC_CLEAN, VPC_DIRTY, VPC_BUSY };

/*
 * A buffer of the page may be about to be written, or be part of a
 * transaction that is not checkpointed (data=journal), while the page itself
 * looks clean.  Only for pages that have buffers: the file system tells by
 * the operation that goes with them.
 */
static bool vpc_buffers_clean(struct address_space *mapping,
			      struct folio *folio)
{
	struct buffer_head *bh, *head;

	if (!folio_test_private(folio) ||
	    mapping->a_ops->is_partially_uptodate != block_is_partially_uptodate)
		return true;
	head = folio_buffers(folio);
	if (!head)
		return true;
	bh = head;
	do {
		if (buffer_dirty(bh) || buffer_jbd(bh) || buffer_jbddirty(bh) ||
		    buffer_delay(bh) || buffer_unwritten(bh) ||
		    buffer_async_write(bh) || buffer_locked(bh))
			return false;
		bh = bh->b_this_page;
	} while (bh != head);
	return true;
}

/*
 * Is somebody holding the pages who may write to them without the folio's
 * lock?  Ours is the one reference that isn't expected: direct I/O of older
 * kernels takes plain references, so a pin is not all there is to look for.
 */
static bool vpc_folio_held(struct folio *folio)
{
	int expected = folio_nr_pages(folio) + folio_test_private(folio) +
		       folio_mapcount(folio) + 1;

	return folio_maybe_dma_pinned(folio) ||
	       folio_ref_count(folio) > expected;
}

/*
 * Is direct I/O on its way that may change blocks whose pages it could not
 * drop, or has not yet?  The count of the inode has reads, too.  They alone
 * are on files that nobody can write to.
 */
static bool vpc_direct_write(struct inode *inode)
{
	return atomic_read(&inode->i_dio_count) &&
	       inode_is_open_for_write(inode);
}

static enum vpc_state vpc_check_locked(struct inode *inode,
				       struct folio *folio)
{
	if (folio->mapping != inode->i_mapping || !folio_test_uptodate(folio))
		return VPC_BUSY;
	if (folio_test_dirty(folio) || folio_test_writeback(folio))
		return VPC_DIRTY;
	if (vpc_direct_write(inode) || vpc_folio_held(folio))
		return VPC_BUSY;
	return vpc_buffers_clean(inode->i_mapping, folio) ? VPC_CLEAN :
							    VPC_DIRTY;
}

static void vpc_add_run(struct vpc_collect *c, pgoff_t index,
			unsigned long pfn, unsigned long nr)
{
	struct vpc_run *run = c->nr_runs ? &c->runs[c->nr_runs - 1] : NULL;

	if (run && run->index + run->nr == index && run->pfn + run->nr == pfn)
		run->nr += nr;
	else
		c->runs[c->nr_runs++] = (struct vpc_run) { index, pfn, nr };
}

static void vpc_check_folio(struct vpc_collect *c, struct inode *inode,
			    struct folio *folio, pgoff_t start, pgoff_t end)
{
	unsigned long nr = folio_nr_pages(folio), skip;
	enum vpc_state state = VPC_BUSY;
	pgoff_t index = 0;

	/* a lock that is held is held for I/O, or not for long: don't wait */
	if (folio_trylock(folio)) {
		state = vpc_check_locked(inode, folio);
		index = folio->index;
		folio_unlock(folio);
	}

	switch (state) {
	case VPC_CLEAN:
		skip = index < start ? start - index : 0;
		if (skip >= nr || index + skip > end)
			break;
		nr = min(nr, end - index + 1) - skip;
		vpc_add_run(c, index + skip, folio_pfn(folio) + skip, nr);
		break;
	case VPC_DIRTY:
		vpc_count(&c->stats.dirty, nr);
		break;
	case VPC_BUSY:
		vpc_count(&c->stats.busy, nr);
		break;
	}
}

/*
 * Fills c->runs with clean pages from *index to @end, in ascending order;
 * moves *index behind what was looked at.  False when there are no more.
 */
static bool vpc_gather(struct vpc_collect *c, struct inode *inode,
		       pgoff_t *index, pgoff_t end)
{
	unsigned int batches, i, nr;

	c->nr_runs = 0;
	for (batches = 0; batches < VPC_MAX_BATCHES; batches++) {
		pgoff_t start = *index;

		if (c->nr_runs + ARRAY_SIZE(c->batch.folios) > VPC_MAX_RUNS)
			break;

		if (start > end || vpc_collect_stopped(c))
			return false;
		if (vpc_must_leave(c))
			break;
		nr = filemap_get_folios(inode->i_mapping, index, end,
					&c->batch);
		for (i = 0; i < nr; i++)
			vpc_check_folio(c, inode, c->batch.folios[i], start,
					end);
		folio_batch_release(&c->batch);
		cond_resched();
		if (!nr)
			return false;
	}
	return true;
}

/* Where the extents of one call that is made for c->runs[i] should end */
static u64 vpc_lookahead(struct vpc_collect *c, unsigned int i)
{
	while (i + 1 < c->nr_runs &&
	       c->runs[i + 1].index - c->runs[i].index - c->runs[i].nr <=
	       VPC_GAP)
		i++;
	return (u64)(c->runs[i].index + c->runs[i].nr) << PAGE_SHIFT;
}

/*
 * Some file systems take the file's lock for fiemap.  Who writes to the file
 * may hold it for as long as the disk, or the memory that he writes from,
 * makes him wait; that is not waited for.  It may be taken right after this
 * look at it: then the collection comes to a halt, but nothing else.
 */
static bool vpc_lock_is_free(struct vpc_collect *c, struct inode *inode)
{
	int i;

	for (i = 0; i < VPC_LOCK_TRIES && !vpc_must_leave(c); i++) {
		if (inode_trylock_shared(inode)) {
			inode_unlock_shared(inode);
			return true;
		}
		usleep_range(VPC_LOCK_PAUSE, 2 * VPC_LOCK_PAUSE);
	}
	return false;
}

/* Until then, or until the parameter is made smaller */
static void vpc_delay(void)
{
	unsigned long start = jiffies;

	while (unlikely(READ_ONCE(lookup_delay)) &&
	       time_before(jiffies, start +
			   msecs_to_jiffies(READ_ONCE(lookup_delay))))
		usleep_range(500, 1000);
}

/*
 * Asks the file system for the extents from byte @start to @end; sets
 * c->known to where they end to tell everything.
 */
static int vpc_fiemap(struct vpc_collect *c, struct inode *inode, u64 start,
		      u64 end)
{
	struct fiemap_extent_info info = {
		.fi_extents_max = c->max_extents,
		.fi_extents_start = c->scratch,
	};
	const struct fiemap_extent *last;
	int err;

	c->nr_extents = 0;
	c->next_extent = 0;
	c->stretch.fe_length = 0;
	c->known = end;
	cond_resched();
	if (!vpc_lock_is_free(c, inode))
		return vpc_must_leave(c) ? -EAGAIN : -EBUSY;
	vpc_delay();
	err = inode->i_op->fiemap(inode, &info, start, end - start);
	if (err)
		return err == -EAGAIN || err == -EBUSY ? -EIO : err;
	if (info.fi_extents_mapped > c->max_extents)
		return -EIO;
	if (copy_from_user(c->extents, c->scratch,
			   info.fi_extents_mapped * sizeof(*c->extents)))
		return -EFAULT;
	c->nr_extents = info.fi_extents_mapped;
	if (c->nr_extents == c->max_extents) {
		last = &c->extents[c->nr_extents - 1];
		c->known = min(end, last->fe_logical + last->fe_length);
	}
	return 0;
}

/*
 * Makes c->stretch the first stretch of bytes that ends behind @pos and is
 * contiguous in the file and on the disk, made of as many extents as belong
 * together.  False when there is none.
 */
static bool vpc_stretch(struct vpc_collect *c, u64 pos)
{
	struct fiemap_extent *s = &c->stretch;
	const struct fiemap_extent *e;

	while (!s->fe_length || s->fe_logical + s->fe_length <= pos) {
		s->fe_length = 0;
		for (; c->next_extent < c->nr_extents; c->next_extent++) {
			e = &c->extents[c->next_extent];
			if (e->fe_flags & ~VPC_PLAIN_EXTENT) {
				if (s->fe_length)
					break;
			} else if (!s->fe_length) {
				*s = *e;
			} else if (e->fe_logical ==
				   s->fe_logical + s->fe_length &&
				   e->fe_physical ==
				   s->fe_physical + s->fe_length) {
				s->fe_length += e->fe_length;
			} else {
				break;
			}
		}
		if (!s->fe_length)
			return false;
	}
	return true;
}

/*
 * Where @byte of the superblock's block device stands on a disk, and for how
 * many bytes; false if it is on none, or not at a sector's start.
 */
static bool vpc_locate(struct vpc_collect *c, u64 byte, u64 *sector, u64 *len,
		       u32 *disk)
{
	u64 s = byte >> SECTOR_SHIFT;
	unsigned int lo = 0, hi = c->nr_where;

	if (byte & (SECTOR_SIZE - 1))
		return false;
	while (lo < hi) {
		unsigned int mid = lo + (hi - lo) / 2;
		const struct vpc_extent *w = &c->where[mid];

		if (s < w->start) {
			hi = mid;
		} else if (s - w->start >= w->len) {
			lo = mid + 1;
		} else {
			*sector = w->sector + (s - w->start);
			*len = min(*len,
				   (w->len - (s - w->start)) << SECTOR_SHIFT);
			*disk = w->disk;
			return true;
		}
	}
	return false;
}

/*
 * Emits the pages from @pfn on whose @len bytes stand at @byte of the
 * superblock's block device.  Returns how many pages it has dealt with, or an
 * error of vpc_emit().
 */
static long vpc_emit_pages(struct vpc_collect *c, unsigned long pfn, u64 byte,
			   u64 len)
{
	unsigned long nr;
	u64 sector;
	u32 disk;
	int err;

	if (!vpc_locate(c, byte, &sector, &len, &disk) || len < PAGE_SIZE) {
		vpc_left_pages(c, 1);
		return 1;
	}
	nr = len >> PAGE_SHIFT;
	err = vpc_emit(c, pfn, sector, nr, disk);
	return err ? err : nr;
}

/*
 * Looks up and emits the pages of c->runs[i] from byte *pos of the file on,
 * and moves *pos behind what was dealt with.  Returns an error of
 * vpc_fiemap() or vpc_emit().
 */
static int vpc_map_run(struct vpc_collect *c, struct inode *inode,
		       unsigned int i, u64 *pos)
{
	const struct vpc_run *run = &c->runs[i];
	const struct fiemap_extent *s = &c->stretch;
	u64 start = (u64)run->index << PAGE_SHIFT;
	u64 end = start + ((u64)run->nr << PAGE_SHIFT);
	u64 limit, skip;
	long nr;

	*pos = max(*pos, start);
	while (*pos < end) {
		if (*pos + PAGE_SIZE > c->known) {
			int err = vpc_fiemap(c, inode, *pos,
					     vpc_lookahead(c, i));

			if (err)
				return err;
		}
		/* more extents than fit in one call for a single page? */
		limit = max(round_down(min(end, c->known), PAGE_SIZE),
			    *pos + PAGE_SIZE);

		if (!vpc_stretch(c, *pos) || s->fe_logical >= limit)
			skip = limit - *pos;
		else if (s->fe_logical > *pos)
			skip = round_up(s->fe_logical, PAGE_SIZE) - *pos;
		else if (s->fe_logical + s->fe_length < *pos + PAGE_SIZE)
			skip = PAGE_SIZE;
		else
			skip = 0;
		if (skip) {
			vpc_count(&c->stats.unmapped, skip >> PAGE_SHIFT);
			*pos += skip;
			continue;
		}

		nr = vpc_emit_pages(c,
				    run->pfn + ((*pos - start) >> PAGE_SHIFT),
				    s->fe_physical + (*pos - s->fe_logical),
				    min(limit, s->fe_logical + s->fe_length) -
				    *pos);
		if (nr < 0)
			return nr;
		*pos += (u64)nr << PAGE_SHIFT;
	}
	return 0;
}

/*
 * Looks up and emits c->runs.  -EAGAIN if that was left: *index is the first
 * page then that was not dealt with.  No other error is told: if
 * it is one of the file, the rest of its runs is left out, if it is one of
 * the collection, it is in c->error.
 */
static int vpc_map_runs(struct vpc_collect *c, struct inode *inode,
			pgoff_t *index)
{
	unsigned int i;
	u64 pos = 0;
	int err = 0;

	c->known = 0;
	for (i = 0; i < c->nr_runs && !err; i++)
		err = vpc_map_run(c, inode, i, &pos);
	if (!err)
		return 0;
	if (err == -EAGAIN) {
		*index = pos >> PAGE_SHIFT;
		return err;
	}
	if (err == -EFAULT)
		c->error = err;

	for (i--; i < c->nr_runs; i++) {
		const struct vpc_run *run = &c->runs[i];
		u64 end = (u64)(run->index + run->nr) << PAGE_SHIFT;

		pos = max(pos, (u64)run->index << PAGE_SHIFT);
		vpc_count(err == -EBUSY ? &c->stats.busy : &c->stats.unmapped,
			  (end - pos) >> PAGE_SHIFT);
	}
	return 0;
}

/*
 * May clean pages of this file hold what is on the disk at all?  The content
 * of encrypted files differs, swap files change under their pages, and DAX
 * has no pages.
 */
bool vpc_map_wants(struct inode *inode)
{
	return inode->i_op->fiemap && !IS_ENCRYPTED(inode) &&
	       !IS_DAX(inode) && !IS_SWAPFILE(inode);
}

/*
 * Emits hints for the pages of @inode from *index on.  Called during a visit,
 * with a reference on the inode, and nothing else.  Returns 0 when the inode
 * is finished (or the collection has to stop), -EAGAIN when the walker must
 * leave before it goes on from *index.
 */
int vpc_map_inode(struct vpc_collect *c, struct inode *inode, pgoff_t *index)
{
	loff_t size = i_size_read(inode);
	bool more = size > 0;

	c->inode = inode;
	folio_batch_init(&c->batch);
	while (more && !vpc_collect_stopped(c)) {
		/* for nobody's sake a deleted file is kept from its end */
		if (vpc_visit_is_last(inode))
			break;
		/* what lies behind the end of the file is on no disk */
		more = vpc_gather(c, inode, index, (size - 1) >> PAGE_SHIFT);
		if (vpc_map_runs(c, inode, index))
			more = true;
		if (more && vpc_must_leave(c) && !vpc_collect_stopped(c))
			return -EAGAIN;
	}
	return 0;
}
