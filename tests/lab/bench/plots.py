# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The pictures of the report, as SVG, with matplotlib.

What is drawn can be asked for without matplotlib (plan), so that the report's
text can be made, and checked, where it is not installed.
"""

import dataclasses
import os
import re
import typing

from . import curves, pick, style
from .cells import MIB
from .records import summarise
from .style import DASHED, DISK, INK, LAN, MUTED, SAN


@dataclasses.dataclass
class Plot:
    """One file; draw() returns the figure."""
    name: str
    title: str
    setting: str
    workload: str
    draw: typing.Callable


def _over_time(points, records, title, unit, draw):
    """A row for each peer, over the same time; draw(axis, record, colour)"""
    peers = [p for p in points if curves.typical(records, p, 'answers')]
    runs = [curves.typical(records, p, 'answers') for p in peers]
    figure, axes = style.figure(
        f'{title}: {pick.workload_title(points[0]["workload"])}',
        pick.setting_title(points[0]) + '; the run with the median total '
        'time', len(peers), 1, 0.9 + 1.25 * len(peers), sharex=True,
        sharey=True)
    for axis, point, run in zip(axes[:, 0], peers, runs):
        draw(axis, run, style.colour(point['peer']))
        arrival, end = run['switchover_ms'] / 1e3, run['total_ms'] / 1e3
        axis.axvspan(0, end, color=MUTED, alpha=0.10, linewidth=0)
        axis.axvline(arrival, **DASHED)
        text = (f'{pick.peer_title(point["peer"])}: runs there after '
                f'{arrival:.1f} s, over after {end:.1f} s')
        if run['client_gap_ms'] is not None:
            text += f', longest gap {run["client_gap_ms"] / 1e3:.2f} s'
        axis.set_title(text, color=INK)
    axes[0, 0].set_xlim(curves.span(runs))
    figure.supylabel(unit, color=MUTED, fontsize=9.5)
    axes[-1, 0].set_xlabel('seconds since the migration was asked for; grey: '
                           'until it was over; dashed: the guest runs at the '
                           'destination')
    return figure, axes


def throughput(points, records):
    """Answers over time"""
    figure, axes = _over_time(
        points, records, 'What clients get while the guest moves',
        'answers/s', lambda axis, run, colour: style.steps(
            axis, curves.answers(run, 500), colour))
    axes[0, 0].set_ylim(bottom=0)
    return figure


def delays(points, records):
    """Latencies over time, on a logarithmic scale"""
    def draw(axis, run, colour):
        for name, line, merge in (('p99_us', '-', max),
                                  ('p50_us', ':', pick.median)):
            slots = curves.latencies(run, name, 500, merge)
            axis.plot([(a + b) / 2 for a, b, _ in slots],
                      [v for *_, v in slots], line, color=colour,
                      linewidth=1.6)
        axis.set_yscale('log')
        axis.yaxis.set_major_formatter('{x:g}')

    figure, _ = _over_time(
        points, records, 'How long clients wait while the guest moves',
        'ms; dotted: median, else p99', draw)
    return figure


def wires(points, records):
    """Both wires and the clients: precopy and ours side by side"""
    peers = [pick.one(points, peer=p) for p in ('plain', pick.OURS)]
    runs = [curves.typical(records, p, 'lan') for p in peers]
    clients = all(r['series'].get('answers') for r in runs)
    figure, axes = style.figure(
        'Both wires while a guest moves', pick.setting_title(points[0])
        + f'; {pick.workload_title(points[0]["workload"])}', 1 + clients, 2,
        4.9 if clients else 3.2, sharex=True, sharey='row')
    longest = max(r['total_ms'] for r in runs) / 1e3
    for column, (point, run) in enumerate(zip(peers, runs)):
        axis = axes[0, column]
        for wire, colour, name in (('lan', LAN, 'migration channel'),
                                   ('san', SAN, 'storage network')):
            style.steps(axis, curves.rates(run, wire, 200), colour, name)
            axis.axhline(run['setting'][wire] * 125, color=colour,
                         linewidth=1, linestyle=':')
        axis.set_title(f'{pick.peer_title(point["peer"])}: over after '
                       f'{run["total_ms"] / 1e3:.1f} s', color=INK)
        if clients:
            style.steps(axes[1, column], curves.answers(run, 500),
                        style.colour(point['peer']))
        for axis in axes[:, column]:
            axis.axvline(run['total_ms'] / 1e3, **DASHED)
            axis.set_ylim(bottom=0)
        axes[-1, column].set_xlabel('seconds; dotted: the rate of the wire')
    axes[0, 0].set_ylabel('MB/s')
    if clients:
        axes[1, 0].set_ylabel('answers/s')
    axes[0, 0].set_xlim(-5, longest * 1.15)
    axes[0, 1].legend(loc='upper right')
    return figure


def share(points, records):
    """Total time, and the share saved, against C/R"""
    figure, axes = style.figure(
        'Time and time saved, by the share of clean cache',
        pick.setting_title(points[0]).replace(
            f', C/R {points[0]["cache_share"]:g}', '') + '; '
        + pick.workload_title(points[0]['workload'])
        + '; median, bars: minimum and maximum', 1, 2, 3.9, sharex=True)
    for peer in pick.FEW:
        line = curves.by_share(points, records, peer)
        if not line:
            continue
        for axis, key, factor in ((axes[0, 0], 'total_ms', 1e-3),
                                  (axes[0, 1], 'saved', 100)):
            have = [(x, p[key]) for x, p in line if p.get(key)]
            if not have or (key == 'saved' and peer == 'plain'):
                continue
            axis.errorbar(
                [x for x, _ in have], [f[0] * factor for _, f in have],
                yerr=[[(f[0] - f[1]) * factor for _, f in have],
                      [(f[2] - f[0]) * factor for _, f in have]],
                color=style.colour(peer), marker='o', markersize=4,
                capsize=3, label=pick.peer_title(peer))
    limit = curves.ceiling_line(points, records)
    if limit:
        axes[0, 0].plot([x for x, *_ in limit], [t for _, _, t in limit],
                        **DASHED, label='the least possible')
        axes[0, 1].plot([x for x, *_ in limit],
                        [100 * c for _, c, _ in limit], **DASHED,
                        label='the most possible')
    axes[0, 0].set_ylabel('total time, s')
    axes[0, 1].set_ylabel('saved, % of precopy')
    for axis in axes[0]:
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        axis.set_xlim(left=-0.03)
        axis.set_xlabel('C/R: clean cache, share of what precopy sends')
        if axis.get_legend_handles_labels()[0]:
            axis.legend()
    return figure


def _bars(axis, points, parts):
    """Stacked, one for each peer, from the top down"""
    left = [0.0] * len(points)
    for name, colour, key in parts:
        sizes = [(pick.mid(p.get(key)) or 0) / MIB for p in points]
        axis.barh(range(len(points)), sizes, left=left, color=colour,
                  label=name, height=0.66)
        left = [a + b for a, b in zip(left, sizes)]
    for row, total in enumerate(left):
        axis.text(total, row, f' {total:,.0f}', va='center', color=INK)
    axis.set_yticks(range(len(points)),
                    [pick.peer_title(p['peer']) for p in points], color=INK)
    axis.invert_yaxis()
    axis.grid(axis='y', visible=False)


def wire_bytes(points, _records):
    """What each peer costs on the wires"""
    points = [p for p in points if pick.good(p)]
    figure, axes = style.figure(
        'Bytes by wire: ' + pick.workload_title(points[0]['workload']),
        pick.setting_title(points[0]) + '; medians', 1, 1,
        1.7 + 0.38 * len(points))
    _bars(axes[0, 0], points, (
        ('LAN', LAN, 'lan_bytes'),
        ('SAN, until the migration is over', SAN, 'san_bytes'),
        ('disk reads of the guest after arrival', DISK, 'disk_bytes_after')))
    axes[0, 0].set_xlabel('MiB')
    axes[0, 0].margins(x=0.08)
    style.legend_above(axes[0, 0])
    return figure


def latency(points, _records):
    """p99 before and after, on a logarithmic scale"""
    points = [p for p in points if pick.good(p)
              and p.get('client_p99_before') and p.get('client_p99_after')]
    figure, axes = style.figure(
        'p99 of the latency, before and after: '
        + pick.workload_title(points[0]['workload']),
        pick.setting_title(points[0]) + '; 20 s each; median, bars: minimum '
        'and maximum', 1, 1, 1.7 + 0.38 * len(points))
    axis = axes[0, 0]
    for key, mark, fill, name, shift in (
            ('client_p99_before', 'o', 'white', 'before', -0.15),
            ('client_p99_after', 'D', None, 'after arrival', 0.15)):
        for row, p in enumerate(points):
            middle, low, high = p[key]
            axis.errorbar(
                middle, row + shift, xerr=[[middle - low], [high - middle]],
                color=style.colour(p['peer']), marker=mark, markersize=6,
                markerfacecolor=fill or style.colour(p['peer']), capsize=3)
        axis.plot([], [], mark, color=MUTED, label=name,
                  markerfacecolor=fill or MUTED)
    axis.set_xscale('log')
    axis.xaxis.set_major_formatter('{x:g}')
    axis.set_yticks(range(len(points)),
                    [pick.peer_title(p['peer']) for p in points], color=INK)
    axis.invert_yaxis()
    axis.set_xlabel('ms')
    style.legend_above(axis)
    return figure


def _slug(text):
    return re.sub(r'[^a-z0-9]+', '-', text.lower()).strip('-')


def plan(points, records):
    """The plots that these points give, in the order of the report"""
    found, base = [], pick.base(points)
    for setting, workload, of in pick.groups(points):
        able = [p for p in of if pick.good(p)]
        where = f'-{_slug(workload)}-{_slug(setting)}.svg'
        what = f'{pick.workload_title(workload)} at {setting}'

        def add(name, title, function, members, key=(setting, workload)):
            found.append(Plot(name, title, *key,
                              lambda: function(members, records)))

        if any(curves.typical(records, p, 'answers') for p in able):
            add('throughput' + where, f'Answers over time: {what}',
                throughput, of)
            if any(curves.typical(records, p, 'p99_us') for p in able):
                add('delays' + where, f'Latency over time: {what}', delays,
                    of)
        if setting != base['setting'] or not able:
            continue
        if workload == 'web':
            if all(pick.one(able, peer=p) and curves.typical(
                    records, pick.one(able, peer=p), 'lan')
                   for p in ('plain', pick.OURS)):
                add('wires.svg', f'Both wires over time: {what}', wires, of)
            line = curves.share_points(points, base)
            if len({p['cache_share'] for p in line}) > 1:
                add('share.svg', 'Total time and time saved against C/R',
                    share, line)
        add('bytes' + where, f'Bytes by wire: {what}', wire_bytes, of)
        if any(p.get('client_p99_after') and p.get('client_p99_before')
               for p in able):
            add('latency' + where, f'p99 before and after: {what}',
                latency, of)
    return found


def save(plot, directory):
    """The same data give the same file, byte for byte."""
    figure = plot.draw()
    figure.savefig(os.path.join(directory, plot.name), metadata={
        'Date': None, 'Creator': None, 'Title': plot.title})
    style.pyplot().close(figure)


def write(points, records, directory):
    """Draws all of them, and returns their paths; others are removed."""
    os.makedirs(directory, exist_ok=True)
    plots = plan(points, records)
    for plot in plots:
        save(plot, directory)
    for name in os.listdir(directory):
        if name.endswith('.svg') and name not in [p.name for p in plots]:
            os.remove(os.path.join(directory, name))
    return [os.path.join(directory, p.name) for p in plots]


def draw(records, directory):
    """The same, of records alone."""
    return write(summarise(records), records, directory)
