#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A migration without a guest, so that nothing but QEMU can be slow.

A VM that never ran has random pages in its RAM, which are also on its disk, in
runs of a given length that do not continue each other.  The disk is in memory,
and served by nbdkit.  The VM is moved to another QEMU on this host over a UNIX
socket, with a limit or without.  Says how much went over the channel, how long
it took, and what the turns of the migration thread cost.

Prints one line for each length of the runs and limit: the median of the runs,
with minimum and maximum.
"""

import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import tempfile
import time

import bench_lib
from bench_lib import MIB, spread
from lab import paths
from lab.paths import LabError
from lab.qmp import QMP

PAGE = 4096
SECTORS = PAGE // 512
#: RAM below this is the firmware's
LOW = 64 * MIB


class Disk:
    """A file of random pages in memory, and its server, with a wire or not."""

    def __init__(self, folder, name, pages, mbit=0):
        self.name = name
        self.file = os.path.join(folder, name)
        self.socket = os.path.join(folder, f'{name}.nbd')
        with open(self.file, 'wb') as file:
            for _ in range(pages // 64):
                file.write(os.urandom(64 * PAGE))
        # the reader does not read a file through the host's page cache
        command = [paths.need_tool('nbdkit', 'nbdkit'), '-f', '-r', '-U',
                   self.socket]
        if mbit:
            command += ['--filter=rate']
        command += ['file', self.file]
        if mbit:
            command += [f'rate={int(mbit * 1e6)}', 'burstiness=0.1']
        self.server = subprocess.Popen(command)
        while not os.path.exists(self.socket):
            if self.server.poll() is not None:
                raise LabError('nbdkit ended at once')
            time.sleep(0.02)

    def hang(self):
        """From now on nothing is answered."""
        self.server.send_signal(signal.SIGSTOP)

    def go_away(self):
        """From now on nobody listens."""
        self.server.kill()
        self.server.wait()

    def close(self):
        self.go_away()
        os.unlink(self.socket)
        os.unlink(self.file)

    def options(self, number):
        """What QEMU is told of it"""
        node = f'drive{number}'
        return ['-blockdev', f'driver=nbd,node-name={node},server.type=unix,'
                f'server.path={self.socket},read-only=on',
                '-device', f'virtio-blk-pci,id={self.name},drive={node}']


class Host:
    """One QEMU with the files as its disks."""

    def __init__(self, bench, name, *more):
        self.bench = bench
        self.folder = os.path.join(bench.folder, name)
        os.mkdir(self.folder)
        self.trace = os.path.join(self.folder, 'trace')
        monitor = os.path.join(self.folder, 'qmp')
        self.process = subprocess.Popen(
            [bench.qemu, '-name', f'{name},debug-threads=on', '-nodefaults',
             '-display', 'none', '-accel', 'tcg',
             '-machine', 'pc,memory-backend=ram', '-S', '-m',
             f'{bench.ram // MIB}M', '-object',
             f'memory-backend-file,id=ram,size={bench.ram},share=on,'
             f'mem-path={os.path.join(self.folder, "ram")},prealloc=on',
             *[option for i, disk in enumerate(bench.disks)
               for option in disk.options(i)],
             '-qmp', f'unix:{monitor},server=on,wait=off',
             '-trace', f'pagecache_src_turn,file={self.trace}', *more],
            stdin=subprocess.DEVNULL)
        try:
            self.qmp = QMP(monitor, explain=self._explain)
            self.qmp.cmd('migrate-set-capabilities', capabilities=[
                {'capability': 'skip-pagecache', 'state': True},
                {'capability': 'events', 'state': True}])
        except BaseException:
            self.close()
            raise

    def _explain(self):
        status = self.process.poll()
        return '' if status is None else f'(QEMU ended with status {status})'

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder)

    def turns(self):
        """CPU seconds of each turn of the migration thread"""
        with open(self.trace, encoding='ascii', errors='replace') as file:
            return [int(m) / 1e6 for m in re.findall(r'turn took (\d+) us',
                                                     file.read())]


class Result:
    """What one migration took"""

    def __init__(self, source, destination, turns):
        self.seconds = source['total-time'] / 1000
        self.sent = source['ram']['transferred']
        self.refilled = source['pagecache']['refill-bytes']
        #: bytes that were read, by disk
        self.read = [disk['bytes-read'] for disk in sorted(
            destination['destination']['disks'],
            key=lambda disk: disk['device'])]
        self.turns = turns


class Bench:
    """What is the same for all migrations."""

    def __init__(self, folder, qemu, ram, mbits=(0,)):
        """@mbits: of the wire of each disk; 0: no limit"""
        self.folder = folder
        self.qemu = qemu
        self.ram = ram
        self.disks = []
        #: of all disks
        self.pages = (ram - LOW) // PAGE // (64 * len(mbits)) * (
            64 * len(mbits))
        try:
            for i, mbit in enumerate(mbits):
                self.disks.append(Disk(folder, f'disk{i}',
                                       self.pages // len(mbits), mbit))
        except BaseException:
            self.close()
            raise

    def close(self):
        for disk in self.disks:
            disk.close()

    def places(self, run):
        """Where each run of pages of the disks is in RAM"""
        disks = len(self.disks)
        order = list(range(self.pages // disks // run * disks))
        random.Random(1).shuffle(order)
        return order

    def fill(self, host, run, hinted):
        """RAM of the VM; returns the file of the hints of these disks."""
        hints = os.path.join(host.folder, 'hints')
        size = run * PAGE
        files = []
        try:
            for disk in self.disks:
                files.append(open(disk.file, 'rb'))
            with open(os.path.join(host.folder, 'ram'), 'r+b') as ram, \
                    open(hints, 'w', encoding='ascii') as text:
                for i, place in enumerate(self.places(run)):
                    at, which = divmod(i, len(files))
                    name = self.disks[which].name
                    address = LOW + place * size
                    ram.seek(address)
                    ram.write(files[which].read(size))
                    if name in hinted:
                        text.write(f'{name} {address} {at * run * SECTORS} '
                                   f'{run}\n')
        finally:
            for file in files:
                file.close()
        return hints

    def migrate(self, run, gbit, hinted=None, begin=lambda: None):
        """
        How it went.  @hinted: names of the disks that are; @begin is called
        when both QEMUs are there, just before.
        """
        channel = 'unix:' + os.path.join(self.folder, 'channel')
        source = Host(self, 'source')
        try:
            hints = self.fill(source, run, [disk.name for disk in self.disks]
                              if hinted is None else hinted)
            source.qmp.cmd('x-pagecache-add-hints', 120, filename=hints)
            destination = Host(self, 'destination', '-incoming', channel)
            try:
                source.qmp.cmd('migrate-set-parameters', max_bandwidth=int(
                    gbit * 1e9 / 8) if gbit else 0)
                begin()
                source.qmp.cmd('migrate', uri=channel)
                source.qmp.wait_event('MIGRATION', 300, lambda data:
                                      data['status'] in ('completed',
                                                         'failed'))
                info = source.qmp.cmd('query-migrate')
                if info['status'] != 'completed':
                    raise LabError('the migration failed: '
                                   + info.get('error-desc', '?'))
                time.sleep(0.1)
                there = destination.qmp.cmd('query-migrate')['pagecache']
                return Result(info, there, source.turns())
            finally:
                destination.close()
        finally:
            source.close()


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def measure(bench, args):
    """All that was asked for, a line each"""
    for gbit in args.gbit or (10, 0):
        found = {run: [] for run in args.run or (1, 3, 64)}
        for _ in range(args.runs):      # in turn: the machine may drift
            for run, results in found.items():
                results.append(bench.migrate(run, gbit))
        for run, results in found.items():
            seconds = [r.seconds for r in results]
            sent = [r.sent for r in results]
            refilled = [r.refilled for r in results]
            turns = [t for r in results for t in r.turns] or [0]
            print(f'runs of {run:2}, '
                  f'{f"{gbit:g} Gbit/s" if gbit else "no limit"}: '
                  f'{spread(seconds)} s, channel {spread(sent, MIB, 0)} '
                  f'MiB, refilled {spread(refilled, MIB, 0)} MiB of '
                  f'{bench.pages * PAGE // MIB}, turns p99.9 '
                  f'{percentile(turns, 0.999) * 1000:.2f} ms, median '
                  f'{statistics.median(turns) * 1000:.2f} ms',
                  flush=True)


def main():
    parser = bench_lib.parser(__doc__, 3, '')
    parser.add_argument('--run', type=int, action='append', metavar='PAGES',
                        help='pages a run (again for more; default: 1, 3, 64)')
    parser.add_argument('--gbit', type=float, action='append',
                        help='limit of the channel, 0: none (again for more; '
                        'default: 10, 0)')
    parser.add_argument('--ram', type=int, default=1536, help='MiB')
    parser.add_argument('--qemu', default=paths.QEMU, help='the QEMU to use')
    args = parser.parse_args()
    for run in args.run or ():
        if not 1 <= run <= 1024:
            parser.error(f'--run {run}: expected from 1 to 1024 pages')
    if args.ram < 256:
        parser.error(f'--ram {args.ram}: expected 256 MiB or more')
    with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
        bench = Bench(folder, args.qemu, args.ram * MIB)
        try:
            measure(bench, args)
        finally:
            bench.close()


if __name__ == '__main__':
    bench_lib.call(main)
