// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux 5.17: virtio_reset_device() */
#include <linux/virtio_config.h>

void probe(struct virtio_device *vdev);
void probe(struct virtio_device *vdev)
{
	virtio_reset_device(vdev);
}
