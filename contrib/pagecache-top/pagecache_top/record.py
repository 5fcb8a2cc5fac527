# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Figures as JSON: one object a line, units in the names."""

import dataclasses
import json

#: {member: what it is of the figures}
MEMBERS = {
    'side': 'side', 'status': 'status', 'error': 'error',
    'feature': 'feature', 'reason': 'reason', 'remarks': 'remarks',
    'elapsed_seconds': 'elapsed', 'left_seconds': 'left',
    'downtime_seconds': 'downtime', 'blackout_seconds': 'blackout',
    'channel_bytes': 'channel_bytes', 'storage_bytes': 'storage_bytes',
    'channel_bytes_per_second': 'channel_rate',
    'storage_bytes_per_second': 'storage_rate',
    'ram_bytes': 'ram_bytes', 'remaining_bytes': 'remaining_bytes',
    'refilled_ratio': 'refilled_ratio', 'page_size_bytes': 'page_size',
}


def record(name, time, figures):
    """
    All members are always there, null if they are not known.

    time: of the day, in seconds since 1970.
    """
    found = {'time': round(time, 3), 'qemu': name, 'up': True}
    for member, attribute in MEMBERS.items():
        value = getattr(figures, attribute)
        found[member] = round(value, 6) if isinstance(value, float) else value
    found['pages'] = dict(figures.pages)
    found['disks'] = [dataclasses.asdict(disk) for disk in figures.disks]
    found['clean_cache'] = figures.cache and {
        **dataclasses.asdict(figures.cache), 'ratio': figures.cache.ratio}
    return found


def line(name, time, figures):
    # ASCII: a name can't break a line or a terminal
    return json.dumps(record(name, time, figures))


def gone(name, time, error):
    """In place of a record when QEMU does not answer."""
    return json.dumps({'time': round(time, 3), 'qemu': name, 'up': False,
                       'error': str(error)})
