#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The benchmark at work: runs of a guest with next to no cache, one that is
interrupted, one that fails.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from bench import plan, records, run
from lab import paths
from lab.tap import Tap
from lab.vm import need_qemu

PROGRAM = os.path.join(paths.ROOT, 'tests/lab/run_bench.py')
SETTING = plan.Setting('custom', lan=2.5, san=2.5, share=0)
WORDS = ['--no-wait', '--workload', 'idle', '--peer', 'skip', '--runs', '2',
         '--no-verify', '--before', '5', '--after', '5', '--set', 'lan=2.5',
         '--set', 'san=2.5', '--set', 'share=0']


def begun(child):
    """Read what it says until the second run begins."""
    text = []
    for line in child.stdout:
        text.append(line)
        if 'run 2' in line:
            break
    return ''.join(text)


def interrupted(tap):
    with tempfile.TemporaryDirectory() as output:
        with subprocess.Popen(
                [sys.executable, PROGRAM, *WORDS, '--output', output],
                text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) \
                as child:
            text = begun(child)
            time.sleep(2)
            child.send_signal(signal.SIGINT)
            text += child.communicate(timeout=120)[0]
        tap.check(child.returncode == 130, 'interrupted in the second run',
                  f'status {child.returncode}: {text}')
        record, = records.load(os.path.join(output, 'data'))
        tap.check(record['status'] == 'ok' and record['round'] == 1,
                  'the first is kept', record)
        with open(os.path.join(output, 'result.json')) as file:
            point, = json.load(file)['points']
        tap.check(point['runs'] == 1 and point['peer'] == 'skip',
                  'and in result.json', point)
    return record


def measured(tap, record):
    """What must be in a record, and hang together."""
    missing = [k for k in records.FIGURES
               if record.get(k) is None and not k.endswith('p99_ms')
               and '_p99_' not in k]
    tap.check(not missing, 'all figures are there', missing)
    tap.check(record['wrong_pages'] == 0 and record['client_errors'] == 0,
              'no page is wrong, no answer', record)
    tap.check(record['pagecache']['active'], 'ours was active', record)
    series = record['series']
    lengths = {k: len(v) for k, v in series.items() if isinstance(v, list)}
    tap.check(len(set(lengths.values())) == 1, 'series are of one length',
              lengths)
    # a heartbeat each 10 ms, 5 s before and after
    tap.check(sum(series['answers']) > 800, 'the guest was heard',
              sum(series['answers']))
    tap.check(0.9 < sum(series['lan']) / record['lan_bytes'] < 1.1,
              'bytes on the LAN are those of the migration',
              (sum(series['lan']), record['lan_bytes']))
    first, slot = series['first_ms'], series['slot_ms']
    begin = (0 - first) // slot
    tap.check(sum(series['lan'][:begin]) < record['lan_bytes'] / 100,
              'none of them before it', series['lan'][:begin])
    tap.check(0.8 * record['downtime_ms'] <= record['client_gap_ms'],
              'clients wait as long as the guest stands still, or longer',
              (record['downtime_ms'], record['client_gap_ms']))


def failed(tap):
    run.PATIENCE = 0
    record = run.Benchmark(tap.comment, paths.QEMU, 5, quiet=False).record(
        plan.Run(SETTING, 'idle', 'plain', 1, 5))
    tap.check(record['status'] == 'failed'
              and 'had not ended after 0 s' in record['reason'],
              'a migration that does not end', record)
    point, = records.summarise([record])
    tap.check(point['status'] == 'failed' and point['reason'],
              'a point says so', point)


def main():
    tap = Tap()
    need_qemu()
    with tap.part('a run'):
        measured(tap, interrupted(tap))
    with tap.part('one that fails'):
        failed(tap)
    tap.done()


if __name__ == '__main__':
    main()
