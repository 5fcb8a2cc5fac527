# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
One file as a host sees it on storage that may be slow or hang.

Drives tests/tools/fusefile; what it can do stands there.  Each HostFile is
a mount with a page cache of its own, which nothing tells when the file
changes.  Several may share one file, as hosts share a file on NFS.
"""

import os
import re
import subprocess

from .paths import ROOT, LabError
from .procs import Child, wait_until

BUILD = os.path.join(ROOT, 'tests/tools/build-fusefile')


def fusefile():
    """Build the program if it is not up to date; its path."""
    done = subprocess.run([BUILD], text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise LabError(done.stderr.strip())
    return done.stdout.strip()


class HostFile:
    """
    A mount of one file; a context manager.

    directory: where, an existing one.  options: words for fusefile, as
    '--direct-io'.  host: a lab.net.Host in whose mount namespace it is, so
    that all that runs there sees it; None: in a namespace of its own.
    path: the file for us, and for what runs on no host.  name: the file for
    what runs on the host.
    """

    def __init__(self, file, directory, log, *options, host=None):
        words = [fusefile(), *options, *(['--here'] if host else []),
                 file, directory]
        self.child = Child(words, log, enter=host.enter if host else (),
                           stdout=subprocess.PIPE)
        line = self.child.popen.stdout.readline().decode()
        match = re.match(r'ready (.+)\n', line)
        if not match:
            self.close()
            raise LabError(f'{directory}: no mount: '
                           + self.child.last_words())
        where = match.group(1)
        name = next((x[len('--name='):] for x in options
                     if x.startswith('--name=')), 'disk')
        self.name = os.path.join(where, name)
        if host:
            where = f'/proc/{host.pid}/root{where}'
        self.path = os.path.join(where, name)
        self._control = os.path.join(where, 'control')

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def command(self, line):
        """Change how it answers: 'read late 500'."""
        try:
            with open(self._control, 'wb', buffering=0) as control:
                control.write(line.encode())
        except OSError as error:
            raise LabError(f"fusefile: '{line}': {error.strerror}")

    def state(self, op):
        """What came until now: {'came': n, 'direct': n, 'held': n}"""
        try:
            with open(self._control) as control:
                text = control.read()
        except OSError as error:
            raise LabError(f'fusefile: {error.strerror}')
        for line in text.splitlines():
            if line.split()[0] == op:
                return {k: int(v)
                        for k, v in re.findall(r'(\w+)=(\d+)', line)}
        raise LabError(f"fusefile knows no '{op}'")

    def wait_held(self, op, count=1, timeout=30):
        """Wait until so many requests are held."""
        wait_until(lambda: self.state(op)['held'] >= count, timeout,
                   f'{count} {op} requests are held')

    def close(self):
        """Unmount at once; what waits for an answer gets an error."""
        self.child.kill()
        self.child.popen.stdout.close()
