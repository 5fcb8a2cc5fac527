#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The storage of which each host has a page cache of its own (fusefile): what
tests rely on that put a disk there.
"""

import errno
import mmap
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time

from lab.files import MemoryFile
from lab.hostfile import HostFile, fusefile
from lab.paths import LAB_BUILD, LabError
from lab.procs import wait_until
from lab.tap import Tap

SIZE = 1 << 20
PIECE = 4096


class Reader(threading.Thread):
    """A read in a thread of its own: bytes, or the number of the error."""

    def __init__(self, path, flags=0, offset=0):
        super().__init__(daemon=True)
        self.path = path
        self.flags = flags
        self.offset = offset
        self.result = None
        self.start()

    def run(self):
        try:
            self.result = read(self.path, self.flags, self.offset)
        except OSError as error:
            self.result = error.errno

    def answer(self):
        self.join(30)
        return self.result


def read(path, flags=0, offset=0, advice=None):
    """A piece of a file; advice is given before."""
    fd = os.open(path, os.O_RDONLY | flags)
    buffer = mmap.mmap(-1, PIECE)               # aligned
    try:
        if advice is not None:
            os.posix_fadvise(fd, 0, 0, advice)
        os.preadv(fd, [buffer], offset)
        return bytes(buffer)
    finally:
        os.close(fd)


def write(path, piece, offset=0, flags=0):
    fd = os.open(path, os.O_WRONLY | flags)
    try:
        os.pwrite(fd, piece, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


class Mounts:
    """Two mounts of one file, and what is in the file."""

    def __init__(self, *options):
        self.directory = tempfile.mkdtemp(prefix='skip-pagecache-test-')
        self.file = MemoryFile(size=SIZE)
        self.one, self.other = (
            HostFile(self.file.path, self.directory,
                     os.path.join(LAB_BUILD, 'hostfile.log'), *options)
            for _ in range(2))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.one.close()
        self.other.close()
        self.file.close()
        os.rmdir(self.directory)

    def stored(self, offset=0):
        return os.pread(self.file.fd, PIECE, offset)


def caches(tap):
    old, new = secrets.token_bytes(PIECE), secrets.token_bytes(PIECE)
    with tap.part('a cache for each'), Mounts() as mounts:
        write(mounts.one.path, old)
        tap.check(mounts.stored() == old, 'a write goes through')
        tap.check(read(mounts.other.path) == old, 'the other host reads it')
        write(mounts.one.path, new)
        tap.check(mounts.stored() == new, 'the next one, too')
        tap.check(read(mounts.one.path) == new, 'who wrote reads it')
        tap.check(read(mounts.other.path) == old,
                  'the other host reads what its cache has')
        tap.check(read(mounts.other.path, os.O_DIRECT) == new,
                  'and the storage with O_DIRECT')
        tap.check(read(mounts.other.path, advice=os.POSIX_FADV_DONTNEED)
                  == new, 'and when it has dropped its cache')
        with open(mounts.one.path, 'r+b') as file:
            file.truncate(2 * SIZE)
        tap.check(os.stat(mounts.other.path).st_size == 2 * SIZE,
                  'the other host sees that it has grown')
    with tap.part('no cache'), Mounts('--direct-io') as mounts:
        write(mounts.one.path, old)
        read(mounts.other.path)
        write(mounts.one.path, new)
        tap.check(read(mounts.other.path) == new,
                  'the other host reads the storage')
    with tap.part('a cache from open to open'), Mounts('--drop-cache') as m:
        write(m.one.path, old)
        with open(m.other.path, 'rb') as file:
            held = os.pread(file.fileno(), PIECE, 0)
            write(m.one.path, new)
            tap.check(held == os.pread(file.fileno(), PIECE, 0) == old,
                      'the other host reads its cache')
            tap.check(read(m.other.path) == new, 'but not from a new open')
    with tap.part('without O_DIRECT'), Mounts('--no-o-direct') as mounts:
        try:
            read(mounts.one.path, os.O_DIRECT)
            error = 0
        except OSError as failed:
            error = failed.errno
        tap.check(error == errno.EINVAL, 'it is refused', error)
        tap.check(len(read(mounts.one.path)) == PIECE, 'the rest works')


def late(tap):
    old, new = secrets.token_bytes(PIECE), secrets.token_bytes(PIECE)
    with tap.part('late reads'), Mounts() as mounts:
        write(mounts.one.path, old)
        mounts.other.command('read hang')
        buffered = Reader(mounts.other.path)
        mounts.other.wait_held('read')
        write(mounts.one.path, new)
        direct = Reader(mounts.other.path, os.O_DIRECT)
        mounts.other.wait_held('read', 2)
        state = mounts.other.state('read')
        tap.check(state['came'] - state['direct'] >= 1 == state['direct'],
                  'those with O_DIRECT are counted', state)
        # what QEMU does to have a cache without old bytes
        with open(mounts.other.path, 'rb') as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        tap.check(buffered.result is None and direct.result is None,
                  'wait for an answer')
        mounts.other.command('read now')
        tap.check(buffered.answer() == old, 'return the bytes of their time')
        tap.check(direct.answer() == new, 'each of its own')
        tap.check(read(mounts.other.path) == old,
                  'and leave them in a cache that was dropped meanwhile')
        mounts.other.command('read late 300')
        start = time.monotonic()
        read(mounts.other.path, os.O_DIRECT)
        tap.check(time.monotonic() - start >= 0.3, 'come after their time')
    with tap.part('failing requests'), Mounts() as mounts:
        mounts.one.command('read hang')
        waiting = Reader(mounts.one.path, os.O_DIRECT)
        mounts.one.wait_held('read')
        mounts.one.command('all fail')
        tap.check(waiting.answer() == errno.EIO, 'those that wait fail')
        tap.check(Reader(mounts.one.path).answer() == errno.EIO,
                  'and new ones')
        mounts.one.command('all now')
        mounts.one.command('write fail')
        try:
            write(mounts.one.path, old)
            error = 0
        except OSError as failed:
            error = failed.errno
        tap.check(error == errno.EIO and mounts.stored() == bytes(PIECE),
                  'a failing write does nothing', error)
        tap.check(len(read(mounts.one.path)) == PIECE, 'the rest works')
    with tap.part('each operation'), Mounts() as mounts:
        for op, action in (('open', lambda path: read(path)),
                           ('write', lambda path: write(path, new)),
                           ('fsync', lambda path: write(path, new)),
                           ('close', lambda path: read(path)),
                           ('getattr', os.stat)):
            mounts.one.command(f'{op} hang')
            thread = threading.Thread(target=action, daemon=True,
                                      args=(mounts.one.path,))
            thread.start()
            mounts.one.wait_held(op)
            waits = thread.is_alive()
            mounts.one.command(f'{op} now')
            thread.join(30)
            tap.check(waits and not thread.is_alive(), f'{op} can hang')
    with tap.part('nonsense'), Mounts() as mounts:
        for line in ('', 'read', 'read late', 'read late x', 'read now 5',
                     'mmap now', 'read soon', 'x' * 300):
            try:
                mounts.one.command(line or '\n')
                told = False
            except LabError:
                told = True
            tap.check(told, f"'{line[:20]}' is refused")


def ending(tap):
    """Whatever ends it: no mount, no process, and nobody waits."""
    with tap.part('an end'), Mounts() as mounts:
        for flags in (0, os.O_DIRECT):
            mounts.one.command('read hang')
            child = subprocess.Popen(
                [sys.executable, '-c',
                 'import os, mmap, sys; os.preadv(os.open(sys.argv[1], '
                 'int(sys.argv[2])), [mmap.mmap(-1, 4096)], 65536)',
                 mounts.one.path, str(flags)], stderr=subprocess.DEVNULL)
            mounts.one.wait_held('read')
            child.kill()
            tap.check(child.wait(30) == -signal.SIGKILL,
                      'who waits can be killed'
                      + (' with O_DIRECT' if flags else ''))
            mounts.one.command('read now')
        mounts.one.command('read hang')
        waiting = Reader(mounts.one.path, os.O_DIRECT)
        mounts.one.wait_held('read')
        mounts.one.close()
        tap.check(waiting.answer() in (errno.ECONNABORTED, errno.ENOTCONN),
                  'who waits gets an error', waiting.result)
        with open('/proc/self/mountinfo') as file:
            tap.check(mounts.directory not in file.read(),
                      'no mount is to be seen')
    with tap.part("the parent's end"):
        directory = tempfile.mkdtemp(prefix='skip-pagecache-test-')
        parent = subprocess.Popen(
            [sys.executable, '-c',
             'import subprocess, sys, time; '
             'child = subprocess.Popen(sys.argv[1:]); time.sleep(600)',
             fusefile(), __file__, directory],
            stdout=subprocess.PIPE, text=True)
        path = parent.stdout.readline().split()[1]
        tap.check('disk' in os.listdir(path), 'it is there')
        parent.kill()
        parent.wait()
        wait_until(lambda: not os.path.exists(path), 30, 'it is gone')
        parent.stdout.close()
        tap.check(True, 'it is gone')
        os.rmdir(directory)


def main():
    tap = Tap()
    with tap.part('set-up'):
        os.makedirs(LAB_BUILD, exist_ok=True)
        fusefile()
        caches(tap)
        late(tap)
        ending(tap)
    tap.done()


if __name__ == '__main__':
    main()
