# Each target sets up what it needs, so that `make demo` or `make test` is the first and only command on a new machine.
# Needed beforehand: make, Python 3.10 or later with its venv module, and a package index that pip can reach.
PYTHON ?= python3

# A module is compiled when it is first imported, which most of those that are installed never are: to compile them all
# takes pip as long as all else that it does.
export PYTHONDONTWRITEBYTECODE :=

BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check --constraint constraints.txt
CODE := benchmarks examples magical_hub tests $(wildcard hubconf.py)

TESTS := --numprocesses 2 --dist loadfile --no-loadscope-reorder -r s

.PHONY: demo test test-slow test-machines docs style quality clean
.DELETE_ON_ERROR:

demo: .venv/demo.stamp
	$(BIN)/python examples/demo.py --output-dir demo

test: .venv/dev.stamp
	$(BIN)/python -m pytest $(TESTS)

test-slow: .venv/dev.stamp
	$(BIN)/python -m pytest -m slow

test-machines: .venv/dev.stamp
	$(BIN)/python tests/machines.py $(TESTS)

docs: .venv/dev.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

style: .venv/dev.stamp
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

quality: .venv/dev.stamp
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/mypy

clean:
	rm -rf .venv build demo dist site .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment for all targets. Installing more never takes anything away, so the two stamps get along; making the
# environment again where it stands is harmless, and mends one whose making was cut off. The pip that comes with Python
# takes twice as long as its latest. torchvision goes into a folder of its own: a build of it whose compiled part wants
# another torch would break those of the other libraries that import it where it is installed.
.venv/demo.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	$(INSTALL) --editable .
	touch $@

.venv/dev.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) --upgrade pip
	$(INSTALL) --editable '.[dev]'
	-$(INSTALL) --no-deps --upgrade --target .venv/torchvision torchvision  # without it, its tests are skipped
	touch $@ .venv/demo.stamp
