#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The runner behind make check: runs suites that speak TAP, and sums up.
#
# Suites that compile and compute share the processors, one for each of them;
# those with QEMUs in them, whose tests wait for each other, run alone.
#
# A suite is one or more commands, each of which prints TAP version 12 or 13
# on its standard output.  A suite fails when a test in it fails, when it
# ends in a way that its own plan does not cover, or when it should have run
# and ran nothing.  Called by scripts/check, which sees to the packages.

import argparse
import collections
import concurrent.futures
import glob
import os
import re
import signal
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
LOGS = os.path.join(TOP, 'build', 'check')

# full: only with --full.  timeout: seconds for each command.  commands may
# be shell globs of programs, relative to TOP; each match is run.  shares: runs
# beside others; those that take longest stand first, for one processor is idle
# at the end of the last one.
Suite = collections.namedtuple('Suite', 'name full timeout commands shares',
                               defaults=[False])

SUITES = (
    Suite('guest', False, 1800, ('guest/linux/check*',), shares=True),
    Suite('unit', False, 1800, ('scripts/check-unit',), shares=True),
    Suite('model', False, 1800, ('tests/model/test_model.py',), shares=True),
    Suite('style', False, 600, ('scripts/check-style',), shares=True),
    Suite('house', False, 900, ('scripts/check-house',), shares=True),
    Suite('docs', False, 120, ('tests/docs/test_*.py',), shares=True),
    Suite('qtest', False, 2700, ('scripts/check-qtest',)),
    Suite('lab', False, 900, ('tests/lab/test_*.py',)),
    Suite('torture', False, 1800, ('tests/lab/check_torture.py',)),
    Suite('guest-full', True, 1800, ('guest/linux/full*',)),
    Suite('kvm', True, 3600, ('scripts/check-kvm',)),
    Suite('model-full', True, 1800, ('tests/model/full_*.py',)),
    Suite('manual', True, 900, ('tests/docs/full_*.py',)),
    Suite('stream', True, 3600, ('scripts/check-stream',)),
    Suite('io-map', True, 1800, ('scripts/check-io-map',)),
    Suite('qemu', True, 10800, ('scripts/check-qemu',)),
    Suite('libvirt', True, 3600, ('scripts/check-libvirt',)),
    Suite('sanitize', True, 10800, ('scripts/check-sanitize',)),
    Suite('lab-full', True, 3600, ('tests/lab/full_*.py',)),
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


class Command:
    """A process of a suite, in a process group of its own."""
    running = set()
    lock = threading.Lock()
    interrupted = False

    def __init__(self, argv, log):
        self.process = subprocess.Popen(
            argv, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=log, start_new_session=True, text=True, errors='replace')
        self.expired = False
        with self.lock:
            self.running.add(self)

    def stop(self):
        """Ends it and what it started in its own process group."""
        for number in (signal.SIGINT, signal.SIGKILL):
            for _ in range(300):
                try:
                    os.killpg(self.process.pid, number)
                except ProcessLookupError:
                    return
                number = 0
                time.sleep(0.1)

    def expire(self):
        self.expired = True
        self.stop()

    def wait(self):
        """Its exit status, and its CPU time: seconds, descendants included."""
        _pid, status, used = os.wait4(self.process.pid, 0)
        self.process.returncode = os.waitstatus_to_exitcode(status)
        with self.lock:
            self.running.remove(self)
        return self.process.returncode, used.ru_utime + used.ru_stime

    @classmethod
    def stop_all(cls):
        """No more are started."""
        with cls.lock:
            cls.interrupted = True
            commands = list(cls.running)
        for command in commands:
            command.stop()


class Results:
    """What a command says on its standard output."""

    def __init__(self, name, log, times):
        self.name = name
        self.log = log
        self.times = times          # gets (seconds, what) for each result
        self.counts = Counts()
        self.planned = None
        self.seen = 0
        self.last = time.monotonic()

    def fail(self, what):
        self.counts.failed += 1
        say(f'not ok {self.name}: {what} '
            f'(log: {os.path.relpath(self.log.name, TOP)})')

    def skip(self, what, reason):
        self.counts.skipped += 1
        say(f'skip {what}: {reason or "no reason given"}')

    def result(self, line, match):
        self.seen += 1
        now = time.monotonic()
        self.times.append((now - self.last, f'{self.name}: {line}'))
        self.last = now
        bad, _number, title, directive, reason = match.groups()
        if directive and directive.upper() == 'SKIP':
            self.skip(title or self.name, reason)
        elif bad:
            self.fail(title or f'test {self.seen}')
        else:
            self.counts.passed += 1

    def take(self, line):
        plan = re.match(r'1\.\.(\d+) *(?:# *skip\w*[: ]*(.*))?$', line, re.I)
        match = RESULT.match(line)
        if plan:
            self.planned = int(plan[1])
            if self.planned == 0:
                self.skip(self.name, plan[2])
        elif line.startswith('Bail out!'):
            self.fail(line)
        elif match:
            self.result(line, match)

    def end(self, status):
        if status == 77 and not self.seen and self.planned is None:
            self.skip(self.name, 'exit status 77, no reason given')
        elif status != 0 and not self.counts.failed:
            self.fail(f'exit status {status}: {last_line(self.log.name)}')
        elif self.planned is not None and self.planned != self.seen:
            self.fail(f'{self.planned} tests planned, {self.seen} seen')
        elif not self.seen and self.planned is None:
            self.fail('ran no test')


def run_command(path, log, timeout, times):
    """Runs one command of a suite.  Returns its Counts and its CPU time."""
    name = os.path.relpath(path, TOP)
    results = Results(name, log, times)
    log.write(f'--- {name}\n')
    log.flush()
    argv = [sys.executable, path] if path.endswith('.py') else [path]
    command = Command(argv, log)
    timer = threading.Timer(timeout, command.expire)
    timer.daemon = True
    timer.start()
    for line in command.process.stdout:
        log.write(line)
        log.flush()
        results.take(line.rstrip('\n'))
    status, cpu = command.wait()
    timer.cancel()
    if command.expired:
        results.fail(f'no end after {timeout} s')
    else:
        results.end(status)
    return results.counts, cpu


def run_suite(suite):
    """Returns its Counts, and a line about it."""
    say(f'== {suite.name}')
    counts = Counts()
    times = []
    path = os.path.join(LOGS, suite.name + '.log')
    start = time.monotonic()
    cpu = 0
    with open(path, 'w', encoding='utf-8') as log:
        for pattern in suite.commands:
            commands = sorted(glob.glob(os.path.join(TOP, pattern)))
            if not commands:
                counts.failed += 1
                say(f'not ok {suite.name}: there is no {pattern}')
            for command in commands:
                if Command.interrupted:
                    break
                of_it, used = run_command(command, log, suite.timeout, times)
                counts.add(of_it)
                cpu += used
    with open(os.path.join(LOGS, suite.name + '.times'), 'w',
              encoding='utf-8') as out:
        for seconds, what in sorted(times, reverse=True):
            out.write(f'{seconds:7.1f}  {what}\n')
    line = (f'{suite.name:10} {counts} in {time.monotonic() - start:.0f} s '
            f'({cpu:.0f} s of CPU)')
    say(line)
    return counts, line


def run_suites(suites):
    """Those that share first.  Returns what run_suite() does, in order."""
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    results = {}
    try:
        for suite in suites:
            if suite.shares:
                results[suite] = pool.submit(run_suite, suite)
        concurrent.futures.wait(results.values())
        for suite in suites:
            if not suite.shares:
                results[suite] = pool.submit(run_suite, suite)
                concurrent.futures.wait([results[suite]])
    except KeyboardInterrupt:
        pool.shutdown(wait=False, cancel_futures=True)
        Command.stop_all()
        raise
    return [results[suite].result() for suite in suites]


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

    # Ctrl-C is what some tests are about; a job in the background ignores it
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.makedirs(LOGS, exist_ok=True)
    total = Counts()
    summary = []
    for counts, line in run_suites(wanted):
        total.add(counts)
        summary.append(line)
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
