# Everything here runs in .venv, which is made on first use and kept until what decides its content changes.
# `make help` lists the targets. Another interpreter: `make PYTHON=/path/to/python3 test`.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAGE := build/typed
UP := ../..
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check --no-input
# A process a core and one thread in each: on two cores the suite takes half the time it takes in one process.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4

# A stamp's name carries checksums of what the environment is made from, so that neither the modification times of
# a fresh clone nor an environment copied from another folder is taken for a finished one. It is written last.
PLACE := $(shell printf '%s %s' '$(CURDIR)' '$(PYTHON)' | cksum | tr -d ' ')
CONTENT := $(shell cat pyproject.toml constraints.txt | cksum | tr -d ' ')
READY := $(VENV)/.ready-$(PLACE)-$(CONTENT)

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow lint style types layers stage clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(READY)-run ## the whole story on real data; makes .venv first if need be
	@$(BIN)/certify demo

test: lint ## linters, type checker, import rules, then every test that is not slow
	@echo "==> pytest"
	@$(PYTEST)

test-slow: $(READY)-dev ## the tests marked slow (minutes)
	@$(PYTEST) -m slow

lint: style types layers ## ruff, mypy and import-linter; stops at the first that complains

style: $(READY)-dev
	@echo "==> ruff check"
	@$(BIN)/ruff check .
	@echo "==> ruff format --check (to mend: $(BIN)/ruff format .)"
	@$(BIN)/ruff format --check .

# attacks/, unlearners/ and reports/ are installed inside certify, which neither mypy nor import-linter can follow
# through an editable install: both read a copy laid out by setuptools itself as in the wheel. (The empty variable
# keeps setuptools from warning, where bytecode is switched off, that it writes none; it never does here.)
stage: $(READY)-dev style
	@rm -rf $(STAGE) && mkdir -p $(STAGE)
	@PYTHONDONTWRITEBYTECODE= $(BIN)/python -c 'import setuptools; setuptools.setup()' \
		--quiet egg_info --egg-base build build_py --build-lib $(STAGE)

types: stage
	@echo "==> mypy (certify/attacks, certify/unlearners and certify/reports are top-level folders here)"
	@cd $(STAGE) && $(UP)/$(BIN)/python -m mypy -p certify --config-file $(UP)/pyproject.toml --cache-dir $(UP)/.mypy_cache

layers: types
	@echo "==> import-linter"
	@cd $(STAGE) && $(UP)/$(BIN)/lint-imports --no-logo --config $(UP)/pyproject.toml --cache-dir $(UP)/.import_linter_cache

clean: ## remove the environment, the caches and what was built
	@rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
	@echo "clean"

# An environment with no stamp of this place is unfinished, moved or foreign: it is made again from nothing. With one,
# only what the new content asks for is installed. torch goes first and alone, see constraints.txt.
define install
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
		echo "$(PYTHON) not found: install Python 3.11 or newer, or name yours: make PYTHON=/path/to/python3" >&2; exit 1; }
	@if $(BIN)/python -c '' 2>/dev/null && ls $(VENV)/.ready-$(PLACE)-* >/dev/null 2>&1; \
		then echo "==> updating $(VENV)"; \
		else echo "==> making $(VENV) (minutes the first time, seconds from then on)"; $(PYTHON) -m venv --clear $(VENV); fi
	@rm -f $(VENV)/.ready-*
	@echo "==> installing torch, by far the largest"
	@$(PIP) install -c constraints.txt "$$(grep '^torch==' constraints.txt)"
	@echo "==> installing $(1)"
	@$(PIP) install -c constraints.txt setuptools
	@$(PIP) install -c constraints.txt --no-build-isolation -e '$(2)'
endef

$(READY)-run:
	$(call install,certify and what it needs,.)
	@touch $@

$(READY)-dev:
	$(call install,certify and the developer tools,.[dev])
	@touch $(READY)-run $@
