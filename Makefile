# One command each, on a fresh machine: `make demo`, `make test`. What is installed once is not installed again.

PYTHON ?= python3.11
BIN := .venv/bin
# The interpreter that is there, or an error; never one from the network.
export UV_PYTHON_DOWNLOADS := never
INSTALL = $(BIN)/uv pip install --quiet --python $(BIN)/python --compile-bytecode --constraints constraints.txt
COMPILE = $(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links --no-sources
PEERS := browser databroker1 dranspose hdf5_1_12 tickit viewers
# Needs a C compiler and a minute, so only on request: `make peers PEERS=pymca`.
MORE_PEERS := pymca

.DEFAULT_GOAL := help
.PHONY: help demo test lint format bench docs peers ipython lock clean

help: ## list these targets
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

demo: .venv/demo ## simulated detector, file, scans, catalog: the whole path, without hardware
	$(BIN)/streamdet demo $(ARGS)

test: .venv/dev ## run the tests; ARGS="tests/unit -k ledger" chooses some
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/dev ## ruff, pyright, import-linter
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports --no-logo

format: .venv/dev ## put the code in the form that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: .venv/dev ## measure the service against the limits of this machine
	$(BIN)/python benchmarks/run.py $(ARGS)
	$(BIN)/python benchmarks/writer.py
	$(BIN)/python benchmarks/repeater.py
	$(BIN)/python benchmarks/xspress3.py
	$(BIN)/python benchmarks/transforms.py
	$(BIN)/python benchmarks/scans.py
	$(BIN)/python benchmarks/crystfel.py
	$(BIN)/python benchmarks/peaks.py

docs: .venv/dev ## build the pages; a warning fails
	$(BIN)/sphinx-build -q -W --keep-going -b html docs build/docs

peers: $(PEERS:%=.peers/%/ready) ## third-party parts for tests that cannot share our environment

ipython: .venv/dev ## an IPython session with the simulated detector and a RunEngine
	$(BIN)/ipython --profile-dir=profile_collection

lock: .venv/dev ## choose the newest versions that fit, and pin them
	sed -n '/^#/p' constraints.txt > build.lock
	$(COMPILE) pyproject.toml --all-extras --group dev --group docs >> build.lock
	mv build.lock constraints.txt
	for peer in $(PEERS) $(MORE_PEERS); do $(COMPILE) tests/peers/$$peer.in > tests/peers/$$peer.txt || exit 1; done

clean: ## remove what is built, environments too
	rm -rf .venv .peers build .pytest_cache .ruff_cache .import_linter_cache .hypothesis

$(BIN)/uv:
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv

.venv/demo: $(BIN)/uv pyproject.toml constraints.txt
	$(INSTALL) --editable ".[demo]"
	@touch $@

.venv/dev: $(BIN)/uv pyproject.toml constraints.txt
	$(INSTALL) --editable ".[demo]" --group dev --group docs
	@touch $@ .venv/demo

.peers/%/ready: tests/peers/%.txt | $(BIN)/uv
	$(PYTHON) -m venv --without-pip .peers/$*
	$(BIN)/uv pip install --quiet --python .peers/$*/bin/python --requirement $<
	@touch $@
