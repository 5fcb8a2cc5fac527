# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The ways to migrate that are measured against each other.

All run on the same build and the same guest.  One more is one more entry of
PEERS: its settings, and if it needs them, what is done before ('prepare', with
the source's VM; it counts as time of the migration), just after the start
('started', likewise), more devices ('extra') and modules of the guest, and who
makes hints (hints_of()).
"""

import dataclasses
import typing

from lab.migrate import Settings
from lab.vm import hints_of

MULTIFD = 2                             # channels
ZSTD = {'multifd-zstd-level': 1}
#: an iothread of its own, as its documentation wants it
BALLOON = ('-object', 'iothread,id=hinting',
           '-device', 'virtio-balloon-pci,free-page-hint=on,iothread=hinting,'
           'addr=0x12')


@dataclasses.dataclass(frozen=True)
class Peer:
    name: str
    title: str                          # in tables and pictures
    settings: Settings
    prepare: typing.Optional[typing.Callable] = None
    started: typing.Optional[typing.Callable] = None
    extra: typing.Sequence[str] = ()
    modules: typing.Sequence[str] = ()
    hints: str = 'driver'
    workloads: typing.Sequence[str] = ()        # in FULL; none: all

    @property
    def ours(self):
        return self.settings.skip

    @property
    def machine(self):
        """Options of the machine."""
        options = hints_of(self.hints)
        options['extra'] = [*self.extra, *options.get('extra', ())]
        return options


def drop_caches(source):
    source.sh('sync; echo 3 >/proc/sys/vm/drop_caches', 60)


def start_postcopy(source):
    source.cmd('migrate-start-postcopy')


PEERS = {peer.name: peer for peer in (
    Peer('plain', 'precopy', Settings()),
    Peer('drop-caches', 'drop_caches, free page hints', Settings(),
         prepare=drop_caches, extra=BALLOON, modules=('virtio_balloon',)),
    Peer('multifd', 'multifd', Settings(channels=MULTIFD)),
    Peer('multifd-zstd', 'multifd, zstd',
         Settings(channels=MULTIFD, compression='zstd', parameters=ZSTD)),
    Peer('postcopy', 'postcopy', Settings(
        capabilities={'postcopy-ram': True, 'postcopy-preempt': True}),
        started=start_postcopy),
    Peer('auto-converge', 'auto-converge',
         Settings(capabilities={'auto-converge': True}),
         workloads=('write',)),
    Peer('skip', 'skip-pagecache', Settings(skip=True)),
    Peer('skip-multifd-zstd', 'skip-pagecache, multifd, zstd',
         Settings(skip=True, channels=MULTIFD, compression='zstd',
                  parameters=ZSTD)),
    Peer('skip-io-map', 'skip-pagecache, no driver', Settings(skip=True),
         hints='io-map'),
)}
