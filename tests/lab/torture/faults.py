# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Faults: how each is done and undone, and how one knows that it was real.

A fault is a generator: it does its thing and yields the milliseconds that
it lasts; then it is continued, undoes its thing, and returns either True or
False (it has fired) or a function that tells so of the migration's outcome.
Whatever happens it is continued, so that the lab is whole afterwards.  Those
in LASTING are continued when the guest has run at the destination for a while.
"""

import time

from lab.paths import LabError
from lab.qmp import QMPError, QMPLost
from lab.target import PORT

from .plan import DEADLY

#: QEMU's object for faults on purpose
PATH = '/pagecache-faults'

#: faults that go on when the migration has ended
LASTING = ('late-reads', 'hang-reads')


def cancel(move, _plan):
    move.source.cmd('migrate_cancel', 60)
    yield 0
    return lambda outcome: outcome.status == 'cancelled'


def kill_destination(move, _plan):
    move.destination.kill()
    yield 0
    return lambda outcome: outcome.status == 'failed'


def break_channel(move, plan):
    """Connections of the channel break without a farewell."""
    if plan['how'] == 'reset':
        move.source.host.run('ss', '-K', '-t', 'dport', '=', f':{move.port}')
    else:
        side = move.source if 'source' in plan['how'] else move.destination
        side.cmd('yank', 60, instances=[{'type': 'migration'}])
    yield 0
    return lambda outcome: outcome.status == 'failed'


def _quiet(move, host, wire, ms):
    """Wait while a wire is cut; whether it was, and somebody missed it."""
    begun = move.in_progress()
    time.sleep(0.02)
    before = host.counters(wire)[0]
    yield ms
    return begun and move.in_progress() \
        and host.counters(wire)[0] - before < 65536


def unplug_channel(move, plan):
    host = move.destination.host
    move.network.unplug(host, 'lan')
    try:
        return (yield from _quiet(move, host, 'lan', plan['ms']))
    finally:
        move.network.plug(host, 'lan')


def unplug_storage(move, plan):
    host = move.destination.host
    move.network.unplug(host, 'san')
    try:
        return (yield from _quiet(move, host, 'san', plan['ms']))
    finally:
        move.network.plug(host, 'san')


def _reshape(move, wire, gbit, back, ms):
    begun = move.in_progress()
    move.network.shape(**{wire: gbit})
    yield ms
    still = move.in_progress()
    if back is not None:
        move.network.shape(**{wire: back})
    return begun and still


def stall_channel(move, plan):
    return _reshape(move, 'lan', 0.005, move.plan['lan'], plan['ms'])


def stall_storage(move, plan):
    return _reshape(move, 'san', 0.005, move.plan['san'], plan['ms'])


def reshape_channel(move, plan):
    return _reshape(move, 'lan', plan['gbit'], None, 1)


def reshape_storage(move, plan):
    return _reshape(move, 'san', plan['gbit'], None, 1)


def hang_target(move, plan):
    """Connections stay up, nothing answers."""
    target = move.lab.target
    target.pause()
    try:
        return (yield from _quiet(move, target.host, 'san', plan['ms']))
    finally:
        target.resume()


def kill_target(move, plan):
    target = move.lab.target
    begun = move.in_progress()
    target.kill()
    try:
        yield plan['ms']
        return begun and move.in_progress()
    finally:
        target.start()


def break_sessions(move, _plan):
    """Reset all connections to the target, the guest's own among them."""
    begun = move.in_progress()
    cut = move.lab.target.host.run('ss', '-K', '-H', '-t', 'sport', '=',
                                   f':{PORT}')
    yield 0
    return begun and bool(cut.strip())


def _slow_reads(move, number, command):
    """How the destination's mount of a disk answers reads from now on."""
    mount = move.guest.luns[number].mounts[move.destination.host.name]
    before = mount.state('read')['came']
    mount.command(command)
    yield 0                             # until the migration has ended
    came = mount.state('read')['came'] - before
    yield 0                             # until the guest has run
    mount.command('read now')
    return came > 0


def late_reads(move, plan):
    """What is read comes later, as it was when it was asked for."""
    return _slow_reads(move, plan['disk'], f"read late {plan['late_ms']}")


def hang_reads(move, plan):
    return _slow_reads(move, plan['disk'], 'read hang')


def rewrite_disk(move, plan):
    """Other bytes behind the back of the guest, in a file that it caches."""
    begun = move.in_progress()
    count = move.guest.bait.rewrite(plan['share'], move.dice)
    yield 0
    return lambda outcome: begun and count \
        and outcome.statistics['mismatched-pages'] > 0


def pause_guest(move, plan):
    move.source.cmd('stop', 60)
    paused = move.source.status() == 'paused' and move.in_progress()
    yield plan['ms']
    if move.in_progress() and move.source.status() == 'paused':
        move.source.cmd('cont', 60)
    return paused


class Injected:
    """
    Faults on purpose in QEMU's own code, if it was built with them.

    Counted is what QEMU says to have fired.
    """

    def __init__(self, vm, armed):
        self.vm = vm
        self.fired = {}
        try:
            self.before = self._count()
        except QMPError:
            self.before = None          # a QEMU without them
            return
        self._arm(armed)

    def _arm(self, text):
        self.vm.cmd('qom-set', 60, path=PATH, property='armed', value=text)

    def _count(self):
        return self.vm.cmd('qom-get', 60, path=PATH, property='fired')

    def end(self):
        if self.before is None or not self.vm.child.alive():
            return
        try:
            self._arm('')
            now = self._count()
        except QMPLost:
            return                      # it ends just now
        self.fired = {name: count - self.before[name]
                      for name, count in now.items()
                      if count > self.before[name]}


class Fault:
    """One planned fault on its way."""

    def __init__(self, plan):
        self.plan = plan
        self.name = plan['name']
        self.work = self.until = None
        self.begun = self.ended = False
        self.lasts = self.name in LASTING
        self.result = False

    def due(self, move, ms, proven, expected):
        when = self.plan['when']
        if self.begun or not (move.in_progress() or self.name in DEADLY
                              or when == {'ms': -1}):
            return False
        if 'ms' in when:
            return ms >= when['ms']
        return expected and proven >= when['proven'] * expected \
            and proven > 0

    def begin(self, move):
        self.begun = True
        function = globals()[self.name.replace('-', '_')]
        self.work = function(move, self.plan)
        self._go_on()

    def _go_on(self):
        try:
            ms = next(self.work)
            self.until = time.monotonic() + ms / 1000
        except StopIteration as end:
            self.ended = True
            self.result = end.value
        except LabError:
            # it came too late: QEMU has ended, or refused
            self.ended = True

    def migration_ended(self):
        """The time of those that last begins; the others' is over."""
        if not self.lasts:
            self.end()
        elif self.begun and not self.ended:
            self._go_on()

    def step(self):
        """End it when its time is over."""
        if self.begun and not self.ended and not self.lasts \
                and time.monotonic() >= self.until:
            self.end()

    def end(self):
        while self.begun and not self.ended:
            self._go_on()

    def fired(self, outcome):
        if callable(self.result):
            return bool(self.result(outcome))
        return bool(self.result)
