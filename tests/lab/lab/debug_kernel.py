# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Kernels for the guest that check themselves (lockdep, KASAN and so on).

Built from Debian's package of a kernel's source with guest/debug.config, by
tests/lab/debug-kernel.  Called VERSION-debug, and laid out in build/guest as
lab.kernel does it.
"""

import glob
import os
import re
import shutil
import subprocess

from . import kernel
from .paths import GUEST_BUILD, GUEST_SOURCES, LabError, need_tool

CONFIG = os.path.join(GUEST_SOURCES, 'debug.config')


def get(version):
    """As kernel.get(), also for '6.1-debug', which must have been built."""
    if not version.endswith('-debug'):
        return kernel.get(version)
    link = os.path.join(GUEST_BUILD, version)
    if not os.path.islink(link):
        raise LabError(f'no kernel {version}: build it with '
                       f'tests/lab/debug-kernel {version[:-len("-debug")]}')
    release = os.readlink(link)
    return kernel.Kernel(release, os.path.join(GUEST_BUILD, release))


def _run(log, *words, **options):
    with open(log, 'a') as out:
        done = subprocess.run(words, stdout=out, stderr=subprocess.STDOUT,
                              **options)
    if done.returncode != 0:
        raise LabError(f'{" ".join(words[:2])} failed (log: {log})')


def _source(work, version, log):
    """Debian's source, patched as the kernel in the archive is."""
    source = os.path.join(work, 'src')
    if os.path.exists(os.path.join(source, 'Makefile')):
        return source
    os.makedirs(work, exist_ok=True)
    _run(log, need_tool('apt-get', 'apt'), '-q', 'download',
         f'linux-source-{version}', cwd=work)
    package, = glob.glob(os.path.join(work, f'linux-source-{version}_*.deb'))
    _run(log, 'dpkg-deb', '-x', package, os.path.join(work, 'package'))
    os.remove(package)
    shutil.rmtree(source + '.new', True)
    os.mkdir(source + '.new')
    _run(log, 'tar', '-xf',
         os.path.join(work, f'package/usr/src/linux-source-{version}.tar.xz'),
         '-C', source + '.new', '--strip-components=1')
    shutil.rmtree(os.path.join(work, 'package'))
    os.rename(source + '.new', source)
    return source


def _configure(source, log):
    _run(log, 'make', 'tinyconfig', cwd=source)
    _run(log, 'scripts/kconfig/merge_config.sh', '-m', '.config', CONFIG,
         cwd=source)
    _run(log, 'make', 'olddefconfig', cwd=source)
    with open(os.path.join(source, '.config')) as file:
        found = set(file.read().splitlines())
    with open(CONFIG) as file:
        missing = [x for x in file.read().splitlines()
                   if re.match('CONFIG_', x) and x not in found]
    if missing:
        raise LabError(f'{CONFIG}: this kernel does not take '
                       + ', '.join(missing))


def build(version='6.1'):
    """Build VERSION-debug, or what is left of it to do."""
    work = os.path.join(GUEST_BUILD, f'{version}-debug.build')
    os.makedirs(work, exist_ok=True)
    log = os.path.join(work, 'log')
    if not os.path.exists('/usr/include/libelf.h'):
        raise LabError('libelf.h is missing: '
                       'apt-get install --no-install-recommends libelf-dev')
    source = _source(work, version, log)
    _configure(source, log)
    print(f'compiling {source} (log: {log}) ...', flush=True)
    _run(log, 'make', f'-j{os.cpu_count()}', 'bzImage', 'modules', cwd=source)
    with open(os.path.join(source, 'include/config/kernel.release')) as file:
        release = file.read().strip()
    root = os.path.join(GUEST_BUILD, release)
    shutil.rmtree(root, True)
    _run(log, 'make', 'modules_install', f'INSTALL_MOD_PATH={root}',
         cwd=source)
    os.makedirs(os.path.join(root, 'boot'))
    shutil.copy(os.path.join(source, 'arch/x86/boot/bzImage'),
                os.path.join(root, 'boot', f'vmlinuz-{release}'))
    os.makedirs(os.path.join(root, 'usr/src'))
    os.symlink(source, os.path.join(root, 'usr/src',
                                    f'linux-headers-{release}'))
    link = os.path.join(GUEST_BUILD, f'{version}-debug')
    if os.path.islink(link):
        os.remove(link)
    os.symlink(release, link)
    return get(f'{version}-debug')
