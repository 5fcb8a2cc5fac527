// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * virtio_pagecache: the virtio driver
 *
 * Copyright (c) 2026 The skip-pagecache authors
 *
 * A device comes, sleeps, wakes up and goes; the module is loaded and removed.
 * Nobody calls up into this file but the kernel.
 */

#include "vpc.h"

#include <linux/module.h>
#include <linux/virtio_config.h>

/* Small numbers make a collection wait for the device again and again */
static unsigned int buffers = VPC_BUFS;
module_param(buffers, uint, 0444);
MODULE_PARM_DESC(buffers, "Buffers of hints on their way to the host, 1 to 32 (default: 32)");

static unsigned int buffer_hints = VPC_BUF_HINTS;
module_param(buffer_hints, uint, 0444);
MODULE_PARM_DESC(buffer_hints, "Hints in a buffer, 1 to 1364 (default: as many as the host takes)");

static void vpc_config_changed(struct virtio_device *vdev)
{
	vpc_config_event(vdev->priv);
}

static int vpc_probe(struct virtio_device *vdev)
{
	struct vpc_dev *dev;
	u32 max_hints;
	int err;

	if (!vdev->config->get || !virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "expected a virtio 1.x device\n");
		return -ENODEV;
	}
	virtio_cread_le(vdev, struct virtio_pagecache_config, max_hints,
			&max_hints);
	if (!max_hints) {
		dev_err(&vdev->dev, "the device takes 0 hints per buffer, expected at least 1\n");
		return -EINVAL;
	}

	dev = vpc_new(vdev, buffers,
		      min_t(u32, max_hints,
			    clamp_t(u32, buffer_hints, 1, VPC_BUF_HINTS)));
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	vdev->priv = dev;
	err = vpc_find_vqs(dev);
	if (err) {
		dev_err(&vdev->dev, "no queues: error %d\n", err);
		vdev->priv = NULL;
		vpc_put(dev);
		return err;
	}
	vpc_list(dev);
	vpc_start(dev);
	return 0;
}

static void vpc_remove(struct virtio_device *vdev)
{
	struct vpc_dev *dev = vdev->priv;

	vpc_unlist(dev);
	vpc_stop(dev);
	vdev->priv = NULL;
	vpc_put(dev);
}

#ifdef CONFIG_PM_SLEEP
static int vpc_freeze(struct virtio_device *vdev)
{
	vpc_stop(vdev->priv);
	return 0;
}

static int vpc_restore(struct virtio_device *vdev)
{
	struct vpc_dev *dev = vdev->priv;
	int err;

	err = vpc_find_vqs(dev);
	if (err) {
		dev_err(&vdev->dev, "no queues after sleep: error %d\n", err);
		return err;
	}
	vpc_start(dev);
	return 0;
}
#endif

static const struct virtio_device_id vpc_ids[] = {
	{ VIRTIO_ID_PAGECACHE, VIRTIO_DEV_ANY_ID },
	{ }
};
MODULE_DEVICE_TABLE(virtio, vpc_ids);

static const unsigned int vpc_features[] = {
	VIRTIO_PAGECACHE_F_LEFT_OUT,
};

static struct virtio_driver vpc_driver = {
	.feature_table	= vpc_features,
	.feature_table_size = ARRAY_SIZE(vpc_features),
	.driver.name	= KBUILD_MODNAME,
	.id_table	= vpc_ids,
	.probe		= vpc_probe,
	.remove		= vpc_remove,
	.config_changed	= vpc_config_changed,
#ifdef CONFIG_PM_SLEEP
	.freeze		= vpc_freeze,
	.restore	= vpc_restore,
#endif
};

static int __init vpc_init(void)
{
	int err;

	err = vpc_guard_init();
	if (err)
		return err;
	err = vpc_misc_init();
	if (err)
		goto fail_misc;
	err = register_virtio_driver(&vpc_driver);
	if (err)
		goto fail_driver;
	return 0;

fail_driver:
	vpc_misc_exit();
fail_misc:
	vpc_guard_exit();
	return err;
}
module_init(vpc_init);

static void __exit vpc_exit(void)
{
	unregister_virtio_driver(&vpc_driver);
	vpc_misc_exit();
	vpc_guard_exit();
}
module_exit(vpc_exit);

MODULE_DESCRIPTION("Tells the host which RAM is clean page cache, for live migration");
MODULE_AUTHOR("The skip-pagecache authors");
MODULE_LICENSE("GPL");
MODULE_VERSION(VPC_VERSION);
