# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The guest's clients, on a host of their own; each answer is kept.

    web = clients.Web(lab.hosts['clients'], root.tree, address, paths, 25)
    lab.at_end(web.close)
    web.start()
    ...
    measured = web.stop()                       # answers.Answers

The programs run below a Debian tree, with a tmpfs on its /mnt that only
their host sees.  All ask at a rate, and what could not be asked in time is
asked later, as fast as it goes; so there is a rush after a standstill.  A
latency is what a client waits for an answer once it has asked, without the
time for which it could not ask (of which `answers.gap` and the rate tell).
"""

import glob
import itertools
import os
import re
import signal
import socket
import threading
import time

from lab.paths import LabError
from lab.procs import Child, wait_until

from .answers import Answers

#: longer than any run, seconds
FOREVER = 86400
#: for the first answers, and for the last, seconds
PATIENCE = 20

_count = itertools.count()


class Workplace:
    """
    A new directory in the clients' tree: .inside as they see it, .outside
    as we do.  It is gone when their host is.
    """

    def __init__(self, host, tree):
        where = os.path.join(tree, 'mnt')
        host.run('sh', '-c', f'mountpoint -q "{where}" || '
                             f'mount -t tmpfs clients "{where}"')
        number = next(_count)
        self.inside = f'/mnt/{number}'
        self.outside = f'/proc/{host.pid}/root{tree}{self.inside}'
        os.mkdir(self.outside)
        self._logs = os.path.join(os.path.dirname(host.child.log),
                                  f'clients{number}')

    def log(self, number):
        """A new file for what a program says, which stays with the lab's."""
        path = f'{self._logs}-{number}.log'
        if os.path.exists(path):
            os.remove(path)
        return path


def realtime_offset():
    """What to add to the time of day for time.monotonic()."""
    return time.monotonic() - time.time()


class _Programs:
    """Client programs with connections to a guest's port."""
    unit = ''

    def __init__(self, host, tree, address, port, connections):
        self.host = host
        self.tree = os.path.realpath(tree)
        self.address = address
        self.port = port
        self.connections = connections
        self.children = []
        self.offset = 0.0

    def _run(self, *words):
        """Start a program of the tree."""
        child = Child(['chroot', self.tree, *words],
                      self.place.log(len(self.children)),
                      enter=self.host.enter)
        child.name = os.path.basename(words[0])
        self.children.append(child)

    def connected(self):
        """How many connections to the guest live."""
        return len(self.host.run('ss', '-Htn', 'state', 'established', 'dst',
                                 f'{self.address}:{self.port}').splitlines())

    def start(self):
        """Begin to ask; returns when all are connected."""
        self.place = Workplace(self.host, self.tree)
        self.offset = realtime_offset()
        self._start()
        wait_until(self._all_connected, PATIENCE,
                   f'{self.connections} connections to {self.address} port '
                   f'{self.port}')

    def _all_connected(self):
        for child in self.children:
            child.check()
        return self.connected() >= self.connections

    def stop(self):
        """End them, and return their Answers."""
        lost = max(self.connections - self.connected(), 0)
        try:
            errors = self._end()
        finally:
            self.close()
        found, more = self._read()
        return Answers(found, errors + more + lost, self.unit)

    def _lines(self, pattern):
        """The complete lines of all logs, as lists of words."""
        for path in sorted(glob.glob(os.path.join(self.place.outside,
                                                  pattern))):
            with open(path) as file:
                for line in file:
                    if line.endswith('\n'):
                        yield line.split()

    def close(self):
        """Kill what still runs; may be called again."""
        for child in self.children:
            child.kill()


class Web(_Programs):
    """
    h2load, one process for each connection, which is kept alive.

    paths: a list of URL paths for each connection, asked for in that order,
    again and again (h2load has one list for all of its connections, and goes
    through it with all at the same time).  rps: of each connection; None: as
    fast as answers come.  A connection that breaks is not made again.
    """
    unit = 'requests'

    def __init__(self, host, tree, address, paths, rps=None, port=80):
        super().__init__(host, tree, address, port, len(paths))
        self.paths = paths
        self.rps = rps

    def _start(self):
        for number, paths in enumerate(self.paths):
            with open(f'{self.place.outside}/{number}.paths', 'w') as file:
                file.write(''.join(path + '\n' for path in paths))
            self._run('h2load', '--h1', '-c1', '-t1', '-D', str(FOREVER),
                      *(['--rps', str(self.rps)] if self.rps else []),
                      '--base-uri', f'http://{self.address}:{self.port}',
                      '-i', f'{self.place.inside}/{number}.paths',
                      '--log-file', f'{self.place.inside}/{number}.log')

    def _end(self):
        # each answer was written to the log when it came
        for child in self.children:
            child.check()
            child.signal(signal.SIGTERM)
        return 0

    def _read(self):
        found, errors = [], 0
        for begin, status, took in self._lines('*.log'):
            if status == '200':
                found.append((int(begin) / 1e6 + self.offset,
                              int(took) / 1e6))
            else:
                errors += 1
        return found, errors


class Database(_Programs):
    """
    pgbench: 'select' (its -S) or 'tpcb', rate transactions a second of all
    clients together; None: as fast as answers come.

    A transaction that is due waits for a client to be free; with a rate,
    pgbench counts that (the schedule lag) as part of the latency, we don't.
    """
    unit = 'transactions'
    SCRIPTS = {'select': 'select-only', 'tpcb': 'tpcb-like'}

    def __init__(self, host, tree, address, script, clients=4, rate=None,
                 port=5432, user='postgres', database='postgres'):
        super().__init__(host, tree, address, port, clients)
        self.script = self.SCRIPTS[script]
        self.rate = rate
        self.user = user
        self.database = database

    def _start(self):
        programs = glob.glob('usr/lib/postgresql/*/bin/pgbench',
                             root_dir=self.tree)
        if not programs:
            raise LabError(f'{self.tree}: no pgbench there')
        self._run('/' + programs[0], '-h', self.address, '-p', str(self.port),
                  '-U', self.user, '--no-vacuum', '-b', self.script,
                  '-c', str(self.connections), '-j', '1',
                  '-T', str(FOREVER), '--log',
                  '--log-prefix', f'{self.place.inside}/log',
                  *(['-R', str(self.rate)] if self.rate else []),
                  self.database)

    def _end(self):
        child = self.children[0]
        # what its -T ends with: transactions come to their end, the log to
        # the file
        child.signal(signal.SIGALRM)
        status = child.wait(PATIENCE)
        with open(child.log) as file:
            text = file.read()
        # 2: a client met an error, and went no further; connections that
        # broke have been counted
        if status not in (0, 2):
            raise LabError(f'pgbench ended with status {status}: '
                           + child.last_words())
        failed = re.search(r'number of failed transactions: (\d+)', text)
        return int(failed.group(1)) if failed else 0

    def _read(self):
        found = []
        for words in self._lines('log.*'):
            took, seconds, microseconds = int(words[2]), *words[4:6]
            if self.rate:
                took -= int(words[6])
            end = int(seconds) + int(microseconds) / 1e6 + self.offset
            found.append((end - took / 1e6, took / 1e6))
        return found, 0


class Beats:
    """
    Receives what benchtool sends: datagrams 'NUMBER BYTES', for so many
    bytes that were read or written since the last one.

    Each is an answer without latency, at the time when the clients' host got
    it.  A lost one is no error; one that is none of these is.
    """
    BUFFER = 4 << 20
    # asm-generic/socket.h; Python has no names for them
    SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35

    def __init__(self, host, port):
        self.host = host
        self.port = port
        self._socket = self._thread = None
        self._end = threading.Event()

    def start(self):
        self.measured = Answers([], 0, 'beats', [])
        self.offset = realtime_offset()
        self._socket = self.host.socket(socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, self.SO_RCVBUFFORCE,
                                self.BUFFER)
        self._socket.setsockopt(socket.SOL_SOCKET, self.SO_TIMESTAMPNS, 1)
        self._socket.bind((self.host.front, self.port))
        self._socket.settimeout(0.1)
        self._end.clear()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        while not self._end.is_set():
            try:
                data, extra, _, _ = self._socket.recvmsg(64, 64)
            except socket.timeout:
                continue
            self._take(data, extra[0][2])

    def _take(self, data, stamp):
        match = re.fullmatch(rb'\d+ (\d+)\s*', data)
        if not match:
            self.measured.errors += 1
            return
        when = int.from_bytes(stamp[:8], 'little') \
            + int.from_bytes(stamp[8:16], 'little') / 1e9
        self.measured.answers.append((when + self.offset, 0.0))
        self.measured.sizes.append(int(match.group(1)))

    def stop(self):
        self.close()
        return self.measured

    def close(self):
        if self._socket:
            self._end.set()
            if self._thread:
                self._thread.join()
            self._socket.close()
            self._socket = self._thread = None
