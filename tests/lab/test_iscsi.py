#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
skip-pagecache with a Linux guest on a real iSCSI target.

Part one moves a guest there, comparing RAM, and back again, where it runs at
once; part two lets the target hang for ever in the middle of a migration.
"""

import time

from lab import disk, kernel, ram, scenario
from lab.lab import Lab
from lab.migrate import Migration, Settings, pagecache_of
from lab.net import Sampler
from lab.procs import wait_until
from lab.qmp import QMPError
from lab.tap import Tap
from lab.vm import need_qemu

RAM, CACHE = 768, 400           # MiB
#: a monitor command that takes longer than this was stuck, seconds
PROMPT = 5
#: after so long QEMU's iscsi driver has given up the guest's own session
#: (three NOPs, five seconds apart); before, any QEMU waits in 'quit' for ever
GIVEN_UP = 30
#: PCI device of a modern virtio balloon
BALLOON = '0x1045'


def ready():
    return disk.get(CACHE), kernel.get('6.1')


def judge(tap, name, cache, outcome):
    """What must hold after any undisturbed move."""
    stats = outcome.source
    tap.check(stats['active'], f'{name}: it is active',
              f"reason: {stats.get('reason')}")
    different = outcome.different
    if different is not None:
        tap.check(not different, f'{name}: no page differs',
                  f'{len(different)} differ: '
                  f'{[str(d) for d in different[:9]]}')
    hinted, reported = stats['hinted-pages'], stats['reported-pages']
    tap.check(hinted >= 0.95 * cache.pages,
              f'{name}: 95 % of the clean file cache are hinted',
              f'{hinted} of {cache.pages}')
    tap.check(reported > 0 and stats['proven-pages'] >= 0.98 * reported,
              f'{name}: 98 % of the reports are proven',
              f"{stats['proven-pages']} of {reported}")
    tap.check(stats['proven-pages'] >= 0.25 * cache.pages,
              f'{name}: a good part came from the LUN',
              f"{stats['proven-pages']} of {cache.pages}")
    tap.comment(f'{name}: {outcome.total_ms} ms, downtime '
                f'{outcome.downtime_ms} ms, {outcome.channel_bytes >> 20} MiB '
                f'on the channel; {stats}')


def checked(tap, name, vm):
    """All cached files are right, and still cached."""
    check = scenario.checksum(vm)
    tap.check(check.good, f'{name}: {check.files} files are right',
              check.text)
    tap.check(check.disk_bytes == 0, f'{name}: no byte is read from the disk',
              f'{check.disk_bytes} bytes')


def on_disk(tap, name, vm):
    """All files are right when the guest reads them anew."""
    check = scenario.from_disk(vm)
    tap.check(check.good, f'{name}: and so are they on the disk', check.text)
    tap.check(check.disk_bytes >= 0.9 * (CACHE << 20),
              f'{name}: where they were read from',
              f'{check.disk_bytes} bytes')


def clean_log(tap, name, vm):
    trouble = vm.kernel_trouble()
    tap.check(not trouble, f"{name}: the guest's kernel log is clean",
              '\n'.join(trouble))


def there_and_back(tap):
    image, linux = ready()
    with Lab('iscsi') as lab:
        machine = lab.machine(linux, [lab.lun(image.image)], [image.list],
                              ram=RAM)
        settings = Settings(skip=True)
        source = scenario.boot(lab, 'src', machine, image)
        for name, host in (('there', 'dst'), ('back', 'src')):
            cache = scenario.clean_cache(source)
            # RAM can only be compared while the guest waits; what becomes of
            # its disks only shows when it does not
            paused = name == 'there'
            destination = lab.vm(host, machine, incoming=True, paused=paused)
            outcome = scenario.migrate(source, destination, settings,
                                       compare=paused)
            judge(tap, name, cache, outcome)
            clean_log(tap, f'{name}, source', source)
            scenario.hand_over(lab, source, destination)
            checked(tap, name, destination)
            on_disk(tap, name, destination)
            # some life: new files, changed memory
            destination.sh('labtool dirty 16 50 & sleep 1; kill $!')
            destination.sh('cp -r /mnt/bin /mnt/copy && sync && '
                           'rm -r /mnt/copy && sync', 120)
            clean_log(tap, f'{name}, destination', destination)
            source = destination
        source.quit()


def timed(tap, vm, command, **arguments):
    """A monitor command must answer at once."""
    start = time.monotonic()
    try:
        vm.cmd(command, timeout=60, **arguments)
        error = ''
    except QMPError as refused:
        error = str(refused)
    seconds = time.monotonic() - start
    tap.check(not error and seconds < PROMPT, f'{command} works meanwhile',
              error or f'took {seconds:.1f} s')


def hang(lab, source, destination):
    """Start a migration and stop the target when pages have been proven."""
    migration = Migration(source, destination, Settings(skip=True))
    migration.prepare()
    migration.start()
    wait_until(lambda: pagecache_of(migration.poll()).get('proven-pages', 0)
               > 1000 or migration.info['status'] == 'completed',
               60, 'the first pages are proven', 0.02)
    lab.target.pause()
    return migration


def hang_and_quit(tap):
    image, linux = ready()
    with Lab('hang-quit', san=0.5) as lab:
        machine = lab.machine(linux, [lab.lun(image.image)], [image.list],
                              ram=RAM)
        source = scenario.boot(lab, 'src', machine, image,
                               mount_options='ro')
        destination = lab.vm('dst', machine, incoming=True)
        migration = hang(lab, source, destination)
        start = time.monotonic()
        migration.settle(migration.wait(120))
        checked(tap, 'meanwhile', destination)
        time.sleep(max(0, start + GIVEN_UP - time.monotonic()))
        for vm in (destination, source):
            start = time.monotonic()
            vm.quit(60)
            seconds = time.monotonic() - start
            tap.check(seconds < PROMPT, f'{vm.name} quits',
                      f'took {seconds:.1f} s')


def hung_storage(tap):
    image, linux = ready()
    # a slow storage network, so that there is time to hang in the middle
    with Lab('hang', san=0.5) as lab:
        machine = lab.machine(linux, [lab.lun(image.image)], [image.list],
                              ram=RAM)
        # read-only: nothing to flush, which would wait for the disk in any
        # QEMU
        source = scenario.boot(lab, 'src', machine, image,
                               mount_options='ro')
        destination = lab.vm('dst', machine, incoming=True, paused=True)
        with Sampler(scenario.wires(source, destination)):
            migration = hang(lab, source, destination)
            tap.check(migration.poll()['status'] == 'active',
                      'the target hangs in mid-migration', migration.info)
            info = migration.wait(120)
            migration.settle(info)
        tap.check(True, 'the migration completes')
        tap.comment(f"{info['total-time']} ms; {info.get('pagecache')}")
        different = ram.compare(source, destination)
        tap.check(not different, 'no page differs',
                  f'{len(different)} differ')
        for command in ('cont', 'stop', 'cont'):
            timed(tap, destination, command)
        timed(tap, destination, 'device_add', driver='virtio-balloon-pci',
              id='balloon', bus='port0')
        found = destination.sh('sleep 1; cat /sys/bus/pci/devices/*/device')
        tap.check(BALLOON in found, 'the guest sees the new device', found)
        timed(tap, destination, 'device_del', id='balloon')
        destination.qmp.wait_event('DEVICE_DELETED', 60,
                                   lambda data: data.get('device') == 'balloon')
        tap.check(True, 'the guest gives the device back')
        checked(tap, 'meanwhile', destination)
        lab.drop(source)
        lab.target.resume()
        on_disk(tap, 'the target is back', destination)
        clean_log(tap, 'afterwards', destination)
        back = lab.vm('src', machine, incoming=True)
        outcome = scenario.migrate(destination, back, Settings(skip=True),
                                   compare=False)
        tap.check(outcome.source['proven-pages'] > 0,
                  'a later migration works', outcome.source)
        back.shell.resume()
        on_disk(tap, 'the later one', back)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    with tap.part('there and back'):
        there_and_back(tap)
    with tap.part('the target hangs for ever'):
        hung_storage(tap)
    with tap.part('the target hangs and QEMU quits'):
        hang_and_quit(tap)
    tap.done()


if __name__ == '__main__':
    main()
