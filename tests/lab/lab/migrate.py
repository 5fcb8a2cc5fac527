# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Live migration from one VM to another, watched."""

import dataclasses
import time
import typing

from .paths import LabError
from .vm import supports

SKIP = 'skip-pagecache'
ENDED = ('completed', 'failed', 'cancelled')
COUNTERS = ('hinted-pages', 'dropped-hints', 'offered-pages',
            'reported-pages', 'proven-pages', 'mismatched-pages',
            'released-pages', 'superseded-pages', 'unavailable-pages',
            'refill-bytes', 'refill-rate', 'map-time')


@dataclasses.dataclass
class Settings:
    """How to migrate.  channels: 1, or more for multifd."""
    skip: bool = False
    channels: int = 1
    compression: str = 'none'
    downtime_ms: int = 300
    #: more capabilities and parameters, for both sides
    capabilities: typing.Dict[str, bool] = dataclasses.field(
        default_factory=dict)
    parameters: typing.Dict[str, object] = dataclasses.field(
        default_factory=dict)


class Migration:
    """
    One migration; the destination must wait with -incoming defer.

    After prepare() and start(), wait() or poll() until it has ended.
    """

    def __init__(self, source, destination, settings, port=4444):
        self.source = source
        self.destination = destination
        self.settings = settings
        self.uri = f'tcp:{destination.host.lan}:{port}'
        self.info = {}

    def prepare(self):
        """Capabilities and parameters on both sides, destination listens."""
        capabilities = dict(self.settings.capabilities, events=True)
        parameters = {'max-bandwidth': 0,
                      'downtime-limit': self.settings.downtime_ms,
                      **self.settings.parameters}
        if self.settings.channels > 1:
            capabilities['multifd'] = True
            parameters['multifd-channels'] = self.settings.channels
            parameters['multifd-compression'] = self.settings.compression
        if supports(self.source, SKIP):
            # written out, because the source may keep it from last time
            capabilities[SKIP] = self.settings.skip
        elif self.settings.skip:
            raise LabError(f'{self.source.machine.qemu} does not know the '
                           f'capability {SKIP}')
        for vm in (self.source, self.destination):
            vm.cmd('migrate-set-capabilities', capabilities=[
                {'capability': name, 'state': state}
                for name, state in capabilities.items()])
            vm.cmd('migrate-set-parameters', **parameters)
        self.destination.cmd('migrate-incoming', uri=self.uri)

    def start(self):
        self.source.cmd('migrate', uri=self.uri)

    def poll(self):
        """query-migrate on the source; kept in self.info."""
        self.info = self.source.cmd('query-migrate')
        return self.info

    def wait(self, timeout, progress=None, interval=0.1):
        """
        Wait until it has ended; returns the last query-migrate.

        progress, if given, is called with each answer on the way.
        """
        deadline = time.monotonic() + timeout
        while True:
            info = self.poll()
            if info.get('status') in ENDED:
                return info
            if progress:
                progress(info)
            if time.monotonic() > deadline:
                raise LabError(f'the migration has not ended within '
                               f'{timeout} s: {info}')
            time.sleep(interval)

    def settle(self, info):
        """Make sure that it succeeded and the destination has it all."""
        if info['status'] != 'completed':
            raise LabError(f"the migration ended as '{info['status']}': "
                           f"{info.get('error-desc', 'no reason given')}; "
                           f'destination: {self._other_side()}')
        deadline = time.monotonic() + 30
        while self.destination.status() == 'inmigrate':
            if time.monotonic() > deadline:
                raise LabError('the destination still is in state inmigrate '
                               '30 s after the end of the migration')
            time.sleep(0.02)

    def run(self, timeout=300, progress=None):
        """Prepare, start and wait for success."""
        self.prepare()
        self.start()
        info = self.wait(timeout, progress)
        self.settle(info)
        return info

    def _other_side(self):
        try:
            info = self.destination.cmd('query-migrate')
            return f"{info.get('status')} {info.get('error-desc', '')}"
        except LabError as error:
            return str(error)


def pagecache_of(info):
    """The pagecache part of query-migrate: one side's figures in one dict."""
    both = dict(info.get('pagecache', {}))
    return {**both.pop('source', {}), **both.pop('destination', {}), **both}


def statistics(info):
    """The same, absent numbers as 0."""
    return {'active': False, **dict.fromkeys(COUNTERS, 0), **pagecache_of(info)}
