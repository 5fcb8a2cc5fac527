# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What answers to query-migrate mean, one after the other.

    watch = Watch()
    figures = watch.add(time.monotonic(), info)

Nothing here does any I/O.  An answer may lack any member, or have something
unexpected in it: what is not known is None.
"""

import dataclasses
import typing

#: seconds that rates are averaged over
SPAN = 1.0
#: how many figures of one migration are kept; then every second one goes
KEPT = 4000

UNDER_WAY = ('setup', 'active', 'device', 'pre-switchover', 'postcopy-active',
             'postcopy-paused', 'postcopy-recover-setup', 'postcopy-recover',
             'wait-unplug', 'cancelling', 'colo')
ENDED = ('completed', 'failed', 'cancelled')

#: counts of pages: {name here: member of query-migrate}
PAGES = {name.replace('-', '_'): name + '-pages' for name in (
    'hinted', 'duplicate', 'offered', 'reported', 'proven', 'mismatched',
    'released', 'unavailable', 'superseded', 'pooled', 'in-flight')}


def number(record, key):
    """A number of 0 or more, or None."""
    value = record.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    # a NaN is not 0 or more either
    return value if 0 <= value < float('inf') else None


def text(record, key):
    value = record.get(key)
    return value if isinstance(value, str) and value else None


def record(parent, key):
    """A struct in an answer; empty if there is none."""
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def figures_of(info):
    """What an answer says of the page cache, one side's figures in one."""
    cache = record(info, 'pagecache')
    return {**record(cache, 'source'), **record(cache, 'destination'),
            **cache}


def scaled(value, factor):
    return None if value is None else value * factor


@dataclasses.dataclass
class Disk:
    """What the destination reads from one disk."""
    device: str
    status: typing.Optional[str] = None
    reader: typing.Optional[str] = None
    error: typing.Optional[str] = None
    bytes_read: typing.Optional[int] = None
    reads: typing.Optional[int] = None
    errors: typing.Optional[int] = None
    timeouts: typing.Optional[int] = None


@dataclasses.dataclass
class Figures:
    """A migration at one moment.  Bytes, seconds, bytes per second, pages."""
    time: float                     # as the caller counts it
    elapsed: float                  # since the migration began
    #: 'source', 'destination', None if it can't be told
    side: typing.Optional[str]
    #: of the migration; None if there was none yet
    status: typing.Optional[str]
    error: typing.Optional[str]     # why it failed
    #: 'active' or 'inactive' in this migration; before one, whether the
    #: capability is 'on' or 'off'; 'absent' from this QEMU; None: not known
    feature: typing.Optional[str]
    reason: typing.Optional[str]    # why it is inactive
    remarks: typing.List[str]
    channel_bytes: typing.Optional[float] = None
    storage_bytes: typing.Optional[float] = None
    channel_rate: typing.Optional[float] = None
    storage_rate: typing.Optional[float] = None
    ram_bytes: typing.Optional[int] = None
    remaining_bytes: typing.Optional[int] = None
    page_size: typing.Optional[int] = None
    pages: typing.Dict[str, int] = dataclasses.field(default_factory=dict)
    disks: typing.List[Disk] = dataclasses.field(default_factory=list)
    downtime: typing.Optional[float] = None
    blackout: typing.Optional[float] = None
    left: typing.Optional[float] = None     # until the end, an estimate
    #: guest memory that went over the channel, zero pages included
    taken_bytes: typing.Optional[float] = None
    #: of the guest, whether it migrates or not (cache.CleanCache), or None
    cache: typing.Any = None

    @property
    def under_way(self):
        return self.status in UNDER_WAY

    @property
    def ended(self):
        return self.status in ENDED

    def pool(self):
        """
        Where the hinted pages are, from the pool's head to its tail.

        Storage takes pages from the head, and they are in flight until they
        are proven; the channel takes them from the tail.
        """
        if 'pooled' not in self.pages:
            return {}
        count = self.pages.get
        return {'proven': count('proven', 0),
                'in flight': count('in_flight', 0),
                'waiting': count('pooled', 0),
                'by channel': count('released', 0) + count('mismatched', 0)}

    @property
    def refilled_ratio(self):
        """The share of what was moved that came from storage, or None."""
        if self.storage_bytes is None or self.channel_bytes is None:
            return None
        both = self.storage_bytes + self.channel_bytes
        return self.storage_bytes / both if both else None


def time_left(remaining, held, channel, storage, dirtied):
    """
    Seconds until everything is on the other side, or None.

    remaining: bytes of guest memory, held: those of them that storage may
    bring.  The channel brings the others and then helps with those, so both
    are busy until the end, unless storage is done before.  dirtied: bytes
    per second that the guest adds to what the channel has to send.
    """
    alone = channel - dirtied
    if alone <= 0:
        return None
    other = max(0, remaining - held) / alone
    if not held:
        return other
    return max(other, remaining / (alone + storage))


def _disks(cache):
    disks = cache.get('disks')
    return [Disk(text(d, 'device') or '?', text(d, 'status'),
                 text(d, 'reader'), text(d, 'error'),
                 number(d, 'bytes-read'), number(d, 'reads'),
                 number(d, 'errors'), number(d, 'timeouts'))
            for d in (disks if isinstance(disks, list) else ())
            if isinstance(d, dict)]


def _side(info, cache):
    # a QEMU that has received a guest and sends it on is a source again
    if info.get('ram') or 'hinted-pages' in cache:
        return 'source'
    if 'superseded-pages' in cache or 'disks' in cache or \
            'socket-address' in info:
        return 'destination'
    return None


def _feature(cache, capabilities):
    if cache:
        return 'active' if cache.get('active') is True else 'inactive'
    if capabilities is None:
        return None
    if 'skip-pagecache' not in capabilities:
        return 'absent'
    return 'on' if capabilities['skip-pagecache'] else 'off'


class Watch:
    """
    One QEMU, watched.

    history has the figures of the current migration, or of the last one.
    When another one begins, it starts from nothing, and so do the rates.
    """

    def __init__(self, span=SPAN, kept=KEPT):
        self.span = span
        self.kept = kept
        self.history = []
        self.latest = None

    def add(self, now, info, capabilities=None, wires=None):
        """
        The figures of an answer that came at that time.

        capabilities: {name: whether it is on} of this QEMU, if asked for.
        wires: (bytes on the channel, bytes from storage), if somebody has
        measured them; otherwise they are what QEMU says.
        """
        figures = self._read(now, info, capabilities, wires)
        if self._another(figures):
            self.history = []
        # 'setup' has no figures yet; a destination waits in it for its source
        if figures.status != 'setup' and (figures.under_way or figures.ended):
            if not figures.elapsed and self.history:
                figures.elapsed = now - self.history[0].time
            self._rates(figures, info)
            self._keep(figures)
        self.latest = figures
        return figures

    def _read(self, now, info, capabilities, wires):
        ram, cache = record(info, 'ram'), figures_of(info)
        page = number(ram, 'page-size')
        figures = Figures(
            now, scaled(number(info, 'total-time'), 1e-3) or 0.0,
            _side(info, cache), text(info, 'status'),
            text(info, 'error-desc'), _feature(cache, capabilities),
            text(cache, 'reason-text'),
            [x for x in (text(cache, 'note-text'),
                         text(cache, 'given-up-text')) if x],
            channel_bytes=number(ram, 'transferred'),
            storage_bytes=number(cache, 'refill-bytes'),
            ram_bytes=number(ram, 'total'),
            remaining_bytes=number(ram, 'remaining'), page_size=page,
            pages={name: number(cache, member)
                   for name, member in PAGES.items()
                   if number(cache, member) is not None},
            disks=_disks(cache),
            downtime=scaled(number(info, 'downtime'), 1e-3),
            blackout=scaled(number(cache, 'blackout-time'), 1e-6))
        if figures.status == 'none':
            figures.status = None
        if wires:
            figures.channel_bytes, figures.storage_bytes = wires
        normal, zero = number(ram, 'normal'), number(ram, 'duplicate')
        if page and normal is not None and zero is not None:
            figures.taken_bytes = (normal + zero) * page
        return figures

    def _another(self, figures):
        """Whether this is of another migration than the history."""
        if not self.history:
            return False
        last = self.history[-1]
        if figures.side and last.side and figures.side != last.side:
            return True
        if last.ended:
            return (not figures.ended
                    or figures.taken_bytes != last.taken_bytes)
        if 0 < figures.elapsed < last.elapsed - 1:
            return True
        return any(new is not None and old is not None and new < old
                   for new, old in ((figures.channel_bytes,
                                     last.channel_bytes),
                                    (figures.taken_bytes, last.taken_bytes),
                                    (figures.storage_bytes,
                                     last.storage_bytes)))

    def _rate(self, figures, name):
        """Of one of the figures' counters over the last span, or None."""
        value = getattr(figures, name)
        old = None
        for old in reversed(self.history):
            if old.time <= figures.time - self.span:
                break
        if old is None or value is None or getattr(old, name) is None or \
                figures.time <= old.time:
            return None
        return (value - getattr(old, name)) / (figures.time - old.time)

    def _rates(self, figures, info):
        if not figures.under_way:
            return
        ram, cache = record(info, 'ram'), figures_of(info)

        def known(*values):
            return next((v for v in values if v is not None), None)

        # of a first answer: what QEMU has reckoned
        figures.channel_rate = known(self._rate(figures, 'channel_bytes'),
                                     scaled(number(ram, 'mbps'), 125e3))
        figures.storage_rate = known(self._rate(figures, 'storage_bytes'),
                                     number(cache, 'refill-rate'))
        taken = known(self._rate(figures, 'taken_bytes'),
                      figures.channel_rate)
        if figures.remaining_bytes is None or not taken:
            return
        page = figures.page_size or 0
        held = (figures.pages.get('pooled', 0)
                + figures.pages.get('in_flight', 0)) * page
        figures.left = time_left(
            figures.remaining_bytes, held, taken, figures.storage_rate or 0,
            (number(ram, 'dirty-pages-rate') or 0) * page)

    def _keep(self, figures):
        if self.history and self.history[-1].ended and figures.ended:
            self.history[-1] = figures
            return
        self.history.append(figures)
        if len(self.history) > self.kept:
            # the newest stay as they are, for the rates
            half = self.kept // 2
            self.history = self.history[:half:2] + self.history[half:]
