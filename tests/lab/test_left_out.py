#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What the guest driver leaves out has a name: in its daemon's log, on the host.

    tests/lab/test_left_out.py [VERSION/BUS...]     (default: 6.1/virtio-scsi)

Puts cache where the driver can't tell where it stands on a disk: on loop
devices, dm-crypt, file systems that it does not know, in swap files.  After
each collection the list in the daemon's log is the list that query-migrate
shows, and it has what was put there.  Prints TAP.
"""

import contextlib
import re
import sys

from lab.migrate import pagecache_of
from lab.procs import handle_signals, wait_until
from lab.tap import Tap
from test_guest_map import ODD, Bench

MIB = 256                               # pages
SIZE = 12                               # MiB of each file
SEVERAL = 70                            # more devices than are told
MAX = 64

#: what the daemon's line begins with: (reason, detail)
WORDS = (
    (r'dm-(\w+)', 'dm'),
    (r'(\w+) on', 'filesystem'),
    (r'swap files on', 'swap'),
    (r'encrypted files on', 'encrypted'),
    (r'realtime XFS on', 'realtime'),
    (r'frozen file system on', 'frozen'),
    (r"no disk of the host's,", 'no-disk'),
    (r'disk of another size or serial number,', 'mismatch'),
    (r'metadata and raw reads of', 'block-device'),
    (r'others', 'other'),
)


class Bench(Bench):
    modules = ('dm_mod', 'loop', 'dm_crypt', 'crypto_null', 'ecb', 'vfat',
               'nls_cp437', 'nls_ascii', 'nls_utf8')

    def _start(self, name, extra, **options):
        # the guest is not told when the size of a disk changes
        return super()._start(name, [
            *extra, '-global', 'virtio-scsi-device.param_change=off'],
            **options)

    def number(self, node):
        """A block device's number, as device-mapper wants it."""
        name = node.split('/')[-1]
        return self.sh(f'cat /sys/class/block/{name}/dev').strip()

    def told(self):
        """The list in the daemon's log, of its last collection."""
        entries = []
        for line in self.sh('cat /tmp/daemon.log').splitlines():
            if line.startswith('collection '):
                entries = []
            if line.startswith('left out: '):
                entries.append(parse(line))
        return entries

    @contextlib.contextmanager
    def left_out(self, tap, name):
        """A collection: {(device, reason, detail): pages}"""
        with self.collection() as result:
            host = pagecache_of(result.info).get('left-out')
            self.vm.cmd('cont')
            # its lines come behind the one that was waited for
            guest = wait_until(
                lambda: len(self.told()) >= len(host or ()) and self.told(),
                10, 'the daemon names what is left out')
            self.vm.cmd('stop')
        tap.comment(f'{name}: {result.line}')
        for entry in guest[:6]:
            tap.comment(f'{name}: {entry}')
        shown = [(e.get('device', ''), e['reason'], e.get('detail', ''),
                  e['pages']) for e in host or ()]
        tap.check(host is None or sorted(shown) == sorted(guest),
                  f'{name}: the host shows what the daemon says',
                  f'{shown} and {guest}')
        tap.check(sum(e[3] for e in guest) == result.figures['foreign'],
                  f'{name}: it is all that is foreign', result.line)
        tap.check(result.complete, f'{name}: map is complete', result.line)
        result.host = host
        yield {e[:3]: e[3] for e in guest}, result


def parse(line):
    match = re.fullmatch(r'left out: (.*?)(?: /dev/(\S+))?, ([\d,]+) pages',
                         line)
    for pattern, reason in WORDS:
        found = re.fullmatch(pattern, match[1])
        if found:
            detail = found[1] if found.groups() else ''
            return (match[2] or '', reason, detail,
                    int(match[3].replace(',', '')))
    raise AssertionError(f'{line}: not understood')


def write(bench, name, size=SIZE):
    bench.sh(f'dd if=/dev/urandom of={name} bs=1M count={size}; sync')


def check_has(tap, entries, what, device, reason, detail='', size=SIZE):
    pages = entries.get((device, reason, detail), 0)
    # a file system has its own idea of what else is a file
    tap.check(size * MIB <= pages < size * MIB * 1.2 + MIB, what,
              f'{pages} pages: {entries}')


def test_nothing(tap, bench):
    """Whatever else there is, it is metadata."""
    bench.mount()
    bench.load()
    write(bench, '/mnt/0/file')
    with bench.left_out(tap, 'nothing') as (entries, result):
        tap.check({e[1] for e in entries} <= {'block-device'},
                  'nothing: nothing but metadata is left out', entries)
        tap.check(result.host is not None,
                  'nothing: the host has been told so', result.info)


def test_mismatch(tap, bench):
    """The host's disk is smaller than the guest believes."""
    odd = bench.device(2)
    write(bench, '/mnt/2/file')
    bench.sh('umount /mnt/2')
    if bench.bus != 'virtio-scsi':
        tap.comment('mismatch: a guest is told of the size of its virtio-blk '
                    'disks at once')
        return
    bench.sh(f'mount -o ro {odd} /mnt/2; cat /mnt/2/file >/dev/null')
    bench.vm.cmd('block_resize', **{'node-name': 'disk2',
                                    'size': (ODD - 1) << 20})
    with bench.left_out(tap, 'mismatch') as (entries, _):
        check_has(tap, entries, 'mismatch: a disk of another size is named',
                  odd.split('/')[-1], 'mismatch')
    bench.vm.cmd('block_resize', **{'node-name': 'disk2', 'size': ODD << 20})
    bench.sh('umount /mnt/2')


def test_devices(tap, bench):
    for name in bench.sh('cat /extra/order').split():
        bench.sh(f'insmod /extra/{name}')
    odd = bench.device(2)
    number, sectors = bench.number(odd), ODD << 11

    bench.sh(f'losetup /dev/loop0 {odd}; mount /dev/loop0 /mnt/2')
    write(bench, '/mnt/2/file')
    with bench.left_out(tap, 'loop') as (entries, _):
        check_has(tap, entries, 'loop: ext4 on a loop device is named',
                  'loop0', 'no-disk')
    bench.sh('umount /mnt/2; losetup -d /dev/loop0')

    # a cipher that changes nothing: the file system is where it was
    crypt = f'{sectors} crypt "cipher_null-ecb - 0 {number} 0"'
    bench.sh(f'maptool table crypt {crypt}; mount /dev/dm-0 /mnt/2; '
             'cat /mnt/2/file >/dev/null')
    with bench.left_out(tap, 'crypt') as (entries, _):
        check_has(tap, entries, 'crypt: ext4 on dm-crypt is named', 'dm-0',
                  'dm', 'crypt')
    bench.sh(f'umount /mnt/2; maptool dm top /dev/dm-0 0 {sectors}; '
             'mount /dev/dm-1 /mnt/2; cat /mnt/2/file >/dev/null')
    with bench.left_out(tap, 'volume') as (entries, _):
        check_has(tap, entries,
                  'volume: a linear volume on dm-crypt is named for that',
                  'dm-1', 'dm', 'crypt')
    bench.sh('umount /mnt/2')

    # a volume of which one half is linear
    half = sectors // 2
    bench.sh(f'maptool table half {half} linear "{number} 0" '
             f'{half} striped "1 {half} {number} {half}"; '
             'mount /dev/dm-2 /mnt/2')
    write(bench, '/mnt/2/both', 60)
    with bench.left_out(tap, 'half') as (entries, result):
        pages = entries.get(('dm-2', 'dm', 'striped'), 0)
        here = sum(r.pages for r in result.runs if r.disk == 2)
        tap.check(pages > 10 * MIB and here > 10 * MIB and
                  pages + here >= 60 * MIB * 0.98,
                  'half: what is not on the linear part is named',
                  f'{pages} pages, {here} are hinted: {entries}')
    bench.sh('umount /mnt/2')


def test_files(tap, bench):
    """File systems and files that the driver leaves alone."""
    bench.sh('dd if=/dev/zero of=/tmp/fat bs=1M count=16; '
             'losetup /dev/loop1 /tmp/fat; mkdosfs /dev/loop1; '
             'mkdir /mnt/fat; mount -t vfat /dev/loop1 /mnt/fat')
    write(bench, '/mnt/fat/file')
    bench.sh(f'dd if=/dev/urandom of=/mnt/0/swap bs=1M count={SIZE}; '
             'mkswap /mnt/0/swap; sync; swapon /mnt/0/swap')
    # a realtime device that has no blocks is enough to be careful
    bench.sh(f'umount /mnt/1; dd if=/dev/zero of=/tmp/rt bs=1M count=4; '
             'losetup /dev/loop2 /tmp/rt; mount -t xfs -o '
             f'noatime,rtdev=/dev/loop2 {bench.device(1)} /mnt/1')
    write(bench, '/mnt/1/file')
    names = [bench.device(i).split('/')[-1] for i in range(2)]
    with bench.left_out(tap, 'files') as (entries, _):
        check_has(tap, entries, 'files: an unknown file system is named',
                  'loop1', 'filesystem', 'vfat')
        check_has(tap, entries, 'files: swap files are named', names[0],
                  'swap')
        check_has(tap, entries,
                  'files: XFS with a realtime device is named', names[1],
                  'realtime')
    bench.sh('swapoff /mnt/0/swap; umount /mnt/fat; losetup -d /dev/loop1; '
             'umount /mnt/1; losetup -d /dev/loop2')


def test_several(tap, bench):
    """More than find room in the message"""
    bench.sh('dd if=/dev/zero of=/tmp/small bs=64k count=8; '
             'losetup /dev/loop1 /tmp/small; mkdosfs /dev/loop1; '
             'mount -t vfat /dev/loop1 /mnt/fat; '
             'dd if=/dev/zero of=/mnt/fat/file bs=64k count=2; '
             'umount /mnt/fat; losetup -d /dev/loop1')
    bench.sh(f'for n in $(seq 10 {SEVERAL + 9}); do mkdir -p /mnt/l$n; '
             'cp /tmp/small /tmp/small$n; '
             '[ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; '
             'losetup /dev/loop$n /tmp/small$n && '
             'mount -t vfat /dev/loop$n /mnt/l$n && '
             'cat /mnt/l$n/file >/dev/null; done', 200)
    with bench.left_out(tap, 'several') as (entries, result):
        pages = sum(n for e, n in entries.items()
                    if e[1] in ('filesystem', 'other', 'block-device'))
        tap.check(len(entries) == MAX and len(result.host) == MAX,
                  'several: the list has no more than it can', entries)
        tap.check(entries.get(('', 'other', ''), 0) > 0
                  and pages >= SEVERAL * 32,
                  'several: the rest is in one entry', entries)


def test_old_device(tap, bench):
    """The daemon knows, the host hears nothing of it, and does not mind."""
    driver = '/sys/bus/virtio/drivers/virtio_pagecache'

    def bound():
        return bench.sh(f'ls {driver} | grep virtio; true').strip()

    bench.vm.cmd('device_del', id='pc0')
    wait_until(lambda: not bound(), 30, 'the device is unplugged')
    wait_until(lambda: 'pc0' not in [x['name'] for x in bench.vm.cmd(
        'qom-list', path='/machine/peripheral')], 30, 'it is gone')
    bench.vm.cmd('device_add', driver='virtio-pagecache-pci', id='pc0',
                 bus='port0', **{'left-out': False})
    wait_until(bound, 30, 'the device is plugged in')
    with bench.left_out(tap, 'old device') as (entries, result):
        tap.check(entries and result.host is None,
                  'old device: the daemon has the list, the host has none',
                  f'{entries} {result.host}')
        tap.check(pagecache_of(result.info)['dropped-hints'] == 0,
                  'old device: it gets no message that it does not know',
                  result.info)


def test(tap, version, bus):
    with contextlib.ExitStack() as stack:
        bench = Bench(version, bus, stack)
        for part in (test_nothing, test_mismatch, test_devices, test_files,
                     test_several, test_old_device):
            part(tap, bench)
        trouble = bench.vm.kernel_trouble()
        tap.check(not trouble, 'nothing in the kernel log', trouble[:20])


def main():
    handle_signals()
    tap = Tap()
    for words in sys.argv[1:] or ['6.1/virtio-scsi']:
        with tap.part(words):
            test(tap, *words.split('/'))
    tap.done()


if __name__ == '__main__':
    main()
