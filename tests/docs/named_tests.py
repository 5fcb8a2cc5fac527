# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
The tests that a document names: are they there?

A document names a test in one of these ways:

``/pagecache/secret/collision``, ``virtio-pagecache/reset``
    by its path, as it stands in a source in tests/unit or tests/qtest, or as
    it is made there of a template and a name in a table;
``/pagecache/report/*``
    a group of them;
``the text of a check`` in ``tests/lab/test_iscsi.py``
    by what a script prints, where it can be found in the source, and the
    script.  A ``*`` stands for what is only known when it runs.
"""

import fnmatch
import glob
import os
import re

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.realpath(__file__))))
#: what the list of hazards has to have in full
QTESTS = 'tests/qtest/*pagecache*-test.c'
SOURCES = ('tests/unit/*.c', 'tests/qtest/*.c', 'tests/qtest/migration/*.c')
STRING = r'"((?:[^"\\]|\\.)*)"'
#: what takes the path of a test, first of all
ADDS = (r'\b(?:g_test_add\w*|qtest_add\w*|migration_test_add\w*|'
        r'g_strdup_printf)\(')
CHECK = re.compile(r'``([^`]+)``\s+in\s+``(tests/[\w./-]+\.(?:py|c|sh))``')
PATH = re.compile(r'``(/?[a-z][\w.-]*(?:/[\w.*-]+)+)``')


def read(path):
    with open(os.path.join(TOP, path), encoding='utf-8') as file:
        return file.read()


class Source:
    """The paths of the tests in one file, and those made of templates"""

    def __init__(self, text):
        named = [m[1] for m in re.finditer(ADDS + r'\s*((?:' + STRING +
                                           r'\s*(?:\w+\s*)?)+)', text)]
        names = [''.join(re.findall(STRING, n)) for n in named]
        # a macro that puts something in front of each name
        for macro, prefix in re.findall(r'#define (\w+)\(name,.*\\\n\s*'
                                        r'g_test_add\("([^"]+/)" *name',
                                        text):
            names += [prefix + n for n in re.findall(
                r'\b' + macro + r'\(\s*' + STRING, text)]
        names = [n for n in names
                 if re.fullmatch(r'/?[a-z][\w-]*(/[\w.%-]+)+', n)]
        self.paths = {n for n in names if '%' not in n}
        self.templates = [self.template(n) for n in names if '%' in n]
        self.strings = set(re.findall(STRING, text))

    @staticmethod
    def template(text):
        parts = re.split(r'(%\w+)', text)
        return re.compile(''.join(
            (r'(.+)' if part == '%s' else r'\d+') if part.startswith('%')
            else re.escape(part) for part in parts))

    def unlisted(self, names):
        """Paths and templates that none of the names, or groups, means"""
        heads = tuple(n.split('*')[0] for n in names if '*' in n)
        missing = [p for p in self.paths
                   if p not in names and not p.startswith(heads)]
        for t in self.templates:
            text = t.pattern.replace('\\', '')
            # a part of a path is not one yet
            whole = 'pagecache' in text.lstrip('/').split('/')[0]
            if whole and not (text.startswith(heads) or
                              any(t.fullmatch(n) for n in names)):
                missing.append(text)
        return sorted(missing)

    def has(self, name):
        if '*' in name:
            head = name.split('*')[0]
            return (bool(fnmatch.filter(self.paths, name)) or
                    any(t.match(head + '0') for t in self.templates))
        if name in self.paths:
            return True
        matches = (t.fullmatch(name) for t in self.templates)
        return any(m and all(g in self.strings for g in m.groups())
                   for m in matches)


def sources():
    files = [f for pattern in SOURCES
             for f in glob.glob(os.path.join(TOP, pattern))]
    return [Source(read(f)) for f in files]


def is_printed(text, path):
    """Does this script print such a check?"""
    if not os.path.exists(os.path.join(TOP, path)):
        return False
    # one text for strings that stand in pieces on several lines
    source = re.sub(r"'\s*\n\s*f?'|\"\s*\n\s*f?\"", '', read(path))
    parts = [re.escape(p) for p in ' '.join(text.split()).split('*')]
    return re.search(r'[^\'"\n]*'.join(parts), source) is not None


def find(text, known):
    """(tests that are there, names that are no test) in a piece of a page"""
    roots = {n.split('/')[1 if n.startswith('/') else 0]
             for s in known
             for n in list(s.paths) + [t.pattern for t in s.templates]}
    roots = {r.replace('\\', '') for r in roots}
    good, bad = [], []
    for check, path in CHECK.findall(text):
        named = f'{check} in {path}'
        (good if is_printed(check, path) else bad).append(named)
    for name in PATH.findall(text):
        if name.lstrip('/').split('/')[0] in roots:
            (good if any(s.has(name) for s in known) else bad).append(name)
    return good, bad


def rows(text, title):
    """The rows of the first list-table after a title, as pieces of text"""
    table = re.search(r'^' + re.escape(title) + r'\n[-=~]+\n(.*?)(?=^\S[^\n]*'
                      r'\n[-=~]{3,}\n|\Z)', text, re.S | re.M)[1]
    table = table[table.index('.. list-table::'):]
    return re.split(r'^   \* - ', table, flags=re.M)[2:]


def unlisted(text):
    """Qtests of ours that a page does not name"""
    names = PATH.findall(text)
    return [f'{os.path.basename(f)}: {path}'
            for f in sorted(glob.glob(os.path.join(TOP, QTESTS)))
            for path in Source(read(f)).unlisted(names)]


def misplaced(text):
    """
    What is wrong with the rows of the list of hazards: a test that is in none
    of the files which its row names, or a file that has none of the tests
    """
    bad = []
    for row in re.findall(r'^   \* - (.*?)(?=^   \* - |^\S|\Z)', text,
                          re.S | re.M):
        files = re.findall(r'[\w-]+\.c\b', row)
        names = PATH.findall(row)
        if row.startswith('hazard\n'):
            continue
        known = {f: Source(read(os.path.join('tests', 'qtest', f)))
                 for f in files
                 if os.path.exists(os.path.join(TOP, 'tests', 'qtest', f))}
        title = row.split('\n', maxsplit=1)[0]
        bad += [f'{title}: no file {f}' for f in files if f not in known]
        bad += [f'{title}: no file has {n}' for n in names
                if not any(s.has(n) for s in known.values())]
        bad += [f'{title}: {f} has none of the tests'
                for f, s in known.items() if not any(map(s.has, names))]
        if not files or not names:
            bad.append(f'{title}: names no file or no test')
    return bad
