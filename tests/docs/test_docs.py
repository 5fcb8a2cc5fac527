#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Is everything that the code offers in the documents, and right there?

The user guide has to have each figure, property and reason, the wire format
each number, the design each state of a page.  Prints TAP.
"""

import math
import os
import re

import lists
import named_tests

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
FAULTS = 'docs/devel/migration/skip-pagecache-faults.rst'
GUIDE = 'docs/system/skip-pagecache.rst'
DESIGN = 'docs/devel/migration/skip-pagecache.rst'
WIRE = 'docs/devel/migration/skip-pagecache-wire.rst'
SECURITY = 'docs/devel/migration/skip-pagecache-security.rst'
HAZARDS = 'docs/devel/migration/skip-pagecache-tests.rst'
HEADER = 'migration/pagecache-wire.h'
TEXTS = 'migration/pagecache-text.c'
EVENTS = 'tests/qtest/pagecache-event-test.c'


def read(path):
    with open(os.path.join(TOP, path), encoding='utf-8') as file:
        return file.read()


def words(text):
    """On one line, without marks of emphasis or tables."""
    return ' '.join(re.sub(r'[*`]|^ +- ', ' ', text, flags=re.M).split())


def members(schema, name):
    """Members of a struct in a QAPI schema"""
    body = re.search(r"'struct': '" + name + r"',\s*'data': \{(.*?)\} \}",
                     schema, re.S)[1]
    return re.findall(r"'\*?([a-z0-9-]+)':", body)


def enum(schema, name):
    body = re.search(r"'enum': '" + name + r"',\s*'data': \[(.*?)\]",
                     schema, re.S)[1]
    return re.findall(r"'([a-z0-9-]+)'", body)


def patches():
    folder = os.path.join(TOP, 'patches', '10.0')
    with open(os.path.join(folder, 'series'), encoding='utf-8') as series:
        names = series.read().split()
    return '\n'.join(read(os.path.join('patches', '10.0', name))
                     for name in names)


def figures():
    schema, guide = read('qapi/pagecache.json'), read(GUIDE)
    names = (members(schema, 'MigrationPagecacheInfo')
             + members(schema, 'MigrationPagecacheSource')
             + members(schema, 'MigrationPagecacheDestination')
             + members(schema, 'MigrationPagecacheProducer')
             + members(schema, 'MigrationPagecacheDisk')
             + members(schema, 'MigrationPagecacheLeftOut')
             + members(schema, 'MigrationPagecacheGroup')
             + enum(schema, 'PagecacheReaderStatus')
             + enum(schema, 'PagecacheLeftOutReason'))
    for name in ('ProducerInfo', 'DiskInfo', 'Collection', 'Estimate', 'Info'):
        names += members(schema, 'Pagecache' + name)
    for name in ('ProducerState', 'CollectionStatus'):
        names += enum(schema, 'Pagecache' + name)
    assert len(names) > 20, names
    return [n for n in names if f'``{n}``' not in guide]


def expressions():
    """Values that a property's default or a range may be in the code"""
    reader = read('include/block/pagecache-reader.h')
    params = read('migration/pagecache-params.h')
    found = dict(re.findall(r'#define (PAGECACHE_\w+) +(\d+)$',
                            reader + params, re.M))
    found.update({f'PAGECACHE_DIGEST_ALGORITHM_{n.upper()}': n for n in
                  enum(read('qapi/pagecache.json'),
                       'PagecacheDigestAlgorithm')})
    return found | {'false': 'off', 'true': 'on'}


def settings():
    """
    Each parameter has a row of its own in the guide, with its default and its
    range, an explanation, a property for -global, and a test of both.
    """
    value, guide = expressions(), read(GUIDE)
    names = members(read('qapi/pagecache.json'), 'PagecacheParameters')
    props = dict(re.findall(
        r'^\+ +DEFINE_PROP_\w+\("(pagecache-[a-z0-9-]+)",'
        r'[^)]*?,\s*\+?\s*(\w+)\)', patches(), re.M))
    props.update((name, 'none') for name in re.findall(
        r'^\+ +DEFINE_PROP_STRING\("(pagecache-[a-z-]+)"', patches(), re.M))
    ranges = dict(re.findall(
        r'p->(pagecache_\w+), *1, *(\w+)',
        re.sub(r'\n +', ' ', read('migration/pagecache-params.c'))))
    test = read('tests/qtest/pagecache-steer-test.c')
    assert 'pagecache-sessions' in names and len(ranges) == 2, (names, ranges)
    wrong = []
    for name in names:
        default = props.get(name)
        default = value.get(default, default)
        row = words((re.findall(rf'\* - ``{name}``\n(.*?)(?=\n   \* -|\n\n)',
                                guide, re.S) or [''])[0])
        most = ranges.get(name.replace('-', '_'))
        if (not default or not re.search(rf'\b{default}\b', row) or
                (most and f'1 to {value[most]}' not in row) or
                f'\n``{name}``\n' not in guide or f'{{ "{name}",' not in test):
            wrong.append(name)
    return wrong + [p for p in props if p not in names]


#: what people read for values of these enums: {enum: table of texts}
SPOKEN = {'PagecacheInactiveReason': 'inactive', 'PagecacheNote': 'notes',
          'PagecacheGivenUpReason': 'given_up'}


def spoken():
    """{value of an enum: text for people}"""
    schema, code = read('qapi/pagecache.json'), read(TEXTS)
    found = {}
    for name, table in SPOKEN.items():
        body = re.search(r'\b' + table + r'\[(\w+)__MAX\] = \{(.*?)\n\};',
                         code, re.S)
        texts = {}
        for value, quoted in re.findall(
                rf'\[{body[1]}_(\w+)\] =((?:\s*"[^"]*")+),', body[2]):
            texts[value.lower().replace('_', '-')] = ''.join(
                re.findall(r'"([^"]*)"', quoted))
        assert list(texts) == enum(schema, name), (name, texts)
        found.update(texts)
    assert len(found) > 20, found
    return found


def reasons():
    """Each reason, note and cause to give up, with its text"""
    guide = read(GUIDE)
    return [value for value, text in spoken().items()
            if f'``{value}``' not in guide or text not in words(guide)]


def reasons_tested():
    """Those that no qtest expects"""
    folder = os.path.join(TOP, 'tests', 'qtest')
    tests = ''.join(read(os.path.join('tests', 'qtest', name))
                    for name in sorted(os.listdir(folder))
                    if name.endswith('-test.c'))
    # needs hardware
    return [value for value in spoken()
            if f'"{value}"' not in tests and value != 'rdma']


def events():
    """Types of the event: documented, and expected by a test"""
    types = enum(read('qapi/pagecache.json'), 'PagecacheEventType')
    guide, test = read(GUIDE), read(EVENTS)
    return [t for t in types if f'``{t}``' not in guide
            or f'"{t}"' not in test]


def constants():
    return {name: int(value, 0) for name, value in re.findall(
        r'^#define (PAGECACHE_\w+)\s+(0x[0-9a-f]+|\d+)\b', read(HEADER),
        re.M)}


def numbers():
    """Limits of the wire format, as they stand in its description"""
    value, text = constants(), words(read(WIRE))
    frame = re.search(r'FRAME_MAX +\(([0-9 *]+)\)', read(HEADER))[1]
    expected = {
        'magic': f'magic, 0x{value["PAGECACHE_WIRE_MAGIC"]:08x}',
        'version': f'version, {value["PAGECACHE_WIRE_VERSION"]} ',
        'frame': f'at most {math.prod(map(int, frame.split("*")))}',
        'disks': f'disks, at most {value["PAGECACHE_WIRE_MAX_DISKS"]}',
        'blocks': f'RAM blocks, at most {value["PAGECACHE_WIRE_MAX_BLOCKS"]}',
        'offer': f'{value["PAGECACHE_WIRE_OFFER_LEN"]} bytes each',
        'secret': f'{value["PAGECACHE_SECRET_MIN"]} to '
                  f'{value["PAGECACHE_SECRET_MAX"]}',
        'length of the secret': f'{value["PAGECACHE_SECRET_LEN"]} bytes',
        'digest': f'{value["PAGECACHE_DIGEST_LEN"]} bytes of a digest',
        'report': f'{value["PAGECACHE_REPORT_MAX"]} bytes at most',
    }
    return [name for name, phrase in expected.items() if phrase not in text]


def numbered(prefix, names, what):
    """Rows "number NAME" of a table in the wire format"""
    text, missing = words(read(WIRE)), []
    for name in names:
        number = constants()[f'{prefix}_{name}']
        if f'{number} {name} ' not in text:
            missing.append(f'{what} {number} {name}')
    return missing


def frames():
    names = ('START', 'OFFERS', 'END', 'SWITCH', 'DIGESTS', 'MAP', 'TOTALS')
    return numbered('PAGECACHE_WIRE', names, 'frame')


def statuses():
    names = re.findall(r'#define PAGECACHE_REPORT_([A-Z]+) +\d +/\*',
                       read(HEADER))
    assert len(names) >= 6, names
    return numbered('PAGECACHE_REPORT', names, 'status')


def section():
    """Of the section, and of the message"""
    numbers_ = re.findall(r'PAGECACHE_(?:SECTION_ID|RP_MESSAGE)\s+(0x\w+)',
                          read('migration/pagecache-hooks.h'))
    assert len(numbers_) == 2, numbers_
    return [n for n in numbers_ if n not in read(WIRE)]


def claims():
    states = re.findall(r'PAGECACHE_CLAIM_([A-Z]+),',
                        read('migration/pagecache-claim.h'))
    assert len(states) >= 5, states
    return [s for s in states if s not in read(DESIGN)]


def faults():
    """Each fault on purpose, and each of their parameters"""
    code, text = read('util/pagecache-fault.c'), read(FAULTS)
    names = re.findall(r'\[PAGECACHE_FAULT_\w+\] = \{ "([a-z-]+)"', code)
    enumerated = re.findall(r'^    (PAGECACHE_FAULT_[A-Z_]+),$',
                            read('include/qemu/pagecache-fault.h'), re.M)
    parameters = re.findall(r'\{ "(\w+)", offsetof\(Settings', code)
    assert len(names) == len(enumerated) - 1 > 30, (names, enumerated)
    assert len(parameters) > 5, parameters
    missing = [n for n in names + parameters if f'``{n}``' not in text]
    gone = [n for n in re.findall(r'^``([a-z-]+-[a-z]+)``  ', text, re.M)
            if n not in names]
    return missing + gone


def options():
    """Of pagecache-top; argparse adds --help"""
    names = re.findall(r"'(--[a-z]+)'",
                       read('contrib/pagecache-top/pagecache_top/cli.py'))
    assert len(names) > 8, names
    guide = read(GUIDE)
    return [n for n in set(names) - {'--version'} if n not in guide]


def limits():
    """What the design says of window and hints"""
    pace = read('migration/pagecache-pace.h')
    source = read('migration/pagecache-src-proof.c')
    design = words(read(DESIGN))

    def value(text, name):
        return re.search(name + r'\s+\(?(\d+)', text)[1]

    expected = (
        value(pace, 'PAGECACHE_WINDOW_MS') + ' ms',
        value(pace, 'PAGECACHE_WINDOW_MIN') + ' MiB',
        value(pace, 'PAGECACHE_CHANNEL_LOW_MS') + ' ms',
        value(pace, 'PAGECACHE_CHANNEL_CHUNK_MS') + ' ms',
        f'{int(value(source, "BREAKER_PAGES")):,}',
        value(read('migration/pagecache-hints.c'), 'QUEUE_MAX') + ' Ki hints',
    )
    return [e for e in expected if e not in design]


def links():
    """Files of ours that a document names"""
    return [name for page in sorted(pages()) for name in dangling(page)]


def dangling(path):
    roots = 'docs|guest|include|migration|scripts|tests|qapi|hw|block'
    named = re.findall(rf'`(?:[^`<]*<)?((?:{roots})/[\w./-]+\w)>?`',
                       read(path))
    return [f'{path}: {n}' for n in named
            if not os.path.exists(os.path.join(TOP, n))]


def pages():
    for folder, _, names in os.walk(os.path.join(TOP, 'docs')):
        for name in names:
            if name.endswith('.rst'):
                yield os.path.relpath(os.path.join(folder, name), TOP)
    yield 'README.rst'


def tests_named():
    """Each test that a document names is in the sources."""
    known = named_tests.sources()
    return [f'{page}: {name}' for page in sorted(pages())
            for name in named_tests.find(read(page), known)[1]]


def tests_of_failures():
    """What the design says of failures: each row names a test."""
    known = named_tests.sources()
    rows = named_tests.rows(read(DESIGN), 'When things go wrong')
    assert len(rows) > 8, rows
    return [row.split('\n')[0] for row in rows
            if not named_tests.find(row, known)[0]]


def tests_of_claims():
    """What is said of hostile guests, users, tenants, peers: the same."""
    known = named_tests.sources()
    page = read(SECURITY)
    titles = re.findall(r'^(A hostile .*)\n-+$', page, re.M)
    assert len(titles) == 4, titles
    return [row.split('\n')[0] for title in titles
            for row in named_tests.rows(page, title)
            if not named_tests.find(row, known)[0]]


def qtests_listed():
    """Each qtest of ours stands in the list of hazards."""
    return named_tests.unlisted(read(HAZARDS))


def hazards_files():
    """Each row there names tests, and files that have them."""
    return named_tests.misplaced(read(HAZARDS))


def main():
    tests = (figures, settings, reasons, reasons_tested, events, numbers,
             frames, statuses, section, claims, faults, options, limits,
             links, tests_named, tests_of_failures, tests_of_claims,
             qtests_listed, hazards_files)
    lists.run('docs', tests, 'not documented, or otherwise: ')


if __name__ == '__main__':
    main()
