# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Figures as OpenMetrics text.

It stays within what older Prometheus parsers take as well (the textfile
collector has one): gauges and counters only, no timestamps.
"""

PREFIX = 'qemu_pagecache_'
#: counts of pages; what is in the pool goes up and down
COUNTED = ('hinted', 'duplicate', 'offered', 'reported', 'proven',
           'mismatched', 'released', 'unavailable', 'superseded')
POOL = (('pooled', 'waiting'), ('in_flight', 'in_flight'))


def escaped(value):
    return (str(value).replace('\\', '\\\\').replace('"', '\\"')
            .replace('\n', '\\n'))


class _Exposition:
    def __init__(self, name):
        self._name = name
        self._lines = []

    def family(self, name, kind, unit, meaning, samples):
        """samples: [(labels, value)]; those without a value are left out."""
        samples = [(x, value) for x, value in samples if value is not None]
        if not samples:
            return
        name = PREFIX + name
        self._lines.append(f'# TYPE {name} {kind}')
        if unit:
            self._lines.append(f'# UNIT {name} {unit}')
        self._lines.append(f'# HELP {name} {meaning}')
        suffix = '_total' if kind == 'counter' else ''
        for labels, value in samples:
            words = ','.join(f'{k}="{escaped(v)}"' for k, v in
                             {'qemu': self._name, **labels}.items())
            value = value if isinstance(value, float) else int(value)
            self._lines.append(f'{name}{suffix}{{{words}}} {value!r}')

    def text(self):
        return '\n'.join([*self._lines, '# EOF', ''])


def _migration(out, figures):
    out.family('migration', 'gauge', '',
               'The last or current migration: 1, with its side and status.',
               [({'side': figures.side or 'unknown',
                  'status': figures.status or 'none'}, 1)])
    if figures.feature is not None:
        out.family('active', 'gauge', '', 'Whether page cache is left out of '
                   'this migration.', [({}, figures.feature == 'active')])
        out.family('known', 'gauge', '', 'Whether this QEMU has the '
                   'capability skip-pagecache.',
                   [({}, figures.feature != 'absent')])
    for name, kind, unit, meaning, value in (
            ('elapsed_seconds', 'gauge', 'seconds',
             'Time since the migration began.',
             figures.elapsed if figures.status else None),
            ('left_seconds', 'gauge', 'seconds',
             'Time until the migration is over, an estimate.', figures.left),
            ('downtime_seconds', 'gauge', 'seconds',
             'How long the guest was stopped.', figures.downtime),
            ('blackout_seconds', 'gauge', 'seconds',
             'What skip-pagecache took of the downtime.', figures.blackout),
            ('channel_bytes', 'counter', 'bytes',
             'Sent on the migration channel.', figures.channel_bytes),
            ('storage_bytes', 'counter', 'bytes',
             'Read from storage instead: proven (source), put into RAM '
             '(destination).', figures.storage_bytes),
            ('channel_bytes_per_second', 'gauge', 'bytes_per_second',
             'Rate of the migration channel.', figures.channel_rate),
            ('storage_bytes_per_second', 'gauge', 'bytes_per_second',
             'Rate of the refill from storage.', figures.storage_rate),
            ('ram_bytes', 'gauge', 'bytes', 'RAM of the guest.',
             figures.ram_bytes),
            ('remaining_bytes', 'gauge', 'bytes',
             'RAM that is not on the other side yet.',
             figures.remaining_bytes),
            ('refilled_ratio', 'gauge', 'ratio',
             'Share of storage in what both wires have brought.',
             figures.refilled_ratio)):
        out.family(name, kind, unit, meaning, [({}, value)])


def _pages(out, figures):
    out.family('pages', 'counter', '', 'Pages by what became of them.',
               [({'state': name}, figures.pages.get(name))
                for name in COUNTED])
    out.family('pool_pages', 'gauge', 'pages', 'Pages that are still in the '
               'pool, or offered and not reported.',
               [({'state': name}, figures.pages.get(key))
                for key, name in POOL])


def _disks(out, figures):
    # the same device twice would make the same series twice
    disks = list({d.device: d for d in figures.disks}.values())
    out.family('disk', 'gauge', '', 'A disk that the destination reads: 1, '
               'with its status.',
               [({'device': d.device, 'status': d.status or 'unknown',
                  'reader': d.reader or ''}, 1) for d in disks])
    for name, attribute, unit, meaning in (
            ('disk_read_bytes', 'bytes_read', 'bytes', 'Read from a disk.'),
            ('disk_reads', 'reads', '', 'Reads from a disk.'),
            ('disk_errors', 'errors', '', 'Reads that failed.'),
            ('disk_timeouts', 'timeouts', '', 'Reads not done in time.')):
        out.family(name, 'counter', unit, meaning,
                   [({'device': d.device}, getattr(d, attribute))
                    for d in disks])


def _clean_cache(out, found):
    if found is None:
        return
    disks = list({d.device: d for d in found.disks}.values())
    out.family('clean_cache_collection', 'gauge', '', 'The last count of the '
               "guest's clean cache: 1, with its status.",
               [({'status': found.status or 'none'}, 1)])
    out.family('clean_cache_pages', 'gauge', 'pages', 'Clean cache by the '
               'disk that it stands on, and how that could be read.',
               [({'device': d.device, 'reader': d.reader or ''}, d.pages)
                for d in disks])
    out.family('clean_cache_producer_pages', 'gauge', 'pages', 'Clean cache '
               'by who hints at it; what two do is counted twice.',
               [({'device': d.device, 'producer': name}, pages)
                for d in disks for name, pages in d.producers.items()])
    for name, unit, meaning, value in (
            ('ram_pages', 'pages', 'Pages that precopy would send.',
             found.ram_pages),
            ('ratio', 'ratio', 'Share of them that could be read from '
             'storage instead.', found.ratio),
            ('sample', '', 'One of so many parts of RAM was looked at.',
             found.sample),
            ('age_seconds', 'seconds', 'Time since it was counted.',
             found.age_seconds)):
        out.family('clean_cache_' + name, 'gauge', unit, meaning,
                   [({}, value)])


def exposition(name, figures):
    """figures: None for a QEMU that does not answer."""
    out = _Exposition(name)
    out.family('up', 'gauge', '', 'Whether QEMU answered.',
               [({}, figures is not None)])
    if figures is not None:
        _migration(out, figures)
        _pages(out, figures)
        _disks(out, figures)
        _clean_cache(out, figures.cache)
    return out.text()
