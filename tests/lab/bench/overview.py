# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""The tables that go over all workloads and settings."""

from . import pick, tables
from .cells import MIB, NONE, cell, literal, number, percent, simple

#: the goal: this share of what can be saved at most
OF_CEILING = 0.95
#: (what, key of a point, factor, whether less is better, smallest difference
#: that is worth a word)
CONTESTS = (('total time, s', 'total_ms', 1e-3, True, 100),
            ('time until it runs there, s', 'switchover_ms', 1e-3, True, 100),
            ('downtime, ms', 'downtime_ms', 1, True, 20),
            ('longest gap, ms', 'client_gap_ms', 1, True, 20),
            ('answers/s during', 'client_during', 1, False, 1),
            ('answers/s after', 'client_after', 1, False, 1),
            ('p99 after, ms', 'client_p99_after', 1, True, 1),
            ('time to recover, s', 'recovery_ms', 1e-3, True, 100),
            ('disk reads after, MiB', 'disk_bytes_after', 1 / MIB, True, MIB),
            ('on the LAN, MiB', 'lan_bytes', 1 / MIB, True, MIB),
            ('CPU of the source, s', 'src_cpu_s', 1, True, 0.1),
            ('CPU of the destination, s', 'dst_cpu_s', 1, True, 0.1))


def data(points, records):
    """What there is"""
    if not records:
        return [NONE]
    known = tables.machines(records)
    bad = sum(r['status'] != 'ok' for r in records)
    lines = [f'{len(records)} runs of {len(points)} points, of which {bad} '
             f'failed.  {tables.source(records, known)}', '']
    return lines + [f'* Machine {letter}: {text}'
                    for text, letter in known.items()]


def settings(points, records):
    """Their names, and what they came to"""
    rows = []
    for name in dict.fromkeys(p['setting'] for p in points):
        of = [p for p in points if p['setting'] == name]
        plain = pick.one(of, peer='plain', workload='web') \
            or pick.one(of, peer='plain')
        own = pick.runs(records, plain) if plain else []
        bare = [r['bare_bps'] for r in own if r['bare_bps']]
        share = pick.cached(records, {**plain, 'peer': pick.OURS}) \
            if plain else None
        rows.append([
            name, pick.setting_title(of[0]),
            '-' if share is None else number(share),
            number(pick.median(r['lan_bytes'] / r['total_ms'] / 1e3
                               for r in own)) if own else '-',
            number(pick.median(bare) / 1e6) if bare else '-'])
    return simple(['name', 'what it is', 'C/R found', 'Bn, MB/s',
                   'Bs, MB/s'], rows)


def yes(reached):
    return 'reached' if reached else 'missed'


def answered(ours, plain):
    """
    Whether clients get as many answers as after a plain migration; up to the
    rate at which they ask, for what is above it had been asked before.
    """
    after = [p.get('client_after') for p in (ours, plain)]
    asked = [pick.mid(p.get('client_before')) for p in (ours, plain)]
    if not all(after) or not all(asked):
        return '-'
    one, other = ([min(x, *asked) for x in each] for each in after)
    if one[0] < other[0] <= one[2] or other[1] <= one[0] < other[0]:
        return 'missed, within the spread'
    return yes(one[0] >= other[0])


def ceiling(points, records):
    """How far ours is from what can be saved at most"""
    base, rows = pick.base(points), []
    for setting, workload, of in pick.groups(points):
        here = of[0]
        if (workload not in ('web', 'db-select', 'db-tpcb')
                or pick.ratio(here) not in ('1:1', '1:2.5')
                or pick.differs(here, base) - pick.WIRES):
            continue
        ours, plain = (pick.one(of, peer=p) for p in (pick.OURS, 'plain'))
        if not ours or not plain or not ours.get('ceiling'):
            continue
        saved, most = pick.mid(ours['saved']), pick.mid(ours['ceiling'])
        after, against = (pick.mid(p.get('client_after'))
                          for p in (ours, plain))
        share = pick.cached(records, ours)
        rows.append([
            pick.workload_title(workload), setting, pick.ratio(here),
            '-' if share is None else number(share),
            cell(ours['saved'], 100), cell(ours['ceiling'], 100),
            percent(saved, most), yes(saved >= OF_CEILING * most),
            cell(ours.get('client_after')), cell(plain.get('client_after')),
            percent(after, against), answered(ours, plain)])
    return simple(['workload', 'setting', 'LAN:SAN', 'C/R', 'saved, %',
                   'ceiling, %', 'of that, %', 'goal',
                   'answers/s after', "precopy's", 'of that, %',
                   'goal'], rows)


def overview(points, records):
    """The few peers that stand everywhere, at each setting"""
    rows = []
    for setting, workload, of in pick.groups(points):
        for point in of:
            own = pick.runs(records, point)
            if point['peer'] not in pick.FEW:
                continue
            if not pick.good(point):
                rows.append([setting, pick.workload_title(workload),
                             pick.peer_title(point['peer']), 0, 'failed']
                            + ['-'] * 6)
                continue
            before = pick.mid(point.get('client_before'))
            most = pick.mid(point.get('ceiling'))
            ours = point['peer'] == pick.OURS
            rows.append([
                setting, pick.workload_title(workload),
                tables.named(point, own), len(own),
                cell(point['total_ms'], 1e-3),
                cell(point.get('saved'), 100) if point['peer'] != 'plain'
                else '-',
                percent(pick.mid(point.get('saved')), most) if ours else '-',
                cell(point.get('client_gap_ms')),
                percent(pick.mid(point.get('client_during')), before),
                percent(pick.mid(point.get('client_after')), before),
                ', '.join(n if n in ('LAN', 'SAN') else literal(n)
                          for n in pick.full(own)) or '-'])
    return simple(['setting', 'workload', 'peer', 'runs', 'total, s',
                   'saved, %', 'of the ceiling, %', 'longest gap, ms',
                   'answers during, %', 'after, %', 'full'], rows)


def summary(points, _records):
    """What a newcomer wants to know, at the base"""
    base, rows = pick.base(points), []
    for _, workload, of in pick.groups(points):
        if workload not in ('web', 'db-select') \
                or of[0]['setting'] != base['setting']:
            continue
        for point in of:
            if point['peer'] not in pick.FEW or not pick.good(point):
                continue
            before = pick.mid(point.get('client_before'))
            rows.append([
                pick.workload_title(workload),
                pick.peer_title(point['peer']),
                number(pick.mid(point['total_ms']) / 1e3),
                number(pick.mid(point['switchover_ms']) / 1e3),
                cell([pick.mid(point.get('client_gap_ms'))] * 3)
                if point.get('client_gap_ms') else '-',
                percent(pick.mid(point.get('client_during')), before),
                percent(pick.mid(point.get('client_after')), before)])
    return simple(['workload', 'peer', 'total, s', 'runs there, s',
                   'longest gap, ms', 'answers during, %', 'after, %'], rows)


def winners(points, _records):
    """Where the best of the others is better than ours beyond the spread"""
    rows, seen = [], False
    for setting, workload, of in pick.groups(points):
        ours = pick.one(of, peer=pick.OURS)
        others = [p for p in of if pick.good(p)
                  and not pick.is_ours(p['peer'])]
        for what, key, factor, less, least in CONTESTS:
            if not ours or not ours.get(key):
                continue
            able = [p for p in others if p.get(key)]
            seen = seen or bool(able)
            if not able:
                continue
            # with the sign changed where more is better, less is
            sign = 1 if less else -1
            best = min(able, key=lambda p: sign * p[key][0])
            worst_of_best = max(sign * v for v in best[key])
            if worst_of_best + least <= min(sign * v for v in ours[key]):
                rows.append([
                    setting, pick.workload_title(workload), what,
                    pick.peer_title(best['peer']), cell(best[key], factor),
                    cell(ours[key], factor),
                    f'{best["runs"]}, {ours["runs"]}'])
    if seen and not rows:
        return ['Nowhere.']
    return simple(['setting', 'workload', 'figure', 'best of the others',
                   'has', 'skip-pagecache has', 'runs'], rows)


def neighbour(points, _records):
    """What another host on the SAN sees"""
    rows = [[setting, pick.workload_title(workload),
             pick.peer_title(p['peer']), cell(p['neighbour_p99_ms'])]
            for setting, workload, of in pick.groups(points) for p in of
            if pick.good(p) and p.get('neighbour_p99_ms')]
    return simple(['setting', 'workload', 'peer', 'p99 of its reads, ms'],
                  rows)


def wrong(points, records):
    """Wrong pages, by peer, over all settings"""
    rows = []
    for peer in sorted({p['peer'] for p in points}, key=pick.place):
        good = [r for r in records
                if r['peer'] == peer and r['status'] == 'ok']
        timed = sum('total_ms' in r for r in good)
        rows.append([pick.peer_title(peer), timed, len(good) - timed,
                     sum(r['wrong_pages'] or 0 for r in good)])
    return simple(['peer', 'runs with clients', 'runs with RAM compared',
                   'wrong pages'], rows)
