# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Comparing the RAM of two QEMU processes page by page.

Both guests must stand still: the source in postmigrate, the destination
not started yet.  All RAM blocks are compared, read through /proc/PID/mem.
"""

import collections
import os
import re

from .paths import LabError

PAGE = 4096
CHUNK = 4 << 20

Block = collections.namedtuple('Block', 'name used address')


class Difference(collections.namedtuple('Difference', 'block page')):
    """A page (number within its RAM block) with different contents."""

    def __str__(self):
        return f'{self.block} page {self.page:#x}'


def blocks(vm):
    """The RAM blocks of a QEMU: {name: Block}, sizes in bytes."""
    found = {}
    for line in vm.hmp('info ramblock').splitlines():
        # Block Name, PSize (2 words), Offset, Used, Total, HVA, RO
        match = re.match(r'\s*(\S.*?)\s+\d+ [KMG]iB\s+0x[0-9a-f]+\s+'
                         r'(0x[0-9a-f]+)\s+0x[0-9a-f]+\s+(0x[0-9a-f]+)', line)
        if match:
            found[match.group(1)] = Block(match.group(1),
                                          int(match.group(2), 16),
                                          int(match.group(3), 16))
    if 'pc.ram' not in found and not found:
        raise LabError(f'{vm.name}: no RAM block in: {vm.hmp("info ramblock")}')
    return found


def _read(fd, address, view, name):
    done = 0
    while done < len(view):
        got = os.preadv(fd, [view[done:]], address + done)
        if got <= 0:
            raise LabError(f'RAM block {name}: cannot read at '
                           f'{address + done:#x}')
        done += got


def compare(one, other):
    """
    All pages that differ, as a list of Difference.

    LabError when the two have different RAM blocks.
    """
    ours, theirs = blocks(one), blocks(other)
    if {n: b.used for n, b in ours.items()} \
            != {n: b.used for n, b in theirs.items()}:
        raise LabError(f'{one.name} and {other.name} have different RAM '
                       f'blocks: {sorted(ours)} and {sorted(theirs)}')
    different = []
    buffer_a, buffer_b = bytearray(CHUNK), bytearray(CHUNK)
    with open(f'/proc/{one.pid}/mem', 'rb', buffering=0) as a, \
            open(f'/proc/{other.pid}/mem', 'rb', buffering=0) as b:
        for name, block in ours.items():
            for offset in range(0, block.used, CHUNK):
                length = min(CHUNK, block.used - offset)
                view_a = memoryview(buffer_a)[:length]
                view_b = memoryview(buffer_b)[:length]
                _read(a.fileno(), block.address + offset, view_a, name)
                _read(b.fileno(), theirs[name].address + offset, view_b, name)
                # equal bytearrays are one memcmp; the rest is rare
                if length == CHUNK and buffer_a == buffer_b:
                    continue
                for page in range(0, length, PAGE):
                    if bytes(view_a[page:page + PAGE]) \
                            != bytes(view_b[page:page + PAGE]):
                        different.append(
                            Difference(name, (offset + page) // PAGE))
    return different


def page(vm, block, number):
    """The bytes of one page."""
    entry = blocks(vm)[block]
    buffer = bytearray(PAGE)
    with open(f'/proc/{vm.pid}/mem', 'rb', buffering=0) as memory:
        _read(memory.fileno(), entry.address + number * PAGE,
              memoryview(buffer), block)
    return bytes(buffer)
