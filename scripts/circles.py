#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""
Find C files that call each other, directly or by way of others.

    scripts/circles.py FILE...      says which, and exits with 1
    scripts/circles.py -v FILE...   first says which file calls whose functions

Looks at the text: at what a file defines for others, and where such a name
stands in another file.  Calls by pointer are no matter of this; they are how
something below calls what is above it.
"""

import os
import re
import sys

# a function that is not static, as QEMU's style and the kernel's write it
DEFINED = re.compile(r'^(?!static\b|typedef\b)[A-Za-z_][\w *]*?[ *](\w+)'
                     r'\([^;{}]*\)\s*\n\{', re.M)


def code(path):
    """The text of a file without its comments and strings."""
    with open(path, encoding='utf-8') as f:
        text = f.read()
    text = re.sub(r'/\*.*?\*/|//[^\n]*', ' ', text, flags=re.S)
    return re.sub(r'"(\\.|[^"\\\n])*"', '""', text)


def calls(paths):
    """{file: {file that it calls: functions}}"""
    texts = {path: code(path) for path in paths}
    defined = {name: path for path, text in texts.items()
               for name in DEFINED.findall(text)}
    found = {path: {} for path in paths}
    for path, text in texts.items():
        for name in sorted(set(re.findall(r'\w+', text)) & defined.keys()):
            if defined[name] != path:
                found[path].setdefault(defined[name], []).append(name)
    return found


def circles(found):
    """Sets of files each of which reaches all others of the set."""
    def reached(start):
        seen, todo = set(), [start]
        while todo:
            for path in found[todo.pop()]:
                if path not in seen:
                    seen.add(path)
                    todo.append(path)
        return seen

    reach = {path: reached(path) for path in found}
    return {frozenset(p for p in reach[path] if path in reach[p])
            for path in found if path in reach[path]}


def main():
    args = sys.argv[1:]
    verbose = args[:1] == ['-v']
    paths = args[verbose:]
    if not paths or paths[0].startswith('-'):
        sys.exit(__doc__.strip())
    found = calls(paths)
    if not any(found.values()) and len(paths) > 1:
        sys.exit('none of these files calls another: are they C?')
    if verbose:
        for path, callees in found.items():
            for callee, names in callees.items():
                print(f'{os.path.basename(path)} -> '
                      f'{os.path.basename(callee)}: {" ".join(names)}')
    bad = circles(found)
    for circle in bad:
        print('a circle:', ' '.join(sorted(circle)))
        for path in sorted(circle):
            for callee, names in found[path].items():
                if callee in circle:
                    print(f'  {path} calls {" ".join(names)} of {callee}')
    sys.exit(bool(bad))


main()
