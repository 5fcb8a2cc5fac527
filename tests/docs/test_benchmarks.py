#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Does the benchmark report say what its data say?

The pages in the tree have to be what the report's generator makes of the
records in the tree.  The generator itself is tried with a few small records
of its own.  Prints TAP; needs no guest, and matplotlib for the pictures only.
"""

import glob
import importlib.util
import os
import re
import sys
import tempfile
from xml.etree import ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests', 'lab'))

from bench import cells, overview, pick, plots   # noqa: E402
from bench import records as store, report, tables  # noqa: E402
from lab.tap import Skipped, Tap                 # noqa: E402

DIRECTORY = os.path.join(TOP, 'docs', 'benchmarks')
DATA = os.path.join(DIRECTORY, 'data')
PAGE = '''Before.

.. generated: {}

Old.

.. end of generated

After.
'''


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def record(peer, total, number, **other):
    """What a run has, as far as tables need it"""
    return {
        'version': 1, 'workload': 'web', 'peer': peer, 'round': number,
        'setting': {'name': 'base', 'lan': 0.4, 'san': 1.0, 'san_load': 0.0},
        'status': 'ok', 'reason': None, 'commit': 'abcdef012345+',
        'time': f'2026-01-0{number}T12:00:00', 'total_ms': total,
        'machine': {'cpus': 2, 'model': 'y', 'memory_mib': 1,
                    'kernel': '6.1'},
        'lan_bytes': 50000 * total, 'san_bytes': 0,
        'cache_bytes': 30000000, 'bare_bps': None, 'cpu_bound': False,
        'wrong_pages': 0, 'series': {}, **other,
        'cpu': {'busy': 0.5, 'threads': {'src live_migration': 0.4},
                'full': ['all CPUs'] if other.get('cpu_bound') else []}}


def point(peer, total, **other):
    """A point with the total time, the answers after, and no more"""
    return {
        'setting': 'base', 'workload': 'web', 'peer': peer, 'lan_gbit': 0.4,
        'san_gbit': 1.0, 'san_load': 0.0, 'cache_share': 0.6,
        'ram_mib': 2048, 'guests': 1, 'prealloc': True, 'driver': True,
        'write_rate': 0.5, 'runs': 3, 'status': 'ok', 'reason': None,
        'cpu_bound': False, 'total_ms': total, 'switchover_ms': total, **other}


def example():
    """Three peers, of which one failed and ours is better"""
    records = [record('plain', t, n) for n, t in ((1, 990), (2, 1000),
                                                  (3, 1020))]
    records += [record('skip', t, n, cpu_bound=n > 1)
                for n, t in ((1, 500), (2, 510), (3, 520))]
    records += [record('postcopy', 0, 1, status='failed',
                       reason='no\n`answer`')]
    points = [point('skip', [510, 500, 520], saved=[.49, .48, .5],
                    ceiling=[.5, .5, .5], client_before=[100] * 3,
                    client_after=[99, 98, 101]),
              point('plain', [1000, 990, 1020], client_before=[101] * 3,
                    client_after=[100, 97, 102]),
              point('postcopy', None, status='failed', switchover_ms=None)]
    return records, pick.ordered(points)


def rows(lines):
    """Cells of a simple table without its head"""
    return [re.split(r'  +', line) for line in lines[3:-1]]


def test_cells(tap):
    for value, text in ((0, '0'), (14.83, '14.8'), (1.504, '1.50'),
                        (1812.4, '1,812'), (-0.62, '-0.62'), (1200, '1,200')):
        got = cells.number(value)
        tap.check(got == text, f'{value} is written {text}', got)
    tap.check(cells.cell([2000, 1500, 3000], 1e-3) == '2 [1.50..3]',
              'median, minimum and maximum')
    tap.check(cells.cell([5, 5, 5]) == '5' and cells.cell(None) == '-',
              'without a spread, and without a figure')
    got = cells.literal('two\nlines with `marks`')
    tap.check(got == "``two lines with 'marks'``", 'a reason is one literal',
              got)


def test_tables(tap):
    records, points = example()
    peers = [p['peer'] for p in points]
    tap.check(peers == ['plain', 'postcopy', 'skip'], 'peers in their order',
              peers)
    table = rows(tables.figures(points, records, tables.MIGRATION))
    tap.check(table[0][:3] == ['precopy', '3', '1 [0.99..1.02]'],
              'a row of figures', table[0])
    tap.check(table[1][:3] == ['postcopy', '0', '-'], 'one that failed',
              table[1])
    tap.check(table[2][0] == 'skip-pagecache (CPU)', 'one with a full CPU',
              table[2])
    bad = tables.failures(points, records)
    tap.check(bad == ["* postcopy: 1 of 1 runs failed: ``no 'answer'``"],
              'the reason of a failure', bad)
    source = tables.source(records, tables.machines(records))
    tap.check(source == 'Commit ``abcdef012345+``; machine A; 2026-01-01 to '
                        '2026-01-03.', 'where the runs come from', source)


def test_overview(tap):
    records, points = example()
    row = rows(overview.ceiling(points, records))[0]
    tap.check(row[6:8] == ['98.0', 'reached'], 'the ceiling is near', row)
    tap.check(row[-1] == 'missed, within the spread',
              'a few answers less, but the runs overlap', row)
    limit = pick.full(records[:3])
    tap.check(limit == ['LAN'], 'a wire that is full is told', limit)
    limit = pick.full(records[3:6])
    tap.check(limit == ['LAN', 'all CPUs'], 'and what was full of processors',
              limit)
    tap.check(overview.winners(points, records) == ['Nowhere.'],
              'no other peer is better')
    points[0]['total_ms'] = [350, 300, 390]
    row = rows(overview.winners(points, records))[0]
    tap.check(row[2] == 'total time, s' and row[3] == 'precopy',
              'one that is better is told', row)


def refused(text, points, records):
    try:
        report.fill(text, points, records)
    except report.ReportError:
        return True
    return False


def test_sections(tap):
    records, points = example()
    for name in report.SECTIONS:
        text = report.fill(PAGE.format(name), points, records)
        tap.check('Old.' not in text and text.startswith('Before.\n')
                  and text.endswith('\nAfter.\n'), f'{name} is replaced',
                  text)
        again = report.fill(text, points, records)
        tap.check(again == text, f'{name}, filled in again, is the same')
    tap.check(refused(PAGE.format('nonsense'), points, records),
              'an unknown section is refused')
    tap.check(refused(PAGE.format('data').replace('end of', 'no end of'),
                      points, records), 'one without an end, too')


def with_series():
    """The example with what pictures need, at two shares of clean cache"""
    records, points = example()
    names = [c[1] for c in tables.CLIENTS + tables.COST]
    names += ['downtime_ms', 'client_gap_ms']
    for r in records:
        if r['status'] == 'ok':
            r.update({n: 1000 for n in names}, switchover_ms=r['total_ms'],
                     lan_bytes=50000 * r['total_ms'], series={
                'slot_ms': 100, 'first_ms': -20000,
                'answers': [5] * 300, 'p50_us': [None] * 300,
                'p99_us': [None, 2000] * 150, 'lan': [5000000] * 300,
                'san': [None, 1] * 150, 'cpu': [0.5] * 300})
    for p in points:
        if pick.good(p):
            p.update({n: [1000, 900, 1100] for n in names})
    more = [{**p, 'setting': 'more', 'cache_share': 0.9} for p in points]
    others = [{**r, 'series': {**r['series'], 'answers': []},
               'setting': {**r['setting'], 'name': 'more'}}
              for r in records if r['series']]
    return records + others, points + more


def test_pictures(tap):
    if importlib.util.find_spec('matplotlib') is None:
        raise Skipped('matplotlib is not installed')
    records, points = with_series()
    with tempfile.TemporaryDirectory() as directory:
        with open(os.path.join(directory, 'old.svg'), 'w',
                  encoding='utf-8'):
            pass
        plots.write(points, records, directory)
        names = sorted(os.listdir(directory))
        plan = plots.plan(points, records)
        tap.check(names == sorted(p.name for p in plan) and len(names) > 5,
                  'those that are planned, and no old ones', names)
        path = os.path.join(directory, plan[0].name)
        text = read(path)
        plots.save(plan[0], directory)
        tap.check(read(path) == text, 'the same data give the same file')
        texts = ' '.join(ElementTree.parse(path).getroot().itertext())
    tap.check('skip-pagecache: runs there after 0.5 s' in texts,
              'text is text', ' '.join(texts.split()))
    tap.check('postcopy' not in texts, 'a peer that failed is not drawn')


def test_names(tap):
    named = [m[2] for path in report.pages(DIRECTORY)
             for m in report.MARKS.finditer(read(path))]
    missing = set(report.SECTIONS) - set(named)
    tap.check(not missing, 'each section stands on a page', missing)
    index = read(os.path.join(DIRECTORY, 'index.rst'))
    missing = [n for n in [*pick.PEERS, *pick.WORKLOADS]
               if not re.search(f'^``{n}`` ', index, re.M)]
    tap.check(not missing, 'each peer and workload is described', missing)


def test_pages(tap):
    records, points = [], []
    if glob.glob(os.path.join(DATA, '**', '*.json'), recursive=True):
        records = store.load(DATA)
        points = pick.ordered(store.summarise(records))
    for path in report.pages(DIRECTORY):
        text = read(path)
        tap.check(report.fill(text, points, records) == text,
                  f'{os.path.relpath(path, TOP)} has what the data say',
                  'make bench ARGS=--report makes it anew')
    if not records:
        raise Skipped('there are no runs in docs/benchmarks/data yet')
    planned = {p.name for p in plots.plan(points, records)}
    drawn = {os.path.basename(p) for p in glob.glob(
        os.path.join(DIRECTORY, 'plots', '*.svg'))}
    tap.check(planned == drawn, 'the pictures are those of the data',
              planned ^ drawn)
    index = read(os.path.join(DIRECTORY, 'index.rst'))
    unknown = {k for r in records for k in r if f'``{k}``' not in index}
    tap.check(not unknown, 'each member of a record is described', unknown)


def main():
    tap = Tap()
    for name, test in (('cells', test_cells), ('tables', test_tables),
                       ('overview', test_overview),
                       ('sections', test_sections),
                       ('pictures', test_pictures), ('names', test_names),
                       ('pages', test_pages)):
        with tap.part(f'benchmarks: {name}'):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
