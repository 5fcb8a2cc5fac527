#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A flag that stands in a domain's XML for years, and all that is no migration.

virsh save, managedsave and a snapshot with memory keep the whole guest,
whether the flag is there, comes or goes in between.
"""

from lab import operate
from lab.domain import NAME
from lab.tap import Tap
from lab.vm import need_qemu

IMAGE = '/var/lib/libvirt/vm1.saved'


def judge(tap, guest, name):
    """Whole, and nothing was left out."""
    guest.at(guest.host)
    operate.whole(tap, guest, name)


def saved(tap, guest, name, domain):
    """virsh save, and restore as another domain."""
    host = guest.host
    host.virsh('save', NAME, IMAGE)
    tap.check(host.running() == [], f'{name}: it is saved')
    host.virsh('restore', IMAGE, '--xml',
               guest.lab.write('restored.xml', domain.text()))
    judge(tap, guest, name)


def save_restore(tap):
    with operate.pair('libvirt-save') as (guest, (src, dst)):
        with_flag = guest.domain
        without = with_flag.copy().without('skip-pagecache=')
        saved(tap, guest, 'the flag stays', with_flag)
        tap.check('skip-pagecache' in src.capabilities(NAME),
                  'the flag is on')
        saved(tap, guest, 'the flag goes', without)
        tap.check('skip-pagecache' not in src.capabilities(NAME),
                  'the flag is off')
        saved(tap, guest, 'and stays away', without)
        saved(tap, guest, 'the flag comes', with_flag)
        tap.check('skip-pagecache' in src.capabilities(NAME),
                  'the flag is on again')
        operate.move(tap, guest, dst, 'a migration after all that')


def managed_save(tap):
    with operate.pair('libvirt-managed') as (guest, (src, dst)):
        # only a domain that stays can be saved so
        src.virsh('define', guest.lab.write('vm1.xml', guest.domain.text()))
        src.virsh('managedsave', NAME)
        src.virsh('start', NAME)
        judge(tap, guest, 'after virsh managedsave')
        operate.move(tap, guest, dst, 'and a migration', '--persistent')


def snapshot(tap):
    with operate.pair('libvirt-snapshot') as (guest, (src, dst)):
        memory = '/var/lib/libvirt/vm1.memory'
        src.virsh('snapshot-create-as', NAME, 'one', '--memspec',
                  f'file={memory},snapshot=external', '--diskspec',
                  'vda,file=/var/lib/libvirt/vm1.overlay')
        tap.check('one' in src.virsh('snapshot-list', NAME),
                  'a snapshot with memory is made')
        judge(tap, guest, 'after it')
        stats = src.qmp(NAME, 'query-migrate').get('pagecache', {})
        tap.check(not stats.get('active', False),
                  'nothing was left out of it', f'{stats}')
        # the memory it holds is the whole guest's
        src.virsh('destroy', NAME)
        src.virsh('restore', memory, '--xml',
                  guest.lab.write('restored.xml', guest.domain.text()))
        judge(tap, guest, 'restored from it')


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    for name, test in (('virsh save', save_restore),
                       ('managedsave', managed_save),
                       ('a snapshot', snapshot)):
        with tap.part(name):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
