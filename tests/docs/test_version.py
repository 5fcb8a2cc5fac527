#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Is the version everywhere the one in VERSION, and docs/releases.txt right?

Prints TAP.
"""

import os
import re
import subprocess

import lists

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
RELEASES = 'docs/releases.txt'
GUIDE = 'docs/system/skip-pagecache.rst'

# What follows the pattern is the version.
COPIES = {
    'README.rst': r'virtio-pagecache/',
    'contrib/pagecache-top/pagecache_top/__init__.py': r"^VERSION = '",
    'guest/linux/README.rst': r'virtio-pagecache/',
    'guest/linux/dkms.conf': r'^PACKAGE_VERSION="',
    GUIDE: r'^This is version ',
}


def read(path):
    with open(os.path.join(TOP, path), encoding='utf-8') as file:
        return file.read()


def version():
    return read('VERSION').rstrip('\n')


def copies():
    wrong = []
    if not re.fullmatch(r'\d+\.\d+\.\d+', version()):
        wrong.append(f'VERSION: "{version()}", expected three numbers')
    for path, before in COPIES.items():
        found = set(re.findall(before + r'([\d.]*\d)', read(path), re.M))
        if found != {version()}:
            wrong.append(f'{path}: {", ".join(sorted(found)) or "none"}, '
                         f'expected {version()}')
    return wrong


def formats():
    """The guide says what a version comes with."""
    wire = re.search(r'PAGECACHE_WIRE_VERSION +(\d+)',
                     read('migration/pagecache-wire.h'))[1]
    abi = re.search(r'#define VPC_ABI\s+(\d+)',
                    read('guest/linux/virtio_pagecache_ioctl.h'))[1]
    guide = ' '.join(read(GUIDE).split())
    return [text for text in (f'version {wire} of the wire format',
                              f'(``VPC_ABI``), {abi}')
            if text not in guide]


def git(*args):
    return subprocess.run(['git', '-C', TOP, '-c', 'safe.directory=*', *args],
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True, check=False)


def history():
    """Why there is no history to look at, or None"""
    if not os.path.exists(os.path.join(TOP, '.git')):
        return 'not a clone'
    shallow = git('rev-parse', '--is-shallow-repository')
    if shallow.returncode:
        return 'git does not work here'
    return 'a shallow clone' if shallow.stdout != 'false\n' else None


def numbers(text):
    return tuple(int(n) for n in text.split('.'))


def entries(text):
    return [line for line in text.splitlines()
            if line and not line.startswith('#')]


def malformed(text):
    """What can be said without a history"""
    wrong, last = [], (0, 0, 0)
    for line in entries(text):
        found = re.fullmatch(r'(\d+\.\d+\.\d+) ([0-9a-f]{40})', line)
        if not found:
            wrong.append(f'"{line}", expected a version and a commit')
        elif not last < numbers(found[1]) <= numbers(version()):
            wrong.append(f'{found[1]}: not between the one before it and '
                         f'{version()}')
        else:
            last = numbers(found[1])
    return wrong


def not_there(text):
    """Releases whose commit is no ancestor, or is of another version"""
    wrong = []
    for line in entries(text):
        name, commit = line.split()
        if git('merge-base', '--is-ancestor', commit, 'HEAD').returncode:
            wrong.append(f'{name}: {commit} is not an ancestor')
        elif git('show', f'{commit}:VERSION').stdout != f'{name}\n':
            wrong.append(f'{name}: {commit} is of another version')
    return wrong


def form():
    return malformed(read(RELEASES))


def commits():
    why = history()
    if why:
        raise lists.Skipped(why)
    return not_there(read(RELEASES))


def seen():
    """Do the two above notice what is wrong?"""
    head = git('rev-parse', 'HEAD').stdout.strip()
    nowhere = '0' * 39 + '1'
    bad = [f'0.2.0 {nowhere[1:]}', f'0.2 {nowhere}', f'99.0.0 {nowhere}',
           f'0.2.0 {nowhere}\n0.2.0 {nowhere}',
           f'0.2.0 {nowhere}\n0.1.0 {nowhere}']
    missed = [text for text in bad if not malformed(text)]
    if malformed(f'0.1.0 {nowhere}\n0.2.0 {nowhere}'):
        missed.append('good lines')
    if not history():
        missed += [text for text in (f'0.2.0 {nowhere}', f'0.0.1 {head}')
                   if not not_there(text)]
    return missed


def main():
    lists.run('version', (copies, formats, form, commits, seen))


if __name__ == '__main__':
    main()
