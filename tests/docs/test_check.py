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
import sys
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


def test_counts(where):
    for said, status, counts in SAID:
        runner = Runner(where)
        lines = [f"echo '{line.strip()}'" for line in said.split(';') if line]
        runner.suite('\n'.join(lines) + f'\nexit {status}')
        got, out = runner.run()
        want = '{} passed, {} failed, {} skipped'.format(*counts)
        if last(out) != want or got != bool(counts[1]):
            return f'{said!r}, {status}: {last(out)}, {got}'
    return ''


def test_timeout(where):
    runner = Runner(where)
    runner.suite('echo ok 1; sleep 50; echo ok 2', timeout=1)
    got, out = runner.run()
    return '' if got == 1 and 'no end after 1 s' in out and \
        last(out) == '1 passed, 1 failed, 0 skipped' else out


def meets(where, mine, other):
    """A test that passes if the other one runs meanwhile"""
    return (f'touch {where}/{mine}\n'
            'for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do\n'
            f'  if [ -e {where}/{other} ]; then echo "ok 1"; exit; fi\n'
            '  sleep 0.2\ndone\necho "not ok 1"')


def test_shares(where):
    """Two of three meet; the one that runs alone meets nobody."""
    runner = Runner(where)
    runner.suite('touch alone\necho ok 1')
    runner.suite(meets(where, 'one', 'two') + f'\n[ ! -e {where}/alone ]',
                 shares=True)
    runner.suite(meets(where, 'two', 'one') + f'\n[ ! -e {where}/alone ]',
                 shares=True)
    got, out = runner.run()
    order = [line.split()[0] for line in out.splitlines() if ' in ' in line]
    if order[-3:] != ['s0', 's1', 's2']:
        return f'summary: {order}'
    if os.cpu_count() < 2:
        return ''
    return '' if got == 0 else out


def test_interrupt(where):
    runner = Runner(where)
    runner.suite(f'echo $$ >{where}/pid; sleep 50; echo ok 1', shares=True)
    runner.suite(f'touch {where}/second; echo ok 1')
    process = runner.start()
    path = os.path.join(where, 'pid')
    for _ in range(300):
        if os.path.exists(path) and os.path.getsize(path):
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    with open(path, encoding='utf-8') as file:
        pid = int(file.read())
    if os.path.exists(f'/proc/{pid}'):
        return 'the command still runs'
    if os.path.exists(os.path.join(where, 'second')):
        return 'the next suite was begun'
    return '' if process.returncode == 130 else f'{process.returncode}: {out}'


def test_unknown(where):
    runner = Runner(where)
    runner.suite('echo ok 1')
    process = runner.start('s7')
    out, _ = process.communicate(timeout=60)
    return '' if process.returncode == 2 and \
        'unknown suite s7; there are: s0' in out else out


def main():
    tests = (('results are counted', test_counts),
             ('a command that does not end', test_timeout),
             ('who shares the processors', test_shares),
             ('interrupted', test_interrupt),
             ('an unknown suite', test_unknown))
    bad = False
    print(f'1..{len(tests)}')
    for i, (name, test) in enumerate(tests, 1):
        with tempfile.TemporaryDirectory() as where:
            wrong = test(where)
        bad = bad or wrong
        print(f'{"not " if wrong else ""}ok {i} - {name}', flush=True)
        if wrong:
            print('# ' + wrong.replace('\n', '\n# '))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
