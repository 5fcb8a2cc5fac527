#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""pagecache-top on terminals, of all sizes and kinds."""

import contextlib
import os
import sys
import tempfile

from lab import top
from lab.tap import Tap
from lab.top import FakeQemu, source_info
from lab.tty import Tty

#: of a migration that is slow enough to be looked at
ANSWERS = [source_info(t / 10, hinted=10 ** 6, ram=8 << 30)
           for t in range(1, 400)]
#: a shell that lets it be stopped, and takes it back after a line
JOBS = ('bash', '-m', '-c', '"$@" || { read -r; fg >/dev/null; }', '-')
#: what each picture begins with
HIDE = b'\033[?25l'
ENDED = source_info(40, status='completed', ram=8 << 30)


@contextlib.contextmanager
def shown(columns, lines, answers=ANSWERS, words=(), before=(), **env):
    """The program on a terminal of that size; before: who starts it."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, 'qmp')
        with FakeQemu(path, answers), Tty(
                [*before, sys.executable, top.PROGRAM, '--qmp', path,
                 '--interval', '0.05', '--name', 'vm1', *words],
                columns, lines, **env) as tty:
            yield tty


def frames(tty, count):
    """Let it draw so many times."""
    before = tty.raw.count(HIDE)
    tty.until(lambda: tty.raw.count(HIDE) >= before + count)


def fits(tap, tty, name):
    rows = tty.display.rows
    tap.check(not tty.display.odd, f'{name}: nothing that it does not know',
              tty.display.odd)
    tap.check(len(rows) <= tty.display.lines
              and all(len(row) < tty.display.columns for row in rows),
              f'{name}: each picture is in the place of the last', tty.text())


def sizes(tap):
    for columns, lines, words in (
            (120, 40, ('vm1', 'left', 'Gbit/s', 'MiB/s', 'proven', 'waiting',
                       'by channel', 'dirty', 'mismatched')),
            (40, 10, ('vm1', 'left', 'channel', 'storage', 'Gbit/s',
                      'pool')),
            (12, 3, ('vm1',))):
        name = f'{columns} x {lines}'
        with shown(columns, lines) as tty:
            frames(tty, 20)
            text = tty.text()
            fits(tap, tty, name)
            tap.check(all(word in text for word in words), f'{name}: words',
                      text)
            tap.check(not tty.display.cursor, f'{name}: no cursor')
            tap.check(lines < 8 or '\u2588' in text and '\u2591' in text,
                      f'{name}: bars', text)
            tty.type('\x03')
            tap.check(tty.wait() == 130 and tty.display.cursor
                      and tty.unchanged(),
                      f'{name}: Ctrl-C leaves the terminal as it was',
                      f'{tty.process.returncode} {tty.text()}')
            tap.check('Traceback' not in tty.text(), f'{name}: in peace')


def kinds(tap):
    with shown(80, 24, NO_COLOR='1') as tty:
        frames(tty, 3)
        tap.check(not tty.display.styled, 'NO_COLOR', tty.raw[:200])
    with shown(80, 24) as tty:
        frames(tty, 3)
        tap.check(tty.display.styled, 'colours')
    for name, env in (('LC_ALL=C', {'LC_ALL': 'C'}),
                      ('LC_CTYPE=POSIX', {'LC_CTYPE': 'POSIX',
                                          'PYTHONCOERCECLOCALE': '0'}),
                      ('a locale that there is not', {'LC_ALL': 'xx_YY'}),
                      ('ASCII by PYTHONIOENCODING',
                       {'PYTHONIOENCODING': 'ascii'})):
        with shown(80, 24, words=['--name', 'gäst'], **env) as tty:
            frames(tty, 3)
            tap.check(tty.raw.isascii() and '#' in tty.text(), name,
                      tty.text())
    for name, env in (('TERM=dumb', {'TERM': 'dumb'}),
                      ('an empty TERM', {'TERM': ''})):
        with shown(80, 24, **env) as tty:
            tty.until(lambda: tty.raw.count(b'\n') > 2)
            tap.check(b'\033' not in tty.raw, f'{name}: plain lines',
                      tty.raw)


def changes(tap):
    with shown(120, 40) as tty:
        frames(tty, 5)
        tty.resize(60, 12)
        frames(tty, 10)
        text = '\n'.join(tty.display.visible()[-12:])
        tap.check(all(len(row) < 60 for row in tty.display.rows[-8:])
                  and 'pool' in text and not tty.display.odd,
                  'a window that becomes smaller', text)
        tty.resize(100, 30)
        frames(tty, 10)
        tap.check('by channel' in tty.text(), 'and larger', tty.text())
    with shown(80, 24, before=JOBS) as tty:
        frames(tty, 5)
        tty.type('\x1a')
        tty.until(lambda: tty.display.cursor)
        drawn = tty.raw.count(HIDE)
        while tty.read(0.5):
            pass                    # of the shell
        tap.check(tty.raw.count(HIDE) == drawn and tty.display.cursor,
                  'Ctrl-Z stops it, and the cursor is back', tty.text())
        tty.type('\n')
        frames(tty, 5)
        tap.check(not tty.display.cursor, 'and it goes on')
        tty.type('\x03')
        tap.check(tty.wait() == 130 and tty.display.cursor, 'to its end')
    with shown(80, 24) as tty:
        frames(tty, 5)
        tty.process.terminate()
        tap.check(tty.wait() == 143 and tty.display.cursor, 'SIGTERM')


def ends(tap):
    with shown(80, 24, [*ANSWERS[:10], ENDED, ENDED, OSError()]) as tty:
        status = tty.wait()
        tap.check(status == 0 and 'completed in 40.0 s' in tty.text()
                  and 'gone' in tty.text() and tty.display.cursor,
                  'the last picture stays', f'{status}\n{tty.text()}')
        tap.check(tty.text().count('completed') == 1, 'once', tty.text())
    with shown(80, 24, [{}]) as tty:
        frames(tty, 3)
        tap.check('nothing migrates' in tty.text(), 'idle', tty.text())
    failed = dict(source_info(3, status='failed'),
                  **{'error-desc': 'no\033[2Jroute\n'})
    with shown(80, 24, [failed]) as tty:
        frames(tty, 3)
        tap.check('no?[2Jroute?' in tty.text() and not tty.display.odd,
                  'an error with an escape in it', tty.text())


def main():
    tap = Tap()
    for test in (sizes, kinds, changes, ends):
        with tap.part(test.__name__):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
