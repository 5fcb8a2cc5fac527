# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""One migration of the tortured guest, with its faults, and its verdict."""

import dataclasses
import random
import time
import typing

from lab import ram
from lab.migrate import (ENDED, Migration, Settings, pagecache_of,
                         statistics)
from lab.paths import LabError
from lab.procs import wait_until
from lab.qmp import QMPError, QMPLost

from .faults import Fault, Injected
from .plan import DEADLY

BEFORE = ('none', 'setup', 'wait-unplug')
#: seconds after which both ends are made easy, and after which it is stuck
HURRY, STUCK = 25, 150


@dataclasses.dataclass
class Outcome:
    """What became of it."""
    status: str = 'none'
    info: dict = dataclasses.field(default_factory=dict)
    statistics: dict = dataclasses.field(default_factory=dict)
    disks: list = dataclasses.field(default_factory=list)
    theirs: dict = dataclasses.field(default_factory=dict)
    different: typing.Optional[list] = None
    arrived: bool = False           # the guest is at the destination
    hurried: bool = False
    seconds: float = 0
    #: seconds of each step, for the log
    steps: dict = dataclasses.field(default_factory=dict)

    @property
    def refilled(self):
        return self.statistics.get('refill-bytes', 0)


class Move:
    """
    One migration.  run() leaves the guest at its new home, or, if it came to
    nothing, at the old one.
    """
    port = 4444

    def __init__(self, lab, guest, plan, expected):
        self.lab = lab
        self.network = lab.network
        self.guest = guest
        self.plan = plan
        self.expected = expected            # pages that may be refilled
        self.source = guest.vm
        self.destination = None
        self.outcome = Outcome()
        self.faults = [Fault(x) for x in plan['faults']]
        self.injected = []
        self.dice = random.Random(plan['number'])
        self.sabotage = None                # a test of ourselves

    def in_progress(self):
        """Whether it is, as of the last look."""
        status = self.outcome.info.get('status', 'none')
        return status not in ENDED + BEFORE

    def _look(self):
        """Ask the source; it may be busy with a disk that hangs."""
        try:
            self.outcome.info = self.source.cmd('query-migrate', 1)
        except QMPLost:
            self.source.child.check()
        return self.outcome.info.get('status', 'none')

    def _destination(self):
        properties = self.plan['properties']
        extra = list(self.guest.machine.extra)
        for name, value in properties.items():
            extra += ['-global', f'migration.{name}={value}']
        machine = dataclasses.replace(self.guest.machine, extra=extra)
        host = 'dst' if self.source.host.name == 'src' else 'src'
        self.destination = self.lab.vm(host, machine, incoming=True,
                                       paused=self.plan['paused'])

    def run(self):
        plan = self.plan
        clock = Clock(self.outcome.steps)
        self._destination()
        clock.step('start')
        self.network.shape(plan['lan'], plan['san'])
        migration = Migration(self.source, self.destination, Settings(
            skip=plan['skip'], channels=plan['channels'],
            compression=plan['compression'], downtime_ms=plan['downtime_ms'],
            capabilities={'multifd': plan['channels'] > 1,
                          **plan['capabilities']},
            parameters={'max-bandwidth': 0, **plan['parameters']}), self.port)
        migration.prepare()
        self.injected = [
            Injected(vm, plan['injected'].get(side, ''))
            for side, vm in (('source', self.source),
                             ('destination', self.destination))]
        for seconds, what in plan['during']:
            self.guest.later(seconds, what)
        clock.step('prepare')
        for fault in self.faults:
            if fault.due(self, -1, 0, self.expected):
                fault.begin(self)
        migration.start()
        try:
            self._watch()
        finally:
            for fault in self.faults:
                fault.migration_ended()
        for injected in self.injected:
            injected.end()
        clock.step('migrate')
        self.outcome.seconds = self.outcome.steps['migrate']
        self._judge()
        clock.step('judge')
        return self.outcome

    def _watch(self):
        start = time.monotonic()
        held = None
        while True:
            status = self._look()
            ms = (time.monotonic() - start) * 1000
            if status in ENDED:
                break
            proven = pagecache_of(self.outcome.info).get('proven-pages', 0)
            for fault in self.faults:
                fault.step()
                if fault.due(self, ms, proven, self.expected):
                    fault.begin(self)
            if status == 'pre-switchover':
                held = held or time.monotonic()
                if time.monotonic() >= held + self.plan['hold_ms'] / 1000:
                    self._go_on()
            if ms > HURRY * 1000 and not self.outcome.hurried:
                self._hurry()
            if ms > STUCK * 1000:
                raise LabError(f'the migration has not ended within {STUCK} '
                               f's: {self.outcome.info}')
            time.sleep(0.02)
        self.outcome.status = status

    def _go_on(self):
        try:
            self.source.cmd('migrate-continue', 60, state='pre-switchover')
        except QMPError:
            pass                        # cancelled or failed meanwhile

    def _hurry(self):
        """It does not converge: that is allowed, and made to end."""
        self.outcome.hurried = True
        self.network.shape(10, 10)
        self.source.cmd('migrate-set-parameters', 60, downtime_limit=5000,
                        max_bandwidth=0)

    def _judge(self):
        outcome = self.outcome
        # statistics may grow until the very end
        self._look()
        outcome.statistics = statistics(outcome.info)
        alive = self.destination.child.alive()
        if alive:
            try:
                outcome.theirs = pagecache_of(
                    self.destination.cmd('query-migrate', 30))
                outcome.disks = outcome.theirs.get('disks', [])
            except LabError:
                alive = self.destination.child.alive()
        if outcome.status == 'completed' and alive:
            wait_until(lambda: self.destination.status() != 'inmigrate', 60,
                       'the destination has it all')
            outcome.arrived = True
            if self.sabotage:
                self.sabotage(self)
            if self.plan['paused']:
                if self.destination.status() == 'running':
                    raise LabError('the destination runs: expected it to wait')
                outcome.different = ram.compare(self.source, self.destination)
        elif outcome.status == 'completed' and not any(
                f.begun and f.name in DEADLY for f in self.faults):
            raise LabError('the migration has completed and the destination '
                           f'is gone: {self.destination.child.last_words()}')

    def settle(self):
        """Let the guest live on where it belongs."""
        if self.outcome.arrived:
            # a guest that was paused at the source is so here
            if self.destination.status() != 'running':
                self.destination.cmd('cont', 60)
            self.lab.drop(self.source)
            self.guest.moved(self.destination)
            return
        self.end_faults()
        self.lab.drop(self.destination)
        wait_until(self._source_goes_on, 60,
                   'the guest runs on at the source')

    def _source_goes_on(self):
        status = self.source.status()
        if status == 'running':
            return True
        # the destination was killed after it had taken over, or the guest
        # was paused by a fault or its disk
        if status in ('postmigrate', 'paused', 'io-error'):
            self.source.cmd('cont', 60)
        return False

    def end_faults(self):
        """End those that last, after their time with the guest."""
        for fault in self.faults:
            if fault.begun and not fault.ended and self.outcome.arrived:
                time.sleep(fault.plan['after_ms'] / 1000)
            fault.end()

    def expected_to_fail(self):
        return any(f.begun and f.name in DEADLY for f in self.faults)


class Clock:
    """Seconds of each step."""

    def __init__(self, steps):
        self.steps = steps
        self.last = time.monotonic()

    def step(self, name):
        now = time.monotonic()
        self.steps[name] = round(now - self.last, 2)
        self.last = now
