# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A few lines of a terminal that are written again and again.

    with Screen(sys.stdout) as screen:
        screen.show(lines)          # each at most screen.size()[0] columns
        screen.say('kept above')

Nothing is changed but the cursor, which is hidden; it is back after the
block, and while the program is stopped with Ctrl-Z.
"""

import locale
import os
import signal
import unicodedata

HIDE, REVEAL = '\033[?25l', '\033[?25h'
CLEAR_BELOW, CLEAR_LINE = '\033[J', '\033[K'


def usable(out):
    """Whether lines can be rewritten there."""
    return out.isatty() and os.environ.get('TERM') not in (None, '', 'dumb')


def wants_colour():
    """See https://no-color.org"""
    return not os.environ.get('NO_COLOR')


def takes_utf8(out):
    # not the encoding alone: Python takes the locale C for UTF-8
    try:
        locale.setlocale(locale.LC_CTYPE, '')
        codeset = locale.nl_langinfo(locale.CODESET)
    except locale.Error:
        return False
    return all(name.lower().replace('-', '') == 'utf8'
               for name in (codeset, out.encoding or ''))


def columns(line):
    """Of a line with colours."""
    width, escape = 0, False
    for char in line:
        if escape:
            escape = not char.isalpha()
        elif char == '\033':
            escape = True
        elif not unicodedata.combining(char):
            width += 1 + (unicodedata.east_asian_width(char) in 'WF')
    return width


class Screen:
    def __init__(self, out):
        self._out = out
        self._shown = []            # columns of each line that stands there
        self._size = (0, 0)
        self._hidden = False

    def __enter__(self):
        if hasattr(signal, 'SIGTSTP'):
            self._old = signal.signal(signal.SIGTSTP, self._stop)
        return self

    def __exit__(self, *exc):
        if hasattr(signal, 'SIGTSTP'):
            signal.signal(signal.SIGTSTP, self._old)
        self._reveal()

    def size(self):
        """(columns, lines); one of each is left free."""
        try:
            found = os.get_terminal_size(self._out.fileno())
        except OSError:
            found = (80, 24)
        # a terminal that does not know says 0
        return ((found[0] or 80) - 1, (found[1] or 24) - 1)

    def show(self, lines):
        """Put these lines in the place of the last ones."""
        text = HIDE + self._back()
        self._size = self.size()
        text += ''.join(line + CLEAR_LINE + '\n' for line in lines)
        self._hidden = True
        self._write(text + CLEAR_BELOW)
        self._shown = [columns(line) for line in lines]

    def say(self, line):
        """A line that stays; what was shown goes."""
        self._write(self._back() + CLEAR_BELOW + line + '\n')
        self._shown = []

    def keep(self):
        """What is shown stays where it is."""
        self._shown = []

    def _back(self):
        """To the first of the lines, which a narrower window has wrapped."""
        width, height = self.size()
        width += 1
        rows = sum(max(1, -(-shown // width)) for shown in self._shown)
        rows = min(rows, height)
        text = f'\033[{rows}A\r' if rows else '\r'
        if (width - 1, height) != self._size:
            text += CLEAR_BELOW
        return text

    def _reveal(self):
        if self._hidden:
            self._write(REVEAL)
            self._hidden = False

    def _write(self, text):
        try:
            self._out.write(text)
            self._out.flush()
        except BlockingIOError:
            pass                    # a picture less

    def _stop(self, number, _frame):
        self._reveal()
        self._shown = []            # the shell writes below it
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        # here again after SIGCONT
        signal.signal(number, self._stop)
