# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Tells what happens: a live picture on a terminal, else a few lines."""

import sys
import time

from .top import model, screen, view


class Talk:
    """fastest: bytes per second that are a full bar, 0: not known."""

    def __init__(self, fastest=0.0):
        self._start = time.monotonic()
        self._last = 0.0
        self._fastest = fastest
        self._screen = screen.Screen(sys.stdout) \
            if screen.usable(sys.stdout) else None
        self._painter = view.Painter(screen.wants_colour(),
                                     screen.takes_utf8(sys.stdout))

    def __enter__(self):
        if self._screen:
            self._screen.__enter__()
        return self

    def __exit__(self, *exc):
        if self._screen:
            self._screen.__exit__(*exc)

    def _stamp(self):
        return f'[{time.monotonic() - self._start:6.1f} s] '

    def say(self, text):
        """A line that stays."""
        if self._screen:
            self._screen.say(self._stamp() + text)
        else:
            print(self._stamp() + text, flush=True)

    def _now_and_then(self, text):
        if time.monotonic() - self._last >= 3:
            self._last = time.monotonic()
            self.say('  ' + text)

    def live(self, text):
        """A line that the next one replaces."""
        if self._screen:
            width, _ = self._screen.size()
            self._screen.show([view.cut(self._stamp() + text, width)[0]])
        else:
            self._now_and_then(text)

    def figures(self, name, figures):
        """A migration under way; its last picture stays."""
        if not self._screen:
            if figures.under_way:
                self._now_and_then(f'{name}: {view.line(figures)}')
            return
        width, height = self._screen.size()
        self._screen.show(view.lines(figures, width, height, self._painter,
                                     name, self._fastest))
        if figures.ended:
            self._screen.keep()


class Spectator:
    """
    Follows one migration, for scenario.migrate(progress=...).

    The bytes are those that the hosts' network interfaces have counted.
    """

    def __init__(self, talk, name, channel, storage):
        self.watch = model.Watch()
        self._talk = talk
        self._name = name
        self._wires = channel, storage

    def __call__(self, info, sampler):
        self._add(time.monotonic() - sampler.start, info, sampler.now())

    def end(self, info, sampler):
        """The last answer, when the hosts may have gone on."""
        self._add(*sampler.samples[-1][:1], info, sampler.samples[-1][1])

    def _add(self, seconds, info, counted):
        self._talk.figures(self._name, self.watch.add(
            seconds, info, wires=[counted[w] for w in self._wires]))
