# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What runs in the guest: WORKLOADS, by name.

Each says which disks it needs, sets a freshly booted guest up (servers,
a warm cache of the size asked for, memory that is not cache), and finds out
after a migration whether each byte is right.

Whatever the share of cache, plain precopy has the same amount to send,
sent_mib().  The rest of the memory is free.
"""

import re

from lab import scenario
from lab.disk import Disk
from lab.paths import LabError

from . import image

PAGE = 4096
BLOCK = 8192                        # of the database
#: of the RAM, what plain precopy has to send
SENT = 0.84
#: MiB that were written to once and are free; measured
LEFT_BEHIND = 20
#: the least cache; a share of 0 is this
LEAST_MIB = 16
#: what must be in the cache of what was read
FILLED = 0.97
#: where datagrams go
PORT = 9000
BEAT_MS = 10
SCAN_MIBPS = 200
#: of the disk, while the guest is moved
RECYCLE_MIBPS = 30
OTHER_LIST = '/lists/1'
#: how often memory gets another use, and what is copied and held for it
CHURNS, CHURN_FILES, CHURN_MIB = 2, 4000, 800
#: the ways of ours, and what they are compared with
HINTED = ('plain', 'skip', 'skip-io-map')
WRITE_MIB = 256
HELD, WRITTEN, FILES = '/tmp/held', '/tmp/written', '/mnt/write'
ROOT = '/r'
#: what a server writes to that is no data
SCRATCH = ('tmp', 'run', 'dev/shm', 'var/log', 'var/lib/nginx')
NGINX = '''worker_processes 1;
pid /run/nginx.pid;
error_log /tmp/nginx.log;
events { worker_connections 256; }
http {
sendfile on;
tcp_nodelay on;
access_log off;
open_file_cache off;
keepalive_timeout 3600s;
keepalive_requests 1000000000;
default_type application/octet-stream;
server { listen 80; root /srv; }
}'''


def sent_mib(setting):
    """What plain precopy has to send of a guest."""
    return round(setting.ram * SENT)


def cache_mib(setting):
    """How much of that is to be clean page cache."""
    return max(LEAST_MIB, round(setting.share * sent_mib(setting)))


def kernel_mib(setting):
    """What the kernel and the initramfs take."""
    return 90 + setting.ram // 50


def in_root(vm, command, user=None, **options):
    """Run a command in the root file system."""
    become = f'/usr/bin/setpriv --reuid={user} --regid={user} ' \
        '--clear-groups ' if user else ''
    return vm.sh(f'chroot {ROOT} {become}/usr/bin/env -i LC_ALL=C.UTF-8 '
                 f'PATH=/usr/sbin:/usr/bin:/sbin:/bin {command}', **options)


def mount_root(vm, index=1):
    """The root file system from a disk, the data's mount bound to /srv."""
    scenario.mount(vm, Disk('', '', 'ext4', False, 0), index,
                   options='ro,noatime,no_prefetch_block_bitmaps')
    where = f'{scenario.MOUNT}{index}'
    vm.sh(f'ln -s {where} {ROOT} && mount --bind {scenario.MOUNT} '
          f'{where}/srv && mount -t proc proc {where}/proc')
    for name in SCRATCH:
        vm.sh(f'mount -t tmpfs -o mode=1777 tmpfs {where}/{name}')


def in_background(vm, name, command):
    """Start a program that goes on; its number is in /tmp/NAME.pid."""
    vm.sh(f'{command} </dev/null >/tmp/{name}.log 2>&1 & '
          f'echo $! >/tmp/{name}.pid; sleep 0.2; kill -0 $! || '
          f'{{ cat /tmp/{name}.log; false; }}')


def count(vm, command, key):
    """Run a check in the guest; the number that it names so."""
    text = vm.sh(command, 300, False)
    found = scenario.values(text)
    if key not in found:
        raise LabError(f'guest: {command}: expected {key}=NUMBER, got '
                       f'{text.strip()[-400:]!r}')
    return int(found[key])


class Workload:
    """A guest with a warm cache that does nothing; base of the others."""

    name = 'idle'
    programs = ('benchtool',)
    #: whether the data's disk is written to
    writes = False
    #: MiB of its servers and writers
    own_mib = 0
    #: those that it is measured with in FULL; none: all
    peers = ()

    def refuse(self, setting):
        """Why this workload can't be run so, or None."""
        needed = cache_mib(setting) + kernel_mib(setting) + self.own_mib
        if needed > sent_mib(setting):
            return (f'{self.name} with a share of {setting.share} needs '
                    f'{needed} MiB: expected {sent_mib(setting)} MiB or less '
                    f'with {setting.ram} MiB of RAM')
        if cache_mib(setting) > image.WEB_MIB:
            return (f'{cache_mib(setting)} MiB of cache: expected '
                    f'{image.WEB_MIB} MiB or less')
        if self.writes and setting.guests > 1:
            return (f'{self.name} in {setting.guests} guests: they share '
                    'their disks, expected one that only reads')
        return None

    def disks(self, setting):
        """Images of the disks, in the guest's order."""
        del setting
        return [image.web().image]

    def lists(self, setting):
        """Lists of the files that are to be cached."""
        return [image.web().part(cache_mib(setting))[1]]

    def setup(self, vm, setting, clients):
        """
        All that has to be done in a guest that was just booted.

        clients: where the clients' host can be reached.
        """
        scenario.network(vm)
        options = 'noatime,no_prefetch_block_bitmaps'
        scenario.mount(vm, Disk('', '', 'ext4', False, 0), options=options
                       if self.writes else 'ro,noload,' + options)
        if setting.driver and vm.machine.has_driver and \
                vm.machine.device is not None:
            scenario.load_driver(vm)
        self.prepare(vm)
        scenario.fill(vm)
        self.start(vm, setting, clients)
        self.hold(vm, setting)
        found = scenario.values(vm.sh(
            f'benchtool cached {scenario.LIST} {scenario.MOUNT}', 60))
        if found['resident'] < FILLED * found['pages']:
            raise LabError(f"{found['resident']:.0f} of {found['pages']:.0f} "
                           f'pages are cached: expected {FILLED:.0%}')

    def prepare(self, vm):
        """Before the cache is filled."""

    def start(self, vm, setting, clients):
        """Servers, or what else works."""
        in_background(vm, 'beat', f'benchtool beat {clients} {PORT} '
                      f'{BEAT_MS}')

    @staticmethod
    def hold(vm, setting):
        """Memory that is no cache, so that there is enough to be sent."""
        text = vm.sh('sync; echo 1 >/proc/sys/vm/stat_refresh; '
                     'cat /proc/meminfo', 60)
        free = int(re.search(r'MemFree: *(\d+)', text).group(1)) >> 10
        mib = sent_mib(setting) - (setting.ram - free) - LEFT_BEHIND
        vm.sh(f'benchtool hold {max(1, mib)} {HELD}', 120)

    def check(self, vm):
        """The number of wrong pages (4 KiB) in a guest that has arrived."""
        return (self.stop(vm) + count(vm, f'benchtool settle {HELD}', 'bad')
                + self.check_files(vm))

    def stop(self, vm):
        """End what start() began; wrong pages found by that."""
        vm.sh('kill $(cat /tmp/beat.pid)')
        return 0

    def check_files(self, vm):
        """Wrong pages of the files that were cached."""
        return count(vm, f'labtool check {scenario.LIST} {scenario.MOUNT}',
                     'wrong')


class Scan(Workload):
    """Reads all of its files again and again."""

    name = 'scan'

    def start(self, vm, setting, clients):
        in_background(vm, 'scan', f'benchtool scan {scenario.LIST} '
                      f'{scenario.MOUNT} {SCAN_MIBPS} {clients} '
                      f'{PORT}')

    def stop(self, vm):
        vm.sh('kill $(cat /tmp/scan.pid)')
        return 0


class Recycle(Workload):
    """Reads more files than there is room for, one after the other, slowly."""

    name = 'recycle'
    peers = HINTED

    def lists(self, setting):
        return [*super().lists(setting), image.web().list]

    def start(self, vm, setting, clients):
        in_background(vm, 'scan', f'benchtool scan {OTHER_LIST} '
                      f'{scenario.MOUNT} {RECYCLE_MIBPS} {clients} {PORT}')

    def stop(self, vm):
        vm.sh('kill $(cat /tmp/scan.pid)')
        return 0


class Churn(Workload):
    """
    An idle guest that has been running for some time: all of its memory was
    something else before, and the disk has stood elsewhere in it.
    """

    name = 'churn'
    peers = HINTED
    writes = True

    def prepare(self, vm):
        for _ in range(CHURNS):
            # each file once through the cache; then what becomes free again:
            # files that were written and removed, and memory
            vm.sh(f'find {scenario.MOUNT} -type f -exec cat {{}} + '
                  '>/dev/null', 300)
            vm.sh(f'cd {scenario.MOUNT} && mkdir churn && find . -path '
                  './churn -prune -o -type f -print | '
                  f'tail -n {CHURN_FILES} | while read f; do '
                  'cp "$f" churn/$((i += 1)); done; sync; '
                  'cat churn/* >/dev/null; rm -r churn; sync', 300)
            vm.sh('mkdir -p /tmp/churn && mount -t tmpfs -o size=80% tmpfs '
                  f'/tmp/churn && dd if=/dev/zero bs=1M count={CHURN_MIB} '
                  "2>/dev/null | tr '\\0' x >/tmp/churn/memory; "
                  'umount /tmp/churn', 300)


class Write(Workload):
    """
    Dirties memory at a share of the channel's rate, and files at a tenth of
    that.
    """

    name = 'write'
    writes = True
    own_mib = WRITE_MIB + 64

    def start(self, vm, setting, clients):
        rate = setting.write * setting.lan * 1e9 / 8 / (1 << 20)
        in_background(vm, 'write', f'benchtool write {WRITE_MIB} {rate:.2f} '
                      f'{FILES} {WRITTEN} {clients} {PORT}')
        # until its memory and its files are there
        vm.sh(f'while ! [ -e {WRITTEN}.pid ]; do kill -0 $(cat '
              '/tmp/write.pid) || exit 1; sleep 0.1; done', 60)

    def stop(self, vm):
        return (count(vm, f'benchtool settle {WRITTEN}', 'bad')
                + count(vm, 'echo 3 >/proc/sys/vm/drop_caches; '
                        f'benchtool verify {FILES}', 'bad'))


class Web(Workload):
    """nginx with the web files."""

    name = 'web'
    own_mib = 10

    def disks(self, setting):
        return [image.web().image, image.rootfs().image]

    def prepare(self, vm):
        mount_root(vm)

    def start(self, vm, setting, clients):
        lines = ' '.join(f"'{x}'" for x in NGINX.splitlines())
        vm.sh(f"printf '%s\\n' {lines} >{ROOT}/run/nginx.conf")
        in_root(vm, 'nginx -c /run/nginx.conf', timeout=60)

    def stop(self, vm):
        in_root(vm, 'nginx -c /run/nginx.conf -s stop')
        return 0


class Database(Workload):
    """PostgreSQL with pgbench's tables."""

    writes = True
    #: its buffers, its processes
    own_mib = 128 + 30

    def __init__(self, name):
        self.name = name

    def disks(self, setting):
        return [image.database(cache_mib(setting)).image,
                image.rootfs().image]

    def lists(self, setting):
        return [image.database(cache_mib(setting)).list]

    def prepare(self, vm):
        mount_root(vm)

    @staticmethod
    def postgres(vm, words, **options):
        """Run one of PostgreSQL's programs, as its user."""
        return in_root(vm, f'{image.rootfs().postgres}/{words}', 'postgres',
                       **options)

    def start(self, vm, setting, clients):
        self.postgres(vm, 'pg_ctl start -D /srv/pg -w -t 120 '
                      '-l /tmp/postgres.log', timeout=150)
        # its own buffers are full, as they are after a while
        self.postgres(vm, "psql -q -h /tmp -c \"SELECT "
                      "pg_prewarm('pgbench_accounts_pkey')\"", timeout=60)

    def stop(self, vm):
        self.postgres(vm, 'pg_ctl stop -D /srv/pg -w -t 120 -m fast',
                      timeout=150)
        return 0

    def check_files(self, vm):
        """What is cached, then what is on the disk."""
        wrong = self._wrong_blocks(vm)
        vm.sh('sync; echo 3 >/proc/sys/vm/drop_caches', 60)
        return wrong + self._wrong_blocks(vm)

    def _wrong_blocks(self, vm):
        text = self.postgres(vm, 'pg_checksums --check -D /srv/pg',
                             timeout=300, check=False)
        found = re.search(r'Bad checksums: *(\d+)', text)
        if not found:
            raise LabError(f'pg_checksums: {text.strip()[-400:]}')
        return int(found.group(1)) * BLOCK // PAGE


WORKLOADS = {x.name: x for x in (
    Web(), Database('db-select'), Database('db-tpcb'), Scan(), Write(),
    Workload(), Churn(), Recycle())}
