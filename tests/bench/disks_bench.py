#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Several disks, each behind a wire of its own: do they add up?

A VM that never ran (stream_bench.py) has an equal share of its RAM on each of
its disks, whose servers have a limit each, and so has the channel.  First one,
two and four disks, then four of which one is slower, hangs, or is gone.  What
the first disk's wire can't bring is for the channel, and the others must not
suffer.

Prints one line for each case, the median of its runs.
"""

import dataclasses
import statistics
import tempfile
import threading
import typing

import bench_lib
from bench_lib import MIB
from lab import paths
from stream_bench import Bench, Disk, LOW

RUN = 64


@dataclasses.dataclass(frozen=True)
class Case:
    """
    Some disks, and what becomes of the first one

    slow: it has a tenth; plain: there are no hints for it; ends: the method
    of Disk that is the end of it; when: as a share of the time that both wires
    would need without that.
    """
    name: str
    disks: int
    slow: bool = False
    plain: bool = False
    ends: typing.Optional[typing.Callable] = None
    when: float = 0

    @property
    def hurt(self):
        return self.slow or self.plain or self.ends is not None


CASES = [
    Case('1 disk', 1),
    Case('2 disks', 2),
    Case('4 disks', 4),
    Case('4 disks, one slow', 4, slow=True),
    Case('4 disks, one without hints', 4, plain=True),
    Case('4 disks, one hangs from the start', 4, ends=Disk.hang),
    Case('4 disks, one hangs at half time', 4, ends=Disk.hang, when=0.5),
    Case('4 disks, one is gone from the start', 4, ends=Disk.go_away),
    Case('4 disks, one is gone at half time', 4, ends=Disk.go_away,
         when=0.5),
]


def migrate(case, args):
    """One migration, with QEMUs and servers of its own"""
    mbits = [args.mbit] * case.disks
    if case.slow:
        mbits[0] /= 10
    total = case.disks * args.share * MIB
    needed = total * 8e-6 / (case.disks * args.mbit + args.channel)
    with tempfile.TemporaryDirectory(dir='/dev/shm') as folder:
        bench = Bench(folder, args.qemu, LOW + total, mbits)
        timer = threading.Timer(case.when * needed, lambda: case.ends and
                                case.ends(bench.disks[0]))
        try:
            return bench.migrate(
                RUN, args.channel / 1000,
                hinted=[disk.name for disk in bench.disks[case.plain:]],
                begin=timer.start)
        finally:
            timer.cancel()
            if timer.ident:
                timer.join()
            bench.close()


def measure(cases, args):
    """All cases in turn, as often as asked: the machine may drift."""
    results = {case: [] for case in cases}
    for _ in range(args.runs):
        for case, found in results.items():
            found.append(migrate(case, args))
    for case, found in results.items():
        sound = case.disks - case.hurt
        wire = args.mbit * 1e6 / 8
        seconds = statistics.median(r.seconds for r in found)
        rate = statistics.median(r.refilled / r.seconds for r in found)
        share = statistics.median(
            sum(r.read[-sound:]) / r.seconds for r in found) / wire / sound
        sent = statistics.median(r.sent for r in found)
        print(f'{case.name}: {seconds:.2f} s, refilled {rate / MIB:.1f} MiB/s'
              f', {"the others" if case.hurt else "all"} read at '
              f'{share:.0%} of their wires, channel {sent / MIB:.0f} MiB',
              flush=True)


def main():
    parser = bench_lib.parser(__doc__, 3, '')
    parser.add_argument('--mbit', type=float, default=200,
                        help="limit of each disk's wire")
    parser.add_argument('--channel', type=float, default=400,
                        help='limit of the channel, Mbit/s')
    parser.add_argument('--share', type=int, default=200,
                        help='MiB of pages on each disk')
    parser.add_argument('--case', type=int, action='append', metavar='N',
                        help='only this one, from 1 on (again for more): '
                        + ', '.join(f'{i}: {case.name}' for i, case
                                    in enumerate(CASES, 1)))
    parser.add_argument('--qemu', default=paths.QEMU, help='the QEMU to use')
    args = parser.parse_args()
    if min(args.mbit, args.channel, args.share) <= 0:
        parser.error('expected limits and a share above 0')
    for n in args.case or ():
        if not 1 <= n <= len(CASES):
            parser.error(f'--case {n}: expected from 1 to {len(CASES)}')
    measure([CASES[n - 1] for n in args.case] if args.case else CASES, args)


if __name__ == '__main__':
    bench_lib.call(main)
