// SPDX-License-Identifier: GPL-2.0-or-later
/* Linux 6.11: virtio_find_vqs() takes an array of struct virtqueue_info */
#include <linux/virtio_config.h>

int probe(struct virtio_device *vdev, struct virtqueue *vqs[]);
int probe(struct virtio_device *vdev, struct virtqueue *vqs[])
{
	struct virtqueue_info info[2] = { };

	return virtio_find_vqs(vdev, 2, vqs, info, NULL);
}
