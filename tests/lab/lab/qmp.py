# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""A small QMP client over a unix socket, with deadlines everywhere."""

import collections
import json
import socket
import time

from .paths import LabError


class QMPError(LabError):
    """QEMU refused a command."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error['desc']}")
        self.error_class = error['class']
        self.desc = error['desc']


class QMPLost(LabError):
    """The monitor's connection is gone or silent."""


class QMP:
    """
    One monitor connection.

    Events are kept in order of arrival until somebody takes them.  Not for
    use by several threads.
    """

    def __init__(self, path, timeout=20, explain=lambda: ''):
        self.events = collections.deque(maxlen=10000)
        self._explain = explain
        self._buffer = b''
        self._number = 0
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._connect(path, timeout)
            greeting = self._receive(time.monotonic() + timeout)
            if 'QMP' not in greeting:
                raise QMPLost(f'{path}: expected a QMP greeting, '
                              f'got {greeting}')
            self.version = greeting['QMP']['version']
            self.cmd('qmp_capabilities')
        except BaseException:
            self.close()
            raise

    def _connect(self, path, timeout):
        deadline = time.monotonic() + timeout
        while True:
            try:
                return self._socket.connect(path)
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline or self._explain():
                    raise QMPLost(f'no QMP socket {path} {self._explain()}')
                time.sleep(0.02)

    def close(self):
        self._socket.close()

    def _receive(self, deadline):
        """The next message; None when the deadline passes."""
        while b'\n' not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            self._socket.settimeout(left)
            try:
                data = self._socket.recv(65536)
            except socket.timeout:
                return None
            except OSError as error:
                raise QMPLost(f'QMP: {error} {self._explain()}')
            if not data:
                raise QMPLost(f'QEMU closed QMP {self._explain()}')
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b'\n')
        return json.loads(line)

    def cmd(self, command, timeout=30, **arguments):
        """
        Run a command and return its result.

        Underscores in argument names stand for dashes.
        """
        self._number += 1
        number = self._number
        message = {'execute': command, 'id': number}
        if arguments:
            message['arguments'] = {k.rstrip('_').replace('_', '-'): v
                                    for k, v in arguments.items()}
        try:
            self._socket.settimeout(timeout)
            self._socket.sendall(json.dumps(message).encode() + b'\n')
        except OSError as error:
            raise QMPLost(f'{command}: {error} {self._explain()}')
        deadline = time.monotonic() + timeout
        while True:
            answer = self._receive(deadline)
            if answer is None:
                raise QMPLost(f'{command}: no answer within {timeout} s')
            if 'event' in answer:
                self.events.append(answer)
            elif answer.get('id') != number:
                continue                # the late answer of a lost command
            elif 'error' in answer:
                raise QMPError(command, answer['error'])
            else:
                return answer['return']

    def hmp(self, line, timeout=30):
        """Run a human monitor command; its text."""
        return self.cmd('human-monitor-command', timeout,
                        command_line=line)

    def wait_event(self, name, timeout, match=lambda data: True):
        """Take the first such event, waiting for it; returns its data."""
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            events = list(self.events)
            for event in events[seen:]:
                if event['event'] == name and match(event.get('data', {})):
                    self.events.remove(event)
                    return event.get('data', {})
            seen = len(events)
            message = self._receive(deadline)
            if message is None:
                raise QMPLost(f'event {name}: not within {timeout} s')
            if 'event' in message:
                self.events.append(message)
