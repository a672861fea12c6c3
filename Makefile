# Every target sets itself up on a fresh machine: python3 and a network to the package registry are all it needs.
VENV := .venv
BIN := $(VENV)/bin
ifeq ($(OS),Windows_NT)
BIN := $(VENV)/Scripts
endif
PYTHON ?= python3

.PHONY: demo setup test test-all lint bench bench-quick bench-peers clean

$(VENV)/.core: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet "torch==2.13.0"
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	@touch $@

demo: $(VENV)/.core       ## merge the example family with every example recipe and measure the results
	$(BIN)/python examples/demo.py

setup: $(VENV)/.dev       ## everything that development needs

test: $(VENV)/.dev        ## the suite, under 5 minutes on 2 cores
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not full"

test-all: $(VENV)/.dev    ## the suite with full counts, under 15 minutes on 2 cores
	$(BIN)/python -m pytest -n 2 --dist worksteal

lint: $(VENV)/.dev        ## style, types, direction of imports, and the ban on library calls on the data path
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/lint_data_path.py

bench: $(VENV)/.core      ## every method beside the floor, 1.1 billion parameters (up to 20 GB of scratch)
	$(BIN)/python -m benchmarks.bench $(if $(METHODS),--methods "$(METHODS)")

bench-quick: $(VENV)/.core ## every method once, 100 million parameters
	$(BIN)/python -m benchmarks.bench --size 100m --parts methods --repeat 1 --name quick

bench-peers: $(VENV)/.core ## smelt and mergekit 0.1.5 on the same recipes (PEER_METHODS= chooses)
	$(BIN)/python -m benchmarks.peers $(if $(PEER_METHODS),--methods "$(PEER_METHODS)")

clean:
	rm -rf $(VENV) build *.egg-info src/*.egg-info
