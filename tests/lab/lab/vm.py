# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""A QEMU on one of the hosts: command line, monitor, guest shell."""

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import typing

from . import paths
from .net import guest_mac
from .paths import LabError
from .procs import Child
from .qmp import QMP, QMPLost
from .shell import Shell

#: what must not be in a guest's kernel log
TROUBLE = re.compile(
    r'\bBUG\b|\bWARNING:|\bOops\b|Kernel panic|Call Trace|'
    r'general protection|blocked for more than|I/O error|EXT4-fs error|'
    r'XFS \(.*([Cc]orrupt|[Ee]rror)|rcu: INFO|double fault|segfault|'
    r'list_(add|del) corruption|init: insmod|'
    r'virtio_pagecache.*(?<!verification )([Ff]ail|[Ee]rror)')


def hints_of(who):
    """
    Options of a machine whose hints come from 'driver', from 'io-map' (QEMU
    tracks the guest's I/O), or from 'both'.
    """
    options = {}
    if who != 'driver':
        options['extra'] = ['-object', 'pagecache-io-map,id=iomap0']
    if who == 'io-map':
        options['device'] = None
    return options


def _build(*options):
    done = subprocess.run([os.path.join(paths.ROOT, 'scripts/build-qemu'),
                           *options], stdout=sys.stderr)
    if done.returncode != 0:
        raise LabError('QEMU could not be built; scripts/build-qemu told why')


def need_stock_qemu():
    """Build the unpatched QEMU, paths.STOCK_QEMU."""
    _build('--pristine', 'qemu-system-x86_64')


def need_qemu(qemu=paths.QEMU, faults=True):
    """
    Build our QEMU unless another one is asked for; LabError if it is none.

    Tests have faults on purpose compiled in; what measures has not.
    A second call does nearly nothing.
    """
    if qemu == paths.OUR_QEMU:
        _build(*(['--faults'] if faults else []), 'qemu-system-x86_64',
               'qemu-img')
    if not os.access(qemu, os.X_OK):
        raise LabError(f'{qemu}: no QEMU there')
    done = subprocess.run([qemu, '-device', 'help'], text=True,
                          stdout=subprocess.PIPE)
    if '"virtio-pagecache-pci"' not in done.stdout:
        raise LabError(f'{qemu}: expected a QEMU with the device '
                       'virtio-pagecache-pci')


def has_io_uring(qemu):
    """Whether it was built with it and the kernel lets it."""
    done = subprocess.run(
        [qemu, '-nodefaults', '-machine', 'none', '-display', 'none', '-S',
         '-blockdev', f'driver=file,filename={qemu},read-only=on,'
         'aio=io_uring,node-name=x', '-monitor', 'stdio'],
        input='quit\n', text=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL)
    return done.returncode == 0


def tap_name(vm_name):
    return 'tap-' + vm_name


@dataclasses.dataclass
class Machine:
    """
    What the virtual machine is made of, the same on both sides.

    luns: target.Lun or filelun.FileLun objects, one disk each.  bus:
    'virtio-blk' or 'virtio-scsi'.  device: options of virtio-pagecache-pci,
    or None for a machine without it.  prealloc: QEMU touches all RAM when it
    starts.  extra: more words for the command line.  append: for the
    kernel's.  network: the guest's number on the front network, if it has a
    card there.
    """
    kernel: object
    initrd: str
    luns: typing.Sequence = ()
    ram: int = 2048                     # MiB
    cpus: int = 1
    bus: str = 'virtio-blk'
    device: typing.Optional[str] = 'id=pc0,bus=pcie.0,addr=0x10'
    qemu: str = paths.QEMU
    prealloc: bool = False              # all of the RAM before the start
    accel: str = 'tcg,thread=multi'
    rerror: str = 'report'
    disk_options: str = ''              # more of each disk's device
    extra: typing.Sequence[str] = ()
    append: str = ''
    network: typing.Optional[int] = None
    has_driver: bool = False            # whether our driver is in the initrd

    def cpu(self):
        # without the first two, TCG runs 'rep movsb' byte by byte; 6.12 dies
        # of a double fault in cmpxchg16b under TCG
        flags = '-erms,-fsrm'
        if self.kernel.release.startswith('6.12.'):
            flags += ',-cx16'
        return 'max,' + flags

    def arguments(self, name, directory, console):
        """The command line but for the incoming side's part."""
        words = [
            self.qemu, '-name', f'{name},debug-threads=on',
            '-nodefaults', '-no-user-config', '-no-reboot',
            '-display', 'none', '-machine', 'q35,hpet=off',
            '-accel', self.accel, '-cpu', self.cpu(),
            '-m', str(self.ram), '-smp', str(self.cpus),
            '-object', f'memory-backend-ram,id=ram0,size={self.ram}M,'
                       f'prealloc={"on" if self.prealloc else "off"}',
            '-machine', 'memory-backend=ram0',
            '-kernel', self.kernel.image, '-initrd', self.initrd,
            '-append', 'console=ttyS0 loglevel=5 panic=1 mitigations=off '
                       'tsc=reliable ' + self.append,
            '-chardev', f'file,id=console,path={console},append=on',
            '-serial', 'chardev:console',
            '-chardev', f'socket,id=shell,path={directory}/{name}.shell,'
                        'server=on,wait=off',
            '-serial', 'chardev:shell',
            '-qmp', f'unix:{directory}/{name}.qmp,server=on,wait=off',
            # empty ports for hot-plug tests
            '-device', 'pcie-root-port,id=port0,chassis=1,addr=0x1c',
            '-device', 'pcie-root-port,id=port1,chassis=2,addr=0x1d',
        ]
        secret = next((lun.target.chap[1] for lun in self.luns
                       if lun.target and lun.target.chap), None)
        if secret:
            words += ['-object', f'secret,id=chap,data={secret}']
        if self.bus == 'virtio-scsi':
            words += ['-device', 'virtio-scsi-pci,id=scsi0,addr=3']
        for index, lun in enumerate(self.luns):
            words += self._disk(index, lun, name)
        if self.device is not None:
            words += ['-device', f'virtio-pagecache-pci,{self.device}']
        if self.network is not None:
            words += ['-netdev', f'tap,id=net0,ifname={tap_name(name)},'
                                 'script=no,downscript=no',
                      '-device', 'virtio-net-pci,netdev=net0,addr=0x11,'
                                 f'mac={guest_mac(self.network)},romfile=']
        return words + list(self.extra)

    def _disk(self, index, lun, name):
        cache = {'direct': lun.direct}
        file = dict(lun.options(name), cache=cache)
        file['node-name'] = f'file{index}'
        raw = {'driver': 'raw', 'node-name': f'disk{index}',
               'file': f'file{index}', 'cache': cache}
        common = (f'drive=disk{index},id=vd{index},serial=lab{index},'
                  f'rerror={self.rerror},werror={self.rerror}')
        if self.disk_options:
            common += ',' + self.disk_options
        if self.bus == 'virtio-blk':
            device = f'virtio-blk-pci,{common},addr={3 + index}'
        elif self.bus == 'virtio-scsi':
            device = f'scsi-hd,{common},bus=scsi0.0,scsi-id={index}'
        else:
            raise LabError(f"bus '{self.bus}': expected virtio-blk or "
                           'virtio-scsi')
        return ['-blockdev', json.dumps(file), '-blockdev', json.dumps(raw),
                '-device', device]

    def device_name(self, index=0):
        """The guest's name of a disk."""
        return '/dev/' + ('vd' if self.bus == 'virtio-blk' else 'sd') \
            + 'abcdefgh'[index]


class VM:
    """One QEMU process of a machine."""

    def __init__(self, host, machine, name, rundir, logdir, incoming=False,
                 paused=False):
        if not os.access(machine.qemu, os.X_OK):
            raise LabError(f'{machine.qemu}: no QEMU there; build it with '
                           'scripts/build-qemu')
        self.host = host
        self.machine = machine
        self.name = name
        self.console = os.path.join(logdir, f'{name}.console')
        self.shell = self.qmp = None
        self.tap = tap_name(name) if machine.network is not None else None
        for old in (self.console,):
            if os.path.exists(old):
                os.remove(old)
        words = machine.arguments(name, rundir, self.console)
        if incoming:
            words += ['-incoming', 'defer']
        if paused:
            words += ['-S']
        if self.tap:
            host.add_tap(self.tap)
        self.child = Child(words, os.path.join(logdir, f'{name}.log'),
                           enter=host.enter)
        try:
            self.qmp = QMP(f'{rundir}/{name}.qmp', explain=self._death)
            self.shell = Shell(f'{rundir}/{name}.shell')
        except BaseException:
            self.close()
            raise

    def _death(self):
        if self.child.alive():
            return ''
        return (f'({self.name} ended with status '
                f'{self.child.popen.returncode}: {self.child.last_words()})')

    @property
    def pid(self):
        return self.child.pid

    def cmd(self, command, timeout=30, **arguments):
        return self.qmp.cmd(command, timeout, **arguments)

    def hmp(self, line, timeout=30):
        return self.qmp.hmp(line, timeout)

    def sh(self, command, timeout=30, check=True):
        """Run a command in the guest."""
        return self.shell.run(command, timeout, check)

    def status(self):
        return self.cmd('query-status')['status']

    def boot(self, timeout=120):
        """Wait until the guest's shell answers."""
        self.shell.wait_ready(timeout)

    def device_name(self, index=0):
        """The guest's name of a disk, asked for where it is not certain."""
        if self.machine.bus != 'virtio-scsi':
            return self.machine.device_name(index)
        # SCSI disks are found side by side: sda need not be the first
        return '/dev/' + self.sh(
            f'ls /sys/bus/scsi/devices/*:0:{index}:0/block').strip()

    def disk_bytes_read(self, index=0):
        """Bytes that the guest has read from a disk, as QEMU counts them."""
        for entry in self.cmd('query-blockstats'):
            if entry.get('qdev', '').split('/')[-2:-1] == [f'vd{index}'] \
                    or entry.get('qdev', '').endswith(f'/vd{index}') \
                    or entry.get('qdev') == f'vd{index}':
                return entry['stats']['rd_bytes']
        raise LabError(f'{self.name}: no block statistics of vd{index}')

    def kernel_trouble(self):
        """Lines of the guest's kernel log that should not be there."""
        with open(self.console, errors='replace') as file:
            lines = file.read().splitlines()
        if self.child.alive() and self.status() == 'running':
            lines += self.sh('dmesg').splitlines()
        return list(dict.fromkeys(x.strip() for x in lines
                                  if TROUBLE.search(x)))

    def quit(self, timeout=20):
        """Ask QEMU to end and wait until it did."""
        try:
            self.cmd('quit', timeout)
        except QMPLost:
            pass
        status = self.child.wait(timeout)
        if status != 0:
            raise LabError(f'{self.name} ended with status {status}: '
                           f'{self.child.last_words()}')
        self.close()

    def kill(self):
        """SIGKILL, also while its disks do not answer."""
        self.child.signal(signal.SIGKILL)
        for lun in self.machine.luns:
            lun.release(self.host)
        self.child.kill()

    def close(self):
        """End it at once."""
        self.kill()
        if self.tap:
            self.host.remove_tap(self.tap)
            self.tap = None
        for part in (self.qmp, self.shell):
            if part is not None:
                part.close()


def supports(vm, capability):
    """Whether this QEMU knows a migration capability."""
    names = [c['capability'] for c in vm.cmd('query-migrate-capabilities')]
    return capability in names
