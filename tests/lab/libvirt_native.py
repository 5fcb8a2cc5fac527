#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
virsh migrate --skip-pagecache, with the patched libvirt.

The capability is on for that migration and no other; what can't work
together is an error; a daemon or a QEMU without it is told.  The I/O map, with
which the guest needs no driver, is a feature in the domain's XML.
"""

import xml.etree.ElementTree as ET

from lab import operate
from lab.domain import NAME
from lab.libvirt import Libvirt, LibvirtHost
from lab.paths import STOCK_QEMU, LabError
from lab.tap import Tap
from lab.vm import need_qemu, need_stock_qemu

FLAG = '--skip-pagecache'
CAPABILITY = 'skip-pagecache'
FEATURE = 'pagecache-io-map'
IMAGE = '/var/lib/libvirt/vm1.saved'
#: options that can't be combined with it, and a word of the error
CONFLICTS = (
    (('--live', '--p2p', '--tunnelled'), 'tunnelled'),
    (('--live', '--postcopy'), 'post-copy'),
    (('--live', '--compressed'), 'compressed'),
    (('--live', '--copy-storage-all'), 'non-shared storage'),
    (('--live', '--copy-storage-inc'), 'non-shared storage'),
    (('--live', '--rdma-pin-all'), 'RDMA'),
    (('--offline', '--persistent'), 'offline'),
    ((), 'only supported with live migration'),
)


def without_flag(domain):
    domain.without(CAPABILITY + '=')


def moves(tap):
    with operate.pair('libvirt-native', without_flag) as (guest, (src, dst)):
        tap.check(CAPABILITY not in src.capabilities(NAME),
                  'the capability is off before')
        job = operate.begin(guest, dst, FLAG)
        tap.check({CAPABILITY, 'return-path'} <= src.capabilities(NAME),
                  'it is on during the migration')
        src.virsh('domjobabort', NAME)
        tap.check(job.finish()[0] != 0, 'the migration is cancelled')
        tap.check(CAPABILITY not in src.capabilities(NAME),
                  'and the capability is off again')
        operate.move(tap, guest, dst, FLAG, FLAG)
        tap.check(CAPABILITY not in dst.capabilities(NAME),
                  'it is off at the destination afterwards')
        operate.move(tap, guest, src, 'with --p2p --parallel', FLAG, '--p2p',
                     '--parallel')
        operate.move(tap, guest, dst, 'without the flag', refilled=False)


def conflicts(tap):
    with operate.pair('libvirt-conflicts', without_flag) as (
            guest, (src, dst)):
        for options, word in CONFLICTS:
            said = src.refusal('migrate', FLAG, *options, NAME, dst.uri)
            tap.check('leaving out the page cache is' in said
                      and word in said,
                      f'{" ".join(options) or "not --live"} is refused', said)
        tap.check(src.running() == [NAME] and guest.state() == 'running',
                  'the guest runs on')
        operate.move(tap, guest, dst, 'after all that', FLAG)


def with_map(domain):
    domain.words = []
    domain.set_io_map('on')


def feature_of(host, *options):
    """Its state in the XML that libvirt has; None: it is not there."""
    features = ET.fromstring(host.virsh('dumpxml', NAME, *options)).find(
        'features')
    found = features.find(FEATURE)
    return None if found is None else found.get('state')


def has_map(host):
    """Whether the guest's QEMU has the object."""
    return 'iomap0' in (x['name'] for x in
                        host.qmp(NAME, 'qom-list', path='/objects'))


def round_trip(tap, lab, host, domain, state):
    """What stands in the XML stays there, and QEMU gets what it says."""
    what = f'state={state}' if state else 'no feature'
    host.virsh('define', '--validate', lab.write(
        'defined.xml', domain.copy().set_io_map(state).text()))
    for option in '--inactive', '--migratable':
        again = host.virsh('dumpxml', NAME, option)
        tap.check(feature_of(host, option) == state,
                  f'{what}: virsh dumpxml {option} has it', again)
        host.virsh('define', '--validate', lab.write('defined.xml', again))
    tap.check(feature_of(host, '--inactive') == state,
              f'{what}: it is there when that is defined again')
    host.virsh('start', '--paused', NAME)
    tap.check(has_map(host) == (state == 'on') and feature_of(host) == state,
              f'{what}: QEMU has {"the" if state == "on" else "no"} '
              'object')
    host.virsh('destroy', NAME)
    host.virsh('undefine', NAME)


def restored(tap, guest, state):
    """Saved and restored; the XML given for it decides."""
    host = guest.host
    host.virsh('save', NAME, IMAGE)
    host.virsh('restore', IMAGE, '--xml', guest.lab.write(
        'restored.xml', guest.domain.copy().set_io_map(state).text()))
    guest.at(host)
    tap.check(has_map(host) == bool(state) and feature_of(host) == state,
              f'restored with{"" if state else "out"} the feature, QEMU has '
              f'{"the" if state else "no"} object')


def no_driver(tap):
    with operate.pair('libvirt-feature', with_map) as (guest, (src, dst)):
        tap.check('custom-argv' not in src.qemu_log(NAME),
                  'the domain is not tainted by arguments for QEMU')
        for state in 'on', 'off', None:
            round_trip(tap, guest.lab, dst, guest.domain, state)
        said = dst.refusal('define', guest.lab.write(
            'wrong.xml', guest.domain.copy().set_io_map('perhaps').text()))
        tap.check(FEATURE in said and 'perhaps' in said,
                  'another state is refused', said)
        operate.move_mapped(tap, guest, dst, 'there', FLAG)
        operate.move_mapped(tap, guest, src, 'and back', FLAG, '--p2p')
        tap.check(has_map(src) and feature_of(src) == 'on',
                  'the feature is still there')
        src.virsh('save', NAME, IMAGE)
        src.virsh('restore', IMAGE)
        guest.at(src)
        tap.check(has_map(src) and feature_of(src) == 'on',
                  'and after virsh save and restore')
        restored(tap, guest, None)
        restored(tap, guest, 'on')
        operate.whole(tap, guest, 'restored')
        # which has read all files again
        operate.move_mapped(tap, guest, dst, 'after that', FLAG)


def no_object(tap):
    """The other host's QEMU is not patched."""
    with operate.pair('libvirt-no-object', with_map) as (guest, (src, dst)):
        reason = 'pagecache-io-map is not available with this QEMU binary'
        stock = guest.domain.copy().set_qemu(STOCK_QEMU)
        path = guest.lab.write('stock.xml', stock.text())
        said = dst.refusal('define', path)
        tap.check(reason in said, 'such a domain is not defined', said)
        operate.refused(tap, guest, dst, 'the feature is in its XML', reason,
                        domain=stock)
        path = guest.lab.write('stock.xml',
                               stock.copy().set_io_map(None).text())
        operate.refused(tap, guest, dst, 'with the flag', 'not supported',
                        FLAG, '--xml', path)
        guest.migrate(dst, '--xml', path)
        tap.check(STOCK_QEMU in dst.virsh('dumpxml', NAME)
                  and feature_of(dst) is None,
                  'without both the guest moves to it')
        operate.whole(tap, guest, 'there')
        guest.migrate(src, '--xml', guest.lab.write('ours.xml',
                                                    guest.domain.text()))
        tap.check(has_map(src) and feature_of(src) == 'on',
                  'and gets its map when it comes back')
        operate.whole(tap, guest, 'back')
        operate.move_mapped(tap, guest, dst, 'once it has read its files',
                            FLAG)


def other_daemon(tap):
    """The destination's libvirt knows neither the flag nor the feature."""
    with operate.pair('libvirt-old', with_map) as (guest, (src, dst)):
        dst.close()
        old = LibvirtHost(guest.lab, 'dst', Libvirt('system'), 'old')
        operate.refused(tap, guest, old, 'with the flag',
                        r'unsupported flags \(0x200000\)', FLAG)
        operate.refused(tap, guest, old, 'with the feature',
                        "unexpected feature 'pagecache-io-map'")
        path = guest.lab.write(
            'old.xml', guest.domain.copy().set_io_map(None).text())
        operate.move(tap, guest, old, 'without both', '--xml', path,
                     refilled=False)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
        need_stock_qemu()
        if Libvirt().name != 'patched':
            raise LabError('run it with LIBVIRT=patched')
    for name, test in (('moves', moves), ('conflicts', conflicts),
                       ('without a driver', no_driver),
                       ('without a driver, and another QEMU', no_object),
                       ('an older libvirt at the destination', other_daemon)):
        with tap.part(name):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
