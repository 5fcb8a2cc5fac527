#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The runner behind make check: runs suites that speak TAP, one after the
# other, and sums up.
#
# A suite is one or more commands, each of which prints TAP version 12 or 13
# on its standard output.  A suite fails when a test in it fails, when it
# ends in a way that its own plan does not cover, or when it should have run
# and ran nothing.  Called by scripts/check, which sees to the packages.

import argparse
import collections
import glob
import os
import re
import resource
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
LOGS = os.path.join(TOP, 'build', 'check')

# full: only with --full.  timeout: seconds for each command.  commands may
# be shell globs of programs, relative to TOP; each match is run.
Suite = collections.namedtuple('Suite', 'name full timeout commands')

SUITES = (
    Suite('style', False, 600, ['scripts/check-style']),
    Suite('docs', False, 60, ['tests/docs/test_*.py']),
    Suite('model', False, 1800, ['tests/model/test_model.py']),
    Suite('unit', False, 900, ['scripts/check-unit']),
    Suite('house', False, 900, ['scripts/check-house']),
    Suite('guest', False, 900, ['guest/linux/check*']),
    Suite('qtest', False, 2700, ['scripts/check-qtest']),
    Suite('lab', False, 900, ['tests/lab/test_*.py']),
    Suite('torture', False, 1800, ['tests/lab/check_torture.py']),
    Suite('kvm', True, 3600, ['scripts/check-kvm']),
    Suite('model-full', True, 1800, ['tests/model/full_*.py']),
    Suite('stream', True, 3600, ['scripts/check-stream']),
    Suite('io-map', True, 1800, ['scripts/check-io-map']),
    Suite('qemu', True, 10800, ['scripts/check-qemu']),
    Suite('libvirt', True, 3600, ['scripts/check-libvirt']),
    Suite('sanitize', True, 10800, ['scripts/check-sanitize']),
    Suite('lab-full', True, 3600, ['tests/lab/full_*.py']),
)

RESULT = re.compile(r'(not )?ok\b *(\d+)? *(?:- )?([^#]*?) *'
                    r'(?:# *(SKIP|TODO)\b[: ]*(.*))?$', re.I)


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return (f'{self.passed} passed, {self.failed} failed, '
                f'{self.skipped} skipped')


def say(text):
    print(text, flush=True)


def last_line(path):
    with open(path, encoding='utf-8', errors='replace') as log:
        lines = [line.strip() for line in log if line.strip()]
    return lines[-1]


def stop(process):
    """Ends a command and what it started in its own process group."""
    for number in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
            process.wait(timeout=30)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def run_command(command, log, timeout, times):
    """Runs one command of a suite.  Returns its Counts.

    Adds (seconds, what) to times for each result.
    """
    counts = Counts()
    last = time.monotonic()
    name = os.path.relpath(command, TOP)
    planned = None
    seen = 0

    def fail(what):
        counts.failed += 1
        say(f'not ok {name}: {what} (log: {os.path.relpath(log.name, TOP)})')

    log.write(f'--- {name}\n')
    log.flush()
    argv = [command]
    if command.endswith('.py'):
        argv.insert(0, sys.executable)
    process = subprocess.Popen(argv, cwd=TOP, stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=log,
                               start_new_session=True, text=True,
                               errors='replace')

    def expire(_signum, _frame):
        raise TimeoutError

    signal.signal(signal.SIGALRM, expire)
    signal.alarm(timeout)
    try:
        for line in process.stdout:
            log.write(line)
            log.flush()
            line = line.rstrip('\n')
            plan = re.match(r'1\.\.(\d+) *(?:# *skip\w*[: ]*(.*))?$', line,
                            re.I)
            if plan:
                planned = int(plan[1])
                if planned == 0:
                    counts.skipped += 1
                    say(f'skip {name}: {plan[2] or "no reason given"}')
                continue
            if line.startswith('Bail out!'):
                fail(line)
                continue
            match = RESULT.match(line)
            if not match:
                continue
            seen += 1
            now = time.monotonic()
            times.append((now - last, f'{name}: {line}'))
            last = now
            bad, _number, title, directive, reason = match.groups()
            if directive and directive.upper() == 'SKIP':
                counts.skipped += 1
                say(f'skip {title or name}: {reason or "no reason given"}')
            elif bad:
                fail(title or f'test {seen}')
            else:
                counts.passed += 1
        status = process.wait()
    except TimeoutError:
        stop(process)
        fail(f'no end after {timeout} s')
        return counts
    except BaseException:
        stop(process)
        raise
    finally:
        signal.alarm(0)
    if status == 77 and not seen and planned is None:
        counts.skipped += 1
        say(f'skip {name}: exit status 77, no reason given')
    elif status != 0 and not counts.failed:
        fail(f'exit status {status}: {last_line(log.name)}')
    elif planned is not None and planned != seen:
        fail(f'{planned} tests planned, {seen} seen')
    elif not seen and planned is None:
        fail('ran no test')
    return counts


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run_suite(suite):
    counts = Counts()
    times = []
    path = os.path.join(LOGS, suite.name + '.log')
    start = time.monotonic()
    cpu = cpu_seconds()
    with open(path, 'w', encoding='utf-8') as log:
        for pattern in suite.commands:
            commands = sorted(glob.glob(os.path.join(TOP, pattern)))
            if not commands:
                counts.failed += 1
                say(f'not ok {suite.name}: there is no {pattern}')
            for command in commands:
                counts.add(run_command(command, log, suite.timeout,
                                       times))
    with open(os.path.join(LOGS, suite.name + '.times'), 'w',
              encoding='utf-8') as out:
        for seconds, what in sorted(times, reverse=True):
            out.write(f'{seconds:7.1f}  {what}\n')
    return counts, time.monotonic() - start, cpu_seconds() - cpu


def main():
    parser = argparse.ArgumentParser(prog='scripts/check')
    parser.add_argument('--full', action='store_true',
                        help='the slow suites, too')
    parser.add_argument('--list', action='store_true',
                        help='list the suites')
    parser.add_argument('suite', nargs='*', help='only these suites')
    args = parser.parse_args()

    known = {suite.name: suite for suite in SUITES}
    for name in args.suite:
        if name not in known:
            parser.error(f'unknown suite {name}; there are: '
                         + ', '.join(known))
    wanted = [s for s in SUITES
              if (s.name in args.suite if args.suite
                  else args.full or not s.full)]
    if args.list:
        for suite in SUITES:
            say(f'{suite.name:10} {"full " if suite.full else "     "}'
                + ' '.join(suite.commands))
        return 0

    os.makedirs(LOGS, exist_ok=True)
    total = Counts()
    summary = []
    for suite in wanted:
        say(f'== {suite.name}')
        counts, seconds, cpu = run_suite(suite)
        total.add(counts)
        summary.append(f'{suite.name:10} {counts} in {seconds:.0f} s '
                       f'({cpu:.0f} s of CPU)')
        say(summary[-1])
    say('')
    for line in summary:
        say(line)
    say(str(total))
    return 1 if total.failed else 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say('interrupted')
        sys.exit(130)
