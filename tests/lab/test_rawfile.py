#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
skip-pagecache with disks in raw files, of which each host has a page cache
of its own (NFS, cluster file systems).

What the destination reads before the guest writes must not be what the
guest reads afterwards.  RAM cannot tell: it is right.  So the guest runs at
once, drops its caches, and looks at its disk.
"""

import subprocess
import time

from lab import kernel, scenario
from lab.lab import Lab
from lab.migrate import Migration, Settings
from lab.paths import need_tool
from lab.tap import Tap
from lab.vm import need_qemu

MIB, PAGE = 1 << 20, 4096
RAM, DISK, FILE = 320, 64, 16           # MiB
#: on the disk, and what the guest writes over it, in memory
NAME, NEW = '/mnt/file', '/tmp/new'


def content(word):
    """A command that prints FILE MiB: a line a page, each ends with word."""
    return f'yes "$(printf %{PAGE - 1}s {word})" | head -c {FILE * MIB}'


def boot(lab, lun):
    """A guest with one file in its cache, of pages that end with 'old'."""
    machine = lab.machine(kernel.get('6.1'), [lun], ram=RAM)
    vm = lab.vm('src', machine)
    vm.boot()
    vm.sh(f'mount -t ext4 -o noatime {vm.device_name()} /mnt')
    scenario.load_driver(vm)
    vm.sh(f'{content("old")} >{NAME}; {content("new")} >{NEW}; sync', 120)
    return vm


def overtaken(tap, lab, **options):
    """
    The guest overwrites what the destination has asked for, and the answer
    comes when the guest runs there.
    """
    lun = lab.file_lun(size=DISK * MIB, **options)
    subprocess.run([need_tool('mkfs.ext4', 'e2fsprogs'), '-q', '-F', '-E',
                    'lazy_itable_init=0,lazy_journal_init=0', lun.path],
                   check=True)
    source = boot(lab, lun)
    destination = lab.vm('dst', source.machine, incoming=True)
    storage = lun.mounts['dst']
    storage.command('read hang')
    # slow, so that it lasts until the guest has written
    migration = Migration(source, destination, Settings(
        skip=True, parameters={'max-bandwidth': 8 * MIB}))
    migration.prepare()
    migration.start()
    storage.wait_held('read')
    tap.check(migration.poll()['status'] == 'active',
              'blocks are asked for in mid-migration', migration.info)
    source.sh(f'dd if={NEW} of={NAME} bs=1M conv=notrunc; sync', 120)
    source.cmd('migrate-set-parameters', **{'max-bandwidth': 0})
    info = migration.wait(120)
    migration.settle(info)
    tap.comment(f"{info['total-time']} ms, {info.get('pagecache')}, "
                f"reads at the destination: {storage.state('read')}")
    lab.drop(source)
    destination.shell.resume()
    status, text = destination.shell.finish(
        destination.shell.send(f'cmp {NAME} {NEW}'), 60)
    tap.check(status == 0, 'the cache has what the guest wrote', text)
    number = destination.shell.send(
        f'echo 3 >/proc/sys/vm/drop_caches; cmp {NAME} {NEW}')
    time.sleep(1)
    storage.command('read now')
    status, text = destination.shell.finish(number, 60)
    if not tap.check(status == 0, 'and so has the disk', text):
        old = destination.sh(f"grep -c 'old$' {NAME}", 120).strip()
        tap.comment(f'{old} pages of {FILE * MIB // PAGE} are old')
    trouble = destination.kernel_trouble()
    tap.check(not trouble, "the guest's kernel log is clean",
              '\n'.join(trouble))


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    with tap.part('late, cache=writeback'), Lab('rawfile') as lab:
        overtaken(tap, lab)
    with tap.part('late, cache=none'), Lab('rawfile') as lab:
        overtaken(tap, lab, direct=True, aio='native')
    tap.done()


if __name__ == '__main__':
    main()
