# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What belongs together: names, order and choice of points and records.

Pictures and tables show the same points under the same names, so both take
them from here.  A figure of a point is [median, minimum, maximum], or None
where there is none.
"""

from .peers import PEERS

#: what readers see, in the order in which they see it; a name that is not
#: here stands for itself, after these
WORKLOADS = {
    'web': 'web',
    'db-select': 'database, select only',
    'db-tpcb': 'database, TPC-B',
    'scan': 'scan',
    'write': 'write',
    'idle': 'idle',
    'churn': 'idle after churn',
    'recycle': 'reading from the disk',
}
OURS = 'skip'
#: the peers that stand where not all were run
FEW = ('plain', 'postcopy', OURS)
#: what makes a setting
FIELDS = ('lan_gbit', 'san_gbit', 'san_load', 'cache_share', 'ram_mib',
          'guests', 'prealloc', 'driver', 'write_rate')
WIRES = {'lan_gbit', 'san_gbit'}
#: a wire carries frames and acknowledgements, too: from here on it is full
FULL = 0.9


def _place(names, name):
    return list(names).index(name) if name in names else len(names)


def peer_title(name):
    return PEERS[name].title if name in PEERS else name


def is_ours(name):
    return name in PEERS and PEERS[name].ours


def workload_title(name):
    return WORKLOADS.get(name, name)


def good(point):
    return point.get('status', 'ok') == 'ok'


def mid(figure):
    """The median of a figure, or None."""
    return figure[0] if figure else None


def place(peer):
    """To sort by"""
    return _place(PEERS, peer), peer


def ordered(points):
    """By setting, that with most points first; then workload, then peer"""
    names = [p['setting'] for p in points]
    return sorted(points, key=lambda p: (
        -names.count(p['setting']), names.index(p['setting']),
        _place(WORKLOADS, p['workload']), p['workload'], place(p['peer'])))


def groups(points):
    """[(setting, workload, points)], in that order"""
    found = {}
    for point in ordered(points):
        found.setdefault((point['setting'], point['workload']),
                         []).append(point)
    return [(*key, members) for key, members in found.items()]


def one(points, **wanted):
    """The good point with these members, or None."""
    for point in points:
        if good(point) and all(point[k] == v for k, v in wanted.items()):
            return point
    return None


def base(points):
    """A point of the setting that most was measured at, or None."""
    names = [p['setting'] for p in points]
    if not names:
        return None
    most = max(dict.fromkeys(names), key=names.count)
    return next(p for p in points if p['setting'] == most)


def differs(point, other):
    """What of its setting is not as at the other's"""
    return {f for f in FIELDS if point[f] != other[f]}


def ratio(point):
    """LAN:SAN, such as 1:2.5"""
    lan, san = point['lan_gbit'], point['san_gbit']
    if san >= lan:
        return f'1:{round(san / lan, 2):g}'
    return f'{round(lan / san, 2):g}:1'


def setting_title(point):
    """One line for people"""
    text = [f'LAN {point["lan_gbit"]:g} Gbit/s',
            f'SAN {point["san_gbit"]:g} Gbit/s',
            f'C/R {point["cache_share"]:g}']
    if point['san_load']:
        text.append(f'{point["san_load"]:.0%} of the SAN asked for by others')
    guests = point['guests']
    text.append(f'{guests} guests of {point["ram_mib"]} MiB' if guests > 1
                else f'{point["ram_mib"]} MiB')
    if not point['prealloc']:
        text.append('RAM not touched in advance')
    if not point['driver']:
        text.append('no driver in the guest')
    if point['workload'] == 'write':
        text.append(f'{point["write_rate"]:g} of the channel written to')
    return ', '.join(text)


def runs(records, point, whole=False):
    """
    The records of a point: those that are good, or the whole lot.  Runs in
    which RAM was compared have no times, and count for the lot only.
    """
    return [r for r in records
            if r['setting']['name'] == point['setting']
            and r['workload'] == point['workload']
            and r['peer'] == point['peer']
            and (whole or r['status'] == 'ok' and 'total_ms' in r)]


def typical(records):
    """The run with the median total time (the slower of the middle two)"""
    return sorted(records, key=lambda r: r['total_ms'])[len(records) // 2]


def cached(records, point):
    """C/R as it was: clean cache of what plain precopy sent; or None."""
    plain = runs(records, {**point, 'peer': 'plain'})
    own = runs(records, point)
    if not plain or not own:
        return None
    return (median(r['cache_bytes'] for r in own)
            / median(r['lan_bytes'] for r in plain))


def median(values):
    """The slower, that is the larger, of the middle two"""
    values = sorted(values)
    return values[len(values) // 2]


def wire_use(records, wire):
    """Share of a wire's rate that was used until the migration was over"""
    return median(r[f'{wire}_bytes'] * 8e-6
                  / (r['setting'][wire] * r['total_ms']) for r in records)


def busiest(records):
    """(thread, share of a CPU) of the busiest thread, or None."""
    threads = {}
    for record in records:
        for name, share in record['cpu']['threads'].items():
            threads.setdefault(name, []).append(share)
    if not threads:
        return None
    return max(((n, median(s)) for n, s in threads.items()),
               key=lambda pair: pair[1])


def full(records):
    """The wires, threads and processors that were full in most runs"""
    others = {'lan': 0, 'san': records[0]['setting']['san_load']}
    found = [w.upper() for w, load in others.items()
             if wire_use(records, w) + load >= FULL]
    threads = [name for r in records for name in r['cpu']['full']]
    return found + [name for name in dict.fromkeys(threads)
                    if 2 * threads.count(name) > len(records)]


def cpu_full(records):
    """Whether a processor was full in most runs"""
    return 2 * sum(bool(r['cpu_bound']) for r in records) > len(records)
