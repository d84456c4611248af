# Tagtrail: `make demo` runs it, `make test` proves it. Only Python >= 3.11 and make are needed.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export PYTHONDONTWRITEBYTECODE ?=
.DEFAULT_GOAL := help

.PHONY: help
help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## / — /' | sort

$(VENV)/.runtime: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("Tagtrail needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Set PYTHON=/path/to/python3.11.") if sys.version_info < (3, 11) else None'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock $(VENV)/.runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable gateway-agent
	touch $@

.PHONY: demo
demo: $(VENV)/.runtime  ## run everything with a simulated warehouse and print the console's address
	@exec $(BIN)/tagtrail demo

.PHONY: setup
setup: $(VENV)/.dev  ## install what the tests need (Chromium through the system's packages)
	@$(BIN)/python tests/setup_browser.py

.PHONY: lint
lint: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

.PHONY: types
types: $(VENV)/.dev
	$(BIN)/mypy
	$(BIN)/basedpyright --level error

.PHONY: imports
imports: $(VENV)/.dev
	$(BIN)/lint-imports

.PHONY: check
check: lint types imports  ## lint, types, import rules, fast tests
	$(BIN)/pytest -q -n 2 -m "not slow"

.PHONY: test
test: setup lint types imports  ## everything: check, then all tests
	$(BIN)/pytest -q -n 3 --dist loadgroup

.PHONY: test-compose
test-compose: $(VENV)/.dev  ## the end-to-end test against composed containers (needs root and Debian's docker.io)
	$(BIN)/python -m tests.compose.run

.PHONY: lock
lock: $(VENV)/.dev  ## renew the lock files (hashes, no addresses)
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group build -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml --group build --group dev -o requirements-dev.lock
