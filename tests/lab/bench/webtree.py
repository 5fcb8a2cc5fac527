# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
A web server's files, and what its clients ask for.

Sizes and popularity are those of SPECweb99's published workload, which its
authors took from the logs of web servers.  A directory has 36 files in four
classes of nine: 0.1 to 0.9 KB, 1 to 9 KB, 10 to 90 KB, 100 to 900 KB, in all
5 MB.  Of the requests, 35 % go to the first class, 50, 14 and 1 % to the
others.  Directories follow Zipf's law (alpha 1), and so do the nine files of
a class, those in the middle first.  A request brings 15 KB on average.

The contents are cut from files of this system's /usr, so that they compress
as files do.  Each begins with its own name: no two are alike.  Long runs of
zeros are left out, they would become holes of the file system.
"""

import itertools
import os
import random
import re
import stat

PAGE = 4096
KIB = 1024
CLASSES = 4
SIZES = [[KIB * 10 ** number * k // 10 for k in range(1, 10)]
         for number in range(CLASSES)]
#: how often a class is asked for, in hundredths
CLASS_WEIGHTS = (35, 50, 14, 1)
#: the files of a class, the most popular first
FILE_RANKS = (4, 3, 5, 2, 6, 1, 7, 8, 0)
#: of a directory's files
PAGES = sum((size + PAGE - 1) // PAGE for sizes in SIZES for size in sizes)
CHUNK = 1 << 20
LARGEST = 32 << 20
ZEROS = re.compile(rb'\0{256,}')


def directories(mib):
    """How many directories fill so many MiB of page cache (at least one)."""
    return max(1, round((mib << 20) / PAGE / PAGES))


def name(directory, number, file):
    return f'dir{directory:04}/class{number}_{file}'


def names(count):
    """All files of the first so many directories, in order."""
    return [name(directory, number, file) for directory in range(count)
            for number in range(CLASSES) for file in range(9)]


def _system_files():
    for base, directories_, files in os.walk('/usr'):
        directories_.sort()
        for entry in sorted(files):
            path = os.path.join(base, entry)
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and \
                    0 < status.st_size <= LARGEST:
                yield path


def _contents():
    """The bytes of this system's files, over and over."""
    for path in itertools.cycle(list(_system_files())):
        try:
            with open(path, 'rb') as file:
                while True:
                    data = file.read(CHUNK)
                    if not data:
                        break
                    yield ZEROS.sub(b'', data)
        except OSError:
            continue


def write(tree, count):
    """Make so many directories in a directory; the names of the files."""
    source, buffer = _contents(), bytearray()
    for directory in range(count):
        os.mkdir(os.path.join(tree, f'dir{directory:04}'))
        for number, sizes in enumerate(SIZES):
            for file, size in enumerate(sizes):
                path = name(directory, number, file)
                first = f'{path}\n'.encode()
                while len(buffer) < size:
                    buffer += next(source)
                with open(os.path.join(tree, path), 'wb') as out:
                    out.write(first + buffer[:size - len(first)])
                del buffer[:size - len(first)]
    return names(count)


def requests(count_directories, count, seed):
    """
    Paths that clients ask for, as often as they would, in random order.

    The same seed makes the same list.  Only the first directories are asked
    for, directory 0 most.
    """
    chosen = random.Random(seed)
    ranks = range(count_directories)
    weights = list(itertools.accumulate(1 / (r + 1) for r in ranks))
    file_weights = [1 / (r + 1) for r in range(9)]
    directory_list = chosen.choices(ranks, cum_weights=weights, k=count)
    class_list = chosen.choices(range(CLASSES), CLASS_WEIGHTS, k=count)
    file_list = chosen.choices(FILE_RANKS, file_weights, k=count)
    return ['/' + name(*choice)
            for choice in zip(directory_list, class_list, file_list)]
