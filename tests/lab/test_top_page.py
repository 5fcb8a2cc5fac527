#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The HTML page about migrations: whole, harmless, and right.

Chromium reads it, too, where it is installed; make check-full installs it.
"""

import collections
import html.parser
import os
import re
import shutil
import struct
import subprocess
import tempfile
import zlib

from lab.tap import Skipped, Tap
from lab.top import destination_info, model, page, source_info

HOSTILE = '</title><script>alert(1)</script><img src=x onerror=y> & "\''
VOID = ('meta', 'line', 'br')
#: what a page has numbers in, as a reader of SVG finds them
POINTS = re.compile(r'-?[\d.]+,-?[\d.]+( -?[\d.]+,-?[\d.]+)*')


class Reader(html.parser.HTMLParser):
    """Elements and their text; complains of what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.found = []             # (tag, attributes)
        self.text = []
        self.rows = []              # of tables, lists of cells
        self.wrong = []
        self._open = []
        self.feed(text)
        self.close()
        self.wrong += self._open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == 'tr':
            self.rows.append([])
        elif tag in ('td', 'th'):
            self.rows[-1].append('')

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self._open or self._open.pop() != tag:
            self.wrong.append(f'</{tag}>')

    def handle_data(self, data):
        self.text.append(data)
        if self._open and self._open[-1] in ('td', 'th'):
            self.rows[-1][-1] += data

    def polygons(self, style):
        return [attrs['points'] for tag, attrs in self.found
                if tag == 'polygon' and attrs['class'] == style]


def migrations():
    """Histories of all kinds: {name: list of figures}"""
    def history(*answers):
        watch = model.Watch()
        for number, answer in enumerate(answers):
            watch.add(number / 10, answer)
        return watch.history

    whole = [source_info(t / 10) for t in range(1, 74)]
    failed = dict(source_info(3, status='failed'),
                  **{'error-desc': HOSTILE})
    return {
        'completed': history(*whole, source_info(7.4, status='completed')),
        'failed': history(*whole[:30], failed),
        'nothing': [],
        'one answer': history(whole[9]),
        'destination': history(*[destination_info(t / 10, HOSTILE)
                                 for t in range(20)]),
        'plain': history(*[{k: v for k, v in info.items()
                            if k != 'pagecache'} for info in whole]),
        'strange': history({'status': 'active', 'pagecache': {
            'active': True, 'pooled-pages': 0, 'refill-bytes': 1e300}},
            {'status': HOSTILE}),
    }


def render(runs, **options):
    return page.render('Title ' + HOSTILE, 'Subtitle ' + HOSTILE,
                       [page.Run(name, history) for name, history in runs],
                       **options)


def harmless(tap, name, text):
    reader = Reader(text)
    tap.check(not reader.wrong, f'{name}: all elements are closed',
              reader.wrong)
    tags = {tag for tag, _ in reader.found}
    tap.check(tags <= {'html', 'head', 'meta', 'title', 'style', 'body', 'h1',
                       'h2', 'p', 'figure', 'figcaption', 'svg', 'line',
                       'text', 'polygon', 'polyline', 'i', 'div', 'table',
                       'caption', 'thead', 'tbody', 'tr', 'th', 'td'},
              f'{name}: no script, no image, no frame', tags)
    outside = [attrs for _, attrs in reader.found
               if {'src', 'href', 'data', 'action'} & set(attrs)
               or any(key.startswith('on') for key in attrs)]
    tap.check(not outside and not re.search(r'url\(|@import|://', text),
              f'{name}: refers to nothing else', outside)
    wrong = [attrs for tag, attrs in reader.found
             if tag in ('polygon', 'polyline')
             and not POINTS.fullmatch(attrs['points'])]
    tap.check(not wrong, f'{name}: points are numbers', wrong[:3])
    return reader


def figures(tap):
    runs = migrations()
    for name, history in runs.items():
        harmless(tap, name, render([(name, history)]))
    reader = harmless(tap, 'no migration', render([]))
    reader = harmless(tap, 'all', render(runs.items(), wrong=[HOSTILE]))
    text = ''.join(reader.text)
    tap.check(text.count(HOSTILE) >= 4, 'what is hostile is text', text)
    table = {row[0]: row[1:] for row in reader.rows}
    names = list(runs)
    tap.check(table[''] == names, 'a column for each', table[''])
    for row, run, expected in (
            ('status', 'completed', 'completed'),
            ('status', 'failed', 'failed'), ('status', 'nothing', ''),
            ('total time', 'completed', '7.4 s'),
            ('on the channel', 'completed', '829 MiB'),
            ('pages proven', 'completed', '300,000'),
            ('pages proven', 'plain', ''),
            ('from storage', 'plain', ''),
            ('side', 'destination', 'destination')):
        cell = table[row][names.index(run)]
        tap.check(cell == expected, f'{run}: {row}', cell)
    given = [('a row', 'x', HOSTILE), ('  below', '1 MiB', '2 MiB')]
    reader = Reader(render(list(runs.items())[:2], rows=given))
    tap.check([tuple(r) for r in reader.rows[1:]]
              == [('a row', 'x', HOSTILE), ('below', '1 MiB', '2 MiB')],
              "rows of somebody else's", reader.rows)


def timeline(tap):
    history = migrations()['completed']
    reader = Reader(render([('one', history)]))
    layers = [reader.polygons(style)[0] for style in
              ('storage', 'flight', 'waiting', 'channel')]
    tap.check(all(len(p.split()) == 2 * len(history) for p in layers),
              'the pool has a point for each answer')

    def heights(points, index):
        """Upper and lower edge of a layer at one of the answers."""
        pairs = [float(p.split(',')[1]) for p in points.split()]
        return pairs[index], pairs[-1 - index]

    middle = len(history) // 4
    edges = [heights(p, middle) for p in layers]
    tap.check(all(a[0] == b[1] for a, b in zip(edges, edges[1:])),
              'states lie on each other', edges)
    pages = history[middle].pool()
    whole = edges[0][1] - edges[-1][0]
    for (upper, lower), (name, count) in zip(edges, pages.items()):
        share = count / sum(pages.values())
        tap.check(abs((lower - upper) / whole - share) < 0.01,
                  f'{name} has its share', f'{edges} {pages}')
    run = page.Run('x', history)
    for name in ('channel_bytes', 'storage_bytes'):
        total, last = 0.0, 0.0
        for at, rate in run.series(name):
            total += rate * (at - last)
            last = at
        expected = getattr(history[-1], name)
        tap.check(abs(total - expected) < 0.001 * expected,
                  f'the area is that of all {name}',
                  f'{total}, expected {expected}')


def colours_of(path):
    """{(red, green, blue): pixels} of a PNG as Chromium makes it."""
    with open(path, 'rb') as file:
        data = file.read()
    at, packed = 8, b''
    while at < len(data):
        length, kind = struct.unpack('>I4s', data[at:at + 8])
        chunk = data[at + 8:at + 8 + length]
        if kind == b'IHDR':
            width, height, depth, colour = struct.unpack('>IIBB', chunk[:10])
            assert depth == 8 and colour in (2, 6), (depth, colour)
        elif kind == b'IDAT':
            packed += chunk
        at += 12 + length
    size = 3 if colour == 2 else 4
    raw, above = zlib.decompress(packed), bytes(width * size)
    found = collections.Counter()
    for y in range(height):
        start = y * (width * size + 1)
        row = bytearray(raw[start + 1:start + 1 + width * size])
        unfilter(raw[start], row, above, size)
        found.update(zip(row[0::size], row[1::size], row[2::size]))
        above = row
    return found


def unfilter(method, row, above, size):
    for i, value in enumerate(row):
        left = row[i - size] if i >= size else 0
        corner = above[i - size] if i >= size else 0
        if method == 1:
            value += left
        elif method == 2:
            value += above[i]
        elif method == 3:
            value += (left + above[i]) // 2
        elif method == 4:
            guess = left + above[i] - corner
            value += min((left, above[i], corner),
                         key=lambda near, g=guess: abs(g - near))
        row[i] = value & 255


def browser(tap):
    chromium = shutil.which('chromium')
    if chromium is None:
        raise Skipped('no chromium here; make check-full installs it')
    text = render(migrations().items(), wrong=[HOSTILE])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'page.html')
        with open(path, 'w', encoding='utf-8') as file:
            file.write(text)
        picture = os.path.join(folder, 'page.png')
        words = [chromium, '--headless', '--no-sandbox', '--disable-gpu',
                 '--disable-dev-shm-usage', '--no-first-run',
                 '--disable-background-networking', '--enable-logging=stderr',
                 f'--user-data-dir={folder}/profile',
                 '--window-size=800,800']
        env = dict(os.environ, HOME=folder)
        done = subprocess.run(
            [*words, '--dump-dom', f'--screenshot={picture}',
             'file://' + path], timeout=120, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env)
        tap.check(done.returncode == 0 and 'CONSOLE' not in done.stderr,
                  'nothing on its console', done.stderr)
        mine, its = Reader(text), Reader(done.stdout)
        tap.check(its.rows == mine.rows and len(its.rows) > 10,
                  'the table is as we wrote it', its.rows)
        tap.check([x for x in its.found if x[0] in ('polygon', 'polyline',
                                                    'line', 'text')]
                  == [x for x in mine.found if x[0] in (
                      'polygon', 'polyline', 'line', 'text')],
                  'and so are the timelines')
        tap.check('script' not in {tag for tag, _ in its.found},
                  'it found no script')
        colours = colours_of(picture)
        for name, colour in (('channel', (0x2b, 0x6c, 0xb0)),
                             ('storage', (0xdd, 0x6b, 0x20)),
                             ('waiting', (0xcb, 0xd2, 0xd9))):
            tap.check(colours.get(colour, 0) > 500, f'it paints the {name}',
                      colours.get(colour))


def main():
    tap = Tap()
    for test in (figures, timeline, browser):
        with tap.part(test.__name__):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
