#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A guest with the flag in its XML moves between two libvirt hosts.

multifd, a target that dies, daemons that are restarted, hot-plug, block
devices, postcopy, CHAP, and what virsh domjobinfo tells meanwhile.
"""

import contextlib
import time
import xml.etree.ElementTree as ET

from lab import disk, operate
from lab.domain import NAME, SECRET, blocks
from lab.files import loop_device
from lab.libvirt import table
from lab.paths import LabError
from lab.procs import wait_until
from lab.tap import Skipped, Tap
from lab.vm import need_qemu

CHAP = ('operator', 'a-secret-word')


def parallel(tap):
    with operate.pair('libvirt-parallel') as (guest, (src, dst)):
        operate.move(tap, guest, dst, 'there', '--parallel',
                     '--parallel-connections', '2')
        tap.check('skip-pagecache' in dst.capabilities(NAME),
                  'the flag is on at the destination as well')
        tap.check('"multifd","state":true' in dst.log(),
                  'and multifd was used')
        operate.move(tap, guest, src, 'and back', '--p2p', '--parallel')


def target_dies(tap):
    """As storage does; the guest's own requests wait until it is back."""
    with operate.pair('libvirt-target') as (guest, (src, dst)):
        job = operate.begin(guest, dst)
        guest.lab.target.kill()
        src.virsh('migrate-setspeed', NAME, '1000')
        wait_until(lambda: not job.alive() or
                   guest.statistics()['unavailable-pages'] > 0 or
                   guest.statistics()['released-pages'] > 0, 60,
                   'the channel takes over', 0.2)
        guest.lab.target.start()
        status, text = job.finish()
        tap.check(status == 0, 'the migration completes', text)
        guest.at(dst)
        operate.judge(tap, guest, 'without its target for a while')


def daemon_restart(tap):
    with operate.pair('libvirt-restart') as (guest, (src, dst)):
        for host in (src, dst):
            host.stop()
            host.start()
        tap.check(src.running() == [NAME], 'the new daemon finds the guest')
        operate.move(tap, guest, dst, 'after a restart')
        dst.stop()
        tap.check(guest.sh('echo alive').strip() == 'alive',
                  'the guest does not need a daemon')
        dst.start()
        operate.move(tap, guest, src, 'and back')
        # in the middle: libvirt gives the migration up
        job = operate.begin(guest, dst)
        src.stop()
        job.finish()
        src.start()
        tap.check(src.running() == [NAME] and guest.state() == 'running',
                  'the guest runs at the source after a restart in the middle')
        wait_until(lambda: not dst.running(), 30, 'the destination is free')
        operate.move(tap, guest, dst, 'after that')


@contextlib.contextmanager
def plugged(tap, guest):
    """Another disk while it lasts; the guest may move meanwhile."""
    lun = guest.lab.lun(size=64 << 20)
    path = guest.lab.write('vdb.xml', f'''
<disk type='network' device='disk'>
  <driver name='qemu' type='raw' cache='none'/>
  <source protocol='iscsi' name='{lun.target.iqn}/{lun.number}'>
    <host name='{lun.target.host.san}' port='3260'/>
  </source>
  <target dev='vdb' bus='virtio'/>
</disk>''')
    text = guest.host.virsh('attach-device', NAME, path, '--live')
    tap.check('attached' in text, 'a disk is plugged', text)
    wait_until(lambda: 'vdb' in guest.sh('ls /sys/block'), 20,
               'the guest finds it')
    yield
    guest.host.virsh('detach-device', NAME, path, '--live')
    wait_until(lambda: 'vdb' not in guest.sh('ls /sys/block'), 20,
               'the guest gives it back')
    tap.check(True, 'it can be unplugged again')


def hot_plug(tap):
    with operate.pair('libvirt-plug') as (guest, (src, dst)):
        operate.move(tap, guest, dst, 'before')
        with plugged(tap, guest):
            operate.move(tap, guest, src, 'with it')


def words_of_page(part):
    """The first command line of the page with that in it."""
    line = ET.fromstring(next(
        block for block in blocks('xml')
        if block.startswith('<qemu:commandline') and part in block))
    return [arg.get('value') for arg in line]


def machine_pc(tap):
    """The other machine type, as the page has it."""
    def change(domain):
        domain.root.find('os/type').set('machine', 'pc')
        domain.words = words_of_page('pci.0')

    with operate.pair('libvirt-pc', change) as (guest, (src, dst)):
        operate.move(tap, guest, dst, 'there')
        operate.move(tap, guest, src, 'and back')
        with plugged(tap, guest):
            pass
        operate.unplug(tap, guest)


def no_driver(tap):
    """QEMU tracks the guest's I/O, as the page has it."""
    def change(domain):
        domain.words = words_of_page('pagecache-io-map')

    with operate.pair('libvirt-no-driver', change) as (guest, (src, dst)):
        operate.move_mapped(tap, guest, dst, 'there')
        operate.move_mapped(tap, guest, src, 'and back')


def block_device(tap):
    """<disk type='block'>: a LUN that the hosts' kernels have attached."""
    image = disk.get(operate.CACHE).image
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(loop_device(image))
        except LabError as error:
            raise Skipped(error) from error
        guest, (src, dst) = stack.enter_context(operate.pair(
            'libvirt-block', lambda domain: domain.set_block(path)))
        operate.move(tap, guest, dst, 'there')
        operate.move(tap, guest, src, 'and back', '--p2p')


def postcopy(tap):
    with operate.pair('libvirt-postcopy') as (guest, (src, dst)):
        job = src.begin('migrate', '--live', '--postcopy', '--bandwidth', '8',
                        NAME, dst.uri)
        wait_until(lambda: not job.alive() or src.qmp(
            NAME, 'query-migrate').get('status') == 'active', 30, 'it runs')
        stats = guest.statistics()
        tap.check(not stats['active'] and 'postcopy-ram' in stats['reason'],
                  'it is inactive, with the reason', f'{stats}')
        time.sleep(1)
        src.virsh('migrate-postcopy', NAME)
        status, text = job.finish()
        tap.check(status == 0, 'and the migration completes', text)
        guest.at(dst)
        operate.judge(tap, guest, 'by postcopy', refilled=False)
        operate.move(tap, guest, src, 'back by precopy')


def chap(tap):
    def secrets(hosts):
        for host in hosts:
            path = hosts[0].lab.write('secret.xml', f'''
<secret ephemeral='no' private='yes'>
  <uuid>{SECRET}</uuid>
  <usage type='iscsi'><target>vm1</target></usage>
</secret>''')
            host.virsh('secret-define', path)
            word = hosts[0].lab.write('word', CHAP[1])
            host.virsh('secret-set-value', SECRET, '--file', word, '--plain')

    def change(domain):
        domain.set_auth(CHAP[0])

    with operate.pair('libvirt-chap', change, chap=CHAP, before=secrets) as (
            guest, (src, dst)):
        operate.move(tap, guest, dst, 'there')
        operate.move(tap, guest, src, 'and back')


def job_info(tap):
    """Totals add up, and what remains gets less, whoever brings it."""
    with operate.pair('libvirt-jobinfo') as (guest, (src, dst)):
        events = src.begin('event', NAME, '--all', '--loop', '--timeout', '30')
        job = operate.begin(guest, dst)
        seen = []
        while job.alive() and len(seen) < 100:
            try:
                info = table(src.virsh('domjobinfo', NAME))
            except Exception:
                break
            if 'Memory remaining' in info:
                seen.append(info)
            if len(seen) == 8:
                src.virsh('migrate-setspeed', NAME, '1000')
            time.sleep(0.3)
        status, text = job.finish()
        tap.check(status == 0 and len(seen) >= 8, 'it was watched',
                  f'{len(seen)} {text}')
        tap.comment('\n'.join(
            ' '.join(f'{key}={x.get(key)}' for key in
                     ('Memory processed', 'Memory remaining', 'Memory total',
                      'Expected downtime')) for x in seen[::3]))
        left = [x['Memory remaining'] for x in seen]
        tap.check(left[-1] < left[0] and sum(
            b <= a for a, b in zip(left, left[1:])) >= 0.8 * (len(left) - 1),
            'what remains gets less', f'{left}')
        tap.check(all(x['Memory remaining'] <= x['Memory total']
                      for x in seen), 'and is never more than all')
        tap.check(all(x['Memory processed'] <= x['Memory total'] * 1.05
                      for x in seen), 'nor is what was processed')
        done = table(src.virsh('domjobinfo', NAME, '--completed')) \
            if src.running() else table(dst.virsh('domjobinfo', NAME,
                                                  '--completed'))
        tap.comment(f'{done}')
        tap.check(done.get('Job type', '').startswith('Completed'),
                  'the completed job is told', f'{done}')
        guest.at(dst)
        operate.judge(tap, guest, 'watched')
        _, text = events.finish(60)
        order = [x for x in ('Suspended Migrated', 'Stopped Migrated')
                 if x in text]
        tap.check(len(order) == 2, 'the source tells of both its events',
                  text)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    for name, test in (('--parallel', parallel),
                       ('the target dies', target_dies),
                       ('daemons are restarted', daemon_restart),
                       ('hot-plug', hot_plug), ('machine pc', machine_pc),
                       ('no driver in the guest', no_driver),
                       ("<disk type='block'>", block_device),
                       ('--postcopy', postcopy),
                       ('CHAP', chap), ('domjobinfo', job_info)):
        with tap.part(name):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
