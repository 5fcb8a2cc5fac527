#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The guest driver on the kernels that make check leaves out.

    tests/lab/full_kernels.py [VERSION...]      (default: 5.10 7.2 7.3)

Runs test_guest_map.py and test_guest_disks.py for each.  Prints TAP.
"""

import sys

import test_guest_disks
import test_guest_map
from lab.procs import handle_signals
from lab.tap import Tap


def main():
    handle_signals()
    tap = Tap()
    for number, version in enumerate(sys.argv[1:] or ['5.10', '7.2', '7.3']):
        bus = ('virtio-blk', 'virtio-scsi')[number % 2]
        with tap.part(f'{version}/{bus}'):
            test_guest_map.test(tap, version, bus)
        with tap.part(f'{version}: disks'):
            test_guest_disks.test(tap, version)
    tap.done()


if __name__ == '__main__':
    main()
