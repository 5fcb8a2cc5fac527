# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A program on a terminal, and what is to be seen there.

    with Tty(['pagecache-top', ...], columns=40, lines=10) as tty:
        tty.until(lambda: 'left' in tty.text())
        tty.type('\\x03')
        status = tty.wait()

The terminal knows what pagecache-top uses, and refuses everything else.
"""

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
import unicodedata

from .paths import LabError

ESCAPE = re.compile(r'\033\[(\??)([\d;]*)([A-Za-z])')


class Display:
    """Cells, a cursor, and a list of what it does not understand."""

    def __init__(self, columns, lines):
        self.columns = columns
        self.lines = lines
        self.rows = [[]]                # with those that have scrolled out
        self.row = self.column = 0
        self.cursor = True
        self.styled = False             # whether there ever was a colour
        self.odd = []

    def feed(self, text):
        at = 0
        while at < len(text):
            match = ESCAPE.match(text, at)
            if match:
                self._escape(*match.groups())
                at = match.end()
                continue
            self._put(text[at])
            at += 1

    def _escape(self, private, number, letter):
        if private and number == '25' and letter in 'hl':
            self.cursor = letter == 'h'
        elif letter == 'A':
            top = max(0, len(self.rows) - self.lines)
            self.row = max(top, self.row - int(number or 1))
        elif letter == 'K' and not number:
            del self.rows[self.row][self.column:]
        elif letter == 'J' and not number:
            del self.rows[self.row][self.column:]
            del self.rows[self.row + 1:]
        elif letter == 'm':
            self.styled = self.styled or bool(number)
        else:
            self.odd.append(private + number + letter)

    def _put(self, char):
        if char == '\n':
            self._down()
        elif char == '\r':
            self.column = 0
        elif not char.isprintable():
            self.odd.append(char)
        else:
            wide = 1 + (unicodedata.east_asian_width(char) in 'WF')
            if self.column + wide > self.columns:
                self._down()
                self.column = 0
            cells = self.rows[self.row]
            cells += [' '] * (self.column - len(cells))
            cells[self.column:self.column + wide] = [char] + [''] * (wide - 1)
            self.column += wide

    def _down(self):
        self.row += 1
        if self.row == len(self.rows):
            self.rows.append([])

    def visible(self):
        """The lines that are on the screen."""
        return [''.join(cells).rstrip() for cells in self.rows[-self.lines:]]


class Tty:
    def __init__(self, argv, columns, lines, **env):
        self.display = Display(columns, lines)
        self.raw = b''
        self._kept = b''
        self._master, slave = pty.openpty()
        self._set_size(columns, lines)
        self.settings = termios.tcgetattr(slave)
        base = {k: v for k, v in os.environ.items()
                if not k.startswith('LC_') and k not in ('LANG', 'NO_COLOR')}
        base.update(TERM='xterm', LANG='C.UTF-8')
        base.update(env)
        self.process = subprocess.Popen(
            argv, stdin=slave, stdout=slave, stderr=slave, env=base,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self._slave = slave

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.process.kill()
        self.process.wait()
        os.close(self._slave)
        os.close(self._master)

    def _set_size(self, columns, lines):
        fcntl.ioctl(self._master, termios.TIOCSWINSZ,
                    struct.pack('HHHH', lines, columns, 0, 0))

    def resize(self, columns, lines):
        """As a terminal does that does not wrap its lines anew."""
        self.display.columns, self.display.lines = columns, lines
        self._set_size(columns, lines)

    def type(self, text):
        os.write(self._master, text.encode())

    def read(self, seconds):
        """Take what comes in that time; whether anything came."""
        ready, _, _ = select.select([self._master], [], [], seconds)
        if not ready:
            return False
        data = os.read(self._master, 65536)
        self.raw += data
        text = self._kept + data
        # not in the middle of an escape or of a character
        cut = re.search(rb'(\033(\[[\d;?]*)?|[\xc0-\xff][\x80-\xbf]{0,2})$',
                        text)
        cut = cut.start() if cut and not _whole(text[cut.start():]) \
            else len(text)
        self._kept = text[cut:]
        self.display.feed(text[:cut].decode())
        return True

    def text(self):
        return '\n'.join(self.display.visible())

    def until(self, condition, seconds=15):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise LabError(f'not within {seconds} s:\n{self.text()}')
            self.read(0.05)

    def wait(self, seconds=15):
        """The exit status, with all that was written until then."""
        self.until(lambda: self.process.poll() is not None, seconds)
        while self.read(0.05):
            pass
        return self.process.returncode

    def unchanged(self):
        """Whether the terminal's own settings are what they were."""
        return termios.tcgetattr(self._slave) == self.settings


def _whole(data):
    try:
        return data.decode().isprintable()
    except UnicodeDecodeError:
        return False
