# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What query-pagecache tells: a guest's clean cache, before it migrates.

    asker = Asker(monitor)
    asker.collect()
    found = asker.read()
"""

import dataclasses
import time
import typing

from . import monitor
from .model import number, record, scaled, text

#: seconds: more than QEMU gives a collection; and between two looks at it
LONGEST, POLL = 40, 0.2
#: collections that have brought figures
USEFUL = ('completed', 'timed-out')


@dataclasses.dataclass
class Disk:
    device: str
    reader: typing.Optional[str]        # None: it can't be read
    pages: typing.Optional[int]
    producers: typing.Dict[str, int]    # pages by each of them


@dataclasses.dataclass
class CleanCache:
    """The last collection; pages are target pages."""
    status: typing.Optional[str]        # None: there was none yet
    age_seconds: typing.Optional[float] = None
    taken_seconds: typing.Optional[float] = None
    sample: typing.Optional[int] = None
    pages: typing.Optional[int] = None
    readable_pages: typing.Optional[int] = None
    ram_pages: typing.Optional[int] = None
    disks: typing.List[Disk] = dataclasses.field(default_factory=list)

    @property
    def ratio(self):
        """The share of what precopy sends that could be read, or None."""
        if self.readable_pages is None or not self.ram_pages:
            return None
        return min(1.0, self.readable_pages / self.ram_pages)


def structs(parent, key):
    found = parent.get(key)
    return [x for x in (found if isinstance(found, list) else ())
            if isinstance(x, dict)]


def _disk(disk):
    return Disk(text(disk, 'device') or '?', text(disk, 'reader'),
                number(disk, 'pages'),
                {text(p, 'name') or '?': number(p, 'pages')
                 for p in structs(disk, 'producers')})


def parse(info):
    """The answer to query-pagecache."""
    found = record(info, 'collection')
    status = text(found, 'status')
    if status not in USEFUL:
        # what a collection has found by now is of no use
        return CleanCache(status)
    return CleanCache(
        status, scaled(number(found, 'age'), 1e-3),
        scaled(number(found, 'time'), 1e-3), number(found, 'sample'),
        number(found, 'pages'), number(found, 'readable-pages'),
        number(found, 'ram-pages'),
        [_disk(d) for d in structs(info, 'disks')])


class Asker:
    """Of a QEMU that need not have the commands."""

    def __init__(self, source):
        self._source = source
        self._has = True

    def read(self):
        """A CleanCache; None: this QEMU does not know."""
        if not self._has:
            return None
        try:
            info = self._source.command('query-pagecache')
        except monitor.NoCommand:
            self._has = False
            return None
        except monitor.Refused:
            return None
        return parse(info if isinstance(info, dict) else {})

    def collect(self):
        """Have QEMU collect, and wait for it; not if it has just done so."""
        deadline = time.monotonic() + LONGEST
        try:
            self._source.command('pagecache-collect')
        except monitor.Refused:
            # what there is will do
            pass
        while time.monotonic() < deadline:
            found = self.read()
            if found is None or found.status != 'active':
                return
            time.sleep(POLL)
