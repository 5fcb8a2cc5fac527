# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""The program pagecache-top."""

import argparse
import os
import signal
import sys
import time

from . import (VERSION, cache, files, monitor, openmetrics, page, record,
               screen, view)
from .model import Watch

DESCRIPTION = '''\
Watch the live migration of a QEMU, and what skip-pagecache does in it: both
wires, the pool of page cache that drains from both ends, what is proven, and
the time left.  On a terminal it is a picture, elsewhere a line every interval.
'''

EPILOG = '''\
A QMP socket takes one client at a time.  If the QEMU has one that libvirt or
a script holds, give it a second (-qmp unix:/run/vm1-top.qmp,server=on,wait=off)
or, with libvirt, use --domain, which asks through virsh qemu-monitor-command.

It reads only: query-migrate, query-migrate-capabilities, and, for JSON and
OpenMetrics, query-pagecache.  With --collect it starts a pagecache-collect.

It ends with Ctrl-C, or when QEMU does.  Exit status: 0 if all went well, or
if QEMU ended after a migration that completed; 1 if QEMU does not answer; 2
if the command line is wrong; 130 after Ctrl-C.
'''


class Parser(argparse.ArgumentParser):
    """Errors in one line, without the usage."""

    def error(self, message):
        self.exit(2, f'{self.prog}: error: {message}\n')


def interval(word):
    try:
        value = float(word)
    except ValueError:
        value = -1.0
    if not 0.05 <= value <= 86400:
        raise argparse.ArgumentTypeError(
            f"'{word}': expected seconds, 0.05 to 86400")
    return value


def qmp_address(word):
    try:
        return monitor.address(word)
    except monitor.BadAddress as error:
        raise argparse.ArgumentTypeError(str(error))


def a_name(word):
    if not word or '\0' in word:
        raise argparse.ArgumentTypeError(
            f'{word!r}: expected the name of a domain')
    return word


def a_file(word):
    folder = os.path.dirname(os.path.abspath(word))
    if not word or os.path.isdir(word) or not os.path.isdir(folder):
        raise argparse.ArgumentTypeError(
            f"'{word}': expected a file in a directory that exists")
    return word


def parse(words=None):
    parser = Parser(prog='pagecache-top', description=DESCRIPTION,
                    epilog=EPILOG, allow_abbrev=False,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--qmp', type=qmp_address, metavar='PATH|HOST:PORT',
                       help='a QMP socket that nobody else uses')
    which.add_argument('--domain', type=a_name, metavar='NAME',
                       help='a domain of libvirt')
    add('--connect', metavar='URI', help="the domain's libvirt, as for virsh")
    add('--name', help='what to call the QEMU; default: PATH, HOST:PORT or '
        'NAME')
    add('--interval', type=interval, default=1.0, metavar='SECONDS',
        help='how often to ask QEMU (1)')
    add('--once', action='store_true', help='ask once, print and end')
    how = parser.add_mutually_exclusive_group()
    how.add_argument('--json', action='store_true',
                     help='print a JSON object a line')
    how.add_argument('--openmetrics', action='store_true',
                     help='write OpenMetrics, for Prometheus')
    add('--output', type=a_file, metavar='FILE',
        help='with --openmetrics: replace FILE each time, at once as a whole')
    add('--collect', action='store_true', help='with --json or --openmetrics: '
        "first have QEMU count the guest's clean cache")
    add('--page', type=a_file, metavar='FILE',
        help='when it ends, write an HTML page about the migration')
    add('--version', action='version', version=f'%(prog)s {VERSION}')
    args = parser.parse_args(words)
    if args.connect and not args.domain:
        parser.error('--connect with --qmp: expected --domain')
    if args.output and not args.openmetrics:
        parser.error('--output: expected --openmetrics as well')
    if args.collect and not (args.json or args.openmetrics):
        parser.error('--collect: expected --json or --openmetrics as well')
    if args.openmetrics and not args.output and not args.once:
        parser.error('--openmetrics without --output: expected --once, '
                     "because the text ends with '# EOF'")
    return args


class Output:
    """What is done with figures; open as long as the with block lasts."""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        pass

    def show(self, watch):
        """There are new ones."""

    def gone(self, error):
        """QEMU does not answer, and will not be asked again."""


class Lines(Output):
    """Without a terminal."""

    def __init__(self):
        self._last = None

    def show(self, watch):
        text = view.line(watch.latest)
        # of a QEMU where nothing happens, one is enough
        if watch.latest.under_way or text != self._last:
            print(time.strftime('%H:%M:%S'), text, flush=True)
        self._last = text


class Picture(Output):
    """On a terminal."""

    def __init__(self, name):
        self._name = name
        self._fastest = 0.0
        self._screen = screen.Screen(sys.stdout)
        self._painter = view.Painter(screen.wants_colour(),
                                     screen.takes_utf8(sys.stdout))

    def __enter__(self):
        self._screen.__enter__()
        return self

    def __exit__(self, *exc):
        self._screen.__exit__(*exc)

    def show(self, watch):
        figures = watch.latest
        if len(watch.history) < 2:
            self._fastest = 0.0
        self._fastest = max(self._fastest, figures.channel_rate or 0,
                            figures.storage_rate or 0)
        width, height = self._screen.size()
        self._screen.show(view.lines(figures, width, height, self._painter,
                                     self._name, self._fastest))


class Json(Output):
    def __init__(self, name):
        self._name = name

    def show(self, watch):
        print(record.line(self._name, time.time(), watch.latest), flush=True)

    def gone(self, error):
        print(record.gone(self._name, time.time(), error), flush=True)


class OpenMetrics(Output):
    def __init__(self, name, path):
        self._name = name
        self._path = path

    def show(self, watch):
        self._write(watch.latest)

    def gone(self, error):
        self._write(None)

    def _write(self, figures):
        text = openmetrics.exposition(self._name, figures)
        if self._path:
            files.replace(self._path, text)
        else:
            print(text, end='', flush=True)


def output(args, name):
    if args.json:
        return Json(name)
    if args.openmetrics:
        return OpenMetrics(name, args.output)
    if not args.once and screen.usable(sys.stdout):
        return Picture(name)
    return Lines()


def connect(args):
    if args.domain:
        return monitor.Virsh(args.domain, args.connect)
    return monitor.Qmp(args.qmp)


def follow(args, watch, shown):
    """Ask and show until QEMU is gone."""
    source = connect(args)
    try:
        asker = cache.Asker(source)
        if args.collect:
            asker.collect()
        due = time.monotonic()
        while True:
            info, capabilities = monitor.read(source)
            figures = watch.add(time.monotonic(), info, capabilities)
            # whoever watches a migration has other worries
            if (args.json or args.openmetrics) and not figures.under_way:
                figures.cache = asker.read()
            shown.show(watch)
            if args.once:
                return
            # the next in time, without making up for what was missed
            due = max(due + args.interval, time.monotonic())
            time.sleep(max(0.0, due - time.monotonic()))
    finally:
        source.close()


def run(args, name):
    watch = Watch()
    try:
        with output(args, name) as shown:
            try:
                follow(args, watch, shown)
            except monitor.MonitorError as error:
                shown.gone(error)
                raise
        return 0
    except monitor.MonitorError as error:
        print(f'pagecache-top: error: {view.printable(error)}',
              file=sys.stderr)
        latest = watch.latest
        # the source ends, or is ended, when its guest has gone
        return 0 if latest and latest.status == 'completed' else 1
    finally:
        if args.page:
            files.replace(args.page, page.render(
                name, time.strftime('%Y-%m-%d %H:%M:%S %z'),
                [page.Run('migration', watch.history)]))


def end(number, _frame):
    raise SystemExit(128 + number)


def main(words=None):
    args = parse(words)
    name = args.name or args.domain or (
        args.qmp if isinstance(args.qmp, str) else '%s:%d' % args.qmp)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        return run(args, name)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # whoever read it has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f'pagecache-top: error: {error.filename or "output"}: '
              f'{error.strerror or error}', file=sys.stderr)
        return 1
