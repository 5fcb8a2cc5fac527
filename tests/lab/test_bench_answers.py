#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""The figures that are made of clients' answers; no guest."""

import math

from bench import answers as A
from lab.tap import Tap

#: times on the scale of time.monotonic() are large
ZERO = 1e6


def at(*times, latency=0.25):
    """Answers that come at these times after ZERO."""
    return [(ZERO + t - latency, latency) for t in times]


def steady(first, last, per_second, latency=0.25):
    """As many answers a second, each in the middle of its share of time."""
    count = round((last - first) * per_second)
    return at(*(first + (i + 0.5) / per_second for i in range(count)),
              latency=latency)


def same(tap, got, expected, name):
    def near(a, b):
        if isinstance(b, float) and isinstance(a, (int, float)):
            return math.isclose(a, b, abs_tol=1e-6)
        if isinstance(b, (list, tuple)):
            return len(a) == len(b) and all(map(near, a, b))
        return a == b
    tap.check(near(got, expected), name, f'got {got}, expected {expected}')


def percentiles(tap):
    hundred = list(range(100, 0, -1))
    same(tap, A.percentile(hundred, 0.99), 99, 'p99 of a hundred')
    same(tap, A.percentile(hundred, 0.5), 50, 'the median of a hundred')
    same(tap, A.percentile([1, 2, 3], 0.99), 3, 'p99 of three')
    same(tap, A.percentile([1, 2], 0.5), 1, 'the median of two')
    same(tap, A.percentile([7], 0.5), 7, 'of one')
    same(tap, A.percentile([], 0.99), None, 'of none')


def in_slots(tap):
    # the border between two slots belongs to the second
    got = [(ZERO - 0.95, 0.05), (ZERO - 0.75, 0.75), (ZERO - 0.5, 0.52),
           (ZERO, 0.1), (ZERO + 0.1, 0.3), (ZERO - 2, 0.5)]
    same(tap, A.slots(got, ZERO, -0.5, 0.5), (
        [0, 0, 0, 0, 0, 2, 1, 0, 0, 1],
        [None] * 5 + [0.52, 0.1, None, None, 0.3],
        [None] * 5 + [0.75, 0.1, None, None, 0.3]), 'slots of 100 ms')
    same(tap, A.slots(got, ZERO, -2, 2, 1.0), (
        [1, 1, 4, 0], [0.5, 0.05, 0.3, None], [0.5, 0.05, 0.75, None]),
        'slots of a second')
    borders = at(*(i / 10 for i in range(-200, 600)))
    same(tap, A.slots(borders, ZERO, -20, 60)[0], [1] * 800,
         'an answer at each border')
    same(tap, len(A.slots([], ZERO, -20, 60)[0]), 800, '80 s are 800 slots')


def over_time(tap):
    got = steady(0, 10, 100) + at(10.5, 10.75, latency=1.5)
    same(tap, A.rate(got, ZERO, ZERO + 10), 100.0, 'a steady rate')
    same(tap, A.rate(got, ZERO + 10, ZERO + 11), 2.0, 'a low one')
    same(tap, A.rate(got, ZERO - 5, ZERO + 5), 50.0, 'half of the time')
    same(tap, A.p99(got, ZERO, ZERO + 10), 0.25, 'p99 of the steady part')
    same(tap, A.p99(got, ZERO, ZERO + 11), 0.25, 'two of a thousand are few')
    same(tap, A.p99(got, ZERO + 9.5, ZERO + 11), 1.5, 'two of fifty are not')
    same(tap, A.p99(got, ZERO + 20, ZERO + 30), None, 'p99 of nothing')
    same(tap, A.volume(at(1, 2, 3), [100, 200, 400], ZERO + 1.5, ZERO + 3.5),
         300.0, 'bytes a second')


def gaps(tap):
    got = at(1, 2, 4.5, 5)
    same(tap, A.gap(got, ZERO, ZERO + 6), 2.5, 'between two answers')
    same(tap, A.gap(got, ZERO + 3, ZERO + 6), 1.5, 'from the beginning')
    same(tap, A.gap(got, ZERO, ZERO + 9), 4.0, 'until the end')
    same(tap, A.gap([], ZERO, ZERO + 9), 9.0, 'without any answer')
    same(tap, A.gap(list(reversed(got)), ZERO, ZERO + 6), 2.5,
         'whatever their order')


def recoveries(tap):
    def after(got, level=100, **options):
        return A.recovery(got, ZERO, level, **options)

    same(tap, after(steady(-5, 5, 100)), 0.0, 'nothing has happened')
    same(tap, after(steady(-5, 0, 100) + steady(2, 9, 100)), 2.0,
         'a standstill')
    same(tap, after(steady(-5, 0, 100) + steady(0.3, 0.6, 200)
                    + steady(0.6, 9, 100)), 0.3,
         'a rush does not cover the standstill before it')
    same(tap, after(steady(0, 3, 50) + steady(3, 9, 96)), 3.0,
         '96 % are enough')
    same(tap, after(steady(0, 3, 50) + steady(3, 9, 94), width=1.0), None,
         '94 % are not')
    same(tap, after(steady(0.5, 0.8, 100) + steady(4, 9, 100)), 4.0,
         'a flash in the pan')
    same(tap, after(steady(-5, 0, 100) + steady(4, 4.9, 100)), None,
         'the end of the answers comes too soon')
    same(tap, after(steady(0, 2, 2) + steady(2, 9, 4), level=4, width=1.0),
         2.0, 'few answers in wide slots')
    same(tap, after([]), None, 'no answers')


def merged(tap):
    one = A.Answers(at(1), 1, 'beats', [10])
    other = A.Answers(at(2, 3), 2, 'beats', [20, 30])
    same(tap, A.merge([one, other]).answers, at(1, 2, 3), 'all answers')
    same(tap, A.merge([one, other]).errors, 3, 'all errors')
    same(tap, A.merge([one, other]).sizes, [10, 20, 30], 'all sizes')
    same(tap, A.merge([one, A.Answers(at(2))]).sizes, None,
         'no sizes if some have none')


def main():
    tap = Tap()
    for part in (percentiles, in_slots, over_time, gaps, recoveries, merged):
        with tap.part(part.__name__.replace('_', ' ')):
            part(tap)
    tap.done()


if __name__ == '__main__':
    main()
