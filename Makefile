# Sentinel. `make help` lists the targets.
# Everything is installed into .venv from requirements.lock; nothing needs root or Docker. The lock is complete, so pip
# resolves nothing (--no-deps): its resolver would look at releases newer than the lock, which have no hash here.

PORT ?= 8080
STATE ?= .sentinel
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

# Byte code makes cold starts shorter; some shells switch it off.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run demo replay test test-load test-cluster check format bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Sentinel needs Python 3.11 or later; try: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY) ## start the laptop platform in the foreground (PORT, STATE, KUBECONFIG, LOG_FORMAT)
	@exec $(BIN)/python -m knative.local --port $(PORT) --state $(STATE) $(if $(filter command line,$(origin KUBECONFIG)),--kubeconfig $(KUBECONFIG))

demo: $(READY) ## run five workloads through the chain on a temporary platform, and judge the outcomes (KUBECONFIG)
	@exec $(BIN)/python -m knative.local.tools.demo $(if $(filter command line,$(origin KUBECONFIG)),--kubeconfig $(KUBECONFIG))

replay: $(READY) ## replay a cluster trace: TRACE=pods.csv [NODES=nodes.csv] [LIMIT=n] [SPEED=x] [KEEP=1]
	@test -n "$(TRACE)" || { echo "usage: make replay TRACE=pods.csv [NODES=nodes.csv] [LIMIT=n] [SPEED=x] [KEEP=1]" >&2; exit 2; }
	@exec $(BIN)/python -m knative.local.tools.replay $(TRACE) $(if $(NODES),--nodes $(NODES)) $(if $(LIMIT),--limit $(LIMIT)) $(if $(SPEED),--speed $(SPEED)) $(if $(KEEP),--keep)

test: $(READY) ## the whole test suite with coverage; needs nothing but this machine
	$(BIN)/python -m pytest -n 3 --dist loadgroup -m "not cluster" --cov --cov-report=term-missing:skip-covered

test-load: $(READY) ## thousands of random plans decided by eight processes at once (minutes; SENTINEL_LOAD_STEPS, SENTINEL_LOAD_SEED)
	SENTINEL_LOAD_STEPS=$(or $(SENTINEL_LOAD_STEPS),400) $(BIN)/python -m pytest tests/shared/store/test_ledger_under_load.py

test-cluster: $(READY) ## the tests and the demo that need a disposable Kubernetes cluster (KUBECONFIG=path)
	@test -n "$(KUBECONFIG)" || { echo "make test-cluster needs KUBECONFIG=path of a disposable cluster (kind, kwokctl, or any other)" >&2; exit 2; }
	KUBECONFIG=$(KUBECONFIG) $(BIN)/python -m pytest -m cluster

check: $(READY) ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY) ## format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## benchmarks, as ratios against a peer in the same run
	$(BIN)/python -m tests.bench

lock: ## pin every dependency again, with hashes (needs uv; UPGRADE=1 takes newer releases)
	uv pip compile --universal --python-version 3.11 --extra local --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade) -q pyproject.toml -o requirements.lock

clean: ## remove the virtual environment and caches; state directories stay
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
