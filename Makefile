# Sentinel. `make help` lists the targets.
# Everything is installed into .venv from requirements.lock; nothing needs root or Docker. The lock is complete, so pip
# resolves nothing (--no-deps): its resolver would look at releases newer than the lock, which have no hash here.

PORT ?= 8080
STATE ?= .sentinel
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
QUICK := -n 3 --dist loadgroup -p no:schemathesis -m "not cluster and not kafka and not slow and not faults and not gpu and not browser"

# Recipes read what the user gives from the environment, in quotes: a path may hold spaces, quotes, `%` or `$`. `value`
# keeps make from expanding a `$` in it. `run` and `demo` take KUBECONFIG only from make's own command line, so that a
# cluster which the shell happens to point at is left alone.
export GIVEN_PORT := $(value PORT)
export GIVEN_STATE := $(value STATE)
export GIVEN_PYTHON := $(value PYTHON)
export GIVEN_TRACE := $(value TRACE)
export GIVEN_NODES := $(value NODES)
export GIVEN_LIMIT := $(value LIMIT)
export GIVEN_SPEED := $(value SPEED)
export GIVEN_KEEP := $(value KEEP)
export GIVEN_KUBECONFIG := $(value KUBECONFIG)
export GIVEN_KAFKA_BOOTSTRAP := $(value KAFKA_BOOTSTRAP)
export CHOSEN_KUBECONFIG := $(if $(filter command line,$(origin KUBECONFIG)),$(value KUBECONFIG))

# Byte code makes cold starts shorter; some shells switch it off.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run observe demo replay test coverage test-slow test-faults test-cluster test-gpu test-kafka test-browser check format bench lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

$(READY): requirements.lock pyproject.toml
	@"$$GIVEN_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Sentinel needs Python 3.11 or later; try: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up $(VENV) (once)"
	@"$$GIVEN_PYTHON" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

run: $(READY) ## start the laptop platform in the foreground (PORT, STATE, KUBECONFIG, LOG_FORMAT)
	@exec $(BIN)/python -m knative.local --port="$$GIVEN_PORT" --state="$$GIVEN_STATE" $${CHOSEN_KUBECONFIG:+--kubeconfig="$$CHOSEN_KUBECONFIG"}

observe: $(READY) ## start Prometheus, and Grafana where it is installed, beside `make run` (STATE)
	@exec $(BIN)/python -m knative.local.tools.observe --state="$$GIVEN_STATE"

demo: $(READY) ## run six workloads and the faults of a GPU through the chain on a temporary platform, and check the outcomes (KUBECONFIG)
	@exec $(BIN)/python -m knative.local.tools.demo $${CHOSEN_KUBECONFIG:+--kubeconfig="$$CHOSEN_KUBECONFIG"}

replay: $(READY) ## replay a cluster trace: TRACE=pods.csv [NODES=nodes.csv] [LIMIT=n] [SPEED=x] [KEEP=1]
	@test -n "$$GIVEN_TRACE" || { echo "usage: make replay TRACE=pods.csv [NODES=nodes.csv] [LIMIT=n] [SPEED=x] [KEEP=1]" >&2; exit 2; }
	@exec $(BIN)/python -m knative.local.tools.replay $${GIVEN_NODES:+--nodes="$$GIVEN_NODES"} $${GIVEN_LIMIT:+--limit="$$GIVEN_LIMIT"} $${GIVEN_SPEED:+--speed="$$GIVEN_SPEED"} $${GIVEN_KEEP:+--keep} -- "$$GIVEN_TRACE"

test: $(READY) ## the test suite; needs nothing but this machine
	$(BIN)/python -m pytest $(QUICK)

coverage: $(READY) ## the same tests, measured, with the lines that none of them reaches (half as long again)
	$(BIN)/python -m pytest $(QUICK) --cov --cov-report=term-missing:skip-covered

test-slow: $(READY) ## tests that take long: processes that are killed, load, damage, kubectl (SENTINEL_LOAD_STEPS, SENTINEL_LOAD_SEED)
	SENTINEL_LOAD_STEPS="$${SENTINEL_LOAD_STEPS:-400}" $(BIN)/python -m pytest -n 2 --dist loadgroup -m slow

test-faults: $(READY) ## what is promised under faults; needs this machine alone (SENTINEL_FAULTS_SIZE=nightly, SENTINEL_FAULTS_SEED)
	$(BIN)/python -m pytest -n 2 --dist loadgroup -m faults --durations=0 --durations-min=1

test-cluster: $(READY) ## the tests and the demo that need a disposable Kubernetes cluster (KUBECONFIG=path)
	@test -n "$$GIVEN_KUBECONFIG" || { echo "make test-cluster needs KUBECONFIG=path of a disposable cluster (kind, kwokctl, or any other)" >&2; exit 2; }
	KUBECONFIG="$$GIVEN_KUBECONFIG" $(BIN)/python -m pytest -m cluster

test-gpu: $(READY) ## the tests that need a GPU of NVIDIA with its driver
	@$(BIN)/python -c 'import pynvml; pynvml.nvmlInit()' 2>/dev/null || { echo "make test-gpu needs a machine with a GPU of NVIDIA and its driver: NVML cannot be initialised" >&2; exit 2; }
	$(BIN)/python -m pytest -m gpu

test-kafka: $(READY) ## the tests that need a disposable Kafka (KAFKA_BOOTSTRAP=host:port)
	@test -n "$$GIVEN_KAFKA_BOOTSTRAP" || { echo "make test-kafka needs KAFKA_BOOTSTRAP=host:port of a disposable Kafka on this machine" >&2; exit 2; }
	KAFKA_BOOTSTRAP="$$GIVEN_KAFKA_BOOTSTRAP" $(BIN)/python -m pytest -m kafka

test-browser: $(READY) ## the tests of the console in headless Chromium, which has to be installed
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || { echo "make test-browser needs chromium, chromium-browser or google-chrome on the PATH; on Debian: apt-get install chromium" >&2; exit 2; }
	$(BIN)/python -m pytest -m browser tests/functions/api/console

check: $(READY) ## lint, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m mypy
	$(BIN)/python -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

format: $(READY) ## format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(READY) ## benchmarks, as ratios against a peer in the same run
	$(BIN)/python -m tests.bench

lock: ## pin every dependency again, with hashes (needs uv; UPGRADE=1 takes newer releases)
	uv pip compile --universal --python-version 3.11 --extra agent --extra tracing --extra local --extra dev --generate-hashes --no-emit-index-url --no-header --no-annotate $(if $(UPGRADE),--upgrade) -q pyproject.toml -o requirements.lock

clean: ## remove the virtual environment and caches; state directories stay
	rm -rf $(VENV) .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
