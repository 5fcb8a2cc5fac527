# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The lab: network, target and virtual machines, taken down with certainty.

    with Lab('mytest', lan=1, san=2.5) as lab:
        lun = lab.lun(disk.get(400).image)
        machine = lab.machine(kernel.get('6.1'), [lun], ram=768)
        source = lab.vm('src', machine)
        source.boot()

Whatever ends the with block, Ctrl-C and SIGTERM included, ends all of it;
should Python itself be killed, the kernel does it (see procs.py, net.py,
files.py).  Only the logs in build/lab/log/NAME stay.
"""

import atexit
import contextlib
import os
import re
import shutil
import tempfile

from . import guest
from .filelun import FileLun
from .files import MemoryFile
from .net import Network
from .paths import LAB_BUILD, LabError
from .procs import handle_signals, undisturbed
from .target import Target
from .vm import VM, Machine

PREFIX = 'skip-pagecache-'


class Lab:
    """
    Three hosts on one machine; a context manager.

    front: Gbit/s of the network of the guests and their clients, who are on
    a host 'clients' then.  neighbour: one more host on the storage network.
    congestion: TCP's congestion control on all hosts, for what depends on
    latencies; None: as the machine has it.  'reno' can be had on all machines.
    With BBR, which some have, single reads of 64 KiB from an idle LUN took up
    to 0.1 s where Reno needs 0.3 ms, and a full SAN of 10 Gbit/s brought a
    third less.
    """

    def __init__(self, name, lan=1, san=2.5, compute=('src', 'dst'),
                 chap=None, lun_directory=None, front=None, neighbour=False,
                 congestion=None):
        self.name = name
        self.more_network = {'front': front, 'neighbour': neighbour,
                             'congestion': congestion}
        self.rates = lan, san
        self.compute = compute
        self.chap = chap
        self.lun_directory = lun_directory
        self.logdir = os.path.join(LAB_BUILD, 'log', name)
        self.vms = []
        self.file_luns = []
        self._stack = contextlib.ExitStack()
        self._numbers = {}

    def __enter__(self):
        handle_signals()
        atexit.register(self.close)
        try:
            self._open()
        except BaseException:
            self.close()
            raise
        return self

    def _open(self):
        if os.geteuid() != 0:
            raise LabError('the lab makes network namespaces: run it as root')
        os.makedirs(self.logdir, exist_ok=True)
        _remove_stale()
        self.rundir = tempfile.mkdtemp(prefix=f'{PREFIX}{os.getpid()}-')
        self._stack.callback(shutil.rmtree, self.rundir, True)
        self.network = Network(self._log('network.log'), *self.rates,
                               compute=self.compute, **self.more_network)
        self._stack.callback(self.network.close)
        self.hosts = self.network.hosts
        self.target = Target(self.hosts['san'], self.rundir,
                             self._log('tgtd.log'), self.chap)
        self._stack.callback(self.target.close)

    def _log(self, name):
        path = os.path.join(self.logdir, name)
        if os.path.exists(path):
            os.remove(path)
        return path

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Take everything down; may be called again."""
        atexit.unregister(self.close)
        with undisturbed():
            for lun in self.file_luns:
                lun.close()
            while self.vms:
                self.vms.pop().close()
            self._stack.close()

    def lun(self, source=None, size=0):
        """Publish a fresh copy of an image (or size bytes of zeros)."""
        file = MemoryFile(source, size, self.lun_directory)
        self._stack.callback(file.close)
        lun = self.target.add(file.path)
        lun.file = file
        return lun

    def file_lun(self, source=None, size=0, **options):
        """The same as a file that each host has on a mount of its own."""
        file = MemoryFile(source, size, self.lun_directory)
        self._stack.callback(file.close)
        number = self._numbers['files'] = self._numbers.get('files', 0) + 1
        lun = FileLun([self.hosts[x] for x in self.compute], file,
                      os.path.join(self.rundir, f'file{number}'),
                      self._log(f'file{number}.log'), **options)
        self.file_luns.append(lun)
        self._stack.callback(lun.close)
        return lun

    def at_end(self, function):
        """Have something closed before the hosts are."""
        self._stack.callback(function)

    def write(self, name, text):
        """A file in the lab's own directory; its path."""
        path = os.path.join(self.rundir, name)
        with open(path, 'w') as out:
            out.write(text)
        return path

    def discard(self, lun):
        """Take back a LUN that nobody uses any more, and its memory."""
        if isinstance(lun, FileLun):
            lun.close()
            self.file_luns.remove(lun)
        else:
            self.target.withdraw(lun)
        lun.file.close()

    def machine(self, kernel, luns, lists=(), with_driver=True, programs=(),
                modules=(), **options):
        """
        A Machine with an initramfs made for it.

        modules: of the kernel's, to be loaded beside those that it needs.
        For several that differ only in network=NUMBER, make one and use
        dataclasses.replace().
        """
        path = os.path.join(self.rundir, f'initrd-{len(self._numbers)}')
        self._numbers[path] = True
        if options.get('network') is not None:
            modules = (*guest.NETWORK_MODULES, *modules)
        has_driver = guest.initramfs(kernel, path, lists, with_driver,
                                     programs, modules)
        machine = Machine(kernel, path, luns, **options)
        machine.has_driver = has_driver
        return machine

    def vm(self, host, machine, **options):
        """Start a QEMU on a host ('src'); names count up: src1, src2."""
        number = self._numbers[host] = self._numbers.get(host, 0) + 1
        vm = VM(self.hosts[host], machine, f'{host}{number}', self.rundir,
                self.logdir, **options)
        self.vms.append(vm)
        return vm

    def drop(self, vm):
        """End a QEMU that is not needed any more."""
        vm.close()
        self.vms.remove(vm)


def _remove_stale():
    """Socket directories of labs that were killed with SIGKILL."""
    top = tempfile.gettempdir()
    for name in os.listdir(top):
        match = re.match(PREFIX + r'(\d+)-', name)
        if match and not os.path.exists('/proc/' + match.group(1)):
            shutil.rmtree(os.path.join(top, name), ignore_errors=True)
