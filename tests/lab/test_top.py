#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
pagecache-top: what it makes of answers to query-migrate, in all its formats.

Asks no real QEMU; test_top_qemu.py does.
"""

import contextlib
import json
import os
import re
import stat
import subprocess
import tempfile

from lab import top
from lab.paths import ROOT
from lab.tap import Tap
from lab.top import (PAGE, FakeQemu, chart, files, model, monitor, openmetrics,
                     record, source_info, view)

MIB = 1 << 20
#: what a QEMU without the feature, or a hostile one, might say
STRANGE = (
    {}, {'status': 'none'}, {'status': 7}, {'status': 'active', 'ram': None},
    {'status': 'active', 'ram': [], 'pagecache': 'x'},
    {'status': 'active', 'total-time': 'soon', 'ram': {'transferred': -1}},
    {'status': 'active', 'ram': {'transferred': True, 'remaining': 1e400,
                                 'mbps': float('nan'), 'page-size': 0}},
    {'status': 'completed', 'pagecache': {'active': True, 'disks': [
        1, {}, {'device': None, 'reads': 'x'}, {'device': 'a\nb"\\'}],
        'hinted-pages': 1 << 70, 'note-text': '\033[2J'}},
    {'status': 'failed', 'error-desc': 'a\nb\033]0;x\a'},
    {'status': 'a status of the future', 'pagecache': {'active': 1}})


def watched(*answers, step=0.5, **options):
    """A Watch that got these answers, so many seconds apart."""
    watch = model.Watch(**options)
    for number, answer in enumerate(answers):
        watch.add(100 + number * step, answer)
    return watch


def near(value, expected, tolerance=0.01):
    return value is not None and \
        abs(value - expected) <= tolerance * abs(expected)


def rates(tap):
    figures = watched(source_info(0.5)).latest
    tap.check(near(figures.channel_rate, 112 * MIB)
              and near(figures.storage_rate, 275 * MIB),
              "of a first answer, they are QEMU's own", figures)
    steady = [source_info(t / 2) for t in range(1, 7)]
    figures = watched(*steady).latest
    tap.check(near(figures.channel_rate, 112 * MIB)
              and near(figures.storage_rate, 275 * MIB),
              'of steady wires', figures)
    slow = source_info(4)
    slow['ram'].update((k, steady[-1]['ram'][k]) for k in (
        'transferred', 'normal'))
    figures = watched(*steady, slow, slow, slow).latest
    tap.check(figures.channel_rate == 0, 'of a wire that has stopped',
              figures)
    figures = watched(*steady, slow).latest
    tap.check(near(figures.channel_rate, 56 * MIB),
              'averaged over a second', figures)
    watch = model.Watch()
    for second in range(3):
        watch.add(second, source_info(second),
                  wires=(second * 1000, second * 3000))
    tap.check((watch.latest.channel_rate, watch.latest.storage_rate)
              == (1000, 3000), 'of bytes that others have counted')
    figures = watched(source_info(1), source_info(1), step=0).latest
    tap.check(near(figures.channel_rate, 112 * MIB),
              'of two answers at one time', figures)


def time_left(tap):
    left = model.time_left
    for name, expected, args in (
            ('channel alone', 10, (1000, 0, 100, 0, 0)),
            ('both are busy until the end', 4, (1000, 900, 100, 150, 0)),
            ('storage is done first', 5, (1000, 500, 100, 900, 0)),
            ('the guest writes', 20, (1000, 0, 100, 0, 50)),
            ('the guest writes faster than the channel', None,
             (1000, 0, 100, 500, 100)),
            ('nothing remains', 0, (0, 0, 100, 0, 0)),
            ('no rate', None, (1000, 0, 0, 100, 0))):
        found = left(*args)
        tap.check(found == expected, name, f'{found}, expected {expected}')
    figures = watched(*[source_info(t / 2, ram=1 << 30, hinted=100000)
                        for t in range(1, 3)]).latest
    expected = (figures.remaining_bytes - PAGE * (
        figures.pages['pooled'] + figures.pages['in_flight'])) / (112 * MIB)
    tap.check(near(figures.left, expected),
              'of a migration', f'{figures.left}, expected {expected}')


def changes(tap):
    first = [source_info(t) for t in range(1, 4)]
    failed = dict(source_info(4), **{'status': 'failed', 'error-desc': 'x'})
    watch = watched(*first, failed, failed)
    tap.check(len(watch.history) == 4 and watch.latest.error == 'x',
              'the last answer is kept once', watch.history)
    watch = watched(*first, failed, source_info(0.2), source_info(0.7))
    tap.check(len(watch.history) == 2
              and near(watch.latest.channel_rate, 112 * MIB),
              'another migration begins from nothing', watch.history)
    watch = watched(*first, source_info(0.5))
    tap.check(len(watch.history) == 1,
              'also if the end of the first was missed', watch.history)
    lower = source_info(4)
    lower['pagecache']['refill-bytes'] = 0
    watch = watched(*first, lower)
    tap.check(len(watch.history) == 1 and watch.latest.storage_rate >= 0,
              'counters that fall are those of another', watch.history)
    watch = watched(*[top.destination_info(t) for t in range(3)],
                    source_info(0.1))
    tap.check(len(watch.history) == 1 and watch.latest.side == 'source',
              'a guest that goes on from where it arrived')
    waiting = {'status': 'setup', 'socket-address': []}
    watch = watched(waiting, waiting, top.destination_info(0),
                    top.destination_info(0.5))
    tap.check(watch.latest.side == 'destination'
              and watch.latest.elapsed == 0.5,
              'a destination waits before it begins', watch.latest)
    watch = watched(*[source_info(t / 10) for t in range(1, 500)], step=0.1,
                    kept=100)
    tap.check(50 < len(watch.history) <= 100
              and watch.history[0].elapsed < 0.2
              and near(watch.latest.channel_rate, 112 * MIB),
              'a long one is thinned out', len(watch.history))


def features(tap):
    for name, expected, info, capabilities in (
            ('absent', 'absent', {}, {'xbzrle': False}),
            ('off', 'off', {}, {'skip-pagecache': False}),
            ('on', 'on', {}, {'skip-pagecache': True}),
            ('not asked for', None, {'status': 'active'}, None),
            ('inactive', 'inactive',
             {'pagecache': {'active': False, 'reason-text': 'because'}}, None),
            ('active', 'active', source_info(1), None)):
        found = model.Watch().add(0, info, capabilities)
        tap.check(found.feature == expected, name, found)
        said = view.line(found)
        tap.check(name != 'inactive' or 'because' in said,
                  f'{name}, and why', said)
    for number, info in enumerate(STRANGE):
        watch = watched(info, info, source_info(1), info, info)
        figures = watch.latest
        said = [view.line(figures), record.line('x', 0, figures),
                *view.lines(figures, 79, 23, view.Painter(False, False))]
        tap.check(all(line.isprintable() for line in said),
                  f'strange answer {number}', said)
        parsed = openmetrics.exposition('x', figures)
        top.page.render('x', 'y', [top.page.Run('z', watch.history)])
        check_exposition(tap, f'strange answer {number}', parsed)


def json_lines(tap):
    sets = []
    for info in (*STRANGE, source_info(1), top.destination_info(2)):
        figures = watched(info).latest
        text = record.line('näme\n', 1.5, figures)
        found = json.loads(text)
        sets.append(set(found))
        if found['qemu'] != 'näme\n' or '\n' in text or not text.isascii():
            tap.check(False, 'one line of ASCII', text)
    tap.check(all(s == sets[0] for s in sets),
              'all members are there at all times')
    found = json.loads(record.line('x', 0, watched(source_info(2)).latest))
    tap.check(found['channel_bytes'] == 224 * MIB
              and found['pages']['proven'] == 275 * MIB * 2 // PAGE
              and found['up'] is True, 'figures', found)
    found = json.loads(record.gone('x', 0, 'it went'))
    tap.check(found['up'] is False and found['error'] == 'it went',
              'a QEMU that is gone', found)


NAME, LABEL = r'[a-zA-Z_:][a-zA-Z0-9_:]*', r'[a-zA-Z_][a-zA-Z0-9_]*'
PAIR = rf'({LABEL})="((?:[^"\\\n]|\\["\\n])*)"'
SAMPLE = re.compile(rf'({NAME})(?:\{{({PAIR}(?:,{PAIR})*)\}})? '
                    r'(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)$')


def parsed(text):
    """
    {(name of a sample, labels): value}; ValueError if it is no OpenMetrics,
    or not what an exposition with gauges and counters only has to be.
    """
    if not text.endswith('\n# EOF\n') or text.count('# EOF') != 1:
        raise ValueError('expected one # EOF at the end')
    found, families, kind, family, has_samples = {}, {}, None, None, True
    for line in text.split('\n')[:-2]:
        words = line.split(' ', 3)
        if words[0] == '#':
            if words[1] == 'TYPE':
                family, kind = words[2:]
                if family in families or not has_samples:
                    raise ValueError(f'{line}: a family twice, or without '
                                     'samples before it')
                if kind not in ('gauge', 'counter'):
                    raise ValueError(f'{line}: not for old parsers')
                families[family], has_samples = kind, False
            elif words[1] not in ('UNIT', 'HELP') or words[2] != family or \
                    has_samples:
                raise ValueError(f'{line}: not in its place')
            elif words[1] == 'UNIT' and not family.endswith('_' + words[3]):
                raise ValueError(f'{line}: the name has another unit')
            continue
        match = SAMPLE.match(line)
        if match is None:
            raise ValueError(f'{line}: no sample')
        if match[1] != family + ('_total' if kind == 'counter' else ''):
            raise ValueError(f'{line}: not of {family}, a {kind}')
        labels = tuple((k, re.sub(
            r'\\(.)', lambda m: '\n' if m[1] == 'n' else m[1], v))
            for k, v in re.findall(PAIR, match[2] or ''))
        names = [k for k, _ in labels]
        if len(set(names)) < len(names) or (match[1], labels) in found:
            raise ValueError(f'{line}: twice')
        found[match[1], labels] = float(match[7])
        has_samples = True
    if not has_samples:
        raise ValueError(f'{family}: no samples')
    return found


def check_exposition(tap, name, text):
    try:
        parsed(text)
        tap.check(True, f'{name}: OpenMetrics')
    except ValueError as error:
        tap.check(False, f'{name}: OpenMetrics', f'{error}\n{text}')


def metrics(tap):
    name = 'a"b\\c\nd'
    text = openmetrics.exposition(name, watched(
        *[source_info(t) for t in range(1, 4)], step=1).latest)
    found = {(k[len('qemu_pagecache_'):], dict(labels).get('state')): v
             for (k, labels), v in parsed(text).items()}
    tap.check(all(('qemu', name) in labels for _, labels in parsed(text)),
              'a hostile name comes through', text)
    for key, expected in ((('channel_bytes_total', None), 336 * MIB),
                          (('pages_total', 'proven'),
                           3 * 275 * MIB // PAGE),
                          (('channel_bytes_per_second', None), 112 * MIB),
                          (('up', None), 1), (('active', None), 1),
                          (('elapsed_seconds', None), 3),
                          (('pool_pages', 'in_flight'), 2000)):
        tap.check(found.get(key) == expected, f'{key}',
                  f'{found.get(key)}, expected {expected}')
    check_exposition(tap, 'a destination', openmetrics.exposition(
        'x', watched(top.destination_info(1, 'x"')).latest))
    found = parsed(openmetrics.exposition('x', None))
    tap.check(found == {('qemu_pagecache_up', (('qemu', 'x'),)): 0},
              'a QEMU that is gone', found)
    bad = text.replace('_total{', '{', 1)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'x.prom')
        files.replace(path, text)
        files.replace(path, text)
        with open(path) as file:
            tap.check(file.read() == text and os.listdir(folder)
                      == ['x.prom'], 'a file is replaced, nothing else left')
        mask = os.umask(0)
        os.umask(mask)
        tap.check(stat.S_IMODE(os.stat(path).st_mode) == 0o666 & ~mask,
                  'others can read it')
        with contextlib.suppress(OSError):
            files.replace(folder, text)
        tap.check(os.listdir(folder) == ['x.prom'] and not [
            x for x in os.listdir(os.path.dirname(folder))
            if x.startswith('.' + os.path.basename(folder))],
            'nothing is left of a file that could not be')
    try:
        parsed(bad)
        tap.check(False, 'the parser here is strict')
    except ValueError:
        tap.check(True, 'the parser here is strict')


def lines(tap):
    figures = [watched(*answers).latest for answers in (
        *[[x] for x in STRANGE],
        [source_info(t) for t in (1, 2, 3)],
        [source_info(3, status='completed')],
        [source_info(3, **{'note-text': 'n' * 200, 'hinted-pages': 10 ** 12})],
        [top.destination_info(t, '漢字' * 40, error='e' * 90)
         for t in (1, 2)])]
    for width, height in ((119, 39), (79, 23), (39, 9), (20, 4), (5, 1),
                          (1, 1)):
        wrong = []
        for one in figures:
            for utf8 in (True, False):
                shown = view.lines(one, width, height,
                                   view.Painter(True, utf8), '名' * 9)
                wrong += [x for x in shown if top.screen.columns(x) > width]
                wrong += [shown] * (len(shown) > height)
                wrong += [x for x in shown if not utf8 and not x.isascii()]
        tap.check(not wrong, f'fit into {width} x {height}', wrong[:3])
    shown = view.lines(figures[len(STRANGE)], 39, 9, view.Painter(False),
                       'vm1')
    together = '\n'.join(shown)
    tap.check(all(word in together for word in (
        'vm1', 'left', 'channel', 'storage', 'pool')),
        'what matters is there on a narrow one', together)
    tap.check('\033' not in together, 'no colours where none are wanted')
    for values, width in (((1, 1, 1, 10 ** 9), 20), ((0, 0, 5, 0), 7),
                          ((1, 1, 1, 1), 2), ((3, 0, 0, 7), 10)):
        cells = view.shares(values, width)
        tap.check(sum(cells) == width and (
            width < len(values) or all(bool(c) == bool(v) for c, v
                                       in zip(cells, values))),
                  f'a bar of {width} for {values}', cells)
    tap.check(view.shares((0, 0), 9) == [0, 0]
              and sum(view.shares((5, 9), 0)) == 0, 'bars of nothing')
    total = sum(rate * width for rate, width in (
        (7, 0.35), (3, 0.1), (11, 2.0)))
    bins = chart.binned([(0.35, 7), (0.45, 3), (2.45, 11)], 0.2)
    ends = [0.0] + [t for t, _ in bins]
    found = sum(r * (b - a) for (_, r), a, b in zip(bins, ends, ends[1:]))
    tap.check(near(found, total), 'bins keep the total', bins)


@contextlib.contextmanager
def fake(*answers, **options):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'qmp')
        with FakeQemu(path, answers, **options) as qemu:
            yield path, qemu


def one_line(tap, name, done, status, *words):
    tap.check(done.returncode == status and not done.stdout
              and done.stderr.count('\n') == 1
              and all(w in done.stderr for w in words), name,
              f'{done.returncode}\n{done.stdout}{done.stderr}')


def bad_input(tap):
    for name, args, words in (
            ('nothing', [], ['--qmp', '--domain']),
            ('both', ['--qmp', '/x', '--domain', 'y'], ['--qmp']),
            ('no address', ['--qmp', 'here'], ["'here'", 'HOST:PORT']),
            ('no port', ['--qmp', 'h:99999'], ['99999', '65535']),
            ('an empty address', ['--qmp', ''], ['HOST:PORT']),
            ('an empty domain', ['--domain', ''], ['name of a domain']),
            ('no interval', ['--qmp', '/x', '--interval', 'often'],
             ["'often'", 'seconds']),
            ('0 seconds', ['--qmp', '/x', '--interval', '0'],
             ["'0'", 'seconds']),
            ('nan', ['--qmp', '/x', '--interval', 'nan'], ['seconds']),
            ('two formats', ['--qmp', '/x', '--json', '--openmetrics'],
             ['--json']),
            ('endless OpenMetrics', ['--qmp', '/x', '--openmetrics'],
             ['--once', '--output']),
            ('output of what', ['--qmp', '/x', '--output', '/tmp/x'],
             ['--openmetrics']),
            ('a directory that is not there',
             ['--qmp', '/x', '--openmetrics', '--output', '/nowhere/x'],
             ["'/nowhere/x'", 'directory']),
            ('--collect for nobody', ['--qmp', '/x', '--collect'],
             ['--collect', '--json']),
            ('--connect without --domain',
             ['--qmp', '/x', '--connect', 'y'], ['--domain'])):
        one_line(tap, name, top.run(*args), 2, *words)


def peers(tap):
    one_line(tap, 'no socket', top.run('--qmp', '/nowhere/qmp'), 1,
             '/nowhere/qmp', 'No such file')
    one_line(tap, 'no host', top.run('--qmp', '127.0.0.1:1'), 1,
             '127.0.0.1:1', 'refused')
    for name, options, words in (
            ('not QMP', {'greeting': b'220 hello'}, ['JSON', '220 hello']),
            ('another JSON', {'greeting': {'a': 1}}, ['greeting', '"a"'])):
        with fake({}, **options) as (path, _):
            one_line(tap, name, top.run('--qmp', path, '--once'), 1, *words)
    with fake({}, greeting=None) as (path, _):
        try:
            monitor.Qmp(path, timeout=0.2)
            tap.check(False, 'a socket that has another client')
        except monitor.MonitorError as error:
            tap.check('one client at a time' in str(error)
                      and '\n' not in str(error),
                      'a socket that has another client', error)
    for name, answer, words in (
            ('it closes', OSError(), ['gone']),
            ('half an answer', b'{"return": ', ['expected QMP']),
            ('deep JSON', b'[' * 100000, ['expected QMP']),
            ('no struct', [], ['struct'])):
        with fake(answer) as (path, _):
            one_line(tap, name, top.run('--qmp', path, '--once'), 1, *words)


def one_file(tap):
    made = os.path.join(ROOT, 'build/pagecache-top')
    done = subprocess.run([os.path.join(ROOT, 'scripts/build-top')],
                          stderr=subprocess.PIPE, text=True)
    if tap.check(done.returncode == 0, 'it can be made', done.stderr):
        with open(os.path.join(ROOT, 'VERSION')) as file:
            version = file.read().strip()
        for words, status, text in (
                (['--version'], 0, f'pagecache-top {version}\n'),
                (['--help'], 0, 'one client at a time'),
                (['--qmp', 'x'], 2, 'HOST:PORT'),
                (['--qmp', '/nowhere/x'], 1, 'No such file')):
            done = subprocess.run([made, *words], cwd='/', text=True,
                                  stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT)
            tap.check(done.returncode == status and text in done.stdout,
                      ' '.join(words), done)


def program(tap):
    with fake({}, {'status': 'active'}, capabilities=None) as (path, qemu):
        done = top.run('--qmp', path, '--once')
        tap.check(done.returncode == 0 and 'nothing migrates' in done.stdout
                  and 'does not know skip-pagecache' in done.stdout,
                  'idle, without the feature', done)
        tap.check(set(qemu.asked) == {'qmp_capabilities', 'query-migrate',
                                      'query-migrate-capabilities'},
                  'it reads only', qemu.asked)
    with FakeQemu(None, [source_info(1)]) as qemu:
        done = top.run('--qmp', qemu.address, '--once', '--json')
        tap.check(done.returncode == 0
                  and json.loads(done.stdout)['qemu'] == qemu.address,
                  'over TCP', done)
    plain = {'status': 'active', 'pagecache': {
        'active': False, 'reason': 'xbzrle',
        'reason-text': 'the capability xbzrle is on'}}
    with fake(plain) as (path, _):
        done = top.run('--qmp', path, '--once')
        tap.check('inactive: the capability xbzrle is on' in done.stdout,
                  'inactive, and why', done)
    answers = [source_info(t / 10) for t in range(1, 8)]
    ended = source_info(0.8, status='completed')
    with fake({}, *answers, ended, OSError()) as (path, _):
        with tempfile.TemporaryDirectory() as folder:
            page = os.path.join(folder, 'x.html')
            done = top.run('--qmp', path, '--json', '--interval', '0.1',
                           '--name', 'vm1', '--page', page)
            with open(page) as file:
                text = file.read()
    found = [json.loads(x) for x in done.stdout.splitlines()]
    tap.check(done.returncode == 0
              and [f['status'] for f in found[:-1]]
              == [None] + ['active'] * 7 + ['completed']
              and found[-1]['up'] is False,
              'a migration to its end, as JSON', done)
    tap.check('completed' in text and '<polygon' in text, 'and as a page')
    with fake(*answers, OSError()) as (path, _):
        with tempfile.TemporaryDirectory() as folder:
            prom = os.path.join(folder, 'x.prom')
            done = top.run('--qmp', path, '--openmetrics', '--output', prom,
                           '--interval', '0.05')
            with open(prom) as file:
                text = file.read()
    one_line(tap, 'QEMU goes in the middle', done, 1, 'gone')
    tap.check(list(parsed(text).values()) == [0],
              'and the collector gets to know', text)
    with fake(source_info(1)) as (path, _):
        done = top.run('--qmp', path, '--openmetrics', '--once')
    check_exposition(tap, 'once', done.stdout)


def cache_info(status='completed', **collection):
    return {
        'producers': [{'name': 'io-map', 'state': 'ready'}],
        'disks': [{'device': '0000:00:03.0', 'reader': 'iscsi',
                   'pages': 3000, 'producers': [
                       {'name': 'io-map', 'pages': 2900},
                       {'name': 'virtio-pagecache', 'pages': 1000}]},
                  {'device': 'a"b', 'error': 'no way', 'pages': 500,
                   'producers': []}],
        'collection': {'status': status, 'age': 1500, 'time': 20, 'sample': 4,
                       'pages': 3500, 'readable-pages': 3000,
                       'ram-pages': 4000, 'dropped-hints': 0, **collection}}


def clean_cache(tap):
    with fake({}, cache=[cache_info()]) as (path, qemu):
        done = top.run('--qmp', path, '--once', '--json')
        found = json.loads(done.stdout)['clean_cache']
        tap.check(found and found['ratio'] == 0.75
                  and found['age_seconds'] == 1.5
                  and found['disks'][0]['producers']['io-map'] == 2900,
                  'as JSON', done)
        text = top.run('--qmp', path, '--once', '--openmetrics').stdout
        check_exposition(tap, 'clean cache', text)
        for line in ('pages{qemu="%s",device="a\\"b",reader=""} 500',
                     'producer_pages{qemu="%s",device="0000:00:03.0",'
                     'producer="virtio-pagecache"} 1000',
                     'ratio{qemu="%s"} 0.75', 'ram_pages{qemu="%s"} 4000'):
            line = 'qemu_pagecache_clean_cache_' + line % path
            tap.check(f'\n{line}\n' in text, line, text)
        tap.check('pagecache-collect' not in qemu.asked,
                  'it does not collect by itself', qemu.asked)
        top.run('--qmp', path, '--once')
        tap.check(qemu.asked.count('query-pagecache') == 2,
                  'who does not show it does not ask', qemu.asked)
    active = cache_info('active')
    with fake({}, cache=[active, active, cache_info()]) as (path, qemu):
        done = top.run('--qmp', path, '--once', '--json', '--collect')
        tap.check(json.loads(done.stdout)['clean_cache']['ram_pages'] == 4000
                  and qemu.asked.count('pagecache-collect') == 1
                  and qemu.asked.count('query-pagecache') == 4,
                  '--collect waits until that is over', done)
    with fake({}, cache=[cache_info()], refuses='not now') as (path, _):
        done = top.run('--qmp', path, '--once', '--json', '--collect')
        tap.check(json.loads(done.stdout)['clean_cache']['pages'] == 3500,
                  'it was collected a moment ago', done)
    with fake({}, {}, {}) as (path, qemu):
        done = top.run('--qmp', path, '--once', '--json', '--collect')
        tap.check(done.returncode == 0
                  and json.loads(done.stdout)['clean_cache'] is None
                  and qemu.asked.count('query-pagecache') == 1,
                  'a QEMU without the commands', done)
    with fake(source_info(1), cache=[cache_info()]) as (path, qemu):
        top.run('--qmp', path, '--once', '--json')
        tap.check('query-pagecache' not in qemu.asked,
                  'nobody asks during a migration', qemu.asked)
    for number, strange in enumerate((
            {}, {'collection': 7}, cache_info('active'), cache_info('new'),
            {'collection': {'status': 'completed'}, 'disks': {}},
            {**cache_info(pages='x', age=-1, **{'ram-pages': 0}),
             'disks': [7, {}, {'device': 'x'}, {'device': 'x', 'pages': -1,
                                                'producers': [{}, 1]}]})):
        figures = watched(source_info(1)).latest
        figures.cache = top.clean_cache.parse(strange)
        check_exposition(tap, f'strange cache {number}',
                         openmetrics.exposition('x', figures))
        tap.check('\n' not in record.line('x', 0, figures),
                  f'strange cache {number} as JSON')


VIRSH = '''#!/bin/sh
echo "$@" >>"$VIRSH_LOG"
case "$*" in
*gone*) echo "error: failed to get domain 'gone'" >&2; echo >&2; exit 1 ;;
*capabilities*) echo '{"return": [{"capability": "skip-pagecache",
    "state": true}], "id": "libvirt-1"}' ;;
*odd*) echo '{"error": {"class": "GenericError", "desc": "not now"}}' ;;
*) echo '{"return": {"status": "active"}, "id": "libvirt-2"}' ;;
esac
'''


def virsh(tap):
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, 'log')
        program_ = os.path.join(folder, 'virsh')
        with open(program_, 'w') as file:
            file.write(VIRSH)
        os.chmod(program_, 0o755)
        env = dict(os.environ, PATH=f'{folder}:/usr/bin:/bin', VIRSH_LOG=log)
        done = top.run('--domain', '-x', '--connect', 'qemu:///system',
                       '--once', env=env)
        tap.check(done.returncode == 2, 'a name with a dash needs an =')
        done = top.run('--domain=-x', '--connect', 'qemu:///system',
                       '--once', '--json', env=env)
        with open(log) as file:
            asked = file.read()
        tap.check(done.returncode == 0
                  and json.loads(done.stdout)['feature'] == 'on'
                  and '-c qemu:///system qemu-monitor-command --domain=-x'
                  in asked, 'a domain', f'{done}\n{asked}')
        one_line(tap, 'a domain that is not there',
                 top.run('--domain', 'gone', '--once', env=env), 1,
                 "virsh: failed to get domain 'gone'")
        one_line(tap, 'an error of QEMU',
                 top.run('--domain', 'odd', '--once', env=env), 1, 'not now')
        env['PATH'] = folder + '/nothing'
        one_line(tap, 'no virsh', top.run('--domain', 'x', env=env), 1,
                 'libvirt-clients')


def main():
    tap = Tap()
    for test in (rates, time_left, changes, features, json_lines, metrics,
                 clean_cache, lines, bad_input, peers, program, virsh,
                 one_file):
        with tap.part(test.__name__.replace('_', ' ')):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
