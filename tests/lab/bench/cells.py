# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Figures and tables as reStructuredText."""

MIB = 1 << 20
NONE = 'No runs yet.'


def number(value):
    """Three or four digits, as much as these figures are worth"""
    if value == int(value) and abs(value) < 1e4:
        return f'{int(value):,}'
    if abs(value) >= 100:
        return f'{value:,.0f}'
    return f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}'


def cell(figure, factor=1):
    """median [minimum..maximum]"""
    if not figure:
        return '-'
    middle, low, high = (number(v * factor) for v in figure)
    return middle if low == high else f'{middle} [{low}..{high}]'


def percent(part, whole=1):
    return '-' if part is None or not whole else f'{100 * part / whole:.1f}'


def literal(text, most=200):
    """What somebody else wrote, on one line"""
    text = ' '.join(str(text).replace('`', "'").split()) or 'no reason given'
    if len(text) > most:
        text = text[:most - 3] + '...'
    return f'``{text}``'


def simple(head, rows):
    """A simple table, as lines"""
    if not rows:
        return [NONE]
    rows = [[str(c) for c in row] for row in [head, *rows]]
    widths = [max(map(len, column)) for column in zip(*rows)]
    rule = '  '.join('=' * w for w in widths)
    text = ['  '.join(c.ljust(w) for c, w in zip(row, widths)).rstrip()
            for row in rows]
    return [rule, text[0], rule, *text[1:], rule]
