# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Files that others read while they are written."""

import os
import tempfile


def replace(path, text):
    """Write a file so that nobody ever reads half of it."""
    folder, name = os.path.split(os.path.abspath(path))
    # not *.prom, which the collector would read
    handle, made = tempfile.mkstemp('.tmp', f'.{name}.', folder)
    try:
        with os.fdopen(handle, 'w', encoding='utf-8',
                       errors='replace') as file:
            file.write(text)
            mask = os.umask(0)
            os.umask(mask)
            os.fchmod(file.fileno(), 0o666 & ~mask)
        os.replace(made, path)
    except BaseException:
        os.unlink(made)
        raise
