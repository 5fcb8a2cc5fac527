# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What the benchmarks in this folder share: options, figures, and their end.

Finds the lab's modules, too: import it before them.
"""

import argparse
import os
import signal
import statistics
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)),
                                '..', 'lab'))
from lab.paths import LabError          # noqa: E402

MIB = 1 << 20


def parser(doc, runs, of_what):
    """For a program with this docstring, with --runs"""
    made = argparse.ArgumentParser(
        description=doc.split('\n\n', maxsplit=1)[0].strip(),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument('--runs', type=int, default=runs,
                      help=f'so many of each{of_what}')
    return made


def spread(values, scale=1.0, digits=2):
    """The median, with minimum and maximum"""
    text = [f'{f(values) / scale:.{digits}f}'
            for f in (statistics.median, min, max)]
    return f'{text[0]} ({text[1]} to {text[2]})'


def call(main):
    """SIGTERM is an end like any other: gigabytes of memory are freed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        main()
    except LabError as error:
        name = os.path.basename(sys.argv[0]).removesuffix('.py')
        sys.exit(f'{name}: {error}')
