# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Tests that list what is wrong, as TAP."""

import sys


class Skipped(Exception):
    """Why a test can say nothing here"""


def run(suite, tests, before=''):
    """Ends the program; before: what is put before each item."""
    bad = 0
    print(f'1..{len(tests)}')
    for number, test in enumerate(tests, 1):
        name = f'{number} - {suite}: {test.__name__}'
        try:
            wrong = test()
        except Skipped as why:
            print(f'ok {name} # SKIP {why}')
            continue
        bad += bool(wrong)
        print(f'{"not " if wrong else ""}ok {name}')
        for item in wrong:
            print(f'# {before}{item}')
    sys.exit(bad != 0)
