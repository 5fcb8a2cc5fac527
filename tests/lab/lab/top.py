# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
pagecache-top for tests: its modules, the program, and a QEMU to look at that
says what a test wants it to.
"""

import json
import os
import socket
import subprocess
import sys
import threading

from .paths import ROOT

FOLDER = os.path.join(ROOT, 'contrib/pagecache-top')
PROGRAM = os.path.join(FOLDER, 'pagecache-top')

sys.path.insert(0, FOLDER)

from pagecache_top import cache as clean_cache                        # noqa
from pagecache_top import (chart, files, model, monitor, openmetrics,  # noqa
                           page, record, screen, view)               # noqa

GREETING = {'QMP': {'version': {'qemu': {'major': 10}}, 'capabilities': []}}
CAPABILITIES = [{'capability': 'xbzrle', 'state': False},
                {'capability': 'skip-pagecache', 'state': True}]
PAGE = 4096


def run(*words, timeout=30, **options):
    """The program, until it ends; CompletedProcess with text."""
    return subprocess.run([sys.executable, PROGRAM, *words], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=timeout, **options)


def source_info(seconds, status='active', ram=2 << 30, hinted=300000,
                channel=112 << 20, storage=275 << 20, **cache):
    """
    What a source says after that many seconds at these rates; the pool is
    empty when it was proven or released.
    """
    sent = int(channel * seconds)
    proven = min(hinted, int(storage * seconds) // PAGE)
    released = min(hinted - proven, int(seconds * 9000))
    flight = min(2000, hinted - proven - released)
    taken = min(ram, sent + proven * PAGE)
    return {
        'status': status, 'total-time': int(seconds * 1000),
        'downtime': 200, 'setup-time': 3,
        'ram': {'transferred': sent, 'total': ram, 'remaining': ram - taken,
                'normal': sent // PAGE, 'duplicate': 100, 'page-size': PAGE,
                'mbps': channel * 8e-6, 'dirty-pages-rate': 0},
        'pagecache': {
            'active': True, 'offered-pages': proven + flight,
            'reported-pages': proven, 'unavailable-pages': 0,
            'refill-bytes': proven * PAGE,
            'source': {
                'hinted-pages': hinted, 'dropped-hints': 0,
                'duplicate-pages': 0, 'proven-pages': proven,
                'mismatched-pages': 0, 'released-pages': released,
                'in-flight-pages': flight,
                'pooled-pages': hinted - proven - released - flight,
                'refill-rate': storage, 'producers': [], **cache}}}


def destination_info(seconds, device='/machine/peripheral/vd0', **disk):
    pages = int(seconds * 60000)
    return {
        'status': 'active', 'socket-address': [],
        'pagecache': {
            'active': True, 'offered-pages': pages + 2000,
            'reported-pages': pages, 'unavailable-pages': 0,
            'refill-bytes': pages * PAGE,
            'destination': {
                'superseded-pages': 12,
                'disks': [{'device': device, 'status': 'ready',
                           'reader': 'iscsi', 'bytes-read': pages * PAGE,
                           'reads': pages // 32, 'errors': 0, 'timeouts': 0,
                           **disk}]}}}


class FakeQemu:
    """
    A QMP socket; on a free port if path is None, see address.

    answers: what query-migrate returns, one after the other, the last one
    again and again; an Exception in place of one: it closes.  capabilities:
    None for a QEMU without the feature.  events: it says something else
    before each answer.  cache: what query-pagecache returns, in the same way;
    empty: it does not know that.  refuses: why it does not collect.
    """

    def __init__(self, path, answers, capabilities=CAPABILITIES,
                 greeting=GREETING, events=True, cache=(), refuses=None):
        self.path = path
        self.asked = []
        self._answers = list(answers)
        self._capabilities = capabilities or CAPABILITIES[:1]
        self._greeting = greeting
        self._events = events
        self._cache = list(cache)
        self._refuses = refuses
        self._socket = socket.socket(socket.AF_UNIX if path
                                     else socket.AF_INET)
        self._socket.bind(path or ('127.0.0.1', 0))
        self._socket.listen(1)
        self.address = path or '%s:%d' % self._socket.getsockname()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        # wakes up accept() as well
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)
        if self.path:
            os.unlink(self.path)

    def _serve(self):
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, client.makefile('rwb') as stream:
                try:
                    self._talk(stream)
                except (OSError, ValueError):
                    pass

    def _talk(self, stream):
        def say(message):
            text = message if isinstance(message, bytes) else \
                json.dumps(message).encode()
            stream.write(text + b'\r\n')
            stream.flush()

        if self._greeting is not None:
            say(self._greeting)
        for line in stream:
            asked = json.loads(line)
            self.asked.append(asked['execute'])
            answer = self._answer(asked['execute'])
            if isinstance(answer, Exception):
                return
            if self._events:
                say({'event': 'RTC_CHANGE', 'data': {}})
            say(answer if isinstance(answer, bytes) else
                {'id': asked['id'], **answer})

    def _answer(self, command):
        if command == 'qmp_capabilities':
            return {'return': {}}
        if command == 'query-migrate-capabilities':
            return {'return': self._capabilities}
        if command in ('query-pagecache', 'pagecache-collect'):
            return self._about_cache(command)
        answer = self._next(self._answers)
        if isinstance(answer, (Exception, bytes)):
            return answer
        return {'return': answer}

    @staticmethod
    def _next(answers):
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def _about_cache(self, command):
        if not self._cache:
            return {'error': {'class': 'CommandNotFound',
                              'desc': f'The command {command} has not been '
                                      'found'}}
        if command == 'query-pagecache':
            return {'return': self._next(self._cache)}
        if self._refuses:
            return {'error': {'class': 'GenericError',
                              'desc': self._refuses}}
        return {'return': {}}
