# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""The tables of a workload at a setting: a row for each peer."""

from . import pick
from .cells import MIB, NONE, cell, literal, percent, simple

#: (head, key of a point, factor)
MIGRATION = (('total, s', 'total_ms', 1e-3),
             ('runs there, s', 'switchover_ms', 1e-3),
             ('downtime, ms', 'downtime_ms', 1),
             ('stands still, ms', 'blackout_ms', 1),
             ('longest gap, ms', 'client_gap_ms', 1),
             ('saved, %', 'saved', 100),
             ('ceiling, %', 'ceiling', 100))
CLIENTS = (('answers/s before', 'client_before', 1),
           ('during', 'client_during', 1),
           ('after', 'client_after', 1),
           ('p99 before, ms', 'client_p99_before', 1),
           ('after, ms', 'client_p99_after', 1),
           ('recovered, s', 'recovery_ms', 1e-3),
           ('disk after, MiB', 'disk_bytes_after', 1 / MIB),
           ('errors', 'client_errors', 1))
COST = (('LAN, MiB', 'lan_bytes', 1 / MIB),
        ('SAN, MiB', 'san_bytes', 1 / MIB),
        ('CPU source, s', 'src_cpu_s', 1),
        ('destination, s', 'dst_cpu_s', 1),
        ('tgtd, s', 'tgtd_cpu_s', 1))


def named(point, records):
    """The peer, and whether a CPU was full in most of its runs"""
    return pick.peer_title(point['peer']) + (
        ' (CPU)' if records and pick.cpu_full(records) else '')


def figures(points, records, columns):
    """Peers and figures"""
    rows = []
    for point in points:
        own = pick.runs(records, point)
        rows.append([named(point, own), len(own)] + [
            cell(point.get(key), factor) for _, key, factor in columns])
    return simple(['peer', 'runs'] + [c[0] for c in columns], rows)


def cost(points, records):
    """Bytes and CPU seconds, and what was full"""
    rows = []
    for point in filter(pick.good, points):
        own = pick.runs(records, point)
        if not own:
            continue
        thread = pick.busiest(own)
        busy = pick.median(r['cpu']['busy'] for r in own)
        rows.append([named(point, own)] + [
            cell(point.get(key), factor) for _, key, factor in COST] + [
            percent(pick.wire_use(own, 'lan')),
            percent(pick.wire_use(own, 'san')),
            percent(busy),
            f'{literal(thread[0])}, {percent(thread[1])}' if thread else '-'])
    return simple(['peer'] + [c[0] for c in COST] + [
        'LAN used, %', 'SAN used, %', 'CPUs busy, %',
        'busiest thread, % of a CPU'], rows)


def failures(points, records):
    """One line for each point with runs that failed"""
    found = []
    for point in points:
        whole = pick.runs(records, point, whole=True)
        bad = [r for r in whole if r['status'] != 'ok']
        if bad:
            reasons = dict.fromkeys(literal(r.get('reason')) for r in bad)
            found.append(f'* {pick.peer_title(point["peer"])}: '
                         f'{len(bad)} of {len(whole)} runs failed: '
                         + '; '.join(reasons))
    return found


def group(points, records, machines):
    """All tables of one workload at one setting"""
    lines = figures(points, records, MIGRATION)
    if any(p.get('client_before') for p in points):
        lines += ['', *figures(points, records, CLIENTS)]
    lines += ['', *cost(points, records)]
    bad = failures(points, records)
    if bad:
        lines += ['', *bad]
    whole = [r for p in points for r in pick.runs(records, p, whole=True)]
    return lines + ['', source(whole, machines)]


def machine(record):
    m = record['machine']
    return (f'{m["cpus"]} CPUs, {m["model"]}, {m["memory_mib"]} MiB, Linux '
            f'{m["kernel"]}')


def machines(records):
    """{what a machine is: its letter}, by their first run"""
    found = {}
    for record in sorted(records, key=lambda r: r['time']):
        found.setdefault(machine(record), chr(ord('A') + len(found)))
    return found


def source(records, known):
    """Where these runs come from: commits, machines, dates"""
    if not records:
        return NONE
    by_time = sorted(records, key=lambda r: r['time'])
    commits = dict.fromkeys(f'``{r["commit"]}``' for r in by_time)
    letters = sorted({known[machine(r)] for r in records})
    first, last = by_time[0]['time'][:10], by_time[-1]['time'][:10]
    return ((f'Commit {", ".join(commits)}; ' if len(commits) == 1
             else f'Commits {", ".join(commits)}; ')
            + f'machine {", ".join(letters)}; '
            + (first if first == last else f'{first} to {last}') + '.')
