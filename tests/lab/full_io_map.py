#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Linux guests without a driver of ours, on what the driver would not know: btrfs,
a logical volume, and an encrypted one.
"""

from lab import disk, kernel, scenario
from lab.lab import Lab
from lab.migrate import Settings
from lab.tap import Tap
from lab.vm import hints_of, need_qemu
from test_io_map import HINTED, LAN, RAM, SAN, hop

CACHE = 200                             # MiB
#: pages of an encrypted disk that have a hint all the same: those that the
#: kernel read when it found the disk
BARE = 0.02
VOLUME = '/dev/dm-0'
KEY = '5c' * 32


def boot(lab, image, modules, programs=()):
    machine = lab.machine(kernel.get('6.1'), [lab.lun(image.image)],
                          [image.list], with_driver=False, ram=RAM,
                          modules=modules, programs=programs,
                          **hints_of('io-map'))
    vm = lab.vm('src', machine)
    vm.boot()
    return vm


def moved(tap, lab, vm, nameless=0):
    """A guest whose files are mounted, and cached, goes there."""
    scenario.fill(vm)
    cache = scenario.clean_cache(vm, nameless=nameless)
    stats, vm = hop(tap, lab, vm, 'dst', 'there')
    tap.check(stats['hinted-pages'] >= HINTED * cache.pages,
              'the clean cache is hinted', f"{stats['hinted-pages']}, {cache}")
    check = scenario.checksum(vm)
    tap.check(check.good, f'{check.files} files are right', check.text)
    vm.quit()
    lab.drop(vm)


def btrfs(tap, lab):
    image = disk.get(CACHE, 'btrfs')
    vm = boot(lab, image, ('btrfs',))
    scenario.mount(vm, image)
    # its trees are pages of an inode that has no name
    moved(tap, lab, vm, nameless=2048)


def sectors(vm):
    name = vm.device_name().split('/')[-1]
    return int(vm.sh(f'cat /sys/block/{name}/size'))


def volume(tap, lab):
    """What LVM makes: the disk from some sector on"""
    image = disk.get(CACHE, 'ext4', partition=True)
    start = disk.PARTITION // 512
    vm = boot(lab, image, ('dm_mod',), ('maptool',))
    vm.sh(f'maptool dm volume {vm.device_name()} {start} '
          f'{sectors(vm) - start}; mkdir -p {scenario.MOUNT}; '
          f'mount -o {image.mount_options} {VOLUME} {scenario.MOUNT}')
    moved(tap, lab, vm)


def encrypted(tap, lab):
    """
    dm-crypt decrypts in place what has just been read: no entry fits.  What
    comes out of it is of no meaning here.
    """
    image = disk.get(CACHE, 'ext4')
    vm = boot(lab, image, ('dm_mod', 'dm_crypt', 'xts', 'ecb'), ('maptool',))
    number = vm.sh(f'cat /sys/block/{vm.device_name().split("/")[-1]}/dev')
    vm.sh(f'maptool table crypt {sectors(vm)} crypt "aes-xts-plain64 {KEY} 0 '
          f'{number.strip()} 0"')
    vm.sh(f'head -c {CACHE << 20} {VOLUME} >/dev/null', 120)
    destination = lab.vm('dst', vm.machine, incoming=True, paused=True)
    outcome = scenario.migrate(vm, destination, Settings(skip=True))
    stats = outcome.source
    tap.check(not outcome.different, 'all of RAM is equal',
              [str(page) for page in outcome.different[:10]])
    tap.check(stats['hinted-pages'] <= BARE * (CACHE << 20) / 4096,
              'what was decrypted in place is not hinted', stats)
    tap.check(stats['mismatched-pages'] == 0 and 'given-up' not in stats,
              'no hint is wrong', stats)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    for name, part in (('btrfs', btrfs), ('a logical volume', volume),
                       ('an encrypted volume', encrypted)):
        with tap.part(name), Lab('io-map-full', lan=LAN, san=SAN) as lab:
            part(tap, lab)
    tap.done()


if __name__ == '__main__':
    main()
