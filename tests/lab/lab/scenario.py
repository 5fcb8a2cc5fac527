# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What the demo and the tests do with a lab: fill a guest's cache, move the
guest, and find out whether every byte arrived.
"""

import dataclasses
import os
import re
import time
import typing

from . import guest, net, paths, ram
from .migrate import Migration, statistics
from .net import Sampler
from .paths import LabError

PAGE = 4096
MOUNT = '/mnt'
LIST = '/lists/0'
#: labels of the wires, as a Sampler names them
CHANNEL, STORAGE, RETURN = 'channel', 'storage', 'return'


def values(text):
    """'a=1 b=2.5' -> {'a': 1.0, 'b': 2.5}"""
    return {k: float(v) for k, v in re.findall(r'(\w+)=([\d.]+)', text)}


def mount(vm, disk, index=0, readahead=1024, options=None):
    """Mount a disk of the guest; readahead in KiB."""
    device = vm.device_name(index)
    where = f'{MOUNT}{index or ""}'
    vm.sh(f'echo {readahead} >/sys/block/{device[5:]}/queue/read_ahead_kb')
    vm.sh(f'mkdir -p {where} && mount -t {disk.fs} '
          f'-o {options or disk.mount_options} '
          f'{disk.mount_point_device(device)} {where}')


def network(vm):
    """Give the guest its address on the front network; the address."""
    address = net.guest_address(vm.machine.network)
    # without IPv6 it says nothing unless it is asked
    vm.sh('echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; '
          f'ip addr add {address}/24 dev eth0 && ip link set eth0 up')
    return address


def load_driver(vm):
    """Load our module and start its daemon in the guest."""
    vm.sh(f'insmod /driver/{guest.MODULE}')
    vm.sh(f'/driver/{guest.DAEMON} >/tmp/daemon.log 2>&1 & sleep 0.5; '
          'kill -0 $! || { cat /tmp/daemon.log; false; }')


def bare_rate(host, qemu, url, mib):
    """Bytes per second that a bare libiscsi reader on a host gets."""
    program = os.path.join(os.path.dirname(qemu), 'qemu-img')
    if not os.access(program, os.X_OK):
        program = paths.need_tool('qemu-img', 'qemu-utils')
    text = host.run(program, 'bench', '-f', 'raw', '-t', 'none', '-d', '16',
                    '-s', '256K', '-c', str(mib * 4), url, timeout=300)
    match = re.search(r'completed in ([\d.]+) seconds', text)
    if match is None:
        raise LabError(f'{program} bench: expected a time, got '
                       + text.strip())
    return mib * (1 << 20) / float(match.group(1))


def fill(vm, timeout=300, progress=None):
    """
    Read all files of the guest's list into its page cache.

    progress(bytes read from the disk) is called on the way.
    """
    number = vm.shell.send(f'labtool fill {LIST} {MOUNT} && sync')
    deadline = time.monotonic() + timeout
    while not vm.shell.ended(number, 0.5) and time.monotonic() < deadline:
        if progress:
            progress(vm.disk_bytes_read())
    status, text = vm.shell.finish(number, 1, 'filling the cache')
    if status != 0:
        raise LabError(f'filling the cache failed: {text.strip()}')
    return values(text)


@dataclasses.dataclass
class Cache:
    """The guest's clean file cache, found without our driver; in pages."""
    pages: int                      # of files on disks, less what is dirty
    holes: int                      # of the same files, and to be read nowhere
    meminfo: int                    # what /proc/meminfo has that may be it
    allocator: int                  # up to so many of those are ext4's own


#: pages that meminfo and mincore may differ by in a guest that is not idle
NOISE = 256


def clean_cache(vm, timeout=120, nameless=0):
    """
    Count the guest's clean file cache.

    The number is that of mincore() over all files that have a name, on all
    block devices, less what is on no disk (holes and blocks that were never
    written; mkfs.ext4 -d makes such of zeros) and less what is dirty.

    /proc/meminfo (Cached less Shmem and what is dirty; block devices' own
    pages are Buffers) has more in it than that: ext4 keeps the bitmaps of its
    allocator in a nameless inode, which one fstrim fills with two blocks for
    each group of the disk.  It is a check, from above and from below: no file
    was overlooked.  nameless: how many pages other file systems may keep so.
    """
    # /proc/meminfo is up to a few hundred pages out of date otherwise
    text = vm.sh('sync; echo 1 >/proc/sys/vm/stat_refresh; cat /proc/meminfo; '
                 'labtool cached', timeout)
    given = {k: int(v) * 1024 // PAGE
             for k, v in re.findall(r'(\w+):\s+(\d+) kB', text)}
    found = values(text.splitlines()[-1])
    dirty = given['Dirty'] + given['Writeback']
    holes = int(found['holes'])
    cache = Cache(int(found['resident']) - holes - dirty, holes,
                  given['Cached'] - given['Shmem'] - dirty,
                  int(found['allocator']))
    more = cache.meminfo - cache.pages - cache.holes
    if not -NOISE <= more <= cache.allocator + nameless + NOISE:
        raise LabError(f'the guest caches {cache.pages} pages of files and '
                       f'{cache.holes} of their holes by mincore, and '
                       f'{cache.meminfo} by its meminfo: expected at most '
                       f'{cache.allocator + nameless} more (the file '
                       f"system's own), give or take {NOISE}")
    return cache


@dataclasses.dataclass
class Check:
    """Checksums of all listed files, read in the guest."""
    files: int
    bad: int
    disk_bytes: int                 # read from the disk meanwhile
    text: str

    @property
    def good(self):
        return self.bad == 0


def checksum(vm, timeout=300):
    """Compare all listed files with their digests, caches as they are."""
    before = vm.disk_bytes_read()
    text = vm.sh(f'labtool check {LIST} {MOUNT}', timeout, check=False)
    found = values(text)
    if 'bad' not in found:
        raise LabError(f'the guest could not check its files: {text.strip()}')
    return Check(int(found['files']), int(found['bad']),
                 vm.disk_bytes_read() - before, text)


def from_disk(vm, timeout=300):
    """
    The guest drops its caches and compares all listed files with their
    digests: what a migration left in its RAM no longer hides what it reads
    from its disk, and what the host's cache has in the disk's place.
    """
    vm.sh('sync; echo 3 >/proc/sys/vm/drop_caches', timeout)
    return checksum(vm, timeout)


@dataclasses.dataclass
class Outcome:
    """One migration, measured."""
    info: dict
    source: dict                    # statistics of the source
    destination: dict               # statistics of the destination
    sampler: Sampler
    seconds: float                  # wall clock, for the samples
    different: typing.Optional[list] = None

    @property
    def total_ms(self):
        return self.info['total-time']

    @property
    def downtime_ms(self):
        return self.info['downtime']

    @property
    def channel_bytes(self):
        return self.sampler.total(CHANNEL)


def wires(source, destination):
    """What a Sampler watches: counters of the interfaces."""
    return {CHANNEL: (source.host, 'lan', 1),
            STORAGE: (destination.host, 'san', 0),
            RETURN: (source.host, 'lan', 0)}


def migrate(source, destination, settings, progress=None, timeout=300,
            compare=True):
    """
    Migrate, and compare RAM before the destination runs.

    The destination was started with incoming=True, and paused=True if RAM
    is to be compared.  progress(info, sampler) is called on the way.
    """
    migration = Migration(source, destination, settings)
    migration.prepare()
    with Sampler(wires(source, destination)) as sampler:
        migration.start()
        info = migration.wait(
            timeout, progress and (lambda x: progress(x, sampler)))
        seconds = time.monotonic() - sampler.start
        migration.settle(info)
    outcome = Outcome(info, statistics(info),
                      statistics(destination.cmd('query-migrate')), sampler,
                      seconds)
    if compare:
        if destination.status() == 'running':
            raise LabError('RAM can only be compared before the destination '
                           'runs: start it with paused=True')
        outcome.different = ram.compare(source, destination)
    return outcome


def hand_over(lab, source, destination):
    """The source has done its duty; the guest runs on."""
    if destination.status() != 'running':
        destination.cmd('cont')
    lab.drop(source)


def boot(lab, host, machine, disk, driver=True, mount_options=None,
         progress=None):
    """A freshly booted guest with its disk mounted and its cache filled."""
    vm = lab.vm(host, machine)
    vm.boot()
    mount(vm, disk, options=mount_options)
    if driver and machine.has_driver and machine.device is not None:
        load_driver(vm)
    fill(vm, progress=progress)
    return vm
