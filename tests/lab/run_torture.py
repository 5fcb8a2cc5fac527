#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Randomized migrations of a Linux guest that writes all the time.

All choices come from SEED and the number of the migration.  Each plan is
printed before it is carried out.  Results go to build/torture: result.json,
log, and a directory for each failure.
"""

import argparse
import itertools
import json
import os
import sys
import time

from lab import paths
from lab.files import need_memory
from lab.paths import LabError
from lab.vm import need_qemu
from torture.run import Torture

OUTPUT = os.path.join(paths.BUILD, 'torture')


def pair(text):
    """KEY=VALUE, the value in JSON or a plain word."""
    key, found, value = text.partition('=')
    if not found:
        raise argparse.ArgumentTypeError(f"'{text}': expected KEY=VALUE")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value


def parse(words):
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[1],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    add = parser.add_argument
    add('--seed', type=int, default=1, help='where all choices come from')
    add('--minutes', type=float, default=30,
        help='begin no migration after this time')
    add('--migrations', type=int, metavar='N', help='end after so many')
    add('--first', type=int, default=1, metavar='N',
        help='the number to begin with')
    add('--replay', type=int, metavar='N',
        help='only migration number N, with a fresh guest')
    add('--repeat', type=int, default=1, metavar='N',
        help='how often --replay is done')
    add('--set', type=pair, action='append', default=[], metavar='KEY=VALUE',
        help='replace a choice in all plans, e.g. skip=false or faults=[]')
    add('--keep-going', action='store_true',
        help='go on with a fresh guest after a failure')
    add('--ram', type=int, default=1536, metavar='MIB', help="the guest's RAM")
    add('--cache', type=int, default=900, metavar='MIB',
        help='files that are kept in its cache')
    add('--output', default=OUTPUT, metavar='DIR', help='where results go')
    args = parser.parse_args(words)
    if args.cache + 400 > args.ram:
        parser.error(f'--cache {args.cache} with --ram {args.ram}: expected '
                     'at most RAM less 400 MiB')
    return args


def main():
    args = parse(sys.argv[1:])
    os.makedirs(args.output, exist_ok=True)
    log = open(os.path.join(args.output, 'log'), 'w')

    def say(text):
        line = time.strftime('%H:%M:%S ') + text
        print(line, flush=True)
        print(line, file=log, flush=True)

    need_qemu()
    need_memory(2 * args.ram + args.cache + 2000)
    run = Torture(args.seed, args.output, args.ram, args.cache, args.set, say,
                  name=f'torture-{os.getpid()}')
    if args.replay:
        numbers = [args.replay] * args.repeat
    else:
        numbers = itertools.count(args.first)
        if args.migrations:
            numbers = itertools.islice(numbers, args.migrations)
    good = run.run(numbers, time.monotonic() + args.minutes * 60,
                   args.keep_going)
    say(json.dumps(run.books.result()))
    return 0 if good else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except LabError as error:
        sys.exit(f'torture: {error}')
