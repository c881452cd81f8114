# Every target sets itself up: all it needs is Python 3.11 and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
WORKERS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test test-all check lint types floors bench bench-peers bench-shapes format clean

help:  ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lash needs Python 3.11 or newer; set PYTHON=python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing lash and its tools into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(STAMP)  ## kill an agent in the middle of a turn and watch it resume
	@$(BIN)/lash demo

test: $(STAMP)  ## run the test suite, without what takes long
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow"

test-all: $(STAMP)  ## run every test there is, processes killed at random for minutes included
	@LASH_LONG=1 $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

lint: $(STAMP)
	@$(BIN)/ruff check --no-cache .
	@$(BIN)/ruff format --check .

types: $(STAMP)
	@$(BIN)/mypy

floors: $(STAMP)
	@$(BIN)/lint-imports

check: lint types floors test  ## lint, types, floors, tests

bench: $(STAMP)  ## measure lash beside what the machine can do
	@cd bench && ../$(BIN)/python -m side_by_side

bench-peers: $(STAMP)  ## measure lash beside DBOS, LangGraph, Pydantic AI, OpenAI Agents and Restate
	@cd bench && ../$(BIN)/python -m side_by_side --peers --keep results

bench-shapes: $(STAMP)  ## measure how cost grows: turns, effects, sessions, processes, tool calls
	@$(BIN)/python bench/turn.py
	@$(BIN)/python bench/effects.py
	@$(BIN)/python bench/session.py
	@$(BIN)/python bench/processes.py
	@$(BIN)/python bench/tools.py

format: $(STAMP)
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

clean:
	rm -rf $(VENV) bench/.venv-peers .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
