# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Another host that reads from the SAN, and how long it waits for each read.

    neighbour = Neighbour(lab.hosts['neighbour'], lun.url(), gbit=0.5,
                          log=lab.logdir + '/neighbour.log')
    lab.at_end(neighbour.close)
    neighbour.start()
    ...
    answers.p99(neighbour.stop().answers, a, b)

iscsiload.c tells what it does when the SAN can't keep up.
"""

import fcntl
import os
import re
import signal
import subprocess

from lab.paths import BUILD, LabError, need_tool
from lab.procs import Child, wait_until

from .answers import Answers

SOURCE = os.path.join(os.path.dirname(os.path.realpath(__file__)),
                      'iscsiload.c')
PROGRAM = os.path.join(BUILD, 'bench/iscsiload')
PATIENCE = 20                   # seconds


def iscsiload():
    """Build the program if it is not up to date; its path."""
    os.makedirs(os.path.dirname(PROGRAM), exist_ok=True)
    with open(PROGRAM + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(PROGRAM) \
                or os.path.getmtime(PROGRAM) < os.path.getmtime(SOURCE):
            flags = subprocess.run(
                [need_tool('pkg-config', 'pkgconf'), '--cflags', '--libs',
                 'libiscsi'], text=True, stdout=subprocess.PIPE)
            if flags.returncode != 0:
                raise LabError('no libiscsi to compile with: '
                               'apt-get install libiscsi-dev')
            subprocess.run([need_tool('gcc', 'gcc'), '-std=gnu11', '-O2',
                            '-Wall', '-Wextra', '-o', PROGRAM + '.new',
                            SOURCE, *flags.stdout.split()], check=True)
            os.rename(PROGRAM + '.new', PROGRAM)
    return PROGRAM


class Neighbour:
    """
    Reads of size KiB at random places of a LUN, for a share of the SAN.

    gbit: how much it asks for, Gbit/s; 0: as much as depth reads at a time
    bring.  A latency is from when the read was due.  errors: reads that
    failed, and those that were given up a second after they were due.
    """

    def __init__(self, host, url, gbit, log, size=64, depth=16):
        self.host = host
        self.words = [url, f'{gbit * 125:.6f}', str(size), str(depth)]
        self.size = size << 10
        self.log = log
        self.child = None

    def start(self):
        """Begin; returns when reads are answered."""
        # in a file of its own: answers go there by the thousand
        with open(self.log + '.answers', 'wb') as out:
            self.child = Child([iscsiload(), *self.words], self.log,
                               enter=self.host.enter, stdout=out)
        wait_until(self._answered, PATIENCE, 'the neighbour reads')

    def _answered(self):
        self.child.check()
        return os.path.getsize(self.log + '.answers') > 0

    def stop(self):
        """End it, and return its Answers."""
        self.child.check()
        self.child.signal(signal.SIGTERM)
        self.child.wait(PATIENCE)
        with open(self.log + '.answers') as file:
            *lines, last = file.read().splitlines()
        match = re.fullmatch(r'end (\d+) (\d+)', last)
        if not match:
            raise LabError('iscsiload did not come to its end: '
                           + self.child.last_words())
        found = [(int(due) / 1e6, int(latency) / 1e6)
                 for due, latency in map(str.split, lines)]
        return Answers(found, sum(map(int, match.groups())), 'reads',
                       [self.size] * len(found))

    def close(self):
        """Kill it if it still runs; may be called again."""
        if self.child:
            self.child.kill()
