#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
virsh migrate --skip-pagecache, with the patched libvirt.

The capability is on for that migration and no other; what can't work
together is an error; a daemon or a QEMU without it is told.
"""

from lab import operate
from lab.domain import NAME
from lab.libvirt import Libvirt, LibvirtHost, VirshError
from lab.paths import LabError
from lab.tap import Tap
from lab.vm import need_qemu

FLAG = '--skip-pagecache'
CAPABILITY = 'skip-pagecache'
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
            said = 'it was not refused'
            try:
                src.virsh('migrate', FLAG, *options, NAME, dst.uri)
            except VirshError as error:
                said = str(error)
            tap.check('leaving out the page cache is' in said
                      and word in said,
                      f'{" ".join(options) or "not --live"} is refused', said)
        tap.check(src.running() == [NAME] and guest.state() == 'running',
                  'the guest runs on')
        operate.move(tap, guest, dst, 'after all that', FLAG)


def other_daemon(tap):
    """The destination's libvirt does not know the flag."""
    with operate.pair('libvirt-old', without_flag) as (guest, (src, dst)):
        dst.close()
        old = LibvirtHost(guest.lab, 'dst', Libvirt('system'), 'old')
        said = 'it was not refused'
        try:
            src.virsh('migrate', '--live', FLAG, NAME, old.uri)
        except VirshError as error:
            said = str(error)
        tap.check('unsupported flags (0x200000)' in said, 'it says so', said)
        tap.check(src.running() == [NAME] and guest.state() == 'running',
                  'the guest runs on')
        check = guest.check()
        tap.check(check.good, f'its {check.files} files are right',
                  check.text)
        operate.move(tap, guest, old, 'without the flag', refilled=False)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
        if Libvirt().name != 'patched':
            raise LabError('run it with LIBVIRT=patched')
    for name, test in (('moves', moves), ('conflicts', conflicts),
                       ('an older libvirt at the destination', other_daemon)):
        with tap.part(name):
            test(tap)
    tap.done()


if __name__ == '__main__':
    main()
