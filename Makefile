# The commands of the project. Everything is installed into .venv; `make` says what it does while it does it.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help install run catalogue test check bench mutation repeat conformance fuzz kill-matrix clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  make \1\t/' | expand -t 20

install: $(VENV)/.installed  ## everything the project needs, into .venv
	@scripts/install prometheus

$(VENV)/.installed: requirements.lock pyproject.toml scripts/install
	@scripts/install python

run: install  ## the first three experiments on the local mesh: a table of verdicts and a report
	@harness run $(addprefix experiments/test_,retries.py pod_kill.py mtls.py)

catalogue: install  ## all experiments, in five minutes (CONTROLS=1: and their controls, in eight)
	@harness run experiments $(if $(CONTROLS),,--no-controls)

test: install check  ## every test
	@pytest -m "not e2e" -n 2
	@pytest -m e2e

check: install  ## lint, types, dependency direction
	@ruff check . && ruff format --check . && mypy && lint-imports

bench: install  ## the figures of the local mesh (QUICK=1 within two minutes)
	@PYTHONPATH=tests/support python -m tests.bench.run $(if $(QUICK),--quick)

mutation: install  ## what the experiments guard, weakened one field at a time: the last line is the score
	@harness mutate experiments

repeat: install  ## the experiments RUNS=20 times: how often each verdict came (CONTROLS=1: the controls as well)
	@harness run experiments --harness-repeat=$(or $(RUNS),20) $(if $(CONTROLS),,--no-controls)

CASES := 2000
SEED :=
conformance: install  ## our translation against istiod's own, on CASES=2000 generated cases (SEED= repeats a run)
	@scripts/istiod-translate
	@python -m tests.conformance --cases $(CASES) $(if $(SEED),--seed $(SEED))

fuzz: install  ## RUNS=10000 mutated manifests: refused, or accepted by the API and by Envoy (SEED= repeats a run)
	@FUZZ_RUNS=$(or $(RUNS),10000) $(if $(SEED),FUZZ_SEED=$(SEED)) pytest -q -x tests/localmesh/test_fuzz.py

kill-matrix: install  ## RUNS=200 runs killed at random moments on a local mesh: no fault may be left (SEED= repeats)
	@PYTHONPATH=tests/support python -P tests/support/matrix.py $(or $(RUNS),200) $(SEED)

clean:  ## removes what make made
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
