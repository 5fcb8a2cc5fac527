#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The runner behind make check, with suites made up: what it takes for a failure,
what runs at the same time, what is left when it is interrupted.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time

import lists

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))

#: what a suite says, and how it is counted: passed, failed, skipped
SAID = (
    ('1..2; ok 1 - a; ok 2 - b', 0, (2, 0, 0)),
    ('ok 1 - a; not ok 2 - b; 1..2', 1, (1, 1, 0)),
    ('ok 1 - a; 1..2', 0, (1, 1, 0)),
    ('ok 1 - a; 1..1', 3, (1, 1, 0)),
    ('ok 1 - a # SKIP no disk; 1..1', 0, (0, 0, 1)),
    ('1..0 # skip no guest', 0, (0, 0, 1)),
    ('', 77, (0, 0, 1)),
    ('', 0, (0, 1, 0)),
    ('ok 1 - a; Bail out! gone', 1, (1, 1, 0)),
)

RUNNER = '''
import signal
import sys
# as in the background; check does not go by that
signal.signal(signal.SIGINT, signal.SIG_IGN)
sys.path.insert(0, {scripts!r})
import check
check.TOP = check.LOGS = {top!r}
check.SUITES = {suites}
sys.argv = ['check'] + {names!r}
try:
    sys.exit(check.main())
except KeyboardInterrupt:
    sys.exit(130)
'''


class Runner:
    """Suites of one shell script each"""

    def __init__(self, where):
        self.where = where
        self.suites = []

    def suite(self, script, shares=False, timeout=60):
        name = f's{len(self.suites)}'
        path = os.path.join(self.where, name)
        with open(path, 'w', encoding='utf-8') as out:
            out.write(f'#!/bin/sh\n{script}\n')
        os.chmod(path, 0o755)
        self.suites.append(f'check.Suite({name!r}, False, {timeout}, '
                           f'({name!r},), shares={shares})')

    def start(self, *names):
        text = RUNNER.format(scripts=os.path.join(TOP, 'scripts'),
                             top=self.where, names=list(names),
                             suites=f'({", ".join(self.suites)},)')
        return subprocess.Popen([sys.executable, '-c', text], text=True,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)

    def run(self):
        process = self.start()
        out, _ = process.communicate(timeout=120)
        return process.returncode, out


def last(out):
    return out.strip().splitlines()[-1]


def results_are_counted():
    wrong = []
    for said, status, counts in SAID:
        with tempfile.TemporaryDirectory() as where:
            runner = Runner(where)
            lines = [f"echo '{x.strip()}'" for x in said.split(';') if x]
            runner.suite('\n'.join(lines) + f'\nexit {status}')
            got, out = runner.run()
        want = '{} passed, {} failed, {} skipped'.format(*counts)
        if last(out) != want or got != bool(counts[1]):
            wrong.append(f'{said!r}, {status}: {last(out)}, {got}')
    return wrong


def a_command_without_an_end():
    with tempfile.TemporaryDirectory() as where:
        runner = Runner(where)
        runner.suite('echo ok 1; sleep 50; echo ok 2', timeout=1)
        got, out = runner.run()
    if got == 1 and 'no end after 1 s' in out and \
            last(out) == '1 passed, 1 failed, 0 skipped':
        return []
    return out.splitlines()


def meets(where, mine, other):
    """A test that passes if the other one runs meanwhile"""
    return (f'touch {where}/{mine}\n'
            'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do\n'
            f'  if [ -e {where}/{other} ]; then echo "ok 1"; exit; fi\n'
            '  sleep 0.2\ndone\necho "not ok 1"')


def who_shares_the_processors():
    """Two of three meet; the one that runs alone comes after them."""
    if os.cpu_count() < 2:
        raise lists.Skipped('there is one processor')
    with tempfile.TemporaryDirectory() as where:
        runner = Runner(where)
        runner.suite(f'[ -e {where}/one -a -e {where}/two ] && echo ok 1')
        runner.suite(meets(where, 'one', 'two'), shares=True)
        runner.suite(meets(where, 'two', 'one'), shares=True)
        got, out = runner.run()
    order = [line.split()[0] for line in out.splitlines() if ' in ' in line]
    if got or order[-3:] != ['s0', 's1', 's2']:
        return out.splitlines()
    return []


def interrupted():
    with tempfile.TemporaryDirectory() as where:
        path = os.path.join(where, 'pid')
        runner = Runner(where)
        runner.suite(f'echo $$ >{path}; sleep 50; echo ok 1', shares=True)
        runner.suite(f'touch {where}/second; echo ok 1')
        process = runner.start()
        for _ in range(300):
            if os.path.exists(path) and os.path.getsize(path):
                break
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        with open(path, encoding='utf-8') as file:
            pid = int(file.read())
        wrong = []
        if os.path.exists(f'/proc/{pid}'):
            wrong.append('the command still runs')
        if os.path.exists(os.path.join(where, 'second')):
            wrong.append('the next suite was begun')
        if process.returncode != 130:
            wrong.append(f'{process.returncode}: {out}')
        return wrong


def unknown_suites():
    with tempfile.TemporaryDirectory() as where:
        runner = Runner(where)
        runner.suite('echo ok 1')
        process = runner.start('s7')
        out, _ = process.communicate(timeout=60)
    if process.returncode == 2 and \
            'unknown suite s7; there are: s0' in out:
        return []
    return out.splitlines()


if __name__ == '__main__':
    lists.run('check', (results_are_counted, a_command_without_an_end,
                        who_shares_the_processors, interrupted,
                        unknown_suites))
