#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Move a Linux guest between two QEMUs, plainly and without its page cache.

Each run starts from the same state: a guest freshly booted from a fresh
copy of the same disk, that has read the same files in the same order.  QEMU
tracks what it reads, or a driver of ours is loaded in it (--driver).  (Moving
one guest to and fro would be quicker, but the second run would inherit what
the first one did to the guest.)

After each migration the RAM of both QEMUs is compared page by page before
the destination runs; then the guest checks the checksum of each cached file
while the disk's read counter must not move.

Writes to build/demo: migrations.html, result.json, wires.svg, details.json.
"""

import argparse
import dataclasses
import json
import os
import sys

from lab import disk, kernel, paths, picture, scenario, top
from lab.files import need_memory
from lab.lab import Lab
from lab.migrate import Settings
from lab.paths import LabError
from lab.talk import Spectator, Talk
from lab.vm import hints_of, need_qemu

OUTPUT = os.path.join(paths.BUILD, 'demo')
#: the setting for which the targets of time hold
STANDARD = {'lan': 1.0, 'san': 2.5, 'ram': 2048, 'cache': 1400, 'multifd': 1,
            'prealloc': True}
HINTED, PROVEN, SAVED = 0.95, 0.98, 0.55
#: pages that may miss on top of those shares, however small the cache is: what
#: the count may be wrong by, and what an idle guest touches meanwhile
UNCOUNTED, TOUCHED = scenario.NOISE, 32
MIB, PAGE = 1 << 20, 4096
COLUMNS, PAGE_NAME = ('plain', 'skip-pagecache'), 'migrations.html'
CHANNEL_COLOUR, STORAGE_COLOUR = '#2b6cb0', '#dd6b20'


def parse(words):
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add('--lan', type=float, default=STANDARD['lan'], metavar='GBIT',
        help='speed of the migration channel, Gbit/s; 0: not limited')
    add('--san', type=float, default=STANDARD['san'], metavar='GBIT',
        help='speed of the storage network, Gbit/s; 0: not limited')
    add('--ram', type=int, default=STANDARD['ram'], metavar='MIB',
        help="the guest's RAM")
    add('--cache', type=int, default=STANDARD['cache'], metavar='MIB',
        help='how much of it is filled with files')
    add('--multifd', type=int, default=STANDARD['multifd'], metavar='N',
        help='migrate over N channels')
    add('--compression', default='none', metavar='METHOD',
        help='multifd compression method')
    add('--downtime', type=int, default=300, metavar='MS',
        help='downtime limit')
    add('--runs', type=int, default=1, metavar='N',
        help='repeat both N times; results are those of the median run')
    add('--fs', choices=('ext4', 'xfs'), default='ext4',
        help="the disk's file system")
    add('--partition', action='store_true',
        help='put the file system in a partition')
    add('--bus', choices=('virtio-blk', 'virtio-scsi'), default='virtio-blk',
        help="the disk's bus")
    add('--driver', action='store_true',
        help="take the hints from our driver in the guest, and not from QEMU's "
        "tracking of the guest's I/O")
    add('--kernel', default='6.1', metavar='VERSION',
        help="the guest's Debian kernel, 6.1 or 6.12")
    add('--no-prealloc', dest='prealloc', action='store_false',
        help="do not let QEMU touch the guests' RAM in advance: the price of "
        'the first touch of each page, which depends on the state of this '
        "machine's memory, is then part of the migration")
    add('--chap', action='store_true', help='log in to the target with CHAP')
    add('--lun-dir', metavar='DIR',
        help='keep the LUN in a directory instead of memory')
    add('--qemu', default=paths.QEMU, metavar='PATH', help='the QEMU to use')
    add('--output', default=OUTPUT, metavar='DIR', help='where results go')
    args = parser.parse_args(words)
    if args.cache < 16 or args.cache + 256 > args.ram:
        parser.error(f'--cache {args.cache} with --ram {args.ram}: expected '
                     'at least 16 and at most RAM less 256 MiB')
    if min(args.lan, args.san) < 0 or args.multifd < 1 or args.runs < 1:
        parser.error('expected speeds of 0 or more, one channel or more and '
                     'one run or more')
    return args


@dataclasses.dataclass
class Run:
    """One run: fresh guest, migration, checks."""
    cache: scenario.Cache
    outcome: scenario.Outcome
    check: scenario.Check
    trouble: list
    history: list                   # figures of the migration


class Demo:
    def __init__(self, args, lab, talk):
        self.args = args
        self.lab = lab
        self.talk = talk
        self.kernel = kernel.get(args.kernel)
        self.disk = disk.get(args.cache, args.fs, args.partition)
        self.bare = 0.0                     # bytes per second of a bare reader
        self.seen = []                      # [(name, Spectator)] of all runs
        need_memory(2 * args.ram + (0 if args.lun_dir else args.cache) + 512)

    def machine(self, lun):
        return self.lab.machine(
            self.kernel, [lun], [self.disk.list], ram=self.args.ram,
            bus=self.args.bus, qemu=self.args.qemu,
            prealloc=self.args.prealloc, with_driver=self.args.driver,
            **hints_of('driver' if self.args.driver else 'io-map'))

    def measure_storage(self, lun):
        # the best of three: it is to be a ceiling
        self.bare = max(scenario.bare_rate(
            self.lab.hosts['dst'], self.args.qemu, lun.url(),
            min(self.args.cache, 512)) for _ in range(3))
        self.talk.say(f'a bare reader on the destination gets '
                      f'{self.bare / 1e6:.0f} MB/s from the LUN')

    def run(self, name):
        settings = Settings(skip=name == 'skip', channels=self.args.multifd,
                            compression=self.args.compression,
                            downtime_ms=self.args.downtime)
        lun = self.lab.lun(self.disk.image)
        if not self.bare:
            self.measure_storage(lun)
        machine = self.machine(lun)
        self.talk.say(f'{name}: booting a guest with {self.args.ram} MiB and '
                      f'reading {self.args.cache} MiB of files')
        source = scenario.boot(
            self.lab, 'src', machine, self.disk,
            progress=lambda done: self.talk.live(
                f'{name:5} the guest reads its files: '
                f'{done / MIB:.0f} of {self.args.cache} MiB'))
        cache = scenario.clean_cache(source)
        destination = self.lab.vm('dst', machine, incoming=True, paused=True)
        self.talk.say(f'{name}: the guest caches '
                      f'{cache.pages * PAGE / MIB:.0f} MiB; migrating')
        spectator = Spectator(self.talk, name, scenario.CHANNEL,
                              scenario.STORAGE)
        self.seen.append((name, spectator))
        outcome = scenario.migrate(source, destination, settings, spectator)
        spectator.end(outcome.info, outcome.sampler)
        self.talk.say(f'{name}: {outcome.total_ms / 1000:.1f} s, downtime '
                      f'{outcome.downtime_ms} ms, '
                      f'{outcome.channel_bytes / 1e6:.0f} MB on the channel; '
                      f'RAM compared: {len(outcome.different)} pages differ')
        trouble = source.kernel_trouble()
        scenario.hand_over(self.lab, source, destination)
        check = scenario.checksum(destination)
        self.talk.say(f'{name}: {check.files - check.bad} of {check.files} '
                      f'files right, {check.disk_bytes} bytes read from the '
                      'disk')
        trouble += destination.kernel_trouble()
        destination.quit()
        self.lab.drop(destination)
        self.lab.discard(lun)
        return Run(cache, outcome, check, trouble,
                   spectator.watch.history)


def median(runs):
    """The run with the median total time (the slower of the middle two)."""
    return sorted(runs, key=lambda r: r.outcome.total_ms)[len(runs) // 2]


def part(run):
    return {'total_ms': run.outcome.total_ms,
            'downtime_ms': run.outcome.downtime_ms,
            'channel_bytes': run.outcome.channel_bytes}


def evaluate(plain, skip, bare):
    """build/demo/result.json, from lists of runs."""
    one, other = median(plain), median(skip)
    stats = other.outcome.source
    # what plain precopy sends, before a compression
    sent = max(part(one)['channel_bytes'],
               one.outcome.info['ram']['normal'] * PAGE)
    rate = sent * 1000 / part(one)['total_ms']
    cached = other.cache.pages * PAGE / sent
    return {
        'plain': part(one),
        'skip': dict(
            part(other), clean_cache_pages=other.cache.pages,
            **{f'{k}_pages': stats[f'{k}-pages'] for k in (
                'hinted', 'offered', 'reported', 'proven', 'mismatched',
                'released')},
            refill_bytes=other.outcome.destination['refill-bytes']
            or stats['refill-bytes'],
            disk_bytes_during_checksum=max(r.check.disk_bytes for r in skip),
            checksums_ok=all(r.check.good for r in plain + skip)),
        'saved': 1 - part(other)['total_ms'] / part(one)['total_ms'],
        'ceiling': min(cached, bare / (rate + bare)),
        'wrong_pages': sum(len(r.outcome.different) for r in plain + skip),
    }


def enough(pages, of, share, few):
    """Whether that many are a share of the others, but for a few; not none."""
    return pages >= of * share - few and (pages > 0 or of == 0)


def shortfalls(args, result, plain, skip):
    """What the demo promises and did not hold, one line each."""
    found = []

    def expect(good, text):
        if not good:
            found.append(text)

    numbers = result['skip']
    control = sum(len(r.outcome.different) for r in plain)
    expect(control == 0, f'{control} pages differ after a plain migration: '
                         'the comparison itself is in doubt')
    expect(result['wrong_pages'] == 0,
           f"{result['wrong_pages']} pages differ: expected none")
    expect(numbers['checksums_ok'], 'files with wrong checksums: expected '
                                    'none')
    expect(numbers['disk_bytes_during_checksum'] == 0,
           f"{numbers['disk_bytes_during_checksum']} bytes were read from "
           'the disk while the cached files were checked: expected 0')
    for run in plain + skip:
        expect(not run.trouble, 'in the kernel log of the guest: '
               + '; '.join(run.trouble[:3]))
    for run in skip:
        stats = run.outcome.source
        if not stats['active']:
            expect(False, 'skip-pagecache was not active: '
                   + stats.get('reason', 'no reason given'))
            continue
        hinted = stats['hinted-pages']
        expect(enough(hinted, run.cache.pages, HINTED, UNCOUNTED),
               f'{hinted} of {run.cache.pages} pages of clean file cache were '
               f'hinted: expected {HINTED:.0%} but for {UNCOUNTED} pages')
        proven, reported = stats['proven-pages'], stats['reported-pages']
        expect(enough(proven, reported, PROVEN, TOUCHED),
               f'{proven} of {reported} reported pages were proven: expected '
               f'{PROVEN:.0%} but for {TOUCHED}')
    if all(getattr(args, k) == v for k, v in STANDARD.items()):
        expect(result['saved'] >= SAVED,
               f"{result['saved']:.2f} of the time was saved: expected "
               f'{SAVED} (load average {os.getloadavg()[0]:.1f})')
    return found


def table(result, runs):
    """[(label, plain, skip-pagecache)]"""
    plain, skip = result['plain'], result['skip']
    lines = []

    def row(label, *cells):
        lines.append((label, *cells))

    row('total time', *(f'{x["total_ms"] / 1000:.1f} s'
                        for x in (plain, skip)))
    row('downtime', *(f'{x["downtime_ms"]} ms' for x in (plain, skip)))
    row('on the channel', *(f'{x["channel_bytes"] / MIB:,.0f} MiB'
                            for x in (plain, skip)))
    row('refilled from the LUN', '-', f'{skip["refill_bytes"] / MIB:,.0f} MiB')
    row("guest's clean file cache", '',
        f'{skip["clean_cache_pages"]:,} pages')
    for name in ('hinted', 'offered', 'reported', 'proven', 'mismatched',
                 'released'):
        row(f'  {name}', '', f'{skip[name + "_pages"]:,} pages')
    row('cached files checked', *(f'{r.check.files - r.check.bad} of '
                                  f'{r.check.files} right' for r in runs))
    row('  read from the disk for it', *(f'{r.check.disk_bytes} bytes'
                                         for r in runs))
    row('pages that differ', *(str(len(r.outcome.different)) for r in runs))
    row('time saved', '', f'{result["saved"]:.0%}')
    row('  at most possible', '', f'{result["ceiling"]:.0%}')
    return lines


def plain_text(rows):
    return '\n'.join(f'  {a:28}{b:>22}{c:>22}'
                     for a, b, c in [('', *COLUMNS), *rows])


def setting(args):
    return (f'{args.ram} MiB of RAM, {args.cache} MiB of it page cache; '
            f'LAN {args.lan:g} Gbit/s, SAN {args.san:g} Gbit/s')


def draw(args, runs):
    panels = []
    for title, run in zip(('plain precopy', 'with skip-pagecache'), runs):
        sampler = run.outcome.sampler
        panels.append(picture.Panel(title, [
            picture.Series('migration channel', CHANNEL_COLOUR,
                           sampler.rates(scenario.CHANNEL), args.lan * 125e6),
            picture.Series('storage network', STORAGE_COLOUR,
                           sampler.rates(scenario.STORAGE), args.san * 125e6),
        ], run.outcome.total_ms / 1000))
    return picture.draw(
        'Both wires while a guest moves', setting(args), panels)


def save(args, name, text):
    os.makedirs(args.output, exist_ok=True)
    with open(os.path.join(args.output, name), 'w', encoding='utf-8') as file:
        file.write(text)


def write_page(args, runs, rows=None, wrong=()):
    """runs: [(name, figures of the migration)]; the page's path."""
    save(args, PAGE_NAME, top.page.render(
        'A guest moves with and without its page cache', setting(args),
        [top.page.Run(name, history) for name, history in runs], rows, wrong))
    return os.path.join(args.output, PAGE_NAME)


def write(args, result, plain, skip):
    save(args, 'result.json', json.dumps(result, indent=2) + '\n')
    save(args, 'wires.svg', draw(args, (median(plain), median(skip))))
    save(args, 'details.json', json.dumps({
        'settings': vars(args), 'loadavg': os.getloadavg(),
        'runs': {name: [{
            'total_ms': r.outcome.total_ms, 'info': r.outcome.info,
            'destination': r.outcome.destination,
            'return_path_bytes': r.outcome.sampler.total(scenario.RETURN),
            'storage_bytes': r.outcome.sampler.total(scenario.STORAGE),
            'clean_cache': dataclasses.asdict(r.cache),
            'different': [str(d) for d in r.outcome.different[:100]],
            'trouble': r.trouble, 'samples': r.outcome.sampler.samples,
        } for r in runs] for name, runs in (('plain', plain),
                                            ('skip', skip))}}) + '\n')


def run(args, talk):
    """Result, plain runs and runs with skip-pagecache."""
    load = os.getloadavg()[0]
    if load > 1:
        talk.say(f'note: the load average is {load:.1f}; times will be '
                 'worse than on an idle machine')
    need_qemu(args.qemu, faults=False)
    plain, skip = [], []
    with Lab('demo', args.lan, args.san,
             chap=('lab', 'lab-secret-1') if args.chap else None,
             lun_directory=args.lun_dir) as lab:
        demo = Demo(args, lab, talk)
        try:
            for _ in range(args.runs):
                plain.append(demo.run('plain'))
                skip.append(demo.run('skip'))
        except LabError as error:
            if demo.seen:
                print(write_page(args, [(name, seen.watch.history)
                                        for name, seen in demo.seen],
                                 wrong=[str(error)]))
            raise
    return evaluate(plain, skip, demo.bare), plain, skip


def main():
    args = parse(sys.argv[1:])
    try:
        with Talk(max(args.lan, args.san) * 125e6) as talk:
            result, plain, skip = run(args, talk)
        write(args, result, plain, skip)
    except LabError as error:
        sys.exit(f'demo: error: {error}')
    except KeyboardInterrupt:
        sys.exit(130)
    runs = median(plain), median(skip)
    rows, missed = table(result, runs), shortfalls(args, result, plain, skip)
    page = write_page(args, [(name, r.history) for name, r in zip(COLUMNS,
                                                                  runs)],
                      rows, missed)
    print()
    print(plain_text(rows))
    print()
    for name in ('wires.svg', 'result.json'):
        print(f'  {os.path.join(args.output, name)}')
    for line in missed:
        print(f'demo: error: {line}', file=sys.stderr)
    print(f'  {page}', flush=True)
    sys.exit(1 if missed else 0)


if __name__ == '__main__':
    main()
