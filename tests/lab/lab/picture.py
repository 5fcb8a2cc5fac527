# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Draws the speed of both wires over time, as SVG."""

import dataclasses
import typing
from xml.sax.saxutils import escape

from .top import chart

WIDTH, PANEL, GAP = 960, 190, 62
LEFT, RIGHT, TOP, BOTTOM = 74, 30, 96, 56
FONT = 'DejaVu Sans, Verdana, Helvetica, Arial, sans-serif'
INK, MUTED, GRID = '#1f2933', '#616e7c', '#e4e7eb'


@dataclasses.dataclass
class Series:
    """One wire.  points: [(seconds, bytes per second until then)]"""
    name: str
    colour: str
    points: typing.Sequence
    capacity: float = 0             # bytes per second, 0 if not limited


@dataclasses.dataclass
class Panel:
    title: str
    series: typing.Sequence[Series]
    end: float                      # seconds: when the migration was over


class _Canvas:
    def __init__(self, height):
        self.out = [
            '<svg xmlns="http://www.w3.org/2000/svg" '
            f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
            f'height="{height}" font-family="{FONT}">',
            f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>']

    def text(self, x, y, text, size=12, colour=MUTED, anchor='start',
             weight='normal', extra=''):
        self.out.append(
            f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" '
            f'fill="{colour}" text-anchor="{anchor}" '
            f'font-weight="{weight}" {extra}>{escape(text)}</text>')

    def line(self, x1, y1, x2, y2, colour=GRID, width=1.0, dash=''):
        dashes = f' stroke-dasharray="{dash}"' if dash else ''
        self.out.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{colour}" stroke-width="{width}"{dashes}/>')

    def path(self, d, **attributes):
        words = ' '.join(f'{k.replace("_", "-")}="{v}"'
                         for k, v in attributes.items())
        self.out.append(f'<path d="{d}" {words}/>')


def _draw_series(canvas, series, x, y, width):
    """Steps with a faint fill; each bin is drawn over its whole length."""
    points = chart.binned(series.points, width)
    if not points:
        return
    d, last = '', 0.0
    for end, rate in points:
        d += f'{"L" if d else "M"}{x(last):.1f},{y(rate):.1f} ' \
             f'L{x(end):.1f},{y(rate):.1f} '
        last = end
    canvas.path(f'M{x(0):.1f},{y(0):.1f} L' + d[1:]
                + f'L{x(last):.1f},{y(0):.1f} Z',
                fill=series.colour, fill_opacity='0.12', stroke='none')
    canvas.path(d, fill='none', stroke=series.colour, stroke_width='2',
                stroke_linejoin='round')


def _draw_panel(canvas, panel, top, xs, ys):
    right, bottom = WIDTH - RIGHT, top + PANEL

    def x(seconds):
        return LEFT + (right - LEFT) * seconds / xs[-1]

    def y(rate):
        return bottom - PANEL * min(rate / 1e6, ys[-1]) / ys[-1]

    canvas.text(LEFT, top - 12, panel.title, 14, INK, weight='bold')
    for value in ys:
        canvas.line(LEFT, y(value * 1e6), right, y(value * 1e6))
        canvas.text(LEFT - 8, y(value * 1e6) + 4, f'{value:g}', 11,
                    anchor='end')
    for value in xs:
        canvas.line(x(value), bottom, x(value), bottom + 4, MUTED)
        canvas.text(x(value), bottom + 17, f'{value:g}', 11, anchor='middle')
    for series in panel.series:
        if series.capacity and series.capacity / 1e6 <= ys[-1]:
            canvas.line(LEFT, y(series.capacity), right, y(series.capacity),
                        series.colour, 1, '2 4')
    for series in panel.series:
        _draw_series(canvas, series, x, y, xs[-1] / 120)
    canvas.line(LEFT, bottom, right, bottom, MUTED)
    canvas.line(x(panel.end), top, x(panel.end), bottom, INK, 1.2, '5 3')
    late = panel.end > xs[-1] * 0.85
    canvas.text(x(panel.end) + (-6 if late else 6), top + 13,
                f'over after {panel.end:.1f} s', 12, INK,
                anchor='end' if late else 'start')
    middle = (top + bottom) / 2
    canvas.text(20, middle, 'MB/s', 12, anchor='middle',
                extra=f'transform="rotate(-90 20 {middle:.1f})"')


def draw(title, subtitle, panels):
    """The picture as a string; all panels have the same axes."""
    height = TOP + len(panels) * (PANEL + GAP) - GAP + BOTTOM
    longest = max([p.end for p in panels])
    for panel in panels:
        for series in panel.series:
            longest = max([longest] + [t for t, _ in series.points])
    fastest = max([1.0] + [rate for p in panels for s in p.series for _, rate
                           in [*chart.binned(s.points, longest / 120),
                               (0, s.capacity)]])
    xs, ys = chart.ticks(longest, 14), chart.ticks(fastest / 1e6, 6)
    canvas = _Canvas(height)
    canvas.text(LEFT, 30, title, 17, INK, weight='bold')
    canvas.text(LEFT, 50, subtitle, 12)
    at = WIDTH - RIGHT
    for series in reversed(panels[0].series):
        at -= 7.2 * len(series.name)
        canvas.text(at, 30, series.name, 12, INK)
        canvas.out.append(f'<rect x="{at - 20}" y="20" width="14" '
                          f'height="11" rx="2" fill="{series.colour}"/>')
        at -= 40
    for index, panel in enumerate(panels):
        _draw_panel(canvas, panel, TOP + index * (PANEL + GAP), xs, ys)
    canvas.text((LEFT + WIDTH - RIGHT) / 2, height - 14,
                'seconds since the start of the migration; dotted: what the '
                'wire can carry', 12, anchor='middle')
    return '\n'.join(canvas.out + ['</svg>']) + '\n'
