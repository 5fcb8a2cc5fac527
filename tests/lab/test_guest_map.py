#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The guest driver's map, page by page, against the disks.

    tests/lab/test_guest_map.py [VERSION/BUS...]
                                (default: 6.1/virtio-blk 6.12/virtio-scsi)

Boots a guest whose disks are files, asks for its map through the real
device, by a migration that is throttled so that it never ends, stops the
guest, and compares each hinted page with the bytes on the disk.  On a guest
that does nothing else, none may differ.  Also: how much of the clean cache
is hinted, that a collection writes and evicts nothing, and what happens when
the device, the module or a file system goes away.  Prints TAP.
"""

import collections
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import types

from lab import debug_kernel, disk, guest, ram
from lab.files import MemoryFile
from lab.migrate import pagecache_of
from lab.paths import LAB_BUILD, GUEST_SOURCES, LabError, need_tool
from lab.procs import handle_signals, wait_until
from lab.shell import GuestError
from lab.tap import Tap
from lab.vm import VM, Machine

PAGE = 4096
SECTOR = 512
RAM = 1024                              # MiB
FILES = 200                             # MiB on each of two disks
#: bytes per second: a migration that does not get anywhere
CRAWL = 4096
ODD = 96                                # MiB of the disk for odd files

Run = collections.namedtuple('Run', 'disk sector block page pages')


class MemoryLun:
    """A disk that is a file in our memory, in place of a LUN."""
    target = None
    direct = True

    def __init__(self, image):
        self.file = MemoryFile(image)
        self.path = self.file.path

    def options(self, _initiator):
        return {'driver': 'file', 'filename': self.path}

    def release(self, host):
        pass


class Map:
    """What one collection gave: from the source's trace and the daemon."""

    def __init__(self, runs, line, info):
        self.runs = runs
        self.line = line
        self.info = info
        self.pages = {(r.block, r.page + i) for r in runs
                      for i in range(r.pages)}
        self.figures = {}
        for number, what in re.findall(r'(\d+) (\w+)', line):
            self.figures[what] = int(number)
        self.figures['pauses'] = int(re.search(r'pauses: (\d+)', line)[1])

    @property
    def complete(self):
        return ' complete: ' in self.line


def maptool():
    """Build the static tool; its path."""
    os.makedirs(LAB_BUILD, exist_ok=True)
    path = os.path.join(LAB_BUILD, 'maptool')
    subprocess.run([need_tool('gcc', 'gcc'), '-O2', '-Wall', '-Wextra',
                    '-static', '-o', f'{path}.{os.getpid()}',
                    os.path.join(GUEST_SOURCES, 'maptool.c')], check=True)
    os.replace(f'{path}.{os.getpid()}', path)
    return path


def odd_image(directory):
    """A file system of 1 KiB blocks on a disk that is full of garbage."""
    path = os.path.join(directory, 'odd')
    with open(path, 'wb') as out:
        for _ in range(ODD):
            out.write(os.urandom(1 << 20))
    subprocess.run([need_tool('mkfs.ext4', 'e2fsprogs'), '-q', '-F',
                    '-b', '1024', '-E', 'nodiscard', path], check=True)
    return path


class Bench:
    """A guest with its disks, and a QEMU to migrate to when one is needed."""
    #: more of guest/ for the guest
    programs = ()

    #: loaded by the tests that need them
    modules = ('dm_mod', 'loop')

    def __init__(self, version, bus, stack, name='guest_map'):
        self.bus = bus
        self.kernel = debug_kernel.get(version)
        self.directory = tempfile.mkdtemp(prefix='skip-pagecache-')
        stack.callback(shutil.rmtree, self.directory, True)
        self.stack = stack
        self.logs = os.path.join(LAB_BUILD, 'log', name, f'{version}-{bus}')
        os.makedirs(self.logs, exist_ok=True)
        self.trace = os.path.join(self.logs, 'trace')
        # a partition of one and a whole disk of the other, and vice versa
        swap = bus == 'virtio-scsi'
        self.disks = [disk.get(FILES, 'ext4', not swap),
                      disk.get(FILES, 'xfs', swap)]
        images = [d.image for d in self.disks] + [odd_image(self.directory)]
        self.luns = [MemoryLun(image) for image in images]
        for lun in self.luns:
            stack.callback(lun.file.close)
        self.initrd = os.path.join(self.directory, 'initrd')
        guest.initramfs(self.kernel, self.initrd,
                        [d.list for d in self.disks],
                        programs=self.programs)
        self._add_tools()
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.trace)
        self.vm = self._start(
            'src', ['-D', self.trace, '-trace', 'pagecache_src_hint',
                    '-trace', 'virtio_pagecache_*'])
        self.vm.boot()
        self.targets = 0
        self.dm = None

    def _add_tools(self):
        """More for the guest, in an archive behind the first."""
        archive = guest.Archive()
        with open(maptool(), 'rb') as file:
            archive.file('bin/maptool', file.read(), 0o755)
        tree = guest.ModuleTree(self.kernel)
        order = tree.order(self.modules)
        for name in order:
            archive.file(f'extra/{name}.ko', tree.read(name))
        archive.file('extra/order',
                     ''.join(f'{name}.ko\n' for name in order).encode())
        with open(self.initrd, 'ab') as out:
            out.write(bytes(-out.tell() % 4))
            out.write(archive.bytes())

    def _start(self, name, extra, **options):
        machine = Machine(self.kernel, self.initrd, self.luns, ram=RAM,
                          cpus=2, bus=self.bus, device='id=pc0,bus=port0',
                          extra=extra)
        vm = VM(types.SimpleNamespace(enter=()), machine, name,
                self.directory, self.logs, **options)
        self.stack.callback(vm.close)
        return vm

    def sh(self, command, timeout=60, **options):
        return self.vm.sh(command, timeout, **options)

    def answers(self):
        with contextlib.suppress(GuestError):
            return 'here' in self.sh('echo here', 2)

    def device(self, index):
        """The node of a disk's file system."""
        # SCSI disks come in their own time and order
        where = (f'/sys/bus/scsi/devices/*:0:{index}:0/block/*'
                 if self.bus == 'virtio-scsi' else
                 '/sys/block/' + os.path.basename(
                     self.vm.machine.device_name(index)))
        path = wait_until(lambda: self.sh(f'ls -d {where} 2>/dev/null; true'),
                          20, f'disk {index} of the guest', 0.2)
        name = '/dev/' + os.path.basename(path.strip())
        if index < len(self.disks):
            name = self.disks[index].mount_point_device(name)
        wait_until(lambda: self.sh(f'[ -b {name} ] && echo there; true'),
                   20, f'{name} in the guest', 0.2)
        return name

    def mount(self):
        for index, fs in enumerate(('ext4', 'xfs', 'ext4')):
            # a commit, every 5 s by default, cleans pages of data=journal
            options = 'noatime' + (',data=journal,commit=600'
                                   if index == 2 else '')
            self.sh(f'mkdir -p /mnt/{index} && mount -t {fs} -o {options} '
                    f'{self.device(index)} /mnt/{index}')

    def fill(self):
        for index in range(len(self.disks)):
            self.sh(f'labtool fill /lists/{index} /mnt/{index}', 200)
        self.sh('sync')

    def load(self, parameters=''):
        self.sh(f'insmod /driver/{guest.MODULE} {parameters}')
        self.start_daemon()

    def unload(self):
        self.sh('kill $(pidof virtio-pagecached); sleep 0.3; '
                'rmmod virtio_pagecache')

    def start_daemon(self):
        self.sh(f'/driver/{guest.DAEMON} >>/tmp/daemon.log 2>&1 & '
                'sleep 0.3; kill -0 $!')

    def lines(self):
        """What the daemon said of collections."""
        return [x for x in self.sh('cat /tmp/daemon.log').splitlines()
                if re.match(r'collection \d+ (complete|cut short): ', x)]

    # a migration that only asks for the map

    def begin(self):
        self.targets += 1
        name = f'dst{self.targets}'
        target = self._start(name, [], incoming=True, paused=True)
        uri = f'unix:{self.directory}/{name}.migration'
        for vm in (self.vm, target):
            vm.cmd('migrate-set-capabilities', capabilities=[
                {'capability': 'skip-pagecache', 'state': True}])
        self.vm.cmd('migrate-set-parameters', **{'max-bandwidth': CRAWL})
        target.cmd('migrate-incoming', uri=uri)
        self.mark = os.path.getsize(self.trace) \
            if os.path.exists(self.trace) else 0
        self.vm.cmd('migrate', uri=uri)
        return target

    def finish(self, target):
        self.vm.cmd('migrate_cancel')
        wait_until(lambda: self.vm.cmd('query-migrate')['status']
                   in ('cancelled', 'failed'), 30, 'the migration ends')
        target.close()

    def traced(self):
        """The trace since begin(), line by line."""
        with open(self.trace) as file:
            file.seek(self.mark)
            return file.read().splitlines()

    def ended(self):
        info = self.vm.cmd('query-migrate')
        if info.get('status') in ('failed', 'cancelled', 'completed'):
            raise LabError(f'the migration ended early: {info}')
        reason = info.get('pagecache', {}).get('reason')
        if reason and info['status'] == 'active':
            raise LabError(f'skip-pagecache is inactive: {reason}')
        return 'map-time' in pagecache_of(info) and info

    def runs(self):
        pattern = re.compile(r'pagecache_src_hint disk (\d+) sector (\d+), '
                             r'(\S+) page (\d+): (\d+)')
        return [Run(int(m[1]), int(m[2]), m[3], int(m[4]), int(m[5]))
                for m in map(pattern.search, self.traced()) if m]

    @contextlib.contextmanager
    def collection(self):
        """A complete collection; inside, the guest stands still."""
        before = len(self.lines())
        target = self.begin()
        try:
            info = wait_until(self.ended, 60, 'the map is complete')
            wait_until(lambda: len(self.lines()) > before, 10,
                       'the daemon speaks')
            line = self.lines()[-1]
            self.vm.cmd('stop')
            # what waits for room may still be on its way
            wait_until(lambda: sum(r.pages for r in self.runs())
                       >= int(re.search(r'(\d+) pages', line)[1]), 10,
                       'all hints are traced')
            yield Map(self.runs(), line, info)
            self.vm.cmd('cont')
        finally:
            self.finish(target)

    def compare(self, runs):
        """Pages that differ from the disk: [(run, index)]"""
        wrong = []
        blocks = ram.blocks(self.vm)
        files = [os.open(lun.path, os.O_RDONLY) for lun in self.luns]
        with open(f'/proc/{self.vm.pid}/mem', 'rb', buffering=0) as memory:
            for run in runs:
                size = run.pages * PAGE
                ours = os.pread(memory.fileno(), size,
                                blocks[run.block].address + run.page * PAGE)
                theirs = os.pread(files[run.disk], size, run.sector * SECTOR)
                if ours == theirs:
                    continue
                wrong += [(run, i) for i in range(run.pages)
                          if ours[i * PAGE:(i + 1) * PAGE]
                          != theirs[i * PAGE:(i + 1) * PAGE]]
        for file in files:
            os.close(file)
        return wrong

    # what the guest says of its memory, in pages

    def memory(self):
        # reading it brings counters of each processor into the sums
        text = self.sh('cat /proc/sys/vm/stat_refresh; cat /proc/meminfo')
        given = {k: int(v) * 1024 // PAGE
                 for k, v in re.findall(r'([\w()]+):\s+(\d+) kB', text)}
        given['file'] = given['Active(file)'] + given['Inactive(file)']
        given['clean'] = (given['Cached'] - given['Shmem'] - given['Dirty']
                          - given['Writeback'])
        return given


def check_map(tap, bench, result, name, clean, least=0.95):
    """What holds for every complete map."""
    wrong = bench.compare(result.runs)
    total = sum(r.pages for r in result.runs)
    share = total / clean
    figures = result.figures
    tap.comment(f'{name}: {result.line}')
    tap.comment(f'{name}: {total} of {clean} clean pages = {share:.4f}; '
                f'{figures["pages"] / max(figures["ms"], 1) * 1000:.0f} '
                f'pages/s, {total / max(figures["hints"], 1):.1f} pages a '
                f'hint; map-time {pagecache_of(result.info)["map-time"]} ms')
    tap.check(result.complete, f'{name}: map is complete', result.line)
    tap.check(not wrong and total, f'{name}: no hinted page differs',
              f'{len(wrong)} of {total}: {wrong[:5]}')
    tap.check(len(result.pages) == total, f'{name}: no page is hinted twice',
              f'{total} hints for {len(result.pages)} pages')
    tap.check(figures['pages'] == total,
              f'{name}: the host has what the driver says', f'{total}')
    tap.check(share >= least,
              f'{name}: at least {least:.0%} of the clean cache is hinted',
              f'{total} of {clean} pages: {share:.4f}')


def test_cold(tap, bench):
    bench.mount()
    bench.fill()
    # what executables and libraries in use are
    bench.sh('files=$(for i in 0 1; do find /mnt/$i -type f -size +256k | '
             'head -n 60; done); maptool map $files >/tmp/mapped & '
             'sleep 2; grep pages /tmp/mapped')
    bench.load()
    before = bench.memory()
    with bench.collection() as result:
        bench.vm.cmd('cont')
        after = bench.memory()
        bench.vm.cmd('stop')
        check_map(tap, bench, result, 'cold', before['clean'])
    mapped = int(bench.sh('cat /tmp/mapped').split()[0])
    tap.comment(f'cold: {mapped} pages mapped by a process, Mapped '
                f'{before["Mapped"]}, Buffers {before["Buffers"]}; of all '
                f'file pages {sum(r.pages for r in result.runs)} of '
                f'{before["file"]}')
    tap.check(before['Mapped'] > mapped * 0.9 > 1000,
              'cold: many pages are mapped',
              f'{before["Mapped"]} of {mapped}')
    tap.check(after['Dirty'] <= before['Dirty'],
              'cold: a collection makes nothing dirty',
              f'{before["Dirty"]} -> {after["Dirty"]}')
    tap.check(abs(after['Cached'] - before['Cached']) <= 16,
              'cold: a collection leaves the cache as it is',
              f'{before["Cached"]} -> {after["Cached"]}')


def test_written(tap, bench):
    """Files of every kind, written by the guest; part of it stays dirty."""
    bench.sh('echo 0 >/proc/sys/vm/dirty_writeback_centisecs; '
             'echo 90 >/proc/sys/vm/dirty_ratio; '
             'echo 80 >/proc/sys/vm/dirty_background_ratio')
    # reading large blocks anew gives XFS large folios
    bench.sh('for i in 0 1; do mkdir /mnt/$i/new; cp -r $(find /mnt/$i -type '
             'd -mindepth 1 -maxdepth 1 | head -n 2) /mnt/$i/new; done; '
             'dd if=/dev/urandom of=/mnt/1/big bs=1M count=40; sync; '
             'cp /mnt/1/big /mnt/0/big; sync', 120)
    bench.sh('for i in 0 1 2; do maptool sparse /mnt/$i/sparse 8; '
             'maptool unwritten /mnt/$i/unwritten 8; '
             'for n in 1 100 1024 2000 3072 4095; do '
             'maptool tail /mnt/$i/tail$n $n; done; done; '
             'cp /bin/busybox /mnt/2/; sync', 60)
    bench.sh('maptool clone /mnt/1/big /mnt/1/clone; '
             'dd if=/dev/urandom of=/mnt/0/swap bs=1M count=4; '
             'mkswap /mnt/0/swap; sync; swapon /mnt/0/swap')
    bench.sh('maptool deleted /mnt/2/deleted 4 >/dev/null & '
             'cp /bin/busybox /mnt/0/busybox; sync; sleep 0.5; '
             '/mnt/0/busybox sleep 10000 >/dev/null & '
             'echo $! >/tmp/sleeper; sleep 0.5')
    bench.sh('for i in 0 1 2; do maptool dirty /mnt/$i/dirty 8; done')
    # over holes and preallocated blocks there is nothing to map.  How many
    # there are is the file system's affair: XFS of Linux 5.10 makes written
    # blocks of what it preallocated between the pages of a sparse file
    holes = int(bench.sh('maptool holes /mnt/*/sparse /mnt/*/unwritten'))
    tap.check(holes >= 2 * 1785 + 3 * 2048, 'written: there are holes',
              f'{holes} pages')
    before = bench.memory()
    with bench.collection() as result:
        tap.comment(f'written: {holes} pages over holes or unwritten blocks')
        swap = 1024
        check_map(tap, bench, result, 'written',
                  before['clean'] - holes - swap)
        bench.vm.cmd('cont')
        after = bench.memory()
        bench.vm.cmd('stop')
    tap.check(before['Dirty'] >= 3 * 2048, 'written: pages are dirty',
              f'{before["Dirty"]}')
    tap.check(after['Dirty'] >= before['Dirty'] - 16,
              'written: a collection writes nothing back',
              f'{before["Dirty"]} -> {after["Dirty"]}')
    tap.check(result.figures['dirty'] >= 3 * 2048,
              'written: the driver saw the dirty pages', result.line)
    tap.check(result.figures['unmapped'] >= holes * 0.98,
              'written: the driver saw the holes', result.line)
    tap.check(result.figures['foreign'] >= swap * 0.98,
              'written: the driver left out the swap file', result.line)
    bench.sh('swapoff /mnt/0/swap')
    bench.sh('rm -f /mnt/*/dirty; '
             'echo 500 >/proc/sys/vm/dirty_writeback_centisecs')


def test_logical_volume(tap, bench):
    """A linear device in two pieces, the second on another linear device."""
    bench.sh('umount /mnt/2 || { killall maptool; sleep 1; umount /mnt/2; }')
    for name in bench.sh('cat /extra/order').split():
        bench.sh(f'insmod /extra/{name}')
    odd = bench.device(2)
    # the file system again, its halves on the two sides of a seam
    sectors = ODD << 11
    half = sectors // 2 + 6
    bench.sh(f'maptool dm low {odd} {half} {sectors - half}; '
             f'[ -e /dev/dm-0 ] && maptool dm top {odd} 0 {half} '
             f'/dev/dm-0 0 {sectors - half}; [ -e /dev/dm-1 ]')
    bench.sh('mount -o noatime /dev/dm-1 /mnt/2')
    bench.sh('dd if=/dev/urandom of=/mnt/2/volume bs=1M count=60; '
             'rm -f /mnt/2/unwritten; sync')
    bench.sh('mkdir /mnt/loop; dd if=/dev/zero of=/mnt/0/loop bs=1M count=20; '
             'losetup /dev/loop0 /mnt/0/loop; sync; true')
    with bench.collection() as result:
        wrong = bench.compare(result.runs)
        here = sum(r.pages for r in result.runs if r.disk == 2)
        tap.comment(f'volume: {result.line}')
        tap.check(not wrong, 'volume: no hinted page differs',
                  f'{len(wrong)}: {wrong[:5]}')
        tap.check(here >= 60 * 256 * 0.98,
                  'volume: what lies on it is hinted', f'{here} pages')
        seam = half * SECTOR // PAGE
        low = [r for r in result.runs if r.disk == 2
               and r.sector * SECTOR // PAGE >= seam]
        tap.check(low and len(low) < len(result.runs),
                  'volume: both of its pieces', f'{len(low)}')


def test_slow(tap, bench):
    """A device that takes one hint at a time, and other users of the disks."""
    bench.unload()
    bench.load('buffers=1 buffer_hints=1')
    before = bench.memory()
    with bench.collection() as result:
        check_map(tap, bench, result, 'slow', before['clean'] - 7800)
        # each would cost a walk over all inodes
        tap.check(result.figures['pauses'] == 0,
                  'slow: the walk is not left for the device', result.line)

    # others get at the superblock, and nothing is lost
    bench.sh('(while [ ! -e /tmp/stop ]; do for i in 0 1 2; do '
             'mount -o remount /mnt/$i; done; echo x; done) '
             '>/tmp/remounts & true')
    with bench.collection() as result:
        check_map(tap, bench, result, 'remounts', before['clean'] - 7800)
        tap.check(result.figures['pauses'] > 0,
                  'remounts: the walk is left for others', result.line)
    bench.sh('touch /tmp/stop')
    tap.comment(f'{bench.sh("wc -l </tmp/remounts").strip()} remounts')

    # files that come and go; their hints may be wrong, the kernel not
    bench.sh('rm /tmp/stop; for i in 0 1 2; do (while [ ! -e /tmp/stop ]; do '
             'for n in 1 2 3 4 5; do cp /bin/busybox /mnt/$i/b$n; '
             'maptool deleted /mnt/$i/d$n 1 >/dev/null & p=$!; '
             'truncate -s 100000 /mnt/$i/b$n; sync /mnt/$i/b$n; '
             'rm /mnt/$i/b$n; kill $p; done; '
             'echo 1 >/proc/sys/vm/drop_caches; done) >/dev/null 2>&1 & '
             'done; true')
    for _ in range(3):
        with bench.collection() as result:
            wrong = bench.compare(result.runs)
            tap.comment(f'busy: {len(wrong)} of {len(result.pages)} pages '
                        f'are wrong by now; {result.line}')
            tap.check(result.complete, 'busy: map is complete', result.line)
    bench.sh('touch /tmp/stop; sleep 1; sync')
    bench.fill()


def test_nobody(tap, bench):
    """What tells where things are in RAM is for root alone."""
    node = '/dev/virtio-pagecache'
    bench.unload()
    bench.sh(f'insmod /driver/{guest.MODULE} buffers=1 buffer_hints=1')

    def as_nobody():
        return bench.sh(f'maptool nobody {node}').strip()

    mode = bench.sh(f'stat -c "%a %u %g" {node}').strip()
    tap.check(mode == '600 0 0', "nobody: the device's node is root's", mode)
    said = as_nobody()
    tap.check(said == 'Permission denied', 'nobody: may not open it', said)
    # nor if somebody is careless: the driver asks for itself
    bench.sh(f'chmod 666 {node}')
    said = as_nobody()
    tap.check(said == 'Operation not permitted',
              'nobody: may not open it even if the mode allows it', said)
    # the same tool can open what is for everybody
    said = bench.sh('maptool nobody /dev/null').strip()
    tap.check(said == 'opened', 'nobody: may open what is allowed', said)
    bench.sh(f'chmod 600 {node}')
    bench.start_daemon()
    caps = bench.sh('grep -E "^Cap(Prm|Eff|Bnd)" '
                    '/proc/$(pidof virtio-pagecached)/status').split()
    tap.comment(f'nobody: capabilities of the daemon: {" ".join(caps)}')
    # bit 21 is CAP_SYS_ADMIN; the bounding set may be smaller
    sets = [int(c, 16) for c in caps[1::2]]
    tap.check(len(sets) == 3 and sets[0] == sets[1] == 1 << 21
              and not sets[2] & ~(1 << 21),
              'nobody: the daemon has CAP_SYS_ADMIN and no other capability',
              caps)


def begin_half(bench):
    """A slow collection that is half-way."""
    target = bench.begin()
    wait_until(lambda: sum('virtio_pagecache_hints' in x
                           for x in bench.traced()) > 20, 30,
               'the collection is under way')
    return target


def test_goes_away(tap, bench):
    """Device, module, daemon and file systems, at any moment."""
    driver = '/sys/bus/virtio/drivers/virtio_pagecache'
    name = bench.sh(f'basename $(ls -d {driver}/virtio*)').strip()

    # cancelled at once
    for _ in range(3):
        bench.finish(bench.begin())

    # unbound half-way, and bound again
    before = len(bench.lines())
    target = begin_half(bench)
    bench.sh(f'echo {name} >{driver}/unbind')
    tap.check(name not in bench.sh(f'ls {driver}'), 'away: unbound')
    line = wait_until(lambda: bench.lines()[before:], 10, 'it stops')[0]
    tap.check(' cut short: ' in line, 'away: unbound half-way', line)
    bench.sh(f'echo {name} >{driver}/bind')
    info = wait_until(bench.ended, 60, 'a map after binding again')
    tap.check(pagecache_of(info)['hinted-pages'] > 0,
              'away: a map after binding again', info['pagecache'])
    bench.finish(target)

    # cancelled half-way
    before = len(bench.lines())
    bench.finish(begin_half(bench))
    line = wait_until(lambda: bench.lines()[before:], 10, 'it stops')[0]
    tap.check(' cut short: ' in line, 'away: cancelled half-way', line)

    # the daemon killed half-way: the driver says that this was not all
    before = len(bench.lines())
    target = begin_half(bench)
    bench.sh('kill $(pidof virtio-pagecached)')
    wait_until(lambda: any('virtio_pagecache_end' in x and ' status=1 ' in x
                           for x in bench.traced()), 10,
               'the host is told that the map is cut short')
    tap.check(len(bench.lines()) == before, 'away: daemon killed half-way')
    bench.sh('rmmod virtio_pagecache')
    tap.check('virtio_pagecache' not in bench.sh('lsmod'),
              'away: module unloaded while a map is wanted')
    bench.finish(target)
    bench.load()

    # the module can't go while the daemon has it open
    text = bench.sh('rmmod virtio_pagecache 2>&1; true')
    tap.check(re.search('busy|unavailable', text),
              'away: module is in use by the daemon', text)
    text = bench.sh(f'/driver/{guest.DAEMON} 2>&1; true')
    tap.check('busy' in text, 'away: there is one daemon', text)

    # unplugged and plugged in, under the daemon
    bench.vm.cmd('device_del', id='pc0')
    wait_until(lambda: 'pc0' not in json.dumps(
        bench.vm.cmd('qom-list', path='/machine/peripheral')), 30,
        'the device is unplugged')
    tap.check(not bench.sh(f'ls {driver} | grep virtio; true').strip(),
              'away: unplugged')
    bench.vm.cmd('device_add', driver='virtio-pagecache-pci', id='pc0',
                 bus='port0')
    wait_until(lambda: bench.sh(f'ls {driver} | grep virtio; true').strip(),
               30, 'the device is plugged in')

    # asleep and awake: to the device, a reset and a new driver
    bench.sh('(sleep 0.5; echo mem >/sys/power/state) & true')
    wait_until(lambda: bench.vm.status() == 'suspended', 30,
               'the guest is asleep')
    bench.vm.cmd('system_wakeup')
    wait_until(lambda: bench.vm.status() == 'running', 30,
               'the guest is awake')
    # the serial line loses characters until its driver is awake
    tap.check(wait_until(bench.answers, 30, 'the guest answers'),
              'away: slept and woke up')
    with bench.collection() as result:
        tap.check(not bench.compare(result.runs) and result.runs,
                  'away: a right map after all this', result.line)

    # unmounting waits for nothing, and no inode is left behind
    bench.unload()
    bench.load('buffers=1 buffer_hints=1')
    bench.sh('killall maptool; kill $(cat /tmp/sleeper); '
             'losetup -d /dev/loop0')
    before = len(bench.lines())
    target = begin_half(bench)
    start = time.monotonic()
    bench.sh('umount /mnt/0; umount /mnt/1; umount /mnt/2')
    took = time.monotonic() - start
    under_way = len(bench.lines()) == before
    tap.check('/mnt/' not in bench.sh('cat /proc/mounts') and took < 3,
              'away: unmounted half-way', f'{took:.1f} s')
    line = wait_until(lambda: bench.lines()[before:], 60, 'it ends')[0]
    tap.comment(f'unmounted within {took:.2f} s, collection still under way '
                f'afterwards: {under_way}; {line}')
    bench.finish(target)


def test(tap, version, bus):
    with contextlib.ExitStack() as stack:
        bench = Bench(version, bus, stack)
        for part in (test_cold, test_written, test_logical_volume, test_slow,
                     test_nobody, test_goes_away):
            part(tap, bench)
        trouble = bench.vm.kernel_trouble()
        tap.check(not trouble, 'nothing in the kernel log', trouble[:20])


def main():
    handle_signals()
    wanted = sys.argv[1:] or ['6.1/virtio-blk', '6.12/virtio-scsi']
    tap = Tap()
    for words in wanted:
        with tap.part(words):
            test(tap, *words.split('/'))
    tap.done()


if __name__ == '__main__':
    main()
