# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Copying sparse files, and files in memory that vanish with us."""

import contextlib
import os
import re
import subprocess
import tempfile

from .paths import LAB_BUILD, LabError, need_tool


def copy_data(source, target, offset=0):
    """Copy the data of open file source to target, holes left out."""
    end, at = os.fstat(source).st_size, 0
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:
            break                               # a hole up to the end
        hole = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, at + offset, os.SEEK_SET)
        while at < hole:
            count = os.sendfile(target, source, at, min(hole - at, 1 << 26))
            if count == 0:
                raise LabError('a file shrank while it was copied')
            at += count


def need_memory(mib):
    """LabError unless so much memory is to be had."""
    with open('/proc/meminfo') as file:
        available = int(re.search(r'MemAvailable:\s+(\d+)',
                                  file.read()).group(1)) >> 10
    if available < mib:
        raise LabError(f'{available} MiB of memory are free: expected '
                       f'{mib} MiB or more')


class MemoryFile:
    """
    A file in memory that has a path and yet no name: it is gone with us.

    With a directory it is an ordinary (unlinked) file there instead.
    """

    def __init__(self, source=None, size=0, directory=None):
        if directory:
            self.fd = os.open(directory, os.O_RDWR | os.O_TMPFILE, 0o600)
        else:
            self.fd = os.memfd_create('skip-pagecache-lun')
        self.path = f'/proc/{os.getpid()}/fd/{self.fd}'
        try:
            if source:
                with open(source, 'rb') as file:
                    size = max(size, os.fstat(file.fileno()).st_size)
                    copy_data(file.fileno(), self.fd)
            os.ftruncate(self.fd, size)
        except BaseException:
            self.close()
            raise
        self.size = size

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@contextlib.contextmanager
def loop_device(source):
    """
    A block device of this machine's kernel with a copy of a file on it.

    It reads the copy past the page cache, which a file in memory can't do.
    """
    losetup = need_tool('losetup', 'mount')
    os.makedirs(LAB_BUILD, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=LAB_BUILD, prefix='loop-') as file:
        subprocess.run(['cp', '--sparse=always', source, file.name],
                       check=True)
        done = subprocess.run([losetup, '--find', '--show', '--direct-io=on',
                               file.name], text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)
        if done.returncode != 0:
            raise LabError(f'no loop device: {done.stdout.strip()}')
        try:
            yield done.stdout.strip()
        finally:
            subprocess.run([losetup, '--detach', done.stdout.strip()],
                           check=False)
