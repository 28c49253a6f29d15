# Every target makes what it needs: a virtual environment in .venv with the versions of constraints.txt.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PACKAGES := ontology protocols resilience learning behaviours agents society

.PHONY: help demo test chaos failover cost compose-test check style types lock clean

help: ## show what can be made
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(VENV)/.demo ## train a classifier by contract net, and ask it for predictions
	@$(BIN)/python examples/demo.py

test: $(VENV)/.test ## run the whole test suite
	@$(BIN)/python -m pytest --numprocesses auto $(ARGS)

chaos: $(VENV)/.test ## kill processes at random while they talk, and look that nothing is lost
	@$(BIN)/python -m tests.chaos $(ARGS)

failover: $(VENV)/.test ## kill and freeze the leader of a group, and measure how soon another one leads
	@$(BIN)/python -m tests.failover --plot docs/failover.svg $(ARGS)

cost: $(VENV)/.test ## measure what the guarantees cost, over a real Prosody
	@$(BIN)/python -m tests.chaos.cost $(ARGS)

compose-test: $(VENV)/.test ## run docker-compose.yml, kill its containers in turn, and look that nothing is lost
	@$(BIN)/python -m tests.compose $(ARGS)

check: style types ## check style and types

style: $(VENV)/.test
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(VENV)/.test
	@$(BIN)/mypy

lock: ## renew constraints.txt from the newest versions that pyproject.toml admits
	rm -rf $(VENV)-lock
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --editable '.[learning,parquet,interop,owl,dev]' 'torch==2.13.0'
	@{ sed -n '/^#/p' constraints.txt; $(VENV)-lock/bin/python -m pip freeze --exclude-editable \
		| sed 's/+cpu$$//'; } > constraints.new && mv constraints.new constraints.txt
	rm -rf $(VENV)-lock

clean: ## remove the environment and everything that was made in it
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* .locution

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "make: Python 3.11 or newer is needed; install it and try again" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is too old; name a Python 3.11 or newer: make PYTHON=..." >&2; exit 1; }
	@echo "Making the virtual environment $(VENV)"
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "make: $(PYTHON) has no venv module; on Debian: apt-get install python3-venv" >&2; exit 1; }

$(VENV)/.demo: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing what the demo needs (a few minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[learning]'
	@touch $@

$(VENV)/.test: $(BIN)/python pyproject.toml constraints.txt
	@echo "Installing what the tests need (a few minutes the first time)"
	@$(PIP) install --quiet --constraint constraints.txt --editable '.[learning,parquet,interop,owl,dev]'
	@touch $@ $(VENV)/.demo
