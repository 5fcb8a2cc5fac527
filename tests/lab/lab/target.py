# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""A private tgtd on the storage host: LUNs, CHAP, and ways to break it."""

import os

from .paths import LabError, need_tool
from .procs import Child, wait_until

IQN = 'iqn.2026-01.lab'
PORT = 3260


class Lun:
    """One LUN: where it is, and the file behind it."""
    direct = True                       # -blockdev cache.direct
    mounts = {}                         # see filelun.FileLun

    def __init__(self, target, number, path):
        self.target = target
        self.number = number
        self.path = path
        self.file = None                # lab.Lab keeps the open file here

    def options(self, initiator):
        """-blockdev options of QEMU's iscsi driver, as a dict."""
        options = {
            'driver': 'iscsi', 'transport': 'tcp',
            'portal': f'{self.target.host.san}:{PORT}',
            'target': self.target.iqn, 'lun': self.number,
            'initiator-name': f'{IQN}:{initiator}',
        }
        if self.target.chap:
            options['user'] = self.target.chap[0]
            options['password-secret'] = 'chap'
        return options

    def release(self, host):
        """See filelun.FileLun."""

    def url(self):
        user = '%'.join(self.target.chap) + '@' if self.target.chap else ''
        return (f'iscsi://{user}{self.target.host.san}:{PORT}/'
                f'{self.target.iqn}/{self.number}')


class Target:
    """
    tgtd in the namespace of a host.

    Its control socket lies in rundir, so that it meets no other tgtd.  chap
    is None or (user, password).
    """

    def __init__(self, host, rundir, log, chap=None, threads=16):
        self.host = host
        self.iqn = f'{IQN}:t1'
        self.chap = chap
        self.luns = []
        self.count = 0
        self.threads = threads
        self.log = log
        self.child = None
        self.env = {'TGT_IPC_SOCKET': os.path.join(rundir, 'tgtd.socket')}
        self.tgtd = need_tool('tgtd', 'tgt')
        self.tgtadm = need_tool('tgtadm', 'tgt')
        self.start()

    def start(self):
        """Start tgtd with all LUNs there are; also after a kill()."""
        for suffix in ('.0', '.0.lock'):
            if os.path.exists(self.env['TGT_IPC_SOCKET'] + suffix):
                os.remove(self.env['TGT_IPC_SOCKET'] + suffix)
        self.child = Child(
            [self.tgtd, '-f', '-C', '0', '-t', str(self.threads),
             '--iscsi', f'portal={self.host.san}:{PORT}'],
            self.log, enter=self.host.enter, env=self.env)
        wait_until(self._up, 10, 'tgtd takes commands')
        self._adm('--op', 'new', '--mode', 'target', '--tid', '1',
                  '-T', self.iqn)
        if self.chap:
            user, password = self.chap
            self._adm('--op', 'new', '--mode', 'account', '--user', user,
                      '--password', password)
            self._adm('--op', 'bind', '--mode', 'account', '--tid', '1',
                      '--user', user)
        for lun in self.luns:
            self._publish(lun)
        self._adm('--op', 'bind', '--mode', 'target', '--tid', '1',
                  '-I', 'ALL')

    def _up(self):
        self.child.check()
        try:
            self._adm('--op', 'show', '--mode', 'system')
            return True
        except LabError:
            return False

    def _adm(self, *words):
        # the control socket is a file: no need to enter the namespace
        assignments = [f'{k}={v}' for k, v in self.env.items()]
        return self.host.run('env', *assignments, self.tgtadm, '-C', '0',
                             '--lld', 'iscsi', *words, timeout=20)

    def add(self, path):
        """Publish a file (LUNs count from 1)."""
        self.count += 1
        lun = Lun(self, self.count, path)
        self._publish(lun)
        self.luns.append(lun)
        return lun

    def _publish(self, lun):
        self._adm('--op', 'new', '--mode', 'logicalunit', '--tid', '1',
                  '--lun', str(lun.number), '--bstype', 'rdwr',
                  '-b', lun.path)

    def withdraw(self, lun):
        """Take a LUN away while it may be in use."""
        self._adm('--op', 'delete', '--mode', 'logicalunit', '--tid', '1',
                  '--lun', str(lun.number))
        self.luns.remove(lun)

    def pause(self):
        """Hang for ever: connections stay up, nothing answers."""
        self.child.pause()

    def resume(self):
        self.child.resume()

    def kill(self):
        """Die without a word; start() brings it back."""
        self.child.kill()

    close = kill
