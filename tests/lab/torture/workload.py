# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The guest that is tortured: its disks, its writers, and how it checks
itself.

Five disks: files that are only read (most of the cache), one disk each for
the writers on ext4 and on XFS, swap, and the bait: a file in the guest's
cache whose blocks the storage host rewrites behind the guest's back.
"""

import os
import random
import re
import subprocess

from lab import disk, kernel, scenario
from lab.paths import QEMU, LabError, need_tool
from lab.vm import TROUBLE, has_io_uring, hints_of

MIB = 1 << 20
PAGE = 4096
CONTROL = '/tmp/torture'
EXT4_MIB, XFS_MIB, SWAP_MIB, BAIT_MIB = 320, 384, 256, 48
#: seconds for a check of all writers on a loaded machine
CHECK = 300
BAIT_MAGIC = b'bait of torture '
BAIT_MOUNT, BAIT_LIST = '/w/bait', '/tmp/bait.list'

#: (directory, files, MiB each); each is a process
WRITERS = (('/w/ext4/a', 6, 3), ('/w/ext4/b', 4, 4),
           ('/w/xfs/a', 6, 3), ('/w/xfs/b', 4, 4),
           ('/mnt/torture', 4, 3), ('/tmp/writer', 3, 2))
MEMORY_MIB = 24

#: what a guest may be told to do in the middle of a migration
ACTIONS = {
    'drop-caches': 'echo 3 >/proc/sys/vm/drop_caches',
    'sync': 'sync',
    'squeeze': 'torture squeeze {squeeze}',
    'copy': 'rm -rf /mnt/copy; cp -r /mnt/bin /mnt/copy',
    'compact': 'echo 1 >/proc/sys/vm/compact_memory',
}


class WrongBytes(LabError):
    """The guest found bytes that it did not write."""


def _make_bait(path, directory):
    """An ext4 file system with one file of recognizable pages."""
    tree = os.path.join(directory, 'bait-tree')
    os.makedirs(tree, exist_ok=True)
    noise = random.Random(1)
    with open(os.path.join(tree, 'bait'), 'wb') as file:
        for number in range(BAIT_MIB * MIB // PAGE):
            head = BAIT_MAGIC + number.to_bytes(8, 'little')
            file.write(head + noise.randbytes(PAGE - len(head)))
    _mkfs('ext4', path, '-b', str(PAGE), '-d', tree)


def _mkfs(fs, path, *words):
    tool = need_tool('mkfs.' + fs, {'ext4': 'e2fsprogs', 'xfs': 'xfsprogs'}[fs])
    options = {'ext4': ['-q', '-F', '-m', '0', '-E',
                        'lazy_itable_init=0,lazy_journal_init=0'],
               'xfs': ['-q', '-f', '-K', '-m', 'reflink=1']}[fs]
    done = subprocess.run([tool, *options, *words, path], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        raise LabError(f'{tool}: {done.stdout.strip()}')


class Bait:
    """The blocks of the bait, found by their content."""

    def __init__(self, lun):
        self.fd = lun.file.fd
        self.changed = []               # (offset, byte that was there)
        self.offsets = [
            at for at in range(0, lun.file.size, PAGE)
            if os.pread(self.fd, len(BAIT_MAGIC), at) == BAIT_MAGIC]
        if len(self.offsets) < BAIT_MIB * MIB // PAGE:
            raise LabError(f'{len(self.offsets)} pages of bait on the disk: '
                           'expected all of them')

    def rewrite(self, share, dice):
        """Change that share of the pages on the disk; how many."""
        chosen = dice.sample(self.offsets, int(share * len(self.offsets)))
        for at in chosen:
            # the magic stays, one byte behind it gets another value
            where = at + len(BAIT_MAGIC) + 8 + dice.randrange(PAGE - 64)
            old = os.pread(self.fd, 1, where)
            os.pwrite(self.fd, bytes([old[0] ^ 1 << dice.randrange(8)]),
                      where)
            self.changed.append((where, old))
        return len(chosen)

    def restore(self):
        """As it was: the guest's cache and its disk agree again."""
        while self.changed:
            where, old = self.changed.pop()
            os.pwrite(self.fd, old, where)


class Guest:
    """One guest, from its boot to its end; self.vm is where it runs."""

    def __init__(self, lab, plan, ram, cache, host='src'):
        self.lab = lab
        self.plan = plan
        self.cache = cache
        self.squeeze = (ram - cache) * 2 // 3
        image = disk.get(cache, plan['fs'], plan['partition'])
        self.image = image
        self.luns = []
        self._disk(image.image)
        for size in (EXT4_MIB, XFS_MIB, SWAP_MIB, BAIT_MIB * 5 // 4 + 16):
            self._disk(size=size * MIB)
        _mkfs('ext4', self.luns[1].path, '-b', str(plan['block']))
        _mkfs('xfs', self.luns[2].path)
        subprocess.run([need_tool('mkswap', 'util-linux'),
                        self.luns[3].path], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _make_bait(self.luns[4].path, lab.rundir)
        self.bait = Bait(self.luns[4])
        self.machine = lab.machine(
            kernel.get(plan['kernel']), self.luns, [image.list],
            programs=['torture'], ram=ram, cpus=plan['cpus'],
            bus=plan['bus'], rerror='stop', **hints_of(plan['hints']))
        self.vm = lab.vm(host, self.machine)
        self._start()

    def _disk(self, *args, **options):
        """The next disk, on the storage that the plan has for it."""
        where, _, aio = self.plan['storage'][len(self.luns)].partition(' ')
        if where == 'iscsi':
            self.luns.append(self.lab.lun(*args, **options))
            return
        if aio == 'io_uring' and not has_io_uring(QEMU):
            aio = 'threads'
        self.luns.append(self.lab.file_lun(*args, direct=where == 'none',
                                           aio=aio, **options))

    def _start(self):
        vm = self.vm
        vm.boot(240)
        scenario.mount(vm, self.image)
        if self.plan['hints'] != 'io-map':
            scenario.load_driver(vm)
        names = [vm.device_name(i) for i in range(1, 5)]
        vm.sh('mkdir -p /w/ext4 /w/xfs /w/bait; '
              f'mount -t ext4 -o noatime {names[0]} /w/ext4 && '
              f'mount -t xfs -o noatime {names[1]} /w/xfs && '
              f'swapon {names[2]} && '
              f'mount -t ext4 -o ro,noload {names[3]} {BAIT_MOUNT} && '
              f'echo bait | labtool sum {BAIT_MOUNT} >{BAIT_LIST}', 60)
        for slot, (where, files, mib) in enumerate(WRITERS):
            self._background(f'torture write {CONTROL} {slot} {where} '
                             f'{slot} {files} {mib}', f'writer{slot}')
        self._background(f'torture memory {CONTROL} {len(WRITERS)} 1 '
                         f'{MEMORY_MIB}', 'memory')
        self.fill()

    def _background(self, command, name):
        self.vm.sh(f'{command} >/tmp/{name}.log 2>&1 &')

    def fill(self):
        """Read what the cache has lost."""
        self.sh(f'labtool fill {scenario.LIST} {scenario.MOUNT} && '
                f'cat {BAIT_MOUNT}/bait >/dev/null', 300)

    def sh(self, command, timeout=60, check=True):
        """A command in the guest."""
        self.awake()
        return self.vm.sh(command, timeout, check)

    def awake(self):
        """It goes on if a disk made it stop."""
        status = self.vm.status()
        if status in ('io-error', 'paused', 'postmigrate'):
            self.vm.cmd('cont', 60)

    def moved(self, vm):
        """The guest runs there now."""
        self.vm = vm
        vm.shell.resume()

    def warm(self):
        """How much of the files the cache holds at most, as a share."""
        found = dict(re.findall(r'(\w+):\s+(\d+) kB',
                                self.sh('cat /proc/meminfo')))
        return int(found['Cached']) / 1024 / (self.cache + BAIT_MIB)

    def rate(self, kib):
        self.sh(f'torture rate {CONTROL} {kib}')

    def action(self, name):
        return ACTIONS[name].format(squeeze=self.squeeze)

    def later(self, seconds, name):
        """Something that the guest does by itself in a while."""
        self.sh(f'(sleep {seconds}; {self.action(name)}) '
                '>>/tmp/actions.log 2>&1 &')

    def check(self, drop=False, meanwhile=None):
        """
        Let all writers check all they have; their counters.

        meanwhile() is called when they have begun.
        """
        self.awake()
        number = self.vm.shell.send(
            f'torture check {CONTROL} {"drop" if drop else ""}')
        if meanwhile:
            meanwhile()
        text = self.vm.shell.finish(number, CHECK, "the writers' check")[1]
        found = scenario.values(text.strip().splitlines()[-1])
        if found.get('workers') != len(WRITERS) + 1:
            raise WrongBytes(f'not all writers run: {text.strip()}; '
                             + self.sh('tail -n 2 /tmp/*.log', check=False))
        if found['bad'] or found['failures'] or found['late']:
            raise WrongBytes(text.strip())
        return found

    def check_static(self):
        """Checksums of the files that are only read."""
        for files, where in ((scenario.LIST, scenario.MOUNT),
                             (BAIT_LIST, BAIT_MOUNT)):
            text = self.sh(f'labtool check {files} {where}', CHECK,
                           check=False)
            if scenario.values(text).get('bad') != 0:
                raise WrongBytes(text.strip())

    def check_disks(self):
        """All of it, read anew from the disks; the writers' counters."""
        self.sh('sync; ' + ACTIONS['drop-caches'], CHECK)
        figures = self.check(drop=True)
        self.check_static()
        return figures

    def check_log(self):
        """The kernel's messages since the last time."""
        lines = self.sh('dmesg -c', 60).splitlines()
        trouble = [x.strip() for x in lines if TROUBLE.search(x)]
        if trouble:
            raise WrongBytes('kernel log: ' + '; '.join(trouble[:20]))

    def close(self):
        self.lab.drop(self.vm)
        for lun in self.luns:
            self.lab.discard(lun)
