# SPDX-License-Identifier: Apache-2.0
# The verbs that people type; CMakeLists.txt is the build.

PREFIX ?= /usr/local
FUZZ_SECONDS ?= 60
TORTURE ?= 200
BENCH ?= quick
LOAD_SECONDS ?= 600
EVAL ?= quick
JOBS ?= $(shell nproc)
NINJA := cmake --build build --parallel $(JOBS)

help:
	@echo "make deps     install what is missing (Debian 12 or 13, as root or with sudo)"
	@echo "make build    the program build/cmir and the library"
	@echo "make demo     a small archive of made-up scans, searched; leaves a report and a page to open"
	@echo "make check    every test"
	@echo "make eval     the evaluation tables of docs/results (EVAL=full: every study of real scans, half an hour)"
	@echo "make bench    timings, beside those of peers (BENCH=full: larger archives, long)"
	@echo "make fuzz     each fuzz target for FUZZ_SECONDS=$(FUZZ_SECONDS)"
	@echo "make torture  the service against TORTURE=$(TORTURE) made-up requests of each operation, and sequences;"
	@echo "              then two times LOAD_SECONDS=$(LOAD_SECONDS) of 32 clients"
	@echo "make install  into PREFIX=$(PREFIX)"
	@echo "make clean    remove what was built; keep what was downloaded"

deps:
	@scripts/deps.sh tests

build:
	@scripts/deps.sh web
	@scripts/web.sh
	@cmake -S . -B build -G Ninja $(CMAKE_FLAGS) >build/configure.log 2>&1 || \
	    { cat build/configure.log; exit 1; }
	@$(NINJA)

demo: build
	@scripts/demo.sh

check: deps
	@$(MAKE) --no-print-directory build
	@ctest --test-dir build --output-on-failure --parallel $(JOBS); status=$$?; \
	    grep -aE '^SKIPPED|^\[  SKIPPED \] test_' build/Testing/Temporary/LastTest.log; exit $$status

eval: deps
	@$(MAKE) --no-print-directory build
	@scripts/eval.sh $(EVAL)

bench:
	@scripts/deps.sh bench
	@$(MAKE) --no-print-directory build
	@bench/run.sh $(BENCH)

fuzz:
	@scripts/fuzz.sh $(FUZZ_SECONDS)

torture: deps
	@$(MAKE) --no-print-directory build
	@CMIR=build/cmir CMIR_SOURCE=. CMIR_TORTURE=$(TORTURE) PYTHONDONTWRITEBYTECODE=1 \
	    build/venv/bin/python -m pytest -q -rP -p no:cacheprovider tests/oracle/test_serve_schema.py
	@bench/serve.sh $(LOAD_SECONDS)

install: build
	@cmake --install build --prefix $(PREFIX)

clean:
	@[ ! -f build/build.ninja ] || ninja -C build -t clean >/dev/null

.PHONY: help deps build demo check eval bench fuzz torture install clean
