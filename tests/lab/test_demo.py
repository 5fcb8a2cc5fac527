#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""What the demo holds against its own figures.  Runs no guest."""

import tempfile
import types

import demo
from lab import scenario, top
from lab.tap import Tap

#: a cache of the standard setting, and the smallest that there can be; pages
LARGE, TINY = 1400 * 256, 16 * 256


def run(pages, hinted, reported, proven, different=(), trouble=()):
    """What a run with these figures is to the demo."""
    stats = {'active': True, 'hinted-pages': hinted,
             'reported-pages': reported, 'proven-pages': proven}
    return types.SimpleNamespace(
        cache=scenario.Cache(pages, 0, pages, 0), trouble=list(trouble),
        outcome=types.SimpleNamespace(source=stats, different=different))


def judge(figures, args=(), saved=0.0, **more):
    skip = run(*figures, **more)
    result = {'wrong_pages': len(skip.outcome.different), 'saved': saved,
              'skip': {'checksums_ok': True, 'disk_bytes_during_checksum': 0}}
    return demo.shortfalls(demo.parse(args), result, [run(0, 0, 0, 0)],
                           [skip])


def main():
    tap = Tap()
    tiny = ['--cache', '16']
    with tap.part('what is enough'):
        for name, args, figures in (
                ('99 % of much', [], (LARGE, 99 * LARGE // 100, 1000, 1000)),
                ('95 %', [], (LARGE, 95 * LARGE // 100, 1000, 980)),
                ('91 % of 16 MiB', tiny, (TINY, 91 * TINY // 100, 900, 900)),
                ('all but 32 of the reported', tiny, (TINY, TINY, 100, 68)),
                ('nothing reported in time', tiny, (TINY, TINY, 0, 0))):
            found = judge(figures, args, saved=0.55)
            tap.check(not found, name, found)
    with tap.part('what is not'):
        for name, args, figures, word in (
                ('94 % of much', [], (LARGE, 94 * LARGE // 100, 10, 10),
                 'hinted'),
                ('85 % of 16 MiB', tiny, (TINY, 85 * TINY // 100, 10, 10),
                 'hinted'),
                ('no hint', tiny, (TINY, 0, 0, 0), 'hinted'),
                ('no hint of a cache too small to count', tiny,
                 (scenario.NOISE, 0, 0, 0), 'hinted'),
                ('97 % of many reports', [], (LARGE, LARGE, 10000, 9660),
                 'proven'),
                ('few reports, none of them proven', tiny,
                 (TINY, TINY, 20, 0), 'proven')):
            found = judge(figures, args, saved=0.55)
            tap.check(len(found) == 1 and word in found[0], name, found)
        good = (LARGE, LARGE, 1000, 1000)
        for name, word, found in (
                ('a page that differs', 'differ',
                 judge(good, saved=0.6, different=['x'])),
                ('trouble in the guest', 'kernel log',
                 judge(good, saved=0.6, trouble=['BUG'])),
                ('too little time saved', 'time was saved',
                 judge(good, saved=0.54))):
            tap.check(len(found) == 1 and word in found[0], name, found)
    with tap.part('another setting'):
        tap.check(not judge((TINY, TINY, 0, 0), tiny, saved=-0.2),
                  'promises no time')
    with tap.part('page'), tempfile.TemporaryDirectory() as folder:
        watch = top.model.Watch()
        for tenth in range(1, 20):
            watch.add(tenth / 10, top.source_info(tenth / 10))
        page = demo.write_page(
            demo.parse(['--output', folder]),
            [('plain', watch.history), ('skip', [])], [('x', '1 s', '2 s')],
            ['it <failed>'])
        with open(page, encoding='utf-8') as file:
            text = file.read()
        tap.check(text.count('<svg') == 3 and '<td>2 s</td>' in text
                  and 'it &lt;failed&gt;' in text
                  and '2048 MiB of RAM' in text, 'of what was seen', text)
    tap.done()


if __name__ == '__main__':
    main()
