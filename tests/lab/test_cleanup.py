#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
However a lab ends, it leaves nothing behind.

A lab with a target, a guest and traffic runs in a process of its own, which
gets a signal at different moments.  What belongs to the lab is found by a
mark in the environment that all its processes inherit.
"""

import glob
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time

from lab import guest, kernel
from lab.lab import PREFIX, Lab
from lab.net import Sampler
from lab.procs import wait_until
from lab.tap import Tap
from lab.vm import need_qemu

MARK = 'LAB_TEST_MARK'


def victim():
    """The lab that is ended: prints a line at each stage."""
    def stage(name):
        print(name, flush=True)

    stage('start')
    with Lab('cleanup') as lab:
        stage('network')
        luns = [lab.lun(size=64 << 20), lab.file_lun(size=64 << 20)]
        machine = lab.machine(kernel.get('6.1'), luns, ram=256,
                              with_driver=False, device=None)
        vm = lab.vm('src', machine)
        other = lab.vm('dst', machine, incoming=True, paused=True)
        with Sampler({'lan': (lab.hosts['src'], 'lan', 1)}):
            stage('qemu')
            vm.boot()
            other.status()
            stage('guest')
            time.sleep(600)


def marked(mark):
    """Processes with the mark in their environment: {pid: name}"""
    found = {}
    wanted = f'{MARK}={mark}'.encode()
    for path in glob.glob('/proc/[0-9]*/environ'):
        try:
            with open(path, 'rb') as file:
                words = file.read().split(b'\0')
            with open(path.replace('environ', 'comm')) as file:
                name = file.read().strip()
        except OSError:
            continue
        if wanted in words:
            found[int(path.split('/')[2])] = name
    return found


def surroundings(pid=None):
    """What a careless lab would leave behind beside processes."""
    with open('/proc/self/mountinfo') as file:
        found = {'mount ' + line.split()[4] for line in file}
    with open('/proc/net/dev') as file:
        found |= {'device ' + line.split(':')[0].strip()
                  for line in file if ':' in line}
    found |= set(glob.glob('/run/netns/*'))
    # other labs may run at the same time: theirs have other numbers
    found |= set(glob.glob(f'{tempfile.gettempdir()}/{PREFIX}{pid}-*'))
    return found


def interrupted(tap, name, stage, delay, numbers, group=False):
    """Run the victim, wait for a stage and a while, send signals."""
    child = None
    with tap.part(name):
        mark = secrets.token_hex(8)
        before = surroundings()
        child = subprocess.Popen(
            [sys.executable, __file__, 'victim'], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            env=dict(os.environ, **{MARK: mark}))
        try:
            for line in child.stdout:
                if line.strip() == stage:
                    break
            time.sleep(delay)
            running = marked(mark)
            if stage != 'start':
                # the control: the search does find what there is
                tap.check({'sh', 'tgtd'} <= set(running.values()) or
                          stage == 'network', 'its processes are found',
                          f'found {running}')
            space = _namespaces(running)
            start = time.monotonic()
            for number in numbers:
                (os.killpg if group else os.kill)(child.pid, number)
                time.sleep(0.02)
            child.wait(20)
            seconds = time.monotonic() - start
            wait_until(lambda: not marked(mark), 5, 'all processes end')
            tap.check(seconds < 10, 'ends soon', f'took {seconds:.1f} s')
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)
            error = child.communicate()[1]
        if signal.SIGKILL not in numbers:
            tap.check(child.returncode not in (0, -9), 'says that it failed',
                      f'status {child.returncode}')
            more = surroundings(child.pid) - before
            tap.check(not more, 'no mount, device or file is left',
                      f'left: {more}\n{error}')
        left = _lasting(lambda: space & _namespaces(_everything()), 10)
        tap.check(not left, 'no namespace is left', f'left: {left}')
    return child and child.pid


def _lasting(look, timeout):
    """
    What look() finds even after timeout s.  A process that is about to end has
    lost its environment, by which marked() knows it, but not its namespace.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = look()
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def _everything():
    return [int(x) for x in os.listdir('/proc') if x.isdigit()]


def _namespaces(pids):
    """Network namespaces of processes, but not our own."""
    found = set()
    for pid in pids:
        try:
            found.add(os.readlink(f'/proc/{pid}/ns/net'))
        except OSError:
            pass
    return found - {os.readlink('/proc/self/ns/net')}


def main():
    if sys.argv[1:] == ['victim']:
        victim()
        return
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
        guest.labtool()
        kernel.get('6.1')
    both = (signal.SIGINT, signal.SIGTERM)
    interrupted(tap, 'SIGINT while the guest runs', 'guest', 0.2,
                [signal.SIGINT])
    interrupted(tap, 'Ctrl-C on the terminal', 'qemu', 0.5, [signal.SIGINT],
                group=True)
    interrupted(tap, 'SIGTERM', 'guest', 0, [signal.SIGTERM])
    interrupted(tap, 'SIGHUP', 'network', 0.05, [signal.SIGHUP])
    interrupted(tap, 'impatience', 'guest', 0, both * 3)
    for delay in (0.0, 0.02, 0.05, 0.1):
        interrupted(tap, f'SIGINT {delay} s after the start', 'start', delay,
                    [signal.SIGINT])
    pid = interrupted(tap, 'SIGKILL', 'guest', 0, [signal.SIGKILL])
    # what SIGKILL can't help leaving, a directory of sockets, goes next time
    with tap.part('after SIGKILL'):
        pattern = f'{tempfile.gettempdir()}/{PREFIX}{pid}-*'
        tap.check(glob.glob(pattern), 'sockets are left')
        with Lab('cleanup'):
            pass
        tap.check(not glob.glob(pattern), 'and the next lab removes them',
                  glob.glob(pattern))
    tap.done()


if __name__ == '__main__':
    main()
