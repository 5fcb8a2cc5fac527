#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The walk-through of docs/system/skip-pagecache-libvirt.rst, as it stands.

Lines that begin with 'src# ' or 'dst# ' are run on that host, in the order of
the page; those with 'vm1# ' in the guest.
"""

import re

from lab import disk, kernel, operate
from lab.domain import DRIVER, NAME, PAGE, Domain, Guest
from lab.lab import Lab
from lab.libvirt import LibvirtHost
from lab.scenario import LIST, MOUNT
from lab.tap import Tap
from lab.vm import need_qemu

#: the lab's guest is an initramfs: it has neither modprobe nor systemd
IN_THE_GUEST = {
    'modprobe virtio_pagecache': DRIVER,
    'systemctl start virtio-pagecached': 'pidof virtio-pagecached',
}


def commands():
    """[(where, command)] of the section 'A walk-through'."""
    with open(PAGE, encoding='utf-8') as file:
        text = file.read()
    section = re.search(r'^A walk-through\n-+\n(.*?)^What to look at\n',
                        text, re.S | re.M)[1]
    return re.findall(r'^ +(src|dst|vm1)# (.+)$', section, re.M)


def walk(tap, guest, hosts, options):
    by_name = {host.name: host for host in hosts}
    booted = False
    said = {}
    for where, command in commands():
        name = f'{where}: {command}'
        if where == NAME:
            if not booted:
                guest.shell.wait_ready(120)
                guest.sh(f'mkdir -p {MOUNT}; mount -o {options} /dev/vda '
                         f'{MOUNT}')
                booted = True
            guest.sh(IN_THE_GUEST[command])
            tap.check(True, name)
            continue
        if 'migrate --live' in command:
            # 'let the guest work for a while'
            guest.sh(f'labtool fill {LIST} {MOUNT} && sync', 300)
        status, text = by_name[where].run(
            'sh', '-c', f'cd {guest.lab.rundir} && {command}', timeout=180)
        said[name] = text
        tap.check(status == 0, name, text)
        if 'migrate --live' in command:
            guest.at(by_name['dst' if where == 'src' else 'src'])
            tap.check(guest.state() == 'running', 'the guest runs there')
            operate.judge(tap, guest, 'after it')
    return said


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
        tap.check(len(commands()) >= 8, 'the page has commands',
                  f'{commands()}')
    with tap.part('as the page says'), Lab('libvirt-walk') as lab:
        image, linux = disk.get(operate.CACHE), kernel.get('6.1')
        hosts = [LibvirtHost(lab, name) for name in ('src', 'dst')]
        domain = Domain(linux, lab.machine(linux, [], [image.list]).initrd,
                        lab.lun(image.image), operate.RAM)
        lab.write('vm1.xml', domain.text())
        said = walk(tap, Guest(lab, domain, hosts[0]), hosts,
                    image.mount_options)
        tap.check(any(re.search(r'skip-pagecache: *on', text)
                      for text in said.values()), 'the flag is shown')
        tap.check(any('from storage' in text or 'refill' in text
                      or 'reported' in text for text in said.values()),
                  'and what came from the LUN', f'{said}')
    tap.done()


if __name__ == '__main__':
    main()
