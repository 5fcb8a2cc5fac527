#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The demo itself, with a small guest: on a terminal it is a picture, elsewhere
lines; and it leaves a page.
"""

import os
import re
import subprocess
import sys
import tempfile

from lab import paths
from lab.tap import Tap
from lab.tty import Tty
from lab.vm import need_qemu

DEMO = [sys.executable, os.path.join(paths.ROOT, 'tests/lab/demo.py'),
        '--ram', '768', '--cache', '300', '--lan', '0.4', '--san', '0.6']
#: as the tests have it: by another name, so that it is not built anew
QEMU = os.path.join(os.path.dirname(paths.OUR_QEMU), '.',
                    os.path.basename(paths.OUR_QEMU))


def judge(tap, folder, status, last, text):
    page = os.path.join(folder, 'migrations.html')
    tap.check(status == 0, 'it holds what it promises', text)
    tap.check(last == page, 'the page is named last', last)
    with open(page, encoding='utf-8') as file:
        found = file.read()
    tap.check(found.count('completed in') == 2
              and found.count('<svg') == 3
              and len(re.findall('<polygon class="(?:storage|channel)"',
                                 found)) == 2
              and 'time saved' in found, 'the page has it all', found[-3000:])


def terminal(tap, folder):
    with Tty([*DEMO, '--qemu', QEMU, '--output', folder], 100, 30,
             PYTHONUTF8='1') as tty:
        tty.until(lambda: 'the guest reads its files' in tty.text(), 300)
        tty.until(lambda: 'plain source, active' in tty.text()
                  and 'channel [' in tty.text(), 120)
        tty.until(lambda: 'skip source, active' in tty.text()
                  and ' left' in tty.text()
                  and 'by channel' in tty.text(), 300)
        text = tty.text()
        tap.check(all(word in text for word in (
            'storage [', 'pool    [', 'proven', 'waiting', 'Gbit/s')),
            'the picture has it all', text)
        status = tty.wait(300)
        text = '\n'.join(''.join(row).rstrip() for row in tty.display.rows)
        tap.check(not tty.display.odd and tty.display.cursor
                  and tty.unchanged(), 'the terminal is as before', text)
        tap.check(text.count('skip source, completed in') == 1
                  and text.count('source, active') == 0,
                  'the last pictures stay', text)
        judge(tap, folder, status, text.rstrip().splitlines()[-1].strip(),
              text)


def lines(tap, folder):
    done = subprocess.run([*DEMO, '--qemu', QEMU, '--output', folder],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=600)
    tap.check('\033' not in done.stdout and re.search(
        r'skip: source, active for .* left; channel .*; storage .*proven',
        done.stdout), 'plain lines', done.stdout)
    judge(tap, folder, done.returncode, done.stdout.splitlines()[-1].strip(),
          done.stdout)


def main():
    tap = Tap()
    with tap.part('set-up'):
        need_qemu()
    for test in (terminal, lines):
        with tap.part(test.__name__), tempfile.TemporaryDirectory() as folder:
            test(tap, folder)
    tap.done()


if __name__ == '__main__':
    main()
