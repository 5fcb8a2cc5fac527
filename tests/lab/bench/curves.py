# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""What the pictures show, as lists of numbers."""

from . import pick

#: seconds that are shown before and after a migration
BEFORE, AFTER = 20, 30


def typical(records, point, series):
    """The median run of a point, if it is good and has such a series"""
    runs = pick.runs(records, point) if pick.good(point) else []
    runs = [r for r in runs
            if any(x is not None for x in r['series'].get(series, ()))]
    return pick.typical(runs) if runs else None


def binned(record, name, milliseconds, merge=sum):
    """
    [(start, end, sum or None)], seconds; what is left over at the end is not
    a whole bin and is left out.
    """
    series = record['series']
    slot, first = series['slot_ms'], series['first_ms']
    width = max(1, round(milliseconds / slot))
    values, found = series[name], []
    for at in range(0, len(values) - width + 1, width):
        part = [v for v in values[at:at + width] if v is not None]
        start = (first + at * slot) / 1e3
        found.append((start, start + width * slot / 1e3,
                      merge(part) if part else None))
    return found


def answers(record, milliseconds):
    """Answers a second"""
    return [(a, b, None if v is None else v / (b - a))
            for a, b, v in binned(record, 'answers', milliseconds)]


def latencies(record, name, milliseconds, merge):
    """ms; nan where there is none, so that lines have a gap there"""
    return [(a, b, float('nan') if v is None else v / 1e3)
            for a, b, v in binned(record, name, milliseconds, merge)]


def rates(record, wire, milliseconds):
    """MB/s on a wire"""
    return [(a, b, None if v is None else v / (b - a) / 1e6)
            for a, b, v in binned(record, wire, milliseconds)]


def span(runs):
    """From when to when: the same for all runs"""
    return -BEFORE, max(max(r['total_ms'], r['switchover_ms'])
                        for r in runs) / 1e3 + AFTER


def share_points(points, base):
    """Those that are at the base but for C/R, web"""
    return [p for p in points if pick.good(p) and p['workload'] == 'web'
            and pick.differs(p, base) <= {'cache_share'}]


def by_share(points, records, peer):
    """[(C/R, point)]; ours has the C/R that was found, and so at its setting
    have the others"""
    found = []
    for point in points:
        if point['peer'] == peer:
            x = pick.cached(records, {**point, 'peer': pick.OURS})
            found.append((point['cache_share'] if x is None else x, point))
    return sorted(found, key=lambda pair: pair[0])


def ceiling_line(points, records):
    """[(C/R, ceiling, the least total time in s)]"""
    found = []
    for x, ours in by_share(points, records, pick.OURS):
        plain = pick.one(points, peer='plain', setting=ours['setting'])
        if plain and ours.get('ceiling'):
            most = pick.mid(ours['ceiling'])
            found.append((x, most,
                          pick.mid(plain['total_ms']) / 1e3 * (1 - most)))
    return found
