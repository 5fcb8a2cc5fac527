# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Programs of another Debian release, made to run on this one.

They need a newer C library than there is.  Unpacked beside them, it is used
by means of its own dynamic linker: each program is moved aside, and a script
in its place calls the linker with it.  Paths are relative to the script, so
the whole tree may be moved.
"""

import os
import subprocess

MACHINE = 'x86_64-linux-gnu'
#: what kernels' build programs need, beside the compiler
LIBRARIES = ('libc6', 'libelf1', 'libssl3', 'zlib1g')
LINKER = 'ld-linux-x86-64.so.2'

SCRIPT = '''#!/bin/sh
me=$(readlink -f "$0")
tools=${{me%/*}}/{tools}
exec "$tools/{linker}" --library-path "$tools/{libraries}" --argv0 "$0" \\
    "$me.real" "$@"
'''


def programs(directory):
    """All dynamically linked programs (ELF with an interpreter) in a tree."""
    found = []
    for base, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(base, name)
            if os.path.islink(path) or not os.access(path, os.X_OK):
                continue
            with open(path, 'rb') as file:
                start = file.read(4096)
            if start.startswith(b'\x7fELF') and LINKER.encode() in start \
                    and '.so' not in name:
                found.append(path)
    return found


def runs(program):
    """Whether this system has the libraries that a program wants."""
    done = subprocess.run(['ldd', program], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode == 0 and 'not found' not in done.stdout


def adopt(tools, found):
    """Let these programs use the linker and the libraries below tools."""
    libraries = f'usr/lib/{MACHINE}'
    for path in found:
        os.rename(path, path + '.real')
        with open(path, 'w') as file:
            file.write(SCRIPT.format(
                tools=os.path.relpath(tools, os.path.dirname(path)),
                linker=f'{libraries}/{LINKER}', libraries=libraries))
        os.chmod(path, 0o755)
        if os.path.basename(path) == 'cc1':     # an assembler of its time
            directory = os.path.dirname(path)
            os.symlink(os.path.relpath(f'{tools}/usr/bin/{MACHINE}-as',
                                       directory), f'{directory}/as')
