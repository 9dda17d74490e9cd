# Every target sets itself up on a fresh machine: Python 3.11+, make and a package index are all it needs.

PYTHON ?= python3
VENV   ?= .venv
PY     := $(VENV)/bin/python
STAMP  := $(VENV)/.installed

# Two threads of a BLAS on two cores fight with the interpreter; one thread is as fast here and repeatable.
export OMP_NUM_THREADS ?= 1
export MKL_NUM_THREADS ?= $(OMP_NUM_THREADS)
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_OFFLINE ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1
export PIP_NO_INPUT ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all test-browser lint format bundle clean

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(STAMP) ## Make .venv and install anygen into it (editable, pinned)

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) found, Python 3.11 or newer expected: make PYTHON=python3.11 ..." >&2; exit 2; }
	@test -x $(PY) || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (minutes the first time) ..." >&2
	@$(PY) -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP) ## Answer real mixed inputs with the bundled model; results in demo/
	@rm -rf demo
	@$(PY) examples/demo.py --out demo

test: $(STAMP) ## The default tests
	@$(PY) -m pytest -q

test-all: $(STAMP) ## The default tests and the slow ones
	@$(PY) -m pytest -q -m 'not gpu and not weights and not browser'

test-browser: $(STAMP) ## The app's tests in Chromium (Debian's chromium, or any on the PATH)
	@$(PY) -m pytest -q -m browser

# import-linter and mypy cannot see the package-dir mapping of an editable install: they get an installed copy.
lint: $(STAMP) ## ruff, import-linter and mypy
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@rm -rf build/lib build/bdist.* build/lint
	@$(PY) -m pip install --quiet --no-deps --no-build-isolation --target build/lint .
	@cd build/lint && $(CURDIR)/$(VENV)/bin/lint-imports --no-logo --config $(CURDIR)/pyproject.toml
	@cd build/lint && $(CURDIR)/$(PY) -m mypy --config-file $(CURDIR)/pyproject.toml \
	  --cache-dir $(CURDIR)/.mypy_cache -p anygen

format: $(STAMP) ## Rewrite the sources as `make lint` wants them
	@$(VENV)/bin/ruff check --fix .
	@$(VENV)/bin/ruff format .

bundle: $(STAMP) ## Train toybox-tiny from nothing, step by step; goes on where it was stopped
	@$(PY) -m anygen.stages.bundle

clean: ## Remove what the targets made, but for .venv and runs/
	rm -rf build dist demo *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
