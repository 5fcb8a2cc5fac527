# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The benchmark's disks, made once and kept in build/bench/.

rootfs() is a Debian with the servers, for guests (an image) and clients (the
tree, to be entered with chroot); web() a web server's files; database() a
PostgreSQL cluster with pgbench's tables.  No image is mounted to make it.
"""

import collections
import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile

from lab import guest, kernel
from lab.paths import BUILD, ROOT, LabError, need_tool

from . import webtree

BENCH_BUILD = os.path.join(BUILD, 'bench')
#: part of the names: raise it when a recipe changes
RECIPE = 1
WEB_MIB = 1600
#: of a cluster without pgbench's tables, and of one unit of pgbench's scale
CLUSTER_MIB, SCALE_MIB = 22, 15
#: room for what is written in a run
WEB_ROOM, DATABASE_ROOM = 512, 768
LEFT_OUT = ('doc', 'man', 'info', 'locale', 'lintian')
#: what the servers need of a cluster; the rest is as Debian has it
DATABASE_SETTINGS = {
    'listen_addresses': "'*'", 'unix_socket_directories': "'/tmp'",
    'shared_buffers': '128MB', 'min_wal_size': '32MB',
    'max_wal_size': '64MB', 'jit': 'off', 'logging_collector': 'off',
}
TRUSTED = 'host all all 10.3.0.0/24 trust'


class Root(collections.namedtuple('Root', 'tree image')):
    """A Debian: a directory for chroot, and an ext4 image of it."""

    @property
    def postgres(self):
        """The directory of PostgreSQL's programs, seen from inside."""
        base = 'usr/lib/postgresql'
        version = max(os.listdir(os.path.join(self.tree, base)), key=int)
        return f'/{base}/{version}/bin'


class Web(collections.namedtuple('Web', 'image list directories')):
    """Directories of 36 files each; see webtree.py."""

    def part(self, mib):
        """
        (how many directories fill so many MiB, a list of their files).

        The list is the path of a file, for labtool.
        """
        count = webtree.directories(mib)
        if count > self.directories:
            raise LabError(f'{mib} MiB of web files: expected '
                           f'{WEB_MIB} MiB at most')
        path = f'{self.list}.{count}'
        with open(self.list) as file:
            wanted = len(webtree.names(count))
            lines = [next(file) for _ in range(wanted)]
        with open(f'{path}.{os.getpid()}', 'w') as out:
            out.writelines(lines)
        os.rename(out.name, path)
        return count, path


#: what clients ask a web server for
requests = webtree.requests

#: a cluster in /pg of the image; the list has its files as they were made
Database = collections.namedtuple('Database', 'image scale list')


@contextlib.contextmanager
def _once(result, text):
    """
    Make something under a lock: gives a work directory, or None if the
    result is there already.
    """
    os.makedirs(BENCH_BUILD, exist_ok=True)
    with open(os.path.join(BENCH_BUILD, '.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if os.path.exists(result):
            yield None
            return
        for name in os.listdir(BENCH_BUILD):
            if name.startswith('.new-'):        # of a run that was killed
                shutil.rmtree(os.path.join(BENCH_BUILD, name))
        print(f'making {text} ...', flush=True)
        work = tempfile.mkdtemp(prefix='.new-', dir=BENCH_BUILD)
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _run(log, what, *words):
    with open(log, 'a') as out:
        status = subprocess.call(words, stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=subprocess.STDOUT)
    if status != 0:
        with open(log, errors='replace') as file:
            lines = file.read().splitlines()
        error = next((x for x in lines if re.match(r'E: |.*error:', x)),
                     (lines or ['no message'])[-1])
        raise LabError(f'{what} failed: {error} (log: {log})')


def _ext4(tree, image, mib, *options):
    with open(image, 'wb') as file:
        file.truncate(mib << 20)
    subprocess.run(
        [need_tool('mkfs.ext4', 'e2fsprogs'), '-q', '-F', '-m', '0', '-d',
         tree, '-E', 'lazy_itable_init=0,lazy_journal_init=0', *options,
         image], check=True)


def _mib(tree):
    """What a directory takes on the disk."""
    done = subprocess.run(['du', '-sm', tree], stdout=subprocess.PIPE,
                          text=True, check=True)
    return int(done.stdout.split()[0])


def _sums(tree, names):
    """Lines of a list for labtool."""
    done = subprocess.run([guest.labtool(), 'sum', tree], text=True,
                          input='\n'.join(names) + '\n',
                          stdout=subprocess.PIPE, check=True)
    return done.stdout


def _packages():
    """The group bench-root of scripts/packages."""
    with open(os.path.join(ROOT, 'scripts/packages')) as file:
        lines = re.findall(r'^bench-root:(.*)', file.read(), re.M)
    return ' '.join(lines).split()


def rootfs():
    """A Debian of this system's release, with servers and clients."""
    name = os.path.join(BENCH_BUILD, f'root{RECIPE}')
    root = Root(name, name + '.raw')
    with _once(root.image, 'a Debian root file system (about a minute)') \
            as work:
        if work:
            _make_root(root, work)
    return root


def _make_root(root, work):
    _, codename, lines = kernel.own_sources()
    sources, apt = (os.path.join(work, x) for x in ('sources', 'apt'))
    tree = os.path.join(work, 'tree')
    with open(sources, 'w') as file:
        file.writelines(lines)
    with open(apt, 'w') as file:                # proxies and the like
        subprocess.run(['apt-config', 'dump', '--format', '%f "%v";%n',
                        'Acquire'], stdout=file, check=True)
    log = os.path.join(BENCH_BUILD, 'root.log')
    if os.path.exists(log):
        os.remove(log)
    _run(log, 'making a Debian root file system',
         need_tool('mmdebstrap', 'mmdebstrap'), '--mode=root',
         '--variant=minbase', f'--aptopt={apt}',
         '--include=' + ','.join(_packages()),
         *(f'--dpkgopt=path-exclude=/usr/share/{x}/*' for x in LEFT_OUT),
         codename, tree, sources)
    # nothing of this system's stays, nor is anything started by itself
    for name in ('etc/apt/apt.conf.d/99mmdebstrap',
                 'etc/apt/sources.list.d/0000sources.list',
                 'etc/resolv.conf', 'etc/hostname'):
        with contextlib.suppress(FileNotFoundError):
            os.remove(os.path.join(tree, name))
    shutil.rmtree(os.path.join(tree, 'var/lib/postgresql'))
    os.makedirs(os.path.join(tree, 'srv'), exist_ok=True)
    image = os.path.join(work, 'image')
    # read-only always: no journal
    _ext4(tree, image, _mib(tree) * 13 // 10 + 64, '-O', '^has_journal')
    shutil.rmtree(root.tree, ignore_errors=True)
    os.rename(tree, root.tree)
    os.rename(image, root.image)


def web():
    """The tree of a web server's files."""
    name = os.path.join(BENCH_BUILD, f'web{RECIPE}')
    made = Web(name + '.raw', name + '.list', webtree.directories(WEB_MIB))
    with _once(made.image, f'a disk with {WEB_MIB} MiB of web files') as work:
        if work:
            tree, image = (os.path.join(work, x) for x in ('tree', 'image'))
            os.mkdir(tree)
            os.chmod(tree, 0o755)
            names = webtree.write(tree, made.directories)
            with open(made.list, 'w') as file:
                file.write(_sums(tree, names))
            _ext4(tree, image, WEB_MIB + WEB_ROOM)
            os.rename(image, made.image)
    return made


def database(mib=1032):
    """A database whose files have about mib MiB."""
    root = rootfs()
    scale = max(1, round((mib - CLUSTER_MIB) / SCALE_MIB))
    name = os.path.join(BENCH_BUILD, f'database{RECIPE}-{scale}')
    made = Database(name + '.raw', scale, name + '.list')
    with _once(made.image, f'a database of {mib} MiB') as work:
        if work:
            _make_database(root, made, work)
    return made


def _make_database(root, made, work):
    # in the tree, for the time being: its programs must find it
    top = os.path.join(root.tree, 'var/tmp')
    for name in os.listdir(top):
        if name.startswith('bench-'):           # of a run that was killed
            shutil.rmtree(os.path.join(top, name))
    place = tempfile.mkdtemp(prefix='bench-', dir=top)
    log = os.path.join(BENCH_BUILD, 'database.log')
    if os.path.exists(log):
        os.remove(log)
    try:
        inside = place[len(root.tree):]
        tree = os.path.join(place, 'tree')
        data = os.path.join(tree, 'pg')
        os.makedirs(data)
        with open(os.path.join(root.tree, 'etc/passwd')) as file:
            owner = map(int, re.search(r'^postgres:[^:]*:(\d+):(\d+):',
                                       file.read(), re.M).groups())
        user, group = owner
        for directory in (place, data):
            os.chown(directory, user, group)
        # with a process number space of its own: all of it dies with us
        _run(log, 'making a database', 'unshare', '--pid', '--fork',
             '--kill-child', 'chroot', root.tree, '/usr/bin/setpriv',
             '--reuid=postgres', '--regid=postgres', '--clear-groups',
             '/usr/bin/env', '-i', 'LC_ALL=C.UTF-8', f'PATH={root.postgres}:'
             '/usr/bin:/bin', '/bin/sh', '-ec', MAKE_DATABASE, 'sh',
             inside, str(made.scale))
        with open(os.path.join(data, 'postgresql.conf'), 'a') as file:
            file.writelines(f'{k} = {v}\n'
                            for k, v in DATABASE_SETTINGS.items())
        with open(os.path.join(data, 'pg_hba.conf'), 'a') as file:
            file.write(TRUSTED + '\n')
        names = sorted(
            os.path.relpath(os.path.join(base, x), tree)
            for part in ('base', 'global')
            for base, _, files in os.walk(os.path.join(data, part))
            for x in files)
        image = os.path.join(work, 'image')
        with open(made.list, 'w') as file:
            file.write(_sums(tree, names))
        _ext4(tree, image, _mib(tree) + DATABASE_ROOM)
        os.rename(image, made.image)
    finally:
        shutil.rmtree(place, ignore_errors=True)


#: Arguments: a directory, pgbench's scale.  pgbench's own rows are blanks for
#: the most part; these compress three to one, as text and numbers do.
MAKE_DATABASE = '''
export PGHOST="$1" PGDATA="$1/tree/pg" PGDATABASE=postgres
initdb --data-checksums --auth=trust --encoding=UTF8 --locale=C.UTF-8
pg_ctl start -w -t 60 -o "-c listen_addresses= -k $1 -c fsync=off \
    -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB"
pgbench --initialize --init-steps=dtG --quiet --scale="$2"
psql -q -v ON_ERROR_STOP=1 <<SQL
BEGIN;
TRUNCATE pgbench_accounts;
INSERT INTO pgbench_accounts
    SELECT aid, (aid - 1) / 100000 + 1, 0, md5(aid::text) || md5((-aid)::text)
    FROM generate_series(1, 100000 * $2) AS aid;
COMMIT;
CREATE EXTENSION pg_prewarm;
SQL
pgbench --initialize --init-steps=vp --quiet --scale="$2"
vacuumdb --all --freeze --analyze
pg_ctl stop -w -t 60 -m fast
'''
