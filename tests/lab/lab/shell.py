# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The shell in the guest, at the other end of a serial line.

guest/agent.c reads lines 'NUMBER COMMAND', runs each in a shell of its own
and ends the output with 'END NUMBER STATUS'.  Numbers let us fall into step
again after a command that was given up.
"""

import re
import socket
import time

from .paths import LabError


class GuestError(LabError):
    """A command in the guest failed or did not end in time."""


class Shell:
    """The serial line of one QEMU; see guest/agent.c."""

    #: so that numbers never repeat, also when the guest moves to another QEMU
    number = 0

    def __init__(self, path, timeout=20):
        self._buffer = b''
        self._socket = socket.socket(socket.AF_UNIX)
        deadline = time.monotonic() + timeout
        while True:
            try:
                self._socket.connect(path)
                return
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    self._socket.close()
                    raise GuestError(f'no serial line {path}')
                time.sleep(0.02)

    def close(self):
        self._socket.close()

    def _until(self, pattern, deadline, what):
        """Read up to a match of pattern: (what came before it, match)."""
        while True:
            match = re.search(pattern, self._buffer)
            if match:
                before = self._buffer[:match.start()]
                self._buffer = self._buffer[match.end():]
                return before, match
            left = deadline - time.monotonic()
            if left <= 0:
                tail = self._buffer[-200:].decode(errors='replace')
                raise GuestError(f'{what}: not within its time; '
                                 f'the last output is {tail!r}')
            self._receive(left, what)

    def _receive(self, timeout, what):
        """Take what comes within a time, if anything does."""
        self._socket.settimeout(timeout)
        try:
            data = self._socket.recv(65536)
        except socket.timeout:
            return
        except OSError as error:
            raise GuestError(f'{what}: {error}')
        if not data:
            raise GuestError(f'{what}: QEMU has ended')
        self._buffer += data

    def wait_ready(self, timeout):
        """Wait for the guest's init."""
        self._until(rb'READY\r?\n', time.monotonic() + timeout, 'guest boot')

    def resume(self):
        """
        The guest has come from another QEMU: end what may have arrived of a
        line that was cut in two.
        """
        self._socket.settimeout(20)
        self._socket.sendall(b'\n')

    def send(self, command):
        """Start a command without waiting; returns its number."""
        Shell.number += 1
        self._socket.settimeout(20)
        self._socket.sendall(f'{Shell.number} {command}\n'.encode())
        return Shell.number

    def ended(self, number, seconds):
        """Wait so long for a command that was sent: has it ended?"""
        end = rb'END %d \d+\r?\n' % number
        deadline = time.monotonic() + seconds
        while not re.search(end, self._buffer):
            left = deadline - time.monotonic()
            if left <= 0:
                return False
            self._receive(left, 'the command')
        return True

    def finish(self, number, timeout, what='the command'):
        """Wait for a command that was sent: (status, output)."""
        before, match = self._until(rb'END %d (\d+)\r?\n' % number,
                                    time.monotonic() + timeout, what)
        before = re.sub(rb'^.*END \d+ \d+\r?\n', b'', before, flags=re.S)
        return int(match.group(1)), before.decode(errors='replace')

    def run(self, command, timeout=30, check=True):
        """Run a command in the guest and return its output."""
        if '\n' in command:
            raise GuestError('a guest command is one line')
        status, output = self.finish(self.send(command), timeout,
                                     f'guest: {command}')
        output = output.replace('\r\n', '\n')
        if check and status != 0:
            raise GuestError(f'guest: {command}: status {status}: '
                             f'{output.strip()[-400:]}')
        return output
