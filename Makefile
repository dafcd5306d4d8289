# Everloop: the verbs of a developer. `make help` lists them; CI calls only these.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PY ?= python3
BIN := .venv/bin
JOBS ?= 2
TESTS ?= tests
MINUTES ?= 30
DIR ?= flights-demo
CHROMIUM ?= /usr/bin/chromium
PYTEST := $(BIN)/python -m pytest
# Whole files to whoever is free, in the order that tests/support/longest_first.py gives.
SPREAD := --dist loadfile --no-loadscope-reorder
export UV_NO_PROGRESS := 1

.PHONY: help setup mlflow-clients peers ui fmt fmt-check lint types layers test test-core test-pages test-slow docs reference check demo bench soak soak-pipelines lock clean
help:           ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

# ---- set-up: every verb below depends on it, and a second call finds nothing to do -----------------------------------
$(BIN)/uv: requirements/bootstrap.txt
	@$(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@test -x $(BIN)/python || $(PY) -m venv .venv || { rm -rf .venv; echo "On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
		-r requirements/bootstrap.txt 2> >(grep -v 'is ignored: it is neither a file nor a directory' >&2 || true)
	@touch $@
.venv/.ready: requirements/dev.txt pyproject.toml hatch_build.py $(BIN)/uv
	@echo "Setting up .venv (once) ..."
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes --no-build-isolation requirements/dev.txt requirements/bootstrap.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib src >/dev/null || true  # else, where Python writes no bytecode, each process compiles it all
	@touch $@

# The pages are built into the package; the stamp holds a digest of ui/, so an unchanged ui/ is not built again.
UI_STAMP := src/everloop/server/_ui/.stamp
UI_SOURCES := $(shell find ui -name node_modules -prune -o -type f -print 2>/dev/null)
$(UI_STAMP): $(UI_SOURCES) hatch_build.py | .venv/.ready
	@$(BIN)/python hatch_build.py
	@touch $@

# MLflow's own clients, unmodified, each in an environment of its own: what the tests of its protocol run against.
.venv-%/.ready: requirements/%.txt | $(BIN)/uv
	@echo "Setting up .venv-$* (once) ..."
	@test -x .venv-$*/bin/python || $(BIN)/uv venv --quiet --python $(BIN)/python .venv-$*
	@$(BIN)/uv pip sync --quiet --python .venv-$*/bin/python --require-hashes $<
	@$(BIN)/python -m compileall -q -j 0 .venv-$*/lib >/dev/null || true
	@touch $@
mlflow-clients: .venv-mlflow3/.ready .venv-mlflow2/.ready    ## the MLflow clients that tests/wire/mlflow runs
peers: .venv-peers/.ready .venv-peers-data/.ready .venv-peers-pipelines/.ready    ## the tools that bench/ compares with

setup: .venv/.ready $(UI_STAMP)    ## make .venv with pinned, hashed packages and install Everloop into it
ui: setup       ## build the web pages' scripts and styles, if ui/ changed

# ---- the jobs --------------------------------------------------------------------------------------------------------
demo: setup     ## the whole life cycle on real flights, told as a story (DIR=flights-demo)
	@$(BIN)/everloop demo flights --dir $(DIR)
test: test-core test-pages    ## all tests but the slow ones
# They wait for disks and other processes, so that two cores carry three of them.
test-core: JOBS = 3
test-core: setup mlflow-clients    ## all tests but the pages and the slow ones (TESTS=tests/unit ARGS="-k ledger" JOBS=1 narrow)
	@$(BIN)/python -m compileall -q -j 0 src >/dev/null || true  # else, where Python writes no bytecode, hundreds of processes compile what was edited
	@$(PYTEST) $(TESTS) --ignore=tests/pages -m "not slow" -n $(JOBS) $(SPREAD) $(ARGS)
# Playwright keeps an event loop in the main thread, which other async tests cannot share: hence a run of its own.
test-pages: setup    ## the pages in a real browser; without Chromium they are skipped, in CI that is an error
	@if test -x $(CHROMIUM); then $(PYTEST) tests/pages -m "not slow" -n $(JOBS) $(SPREAD) $(ARGS); \
	elif test -n "$${CI:-}"; then echo "Chromium is missing: apt-get install --no-install-recommends chromium"; exit 1; \
	else echo "Pages not tested: Chromium is missing (apt-get install --no-install-recommends chromium)"; fi
test-slow: JOBS = 3
test-slow: setup mlflow-clients    ## what `make test` leaves out: tests marked `slow`, and the random ones with four times the examples
	@HYPOTHESIS_PROFILE=slow $(PYTEST) $(TESTS) --ignore=tests/pages -m "slow or hypothesis" --timeout 600 -n $(JOBS) $(SPREAD) $(ARGS)
docs: setup     ## run every example in the documents and the docstrings
	@$(PYTEST) README.md docs src/everloop --doctest-modules --ignore-glob="*/migrations/*" -n $(JOBS) --dist loadfile
reference: setup    ## write docs/reference/ anew from the code: after a changed command, operation, public name or decision
	@$(BIN)/python docs/reference/generate.py
fmt: setup      ## format the code and repair what ruff can repair
	@$(BIN)/ruff check --quiet --fix-only .
	@$(BIN)/ruff format --quiet .
fmt-check: setup
	@$(BIN)/ruff format --check --quiet . || { $(BIN)/ruff format --check .; echo "Run: make fmt"; exit 1; }
lint: setup     ## ruff's rules
	@$(BIN)/ruff check .
types: setup    ## mypy; strict for domain, stats, store and errors
	@$(BIN)/mypy
layers: setup   ## the rooms' order (import-linter)
	@$(BIN)/lint-imports
check: fmt-check lint types layers test docs    ## format, lint, types, layers, tests, examples; CI runs this and test-slow
	@echo "make check: all green"

bench: setup peers    ## the measurements under bench/, each a script that prints its figures
	@for script in bench/bench_*.py bench/*/bench_*.py; do echo "== $$script"; $(BIN)/python $$script $(ARGS); done
soak: setup     ## contracts and crash tests again and again with new random examples, for MINUTES=30
	@end=$$(( $$(date +%s) + $(MINUTES) * 60 )); round=0; \
	while test $$(date +%s) -lt $$end; do round=$$(( round + 1 )); echo "== round $$round"; \
	HYPOTHESIS_PROFILE=soak $(PYTEST) tests/contracts tests/crash tests/unit -n $(JOBS) --dist loadfile -q; done
soak-pipelines: setup    ## KILLS=100 times kill -9 while pipelines run, a cluster that loses a node, a store that goes away, the demo on every executor
	@EVERLOOP_TEST_KILLS=$(or $(KILLS),100) $(PYTEST) tests/crash/test_pipelines_harness.py $(addprefix tests/crash/test_pipelines_,ray_nodes.py flights_ray.py store_away.py) -s $(ARGS)

# ---- housekeeping ----------------------------------------------------------------------------------------------------
# --upgrade, or old pins would be kept as preferences. The files hold versions and hashes, never an address.
LOCK := $(BIN)/uv pip compile --quiet --universal --upgrade --python-version 3.11 --generate-hashes --no-header --no-annotate
lock: $(BIN)/uv    ## new pins for requirements/*.txt from requirements/*.in
	@$(LOCK) requirements/bootstrap.in -o requirements/bootstrap.txt
	@$(LOCK) --no-emit-package everloop requirements/dev.in -o requirements/dev.txt
	@$(LOCK) requirements/mlflow3.in -o requirements/mlflow3.txt
	@$(LOCK) requirements/mlflow2.in -o requirements/mlflow2.txt
	@$(LOCK) requirements/peers.in -o requirements/peers.txt
	@$(LOCK) requirements/peers-data.in -o requirements/peers-data.txt
	@$(LOCK) requirements/peers-pipelines.in -o requirements/peers-pipelines.txt
clean:          ## remove what was built and cached; keeps .venv and demo folders
	@rm -rf build dist src/everloop/server/_ui ui/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	@find src tests bench examples docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
