# SPDX-License-Identifier: GPL-2.0-or-later
#
# A thin front door; the logic stands in scripts/.

help:                   ## list the targets
	@echo 'usage: make TARGET'
	@sed -n 's/^\([a-z-]*\):  *## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 16

build:                  ## fetch, patch and compile QEMU in build/qemu
	@scripts/build-qemu

demo:                   ## migrate a Linux guest without its page cache (ARGS=...)
	@scripts/demo $(ARGS)

pagecache-top:          ## the tool that watches migrations as one file, build/pagecache-top
	@scripts/build-top

bench:                  ## what clients see of a migration, every way there is (FULL=1 ARGS=...)
	@scripts/bench $(if $(FULL),--full) $(ARGS)

check:                  ## all tests that fit in three quarters of an hour (ARGS=suite...)
	@scripts/check $(ARGS)

model:                  ## Spin checks the models of the protocol, part of check
	@scripts/check model

check-full:             ## the same and the slow ones, QEMU's own among them
	@scripts/check --full $(ARGS)

torture:                ## random migrations and faults (MINUTES=30 SEED=1 ARGS=...)
	@scripts/torture $(ARGS)

check-sanitize:         ## threads under TSan, qtests under ASan and UBSan
	@scripts/check sanitize

fuzz:                   ## libFuzzer on what others send (MINUTES=10)
	@scripts/fuzz $(ARGS)

check-libvirt:          ## a guest between two libvirt daemons (LIBVIRT=patched)
	@LIBVIRT=$(LIBVIRT) scripts/check libvirt

mbox:                   ## the series for qemu-devel as build/series.mbox
	@scripts/export-series

clean:                  ## remove everything that was made
	@scripts/clean

.PHONY: help build demo pagecache-top bench check model check-full check-libvirt check-sanitize fuzz torture mbox clean
