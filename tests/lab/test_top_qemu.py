#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
pagecache-top looks at real QEMUs: idle, while one migrates to the other,
after that, and when one is gone.

No guest runs in them.  Their RAM is filled from files, one of which is the
disk, too.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

from lab import kernel, paths, top
from lab.lab import Lab
from lab.migrate import ENDED, Migration, Settings, pagecache_of
from lab.procs import wait_until
from lab.tap import Tap
from lab.top import PAGE, monitor
from lab.vm import Machine, need_qemu

MIB = 1 << 20
#: megabytes per second of both wires, and MiB of the two parts of RAM
SPEED, CACHE, OTHER = 62.5, 96, 64
RAM, AT, OTHER_AT = 320, 128 * MIB, 240 * MIB


class Looker:
    """pagecache-top --json on a monitor of a QEMU that is its alone."""

    def __init__(self, path):
        self.path = path
        self._process = subprocess.Popen(
            [sys.executable, top.PROGRAM, '--qmp', path, '--json',
             '--interval', '0.1'], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        # there it is when it says the first word
        self._first = self._process.stdout.readline()

    def end(self, number=signal.SIGINT):
        """(exit status, records, what it said on stderr)"""
        if number:
            self._process.send_signal(number)
        try:
            out, err = self._process.communicate(timeout=20)
        finally:
            self._process.kill()
        return (self._process.returncode, [
            json.loads(x) for x in (self._first + out).splitlines()], err)


def machines(lab):
    """{host: a machine}; and the paths of their monitors for us."""
    cache = lab.write('cache', '')
    other = lab.write('other', '')
    for path, mib in ((cache, CACHE), (other, OTHER)):
        with open(path, 'wb') as file:
            file.write(os.urandom(mib * MIB))
    linux = kernel.get('6.1')           # which is never started
    machine = Machine(linux, linux.image, [lab.lun(cache)], ram=RAM,
                      device=None)
    found, monitors = {}, {}
    for host in ('src', 'dst'):
        monitors[host] = os.path.join(lab.rundir, f'{host}.top')
        found[host] = dataclasses.replace(machine, extra=[
            '-S', '-qmp', f'unix:{monitors[host]},server=on,wait=off'])
    found['src'].extra += [
        '-device', f'loader,file={cache},addr={AT:#x},force-raw=on',
        '-device', f'loader,file={other},addr={OTHER_AT:#x},force-raw=on']
    return found, monitors


def once(path, *words):
    return top.run('--qmp', path, '--once', *words)


def idle(tap, source, path):
    done = once(path)
    tap.check(done.returncode == 0 and 'nothing migrates' in done.stdout
              and 'skip-pagecache is off' in done.stdout, 'before', done)
    done = once(path, '--openmetrics')
    tap.check('qemu_pagecache_up{' in done.stdout
              and 'qemu_pagecache_known{qemu="%s"} 1\n' % path in done.stdout,
              'as OpenMetrics', done)
    source.cmd('migrate-set-capabilities', capabilities=[
        {'capability': 'skip-pagecache', 'state': True}])
    done = once(path)
    tap.check('skip-pagecache is on' in done.stdout, 'the capability is set',
              done)
    done = once(path, '--json')
    found = json.loads(done.stdout)['clean_cache']
    tap.check(found and found['status'] is None, 'nothing was collected', done)
    done = once(path, '--json', '--collect')
    found = json.loads(done.stdout)['clean_cache']
    tap.check(found and found['status'] == 'completed'
              and (CACHE + OTHER) * MIB <= found['ram_pages'] * PAGE
              < RAM * MIB and found['disks'][0]['reader'] == 'iscsi',
              '--collect: RAM is counted, and the disk can be read', done)
    source.cmd('migrate', uri='tcp:127.0.0.1:1')
    wait_until(lambda: source.cmd('query-migrate').get('status') in ENDED, 10,
               'a migration to nowhere fails')
    done = once(path)
    tap.check(done.returncode == 0 and 'failed' in done.stdout
              and 'onnect' in done.stdout, 'a migration that has failed',
              done)


def migrate(tap, vms, looker_paths):
    source, destination = vms
    source.cmd('x-pagecache-add-hints', hints=[
        {'device': 'vd0', 'address': AT, 'sector': 0,
         'pages': CACHE * MIB // PAGE}])
    migration = Migration(source, destination, Settings(skip=True))
    migration.prepare()
    lookers = [Looker(looker_paths[host]) for host in ('src', 'dst')]
    try:
        monitor.Qmp(looker_paths['src'], timeout=0.5).close()
        tap.check(False, 'a second client gets to know')
    except monitor.MonitorError as error:
        tap.check('one client at a time' in str(error),
                  'a second client gets to know', error)
    migration.start()
    info = migration.wait(60)
    migration.settle(info)
    wait_until(lambda: destination.cmd('query-migrate')['status']
               == 'completed', 10, 'the destination is done')
    time.sleep(0.5)                     # so that they get to see it
    return (info, *[looker.end() for looker in lookers])


def judge(tap, info, source, destination):
    status, records, said = source
    active = [r for r in records if r['status'] == 'active']
    tap.check(status == 130 and not said and len(active) > 5,
              'the source, many times', f'{status} {said} {records}')
    tap.check(all(r['feature'] == 'active' and r['side'] == 'source'
                  for r in active), 'active at the source', active)
    waiting = [r['pages']['pooled'] for r in active]
    tap.check(max(waiting) > 0 and waiting[-1] < max(waiting) / 2,
              'the pool drains', waiting)
    for wire in ('channel', 'storage'):
        fastest = max(r[f'{wire}_bytes_per_second'] or 0 for r in active)
        tap.check(SPEED / 10 < fastest / 1e6 < 3 * SPEED,
                  f'the {wire} has a rate', f'{fastest} bytes/s')
    lefts = [r['left_seconds'] for r in active
             if r['left_seconds'] is not None]
    tap.check(lefts and lefts[-1] < max(lefts), 'time left gets less', lefts)
    last, cache = records[-1], pagecache_of(info)
    tap.check(last['status'] == 'completed'
              and last['pages']['proven'] == cache['proven-pages'] > 0
              and last['channel_bytes'] == info['ram']['transferred'],
              "the end is QEMU's", f'{last}\n{info}')
    status, records, said = destination
    disks = [r['disks'][0] for r in records if r['disks']]
    tap.check(status == 130 and not said and records[-1]['status']
              == 'completed' and records[-1]['side'] == 'destination'
              and records[-1]['storage_bytes'] > 0,
              'the destination, to its end', f'{said} {records[-1:]}')
    tap.check(disks and disks[-1]['reader'] == 'iscsi'
              and disks[-1]['bytes_read'] > 0, 'and its disk', disks[-1:])


def afterwards(tap, vms, looker_paths):
    source, destination = vms
    done = once(looker_paths['src'], '--openmetrics')
    tap.check('status="completed"' in done.stdout
              and 'state="proven"' in done.stdout, 'the source, completed',
              done)
    destination.cmd('migrate', uri='exec:cat >/dev/null')
    wait_until(lambda: destination.cmd('query-migrate').get('status')
               in ENDED, 30, 'a migration to a command ends')
    done = once(looker_paths['dst'])
    tap.check('source, completed' in done.stdout
              and 'inactive: the target of the migration is no socket'
              in done.stdout, 'where it is inactive it says why', done)
    looker = Looker(looker_paths['src'])
    source.kill()
    status, records, said = looker.end(0)
    # it was completed before
    tap.check(status == 0 and said.count('\n') == 1 and 'gone' in said
              and records[-1]['up'] is False, 'a QEMU that is killed',
              f'{status} {said} {records[-1:]}')


def main():
    tap = Tap()
    # any that was built of our sources will do; to make sure that it is the
    # newest takes longer than all of this
    if not os.access(paths.QEMU, os.X_OK):
        need_qemu()
    speed = SPEED * 8e-3
    with tap.part('lab'), Lab('top', lan=speed, san=speed) as lab:
        found, looker_paths = machines(lab)
        source = lab.vm('src', found['src'])
        with tap.part('idle'):
            idle(tap, source, looker_paths['src'])
        vms = source, lab.vm('dst', found['dst'], incoming=True)
        with tap.part('migration'):
            judge(tap, *migrate(tap, vms, looker_paths))
        with tap.part('afterwards'):
            afterwards(tap, vms, looker_paths)
    tap.done()


if __name__ == '__main__':
    main()
