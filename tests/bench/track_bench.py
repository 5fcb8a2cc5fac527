#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What tracking costs each request of the guest.

Intervals are short, as the speed of a machine is not the same for long.

A Linux guest reads its iSCSI disk with direct I/O, in requests of 4 KiB or of
1 MiB, through virtio-blk in an I/O thread.  The object pagecache-io-map is
switched off, on, and on with whole checksums in turns, in one QEMU: each round
has one interval of each.  Says what a request takes of the I/O thread's CPU
time, and the 99th percentile of its latency as QEMU counts it.

Prints, for each size, the medians, and the median of the differences within a
round, with its 95 % interval (bootstrap).
"""

import json
import random
import statistics
import time

import bench_lib
from bench_lib import MIB
from lab import kernel
from lab.lab import Lab
from lab.paths import LabError
from lab.vm import need_qemu

SIZES = {'4 KiB': 4096, '1 MiB': MIB}
MODES = ('off', 'auto', 'whole')
MAP = '/objects/iomap0'
BACKEND = '/machine/peripheral/vd0/virtio-backend'
DISK = 512 * MIB
#: seconds that are not counted after a switch: the arrays are new
SETTLE = 0.05
#: of a latency histogram, in ns: a step is 2 %
BOUNDARIES = [int(20000 * 1.02 ** n) for n in range(460)]


def options():
    parser = bench_lib.parser(__doc__, 150, ' mode and size')
    parser.add_argument('--size', choices=SIZES, action='append',
                        help='only these')
    parser.add_argument('--seconds', type=float, default=0.3,
                        help='of an interval')
    parser.add_argument('--write', action='store_true',
                        help='writes, not reads')
    parser.add_argument('--json', metavar='FILE', help='raw results')
    return parser.parse_args()


class Guest:
    """It runs, and reads or writes without an end."""

    def __init__(self, lab, write):
        self.write = write
        machine = lab.machine(
            kernel.get('6.1'), [lab.lun(size=DISK)], with_driver=False,
            ram=512, device=None, disk_options='iothread=io0',
            extra=['-object', 'iothread,id=io0,poll-max-ns=0',
                   '-object', 'pagecache-io-map,id=iomap0'])
        self.vm = lab.vm('src', machine)
        self.vm.boot()
        thread, = self.vm.cmd('query-iothreads')
        self.stat = (f"/proc/{self.vm.pid}/task/{thread['thread-id']}"
                     '/schedstat')

    def begin(self, size):
        device = self.vm.device_name()
        files = (f'if=/dev/zero of={device} oflag=direct' if self.write else
                 f'if={device} of=/dev/null iflag=direct')
        self.vm.sh(f'(while :; do dd {files} bs={size} count={DISK // size}; '
                   'done) >/dev/null 2>&1 & echo $! >/tmp/load')

    def end(self):
        self.vm.sh('kill $(cat /tmp/load); killall dd; sleep 0.5',
                   check=False)

    def switch(self, mode):
        def put(name, value):
            self.vm.cmd('qom-set', path=MAP, property=name, value=value)

        if mode != 'off':
            put('checksum', mode)
        put('enabled', mode != 'off')

    def _figures(self):
        with open(self.stat) as file:
            cpu = int(file.read().split()[0])
        return cpu, self._disk()['wr_operations' if self.write else
                                 'rd_operations']

    def _disk(self):
        return self.vm.cmd('query-blockstats')[0]['stats']

    def interval(self, mode, seconds):
        """(CPU time of a request, 99th percentile of its latency) in us"""
        self.switch(mode)
        time.sleep(SETTLE)
        self.vm.cmd('block-latency-histogram-set', id=BACKEND,
                    boundaries=BOUNDARIES)
        before = self._figures()
        time.sleep(seconds)
        after = self._figures()
        found = self._disk()['wr_latency_histogram' if self.write else
                             'rd_latency_histogram']
        requests = after[1] - before[1]
        if not requests:
            raise LabError('no request in an interval')
        return ((after[0] - before[0]) / requests / 1000,
                percentile(found['bins'], 0.99) / 1000)


def percentile(bins, share):
    """The upper bound of the bin where it lies"""
    left = sum(bins) * share
    for boundary, count in zip(BOUNDARIES, bins):
        left -= count
        if left <= 0:
            return boundary
    return BOUNDARIES[-1]


def interval_of_median(values):
    """95 %"""
    dice = random.Random(1)
    medians = sorted(statistics.median(dice.choices(values, k=len(values)))
                     for _ in range(2000))
    return medians[50], medians[-51]


def compare(name, rounds, index, what):
    off = [r['off'][index] for r in rounds]
    print(f'{name}, {what}: off {statistics.median(off):.1f} us')
    for mode in MODES[1:]:
        on = [r[mode][index] for r in rounds]
        more = [(a / b - 1) * 100 for a, b in zip(on, off)]
        low, high = interval_of_median(more)
        print(f'  {mode}: {statistics.median(on):.1f} us, '
              f'{statistics.median(more):+.1f} % ({low:+.1f} to {high:+.1f})',
              flush=True)


def main():
    args = options()
    need_qemu(faults=False)
    results = {}
    with Lab('track', lan=10, san=10) as lab:
        guest = Guest(lab, args.write)
        for name in args.size or SIZES:
            size = SIZES[name]
            guest.begin(size)
            guest.interval('whole', args.seconds)       # warm
            rounds = results[name] = []
            for number in range(args.runs):
                # no mode has always the same one before it
                order = random.Random(number).sample(MODES, len(MODES))
                rounds.append({m: guest.interval(m, args.seconds)
                               for m in order})
            guest.end()
            compare(name, rounds, 0, 'CPU time of the I/O thread')
            compare(name, rounds, 1, '99th percentile of the latency')
    if args.json:
        with open(args.json, 'w') as file:
            json.dump({'write': args.write, 'seconds': args.seconds,
                       'rounds': results}, file, indent=1)
            file.write('\n')


if __name__ == '__main__':
    bench_lib.call(main)
