#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The guest's clean file cache, which tests and demo hold hints against, in a
guest with files on two disks, and with much in its page cache that is no
file: a raw disk, ext4's allocator, memory.
"""

import subprocess

from lab import disk, kernel, scenario
from lab.lab import Lab
from lab.migrate import Settings
from lab.paths import need_tool
from lab.tap import Tap
from lab.vm import need_qemu

MIB = 1 << 20
PAGES = MIB // scenario.PAGE            # a MiB
RAM, CACHE = 384, 64                    # MiB
#: the second disk, sparse: so many MiB, with 8 KiB of bitmaps for 128 MiB
LARGE = 256 << 10
BITMAPS = LARGE // 128 * 2


def changed(tap, name, vm, before, more, own=0):
    """Count again: so many more pages of files, and of ext4's own."""
    cache = scenario.clean_cache(vm)
    found = cache.pages - before.pages
    tap.check(abs(found - more) <= 16, f'{name}: {more} more pages',
              f'{found} more: {before}, {cache}')
    if own:
        hidden = (cache.meminfo - cache.pages) \
            - (before.meminfo - before.pages)
        tap.check(abs(hidden - own) <= scenario.NOISE,
                  f'{name}: {own} pages more in meminfo alone',
                  f'{hidden} more: {before}, {cache}')
    return cache


def count(tap, lab):
    image = disk.get(CACHE)
    luns = [lab.lun(image.image), lab.lun(size=LARGE * MIB)]
    subprocess.run([need_tool('mkfs.ext4', 'e2fsprogs'), '-q', '-F', '-E',
                    'lazy_itable_init=1,lazy_journal_init=1,nodiscard',
                    luns[1].path], check=True)
    machine = lab.machine(kernel.get('6.1'), luns, [image.list], ram=RAM)
    vm = scenario.boot(lab, 'src', machine, image)
    cache = scenario.clean_cache(vm)
    tap.check(0.98 * CACHE * PAGES <= cache.pages + cache.holes
              <= CACHE * PAGES, 'the files that were read', cache)
    scenario.mount(vm, image._replace(partition=False), 1,
                   options=image.mount_options + ',noinit_itable')
    cache = changed(tap, 'a disk is mounted', vm, cache, 0)
    vm.sh('dd if=/dev/zero of=/mnt1/file bs=1M count=12; sync', 60)
    cache = changed(tap, 'a file on it', vm, cache, 12 * PAGES)
    vm.sh('dd if=/mnt1/file of=/mnt1/sparse bs=1M seek=8 count=4; '
          'cat /mnt1/sparse >/dev/null; sync', 60)
    cache = changed(tap, 'a file with a hole', vm, cache, 4 * PAGES)
    vm.sh('ln /mnt1/file /mnt1/name; mkdir /mnt2; '
          f'mount {vm.device_name(1)} /mnt2')
    cache = changed(tap, 'the same by other names', vm, cache, 0)
    vm.sh('dd if=/dev/zero of=/tmp/file bs=1M count=12')
    cache = changed(tap, 'a file in memory', vm, cache, 0)
    vm.sh(f'dd if={vm.device_name()} of=/dev/null bs=1M count=12')
    cache = changed(tap, 'a raw disk', vm, cache, 0)
    vm.sh('fstrim /mnt1', 120)
    cache = changed(tap, 'fstrim', vm, cache, 0, BITMAPS)
    destination = lab.vm('dst', machine, incoming=True)
    outcome = scenario.migrate(vm, destination, Settings(skip=True),
                               compare=False)
    destination.shell.resume()
    hinted = outcome.source['hinted-pages']
    tap.check(0.99 * cache.pages <= hinted <= 1.01 * cache.pages,
              'the driver finds the same', f'{hinted} hinted, {cache}')
    destination.shell.resume()
    check = scenario.from_disk(destination)
    tap.check(check.good, f'{check.files} files are right on the disk',
              check.text)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    with tap.part('clean file cache'), Lab('cache', lan=10, san=10) as lab:
        count(tap, lab)
    tap.done()


if __name__ == '__main__':
    main()
