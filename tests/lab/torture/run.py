# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""The chain of migrations, the books that are kept, and the evidence."""

import collections
import json
import os
import shutil
import time
import traceback

from lab import ram
from lab.lab import Lab
from lab.paths import LabError

from . import plan as plans
from .move import Move
from .workload import Guest, WrongBytes

MIB, PAGE = 1 << 20, 4096
#: refill the guest's cache when less than this share of its files is in it
WARM = 0.85
#: differing pages that are looked at closely
SHOWN = 64


class Books:
    """What result.json holds."""

    def __init__(self, seed):
        self.seed = seed
        self.start = time.monotonic()
        self.counts = collections.Counter()
        self.faults = collections.Counter()
        self.planned = collections.Counter()
        self.injected = collections.Counter()
        self.effects = collections.Counter()
        self.kinds = collections.Counter()
        self.operations = collections.Counter()
        self.failures = []

    def guest_ended(self, figures):
        """The counters of a guest's writers, once for each guest."""
        for name, value in figures.items():
            if name not in ('workers', 'late', 'bad', 'failures'):
                self.operations[name] += int(value)

    def add(self, move):
        plan, outcome = move.plan, move.outcome
        kinds = [plan['guest']['fs'], plan['guest']['bus'],
                 'kernel ' + plan['guest']['kernel'],
                 'hints of ' + plan['guest']['hints'],
                 *(f'disk {x}' for x in set(plan['guest']['storage'])),
                 'waits' if plan['paused'] else 'runs at once',
                 'skip' if plan['skip'] else 'plain',
                 f"multifd {plan['compression']}" if plan['channels'] > 1
                 else 'one channel']
        self.kinds.update(kinds)
        self.counts['migrations'] += 1
        self.counts['plain'] += not plan['skip']
        self.counts[outcome.status] += 1
        self.counts['hurried'] += outcome.hurried
        if outcome.different is not None:
            self.counts['compared'] += 1
            self.counts['wrong_pages'] += len(outcome.different)
            self.counts['wrong_pages_plain'] += \
                0 if plan['skip'] else len(outcome.different)
        if outcome.arrived:
            self.counts['refilled_bytes'] += outcome.refilled
        else:
            self.counts['refilled_bytes_not_completed'] += outcome.refilled
        for fault in move.faults:
            self.planned[fault.name] += 1
            self.faults[fault.name] += fault.fired(outcome)
        for injected in move.injected:
            for name, count in injected.fired.items():
                self.faults[f'injected {name}'] += 1
                self.injected[name] += count
        stats = outcome.statistics
        for name in ('mismatched-pages', 'unavailable-pages',
                     'released-pages', 'duplicate-pages', 'proven-pages'):
            self.effects[name] += stats.get(name, 0)
        self.effects['superseded-pages'] += outcome.theirs.get(
            'superseded-pages', 0)
        self.effects['hints given up'] += 'given-up' in stats
        for entry in outcome.disks:
            self.effects['reads'] += entry['reads']
            self.effects['reads failed'] += entry['errors']
            self.effects['reads timed out'] += entry['timeouts']
            self.effects['disks given up'] += entry['status'] == 'failed'

    def result(self):
        counts = collections.defaultdict(int, self.counts)
        return {
            'seeds': [self.seed],
            'migrations': counts['migrations'],
            'completed': counts['completed'],
            'cancelled': counts['cancelled'],
            'failed': counts['failed'],
            'plain': counts['plain'],
            'compared': counts['compared'],
            'disks_checked': counts['disks_checked'],
            'wrong_pages': counts['wrong_pages'],
            'wrong_pages_plain': counts['wrong_pages_plain'],
            'guest_errors': counts['guest_errors'],
            'refilled_bytes': counts['refilled_bytes'],
            'refilled_bytes_not_completed':
                counts['refilled_bytes_not_completed'],
            'faults': {k: v for k, v in sorted(self.faults.items()) if v},
            'faults_planned': dict(sorted(self.planned.items())),
            'injected': dict(sorted(self.injected.items())),
            'effects': dict(sorted(self.effects.items())),
            'guests': counts['guests'],
            'kinds': dict(sorted(self.kinds.items())),
            'writers': dict(sorted(self.operations.items())),
            'hurried': counts['hurried'],
            'seconds': round(time.monotonic() - self.start),
            'failures': self.failures,
        }

    @property
    def good(self):
        return not (self.counts['wrong_pages'] or self.failures)


class Torture:
    """A run: migrations one after the other until there is a reason to end."""

    def __init__(self, seed, output, memory, cache, forced=(), say=print,
                 name='torture'):
        self.seed = seed
        self.output = output
        self.memory = memory
        self.cache = cache
        self.forced = forced
        self.say = say
        self.name = name
        self.books = Books(seed)
        self.guest = None
        self.figures = {}
        # tests of ourselves: before RAM is compared, before files are checked
        self.sabotage = self.disturb = None
        os.makedirs(output, exist_ok=True)

    def run(self, numbers, end=None, keep_going=False):
        """
        Carry out the plans of these numbers, until time.monotonic() is end.

        Returns whether all was well; result.json is up to date all the time.
        """
        with Lab(self.name, lan=10, san=10) as lab:
            for number in numbers:
                if end is not None and time.monotonic() > end:
                    break
                plan = plans.migration(self.seed, number, self.forced)
                good = self._one(lab, plan)
                self.write()
                if not good and not keep_going:
                    break
            self._guest_ends()
        self.write()
        return self.books.good

    def write(self):
        path = os.path.join(self.output, 'result.json')
        with open(path + '.new', 'w') as file:
            json.dump(self.books.result(), file, indent=1)
            file.write('\n')
        os.rename(path + '.new', path)

    def _guest_ends(self):
        if self.guest is not None:
            self.books.guest_ended(self.figures)
            self.guest.close()
            self.guest = None
            self.figures = {}

    def _one(self, lab, plan):
        start = time.monotonic()
        self.say(f"plan {plans.text(plan)}")
        try:
            if plan['fresh'] or self.guest is None:
                self._guest_ends()
                lab.network.shape(10, 10)
                self.guest = Guest(lab, plan['guest'], self.memory,
                                   self.cache)
                self.books.counts['guests'] += 1
            else:
                self._before(lab, plan)
            move = Move(lab, self.guest, plan, self._expected())
            move.outcome.steps['before'] = round(time.monotonic() - start, 2)
            move.sabotage = self.sabotage
            self.guest.rate(plan['rate'])
            move.run()
            try:
                good = self._settle(lab, move)
            finally:
                move.end_faults()
                self.books.add(move)
                self._told(move)
            if not good:
                self._end_broken(lab)
            return good
        except WrongBytes as error:
            self.books.counts['guest_errors'] += 1
            self._trouble(plan, f'the guest: {error}\n{self._asked()}')
        except LabError as error:
            self._trouble(plan, f'{error}\n{traceback.format_exc()}')
        self._keep_logs(lab, plan)
        self._end_broken(lab)
        return False

    def _expected(self):
        """Pages that a refill may bring, roughly."""
        return self.cache * MIB // PAGE

    def _before(self, lab, plan):
        lab.network.shape(10, 10)
        if plan['before']:
            self.guest.sh(self.guest.action(plan['before']), 120)
        if plan['before'] != 'drop-caches' and self.guest.warm() < WARM:
            self.guest.fill()

    def _settle(self, lab, move):
        """The verdict; the guest lives on where it belongs."""
        plan, outcome = move.plan, move.outcome
        start = time.monotonic()
        if outcome.different:
            self._evidence(lab, move)
            self._trouble(plan, f'{len(outcome.different)} pages differ')
            return False
        if outcome.status != 'completed' and not move.expected_to_fail():
            raise LabError(f"the migration ended as '{outcome.status}' "
                           'without a reason: '
                           f"{outcome.info.get('error-desc')}")
        lab.network.shape(10, 10)
        self.guest.bait.restore()
        move.settle()
        if self.disturb:
            self.disturb(move)
        self._check(move)
        self.say(f'checked {plan["number"]}: '
                 f'{time.monotonic() - start:.2f} s')
        return True

    def _check(self, move):
        """What the guest has in its cache first, then what on its disks."""
        # or they write over what they should find
        self.guest.rate(0)
        self.guest.check(meanwhile=move.end_faults)
        if move.outcome.different is None:
            self.guest.check_static()
        self.figures = self.guest.check_disks()
        self.books.counts['disks_checked'] += 1
        self.guest.check_log()

    def _told(self, move):
        outcome, stats = move.outcome, move.outcome.statistics
        fired = [f'{f.name}{"" if f.fired(outcome) else " (not fired)"}'
                 for f in move.faults]
        fired += [f'{name} {count}' for x in move.injected
                  for name, count in x.fired.items()]
        verdict = 'not compared' if outcome.different is None else \
            f'{len(outcome.different)} pages differ'
        self.say(f"done {move.plan['number']}: {outcome.status}, {verdict}, "
                 f"{'skip' if move.plan['skip'] else 'plain'}, "
                 f'{outcome.refilled >> 20} MiB refilled, '
                 f"{stats['mismatched-pages']} mismatched, "
                 f"{stats['unavailable-pages']} unavailable, "
                 f"faults {fired}, {outcome.steps}"
                 f"{' hurried' if outcome.hurried else ''}; in all "
                 f"{self.books.counts['migrations']}, "
                 f"{self.books.counts['refilled_bytes'] / (1 << 30):.1f} GiB, "
                 f'{time.monotonic() - self.books.start:.0f} s')

    def _trouble(self, plan, text):
        self.say(f"TROUBLE {plan['number']}: {text}")
        self.books.failures.append({'seed': self.seed,
                                    'number': plan['number'], 'what': text,
                                    'plan': plan})

    def _end_broken(self, lab):
        """Whatever is left of the guest: the next one starts anew."""
        self.books.guest_ended(self.figures)
        self.guest = None
        self.figures = {}
        for vm in list(lab.vms):
            lab.drop(vm)
        if not lab.target.child.alive():
            lab.target.start()
        lab.target.resume()
        for lun in lab.target.luns + lab.file_luns:
            lab.discard(lun)

    def _asked(self):
        """What the guest, if it still answers, says of its own state."""
        try:
            return self.guest.sh('cat /proc/uptime; ps -o pid,stat,args | '
                                 'grep "[t]orture"; dmesg | tail -n 20', 60)
        except LabError as error:
            return f'it does not answer: {error}'

    def _keep_logs(self, lab, plan):
        """Copies of what the QEMUs and the guest wrote."""
        where = os.path.join(self.output,
                             f"failure-{self.seed}-{plan['number']}")
        os.makedirs(where, exist_ok=True)
        for vm in lab.vms:
            for suffix in ('.log', '.console'):
                path = os.path.join(lab.logdir, vm.name + suffix)
                if os.path.exists(path):
                    shutil.copy(path, where)
        path = os.path.join(lab.logdir, 'tgtd.log')
        if os.path.exists(path):
            shutil.copy(path, where)
        with open(os.path.join(where, 'plan.json'), 'w') as file:
            json.dump(plan, file, indent=1)
        return where

    def _evidence(self, lab, move):
        """What can be found out about pages that differ."""
        where = self._keep_logs(lab, move.plan)
        lines = [f'{len(move.outcome.different)} pages differ',
                 json.dumps(move.outcome.info), json.dumps(move.outcome.theirs)]
        luns = [os.pread(lun.file.fd, lun.file.size, 0)
                for lun in self.guest.luns]
        for number, page in enumerate(move.outcome.different[:SHOWN]):
            there = ram.page(move.source, *page)
            here = ram.page(move.destination, *page)
            at = [i for i in range(PAGE) if there[i] != here[i]]
            lines.append(f'{page}: {len(at)} bytes differ, '
                         f'{at[0]:#x} to {at[-1]:#x}')
            for side, data in (('source', there), ('destination', here)):
                found = [f'disk {i} sector {content.find(data) // 512}'
                         for i, content in enumerate(luns)
                         if content.find(data) >= 0]
                lines.append(f'  {side}: zero: {not any(data)}, on disk: '
                             f'{found}, begins {data[:32].hex()}')
                with open(os.path.join(where, f'page-{number}-{side}'),
                          'wb') as file:
                    file.write(data)
        with open(os.path.join(where, 'pages'), 'w') as file:
            file.write('\n'.join(lines) + '\n')
        self.say('\n'.join(lines[:20]))
