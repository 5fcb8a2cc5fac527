// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: which entry of the host's disk table a block device is
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * The host names a disk by the PCI function it hangs on, and behind a host
 * bus adapter by its SCSI address.  Two kinds of disks are recognized: a
 * virtio-blk disk, whose PCI function is the parent of its virtio device, and
 * a disk of the SCSI layer.  The serial number, where the guest's kernel knows
 * it, must agree too, and the host's disk must not be the smaller one: hints
 * for the wrong disk would be found out by the host, but one by one.  It may be
 * larger: it grew and nobody told us, or it ends within a logical block.
 */

#include "vpc.h"

#include <linux/pci.h>
#include <linux/slab.h>
#include <scsi/scsi_device.h>

/* LUNs of more than 8 bits are in the "flat" format in the SCSI layer */
#define VPC_LUN_FORMAT		0xc000
#define VPC_LUN_FLAT		0x4000

/* VPD page 0x80: a header of 4 bytes, then the serial number */
#define VPC_VPD_HEADER		4

static bool vpc_on_bus(const struct device *dev, const char *bus)
{
	return dev && dev->bus && !strcmp(dev->bus->name, bus);
}

static bool vpc_same_function(struct device *dev,
			      const struct virtio_pagecache_disk *disk)
{
	struct pci_dev *pdev;

	if (!dev || !dev_is_pci(dev))
		return false;
	pdev = to_pci_dev(dev);
	return pci_domain_nr(pdev->bus) == le16_to_cpu(disk->pci_segment) &&
	       pdev->bus->number == disk->pci_bus &&
	       pdev->devfn == disk->pci_devfn;
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

static bool vpc_same_scsi(struct scsi_device *sdev,
			  const struct virtio_pagecache_disk *disk)
{
	struct device *hba = &sdev->sdev_gendev;
	u64 lun = sdev->lun;

	if ((lun & VPC_LUN_FORMAT) == VPC_LUN_FLAT)
		lun &= ~(u64)VPC_LUN_FORMAT;
	while (hba && !dev_is_pci(hba))
		hba = hba->parent;
	return vpc_same_function(hba, disk) &&
	       sdev->channel == le32_to_cpu(disk->scsi_channel) &&
	       sdev->id == le32_to_cpu(disk->scsi_target) &&
	       lun == le64_to_cpu(disk->scsi_lun);
}

static bool vpc_same_place(struct gendisk *gd,
			   const struct virtio_pagecache_disk *disk)
{
	struct device *parent = disk_to_dev(gd)->parent;
	u32 flags = le32_to_cpu(disk->flags);

	if (le32_to_cpu(disk->status) != VIRTIO_PAGECACHE_S_OK ||
	    !(flags & VIRTIO_PAGECACHE_DISK_F_PCI))
		return false;
	if (flags & VIRTIO_PAGECACHE_DISK_F_SCSI)
		return vpc_on_bus(parent, "scsi") &&
		       vpc_same_scsi(to_scsi_device(parent), disk);
	return vpc_on_bus(parent, "virtio") &&
	       vpc_same_function(parent->parent, disk);
}

static bool vpc_same_disk(struct gendisk *gd,
			  const struct virtio_pagecache_disk *disk)
{
	struct device *parent = disk_to_dev(gd)->parent;

	return vpc_same_place(gd, disk) &&
	       le64_to_cpu(disk->capacity) >= get_capacity(gd) &&
	       (!vpc_on_bus(parent, "scsi") ||
		vpc_same_vpd(to_scsi_device(parent), disk));
}

/*
 * Where the sectors of @bdev, a disk or a partition that somebody holds open,
 * stand on a disk of the host's table.  False if it is on none of them.
 */
bool vpc_disk_lookup(struct vpc_collect *c, struct block_device *bdev,
		     struct vpc_extent *where)
{
	unsigned int i;

	for (i = 0; i < c->nr_disks; i++) {
		if (!vpc_same_disk(bdev->bd_disk, &c->disks[i]))
			continue;
		*where = (struct vpc_extent) {
			.dev = bdev->bd_dev,
			.start = 0,
			.len = bdev_nr_sectors(bdev),
			.sector = get_start_sect(bdev),
			.disk = i,
		};
		return where->len <= get_capacity(bdev->bd_disk) &&
		       where->sector <= get_capacity(bdev->bd_disk) -
					where->len;
	}
	return false;
}

/*
 * Is @bdev, which vpc_disk_lookup() did not find, at the place of a disk of the
 * host's table, but larger than that or with another serial number?
 */
bool vpc_disk_mismatch(struct vpc_collect *c, struct block_device *bdev)
{
	unsigned int i;

	for (i = 0; i < c->nr_disks; i++)
		if (vpc_same_place(bdev->bd_disk, &c->disks[i]))
			return true;
	return false;
}

/*
 * Fetches the host's disk table.  -EINTR if the collection must stop, -ENOMEM,
 * or what the device did wrong.  The caller frees c->disks with kvfree().
 */
int vpc_disk_table(struct vpc_collect *c)
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
		err = vpc_get_disk(c->dev, c->epoch, i, &c->disks[i]);
		if (err)
			return err;
		c->nr_disks++;
	}
	return 0;
}
