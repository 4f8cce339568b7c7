# `make demo` and `make test` are the two commands of the README; each sets up what it needs, once.
# Another interpreter: make PYTHON=python3.12 …   More arguments for the sweep: make demo ARGS=…

PYTHON ?= python3
VENV := .venv
BENCH_VENV := .bench-venv
PIP := -m pip --disable-pip-version-check install --quiet

# What pip builds from source, it builds with pinned tools too (the second name is newer pips').
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

# A stamp is named after what it stands for, so that a change sets up again and nothing else does.
STATE := $(shell { echo "$(CURDIR)"; cat pyproject.toml constraints.txt; } | cksum | cut -d' ' -f1)
BENCH_STATE := $(shell cat bench/requirements.txt | cksum | cut -d' ' -f1)
BASE := $(VENV)/.base-$(STATE)
DEV := $(VENV)/.dev-$(STATE)
SOAK := $(VENV)/.soak-$(STATE)
PEERS := $(BENCH_VENV)/.peers-$(BENCH_STATE)

.PHONY: setup demo test test-fast soak lint format reference versions families bench clean

setup: $(BASE)

demo: $(BASE)
	$(VENV)/bin/qpipe run demo $(ARGS)

# The kill and race tests want real processes beside each other: two workers, no more.
# Compiled first: hundreds of tests start `qpipe`, which would compile its source each time where
# PYTHONDONTWRITEBYTECODE is set.
test: $(DEV)
	$(VENV)/bin/python -m compileall -q qpipe tests
	$(VENV)/bin/python -m pytest -n 2 --dist loadgroup --max-worker-restart 1 \
		--cov=qpipe.core --cov-fail-under=95 $(ARGS)

# The daily loop: all but the tests marked slow, which are whole runs, real engines and long tables.
test-fast: $(DEV)
	$(VENV)/bin/python -m pytest -n 2 --dist loadgroup -m 'not slow and not soak' $(ARGS)

# A million superblocks of each compiled type against ggml, damaged files by the ten thousand, and each
# reader fuzzed by coverage for ten minutes: hours, so no part of `make test`. Less of the last:
# make soak SECONDS=60 ARGS='-k guided'
soak: SECONDS := 600
soak: $(SOAK)
	QPIPE_SOAK_SECONDS=$(SECONDS) $(VENV)/bin/python -m pytest -m soak -rP -o timeout=0 \
		-o faulthandler_timeout=0 $(ARGS)

lint: $(DEV)
	$(VENV)/bin/python -m ruff check
	$(VENV)/bin/python -m ruff format --check
	$(VENV)/bin/python -m mypy

format: $(DEV)
	$(VENV)/bin/python -m ruff check --fix
	$(VENV)/bin/python -m ruff format

# docs/reference/, written from the parameters' own descriptions, and docs/choosing.md with its Chinese
# twin, from the rules of advice; tests compare.
reference: $(DEV)
	$(VENV)/bin/qpipe settings -o docs/reference
	$(VENV)/bin/qpipe advise --pages docs

# The tables of tested versions in docs/engines.md; a test compares.
versions: $(DEV)
	$(VENV)/bin/python -m tests.versions

# Random checkpoints of every family by all ways, and the table in docs/gguf.md: some 20 minutes, or
# make families ARGS=NAME for one. llama-quantize takes part where it is on PATH.
families: $(DEV)
	$(VENV)/bin/python -m tests.gguf.families $(ARGS)

bench: $(DEV) $(PEERS)
	$(VENV)/bin/python -m bench --peers $(BENCH_VENV) $(ARGS)

# outputs/ stays: it is yours.
clean:
	rm -rf $(VENV) $(BENCH_VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis \
		.coverage .coverage.* bench/results
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 14))' || { \
		echo "qpipe needs Python 3.10 to 3.13, and \`$(PYTHON)\` is $$($(PYTHON) --version 2>&1):" \
			"name another one, as in make PYTHON=python3.12" >&2; exit 2; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version)" >&2
	$(PYTHON) -m venv --clear $(VENV)

$(BASE): | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --editable .
	@touch $@

$(DEV): | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --editable '.[dev]'
	@touch $(BASE) $@

$(SOAK): | $(VENV)/bin/python
	$(VENV)/bin/python $(PIP) --editable '.[dev,soak]'
	@touch $(BASE) $(DEV) $@

$(PEERS): export PIP_CONSTRAINT := bench/requirements.txt
$(PEERS): export PIP_BUILD_CONSTRAINT := bench/requirements.txt
$(PEERS):
	$(PYTHON) -m venv --clear $(BENCH_VENV)
	$(BENCH_VENV)/bin/python $(PIP) --requirement bench/requirements.txt
	@touch $@
