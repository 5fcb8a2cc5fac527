#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
QEMU's manual with our pages in it: Sphinx has nothing to complain of, no link
between pages is dead, and the QMP reference has what is ours.

Prints TAP.
"""

import glob
import os
import re
import shutil
import subprocess
import tempfile

import lists

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
TREE = os.path.join(TOP, 'build', 'qemu')
#: of the QMP reference
OURS = ('MigrationPagecacheInfo', 'MIGRATION_PAGECACHE',
        'x-pagecache-add-hints', 'skip-pagecache')


class Manual:
    """Made once, for all tests"""
    html = ''
    said = []

    @classmethod
    def build(cls, where):
        """As meson does it with --enable-werror"""
        cls.html = os.path.join(where, 'html')
        done = subprocess.run(
            ['sphinx-build', '-q', '-W', '--keep-going',
             '-Dkerneldoc_werror=1', '-Dversion=0', '-Drelease=', '-b',
             'html', '-d', os.path.join(where, 'doctrees'),
             os.path.join(TREE, 'docs'), cls.html],
            env=dict(os.environ, CONFDIR='/etc/qemu'), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        cls.said = done.stdout.strip().splitlines()
        if done.returncode and not cls.said:
            cls.said = [f'exit status {done.returncode}']

    @classmethod
    def pages(cls):
        return [p for p in glob.glob(f'{cls.html}/**/*.html', recursive=True)
                if 'pagecache' in os.path.basename(p)]


def read(path):
    with open(path, encoding='utf-8') as file:
        return file.read()


def sphinx_warns_of_nothing():
    return Manual.said


def pages():
    found = {os.path.relpath(p, Manual.html)[:-len('.html')]
             for p in Manual.pages()}
    ours = {os.path.relpath(p, os.path.join(TOP, 'docs'))[:-len('.rst')]
            for p in glob.glob(f'{TOP}/docs/*/**/*pagecache*.rst',
                               recursive=True)}
    return sorted(found ^ ours) or ([] if ours else ['there are none'])


def links_between_pages():
    dead = []
    for page in Manual.pages():
        for target in re.findall(r'href="([^"#]+)', read(page)):
            path = os.path.join(os.path.dirname(page), target)
            if not re.match('[a-z]+:', target) and not os.path.exists(path):
                dead.append(f'{os.path.relpath(page, Manual.html)}: {target}')
    return dead


def qmp_reference():
    text = read(os.path.join(Manual.html, 'interop', 'qemu-qmp-ref.html'))
    return [name for name in OURS if name not in text]


def main():
    if not shutil.which('sphinx-build'):
        print('1..0 # skip sphinx-build is not installed')
        return
    subprocess.run([os.path.join(TOP, 'scripts', 'prepare-qemu')], check=True)
    with tempfile.TemporaryDirectory() as where:
        Manual.build(where)
        lists.run('manual', (sphinx_warns_of_nothing, pages,
                             links_between_pages, qmp_reference))


if __name__ == '__main__':
    main()
