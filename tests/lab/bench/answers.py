# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What clients have measured, and figures made of it.

An answer is a pair (start, latency) in seconds, the start on the scale of
time.monotonic(); it came at start + latency, and counts at that time.  All
times are on that scale; an interval is without its end.
"""

import bisect
import dataclasses
import math
import typing

#: a client is served again as before when it gets this share of answers ...
RECOVERED = 0.95
#: ... on average for so many seconds
LASTING = 1.0


@dataclasses.dataclass
class Answers:
    """
    All that a client program got.

    sizes: bytes of each answer, for those that are about bytes.  errors:
    wrong answers, requests that came to nothing, connections that broke.
    """
    answers: typing.List[typing.Tuple[float, float]]
    errors: int = 0
    unit: str = 'requests'
    sizes: typing.Optional[typing.List[int]] = None


def merge(several):
    """The answers of several client programs as those of one."""
    sizes = None
    if all(x.sizes is not None for x in several):
        sizes = [size for x in several for size in x.sizes]
    return Answers([answer for x in several for answer in x.answers],
                   sum(x.errors for x in several), several[0].unit, sizes)


def percentile(values, share):
    """The smallest value that a share of all do not exceed, or None."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(share * len(values)), 1) - 1]


def finished(answers):
    """When they came, in order."""
    return sorted(start + latency for start, latency in answers)


def latencies(answers, a, b):
    """The latencies of those that came from a to b."""
    return [latency for start, latency in answers
            if a <= start + latency < b]


def slots(answers, zero, first, last, width=0.1):
    """
    Lists (counts, medians, p99s), one entry a slot.

    The slots have a width each, and go from zero + first to zero + last; a
    slot without an answer has a None for a latency.
    """
    found = [[] for _ in range(round((last - first) / width))]
    for start, latency in answers:
        # rounded, so that what comes at a border is always beyond it
        index = math.floor(round((start + latency - zero - first) / width, 6))
        if 0 <= index < len(found):
            found[index].append(latency)
    return ([len(x) for x in found], [percentile(x, 0.5) for x in found],
            [percentile(x, 0.99) for x in found])


def rate(answers, a, b):
    """Answers a second from a to b."""
    return len(latencies(answers, a, b)) / (b - a)


def volume(answers, sizes, a, b):
    """Bytes a second from a to b."""
    return sum(size for (start, latency), size in zip(answers, sizes)
               if a <= start + latency < b) / (b - a)


def p99(answers, a, b):
    """Of those that came from a to b, or None."""
    return percentile(latencies(answers, a, b), 0.99)


def gap(answers, a, b):
    """The longest time between a and b in which no answer came."""
    times = [a, *(t for t in finished(answers) if a < t < b), b]
    return max(y - x for x, y in zip(times, times[1:]))


def recovery(answers, stop, level, width=0.1):
    """
    How long after stop clients were served again as before, or None.

    That is where a slot begins in which they get RECOVERED of so many
    answers a second (level), and do so, too, in LASTING seconds from there
    on, on average: neither the rush after a standstill nor the standstill
    before it counts for the other.
    """
    times = finished(answers)
    wanted = RECOVERED * level

    def served(a, length):
        count = bisect.bisect_left(times, a + length) \
            - bisect.bisect_left(times, a)
        return count >= wanted * length

    index = 0
    while times and stop + index * width + LASTING <= times[-1]:
        a = stop + index * width
        if served(a, width) and served(a, LASTING):
            return index * width
        index += 1
    return None
