#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Which of the guest's disks are found in the host's table, and which are not.

    tests/lab/test_guest_disks.py [VERSION...]      (default: 6.12)

Boots a guest that has disks of all kinds, reads a file from each, asks for
the map as test_guest_map.py does, and compares each hinted page with the
image of the disk that the hint names: a disk that is taken for another one is
found out by that.  Freed memory is overwritten in this guest's kernel.
Prints TAP.

QEMU does not migrate guests with its NVMe device, so there is none here by
default; the host's half is tested by virtio-pagecache/get-disk-serial.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import types

import test_guest_map as guest_map
from lab import guest, kernel
from lab.paths import LAB_BUILD, need_tool
from lab.procs import handle_signals, wait_until
from lab.tap import Tap
from lab.vm import VM, Machine

MIB = 1 << 20
FILE = 8                                # MiB in each file system
SIZE = 32                               # MiB of each
PAGES = FILE * MIB // guest_map.PAGE
#: where data begins on the members of the array, in sectors
DATA_OFFSET = 2048
LOGS = os.path.join(LAB_BUILD, 'log', 'guest_disks')

#: name (label of its file system) -> mkfs, -device; in the table's order
DISKS = {
    'ahci': ('ext4', 'ide-hd,bus=ide.0,serial=lab ahci'),
    'pata': ('ext4', 'ide-hd,bus=pata.0,unit=0,serial=lab-pata'),
    'long': ('ext4', 'ide-hd,bus=ide.1,serial=0123456789012345678901234'),
    'lun': ('ext4', 'scsi-hd,bus=hba.0,scsi-id=3,lun=300,serial=lab-scsi'),
    'blocks': ('ext4', 'scsi-hd,bus=hba.0,scsi-id=4,serial=lab-blocks,'
                       'logical_block_size=4096,physical_block_size=4096'),
    'ext2': ('ext2', 'virtio-blk-pci,serial=lab-ext2,addr=0x9'),
    'raid0': (None, 'virtio-blk-pci,serial=lab-raid0,addr=0xa'),
    'raid1': (None, 'virtio-blk-pci,serial=lab-raid1,addr=0xb'),
    # these must not be found
    'twin0': ('ext4', 'ide-hd,bus=ide.2,serial=lab-twin'),
    'twin1': ('ext4', 'ide-hd,bus=ide.3,serial=lab-twin'),
    'none': ('ext4', 'ide-hd,bus=ide.4,serial='),
    # the host has one of this serial number, the guest two
    'two0': ('ext4', 'ide-hd,bus=ide.5,serial=lab-two'),
    # unplugged while it is mounted
    'gone': ('ext4', 'virtio-blk-pci,serial=lab-gone,bus=port1,id=gone'),
}
#: QEMU does not migrate guests with these, unless it is changed to:
#: without .unmigratable in hw/nvme/ctrl.c, set LAB_NVME=1
NVME = {
    'nvme': ('ext4', 'nvme,serial=lab-nvme,addr=0x8'),
    # a namespace of its own, on a controller that has no other
    'space': ('ext4', 'nvme-ns,bus=nvme1,nsid=5'),
}
CONTROLLERS = ('piix3-ide,id=pata,addr=0x6', 'virtio-scsi-pci,id=hba,addr=0x7')
if os.environ.get('LAB_NVME'):
    DISKS.update(NVME)
    CONTROLLERS += ('nvme,id=nvme1,serial=lab-space,addr=0xe',)
FOUND = ('ahci', 'pata', 'long', 'lun', 'blocks', 'ext2', 'gone')
LOST = ('twin0', 'twin1', 'none', 'two0')


def image(directory, name, fs):
    """A file system with a file in it."""
    path = os.path.join(directory, name)
    tree = os.path.join(directory, 'tree')
    os.makedirs(tree, exist_ok=True)
    with open(os.path.join(tree, 'file'), 'wb') as out:
        out.write(os.urandom(FILE * MIB))
    subprocess.run([need_tool('mkfs.ext4', 'e2fsprogs'), '-q', '-F', '-t', fs,
                    '-L', name, '-b', '4096', '-d', tree, path, f'{SIZE}M'],
                   stdout=subprocess.DEVNULL, check=True)
    if name == 'blocks':
        # more than whole blocks: the guest sees less of it than the host has
        with open(path, 'r+b') as out:
            out.truncate(SIZE * MIB + 3 * guest_map.SECTOR)
    return path


class Bench(guest_map.Bench):
    """A guest with DISKS; the index of a disk is that of the host's table."""

    def __init__(self, version, stack):     # pylint: disable=W0231
        self.kernel = kernel.get(version)
        self.stack = stack
        self.targets = 0
        self.directory = tempfile.mkdtemp(prefix='skip-pagecache-')
        stack.callback(shutil.rmtree, self.directory, True)
        self.logs = os.path.join(LOGS, version)
        os.makedirs(self.logs, exist_ok=True)
        self.trace = os.path.join(self.logs, 'trace')
        with contextlib.suppress(FileNotFoundError):
            os.remove(self.trace)
        self._make_images()
        tree = guest.ModuleTree(self.kernel)
        #: modules that this kernel has; what is built in needs none
        self.has = [x for x in ('ata_piix', 'ahci', 'raid1')
                    if x in tree.paths or x in tree.builtin]
        # before 5.17, drivers are told from each other by their modules only
        self.old_builtin_ext4 = (version.startswith('5.')
                                 and 'ext4' in tree.builtin)
        #: disks that the guest can see
        self.seen = [name for name, (_, device) in DISKS.items()
                     if 'bus=ide.' not in device or 'ahci' in self.has]
        self.initrd = os.path.join(self.directory, 'initrd')
        guest.initramfs(self.kernel, self.initrd)
        self.modules = [x for x in self.has if x in tree.paths]
        self._add_tools()
        self.vm = self._start(
            'src', ['-D', self.trace, '-trace', 'pagecache_src_hint',
                    '-trace', 'virtio_pagecache_*'])
        self.vm.boot()

    def _make_images(self):
        self.luns = []
        member = None
        for name, (fs, _) in DISKS.items():
            if fs is None:
                if member is None:
                    member = image(self.directory, name, 'ext4')
                    with open(member, 'rb') as file:
                        data = file.read()
                    with open(member, 'wb') as file:
                        file.write(bytes(DATA_OFFSET * guest_map.SECTOR))
                        file.write(data)
                path = member
            else:
                path = image(self.directory, name, fs)
            lun = guest_map.MemoryLun(path)
            self.luns.append(lun)
            self.stack.callback(lun.file.close)

    def _start(self, name, extra, **options):
        words = []
        for device in CONTROLLERS:
            words += ['-device', device]
        for index, (disk, (_, device)) in enumerate(DISKS.items()):
            # direct I/O takes whole blocks only
            cache = {'direct': disk != 'blocks'}
            node = {'driver': 'raw', 'node-name': f'disk{index}',
                    'cache': cache,
                    'file': {**self.luns[index].options(name),
                             'cache': cache}}
            # on a bus that knows no paths, a disk has no name without an id
            if ',id=' not in device:
                device += f',id=vd{index}'
            words += ['-blockdev', json.dumps(node),
                      '-device', f'{device},drive=disk{index}']
        # without an id, it is not in the host's table
        words += ['-blockdev', '{"driver": "null-co", "node-name": "null", '
                  '"size": 1048576, "read-zeroes": true}',
                  '-device', 'ide-hd,bus=pata.1,drive=null,serial=lab-two']
        machine = Machine(self.kernel, self.initrd, (), ram=512, cpus=2,
                          device='id=pc0,bus=port0', extra=[*words, *extra],
                          append='slub_debug=FP')
        vm = VM(types.SimpleNamespace(enter=()), machine, name,
                self.directory, self.logs, **options)
        self.stack.callback(vm.close)
        return vm

    def labelled(self, name):
        """The node with this label."""
        return wait_until(
            lambda: self.sh(f'findfs LABEL={name} 2>/dev/null; true').strip(),
            30, f'a file system {name} in the guest', 0.3)

    def serial(self, serial):
        """The name of the virtio-blk disk with this serial number"""
        return self.sh(f'for d in /sys/block/vd*; do [ $(cat $d/serial) = '
                       f'{serial} ] && basename $d; done; true').strip()

    def mount_all(self):
        self.sh('for m in $(cat /extra/order); do [ -d /sys/module/${m%.ko} ] '
                '|| insmod /extra/$m || exit 1; done')
        for name in self.seen:
            fs = DISKS[name][0]
            if fs is not None:
                self.mount_one(name, self.labelled(name), fs)

    def mount_one(self, name, node, fs='ext4'):
        self.sh(f'mkdir -p /mnt/{name} && mount -t {fs} -o noatime {node} '
                f'/mnt/{name} && cat /mnt/{name}/file >/dev/null')

    def make_array(self):
        """md0 of the two members, as mdadm --build would make it."""
        md = '/sys/block/md0/md'
        self.sh('echo md0 >/sys/module/md_mod/parameters/new_array && '
                f'cd {md} && echo none >metadata_version && '
                'echo raid1 >level && echo 2 >raid_disks && '
                f'echo {SIZE * 1024} >component_size')
        for slot in (0, 1):
            node = self.serial(f'lab-raid{slot}')
            self.sh(f'cd {md} && cat /sys/block/{node}/dev >new_dev && '
                    f'echo {DATA_OFFSET} >dev-{node}/offset && '
                    f'echo {SIZE * 1024} >dev-{node}/size && '
                    f'echo {slot} >dev-{node}/slot')
        self.sh(f'cd {md} && echo none >resync_start && '
                'echo active >array_state')

    def pages(self, result, *names):
        """How many pages are hinted to be on these disks"""
        wanted = [list(DISKS).index(name) for name in names]
        return sum(r.pages for r in result.runs if r.disk in wanted)


def check_right(tap, bench, result, name):
    wrong = bench.compare(result.runs)
    tap.comment(f'{name}: {result.line}')
    tap.check(result.complete and not wrong and result.runs,
              f'{name}: the map is complete, and no hinted page differs',
              f'{len(wrong)}: {wrong[:5]}')


def test_found(tap, bench):
    bench.mount_all()
    bench.make_array()
    bench.mount_one('array', '/dev/md0')
    bench.load()
    with bench.collection() as result:
        check_right(tap, bench, result, 'all')
        for name in filter(bench.seen.__contains__, (*FOUND, *NVME)):
            if name == 'ext2' and bench.old_builtin_ext4:
                tap.comment("ext2 can't be told to be of ext4's driver")
                continue
            pages = bench.pages(result, name)
            tap.check(pages >= PAGES, f'all: {name} is found',
                      f'{pages} of {PAGES} pages')
        if 'ahci' not in bench.has:
            tap.comment('this kernel has no driver for AHCI')
        if 'nvme' not in DISKS:
            tap.comment('no NVMe: QEMU does not migrate guests with it')
        pages = bench.pages(result, 'raid0', 'raid1')
        tap.check(pages >= PAGES, 'all: the array is found on a member',
                  f'{pages} of {PAGES} pages')
        for name in LOST:
            pages = bench.pages(result, name)
            tap.check(pages == 0, f'all: {name} is not taken for any',
                      f'{pages} pages')


def test_array(tap, bench):
    """An array whose members differ, or may do so."""
    md = '/sys/block/md0/md'

    def check_left_out(name):
        with bench.collection() as result:
            check_right(tap, bench, result, f'array: {name}')
            pages = bench.pages(result, 'raid0', 'raid1')
            tap.check(pages == 0, f'array: {name}: left out', f'{pages} pages')
            tap.check(bench.pages(result, 'pata') >= PAGES,
                      f'array: {name}: the others are not', result.line)

    bench.sh(f'echo 1 >{md}/sync_speed_max; echo repair >{md}/sync_action')
    action = bench.sh(f'cat {md}/sync_action').strip()
    tap.check(action == 'repair', 'array: it is being repaired', action)
    check_left_out('repair')
    bench.sh(f'echo idle >{md}/sync_action; echo 100000 >{md}/sync_speed_max')
    wait_until(lambda: bench.sh(f'cat {md}/sync_action').strip() == 'idle',
               30, 'the array rests')
    with bench.collection() as result:
        check_right(tap, bench, result, 'array: idle again')
        pages = bench.pages(result, 'raid0', 'raid1')
        tap.check(pages >= PAGES, 'array: idle again: found', f'{pages} pages')
    bench.sh(f'echo faulty >{md}/dev-{bench.serial("lab-raid0")}/state')
    tap.check(bench.sh(f'cat {md}/degraded').strip() == '1',
              'array: a member has failed')
    check_left_out('degraded')


def test_unplugged(tap, bench):
    """A disk that is gone is still mounted: what it hung on is freed."""
    bench.vm.cmd('device_del', id='gone')
    wait_until(lambda: 'gone' not in json.dumps(
        bench.vm.cmd('qom-list', path='/machine/peripheral')), 30,
        'the disk is unplugged')
    tap.check('/mnt/gone' in bench.sh('cat /proc/mounts'),
              'unplugged: still mounted')
    with bench.collection() as result:
        check_right(tap, bench, result, 'unplugged')
        tap.check(bench.pages(result, 'gone') == 0,
                  'unplugged: no hints for it',
                  f'{bench.pages(result, "gone")} pages')


def test_versions(tap, bench):
    """Module and daemon of different sources."""
    bench.sh('kill $(pidof virtio-pagecached)')
    # a daemon of before VPC_IOC_VERSION: another number for the same call
    said = bench.sh('maptool ioctl /dev/virtio-pagecache 1 8 2>&1; true')
    tap.check('Inappropriate ioctl' in said, 'versions: an old daemon fails',
              said)
    log = bench.sh('dmesg | grep "install both from the same source"; true')
    tap.check('virtio_pagecache: the daemon maptool is not the one' in log,
              'versions: the module says why', log)
    # a module of before VPC_IOC_VERSION: no ioctl of ours is known
    said = bench.sh(f'/driver/{guest.DAEMON} --device=/dev/null 2>&1; '
                    'echo status $?')
    tap.check('/dev/null: the loaded module virtio_pagecache (an older one, '
              'interface 0) is not the one of this daemon' in said
              and 'status 78' in said,
              'versions: a daemon says that the module is older', said)


def test(tap, version):
    with contextlib.ExitStack() as stack:
        bench = Bench(version, stack)
        for part in (test_found, test_array, test_unplugged, test_versions):
            part(tap, bench)
        # what was mounted on the disk that is gone may say that it is gone
        trouble = [x for x in bench.vm.kernel_trouble()
                   if 'error' not in x.lower()]
        tap.check(not trouble, 'nothing in the kernel log', trouble[:20])


def main():
    handle_signals()
    tap = Tap()
    for version in sys.argv[1:] or ['6.12']:
        with tap.part(version):
            test(tap, version)
    tap.done()


if __name__ == '__main__':
    main()
