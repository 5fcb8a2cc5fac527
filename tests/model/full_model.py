#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The models with more of everything: minutes, and 1.5 GB of memory.

Prints TAP.
"""

from model_lib import Run, outcomes, report

RUNS = (
    Run('protocol', 'two-pages', ('PAGES=2', 'WRITES=1', 'CONTENTS=2')),
    Run('protocol', 'multifd-five-writes',
        ('MULTIFD', 'ZERO_IN_PACKET', 'WRITES=5')),
    Run('protocol', 'switchover-happens-two-writes',
        ('ORDERED', 'MULTIFD', 'ZERO_IN_PACKET'), pan=('-a', '-f')),
    Run('lazy', 'two-reads-two-writes',
        ('RECOVER', 'READS=2', 'DISK_WRITES=2')),
    Run('lazy', 'two-readers', ('READERS=2',)),
)

if __name__ == '__main__':
    report(outcomes(RUNS))
