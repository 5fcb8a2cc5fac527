#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A Linux guest on a disk whose size is not what the host has.

The LUN grows while the guest runs, and nobody tells the guest: the host that
it moves to next sees all of it, the guest what it saw before.  A disk with
logical blocks of 4 KiB ends within one, which the guest does not see.  At
last the guest moves to a host that has not noticed yet that the LUN grew.
"""

import dataclasses
import os

from lab import disk, kernel, scenario
from lab.lab import Lab
from lab.migrate import Settings
from lab.tap import Tap
from lab.vm import need_qemu

RAM, CACHE = 512, 200           # MiB
GROWTH = 64 << 20
#: no multiple of 4096
UNEVEN = 1536


def grow(lab, lun):
    """What a host that has just looked sees of it: its LUN, and larger."""
    os.ftruncate(lun.file.fd, os.fstat(lun.file.fd).st_size + GROWTH)
    return lab.target.add(lun.path)


def guest_bytes(vm):
    device = vm.device_name()[len('/dev/'):]
    return int(vm.sh(f'cat /sys/block/{device}/size')) * 512


class Guest:
    """A guest that moves, and what must hold each time."""

    def __init__(self, tap, lab, machine, image):
        self.tap = tap
        self.lab = lab
        self.vm = scenario.boot(lab, 'src', machine, image)
        self.size = guest_bytes(self.vm)
        self.hosts = ['src', 'dst']

    def move(self, name, machine):
        self.hosts.reverse()
        cache = scenario.clean_cache(self.vm)
        destination = self.lab.vm(self.hosts[0], machine, incoming=True,
                                  paused=True)
        outcome = scenario.migrate(self.vm, destination, Settings(skip=True))
        stats, different = outcome.source, outcome.different
        self.tap.comment(f'{name}: {stats}')
        self.tap.check(stats['active'] and not different,
                       f'{name}: no page differs',
                       f"{stats.get('reason')}; "
                       f'{[str(d) for d in different[:9]]}')
        self.tap.check(stats['hinted-pages'] >= 0.95 * cache.pages,
                       f'{name}: 95 % of the clean file cache are hinted',
                       f"{stats['hinted-pages']} of {cache.pages}")
        scenario.hand_over(self.lab, self.vm, destination)
        self.vm = destination
        check = scenario.checksum(self.vm)
        self.tap.check(check.good and check.disk_bytes == 0,
                       f'{name}: all files are right, and still cached',
                       f'{check.text}; {check.disk_bytes} bytes read')
        self.tap.check(guest_bytes(self.vm) == self.size,
                       f'{name}: the guest was not told',
                       f'{guest_bytes(self.vm)} bytes, was {self.size}')
        return outcome

    def move_and_refill(self, name, machine):
        stats = self.move(name, machine).source
        self.tap.check(stats['unavailable-pages'] == 0
                       and stats['proven-pages'] > 0,
                       f'{name}: the cache is refilled',
                       f"{stats['proven-pages']} pages, "
                       f"{stats['unavailable-pages']} unavailable")

    def live_on_disk(self):
        text = self.vm.sh('echo 3 >/proc/sys/vm/drop_caches; labtool check '
                          f'{scenario.LIST} {scenario.MOUNT}', 120)
        self.tap.check(scenario.values(text)['bad'] == 0,
                       'all files are right on the disk', text)


def grown(tap, bus, uneven, options):
    """There, where the LUN is larger, and back, where it is, too."""
    image = disk.get(CACHE)
    with Lab('disk-size') as lab:
        size = os.stat(image.image).st_size
        lun = lab.lun(image.image, size + uneven)
        machine = lab.machine(kernel.get('6.1'), [lun], [image.list], ram=RAM,
                              bus=bus, disk_options=options)
        guest = Guest(tap, lab, machine, image)
        tap.check(guest.size == size, 'the guest sees whole blocks',
                  f'{guest.size} bytes, expected {size}')
        larger = dataclasses.replace(machine, luns=[grow(lab, lun)])
        guest.move_and_refill('there', larger)
        guest.move_and_refill('back', larger)
        guest.live_on_disk()
        if not uneven:
            not_noticed(tap, guest, machine, size)


def not_noticed(tap, guest, machine, size):
    """The next host still has the LUN as it was."""
    outcome = guest.move('not noticed', machine)
    found = outcome.destination['disks'][0]
    tap.check(outcome.source['proven-pages'] == 0
              and found['status'] == 'failed',
              'not noticed: the disk is unavailable', found)
    text = (f'{size} bytes here, expected {size + GROWTH} or more')
    tap.check(text in found.get('error', ''),
              'not noticed: both sizes are told', found)
    guest.live_on_disk()


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    with tap.part('virtio-blk'):
        grown(tap, 'virtio-blk', 0, '')
    with tap.part('virtio-scsi, blocks of 4 KiB'):
        grown(tap, 'virtio-scsi', UNEVEN,
              'logical_block_size=4096,physical_block_size=4096')
    tap.done()


if __name__ == '__main__':
    main()
