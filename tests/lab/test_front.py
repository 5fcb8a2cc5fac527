#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The front network: a client on a host of its own keeps its TCP connection to
the guest while the guest moves to the other host, and back.

On the way there the client is silent, so that only QEMU can tell the switch
where the guest is now; on the way back it asks all the time.
"""

import contextlib
import hashlib
import threading
import time

from lab import disk, kernel, net, scenario
from lab.lab import Lab
from lab.migrate import Settings
from lab.paths import LabError
from lab.procs import wait_until
from lab.tap import Tap
from lab.vm import need_qemu

RAM, CACHE = 384, 64            # MiB
PORT = 7
BLOCK = 16384                   # bytes of a question, and of its answer
#: how long a client may wait for an answer, seconds; far from what is usual
LONGEST = 20


def pattern(number):
    """Bytes that say which block they are of."""
    return hashlib.shake_128(str(number).encode()).digest(BLOCK)


class Echo:
    """
    One connection; sends block after block and wants each one back.

    error: what came in the way, as text.  ended: when answers came.
    """

    def __init__(self, host, address):
        self.error = None
        self.ended = []
        self._stop = threading.Event()
        self._go = threading.Event()
        self._go.set()
        self._idle = threading.Event()
        self._socket = host.socket()
        self._socket.settimeout(LONGEST)
        self._socket.connect((address, PORT))
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self):
        try:
            while not self._stop.is_set():
                if not self._go.is_set():
                    self._idle.set()
                    self._go.wait()
                self._ask(pattern(len(self.ended)))
                self.ended.append(time.monotonic())
        except (OSError, LabError) as error:
            self.error = f'block {len(self.ended)}: {error!r}'

    def _ask(self, block):
        self._socket.sendall(block)
        got = bytearray()
        while len(got) < len(block):
            data = self._socket.recv(len(block) - len(got))
            if not data:
                raise LabError('the guest has closed the connection')
            got += data
        if got != block:
            at = next(i for i, (a, b) in enumerate(zip(got, block)) if a != b)
            raise LabError(f'byte {at} is wrong')

    @contextlib.contextmanager
    def silence(self):
        """Nothing under way, and no more questions for a while."""
        self._idle.clear()
        self._go.clear()
        if not self._idle.wait(LONGEST):
            raise LabError('the client does not come to an end')
        yield
        self._go.set()

    def gap(self, start):
        """The longest time without an answer from then on, seconds."""
        times = [start, *(t for t in self.ended if t > start),
                 time.monotonic()]
        return max(b - a for a, b in zip(times, times[1:]))

    def answers(self, more, timeout=30):
        """Wait for so many more answers."""
        wanted = len(self.ended) + more
        wait_until(lambda: len(self.ended) >= wanted or self.error, timeout,
                   f'{more} more answers')

    def close(self):
        self._stop.set()
        self._go.set()
        self._thread.join(LONGEST + 5)
        self._socket.close()


def port_of(lab, number):
    """The port at which the switch has heard a guest last."""
    entry = lab.network.switch.run('bridge', 'fdb', 'get',
                                   net.guest_mac(number), 'br', 'brfront')
    return entry.split()[entry.split().index('dev') + 1]


def fix_neighbours(vm, clients, address):
    """Neither side is to ask for the other's address, ever."""
    mac = clients.run('ip', '-br', 'link', 'show', 'front').split()[2]
    vm.sh(f'arp -s {clients.front} {mac}')
    clients.run('ip', 'neigh', 'replace', address, 'lladdr',
                net.guest_mac(vm.machine.network), 'nud', 'permanent', 'dev',
                'front')


def there(tap, lab, source, echo):
    """To dst, RAM compared, while nobody says a word."""
    with echo.silence():
        destination = lab.vm('dst', source.machine, incoming=True,
                             paused=True)
        outcome = scenario.migrate(source, destination, Settings(skip=True))
        tap.check(not outcome.different, 'there: no page differs',
                  outcome.different[:9])
        tap.check(port_of(lab, 0) == 'front-src',
                  'there: the guest was heard at src last', port_of(lab, 0))
        scenario.hand_over(lab, source, destination)
        wait_until(lambda: port_of(lab, 0) == 'front-dst', 5,
                   'QEMU announces the guest to the switch')
        start = time.monotonic()
    judge(tap, lab, 'there', destination, echo, outcome, start)
    return destination


def back(tap, lab, source, echo):
    """To src, where it runs at once, while the client asks."""
    destination = lab.vm('src', source.machine, incoming=True)
    start = time.monotonic()
    asked = len(echo.ended)
    outcome = scenario.migrate(source, destination, Settings(skip=True),
                               compare=False)
    tap.check(len(echo.ended) > asked, 'back: the client was answered '
              'meanwhile', echo.error)
    scenario.hand_over(lab, source, destination)
    judge(tap, lab, 'back', destination, echo, outcome, start)
    return destination


def judge(tap, lab, name, vm, echo, outcome, start):
    """The connection lives, and leads to the guest's new host."""
    host = vm.host.name
    vm.shell.resume()
    tap.check(outcome.source['active'], f'{name}: skip-pagecache is active',
              outcome.source)
    before = lab.hosts[host].counters('front')[1]
    echo.answers(50)
    sent = lab.hosts[host].counters('front')[1] - before
    tap.check(echo.error is None, f'{name}: the connection lives', echo.error)
    tap.check(sent >= 49 * BLOCK, f'{name}: the answers come from {host}',
              f'{sent} bytes')
    tap.check(port_of(lab, 0) == f'front-{host}',
              f'{name}: where the switch looks for it', port_of(lab, 0))
    tap.comment(f'{name}: {outcome.total_ms} ms, downtime '
                f'{outcome.downtime_ms} ms; the client waited '
                f'{echo.gap(start) * 1000:.0f} ms at most')


def broken(tap, lab, vm, address):
    """What the client says when its connection does not live."""
    echo = Echo(lab.hosts['clients'], address)
    echo.answers(10)
    vm.sh('killall cat')
    wait_until(lambda: echo.error, 10, 'the client notices')
    tap.check('closed' in echo.error or 'reset' in echo.error.lower(),
              'a connection that ends is noticed', echo.error)
    echo.close()


def run(tap, lab):
    image = disk.get(CACHE)
    machine = lab.machine(kernel.get('6.1'), [lab.lun(image.image)],
                          [image.list], ram=RAM, network=0)
    vm = scenario.boot(lab, 'src', machine, image)
    address = scenario.network(vm)
    vm.sh(f'nc -ll -p {PORT} -e cat </dev/null >/dev/null 2>&1 &')
    wait_until(lambda: f':{PORT:04X} ' in vm.sh('cat /proc/net/tcp*'), 10,
               'the guest listens')
    fix_neighbours(vm, lab.hosts['clients'], address)
    echo = Echo(lab.hosts['clients'], address)
    echo.answers(50)
    vm = there(tap, lab, vm, echo)
    vm = back(tap, lab, vm, echo)
    check = scenario.checksum(vm)
    tap.check(check.good, f'{check.files} files are right', check.text)
    echo.close()
    tap.check(echo.error is None, f'{len(echo.ended)} blocks of {BLOCK} bytes '
              'came back right', echo.error)
    broken(tap, lab, vm, address)
    trouble = vm.kernel_trouble()
    tap.check(not trouble, "nothing in the guest's kernel log",
              '\n'.join(trouble))


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    with tap.part('front network'), \
            Lab('front', lan=1, san=2.5, front=1) as lab:
        run(tap, lab)
    tap.done()


if __name__ == '__main__':
    main()
