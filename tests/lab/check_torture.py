#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A short make torture, for make check: first that it sees what is wrong, then
two minutes of it.  Prints TAP.
"""

import itertools
import json
import os
import time

from lab import paths, ram
from lab.paths import LabError
from lab.tap import Tap
from lab.vm import need_qemu
from torture import plan
from torture.run import Torture

RAM, CACHE = 1024, 400                  # MiB
OUTPUT = os.path.join(paths.BUILD, 'torture', 'check')
#: seconds, and migrations at least
SHORT, LEAST = 110, 3
SEED = 1
#: an undisturbed migration of a guest of the plainest kind
PLAIN = (('guest', {'born': 1, 'kernel': '6.1', 'bus': 'virtio-blk',
                    'cpus': 1, 'fs': 'ext4', 'partition': False,
                    'block': 4096, 'storage': ['iscsi'] * 5,
                    'hints': 'driver'}),
         ('paused', True),
         ('faults', []), ('injected', {}), ('during', []),
         ('capabilities', {}), ('properties', {}), ('lan', 10), ('san', 10))


def torture(tap, name, forced=()):
    return Torture(SEED, os.path.join(OUTPUT, name), RAM, CACHE, forced,
                   tap.comment, f'torture-{name}')


def flip_page(move):
    """One bit of the destination's RAM."""
    block = ram.blocks(move.destination)['ram0']
    at = block.address + block.used // 2 + 77
    with open(f'/proc/{move.destination.pid}/mem', 'r+b', buffering=0) as mem:
        old = os.pread(mem.fileno(), 1, at)
        os.pwrite(mem.fileno(), bytes([old[0] ^ 4]), at)


def flip_file(move):
    """One byte of a file, while its writer stands still."""
    where = '/mnt/torture'
    move.guest.rate(0)
    move.guest.sh('sleep 1; for f in $(ls -S ' + where + '/* | head -n 1); do '
                  "printf x | dd of=$f bs=1 seek=700 count=1 conv=notrunc; "
                  'done')


def chooses(tap):
    made = plan.migration(SEED, 1, [('guest', {'hints': 'both'})])
    tap.check(made['guest'] == {**plan.guest(SEED, 1), 'hints': 'both'},
              'one choice of a guest is replaced, the others stay', made)
    for key, value, name in (('fault', [], 'fault'),
                             ('guest', {'hint': 'both'}, 'guest.hint')):
        said = ''
        try:
            plan.migration(SEED, 1, [(key, value)])
        except LabError as error:
            said = str(error)
        tap.check(said.startswith(f"choice '{name}': expected one of "),
                  f"'{name}', which is no choice, is refused", said)


def sees_what_is_wrong(tap):
    run = torture(tap, 'page', (('skip', True), *PLAIN))
    run.sabotage = flip_page
    good = run.run([1])
    found = run.books.result()
    tap.check(not good and found['wrong_pages'] == 1,
              'one bit of RAM is one wrong page', found)
    run = torture(tap, 'sector', (('skip', False), *PLAIN))
    run.disturb = flip_file
    good = run.run([1])
    found = run.books.result()
    tap.check(not good and found['guest_errors'] == 1
              and any(' sector 1 ' in x['what'] for x in found['failures']),
              'one byte of a file is an error of the guest', found)


def short(tap):
    run = torture(tap, 'short')
    end = time.monotonic() + SHORT
    numbers = itertools.takewhile(
        lambda n: n <= LEAST or time.monotonic() < end, itertools.count(1))
    good = run.run(numbers)
    found = run.books.result()
    tap.comment(json.dumps({k: v for k, v in found.items()
                            if k != 'failures'}))
    tap.check(good, 'no byte is wrong', found['failures'])
    tap.check(found['disks_checked'] > 1,
              f"after {found['disks_checked']} the disks are checked", found)
    tap.check(found['wrong_pages'] == 0 and found['compared'] > 0,
              f"{found['compared']} migrations are compared", found)
    tap.check(found['refilled_bytes'] > 0, 'pages come from the disk', found)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    with tap.part('choices'):
        chooses(tap)
    with tap.part('a wrong byte is seen'):
        sees_what_is_wrong(tap)
    with tap.part('a short run'):
        short(tap)
    tap.done()


if __name__ == '__main__':
    main()
