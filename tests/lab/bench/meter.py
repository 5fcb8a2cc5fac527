# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Processors: how busy the machine is, which thread was, whether it is quiet.

Times are seconds of CPU, from /proc.
"""

import collections
import glob
import hashlib
import os
import re
import time

from lab.paths import LabError

TICK = os.sysconf('SC_CLK_TCK')
#: a run begins when others took less than this share of all CPUs for so long
QUIET, QUIET_SECONDS = 0.05, 5
#: a CPU is called full from here on
FULL = 0.95


def machine():
    """What the figures were measured on."""
    with open('/proc/cpuinfo') as file:
        model = re.search(r'model name\s*: (.*)', file.read())
    with open('/proc/meminfo') as file:
        memory = int(re.search(r'MemTotal:\s+(\d+)', file.read()).group(1))
    try:
        with open('/etc/machine-id', 'rb') as file:
            number = hashlib.sha256(file.read()).hexdigest()[:8]
    except OSError:
        number = 'unknown'
    return {'id': number, 'cpus': os.cpu_count(),
            'model': model.group(1).strip() if model else 'unknown',
            'memory_mib': memory >> 10, 'kernel': os.uname().release}


def busy():
    """(seconds all CPUs were busy, seconds there were) since boot."""
    with open('/proc/stat') as file:
        fields = [int(x) for x in file.readline().split()[1:9]]
    idle = fields[3] + fields[4]
    return (sum(fields) - idle) / TICK, sum(fields) / TICK


def threads(pid):
    """{(thread's number, its name): seconds of CPU}"""
    found = {}
    for path in glob.glob(f'/proc/{pid}/task/*/stat'):
        try:
            with open(path) as file:
                text = file.read()
        except OSError:
            continue                    # it has just ended
        name = text[text.index('(') + 1:text.rindex(')')]
        found[int(text.split(None, 1)[0]), name] = _seconds(text)
    return found


def _seconds(stat):
    fields = stat[stat.rindex(')') + 2:].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _process(pid):
    with open(f'/proc/{pid}/stat') as file:
        return _seconds(file.read())


class Processors:
    """The CPU time that processes take between start() and stop()."""

    def __init__(self, processes):
        self.processes = processes      # {label: pid}

    def start(self):
        self.begin = time.monotonic()
        self.machine = busy()
        self.zero = {label: threads(pid)
                     for label, pid in self.processes.items()}
        self.seen = {label: dict(found)
                     for label, found in self.zero.items()}
        self.total = {label: _process(pid)
                      for label, pid in self.processes.items()}
        return self

    def look(self):
        """To be called now and then: threads end and take their time along."""
        for label, pid in self.processes.items():
            self.seen[label].update(threads(pid))

    def stop(self):
        """
        ({label: seconds}, {'busy': share of all CPUs, 'threads': {name: share
        of a CPU, same names added up}, 'full': [what was full]})
        """
        self.look()
        seconds = time.monotonic() - self.begin
        end = busy()
        used = {label: round(_process(pid) - self.total[label], 2)
                for label, pid in self.processes.items()}
        shares, full = collections.Counter(), set()
        for label, found in self.seen.items():
            for key, spent in found.items():
                part = (spent - self.zero[label].get(key, 0)) / seconds
                shares[f'{label} {key[1]}'] += part
                if part >= FULL:
                    full.add(f'{label} {key[1]}')
        whole = (end[0] - self.machine[0]) / max(end[1] - self.machine[1],
                                                 1e-9)
        if whole >= FULL:
            full.add('all CPUs')
        return used, {'busy': round(whole, 3),
                      'threads': {name: round(part, 3) for name, part
                                  in shares.items() if part >= 0.02},
                      'full': sorted(full)}


def wait_until_quiet(timeout=600, say=lambda text: None):
    """Wait until nobody else uses the CPUs; LabError if that never comes."""
    deadline = time.monotonic() + timeout
    since, last = time.monotonic(), busy()
    told = False
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.5)
        now = busy()
        share = (now[0] - last[0]) / max(now[1] - last[1], 1e-9)
        last = now
        if share >= QUIET:
            since = time.monotonic()
            if since > deadline:
                raise LabError(f'other processes took {share:.0%} of the CPUs'
                               f' all the time: expected less than {QUIET:.0%}'
                               f' for {QUIET_SECONDS} s')
            if not told:
                say(f'waiting for a quiet machine ({share:.0%} busy)')
                told = True
