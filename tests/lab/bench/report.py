# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The generated parts of the report.

A page is written by hand but for sections between two comments, which readers
do not see::

    .. generated: NAME

    .. end of generated

write() replaces what stands between them, in each page of docs/benchmarks and
in the README, and draws the pictures.  The pages are whole as they are kept in
the tree, so that they can be read on a forge, too.
"""

import glob
import os
import re

from . import overview, pick, plots, tables
from .cells import NONE

MARKS = re.compile(r'^(\.\. generated: *(.*?) *\n)(.*?)'
                   r'^(\.\. end of generated\n)', re.S | re.M)


class ReportError(Exception):
    """A page that cannot be filled in"""


def _title(text):
    return [text, '~' * len(text), '']


def _images(found):
    """As lines, each with an empty one behind it"""
    return [line for plot in found for line in (
        f'.. image:: plots/{plot.name}', f'   :alt: {plot.title}', '')]


def _groups(points, records):
    """(setting, lines, workload) for each workload at each setting"""
    known = tables.machines(records)
    for setting, workload, of in pick.groups(points):
        title = f'{pick.workload_title(workload)} at {setting}'
        yield setting, [*_title(title[0].upper() + title[1:]),
                        pick.setting_title(of[0]) + '.', '',
                        *tables.group(of, records, known), ''], workload


def _base(points, records):
    lines = []
    for setting, group, _ in _groups(points, records):
        if setting == pick.base(points)['setting']:
            lines += group
    return lines[:-1] or [NONE]


def _others(points, records):
    """With their pictures"""
    plan, lines = plots.plan(points, records), []
    for setting, group, workload in _groups(points, records):
        if setting != pick.base(points)['setting']:
            lines += group + _images(
                p for p in plan
                if (p.setting, p.workload) == (setting, workload))
    return lines[:-1] or [NONE]


def _pictures(prefix):
    """Those of the base setting"""
    def made(points, records):
        base = pick.base(points)
        return _images(p for p in plots.plan(points, records)
                       if p.setting == base['setting']
                       and p.name.startswith(prefix))[:-1] or [NONE]
    return made


def _failed(points, records):
    lines = []
    for setting, workload, of in pick.groups(points):
        bad = tables.failures(of, records)
        if bad:
            lines += [f'{pick.workload_title(workload)} at {setting}:', '',
                      *bad, '']
    return lines[:-1] or (['None.'] if records else [NONE])


SECTIONS = {
    'data': overview.data,
    'settings': overview.settings,
    'summary': overview.summary,
    'ceiling': overview.ceiling,
    'overview': overview.overview,
    'winners': overview.winners,
    'neighbour': overview.neighbour,
    'wrong pages': overview.wrong,
    'failed runs': _failed,
    'tables of the base': _base,
    'tables of the other settings': _others,
    'pictures: wires': _pictures('wires'),
    'pictures: share': _pictures('share'),
    'pictures: throughput': _pictures('throughput'),
    'pictures: bytes': _pictures('bytes'),
    'pictures: latency': _pictures('latency'),
    'pictures: delays': _pictures('delays'),
}


def fill(text, points, records):
    """A page with its generated sections made anew"""
    def section(match):
        if match[2] not in SECTIONS:
            raise ReportError(f'no section is called "{match[2]}"; there are '
                              + ', '.join(SECTIONS))
        lines = SECTIONS[match[2]](points, records)
        return '\n'.join([match[1], *lines, '', match[4]])

    begun = len(re.findall(r'^\.\. generated:', text, re.M))
    filled, count = MARKS.subn(section, text)
    if count != begun:
        raise ReportError(f'{begun} generated sections begin, {count} end')
    return filled


def pages(directory):
    """Those of docs/benchmarks, and the README above it"""
    readme = os.path.join(directory, '../../README.rst')
    return sorted(glob.glob(os.path.join(directory, '*.rst'))) + (
        [os.path.normpath(readme)] if os.path.exists(readme) else [])


def write(records, points, directory):
    """Fills in the pages, and draws the pictures."""
    points = pick.ordered(points)
    for path in pages(directory):
        with open(path, encoding='utf-8') as file:
            old = file.read()
        new = fill(old, points, records)
        if new != old:
            with open(path, 'w', encoding='utf-8') as file:
                file.write(new)
    plots.write(points, records, os.path.join(directory, 'plots'))
