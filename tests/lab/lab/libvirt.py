# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
libvirt on the lab's hosts: a daemon on each, as on two machines.

    with Lab('mytest') as lab:
        src, dst = (LibvirtHost(lab, name) for name in ('src', 'dst'))
        src.virsh('create', lab.write('vm1.xml', xml))
        src.virsh('migrate', '--live', 'vm1', 'qemu+tcp://dst/system')

A host has its own network (that of the lab), process numbers, mounts and
name.  Its directories /run/libvirt, /var/lib/libvirt and so on lie in the
lab's own directory.  The guests' QEMUs leave the daemon as soon as they run,
but not the host: when its first process ends, the kernel ends them all.
"""

import glob
import json
import os
import re
import signal
import subprocess
import sys
import uuid

from .paths import BUILD, ROOT, LabError, need_tool
from .procs import Child, wait_until
from .shell import Shell

PORT = 16509
#: what libvirt keeps for itself: {name in our directory: path on the host}
DIRECTORIES = {'run': '/run/libvirt', 'lib': '/var/lib/libvirt',
               'log': '/var/log/libvirt', 'cache': '/var/cache/libvirt',
               'etc': '/etc/libvirt'}

#: one host: no /etc/hosts, no libvirt user and no state but its own.  Its
#: first process does nothing; what others leave to it, the kernel reaps.
HOST = '''
set -e
hostname {name}
mount -t tmpfs run /run
mount -t tmpfs var /var
ln -s /run /var/run
mkdir -p /var/tmp
{binds}
mount --bind {dir}/hosts /etc/hosts
mount --bind {dir}/passwd /etc/passwd
mount --bind {dir}/group /etc/group
echo up
exec env --ignore-signal=CHLD sleep infinity
'''

DAEMON_CONF = '''
listen_tls = 0
listen_tcp = 1
listen_addr = "{address}"
tcp_port = "{port}"
auth_tcp = "none"
auth_unix_rw = "none"
unix_sock_rw_perms = "0700"
host_uuid = "{uuid}"
log_filters = "1:qemu.qemu_monitor 1:qemu.qemu_migration 3:util 3:rpc"
log_outputs = "1:file:/var/log/libvirt/libvirtd.log"
'''

# no systemd, no cgroups, no security module and one user in here
QEMU_CONF = '''
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
seccomp_sandbox = 0
stdio_handler = "file"
migration_address = "{address}"
migration_host = "{name}"
'''


class Libvirt:
    """
    Which libvirt: 'system', 'patched' (scripts/build-libvirt) or 'backports'.

    LIBVIRT in the environment says it for all tests.
    """

    def __init__(self, name=None):
        self.name = name or os.environ.get('LIBVIRT') or 'system'
        #: {file or directory of ours: where the daemon looks for it}
        self.binds = {}
        if self.name == 'system':
            self.daemon = need_tool('libvirtd', 'libvirt-daemon')
            self.virsh = need_tool('virsh', 'libvirt-clients')
        elif self.name == 'patched':
            self._script('build-libvirt')
            build = os.path.join(BUILD, 'libvirt/build')
            self.daemon = os.path.join(build, 'src/libvirtd')
            self.virsh = os.path.join(build, 'tools/virsh')
        elif self.name == 'backports':
            self._script('fetch-libvirt')
            self._unpacked(os.path.join(BUILD, 'libvirt-backports'))
        else:
            raise LabError(f"LIBVIRT is '{self.name}': expected system, "
                           'patched or backports')

    @staticmethod
    def _script(name):
        done = subprocess.run([os.path.join(ROOT, 'scripts', name)],
                              stdout=sys.stderr)
        if done.returncode != 0:
            raise LabError(f'scripts/{name} failed, and told why')

    def _unpacked(self, root):
        """Packages that are not installed, laid over the system's."""
        self.daemon = os.path.join(root, 'usr/sbin/libvirtd')
        self.virsh = os.path.join(root, 'usr/bin/virsh')
        libraries, = glob.glob(os.path.join(root, 'usr/lib/*-linux-gnu'))
        # in the place of the system's: its helpers are started without a
        # LD_LIBRARY_PATH of ours
        self.binds = {os.path.join(root, path): '/' + path for path in (
            'usr/share/libvirt', 'usr/lib/libvirt',
            *(os.path.relpath(path, root) for path in
              [os.path.join(libraries, 'libvirt'),
               *glob.glob(os.path.join(libraries, 'libvirt*.so.0'))]))}


class VirshError(LabError):
    """virsh failed; the text is what it said."""


class LibvirtHost:
    """
    One of the lab's hosts with a libvirt daemon.

    directory: the name of its own, if the host had a daemon before.
    """

    def __init__(self, lab, name, libvirt=None, directory=None):
        self.lab = lab
        self.name = name
        self.net = lab.hosts[name]
        self.libvirt = libvirt or Libvirt()
        self._virsh = [self.libvirt.virsh]
        self.directory = os.path.join(
            lab.rundir, 'libvirt-' + (directory or name))
        self.socket = os.path.join(self.directory, 'run/libvirt-sock')
        self.daemon = None
        self.uri = f'qemu+tcp://{name}/system'
        self._prepare()
        self.first = Child(
            ['unshare', '--mount', '--uts', '--pid', '--fork', '--kill-child',
             '--propagation', 'private', '--mount-proc', '--', 'sh', '-c',
             HOST.format(name=name, dir=self.directory, binds='\n'.join(
                 f'[ -e {to} ] || mkdir -p {to}; mount --bind {own} {to}'
                 for own, to in self._binds().items()))],
            self._log('host'), enter=self.net.enter,
            stdout=subprocess.PIPE)
        lab.at_end(self.close)
        if self.first.popen.stdout.readline() != b'up\n':
            raise LabError(f'{name}: no libvirt host: '
                           + self.first.last_words())
        self.start()

    def _binds(self):
        own = {os.path.join(self.directory, name): path
               for name, path in DIRECTORIES.items()}
        return {**self.libvirt.binds, **own}

    def _log(self, what):
        return os.path.join(self.lab.logdir, f'{self.name}.{what}.log')

    def _prepare(self):
        for own in DIRECTORIES:
            os.makedirs(os.path.join(self.directory, own))

        def write(name, text):
            with open(os.path.join(self.directory, name), 'w') as out:
                out.write(text)

        values = {'name': self.name, 'address': self.net.lan, 'port': PORT,
                  'uuid': uuid.uuid4()}
        write('etc/libvirtd.conf', DAEMON_CONF.format(**values))
        write('etc/qemu.conf', QEMU_CONF.format(**values))
        write('hosts', '127.0.0.1 localhost\n' + ''.join(
            f'{host.lan or host.san} {host.name}\n'
            for host in self.lab.hosts.values()))
        # the daemon looks for the user it was compiled for, used or not
        for name, lines in (
                ('passwd', 'libvirt-qemu:x:64055:64055::/:/usr/sbin/nologin'),
                ('group', 'libvirt-qemu:x:64055:\nlibvirt:x:64057:')):
            with open('/etc/' + name) as file:
                write(name, file.read() + lines + '\n')

    @property
    def enter(self):
        """Words to put before a command to run it on this host."""
        return ['nsenter', '-t', str(self._init()), '-m', '-u', '-n', '-p',
                '--']

    def _init(self):
        path = f'/proc/{self.first.pid}/task/{self.first.pid}/children'
        with open(path) as file:
            return int(file.read().split()[0])

    def run(self, *argv, timeout=60):
        """Run a command on this host: (status, what it said)."""
        done = subprocess.run([*self.enter, *argv], text=True,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=timeout)
        return done.returncode, done.stdout

    # --- the daemon ---

    def start(self):
        """Start the daemon; the guests there are become its own again."""
        self.daemon = Child(
            [self.libvirt.daemon, '-l', '-p', '/run/libvirtd.pid'],
            self._log('libvirtd'), enter=self.enter)
        wait_until(self._up, 30, f'{self.name}: libvirtd takes commands')

    def _up(self):
        self.daemon.check()
        return self.run(*self._virsh, 'uri')[0] == 0

    def stop(self):
        """End the daemon as a service manager does; the guests run on."""
        self.run('sh', '-c', 'kill $(cat /run/libvirtd.pid)')
        self.daemon.wait(30)

    def close(self):
        self.first.kill()
        if self.daemon is not None:
            self.daemon.kill()
        self.first.popen.stdout.close()

    # --- commands ---

    def virsh(self, *words, timeout=120):
        """Run virsh on this host; its output.  VirshError if it fails."""
        status, text = self.run(*self._virsh, *words, timeout=timeout)
        if status != 0:
            raise VirshError(text.strip())
        return text.strip()

    def refusal(self, *words):
        """What virsh says of a command that must fail."""
        try:
            self.virsh(*words)
        except VirshError as error:
            return str(error)
        return 'it was not refused'

    def begin(self, *words):
        """Start a virsh command that takes its time; a Background."""
        return Background([*self.enter, *self._virsh, *words])

    def qmp(self, domain, command, **arguments):
        """A command on the guest's monitor, through libvirt."""
        message = {'execute': command}
        if arguments:
            message['arguments'] = {k.replace('_', '-'): v
                                    for k, v in arguments.items()}
        answer = json.loads(self.virsh('qemu-monitor-command', domain,
                                       json.dumps(message)))
        if 'error' in answer:
            raise VirshError(f"{command}: {answer['error']['desc']}")
        return answer['return']

    def capabilities(self, domain):
        """The migration capabilities that are on."""
        return {c['capability'] for c in
                self.qmp(domain, 'query-migrate-capabilities') if c['state']}

    def log(self):
        """What the daemon has logged: its talk with the monitors."""
        with open(os.path.join(self.directory, 'log/libvirtd.log'),
                  errors='replace') as file:
            return file.read()

    def qemu_log(self, domain):
        path = os.path.join(self.directory, f'log/qemu/{domain}.log')
        with open(path, errors='replace') as file:
            return file.read()

    def shell(self, domain='vm1'):
        """The guest's shell, if the guest is here; close() it."""
        return Shell(self.path(f'run/{domain}.shell'))

    def path(self, name):
        """A file of this host's as seen from outside."""
        return os.path.join(self.directory, name)

    def running(self):
        """Names of the guests here."""
        return self.virsh('list', '--name').split()


class Background:
    """A virsh command under way."""

    def __init__(self, argv):
        self.argv = argv
        self.popen = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True)

    def alive(self):
        return self.popen.poll() is None

    def finish(self, timeout=180):
        """Wait for its end: (status, what it said)."""
        try:
            text, _ = self.popen.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            raise LabError(f"{' '.join(self.argv[-6:])}: no end after "
                           f'{timeout} s')
        return self.popen.returncode, text.strip()


def table(text):
    """virsh's 'Name:  value unit' lines: {name: (number or text)}"""
    found = {}
    for name, value in re.findall(r'^([^:\n]+):\s+(.*?)\s*$', text, re.M):
        number = re.match(r'([\d.]+)(?: (\w+)(?:/s)?)?$', value)
        scale = {'KiB': 2 ** 10, 'MiB': 2 ** 20, 'GiB': 2 ** 30}
        found[name] = value if not number else \
            float(number[1]) * scale.get(number[2], 1)
    return found
