# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The lab's guest as a libvirt domain, and what the operators' page says.

The domain is the one of docs/system/skip-pagecache-libvirt.rst, so that it
is this text that is tested; what differs in the lab is put into it here.
"""

import copy
import os
import re
import textwrap
import uuid
import xml.etree.ElementTree as ET

from . import guest
from .migrate import statistics
from .paths import QEMU, ROOT, LabError
from .scenario import LIST, MOUNT, Check, values
from .target import IQN, PORT
from .vm import TROUBLE

PAGE = os.path.join(ROOT, 'docs/system/skip-pagecache-libvirt.rst')
QEMU_NS = 'http://libvirt.org/schemas/domain/qemu/1.0'
NAME = 'vm1'
#: libvirt's name for the secret of the LUN
SECRET = '6f1d2c3a-0000-4000-8000-000000000001'
#: what modprobe and systemctl do elsewhere
DRIVER = (f'insmod /driver/{guest.MODULE} && {{ /driver/{guest.DAEMON} '
          '>/tmp/daemon.log 2>&1 & } && sleep 0.5 && kill -0 $!')

ET.register_namespace('qemu', QEMU_NS)


def blocks(language, path=PAGE):
    """The code blocks of a page in that language, in order."""
    with open(path, encoding='utf-8') as file:
        text = file.read()
    found = re.findall(r'^\.\. code-block:: ' + language
                       + r'\n\n((?:[ ]+.*\n|\n)+)', text, re.M)
    return [textwrap.dedent(block).strip() + '\n' for block in found]


def documented(path=PAGE):
    """The domain as the page has it."""
    for block in blocks('xml', path):
        if block.startswith('<domain'):
            return ET.fromstring(block)
    raise LabError(f'{path}: expected a code block with a <domain>')


def _sub(parent, tag, text=None, **attributes):
    child = ET.SubElement(parent, tag, attributes)
    child.text = text
    return child


class Domain:
    """
    vm1: the documented domain with the lab's kernel and disk.

    Change .root before it is used; text() is the XML for virsh.
    """

    def __init__(self, kernel, initrd, lun, ram=768, qemu=QEMU):
        self.root = root = documented()
        root.set('type', 'qemu')
        name = root.find('name')
        name.text = NAME
        unique = ET.Element('uuid')
        unique.text = str(uuid.uuid4())
        root.insert(list(root).index(name) + 1, unique)
        self._replace('memory', str(ram), unit='MiB')
        self._replace('vcpu', '1')
        system = root.find('os')
        system.remove(system.find('boot'))
        _sub(system, 'kernel', kernel.image)
        _sub(system, 'initrd', initrd)
        _sub(system, 'cmdline', 'console=ttyS0 loglevel=5 panic=1 '
             'mitigations=off tsc=reliable')
        self._cpu(kernel)
        clock = _sub(root, 'clock', offset='utc')
        _sub(clock, 'timer', name='hpet', present='no')
        devices = root.find('devices')
        devices.find('emulator').text = qemu
        devices.remove(devices.find('serial'))
        self._serial(0, 'file', path='/var/log/libvirt/console')
        self._serial(1, 'unix', mode='bind',
                     path=f'/run/libvirt/{NAME}.shell')
        self.set_disk(lun)

    def _replace(self, tag, text, **attributes):
        element = self.root.find(tag)
        element.text = text
        element.attrib.update(attributes)

    def _cpu(self, kernel):
        # see vm.Machine.cpu()
        cpu = self.root.find('cpu')
        cpu.clear()
        cpu.set('mode', 'maximum')
        flags = ['erms', 'fsrm']
        if kernel.release.startswith('6.12.'):
            flags.append('cx16')
        for flag in flags:
            _sub(cpu, 'feature', policy='disable', name=flag)

    def _serial(self, port, kind, **source):
        serial = _sub(self.root.find('devices'), 'serial', type=kind)
        _sub(serial, 'source', **source)
        _sub(serial, 'target', port=str(port))

    def set_disk(self, lun):
        source = self.root.find('devices/disk/source')
        source.set('name', f'{lun.target.iqn}/{lun.number}')
        host = source.find('host')
        host.set('name', lun.target.host.san)
        host.set('port', str(PORT))
        initiator = _sub(source, 'initiator')
        _sub(initiator, 'iqn', name=f'{IQN}:{NAME}')

    def set_block(self, path):
        """The disk is a block device of the hosts' kernels instead."""
        disk = self.root.find('devices/disk')
        disk.set('type', 'block')
        disk.remove(disk.find('source'))
        _sub(disk, 'source', dev=path)

    def set_auth(self, user):
        """The LUN wants CHAP; libvirt knows the secret as SECRET."""
        auth = _sub(self.root.find('devices/disk/source'), 'auth',
                    username=user)
        _sub(auth, 'secret', type='iscsi', uuid=SECRET)

    def copy(self):
        return copy.deepcopy(self)

    def set_qemu(self, qemu):
        self.root.find('devices/emulator').text = qemu
        return self

    def set_io_map(self, state):
        """The feature that the patched libvirt has; None: without it."""
        features = self.root.find('features')
        for old in features.findall('pagecache-io-map'):
            features.remove(old)
        if state:
            _sub(features, 'pagecache-io-map', state=state)
        return self

    # --- what stands in qemu:commandline ---

    @property
    def _commandline(self):
        return self.root.find(f'{{{QEMU_NS}}}commandline')

    @property
    def words(self):
        return [arg.get('value') for arg in self._commandline]

    @words.setter
    def words(self, words):
        line = self._commandline
        for arg in list(line):
            line.remove(arg)
        for word in words:
            ET.SubElement(line, f'{{{QEMU_NS}}}arg', {'value': word})

    def without(self, *parts):
        """Leave out the options with one of these in their value."""
        words, kept = self.words, []
        for option, value in zip(words[::2], words[1::2]):
            if not any(part in value for part in parts):
                kept += [option, value]
        self.words = kept
        return self

    def text(self):
        return ET.tostring(self.root, encoding='unicode')


class Guest:
    """
    The lab's guest under libvirt, wherever it runs.

    host is where it is believed to be; sh() runs a command in it.
    """

    def __init__(self, lab, domain, host):
        self.lab = lab
        self.domain = domain
        self.host = host
        self._shell = None

    def start(self, disk):
        """
        A freshly booted guest with its cache filled, and with our driver if
        it has the device.
        """
        self.host.virsh('create', self.lab.write(f'{NAME}.xml',
                                                 self.domain.text()))
        self.shell.wait_ready(120)
        self.sh('echo 1024 >/sys/block/vda/queue/read_ahead_kb; mkdir -p '
                f'{MOUNT}; mount -t {disk.fs} -o {disk.mount_options} '
                f'/dev/vda {MOUNT}')
        if any('virtio-pagecache' in word for word in self.domain.words):
            self.sh(DRIVER)
        self.sh(f'labtool fill {LIST} {MOUNT} && sync', 300)

    @property
    def shell(self):
        if self._shell is None:
            self._shell = self.host.shell(NAME)
        return self._shell

    def sh(self, command, timeout=30):
        return self.shell.run(command, timeout)

    def at(self, host):
        """The guest has moved, or its QEMU is another one."""
        if self._shell is not None:
            self._shell.close()
            self._shell = None
        self.host = host

    def migrate(self, to, *options, **more):
        """virsh migrate --live with more options; what virsh said."""
        text = self.host.virsh('migrate', '--live', *options, NAME, to.uri,
                               **more)
        self.at(to)
        return text

    def state(self, host=None):
        return (host or self.host).virsh('domstate', NAME)

    def disk_bytes_read(self):
        text = self.host.virsh('domblkstat', NAME, 'vda')
        return int(re.search(r'rd_bytes (\d+)', text)[1])

    def statistics(self, host=None):
        """query-migrate's pagecache, all numbers there."""
        return statistics((host or self.host).qmp(NAME, 'query-migrate'))

    def check(self):
        """Checksums of all files, read in the guest; a scenario.Check."""
        self._trace_reads('on')
        before = self.disk_bytes_read()
        text = self.sh(f'labtool check {LIST} {MOUNT}', 300)
        disk_bytes = self.disk_bytes_read() - before
        self._trace_reads('off')
        found = values(text)
        if disk_bytes:
            text += self.host.qemu_log(NAME)[-2000:]    # which sectors
        return Check(int(found['files']), int(found['bad']), disk_bytes, text)

    def from_disk(self):
        """The same when the guest has dropped its caches."""
        before = self.disk_bytes_read()
        text = self.sh('sync; echo 3 >/proc/sys/vm/drop_caches; '
                       f'labtool check {LIST} {MOUNT}', 300)
        found = values(text)
        return Check(int(found['files']), int(found['bad']),
                     self.disk_bytes_read() - before, text)

    def _trace_reads(self, state):
        self.host.virsh('qemu-monitor-command', NAME, '--hmp',
                        f'trace-event virtio_blk_handle_read {state}')

    def kernel_trouble(self):
        return [line.strip() for line in self.sh('dmesg').splitlines()
                if TROUBLE.search(line)]
