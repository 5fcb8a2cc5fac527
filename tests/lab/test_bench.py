#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The benchmark's bookkeeping: what it refuses, in which order it measures, what
it keeps, how points come out of runs.  Runs no guest.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile

import run_bench
from bench import overview, plan, records
from bench.peers import PEERS
from lab.paths import LabError
from lab.tap import Tap

PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)),
                       'run_bench.py')


def refused(tap, name, words, *expected):
    """Status 2 at once, and a last line that says these things."""
    done = subprocess.run([sys.executable, PROGRAM, '--check', *words],
                          text=True, stdout=subprocess.PIPE, timeout=60,
                          stderr=subprocess.STDOUT)
    last = done.stdout.strip().splitlines()[-1:]
    tap.check(done.returncode == 2 and last
              and all(x in last[0] for x in expected), name,
              f'status {done.returncode}: {done.stdout}')


def refusals(tap):
    for name, words, *expected in (
            ('a workload', ['--workload', 'mail'], "'mail'", 'web'),
            ('a peer', ['--peer', 'rdma'], "'rdma'", 'postcopy'),
            ('a setting', ['--full', '--setting', 'mars'], "'mars'", 'base'),
            ('a key', ['--set', 'speed=1'], "'speed=1'", 'lan'),
            ('a value', ['--set', 'lan=fast'], "'lan=fast'", 'a number'),
            ('no bool', ['--set', 'prealloc=yes'], "'prealloc=yes'", 'on or'),
            ('no wire', ['--set', 'lan=0'], 'lan=0', 'more than 0'),
            ('a share', ['--set', 'share=0.5'], 'share=0.5', '0.6'),
            ('no run', ['--runs', '0'], 'runs=0', 'one or more'),
            ('much RAM', ['--set', 'ram=65536'], 'ram=65536', '2048'),
            ('many databases', ['--workload', 'db-tpcb', '--set', 'guests=8',
                                '--set', 'ram=384'], 'db-tpcb', 'web'),
            ('a database without cache', ['--workload', 'db-select', '--set',
                                          'share=0'], 'share=0'),
            ('no time for clients', ['--before', '1'], '--before 1')):
        refused(tap, name, words, *expected)
    for words in ([], ['--full'], ['--workload', 'scan', '--peer', 'multifd']):
        tap.check(run_bench.parse(words).groups, f'{words} is taken')


def order(tap):
    setting = plan.BASE
    group = plan.Group(setting, 'web', ('plain', 'skip'), 2)
    found = [(r.peer, r.round) for r in plan.runs([group])]
    tap.check(found == [('plain', 1), ('skip', 1), ('skip', plan.VERIFY),
                        ('plain', 2), ('skip', 2)], 'peers take turns', found)
    other = plan.Group(setting, 'scan', ('plain',), 3, 60)
    later = plan.Group(setting, 'idle', ('plain',), 2, tier=1)
    found = list(plan.runs([later, other, group], verify=False))
    names = [(r.workload, r.round) for r in found]
    tap.check(names == [('scan', 1), *[('web', 1)] * 2, ('idle', 1),
                        ('scan', 2), *[('web', 2)] * 2, ('idle', 2),
                        ('scan', 3)], 'rounds over all points', names)
    tap.check([r.after for r in found if r.workload == 'scan']
              == [60, plan.SPAN, plan.SPAN], 'a long look at the first',
              found)
    runs = list(plan.runs(plan.full()))
    tap.check(len(runs) == len(set(runs)), 'no run twice')
    base = dataclasses.asdict(plan.BASE)
    for other in plan.ELSEWHERE:
        keys = [k for k, v in dataclasses.asdict(other).items()
                if v != base[k] and k != 'name']
        tap.check(set(keys) in ({'san'}, {'share'}, {'prealloc'}, {'driver'},
                                {'san_load'}, {'lan', 'san'},
                                {'guests', 'ram'}),
                  f'{other.name} differs in one thing', keys)
    at_base = {g.workload: set(g.peers) for g in plan.full()
               if g.setting == plan.BASE}
    tap.check(set(at_base) == set(run_bench.WORKLOADS)
              and all(at_base[w] == set(workload.peers)
                      for w, workload in run_bench.WORKLOADS.items()
                      if workload.peers)
              and all(p.name in at_base[w] for w in at_base
                      for p in PEERS.values()
                      if not run_bench.WORKLOADS[w].peers
                      and (not p.workloads or w in p.workloads)),
              'all workloads and peers at the base', at_base)


def run(peer, number, total, sent, status='ok', **more):
    """A record with these figures, the others empty."""
    figures = {name: 1 for name in records.FIGURES}
    return {'version': records.VERSION, 'workload': 'web', 'peer': peer,
            'setting': dataclasses.asdict(plan.BASE), 'round': number,
            'commit': 'c', 'status': status, 'reason': None,
            **figures, 'total_ms': total, 'lan_bytes': sent, 'bare_bps': None,
            'cache_bytes': 600, 'wrong_pages': 0, 'cpu': {'full': []}, **more}


def points(tap):
    found = {p['peer']: p for p in records.summarise([
        run('plain', 1, 10000, 1000, bare_bps=150),
        run('plain', 2, 8000, 1000), run('plain', 3, 20000, 1000),
        run('skip', 1, 5000, 400), run('skip', 2, 6000, 400),
        run('skip', 3, 1, 1, status='failed', reason='why'),
        run('skip', plan.VERIFY, 1, 1, wrong_pages=2)])}
    skip = found['skip']
    for name, got, expected in (
            ('median, least, most', found['plain']['total_ms'],
             [10000, 8000, 20000]),
            ('of those that ended well', skip['total_ms'],
             [5500, 5000, 6000]),
            ('and are timed', skip['runs'], 2),
            ('time saved', skip['saved'], [0.45, 0.4, 0.5]),
            ('at most possible: the cache', skip['ceiling'], [0.6] * 3),
            ('wrong pages, compared ones too', skip['wrong_pages'],
             [0, 0, 2]),
            ('a reason', skip['reason'], 'why'),
            ('a point with a good run is ok', skip['status'], 'ok')):
        tap.check(got == expected, name, f'{got}, expected {expected}')
    slow = records.ceiling([run('plain', 1, 10000, 1000, bare_bps=50)],
                           [run('skip', 1, 1, 1)])
    tap.check(abs(slow - 1 / 3) < 1e-9, 'at most possible: the wires', slow)
    alone = records.summarise([run('skip', 1, 5000, 400)])[0]
    tap.check(alone['ceiling'] is None and alone['saved'] is None,
              'nothing to compare with', alone)


def keeping(tap):
    with tempfile.TemporaryDirectory() as directory:
        store = records.Store(directory)
        one = plan.Run(plan.BASE, 'web', 'plain', 1)
        tap.check(store.load(one) is None, 'not there yet')
        record = run('plain', 1, 10000, 1000)
        store.save(one, record)
        tap.check(store.load(one) == record == store.all()[0], 'kept')
        with open(store.path(one), 'w') as file:
            json.dump(dict(record, version=99), file)
        for name, text in (('another version', None), ('no JSON', '{'),
                           ('no record', '[]')):
            if text is not None:
                with open(store.path(one), 'w') as file:
                    file.write(text)
            try:
                store.all()
                tap.check(False, f'{name} is refused')
            except LabError as error:
                tap.check(store.path(one) in str(error),
                          f'{name} is refused', error)


def verdicts(tap):
    """What is said of the answers after arrival"""
    def point(after, before=300):
        return {'client_after': after, 'client_before': [before] * 3}

    tap.check(overview.answered(point([200] * 3, 199), point([202] * 3, 203))
              == 'reached', 'clients that asked for a little less')
    for name, ours, plain, expected in (
            ('as many', [300] * 3, [300] * 3, 'reached'),
            ('fewer', [280, 279, 281], [300] * 3, 'missed'),
            ('fewer than asked for later', [303] * 3, [305] * 3, 'reached'),
            ('at times', [299, 298, 301], [300] * 3,
             'missed, within the spread'),
            ('no clients', None, [300] * 3, '-')):
        said = overview.answered(point(ours), point(plain))
        tap.check(said == expected, name, said)


def main():
    tap = Tap()
    for name, function in (('refused', refusals), ('order', order),
                           ('points', points), ('records', keeping),
                           ('verdicts', verdicts)):
        with tap.part(name):
            function(tap)
    tap.done()


if __name__ == '__main__':
    main()
