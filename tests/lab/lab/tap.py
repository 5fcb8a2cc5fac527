# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Results of tests in the Test Anything Protocol.

    tap = Tap()
    with tap.part('over iSCSI'):
        tap.check(pages == 0, 'no page differs', f'{pages} differ')
    tap.done()

An exception ends the part it happens in and counts as a failed test.
"""

import contextlib
import sys
import time
import traceback

from .paths import LabError


class Skipped(Exception):
    """Raised in a part to skip the rest of it, with the reason."""


class Tap:
    def __init__(self):
        self.number = self.failed = 0
        self.prefix = ''
        print('TAP version 13', flush=True)

    def comment(self, text):
        for line in str(text).splitlines():
            print(f'# {line}', flush=True)

    def check(self, good, name, detail=''):
        """One test; detail is printed when it failed."""
        self.number += 1
        print(f'{"ok" if good else "not ok"} {self.number} - '
              f'{self.prefix}{name}', flush=True)
        if not good:
            self.failed += 1
            self.comment(detail)
        return bool(good)

    @contextlib.contextmanager
    def part(self, name):
        """A group of tests with a common prefix to their names."""
        self.prefix = name + ': '
        start = time.monotonic()
        try:
            yield
        except Skipped as reason:
            self.number += 1
            print(f'ok {self.number} - {name} # SKIP {reason}', flush=True)
        except LabError as error:
            self.check(False, 'comes to its end', error)
            self.comment(traceback.format_exc())
        except Exception:
            self.check(False, 'comes to its end', traceback.format_exc())
        finally:
            self.comment(f'{name}: {time.monotonic() - start:.0f} s')
            self.prefix = ''

    def done(self):
        """The plan; ends the program."""
        print(f'1..{self.number}', flush=True)
        sys.exit(1 if self.failed or not self.number else 0)
