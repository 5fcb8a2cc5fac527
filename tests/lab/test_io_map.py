#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Linux guests without a driver of ours: QEMU tracks what they read.

They go from one host to another, and back: the map goes along, so that as much
is hinted on the way back.
"""

import re

from lab import disk, kernel, scenario
from lab.lab import Lab
from lab.migrate import Settings
from lab.tap import Tap
from lab.vm import hints_of, need_qemu

RAM, CACHE = 512, 200                   # MiB
LAN, SAN = 0.5, 2.5                     # Gbit/s
#: of the clean cache; the rest are zeros, and what the kernel has moved
HINTED = 0.98
PROVEN = 0.999


def resident(vm):
    """
    KiB of the map that the host has given memory for, by what QEMU says and by
    what the kernel does: of arrays of 8 bytes a page that are kept off huge
    pages.
    """
    said = vm.cmd('qom-get', path='/objects/iomap0', property='memory')
    with open(f'/proc/{vm.pid}/smaps') as file:
        regions = re.split(r'^(?=[0-9a-f]+-[0-9a-f]+ )', file.read(),
                           flags=re.M)[1:]
    found = [dict(re.findall(r'^(\w+): +(\S.*)$', x, re.M)) for x in regions]
    kept = [int(x['Rss'].split()[0]) for x in found
            if 'nh' in x['VmFlags'].split() and x['Size'] == f'{RAM * 2} kB']
    return said >> 10, sum(kept)


def log(vm):
    with open(vm.child.log, errors='replace') as file:
        return file.read()


def hop(tap, lab, source, host, where):
    """The guest moves to that host; what came of it, and the guest there."""
    destination = lab.vm(host, source.machine, incoming=True, paused=True)
    outcome = scenario.migrate(source, destination, Settings(skip=True))
    stats = outcome.source
    tap.check(not outcome.different, f'{where}: all of RAM is equal',
              [str(page) for page in outcome.different[:10]])
    tap.check(stats['proven-pages'] >= PROVEN * stats['reported-pages'] > 0,
              f'{where}: what was refilled is proven', stats)
    by = {p['name']: p['hinted-pages'] for p in stats['producers']}
    tap.check(by['io-map'] == stats['hinted-pages'],
              f'{where}: the hints are those of the I/O map', by)
    tap.check(not source.kernel_trouble(), f"{where}: the guest's kernel log",
              source.kernel_trouble())
    scenario.hand_over(lab, source, destination)
    there = outcome.destination
    tap.check(f"{stats['proven-pages']} of {stats['hinted-pages']} hinted "
              'pages' in log(source)
              and f"{there['reported-pages']} of {there['offered-pages']} "
              'offered pages' in log(destination),
              f'{where}: both logs say so')
    destination.shell.resume()
    return stats, destination


def move(tap, lab, bus, filesystem):
    image = disk.get(CACHE, filesystem)
    machine = lab.machine(kernel.get('6.1'), [lab.lun(image.image)],
                          [image.list], with_driver=False, ram=RAM, bus=bus,
                          **hints_of('io-map'))
    vm = scenario.boot(lab, 'src', machine, image)
    cache = scenario.clean_cache(vm)
    said, kept = resident(vm)
    tap.check(0 < kept <= said <= RAM * 2 + 100,
              f'the map takes {kept} KiB, 8 bytes a page at most', said)
    stats, vm = hop(tap, lab, vm, 'dst', 'there')
    tap.check(stats['hinted-pages'] >= HINTED * cache.pages,
              'the clean cache is hinted', f"{stats['hinted-pages']}, {cache}")
    tap.check(stats['io-map-entries'] >= stats['hinted-pages'],
              'the map goes along', stats)
    check = scenario.checksum(vm)
    tap.check(check.good and check.disk_bytes == 0,
              f'{check.files} files are right, and cached', check.text)
    stats, vm = hop(tap, lab, vm, 'src', 'back')
    tap.check(stats['hinted-pages'] >= HINTED * cache.pages,
              'it is hinted again on the way back',
              f"{stats['hinted-pages']}, {cache}")
    check = scenario.from_disk(vm)
    tap.check(check.good, f'{check.files} files are right on the disk',
              check.text)
    vm.quit()
    lab.drop(vm)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    for bus, filesystem in (('virtio-blk', 'ext4'), ('virtio-scsi', 'xfs')):
        with tap.part(f'{filesystem} on {bus}'), \
                Lab('io-map', lan=LAN, san=SAN) as lab:
            move(tap, lab, bus, filesystem)
    tap.done()


if __name__ == '__main__':
    main()
