# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""A disk in a raw file, of which each host has a page cache of its own."""

import os

from .hostfile import HostFile
from .paths import LabError

AIO = ('threads', 'native', 'io_uring')


class FileLun:
    """
    In place of target.Lun: one file, mounted on each host by fusefile.  As on
    NFS, who opens the file sees what the others had written until then.

    Its path is the same on all of them.  direct: QEMU opens it with O_DIRECT
    (cache=none), else cache=writeback.  aio: how QEMU reads and writes it.
    mounts: {name of the host: HostFile}, to make one slow or hang.
    """
    target = None

    def __init__(self, hosts, file, directory, log, direct=False,
                 aio='threads'):
        if aio not in AIO or (aio == 'native' and not direct):
            raise LabError(f"aio '{aio}', direct {direct}: expected "
                           f"{' or '.join(AIO)}, native only with direct")
        self.file = file
        self.path = file.path
        self.direct = direct
        self.aio = aio
        self.directory = directory
        self.mounts = {}
        os.mkdir(directory)
        options = ['--drop-cache']
        if aio == 'native':
            # io_submit() must not wait for the storage
            options.append('--async-dio')
        try:
            for host in hosts:
                self.mounts[host.name] = HostFile(
                    file.path, directory, log, *options, host=host)
        except BaseException:
            self.close()
            raise

    def options(self, _initiator):
        """-blockdev options of QEMU's file driver, as a dict."""
        return {'driver': 'file', 'aio': self.aio,
                'filename': os.path.join(self.directory, 'disk')}

    def release(self, host):
        """Answer what is held there: who waits may be unable to die."""
        if host.name in self.mounts:
            self.mounts[host.name].command('all now')

    def close(self):
        """The mounts go; who waits for an answer gets an error."""
        while self.mounts:
            self.mounts.popitem()[1].close()
