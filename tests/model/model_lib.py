# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Runs Spin on the models, and says in TAP what it found.

A model must pass exhaustively: a search that was cut short has shown nothing.
With a seeded bug Spin must find the violation that is expected.  The verifier
and what it said stay in build/model, and for a violation the trail, also in a
form that can be read.
"""

import collections
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
OUT = os.path.join(TOP, 'build', 'model')

MEGABYTES = 1800        # for each of two at a time
SECONDS = 900
DEPTH = 100000

# finds: None, or what pan says of the violation that must be found; pan: its
# arguments: -a -f looks for cycles that fairness allows, -E takes states
# without a successor for no error
Run = collections.namedtuple('Run', 'model name defines finds pan',
                             defaults=(None, ()))

CUT_SHORT = re.compile(r'max search depth too small|Search not completed|'
                       r'hash-?compact|[Bb]it ?state|out of memory|'
                       r'reached -DMEMLIM|timeout|aborted', re.I)


def command(argv, cwd, log):
    """Runs argv.  Returns what it said, which also goes into the log."""
    done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          errors='replace', timeout=SECONDS, check=False)
    log.write(f'$ {" ".join(argv)}\n{done.stdout}\n')
    log.flush()
    if done.returncode != 0:
        raise RuntimeError(f'{argv[0]}: exit status {done.returncode}')
    return done.stdout


def verify(run, folder, log):
    """What is wrong, or None.  With a number of states for the reader."""
    defines = [f'-D{d}' for d in run.defines]
    source = run.model + '.pml'
    shutil.copy(os.path.join(HERE, source), folder)
    command(['spin', *defines, '-a', source], folder, log)
    command(['gcc', '-O1', '-w', '-DCOLLAPSE', f'-DMEMLIM={MEGABYTES}',
             '-DVECTORSZ=2048',
             *(('-DNFAIR=4',) if '-f' in run.pan else
               ('-DSAFETY', '-DNOFAIR')),
             '-o', 'pan', 'pan.c'], folder, log)
    said = command(['./pan', f'-m{DEPTH}', *run.pan], folder, log)
    os.remove(os.path.join(folder, 'pan'))
    trail = os.path.exists(os.path.join(folder, source + '.trail'))
    if trail:
        replay = command(['spin', *defines, '-t', '-p', '-g', source], folder,
                         log)
        with open(os.path.join(folder, 'trail.txt'), 'w',
                  encoding='utf-8') as file:
            file.write(replay)
    first = re.search(r'^pan:\d+: (.*)$', said, re.M)
    states = re.search(r'(\d[\d.e+]*) states, stored', said)
    if run.finds:
        if not first or run.finds not in first[1]:
            return (f'expected "{run.finds}", found "'
                    f'{first[1] if first else "nothing"}"'), None
        if not trail:
            return 'no trail was left', None
        return None, f'{first[1]}'
    if first:
        return f'found "{first[1]}"', None
    cut = CUT_SHORT.search(re.sub(r'pan: elapsed.*', '', said))
    if cut or 'errors: 0' not in said or 'Full statespace' not in said:
        return f'the search was cut short: {cut[0] if cut else "?"}', None
    return None, f'{states[1]} states'


def one(run):
    folder = os.path.join(OUT, f'{run.model}-{run.name}')
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    with open(os.path.join(folder, 'log'), 'w', encoding='utf-8') as log:
        try:
            return verify(run, folder, log)
        except (RuntimeError, OSError, subprocess.TimeoutExpired) as error:
            return str(error), None


def report(results):
    """Prints (name, what is wrong, remark) in TAP.  Exits."""
    bad = number = 0
    for name, wrong, remark in results:
        number += 1
        bad += bool(wrong)
        print(f'{"not " if wrong else ""}ok {number} - model: {name}')
        if wrong or remark:
            print(f'# {wrong or remark}', flush=True)
    print(f'1..{number}')
    sys.exit(bad != 0)


def outcomes(runs):
    """The outcome of each, in their order, two at a time"""
    if not shutil.which('spin'):
        yield 'spin', 'spin is missing: install the package spin', None
        return
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for run, (wrong, remark) in zip(runs, pool.map(one, runs)):
            what = 'is found' if run.finds else 'holds'
            yield f'{run.model}: {run.name} {what}', wrong, remark
