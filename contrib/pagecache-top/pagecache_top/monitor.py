# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A QEMU's monitor: a QMP socket, or virsh.

    monitor = Qmp(address('/run/vm1.qmp'))
    info, capabilities = read(monitor)
"""

import json
import os
import re
import socket
import subprocess
import time

#: seconds to wait for a greeting or an answer
TIMEOUT = 10
#: an answer longer than that is none
LONGEST = 16 << 20


class MonitorError(Exception):
    """In one line."""


class Refused(MonitorError):
    """QEMU has answered, and the answer is an error."""


class NoCommand(Refused):
    """This QEMU does not have the command."""


class BadAddress(Exception):
    """Not what an address looks like; in one line."""


def address(word):
    """A path as it is, HOST:PORT as (host, port)."""
    if '/' in word or os.path.exists(word):
        return word
    match = re.fullmatch(r'\[([^\]]+)\]:(\d+)|([^:]+):(\d+)', word)
    if match is None:
        raise BadAddress(f"'{word}': expected the path of a socket or "
                         'HOST:PORT, e.g. /run/vm1.qmp, 127.0.0.1:4445 or '
                         '[::1]:4445')
    host, port = match[1] or match[3], int(match[2] or match[4])
    if not 0 < port < 65536:
        raise BadAddress(f"'{word}': expected a port of 1 to 65535, got "
                         f'{port}')
    return host, port


class Qmp:
    """A connection to a QMP socket, which takes one client at a time."""

    def __init__(self, where, timeout=TIMEOUT):
        self.name = where if isinstance(where, str) else '%s:%d' % where
        self.timeout = timeout
        self._buffer = b''
        self._number = 0
        self._socket = self._connect(where)
        try:
            greeting = self._receive(time.monotonic() + timeout)
            if greeting is None:
                raise MonitorError(
                    f'{self.name}: no greeting within {timeout:g} s; a QMP '
                    'socket takes one client at a time: is there another '
                    '(libvirt, a script)?  Give this QEMU a second -qmp, or '
                    'use --domain')
            if 'QMP' not in greeting:
                raise MonitorError(f'{self.name}: expected the greeting of a '
                                   'QMP socket, got '
                                   + json.dumps(greeting)[:60])
            self.command('qmp_capabilities')
        except BaseException:
            self.close()
            raise

    def _connect(self, where):
        made = None
        try:
            if isinstance(where, str):
                made = socket.socket(socket.AF_UNIX)
                made.settimeout(self.timeout)
                made.connect(where)
                return made
            return socket.create_connection(where, self.timeout)
        except (OSError, UnicodeError) as error:
            if made:
                made.close()
            if isinstance(error, BlockingIOError):
                error = 'it has too many clients waiting already'
            reason = getattr(error, 'strerror', None) or error
            raise MonitorError(f'{self.name}: no connection: {reason}')

    def close(self):
        self._socket.close()

    def _receive(self, deadline):
        """The next message; None when the deadline passes."""
        while b'\n' not in self._buffer:
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            try:
                self._socket.settimeout(left)
                data = self._socket.recv(65536)
            except socket.timeout:
                return None
            except OSError as error:
                raise MonitorError(f'{self.name}: QEMU is gone: '
                                   f'{error.strerror or error}')
            if not data:
                raise MonitorError(f'{self.name}: QEMU is gone: it has closed '
                                   'the connection')
            self._buffer += data
            if len(self._buffer) > LONGEST:
                raise MonitorError(f'{self.name}: expected QMP, got '
                                   f'{LONGEST} bytes without an end of line')
        line, _, self._buffer = self._buffer.partition(b'\n')
        return parse(line, self.name)

    def command(self, name):
        """Run a command without arguments; what it returns."""
        self._number += 1
        message = json.dumps({'execute': name, 'id': self._number})
        try:
            self._socket.settimeout(self.timeout)
            self._socket.sendall(message.encode() + b'\n')
        except OSError as error:
            raise MonitorError(f'{self.name}: QEMU is gone: '
                               f'{error.strerror or error}')
        deadline = time.monotonic() + self.timeout
        while True:
            answer = self._receive(deadline)
            if answer is None:
                raise MonitorError(f'{self.name}: no answer to {name} within '
                                   f'{self.timeout:g} s')
            if 'event' not in answer and answer.get('id') == self._number:
                return result(answer, name, self.name)


class Virsh:
    """A libvirt domain, asked by virsh qemu-monitor-command."""

    def __init__(self, domain, uri=None, timeout=TIMEOUT):
        self.name = domain
        self.timeout = timeout
        self._words = ['virsh', '-q']
        if uri:
            self._words += ['-c', uri]
        self._words += ['qemu-monitor-command', f'--domain={domain}']

    def close(self):
        pass

    def command(self, name):
        """Run a command without arguments; what it returns."""
        words = [*self._words, json.dumps({'execute': name})]
        try:
            done = subprocess.run(
                words, timeout=self.timeout, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        except FileNotFoundError:
            raise MonitorError('virsh is missing: install libvirt-clients, '
                               'or use --qmp')
        except subprocess.TimeoutExpired:
            raise MonitorError(
                f'{self.name}: virsh has not answered within '
                f'{self.timeout:g} s (on the destination, libvirt does not '
                'before the migration has ended)')
        except (OSError, ValueError) as error:
            raise MonitorError(f'{self.name}: virsh can\'t be run: {error}')
        if done.returncode != 0:
            said = done.stderr.decode(errors='replace').split('\n')
            said = next((x for x in said if x.strip()), 'it gave no reason')
            raise MonitorError(f'{self.name}: virsh: '
                               + re.sub('^error: ', '', said.strip()))
        return result(parse(done.stdout, self.name), name, self.name)


def parse(line, name):
    """One JSON object, as a dict."""
    try:
        answer = json.loads(line)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        shown = bytes(line[:40]).decode(errors='replace')
        raise MonitorError(f'{name}: expected QMP, which is JSON, got '
                           f'{shown!r}')
    return answer


def result(answer, command, name):
    if 'return' in answer:
        return answer['return']
    error = answer.get('error')
    said, kind = error, None
    if isinstance(error, dict):
        said, kind = error.get('desc'), error.get('class')
    raise (NoCommand if kind == 'CommandNotFound' else Refused)(
        f'{name}: {command}: {said}')


def read(monitor):
    """
    The answer to query-migrate; and the capabilities that this QEMU knows,
    or None where the answer tells enough.
    """
    info = monitor.command('query-migrate')
    if not isinstance(info, dict):
        raise MonitorError(f'{monitor.name}: query-migrate: expected a '
                           f'struct, got {json.dumps(info)[:40]}')
    if info.get('pagecache'):
        return info, None
    found = monitor.command('query-migrate-capabilities')
    return info, {c.get('capability'): c.get('state')
                  for c in (found if isinstance(found, list) else ())
                  if isinstance(c, dict)}
