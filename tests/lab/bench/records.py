# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Runs on disk, one JSON file each, and the points that they make together.

docs/benchmarks/index.rst documents both formats; raise VERSION with them.
"""

import json
import os
import statistics
import subprocess

from lab import paths
from lab.paths import LabError
from .peers import PEERS
from .plan import VERIFY

VERSION = 1
#: of a record, summed up in a point as [median, min, max]
FIGURES = ('total_ms', 'switchover_ms', 'downtime_ms', 'client_gap_ms',
           'lan_bytes', 'san_bytes', 'src_cpu_s', 'dst_cpu_s', 'tgtd_cpu_s',
           'client_before', 'client_during', 'client_after',
           'client_p99_before', 'client_p99_after', 'recovery_ms',
           'disk_bytes_after', 'neighbour_p99_ms', 'blackout_ms',
           'client_errors')
#: a bare reader and the channel are asked where nothing else is in the way
PLAIN = 'plain'


def commit():
    """The commit that is checked out, '+' behind it if files have changed."""
    def git(*words):
        done = subprocess.run(['git', '-C', paths.ROOT, *words], text=True,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL)
        return done.stdout.strip() if done.returncode == 0 else None

    name = git('rev-parse', '--short=12', 'HEAD')
    if not name:
        return 'unknown'
    changed = git('status', '--porcelain', '--untracked-files=no', '--',
                  ':!docs', ':!README.rst')
    return name + ('+' if changed else '')


class Store:
    """A directory of records; each is there whole or not at all."""

    def __init__(self, directory):
        self.directory = directory

    def path(self, run):
        return os.path.join(self.directory, run.setting.name,
                            f'{run.workload}-{run.peer}-{run.round}.json')

    def load(self, run):
        """The record of a run, or None."""
        try:
            return _read(self.path(run))
        except FileNotFoundError:
            return None

    def save(self, run, record):
        path = self.path(run)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.new', 'w') as file:
            json.dump(record, file, separators=(',', ':'), sort_keys=True)
            file.write('\n')
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + '.new', path)

    def all(self):
        return load(self.directory)


def _read(path):
    with open(path) as file:
        try:
            record = json.load(file)
            version = record['version']
        except (ValueError, KeyError, TypeError):
            raise LabError(f'{path}: no record of a run')
    if version != VERSION:
        raise LabError(f'{path}: record of version {version}: expected '
                       f'{VERSION}')
    return record


def load(directory):
    """All records below a directory, in a fixed order."""
    found = []
    for base, directories, files in os.walk(directory):
        directories.sort()
        found += [_read(os.path.join(base, name)) for name in sorted(files)
                  if name.endswith('.json')]
    return found


def _spread(values):
    values = [x for x in values if x is not None]
    if not values:
        return None
    return [round(x, 4) if x % 1 else int(x)
            for x in (statistics.median(values), min(values), max(values))]


def _key(record):
    return (json.dumps(record['setting'], sort_keys=True),
            record['workload'])


def ceiling(plain, own):
    """
    What share of the time can be saved at most: min(C/R, Bs/(Bn+Bs)).

    plain, own: records that are good.  None if something is missing.
    """
    sent = [r['lan_bytes'] for r in plain]
    rates = [r['lan_bytes'] * 1000 / r['total_ms'] for r in plain]
    bare = [r['bare_bps'] for r in plain if r['bare_bps']]
    if not sent or not bare:
        return None
    channel, storage = statistics.median(rates), statistics.median(bare)
    cached = statistics.median(r['cache_bytes'] for r in own)
    return min(cached / statistics.median(sent),
               storage / (channel + storage))


def summarise(records):
    """The points of result.json."""
    groups = {}
    for record in records:
        groups.setdefault(_key(record), {}).setdefault(
            record['peer'], []).append(record)
    return [_point(peers, peer) for peers in groups.values()
            for peer in peers]


def _timed(records):
    return [r for r in records if r['status'] == 'ok'
            and r['round'] != VERIFY]


def _uncompressed(peer):
    """Whether it is ours and sends pages as they are, so that R is its R."""
    known = PEERS.get(peer)
    return known and known.ours and known.settings.compression == 'none'


def _point(peers, peer):
    records = peers[peer]
    good, plain = _timed(records), _timed(peers.get(PLAIN, []))
    first = records[0]
    setting = first['setting']
    point = {
        'workload': first['workload'], 'peer': peer,
        'setting': setting['name'], 'lan_gbit': setting['lan'],
        'san_gbit': setting['san'], 'san_load': setting['san_load'],
        'cache_share': setting['share'], 'ram_mib': setting['ram'],
        'guests': setting['guests'], 'prealloc': setting['prealloc'],
        'driver': setting['driver'], 'write_rate': setting['write'],
        'runs': len(good), 'status': 'ok' if good else 'failed',
        'reason': next((r['reason'] for r in records
                        if r['status'] != 'ok'), None),
        'commits': sorted({r['commit'] for r in records}),
    }
    for name in FIGURES:
        point[name] = _spread(r[name] for r in good)
    point['wrong_pages'] = _spread(r['wrong_pages'] for r in records
                                   if r['status'] == 'ok')
    point['compared'] = sum(r['status'] == 'ok' and r['round'] == VERIFY
                            for r in records)
    point['cpu_bound'] = any(r['cpu']['full'] for r in good)
    limit = ceiling(plain, good) if good and _uncompressed(peer) else None
    point['ceiling'] = None if limit is None else [round(limit, 4)] * 3
    point['saved'] = None
    if plain and good:
        base = statistics.median(r['total_ms'] for r in plain)
        point['saved'] = _spread(1 - r['total_ms'] / base for r in good)
    return point


def write_result(path, records, machine):
    """build/bench/result.json"""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path + '.new', 'w') as file:
        json.dump({'version': VERSION, 'commit': commit(), 'machine': machine,
                   'points': summarise(records)}, file, indent=1)
        file.write('\n')
    os.rename(path + '.new', path)
