# Everything happens in .venv with the versions of constraints.txt; nothing global is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help quickstart test lint fuzz bench wheel-check clean

help:  ## Show the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-12s %s\n", $$1, $$2}'

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("seekbench needs Python 3.11 or newer, and %s is %d.%d: set PYTHON=python3.11 (or newer)" % (sys.executable, *sys.version_info[:2]) if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing seekbench into $(VENV) (a minute or two)"
	@# --no-compile: byte code is made for what is imported only, which saves half a minute
	@$(PIP) --no-compile -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(PIP) --no-compile -e '.[dev]'
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@$(PIP) --no-compile -e '.[bench]'
	@touch $@

quickstart: $(VENV)/.run  ## Set up, then BM25, a dense encoder and their fusion on two embedded datasets
	@$(BIN)/seekbench run quickstart

test: $(VENV)/.dev  ## Set up, then all tests (offline, CPU)
	@$(BIN)/python -m pytest

lint: $(VENV)/.dev  ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fuzz: $(VENV)/.dev  ## 100,000 inputs for the readers of runs and judgments (minutes)
	@$(BIN)/python tests/fuzz_readers.py

bench: $(VENV)/.bench  ## All benchmarks beside their peers (tens of minutes); one alone: python benchmarks/NAME.py
	@for script in benchmarks/[a-z]*.py; do echo "== $$script"; $(BIN)/python $$script || exit 1; done

wheel-check: $(VENV)/.dev  ## Build the wheel, install it into an empty venv, use it from another folder
	@bash .ci/wheel-check $(BIN)/python

clean:  ## Remove what was built
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
