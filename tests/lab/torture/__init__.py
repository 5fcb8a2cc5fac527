# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""make torture: randomized migrations of a guest that writes all the time."""
