# SPDX-License-Identifier: GPL-2.0-or-later
# Copyright (c) 2026 The skip-pagecache authors
"""
Watches a live migration that leaves out the page cache (skip-pagecache).

monitor       query-migrate, from a QMP socket or a libvirt domain
model         what it means: rates, states of the pages, time left
cache         query-pagecache, and what it means
view          that in lines of text
screen        lines of text on a terminal, in place
record        that as JSON
openmetrics   that for Prometheus
chart, page   the whole migration as one HTML page
files         replaced as a whole
cli           the program

Data flows in this order, and each knows the model only, but for cache, which
asks the monitor.  Python 3.8 and its standard library are enough.
"""

#: that of skip-pagecache as a whole
VERSION = '0.2.0'
