# Everything a newcomer or CI needs; `make help` lists it. Nothing is installed outside this folder.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
CLAUDE := .tools/claude
# How many tests run at once. Timing decides no test, so more than the cores is safe.
JOBS ?= $(shell echo $$(( 2 * $$(nproc) )))
# How many mutants are tried at once.
CHILDREN ?= $(shell nproc)
PYTEST := $(BIN)/python -m pytest
PURE := */orchestrator/domain/*,*/orchestrator/qg/*,*/orchestrator/workflow/*
PURE_TESTS := tests/qg tests/workflow tests/test_domain.py tests/store tests/webhooks
export PLANE_URL PLANE_KEY PLANE_WORKSPACE PLANE_PROJECT GITEA_URL GITEA_REPO GITEA_TOKEN GITEA_ADMIN_TOKEN

.PHONY: help setup demo serve test check fix bench nightly live cover mutate requirements env-example clean

help: ## list these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready $(CLAUDE) ## install the locked Python packages into .venv and the pinned CLI into .tools

.venv/.ready: requirements-dev.txt pyproject.toml scripts/setup_venv.sh
	@PYTHON="$(PYTHON)" scripts/setup_venv.sh

# A failed install is not an error here: demo and tests then say that the scripted stand-in runs instead.
$(CLAUDE): scripts/install_claude.py
	@$(PYTHON) scripts/install_claude.py --into .tools || echo "The Claude Code CLI is not installed (reason above); the scripted stand-in will be used."

demo: setup ## from a recorded Plane delivery to ready-to-merge, through all gates (LIVE=1: your account, KEEP=1: stay up)
	@$(BIN)/orch demo $(if $(LIVE),--live) $(if $(KEEP),--keep)

serve: setup ## run the orchestrator here with the settings of .env
	@$(BIN)/orch serve

test: setup ## all tests but the nightly and bench suites
	@$(PYTEST) -n $(JOBS) -m "not nightly"

nightly: setup ## the long suites, then everything else
	@$(PYTEST) -n $(JOBS)

check: setup ## format, lint, types, layers
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

fix: setup ## repair what ruff can repair
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: setup ## measure; prints ratios to this machine's own limits
	@$(BIN)/python -m benchmarks

live: setup ## the contract tests against your own servers: PLANE_URL= GITEA_URL= … (see scripts/live_contracts.sh)
	@PYTEST="$(PYTEST)" scripts/live_contracts.sh

cover: setup ## branch coverage of the pure packages; fails below 100 %
	@$(BIN)/coverage erase && $(BIN)/coverage run -m pytest -q -m "not nightly" $(PURE_TESTS)
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --include='$(PURE)' --fail-under=100

mutate: setup ## mutation tests of the pure packages; each survivor must be explained (ONLY=qg.ci: a part)
	@rm -rf mutants
	@$(BIN)/mutmut run --max-children $(CHILDREN) $(if $(ONLY),'orchestrator.$(ONLY)*')
	@$(BIN)/python scripts/mutants.py $(ONLY)

requirements: ## lock the dependencies again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	@echo 'requirements-build.txt repeats a few of these pins; its test says when it must follow.'

env-example: setup ## write .env.example from the settings
	@$(BIN)/orch config example > .env.example

clean: ## remove what setup and the demo made
	rm -rf .venv .tools data
