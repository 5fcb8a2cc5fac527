# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
One run: fresh guests, their clients, a migration under their eyes.

Times are seconds of time.monotonic(); zero is when the operator begins.
"""

import bisect
import dataclasses
import os
import time
import traceback

from lab import kernel, net, ram, scenario
from lab.files import need_memory
from lab.lab import Lab
from lab.migrate import Migration, statistics as pagecache
from lab.net import Sampler
from lab.paths import LabError
from . import answers, meter
from .drive import Drive
from .neighbour import Neighbour
from .peers import PEERS
from .plan import SPAN, VERIFY
from .records import VERSION, commit
from .workloads import WORKLOADS

SLOT = 0.1
#: clients run so long before anything counts: a fresh guest is slow at first
SETTLE = 10
#: caches are filled at such a speed at least, Gbit/s
FILL = 2.5
FRONT = 1.0
#: a migration that has not ended then is cancelled, and the run failed
PATIENCE = 150
KERNEL = '6.1'
MIB = 1 << 20


class Guest:
    """One of the guests that move, on both hosts."""

    def __init__(self, number):
        self.number = number
        self.address = net.guest_address(number)
        self.source = self.destination = self.migration = self.info = None
        self.cache = None


class Benchmark:
    """What does runs."""

    def __init__(self, say, qemu, before=20, quiet=True):
        self.say = say
        self.qemu = qemu
        self.before = before            # seconds
        self.quiet = quiet              # whether to wait for it

    def record(self, run):
        """Do a run; its record, also of one that failed."""
        begin = time.time()
        record = {
            'version': VERSION, 'setting': dataclasses.asdict(run.setting),
            'workload': run.workload, 'peer': run.peer, 'round': run.round,
            'commit': commit(), 'machine': meter.machine(),
            'time': time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(begin)),
        }
        try:
            record.update(_One(self, run).measure(), status='ok')
        except LabError as error:
            record.update(status='failed', reason=str(error)[:2000])
        except Exception as error:      # whatever it is, the rest goes on
            traceback.print_exc()
            record.update(status='failed',
                          reason=f'{type(error).__name__}: {error}'[:2000])
        record['seconds'] = round(time.time() - begin)
        return record


class _One:
    def __init__(self, benchmark, run):
        self.benchmark = benchmark
        self.run = run
        self.setting = run.setting
        self.peer = PEERS[run.peer]
        self.workload = WORKLOADS[run.workload]
        self.verify = run.round == VERIFY
        self.guests = [Guest(i) for i in range(self.setting.guests)]
        self.bare = None
        self.neighbour = None

    # ---- setting up

    def measure(self):
        setting = self.setting
        disks = self.workload.disks(setting)
        need_memory(2 * setting.ram * setting.guests + 3000)
        if self.benchmark.quiet:
            meter.wait_until_quiet(say=self.benchmark.say)
        with Lab('bench', setting.lan, max(setting.san, FILL), front=FRONT,
                 neighbour=bool(self._neighbour_rate()),
                 congestion='reno') as self.lab:
            self.luns = [self.lab.lun(path) for path in disks]
            self.drive = Drive(self.lab, self.workload, setting)
            self.machine = self.lab.machine(
                kernel.get(KERNEL), self.luns, self.workload.lists(setting),
                programs=self.workload.programs, modules=self.peer.modules,
                ram=setting.ram, prealloc=setting.prealloc,
                qemu=self.benchmark.qemu, network=0, **self.peer.machine)
            for guest in self.guests:
                self._boot(guest)
            self.lab.network.shape(san=setting.san)
            for guest in self.guests:
                self._receive(guest)
            if self.verify:
                return self._compared()
            return self._served()

    def _neighbour_rate(self):
        """Gbit/s that another host reads; also to see what it suffers."""
        if self.setting.guests > 1:
            return 0.1 * self.setting.san
        return self.setting.san_load * self.setting.san

    def _boot(self, guest):
        guest.machine = dataclasses.replace(self.machine,
                                            network=guest.number)
        guest.source = self.lab.vm('src', guest.machine)
        guest.source.boot()
        self.workload.setup(guest.source, self.setting,
                            self.lab.hosts['clients'].front)
        guest.cache = scenario.clean_cache(guest.source)

    def _receive(self, guest):
        guest.destination = self.lab.vm('dst', guest.machine, incoming=True,
                                        paused=self.verify)
        guest.migration = Migration(guest.source, guest.destination,
                                    self.peer.settings,
                                    port=4444 + guest.number)
        guest.migration.prepare()

    # ---- the migration

    def _go(self):
        if self.peer.prepare:
            for guest in self.guests:
                self.peer.prepare(guest.source)
        for guest in self.guests:
            guest.migration.start()
        if self.peer.started:
            for guest in self.guests:
                self.peer.started(guest.source)

    def _wait(self, processors):
        """Until all have arrived; fills in guest.info."""
        deadline = time.monotonic() + PATIENCE
        waiting = list(self.guests)
        while waiting:
            for guest in list(waiting):
                info = guest.migration.poll()
                if info['status'] in ('completed', 'failed', 'cancelled'):
                    guest.migration.settle(info)
                    guest.info = info
                    waiting.remove(guest)
            if time.monotonic() > deadline:
                for guest in waiting:
                    guest.source.cmd('migrate_cancel')
                raise LabError(f'the migration had not ended after '
                               f'{PATIENCE} s')
            processors.look()
            time.sleep(0.05)

    def _wires(self):
        return {scenario.CHANNEL: (self.lab.hosts['src'], 'lan', 1),
                scenario.STORAGE: (self.lab.hosts['dst'], 'san', 0)}

    def _pids(self):
        found = {'tgtd': self.lab.target.child.pid}
        for guest in self.guests:
            label = '' if len(self.guests) == 1 else str(guest.number)
            found['src' + label] = guest.source.pid
            found['dst' + label] = guest.destination.pid
        return found

    def _event(self, vm, name):
        """When a VM said so, on our clock."""
        vm.status()                     # whatever came before is here now
        for event in vm.qmp.events:
            if event['event'] == name:
                stamp = event['timestamp']
                return (stamp['seconds'] + stamp['microseconds'] / 1e6
                        - self.clock)
        raise LabError(f'{vm.name}: no event {name}')

    # ---- two kinds of runs

    def _compared(self):
        """RAM on both sides is the same, whole, before the guest runs on."""
        self.drive.start(0, self.guests[0].address)
        time.sleep(SETTLE)
        processors = meter.Processors(self._pids()).start()
        self._go()
        self._wait(processors)
        wrong = sum(len(ram.compare(g.source, g.destination))
                    for g in self.guests)
        self.drive.close()              # nobody answers them any more
        self._hand_over()
        return {'wrong_pages': wrong + self._check()}

    def _hand_over(self):
        for guest in self.guests:
            scenario.hand_over(self.lab, guest.source, guest.destination)

    def _check(self):
        self.lab.network.shape(san=FILL)
        wrong = sum(self.workload.check(g.destination) for g in self.guests)
        for guest in self.guests:
            trouble = guest.destination.kernel_trouble()
            if trouble:
                raise LabError('in the kernel log of the guest: '
                               + '; '.join(trouble[:3]))
        return wrong

    def _served(self):
        """Clients are served all the time."""
        for guest in self.guests:
            self.drive.start(guest.number, guest.address)
        rate = self._neighbour_rate()
        if rate:
            self.neighbour = Neighbour(
                self.lab.hosts['neighbour'], self.luns[0].url(), rate,
                os.path.join(self.lab.logdir, 'neighbour.log'))
            self.lab.at_end(self.neighbour.close)
            self.neighbour.start()
        time.sleep(SETTLE)
        if self.run.peer == 'plain':
            self.bare = scenario.bare_rate(
                self.lab.hosts['dst'], self.benchmark.qemu,
                self.luns[0].url(), self._bare_mib())
        self.clock = time.time() - time.monotonic()
        processors = meter.Processors(self._pids())
        with Watch(self._wires(), SLOT) as watch:
            time.sleep(self.benchmark.before)
            zero = watch.now()
            processors.start()
            begin = time.monotonic()
            self._go()
            self._wait(processors)
            used, cpu = processors.stop()
            end = time.monotonic()
            moved = watch.now()
            resume = max(self._event(g.destination, 'RESUME')
                         for g in self.guests)
            stop = min(self._event(g.source, 'STOP') for g in self.guests)
            stats = [pagecache(g.info) for g in self.guests]
            self._hand_over()
            last = max(resume, end) + self.run.after
            _sleep_until(min(resume + SPAN, last))
            disk = sum(g.destination.disk_bytes_read(i) for g in self.guests
                       for i in range(len(self.luns)))
            _sleep_until(last)
        suffered = self.neighbour.stop() if self.neighbour else None
        each = self.drive.stop()
        served = answers.merge(each)
        found = served.answers
        result = self._figures(found, begin, stop, resume)
        result['client_gap_ms'] = _ms(max(answers.gap(x.answers, begin, last)
                                          for x in each))
        result.update({
            'total_ms': max(g.info['total-time'] for g in self.guests)
            if len(self.guests) == 1 and not self.peer.prepare
            else round((end - begin) * 1000),
            'downtime_ms': max(g.info['downtime'] for g in self.guests),
            'lan_bytes': moved[scenario.CHANNEL] - zero[scenario.CHANNEL],
            'san_bytes': moved[scenario.STORAGE] - zero[scenario.STORAGE],
            'src_cpu_s': _sum(used, 'src'), 'dst_cpu_s': _sum(used, 'dst'),
            'tgtd_cpu_s': used['tgtd'], 'cpu': cpu,
            'cpu_bound': bool(cpu['full']),
            'cache_bytes': sum(g.cache.pages for g in self.guests)
            * scenario.PAGE,
            'bare_bps': self.bare and round(self.bare),
            'client_errors': served.errors, 'disk_bytes_after': disk,
            'neighbour_p99_ms': suffered and _latency(suffered.answers,
                                                      begin, end),
            'pagecache': stats[0] if len(stats) == 1 else stats,
            'downtimes_ms': [g.info['downtime'] for g in self.guests],
            'series': self._series(found, begin, watch),
        })
        result['wrong_pages'] = self._check()
        return result

    def _bare_mib(self):
        """About four seconds of reading."""
        return max(8, min(512, int(self.setting.san * 1e9 / 8 * 4 / MIB)))

    def _figures(self, found, begin, stop, resume):
        early = begin - min(SPAN, self.benchmark.before), begin
        late = resume, resume + min(SPAN, self.run.after)
        before = answers.rate(found, *early)
        if not before:
            raise LabError('the clients had no answer in the time before the '
                           'migration')
        return {
            'switchover_ms': round((resume - begin) * 1000),
            'blackout_ms': round((resume - stop) * 1000, 1),
            'client_before': before,
            'client_during': answers.rate(found, begin, resume),
            'client_after': answers.rate(found, *late),
            'client_p99_before': _latency(found, *early),
            'client_p99_after': _latency(found, *late),
            'recovery_ms': _ms(answers.recovery(found, stop, before)),
        }

    def _series(self, found, begin, watch):
        first = -self.benchmark.before
        last = watch.start + watch.samples[-1][0] - begin
        counts, p50, p99 = answers.slots(found, begin, first, last, SLOT)

        def wire(label):
            return [round(x) for x in watch.slots(label, begin, first,
                                                  len(counts))]

        def micro(values):              # heartbeats have none
            return [round(x * 1e6) if x else None for x in values]

        busy = watch.slots('busy', begin, first, len(counts))
        return {'slot_ms': round(SLOT * 1000), 'first_ms': first * 1000,
                'answers': counts, 'p50_us': micro(p50), 'p99_us': micro(p99),
                'lan': wire(scenario.CHANNEL), 'san': wire(scenario.STORAGE),
                'cpu': [round(x / SLOT / os.cpu_count(), 2) for x in busy]}


class Watch(Sampler):
    """Samples the wires and the seconds that all CPUs were busy."""

    def _read(self):
        return dict(super()._read(), busy=meter.busy()[0])

    def slots(self, label, zero, first, count):
        """What was added in each slot, from samples at other times."""
        times = [self.start + t for t, _ in self.samples]
        totals = [x[label] for _, x in self.samples]

        def at(when):
            after = bisect.bisect(times, when)
            if after in (0, len(times)):
                return totals[min(after, len(times) - 1)]
            part = (when - times[after - 1]) / (times[after]
                                                - times[after - 1])
            return totals[after - 1] + part * (totals[after]
                                               - totals[after - 1])

        edges = [at(zero + first + i * SLOT) for i in range(count + 1)]
        return [b - a for a, b in zip(edges, edges[1:])]


def _sum(used, label):
    return round(sum(v for k, v in used.items() if k.startswith(label)), 2)


def _sleep_until(when):
    time.sleep(max(0, when - time.monotonic()))


def _latency(found, a, b):
    """p99 in ms, or None for what has no latency, as heartbeats."""
    return _ms(answers.p99(found, a, b) or None)


def _ms(seconds):
    return None if seconds is None else round(seconds * 1000, 1)
