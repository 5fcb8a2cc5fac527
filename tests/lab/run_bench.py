#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What a migration costs its clients, measured against every way there is.

Without options a short form of at most 20 minutes: a web server with precopy,
postcopy and skip-pagecache, three runs each, and a database, one run each.
--full is the matrix, hours long; it can be stopped, and goes on where it was.

Each run is a record in a directory of its own; what is there is not measured
again.  Writes result.json and pictures to build/bench.
"""

import argparse
import dataclasses
import os
import statistics
import sys
import time

from bench import plan, records
from bench.meter import machine
from bench.peers import PEERS
from bench.workloads import WORKLOADS
from lab import paths
from lab.paths import LabError
from lab.procs import Interrupted

OUTPUT = os.path.join(paths.BUILD, 'bench')
KEPT = os.path.join(paths.ROOT, 'docs/benchmarks/data')
#: seconds with clients before a migration; in the short form
BEFORE, SHORT_BEFORE = 20, 10


def pair(text):
    """KEY=VALUE of a setting, the value of the right type."""
    key, found, value = text.partition('=')
    fields = {f.name: f.type for f in dataclasses.fields(plan.Setting)}
    if not found or key not in fields:
        raise argparse.ArgumentTypeError(
            f"'{text}': expected KEY=VALUE, KEY one of " + ', '.join(fields))
    try:
        if fields[key] is bool:
            return key, {'on': True, 'off': False}[value]
        return key, fields[key](value)
    except (KeyError, ValueError):
        what = 'on or off' if fields[key] is bool else \
            {'int': 'a whole number', 'float': 'a number'}.get(
                fields[key].__name__, 'a name')
        raise argparse.ArgumentTypeError(f"'{text}': expected {what}")


def parse(words):
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add('--full', action='store_true', help='the matrix of docs/benchmarks')
    add('--workload', action='append', metavar='NAME',
        help='only this one (again for more): ' + ', '.join(WORKLOADS))
    add('--peer', action='append', metavar='NAME',
        help='only this one (again for more): ' + ', '.join(PEERS))
    add('--setting', action='append', metavar='NAME',
        help='with --full, only this one (again for more): '
        + ', '.join(dict.fromkeys(g.setting.name for g in plan.full())))
    add('--set', action='append', type=pair, default=[], metavar='KEY=VALUE',
        help='another setting: '
        + ', '.join(f.name for f in dataclasses.fields(plan.Setting)))
    add('--runs', type=int, metavar='N', help='so many of each point')
    add('--no-verify', dest='verify', action='store_false',
        help='leave out the runs that compare RAM')
    add('--before', type=int, metavar='S',
        help='seconds with clients before the migration')
    add('--after', type=int, metavar='S', help='and after it')
    add('--data', metavar='DIR', help='where records are kept; the short '
        'form begins anew, --full goes on')
    add('--no-wait', dest='quiet', action='store_false',
        help='measure although others use the CPUs (for a trial)')
    add('--output', default=OUTPUT, metavar='DIR',
        help='where result.json and the pictures go')
    add('--minutes', type=float, metavar='N', help='begin no run after that')
    add('--again', action='store_true', help='try again what has failed')
    add('--list', action='store_true', help='list the runs, and do none')
    add('--check', action='store_true', help='look at the options only')
    add('--report', action='store_true',
        help='only write tables and pictures of docs/benchmarks')
    add('--qemu', default=paths.QEMU, metavar='PATH', help='the QEMU to use')
    args = parser.parse_args(words)
    if args.before is None:
        args.before = BEFORE if args.full else SHORT_BEFORE
    try:
        args.groups = chosen(args)
    except LabError as error:
        parser.error(str(error))
    if args.full and not args.quiet:
        parser.error('--full --no-wait: expected one of them; what is kept '
                     'was measured on a quiet machine')
    if args.before < 5 or (args.after is not None and args.after < 5):
        parser.error(f'--before {args.before} --after {args.after}: expected '
                     '5 seconds or more')
    if args.data is None:
        args.data = KEPT if args.full or args.report \
            else os.path.join(args.output, 'data')
    return args


def chosen(args):
    """The groups that the options ask for; LabError if one can't work."""
    groups = plan.full() if args.full else plan.short()
    if args.setting:
        names = {g.setting.name for g in groups}
        for name in args.setting:
            if name not in names:
                raise LabError(f"setting '{name}': expected one of "
                               + ', '.join(sorted(names)))
        groups = [g for g in groups if g.setting.name in args.setting]
    if args.set:
        groups = [dataclasses.replace(g, setting=dataclasses.replace(
            g.setting, **{'name': 'custom', **dict(args.set)}))
            for g in groups]
    if args.workload:
        # one that the form does not have is measured as its first one is
        groups = [g for name in args.workload for g in
                  ([g for g in groups if g.workload == name]
                   or [dataclasses.replace(groups[0], workload=name)])]
    if args.peer:
        groups = [dataclasses.replace(g, peers=tuple(args.peer))
                  for g in groups]
    if args.runs is not None:
        groups = [dataclasses.replace(g, runs=args.runs) for g in groups]
    if args.after is not None:
        groups = [dataclasses.replace(g, after=args.after) for g in groups]
    for group in groups:
        group.check()
    return groups


class Clock:
    """Tells how long it will take, from what it took."""

    def __init__(self, left):
        self.left = left
        self.start = time.monotonic()
        self.took = []

    def done(self, seconds):
        self.took.append(seconds)
        self.left -= 1

    def say(self, text):
        now = time.monotonic() - self.start
        left = ''
        if self.took:
            minutes = self.left * statistics.mean(self.took) / 60
            left = f', {minutes:.0f} min left'
        print(f'[{now / 60:5.1f} min{left}] {text}', flush=True)


def summary(record):
    """A run in half a line."""
    if record['status'] != 'ok':
        return 'failed: ' + record['reason'].splitlines()[0]
    if record['round'] == plan.VERIFY:
        return f'{record["wrong_pages"]} wrong pages'
    full = record['cpu']['full']
    return (f'{record["total_ms"] / 1000:.1f} s, runs there after '
            f'{record["switchover_ms"] / 1000:.1f} s, clients waited '
            f'{record["client_gap_ms"] or 0:.0f} ms, '
            f'{record["lan_bytes"] / 1e6:.0f} + '
            f'{record["san_bytes"] / 1e6:.0f} MB, '
            f'{record["wrong_pages"]} wrong pages'
            + (f', full: {", ".join(full)}' if full else ''))


def measure(args, store, runs, done):
    """Do the runs, and add their records to done."""
    from bench.run import Benchmark     # needs what is built

    clock = Clock(len(runs))
    bench = Benchmark(clock.say, args.qemu, args.before, args.quiet)
    for run in runs:
        if args.minutes and time.monotonic() - clock.start \
                > args.minutes * 60:
            clock.say('no more time; the rest goes on another time')
            break
        clock.say(str(run))
        record = bench.record(run)
        store.save(run, record)
        done.append(record)
        clock.done(record['seconds'])
        clock.say('  ' + summary(record))


def finish(output, found):
    """result.json and pictures of these records."""
    path = os.path.join(output, 'result.json')
    records.write_result(path, found, machine())
    print(path)
    try:
        from bench import plots
        for name in plots.draw(found, output):
            print(name)
    except LabError as error:         # no matplotlib
        print(f'no pictures: {error}', file=sys.stderr)


def left(args, store, runs):
    """Those that are still to be done."""
    if not args.full:
        return runs
    kept = {run: store.load(run) for run in runs}
    return [run for run in runs if kept[run] is None
            or (args.again and kept[run]['status'] != 'ok')]


def main():
    args = parse(sys.argv[1:])
    store = records.Store(args.data)
    if args.check:
        return 0
    if args.report:
        from bench import report
        found = store.all()
        report.write(found, records.summarise(found), os.path.dirname(KEPT))
        return 0
    runs = left(args, store, list(plan.runs(args.groups, args.verify)))
    if args.list:
        for run in runs:
            print(run)
        return 0
    os.makedirs(args.output, exist_ok=True)
    done, status = [], 0
    try:
        measure(args, store, runs, done)
    except (KeyboardInterrupt, Interrupted) as error:
        print('interrupted; what was measured is kept', file=sys.stderr)
        status = getattr(error, 'code', 130)
    finish(args.output, store.all() if args.full else done)
    return status or int(any(r['status'] != 'ok' for r in done))


if __name__ == '__main__':
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f'bench: error: {error}')
