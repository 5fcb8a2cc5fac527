# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Child processes that cannot outlive the lab.

Every child gets a parent-death signal (it dies with us whatever kills us)
and a session of its own (Ctrl-C on the terminal reaches only us, so that
the lab can be taken down in order).  Children must be started from the main
thread: the kernel sends the signal when the *thread* that forked ends.
"""

import os
import signal
import subprocess
import threading
import time

from .paths import LabError

#: signals that end a lab in an orderly way
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(SystemExit):
    """A signal asked us to stop; unwinds all context managers."""


def _interrupt(number, _frame):
    raise Interrupted(128 + number)


def handle_signals():
    """Make SIGTERM and SIGHUP unwind like Ctrl-C does."""
    if threading.current_thread() is threading.main_thread():
        # a shell that starts us in the background has it ignored
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, _interrupt)
        signal.signal(signal.SIGHUP, _interrupt)


class undisturbed:
    """Hold signals back while cleaning up; they are delivered afterwards."""

    def __enter__(self):
        self.mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        return self

    def __exit__(self, *exc):
        signal.pthread_sigmask(signal.SIG_SETMASK, self.mask)


class Child:
    """A running program, its standard error in a file."""

    def __init__(self, argv, log, enter=(), env=None, **popen):
        self.name = os.path.basename(argv[0])
        self.log = log
        wrapped = [*enter, 'setpriv', '--pdeathsig', 'KILL', '--', *argv]
        popen.setdefault('stdin', subprocess.DEVNULL)
        with open(log, 'ab') as out:
            popen.setdefault('stdout', out)
            try:
                self.popen = subprocess.Popen(
                    wrapped, stderr=out, start_new_session=True,
                    env=dict(os.environ, **(env or {})), **popen)
            except FileNotFoundError as error:
                raise LabError(f'{error.filename}: not found')

    @property
    def pid(self):
        return self.popen.pid

    def alive(self):
        return self.popen.poll() is None

    def last_words(self):
        """The last line of its log, for error messages."""
        try:
            with open(self.log, errors='replace') as file:
                lines = [x for x in file.read().splitlines() if x.strip()]
        except OSError:
            return ''
        return lines[-1] if lines else ''

    def check(self):
        """Raise LabError if it has ended."""
        if not self.alive():
            raise LabError(f'{self.name} ended with status '
                           f'{self.popen.returncode}: {self.last_words()} '
                           f'(log: {self.log})')

    def signal(self, number):
        if self.alive():
            self.popen.send_signal(number)

    def pause(self):
        """Freeze it: what a hang looks like from outside."""
        self.signal(signal.SIGSTOP)

    def resume(self):
        self.signal(signal.SIGCONT)

    def kill(self):
        """End it now, also when it is stopped, and reap it."""
        if self.alive():
            self.popen.kill()
        self.popen.wait()

    def wait(self, timeout):
        """Its exit status; LabError if it does not end in time."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f'{self.name} (pid {self.pid}) still runs after '
                           f'{timeout} s')

    def cpu_seconds(self):
        """User and system time used so far, in seconds."""
        with open(f'/proc/{self.pid}/stat') as file:
            fields = file.read().rpartition(')')[2].split()
        return sum(map(int, fields[11:13])) / os.sysconf('SC_CLK_TCK')


def wait_until(condition, timeout, what, interval=0.05):
    """The first true value of condition(), or LabError after timeout s."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f'{what}: not within {timeout} s')
        time.sleep(interval)
