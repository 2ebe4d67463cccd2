# Every target is one command for a newcomer; `make quickstart` and `make test` are the README's two.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STORAGE ?= runs

.PHONY: install quickstart test test-all lint types check benchmark clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed -c requirements.lock -e '.[dev]'
	touch $@

quickstart: install
	$(BIN)/raybench run experiments/quickstart.yaml --storage $(STORAGE)

test: install
	$(BIN)/python -m pytest -m "not slow"

test-all: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

check: lint types test

benchmark: install
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
