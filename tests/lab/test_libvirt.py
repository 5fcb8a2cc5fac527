#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The flag in a domain's XML, with two real libvirt daemons: the short form.

More of it is in libvirt_*.py (make check-libvirt).
"""

from lab import operate
from lab.tap import Tap
from lab.vm import need_qemu


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    with tap.part('there and back'), operate.pair('libvirt') as (guest, hosts):
        src, dst = hosts
        tap.check('skip-pagecache' in src.capabilities('vm1'),
                  'the flag in the XML is on')
        operate.move(tap, guest, dst, 'virsh migrate --live')
        operate.move(tap, guest, src, '--p2p', '--p2p')
    with tap.part('given up and begun again'), \
            operate.pair('libvirt-abort') as (guest, hosts):
        operate.abort(tap, guest, hosts[1])
        operate.move(tap, guest, hosts[1], 'after virsh domjobabort')
    tap.done()


if __name__ == '__main__':
    main()
