#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The other host has a QEMU without the feature, or the flag is not in its XML.

It refuses cleanly, the guest runs on; and with the device unplugged the
guest can leave for it.
"""

from lab import operate
from lab.domain import NAME
from lab.paths import STOCK_QEMU
from lab.tap import Tap
from lab.vm import need_qemu, need_stock_qemu


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
        need_stock_qemu()
    with tap.part('another QEMU'), operate.pair('libvirt-stock') as (
            guest, (src, dst)):
        stock = guest.domain.copy().set_qemu(STOCK_QEMU)
        operate.refused(tap, guest, dst, 'a QEMU without the feature',
                        "Property 'migration.skip-pagecache' not found",
                        domain=stock)
        operate.refused(tap, guest, dst, 'the flag is not in its XML',
                        # whichever side virsh asks first
                        'off at the destination|on at the source and off here',
                        domain=guest.domain.copy().without('skip-pagecache='))
        operate.move(tap, guest, dst, 'after these, to the right one')
        operate.unplug(tap, guest)
        stock.without('skip-pagecache=', 'virtio-pagecache')
        path = guest.lab.write('other.xml', stock.text())
        guest.migrate(src, '--xml', path)
        tap.check(src.running() == [NAME] and guest.state() == 'running',
                  'the guest runs on the unpatched QEMU')
        emulator = src.virsh('dumpxml', NAME)
        tap.check(STOCK_QEMU in emulator, 'which it is', emulator)
        operate.whole(tap, guest, 'there')
        # and back, to a QEMU that has it: off means off
        ours = guest.domain.copy().without('skip-pagecache=',
                                           'virtio-pagecache')
        guest.migrate(dst, '--xml', guest.lab.write('ours.xml', ours.text()))
        tap.check(guest.state() == 'running', 'and comes back')
    tap.done()


if __name__ == '__main__':
    main()
