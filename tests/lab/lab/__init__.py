# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""Three hosts on one machine: network, iSCSI target, QEMU, Linux guest."""
