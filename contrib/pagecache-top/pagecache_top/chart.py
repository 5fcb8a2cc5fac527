# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Timelines as SVG, to stand in an HTML page that has the style.

Colours are classes: channel, storage, flight, waiting; ink, grid.
"""

import math
from html import escape

WIDTH, HEIGHT = 960, 210
LEFT, RIGHT, TOP, BOTTOM = 74, 14, 14, 36


def ticks(largest, most):
    """Round numbers from 0 to at least largest, at most `most` steps."""
    step = 10 ** math.floor(math.log10(largest / most)) if largest else 1
    for factor in (1, 2, 2.5, 5, 10):
        if step * factor * most >= largest:
            step *= factor
            break
    count = math.ceil(largest / step - 1e-9)
    return [step * i for i in range(count + 1)]


def binned(points, width):
    """
    Mean rates over bins of that many seconds; the total is kept.

    points: [(seconds, rate from the point before until then)]
    """
    bins, start = {}, 0.0
    for end, rate in points:
        at = start
        while at < end - 1e-9:
            index = int(at / width + 1e-9)
            until = min(end, (index + 1) * width)
            bins[index] = bins.get(index, 0.0) + rate * (until - at)
            at = until
        start = end
    result = []
    for index in range(max(bins, default=-1) + 1):
        length = min(width, start - index * width)
        if length > 1e-3:
            result.append((min(start, (index + 1) * width),
                           bins.get(index, 0.0) / length))
    return result


class _Canvas:
    """Axes, and what is drawn between them."""

    def __init__(self, seconds, largest, unit, label):
        self.xs, self.ys = ticks(seconds or 1, 12), ticks(largest or 1, 5)
        self.out = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
                    f'aria-label="{escape(label)}">']
        for value in self.ys:
            y = self.y(value)
            self.out.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" '
                            f'x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
            self._text(LEFT - 8, y + 4, f'{value:g}', 'end')
        for value in self.xs:
            self._text(self.x(value), HEIGHT - BOTTOM + 17, f'{value:g}',
                       'middle')
        self._text(0, HEIGHT - 5, unit, 'start')
        self._text(WIDTH - RIGHT, HEIGHT - 5, 'seconds', 'end')

    def x(self, seconds):
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.xs[-1]

    def y(self, value):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (
            min(value, self.ys[-1]) / self.ys[-1])

    def _text(self, x, y, text, anchor):
        self.out.append(f'<text x="{x:.1f}" y="{y:.1f}" '
                        f'text-anchor="{anchor}">{escape(text)}</text>')

    def area(self, tops, bottoms, style):
        """Between two lines of [(seconds, value)]."""
        points = ' '.join(f'{self.x(t):.1f},{self.y(v):.1f}'
                          for t, v in [*tops, *reversed(bottoms)])
        self.out.append(f'<polygon class="{style}" points="{points}"/>')

    def path(self, points, style):
        line = ' '.join(f'{self.x(t):.1f},{self.y(v):.1f}'
                        for t, v in points)
        self.out.append(f'<polyline class="{style}" points="{line}"/>')

    def end(self, seconds):
        x = self.x(seconds)
        self.out.append(f'<line class="end" x1="{x:.1f}" y1="{TOP}" '
                        f'x2="{x:.1f}" y2="{HEIGHT - BOTTOM}"/>')

    def nothing(self):
        self._text((LEFT + WIDTH - RIGHT) / 2, (HEIGHT - BOTTOM) / 2,
                   'no samples', 'middle')

    def svg(self):
        return '\n'.join([*self.out, '</svg>'])


def rates(label, series, seconds, largest, end):
    """
    Rates over time, in MB/s.

    series: [(style, [(seconds, bytes per second until then)])]; end: when
    the migration was over, None if it was not.
    """
    canvas = _Canvas(seconds, largest / 1e6, 'MB/s', label)
    for style, points in series:
        stairs, last = [], 0.0
        for at, rate in points:
            stairs += [(last, rate / 1e6), (at, rate / 1e6)]
            last = at
        if stairs:
            canvas.area(stairs, [(stairs[0][0], 0), (stairs[-1][0], 0)],
                        f'{style} faint')
            canvas.path(stairs, f'{style} line')
    if not any(points for _, points in series):
        canvas.nothing()
    if end is not None:
        canvas.end(end)
    return canvas.svg()


def stack(label, layers, times, seconds, largest, end):
    """
    Counts that lie on each other, the first at the bottom; in 1000 pages.

    layers: [(style, [count at each of the times])]
    """
    canvas = _Canvas(seconds, largest / 1e3, '1000 pages', label)
    below = [0.0] * len(times)
    for style, values in layers:
        above = [b + v / 1e3 for b, v in zip(below, values)]
        if len(times) > 1:
            canvas.area(list(zip(times, above)), list(zip(times, below)),
                        style)
        below = above
    if len(times) < 2:
        canvas.nothing()
    if end is not None:
        canvas.end(end)
    return canvas.svg()
