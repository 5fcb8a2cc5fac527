# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""How the pictures look: matplotlib, set up, and what they have in common."""

from lab.paths import LabError
from .peers import PEERS

#: colours that the colour-blind can tell apart (Okabe and Ito)
COLOURS = {
    'plain': '#555555', 'drop-caches': '#e69f00', 'multifd': '#56b4e9',
    'multifd-zstd': '#cc79a7', 'postcopy': '#d55e00',
    'auto-converge': '#999933', 'skip': '#009e73',
    'skip-multifd-zstd': '#0072b2', 'skip-io-map': '#117733',
}
#: of peers that are new
OTHERS = ('#332288', '#882255', '#ddaa33')
LAN, SAN, DISK = '#0072b2', '#e69f00', '#cc79a7'
INK, MUTED, GRID = '#1f2933', '#616e7c', '#e4e7eb'
#: a line that marks a moment or a limit
DASHED = {'color': INK, 'linewidth': 1.2, 'linestyle': (0, (4, 2))}
#: inches: of a picture, and of its title
WIDTH, HEAD = 9.6, 0.62


def pyplot():
    """matplotlib.pyplot; imported only where something is drawn"""
    try:
        import matplotlib
    except ModuleNotFoundError as error:
        raise LabError('matplotlib is missing: scripts/packages has its '
                       'package in the group bench') from error
    matplotlib.use('Agg')
    from matplotlib import pyplot as module
    module.rcParams.update({
        'svg.fonttype': 'none', 'svg.hashsalt': 'skip-pagecache',
        'font.family': 'sans-serif', 'font.size': 9.5,
        'font.sans-serif': ['DejaVu Sans', 'Verdana', 'Helvetica', 'Arial'],
        'axes.edgecolor': MUTED, 'axes.labelcolor': MUTED,
        'axes.grid': True, 'axes.axisbelow': True, 'grid.color': GRID,
        'axes.spines.top': False, 'axes.spines.right': False,
        'axes.titlelocation': 'left', 'axes.titlesize': 9.5,
        'xtick.color': MUTED, 'ytick.color': MUTED, 'text.color': INK,
        'figure.dpi': 72, 'figure.facecolor': 'white',
        'legend.frameon': False, 'figure.constrained_layout.use': True})
    return module


def colour(peer):
    """Of a peer; a new one has its own, too."""
    new = [name for name in PEERS if name not in COLOURS]
    if peer in new:
        return OTHERS[new.index(peer) % len(OTHERS)]
    return COLOURS.get(peer, INK)


def figure(title, subtitle, rows, columns, height, **options):
    """A figure of so many inches, and its axes, always as a list of rows"""
    whole, axes = pyplot().subplots(rows, columns, figsize=(WIDTH, height),
                                    squeeze=False, **options)
    whole.get_layout_engine().set(rect=(0, 0, 1, 1 - HEAD / height))
    whole.text(0.01, 1 - 0.05 / height, title, va='top', fontsize=13,
               fontweight='bold')
    whole.text(0.01, 1 - 0.36 / height, subtitle, va='top', color=MUTED)
    return whole, axes


def steps(axis, slots, line, name=None):
    """Steps with a faint fill; slots: [(start, end, value or None)]"""
    edges = [s[0] for s in slots] + [slots[-1][1]]
    values = [float('nan') if s[2] is None else s[2] for s in slots]
    axis.stairs(values, edges, color=line, linewidth=1.6, label=name)
    axis.stairs([0 if v != v else v for v in values], edges, color=line,
                alpha=0.12, fill=True)


def legend_above(axis):
    axis.legend(loc='lower left', bbox_to_anchor=(0, 1), ncols=3,
                borderaxespad=0.2)
