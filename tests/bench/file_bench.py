#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The reader's engine for files and host devices against fio.

Both read the same block devices, which are in memory, with O_DIRECT, requests
of the same size and the same number of them in flight, each in turn.  fio uses
io_uring with a job for each disk; the reader is driven by
pagecache-reader-bench and merges hints into such requests, without touching
what was read, as fio does.

"loop" is a loop device with direct I/O on a file in a tmpfs: asynchronous, a
kernel thread copies.  "zram" is a zram device full of what can't be compressed:
it copies while it is called, and has no reads that can be started without
waiting, so that both sides use threads.

Prints one line for each setting: MiB/s of both, the median of the runs with
minimum and maximum, their ratio, and the processors that each process used.
Needs root.
"""

import dataclasses
import json
import os
import re
import statistics
import subprocess
import tempfile

import bench_lib
from bench_lib import MIB, spread
from lab import paths
from lab.paths import LabError

PAGE_KIB = 4
#: All that is read is so much at least, which no processor's cache holds
TOTAL = 1024 * MIB
ZRAM = '/sys/class/zram-control'


def run(*command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, text=True,
                          capture_output=True, check=False)
    if done.returncode:
        raise LabError(f'{command[0]} ended with status {done.returncode}: '
                       f'{done.stderr.strip() or done.stdout.strip()}')
    return done.stdout


def write(path, text):
    with open(path, 'w', encoding='ascii') as file:
        file.write(text)


def fill(path, size):
    noise = os.urandom(MIB)
    with open(path, 'r+b') as file:
        for _ in range(size // MIB):
            file.write(noise)


class Loop:
    """A loop device with direct I/O on a file in memory"""

    def __init__(self, folder, number, size):
        file = os.path.join(folder, str(number))
        with open(file, 'wb') as new:
            new.truncate(size)
        fill(file, size)
        self.path = run(paths.need_tool('losetup', 'util-linux'), '--find',
                        '--show', '--direct-io=on', file).strip()

    def close(self):
        run('losetup', '--detach', self.path)


class Zram:
    """A zram device"""

    def __init__(self, _folder, _number, size):
        with open(ZRAM + '/hot_add', encoding='ascii') as file:
            self.number = file.read().strip()
        self.path = f'/dev/zram{self.number}'
        try:
            write(f'/sys/block/zram{self.number}/disksize', str(size))
            fill(self.path, size)
        except BaseException:
            self.close()
            raise

    def close(self):
        write(f'/sys/block/zram{self.number}/reset', '1')
        write(ZRAM + '/hot_remove', self.number)


KINDS = {'loop': Loop, 'zram': Zram}


@dataclasses.dataclass(frozen=True)
class Setting:
    """What both sides read, and how; size: KiB, disk_size: bytes"""
    size: int
    depth: int
    holes: bool
    files: list
    disk_size: int

    def __str__(self):
        return (f'{len(self.files):2} disks, {self.size:3} KiB, depth '
                f'{self.depth:2}, {"holes" if self.holes else "all":5}')


def run_fio(args, it):
    """(MiB/s, processors)"""
    command = ['fio', '--output-format=json', '--ioengine=io_uring',
               '--direct=1', f'--bs={it.size}k', f'--iodepth={it.depth}',
               f'--rw=read:{it.size}k' if it.holes else '--rw=read',
               '--time_based', f'--runtime={args.seconds}', '--thread',
               '--group_reporting', '--invalidate=0', '--norandommap',
               f'--size={it.disk_size}']
    for i, file in enumerate(it.files):
        command += [f'--name=disk{i}', f'--filename={file}']
    job = json.loads(run(*command))['jobs'][0]
    return (job['read']['bw_bytes'] / MIB,
            (job['usr_cpu'] + job['sys_cpu']) / 100 * len(it.files))


def run_ours(args, it):
    """(MiB/s, processors)"""
    pages = str(it.size // PAGE_KIB)
    window = max(1, 2 * it.size * it.depth // 1024, 64 // len(it.files))
    command = [args.bench, '--files', '--sessions', '1', '--depth',
               str(it.depth), '--max-read', str(it.size), '--seconds',
               str(args.seconds), '--run', pages, '--gap',
               pages if it.holes else '0', '--window', str(window),
               '--size', str(it.disk_size // MIB)]
    if not args.copy:
        command.append('--no-copy')
    text = run(*command, *it.files)
    found = re.search(r'([\d.]+) MiB/s from storage, \d+ reads, ([\d.]+) '
                      r'processors, (\d+) pages failed', text)
    if not found or found[3] != '0':
        raise LabError(f'{args.bench} says: {text}')
    return float(found[1]), float(found[2])


def measure(args, it):
    sides = {run_fio: [], run_ours: []}
    for _ in range(args.runs):          # in turn: the machine may drift
        for side, results in sides.items():
            results.append(side(args, it))
    fio, ours = ([r[0] for r in results] for results in sides.values())
    cpus = [statistics.median(r[1] for r in results)
            for results in sides.values()]
    ratio = statistics.median(ours) / statistics.median(fio)
    print(f'{args.kind}, {it}: fio {spread(fio, digits=0)} MiB/s, ours '
          f'{spread(ours, digits=0)} MiB/s, {ratio:.0%}; processors: fio '
          f'{cpus[0]:.2f}, ours {cpus[1]:.2f}', flush=True)


def measure_all(args):
    for ndisks in args.disks or (1, 4, 32):
        size = max(TOTAL // ndisks, 64 * MIB)
        devices = []
        with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
            try:
                for i in range(ndisks):
                    devices.append(KINDS[args.kind](folder, i, size))
                files = [d.path for d in devices]
                for kib in args.size or (4, 64, 256):
                    for depth in args.depth or (8, 16, 32):
                        for holes in (False, True):
                            measure(args, Setting(kib, depth, holes, files,
                                                  size))
            finally:
                for device in devices:
                    device.close()


def main():
    parser = bench_lib.parser(__doc__, 5, ' side')
    parser.add_argument('--kind', choices=KINDS, default='loop',
                        help='of block devices')
    parser.add_argument('--disks', type=int, action='append',
                        help='so many at once (again for more; default: 1, 4, '
                        '32)')
    parser.add_argument('--size', type=int, action='append', metavar='KIB',
                        help='of a request (again for more; default: 4, 64, '
                        '256)')
    parser.add_argument('--depth', type=int, action='append',
                        help='requests in flight a disk (again for more; '
                        'default: 8, 16, 32)')
    parser.add_argument('--seconds', type=int, default=1, help='a run')
    parser.add_argument('--copy', action='store_true',
                        help='copy what the reader has read, as a migration '
                        'does')
    parser.add_argument('--bench', default=os.path.join(
        paths.BUILD, 'bench/tests/bench/pagecache-reader-bench'),
        help='pagecache-reader-bench, built without sanitizers')
    args = parser.parse_args()
    for size in args.size or ():
        if size < PAGE_KIB or size % PAGE_KIB or size > 16384:
            parser.error(f'--size {size}: expected a multiple of {PAGE_KIB} '
                         'up to 16384')
    paths.need_tool('fio', 'fio')
    if not os.path.exists(args.bench):
        parser.error(f'there is no {args.bench}; meson setup build/bench '
                     '-Dbuildtype=release; ninja -C build/bench')
    measure_all(args)


if __name__ == '__main__':
    bench_lib.call(main)
