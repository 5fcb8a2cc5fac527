# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Disk images with a real file tree, made once and kept in build/lab/.

The tree is a sample of this machine's /usr: many files, their real sizes
and contents.  Beside the image lies the list of its files with digests,
in the format of labtool.  Nothing is mounted to make an image.
"""

import collections
import fcntl
import hashlib
import os
import re
import shutil
import stat
import struct
import subprocess
import tempfile

from . import guest
from .files import copy_data
from .paths import LAB_BUILD, LabError, need_tool

#: part of the images' names: raise it when the recipe changes
RECIPE = 1
PAGE = 4096
#: where a partition starts, bytes
PARTITION = 1 << 20
#: leave giants out, and most small files: opening them would dominate
LARGEST = 32 << 20
#: of the files up to so many bytes, one in so many is kept
THINNING = ((4096, 16), (32768, 4), (LARGEST, 1))


class Disk(collections.namedtuple('Disk', 'image list fs partition mib')):
    """An image file, its list of files, and what is on it."""

    @property
    def mount_options(self):
        """
        So that an idle guest, or one that reads its cache, leaves it alone.

        Up to five seconds after a mount ext4 reads block bitmaps, unasked.
        """
        more = {'ext4': ['no_prefetch_block_bitmaps']}.get(self.fs, [])
        return ','.join(['noatime', *more])

    def mount_point_device(self, disk):
        """The device to mount when the disk is called so."""
        return disk + '1' if self.partition else disk


def get(mib, fs='ext4', partition=False):
    """A disk whose files fill mib MiB of page cache."""
    if fs not in MAKERS:
        raise LabError(f"file system '{fs}': expected one of "
                       + ', '.join(MAKERS))
    os.makedirs(LAB_BUILD, exist_ok=True)
    name = f'disk{RECIPE}-{fs}{"-part" if partition else ""}-{mib}'
    disk = Disk(os.path.join(LAB_BUILD, name + '.raw'),
                os.path.join(LAB_BUILD, name + '.list'), fs, partition, mib)
    with open(os.path.join(LAB_BUILD, '.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not os.path.exists(disk.image):
            print(f'making a disk with {mib} MiB of files ({fs}) ...',
                  flush=True)
            _make(disk)
    return disk


def _make(disk):
    for name in os.listdir(LAB_BUILD):
        if name.startswith('.new-'):            # of a run that was killed
            shutil.rmtree(os.path.join(LAB_BUILD, name))
    work = tempfile.mkdtemp(prefix='.new-', dir=LAB_BUILD)
    try:
        tree = os.path.join(work, 'tree')
        os.mkdir(tree)
        names = _copy_tree(tree, disk.mib)
        done = subprocess.run([guest.labtool(), 'sum', tree],
                              input='\n'.join(names) + '\n', text=True,
                              stdout=subprocess.PIPE, check=True)
        image = os.path.join(work, 'image')
        _mkfs(disk, image, tree, work)
        if disk.partition:
            image = _partitioned(image, os.path.join(work, 'disk'))
        with open(disk.list, 'w') as file:
            file.write(done.stdout)
        os.rename(image, disk.image)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _mkfs(disk, image, tree, work):
    """
    Make the file system.  mkfs.xfs may find no room in one allocation group
    while others have some, so it may have twice as much.
    """
    make = MAKERS[disk.fs]
    sizes = [disk.mib * 115 // 100 + 320]
    if disk.fs == 'xfs':
        sizes.append(2 * sizes[0])
    for mib in sizes:
        with open(image, 'wb') as file:
            file.truncate(mib << 20)
        done = make(image, tree, work)
        if done.returncode == 0:
            return
    raise LabError(f'making a disk with {disk.mib} MiB of files: '
                   f'{done.stderr.strip()}')


def _thinning(size):
    return next(one_in for limit, one_in in THINNING if size <= limit)


def _candidates():
    """(path below /usr, size) in an order that mixes everything."""
    found = []
    for base, _, files in os.walk('/usr'):
        for name in files:
            path = os.path.join(base, name)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            key = hashlib.md5(path.encode(errors='replace')).digest()
            if (stat.S_ISREG(status.st_mode)
                    and 0 < status.st_size <= LARGEST
                    and key[0] % _thinning(status.st_size) == 0
                    and re.fullmatch(r'[\w+./-]+', path, re.ASCII)):
                found.append((key, path[len('/usr/'):], status.st_size))
    found.sort()
    return [(path, size) for _, path, size in found]


def _copy_tree(tree, mib):
    """Copy files until they fill mib MiB of pages; their names."""
    left = (mib << 20) // PAGE
    names, small, round_number = [], 0, 0
    candidates = _candidates()
    while left > 0 and small < 100:
        before = left
        for path, size in candidates:
            pages = (size + PAGE - 1) // PAGE
            # small machines: further rounds, made different by a first line
            header = b'' if round_number == 0 \
                else f'round {round_number}\n'.encode()
            if pages + 1 > left:
                small += 1
                if small >= 100:
                    break
                continue
            name = path if round_number == 0 \
                else f'round{round_number}/{path}'
            target = os.path.join(tree, name)
            os.makedirs(os.path.dirname(target), exist_ok=True)
            try:
                with open('/usr/' + path, 'rb') as source, \
                        open(target, 'wb') as out:
                    out.write(header)
                    shutil.copyfileobj(source, out, 1 << 20)
                    size = out.tell()
            except OSError as error:
                raise LabError(f'making the tree: {error}')
            names.append(name)
            left -= (size + PAGE - 1) // PAGE
        round_number += 1
        if left == before:
            break
    return names


def _mkfs_ext4(image, tree, _work):
    return subprocess.run(
        [need_tool('mkfs.ext4', 'e2fsprogs'), '-q', '-F', '-m', '0',
         '-d', tree, '-E', 'lazy_itable_init=0,lazy_journal_init=0', image],
        check=False, text=True, stderr=subprocess.PIPE)


def _mkfs_btrfs(image, tree, _work):
    return subprocess.run(
        [need_tool('mkfs.btrfs', 'btrfs-progs'), '-q', '--rootdir', tree,
         image], check=False, text=True, stderr=subprocess.PIPE)


def _mkfs_xfs(image, tree, work):
    lines = ['/dev/null', '0 0', 'd--755 0 0']

    def describe(directory):
        with os.scandir(directory) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.is_dir():
                    lines.append(f'{entry.name} d--755 0 0')
                    describe(entry.path)
                else:
                    lines.append(f'{entry.name} ---644 0 0 {entry.path}')
        lines.append('$')

    describe(tree)
    proto = os.path.join(work, 'proto')
    with open(proto, 'w') as file:
        file.write('\n'.join(lines) + '\n')
    return subprocess.run([need_tool('mkfs.xfs', 'xfsprogs'), '-q', '-f',
                           '-p', proto, image], check=False, text=True,
                          stderr=subprocess.PIPE)


MAKERS = {'ext4': _mkfs_ext4, 'xfs': _mkfs_xfs, 'btrfs': _mkfs_btrfs}


def _partitioned(image, path):
    """The same file system in the first partition of a disk."""
    with open(image, 'rb') as source, open(path, 'wb') as out:
        size = os.fstat(source.fileno()).st_size
        out.truncate(size + 2 * PARTITION)
        copy_data(source.fileno(), out.fileno(), PARTITION)
    # a master boot record: boot code, four entries, signature
    entry = struct.pack('<B3sB3sII', 0, b'\xfe\xff\xff', 0x83,
                        b'\xfe\xff\xff', PARTITION // 512, size // 512)
    with open(path, 'r+b') as out:
        out.write(bytes(446) + entry + bytes(48) + b'\x55\xaa')
    return path
