# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Every choice of a run, made in advance from the seed.

The plan of a migration depends on (seed, number) and on nothing that
happened before, so any of them can be made again by itself.  Plans are
plain dictionaries: they are logged before they are carried out.
"""

import json
import random

from lab.paths import LabError

#: a new guest after so many migrations, on average
LIFE = 25


def _dice(seed, number, what):
    return random.Random(f'{seed}/{number}/{what}')


def _weighted(dice, choices):
    """One of the keys of {choice: weight}."""
    return dice.choices(list(choices), list(choices.values()))[0]


def fresh(seed, number):
    """Whether that migration begins with a freshly booted guest."""
    return number == 1 or _dice(seed, number, 'fresh').random() < 1 / LIFE


#: what a disk of the guest is: an iSCSI LUN, or a file that both hosts have
#: on a mount with a page cache of its own; then how QEMU opens it
STORAGE = {'iscsi': 5, 'writeback threads': 3, 'writeback io_uring': 1,
           'none threads': 1, 'none native': 1, 'none io_uring': 1}
DISKS, WRITERS = 5, (1, 2)      # ext4, XFS


def _storage(dice):
    """
    A word or two for each disk.  There is always one of each kind, and one of
    the writers' disks is a file that the host may have old blocks of.
    """
    found = [_weighted(dice, STORAGE) for _ in range(DISKS)]
    # ext4 writes in place more often
    number = _weighted(dice, dict(zip(WRITERS, (2, 1))))
    found[number] = 'writeback threads'
    if 'iscsi' not in found:
        found[dice.choice([x for x in range(DISKS) if x != number])] = 'iscsi'
    return found


def guest(seed, number):
    """What the guest is that migration number so and so moves."""
    while not fresh(seed, number):
        number -= 1
    dice = _dice(seed, number, 'guest')
    return {
        'born': number,
        'kernel': _weighted(dice, {'6.1': 4, '6.12': 1}),
        'bus': _weighted(dice, {'virtio-blk': 2, 'virtio-scsi': 1}),
        'cpus': _weighted(dice, {1: 2, 2: 1}),
        'fs': dice.choice(['ext4', 'xfs']),
        'partition': dice.random() < 0.3,
        # bytes, of the writers' ext4: pages of one block or of four
        'block': _weighted(dice, {4096: 3, 1024: 1}),
        'storage': _storage(_dice(seed, number, 'storage')),
        # who knows where its cache stands
        'hints': _weighted(_dice(seed, number, 'hints'),
                           {'driver': 2, 'io-map': 2, 'both': 1}),
    }


def _channel(dice):
    """Capabilities and parameters of the migration itself."""
    channels = _weighted(dice, {1: 5, 2: 3, 4: 2})
    plan = {
        'channels': channels,
        'compression': 'none',
        'downtime_ms': _weighted(dice, {30: 1, 100: 2, 300: 4, 1000: 2}),
        'capabilities': {},
        'parameters': {},
    }
    if channels > 1:
        plan['compression'] = _weighted(dice, {'none': 12, 'zstd': 3,
                                               'zlib': 1})
        plan['parameters']['zero-page-detection'] = _weighted(
            dice, {'multifd': 3, 'legacy': 1, 'none': 1})
    else:
        plan['parameters']['zero-page-detection'] = _weighted(
            dice, {'legacy': 4, 'none': 1})
    plan['capabilities']['auto-converge'] = dice.random() < 0.2
    plan['capabilities']['pause-before-switchover'] = dice.random() < 0.25
    plan['capabilities']['late-block-activate'] = dice.random() < 0.1
    plan['hold_ms'] = dice.choice([0, 0, 200, 1000])
    if dice.random() < 0.12:
        plan['parameters']['max-bandwidth'] = dice.choice([60, 120, 250]) << 20
    return plan


def _destination(dice):
    """Properties of the QEMU that is started for it."""
    found = {}
    if dice.random() < 0.4:
        found['pagecache-sessions'] = dice.choice([1, 3, 4, 8])
    if dice.random() < 0.4:
        found['pagecache-read-deadline'] = dice.choice([200, 500, 1000, 20000])
    if dice.random() < 0.12:
        found['pagecache-bandwidth'] = dice.choice([100, 200, 400]) << 20
    # counts when it is the source, next time
    if dice.random() < 0.15:
        found['pagecache-digest'] = 'sha256'
    return found


def _trigger(dice):
    """When a fault begins."""
    kind = _weighted(dice, {'ms': 4, 'proven': 5})
    if kind == 'ms':
        return {'ms': dice.choice([0, 20, 100, 300, 700, 1500])}
    return {'proven': round(dice.choice([0.0, dice.random() * 0.9]), 2)}


#: faults that end a migration, and their weights
DEADLY = {'cancel': 3, 'kill-destination': 2, 'break-channel': 2}


def _fault(dice, skip, deadly):
    name = _weighted(dice, {
        **(DEADLY if deadly else {}),
        'unplug-channel': 2, 'stall-channel': 2, 'reshape-channel': 3,
        'unplug-storage': 3, 'stall-storage': 2, 'reshape-storage': 3,
        'hang-target': 4, 'kill-target': 3, 'break-sessions': 3,
        'rewrite-disk': 4, 'pause-guest': 2,
    })
    plan = {'name': name, 'when': _trigger(dice), 'ms': 0}
    if not skip and 'proven' in plan['when']:
        plan['when'] = {'ms': dice.choice([100, 500, 1500])}
    if name in ('unplug-channel', 'stall-channel'):
        plan['ms'] = dice.choice([300, 800, 2000])
    elif name in ('unplug-storage', 'stall-storage', 'kill-target'):
        plan['ms'] = dice.choice([100, 500, 1500, 4000])
    elif name == 'hang-target':
        plan['ms'] = dice.choice([300, 1000, 2500, 7000])
    elif name == 'pause-guest':
        plan['ms'] = dice.choice([50, 500, 1500])
    elif name == 'reshape-channel':
        plan['gbit'] = dice.choice([0.5, 1, 5, 10])
    elif name == 'reshape-storage':
        plan['gbit'] = dice.choice([0.2, 1, 5, 10])
    elif name == 'rewrite-disk':
        plan['share'] = dice.choice([0.02, 0.2, 1.0])
    elif name == 'break-channel':
        plan['how'] = dice.choice(['yank source', 'yank destination',
                                   'reset'])
    return plan


#: faults on purpose that a QEMU may have compiled in, by side
INJECTED = {
    'source': ('lose-hint', 'duplicate-hint', 'misplace-hint', 'slow-map',
               'busy-map', 'lose-message', 'duplicate-message',
               'shuffle-offers', 'late-offers', 'early-release',
               'release-in-flight', 'extra-sync', 'delay-proof',
               'delay-outcome', 'withhold-release'),
    'destination': ('refuse-digest', 'refuse-reader', 'lose-offer',
                    'duplicate-offer', 'delay-populate', 'fail-populate',
                    'delay-claim', 'delay-copy', 'delay-channel',
                    'corrupt-digest', 'lose-report', 'late-report',
                    'duplicate-report', 'shuffle-reports', 'corrupt-refill',
                    'read-error', 'short-read', 'slow-read', 'lose-kick',
                    'drop-session', 'refuse-login'),
}
DELAYS = ('late-offers', 'delay-proof', 'delay-outcome', 'delay-populate',
          'delay-claim', 'delay-copy', 'delay-channel', 'late-report',
          'slow-read')


def _injected(dice):
    """{side: what is armed there}"""
    found = {}
    for _ in range(_weighted(dice, {0: 3, 1: 3, 2: 2})):
        side = dice.choice(list(INJECTED))
        name = dice.choice(INJECTED[side])
        words = [name, f'chance={dice.choice([1, 10, 50])}',
                 f'seed={dice.randrange(1, 1000)}',
                 f'limit={dice.choice([5, 50])}']
        if name in DELAYS and name != 'late-offers':
            words.append(f'ms={dice.choice([1, 20, 200])}')
        found[side] = ':'.join(words)
    return found


def _reads(dice, skip, storage):
    """
    Reads of a disk that come late at the destination, until the guest has run
    there for so many milliseconds.
    """
    files = [x for x in range(DISKS) if storage[x] != 'iscsi']
    if dice.random() >= 0.4 or not files:
        return []
    # what nobody writes to cannot become old
    written = [x for x in files if x in WRITERS]
    if written and dice.random() < 0.8:
        files = written
    plan = {'name': _weighted(dice, {'late-reads': 1, 'hang-reads': 1}),
            'when': _trigger(dice), 'after_ms': dice.choice([0, 500, 2000]),
            'disk': dice.choice(files)}
    if plan['name'] == 'hang-reads' and \
            storage[plan['disk']].startswith('none'):
        # QEMU reads such a file itself before the guest may run, and its main
        # loop waits for that
        plan['name'] = 'late-reads'
    if not skip or dice.random() < 0.7:
        # before the start: the disk may be read within milliseconds
        plan['when'] = {'ms': -1}
    if plan['name'] == 'late-reads':
        plan['late_ms'] = dice.choice([5, 50, 500, 5000])
    return [plan]


def _during(dice):
    """[seconds after the start, what the guest does then]"""
    found = []
    for _ in range(_weighted(dice, {0: 7, 1: 3, 2: 1})):
        what = _weighted(dice, {'drop-caches': 1, 'squeeze': 2, 'sync': 3,
                                'copy': 4, 'compact': 2})
        found.append([dice.choice([0, 0.3, 1, 2]), what])
    return found


def _known(key, plan, where=''):
    if key not in plan:
        raise LabError(f"choice '{where}{key}': expected one of "
                       + ', '.join(where + x for x in plan))


def migration(seed, number, forced=()):
    """
    The plan of one migration.  forced: (key, value) to replace choices; of a
    guest, those that the value names.
    """
    dice = _dice(seed, number, 'migration')
    skip = dice.random() < 0.88
    # RAM is compared while the guest waits.  In every second one it runs at
    # once: that is when what is in flight meets it.  Should the destination
    # die then, nobody would have the guest.
    paused = number % 2 == 1
    plan = {
        'number': number,
        'fresh': fresh(seed, number),
        'guest': guest(seed, number),
        'skip': skip,
        'paused': paused,
        'lan': _weighted(dice, {0.5: 1, 1: 2, 2.5: 6, 5: 3, 10: 2}),
        'san': _weighted(dice, {1: 1, 2.5: 3, 5: 2, 10: 6}),
        **_channel(dice),
        'properties': _destination(dice),
        'rate': _weighted(dice, {0: 1, 100: 2, 400: 4, 1000: 3, 2500: 1}),
        'before': _weighted(dice, {'': 16, 'drop-caches': 1, 'squeeze': 1}),
        'during': _during(dice),
        'faults': [],
    }
    for _ in range(_weighted(dice, {0: 10, 1: 8, 2: 2})):
        plan['faults'].append(_fault(dice, skip, paused))
    plan['faults'] += _reads(_dice(seed, number, 'reads'), skip,
                             plan['guest']['storage'])
    plan['injected'] = _injected(_dice(seed, number, 'injected')) \
        if skip else {}
    for key, value in forced:
        _known(key, plan)
        if key == 'guest':
            if not isinstance(value, dict):
                raise LabError(f"choice 'guest' is {value!r}: expected an "
                               'object')
            for part in value:
                _known(part, plan[key], 'guest.')
            value = {**plan[key], **value}
        plan[key] = value
    return plan


def text(plan):
    return json.dumps(plan, sort_keys=True)
