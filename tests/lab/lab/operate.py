# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""What an operator does with a guest under libvirt, and what must hold."""

import contextlib
import json
import os
import re
import sys

from . import disk, kernel, top
from .domain import NAME, Domain, Guest
from .lab import Lab
from .libvirt import LibvirtHost
from .procs import wait_until

RAM, CACHE = 768, 400           # MiB


@contextlib.contextmanager
def pair(name, change=None, rates=(1, 2.5), chap=None, before=None, **options):
    """
    A guest with a full cache on the first of two libvirt hosts.

    change(domain) may alter the XML, before(hosts) runs ahead of its start.
    """
    image, linux = disk.get(CACHE), kernel.get('6.1')
    with Lab(name, lan=rates[0], san=rates[1], chap=chap) as lab:
        hosts = [LibvirtHost(lab, host, **options) for host in ('src', 'dst')]
        lun = lab.lun(image.image)
        initrd = lab.machine(linux, [], [image.list]).initrd
        domain = Domain(linux, initrd, lun, RAM)
        if change:
            change(domain)
        if before:
            before(hosts)
        guest = Guest(lab, domain, hosts[0])
        guest.start(image)
        yield guest, hosts
        guest.at(None)


def whole(tap, guest, name):
    """The guest's files, cache and kernel are as they should be."""
    check = guest.check()
    tap.check(check.good, f'{name}: {check.files} files are right',
              check.text)
    tap.check(check.disk_bytes == 0, f'{name}: no byte is read from the disk',
              f'{check.disk_bytes} bytes\n{check.text}')
    # guests under libvirt run at once, so this meets what was in flight
    check = guest.from_disk()
    tap.check(check.good and check.disk_bytes >= 0.9 * (CACHE << 20),
              f'{name}: and so are they on the disk',
              f'{check.disk_bytes} bytes read\n{check.text}')
    trouble = guest.kernel_trouble()
    tap.check(not trouble, f"{name}: the guest's kernel log is clean",
              '\n'.join(trouble))


def judge(tap, guest, name, refilled=True):
    """The guest is whole where it is, and its cache came as it should."""
    stats = guest.statistics()
    tap.check(bool(stats['refill-bytes']) == refilled,
              f'{name}: page cache {"came" if refilled else "did not come"} '
              'from the LUN', f'{stats}')
    whole(tap, guest, name)


def move(tap, guest, to, name, *options, refilled=True):
    """Migrate it and judge."""
    source = guest.host
    guest.migrate(to, *options)
    tap.check(to.running() == [NAME] and source.running() == [],
              f'{name}: the guest is there, and only there')
    tap.check(guest.state() == 'running', f'{name}: and runs', guest.state())
    return judge(tap, guest, name, refilled)


def move_mapped(tap, guest, to, name, *options):
    """
    The same for a guest without a driver: QEMU's I/O map makes the hints, and
    goes along.
    """
    source = guest.host
    tap.check('virtio_pagecache' not in guest.sh('cat /proc/modules'),
              f'{name}: there is no driver in the guest')
    job = begin(guest, to, *options)
    # the source's QEMU does not outlive the migration
    hinted = {x['name']: x['hinted-pages']
              for x in guest.statistics()['producers']}
    source.virsh('migrate-setspeed', NAME, '1000')
    status, text = job.finish()
    tap.check(status == 0, f'{name}: the guest is moved', text)
    guest.at(to)
    tap.check([x for x in hinted if hinted[x]] == ['io-map'],
              f'{name}: the hints are those of the I/O map', f'{hinted}')
    stats = guest.statistics()
    tap.check(stats['io-map-entries'] >= hinted['io-map'],
              f'{name}: the map goes along', f'{stats}')
    return judge(tap, guest, name)


def refused(tap, guest, to, name, pattern, *options, domain=None):
    """
    Migrating it fails with such a message, and costs nothing.

    domain: the other host is given this one (--xml).
    """
    if domain is not None:
        options += '--xml', guest.lab.write('other.xml', domain.text())
    said = guest.host.refusal('migrate', '--live', *options, NAME, to.uri)
    tap.check(re.search(pattern, said),
              f'{name}: it is refused with the reason', said)
    tap.comment(said)
    tap.check(guest.host.running() == [NAME] and to.running() == [],
              f'{name}: the guest is at the source, and only there')
    tap.check(guest.state() == 'running', f'{name}: and runs', guest.state())
    check = guest.check()
    tap.check(check.good, f'{name}: its {check.files} files are right',
              check.text)


def begin(guest, to, *options):
    """Start a migration that takes long; returns it with refill under way."""
    job = guest.host.begin('migrate', '--live', '--bandwidth', '8', *options,
                           NAME, to.uri)

    def under_way():
        if not job.alive():
            return True
        return guest.statistics()['proven-pages'] > 0

    wait_until(under_way, 60, 'a page is proven', 0.2)
    return job


def looked_at(tap, host):
    """pagecache-top sees that the guest leaves."""
    virsh = os.path.dirname(host.libvirt.virsh)
    status, text = host.run(
        'env', f'PATH={virsh}:/usr/sbin:/usr/bin:/sbin:/bin', sys.executable,
        top.PROGRAM, '--domain', NAME, '--once', '--json')
    seen = json.loads(text) if status == 0 else {}
    tap.check(seen.get('status') == 'active' and seen['feature'] == 'active'
              and seen['pages']['proven'] > 0, 'pagecache-top --domain',
              f'{status} {text}')


def abort(tap, guest, to):
    """virsh domjobabort in the middle."""
    source = guest.host
    job = begin(guest, to)
    stats = guest.statistics()
    tap.check(stats['active'] and stats['proven-pages'] > 0,
              'refill is under way', f'{stats}')
    looked_at(tap, source)
    source.virsh('domjobabort', NAME)
    status, text = job.finish()
    tap.check(status != 0 and 'cancel' in text, 'virsh says so', text)
    tap.check(source.running() == [NAME] and to.running() == [],
              'the guest is at the source, and only there')
    tap.check(guest.state() == 'running', 'and runs', guest.state())
    check = guest.check()
    tap.check(check.good, f'its {check.files} files are right', check.text)


def unplug(tap, guest):
    """What the operators' page says for the way to another QEMU."""
    host = guest.host
    host.virsh('qemu-monitor-command', NAME, '--hmp', 'device_del pc0')
    wait_until(lambda: 'pc0' not in host.virsh(
        'qemu-monitor-command', NAME, '--hmp', 'info qtree'), 30,
        'the device is gone')
    host.virsh('qemu-monitor-command', NAME, '--hmp',
               'migrate_set_capability skip-pagecache off')
    tap.check(True, 'the device is unplugged')
