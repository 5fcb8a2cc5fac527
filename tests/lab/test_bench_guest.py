#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
What the benchmark's guests do, tried on this system: the web clients' choice
of files, and whether benchtool keeps its rate and finds a wrong page.  Runs
no guest.
"""

import collections
import os
import re
import signal
import socket
import subprocess
import tempfile
import time

from bench import webtree
from lab import guest
from lab.tap import Tap

MIB = 1 << 20
RATE, STOP = 8, 1.5             # MiB/s, seconds


def tool(*words):
    return subprocess.run([guest.program('benchtool'), *map(str, words)],
                          text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, timeout=60)


def web(tap):
    paths = webtree.requests(100, 100000, 1)
    tap.check(paths == webtree.requests(100, 100000, 1)
              and paths != webtree.requests(100, 100000, 2),
              'a seed makes a list')
    known = set(webtree.names(100))
    tap.check(all(x[1:] in known for x in paths), 'all files are there')

    def share(pattern):
        return sum(1 for x in paths if re.search(pattern, x)) / len(paths)

    for number, weight in enumerate(webtree.CLASS_WEIGHTS):
        found = share(f'class{number}')
        tap.check(abs(found - weight / 100) < 0.01, f'class {number}', found)
    directories = collections.Counter(x[:8] for x in paths)
    ratio = directories['/dir0000'] / directories['/dir0004']
    tap.check(4.5 < ratio < 5.5, "directories follow Zipf's law", ratio)
    size = sum(webtree.SIZES[int(x[-3])][int(x[-1])] for x in paths)
    tap.check(14000 < size / len(paths) < 15500, 'SPECweb99 has 15 KB each',
              size / len(paths))


def tree(tap, directory):
    names = webtree.write(directory, 2)
    pages, contents = 0, set()
    for name in names:
        with open(os.path.join(directory, name), 'rb') as file:
            data = file.read()
        pages += (len(data) + webtree.PAGE - 1) // webtree.PAGE
        contents.add(data)
    tap.check(names == webtree.names(2) and pages == 2 * webtree.PAGES,
              'files have the sizes that are counted on', pages)
    tap.check(len(contents) == len(names), 'no two files are alike')
    listed = os.path.join(directory, 'list')
    done = subprocess.run([guest.labtool(), 'sum', directory], text=True,
                          input='\n'.join(names), stdout=subprocess.PIPE,
                          check=True)
    with open(listed, 'w') as file:
        file.write(done.stdout)
    found = tool('cached', listed, directory).stdout
    tap.check(found == f'pages={pages} resident={pages}\n',
              'what was just written is cached', found)


def hold(tap, directory):
    result = os.path.join(directory, 'held')
    tool('hold', 16, result)
    found = tool('settle', result)
    tap.check((found.returncode, found.stdout) == (0, 'pages=4096 bad=0\n'),
              'memory stays as it was', found)
    os.remove(result)
    tool('hold', 16, result)
    with open(result + '.pid') as file:
        process = f'/proc/{file.read().strip()}'
    with open(process + '/maps') as file:
        areas = [[int(x, 16) for x in line.split()[0].split('-')]
                 for line in file]
    start = next(a for a, b in areas if b - a >= 16 * MIB)
    with open(process + '/mem', 'r+b', 0) as file:
        file.seek(start + 5 * webtree.PAGE + 100)
        file.write(b'wrong')
    found = tool('settle', result)
    tap.check((found.returncode, found.stdout) == (2, 'pages=4096 bad=1\n'),
              'a wrong page is found', found)


def receive(listener, seconds):
    """Bytes that were told of in that time."""
    done, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            done += int(listener.recv(100).split()[1])
        except socket.timeout:
            pass
    return done


def write(tap, directory):
    files, result = (os.path.join(directory, x) for x in ('files', 'written'))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(('127.0.0.1', 0))
        listener.settimeout(0.1)
        writer = subprocess.Popen(
            [guest.program('benchtool'), 'write', '4', str(RATE), files,
             result, '127.0.0.1', str(listener.getsockname()[1])])
        try:
            while not os.path.exists(result + '.pid') \
                    and writer.poll() is None:
                time.sleep(0.05)
            told = receive(listener, 2)
            tap.check(RATE < told / MIB < 2.5 * RATE, 'it keeps its rate',
                      f'{told} bytes in 2 s')
            writer.send_signal(signal.SIGSTOP)
            time.sleep(STOP)
            receive(listener, 0.2)
            writer.send_signal(signal.SIGCONT)
            told = receive(listener, STOP / 2)
            tap.check(0 < told / MIB < RATE * STOP, 'a stop is not made up '
                      'for', f'{told} bytes in {STOP / 2} s')
            found = tool('settle', result)
        finally:
            writer.kill()
            writer.wait()
    tap.check(found.stdout.endswith(' bad=0\n'), 'what was written is there',
              found)
    found = tool('verify', files)
    tap.check(found.stdout.endswith(' bad=0\n'), 'also later', found)
    with open(os.path.join(files, '3'), 'r+b') as file:
        file.seek(70000)
        file.write(b'wrong')
    found = tool('verify', files)
    tap.check(found.returncode == 2 and found.stdout.endswith(' bad=1\n'),
              'a wrong page is found', found)


def main():
    tap = Tap()
    with tap.part('web clients'):
        web(tap)
    for name, part in (('web files', tree), ('hold', hold), ('write', write)):
        with tempfile.TemporaryDirectory() as directory, tap.part(name):
            part(tap, directory)
    tap.done()


if __name__ == '__main__':
    main()
