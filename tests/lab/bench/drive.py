# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The clients of each workload: how many, and what they ask for.

All ask at a set rate, well below what the guest can do, so that a guest
which is slowed down shows it in latency first and then in throughput.
"""

from . import clients, image, workloads

#: requests a second of one connection, and connections, of one guest
WEB_RATE, WEB_CONNECTIONS = 75, 4
#: the same of each of several guests
SMALL_WEB_RATE, SMALL_WEB_CONNECTIONS = 25, 1
#: transactions a second of all connections
DATABASE_RATES = {'db-select': 200, 'db-tpcb': 15}
DATABASE_CLIENTS = 4
#: so many are drawn; then they are asked for again
REQUESTS = 60000


class Drive:
    """The clients of all guests of a run."""

    def __init__(self, lab, workload, setting):
        self.lab = lab
        self.workload = workload
        self.setting = setting
        self.host = lab.hosts['clients']
        self.started = []

    def start(self, number, address):
        """Start the clients of a guest."""
        make = {'web': self._web, 'db-select': self._database,
                'db-tpcb': self._database}.get(self.workload.name,
                                               self._beats)
        client = make(number, address)
        self.lab.at_end(client.close)
        client.start()
        self.started.append(client)

    def _web(self, number, address):
        rate, connections = (WEB_RATE, WEB_CONNECTIONS) \
            if self.setting.guests == 1 \
            else (SMALL_WEB_RATE, SMALL_WEB_CONNECTIONS)
        directories, _ = image.web().part(workloads.cache_mib(self.setting))
        paths = [list(image.requests(directories, REQUESTS,
                                     number * 100 + connection))
                 for connection in range(connections)]
        return clients.Web(self.host, image.rootfs().tree, address, paths,
                           rate)

    def _database(self, _number, address):
        return clients.Database(self.host, image.rootfs().tree, address,
                                self.workload.name[len('db-'):],
                                DATABASE_CLIENTS,
                                DATABASE_RATES[self.workload.name])

    def _beats(self, _number, _address):
        return clients.Beats(self.host, workloads.PORT)

    def stop(self):
        """What they have got, the Answers of each guest's."""
        found = [client.stop() for client in self.started]
        self.started = []
        return found

    def close(self):
        """End them all, whatever they wait for."""
        for client in self.started:
            client.close()
        self.started = []
