# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
One HTML page of one migration or several: timelines and figures.

It needs nothing but itself: no script, no font, no other file.  All text is
escaped; much of it comes from guests and other QEMUs.
"""

import dataclasses
import typing
from html import escape

from . import chart, view
from .model import Figures

#: what a page may load and run: nothing
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
BINS = 120
STATES = {'proven': 'storage', 'in flight': 'flight', 'waiting': 'waiting',
          'by channel': 'channel'}

STYLE = '''
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1f2933;
  --muted: #616e7c; --grid: #e4e7eb; --channel: #2b6cb0;
  --storage: #dd6b20; --flight: #f3c39b; --waiting: #cbd2d9; }
@media (prefers-color-scheme: dark) { :root { --paper: #14191f;
  --ink: #e4e7eb; --muted: #9aa5b1; --grid: #323f4b; --channel: #63a4e0;
  --storage: #f0934a; --flight: #8f5a2e; --waiting: #4a5560; } }
body { background: var(--paper); color: var(--ink); margin: 2em auto;
  max-width: 60em; padding: 0 1em;
  font: 15px/1.5 'DejaVu Sans', Verdana, Helvetica, Arial, sans-serif; }
h1 { font-size: 1.4em; margin-bottom: 0; }
h2 { font-size: 1.1em; margin: 2em 0 0; }
p { margin: .3em 0; } .muted, figcaption { color: var(--muted); }
figure { margin: .8em 0; } figcaption { font-size: .85em; }
svg { display: block; width: 100%; height: auto; font-size: 12px; }
svg text { fill: var(--muted); }
.grid { stroke: var(--grid); }
.end { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 5 3; }
polygon.channel { fill: var(--channel); }
polygon.storage { fill: var(--storage); }
polygon.flight { fill: var(--flight); }
polygon.waiting { fill: var(--waiting); }
polygon.faint { fill-opacity: .15; }
polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
polyline.channel { stroke: var(--channel); }
polyline.storage { stroke: var(--storage); }
.key { display: inline-block; width: .9em; height: .7em; margin-left: 1em;
  border-radius: 2px; }
i.channel { background: var(--channel); }
i.storage { background: var(--storage); }
i.flight { background: var(--flight); }
i.waiting { background: var(--waiting); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin-top: 1em; }
caption { text-align: left; color: var(--muted); }
th, td { padding: .15em .8em; border-bottom: 1px solid var(--grid);
  text-align: right; font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; font-weight: normal; }
.wrong { border-left: 4px solid var(--storage); padding-left: .6em; }
'''


@dataclasses.dataclass
class Run:
    """One migration.  history: that of a model.Watch"""
    title: str
    history: typing.Sequence[Figures]

    @property
    def last(self):
        return self.history[-1] if self.history else None

    @property
    def end(self):
        """When it was over, if it is."""
        last = self.last
        return last.elapsed if last and last.ended else None

    def series(self, name):
        """[(seconds, rate until then)] of one of the figures' counters."""
        points, old = [], None
        for figures in self.history:
            value = getattr(figures, name)
            if value is None:
                continue
            if old is None:
                # a source counts from the start, however late we came
                if figures.elapsed:
                    points.append((figures.elapsed, value / figures.elapsed))
            elif figures.elapsed > old[0]:
                points.append((figures.elapsed, max(0.0, value - old[1])
                               / (figures.elapsed - old[0])))
            else:
                continue
            old = figures.elapsed, value
        return points

    def pools(self):
        """([seconds], [pool at that time]) where there is one"""
        found = [(f.elapsed, f.pool()) for f in self.history if f.pool()]
        return [t for t, _ in found], [pool for _, pool in found]


def figures_rows(runs):
    """Figures of each run's end: [(name, a cell for each run)]"""
    rows = []

    def row(name, get):
        cells = []
        for run in runs:
            value = get(run.last) if run.last else None
            cells.append('' if value is None else value)
        if any(cells):
            rows.append((name, *cells))

    def amount(name):
        def get(figures):
            value = getattr(figures, name)
            return None if value is None else view.mib(value)
        return get

    def count(name):
        def get(figures):
            pages = figures.pages.get(name)
            return None if pages is None else f'{pages:,}'
        return get

    row('side', lambda f: f.side)
    row('status', lambda f: f.status)
    row('skip-pagecache', lambda f: f.feature)
    row('total time', lambda f: f'{f.elapsed:.1f} s')
    row('downtime', lambda f: None if f.downtime is None
        else f'{f.downtime * 1000:.0f} ms')
    row('RAM', amount('ram_bytes'))
    row('on the channel', amount('channel_bytes'))
    row('from storage', amount('storage_bytes'))
    row('  share of both', lambda f: None if f.refilled_ratio is None
        else f'{f.refilled_ratio:.0%}')
    for name in ('hinted', 'offered', 'reported', 'proven', 'mismatched',
                 'released', 'unavailable', 'superseded'):
        row(f'pages {name}', count(name))
    return rows


def _key(pairs):
    return ''.join(f'<i class="key {style}"></i> {escape(name)}'
                   for name, style in pairs)


def _figure(svg, caption, keys):
    return (f'<figure>\n{svg}\n<figcaption>{escape(caption)}{_key(keys)}'
            '</figcaption></figure>')


def _run(run, seconds, fastest, most, width):
    last = run.last
    out = [f'<h2>{escape(run.title)}</h2>']
    if last is None:
        out.append('<p class="muted">nothing was seen of it</p>')
    else:
        wrong = ' class="wrong"' if last.status == 'failed' else ''
        out.append(f'<p{wrong}>{escape(view.line(last))}</p>')
    wires = [('channel', chart.binned(run.series('channel_bytes'), width)),
             ('storage', chart.binned(run.series('storage_bytes'), width))]
    out.append(_figure(
        chart.rates(f'{run.title}: both wires', wires, seconds, fastest,
                    run.end),
        'both wires', [('migration channel', 'channel'),
                       ('storage', 'storage')]))
    times, pools = run.pools()
    if any(any(pool.values()) for pool in pools):
        layers = [(style, [pool[name] for pool in pools])
                  for name, style in STATES.items()]
        out.append(_figure(
            chart.stack(f'{run.title}: the pool', layers, times, seconds,
                        most, run.end),
            'hinted pages: the pool drains from both ends',
            STATES.items()))
    return '\n'.join(out)


def _table(columns, rows, caption):
    def cells(tag, row):
        first, *rest = row
        indent = ' style="padding-left: 2em"' if first[:1] == ' ' else ''
        return (f'<tr><th scope="row"{indent}>{escape(first.strip())}</th>'
                + ''.join(f'<{tag}>{escape(str(c))}</{tag}>' for c in rest)
                + '</tr>')

    return ('<div class="scroll"><table>\n'
            f'<caption>{escape(caption)}</caption>\n<thead>'
            + cells('th', ('', *columns)) + '</thead>\n<tbody>\n'
            + '\n'.join(cells('td', row) for row in rows)
            + '\n</tbody></table></div>')


def render(title, subtitle, runs, rows=None, wrong=()):
    """
    The page as a string.

    rows: [(name, a cell for each run)], figures_rows() if there are none.
    wrong: lines to stand out at the top.
    """
    seconds = max((f.elapsed for run in runs for f in run.history),
                  default=0.0)
    width = seconds / BINS or 1.0
    fastest = max((rate for run in runs
                   for name in ('channel_bytes', 'storage_bytes')
                   for _, rate in chart.binned(run.series(name), width)),
                  default=0.0)
    most = max((sum(pool.values()) for run in runs
                for pool in run.pools()[1]), default=0)
    body = [f'<h1>{escape(title)}</h1>',
            f'<p class="muted">{escape(subtitle)}</p>',
            *(f'<p class="wrong">{escape(line)}</p>' for line in wrong),
            *(_run(run, seconds, fastest, most, width) for run in runs),
            _table([run.title for run in runs],
                   figures_rows(runs) if rows is None else rows, 'figures')]
    return '\n'.join([
        '<!DOCTYPE html>', '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width">',
        f'<title>{escape(title)}</title>', f'<style>{STYLE}</style></head>',
        '<body>', *body, '</body></html>', ''])
