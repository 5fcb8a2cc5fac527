# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The hosts and wires of the lab.

Hosts are network namespaces without a name, each held by a process that
ends with us: nothing is left to clean up, and any number of labs can run
side by side with the same addresses.  Mounts are a host's own, too.  A
namespace of its own is the switch:

    src --lan--.                 .--san-- src
    dst --lan--+ brlan     brsan +--san-- dst
                                 '--san-- san (the iSCSI target)

Where guests have a network there is a third wire, with the host of their
clients on it; and there can be another host that uses the storage:

    src --front--.                .--san-- neighbour
    dst --front--+ brfront  brsan +
    clients -----'

On src and dst that wire ends in a bridge of the host's, 'guests', which the
guests' taps are ports of.  No bridge speaks STP or holds a port back: who
moves is heard at once.  A guest's checksums are left to a card that none of
the links is, so packets come to the clients' host without, which Linux takes
from a veth; a capture there shows them as wrong.

Both ends of each cable are shaped (tbf), so that every port is a
full-duplex card of that speed.  Shell in a host, while it runs:
nsenter -t PID -n -m (Host.pid).
"""

import ctypes
import os
import socket
import subprocess
import threading
import time

from .paths import LabError
from .procs import Child


SUBNETS = {'lan': '10.1.0', 'san': '10.2.0', 'front': '10.3.0'}
CLONE_NEWNET = 0x40000000


def guest_mac(number):
    """The address of a guest's card; they count from 0."""
    return f'52:54:00:12:34:{number:02x}'


def guest_address(number):
    """Where a guest can be reached on the front network."""
    return f'{SUBNETS["front"]}.{100 + number}'


class Host:
    """One network namespace, with a mount namespace."""

    def __init__(self, name, log):
        self.name = name
        self.lan = self.san = self.front = None     # addresses
        self.child = Child(
            ['unshare', '--net', '--mount', '--propagation', 'private', '--',
             'sh', '-c',
             'ip link set lo up && echo up && read -r _'],
            log, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        if self.child.popen.stdout.readline() != b'up\n':
            self.child.kill()
            raise LabError('no namespaces to be had (are you root?): '
                           + self.child.last_words())

    @property
    def pid(self):
        """A process in the namespaces, for nsenter and ip link."""
        return self.child.pid

    @property
    def enter(self):
        """Words to put before a command to run it on this host."""
        return ['nsenter', '-t', str(self.pid), '-n', '-m',
                f'--wd={os.getcwd()}', '--']

    def run(self, *argv, stdin=None, timeout=60):
        """Run a command on this host; its standard output."""
        done = subprocess.run([*self.enter, *argv], input=stdin, text=True,
                              stdout=subprocess.PIPE, timeout=timeout,
                              stderr=subprocess.STDOUT)
        if done.returncode != 0:
            raise LabError(f"{self.name}: {' '.join(argv)} failed: "
                           f"{done.stdout.strip()}")
        return done.stdout

    def socket(self, kind=socket.SOCK_STREAM):
        """
        A socket of this host's, to be used here.

        It stays in the namespace of the thread that made it.
        """
        made = []

        def make():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f'/proc/{self.pid}/ns/net') as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET) == 0:
                    made.append(socket.socket(socket.AF_INET, kind))
                else:
                    made.append(OSError(ctypes.get_errno(), 'setns'))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        if not made or isinstance(made[0], OSError):
            raise LabError(f'{self.name}: no socket: {made}')
        return made[0]

    def add_tap(self, name):
        """A port of the bridge 'guests' that a QEMU can open."""
        self.run('ip', '-batch', '-', stdin=(
            f'tuntap add {name} mode tap vnet_hdr\n'
            f'link set {name} master guests up\n'))

    def remove_tap(self, name):
        self.run('ip', 'link', 'del', name)

    def counters(self, device):
        """(bytes received, bytes sent) of 'lan', 'san', 'front' until now."""
        with open(f'/proc/{self.pid}/net/dev') as file:
            for line in file:
                name, _, numbers = line.partition(':')
                if name.strip() == device:
                    words = numbers.split()
                    return int(words[0]), int(words[8])
        raise LabError(f'{self.name} has no device {device}')

    def close(self):
        self.child.kill()
        for pipe in (self.child.popen.stdin, self.child.popen.stdout):
            pipe.close()


def _shape(device, gbit):
    """tc commands that give a port a speed; 0 means not limited."""
    if not gbit:
        # replacing first makes sure that there is something to delete
        return (f'qdisc replace dev {device} root pfifo\n'
                f'qdisc del dev {device} root\n')
    burst = max(131072, int(gbit * 1e9 / 8 * 0.0005))
    return (f'qdisc replace dev {device} root tbf rate {int(gbit * 1e6)}kbit '
            f'burst {burst} limit {8 * burst}\n')


class Network:
    """
    The hosts, the switch and the wires; rates in Gbit/s, 0: as it is.

    front: None for no front network.  neighbour: whether there is one.
    congestion: how TCP treats it on all hosts, None: as on this machine.
    """

    def __init__(self, log, lan, san, compute=('src', 'dst'), front=None,
                 neighbour=False, congestion=None):
        self.hosts = {}
        self.switch = None
        self.lan_rate = self.san_rate = None
        plugs = {name: ['san', 'lan'] for name in compute}
        plugs['san'] = ['san']
        if front is not None:
            for name in compute:
                plugs[name].append('front')
            plugs['clients'] = ['front']
        if neighbour:
            plugs['neighbour'] = ['san']
        try:
            self.switch = Host('switch', log)
            for name in plugs:
                self.hosts[name] = Host(name, log)
            self._cable(plugs)
            self.shape(lan, san, front)
            if congestion:
                for host in self.hosts.values():
                    host.run('sysctl', '-q', '-w',
                             f'net.ipv4.tcp_congestion_control={congestion}')
        except BaseException:
            self.close()
            raise

    def _cable(self, plugs):
        lines = []
        for wire in dict.fromkeys(sum(plugs.values(), [])):
            lines += [f'link add br{wire} type bridge',
                      f'link set br{wire} up']
        for number, host in enumerate(self.hosts.values(), 1):
            ends = []
            for wire in plugs[host.name]:
                subnet = SUBNETS[wire]
                setattr(host, wire, f'{subnet}.{number}')
                port = f'{wire}-{host.name}'
                lines += [f'link add {port} type veth peer name {wire} '
                          f'netns {host.pid}',
                          f'link set {port} master br{wire} up']
                device = wire
                if wire == 'front' and 'lan' in plugs[host.name]:
                    device = 'guests'
                    ends += ['link add guests type bridge',
                             'link set front master guests',
                             'link set guests up']
                ends += [f'addr add {subnet}.{number}/24 dev {device}',
                         f'link set {wire} up']
            self.switch.run('ip', '-batch', '-',
                            stdin='\n'.join(lines) + '\n')
            host.run('ip', '-batch', '-', stdin='\n'.join(ends) + '\n')
            lines = []

    def shape(self, lan=None, san=None, front=None):
        """Change the speed of wires, also while they work."""
        switch = ''
        for host in self.hosts.values():
            own = ''
            for wire, gbit in (('lan', lan), ('san', san), ('front', front)):
                if gbit is not None and getattr(host, wire):
                    own += _shape(wire, gbit)
                    switch += _shape(f'{wire}-{host.name}', gbit)
            if own:
                host.run('tc', '-batch', '-', stdin=own)
        if switch:
            self.switch.run('tc', '-batch', '-', stdin=switch)
        self.lan_rate = self.lan_rate if lan is None else lan
        self.san_rate = self.san_rate if san is None else san

    def unplug(self, host, wire):
        """Pull the cable between a host and the switch."""
        self.switch.run('ip', 'link', 'set', f'{wire}-{host.name}', 'down')

    def plug(self, host, wire):
        self.switch.run('ip', 'link', 'set', f'{wire}-{host.name}', 'up')

    def close(self):
        for host in (*self.hosts.values(), self.switch):
            if host is not None:
                host.close()


class Sampler:
    """
    Samples interface counters in a thread of its own.

    wires: {label: (host, device, 0 for received or 1 for sent)}
    samples: list of (seconds since start, {label: bytes since start})
    """

    def __init__(self, wires, interval=0.1):
        self.wires = wires
        self.interval = interval
        self.samples = []
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def _read(self):
        return {label: host.counters(device)[way]
                for label, (host, device, way) in self.wires.items()}

    def __enter__(self):
        self.start = time.monotonic()
        self.zero = self._read()
        self.samples = [(0.0, dict.fromkeys(self.zero, 0))]
        self._thread.start()
        return self

    def _take(self):
        now = self.now()
        self.samples.append((time.monotonic() - self.start, now))

    def _work(self):
        while not self._end.wait(self.interval):
            self._take()

    def __exit__(self, *exc):
        self._end.set()
        self._thread.join()
        if exc[0] is None:
            self._take()

    def now(self):
        """{label: bytes since start}, read just now."""
        found = self._read()
        return {k: found[k] - self.zero[k] for k in found}

    def total(self, label):
        """Bytes of that wire from start to the last sample."""
        return self.samples[-1][1][label]

    def rates(self, label):
        """[(seconds, bytes per second until then)] between samples."""
        result = []
        for (t0, a), (t1, b) in zip(self.samples, self.samples[1:]):
            if t1 > t0:
                result.append((t1, (b[label] - a[label]) / (t1 - t0)))
        return result

    def last_rate(self, label, span=0.5):
        """Bytes per second over about the last span seconds."""
        samples = list(self.samples)
        end = samples[-1]
        begin = next((s for s in reversed(samples)
                      if s[0] <= end[0] - span), samples[0])
        if end[0] <= begin[0]:
            return 0.0
        return (end[1][label] - begin[1][label]) / (end[0] - begin[0])
