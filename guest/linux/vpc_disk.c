// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: which entry of the host's disk table a block device is
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The host names a disk by the PCI function it hangs on, and behind a host
 * bus adapter by its SCSI address.  Two kinds of disks are found so: a
 * virtio-blk disk, whose PCI function is the parent of its virtio device, and
 * a disk of the SCSI layer.  Serial numbers, where the guest's kernel knows
 * them, must agree too: hints for the wrong disk would be found out by the
 * host, but one by one.
 *
 * They are looked for from the PCI function downwards when a collection
 * begins, and remembered by their number.  The other way round, from a
 * mounted disk to what it hangs on, nothing keeps the parents of a disk that
 * was unplugged.
 *
 * Disks that the host gives no address (SATA, IDE, NVMe, USB) are found by
 * their serial number alone, which the daemon knows from sysfs: if exactly
 * one disk of the host's table and one of the guest's has it.
 */

#include "vpc.h"

#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <scsi/scsi_device.h>

/* LUNs of more than 8 bits are in the "flat" format in the SCSI layer */
#define VPC_LUN_FORMAT		0xc000
#define VPC_LUN_FLAT		0x4000

/* From a PCI function down to a disk there are five steps at most */
#define VPC_MAX_DEPTH		8

/* VPD page 0x80: a header of 4 bytes, then the serial number */
#define VPC_VPD_HEADER		4

static bool vpc_on_bus(const struct device *dev, const char *bus)
{
	return dev && dev->bus && !strcmp(dev->bus->name, bus);
}

/* Does not look further than the shorter of the two; blanks are padding. */
static bool vpc_same_serial(const struct virtio_pagecache_disk *disk,
			    const u8 *serial, int len)
{
	int n = strnlen(disk->serial, sizeof(disk->serial));

	while (len > 0 && (serial[len - 1] == ' ' || !serial[len - 1]))
		len--;
	while (len > 0 && *serial == ' ') {
		serial++;
		len--;
	}
	return !memcmp(disk->serial, serial, min(n, len));
}

static bool vpc_same_vpd(struct scsi_device *sdev,
			 const struct virtio_pagecache_disk *disk)
{
	const struct scsi_vpd *vpd;
	bool same = true;

	rcu_read_lock();
	vpd = rcu_dereference(sdev->vpd_pg80);
	if (vpd && vpd->len > VPC_VPD_HEADER)
		same = vpc_same_serial(disk, vpd->data + VPC_VPD_HEADER,
				       vpd->len - VPC_VPD_HEADER);
	rcu_read_unlock();
	return same;
}

static bool vpc_same_address(struct scsi_device *sdev,
			     const struct virtio_pagecache_disk *disk)
{
	u64 lun = sdev->lun;

	if ((lun & VPC_LUN_FORMAT) == VPC_LUN_FLAT)
		lun &= ~(u64)VPC_LUN_FORMAT;
	return sdev->channel == le32_to_cpu(disk->scsi_channel) &&
	       sdev->id == le32_to_cpu(disk->scsi_target) &&
	       lun == le64_to_cpu(disk->scsi_lun);
}

struct vpc_search {
	struct vpc_disk *disk;
	struct device *function;
	unsigned int depth;
};

/* Is @dev, a child of the device @parent, the disk that is looked for? */
static bool vpc_found(const struct vpc_search *s, struct device *dev,
		      struct device *parent)
{
	struct vpc_disk *disk = s->disk;

	if (le32_to_cpu(disk->host.flags) & VIRTIO_PAGECACHE_DISK_F_SCSI) {
		struct scsi_device *sdev = to_scsi_device(parent);

		if (!vpc_on_bus(parent, "scsi") ||
		    !vpc_same_address(sdev, &disk->host))
			return false;
		disk->same = vpc_same_vpd(sdev, &disk->host);
	} else {
		if (!vpc_on_bus(parent, "virtio") ||
		    parent->parent != s->function)
			return false;
		disk->same = true;
	}
	disk->dev = dev->devt;
	return true;
}

/* Called with references on @dev and on all above it up to the function */
static int vpc_search_below(struct device *dev, void *arg)
{
	struct vpc_search *s = arg;
	int found;

	if (dev->class && !strcmp(dev->class->name, "block"))
		return vpc_found(s, dev, dev->parent);
	if (dev_is_pci(dev) || s->depth == VPC_MAX_DEPTH)
		return 0;
	s->depth++;
	found = device_for_each_child(dev, s, vpc_search_below);
	s->depth--;
	return found;
}

static void vpc_find_by_address(struct vpc_disk *disk)
{
	struct vpc_search search = { .disk = disk };
	struct pci_dev *pdev;

	pdev = pci_get_domain_bus_and_slot(le16_to_cpu(disk->host.pci_segment),
					   disk->host.pci_bus,
					   disk->host.pci_devfn);
	if (!pdev)
		return;
	search.function = &pdev->dev;
	device_for_each_child(&pdev->dev, &search, vpc_search_below);
	pci_dev_put(pdev);
}

static bool vpc_has_serial(const struct vpc_disk *disk, const u8 *serial)
{
	return le32_to_cpu(disk->host.status) == VIRTIO_PAGECACHE_S_OK &&
	       !memcmp(disk->host.serial, serial, sizeof(disk->host.serial));
}

static void vpc_find_by_serial(struct vpc_collect *c, struct vpc_disk *disk,
			       const struct vpc_ioc_serial *serials, u32 nr)
{
	unsigned int i, same = 0;

	if (!disk->host.serial[0])
		return;
	for (i = 0; i < c->nr_disks; i++)
		same += vpc_has_serial(&c->disks[i], disk->host.serial);
	if (same != 1)
		return;
	for (i = 0, same = 0; i < nr; i++) {
		if (!vpc_has_serial(disk, serials[i].serial))
			continue;
		disk->dev = MKDEV(serials[i].major, serials[i].minor);
		same++;
	}
	disk->same = same == 1;
}

/*
 * Finds the disks of the host's table in the guest.  Returns an error of the
 * daemon's, or -ENOMEM.
 */
static int vpc_find_disks(struct vpc_collect *c,
			  const struct vpc_ioc_collect *arg)
{
	struct vpc_ioc_serial *serials = NULL;
	unsigned int i;

	BUILD_BUG_ON(sizeof(serials->serial) != sizeof(c->disks->host.serial));
	if (arg->nr_serials) {
		serials = vmemdup_user(u64_to_user_ptr(arg->serials),
				       array_size(arg->nr_serials,
						  sizeof(*serials)));
		if (IS_ERR(serials))
			return PTR_ERR(serials);
	}
	for (i = 0; i < c->nr_disks; i++) {
		struct vpc_disk *disk = &c->disks[i];

		if (le32_to_cpu(disk->host.status) != VIRTIO_PAGECACHE_S_OK)
			continue;
		if (le32_to_cpu(disk->host.flags) & VIRTIO_PAGECACHE_DISK_F_PCI)
			vpc_find_by_address(disk);
		else
			vpc_find_by_serial(c, disk, serials, arg->nr_serials);
		cond_resched();
	}
	kvfree(serials);
	return 0;
}

/*
 * The host may have more sectors than the guest was told of, since storage
 * grows, or less than a logical block more; with fewer it is another disk.
 */
static bool vpc_same_disk(const struct vpc_disk *disk, struct gendisk *gd)
{
	return disk->same && le64_to_cpu(disk->host.capacity) >= get_capacity(gd);
}

/*
 * Where the sectors of @bdev, a disk or a partition that somebody holds open,
 * stand on a disk of the host's table.  False if it is on none of them.
 */
bool vpc_disk_lookup(struct vpc_collect *c, struct block_device *bdev,
		     struct vpc_extent *where)
{
	struct gendisk *gd = bdev->bd_disk;
	unsigned int i;

	for (i = 0; i < c->nr_disks; i++) {
		if (c->disks[i].dev != disk_devt(gd) ||
		    !vpc_same_disk(&c->disks[i], gd))
			continue;
		*where = (struct vpc_extent) {
			.dev = bdev->bd_dev,
			.start = 0,
			.len = bdev_nr_sectors(bdev),
			.sector = get_start_sect(bdev),
			.disk = i,
		};
		return where->len <= get_capacity(gd) &&
		       where->sector <= get_capacity(gd) - where->len;
	}
	return false;
}

/*
 * Is @bdev, which vpc_disk_lookup() did not find, in the place of a disk of the
 * host's table, but larger than that or with another serial number?
 */
bool vpc_disk_mismatch(struct vpc_collect *c, struct block_device *bdev)
{
	unsigned int i;

	for (i = 0; i < c->nr_disks; i++)
		if (c->disks[i].dev == disk_devt(bdev->bd_disk))
			return true;
	return false;
}

/*
 * Fetches the host's disk table and finds its disks.  -EINTR if the collection
 * must stop, -ENOMEM, or what the device or the daemon did wrong.  The caller
 * frees c->disks with kvfree().
 */
int vpc_disk_table(struct vpc_collect *c, const struct vpc_ioc_collect *arg)
{
	u32 num, i;
	int err;

	err = vpc_num_disks(c->dev, &num);
	if (err)
		return err;
	num = min_t(u32, num, VPC_MAX_DISKS);
	c->disks = kvcalloc(num, sizeof(*c->disks), GFP_KERNEL);
	if (!c->disks)
		return -ENOMEM;
	for (i = 0; i < num; i++) {
		err = vpc_get_disk(c->dev, c->epoch, i, &c->disks[i].host);
		if (err)
			return err;
		c->nr_disks++;
	}
	return vpc_find_disks(c, arg);
}
