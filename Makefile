# Everything there is to do here. `make` lists it.
.DEFAULT_GOAL := help
.PHONY: help setup demo up token env test screenshots fuzz chaos bench lint format audit lock clean
# exec: a signal that make passes on has to reach the program itself, not a shell in between.
# One recipe after another: setup has to be over before what it sets up is used.
.NOTPARALLEL:

VENV := .venv/bin
PORT ?=
DATA_DIR ?=
DATA ?=
TARGET ?=
TASK ?=
ARGS ?=
NAME ?=
ROWS ?=
ROUNDS ?= 50
EXAMPLES ?= 10000
JOBS ?= 2
SEED ?=
export PYTHON

help: ## What can be done here
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "  Settings: PYTHON=python3.12, PORT=8000, DATA_DIR=folder; demo: DATA=table.csv TARGET=column TASK=regression"

setup: ## Make .venv, install what running needs, build the dashboard (Python 3.11 or later, no containers)
	@sh deploy/setup.sh local

demo: setup ## Train on a real table and take everything home: models, leaderboard, ZIP
	@exec $(VENV)/python -m deploy.demo $(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(if $(PORT),--port $(PORT)) \
	    $(if $(DATA),--data "$(DATA)") $(if $(TARGET),--target "$(TARGET)") $(if $(TASK),--task $(TASK)) $(ARGS)

up: setup ## Run everything on this machine until Ctrl-C (PORT=, DATA_DIR=)
	@exec $(VENV)/python -m deploy.local $(if $(PORT),--port $(PORT)) $(if $(DATA_DIR),--data-dir "$(DATA_DIR)") $(ARGS)

token: setup ## Sign a token with the secret of .env (EMAIL=you@example.org, or ROLE=service)
	@$(VENV)/python -m deploy.user_token $(EMAIL) $(if $(ROLE),--role $(ROLE))

env: ## Write .env with random secrets, for docker compose
	@$(or $(PYTHON),python3) -I deploy/env.py

test: ## Run the tests, on real servers (ARGS="-k name" for some; JOBS=0 in one process)
	@sh deploy/setup.sh dev
	@$(VENV)/python -I deploy/dashboard.py --tested
	@$(VENV)/python -m tests.web.chromium
	@$(VENV)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)

screenshots: ## Save pictures of every page, in both themes, at both widths, to screenshots/
	@sh deploy/setup.sh dev
	@$(VENV)/python -I deploy/dashboard.py --required
	@$(VENV)/python -m tests.web.chromium
	@exec $(VENV)/python -m tests.web.screenshots $(ARGS)

fuzz: ## Send what nobody would: broken tables, odd requests (EXAMPLES=10000 of each)
	@sh deploy/setup.sh dev
	@FUZZ_EXAMPLES=$(EXAMPLES) $(VENV)/python -m pytest -s --timeout 0 tests/fuzz \
	    tests/e2e/test_bad_input.py::test_hostile_tables_end_in_words $(ARGS)

chaos: ## Break everything, many times (ROUNDS=50, SEED= repeats a run), and write docs/reliability.md
	@sh deploy/setup.sh dev
	@CHAOS_ROUNDS=$(ROUNDS) CHAOS_SEED=$(SEED) CHAOS_REPORT=1 $(VENV)/python -m pytest -s tests/chaos $(ARGS)

# Handed on only where they are said: PEERS= is not the same as no PEERS (tests/bench/bench_models.py).
BENCH := BUDGET TABLES PEERS SEEDS AGAIN ONLY_REPORT RESULTS REPORT
bench: ## Measure against the anchors and write docs/benchmarks.md (NAME=status for one, ROWS=1000000; NAME=models BUDGET=60)
	@sh deploy/setup.sh dev
	@exec env BENCH_ROWS=$(ROWS) $(foreach v,$(BENCH),$(if $(filter command line,$(origin $v)),BENCH_$v="$($v)")) \
	    $(VENV)/python -m tests.bench $(NAME)

lint: ## Style, types, who imports whom, and whether the locks are up to date
	@sh deploy/setup.sh dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	$(VENV)/mypy
	$(VENV)/lint-imports --no-logo
	$(VENV)/python -m deploy.check_locks
	$(VENV)/python -I deploy/dashboard.py --lint

format: ## Sort imports and lay the code out
	@sh deploy/setup.sh dev
	$(VENV)/ruff check --fix --select I,UP,F401 .
	$(VENV)/ruff format .
	$(VENV)/python -I deploy/dashboard.py --format

audit: ## Look every locked package up in the advisory databases; needs the network (SERVICE=osv or pypi)
	@test -x .venv-audit/bin/pip-audit || { $(or $(PYTHON),python3) -m venv .venv-audit && \
	    .venv-audit/bin/pip install -q --require-hashes -r requirements/audit.txt; }
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -s $(or $(SERVICE),osv) \
	    -r requirements/dev.txt -r requirements/audit.txt

LOCK := $(VENV)/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-header \
    --python-version 3.11 -c requirements/dev.txt
lock: ## Write requirements/*.txt anew from pyproject.toml
	@sh deploy/setup.sh dev
	@for group in dev local api trainer packager s3 web audit; do \
	    echo "requirements/$$group.txt"; \
	    $(LOCK) --group $$group -o requirements/$$group.txt || exit 1; \
	done

clean: ## Remove .venv, .bench, the built dashboard and caches; data (.trainyard) and demo-output stay
	rm -rf .venv .venv-audit .bench .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	rm -rf services/web/node_modules services/web/dist services/web/schema.json services/web/src/api/schema.ts screenshots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
