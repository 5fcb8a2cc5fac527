#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
With the capability off, the patched QEMU's stream is the unpatched one's.

A machine that has run its firmware, with random bytes in its RAM, is saved
once by the unpatched QEMU.  Each QEMU loads it, does not run it, and migrates
it away in several ways; what goes over each connection is recorded and
compared, byte for byte.  Unpatched against unpatched is the control: a
stream whose sections were cut by the clock differs from itself, so a pair
gets several tries.
"""

import contextlib
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time

from lab.paths import BUILD, ROOT, LabError
from lab.procs import Child, handle_signals
from lab.qmp import QMP
from lab.tap import Tap

QEMU = {which: os.path.join(BUILD, which, 'build/qemu-system-x86_64')
        for which in ('qemu', 'qemu-pristine')}
TRIES = 8
NOISE = 4 << 20         # bytes; little, the clock cuts sections at 50 ms
MACHINE = (
    '-nodefaults', '-display', 'none', '-accel', 'tcg', '-m', '32',
    '-machine', 'pc-q35-10.0', '-cpu', 'qemu64', '-smp', '2',
    '-rtc', 'base=2020-01-01,clock=vm',
    '-uuid', '7d1c9f3e-30c5-4d5a-9d0e-6a5f0d1c2b3a',
    '-device', 'VGA,vgamem_mb=4', '-device', 'pcie-root-port,id=rp1,slot=1',
    '-device', 'qemu-xhci', '-device', 'usb-tablet',
    '-device', 'virtio-balloon-pci', '-device', 'virtio-serial-pci',
    '-netdev', 'hubport,id=n0,hubid=0',
    '-device', 'virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56,romfile=',
    '-blockdev', 'driver=null-co,node-name=d0,size=67108864,read-zeroes=on',
    '-blockdev', 'driver=null-co,node-name=d1,size=67108864,read-zeroes=on',
    '-device', 'virtio-blk-pci,drive=d0', '-device', 'virtio-scsi-pci',
    '-device', 'scsi-hd,drive=d1',
)


class Machine:
    def __init__(self, which, directory, name, *options):
        self.name = name
        control = os.path.join(directory, name + '.qmp')
        self.child = Child(
            [QEMU[which], *MACHINE, *options,
             '-qmp', f'unix:{control},server=on,wait=off'],
            os.path.join(directory, name + '.log'))
        try:
            self.qmp = QMP(control, explain=self._died)
        except BaseException:
            self.child.popen.kill()
            raise
        os.unlink(control)

    def _died(self):
        return '' if self.child.alive() else self.child.last_words()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.qmp.close()
        self.child.popen.kill()
        self.child.popen.wait()

    def capabilities(self, names):
        # with more than one channel chance says which page takes which
        self.qmp.cmd('migrate-set-parameters', multifd_channels=1)
        if names:
            self.qmp.cmd('migrate-set-capabilities', capabilities=[
                {'capability': name, 'state': True} for name in names])

    def wait_migration(self, timeout=60):
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            info = self.qmp.cmd('query-migrate')
            if info.get('status') == 'completed':
                return
            if info.get('status') in ('failed', 'cancelled'):
                break
            time.sleep(0.02)
        raise LabError(f'{self.name}: the migration did not complete: {info}')

    def load(self, path):
        self.qmp.cmd('migrate-incoming', uri=f'file:{path}')
        self.wait_migration()

    def send(self, uri):
        # one pass without pauses
        self.qmp.cmd('migrate-set-parameters', max_bandwidth=1 << 40)
        self.qmp.cmd('migrate', uri=uri)
        self.wait_migration()


class Recorder:
    """
    Listens at a unix socket and keeps what comes, by connection; passes it on
    to the socket onward, and the answers back, if there is one.
    """

    def __init__(self, path, onward=None):
        self.onward = onward
        self.streams = []
        self.threads = []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self._start(self._accept)

    def _start(self, function, *args):
        thread = threading.Thread(target=function, args=args, daemon=True)
        self.threads.append(thread)
        thread.start()

    def _accept(self):
        while True:
            try:
                peer, _ = self.listener.accept()
            except OSError:
                return
            record = bytearray()
            self.streams.append(record)
            other = None
            if self.onward:
                other = socket.socket(socket.AF_UNIX)
                other.connect(self.onward)
                self._start(self._pump, other, peer, None)
            self._start(self._pump, peer, other, record)

    @staticmethod
    def _pump(source, sink, record):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 20):
                if record is not None:
                    record += data
                if sink:
                    sink.sendall(data)
        if sink:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def take(self):
        """What came, in an order that does not hang on who was first."""
        self.listener.shutdown(socket.SHUT_RDWR)
        for thread in self.threads:
            thread.join(10)
        self.listener.close()
        return sorted(bytes(stream) for stream in self.streams)


def seed(directory, path):
    """A machine that has run, as a file; from the unpatched QEMU."""
    noise = os.path.join(directory, 'noise')
    with open(noise, 'wb') as file:
        file.write(random.Random(1).randbytes(NOISE))
    with Machine('qemu-pristine', directory, 'seed-vm', '-device',
                 f'loader,file={noise},addr=0x1000000,force-raw=on') as vm:
        time.sleep(3)           # the firmware looks at every device
        vm.qmp.cmd('stop')
        vm.send(f'file:{path}')


def read_file(path):
    with open(path, 'rb') as file:
        return [file.read()]


def stream(which, path, way, capabilities):
    """Load the machine, migrate it away; what went over each connection."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(
            tempfile.TemporaryDirectory(prefix='stream.'))
        out = os.path.join(directory, 'out')
        vm = stack.enter_context(Machine(which, directory, 'source', '-S',
                                         '-incoming', 'defer'))
        vm.load(path)
        vm.capabilities(capabilities)
        if way == 'file':
            vm.send(f'file:{out}')
            return read_file(out)
        if way == 'exec':
            vm.send(f'exec:cat >{out}')
            return read_file(out)
        if way == 'socket':
            recorder = Recorder(out)
            vm.send(f'unix:{out}')
            return recorder.take()
        inner = os.path.join(directory, 'in')
        other = stack.enter_context(Machine(which, directory, 'destination',
                                            '-S', '-incoming', 'defer'))
        other.capabilities(capabilities)
        other.qmp.cmd('migrate-incoming', uri=f'unix:{inner}')
        recorder = Recorder(out, inner)
        vm.send(f'unix:{out}')
        other.wait_migration()
        return recorder.take()


def difference(one, two):
    if len(one) != len(two):
        return f'{len(one)} connections against {len(two)}'
    for a, b in zip(one, two):
        if a != b:
            at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y),
                      min(len(a), len(b)))
            return (f'{len(a)} bytes against {len(b)}, first difference at '
                    f'{at}: {a[at:at + 16].hex()} against '
                    f'{b[at:at + 16].hex()}')
    return ''


def compare(tap, path, way, capabilities):
    def equal(one, two, name):
        for _ in range(TRIES):
            pair = [stream(which, path, way, capabilities)
                    for which in (one, two)]
            what = difference(*pair)
            if not what:
                break
            tap.comment(f'{name}: {what}')
        sizes = [len(data) for data in pair[0]]
        tap.check(not what and min(sizes) > 0 and sum(sizes) > NOISE,
                  f'{name}, {sum(sizes)} bytes', what)

    equal('qemu-pristine', 'qemu-pristine', 'control')
    equal('qemu-pristine', 'qemu', 'patched as unpatched')


def main():
    handle_signals()
    build = os.path.join(ROOT, 'scripts/build-qemu')
    for options in ([], ['--pristine']):
        subprocess.run([build, *options, 'qemu-system-x86_64'], check=True,
                       stdout=sys.stderr, stdin=subprocess.DEVNULL)
    tap = Tap()
    with tempfile.TemporaryDirectory(prefix='stream.') as directory:
        path = os.path.join(directory, 'seed')
        with tap.part('saving a machine'):
            seed(directory, path)
            tap.check(os.path.getsize(path) > NOISE, 'it is saved')
        for name, way, capabilities in (
                ('over a socket', 'socket', []),
                ('with a return path', 'both', ['return-path']),
                ('multifd', 'both', ['return-path', 'multifd']),
                ('exec', 'exec', []),
                ('file', 'file', []),
                ('mapped-ram', 'file', ['mapped-ram'])):
            with tap.part(name):
                compare(tap, path, way, capabilities)
    tap.done()


if __name__ == '__main__':
    main()
