# Two commands do everything on a fresh machine: `make demo` and `make test`.
# PYTHON picks the interpreter, VENV the folder, PYTEST_ARGS is passed on:
#   make test PYTEST_ARGS='tests/catalog -x'

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PYTEST_ARGS ?=
# The first interpreter that is new enough.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: help venv demo test test-all lint format types docs serve wheel catalog clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

venv: $(STAMP) ## make the virtual environment and install xzoo into it

# The stamp is written last: a broken install is done again, a complete one is not.
$(STAMP): pyproject.toml
	@test -n "$(PYTHON)" || { echo "xzoo needs Python 3.11 or newer; python3 here is $$(python3 --version 2>&1)." \
		"Try: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "xzoo needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1)." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) has no venv module. On Debian and Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing xzoo into $(VENV) (PyTorch is large: minutes on a first install) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,docs,plots]'
	@touch $@

demo: $(STAMP) ## the main job on generated faces: fine-tune, evaluate, a table and a picture
	@$(BIN)/xzoo demo --output demo

test: $(STAMP) ## the default tests: no network, no accelerator
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(STAMP) ## what the default leaves out: slow, hub (on loopback) and browser tests
	@$(BIN)/python -m pytest -m '(slow or hub or browser) and not gpu' $(PYTEST_ARGS)

lint: $(STAMP) ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMP) ## let ruff mend what it can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(STAMP) ## mypy --strict on the package
	@$(BIN)/mypy

docs: $(STAMP) ## the site, into site/
	@$(BIN)/python docs/build_zoo.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

serve: $(STAMP) ## the site on http://127.0.0.1:8000, rebuilt as you write
	@$(BIN)/python docs/build_zoo.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs serve

catalog: $(STAMP) ## compile cards/ to xzoo/catalog/catalog.json
	@$(BIN)/python -m xzoo.cards.compile

wheel: $(STAMP) ## the wheel, into dist/
	@$(BIN)/hatchling build -t wheel

clean: ## remove what was made (not the virtual environment)
	rm -rf dist site docs/zoo demo demo-* .mypy_cache .ruff_cache .pytest_cache
