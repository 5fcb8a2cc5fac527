# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The guest: an initramfs with busybox, labtool, modules and our driver.

The modules come from the kernel package; their order follows modules.dep
and modules.softdep.  The driver is built from guest/linux for the same
kernel, when there is one.
"""

import fcntl
import gzip
import lzma
import os
import re
import shutil
import stat
import subprocess

from .paths import (DRIVER_SOURCES, GUEST_BUILD, GUEST_SOURCES, LAB_BUILD,
                    LabError, need_tool)

#: modules for the disks and file systems of the lab
MODULES = ('virtio_pci', 'virtio_blk', 'virtio_scsi', 'sd_mod', 'ext4', 'xfs')
NETWORK_MODULES = ('virtio_net',)
#: no modules any more in newer kernels
CHECKSUMS = ('crc32c_generic', 'crc32c_intel')
#: what guest/linux makes; in the guest in /driver
MODULE = 'virtio_pagecache.ko'
DAEMON = 'virtio-pagecached'


def labtool():
    """Build the static tool if it is not up to date; its path."""
    return program('labtool')


def program(name):
    """
    A static program of guest/, built if it is not up to date.

    Its sources are NAME.c, and NAME-*.c and NAME.h if there are any.
    """
    os.makedirs(LAB_BUILD, exist_ok=True)
    sources = [os.path.join(GUEST_SOURCES, x)
               for x in sorted(os.listdir(GUEST_SOURCES))
               if re.fullmatch(name + r'(-\w+)?\.[ch]', x)]
    path = os.path.join(LAB_BUILD, name)
    with open(path + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(path) \
                or os.path.getmtime(path) < max(map(os.path.getmtime,
                                                    sources)):
            subprocess.run([need_tool('gcc', 'gcc'), '-O2', '-Wall',
                            '-Wextra', '-static', '-o', path + '.new',
                            *(x for x in sources if x.endswith('.c'))],
                           check=True)
            os.rename(path + '.new', path)
    return path


class ModuleTree:
    """The modules of an unpacked kernel package."""

    def __init__(self, kernel):
        self.directory = kernel.modules
        self.depends = {}
        self.paths = {}
        for line in self._lines('modules.dep'):
            path, _, needed = line.partition(':')
            self.paths[self._name(path)] = path
            self.depends[self._name(path)] = [self._name(x)
                                              for x in needed.split()]
        for line in self._lines('modules.softdep'):
            match = re.match(r'softdep (\S+) pre: (.*?)(?: post:.*)?$', line)
            if match and match.group(1) in self.depends:
                self.depends[match.group(1)] += match.group(2).split()
        self.builtin = {self._name(x) for x in self._lines('modules.builtin')}

    def _lines(self, name):
        with open(os.path.join(self.directory, name)) as file:
            return file.read().splitlines()

    @staticmethod
    def _name(path):
        return os.path.basename(path).split('.')[0].replace('-', '_')

    def order(self, wanted):
        """The wanted modules and what they need, in loading order."""
        result, visiting = [], set()

        def visit(name, asked):
            name = name.replace('-', '_')
            if name in result or name in self.builtin or name in visiting:
                return
            if name not in self.paths:
                if asked:
                    raise LabError(f'{self.directory} has no module {name}')
                return                          # a soft dependency's alias
            visiting.add(name)
            for needed in self.depends[name]:
                visit(needed, False)
            result.append(name)

        for name in wanted:
            visit(name, True)
        return result

    def read(self, name):
        """The contents of a module, unpacked."""
        path = os.path.join(self.directory, self.paths[name])
        opener = {'.xz': lzma.open, '.gz': gzip.open}.get(
            os.path.splitext(path)[1], open)
        with opener(path, 'rb') as file:
            return file.read()


class Archive:
    """A cpio archive in the kernel's 'newc' format."""

    def __init__(self):
        self._out = bytearray()
        self._number = 0
        self._directories = set()

    def _add(self, name, mode, data=b'', device=(0, 0)):
        self._number += 1
        fields = (self._number, mode, 0, 0, 1, 0, len(data), 0, 0, *device,
                  len(name) + 1, 0)
        self._out += b'070701' + b''.join(b'%08X' % f for f in fields)
        self._out += name.encode() + b'\0'
        self._out += bytes(-len(self._out) % 4)
        self._out += data
        self._out += bytes(-len(self._out) % 4)

    def directory(self, name):
        if name and name not in self._directories:
            self.directory(os.path.dirname(name))
            self._directories.add(name)
            self._add(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        self.directory(os.path.dirname(name))
        self._add(name, stat.S_IFREG | mode, data)

    def device(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._add(name, stat.S_IFCHR | 0o600, b'', (major, minor))

    def bytes(self):
        self._add('TRAILER!!!', 0)
        return bytes(self._out)


def _contents(path):
    with open(path, 'rb') as file:
        return file.read()


def driver(kernel):
    """Build guest/linux for a kernel: {file name: path}, or None."""
    if not os.path.exists(os.path.join(DRIVER_SOURCES, 'Makefile')):
        return None
    build = os.path.join(GUEST_BUILD, 'driver-' + kernel.release)
    log = build + '.log'
    with open(build + '.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with open(log, 'w') as out:
            status = subprocess.call(
                [need_tool('make', 'make'), '-C', DRIVER_SOURCES,
                 'KDIR=' + kernel.kdir, 'BUILD=' + build],
                stdout=out, stderr=subprocess.STDOUT)
    if status != 0:
        with open(log) as file:
            lines = [x for x in file if 'error' in x.lower()]
        raise LabError(f'building the guest driver for {kernel.release} '
                       f'failed: {(lines or ["no message"])[0].strip()} '
                       f'(log: {log})')
    return {name: os.path.join(build, name) for name in (MODULE, DAEMON)}


def initramfs(kernel, path, lists=(), with_driver=True, programs=(),
              modules=()):
    """
    Write an initramfs; returns whether our driver is in it.

    lists: files of labtool's format; the first is /lists/0 in the guest.
    programs: names of further programs of guest/; modules: the kernel's.
    """
    busybox = shutil.which('busybox')
    if not busybox or not _is_static(busybox):
        raise LabError('no static busybox: apt-get install busybox-static')
    archive = Archive()
    for name in ('dev', 'proc', 'sys', 'tmp', 'mnt'):
        archive.directory(name)
    archive.device('dev/console', 5, 1)
    archive.file('bin/busybox', _contents(busybox), 0o755)
    for name in ('agent', 'labtool', *programs):
        archive.file('bin/' + name, _contents(program(name)), 0o755)
    archive.file('init', _contents(os.path.join(GUEST_SOURCES, 'init')),
                 0o755)
    tree = ModuleTree(kernel)
    order = tree.order((*MODULES, *modules,
                        *(x for x in CHECKSUMS if x in tree.paths)))
    for name in order:
        archive.file(f'modules/{name}.ko', tree.read(name))
    archive.file('modules/order',
                 ''.join(f'{name}.ko\n' for name in order).encode())
    for number, name in enumerate(lists):
        archive.file(f'lists/{number}', _contents(name))
    built = driver(kernel) if with_driver else None
    for name, built_file in (built or {}).items():
        archive.file(f'driver/{name}', _contents(built_file), 0o755)
    with open(path, 'wb') as out:
        out.write(gzip.compress(archive.bytes(), 1, mtime=0))
    return built is not None


def _is_static(program):
    """Whether an ELF file needs no interpreter (no PT_INTERP segment)."""
    data = _contents(program)
    offset = int.from_bytes(data[32:40], 'little')
    size = int.from_bytes(data[54:56], 'little')
    count = int.from_bytes(data[56:58], 'little')
    return all(int.from_bytes(data[offset + i * size:offset + i * size + 4],
                              'little') != 3 for i in range(count))
