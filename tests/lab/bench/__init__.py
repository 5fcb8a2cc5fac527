# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""make bench: what a migration costs, and what the guest's clients see."""
