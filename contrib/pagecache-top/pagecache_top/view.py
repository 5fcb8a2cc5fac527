# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Figures as text: one plain line, or as many as a terminal has room for.

A line for the terminal is a list of (text, style) that Painter.line() turns
into one string; all widths are counted without styles.
"""

import dataclasses
import math
import unicodedata

MIB = 1 << 20
CHANNEL, STORAGE, FLIGHT, WEAK, STRONG = ('channel', 'storage', 'flight',
                                          'weak', 'strong')
SGR = {CHANNEL: '34', STORAGE: '33', FLIGHT: '2;33', WEAK: '2', STRONG: '1'}
#: characters of bars: {style: (with UTF-8, without)}
BARS = {CHANNEL: ('\u2588', '#'), STORAGE: ('\u2588', '='),
        FLIGHT: ('\u2592', '>'), WEAK: ('\u2591', '.')}
#: the parts of the pool, as model.Figures.pool() names them
POOL = {'proven': STORAGE, 'in flight': FLIGHT, 'waiting': WEAK,
        'by channel': CHANNEL}


def printable(text):
    """Without what could steer a terminal; names come from elsewhere."""
    return ''.join(c if unicodedata.category(c)[0] not in 'CZ' or c == ' '
                   else '?' for c in str(text))


def mib(value):
    return '?' if value is None else f'{value / MIB:,.0f} MiB'


def gbit(value):
    return '?' if value is None else f'{value * 8e-9:.2f} Gbit/s'


def rate(value):
    return '?' if value is None else f'{value / MIB:,.0f} MiB/s'


def duration(value):
    """With as many digits as make sense of an estimate."""
    if value < 10:
        return f'{value:.1f} s'
    if value < 120:
        return f'{value:.0f} s'
    minutes = math.ceil(value / 60)
    if minutes < 120:
        return f'{minutes} min'
    return f'{minutes / 60:,.0f} h'


def left(figures):
    if figures.left is None:
        return ''
    return f'about {duration(figures.left)} left'


def headline(figures):
    """Who, what, and why not."""
    if figures.status is None:
        words = 'nothing migrates'
    else:
        words = figures.status
        if figures.side:
            words = f'{figures.side}, {words}'
        if figures.elapsed:
            words += (' in ' if figures.status == 'completed' else ' after '
                      if figures.ended else ' for ')
            words += f'{figures.elapsed:.1f} s'
    if figures.error:
        words += f': {figures.error}'
    return printable(words)


def feature(figures):
    """What skip-pagecache does, in words."""
    said = {None: '', 'active': 'skip-pagecache is active',
            'inactive': 'skip-pagecache is inactive',
            'on': 'skip-pagecache is on', 'off': 'skip-pagecache is off',
            'absent': 'this QEMU does not know skip-pagecache'}
    words = said[figures.feature]
    if figures.reason:
        words += f': {figures.reason}'
    return printable(words)


def counts(figures):
    """[(name, pages)] of what is known."""
    names = ('hinted', 'proven', 'released', 'mismatched', 'unavailable',
             'superseded', 'offered', 'reported')
    found = [(n, figures.pages[n]) for n in names if n in figures.pages]
    if figures.under_way:
        for key, name in (('in_flight', 'in flight'), ('pooled', 'waiting')):
            if key in figures.pages:
                found.append((name, figures.pages[key]))
    return found


def line(figures):
    """All of it in one line, for logs."""
    words = [headline(figures)]
    if figures.feature != 'active':
        words.append(feature(figures))
    if figures.under_way:
        words.append(left(figures))
        if figures.channel_rate is not None:
            words.append(f'channel {rate(figures.channel_rate)}')
        if figures.storage_rate is not None:
            words.append(f'storage {rate(figures.storage_rate)}')
        if figures.remaining_bytes is not None:
            words.append(f'{mib(figures.remaining_bytes)} dirty')
    elif figures.ended:
        if figures.downtime is not None:
            words.append(f'downtime {figures.downtime * 1000:.0f} ms')
        if figures.channel_bytes is not None:
            words.append(f'channel {mib(figures.channel_bytes)}')
        if figures.storage_bytes:
            words.append(f'storage {mib(figures.storage_bytes)}')
    if figures.feature == 'active':
        words += [f'{name} {pages:,}' for name, pages in counts(figures)
                  if pages or name in ('hinted', 'proven')]
        words += map(printable, figures.remarks)
    return '; '.join(w for w in words if w)


def nice(value):
    """The next of 1, 2, 2.5 and 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(f * power for f in (1, 2, 2.5, 5, 10)
                if f * power >= value * (1 - 1e-9))


def shares(values, width):
    """
    Cells of a bar of that width for each value; no value that is more than
    nothing gets no cell, as long as there are enough.
    """
    total = sum(values)
    if not total or width <= 0:
        return [0] * len(values)
    cells = [max(1, int(v * width / total)) if v else 0 for v in values]
    while sum(cells) > width:
        cells[cells.index(max(cells))] -= 1
    largest = list(values).index(max(values))
    cells[largest] += width - sum(cells)
    return cells


@dataclasses.dataclass
class Painter:
    """How a terminal wants it."""
    colour: bool = True
    utf8: bool = True

    def bar(self, cells, style):
        return (BARS[style][not self.utf8] * cells, style)

    def line(self, parts, width):
        """One string of at most that many columns."""
        out, room = '', width
        for text, style in parts:
            if not self.utf8:
                text = text.encode('ascii', 'replace').decode()
            text, columns = cut(text, room)
            room -= columns
            if style and self.colour and text:
                text = f'\033[{SGR[style]}m{text}\033[m'
            out += text
        return out


def cut(text, width):
    """What fits into so many columns, and how many it takes."""
    used = 0
    for index, char in enumerate(text):
        wide = 0 if unicodedata.combining(char) else \
            2 if unicodedata.east_asian_width(char) in 'WF' else 1
        if used + wide > width:
            return text[:index], used
        used += wide
    return text, used


def _wire(painter, name, value, style, scale, width):
    """A wire's bar, and its rate in one unit or two."""
    parts = [(f'{name:8}', None)]
    figures = f' {gbit(value):>12}'
    if width >= 72:
        figures += f' {rate(value):>12}'
    room = max(0, width - 10 - len(figures))
    filled = min(room, round(room * (value or 0) / scale)) if scale else 0
    return parts + [('[', None), painter.bar(filled, style),
                    (' ' * (room - filled), None), (']', None),
                    (figures, None)]


def _pool(painter, figures, width):
    pool = figures.pool()
    if not any(pool.values()):
        return []
    cells = shares(list(pool.values()), max(0, width - 10))
    bar = [painter.bar(n, POOL[name]) for n, name in zip(cells, pool)]
    legend = [('        ', None)]
    for name, pages in pool.items():
        legend += [painter.bar(1, POOL[name]),
                   (f' {name} {pages:,}  ', None)]
    short = [('        ', None)]
    for name, pages in pool.items():
        short += [painter.bar(1, POOL[name]), (f'{brief(pages)} ', None)]
    wide = sum(len(text) for text, _ in legend) <= width + 2
    return [(1, [('pool    ', None), ('[', None), *bar, (']', None)]),
            (2, legend if wide else short)]


def fitting(name, items, width):
    """As many of the items as fit into a line."""
    text = f'{name:7}'
    for item in items:
        if len(text) + 1 + len(item) > width:
            break
        text += f' {item} '
    return [(text, None)]


def brief(pages):
    """A number in at most five columns."""
    for unit, size in (('', 1), ('K', 1000), ('M', 10 ** 6), ('G', 10 ** 9)):
        if pages < 1000 * size:
            break
    return f'{pages / size:.3g}{unit}' if unit else str(pages)


def lines(figures, width, height, painter, name='', fastest=0):
    """
    At most that many lines for a terminal, each a string.

    fastest: bytes per second that are a full bar, 0 if there is no measure;
    both wires have the same.
    """
    title = [(printable(name) + ' ' if name else '', STRONG),
             (headline(figures), None)]
    remaining = left(figures)
    found = [(0, title)]
    if remaining:
        found.append((0, [(remaining, STRONG)]))
        together = sum(len(t) for t, _ in title) + 2 + len(remaining)
        if together <= width:
            found = [(0, title + [('  ' + remaining, STRONG)])]
    words = feature(figures)
    if words:
        found.append((4 if figures.feature == 'active' else 1,
                      [(words, WEAK if figures.feature == 'active'
                        else STRONG)]))
    if figures.under_way:
        scale = nice(max(fastest, figures.channel_rate or 0,
                         figures.storage_rate or 0) * 8) / 8
        if figures.side != 'destination' or figures.channel_rate is not None:
            found.append((1, _wire(painter, 'channel', figures.channel_rate,
                                   CHANNEL, scale, width)))
        if figures.feature == 'active' or figures.storage_rate is not None:
            found.append((1, _wire(painter, 'storage', figures.storage_rate,
                                   STORAGE, scale, width)))
    if figures.feature == 'active':
        found += _pool(painter, figures, width)
        pages = counts(figures)
        if figures.pool():
            pages = [(n, p) for n, p in pages
                     if n not in ('proven', 'in flight', 'waiting')]
        found.append((3, fitting('pages', [f'{n} {p:,}' for n, p in pages],
                                 width)))
    amounts = []
    if figures.remaining_bytes is not None and figures.under_way:
        amounts.append(f'{mib(figures.remaining_bytes)} of '
                       f'{mib(figures.ram_bytes)} dirty')
    if figures.channel_bytes is not None:
        amounts.append(f'channel {mib(figures.channel_bytes)}')
    if figures.storage_bytes:
        amounts.append(f'storage {mib(figures.storage_bytes)}')
    if figures.downtime is not None and figures.ended:
        amounts.append(f'downtime {figures.downtime * 1000:.0f} ms')
    if amounts:
        found.append((2, fitting('memory', amounts, width)))
    for disk in figures.disks:
        text = f'disk    {disk.device}: {disk.status or "?"}'
        if disk.reader:
            text += f' by {disk.reader}'
        text += f', {mib(disk.bytes_read)}'
        if disk.errors:
            text += f', {disk.errors} errors'
        if disk.error:
            text += f': {disk.error}'
        found.append((3 if disk.error else 5, [(printable(text), None)]))
    for remark in figures.remarks:
        found.append((4, [(printable(remark), WEAK)]))
    # what matters least goes first, the last of its kind
    while len(found) > max(1, height):
        worst = max(priority for priority, _ in found)
        index = max(i for i, (priority, _) in enumerate(found)
                    if priority == worst)
        del found[index]
    return [painter.line(parts, width) for _, parts in found]
