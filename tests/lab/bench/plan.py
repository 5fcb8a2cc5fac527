# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What is measured: settings, points, and in which order.

A point is a workload moved by a peer in a setting; a run is one migration of
it.  Peers take turns (A B C A B C), so that a machine whose speed drifts is
fair to all.
"""

import dataclasses
import re
import typing

from lab.paths import LabError
from .peers import PEERS
from .workloads import WORKLOADS

SHARES = (0, 0.3, 0.6, 0.9)
#: number of the run that compares RAM instead of serving clients
VERIFY = 0
DATABASES = ('db-select', 'db-tpcb')
#: how long clients are watched where it is told how they fare, seconds
AFTER = 60
#: what is said of "before" and "after" in a point
SPAN = 20
#: those of which several guests can be told apart, and share a LUN
SHARING = ('web',)


@dataclasses.dataclass(frozen=True)
class Setting:
    """
    lan, san: Gbit/s.  san_load: what a neighbour wants of the SAN, a share of
    its rate.  share: clean cache in what plain precopy sends.  write: what
    the workload of that name dirties, a share of the channel's rate.
    """
    name: str = 'base'
    lan: float = 0.5
    san: float = 1.25
    san_load: float = 0.0
    share: float = 0.6
    ram: int = 2048                     # MiB, of each guest
    guests: int = 1
    prealloc: bool = True
    driver: bool = True
    write: float = 0.5

    def check(self):
        """LabError if it cannot work."""
        def expect(good, key, what):
            if not good:
                raise LabError(f'{key}={getattr(self, key)}: expected {what}')

        expect(re.fullmatch(r'[\w.-]+', self.name), 'name',
               'letters, digits, dots and hyphens')
        expect(0 < self.lan <= 10, 'lan', 'more than 0 and at most 10 Gbit/s')
        expect(0 < self.san <= 10, 'san', 'more than 0 and at most 10 Gbit/s')
        expect(0 <= self.san_load <= 1, 'san_load', 'a share from 0 to 1')
        expect(self.share in SHARES, 'share',
               'one of ' + ', '.join(map(str, SHARES)))
        expect(0 <= self.write <= 4, 'write', 'a rate from 0 to 4 times the '
               "channel's")
        expect(1 <= self.guests <= 16, 'guests', 'from 1 to 16')
        expect(self.ram == 2048 if self.guests == 1 else
               384 <= self.ram <= 1024, 'ram', '2048 MiB for one guest, or '
               'from 384 to 1024 MiB for each of several')


@dataclasses.dataclass(frozen=True)
class Group:
    """
    Points that are measured in turns.

    after: for how many seconds clients are watched after the migration, in
    the first run.  tier: how many rounds it comes behind the others.
    """
    setting: Setting
    workload: str
    peers: typing.Sequence[str]
    runs: int
    after: int = 20
    tier: int = 0
    verify: bool = True                 # one run more that compares RAM

    def check(self):
        self.setting.check()
        for name, known in ((self.workload, WORKLOADS),
                            *((peer, PEERS) for peer in self.peers)):
            if name not in known:
                kind = 'workload' if known is WORKLOADS else 'peer'
                raise LabError(f"{kind} '{name}': expected one of "
                               + ', '.join(known))
        if self.setting.guests > 1 and self.workload not in SHARING:
            raise LabError(f"workload '{self.workload}' with "
                           f'guests={self.setting.guests}: expected one of '
                           + ', '.join(SHARING) + ', whose guests share a LUN')
        if not self.setting.share and self.workload in DATABASES:
            raise LabError(f"workload '{self.workload}' with share=0: "
                           'expected a share, its database is cache')
        reason = WORKLOADS[self.workload].refuse(self.setting)
        if reason:
            raise LabError(reason)
        if self.runs < 1:
            raise LabError(f'runs={self.runs}: expected one or more')


@dataclasses.dataclass(frozen=True)
class Run:
    setting: Setting
    workload: str
    peer: str
    round: int
    after: int = 20

    def __str__(self):
        what = 'RAM compared' if self.round == VERIFY else f'run {self.round}'
        return f'{self.setting.name}: {self.workload}, {self.peer}, {what}'


BASE = Setting()
#: each differs from BASE in one thing
ELSEWHERE = (
    Setting('san-10x', san=5.0),
    Setting('lan-2.5x', lan=1.25, san=0.5),
    Setting('share-0', share=0),
    Setting('share-0.3', share=0.3),
    Setting('share-0.9', share=0.9),
    Setting('no-prealloc', prealloc=False),
    Setting('no-driver', driver=False),
    Setting('slow-san', san=0.05),
    Setting('busy-san', san_load=0.5),
    Setting('evacuate', guests=8, ram=384),
)
EQUAL = Setting('equal', san=0.5)
WRITES = (Setting('write-0', write=0), Setting('write-1.5', write=1.5))
FEW = ('plain', 'postcopy', 'skip')


def all_peers(workload):
    return WORKLOADS[workload].peers or tuple(
        p.name for p in PEERS.values()
        if not p.workloads or workload in p.workloads)


def short():
    return [Group(BASE, 'web', FEW, 3, 15),
            Group(BASE, 'db-select', FEW, 1, 15, verify=False)]


def full():
    """The matrix; what matters most comes first."""
    main = ('web', *DATABASES)
    groups = [Group(BASE, name, all_peers(name), runs, AFTER)
              for name, runs in zip(main, (5, 5, 3))]
    groups += [Group(EQUAL, name, FEW, 3, AFTER) for name in main]
    groups += [Group(setting, 'web', FEW, 3, tier=1)
               for setting in ELSEWHERE]
    groups += [Group(BASE, name, all_peers(name), 3, tier=1)
               for name in ('idle', 'churn', 'recycle', 'scan', 'write')]
    groups += [Group(setting, 'write',
                     ('plain', 'postcopy', 'auto-converge', 'skip'), 3,
                     tier=1) for setting in WRITES]
    return groups


def runs(groups, verify=True):
    """
    All runs in the order in which they are done: the first round of each
    point, the second of each, and so on; those of tier 1 one round behind.
    """
    for step in range(1, max(g.runs + g.tier for g in groups) + 1):
        for group in groups:
            number = step - group.tier
            if 1 <= number <= group.runs:
                yield from _round(group, number, verify and number == 1)


def _round(group, number, verify):
    # the pictures are of the first
    after = group.after if number == 1 else min(group.after, SPAN)
    for peer in group.peers:
        yield Run(group.setting, group.workload, peer, number, after)
    for peer in group.peers:
        if verify and group.verify and PEERS[peer].ours:
            yield Run(group.setting, group.workload, peer, VERIFY)
