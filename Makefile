# `make run` and `make test` do all the set-up themselves; Python 3.11 or newer.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Two workers, each with a tiny model: JAX compiles more than it computes in the tests.
PYTEST := $(BIN)/python -m pytest -n 2 --dist loadfile
NEWEST := build/newest

.PHONY: run test newest slow check-all lint types docs audit clean

run: $(VENV)/run.stamp
	$(BIN)/gpt2-jax finetune $(ARGS)

# JAX compiles more than it computes here, so XLA is told to optimise less; `slow` runs
# what compares with PyTorch, and the steps, as users run them.
test: $(VENV)/dev.stamp
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(PYTEST)

# The same on the newest version of everything, in an environment made anew. Once a week:
# make newest PYTHON=python3.13
newest:
	rm -rf $(NEWEST)
	$(MAKE) test VENV=$(NEWEST)

slow: $(VENV)/dev.stamp
	$(PYTEST) -m slow --durations=20
	$(PYTEST) tests/model/test_parity.py tests/engine/test_steps.py

# The programs of every size by the compilers of every accelerator; half an hour. What is
# in the table already is not compiled again.
check-all: $(VENV)/dev.stamp
	$(BIN)/python -m experiments.targets.run

lint: $(VENV)/dev.stamp
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: $(VENV)/dev.stamp
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/pyright --pythonpath $(BIN)/python --project .ci/strict.json

# The site, in build/site; a warning, such as a link to nowhere, is an error.
docs: $(VENV)/dev.stamp
	$(BIN)/python -m sphinx --quiet -W --keep-going -c docs . build/site

# Known vulnerabilities of what CI installs; asks PyPI, and fails where that is silent.
audit: $(BIN)/python
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/pip-audit --strict --require-hashes --disable-pip -r .ci/requirements.txt

clean:
	rm -rf $(VENV)

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "gpt2-jax needs Python 3.11 or newer; try make PYTHON=python3.12"; \
		exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/run.stamp: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[report]'
	touch $@

$(VENV)/dev.stamp: $(BIN)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@ $(VENV)/run.stamp
