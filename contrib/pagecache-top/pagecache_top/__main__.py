# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""python3 -m pagecache_top"""

import sys

from . import cli

sys.exit(cli.main())
