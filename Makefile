# `make quickstart` and `make test` are the README's first two commands.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STORAGE ?= runs

.PHONY: install quickstart test test-all lint format types check picture audit benchmark clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed -c requirements.lock -e '.[dev]'
	# It asks for opencv-python, whose files opencv-python-headless brings as well.
	$(BIN)/python -m pip install --quiet --no-deps -c requirements.lock imagecorruptions-imaug
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

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: install
	$(BIN)/mypy

check: lint types test

# docs/architecture.svg, from the imports.
picture:
	$(PYTHON) docs/picture.py

# The audit tools have their own environment. Fails if a vulnerability is known or not all packages could be checked.
audit: install
	$(PYTHON) -m venv .audit
	$(PYTHON) infra/image/requirements.py audit > .audit/requirements.txt
	.audit/bin/python -m pip install --quiet -c requirements.lock -r .audit/requirements.txt
	.audit/bin/cyclonedx-py environment --pyproject pyproject.toml --output-file .audit/sbom.json $(BIN)/python
	.audit/bin/pip-audit --path $(VENV)/lib/python3.*/site-packages --format json --output .audit/pip-audit.json || true
	$(PYTHON) infra/image/verdict.py .audit/pip-audit.json

benchmark: install
	$(BIN)/python -m tests.benchmarks

clean:
	rm -rf $(VENV) .audit .pytest_cache .mypy_cache .ruff_cache
