#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The other host has a QEMU without the feature, or the flag is not in its XML.

It refuses cleanly, the guest runs on; and with the device unplugged the
guest can leave for it.
"""

import copy
import os
import re
import subprocess
import sys

from lab import operate
from lab.domain import NAME
from lab.libvirt import VirshError
from lab.paths import BUILD, ROOT, LabError
from lab.tap import Tap
from lab.vm import need_qemu

STOCK = os.path.join(BUILD, 'qemu-pristine/build/qemu-system-x86_64')


def need_stock():
    done = subprocess.run(
        [os.path.join(ROOT, 'scripts/build-qemu'), '--pristine',
         'qemu-system-x86_64'], stdout=sys.stderr)
    if done.returncode != 0:
        raise LabError('the unpatched QEMU could not be built')


def refused(tap, guest, to, name, domain, pattern):
    """Migrating to that XML fails with such a message, and costs nothing."""
    path = guest.lab.write('other.xml', domain.text())
    said = ''
    try:
        guest.host.virsh('migrate', '--live', '--xml', path, NAME, to.uri)
    except VirshError as error:
        said = str(error)
    tap.check(re.search(pattern, said), f'{name}: it is refused '
              'with the reason', said or 'it was not refused')
    tap.comment(said)
    tap.check(guest.host.running() == [NAME] and to.running() == [],
              f'{name}: the guest is at the source, and only there')
    tap.check(guest.state() == 'running', f'{name}: and runs', guest.state())
    check = guest.check()
    tap.check(check.good, f'{name}: its {check.files} files are right',
              check.text)


def with_qemu(domain, qemu):
    other = copy.deepcopy(domain)
    other.root.find('devices/emulator').text = qemu
    return other


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
        need_stock()
    with tap.part('another QEMU'), operate.pair('libvirt-stock') as (
            guest, (src, dst)):
        stock = with_qemu(guest.domain, STOCK)
        refused(tap, guest, dst, 'a QEMU without the feature', stock,
                "Property 'migration.skip-pagecache' not found")
        refused(tap, guest, dst, 'the flag is not in its XML',
                copy.deepcopy(guest.domain).without('skip-pagecache='),
                # whichever side virsh asks first
                'off at the destination|on at the source and off here')
        operate.move(tap, guest, dst, 'after these, to the right one')
        operate.unplug(tap, guest)
        stock.without('skip-pagecache=', 'virtio-pagecache')
        path = guest.lab.write('other.xml', stock.text())
        guest.migrate(src, '--xml', path)
        tap.check(src.running() == [NAME] and guest.state() == 'running',
                  'the guest runs on the unpatched QEMU')
        emulator = src.virsh('dumpxml', NAME)
        tap.check(STOCK in emulator, 'which it is', emulator)
        operate.whole(tap, guest, 'there')
        # and back, to a QEMU that has it: off means off
        ours = copy.deepcopy(guest.domain).without('skip-pagecache=',
                                                   'virtio-pagecache')
        guest.migrate(dst, '--xml', guest.lab.write('ours.xml', ours.text()))
        tap.check(guest.state() == 'running', 'and comes back')
    tap.done()


if __name__ == '__main__':
    main()
