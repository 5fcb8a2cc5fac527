# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Where things lie in the source and build trees, and the lab's error."""

import os
import shutil

ROOT = os.path.realpath(os.path.join(os.path.dirname(__file__), '../../..'))
BUILD = os.path.join(ROOT, 'build')
GUEST_BUILD = os.path.join(BUILD, 'guest')
LAB_BUILD = os.path.join(BUILD, 'lab')
GUEST_SOURCES = os.path.join(ROOT, 'tests/lab/guest')
DRIVER_SOURCES = os.path.join(ROOT, 'guest/linux')
OUR_QEMU = os.path.join(BUILD, 'qemu/build/qemu-system-x86_64')
#: one without our patches
STOCK_QEMU = os.path.join(BUILD, 'qemu-pristine/build/qemu-system-x86_64')
#: the QEMU to test; LAB_QEMU in the environment names another
QEMU = os.environ.get('LAB_QEMU') or OUR_QEMU


class LabError(Exception):
    """Something the user can read in one line and act on."""


def need_tool(name, package):
    """The path of a program, or a one-line error naming its package."""
    path = shutil.which(name, path=os.environ.get('PATH', '')
                        + ':/usr/local/sbin:/usr/sbin:/sbin')
    if path is None:
        raise LabError(f'{name} is missing: '
                       f'apt-get install --no-install-recommends {package}')
    return path
