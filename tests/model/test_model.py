#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The models hold, and each seeded bug is found.  Prints TAP.

What they show stands in docs/devel/migration/skip-pagecache-proof.rst.
"""

import os
import re
import subprocess

from model_lib import HERE, TOP, Run, outcomes, report

MAIN = ()
TWO = ('PAGES=2', 'WRITES=0', 'CONTENTS=2')
MULTIFD = ('MULTIFD', 'ZERO_IN_PACKET')
EQUAL = 'ok_pages_equal'
STUCK = 'invalid end state'

PROTOCOL = (
    ('main channel', ('WRITES=3',)),
    ('main channel, cancel and free hints', ('CANCEL', 'FREE_HINTS')),
    ('multifd', ('MULTIFD', 'CANCEL')),
    ('multifd, zero pages in packets', (*MULTIFD, 'WRITES=3')),
    ('multifd, zero pages on the main channel', ('MULTIFD', 'ZERO_ON_MAIN')),
    ('two pages in one report', TWO),
)

# name: defines, what is found
PROTOCOL_BUGS = {
    'SAMPLED_BEFORE_CLEAR': (MAIN, EQUAL),
    'CLEARED_AT_OFFER': (MAIN, EQUAL),
    'SUBMITTED_BEFORE_CLEAR': (MAIN, EQUAL),
    'LAST_RUN_ONLY': (TWO, EQUAL),
    'NOT_NUMBERED': (TWO, EQUAL),
    'READY_NOT_HELD': (MULTIFD, EQUAL),
    'REFILL_AFTER_SEND': (MULTIFD, EQUAL),
    'REPORT_OF_RELEASED': (MAIN, EQUAL),
    'COPY_WITHOUT_CLAIM': (MAIN, EQUAL),
    'NO_CLAIM_BY_CHANNEL': (MAIN, EQUAL),
    'ZERO_SKIPS_MEMSET': (MULTIFD, EQUAL),
    'PROOFS_NOT_SETTLED': (MAIN, EQUAL),
    'IN_HAND_NOT_PENDING': (MAIN, EQUAL),
    'NO_FINAL_SYNC': (MAIN, EQUAL),
    'LAST_STAGE_PASSES_OVER': (MAIN, EQUAL),
    'OFFERED_TWICE': (MAIN, EQUAL),
    'NO_WAIT_FOR_ANSWER': (MULTIFD, EQUAL),
    'NO_SYNC_AT_WRAP': (MULTIFD, EQUAL),
    'END_DOES_NOT_REVOKE': (('FREE_HINTS',), 'ok_no_late_refill'),
    'WAITS_FOR_REPORTS': (MAIN, STUCK),
    'COUNTED_WHILE_READING': (MAIN, STUCK),
}

DIRTY_LOG = (
    ('KVM bitmap', ('KVM_BITMAP', 'TIMER')),
    ('KVM bitmap without manual protect', ('KVM_NO_MANUAL', 'TIMER')),
    ('KVM ring', ('KVM_RING', 'TIMER')),
    ('TCG', ('TCG',)),
)
SAMPLED = 'ok_clean_is_sampled'
DIRTY_LOG_BUGS = {
    'SAMPLED_BEFORE_CLEAR': ('KVM_BITMAP', 'TIMER'),
    'CLEARS_UNREPORTED': ('KVM_BITMAP', 'TIMER'),
    'LOG_CLEARED_AFTER_SAMPLE': ('KVM_BITMAP', 'TIMER'),
    'MARKS_BEFORE_WRITE': ('KVM_BITMAP', 'TIMER'),
    'PUBLISHED_BEFORE_RESET': ('KVM_RING', 'TIMER'),
    'TLB_NOT_RESET': ('TCG',),
    'TCG_NO_AFTER_SYNC': ('TCG',),
}

WINS = 'ok_channel_wins'
CLAIM_BUGS = {
    'PLAIN_LOADS': (MAIN, WINS),
    'COPY_END_PLAIN': (MAIN, WINS),
    'DOES_NOT_WAIT': (MAIN, WINS),
    'CLAIM_IN_TWO': (MAIN, WINS),
    'COPY_BEGIN_IN_TWO': (MAIN, WINS),
    'COPY_WITHOUT_CLAIM': (MAIN, WINS),
    'ZERO_SKIPS_MEMSET': (MAIN, WINS),
    'NO_BARRIER_IN_COPY': (('REVOKE',), 'ok_guest_wins'),
    'NO_BARRIER_IN_REVOKE': (('REVOKE',), 'ok_guest_wins'),
    'COPIERS_PLAIN_LOAD': (('REVOKE',), 'ok_refill_seen'),
}

RIGHT = 'ok_frozen_content'
PLACED = 'ok_placed_once'
LAZY = (
    ('a page from the switch on', ()),
    ('the channels break', ('RECOVER',)),
    ('the source goes', ('DEATH',)),
    ('the source is not needed', ('ALONE',)),
    # Not a bug: the last stage has claimed what is still to be placed.
    ('END after the last pages', ('BUG_END_AFTER_LAST',)),
    # Nor this: requests and the last stage pass over nothing.
    ('held after resume', ('RECOVER', 'BUG_HELD_AFTER_RESUME')),
)
LAZY_BUGS = {
    'SWITCH_AFTER_DISCARD': (MAIN, STUCK),
    'NO_PHASE_CHECK': (MAIN, STUCK),
    'DIGEST_BEFORE_STOP': (MAIN, RIGHT),
    'UNVERIFIED': (MAIN, RIGHT),
    'PROOF_FORGOTTEN': (MAIN, RIGHT),
    'OK_AFTER_SWITCH': (MAIN, STUCK),
    'NO_CLAIM_BY_CHANNEL': (MAIN, PLACED),
    'PRESENCE_BY_CLAIM': (MAIN, STUCK),
    'PLACED_BEFORE_LISTEN': (MAIN, STUCK),
    'LAST_STAGE_PASSES_OVER': (MAIN, STUCK),
    'NO_RECEIVED_BIT': (('RECOVER',), PLACED),
}

HOLD_BUGS = {
    'NO_TURN': 'ok_never_sent',
    'SENT_NOT_CHECKED': 'ok_never_sent',
    'OFFERED_NOT_CHECKED': 'ok_offered_once',
}


def title(name):
    return name.replace(', ', '-').replace(' ', '-')


def protocol():
    for name, defines in PROTOCOL:
        yield Run('protocol', title(name), defines)
    # Not a bug: reports count for pages in flight only, and then the channel
    # has not written the page.
    yield Run('protocol', 'digest-of-RAM', (*MULTIFD, 'BUG_DIGEST_OF_RAM'))
    # No bug either, but for free pages
    yield Run('protocol', 'no-revocation-without-free-hints',
              ('BUG_END_DOES_NOT_REVOKE',))
    yield Run('protocol', 'switchover-happens',
              ('ORDERED', *MULTIFD, 'WRITES=1'), pan=('-a', '-f'))
    for bug, (defines, finds) in PROTOCOL_BUGS.items():
        yield Run('protocol', 'BUG_' + bug, (*defines, 'BUG_' + bug), finds)
    yield Run('protocol', 'BUG_NO_PATIENCE', ('ORDERED', 'BUG_NO_PATIENCE'),
              'acceptance cycle', ('-a', '-f'))


def dirty_log():
    for name, defines in DIRTY_LOG:
        yield Run('dirty-log', title(name), defines)
    # QEMU's own, with this feature or without: see the document
    yield Run('dirty-log', 'QEMU-under-TCG-with-auto-converge',
              ('TCG', 'TIMER'), SAMPLED)
    for bug, defines in DIRTY_LOG_BUGS.items():
        yield Run('dirty-log', 'BUG_' + bug, (*defines, 'BUG_' + bug), SAMPLED)


def claim():
    yield Run('claim', 'a-page-and-its-copy', (), pan=('-E',))
    yield Run('claim', 'END-and-copies', ('REVOKE',), pan=('-E',))
    for bug, (defines, finds) in CLAIM_BUGS.items():
        yield Run('claim', 'BUG_' + bug, (*defines, 'BUG_' + bug), finds,
                  ('-E',))


def hold():
    yield Run('hold', 'what-is-offered-was-never-sent', ())
    for bug, finds in HOLD_BUGS.items():
        yield Run('hold', 'BUG_' + bug, ('BUG_' + bug,), finds)


def lazy():
    for name, defines in LAZY:
        yield Run('lazy', title(name), defines)
    for bug, (defines, finds) in LAZY_BUGS.items():
        yield Run('lazy', 'BUG_' + bug, (*defines, 'BUG_' + bug), finds)


def runs():
    yield from protocol()
    yield from dirty_log()
    yield from claim()
    yield from hold()
    yield from lazy()


def read(path):
    with open(path, encoding='utf-8', errors='replace') as file:
        return file.read()


def models():
    return sorted(name for name in os.listdir(HERE) if name.endswith('.pml'))


def functions():
    """
    Functions after "code:" in a model that are nowhere in what we have of
    the code: our files, the patches, and QEMU where it is there
    """
    named = set()
    for model in models():
        for comment in re.findall(r'/\*.*?\*/', read(os.path.join(HERE,
                                                                  model)),
                                  re.S):
            _, code, names = comment.partition('code:')
            named |= set(re.findall(r'(\w+)\(\)', names) if code else ())
    assert len(named) > 20, named
    ours = ''
    for folder in ('migration', 'block', 'patches/10.0'):
        for name in sorted(os.listdir(os.path.join(TOP, folder))):
            ours += read(os.path.join(TOP, folder, name))
    tree = subprocess.run([os.path.join(TOP, 'scripts', 'fetch-qemu')],
                          stdout=subprocess.PIPE, text=True, check=True)
    for folder in ('migration', 'system', 'accel/kvm', 'accel/tcg',
                   'include/exec', 'include/qemu'):
        path = os.path.join(tree.stdout.strip(), folder)
        for name in sorted(os.listdir(path)):
            if name.endswith(('.c', '.h')):
                ours += read(os.path.join(path, name))
    return [n for n in sorted(named)
            if not re.search(rf'\b{n}\(', ours)]


def bugs():
    """Seeded bugs in a model that no run looks for"""
    seeded = set()
    for model in models():
        seeded |= {(model[:-4], bug) for bug in
                   re.findall(r'\bBUG_\w+', read(os.path.join(HERE, model)))}
    tested = {(run.model, define) for run in runs() for define in run.defines}
    return sorted(f'{m}: {b}' for m, b in seeded - tested)


def results():
    yield from outcomes(list(runs()))
    gone, untested = functions(), bugs()
    yield ('each function that a model names exists',
           ', '.join(gone), None)
    yield 'each seeded bug has its run', ', '.join(untested), None


if __name__ == '__main__':
    report(results())
