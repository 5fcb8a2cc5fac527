#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The guest driver gets in nobody's way.

    tests/lab/test_guest_hurt.py [VERSION/BUS...] [PART...]
                            (default: 6.1/virtio-blk 6.12/virtio-scsi, all)

Does to the guest's file systems what an administrator or his backup does
(freeze, thaw, remount, unmount, sync), at every step of a collection; holds
locks that the driver comes across; deletes files under it; stops and freezes
its daemon.  All of it must work as if the driver was not there: nothing here
measures time, but what must not wait for a collection is done while that can't
go on.  Prints TAP.
"""

import contextlib
import os
import re
import sys

from lab.migrate import pagecache_of
from lab.paths import LabError
from lab.procs import handle_signals, wait_until
from lab.tap import Tap
from test_guest_map import Bench, check_map

#: small files whose pages are hinted one by one (FILES=60000 in the
#: environment for what the guide promises)
MANY = int(os.environ.get('FILES', 6000))
#: as long as the guest is given for what must not wait at all
PATIENCE = 90
#: milliseconds; ends when it is set to 0
FOR_EVER = 3600000
#: the first two disks
FS = {0: 'ext4', 1: 'xfs'}
DELAY = '/sys/module/virtio_pagecache/parameters/lookup_delay'


class HurtBench(Bench):
    programs = ('hurttool',)

    def slow(self):
        """A driver that sends each hint on its own."""
        self.load('buffers=1 buffer_hints=1')

    def delay(self, ms):
        """Each lookup of extents takes longer."""
        self.sh(f'echo {ms} >{DELAY}')

    def spawn(self, command, said):
        """Start a tool in the guest; its number, once it says a word."""
        log = f'/tmp/spawn{self.sh("ls /tmp | grep -c spawn; true").strip()}'
        pid = self.sh(f'{command} >{log} 2>&1 & echo $!').strip()
        wait_until(lambda: said in self.sh(f'cat {log}'), 60,
                   f'{command} says "{said}"', 0.1)
        return pid, log

    def daemon_state(self):
        """Its state and whether it is in the ioctl: ('D', True)"""
        text = self.sh('p=$(pidof virtio-pagecached); cat /proc/$p/stat; '
                       'cat /proc/$p/syscall; true')
        state = re.search(r'\) (\w) ', text)
        return (state and state[1],
                bool(re.search(r'^(16 |running)', text, re.M)))

    def wait_lookup(self):
        """Until the walker is in a lookup that takes long."""
        wait_until(lambda: self.daemon_state() == ('D', True), 60,
                   'the collection is in a lookup', 0.05)

    @contextlib.contextmanager
    def migration(self):
        target = self.begin()
        try:
            yield
        finally:
            self.finish(target)

    def line(self, before, timeout=PATIENCE):
        """What the daemon says of the next collection."""
        return wait_until(lambda: self.lines()[before:], timeout,
                          'the collection ends')[0]

    def drop_caches(self):
        self.sh('sync; echo 3 >/proc/sys/vm/drop_caches')

    def read(self, *names):
        """Make these files all that is cached."""
        self.drop_caches()
        self.sh(f'cat {" ".join(names)} >/dev/null')


def test_frozen(tap, bench):
    """
    Frozen before the collection begins, and the last names of deleted files
    go while it is at them.
    """
    bench.slow()
    bench.drop_caches()
    for index, fs in FS.items():
        pid, log = bench.spawn(f'hurttool names /mnt/{index} 60', 'held')
        bench.sh(f'hurttool freeze /mnt/{index}')
        before = len(bench.lines())
        bench.delay(5)
        with bench.migration():
            bench.sh(f'kill -USR1 {pid}')
            wait_until(lambda log=log: 'closed' in bench.sh(f'cat {log}'),
                       60, 'the processes are killed')
            bench.sh(f'hurttool thaw /mnt/{index}', PATIENCE)
            tap.check(True, f'frozen: {fs} thaws')
            line = bench.line(before)
            tap.check(' complete: ' in line,
                      'frozen: the collection comes to its end', line)
    text = bench.sh('grep frozen /tmp/daemon.log; true')
    tap.check(text.count('left out: frozen file system on') == len(FS),
              'frozen: the daemon tells what it left out', text)
    bench.delay(0)
    with bench.collection() as result:
        tap.check(result.complete and not bench.compare(result.runs),
                  'frozen: a right map after the thaw', result.line)
    bench.unload()


def freeze_midway(tap, bench, index, fs):
    """Frozen while the walker is in a lookup, with an inode in its hand."""
    bench.drop_caches()
    pid, log = bench.spawn(f'hurttool names /mnt/{index} 1', 'held')
    before = len(bench.lines())
    bench.delay(FOR_EVER)
    with bench.migration():
        bench.wait_lookup()
        bench.sh(f'hurttool freeze /mnt/{index}', PATIENCE)
        tap.check(len(bench.lines()) == before,
                  f'midway: {fs} freezes under a lookup')
        # ours is the last reference on the deleted file now
        bench.sh(f'kill -USR1 {pid}')
        wait_until(lambda: 'closed' in bench.sh(f'cat {log}'), 20,
                   'the process is killed')
        bench.delay(0)
        line = bench.line(before)
        tap.check(' complete: ' in line,
                  f'midway: the collection does not wait for {fs} to thaw',
                  line)
        bench.sh(f'hurttool thaw /mnt/{index}', PATIENCE)
        tap.check(True, f'midway: {fs} thaws')
    # and this is where inodes that were left behind would be found
    bench.sh(f'umount /mnt/{index}', PATIENCE)
    bench.sh(f'mount -t {fs} -o noatime {bench.device(index)} /mnt/{index}',
             PATIENCE)


def test_midway(tap, bench):
    bench.slow()
    for index, fs in FS.items():
        freeze_midway(tap, bench, index, fs)
    bench.unload()


def test_lock(tap, bench):
    """A process that holds a file's lock as long as it likes."""
    bench.slow()
    for index, fs in FS.items():
        name = f'/mnt/{index}/locked'
        bench.sh(f'dd if=/dev/urandom of={name} bs=64k count=1')
        bench.read(name)
        before = len(bench.lines())
        bench.delay(FOR_EVER)
        with bench.migration():
            # the lock is free when it is looked at, and then no more
            bench.wait_lookup()
            pid, _ = bench.spawn(f'hurttool lock {name}', 'locked')
            bench.delay(0)
            bench.sh(f'sleep 0.2; mount -o remount /mnt/{index}', PATIENCE)
            bench.sh('sync -f /mnt/2; mount -o remount,sync /mnt/2; '
                     'mount -o remount,async /mnt/2', PATIENCE)
            text = bench.sh(f'umount /mnt/{index} 2>&1; true', PATIENCE)
            tap.check('busy' in text, f'lock: {fs} is remounted, sync and '
                      'umount return', text)
            bench.sh(f'kill -9 {pid}')
            line = bench.line(before)
            tap.check(' complete: ' in line, f'lock: {fs}: the collection '
                      'goes on when the lock is free', line)
        bench.sh(f'rm {name}; umount /mnt/{index}', PATIENCE)
        bench.sh(f'mount -t {fs} -o noatime {bench.device(index)} '
                 f'/mnt/{index}')
    bench.unload()


def test_steps(tap, bench):
    """Everything at any moment."""
    bench.slow()
    logs = []
    for index, fs in FS.items():
        name = f'/mnt/{index}/wide'
        bench.sh(f'hurttool wide {name} 300')
        logs.append(bench.sh(
            f'hurttool steps /mnt/{index} {bench.device(index)} {fs} {name} '
            f'>/tmp/steps{index} 2>&1 & echo /tmp/steps{index}').strip())
    pauses = 0
    # on a slow machine it takes more until the two meet
    for delay in (0, 1, 5, *[20] * 12):
        if delay == 20 and pauses > 1:
            break
        bench.delay(delay)
        with bench.collection() as result:
            tap.check(result.complete, 'steps: map is complete', result.line)
            pauses += result.figures['pauses']
    bench.sh('touch /tmp/stop')
    for log in logs:
        text = wait_until(lambda log=log: bench.sh(f'cat {log}'), PATIENCE,
                          'the last step is done')
        tap.check(re.fullmatch(r'[1-9]\d* rounds\s*', text),
                  'steps: all of them worked', text)
    tap.comment(f'steps: {pauses} pauses')
    tap.check(pauses, 'steps: some met the walk')
    bench.sh('rm /tmp/stop')
    bench.unload()


def test_signals(tap, bench):
    """What is not fatal interrupts a collection, and that goes on."""
    bench.slow()
    bench.sh('mkdir -p /tmp/cg && mount -t cgroup2 none /tmp/cg && '
             'mkdir /tmp/cg/d && pidof virtio-pagecached '
             '>/tmp/cg/d/cgroup.procs')
    freeze = '/tmp/cg/d/cgroup.freeze'
    bench.sh('hurttool wide /mnt/0/wide 500')
    before = len(bench.lines())
    bench.delay(20)
    with bench.migration():
        wait_until(lambda: sum('virtio_pagecache_hints' in x
                               for x in bench.traced()) > 5, 60,
                   'the collection is under way')
        bench.sh('kill -STOP $(pidof virtio-pagecached)')
        wait_until(lambda: bench.daemon_state()[0] == 'T', 20,
                   'the daemon is stopped')
        tap.check(len(bench.lines()) == before,
                  'signals: SIGSTOP in the middle of a collection')
        bench.sh('mount -o remount /mnt/0', PATIENCE)
        bench.sh('kill -CONT $(pidof virtio-pagecached)')
        bench.sh(f'echo 1 >{freeze}')
        wait_until(lambda: 'frozen 1' in bench.sh(
            'cat /tmp/cg/d/cgroup.events'), 20, 'the daemon is frozen')
        tap.check(len(bench.lines()) == before,
                  "signals: a cgroup's freezer in the middle of it")
        bench.sh(f'echo 0 >{freeze}')
        bench.delay(0)
        line = bench.line(before)
        tap.check(' complete: ' in line,
                  'signals: the collection is complete', line)
        info = wait_until(bench.ended, 30, 'the host has the map')
        tap.check(pagecache_of(info)['hinted-pages'] ==
                  int(re.search(r'(\d+) pages', line)[1]),
                  'signals: the host has it all', info['pagecache'])

    # all processes are frozen, and then the device is reset
    before = len(bench.lines())
    bench.delay(20)
    with bench.migration():
        wait_until(lambda: sum('virtio_pagecache_hints' in x
                               for x in bench.traced()) > 5, 60,
                   'the collection is under way')
        bench.sh('(echo mem >/sys/power/state) & true')
        wait_until(lambda: bench.vm.status() == 'suspended', 60,
                   'the guest is asleep')
        bench.vm.cmd('system_wakeup')
        wait_until(lambda: bench.vm.status() == 'running', 30,
                   'the guest is awake')
        wait_until(bench.answers, 30, 'the guest answers')
        bench.delay(0)
        lines = wait_until(lambda: [x for x in bench.lines()[before:]
                                    if ' complete: ' in x], PATIENCE,
                           'the collection is complete')
        info = wait_until(bench.ended, 30, 'the host has the map')
        tap.check(pagecache_of(info)['hinted-pages'] >=
                  int(re.search(r'(\d+) pages', lines[0])[1]),
                  'signals: asleep and awake in the middle of it',
                  (lines, info['pagecache']))

    # killed while it is stopped: the host is told that there is no more
    bench.delay(20)
    with bench.migration():
        wait_until(lambda: sum('virtio_pagecache_hints' in x
                               for x in bench.traced()) > 5, 60,
                   'the collection is under way')
        bench.sh('kill -STOP $(pidof virtio-pagecached)')
        wait_until(lambda: bench.daemon_state()[0] == 'T', 20,
                   'the daemon is stopped')
        bench.sh('kill -KILL $(pidof virtio-pagecached)')
        wait_until(lambda: any('virtio_pagecache_end' in x
                               and ' status=1 ' in x
                               for x in bench.traced()), 20,
                   'the host is told that the map is cut short')
        tap.check(True, 'signals: killed while stopped')
    bench.sh('umount /tmp/cg; rmmod virtio_pagecache; rm /mnt/0/wide')


def test_many(tap, bench):
    """However slow the device is, a file system is not left for it."""
    bench.drop_caches()
    for index, n in ((0, MANY // 6), (1, MANY - MANY // 6)):
        bench.sh(f'mkdir /mnt/{index}/many && '
                 f'hurttool files /mnt/{index}/many {n}', 600)
    took = {}
    for name, parameters in (('largest', ''),
                             ('small', 'buffers=1 buffer_hints=32'),
                             ('smallest', 'buffers=1 buffer_hints=1')):
        bench.load(parameters)
        before = bench.memory()
        with bench.collection() as result:
            check_map(tap, bench, result, f'{name} buffers', before['clean'],
                      0.9)
            tap.check(result.figures['pauses'] == 0,
                      f'{name} buffers: no pause', result.line)
            took[name] = result.figures['ms']
        bench.unload()
    tap.comment(f'{MANY} files: {took} ms')
    bench.sh('rm -r /mnt/0/many /mnt/1/many', 300)


def test_direct(tap, bench):
    """Direct reads of a file say nothing of its pages; writes do."""
    def throttle(bps):
        device = ('vd2' if bench.bus == 'virtio-scsi' else
                  '/machine/peripheral/vd2/virtio-backend')
        said = bench.vm.hmp('block_set_io_throttle '
                            f'{device} {bps} 0 0 0 0 0')
        if said:
            raise LabError(said)

    # with data=journal there is no direct I/O
    bench.sh('umount /mnt/2')
    bench.sh(f'mount -t ext4 -o noatime {bench.device(2)} /mnt/2')
    bench.sh('dd if=/dev/urandom of=/mnt/2/direct bs=1M count=8; sync')
    bench.load()
    for how, hinted in (('read', True), ('write', False)):
        bench.read('/mnt/2/direct')
        with bench.collection():
            pass                        # reads all of the block map there is
        throttle(1)
        pid, log = bench.spawn(f'hurttool direct /mnt/2/direct {how}',
                               'begun')
        # the first one may pass, and the next one won't for an hour
        wait_until(lambda pid=pid: bench.sh(
            f'for i in 1 2 3 4 5; do grep -cE "\\) D " /proc/{pid}/stat; '
            'sleep 0.1; done').split() == ['1'] * 5, 20,
            'the direct I/O is in flight')
        with bench.collection() as result:
            here = sum(r.pages for r in result.runs if r.disk == 2)
            busy = result.figures['busy']
            tap.check(here > 2000 and busy < 50 if hinted
                      else here < 50 and busy > 2000,
                      f'direct: a {how} in flight makes pages '
                      f'{"not " if hinted else ""}busy',
                      f'{here} pages; {result.line}')
        throttle(0)
        wait_until(lambda log=log: 'done' in bench.sh(f'cat {log}'), 20,
                   'the direct I/O is done')
    bench.unload()
    bench.sh('umount /mnt/2')


PARTS = {'frozen': test_frozen, 'midway': test_midway, 'lock': test_lock,
         'steps': test_steps, 'signals': test_signals, 'many': test_many,
         'direct': test_direct}


def test(tap, version, bus, parts):
    with contextlib.ExitStack() as stack:
        bench = HurtBench(version, bus, stack, 'guest_hurt')
        bench.mount()
        for part in parts:
            PARTS[part](tap, bench)
        bench.sh('umount /mnt/0 && umount /mnt/1', PATIENCE)
        trouble = bench.vm.kernel_trouble()
        tap.check(not trouble, 'nothing in the kernel log', trouble[:20])


def main():
    handle_signals()
    wanted = [x for x in sys.argv[1:] if '/' in x] or \
        ['6.1/virtio-blk', '6.12/virtio-scsi']
    parts = [x for x in sys.argv[1:] if '/' not in x] or list(PARTS)
    tap = Tap()
    for words in wanted:
        with tap.part(words):
            test(tap, *words.split('/'), parts)
    tap.done()


if __name__ == '__main__':
    main()
