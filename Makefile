# `make run` trains the quickstart model through every part; `make test` runs the tests. Both set up `.venv` first.
# `make test-vllm` runs the tests that need vLLM, which gets an environment of its own.

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
VLLM_VENV ?= .venv-vllm

.PHONY: run test test-vllm check clean

run: $(VENV)/.run
	$(BIN)/python -m examples.quickstart

test: $(VENV)/.test $(VENV)/.peers
	$(BIN)/python -m pytest

test-vllm: $(VENV)/.test $(VLLM_VENV)/.vllm
	ASSAY_VLLM_PYTHON=$(abspath $(VLLM_VENV))/bin/python $(BIN)/python -m pytest -m vllm

# What CI holds the tree to beside the tests.
check: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/pyright
	$(BIN)/python -m protos.generate --check

clean:
	rm -rf $(VENV) .venv-vllm .assay runs

# torch first: packages that ask for plain `torch` then find the pinned build, which may be one for CPUs only.
$(VENV)/.torch: constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 is needed: no '$(PYTHON)' on the PATH (or say make PYTHON=/path/to/python3.11)"; exit 1; }
	@echo "setting up $(VENV): some minutes, the first time only"
	$(PYTHON) -m venv $(VENV) || { echo "on Debian: apt-get install python3.11-venv"; exit 1; }
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 --constraint constraints.txt
	touch $@

$(VENV)/.run: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[all]' --constraint constraints.txt
	touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev]' --constraint constraints.txt
	touch $@ $(VENV)/.run

# The other trainers that tests/services/adapters calls: beside the project's packages and never among them.
$(VENV)/.peers: $(VENV)/.test tests/peers.txt
	rm -rf $(VENV)/peers
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/peers/site-packages -r tests/peers.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --target $(VENV)/peers/rubric/site-packages verifiers==0.3.1
	touch $@

$(VLLM_VENV)/.vllm: requirements-vllm.txt
	@echo "setting up $(VLLM_VENV): some minutes and 3 GB, the first time only"
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --requirement requirements-vllm.txt
	touch $@
