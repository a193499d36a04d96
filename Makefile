# Everything a newcomer or CI needs; `make help` lists it. Nothing is installed outside this folder.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
CLAUDE := .tools/claude
AXE := .tools/axe.min.js
# How many tests run at once. Timing decides no test, so more than the cores is safe; with two for each a fifth of
# their time was idle, since stories wait for processes that wait for the disk; with three a hundredth is. Stories
# are long and the rest is short: a worker that is done takes from one that is not.
JOBS ?= $(shell echo $$(( 3 * $$(nproc) )))
# How many mutants are tried at once.
CHILDREN ?= $(shell nproc)
PYTEST := $(BIN)/python -m pytest
# What is compiled is kept, whatever the machine says: with it the tests are collected in a third of the time.
export PYTHONDONTWRITEBYTECODE :=
# What has to be covered whole, and the tests that say what it does. Those of chance (properties) find what nobody
# thought of, but what they cover differs from day to day, so they do not count here.
WHOLE := */orchestrator/domain/*,*/orchestrator/qg/*,*/orchestrator/workflow/*,*/orchestrator/webhooks/*
WHOLE_TESTS := tests/qg tests/workflow tests/webhooks tests/test_domain.py tests/test_findings.py
SLOW_SOCKETS := tests/webhooks/test_server.py
COVER := $(BIN)/coverage run -m pytest -q -p no:cacheprovider -m "not nightly"
export PLANE_URL PLANE_KEY PLANE_WORKSPACE PLANE_PROJECT GITEA_URL GITEA_REPO GITEA_TOKEN GITEA_ADMIN_TOKEN

# Where `make screenshots` leaves them.
SCREENSHOTS := build/screenshots

.PHONY: help setup demo serve test check fix bench nightly screenshots pictures live cover cover-all mutate requirements env-example schema vendor clean

help: ## list these targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/.ready $(CLAUDE) $(AXE) ## install the locked Python packages into .venv, the pinned CLI and axe-core into .tools

.venv/.ready: requirements-dev.txt pyproject.toml scripts/setup_venv.sh
	@PYTHON="$(PYTHON)" scripts/setup_venv.sh

# A failed install is not an error here: demo and tests then say that the scripted stand-in runs instead.
$(CLAUDE): scripts/install_claude.py
	@$(PYTHON) scripts/install_claude.py --into .tools || echo "The Claude Code CLI is not installed (reason above); the scripted stand-in will be used."

# As above: the browser tests then say that it is missing.
$(AXE): scripts/install_axe.py scripts/install_claude.py
	@$(PYTHON) scripts/install_axe.py --into .tools || echo "axe-core is not installed (reason above); browser tests will be skipped."

demo: setup ## from a recorded Plane delivery to ready-to-merge, through all gates (LIVE=1: your account, KEEP=1: stay up)
	@$(BIN)/orch demo $(if $(LIVE),--live) $(if $(KEEP),--keep)

serve: setup ## run the orchestrator here with the settings of .env
	@$(BIN)/orch serve

# Once, and not by each of those that run at once.
.venv/.compiled: .venv/.ready
	@echo "Compiling the tests (once) ..."
	@$(PYTEST) -q --collect-only >/dev/null && touch $@

test: setup .venv/.compiled ## all tests but the nightly and bench suites
	@PYTEST_DEBUG_TEMPROOT="$$(scripts/test_folder.sh)" $(PYTEST) -n $(JOBS) --dist worksteal -m "not nightly"

nightly: setup ## the long suites; then everything else, measured
	@$(PYTEST) -n $(JOBS) --dist worksteal -m nightly
	@TESTS_TIMES=10 $(MAKE) --no-print-directory cover-all

check: setup ## format, lint, types, layers
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy && $(BIN)/lint-imports

fix: setup ## repair what ruff can repair
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .

bench: setup ## measure; prints ratios to this machine's own limits
	@$(BIN)/python -m benchmarks

screenshots: setup ## a picture of every page, light, dark and phone, into build/screenshots; needs chromium
	@rm -rf $(SCREENSHOTS)
	@ORCH_TEST_SCREENSHOTS=$(SCREENSHOTS) $(PYTEST) -q -s tests/e2e/browser/test_screenshots.py --timeout=600

pictures: screenshots ## README's pictures (docs/pictures), made of those
	@$(BIN)/python scripts/pictures.py $(SCREENSHOTS) docs/pictures

live: setup ## the contract tests against your own servers: PLANE_URL= GITEA_URL= … (see scripts/live_contracts.sh)
	@PYTEST="$(PYTEST)" scripts/live_contracts.sh

cover: setup ## branch coverage of domain, qg, workflow and webhooks; fails below 100 %
	@$(BIN)/coverage erase
	@$(COVER) $(SLOW_SOCKETS) & sockets=$$!; status=0; \
	$(COVER) $(WHOLE_TESTS) --ignore=tests/workflow/test_properties.py --ignore=tests/workflow/test_walk.py \
		--ignore=$(SLOW_SOCKETS) || status=$$?; \
	wait $$sockets || status=$$?; exit $$status
	@$(BIN)/coverage combine -q && $(BIN)/coverage report --include='$(WHOLE)' --fail-under=100

cover-all: setup ## all tests but the nightly ones, and what they reach of everything else; fails below 90 %
	@scripts/cover_all.sh 90 '$(WHOLE)' $(PYTEST) -n $(JOBS) --dist worksteal -m "not nightly" --timeout=600

mutate: setup ## mutation tests of the pure packages; each survivor must be explained (ONLY=qg.ci: a part)
	@rm -rf mutants
	@TESTS_TIMES=3 $(BIN)/mutmut run --max-children $(CHILDREN) $(if $(ONLY),'orchestrator.$(ONLY)*')
	@$(BIN)/python scripts/mutants.py $(ONLY)

requirements: ## lock the dependencies again (needs uv)
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header pyproject.toml -o requirements.txt
	uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --extra dev -c requirements.txt pyproject.toml -o requirements-dev.txt
	@echo 'requirements-build.txt repeats a few of these pins; its test says when it must follow.'

schema: setup ## write what the migrations make of an empty database, after a new one
	@$(BIN)/python scripts/write_schema.py

vendor: ## fetch again what the pages load in browsers, as static/vendor/vendor.toml pins it (needs npm)
	@$(PYTHON) scripts/vendor_static.py

env-example: setup ## write .env.example from the settings
	@$(BIN)/orch config example > .env.example

clean: ## remove what setup and the demo made
	rm -rf .venv .tools data
